"""Which line of the user's project is running: frames of the tree, innermost first."""

from __future__ import annotations

import os
import sys
from types import CodeType, FrameType

TREE = os.path.realpath(os.environ.get("TRAINKIT_TREE", ".")) + os.sep
# A project may be a folder of a repository whose other folders it imports.
TOP = os.path.realpath(os.environ.get("TRAINKIT_TOP", TREE)) + os.sep
_FOREIGN = ("site-packages", "dist-packages", f"{os.sep}lib{os.sep}python3")
_HERE = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120
_known: dict[str, str] = {}  # by file: the hash of a string is kept, that of code is made anew each time


def place_of(code: CodeType) -> str:
    """Give the file of `code` relative to the project's folder, or nothing when it is not of the tree."""
    name = code.co_filename
    known = _known.get(name)
    if known is None:
        path = "" if name.startswith("<") else os.path.realpath(name)
        own = path.startswith(TOP) and not path.startswith(_HERE)
        inner = os.path.relpath(path, TREE) if own else ""
        known = _known[name] = "" if any(mark in inner for mark in _FOREIGN) else inner
    return known


def list_frames(most: int = 8) -> list[list[str | int]]:
    """Give [file, line, function] of the project's frames that are running now, innermost first."""
    frame: FrameType | None = sys._getframe(1)
    found: list[list[str | int]] = []
    while frame is not None and len(found) < most:
        place = place_of(frame.f_code)
        if place:
            found.append([place, frame.f_lineno, frame.f_code.co_name])
        frame = frame.f_back
    return found


def find_caller() -> str:
    """Give `file:line` of the project's line that called into torch, if it did so itself.

    A few frames of others may lie between (a helper of Lightning's that seeds).
    """
    found = list_frames(1)
    return f"{found[0][0]}:{found[0][1]}" if found else ""
