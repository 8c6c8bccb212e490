"""`trainkit imports`: what comes along when a module is imported or a program starts, and what it costs."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainkit.cli import imports_fix
from trainkit.cli.arguments import (
    Parser,
    check_output,
    find_project,
    print_annotations,
    progress_printer,
    refuse_unused,
    text_options,
)
from trainkit.errors import CannotJudgeError, ConfigError, UsageError
from trainkit.gate import judge, read_tables
from trainkit.repo.process import WITHOUT_COVERAGE
from trainkit.report.text import render_text
from trainkit.verdict import Status, Verdict, exit_status

_ABOUT = (
    "Guard what comes along when a module is imported, a console script starts or a command runs. "
    "Settings: [tool.trainkit.imports] of pyproject.toml."
)
_FLAGS = ("forbid", "max_seconds", "max_modules", "ratchet")
_SUFFIXES = (".html", ".speedscope.json", ".trace.json")


def run(argv: list[str]) -> int:
    """Judge the targets; without `--base` there is nothing to compare with."""
    words, command = (argv[: argv.index("--")], argv[argv.index("--") + 1 :]) if "--" in argv else (argv, [])
    parser = make_parser()
    options = parser.parse_args(words)
    if options.log:
        refuse_unused(options, parser, besides=("log", "save"), because="with --log nothing is run")
        return _show_log(options)
    root = find_project()
    table = read_tables(root, {})["imports"]
    if imports_fix.wants_fix(options):
        own = ("targets", "advise", *imports_fix.FLAGS)
        refuse_unused(options, parser, besides=own, because="advice is on the working tree alone")
        return imports_fix.run_fix(root, options, command)
    if options.waterfall:
        because = "--waterfall writes its file and stops"
        refuse_unused(options, parser, besides=("targets", "waterfall"), because=because)
        return _write_waterfall(root, options)
    _check_save(options.save)
    overrides = _override(options, command, table)
    if options.save and len(overrides["targets"]) != 1:
        raise UsageError("usage", f"--save needs exactly one TARGET, not {len(overrides['targets'])}")
    kept: list[Any] = []
    judgement = judge(
        root,
        ["imports"],
        base=options.base,
        overrides={"imports": overrides},
        progress=progress_printer(),
        keep=kept.append,
    )
    _refuse_unknown(judgement.verdicts[0])
    print(render_text(judgement.verdicts, **text_options()))  # type: ignore[arg-type]
    print_annotations(root, judgement.verdicts)
    if judgement.verdicts[0].status is not Status.ERROR:
        _show(kept, options.save)
    return exit_status(judgement.verdicts)


def _refuse_unknown(verdict: Verdict) -> None:
    """Take a target that is nowhere for a slip of the pen; in a gate the other guards go on."""
    unknown = [(each.rule, each.message) for each in verdict.findings if each.rule == "unknown-target"]
    if unknown:
        raise ConfigError(unknown)


def make_parser() -> Parser:
    """Give the options."""
    parser = Parser("imports", _ABOUT, usage="trainkit imports [options] [TARGET ...] [-- COMMAND ...]")
    help_ = "a module or a console script (default: the configured targets); or a command behind --"
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=help_)
    parser.add_argument("--base", metavar="REF", help="compare with where HEAD left this revision")
    parser.add_argument(
        "--forbid", action="append", metavar="MODULE", help="must not come along (repeatable)"
    )
    parser.add_argument("--max-modules", type=int, metavar="N", help="budget of modules")
    parser.add_argument("--max-seconds", type=float, metavar="S", help="budget of CPU seconds (default 5)")
    parser.add_argument(
        "--ratchet", action="store_true", default=None, help="no module more than at the baseline"
    )
    parser.add_argument(
        "--times", type=int, metavar="N", help="time N interleaved pairs, and count calls (with --base)"
    )
    help_ = "write what one target loads: FILE.html (icicle), .speedscope.json or .trace.json (repeatable)"
    parser.add_argument("--save", action="append", default=[], metavar="FILE", type=Path, help=help_)
    help_ = "look at a log of `python -X importtime` instead of running something"
    parser.add_argument("--log", metavar="FILE", type=Path, help=help_)
    help_ = "let importtime-waterfall write a HAR of one module, and stop"
    parser.add_argument("--waterfall", metavar="FILE", type=Path, help=help_)
    imports_fix.add_fix_options(parser)
    return parser


def _override(options: argparse.Namespace, command: list[str], table: Mapping[str, Any]) -> dict[str, Any]:
    configured = table.get("targets", {})
    flags = {key: value for key in _FLAGS if (value := getattr(options, key)) is not None}
    names = options.targets or ([] if command else list(configured))
    if flags and not names and not command:
        flag = next(f"--{key.replace('_', '-')}" for key in flags)
        raise UsageError("usage", f"{flag} needs a TARGET; see trainkit imports --help")
    if options.times is not None and options.base is None:
        raise UsageError("usage", "--times needs --base: it compares; see trainkit imports --help")
    targets = {name: {**configured.get(name, {}), **flags} for name in names}
    if command:
        shown = shlex.join(command)
        targets[shown] = {"command": shown, **flags}
    return {"targets": targets} | ({} if options.times is None else {"times": options.times})


def _check_save(files: list[Path]) -> None:
    for file in files:
        if not file.name.endswith(_SUFFIXES):
            raise UsageError("usage", f"--save {file}: the name must end with one of {', '.join(_SUFFIXES)}")
        check_output(file)


def _show(kept: list[Any], files: list[Path]) -> None:
    from trainkit.guards.imports.page import build_page
    from trainkit.guards.imports.table import render_table
    from trainkit.guards.imports.views import build_tree

    for examined in kept:
        print(f"\n{render_table(examined.now)}")
    for file in files:
        _save(file, build_tree(kept[0].now), build_page(kept[0].now))


def _save(file: Path, tree: Any, page: str) -> None:
    from trainkit.guards.imports.views import render_chrome, render_speedscope

    if file.suffix != ".html":
        page = render_speedscope(tree) if file.name.endswith(".speedscope.json") else render_chrome(tree)
    _write(file, "--save", page)
    print(f"\nwritten: {file}")


def _show_log(options: argparse.Namespace) -> int:
    from trainkit.guards.imports.log import describe_log, parse_log
    from trainkit.guards.imports.page import render_page

    _check_save(options.save)
    try:
        log = parse_log(options.log.read_text(encoding="utf-8", errors="replace"), name=options.log.name)
    except OSError as error:
        raise UsageError("log-not-readable", f"--log {options.log}: {error.strerror}") from error
    if not log.root.children:
        message = f"--log {options.log}: no row of `python -X importtime` in it; it writes to standard error"
        raise UsageError("log-not-readable", message)
    print(describe_log(log))
    for file in options.save:
        _save(file, log.root, render_page(options.log.name, describe_log(log).splitlines()[0], log.root))
    return 0


def _write(file: Path, flag: str, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UsageError("output-not-writable", f"{flag} {file}: {error.strerror}") from error


def _write_waterfall(root: Path, options: argparse.Namespace) -> int:
    """Let importtime-waterfall write its HAR (best of six imports)."""
    if len(options.targets) != 1:
        raise UsageError("usage", "--waterfall needs exactly one TARGET, a module")
    target = options.targets[0]
    command = [sys.executable, "-m", "importtime_waterfall", "--har", target]
    search = [str(root / "src"), str(root), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | WITHOUT_COVERAGE | {"PYTHONPATH": os.pathsep.join(filter(None, search))}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1]
        if "No module named importtime_waterfall" in said:
            message = "importtime-waterfall is not installed: pip install 'trainkit[waterfall]'"
            raise UsageError("missing-dependency", message)
        raise CannotJudgeError("waterfall-failed", f"importtime-waterfall {target}: {said}")
    _write(options.waterfall, "--waterfall", done.stdout)
    print(f"{options.waterfall}: open it in a HAR viewer (a browser's network panel imports it)")
    return 0
