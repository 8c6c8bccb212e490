"""What one call of a benchmark can be asked besides its time; loaded in the worker, free of trainkit."""

from __future__ import annotations

import cProfile
import gc
import os
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

Call = Callable[[], None]
Answer = dict[str, Any]
_MOST_FUNCTIONS = 4000


def measure_memory(call: Call) -> Answer:
    """Give the peak of what Python allocates in one call, and how far the resident set rises, in bytes."""
    peaks = []
    for _ in range(2):
        gc.collect()
        tracemalloc.start()
        try:
            call()
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    return {"allocated": min(peaks), "resident": _measure_resident(call)}


def _measure_resident(call: Call) -> list[int] | None:
    """Give how far the resident set rises over what it is before a call, and its peak; None where unknown."""
    gc.collect()
    _give_back_memory()
    try:
        with open("/proc/self/clear_refs", "w") as file:  # noqa: PTH123
            file.write("5")
        before = _read_status("VmRSS")
        call()
        peak = _read_status("VmHWM")
    except OSError:
        return None
    return [peak - before, peak]


def _give_back_memory() -> None:
    import ctypes

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _read_status(key: str) -> int:
    with open("/proc/self/status") as file:  # noqa: PTH123
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(f"{key}:"))


def observe_training(call: Call) -> Answer:
    """Give the optimizer steps of one call, its seconds, and those waiting for data."""
    if "torch.optim" not in sys.modules:
        return {"steps": 0}
    watch = _Watch()
    handles = watch.hook()
    start = time.perf_counter()
    try:
        call()
    finally:
        for remove in handles:
            remove()
    total = time.perf_counter() - start
    loader = bool(watch.loading)
    waited = watch.loading if loader else watch.between
    return {"steps": len(watch.ends), "seconds": total, "waited": waited, "loader": loader}


class _Watch:
    """Notes when an optimizer has stepped and when a model is called again."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.loading = 0.0
        self.between = 0.0
        self.waiting = True
        self.last = time.perf_counter()

    def hook(self) -> list[Callable[[], None]]:
        """Install what notes; gives what removes it."""
        from torch.nn.modules.module import register_module_forward_pre_hook
        from torch.optim.optimizer import register_optimizer_step_post_hook
        from torch.utils.data import dataloader

        kind = dataloader._BaseDataLoaderIter
        original = kind.__next__

        def step(iterator: Any) -> Any:
            start = time.perf_counter()
            try:
                return original(iterator)
            finally:
                self.loading += time.perf_counter() - start

        def unpatch() -> None:
            kind.__next__ = original  # type: ignore[method-assign]

        kind.__next__ = step  # type: ignore[assignment,method-assign]
        handles = [
            register_optimizer_step_post_hook(lambda *_: self._note_step()),
            register_module_forward_pre_hook(lambda *_: self._note_forward()),
        ]
        return [unpatch, *(handle.remove for handle in handles)]

    def _note_step(self) -> None:
        self.last = time.perf_counter()
        self.ends.append(self.last)
        self.waiting = True

    def _note_forward(self) -> None:
        if self.waiting:
            self.between += time.perf_counter() - self.last
            self.waiting = False


def count_instructions(call: Call) -> Answer:
    """Give, by function, how many bytecode instructions one call executes, and the C functions it calls.

    Both are exact: two runs of the same code have the same counts.
    """
    operations: Counter[CodeType] = Counter()
    builtins: Counter[str] = Counter()
    here = call.__code__ if hasattr(call, "__code__") else None

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if event == "call":
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        elif event == "opcode":
            operations[frame.f_code] += 1
        return trace

    def profile(_: FrameType, event: str, function: Any) -> None:
        if event == "c_call":
            builtins[_name_builtin(function)] += 1

    tracer, profiler = sys.gettrace(), sys.getprofile()
    gc.collect()
    gc.disable()
    try:
        sys.setprofile(profile)
        sys.settrace(trace)
        call()
    finally:
        sys.settrace(tracer)
        sys.setprofile(profiler)
        gc.enable()
    functions: Counter[str] = Counter()
    for code, count in operations.items():
        if code is not here and code.co_filename != __file__:
            functions[_name_code(code)] += count
    return {
        "functions": dict(functions.most_common(_MOST_FUNCTIONS)),
        "builtins": dict(builtins.most_common(_MOST_FUNCTIONS)),
    }


def time_functions(call: Call) -> Answer:
    """Give each function's own seconds in one call, C functions included."""
    profiler = cProfile.Profile()
    profiler.enable()
    try:
        call()
    finally:
        profiler.disable()
    seconds: dict[str, float] = {}
    for entry in profiler.getstats():
        name = entry.code if isinstance(entry.code, str) else _name_code(entry.code)
        seconds[name] = seconds.get(name, 0.0) + entry.inlinetime
    return {"functions": dict(sorted(seconds.items(), key=lambda item: -item[1])[:_MOST_FUNCTIONS])}


def _name_code(code: CodeType) -> str:
    path = code.co_filename
    if path.startswith(os.getcwd() + os.sep):  # noqa: PTH109
        path = path[len(os.getcwd()) + 1 :]  # noqa: PTH109
    elif "site-packages" in path:
        path = path.rpartition(f"site-packages{os.sep}")[2]
    return f"{path}:{code.co_qualname}"


def _name_builtin(function: Any) -> str:
    owner = getattr(function, "__self__", None)
    kind = "" if owner is None or type(owner).__name__ == "module" else f"{type(owner).__name__}."
    module = getattr(function, "__module__", None) or ""
    name = getattr(function, "__qualname__", repr(function)).rpartition(".")[2]
    return f"{module + '.' if module and not kind else ''}{kind}{name}"


PROBES: dict[str, Callable[[Call], Answer]] = {
    "memory": measure_memory,
    "training": observe_training,
    "counts": count_instructions,
    "times": time_functions,
}
