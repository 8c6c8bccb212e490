"""`trainkit imports`, `golden`, `complexity`, `bench`, `gpu`: one guard alone."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainkit.cli import COMMANDS
from trainkit.cli.arguments import Parser, find_project, progress_printer, text_options
from trainkit.errors import CannotJudgeError, UsageError, suggest
from trainkit.gate import judge, read_tables
from trainkit.repo.process import WITHOUT_COVERAGE
from trainkit.report.text import render_text
from trainkit.verdict import exit_status


def run(argv: list[str]) -> int:
    """Run the guard argv[0] with its own options; without `--base` there is nothing to compare with."""
    name, *rest = argv
    options = _parser(name).parse_args(rest)
    root = find_project()
    table = read_tables(root, {})[name]
    if getattr(options, "waterfall", None):
        return _write_waterfall(root, options)
    judgement = judge(
        root,
        [name],
        base=options.base,
        overrides={name: _override(name, options, table)},
        writable=True,
        update=getattr(options, "update", False),
        progress=progress_printer(),
    )
    print(render_text(judgement.verdicts, **text_options()))  # type: ignore[arg-type]
    return exit_status(judgement.verdicts)


def _parser(name: str) -> Parser:
    parser = Parser(
        name, f"{COMMANDS[name][1].capitalize()}. Settings: [tool.trainkit.{name}] of pyproject.toml."
    )
    parser.add_argument("--base", metavar="REF", help="compare with this revision")
    if name == "imports":
        parser.add_argument("targets", nargs="*", metavar="MODULE", help="default: the configured targets")
        parser.add_argument(
            "--forbid", action="append", metavar="MODULE", help="must not come along (repeatable)"
        )
        parser.add_argument(
            "--max-seconds", type=float, metavar="S", help="budget of CPU seconds (default 5)"
        )
        parser.add_argument("--max-modules", type=int, metavar="N", help="budget of modules")
        parser.add_argument(
            "--waterfall",
            metavar="FILE",
            type=Path,
            help="write a HAR of one MODULE, for any HAR viewer, and stop",
        )
    elif name == "golden":
        parser.add_argument("runs", nargs="*", metavar="RUN", help="default: all configured runs")
        parser.add_argument("--update", action="store_true", help="store what training does now")
    elif name == "complexity":
        parser.add_argument("--max-function", type=int, metavar="N", help="budget of a function (default 10)")
        parser.add_argument(
            "--max-module-body", type=int, metavar="N", help="budget of a module body (default 10)"
        )
    elif name == "bench":
        parser.add_argument("--margin", type=float, metavar="X", help="slow-down to let pass (default 0.2)")
    return parser


def _override(name: str, options: argparse.Namespace, table: Mapping[str, Any]) -> dict[str, Any]:
    if name == "imports":
        return _override_targets(options, table.get("targets", {}))
    if name == "golden":
        return _override_runs(options.runs, table.get("runs", {}))
    keys = ("max_function", "max_module_body", "margin")
    return {key: getattr(options, key) for key in keys if getattr(options, key, None) is not None}


def _override_targets(options: argparse.Namespace, configured: Mapping[str, Any]) -> dict[str, Any]:
    flags = {
        key: value
        for key in ("forbid", "max_seconds", "max_modules")
        if (value := getattr(options, key)) is not None
    }
    names = options.targets or list(configured)
    if flags and not names:
        raise UsageError(
            "usage", "--forbid, --max-seconds and --max-modules need a MODULE; see trainkit imports --help"
        )
    return {"targets": {name: {**configured.get(name, {}), **flags} for name in names}}


def _override_runs(names: list[str], configured: Mapping[str, Any]) -> dict[str, Any]:
    for name in names:
        if name not in configured:
            raise UsageError(
                "unknown-run", f"no run '{name}' in [tool.trainkit.golden.runs]{suggest(name, configured)}"
            )
    return {"runs": {name: configured[name] for name in names}} if names else {}


def _write_waterfall(root: Path, options: argparse.Namespace) -> int:
    """Let importtime-waterfall write its HAR (best of six imports)."""
    if len(options.targets) != 1:
        raise UsageError("usage", "--waterfall needs exactly one MODULE")
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
    try:
        options.waterfall.write_text(done.stdout, encoding="utf-8")
    except OSError as error:
        message = f"--waterfall {options.waterfall}: {error.strerror}"
        raise UsageError("output-not-writable", message) from error
    print(f"{options.waterfall}: open it in a HAR viewer (a browser's network panel imports it)")
    return 0
