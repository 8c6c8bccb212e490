"""A log of `python -X importtime` as a tree: the formats of Python 3.11 to 3.15, and `=2` (since 3.14).

Rows come when a load ends, deepest first, and their indent is the depth. A row of `=2` for a module that was
already loaded says "cached"; its indent is only padding, so its depth is lost where the name is long. Python
prints failed imports like others, and at times negative self times; other output may stand in between.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from trainkit.guards.imports.views import Node, lay_out

_ROW = re.compile(r"import time:\s*(-?\d+|cached) \|\s*(-?\d+|cached)\s*\|( *)(\S+)\s*$")


@dataclass(frozen=True)
class Log:
    """The tree of loads, how often each module was asked for again, and rows that could not be read."""

    root: Node
    again: Counter[str]
    num_negative: int
    num_unread: int


def describe_log(log: Log, num_rows: int = 12) -> str:
    """Give what was read, and the modules with the largest times of their own."""
    nodes = [placed.node for placed in lay_out(log.root)][1:]
    lines = [f"{log.root.name}: {len(nodes)} loads, {log.root.total_s:.3f} s"]
    if log.again:
        lines[0] += f", {log.again.total()} times one was there already"
    if log.num_negative or log.num_unread:
        lines[0] += f", {log.num_negative} negative times (as 0), {log.num_unread} rows unread"
    lines += ["   itself  cumulative", "       ms          ms  module"]
    for node in sorted(nodes, key=lambda node: -node.self_s)[:num_rows]:
        again = f"  asked for {log.again[node.name]} times more" if log.again[node.name] else ""
        lines.append(f"{node.self_s * 1e3:9.1f} {node.total_s * 1e3:11.1f}  {node.name}{again}")
    return "\n".join(lines)


def parse_log(text: str, *, name: str = "log") -> Log:
    """Read a log; what is no row of it is passed over."""
    pending: dict[int, list[Node]] = {}
    again: Counter[str] = Counter()
    num_negative = num_unread = 0
    for line in text.splitlines():
        match = _ROW.search(line)
        if match is None:
            num_unread += line.startswith("import time:") and "imported package" not in line
            continue
        own, _, indent, module = match.groups()
        if own == "cached":
            again[module] += 1
            continue
        depth = len(indent) // 2
        num_negative += int(own) < 0
        node = Node(module, max(int(own), 0) / 1e6, pending.pop(depth + 1, []))
        pending.setdefault(depth, []).append(node)
    return Log(
        root=Node(name, 0.0, [node for depth in sorted(pending) for node in pending[depth]]),
        again=again,
        num_negative=num_negative,
        num_unread=num_unread,
    )
