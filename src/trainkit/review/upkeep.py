"""Maintainability index, Halstead volume and raw counts, by radon: slow, so for a few files alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from typing import Any

_MOST_AGAIN = 200_000  # lines that radon may read again and again: about three seconds


def extract(tree: ast.Module, source: bytes) -> dict[str, Any]:
    """Give `index` (0 to 100), `volume` and the lines of a file by kind; nothing where radon gives up.

    radon begins a statement anew for each of its lines: a table of 12,000 lines would keep it for an hour.
    """
    if sum(size * size for size in _list_sizes(tree.body)) > 2 * _MOST_AGAIN:
        return {}
    from radon.metrics import h_visit_ast, mi_compute
    from radon.raw import analyze
    from radon.visitors import ComplexityVisitor

    text = source.decode("utf-8-sig", errors="replace")
    try:
        raw = analyze(text)  # half of the time; radon's mi_visit would do it again
        volume = h_visit_ast(tree).total.volume
        complexity = ComplexityVisitor.from_ast(tree).total_complexity
        comments = (raw.comments + raw.multi) / raw.sloc * 100 if raw.sloc else 0
        return {
            "index": mi_compute(volume, complexity, raw.lloc, comments),
            "volume": volume,
            "source_lines": raw.sloc,
            "logical_lines": raw.lloc,
            "comments": raw.comments,
            "blank": raw.blank,
        }
    except (SyntaxError, ValueError, KeyError, AttributeError, RecursionError):  # its own tokenizer's limits
        return {}


def _list_sizes(body: Sequence[ast.stmt]) -> Iterator[int]:
    """Give the lines of each statement without blocks."""
    for node in body:
        inside = [part for name in ("body", "orelse", "finalbody") for part in getattr(node, name, ())]
        for each in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
            inside += each.body
        if inside:
            yield from _list_sizes(inside)
        else:
            yield (node.end_lineno or node.lineno) - node.lineno + 1
