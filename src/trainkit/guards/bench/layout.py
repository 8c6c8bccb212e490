"""The memory layout of a process: the same at each start, where the system lets us.

Where the heap lies moves a pure-Python function by 3 % from one process to the next, and no number of rounds
inside one pair shows that. The flag is set between fork and exec and is inherited by what the process starts.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

_ADDR_NO_RANDOMIZE = 0x0040000
_ASK = 0xFFFFFFFF
# So that no pair meets the stack of another: bytes that lengthen the environment.
PADS = (0, 1400, 3600, 700, 2900, 5100, 2100, 4300, 350, 5800, 1050, 3250)


def make_fixer() -> Callable[[], None] | None:
    """Give what a child calls before it becomes the program; None where there is no such thing.

    A container may forbid it: whether it worked is asked of the program itself (`worker.py`).
    """
    try:
        personality = ctypes.CDLL(None, use_errno=True).personality
    except (AttributeError, OSError):
        return None

    def fix() -> None:
        current = personality(_ASK)
        if current != -1:
            personality(current | _ADDR_NO_RANDOMIZE)

    return fix


def pad_environment(number: int) -> dict[str, str]:
    """Give the variable that makes the environment of pair `number` as long as no other's."""
    return {"TRAINKIT_BENCH_PAD": "x" * PADS[number % len(PADS)]}
