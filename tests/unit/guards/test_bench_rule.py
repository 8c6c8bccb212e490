"""The rule that says when a benchmark is slower: exact bounds, and what three pairs say together."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainkit.guards.bench.judge import Threshold, _confirm_grown
from trainkit.guards.bench.pairs import Plan, Sample, has_enough_rounds
from trainkit.guards.bench.rule import (
    Interval,
    Outcome,
    bound_median,
    is_settled,
    judge_medians,
    judge_pairs,
    num_values_needed,
    resolution_of,
    share_alpha,
)

RATIOS = st.lists(st.floats(-0.5, 0.5), min_size=1, max_size=60)
ALPHAS = st.sampled_from([0.05, 0.01, 0.001])


@given(RATIOS, ALPHAS)
def test_the_estimate_lies_between_its_bounds(values, alpha):
    """And with too few values nothing is bounded at all."""
    found = bound_median(values, alpha)

    assert found.low <= found.estimate <= found.high
    assert (found.high == math.inf) == (len(values) < num_values_needed(alpha))


@given(RATIOS, ALPHAS)
def test_a_smaller_share_makes_a_wider_interval(values, alpha):
    """Many benchmarks in a run cost width, never certainty."""
    wide, narrow = bound_median(values, alpha / 20), bound_median(values, alpha)

    assert wide.low <= narrow.low
    assert wide.high >= narrow.high


@given(RATIOS, ALPHAS)
def test_sides_exchanged_are_the_inverse(values, alpha):
    """Slower one way is faster the other way, by the same factor."""
    one, other = bound_median(values, alpha), bound_median([-value for value in values], alpha)

    assert (1 + one.estimate) * (1 + other.estimate) == pytest.approx(1)
    if one.high < math.inf:
        assert (1 + one.high) * (1 + other.low) == pytest.approx(1)
        assert one.direction(0.01) == -other.direction(0.01) or abs(one.high) > 1e9


def test_the_bound_keeps_its_level():
    """The bound is above the true median no more often than alpha says."""
    rng = random.Random(0)
    wrong = sum(bound_median([rng.gauss(0, 1) for _ in range(20)], 0.05).low > 0 for _ in range(4000))

    assert 0.01 < wrong / 4000 <= 0.05


def test_how_many_values_are_needed():
    """Halving the share takes one value more."""
    assert [num_values_needed(alpha) for alpha in (0.5, 0.25, 0.01, 0.005)] == [1, 2, 7, 8]
    assert share_alpha(4) == 0.0025
    assert share_alpha(0) == 0.01


SLOWER, FASTER = Interval(0.05, 0.04, 0.06), Interval(-0.05, -0.06, -0.04)
EQUAL, WIDE = Interval(0.0, -0.005, 0.005), Interval(0.03, -0.05, 0.1)


@pytest.mark.parametrize(
    ("intervals", "outcome"),
    [
        ([EQUAL], Outcome.PASSED),
        ([SLOWER, EQUAL, EQUAL], Outcome.PASSED),
        ([SLOWER, EQUAL, SLOWER], Outcome.SLOWER),
        ([EQUAL, SLOWER, SLOWER], Outcome.SLOWER),
        ([SLOWER, FASTER, EQUAL], Outcome.PASSED),
        ([FASTER, FASTER, EQUAL], Outcome.FASTER),
        ([WIDE, WIDE, EQUAL], Outcome.INCONCLUSIVE),
        ([WIDE, EQUAL, EQUAL], Outcome.PASSED),
        ([SLOWER], Outcome.PASSED),
    ],
)
def test_two_of_three_pairs_decide(intervals, outcome):
    """One pair alone never fails; what could not have been seen is inconclusive, not passed."""
    assert judge_pairs(intervals, 0.01).outcome is outcome


def test_one_pair_settles_only_what_shows_nothing():
    """A suspicion and a wide interval go on to fresh pairs."""
    assert [is_settled(interval, 0.01) for interval in (EQUAL, SLOWER, FASTER, WIDE)] == [
        True,
        False,
        False,
        False,
    ]


def test_the_smallest_effect_is_what_would_just_have_been_flagged():
    """An interval of the same width around it has its lower bound at the margin."""
    effect = WIDE.smallest_effect(0.01)
    moved = Interval(effect, (1 + effect) * (1 + WIDE.low) / (1 + WIDE.estimate) - 1, 1.0)

    assert moved.low == pytest.approx(0.01)
    assert Interval(0.0, -1.0, math.inf).smallest_effect(0.01) == math.inf
    assert resolution_of(0.005) == 0.03
    assert resolution_of(0.05) == pytest.approx(0.15)


def test_random_layouts_are_judged_by_pairs_not_rounds():
    """Seven pairs that all agree are needed; one that does not makes it no failure."""
    assert judge_medians([0.05] * 7, 0.01, 0.01).outcome is Outcome.SLOWER
    assert judge_medians([0.05] * 6, 0.01, 0.01).outcome is Outcome.INCONCLUSIVE
    assert judge_medians([*[0.05] * 6, 0.0], 0.01, 0.01).outcome is Outcome.INCONCLUSIVE
    assert judge_medians([0.001] * 7, 0.01, 0.01).outcome is Outcome.PASSED


@pytest.mark.parametrize(("peaks", "is_grown"), [([200, 200, 100], True), ([200, 100, 100], False)])
def test_memory_grows_where_two_of_three_pairs_say_so(peaks, is_grown):
    """One look alone may be a cache that was filled; resident memory decides nothing."""
    samples = [Sample("a", probes={"memory": [[said(100), said(peak)]]}) for peak in peaks]

    assert bool(_confirm_grown(samples, Threshold())) is is_grown


def said(peak_kib):
    return {"allocated": peak_kib << 10, "resident": [peak_kib << 20, 0]}


@pytest.mark.parametrize(
    ("wall_ns", "noise", "expected"),
    [
        (1e9, 0.002, 8),  # slow, and a slow-down worth naming would show
        (1e9, 0.2, 24),  # slow and noisy: as often as is worth its time
        (1e6, 0.002, 12),  # fast ones go on by all orders of three workers
        (1e6, 0.2, 240),
    ],
)
def test_the_width_decides_how_often_is_measured(wall_ns, noise, expected):
    """Bounds that are a margin away end a fast benchmark; a slow one ends where its verdict would be settled."""
    sample = Sample("work", calibration=[{"wall": wall_ns, "cpu": wall_ns}])
    plan = Plan(alpha=0.01, margins={"work": 0.01})
    while not has_enough_rounds(sample, plan, 3, late=False):
        sign = (-1) ** len(sample.rounds)
        sample.rounds.append([{"cpu": 1000.0}, {"cpu": 1000.0 * math.exp(sign * noise)}, {"cpu": 1000.0}])

    assert len(sample.rounds) == expected
