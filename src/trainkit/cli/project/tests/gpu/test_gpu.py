"""What needs a CUDA device: `python -m pytest -m gpu`."""

import pytest
import torch

from myproject.data import make_sets
from myproject.model import Regressor


@pytest.mark.gpu
def test_a_step_on_the_device():
    """Loss and gradients are finite on the device."""
    task = Regressor().cuda()
    inputs, targets = (part.cuda() for part in make_sets()[0][:8])

    task.training_step((inputs, targets), 0).backward()

    assert all(torch.isfinite(parameter.grad).all() for parameter in task.parameters())
