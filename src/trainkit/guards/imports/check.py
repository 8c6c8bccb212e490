"""The imports guard: counts and forbidden modules gate, a generous time budget bounds, blame explains."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from trainkit.errors import CannotJudgeError
from trainkit.guards.context import Context
from trainkit.guards.imports.measure import Imported, Importer, measure
from trainkit.repo.trees import Tree
from trainkit.verdict import Finding, Measurement, Severity, Status, Verdict, status_of


@dataclass(frozen=True)
class Target:
    """What one importable module may bring: `forbid` names families (`torch` means `torch.nn` too)."""

    forbid: tuple[str, ...] = ()
    max_seconds: float = field(default=5.0, metadata={"min": 0})  # CPU, fastest of three fresh processes
    max_modules: int | None = field(default=None, metadata={"min": 0})


@dataclass(frozen=True)
class ImportsSettings:
    """`[tool.trainkit.imports]`: the targets by module name."""

    targets: dict[str, Target] = field(default_factory=dict)


SETTINGS = ImportsSettings


def check(context: Context) -> Verdict:
    """Import each target in fresh processes and hold it against its budget and the baseline."""
    settings = context.parse(ImportsSettings)
    if not settings.targets:
        summary = "no targets configured: [tool.trainkit.imports.targets.NAME]"
        return Verdict(guard=context.name, status=Status.SKIPPED, summary=summary)
    findings: list[Finding] = []
    measurements: list[Measurement] = []
    for name, target in settings.targets.items():
        context.progress(f"importing {name}")
        imported = measure(context.candidate, name, prove=context.baseline is not None)
        before = _measure_baseline(context.baseline, name)
        findings += _find_in_target(context.candidate.path, target, imported)
        findings += _find_new_packages(context.candidate.path, imported, before)
        measurements += _list_measurements(imported, before)
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


def _measure_baseline(tree: Tree | None, name: str) -> Imported | None:
    try:
        return measure(tree, name, prove=True) if tree else None
    except CannotJudgeError as error:
        if error.slug != "import-failed":
            raise
        return None  # the baseline has no such module yet


def _show_change(measurement: Measurement) -> str:
    if measurement.baseline is None:
        return ""
    change = measurement.value - measurement.baseline
    return f" ({change:+g})" if change else " (unchanged)"


def _find_in_target(root: Path, target: Target, imported: Imported) -> Iterator[Finding]:
    for family in target.forbid:
        offender = next((name for name in imported.modules if _belongs(name, family)), None)
        if offender:
            message = f"importing {imported.target} loads {offender}, and {family} is forbidden there"
            yield _blame(root, imported, offender, rule="import-forbidden", message=message)
    if target.max_modules is not None and len(imported.modules) > target.max_modules:
        yield Finding(
            rule="import-too-many",
            message=f"importing {imported.target} loads {len(imported.modules)} modules",
            expected=f"at most {target.max_modules}",
            actual=str(len(imported.modules)),
            evidence=tuple(_count_by_package(imported)),
        )
    if min(imported.cpu_s) > target.max_seconds:
        yield Finding(
            rule="import-too-slow",
            message=f"importing {imported.target} takes {min(imported.cpu_s):.3f} s of CPU",
            expected=f"at most {target.max_seconds:g} s",
            actual=_show_times(imported),
            evidence=tuple(_count_by_package(imported)),
            hint=f"see where it goes: trainkit imports --waterfall imports.har {imported.target}",
        )


def _find_new_packages(root: Path, imported: Imported, before: Imported | None) -> Iterator[Finding]:
    if before is None:
        return
    known = {name.partition(".")[0] for name in before.modules} | sys.stdlib_module_names
    own = imported.target.partition(".")[0]
    for name in imported.modules:
        package = name.partition(".")[0]
        if package not in known and package != own:
            known.add(package)
            message = f"importing {imported.target} now loads {package}, which it did not at the baseline"
            yield _blame(
                root, imported, name, rule="import-new-package", message=message, severity=Severity.WARNING
            )


def _belongs(name: str, family: str) -> bool:
    return name == family or name.startswith(family + ".")


def _blame(
    root: Path,
    imported: Imported,
    offender: str,
    *,
    rule: str,
    message: str,
    severity: Severity = Severity.ERROR,
) -> Finding:
    """Point at the line of the project that is nearest to the offender, with the chain as evidence."""
    chain = imported.chain(offender)
    own = next((link for link in chain if _relative(root, link) is not None), None)
    return Finding(
        rule=rule,
        message=message,
        severity=severity,
        file=(own and _relative(root, own)) or "",
        line=own.line if own else 0,
        evidence=tuple(f"{link.module} ({_relative(root, link) or link.file}:{link.line})" for link in chain),
        hint="import it in the function that needs it, or under TYPE_CHECKING",
    )


def _relative(root: Path, link: Importer) -> str | None:
    path = Path(link.file)
    if not path.is_absolute():  # python -c puts '' on sys.path
        path = root / path
    return str(path.relative_to(root)) if path.is_relative_to(root) else None


def _count_by_package(imported: Imported, num_shown: int = 8) -> Iterator[str]:
    counts: dict[str, int] = {}
    for name in imported.modules:
        package = name.partition(".")[0]
        package = "the standard library" if package in sys.stdlib_module_names else package
        counts[package] = counts.get(package, 0) + 1
    for package, number in sorted(counts.items(), key=lambda item: -item[1])[:num_shown]:
        yield f"{number} of {package}"


def _show_times(imported: Imported) -> str:
    low, high = min(imported.cpu_s), max(imported.cpu_s)
    return f"{low:.3f} to {high:.3f} s of CPU in {len(imported.cpu_s)} fresh processes"


def _list_measurements(imported: Imported, before: Imported | None) -> Iterator[Measurement]:
    yield Measurement(
        name=f"{imported.target}: modules",
        value=len(imported.modules),
        unit="modules",
        baseline=len(before.modules) if before else None,
        how="exact",
    )
    yield Measurement(
        name=f"{imported.target}: import",
        value=min(imported.cpu_s),
        unit="s",
        baseline=min(before.cpu_s) if before else None,
        how=_show_times(imported),
    )
