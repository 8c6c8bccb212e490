"""`trainkit bench`: the benchmarks of two revisions in lock-step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainkit.cli.arguments import (
    Parser,
    check_output,
    find_project,
    print_annotations,
    progress_printer,
    text_options,
)
from trainkit.errors import UsageError
from trainkit.gate import judge
from trainkit.report.measurements import render_measurements
from trainkit.report.text import render_text
from trainkit.verdict import Verdict, exit_status

_ABOUT = (
    "Run a pytest-benchmark suite on the working tree, and with --base on that revision beside it. "
    "Settings: [tool.trainkit.bench] of pyproject.toml."
)


def run(argv: list[str]) -> int:
    """Judge the benchmarks; without `--base` there is nothing to compare with."""
    options = _make_parser().parse_args(argv)
    check_output(options.json)
    if options.history is not None and options.history.exists() and not options.history.is_dir():
        raise UsageError("output-not-writable", f"{options.history}: no folder can be made there")
    overrides: dict[str, Any] = {
        key: value for key in ("folder", "keyword", "margin") if (value := getattr(options, key)) is not None
    }
    root = find_project()
    if options.folder is not None and not (root / options.folder).exists():
        raise UsageError("no-such-path", f"{root / options.folder} does not exist")
    return judge_and_print(root, options.base, overrides, json_file=options.json, history=options.history)


def judge_and_print(
    root: Path,
    base: str | None,
    overrides: dict[str, Any],
    *,
    json_file: Path | None = None,
    history: Path | None = None,
) -> int:
    """Run the guard and print the report and its figures; `pytest --benchmark --base` comes here, too."""
    judgement = judge(root, ["bench"], base=base, overrides={"bench": overrides}, progress=progress_printer())
    verdict = judgement.verdicts[0]
    print(render_text([verdict], **text_options()))  # type: ignore[arg-type]
    print(render_measurements(verdict))
    print_annotations(root, [verdict])
    _write(root, verdict, json_file, history)
    return exit_status([verdict])


def _write(root: Path, verdict: Verdict, json_file: Path | None, history: Path | None) -> None:
    if json_file is None and history is None:
        return
    from trainkit.guards.bench.history import add_to_history, write_json

    try:
        if json_file is not None:
            write_json(json_file, root, verdict)
        if history is not None:
            print(f"\ntrend: {add_to_history(history, root, verdict)}")
    except OSError as error:
        raise UsageError("output-not-writable", f"{error.filename}: {error.strerror}") from error


def _make_parser() -> Parser:
    parser = Parser("bench", _ABOUT)
    parser.add_argument(
        "folder", nargs="?", metavar="FOLDER", help="default: benchmarks, or the configured one"
    )
    parser.add_argument("--base", metavar="REF", help="compare with where HEAD left this revision")
    parser.add_argument("-k", metavar="EXPRESSION", dest="keyword", help="only what matches, as in pytest")
    parser.add_argument(
        "--margin", type=float, metavar="X", help="slow-down to let pass (0.01; 0.005 is sensitive)"
    )
    parser.add_argument(
        "--json", metavar="FILE", type=Path, help="write the candidate's times as pytest-benchmark does"
    )
    parser.add_argument(
        "--history", metavar="DIR", type=Path, help="add this run to a history and draw its trend page"
    )
    return parser
