"""The scenarios of tests/gpu, run on the CPU so that they work when a GPU comes by."""

import importlib.util
from pathlib import Path

import pytest
import torch

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def scenarios():
    """Load tests/gpu/scenarios.py, which importlib mode does not put on the path."""
    path = Path(__file__).parents[2] / "gpu" / "scenarios.py"
    spec = importlib.util.spec_from_file_location("gpu_scenarios_on_cpu", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("model", ["transformer", "lstm"])
def test_scenario_loss_falls(scenarios, model, precision):
    """Three epochs bring the loss down."""
    losses = scenarios.measure_learning(CPU, model=model, precision=precision)

    assert losses[0] > losses[1] > losses[2]


@pytest.mark.parametrize("model", ["transformer", "lstm"])
def test_scenario_twice(scenarios, model):
    """The same seed gives the same bits."""
    first, second = (scenarios.train_deterministically(CPU, model=model, precision="fp32") for _ in range(2))

    assert all(torch.equal(one, two) for one, two in zip(first, second, strict=True))


def test_scenario_checkpoint(scenarios, tmp_path):
    """A checkpoint comes back with the same loss."""
    here, there = scenarios.move_checkpoint(tmp_path, source=CPU, target=CPU)

    assert there == here


def test_scenario_peak(scenarios):
    """The scenario runs; torch counts no bytes on the CPU."""
    assert scenarios.measure_peak_bytes(CPU, precision="bf16") == 0


def test_scenario_resume(scenarios, tmp_path):
    """Two epochs at once equal one and one more."""
    straight, halves = scenarios.train_with_resume(tmp_path, device="cpu")

    assert all(torch.equal(one, two) for one, two in zip(straight, halves, strict=True))
