"""`trainkit golden`, `complexity`, `duplication`, `gpu`: one guard alone."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from trainkit.cli import COMMANDS
from trainkit.cli.arguments import Parser, find_project, print_annotations, progress_printer, text_options
from trainkit.errors import UsageError, suggest
from trainkit.gate import judge, read_tables
from trainkit.report.text import render_text
from trainkit.verdict import exit_status


def run(argv: list[str]) -> int:
    """Run the guard argv[0] with its own options; without `--base` there is nothing to compare with."""
    name, *rest = argv
    options = _parser(name).parse_args(rest)
    root = find_project()
    table = read_tables(root, {})[name]
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
    print_annotations(root, judgement.verdicts)
    return exit_status(judgement.verdicts)


def _parser(name: str) -> Parser:
    parser = Parser(
        name, f"{COMMANDS[name][1].capitalize()}. Settings: [tool.trainkit.{name}] of pyproject.toml."
    )
    parser.add_argument("--base", metavar="REF", help="compare with where HEAD left this revision")
    if name == "golden":
        parser.add_argument("runs", nargs="*", metavar="RUN", help="default: all configured runs")
        parser.add_argument("--update", action="store_true", help="store what training does now")
    return parser


def _override(name: str, options: argparse.Namespace, table: Mapping[str, Any]) -> dict[str, Any]:
    if name == "golden":
        return _override_runs(options.runs, table.get("runs", {}))
    return {}


def _override_runs(names: list[str], configured: Mapping[str, Any]) -> dict[str, Any]:
    for name in names:
        if name not in configured:
            raise UsageError(
                "unknown-run", f"no run '{name}' in [tool.trainkit.golden.runs]{suggest(name, configured)}"
            )
    return {"runs": {name: configured[name] for name in names}} if names else {}
