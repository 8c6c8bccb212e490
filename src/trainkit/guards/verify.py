"""The verify guard: configured training commands on both sides, with the place where they part."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field

from trainkit.guards.context import Context
from trainkit.settings import check_inside
from trainkit.verdict import Finding, Measurement, Severity, Status, Verdict
from trainkit.verify.options import RunOptions, check_paths
from trainkit.verify.result import Verification
from trainkit.verify.verify import verify_trees

_WORST_FIRST = (
    Status.DIVERGED,
    Status.ERROR,
    Status.UNSTABLE,
    Status.NOT_COMPARABLE,
    Status.INCONCLUSIVE,
    Status.NOTED,
    Status.IDENTICAL,
)
_RULES = {
    Status.DIVERGED: "verify-diverged",
    Status.ERROR: "verify-broke",
    Status.UNSTABLE: "verify-unstable",
    Status.NOT_COMPARABLE: "verify-not-comparable",
    Status.INCONCLUSIVE: "verify-inconclusive",
}


@dataclass(frozen=True)
class VerifyRun:
    """`[tool.trainkit.verify.runs.NAME]`: a command as one types it, and what it needs."""

    command: str
    share: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    setup: str = ""
    steps: int = field(default=0, metadata={"min": 0})
    timeout_s: float = field(default=1800.0, metadata={"min": 1})

    def __post_init__(self) -> None:
        self.options()
        for path in self.share:
            check_inside("share", path)

    def options(self) -> RunOptions:
        """Give what the use case is asked.

        Raises:
            ValueError: the command cannot be split into words, or is empty.
        """
        return RunOptions(
            command=tuple(shlex.split(self.command)),
            share=self.share,
            env=self.env,
            setup=self.setup,
            steps=self.steps,
            timeout_s=self.timeout_s,
        )


@dataclass(frozen=True)
class VerifySettings:
    """`[tool.trainkit.verify]`: the runs by name."""

    runs: dict[str, VerifyRun] = field(default_factory=dict)


SETTINGS = VerifySettings


def check(context: Context) -> Verdict:
    """Verify every configured run; without a baseline there is nothing to compare with."""
    settings = context.parse(VerifySettings)
    why = "no runs configured: [tool.trainkit.verify.runs.NAME]" if not settings.runs else ""
    why = why or ("needs a baseline: --base REF" if context.baseline is None else "")
    if why or context.baseline is None:
        return Verdict(guard=context.name, status=Status.SKIPPED, summary=why)
    results: dict[str, Verification] = {}
    for name, run in settings.runs.items():
        check_paths(context.root, run.options())

        def say(what: str, name: str = name) -> None:
            context.progress(f"{name}: {what}")

        results[name] = verify_trees(context.baseline, context.candidate, run.options(), progress=say)
    statuses = {result.status for result in results.values()}
    return Verdict(
        guard=context.name,
        status=next(status for status in _WORST_FIRST if status in statuses),
        summary="; ".join(f"{name} {result.summary}" for name, result in results.items()),
        findings=tuple(
            finding for name, result in results.items() for finding in _list_findings(name, result)
        ),
        measurements=tuple(
            Measurement(name=f"{name}: compared steps", value=result.comparison.num_steps, unit="steps")
            for name, result in results.items()
            if result.comparison
        ),
    )


def _list_findings(name: str, result: Verification) -> Iterator[Finding]:
    if result.status not in {Status.IDENTICAL, Status.NOTED}:
        yield _describe(name, result)
    if result.notes:
        message = f"{name}: what differs beside the numbers"
        yield Finding(rule="verify-noted", message=message, severity=Severity.NOTE, evidence=result.notes)


def _describe(name: str, result: Verification) -> Finding:
    """Give what differs first, at the line of the candidate that is the nearest to it."""
    lead = result.lead
    place = result.place
    return Finding(
        rule=_RULES[result.status],
        message=f"{name} {result.summary}",
        file=place.file if place else "",
        line=place.line if place else 0,
        expected=lead.expected if lead else "",
        actual=lead.actual if lead else "",
        evidence=(*result.tell_places(), *map(str, result.others), *result.evidence),
        hint=f"all of it: trainkit verify --base REF -- {result.command}",
    )
