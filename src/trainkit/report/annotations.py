"""Findings as workflow commands of GitHub: a pull request shows each at its line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainkit.report.text import make_printable
from trainkit.verdict import Finding, Severity, Verdict

_COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}


def render_annotations(verdicts: Sequence[Verdict], *, folder: str = "") -> str:
    """Give one line per finding that has a file; `folder` is the project's in its repository, with a /."""
    findings = (finding for verdict in verdicts for finding in verdict.findings)
    return "\n".join(_render(finding, folder) for finding in findings if finding.file)


def _render(finding: Finding, folder: str) -> str:
    places = {"file": folder + finding.file, "line": str(finding.line or 1), "title": finding.rule}
    properties = ",".join(f"{key}={_escape(value, ':,')}" for key, value in places.items())
    return f"::{_COMMANDS[finding.severity]} {properties}::{_escape(_tell(finding))}"


def _tell(finding: Finding) -> str:
    return "\n".join(make_printable(line) for line in _lines(finding))


def _lines(finding: Finding) -> Iterator[str]:
    yield finding.message
    if finding.expected or finding.actual:
        yield f"expected {finding.expected}, actual {finding.actual}"
    yield from (f"- {line}" for line in finding.evidence[:12])
    if finding.hint:
        yield f"hint: {finding.hint}"


def _escape(text: str, more: str = "") -> str:
    for letter in f"%\r\n{more}":  # the percent sign first: it begins what replaces the others
        text = text.replace(letter, f"%{ord(letter):02X}")
    return text
