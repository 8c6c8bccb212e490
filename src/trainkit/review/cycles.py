"""Import cycles with the lines that make them, late ones too; those of type checkers alone are no cycles."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from trainkit.review.graph import Edge


@dataclass(frozen=True)
class Cycle:
    """The shortest way round: each edge starts where the last one ends.

    `kind` is "module" when importing any of its files runs into it, "late" when a statement inside a function
    closes it. `num_files` counts all files that reach each other.
    """

    kind: str
    path: tuple[Edge, ...]
    num_files: int


def find_cycles(edges: Iterable[Edge]) -> list[Cycle]:
    """Give one cycle for each group of files that reach each other, those at module level first."""
    running = [edge for edge in edges if edge.kind != "typing"]
    eager = [edge for edge in running if edge.kind == "module"]
    cycles = [_shorten(group, eager, eager, "module") for group in find_groups(eager)]
    late = [edge for edge in running if edge.kind == "late"]
    return cycles + [
        _shorten(group, running, inner, "late")
        for group in find_groups(running)
        if (inner := [edge for edge in late if edge.importer in group and edge.imported in group])
    ]


def find_groups(edges: Iterable[Edge]) -> list[frozenset[str]]:
    """Give the strongly connected components of two files or more (Tarjan), by their first file."""
    graph: dict[str, list[str]] = {}
    for edge in edges:
        graph.setdefault(edge.importer, []).append(edge.imported)
        graph.setdefault(edge.imported, [])
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    groups = []
    for start in sorted(graph):
        work = [(start, iter(graph[start]))] if start not in index else []
        while work:
            node, rest = work[-1]
            if node not in index:
                index[node] = low[node] = len(index)
                stack.append(node)
                on_stack.add(node)
            step = next(rest, None)
            if step is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    groups.append(_pop_group(stack, on_stack, node))
            elif step not in index:
                work.append((step, iter(graph[step])))
            elif step in on_stack:
                low[node] = min(low[node], index[step])
    return sorted((group for group in groups if len(group) > 1), key=min)


def _pop_group(stack: list[str], on_stack: set[str], root: str) -> frozenset[str]:
    at = stack.index(root)
    group = frozenset(stack[at:])
    del stack[at:]
    on_stack -= group
    return group


def _shorten(group: frozenset[str], edges: Iterable[Edge], through: Iterable[Edge], kind: str) -> Cycle:
    """Give the shortest way round that takes one of the edges `through`, its first one."""
    inside: dict[str, list[Edge]] = {}
    for edge in sorted(edges):
        if edge.importer in group and edge.imported in group:
            inside.setdefault(edge.importer, []).append(edge)
    paths = [
        (edge, *_find_way(edge.imported, edge.importer, inside))
        for edge in sorted(through)
        if {edge.importer, edge.imported} <= group
    ]
    return Cycle(kind, min(paths, key=len), len(group))


def _find_way(start: str, end: str, inside: Mapping[str, list[Edge]]) -> tuple[Edge, ...]:
    """Give the shortest path from one file of a group to another."""
    came: dict[str, Edge] = {}
    waiting = deque([start])
    while end not in came:
        for edge in inside[waiting.popleft()]:
            if edge.imported not in came:
                came[edge.imported] = edge
                waiting.append(edge.imported)
    path = [came[end]]
    while path[-1].importer != start:
        path.append(came[path[-1].importer])
    return tuple(reversed(path))
