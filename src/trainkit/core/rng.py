"""Every global random generator at once: torch's, Python's and NumPy's."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

try:
    import numpy
except ModuleNotFoundError:  # torch does without, and so do we
    numpy = None  # type: ignore[assignment]


def mix_seed(*numbers: int) -> int:
    """Give 32 bits that depend on all the numbers: torch's CPU generator takes no more of a seed."""
    return zlib.crc32(",".join(map(str, numbers)).encode())


def seed_everything(seed: int) -> None:
    """Seed torch, on devices that are not there yet as well, `random` and NumPy."""
    torch.manual_seed(seed)
    seed_present(seed)


def seed_present(seed: int) -> None:
    """Seed the generators that are there, for a sample of a data set.

    `torch.manual_seed` keeps a formatted stack for each device that may come: milliseconds, and memory.
    """
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(seed)
    random.seed(seed)
    if numpy is not None:
        numpy.random.seed(seed % 2**32)


def capture_rng(generators: Sequence[torch.Generator] = ()) -> dict[str, Any]:
    """Give the state of every global generator, and of these, as plain data."""
    started = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    state: dict[str, Any] = {
        "cpu": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if started else [],
        "python": random.getstate(),
        "own": [generator.get_state() for generator in generators],
    }
    if numpy is not None:
        kind, keys, *rest = numpy.random.get_state(legacy=True)
        state["numpy"] = (kind, torch.from_numpy(numpy.asarray(keys, dtype="int64")), *rest)
    return state


def restore_rng(state: Mapping[str, Any], generators: Sequence[torch.Generator] = ()) -> None:
    """Put the states back, CUDA's where there are as many devices."""
    torch.set_rng_state(state["cpu"])
    if "python" in state:
        random.setstate(state["python"])
    if "numpy" in state and numpy is not None:
        kind, keys, *rest = state["numpy"]
        numpy.random.set_state((kind, keys.numpy(), *rest))
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    for generator, value in zip(generators, state.get("own", ()), strict=False):
        generator.set_state(value)


@contextmanager
def keep_rng() -> Iterator[None]:
    """Put every global generator back behind what is done inside."""
    before = capture_rng()
    try:
        yield
    finally:
        restore_rng(before)
