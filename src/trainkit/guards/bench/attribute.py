"""Which function grew: exact counts first; own time under a profiler where the counts are equal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from trainkit.guards.bench.pairs import Sample

PROBES = ("counts", "times", "times", "times", "times", "times")
_MOST = 4
_LEAST_SHARE = 0.1  # of the whole growth, for a function to be named


def attribute(samples: Sequence[Sample]) -> tuple[str, ...]:
    """Give lines that name what grew, the most first; empty where no profile was taken."""
    counted = [row for sample in samples for row in sample.probes.get("counts", [])]
    timed = [row for sample in samples for row in sample.probes.get("times", [])]
    lines: list[str] = []
    if counted:
        old, new = counted[0][:2]
        lines += _name_growth(old["functions"], new["functions"], "bytecode instructions")
        lines += _name_growth(old["builtins"], new["builtins"], "calls of C functions")
    if timed and not lines:
        old, new = ({name: t * 1e6 for name, t in _least(timed, side).items()} for side in (0, 1))
        lines += _name_growth(old, new, "us of its own under a profiler", least=0.02)
    return tuple(lines)


def _least(rows: Sequence[Sequence[dict[str, Any]]], side: int) -> dict[str, float]:
    """Give each function's least time over the looks."""
    times: dict[str, float] = {}
    for row in rows:
        for name, seconds in row[side]["functions"].items():
            times[name] = min(seconds, times.get(name, math.inf))
    return times


def _name_growth(
    old: Mapping[str, float], new: Mapping[str, float], unit: str, *, least: float = 0.001
) -> list[str]:
    """Name the functions that make up the growth, if it is more than `least` of the whole."""
    changes = {name: new.get(name, 0) - old.get(name, 0) for name in {*old, *new}}
    growth = sum(changes.values())
    if growth <= least * sum(old.values()):
        return []
    ordered = sorted(changes, key=lambda name: (-changes[name], name))[:_MOST]
    return [
        f"grew: {name}: {old.get(name, 0):,.0f} -> {new.get(name, 0):,.0f} {unit}"
        for name in ordered
        if changes[name] >= _LEAST_SHARE * growth
    ]
