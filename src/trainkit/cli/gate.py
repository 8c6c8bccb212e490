"""`trainkit gate`: all guards against a baseline."""

from __future__ import annotations

from pathlib import Path

from trainkit.cli.arguments import Parser, find_project, progress_printer, text_options
from trainkit.errors import UsageError
from trainkit.gate import Judgement, judge
from trainkit.guards import GUARDS
from trainkit.repo.git import default_base
from trainkit.report.json import render_json
from trainkit.report.junit import render_junit
from trainkit.report.text import render_text
from trainkit.settings import load_table
from trainkit.verdict import exit_status

_OUTCOMES = {0: "passed", 1: "FAILED", 3: "could not judge"}


def run(argv: list[str]) -> int:
    """Judge the working tree against `--base` and write report.json and junit.xml."""
    parser = Parser("gate", "Run the guards on the working tree as it is, against a baseline revision.")
    parser.add_argument("guards", nargs="*", metavar="GUARD", help=f"only these: {', '.join(GUARDS)}")
    parser.add_argument(
        "--base", metavar="REF", help="the revision to trust (default: HEAD, or its parent if clean)"
    )
    parser.add_argument(
        "--output", metavar="DIR", type=Path, help="folder of the reports (default: .trainkit)"
    )
    options = parser.parse_args(argv)
    root = find_project()
    base = options.base or load_table(root).get("base") or default_base(root)
    if not isinstance(base, str):
        raise UsageError("settings-type", f"[tool.trainkit] base = {base!r}: expected a string")
    judgement = judge(root, options.guards, base=base, progress=progress_printer())
    folder = options.output or root / ".trainkit"
    _write_reports(folder, judgement)
    status = exit_status(judgement.verdicts)
    print(f"candidate  {judgement.candidate}\nbaseline   {judgement.baseline}\n")
    print(render_text(judgement.verdicts, **text_options()))  # type: ignore[arg-type]
    print(f"\ngate: {_OUTCOMES[status]}    report: {_shorten(folder / 'report.json')}")
    return status


def _write_reports(folder: Path, judgement: Judgement) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if folder.name == ".trainkit":
            (folder / ".gitignore").write_text("*\n")
        document = render_json(judgement.verdicts, candidate=judgement.candidate, baseline=judgement.baseline)
        (folder / "report.json").write_text(document, encoding="utf-8")
        (folder / "junit.xml").write_text(render_junit(judgement.verdicts), encoding="utf-8")
    except OSError as error:
        raise UsageError("output-not-writable", f"--output {folder}: {error.strerror}") from error


def _shorten(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
