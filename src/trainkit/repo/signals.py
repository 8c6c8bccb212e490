"""What a signal may interrupt: everything is cleaned up behind it, and some things are finished first."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_LONGEST_DELAY_S = 0.05


@contextmanager
def terminate_as_exit() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into SystemExit, so that every `finally` runs."""

    def leave(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    numbers = (signal.SIGTERM, signal.SIGHUP)
    try:
        before = [signal.signal(number, leave) for number in numbers]
    except ValueError:  # not the main thread: whoever owns it decides about signals
        yield
        return
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def hold_signals() -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and SIGHUP wait until what must not be half done is done; for moments only.

    The handlers are held, not the signals: a mask is for one thread, and the system would give the signal
    to another, upon which Python calls the handler in this one; and a child would inherit it.
    """
    came: list[int] = []
    before: dict[int, Any] = {}
    try:
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            before[each] = signal.signal(each, lambda number, _: came.append(number))
    except ValueError:  # not the main thread: no handler is ever called here
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in came:
            signal.raise_signal(number)


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Ask once whether a process has ended.

    An exception of a signal handler inside of `Popen.poll`, or of `Popen.wait` with a timeout, can come
    between the lock they take and the `try` that gives it back: the next `wait` would never return.
    """
    with hold_signals():
        return process.poll() is not None


def wait_for(process: subprocess.Popen[bytes], timeout_s: float) -> None:
    """Wait for the end of a process; a signal interrupts that at any moment, and it can be waited for again.

    Raises:
        subprocess.TimeoutExpired: it has not ended.
    """
    end, delay = time.monotonic() + timeout_s, 0.0005
    while not has_ended(process):
        left = end - time.monotonic()
        if left <= 0:
            raise subprocess.TimeoutExpired(process.args, timeout_s)
        delay = min(2 * delay, left, _LONGEST_DELAY_S)
        time.sleep(delay)
