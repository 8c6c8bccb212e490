import pytest
import torch
from tiny.model import Net


@pytest.mark.gpu
def test_forward_runs_on_the_device():
    net = Net().cuda()
    assert net(torch.randn(3, 4, device="cuda")).shape == (3,)
