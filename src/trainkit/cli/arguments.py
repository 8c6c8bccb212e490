"""What the commands share: an argument parser with our manners, the project's folder, progress."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from trainkit.errors import UsageError
from trainkit.repo.git import find_toplevel

if TYPE_CHECKING:
    from trainkit.verdict import Verdict


class Parser(argparse.ArgumentParser):
    """An argument parser that raises `UsageError` and takes no abbreviations."""

    def __init__(self, command: str, description: str, **more: object) -> None:
        super().__init__(
            prog=f"trainkit {command}",
            description=description,
            allow_abbrev=False,
            **more,  # type: ignore[arg-type]
        )

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the whole usage."""
        raise UsageError("usage", f"{message}; see {self.prog} --help")


def find_project() -> Path:
    """Give the nearest folder upwards that has a pyproject.toml, else the top of the git tree.

    Raises:
        UsageError: not inside a git working tree.
    """
    here = Path.cwd().resolve()
    toplevel = find_toplevel(here)
    for folder in [here, *here.parents]:
        if (folder / "pyproject.toml").exists():
            return folder
        if folder == toplevel:
            break
    return toplevel


def progress_printer() -> Callable[[str], None]:
    """Give a function that shows its text on one line of a terminal, and does nothing in a pipe."""
    if sys.stderr is None or not sys.stderr.isatty():
        return lambda _: None

    def show(what: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        print(f"\r\033[K{what[:width]}", end="", file=sys.stderr, flush=True)

    return show


def print_annotations(root: Path, verdicts: Sequence[Verdict]) -> None:
    """Print findings as commands of GitHub where a workflow is running: they show at their lines."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return
    from trainkit.report.annotations import render_annotations

    inside = root.resolve().relative_to(find_toplevel(root)).as_posix()
    text = render_annotations(verdicts, folder="" if inside == "." else f"{inside}/")
    if text:
        print(text)


def text_options() -> dict[str, int | bool]:
    """Give `width` and `color` for the text report on this standard output (NO_COLOR is heeded)."""
    color = sys.stdout is not None and sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    width = min(shutil.get_terminal_size((100, 24)).columns, 120)
    return {"width": width, "color": color}
