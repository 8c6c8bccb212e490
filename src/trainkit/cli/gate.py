"""`trainkit gate`: all guards against a baseline."""

from __future__ import annotations

import os
from pathlib import Path

from trainkit.cli.arguments import Parser, find_project, print_annotations, progress_printer, text_options
from trainkit.errors import UsageError
from trainkit.gate import Judgement, judge, resolve_guards
from trainkit.guards import GUARDS
from trainkit.repo.git import default_base, is_first_commit
from trainkit.report.html import render_html
from trainkit.report.json import render_json
from trainkit.report.junit import render_junit
from trainkit.report.markdown import render_markdown
from trainkit.report.text import render_text, tell_outcome
from trainkit.settings import load_table
from trainkit.verdict import exit_status

_EVIDENCE = 6  # lines of it that are shown; the rest is in report.json


def run(argv: list[str]) -> int:
    """Judge the working tree against `--base` and write report.html, report.json and junit.xml."""
    parser = Parser("gate", "Run the guards on the working tree as it is, against a baseline revision.")
    parser.add_argument("guards", nargs="*", metavar="GUARD", help=f"only these: {', '.join(GUARDS)}")
    parser.add_argument(
        "--base",
        metavar="REF",
        help="trust the commit where HEAD left this revision (default: HEAD, or its parent if clean)",
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
    _write_reports(folder, judgement, root.name)
    print_annotations(root, judgement.verdicts)
    baseline = judgement.baseline or "none: this is the first commit"
    print(f"candidate  {judgement.candidate}\nbaseline   {baseline}\n")
    print(render_text(judgement.verdicts, max_evidence=_EVIDENCE, **text_options()))  # type: ignore[arg-type]
    print(f"\ngate: {tell_outcome(judgement.verdicts)}    report: {_shorten(folder / 'report.html')}")
    return exit_status(judgement.verdicts)


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


def _write_reports(folder: Path, judgement: Judgement, project: str) -> None:
    """Write the page, what other programs read and, in a workflow of GitHub, the job's summary."""
    verdicts, sides = judgement.verdicts, {"candidate": judgement.candidate, "baseline": judgement.baseline}
    texts = {
        "report.html": render_html(verdicts, project=project, **sides),
        "report.json": render_json(verdicts, **sides),
        "junit.xml": render_junit(verdicts),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if folder.name == ".trainkit":
            (folder / ".gitignore").write_text("*\n")
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8", errors="backslashreplace")
        if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
            with Path(summary).open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(render_markdown(verdicts, **sides))
    except OSError as error:
        raise UsageError("output-not-writable", f"--output {folder}: {error.strerror}") from error


def _shorten(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
