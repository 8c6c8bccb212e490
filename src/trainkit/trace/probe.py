"""Which bits this environment computes, taken in the user's process once its training is over.

The probe runs the kinds of operation that differ between processors, builds and thread counts. Two
environments whose probes agree are compared; a processor's name says less (same name, other bits).
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Training runs are comparable when these agree; the other entries are for the reader.
DECISIVE = ("probe", "torch", "python")


def take_environment(torch: Any) -> dict[str, str]:
    """Give the probe's digest and what there is to read beside it; the program's settings are put back."""
    with _as_at_start(torch), torch.random.fork_rng(devices=[]), torch.enable_grad():
        fold = hashlib.blake2b(digest_size=8)
        for tensor in _compute(torch):
            fold.update(repr(tensor.detach().tolist()).encode())
    return {
        "probe": fold.hexdigest(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.system(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "num_threads": str(torch.get_num_threads()),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_initialized() else "",
    }


@contextmanager
def _as_at_start(torch: Any) -> Iterator[None]:
    default, cached = torch.get_default_dtype(), torch.is_autocast_enabled("cpu")
    torch.set_default_dtype(torch.float32)
    torch.set_autocast_enabled("cpu", False)
    try:
        with torch.device("cpu"):
            yield
    finally:
        torch.set_default_dtype(default)
        torch.set_autocast_enabled("cpu", cached)


def _compute(torch: Any) -> list[Any]:
    functional = torch.nn.functional
    torch.manual_seed(1234)
    image, kernel = torch.randn(2, 3, 16, 16), torch.randn(4, 3, 3, 3, requires_grad=True)
    matrix = torch.randn(64, 96, requires_grad=True)
    projected = matrix @ torch.randn(96, 48)
    query = torch.randn(2, 2, 16, 8)
    attended = functional.scaled_dot_product_attention(query, query, query, is_causal=True)
    recurrent = torch.nn.LSTM(8, 8)(torch.randn(5, 2, 8))[0]
    loss = functional.conv2d(image, kernel).relu().mean()
    loss = loss + functional.cross_entropy(projected, torch.arange(64) % 48)
    loss.backward()
    normed = functional.gelu(functional.layer_norm(projected, [48]))
    wide = torch.randn(4096)
    plain = [projected.softmax(-1), attended, recurrent, normed, wide.exp(), wide.abs().sqrt(), wide.sum()]
    half = projected.bfloat16()
    rare = [(half @ half.T).float(), torch.view_as_real(torch.fft.rfft(wide))]
    if torch._C.has_lapack:
        square = projected.T @ projected
        rare += [torch.linalg.qr(square)[0], *torch.linalg.eigh(square)]
    return [image, loss, kernel.grad, matrix.grad, *plain, *rare]
