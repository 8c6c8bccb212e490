"""The imports guard: counts and forbidden modules gate, times inform, blame explains."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from trainkit.errors import CannotJudgeError
from trainkit.guards.context import Context
from trainkit.guards.imports.blame import blame, count_by_package, find_own_line
from trainkit.guards.imports.compare import Comparison, compare
from trainkit.guards.imports.measure import Imported, Target, measure, run_probe
from trainkit.repo.trees import Tree
from trainkit.verdict import Finding, Measurement, Severity, Status, Verdict, status_of

_NUM_TIMED = 3
_NUM_NAMED = 6


@dataclass(frozen=True)
class TargetSettings:
    """What one target may bring: `forbid` names families (`torch` means `torch.nn` too).

    `ratchet`: no module and no shared object more than at the baseline.
    """

    forbid: tuple[str, ...] = ()
    max_seconds: float = field(default=5.0, metadata={"min": 0})  # CPU, fastest of three fresh processes
    max_modules: int | None = field(default=None, metadata={"min": 0})
    ratchet: bool = False
    command: str = ""  # run this, and the target's name is only a name


@dataclass(frozen=True)
class ImportsSettings:
    """`[tool.trainkit.imports]`: the targets by module name."""

    targets: dict[str, TargetSettings] = field(default_factory=dict)


SETTINGS = ImportsSettings


@dataclass(frozen=True)
class Examined:
    """One target on both sides."""

    settings: TargetSettings
    now: Imported
    before: Imported | None
    comparison: Comparison


def check(context: Context) -> Verdict:
    """Run each target in fresh processes and hold it against its budget and the baseline."""
    settings = context.parse(ImportsSettings)
    if not settings.targets:
        summary = "no targets configured: [tool.trainkit.imports.targets.NAME]"
        return Verdict(guard=context.name, status=Status.SKIPPED, summary=summary)
    findings: list[Finding] = []
    measurements: list[Measurement] = []
    for name, own in settings.targets.items():
        context.progress(f"importing {name}")
        target = Target(name, tuple(shlex.split(own.command)))
        examined = _examine(context, target, own)
        findings += _find(context, target, examined)
        measurements += _list_measurements(examined)
    num_bad = sum(finding.severity is Severity.ERROR for finding in findings)
    counts = ", ".join(
        f"{m.name.removesuffix(': modules')} {m.value:g} modules{_show_change(m)}"
        for m in measurements
        if m.unit == "modules"
    )
    return Verdict(
        guard=context.name,
        status=status_of(findings),
        summary=f"{num_bad} complaint{'s' * (num_bad != 1)}; {counts}" if num_bad else counts,
        findings=tuple(findings),
        measurements=tuple(measurements),
    )


def _examine(context: Context, target: Target, settings: TargetSettings) -> Examined:
    baseline, candidate = context.baseline, context.candidate
    prove = baseline is not None
    now = measure(candidate, target, prove=prove)
    before = _measure_baseline(baseline, target)
    comparison = Comparison()
    if baseline and before:
        comparison = compare(
            before,
            now,
            lambda: (measure(baseline, target, prove=True), measure(candidate, target, prove=True)),
        )
    return Examined(settings, now, before, comparison)


def _measure_baseline(tree: Tree | None, target: Target) -> Imported | None:
    try:
        return measure(tree, target, prove=True) if tree else None
    except CannotJudgeError as error:
        if error.slug != "import-failed":
            raise
        return None  # the baseline has no such module yet


def _show_change(measurement: Measurement) -> str:
    if measurement.baseline is None:
        return ""
    change = measurement.value - measurement.baseline
    return f" ({change:+g})" if change else " (unchanged)"


def _find(context: Context, target: Target, examined: Examined) -> Iterator[Finding]:
    root, now, settings = context.candidate.path, examined.now, examined.settings
    yield from _find_forbidden(root, target, settings, now)
    if settings.max_modules is not None and len(now.modules) > settings.max_modules:
        yield Finding(
            rule="import-too-many",
            message=f"{target.verb()} loads {len(now.modules)} modules",
            expected=f"at most {settings.max_modules}",
            actual=str(len(now.modules)),
            evidence=tuple(count_by_package(now)),
        )
    if now.cpu_s > settings.max_seconds:  # measured with witnesses: without them it may be within
        yield from _find_too_slow(context, target, examined)
    yield from _find_grown(root, target, examined)
    yield from _find_new_packages(root, target, examined)
    yield from _find_notes(target, examined)


def _find_forbidden(root: Path, target: Target, settings: TargetSettings, now: Imported) -> Iterator[Finding]:
    for family in settings.forbid:
        offender = next((name for name in now.modules if _belongs(name, family)), None)
        if offender:
            message = f"{target.verb()} loads {offender}, and {family} is forbidden there"
            yield blame(root, now, offender, rule="import-forbidden", message=message)


def _find_too_slow(context: Context, target: Target, examined: Examined) -> Iterator[Finding]:
    most, prove = examined.settings.max_seconds, context.baseline is not None
    runs = [
        run_probe(context.candidate, target, "bare", prove=prove)["cpu_ns"] / 1e9 for _ in range(_NUM_TIMED)
    ]
    if min(runs) > most:
        yield Finding(
            rule="import-too-slow",
            message=f"{target.verb()} takes {min(runs):.3f} s of CPU",
            expected=f"at most {most:g} s",
            actual=f"{min(runs):.3f} to {max(runs):.3f} s of CPU in {len(runs)} fresh processes",
            evidence=tuple(count_by_package(examined.now)),
            hint=f"see where it goes: trainkit imports {target.name}",
        )


def _find_grown(root: Path, target: Target, examined: Examined) -> Iterator[Finding]:
    """Find what a ratchet forbids: each line of the project that brought modules, with what it brought."""
    now, comparison = examined.now, examined.comparison
    if not examined.settings.ratchet or examined.before is None:
        return
    if len(comparison.added) > len(comparison.removed):
        by_line: dict[object, list[str]] = {}
        for name in comparison.added:
            by_line.setdefault(find_own_line(root, now.chain(name)), []).append(name)
        for names in by_line.values():
            message = f"{target.verb()} loads {_count(names)} more than at the baseline: {_name_some(names)}"
            yield blame(root, now, names[0], rule="import-grew", message=message)
    if comparison.added_shared:
        names = [Path(path).name for path in comparison.added_shared]
        message = f"{target.verb()} maps shared objects that it did not at the baseline: {_name_some(names)}"
        yield Finding(rule="import-grew", message=message, evidence=comparison.added_shared)


def _find_new_packages(root: Path, target: Target, examined: Examined) -> Iterator[Finding]:
    if examined.before is None:
        return
    known = {name.partition(".")[0] for name in examined.before.modules} | sys.stdlib_module_names
    known.add(target.name.partition(".")[0])
    for name in examined.comparison.added:
        package = name.partition(".")[0]
        if package not in known:
            known.add(package)
            message = f"{target.verb()} now loads {package}, which it did not at the baseline"
            yield blame(
                root,
                examined.now,
                name,
                rule="import-new-package",
                message=message,
                severity=Severity.WARNING,
            )


def _find_notes(target: Target, examined: Examined) -> Iterator[Finding]:
    comparison = examined.comparison
    if comparison.moved:
        first, second = comparison.moved
        message = (
            f"{target.verb()} asks for the same modules in another order: {second} now comes before {first}"
        )
        yield Finding(rule="import-order", message=message, severity=Severity.NOTE)
    if comparison.unstable:
        message = f"{target.verb()}: left out, two runs of one side differ: {_name_some(comparison.unstable)}"
        yield Finding(rule="import-unstable", message=message, severity=Severity.NOTE)


def _belongs(name: str, family: str) -> bool:
    return name == family or name.startswith(family + ".")


def _count(names: list[str]) -> str:
    return f"{len(names)} module{'s' * (len(names) != 1)}"


def _name_some(names: list[str] | tuple[str, ...]) -> str:
    more = f" and {len(names) - _NUM_NAMED} more" if len(names) > _NUM_NAMED else ""
    return ", ".join(names[:_NUM_NAMED]) + more


def _list_measurements(examined: Examined) -> Iterator[Measurement]:
    now, before = examined.now, examined.before
    witnessed = "process CPU of one witnessed run: it decides nothing"
    collected = f"{now.num_collections} garbage collections, in no module's time"
    figures: tuple[tuple[str, str, Callable[[Imported], float], str], ...] = (
        ("modules", "modules", lambda side: len(side.modules), "exact"),
        ("shared objects", "files", lambda side: len(side.shared), "exact"),
        (".pyc", "bytes", lambda side: sum(side.pyc.values()), "exact"),
        ("import", "s", lambda side: side.cpu_s, witnessed),
        ("collections", "s", lambda side: side.collections_s, collected),
    )
    for name, unit, value, how in figures:
        yield Measurement(
            name=f"{now.target}: {name}",
            value=value(now),
            unit=unit,
            baseline=value(before) if before else None,
            how=how,
        )
