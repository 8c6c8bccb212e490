"""Files and folders that are whole or absent, and room for one where the other kind may be."""

import os
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


def make_folder(path: Path) -> None:
    """Make a folder and those above it, where they are not there."""
    path.mkdir(parents=True, exist_ok=True)


@contextmanager
def write_whole(path: Path, *, newline: str | None = None, suffix: str = ".tmp") -> Iterator[TextIO]:
    """Give a text file that takes the place of `path` at the end; on an error that is as it was."""
    temporary = path.with_name(path.name + suffix)
    try:
        with temporary.open("w", newline=newline, encoding="utf-8") as file:
            yield file
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text that other processes may write as well."""
    with write_whole(path, suffix=own_suffix()) as file:
        file.write(text)


def own_suffix() -> str:
    """Give the end of a temporary file's name that no other process, thread or machine uses."""
    return f".{os.urandom(8).hex()}.tmp"
