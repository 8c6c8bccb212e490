"""Rows for a terminal: columns of equal width, numbers to the right."""

from __future__ import annotations

import re
from collections.abc import Sequence


def format_columns(rows: Sequence[Sequence[str]]) -> str:
    """Give a line per row; what begins as a number does is flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if re.match(r"-?[\d.]+(e|$)", cell) else cell.ljust(width)
            for cell, width in zip(row, widths, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
