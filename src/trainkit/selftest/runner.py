"""Runs the catalogue: each case planted in a copy of its project, judged, and the judgement checked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from trainkit.errors import CannotJudgeError
from trainkit.repo.signals import hold_signals
from trainkit.repo.trees import Tree
from trainkit.selftest.catalogue import REFACTORS, Case
from trainkit.trace.locate import Edited
from trainkit.trace.store import find_recording
from trainkit.verdict import Status
from trainkit.verify.edits import list_edits, rank_edits
from trainkit.verify.judge import judge_runs
from trainkit.verify.result import Verification
from trainkit.verify.run import PRELOAD, Run, keep_what_repeats

_PROJECTS = Path(__file__).with_name("projects")
_RANKS = {"ddp": 2}
_NEEDS = {"lit": "lightning"}
_TIMEOUT_S = 120.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was said of one case; a refactor has neither a phase nor a line to be right about."""

    case: Case
    status: str
    summary: str
    seen: bool  # a fault: diverged; a refactor: identical
    phase: bool = True
    line: bool = True
    level: bool = True
    skipped: str = ""

    @property
    def good(self) -> bool:
        """Tell whether all that was said is right."""
        return self.seen and self.phase and self.line and self.level


def run_cases(
    cases: Sequence[Case],
    *,
    camouflage: Mapping[str, Case] = {},
    progress: Callable[[str], None] = lambda _: None,
) -> Iterator[Outcome]:
    """Judge each case; `camouflage` gives by name of a fault the refactor under which it is hidden."""
    num_hosts = max(1, min(4, os.cpu_count() or 1))
    with tempfile.TemporaryDirectory(prefix=f"trainkit-{os.getpid()}-selftest-") as folder:
        hosts: SimpleQueue[_Host] = SimpleQueue()
        with (
            _start_hosts(Path(folder).resolve(), num_hosts) as started,
            ThreadPoolExecutor(num_hosts) as pool,
        ):
            for host in started:
                hosts.put(host)

            def one(case: Case) -> Outcome:
                need = _NEEDS.get(case.project)
                if need and find_spec(need) is None:
                    return Outcome(
                        case=case, status="skipped", summary=f"needs {need}", seen=True, skipped=need
                    )
                host = hosts.get()
                try:
                    return _judge_case(host, case, camouflage.get(case.name))
                finally:
                    hosts.put(host)

            for number, outcome in enumerate(pool.map(one, cases), start=1):
                progress(f"{number} of {len(cases)}: {outcome.case.name}")
                yield outcome


def find_camouflage(cases: Sequence[Case]) -> dict[str, Case]:
    """Give for each fault the refactor of its project with the most edits on which it can be planted.

    Raises:
        ValueError: a fault goes with no refactor.
    """
    found: dict[str, Case] = {}
    with tempfile.TemporaryDirectory(prefix=f"trainkit-{os.getpid()}-selftest-") as folder:
        tree = Path(folder, "tree")
        for case in cases:
            refactors = [item for item in REFACTORS if item.project == case.project and case.phases]
            for refactor in sorted(refactors, key=lambda item: -len(item.edits)):
                shutil.rmtree(tree, ignore_errors=True)
                shutil.copytree(_PROJECTS / case.project, tree)
                plant(tree, refactor)
                with suppress(ValueError):
                    plant(tree, case)
                    found[case.name] = refactor
                    break
            else:
                if case.phases:
                    raise ValueError(f"{case.name}: no refactor of {case.project} goes with it")
    return found


def repeat(projects: Sequence[str], times: int, progress: Callable[[str], None]) -> dict[str, list[str]]:
    """Record each project over and over, in turn light and in full, and compare with the first time.

    Gives what was said of runs that were not identical, by project.

    Raises:
        CannotJudgeError: torch, or what a project needs, is not installed.
    """
    alarms: dict[str, list[str]] = {project: [] for project in projects}
    with (
        tempfile.TemporaryDirectory(prefix=f"trainkit-{os.getpid()}-selftest-") as folder,
        _start_hosts(Path(folder).resolve(), 1) as (host,),
    ):
        for project in projects:
            tree = host.folder / "baseline"
            shutil.rmtree(tree, ignore_errors=True)
            shutil.copytree(_PROJECTS / project, tree, ignore=shutil.ignore_patterns("__pycache__"))
            first = {level: host.record(tree, project, {"level": level}) for level in ("light", "full")}
            for number in range(times):
                level = ("light", "full")[number % 2]
                progress(f"{project}: {number + 1} of {times}")
                run = host.record(tree, project, {"level": level})
                result = judge_runs(first[level], run)
                if result.status is not Status.IDENTICAL:
                    alarms[project].append(f"{result.status}: {result.summary}")
                shutil.rmtree(run.recording.paths[0].parent)
    return alarms


class _Host:
    """A process that forks trainings, and the folders it uses."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.baselines: dict[str, Run] = {}
        self._num_runs = 0
        variables = {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        search = os.pathsep.join(
            filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
        )
        self._process = subprocess.Popen(
            [sys.executable, "-m", "trainkit.selftest.host"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | variables | {"PYTHONPATH": search, "COVERAGE_PROCESS_CONFIG": ""},
            text=True,
            start_new_session=True,
        )

    def wait(self) -> None:
        """Wait until it has imported torch.

        Raises:
            CannotJudgeError: it could not be started.
        """
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            raise CannotJudgeError("selftest-host", "the self-test needs torch in this environment")

    def stop(self) -> None:
        """End it, and what it has started."""
        with hold_signals():
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def record(self, tree: Path, project: str, deep: Mapping[str, Any] | None = None) -> Run:
        """Train in a copy of `tree`, which has the same path each time."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._num_runs += 1
        into, work = self.folder / f"trace-{self._num_runs}", self.folder / "work"
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(tree, work)
        into.mkdir()
        output = self.folder / "output.txt"
        environment = {
            "TRAINKIT_TRACE": str(into),
            "TRAINKIT_TRACE_OPTIONS": json.dumps({"level": "light", **(deep or {})}),
            "TRAINKIT_TREE": str(work),
        }
        job = {
            "folder": str(work),
            "script": "train.py",
            "preload": str(PRELOAD),
            "environment": environment,
            "output": str(output),
            "ranks": _RANKS.get(project, 1),
        }
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        status = json.loads(answer)["status"] if answer else -1
        text = output.read_text(errors="replace") if output.exists() else ""
        broke = f"left with status {status}" if status else ""
        evidence = tuple(text.splitlines()[-12:]) if broke else ()
        return Run(side="", recording=find_recording(into), stdout=text, broke=broke, evidence=evidence)


@contextmanager
def _start_hosts(folder: Path, number: int) -> Iterator[list[_Host]]:
    hosts = [_Host(folder / f"host-{index}") for index in range(number)]
    try:
        for host in hosts:
            host.wait()
        yield hosts
    finally:
        for host in hosts:
            host.stop()


def _judge_case(host: _Host, case: Case, hidden_under: Case | None) -> Outcome:
    before, after = host.folder / "baseline", host.folder / "candidate"
    for folder in (before, after):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(_PROJECTS / case.project, folder, ignore=shutil.ignore_patterns("__pycache__"))
    if hidden_under:
        plant(after, hidden_under)
    plant(after, case)
    baseline, candidate = _tree(before, "baseline"), _tree(after, "candidate")
    if case.project not in host.baselines:
        host.baselines[case.project] = _record_twice(host, before, case.project)
    expected = host.baselines[case.project]

    def zoom(side: str, deep: Mapping[str, Any]) -> Run:
        if side == "candidate":
            return host.record(after, case.project, deep)
        key = case.project + json.dumps(deep, sort_keys=True)
        if key not in host.baselines:
            host.baselines[key] = host.record(before, case.project, deep)
        return host.baselines[key]

    actual = host.record(after, case.project)
    edited = list_edits(baseline, candidate)
    result = judge_runs(
        expected, actual, record=zoom, edited=edited, rank=partial(rank_edits, baseline, candidate)
    )
    for run in host.folder.glob("trace-*"):
        if not any(run == path.parent for base in host.baselines.values() for path in base.recording.paths):
            shutil.rmtree(run)
    fault = edited if hidden_under is None else _fault_lines(host, case, hidden_under)
    return _check(case, result, fault)


def _record_twice(host: _Host, folder: Path, project: str) -> Run:
    first, second = host.record(folder, project), host.record(folder, project)
    control = judge_runs(first, second)
    if control.status is not Status.IDENTICAL:
        raise CannotJudgeError("selftest-unstable", f"{project} differs from itself: {control.summary}",
                               evidence=control.evidence)  # fmt: skip
    return keep_what_repeats(first, second)


def _tree(folder: Path, side: str) -> Tree:
    return Tree(side=side, path=folder, origin=folder, revision=side, top=folder, scratch=folder.parent)


def _fault_lines(host: _Host, case: Case, hidden_under: Case) -> tuple[Edited, Edited]:
    """Give the lines that are the fault's alone: on the baseline's side of the project as it was."""
    folders = [host.folder / name for name in ("before-fault", "after-fault", "plain-fault")]
    for folder, planted in zip(folders, ((hidden_under,), (hidden_under, case), (case,)), strict=True):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(_PROJECTS / case.project, folder)
        for item in planted:
            plant(folder, item)
    now = list_edits(_tree(folders[0], ""), _tree(folders[1], ""))[1]
    before = list_edits(_tree(host.folder / "baseline", ""), _tree(folders[2], ""))[0]
    return before, now


def plant(folder: Path, case: Case) -> None:
    """Apply the edits of a case; each must find its text exactly once.

    Raises:
        ValueError: an edit does not apply.
    """
    for edit in case.edits:
        path = folder / edit.file
        if not edit.old:
            path.write_text(edit.new, encoding="utf-8")
            continue
        text = path.read_text(encoding="utf-8")
        if text.count(edit.old) != 1:
            raise ValueError(f"{case.name}: {edit.file} has the text {text.count(edit.old)} times")
        path.write_text(text.replace(edit.old, edit.new), encoding="utf-8")


def _check(case: Case, result: Verification, fault: tuple[Edited, Edited]) -> Outcome:
    summary = result.summary
    if result.evidence:
        summary += " | " + " | ".join(result.evidence[-2:])
    if not case.phases:
        good = result.status in {Status.IDENTICAL, Status.NOTED}
        return Outcome(case=case, status=str(result.status), summary=summary, seen=good)
    if result.cause is None:
        return Outcome(
            case=case, status=str(result.status), summary=summary, seen=False, phase=False, line=False
        )
    named = _names(case, result, fault)
    return Outcome(
        case=case,
        status=str(result.status),
        summary=summary,
        seen=True,
        phase=result.cause.phase in case.phases,
        line=named,
        level=not case.rounding or result.cause.level == "rounding-level",
    )


def _names(case: Case, result: Verification, fault: tuple[Edited, Edited]) -> bool:
    """Tell whether the report shows a line of the fault, on either side, or the thing it must name.

    It shows for each side one edited line, and that of the operation.
    """
    assert result.comparison is not None
    if case.named:
        diverged = result.comparison.first
        differences = diverged.differences if diverged else ()
        said = [result.summary, *map(str, differences), *result.comparison.facts]
        if any(case.named in text for text in said):
            return True
    location = result.location
    if location is None:
        return False
    sides = (
        (location.expected_lines, location.expected, fault[0]),
        (location.actual_lines, location.actual, fault[1]),
    )
    for lines, culprit, edited in sides:
        shown = [*lines[:1], *([culprit.line] if culprit and culprit.line else [])]
        if any(line.line in edited.get(line.file, ()) for line in shown):
            return True
    return False
