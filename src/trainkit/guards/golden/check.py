"""The golden guard: records the configured trainings and judges them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trainkit.errors import CannotJudgeError, TrainkitError
from trainkit.guards.context import Context
from trainkit.guards.golden.file import Golden, read_golden, write_golden
from trainkit.guards.golden.run import Run, record, to_shell
from trainkit.repo.trees import Tree
from trainkit.settings import check_inside, load_table, parse
from trainkit.trace.divergence import Divergence, compare, list_environment_differences, summarise
from trainkit.trace.sides import Summary
from trainkit.verdict import Finding, Measurement, Severity, Status, Verdict
from trainkit.verify.options import RunOptions
from trainkit.verify.verify import look_into

_UPDATE = "if the change is meant: trainkit golden --update (or pytest --golden-update), and commit the file"
_WORST_FIRST = (
    Status.DIVERGED,
    Status.FAILED,
    Status.ERROR,
    Status.UNSTABLE,
    Status.NOT_COMPARABLE,
    Status.PASSED,
    Status.IDENTICAL,
)


@dataclass(frozen=True)
class GoldenSettings:
    """`[tool.trainkit.golden]`: the runs by name, and the folder of their goldens."""

    runs: dict[str, Run] = field(default_factory=dict)
    folder: str = "tests/golden"
    timeout_s: float = field(default=600.0, metadata={"min": 1})

    def __post_init__(self) -> None:
        check_inside("folder", self.folder)
        for name in self.runs:
            if not name.replace("-", "").replace("_", "").isalnum():
                raise ValueError(f"runs.{name!r}: a name is letters, digits, - and _")


SETTINGS = GoldenSettings


@dataclass(frozen=True)
class _Outcome:
    """What is said of one run."""

    status: Status
    summary: str
    findings: tuple[Finding, ...] = ()
    step: int = 0  # of the first divergence


def check(context: Context) -> Verdict:
    """Record every configured run on the candidate and judge it.

    A stored golden judges where this environment computes the same bits as the one that made it.
    Elsewhere the baseline revision is recorded too, and judges; without one: `not comparable`.
    """
    settings = context.parse(GoldenSettings)
    before = _read_baseline_settings(context)
    removed = tuple(_find_removed(settings, before))
    if not settings.runs:
        summary = "no runs configured: [tool.trainkit.golden.runs.NAME]"
        return Verdict(guard=context.name, status=Status.SKIPPED, summary=summary, findings=removed)
    judges = [_Judge(context, settings, before, name) for name in settings.runs]
    outcomes = _explain_first(judges, [judge.judge() for judge in judges])
    return Verdict(
        guard=context.name,
        status=_worst(outcome.status for outcome in outcomes),
        summary="; ".join(
            f"{judge.name} {outcome.summary}" for judge, outcome in zip(judges, outcomes, strict=True)
        ),
        findings=(*(finding for outcome in outcomes for finding in outcome.findings), *removed),
        measurements=tuple(
            Measurement(name=f"{judge.name}: recorded steps", value=judge.num_steps, unit="steps")
            for judge in judges
        ),
    )


def _explain_first(judges: Sequence[_Judge], outcomes: Sequence[_Outcome]) -> list[_Outcome]:
    """Look for the line of the first run that diverged: it takes a few more trainings."""
    explained = list(outcomes)
    statuses = [outcome.status for outcome in outcomes]
    if Status.DIVERGED in statuses:
        first = statuses.index(Status.DIVERGED)
        explained[first] = judges[first].explain(outcomes[first])
    return explained


def _worst(statuses: Iterable[Status]) -> Status:
    seen = set(statuses)
    return next(status for status in _WORST_FIRST if status in seen)


def _read_baseline_settings(context: Context) -> GoldenSettings:
    """Give what the baseline itself guards; nothing when it has no settings that are read today."""
    if context.baseline is None:
        return GoldenSettings()
    try:
        table = load_table(context.baseline.path).get(context.name, {})
        return parse(GoldenSettings, table, where=f"tool.trainkit.{context.name}")
    except (TrainkitError, AttributeError):  # of an older version, or no table at all
        return GoldenSettings()


def _find_counterpart(name: str, run: Run, before: GoldenSettings) -> str:
    """Name the baseline's run that this one is: of the same name, or of the same commands."""
    if name in before.runs:
        return name
    return next((other for other, old in before.runs.items() if old.commands == run.commands), "")


def _find_removed(settings: GoldenSettings, before: GoldenSettings) -> Iterator[Finding]:
    kept = {_find_counterpart(name, run, before) for name, run in settings.runs.items()}
    for name in before.runs.keys() - kept:
        message = f"the baseline's run '{name}' is gone: its training is not guarded any more"
        yield Finding(rule="golden-run-removed", message=message, severity=Severity.WARNING)


class _Judge:
    """One run with all that its verdict depends on."""

    def __init__(self, context: Context, settings: GoldenSettings, before: GoldenSettings, name: str) -> None:
        self.context = context
        self.name = name
        self.num_steps = 0
        self._run = settings.runs[name]
        self._timeout_s = settings.timeout_s
        self._path = Path(settings.folder) / f"{name}.jsonl"
        counterpart = _find_counterpart(name, self._run, before) or name
        self._path_before = Path(before.folder) / f"{counterpart}.jsonl"

    def judge(self) -> _Outcome:
        """Record the candidate and compare it with what can be compared here."""
        self.context.progress(f"{self.name}: training")
        actual = self._record(self.context.candidate)
        summaries = [summarise(process) for process in actual.processes()]
        self.num_steps = sum(summary.num_steps for summary in summaries)
        actual.environment.update(summaries[0].environment)
        vacuous = _explain_vacuous(summaries)
        if vacuous:
            return _Outcome(Status.ERROR, vacuous, (self._find("golden-vacuous", vacuous),))
        if self.context.update:
            return self._update(actual)
        stored = self.context.candidate.path / self._path
        return (
            self._judge_stored(read_golden(stored), actual)
            if stored.exists()
            else self._judge_missing(actual)
        )

    def _judge_stored(self, golden: Golden, actual: Golden) -> _Outcome:
        differences = list_environment_differences(golden.environment, actual.environment)
        if differences:
            return self._judge_by_baseline(golden, actual, ", ".join(differences))
        if golden.commands != actual.commands:
            finding = self._find(
                "golden-other-commands", "the golden was made with other commands", hint=_UPDATE
            )
            return _Outcome(Status.FAILED, "has a golden of other commands", (finding,))
        outcome = self._compare(golden, actual, against=f"the golden {self._path}", hint=_UPDATE)
        if outcome.status is Status.DIVERGED:
            outcome = self._find_unstable(self.context.candidate, actual) or outcome
            if self.context.writable:
                self._write_beside(actual)
        return replace(outcome, findings=outcome.findings + self._find_rebaselined(golden))

    def _judge_missing(self, actual: Golden) -> _Outcome:
        message, hint = f"has no golden {self._path}", "trainkit golden writes it; look at it and commit it"
        if self.context.writable:
            unstable = self._find_unstable(self.context.candidate, actual)
            if unstable:
                return unstable
            write_golden(self.context.root / self._path, actual)
            message, hint = (
                f"had no golden: {self._path} has been written",
                "look at it, commit it, run again",
            )
        return _Outcome(Status.FAILED, message, (self._find("golden-missing", message, hint=hint),))

    def _judge_by_baseline(self, golden: Golden, actual: Golden, why: str) -> _Outcome:
        note = self._find(
            "golden-not-comparable",
            f"the stored golden was made in another environment: {why}",
            severity=Severity.NOTE,
            hint="" if self.context.baseline else "compare two revisions here instead: --base REF",
        )
        baseline = self.context.baseline
        if baseline is None:
            return _Outcome(Status.NOT_COMPARABLE, "is not comparable with its golden here", (note,))
        self.context.progress(f"{self.name}: training the baseline")
        expected = self._record(baseline)
        outcome = self._compare(expected, actual, against=f"the baseline {baseline.revision}")
        if outcome.status is Status.DIVERGED:
            outcome = self._find_unstable(baseline, expected) or self._accept(baseline, golden, outcome)
        return replace(outcome, findings=(*outcome.findings, note))

    def _accept(self, baseline: Tree, golden: Golden, outcome: _Outcome) -> _Outcome:
        """Blame no change whose golden was changed with it: only where that was made is it known."""
        before = baseline.path / self._path_before
        if not before.exists() or read_golden(before).traces == golden.traces:
            return outcome
        message = "differs from the baseline, as does its golden, which was made in another environment"
        hint = "judge it where the golden was made, or make it where the gate runs: trainkit golden --update"
        finding = self._find("golden-rebaselined", message, severity=Severity.WARNING, hint=hint)
        return _Outcome(Status.NOT_COMPARABLE, message, (finding,))

    def explain(self, outcome: _Outcome) -> _Outcome:
        """Name the line where the candidate parts from the baseline, where there is one to compare with."""
        baseline, candidate = self.context.baseline, self.context.candidate
        if baseline is None:
            return outcome
        options = RunOptions(
            command=to_shell(self._run, candidate.origin), timeout_s=self._timeout_s * len(self._run.commands)
        )
        try:
            found = look_into(
                baseline,
                candidate,
                options,
                max(1, outcome.step),
                progress=lambda what: self.context.progress(f"{self.name}: looking for the line: {what}"),
            )
        except CannotJudgeError:  # the verdict stands without it
            return outcome
        first, *rest = outcome.findings
        if found.status in {Status.IDENTICAL, Status.NOTED}:
            said = f"the baseline {baseline.revision} trains like the candidate: the golden is older"
            return replace(outcome, findings=(replace(first, evidence=(said, *first.evidence)), *rest))
        place = found.place
        if found.status is not Status.DIVERGED or place is None:
            return outcome
        evidence = (*found.tell_places(), f"cause: {found.cause}", *first.evidence)
        named = replace(first, file=place.file, line=place.line, evidence=evidence)
        summary = f"{outcome.summary} ({found.cause}, {place})"
        return replace(outcome, summary=summary, findings=(named, *rest))

    def _update(self, actual: Golden) -> _Outcome:
        target = self.context.root / self._path
        with suppress(CannotJudgeError):  # a missing or damaged one is written anew
            before = read_golden(target)
            same = before.commands == actual.commands and before.environment == actual.environment
            if same and self._compare(before, actual, against="").status is Status.IDENTICAL:
                return _Outcome(Status.IDENTICAL, f"{self._path} is up to date")
        unstable = self._find_unstable(self.context.candidate, actual)
        if unstable:
            return unstable
        write_golden(target, actual)
        return _Outcome(Status.PASSED, f"{self._path} has been written: commit it")

    def _record(self, tree: Tree) -> Golden:
        traces = record(tree, self._run, timeout_s=self._timeout_s)
        return Golden({}, list(self._run.commands), traces)

    def _find_unstable(self, tree: Tree, recorded: Golden) -> _Outcome | None:
        """Train once more: what differs from itself is nobody's fault, and no expectation."""
        self.context.progress(f"{self.name}: training the {tree.side} again")
        control = self._compare(recorded, self._record(tree), against=f"another run of the {tree.side}")
        if control.status is Status.IDENTICAL:
            return None
        summary = f"is unstable, the {tree.side} differs from itself: {control.summary}"
        findings = tuple(replace(finding, rule="golden-unstable", hint="") for finding in control.findings)
        return _Outcome(Status.UNSTABLE, summary, findings)

    def _write_beside(self, actual: Golden) -> None:
        """Keep the actual run beside the golden, in a folder that git is told to ignore."""
        folder = self.context.root / self._path.parent / "actual"
        write_golden(folder / self._path.name, actual)
        (folder / ".gitignore").write_text("*\n")

    def _find_rebaselined(self, golden: Golden) -> tuple[Finding, ...]:
        """Say so when the candidate brings another golden than the baseline has: its training changed."""
        baseline = self.context.baseline
        if baseline is None or not (baseline.path / self._path_before).exists():
            return ()
        before = read_golden(baseline.path / self._path_before)
        outcome = self._compare(before, golden, against="the golden of the baseline")
        if outcome.status is Status.IDENTICAL:
            return ()
        message = f"the golden itself was changed: it {outcome.summary}"
        return (self._find("golden-rebaselined", message, severity=Severity.WARNING),)

    def _compare(self, expected: Golden, actual: Golden, *, against: str, hint: str = "") -> _Outcome:
        if len(expected.traces) != len(actual.traces):
            num = len(expected.traces)
            summary = f"diverged: {len(actual.traces)} recorded processes, {num} in {against}"
            return _Outcome(Status.DIVERGED, summary, (self._find("golden-diverged", summary, hint=hint),))
        pairs = zip(expected.processes(), actual.processes(), strict=True)
        comparisons = [compare(left, right) for left, right in pairs]
        notes: tuple[Finding, ...] = ()
        if comparisons[0].notes:
            evidence = comparisons[0].notes
            is_saved = any("what is saved" in note for note in evidence)
            message = "computes the same under other names, or from data handed over otherwise"
            if is_saved:
                message = (
                    "computes the same, and what it saves beside that is other numbers, or laid out otherwise"
                )
            severity = Severity.WARNING if is_saved else Severity.NOTE
            notes = (self._find("golden-noted", message, severity=severity, evidence=evidence),)
        for number, comparison in enumerate(comparisons):
            if not comparison.expected.complete:
                steps = comparison.expected.num_steps
                raise CannotJudgeError("trace-cut-off", f"{against} is cut off after {steps} steps")
            if comparison.first:
                command = f"command {number + 1}, " if len(comparisons) > 1 else ""
                place = command + comparison.first.describe()
                finding = self._find_divergence(comparison.first, f"diverged from {against} at {place}", hint)
                return _Outcome(
                    Status.DIVERGED, f"diverged at {place}", (finding, *notes), comparison.first.step
                )
        steps = sum(comparison.num_steps for comparison in comparisons)
        return _Outcome(Status.IDENTICAL, f"is bitwise identical to {against} over {steps} steps", notes)

    def _find_divergence(self, first: Divergence, message: str, hint: str) -> Finding:
        lead = first.lead(first.phase)
        also = tuple(str(difference) for difference in first.differences if difference is not lead)
        places = {"expected": lead.expected, "actual": lead.actual, "evidence": also}
        return self._find("golden-diverged", message, hint=hint, **places)

    def _find(self, rule: str, message: str, **more: Any) -> Finding:
        return Finding(rule=rule, message=f"{self.name} {message}", file=str(self._path), **more)


def _explain_vacuous(summaries: list[Summary]) -> str:
    """Name what makes equality mean nothing: no parameter ever changed, or a loss is no number."""
    for summary in summaries:
        if not summary.complete:
            steps = summary.num_steps
            message = f"a trace is cut off after {steps} steps: the process was killed"
            raise CannotJudgeError("trace-cut-off", message)
    if not any(summary.trained for summary in summaries):
        return "trained nothing: no step changed a parameter"
    return next((f"has the {summary.not_finite}" for summary in summaries if summary.not_finite), "")
