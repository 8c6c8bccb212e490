"""Room for a file or a folder where the other kind may be; files that are whole or absent."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


def make_room(path: Path) -> None:
    """Remove a folder that stands where a file is to be."""
    if path.is_dir():
        shutil.rmtree(path)


def remove(path: Path) -> None:
    """Remove a file or a folder, if there is one."""
    make_room(path)
    path.unlink(missing_ok=True)


@contextmanager
def write_whole(path: Path, *, newline: str | None = None) -> Iterator[TextIO]:
    """Give a text file that takes the place of `path` at the end; on an error that is as it was."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("w", newline=newline, encoding="utf-8") as file:
            yield file
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
