"""The part of `trainkit imports` that advises and edits: `--advise` and `--fix`."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from trainkit.cli.arguments import Parser, progress_printer
from trainkit.errors import UsageError

FLAGS = ("fix", "test", "verify", "share", "write")


def add_fix_options(parser: Parser) -> None:
    """Add the options of advice."""
    add = parser.add_argument
    add("--advise", action="store_true", help="say which imports could come later, and what each would save")
    add("--fix", action="store_true", help="try the advice in a copy, prove it, and show the diff")
    add("--test", metavar="CMD", default="", help="what proves a fix: each test must end as before")
    add(
        "--verify",
        metavar="CMD",
        default="",
        help="what proves a fix: this training must stay bitwise identical",
    )
    add(
        "--share",
        metavar="PATH",
        action="append",
        default=[],
        help="a file or folder that git ignores and they need",
    )
    add("--write", action="store_true", help="put what was proven into your files")


def wants_fix(options: argparse.Namespace) -> bool:
    """Say whether advice is asked for.

    Raises:
        UsageError: an option is given without the one it belongs to.
    """
    given = next((name for name in FLAGS if getattr(options, name)), None)
    if given and not options.fix:
        raise UsageError("usage", f"--{given} belongs to --fix; see trainkit imports --help")
    if options.fix and not (options.test or options.verify):
        message = (
            "--fix keeps only what is proven: give --test 'python -m pytest' or --verify 'python train.py'"
        )
        raise UsageError("usage", message)
    return bool(options.advise or options.fix)


def run_fix(root: Path, options: argparse.Namespace, command: list[str]) -> int:
    """Print advice, or what became of it; with --write, edit the user's files."""
    from trainkit.guards.imports.fix import advise, fix, write
    from trainkit.repo.signals import hold_signals, terminate_as_exit
    from trainkit.report.advice import render_advice
    from trainkit.verify.options import RunOptions, check_paths

    if len(options.targets) + bool(command) != 1:
        raise UsageError("usage", "--advise and --fix need exactly one TARGET, or a command behind --")
    name, shown = (shlex.join(command),) * 2 if command else (options.targets[0], "")
    progress = progress_printer()
    if not options.fix:
        print(render_advice(advise(root, name, command=shown, progress=progress)))
        return 0
    share = tuple(options.share)
    training = RunOptions(command=_split(options.verify), share=share) if options.verify else None
    check_paths(root, RunOptions(command=("-",), share=share))
    tests = _split(options.test) if options.test else ()
    with terminate_as_exit():
        advice = fix(
            root, name, command=shown, tests=tests, training=training, share=share, progress=progress
        )
        print(render_advice(advice), flush=True)
        if options.write and advice.files:
            with hold_signals():
                print(f"\nwritten: {', '.join(write(root, advice))}", flush=True)
        elif advice.files:
            print("\nnothing was written; with --write it is")
    return 0


def _split(command: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(command))
    except ValueError as error:
        raise UsageError("usage", f"{command!r}: {error}") from error
