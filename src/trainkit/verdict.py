"""What a guard hands over: a `Verdict` with its `Finding`s and `Measurement`s. Values only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """The outcome of one guard; what it means for the exit status is in `exit_status`."""

    IDENTICAL = "identical"
    NOTED = "identical, with notes"  # facts changed, numbers did not
    PASSED = "passed"
    DIVERGED = "diverged"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"  # nothing was trained: equality would mean nothing
    UNSTABLE = "unstable"  # the baseline differs from itself: no judgement
    NOT_COMPARABLE = "not comparable"  # another environment
    ERROR = "error"  # a run broke
    SKIPPED = "skipped"  # never counted as passed


class Severity(StrEnum):
    """How much a finding weighs: only an `ERROR` makes its guard fail."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One complaint: `rule` is a slug of docs/messages.md, `file` is relative to the project."""

    rule: str
    message: str
    severity: Severity = Severity.ERROR
    file: str = ""
    line: int = 0
    expected: str = ""
    actual: str = ""
    evidence: tuple[str, ...] = ()
    hint: str = ""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One figure: `how` says how it was taken (runs, spread), `baseline` is the trusted side's."""

    name: str
    value: float
    unit: str
    baseline: float | None = None
    how: str = ""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What one guard says of the candidate; `summary` is one line for the table."""

    guard: str
    status: Status
    summary: str
    findings: tuple[Finding, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    duration_s: float = 0.0


_GOOD = {Status.IDENTICAL, Status.NOTED, Status.PASSED}
_BAD = {Status.DIVERGED, Status.FAILED}
_UNJUDGED = {Status.INCONCLUSIVE, Status.UNSTABLE, Status.NOT_COMPARABLE, Status.ERROR}


def exit_status(verdicts: Iterable[Verdict]) -> int:
    """Give 1 when a guard failed, else 3 when one could not judge or none judged at all, else 0."""
    statuses = {verdict.status for verdict in verdicts}
    if statuses & _BAD:
        return 1
    if statuses & _UNJUDGED or not statuses & _GOOD:
        return 3
    return 0


def exit_status_of(status: Status) -> int:
    """Give 0 for a good outcome, 1 for a bad one, 3 when nothing could be judged."""
    return 0 if status in _GOOD else 1 if status in _BAD else 3


def status_of(findings: Iterable[Finding]) -> Status:
    """Give `FAILED` when one of the findings is an error, else `PASSED`."""
    bad = any(finding.severity is Severity.ERROR for finding in findings)
    return Status.FAILED if bad else Status.PASSED
