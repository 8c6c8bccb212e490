"""Workers side by side, and rounds in lock-step: only one of them runs at any time."""

from __future__ import annotations

import json
import math
import os
import select
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

from trainkit.errors import CannotJudgeError
from trainkit.guards.bench.layout import make_fixer, pad_environment
from trainkit.guards.bench.rule import Interval, bound_median, num_values_needed, resolution_of
from trainkit.repo.process import Running, prove_sources, start_in_tree
from trainkit.repo.trees import Tree

_WORKER = Path(__file__).with_name("worker.py")
_BATCH_NS = 10e6  # a batch is as many calls as fit, and one at least
_UNIT_NS = 0.2e6  # calls shorter than this are timed in groups
_CALIBRATION_S = 0.05
_SLOW_NS = 50e6  # calls longer than this are measured until a slow-down worth naming would show, no further
_SLOW_ROUNDS = 24
_ROUNDS_AT_A_TIME = 6  # all orders of three workers
_MOST_ROUNDS = 240
_SECONDS = 6.0  # of measuring one benchmark in one pair, once there are enough rounds for a bound
_MOST_WAIT = 4  # times that long by the clock, on a machine that gives us a part of a core
_START_S = 120.0  # what imports and collection may take longer than an answer
Message = dict[str, Any]


class LostWorkerError(Exception):
    """A worker died or does not answer; `name` is the benchmark that it was at."""

    def __init__(self, side: str, reason: str, evidence: tuple[str, ...]) -> None:
        super().__init__(reason)
        self.side, self.reason, self.evidence = side, reason, evidence


class Worker:
    """The parent's end of one worker."""

    def __init__(self, tree: Tree, running: Running, connection: socket.socket, timeout_s: float) -> None:
        self.tree, self.running, self.timeout_s = tree, running, timeout_s
        self._connection = connection
        self._buffer = b""

    def say(self, do: str, **more: Any) -> None:
        """Send an order."""
        try:
            self._connection.sendall(json.dumps({"do": do, **more}).encode() + b"\n")
        except OSError:
            raise self._lose() from None

    def hear(self, more_s: float = 0.0) -> Message:
        """Wait for an answer, `more_s` seconds longer than usual.

        Raises:
            LostWorkerError: it died, or was silent for `timeout_s` seconds.
        """
        timeout_s = self.timeout_s + more_s
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._connection], [], [], left)[0]:
                reason = f"no answer for {timeout_s:g} s: it hangs, or timeout_s is too short"
                raise LostWorkerError(self.tree.side, reason, ())
            try:
                data = self._connection.recv(1 << 16)
            except ConnectionResetError:
                data = b""
            if not data:
                raise self._lose()
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer: Message = json.loads(line)
        return answer

    def _lose(self) -> LostWorkerError:
        done = self.running.finish(timeout_s=2)
        code = done.returncode
        how = f"signal {-code}" if code < 0 else f"exit status {code}"
        return LostWorkerError(self.tree.side, f"the process ended with {how}", done.last_words())

    def ask(self, do: str, **more: Any) -> Message:
        """Send an order and wait for its answer; a benchmark that raises answers `finished`."""
        self.say(do, **more)
        return self.hear()

    def expect(self, kind: str, more_s: float = 0.0) -> Message:
        """Wait for a message of that kind.

        Raises:
            CannotJudgeError: pytest says that it cannot run at all.
        """
        answer = self.hear(more_s)
        if answer["is"] != kind:
            done = self.running.finish(timeout_s=5)
            said = answer.get("message") or explain_pytest(done.stdout, done.stderr)
            raise LostWorkerError(
                self.tree.side, "pytest cannot run", (said,) if isinstance(said, str) else said
            )
        return answer

    def leave(self) -> None:
        """Let it end, and make sure that it ran on its own sources."""
        self.expect("left")
        done = self.running.finish(timeout_s=30)
        if done.returncode in {0, 1}:
            prove_sources(self.tree, done)


def explain_pytest(stdout: str, stderr: str) -> tuple[str, ...]:
    """Give pytest's own words about what is wrong, without the warnings around them."""
    lines = [line for line in stdout.splitlines() if line.startswith(("E  ", "ERROR", "FAILED"))]
    return tuple(lines[-12:] or (stderr.strip() or stdout.strip()).splitlines()[-12:])


@dataclass(frozen=True, kw_only=True)
class Suite:
    """How the benchmarks are run: where they are, what narrows them, and for how long an answer may take."""

    folder: str
    keyword: str = ""
    timeout_s: float = 120.0


@contextmanager
def open_worker(tree: Tree, suite: Suite, pad: int) -> Iterator[Worker]:
    """Start one worker in its tree."""
    ours, theirs = socket.socketpair()
    # Not as a script: its file is ours, and must not count among the sources that the program has loaded.
    start = f"import runpy; runpy.run_path({str(_WORKER)!r})['main']()"
    command = ["python", "-c", start, suite.folder, *(["-k", suite.keyword] if suite.keyword else [])]
    environment = {"TRAINKIT_BENCH_FD": str(theirs.fileno()), "COLUMNS": "200", **pad_environment(pad)}
    with ours, ExitStack() as stack:
        running = stack.enter_context(
            start_in_tree(
                tree,
                command,
                shown=f"pytest --benchmark {suite.folder}",
                environment=environment,
                pass_fds=[theirs.fileno()],
                before_exec=make_fixer(),
            )
        )
        theirs.close()
        yield Worker(tree, running, ours, suite.timeout_s)


@dataclass
class Sample:
    """What one pair of workers (and perhaps a control) said of one benchmark."""

    name: str
    clock: str = "cpu"
    rounds: list[list[Message]] = field(default_factory=list)  # one row per round, one answer per worker
    probes: dict[str, list[list[Message]]] = field(default_factory=dict)  # name -> one row per look
    calibration: list[Message] = field(default_factory=list)
    units: int = 1
    loops: int = 1
    broken: dict[str, str] = field(default_factory=dict)  # side -> why
    params_differ: bool = False

    def log_ratios(self, worker: int, clock: str | None = None) -> list[float]:
        """Give one value a round: that worker over the first. No call takes less than 1 ns."""
        key = clock or self.clock
        return [math.log(max(row[worker][key], 1.0) / max(row[0][key], 1.0)) for row in self.rounds]

    def interval(self, alpha: float, worker: int = 1, clock: str | None = None) -> Interval:
        """Give the change with its bounds."""
        return bound_median(self.log_ratios(worker, clock), alpha)

    def choose_cpu(self) -> int | None:
        """Give the processor that all workers run the next round on; None to leave it to the system.

        What else a core does slows a worker for seconds if they run on different ones: by up to 28 %.
        Every six rounds it is the next one's turn. Children, and what waits for others, run where they like.
        """
        if self.clock != "cpu" or any(said["children"] for said in self.calibration):
            return None
        allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        turn = len(self.rounds) // _ROUNDS_AT_A_TIME
        return allowed[turn % len(allowed)] if allowed else None

    def spent_s(self) -> float:
        """Give about how long the workers have measured, in seconds of the benchmark's clock."""
        calls = self.units * self.loops / 1e9
        return float(sum(said[self.clock] * calls for row in self.rounds for said in row))

    def best(self, worker: int) -> float:
        """Give the least time of a call, in seconds."""
        return float(min(row[worker][self.clock] for row in self.rounds)) / 1e9


# Each worker follows each other as often as any, and each round is the one before it reversed or shifted.
_ORDERS = {
    1: ((0,),),
    2: ((0, 1), (1, 0)),
    3: ((0, 1, 2), (2, 1, 0), (1, 2, 0), (0, 2, 1), (2, 0, 1), (1, 0, 2)),
}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to measure in one pair: how sure, with which margins, and what else to look at."""

    alpha: float
    margins: dict[str, float]
    probes: tuple[str, ...] = ()


def measure(
    workers: Sequence[Worker],
    names: Sequence[str],
    plan: Plan,
    tell: Callable[[str], None],
    modules: list[list[str]],
) -> Iterator[Sample]:
    """Measure the benchmarks in the order that each worker has; `modules` gets what each has imported.

    Raises:
        LostWorkerError: a worker is gone; the samples until then were given.
    """
    for worker in workers:
        worker.say("plan", items=list(names))
    for name in names:
        tell(name)
        yield _measure_one(workers, Sample(name), plan)
    modules += [worker.expect("ended")["modules"] for worker in workers]


def _measure_one(workers: Sequence[Worker], sample: Sample, plan: Plan) -> Sample:
    waiting = []
    params = set()
    for worker in workers:
        answer = worker.hear()
        if answer["is"] == "ready":
            waiting.append(worker)
            params.add(answer["params"])
        else:
            sample.broken[worker.tree.side] = _explain_finished(answer)
    sample.params_differ = len(params) > 1
    if not sample.broken:
        _run_rounds(waiting, sample, plan)
    for worker in waiting:
        worker.say("end")
    for worker in waiting:
        answer = worker.hear()
        while answer["is"] != "finished":
            answer = worker.hear()
        if answer["outcome"] != "passed":
            sample.broken.setdefault(worker.tree.side, _explain_finished(answer))
    return sample


def _explain_finished(answer: Message) -> str:
    if answer["outcome"] == "passed":
        return "it called no benchmark"
    return f"{answer['outcome']}: {answer['words']}"


class _FinishedError(Exception):
    """A benchmark ended where it should have answered."""


def _ask(worker: Worker, sample: Sample, waiting: list[Worker], do: str, **more: Any) -> Message:
    answer = worker.ask(do, **more)
    if answer["is"] == "finished":
        waiting.remove(worker)
        sample.broken[worker.tree.side] = _explain_finished(answer)
        raise _FinishedError
    return answer


def _run_rounds(waiting: list[Worker], sample: Sample, plan: Plan) -> None:
    workers = list(waiting)
    try:
        sample.calibration = [
            _ask(worker, sample, waiting, "calibrate", seconds=_CALIBRATION_S) for worker in workers
        ]
        _choose(sample)
        deadline = time.monotonic() + _MOST_WAIT * _SECONDS
        for order in cycle(_ORDERS[len(workers)]):
            if has_enough_rounds(sample, plan, len(workers), late=time.monotonic() > deadline):
                break
            size = {"units": sample.units, "loops": sample.loops, "cpu": sample.choose_cpu()}
            row: list[Message] = [{} for _ in workers]
            for index in order:
                row[index] = _ask(workers[index], sample, waiting, "batch", **size)
            sample.rounds.append(row)
        for name in plan.probes:
            row = [_ask(worker, sample, waiting, "probe", name=name) for worker in workers]
            sample.probes.setdefault(name, []).append(row)
    except _FinishedError:
        pass


def _choose(sample: Sample) -> None:
    """Choose the clock, and the size of a batch: CPU time, unless one side gives its CPU away in each call.

    A busy machine takes the CPU away, too, but those switches are not voluntary. Time on a GPU would be one
    more clock here: events around each batch.
    """
    sample.clock = "wall" if any(_waits(said) for said in sample.calibration) else "cpu"
    said = sample.calibration[0]
    per_call = max(1.0, said["wall"])
    sample.loops = max(1, math.ceil(_UNIT_NS / per_call)) if said["repeatable"] else 1
    sample.units = max(1, round(_BATCH_NS / (per_call * sample.loops)))


def _waits(said: Message) -> bool:
    by_itself = said["waits"] >= 1 and said["children"] < said["cpu"] / 2
    return bool(by_itself and said["cpu"] < 0.9 * said["wall"])


def has_enough_rounds(sample: Sample, plan: Plan, num_workers: int, *, late: bool) -> bool:
    """Say whether more rounds are not worth their time: the width decides, never the direction."""
    number, margin = len(sample.rounds), plan.margins[sample.name]
    is_slow = sample.calibration[0]["wall"] > _SLOW_NS
    if number < num_values_needed(plan.alpha) + (1 if is_slow else 5):
        return False
    if number % _ROUNDS_AT_A_TIME and not is_slow:
        return False
    if late or num_workers == 1 or number >= (_SLOW_ROUNDS if is_slow else _MOST_ROUNDS):
        return True
    if sample.spent_s() > _SECONDS and not is_slow:
        return True
    return _is_narrow(sample, plan.alpha, resolution_of(margin) - margin if is_slow else margin)


def _is_narrow(sample: Sample, alpha: float, margin: float) -> bool:
    interval = sample.interval(alpha)
    return max(interval.estimate - interval.low, interval.high - interval.estimate) <= margin


def collect(worker: Worker) -> Message:
    """Wait until a worker has collected; its benchmarks, what could not be collected, and its layout."""
    return worker.expect("collected", _START_S)


def refuse_broken(error: LostWorkerError) -> CannotJudgeError:
    """Give the error of a worker that could not even begin."""
    message = f"the benchmarks cannot be run on the {error.side} side: {error.reason}"
    return CannotJudgeError("bench-failed", message, evidence=error.evidence)
