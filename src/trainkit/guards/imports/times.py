"""Two sides timed in interleaved pairs of process CPU time: a ratio with its interval, which never fails.

Wall time on a busy machine says little: one run against another "10 % slower" is wrong four times of ten.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

from trainkit.guards.imports.measure import Target, run_probe
from trainkit.repo.trees import Tree

# Two-sided 99 % quantiles of Student's t for 1, 2, ... degrees of freedom; beyond, an expansion.
_T99 = (63.66, 9.925, 5.841, 4.604, 4.032, 3.707, 3.499, 3.355, 3.250, 3.169)
_REPEATS = 0.001  # allocated blocks of equal runs differ by 0.04 %


@dataclass(frozen=True)
class Count:
    """A count that repeats on each side (`stable`), or is told and compared with nothing."""

    before: int
    now: int
    stable: bool


@dataclass(frozen=True)
class Times:
    """The ratio candidate / baseline with its 99 % interval, the times, and counts of the same runs."""

    ratio: float
    low: float
    high: float
    before_s: tuple[float, ...]
    now_s: tuple[float, ...]
    blocks: Count
    calls: Count

    def describe(self) -> str:
        """Say what is known: slower, faster, or inconclusive."""
        pairs = f"{len(self.now_s)} interleaved pairs"
        interval = f"{self.ratio:.3f} times the CPU (99 %: {self.low:.3f} to {self.high:.3f}, {pairs})"
        if self.low > 1:
            return f"slower: {interval}"
        return f"faster: {interval}" if self.high < 1 else f"inconclusive: {interval}"


def time_pairs(baseline: Tree, candidate: Tree, before: Target, now: Target, num_pairs: int) -> Times:
    """Run both sides `num_pairs` times, the first one in turn, and twice more each to count calls.

    Raises:
        CannotJudgeError: a run failed.
    """
    sides = (baseline, before), (candidate, now)
    runs: tuple[list[dict[str, int]], ...] = ([], [])
    for number in range(num_pairs):
        for side in (0, 1) if number % 2 == 0 else (1, 0):
            runs[side].append(run_probe(*sides[side], "bare", prove=True))
    calls = [[run_probe(*side, "calls", prove=True)["calls"] for _ in range(2)] for side in sides]
    before_s, now_s = (tuple(facts["cpu_ns"] / 1e9 for facts in each) for each in runs)
    ratio, low, high = estimate_ratio(before_s, now_s)
    return Times(
        ratio=ratio,
        low=low,
        high=high,
        before_s=before_s,
        now_s=now_s,
        blocks=_count([[facts["blocks"] for facts in each] for each in runs], _REPEATS),
        calls=_count(calls, 0),
    )


def _count(values: list[list[int]], tolerance: float) -> Count:
    stable = all(max(each) - min(each) <= tolerance * max(each) for each in values)
    return Count(int(statistics.median(values[0])), int(statistics.median(values[1])), stable)


def estimate_ratio(before: tuple[float, ...], now: tuple[float, ...]) -> tuple[float, float, float]:
    """Give the mean ratio of pairs (geometric) and its 99 % interval, which is endless for a single pair."""
    logs = [math.log(new / old) for old, new in zip(before, now, strict=True)]
    middle = statistics.fmean(logs)
    if len(logs) < 2:
        return math.exp(middle), 0.0, math.inf
    half = _quantile(len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))
    return math.exp(middle), math.exp(middle - half), math.exp(middle + half)


def _quantile(freedom: int) -> float:
    if freedom <= len(_T99):
        return _T99[freedom - 1]
    z = statistics.NormalDist().inv_cdf(0.995)
    terms: tuple[float, ...] = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return math.fsum(term / float(freedom) ** power for power, term in enumerate(terms))
