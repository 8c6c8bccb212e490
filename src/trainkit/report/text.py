"""Verdicts for a terminal: one table, then what there is to say about each guard."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from trainkit.verdict import Finding, Severity, Status, Verdict, exit_status

COLORS = {
    Status.IDENTICAL: "32",
    Status.NOTED: "32",
    Status.PASSED: "32",
    Status.DIVERGED: "31",
    Status.FAILED: "31",
    Status.SKIPPED: "2",
}

_OUTCOMES = {0: "passed", 1: "FAILED", 3: "could not judge"}


def render_text(
    verdicts: Sequence[Verdict], *, width: int = 100, color: bool = False, max_evidence: int = 1000
) -> str:
    """Give the table and, below it, the findings of every guard, errors first."""
    lines = list(_render_table(verdicts, width, color))
    for verdict in verdicts:
        for finding in order_findings(verdict):
            lines += ["", *map(make_printable, _render_finding(verdict.guard, finding, width, max_evidence))]
    return "\n".join(lines)


def tell_outcome(verdicts: Sequence[Verdict]) -> str:
    """Say in a word what all verdicts come to."""
    return _OUTCOMES[exit_status(verdicts)]


def tell_place(finding: Finding) -> str:
    """Give FILE:LINE, FILE or nothing."""
    return f"{finding.file}:{finding.line}" if finding.line else finding.file


def order_findings(verdict: Verdict) -> list[Finding]:
    """Give the findings, errors first."""
    return sorted(verdict.findings, key=lambda finding: list(Severity).index(finding.severity))


def make_printable(text: str) -> str:
    """Show control characters (a program's words may hold any) as \\x1b and the like."""
    return "".join(c if c >= " " or c in "\n\t" else repr(c)[1:-1] for c in text)


def _render_table(verdicts: Sequence[Verdict], width: int, color: bool) -> Iterator[str]:
    guard_width = max(len(verdict.guard) for verdict in verdicts)
    status_width = max(len(verdict.status) for verdict in verdicts)
    indent = guard_width + status_width + 13
    for verdict in verdicts:
        status = f"{verdict.status:{status_width}}"
        if color:
            status = f"\033[{COLORS.get(verdict.status, '33')}m{status}\033[0m"
        summary = textwrap.wrap(make_printable(verdict.summary), max(30, width - indent)) or [""]
        yield f"{verdict.guard:{guard_width}}  {status}  {verdict.duration_s:5.1f} s  {summary[0]}"
        for line in summary[1:]:
            yield " " * (indent - 1) + line


def _render_finding(guard: str, finding: Finding, width: int, max_evidence: int) -> Iterator[str]:
    place = f"{tell_place(finding)}: " if finding.file else ""
    head = f"{guard} {finding.severity} [{finding.rule}] {place}{finding.message}"
    yield from textwrap.wrap(head, width, subsequent_indent="    ", break_on_hyphens=False)
    if finding.expected or finding.actual:
        yield f"    expected  {finding.expected}"
        yield f"    actual    {finding.actual}"
    for line in finding.evidence[:max_evidence]:
        yield f"    - {line}"
    if len(finding.evidence) > max_evidence:
        yield f"    - and {len(finding.evidence) - max_evidence} more in report.json"
    if finding.hint:
        yield f"    hint: {finding.hint}"
