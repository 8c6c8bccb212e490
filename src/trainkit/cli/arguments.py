"""What the commands share: an argument parser with our manners, the project's folder, progress."""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from trainkit.errors import UsageError
from trainkit.repo.git import find_toplevel

if TYPE_CHECKING:
    from trainkit.verdict import Verdict
    from trainkit.verify.options import RunOptions


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


def add_run_options(parser: argparse._ActionsContainer) -> None:
    """Add the flags that say how a training command is run."""
    add = parser.add_argument
    add(
        "--share",
        metavar="PATH",
        action="append",
        default=[],
        help="a file or folder that git ignores and a run needs",
    )
    add("--setup", metavar="CMD", default="", help="run this once in each tree first")
    add("--env", metavar="K=V", action="append", default=[], help="set a variable on both sides")
    add("--steps", metavar="N", type=int, default=0, help="end the program after N optimizer steps")
    add(
        "--timeout",
        metavar="S",
        type=float,
        default=1800.0,
        dest="timeout_s",
        help="of one run, in seconds (1800)",
    )
    add("--threads", metavar="N", type=int, default=1, help="threads of torch (1); 0 leaves them")
    add("--hash-seed", metavar="N", default="0", help="PYTHONHASHSEED (0); random leaves it")
    add("--no-seeds", action="store_false", dest="seeds", help="plant no seeds in programs without their own")
    add(
        "--no-deterministic",
        action="store_false",
        dest="deterministic",
        help="leave the choice of algorithms",
    )
    add(
        "--portable",
        action="store_true",
        help="kernels that compute alike on all x86-64 processors (1.7 to 3 times slower)",
    )


def read_run_options(options: argparse.Namespace, command: list[str], *, where: str) -> RunOptions:
    """Give the checked options of a run of `command`."""
    from trainkit.settings import parse
    from trainkit.verify.options import RunOptions

    names = {field.name for field in dataclasses.fields(RunOptions)} - {"command"}
    table: dict[str, Any] = {key: value for key, value in vars(options).items() if key in names}
    return parse(RunOptions, table | {"command": command}, where=where)


def refuse_unused(
    options: argparse.Namespace, parser: argparse.ArgumentParser, *, besides: Sequence[str], because: str
) -> None:
    """Refuse options that would have no effect: all that were given but for `besides`.

    Raises:
        UsageError: of the first one.
    """
    for action in parser._actions:
        name = action.dest
        unused = name not in {*besides, "help"} and getattr(options, name) != parser.get_default(name)
        if unused and getattr(options, name) != []:  # what `nargs="*"` gives for nothing
            flag = action.option_strings[-1] if action.option_strings else str(action.metavar)
            raise UsageError("usage", f"{flag} has no effect here: {because}; see {parser.prog} --help")


def check_output(path: Path | None) -> None:
    """Refuse before minutes of work what could not be written after it."""
    if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
        raise UsageError("output-not-writable", f"{path}: no file can be written there")
