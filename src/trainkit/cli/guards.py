"""`trainkit golden`, `complexity`, `bench`, `gpu`: one guard alone."""

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
    parser.add_argument("--base", metavar="REF", help="compare with this revision")
    if name == "golden":
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
    if name == "golden":
        return _override_runs(options.runs, table.get("runs", {}))
    keys = ("max_function", "max_module_body", "margin")
    return {key: getattr(options, key) for key in keys if getattr(options, key, None) is not None}


def _override_runs(names: list[str], configured: Mapping[str, Any]) -> dict[str, Any]:
    for name in names:
        if name not in configured:
            raise UsageError(
                "unknown-run", f"no run '{name}' in [tool.trainkit.golden.runs]{suggest(name, configured)}"
            )
    return {"runs": {name: configured[name] for name in names}} if names else {}
