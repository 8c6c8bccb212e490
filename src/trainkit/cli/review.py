"""`trainkit review`: the report that a senior reviewer would write, of any tree of Python training code."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trainkit.cli.arguments import (
    Parser,
    add_run_options,
    check_output,
    progress_printer,
    read_run_options,
    refuse_unused,
    text_options,
)
from trainkit.errors import CannotJudgeError, UsageError
from trainkit.report.review import FORMATS, render_as
from trainkit.report.review.text import render_text
from trainkit.review.result import Review
from trainkit.review.survey import review

if TYPE_CHECKING:
    from trainkit.verify.options import RunOptions


def run(argv: list[str]) -> int:
    """Review a tree, print the report, write it to the files asked for, and prove what `--prove` asks."""
    at = argv.index("--") if "--" in argv else len(argv)
    parser = _make_parser()
    options = parser.parse_args(argv[:at])
    _check(options, proves=at < len(argv), prog=parser.prog)
    if not options.prove:
        refuse_unused(options, parser, besides=("paths", "base", "output"), because="it belongs to --prove")
    run_options = read_run_options(options, argv[at + 1 :], where=parser.prog) if options.prove else None
    root, paths = find_root(options.paths)
    found = review(root, paths=paths, base=options.base or "", progress=progress_printer())
    status = 0
    if run_options is not None:
        found, status = _prove(found, root, run_options, options.base)
    for path in options.output:
        path.write_text(render_as(found, path.suffix), encoding="utf-8", errors="backslashreplace")
    print(render_text(found, **text_options()))  # type: ignore[arg-type]
    return status


def _make_parser() -> Parser:
    parser = Parser(
        "review",
        "Read a tree of Python training code, without importing it, and say what is worth a refactor.",
        usage="trainkit review [options] [PATH ...] [--prove -- COMMAND ...]",
    )
    add = parser.add_argument
    add("paths", nargs="*", metavar="PATH", type=Path, help="files and folders (default: the whole project)")
    add("--base", metavar="REF", help="compare with this revision: a table of before and after")
    add(
        "-o",
        "--output",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help=f"write the whole report there, too: {', '.join(FORMATS)}",
    )
    add("--prove", action="store_true", help="run COMMAND at --base and here: is training bitwise identical?")
    add_run_options(parser.add_argument_group("with --prove, as for trainkit verify"))
    return parser


def _check(options: argparse.Namespace, *, proves: bool, prog: str) -> None:
    """Refuse before any work what cannot be done.

    Raises:
        UsageError: of the first mistake.
    """
    if options.prove != proves:
        raise UsageError("usage", f"--prove and a command behind -- go together; see {prog} --help")
    if options.prove and not options.base:
        raise UsageError("usage", f"--prove needs --base REF; see {prog} --help")
    for path in options.output:
        check_output(path)
        if path.suffix not in FORMATS:
            raise UsageError("unknown-format", f"{path}: the ending says the format: {', '.join(FORMATS)}")


def find_root(paths: Sequence[Path]) -> tuple[Path, list[str]]:
    """Give the project that `paths` lie in (default: here), and the paths from there.

    The project is the nearest folder upwards of all of them with a pyproject.toml or a repository, else the
    nearest folder that holds them.

    Raises:
        UsageError: a path does not exist.
    """
    for path in paths:
        if not path.exists():
            raise UsageError("no-such-path", f"{path} does not exist")
    found = [path.resolve() for path in paths] or [Path.cwd()]
    common = Path(os.path.commonpath(found))
    folder = common if common.is_dir() else common.parent
    root = next((each for each in [folder, *folder.parents] if _is_project(each)), folder)
    return root, [each.relative_to(root).as_posix() for each in found] if paths else []


def _is_project(folder: Path) -> bool:
    return (folder / "pyproject.toml").is_file() or (folder / ".git").exists()


def _prove(found: Review, root: Path, run_options: RunOptions, base: str) -> tuple[Review, int]:
    """Verify the command between the base and the working tree, and write the verdict on the page."""
    from trainkit.verdict import exit_status_of
    from trainkit.verify.verify import verify

    try:
        result = verify(root, run_options, base=base, head=None, progress=progress_printer())
    except CannotJudgeError as error:  # the rest of the report is as good as before
        return dataclasses.replace(found, proof=(f"could not be judged: {error}",)), error.exit_status
    said = (f"{result.status}: {result.summary}", f"command: {result.command}")
    return dataclasses.replace(found, proof=said), exit_status_of(result.status)
