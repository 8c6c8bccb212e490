"""Watches which of the edited lines run, and when: the way from a differing number to a line of code.

Only in the deep pass, which is a program run again; a debugger or coverage that traces already keeps its
place, and then nothing is watched.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from .frames import place_of
from .record import was_spawned


def watch(recorder: Any, folder: Path, edited: dict[str, list[int]]) -> None:
    """Note each run of a line of `edited` (file in the tree -> lines) for `recorder`.

    Children (workers of a loader) append theirs to a file in `folder`.
    """
    if sys.gettrace() is not None:
        return
    lines_by_file = {name: frozenset(lines) for name, lines in edited.items()}
    watched: dict[CodeType, frozenset[int]] = {}
    parent = os.getpid()
    told: set[tuple[str, int]] = set()

    def find_watched(code: CodeType) -> frozenset[int]:
        own = lines_by_file.get(place_of(code))
        if not own:  # nearly all that runs
            return frozenset()
        found = watched.get(code)
        if found is None:
            found = watched[code] = own & {line for _, _, line in code.co_lines() if line}
        return found

    def see_line(frame: FrameType, event: str, _: Any) -> Any:
        if event == "line" and frame.f_lineno in find_watched(frame.f_code):
            place = place_of(frame.f_code), frame.f_lineno
            forked = os.getpid() != parent
            if not forked:
                recorder.hit(*place)
            if forked or was_spawned():
                _tell(place, told, folder)
        return see_line

    def see_call(frame: FrameType, event: str, _: Any) -> Any:
        return see_line if event == "call" and find_watched(frame.f_code) else None

    sys.settrace(see_call)
    threading.settrace(see_call)


def _tell(place: tuple[str, int], told: set[tuple[str, int]], folder: Path) -> None:
    if place not in told:
        told.add(place)
        with (folder / f"lines-{os.getpid()}.txt").open("a") as file:
            file.write(json.dumps(place) + "\n")


def stop_watching() -> None:
    """Watch no further: what runs after the step that is looked at explains nothing."""
    if getattr(sys.gettrace(), "__module__", "") == __name__:  # else a debugger's
        threading.settrace(None)
        sys.settrace(None)
