"""One target on both sides: measured, compared, and timed where that is asked for."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field

from trainkit.errors import CannotJudgeError, UsageError
from trainkit.guards.context import Context
from trainkit.guards.imports.compare import Comparison, compare
from trainkit.guards.imports.measure import Imported, Target, measure
from trainkit.guards.imports.target import explain_missing, find_target
from trainkit.guards.imports.times import Times, time_pairs


@dataclass(frozen=True)
class TargetSettings:
    """What one target may bring: `forbid` names families (`torch` means `torch.nn` too).

    `ratchet`: no module and no shared object more than at the baseline.
    """

    forbid: tuple[str, ...] = ()
    max_seconds: float = field(default=5.0, metadata={"min": 0})  # CPU, fastest of three processes at most
    max_modules: int | None = field(default=None, metadata={"min": 0})
    ratchet: bool = False
    command: str = ""  # what is run; the target's name is then only a name

    def __post_init__(self) -> None:
        for name in self.forbid:
            if not all(part.isidentifier() for part in name.split(".")):
                raise ValueError(f"forbid: {name!r} is no module's name")
        try:
            shlex.split(self.command)
        except ValueError as error:
            raise ValueError(f"command: {self.command!r}: {error}") from error


@dataclass(frozen=True)
class Examined:
    """What was found of one target."""

    settings: TargetSettings
    target: Target
    now: Imported
    before: Imported | None
    comparison: Comparison
    times: Times | None = None
    unmeasured: str = ""  # why the baseline, which has it, was not


def examine(context: Context, name: str, settings: TargetSettings, num_pairs: int) -> Examined:
    """Measure a target on the candidate, and on the baseline if there is one.

    Raises:
        UsageError: there is no such target.
        CannotJudgeError: the candidate's run failed, or a side did not load its own sources.
    """
    baseline, candidate = context.baseline, context.candidate
    target = find_target(candidate, name, settings.command)
    try:
        now = measure(candidate, target, prove=baseline is not None)
    except CannotJudgeError as error:
        if missing := explain_missing(candidate, target, error.evidence):
            raise UsageError("unknown-target", missing) from error
        raise
    if baseline is None:
        return Examined(settings, target, now, None, Comparison())
    old = find_target(baseline, name, settings.command)
    try:
        before = measure(baseline, old, prove=True)
    except CannotJudgeError as error:
        if error.slug != "import-failed":
            raise
        is_new = explain_missing(baseline, old, error.evidence)
        why = "" if is_new else next(reversed(error.evidence), "it says nothing")
        return Examined(settings, target, now, None, Comparison(), unmeasured=why)

    def remeasure() -> tuple[Imported, Imported]:
        return measure(baseline, old, prove=True), measure(candidate, target, prove=True)

    comparison = compare(before, now, remeasure)
    times = time_pairs(baseline, candidate, old, target, num_pairs) if num_pairs else None
    return Examined(settings, target, now, before, comparison, times)
