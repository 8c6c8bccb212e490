"""Which module is there because of which: dominators of the graph of what asked for what.

A module is *dominated* by another module, or by a line, when every way from the start to it leads through
that one: it would not be loaded without it. Cumulative time says something else: who comes first pays all.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

ROOT = "__main__"


def find_dominators(successors: Mapping[Hashable, Iterable[Hashable]]) -> dict[Hashable, Hashable]:
    """Give the immediate dominator of each node that can be reached from `ROOT` (which has itself).

    Source: Cooper, Harvey, Kennedy, "A Simple, Fast Dominance Algorithm".
    """
    order = _order_by_finish(successors)  # ROOT is last
    number = {node: index for index, node in enumerate(order)}
    before: list[list[int]] = [[] for _ in order]
    for node in order:
        for after in successors.get(node, ()):
            before[number[after]].append(number[node])
    above = [-1] * (len(order) - 1) + [len(order) - 1]
    while _improve(above, before):
        pass
    return {node: order[above[index]] for index, node in enumerate(order)}


def _improve(above: list[int], before: list[list[int]]) -> bool:
    changed = False
    for node in range(len(above) - 2, -1, -1):
        found = -1
        for each in before[node]:
            if above[each] >= 0:
                found = each if found < 0 else _meet(above, found, each)
        if above[node] != found:
            above[node], changed = found, True
    return changed


def _meet(above: list[int], left: int, right: int) -> int:
    while left != right:
        while left < right:
            left = above[left]
        while right < left:
            right = above[right]
    return left


def _order_by_finish(successors: Mapping[Hashable, Iterable[Hashable]]) -> list[Hashable]:
    order: list[Hashable] = []
    seen: set[Hashable] = {ROOT}
    stack = [(ROOT, iter(successors.get(ROOT, ())))]
    while stack:
        node, rest = stack[-1]
        for after in rest:
            if after not in seen:
                seen.add(after)
                stack.append((after, iter(successors.get(after, ()))))  # type: ignore[arg-type]
                break
        else:
            stack.pop()
            order.append(node)
    return order


def collect_below(above: Mapping[Hashable, Hashable]) -> dict[Hashable, list[Hashable]]:
    """Give for each node those that it dominates immediately."""
    below: dict[Hashable, list[Hashable]] = {}
    for node, over in above.items():
        if node != over:
            below.setdefault(over, []).append(node)
    return below


def walk_below(below: Mapping[Hashable, Iterable[Hashable]], node: Hashable) -> list[Hashable]:
    """Give all that `node` dominates, itself first."""
    found = [node]
    for each in found:
        found += below.get(each, ())
    return found


def reach(successors: Mapping[Hashable, Iterable[Hashable]], *, without: set[Any]) -> set[Hashable]:
    """Give the nodes that can be reached from `ROOT` when those of `without` are gone."""
    found: set[Hashable] = {ROOT}
    waiting: list[Hashable] = [ROOT]
    while waiting:
        for node in successors.get(waiting.pop(), ()):
            if node not in found and node not in without:
                found.add(node)
                waiting.append(node)
    return found
