"""The imports guard: counts and forbidden modules gate, times inform, blame explains."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from trainkit.errors import TrainkitError
from trainkit.guards.context import Context
from trainkit.guards.imports.examine import Examined, TargetSettings, examine
from trainkit.guards.imports.findings import find
from trainkit.guards.imports.measure import Imported
from trainkit.verdict import Finding, Measurement, Severity, Status, Verdict, status_of


@dataclass(frozen=True)
class ImportsSettings:
    """`[tool.trainkit.imports]`: the targets by name, and the pairs of runs that are timed (none)."""

    targets: dict[str, TargetSettings] = field(default_factory=dict)
    times: int = field(default=0, metadata={"min": 0})


SETTINGS = ImportsSettings


def check(context: Context) -> Verdict:
    """Run each target in fresh processes and hold it against its budget and the baseline."""
    settings = context.parse(ImportsSettings)
    if not settings.targets:
        summary = "no targets configured: [tool.trainkit.imports.targets.NAME]"
        return Verdict(guard=context.name, status=Status.SKIPPED, summary=summary)
    broken: list[Finding] = []
    findings: list[Finding] = []
    measurements: list[Measurement] = []
    for name, own in settings.targets.items():
        context.progress(f"importing {name}")
        try:
            examined = examine(context, name, own, settings.times)
            findings += find(context, examined)
        except TrainkitError as error:  # the other targets can be judged all the same
            broken.append(Finding(rule=error.slug, message=str(error), evidence=error.evidence))
            continue
        context.keep(examined)
        measurements += _list_measurements(examined)
    num_bad = sum(finding.severity is Severity.ERROR for finding in findings)
    counts = ", ".join(
        f"{m.name.removesuffix(': modules')} {m.value:g} modules{_show_change(m)}"
        for m in measurements
        if m.unit == "modules"
    )
    parts = [
        f"could not judge: {', '.join(dict.fromkeys(finding.rule for finding in broken))}" if broken else "",
        f"{num_bad} complaint{'s' * (num_bad != 1)}" if num_bad else "",
        counts,
    ]
    return Verdict(
        guard=context.name,
        status=Status.ERROR if broken else status_of(findings),
        summary="; ".join(filter(None, parts)),
        findings=(*broken, *findings),
        measurements=tuple(measurements),
    )


def _show_change(measurement: Measurement) -> str:
    if measurement.baseline is None:
        return ""
    change = measurement.value - measurement.baseline
    return f" ({change:+g})" if change else " (unchanged)"


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
    yield from _list_times(examined)


def _list_times(examined: Examined) -> Iterator[Measurement]:
    times = examined.times
    if times is None:
        return
    name = examined.target.name
    yield Measurement(
        name=f"{name}: CPU ratio", value=times.ratio, unit="", baseline=1.0, how=times.describe()
    )
    for what, count in (("Python calls", times.calls), ("allocated blocks", times.blocks)):
        how = (
            "the same in each run of a side"
            if count.stable
            else "left out: it differs between runs of one side"
        )
        baseline = count.before if count.stable else None
        yield Measurement(name=f"{name}: {what}", value=count.now, unit="", baseline=baseline, how=how)
