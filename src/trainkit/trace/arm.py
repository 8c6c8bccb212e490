"""Arms the recorder in a process, and sets for both sides alike what makes programs differ from themselves.

Options are JSON in TRAINKIT_TRACE_OPTIONS: `steps` (end the program after so many), `deep` (the step whose
single operations are recorded), `edited` (lines to watch in the deep pass), `seeds`, `deterministic`.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import importlib.abc
import importlib.machinery
import itertools
import json
import os
import random
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from .record import Recorder
from .written import watch as watch_written

# For programs that do not seed: numbers that nobody else takes, so that a lost seed shows.
_SEEDS = {"python": 1_726_354_091, "numpy": 1_093_847_562, "torch": 5_820_174_639}


def arm(folder: Path) -> Recorder:
    """Record the training of this process to a file in `folder`, once torch is imported.

    Unless told otherwise the generators of Python, NumPy and torch are seeded, so that a program
    without seeds of its own repeats; a program that seeds is not affected.
    """
    options = json.loads(os.environ.get("TRAINKIT_TRACE_OPTIONS") or "{}")
    recorder = Recorder(folder, options)
    forks: list[int] = []
    seed = random.seed
    if options.get("seeds", True):
        seed(_SEEDS["python"])
    _watch_seed(random, "seed", "python", recorder)
    callbacks: dict[str, Callable[[ModuleType], None]] = {
        "torch": lambda torch: _hook_torch(torch, recorder, options),
        "torch.utils.data.dataloader": recorder.hook_loader,
        "numpy.random": lambda numpy_random: _hook_numpy(numpy_random, recorder, options),
        "argparse": lambda argparse: _hook_argparse(argparse, recorder),
        "subprocess": lambda subprocess: _watch_children(subprocess, recorder),
    }
    if options.get("deterministic", True):
        callbacks["torch._inductor.config"] = _make_compiler_deterministic
    sys.meta_path.insert(0, _AfterImport(recorder, callbacks))
    for name in [name for name in callbacks if name in sys.modules]:  # imported by the environment before us
        with recorder.never_raising(name):
            callback = callbacks.pop(name, None)  # torch may import numpy.random by now
            if callback:
                callback(sys.modules[name])
    watch_written(folder)
    if options.get("edited"):
        importlib.import_module(f"{__package__}.lines").watch(recorder, folder, options["edited"])

    def begin_in_child() -> None:
        if options.get("seeds", True):  # Python has just seeded the child from the system's entropy
            seed(_SEEDS["python"] + len(forks))
        recorder.begin_again()

    os.register_at_fork(before=lambda: forks.append(0), after_in_child=begin_in_child)
    atexit.register(recorder.finish)
    leave = os._exit

    def finish_and_leave(status: int) -> None:
        recorder.finish()
        leave(status)

    os._exit = finish_and_leave  # type: ignore[assignment]
    return recorder


def _hook_torch(torch: Any, recorder: Recorder, options: dict[str, Any]) -> None:
    if options.get("seeds", True):
        torch.manual_seed(_SEEDS["torch"])
    if options.get("deterministic", True):
        # torch's own function imports the compiler to tell it, which takes as long as torch itself
        torch._C._set_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # else NaN, equal on both sides
    recorder.hook_torch(torch)


def _make_compiler_deterministic(config: Any) -> None:
    if hasattr(config, "deterministic"):  # not in older ones
        config.deterministic = True


def _hook_numpy(numpy_random: Any, recorder: Recorder, options: dict[str, Any]) -> None:
    seeds = options.get("seeds", True)
    if seeds:
        numpy_random.seed(_SEEDS["numpy"])
    _watch_seed(numpy_random, "seed", "numpy", recorder)
    _seed_new_generators(numpy_random, recorder, seeds=seeds)


def _hook_argparse(argparse: Any, recorder: Recorder) -> None:
    parse = argparse.ArgumentParser.parse_known_args

    @functools.wraps(parse)
    def recorded(*args: Any, **kwargs: Any) -> Any:
        found = parse(*args, **kwargs)
        recorder.see_arguments(found[0])
        return found

    argparse.ArgumentParser.parse_known_args = recorded


def _watch_children(subprocess: Any, recorder: Recorder) -> None:
    """Let a child that is given an environment of its own train in our trees, and be recorded, too."""
    fixed = os.environ.get("TRAINKIT_FIXED", "").split(",")
    ours = {key: value for key, value in os.environ.items() if key.startswith("TRAINKIT_") or key in fixed}
    search = os.environ.get("PYTHONPATH", "")
    start = subprocess.Popen.__init__

    @functools.wraps(start)
    def started(self: Any, *args: Any, **kwargs: Any) -> None:
        with suppress(Exception):  # then it is started as the program says; any thread may be here
            given = kwargs.get("env")
            if given is not None and "TRAINKIT_TRACE" not in given:
                paths = [search, given.get("PYTHONPATH", "")]
                kwargs["env"] = {**ours, **given, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
            if _is_isolated(args[0] if args else kwargs["args"]):
                recorder.see_elsewhere()
        start(self, *args, **kwargs)

    subprocess.Popen.__init__ = started


def _is_isolated(command: Any) -> bool:
    """Tell whether it is a Python that takes nothing of its environment: we cannot enter it."""
    words = [] if isinstance(command, str | bytes | os.PathLike) else [os.fsdecode(word) for word in command]
    if not words or "python" not in Path(words[0]).name:
        return False
    flags = itertools.takewhile(lambda word: word.startswith("-") and word not in {"-c", "-m"}, words[1:])
    return any(set("IES") & set(flag) for flag in flags)


def _watch_seed(module: Any, name: str, what: str, recorder: Recorder) -> None:
    function = getattr(module, name)

    @functools.wraps(function)
    def seed(*args: Any, **kwargs: Any) -> Any:
        recorder.see_seed(what, args[0] if args else None)
        return function(*args, **kwargs)

    setattr(module, name, seed)


def _seed_new_generators(numpy_random: Any, recorder: Recorder, *, seeds: bool) -> None:
    """Let `default_rng()` without a seed repeat, each one another, and watch all that it makes."""
    default_rng = numpy_random.default_rng
    unseeded: list[int] = []

    @functools.wraps(default_rng)
    def make(seed: Any = None) -> Any:
        if seed is None and seeds:
            unseeded.append(0)
            seed = _SEEDS["numpy"] + len(unseeded)
        generator = default_rng(seed)
        recorder.see_generator(generator)
        return generator

    numpy_random.default_rng = make


class _AfterImport(importlib.abc.MetaPathFinder):
    """Calls back with a module right after it was imported."""

    def __init__(self, recorder: Recorder, callbacks: dict[str, Callable[[ModuleType], None]]) -> None:
        self._recorder = recorder
        self._callbacks = callbacks

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in self._callbacks:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            tracer = sys.gettrace()  # that of edited lines, if any: in torch it would only cost time
            sys.settrace(None)
            try:
                execute(module)
            finally:
                sys.settrace(tracer)
            # Only now: a program may ask for the spec of a module to see whether it is installed.
            with self._recorder.never_raising(name):
                callback = self._callbacks.pop(name, None)
                if callback:
                    callback(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
