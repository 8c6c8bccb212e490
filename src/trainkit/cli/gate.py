"""`trainkit gate`: all guards against a baseline."""

from __future__ import annotations

import os
from pathlib import Path

from trainkit.cli.arguments import Parser, find_project, print_annotations, progress_printer, text_options
from trainkit.errors import UsageError
from trainkit.gate import Judgement, judge, resolve_guards
from trainkit.guards import GUARDS
from trainkit.repo.git import default_base, is_first_commit
from trainkit.report.json import render_json
from trainkit.report.junit import render_junit
from trainkit.report.text import render_text
from trainkit.settings import load_table
from trainkit.verdict import exit_status

_EVIDENCE = 6  # lines of it that are shown; the rest is in report.json
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
    guards = resolve_guards(options.guards)
    root = find_project()
    base = _choose_base(root, options.base)
    folder = options.output or root / ".trainkit"
    _check_writable(folder)
    judgement = judge(root, guards, base=base, progress=progress_printer())
    _write_reports(folder, judgement)
    print_annotations(root, judgement.verdicts)
    status = exit_status(judgement.verdicts)
    baseline = judgement.baseline or "none: this is the first commit"
    print(f"candidate  {judgement.candidate}\nbaseline   {baseline}\n")
    print(render_text(judgement.verdicts, max_evidence=_EVIDENCE, **text_options()))  # type: ignore[arg-type]
    print(f"\ngate: {_OUTCOMES[status]}    report: {_shorten(folder / 'report.json')}")
    return status


def _choose_base(root: Path, given: str | None) -> str | None:
    """Give the flag, the setting or the previous revision; None for a first commit, which has none."""
    base = load_table(root).get("base") if given is None else given
    if base is None and not is_first_commit(root):
        base = default_base(root)
    if not isinstance(base, str | None):
        raise UsageError("settings-type", f"[tool.trainkit] base = {base!r}: expected a string")
    return base


def _check_writable(folder: Path) -> None:
    """Refuse before minutes of work what could not be written after it."""
    existing = next(place for place in [folder, *folder.absolute().parents] if place.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise UsageError("output-not-writable", f"--output {folder}: {existing} is no folder to write to")


def _write_reports(folder: Path, judgement: Judgement) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if folder.name == ".trainkit":
            (folder / ".gitignore").write_text("*\n")
        document = render_json(judgement.verdicts, candidate=judgement.candidate, baseline=judgement.baseline)
        for name, text in (("report.json", document), ("junit.xml", render_junit(judgement.verdicts))):
            (folder / name).write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UsageError("output-not-writable", f"--output {folder}: {error.strerror}") from error


def _shorten(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
