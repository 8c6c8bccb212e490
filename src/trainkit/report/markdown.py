"""Verdicts as Markdown, for the summary of a workflow: a table, and what each guard found behind a fold."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from trainkit.report.text import make_printable, order_findings, tell_outcome, tell_place
from trainkit.verdict import Finding, Severity, Verdict

_ROWS, _FINDINGS, _EVIDENCE = 100, 30, 20
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#])")


def render_markdown(verdicts: Sequence[Verdict], *, candidate: str, baseline: str) -> str:
    """Give the whole of it; of long lists the first, and how many there are more."""
    against = f"against {escape(baseline)}" if baseline else "the first commit"
    rows = [(each.guard, each.status, f"{each.duration_s:.1f} s", each.summary) for each in verdicts]
    lines = [f"## trainkit gate: {tell_outcome(verdicts)}", "", f"{escape(candidate)}, {against}", "",
             *make_table(("guard", "verdict", "time", "what"), rows, "llrl")]  # fmt: skip
    for verdict in verdicts:
        if verdict.findings:
            lines += _verdict(verdict)
    return make_printable("\n".join(lines)) + "\n"


def escape(text: str) -> str:
    """Give the text as it is read, not as it is marked up."""
    return _SPECIAL.sub(r"\\\1", text)


def code(text: str) -> str:
    """Give the text in the type of code."""
    return f"`{text.replace('`', chr(39))}`"


def make_table(head: Sequence[str], rows: Iterable[Sequence[str]], sides: str = "") -> list[str]:
    """Give a table, or nothing where it has no row; `sides` says to which each column is flush: l or r."""
    every = [[escape(cell) for cell in row] for row in rows]
    marks = ["---:" if side == "r" else "---" for side in sides or "l" * len(head)]
    shown = every[:_ROWS]
    more = [[f"and {len(every) - _ROWS} more", *[""] * (len(head) - 1)]] if len(every) > _ROWS else []
    return [f"| {' | '.join(row)} |" for row in [list(head), marks, *shown, *more]] if every else []


def _verdict(verdict: Verdict) -> Iterator[str]:
    found = order_findings(verdict)
    opened = " open" if found[0].severity is Severity.ERROR else ""
    yield from (
        "",
        f"<details{opened}><summary>{verdict.guard}: {len(found)} finding{'s' * (len(found) > 1)}</summary>",
    )
    for finding in found[:_FINDINGS]:
        yield from _finding(finding)
    if len(found) > _FINDINGS:
        yield from ("", f"and {len(found) - _FINDINGS} more in report.json")
    yield from ("", "</details>")


def _finding(finding: Finding) -> Iterator[str]:
    place = f"{code(tell_place(finding))} " if finding.file else ""
    yield from ("", f"**{finding.severity}** {place}{escape(finding.message)} ({finding.rule})")
    if finding.expected or finding.actual:
        yield from ("", f"- expected {code(finding.expected)}", f"- actual {code(finding.actual)}")
    if finding.evidence:
        lines = [line.replace("```", "'''") for line in finding.evidence[:_EVIDENCE]]
        yield from ("", "```text", *lines, "```")
    if finding.hint:
        yield from ("", escape(finding.hint))
