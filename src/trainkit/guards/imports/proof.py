"""Does a tree behave as the baseline: the same outcome of every test, and bitwise identical training."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainkit.errors import CannotJudgeError
from trainkit.repo.process import WITHOUT_COVERAGE, prove_sources, run_in_tree
from trainkit.repo.trees import Tree, copy_tree
from trainkit.verdict import Status
from trainkit.verify.judge import judge_runs
from trainkit.verify.options import RunOptions
from trainkit.verify.run import Run, record_run

_GOOD = {Status.IDENTICAL, Status.NOTED}


@dataclass(frozen=True)
class Outcome:
    """What a test command ended with: its exit status, and the outcome of each test if it was pytest."""

    returncode: int
    cases: dict[str, str]
    evidence: tuple[str, ...]

    def count(self) -> str:
        """Say how many tests ended how."""
        counted = Counter(self.cases.values())
        return (
            ", ".join(f"{counted[each]} {each}" for each in sorted(counted))
            or f"exit status {self.returncode}"
        )


class Proof:
    """Holds what the baseline does, which is found out once, when it is first needed."""

    def __init__(
        self, baseline: Tree, *, tests: tuple[str, ...], training: RunOptions | None, share: tuple[str, ...],
        timeout_s: float, progress: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._baseline, self._tests, self._training = baseline, tests, training
        self._share, self._timeout_s, self._progress = share, timeout_s, progress
        self._expected: Outcome | None = None
        self._unstable: set[str] | None = None
        self._trained: Run | None = None
        self._num_runs = 0
        self.shown: list[str] = []

    def find_difference(self, candidate: Tree) -> str:
        """Give the first thing in which a tree behaves otherwise than the baseline, or "".

        Raises:
            CannotJudgeError: the baseline proves nothing: no test passes, or training does not repeat.
        """
        self.shown = []
        return (self._compare_tests(candidate) if self._tests else "") or (
            self._compare_training(candidate, self._training) if self._training else ""
        )

    def _compare_tests(self, candidate: Tree) -> str:
        if self._expected is None:
            self._progress("testing the baseline")
            self._expected = self._test(self._baseline)
            if "passed" not in self._expected.cases.values() and (
                self._expected.cases or self._expected.returncode
            ):
                message = (
                    f"on the baseline no test passes ({self._expected.count()}): nothing would be proven"
                )
                raise CannotJudgeError("proof-empty", message, evidence=self._expected.evidence)
        self._progress("testing the edited tree")
        actual = self._test(candidate)
        differing = _list_differing(self._expected, actual)
        if differing and self._unstable is None:  # is it us, or tests that differ from themselves?
            self._progress("testing the baseline again")
            self._unstable = set(_list_differing(self._expected, self._test(self._baseline)))
        differing = [each for each in differing if each not in (self._unstable or ())]
        if not differing:
            unstable = f", {len(self._unstable)} of them unstable" if self._unstable else ""
            self.shown.append(f"tests: {actual.count()}, each as on the baseline{unstable}")
            return ""
        more = f" and {len(differing) - 1} more" if len(differing) > 1 else ""
        case = differing[0]
        before, after = (each.cases.get(case, "absent") for each in (self._expected, actual))
        if not case:
            before, after = f"status {self._expected.returncode}", f"status {actual.returncode}"
        return f"{case or 'the test command'}: {before} -> {after}{more}"

    def _test(self, tree: Tree) -> Outcome:
        with copy_tree(tree, share=self._share) as copy:
            report = copy.scratch / "junit.xml"
            options = f"{os.environ.get('PYTEST_ADDOPTS', '')} -p no:cacheprovider --junitxml={report}"
            done = run_in_tree(
                copy, self._tests, timeout_s=self._timeout_s, prove=False,
                environment=WITHOUT_COVERAGE | {"PYTEST_ADDOPTS": options.strip()},
            )  # fmt: skip
            prove_sources(copy, done)
            return Outcome(done.returncode, _read_cases(report), done.last_words())

    def _compare_training(self, candidate: Tree, options: RunOptions) -> str:
        if self._trained is None:
            self._trained = self._record(self._baseline, options, "training the baseline")
            again = self._record(self._baseline, options, "training the baseline again")
            control = judge_runs(self._trained, again)
            if control.status not in _GOOD:
                said = f"the baseline's own training is no proof: {control.status}, {control.summary}"
                raise CannotJudgeError("proof-empty", said, evidence=control.evidence)
        actual = self._record(candidate, options, "training the edited tree")

        def record(side: str, deep: Mapping[str, Any]) -> Run:
            tree = self._baseline if side == "baseline" else candidate
            return self._record(tree, options, f"recording the {side} in full", deep)

        try:
            result = judge_runs(self._trained, actual, record=record, deep=False)
        except CannotJudgeError as error:
            return f"training: {error}"
        if result.status in _GOOD:
            steps = result.comparison.num_steps if result.comparison else 0
            self.shown.append(f"training: {result.status} over {steps} steps of `{options.shown()}`")
            return ""
        return f"training: {result.status}, {result.summary}"

    def _record(
        self, tree: Tree, options: RunOptions, what: str, deep: Mapping[str, Any] | None = None
    ) -> Run:
        self._progress(what)
        self._num_runs += 1
        return record_run(tree, options, into=tree.scratch / f"trace-{self._num_runs}", deep=deep)


def _list_differing(expected: Outcome, actual: Outcome) -> list[str]:
    cases = sorted({*expected.cases, *actual.cases})
    differing = [case for case in cases if expected.cases.get(case) != actual.cases.get(case)]
    return differing or ([""] if expected.returncode != actual.returncode else [])


def _read_cases(report: Path) -> dict[str, str]:
    """Read pytest's own report; of another program there is none, and its exit status must do."""
    cases: dict[str, str] = {}
    if not report.exists():
        return cases
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314  # pytest has just written it
        name = f"{case.get('classname')}::{case.get('name')}"
        while name in cases:
            name += "'"
        kinds = {child.tag for child in case} & {"failure", "error", "skipped"}
        cases[name] = (
            {"failure": "failed", "error": "error", "skipped": "skipped"}[min(kinds)] if kinds else "passed"
        )
    return cases
