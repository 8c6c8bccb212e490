"""Maintainability index, Halstead volume and raw counts, by radon: slow, so for a few files alone."""

from __future__ import annotations

import ast
from typing import Any


def extract(tree: ast.Module, source: bytes) -> dict[str, Any]:
    """Give `index` (0 to 100), `volume` and the lines of a file by kind; nothing where radon gives up."""
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
