"""From samples to outcomes: one `Result` for each benchmark, by the rule of `rule.py`."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from trainkit.guards.bench.attribute import attribute
from trainkit.guards.bench.pairs import Sample
from trainkit.guards.bench.rule import (
    NUM_PAIRS,
    Interval,
    Judged,
    Outcome,
    is_settled,
    judge_medians,
    judge_pairs,
)

# Resident memory only informs: an allocator's caches moved it by a fifth between equal sides.
_LEAST_BYTES = {"allocated": 16 << 10}


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """What is let pass: the slow-down, and the growth of memory, as fractions."""

    margin: float = field(default=0.01, metadata={"min": 0.001})
    memory: float = field(default=0.05, metadata={"min": 0})


@dataclass(frozen=True, kw_only=True)
class Result:
    """What is said of one benchmark, and all that it rests on."""

    name: str
    outcome: Outcome
    samples: Sequence[Sample] = ()
    judged: Judged | None = None
    alpha: float = 0.0
    words: str = ""
    grown: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # memory: kind -> both sides
    evidence: tuple[str, ...] = ()


def is_open(sample: Sample, threshold: Threshold, alpha: float) -> bool:
    """Say whether a benchmark needs fresh pairs after its first."""
    if sample.broken:
        return False
    return not is_settled(sample.interval(alpha), threshold.margin) or bool(find_grown(sample, threshold))


def find_grown(sample: Sample, threshold: Threshold) -> dict[str, tuple[float, float]]:
    """Give the kinds of memory of which the candidate needs more in this pair."""
    grown = {}
    for row in sample.probes.get("memory", []):
        for kind, least in _LEAST_BYTES.items():
            old, new = (read_memory(said, kind) for said in row[:2])
            if old is not None and new is not None and new > old * (1 + threshold.memory) + least:
                grown[kind] = (old, new)
    return grown


def read_memory(said: Mapping[str, object], kind: str) -> float | None:
    """Give the bytes of one kind that a memory probe told; None where the system does not tell."""
    value = said[kind]
    if isinstance(value, list):
        value = value[0]
    return float(value) if isinstance(value, int | float) else None


def judge(name: str, samples: Sequence[Sample], threshold: Threshold, alpha: float, *, fixed: bool) -> Result:
    """Judge one benchmark by all its pairs."""
    broken = next((sample.broken for sample in samples if sample.broken), None)
    if broken:
        return _judge_broken(name, samples, broken)
    if any(sample.params_differ for sample in samples):
        words = "its parameters are not the same on both sides"
        return Result(name=name, outcome=Outcome.BROKEN, samples=samples, words=words)
    if len(samples[0].calibration) == 1:  # without a baseline
        return Result(name=name, outcome=Outcome.PASSED, samples=samples)
    if fixed:
        judged = judge_pairs([sample.interval(alpha) for sample in samples], threshold.margin)
    else:
        medians = [statistics.median(sample.log_ratios(1)) for sample in samples]
        judged = judge_medians(medians, threshold.margin, alpha)
    return Result(
        name=name,
        outcome=judged.outcome,
        samples=samples,
        judged=judged,
        alpha=alpha,
        grown=_confirm_grown(samples, threshold),
        evidence=attribute(samples) if judged.outcome is Outcome.SLOWER else (),
    )


def _judge_broken(name: str, samples: Sequence[Sample], broken: Mapping[str, str]) -> Result:
    if "candidate" in broken:
        words = broken["candidate"]
        skipped = words.startswith("skipped")
        outcome = Outcome.SKIPPED if skipped else Outcome.BROKEN
        return Result(name=name, outcome=outcome, samples=samples, words=words)
    return Result(name=name, outcome=Outcome.NEW, samples=samples, words=broken["baseline"])


def _confirm_grown(samples: Sequence[Sample], threshold: Threshold) -> dict[str, tuple[float, float]]:
    """Give the growth that two of three pairs have seen."""
    found = [find_grown(sample, threshold) for sample in samples]
    least = 2 if len(samples) >= NUM_PAIRS else len(samples)
    kinds = [kind for kind in _LEAST_BYTES if sum(kind in each for each in found) >= least]
    return {kind: next(each[kind] for each in found if kind in each) for kind in kinds}


def control_of(result: Result) -> Interval | None:
    """Give the interval of the baseline against itself, where a control ran."""
    first = result.samples[0] if result.samples else None
    if first is None or not first.rounds or len(first.rounds[0]) < 3:
        return None
    return first.interval(result.alpha, worker=2)
