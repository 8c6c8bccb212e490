"""GPU tests need torch, pytest and PYTHONPATH=src, and skip where there is no device."""

import importlib.util
import os
import warnings
from pathlib import Path
from types import ModuleType

import pytest

with warnings.catch_warnings():  # a GPU machine may have no NumPy, and torch says so once, at import
    warnings.filterwarnings("ignore", "Failed to initialize NumPy")
    import torch

# cuBLAS reads this when the first CUDA context is made; without it deterministic algorithms refuse.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@pytest.fixture
def device():
    """Give the CUDA device, or skip."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device("cuda")


@pytest.fixture(scope="session")
def scenarios() -> ModuleType:
    """Load scenarios.py, which importlib mode does not put on the path."""
    spec = importlib.util.spec_from_file_location("gpu_scenarios", Path(__file__).with_name("scenarios.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
