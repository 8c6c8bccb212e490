"""Maintainability index, Halstead volume and raw counts, by radon: slow, so for a few files alone."""

from __future__ import annotations

import ast
from typing import Any

_MOST_AGAIN = 200_000  # lines that radon may read again and again: about three seconds
_HEADED = {"body", "cases"}  # what statements with blocks have


def extract(tree: ast.Module, source: bytes) -> dict[str, Any]:
    """Give `index` (0 to 100), `volume` and the lines of a file by kind; nothing where radon gives up.

    radon begins a statement anew for each of its lines: one table of torch keeps it for over eight minutes.
    """
    simple = [
        node for node in ast.walk(tree) if isinstance(node, ast.stmt) and not _HEADED & set(node._fields)
    ]
    if sum(((node.end_lineno or node.lineno) - node.lineno + 1) ** 2 for node in simple) > 2 * _MOST_AGAIN:
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
