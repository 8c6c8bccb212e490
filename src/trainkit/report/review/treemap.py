"""Rectangles in a square, one for each weight, as near to squares as they get.

Source: Bruls, Huizing, van Wijk: Squarified Treemaps (2000).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Box:
    """A rectangle in parts of the whole."""

    x: float
    y: float
    width: float
    height: float


def lay_out(weights: Sequence[float]) -> list[Box]:
    """Give a box for each of `weights`, which are positive and descend; together they fill the square."""
    total = sum(weights)
    areas = [weight / total for weight in weights]
    boxes: list[Box] = []
    free = Box(0.0, 0.0, 1.0, 1.0)
    while len(boxes) < len(areas):
        row = _take_row(areas[len(boxes) :], min(free.width, free.height))
        boxes_of_row, free = _place(row, free)
        boxes += boxes_of_row
    return boxes


def _take_row(areas: Sequence[float], side: float) -> Sequence[float]:
    """Take areas as long as the worst of their boxes along `side` gets no longer."""
    count = 1
    while count < len(areas) and _worst(areas[: count + 1], side) <= _worst(areas[:count], side):
        count += 1
    return areas[:count]


def _worst(areas: Sequence[float], side: float) -> float:
    depth = max(sum(areas) / side, 1e-12)
    return max(max(depth * depth / area, area / (depth * depth)) for area in (max(a, 1e-18) for a in areas))


def _place(row: Sequence[float], free: Box) -> tuple[list[Box], Box]:
    """Give the boxes of a row along the shorter side, and what is left."""
    wide = free.width >= free.height
    depth = sum(row) / max(free.height if wide else free.width, 1e-12)
    boxes, at = [], free.y if wide else free.x
    for area in row:
        length = area / max(depth, 1e-12)
        boxes.append(Box(free.x, at, depth, length) if wide else Box(at, free.y, length, depth))
        at += length
    left = (
        Box(free.x + depth, free.y, free.width - depth, free.height)
        if wide
        else Box(free.x, free.y + depth, free.width, free.height - depth)
    )
    return boxes, left
