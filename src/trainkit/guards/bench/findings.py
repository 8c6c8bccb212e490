"""Results as what a guard hands over: findings, measurements, one line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trainkit.guards.bench.judge import Result, Threshold, control_of, read_memory
from trainkit.guards.bench.pairs import Sample
from trainkit.guards.bench.rule import Outcome
from trainkit.verdict import Finding, Measurement, Severity

_KINDS = {"allocated": "memory that Python allocates", "resident": "resident memory"}


def find(result: Result, threshold: Threshold, lines: Mapping[str, int]) -> Iterator[Finding]:
    """Give what there is to say of one benchmark."""
    place: dict[str, Any] = {"file": result.name.partition("::")[0], "line": lines.get(result.name, 0)}
    short = result.name.partition("::")[2] or result.name
    if result.outcome is Outcome.SLOWER:
        yield _find_slower(result, threshold, short, place)
    for kind, (old, new) in result.grown.items():
        message = f"{short} needs {new / old - 1 if old else 1:.1%} more {_KINDS[kind]} in a call"
        yield Finding(
            rule="bench-memory",
            message=message,
            expected=f"{old:,.0f} bytes",
            actual=f"{new:,.0f} bytes",
            **place,
        )
    if result.outcome is Outcome.BROKEN:
        evidence = tuple(result.words.splitlines())
        yield Finding(rule="bench-failed", message=f"{short} does not run", evidence=evidence, **place)
    if result.outcome is Outcome.INCONCLUSIVE and result.judged is not None:
        message = f"{short}: inconclusive, {result.judged.interval}: " + _say_smallest(result)
        hint = "a quieter machine, or a larger margin for it in [tool.trainkit.bench.thresholds]"
        yield Finding(
            rule="bench-inconclusive", message=message, severity=Severity.WARNING, hint=hint, **place
        )
    if result.words and result.outcome is not Outcome.BROKEN:
        rule = _RULES.get(result.outcome, "bench-noted")
        yield Finding(
            rule=rule,
            message=f"{short}: {' '.join(result.words.split())}",
            severity=Severity.NOTE,
            **place,
        )


_RULES = {Outcome.NEW: "bench-new", Outcome.REMOVED: "bench-removed"}


def _find_slower(result: Result, threshold: Threshold, short: str, place: Mapping[str, Any]) -> Finding:
    judged = result.judged
    assert judged is not None
    pairs = "; ".join(str(sample.interval(result.alpha)) for sample in result.samples)
    control = control_of(result)
    return Finding(
        rule="bench-slower",
        message=f"{short} is slower by {judged.interval.estimate:.1%}, {judged.interval}, "
        f"{result.samples[0].clock} time",
        expected=f"at most {threshold.margin:+.1%}; {_show(result.samples[0].best(0))} at the baseline",
        actual=_show(result.samples[0].best(1)),
        evidence=(
            *result.evidence,
            f"pairs of fresh processes: {pairs}",
            *([f"the baseline against itself: {control}"] if control else []),
        ),
        **place,
    )


def _say_smallest(result: Result) -> str:
    assert result.judged is not None
    return f"less than {result.judged.smallest_effect:+.1%} could not have been seen"


def measure_result(result: Result, *, has_baseline: bool) -> Iterator[Measurement]:
    """Give the figures of one benchmark: its time, memory, training."""
    samples = [sample for sample in result.samples if sample.rounds]
    if not samples or (has_baseline and result.judged is None):
        yield Measurement(name=result.name, value=0.0, unit="", how=f"{result.outcome}: {result.words}")
        return
    first, mine = samples[0], int(has_baseline)
    rounds = " + ".join(str(len(sample.rounds)) for sample in samples)
    taken = f"{rounds} rounds of {first.units} x {first.loops}, {first.clock} time"
    if has_baseline and result.judged:
        control = control_of(result)
        how = (
            f"{result.outcome} {result.judged.interval}; baseline against itself {control}; "
            f"{_say_smallest(result)}; {taken}"
        )
        yield Measurement(name=result.name, value=first.best(1), unit="s", baseline=first.best(0), how=how)
    else:
        yield Measurement(name=result.name, value=first.best(0), unit="s", how=f"fastest of {taken}")
    yield from _measure_memory(result.name, first, mine)
    yield from _measure_training(result.name, first, mine)


def _measure_memory(name: str, sample: Sample, mine: int) -> Iterator[Measurement]:
    for row in sample.probes.get("memory", []):
        for kind in _KINDS:
            old, new = (read_memory(row[side], kind) for side in (0, mine))
            if new is not None:
                how = f"peak of one call, {_KINDS[kind]} over what was there"
                yield Measurement(
                    name=f"{name} {kind}", value=new, unit="bytes", baseline=old if mine else None, how=how
                )
        if row[mine]["resident"]:
            old_peak, peak = (float(row[side]["resident"][1]) for side in (0, mine))
            how = "peak resident set of the process in one call"
            yield Measurement(
                name=f"{name} peak-rss",
                value=peak,
                unit="bytes",
                baseline=old_peak if mine else None,
                how=how,
            )


def _measure_training(name: str, sample: Sample, mine: int) -> Iterator[Measurement]:
    for row in sample.probes.get("training", []):
        if not all(said["steps"] for said in row[: mine + 1]):
            continue
        old, new = row[0], row[mine]
        source = "in the DataLoader" if new["loader"] else "between a step and the next forward pass"
        for key, top, unit, how in (
            ("steps/s", "steps", "1/s", "one watched call, wall time"),
            ("data_wait", "waited", "share", f"wall time {source}"),
        ):
            before, now = (float(said[top] / said["seconds"]) for said in (old, new))
            yield Measurement(
                name=f"{name} {key}", value=now, unit=unit, baseline=before if mine else None, how=how
            )
        first = [said["first"] / 1e9 for said in sample.calibration]
        how = "the very first call in its process, wall time"
        yield Measurement(
            name=f"{name} first-call",
            value=first[mine],
            unit="s",
            baseline=first[0] if mine else None,
            how=how,
        )


def measure_modules(modules: Sequence[Sequence[str]]) -> Iterator[Measurement]:
    """Give the number of modules that each side had imported at the end, and name what is more."""
    if not modules:
        return
    old, new = set(modules[0]), set(modules[min(1, len(modules) - 1)])
    more = sorted({name.partition(".")[0] for name in new - old})
    how = "imported when the last benchmark had run" + (f"; more: {', '.join(more[:8])}" if more else "")
    before = float(len(old)) if len(modules) > 1 else None
    yield Measurement(name="modules", value=float(len(new)), unit="modules", baseline=before, how=how)


def _count(results: Sequence[Result]) -> str:
    return f"{len(results) or 'no'} benchmark{'s' * (len(results) != 1)} ran"


def _count_outcomes(results: Sequence[Result]) -> str:
    counted = Counter(result.outcome for result in results)
    return ", ".join(f"{counted[each]} {each}" for each in Outcome if counted[each]) or _count(results)


def summarize(results: Sequence[Result], *, has_baseline: bool, fixed: bool) -> str:
    """Give the one line: how many of which outcome, and the control."""
    if not has_baseline:
        return _count(results) + "; no baseline to compare with"
    said = _count_outcomes(results)
    num_grown = sum(bool(result.grown) for result in results)
    said += f", {num_grown} with more memory" if num_grown else ""
    controls = [control for result in results if (control := control_of(result))]
    if controls:
        low, high = min(each.low for each in controls), max(each.high for each in controls)
        said += f"; the baseline against itself {low:+.1%} to {high:+.1%}"
    worst = max((result.judged.smallest_effect for result in results if result.judged), default=0.0)
    said += f"; {worst:.1%} slower would have been seen" if worst else ""
    return said + ("" if fixed else "; layout: random, so it took more pairs")


def _show(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.4g} {unit}"
    return f"{seconds * 1e9:.4g} ns"
