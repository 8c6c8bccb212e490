"""Smoke tests of the core on a CUDA device."""

import pytest
import torch

pytestmark = pytest.mark.gpu

# Weights, gradients, two moments and activations are 5 MiB; cuBLAS workspaces of up to 64 MiB come on top.
PEAK_LIMIT_BYTES = 256 * 2**20


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("model", ["transformer", "lstm"])
def test_gpu_loss_falls(device, scenarios, model, precision):
    """Three epochs on a counting sequence bring the loss down in each precision."""
    losses = scenarios.measure_learning(device, model=model, precision=precision)

    assert losses[0] > losses[1] > losses[2]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("model", ["transformer", "lstm"])
def test_gpu_twice_is_bitwise_identical(device, scenarios, model, precision):
    """The same seed gives the same bits, dropout included."""
    first, second = (
        scenarios.train_deterministically(device, model=model, precision=precision) for _ in range(2)
    )

    assert all(torch.equal(one, two) for one, two in zip(first, second, strict=True))


@pytest.mark.parametrize(("source", "target"), [("cuda", "cpu"), ("cpu", "cuda")])
def test_gpu_checkpoint_moves(device, scenarios, tmp_path, source, target):
    """Weights cross devices bit by bit; losses agree to 1e-4, since kernels add in another order."""
    here, there = scenarios.move_checkpoint(
        tmp_path, source=torch.device(source), target=torch.device(target)
    )

    assert there == pytest.approx(here, rel=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_gpu_peak_memory(device, scenarios, record_property, precision):
    """An epoch holds something, and less than the stated bound."""
    peak_bytes = scenarios.measure_peak_bytes(device, precision=precision)
    record_property("peak_bytes", peak_bytes)

    assert 0 < peak_bytes < PEAK_LIMIT_BYTES


def test_gpu_resume_is_bitwise_identical(device, scenarios, tmp_path):
    """The trainer on CUDA: two epochs at once equal one and one more, the CUDA RNG restored."""
    straight, halves = scenarios.train_with_resume(tmp_path, device="cuda")

    assert all(torch.equal(one, two) for one, two in zip(straight, halves, strict=True))
