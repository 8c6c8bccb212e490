"""When is a benchmark slower? Pure functions from log ratios to a verdict.

A pair is two fresh processes, one of each revision; a round in it gives one log ratio, candidate over
baseline. What a pair says is the median of its rounds with an exact, distribution-free interval: an order
statistic bounds the median at a level that the binomial distribution gives. No normality, no random numbers.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

ALPHA = 0.01  # of a wrong bound in one direction, for all benchmarks of a run together
NUM_PAIRS = 3  # of which two must agree
_MIN_RESOLUTION = 0.03


class Outcome(StrEnum):
    """What is said of one benchmark."""

    PASSED = "passed"
    SLOWER = "slower"
    FASTER = "faster"
    INCONCLUSIVE = "inconclusive"
    NEW = "new"
    REMOVED = "removed"
    BROKEN = "broken"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Interval:
    """A relative change: the estimate, and bounds that are each wrong with probability alpha."""

    estimate: float
    low: float
    high: float

    def direction(self, margin: float) -> int:
        """Give 1 when it is slower by more than the margin, -1 when it is faster, 0 when neither is shown."""
        if self.low > margin:
            return 1
        return -1 if self.high < -margin / (1 + margin) else 0

    def smallest_effect(self, margin: float) -> float:
        """Give the slow-down that an interval of this width would just have shown."""
        return (1 + margin) * (1 + self.estimate) / (1 + self.low) - 1 if self.low > -1 else math.inf

    def __str__(self) -> str:
        return f"{self.estimate:+.2%} [{self.low:+.2%}, {self.high:+.2%}]"


@dataclass(frozen=True)
class Judged:
    """The outcome of one benchmark with the middle one of its intervals, and what could have been seen."""

    outcome: Outcome
    interval: Interval
    smallest_effect: float


def share_alpha(num_benchmarks: int) -> float:
    """Give each benchmark's part of the probability of a wrong bound (Bonferroni)."""
    return ALPHA / max(1, num_benchmarks)


def num_values_needed(alpha: float) -> int:
    """Give how many values a bound of the median needs at least: fewer bound nothing."""
    return math.ceil(-math.log2(alpha) - 1e-9)


def bound_median(log_ratios: Sequence[float], alpha: float) -> Interval:
    """Give the median as a relative change, with the order statistics that bound it at `alpha` on each side.

    Source: the sign test's interval; P(the k-th smallest of n exceeds the median) = P(Binomial(n, 1/2) < k).
    """
    ordered = sorted(log_ratios)
    num = len(ordered)
    estimate = math.expm1(statistics.median(ordered))
    below, rank = 0.0, 0
    for k in range(num):
        below += math.comb(num, k) / 2**num
        if below > alpha:
            break
        rank = k + 1
    if rank == 0:
        return Interval(estimate, -1.0, math.inf)
    return Interval(estimate, math.expm1(ordered[rank - 1]), math.expm1(ordered[num - rank]))


def resolution_of(margin: float) -> float:
    """Give the effect that must be visible for "passed" to mean something: three margins, at least 3 %."""
    return max(_MIN_RESOLUTION, 3 * margin)


def is_settled(interval: Interval, margin: float) -> bool:
    """Say whether the first pair suffices: nothing shown, and an effect worth naming would have been."""
    return interval.direction(margin) == 0 and interval.smallest_effect(margin) <= resolution_of(margin)


def judge_pairs(intervals: Sequence[Interval], margin: float) -> Judged:
    """Judge by one settled pair, or by three of which two must agree."""
    directions = [interval.direction(margin) for interval in intervals]
    effects = sorted(interval.smallest_effect(margin) for interval in intervals)
    middle = sorted(intervals, key=lambda interval: interval.estimate)[len(intervals) // 2]
    smallest = effects[len(effects) // 2]
    for direction, outcome in ((1, Outcome.SLOWER), (-1, Outcome.FASTER)):
        if directions.count(direction) >= 2:
            return Judged(outcome, middle, smallest)
    resolved = smallest <= resolution_of(margin)
    return Judged(Outcome.PASSED if resolved else Outcome.INCONCLUSIVE, middle, smallest)


def judge_medians(log_medians: Sequence[float], margin: float, alpha: float) -> Judged:
    """Judge where the memory layout is random: each pair is one value, its rounds share a layout."""
    interval = bound_median(log_medians, alpha)
    smallest = interval.smallest_effect(margin)
    outcome = {1: Outcome.SLOWER, -1: Outcome.FASTER}.get(interval.direction(margin))
    if outcome is None:
        outcome = Outcome.PASSED if smallest <= resolution_of(margin) else Outcome.INCONCLUSIVE
    return Judged(outcome, interval, smallest)
