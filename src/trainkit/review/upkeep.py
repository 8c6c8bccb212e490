"""Maintainability index, Halstead volume and raw counts, by radon: slow, so for a few files alone."""

from __future__ import annotations

import ast
from typing import Any


def extract(tree: ast.Module, source: bytes) -> dict[str, Any]:
    """Give `index` (0 to 100), `volume` and the lines of a file by kind; nothing where radon gives up."""
    from radon.metrics import h_visit_ast, mi_visit
    from radon.raw import analyze

    text = source.decode("utf-8-sig", errors="replace")
    try:
        raw = analyze(text)
        return {
            "index": mi_visit(text, multi=True),
            "volume": h_visit_ast(tree).total.volume,
            "source_lines": raw.sloc,
            "logical_lines": raw.lloc,
            "comments": raw.comments,
            "blank": raw.blank,
        }
    except (SyntaxError, ValueError, KeyError, AttributeError, RecursionError):  # its own tokenizer's limits
        return {}
