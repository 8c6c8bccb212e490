"""Files and folders that are whole or absent, and room for one where the other kind may be."""

import os
import shutil
from pathlib import Path


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


def write_whole(path: Path, text: str) -> None:
    """Write a text; whoever reads it meanwhile finds the old one or the new one, whole."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
