"""Runs as a program in a tree: pytest whose benchmarks stop at each call and do what the parent says.

A file of its own, run by its path and free of trainkit, because the tree may hold another trainkit. It speaks
JSON lines through the socket TRAINKIT_BENCH_FD, so what benchmarks print does not matter. pytest-benchmark's
own fixture is used, with `_raw` and `_raw_pedantic` replaced: suites run unmodified.
"""

from __future__ import annotations

import ast
import gc
import hashlib
import importlib.util
import inspect
import json
import os
import resource
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

Message = dict[str, Any]


class Channel:
    """JSON lines to and from the parent; a forked child has none."""

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)
        self.descriptor = descriptor
        self.process = os.getpid()
        self.reader = os.fdopen(os.dup(descriptor), "rb")
        os.register_at_fork(after_in_child=self._close)

    def _close(self) -> None:
        self.reader.close()
        os.close(self.descriptor)

    def say(self, **message: Any) -> None:
        """Send one message."""
        data = json.dumps(message).encode() + b"\n"
        while data:
            data = data[os.write(self.descriptor, data) :]

    def hear(self) -> Message:
        """Wait for the next order; without a parent there is nothing left to do."""
        line = self.reader.readline()
        if not line:
            os._exit(3)
        message: Message = json.loads(line)
        return message

    def leave_if_forked(self) -> None:
        """End a child that a benchmark has forked and that came back as if it were its parent."""
        if os.getpid() != self.process:
            os._exit(0)


class Target:
    """What a benchmark measures: one call, with what is done before and after it untimed."""

    def __init__(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        *,
        setup: Callable[[], Any] | None = None,
        teardown: Callable[..., Any] | None = None,
    ) -> None:
        self.function, self.args, self.kwargs = function, args, kwargs or {}
        self.setup, self.teardown = setup, teardown
        self.repeatable = setup is None and teardown is None  # else one call, then everything anew
        self.result: Any = None

    @contextmanager
    def prepared(self) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
        """Give the arguments of one timed call."""
        args, kwargs = self.args, self.kwargs
        if self.setup is not None:
            made = self.setup()
            if made:
                if args or kwargs:
                    raise TypeError("Can't use `args` or `kwargs` if `setup` returns the arguments.")
                args, kwargs = made
        yield args, kwargs
        if self.teardown is not None:
            self.teardown(*args, **kwargs)

    def time(self, loops: int) -> tuple[int, int]:
        """Call it `loops` times: CPU time, that of finished children included, and wall time, in ns."""
        function = self.function
        repeat = range(loops)
        with self.prepared() as (args, kwargs):
            cpu = time.process_time_ns()
            wall = time.perf_counter_ns()
            for _ in repeat:
                self.result = function(*args, **kwargs)
            wall = time.perf_counter_ns() - wall
            cpu = time.process_time_ns() - cpu
        return cpu, wall

    def call(self) -> None:
        """Call it once, untimed."""
        with self.prepared() as (args, kwargs):
            self.result = self.function(*args, **kwargs)


def children_ns() -> int:
    """Give the CPU time of the children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return int((used.ru_utime + used.ru_stime) * 1e9)


class Server:
    """Does the parent's orders for one benchmark, from its call to its end."""

    def __init__(self, channel: Channel, target: Target) -> None:
        self.channel, self.target = channel, target
        self.per_call_ns: list[float] = []
        self.with_children = False
        self.cpu: int | None = None
        self.allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None

    def serve(self) -> None:
        """Obey until the order to end."""
        orders: dict[str, Callable[..., Message]] = {
            "calibrate": self.calibrate,
            "batch": self.batch,
            "probe": self.probe,
        }
        try:
            while (order := self.channel.hear())["do"] != "end":
                name = order.pop("do")
                answer = orders[name](**order)
                self.channel.leave_if_forked()
                self.channel.say(**{"is": name, **answer})
        finally:
            self.channel.leave_if_forked()
            gc.unfreeze()
            if self.cpu is not None and self.allowed is not None:
                os.sched_setaffinity(0, self.allowed)

    def calibrate(self, seconds: float) -> Message:
        """Warm up, and tell how long a call takes; from here on what exists is no garbage."""
        before = resource.getrusage(resource.RUSAGE_SELF)
        children, total = children_ns(), 0
        first_cpu, first_wall = self.target.time(1)
        cpu, wall, calls, loops = float(first_cpu), float(first_wall), 1, 1
        while total < seconds * 1e9 and calls < 100_000:
            unit_cpu, unit_wall = self.target.time(loops)
            cpu, wall = min(cpu, unit_cpu / loops), min(wall, unit_wall / loops)
            total, calls = total + unit_wall, calls + loops
            if self.target.repeatable and unit_wall < 100_000:
                loops *= 2
        after = resource.getrusage(resource.RUSAGE_SELF)
        in_children = (children_ns() - children) / calls
        self.with_children = in_children > 0
        gc.collect()
        gc.freeze()
        return {
            "cpu": cpu + in_children,
            "wall": wall,
            "first": first_wall,
            "waits": (after.ru_nvcsw - before.ru_nvcsw) / calls,
            "children": in_children,
            "repeatable": self.target.repeatable,
        }

    def batch(self, units: int, loops: int, cpu: int | None) -> Message:
        """Time `units` groups of `loops` calls on that processor; give the least time of a call, in ns."""
        if cpu is not None and cpu != self.cpu:
            os.sched_setaffinity(0, {cpu})
            self.cpu = cpu
        enabled = gc.isenabled()
        gc.collect()
        gc.disable()
        tracer, profiler = sys.gettrace(), sys.getprofile()
        sys.settrace(None)
        sys.setprofile(None)
        try:
            times = [self._time(loops) for _ in range(units)]
        finally:
            sys.settrace(tracer)
            sys.setprofile(profiler)
            if enabled:
                gc.enable()
        least, wall = (min(column) / loops for column in zip(*times, strict=True))
        self.per_call_ns.append(wall)
        return {"cpu": least, "wall": wall}

    def _time(self, loops: int) -> tuple[int, int]:
        if not self.with_children:
            return self.target.time(loops)
        before = children_ns()
        cpu, wall = self.target.time(loops)
        return cpu + children_ns() - before, wall

    def probe(self, name: str) -> Message:
        """Look at one call with a probe of `probes.py`."""
        answer: Message = load_probes()[name](self.target.call)
        return answer


def load_probes() -> dict[str, Callable[[Callable[[], None]], Message]]:
    """Give the probes, which are loaded when the first of them is asked for."""
    name = "_trainkit_bench_probes"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("probes.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    probes: dict[str, Callable[[Callable[[], None]], Message]] = sys.modules[name].PROBES
    return probes


class Plugin:
    """Collects the benchmarks, and runs those that the parent names in its order."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.errors: list[tuple[str, str]] = []
        self.item = ""
        self.outcome: tuple[str, str] = ("passed", "")

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        """Switch off what would measure, save, stop or distribute beside us."""
        if not hasattr(config.option, "benchmark_skip"):
            self._give_up("pytest-benchmark is not installed, or switched off by `-p no:benchmark`")
        ours: dict[str, object] = {
            **dict.fromkeys(("skip", "only", "disable", "autosave"), False),
            **dict.fromkeys(("save", "json", "compare", "cprofile"), None),
            "enable": True,
            "compare_fail": [],
            "histogram": [],
        }
        values = {f"benchmark_{name}": value for name, value in ours.items()}
        values |= {"maxfail": 0, "numprocesses": None, "dist": "no", "tx": [], "timeout": 0, "usepdb": False}
        for name, value in values.items():
            if hasattr(config.option, name):
                setattr(config.option, name, value)
        self._replace_fixture()

    def _give_up(self, message: str) -> NoReturn:
        self.channel.say(**{"is": "refused", "message": message})
        raise pytest.UsageError(message)

    def _replace_fixture(self) -> None:
        from pytest_benchmark.fixture import BenchmarkFixture

        def _raw(fixture: Any, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            return self._serve(fixture, Target(function, args, kwargs))

        def _raw_pedantic(
            fixture: Any,
            target: Callable[..., Any],
            args: Any = (),
            kwargs: Any = None,
            setup: Any = None,
            teardown: Any = None,
            **_: Any,  # rounds and iterations are ours to choose
        ) -> Any:
            return self._serve(fixture, Target(target, args, kwargs, setup=setup, teardown=teardown))

        BenchmarkFixture._raw = _raw  # type: ignore[assignment,method-assign]
        BenchmarkFixture._raw_pedantic = _raw_pedantic  # type: ignore[assignment,method-assign]

    def _serve(self, fixture: Any, target: Target) -> Any:
        self.channel.leave_if_forked()
        server = Server(self.channel, target)
        self.channel.say(
            **{"is": "ready", "name": self.item, "group": fixture.group, "params": repr(fixture.params)}
        )
        server.serve()
        stats = fixture._make_stats(1)  # for tests that look at `benchmark.stats`
        for value in server.per_call_ns or [0.0]:
            stats.update(value / 1e9)
        return target.result

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keep what could not be collected."""
        if report.failed:
            self.errors.append((report.nodeid, str(report.longrepr)[-2000:]))

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Tell what there is, hear what to run, and run it."""
        items = {
            item.nodeid: item for item in session.items if "benchmark" in getattr(item, "fixturenames", ())
        }
        self.channel.say(
            **{
                "is": "collected",
                "items": {name: describe(item) for name, item in items.items()},
                "errors": self.errors,
                "fixed": is_layout_fixed(),
            }
        )
        plan = [items[name] for name in self.channel.hear()["items"]]
        for item, following in zip(plan, [*plan[1:], None], strict=False):
            self.item, self.outcome = item.nodeid, ("passed", "")
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            self.channel.leave_if_forked()
            outcome, words = self.outcome
            self.channel.say(**{"is": "finished", "name": item.nodeid, "outcome": outcome, "words": words})
        self.channel.say(**{"is": "ended", "modules": sorted(sys.modules)})
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the worst that was said of the running benchmark."""
        if report.outcome != "passed" and self.outcome[0] != "failed":
            self.outcome = (report.outcome, explain(report))


def explain(report: pytest.TestReport) -> str:
    """Give the error, without the source around it."""
    lines = str(report.longrepr).splitlines()
    errors = [line for line in lines if line.startswith("E  ")]
    return "\n".join(errors[-8:] or lines[-8:])


def describe(item: pytest.Item) -> dict[str, Any]:
    """Tell what a benchmark is: where it stands, and a digest of its code that its name does not change."""
    function = getattr(item, "function", None)
    callspec = getattr(item, "callspec", None)
    variant = callspec.id if callspec is not None else ""
    try:
        source = inspect.getsource(inspect.unwrap(function))  # type: ignore[arg-type]
        tree: Any = ast.parse(textwrap.dedent(source))
        tree.body[0].name = "_"
        code = ast.dump(tree)
    except (OSError, SyntaxError, TypeError, AttributeError, IndexError):
        code = item.name
    digest = hashlib.sha256(f"{code} {variant}".encode()).hexdigest()[:16]
    return {"digest": digest, "line": (item.location[1] or 0) + 1}


def is_layout_fixed() -> bool:
    """Say whether this process has the layout that each start has, and the hash seed."""
    try:
        flags = int(Path("/proc/self/personality").read_text(), 16)
    except (OSError, ValueError):
        return False
    return bool(flags & 0x0040000) and sys.flags.hash_randomization == 0


def main() -> NoReturn:
    """Run pytest on the arguments, and leave with its status."""
    channel = Channel(int(os.environ.pop("TRAINKIT_BENCH_FD")))
    arguments = ["-q", "-p", "no:cacheprovider", "--rootdir=.", *sys.argv[1:]]
    if importlib.util.find_spec("pytest_cov"):
        arguments.append("--no-cov")
    if importlib.util.find_spec("pytest_randomly"):
        arguments += ["-p", "no:randomly"]
    # What `python -m pytest` does: the folder that it runs in comes first.
    sys.path[0] = str(Path.cwd())
    status = int(pytest.main(arguments, plugins=[Plugin(channel)]))
    channel.say(**{"is": "left", "status": status})
    sys.exit(status)
