"""Loads as a tree, and that tree for speedscope and for Chrome's tracing (Perfetto reads that, too)."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from trainkit.guards.imports.measure import Imported

COLLECTIONS, FAILED = "(garbage collection)", "(imports that failed)"


@dataclass
class Node:
    """One load: its own seconds, and the loads within it in their order."""

    name: str
    self_s: float
    children: list[Node] = field(default_factory=list)
    place: str = ""

    @cached_property
    def total_s(self) -> float:
        """Its own seconds and those of all within it."""
        return self.self_s + sum(child.total_s for child in self.children)


class Placed(NamedTuple):
    """A node on a line of time: what it loaded comes first, its own time last."""

    node: Node
    depth: int
    start_s: float


def build_tree(imported: Imported) -> Node:
    """Give the loads of a process as a tree, with garbage collections and failed imports of their own."""
    loads = sorted(imported.loads.values(), key=lambda load: load.start_s)
    nodes = {load.name: Node(load.name, load.self_s, place=imported.show(load.links[0])) for load in loads}
    root = Node(f"all of {imported.target}", 0.0)
    for load in loads:
        nodes.get(load.within, root).children.append(nodes[load.name])
    failed = sum(load.self_s for load in imported.failed)
    root.children += [Node(COLLECTIONS, imported.collections_s), Node(FAILED, failed)]
    return root


def lay_out(root: Node) -> Iterator[Placed]:
    """Give each node its place, parents before children."""
    waiting = [Placed(root, 0, 0.0)]
    while waiting:
        placed = waiting.pop()
        yield placed
        start = placed.start_s
        for child in placed.node.children:
            waiting.append(Placed(child, placed.depth + 1, start))
            start += child.total_s


def render_speedscope(root: Node) -> str:
    """Give the tree as a file for speedscope.app, which reads it without sending it anywhere."""
    frames: dict[tuple[str, str], int] = {}
    events: list[dict[str, object]] = []

    def frame_of(node: Node) -> int:
        return frames.setdefault((node.name, node.place), len(frames))

    stack: list[tuple[Node, float, bool]] = [(root, 0.0, True)]
    while stack:
        node, start, opens = stack.pop()
        at = start if opens else start + node.total_s
        events.append({"type": "O" if opens else "C", "frame": frame_of(node), "at": at})
        if opens:
            stack.append((node, start, False))
            ends = list(itertools.accumulate((each.total_s for each in node.children), initial=start))
            stack += [(child, at, True) for child, at in zip(node.children, ends, strict=False)][::-1]
    profile = {"type": "evented", "name": root.name, "unit": "seconds", "startValue": 0}
    document = {
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "shared": {"frames": [{"name": name, "file": place} for name, place in frames]},
        "profiles": [profile | {"endValue": root.total_s, "events": events}],
    }
    return json.dumps(document) + "\n"


def render_chrome(root: Node) -> str:
    """Give the tree as trace events for chrome://tracing or Perfetto."""
    events = [
        {
            "name": placed.node.name,
            "ph": "X",
            "ts": placed.start_s * 1e6,
            "dur": placed.node.total_s * 1e6,
            "pid": 1,
            "tid": 1,
            "args": {"self_ms": placed.node.self_s * 1e3, "by": placed.node.place},
        }
        for placed in lay_out(root)
    ]
    return json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}) + "\n"
