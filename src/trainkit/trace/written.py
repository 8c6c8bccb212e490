"""Notes which files outside of its tree a process writes: for those in the tree one looks there afterwards.

An audit hook (PEP 578) hears of each file that Python opens or renames, and the recorder tells of those that
torch.save is given; what another library opens by itself is not heard of. The hook stays to the end of the
process, and says nothing of a file twice.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

_KINDS = frozenset({"open", "os.rename", "trainkit.save"})  # os.replace is a rename, too
_NO_FILES = ("/dev/", "/proc/", "/sys/")


def watch(folder: Path) -> None:
    """Append a JSON line [path, bytes that were there before] for each such file to one in `folder`."""
    tree = os.path.realpath(os.environ.get("TRAINKIT_TREE", "."))
    inside = (tree + os.sep, str(folder) + os.sep, *_NO_FILES)
    seen: set[str] = set()

    def see(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _KINDS:
            with suppress(Exception):  # whatever it is, the program must not hear of it
                name, flags = _read_target(event, arguments)
                if name not in seen and flags & (os.O_WRONLY | os.O_RDWR):
                    seen.add(name)
                    if not name.startswith(inside) and not name.endswith(".pyc"):
                        _tell(folder, name, appends=bool(flags & os.O_APPEND))

    sys.addaudithook(see)


def _read_target(event: str, arguments: tuple[Any, ...]) -> tuple[str, int]:
    """Give the path and how it is opened; of a number, which has been told of as a path, an error."""
    if event == "open":
        path, flags = arguments[0], arguments[2]
    else:
        path, flags = arguments[event == "os.rename"], os.O_WRONLY
    return os.path.realpath(os.fsdecode(path)), flags


def _tell(folder: Path, name: str, *, appends: bool) -> None:
    size = Path(name).stat().st_size if appends and Path(name).is_file() else 0
    with (folder / f"written-{os.getpid()}.txt").open("a", encoding="utf-8") as file:
        file.write(json.dumps([name, size]) + "\n")
