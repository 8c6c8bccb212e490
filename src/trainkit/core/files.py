"""Room for a file or a folder where the other kind may be."""

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
