"""Verdicts as one HTML page that needs nothing else: a table, what each guard found, its figures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from trainkit.report.measurements import tell_figure
from trainkit.report.text import COLORS, make_printable, order_findings, tell_outcome, tell_place
from trainkit.verdict import Finding, Measurement, Severity, Status, Verdict

_FIGURES, _FINDINGS, _EVIDENCE = 40, 100, 60
_SHADES = {"32": "good", "31": "high", "2": "low", "33": "medium"}
_MARKS = {Severity.ERROR: "high", Severity.WARNING: "medium", Severity.NOTE: "low"}
STYLE = """
:root{color-scheme:light dark;--paper:#fff;--card:#f6f8fa;--ink:#1f2328;--soft:#59636e;--line:#d1d9e0;
--link:#0969da;--good:#1a7f37;--high:#cf222e;--medium:#9a6700;--low:#59636e}
@media(prefers-color-scheme:dark){:root{--paper:#0d1117;--card:#151b23;--ink:#e6edf3;--soft:#9198a1;--line:#3d444d;
--link:#58a6ff;--good:#3fb950;--high:#ff7b72;--medium:#e3b341;--low:#9198a1}}
*{box-sizing:border-box}
body{background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif;max-width:76rem;
margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin:0}h2{font-size:1.15rem;margin:2.2rem 0 .6rem}p{margin:.2rem 0;color:var(--soft)}
a{color:var(--link)}code,pre{font:13px/1.5 ui-monospace,monospace;overflow-wrap:anywhere}
pre{margin:.4rem 0;white-space:pre-wrap}
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.9rem}
td,th{text-align:left;padding:.2rem 1rem .2rem 0;border-bottom:1px solid var(--line);vertical-align:top}
th{font-weight:600;white-space:nowrap}td.n,th.n{text-align:right;white-space:nowrap}
details.card{background:var(--card);border:1px solid var(--line);border-left:4px solid var(--low);
border-radius:6px;margin:.5rem 0;padding:.45rem .8rem}
details.high{border-left-color:var(--high)}details.medium{border-left-color:var(--medium)}
summary{cursor:pointer;overflow-wrap:anywhere}summary b{font-weight:600}
.head{color:var(--soft);font-size:.85rem}
.high .head i{color:var(--high)}.medium .head i{color:var(--medium)}.head i{font-style:normal;font-weight:600}
.card ul{margin:.4rem 0;padding-left:1.2rem}.card p{color:var(--ink)}
td:last-child{min-width:9rem}
b.good{color:var(--good)}b.high{color:var(--high)}b.medium{color:var(--medium)}b.low{color:var(--low)}
"""


def render_html(verdicts: Sequence[Verdict], *, project: str, candidate: str, baseline: str) -> str:
    """Give the page; `baseline` is empty when there was none."""
    outcome = tell_outcome(verdicts)
    shade = {"passed": "good", "FAILED": "high"}.get(outcome, "medium")
    against = f"against {baseline}" if baseline else "the first commit"
    duration = sum(verdict.duration_s for verdict in verdicts)
    rows = "".join(map(_row, verdicts))
    parts = [
        begin_page(f"{project}: gate {outcome}", ""),
        f'<h1>{escape(project)}: gate <b class="{shade}">{outcome}</b></h1>',
        f"<p>{escape(candidate)}, {escape(against)} · {duration:.0f} s</p>",
        '<div class="wide"><table><tr><th>guard</th><th>verdict</th><th class="n">time</th><th></th></tr>',
        f"{rows}</table></div>",
        *map(_verdict, verdicts),
        "</html>\n",
    ]
    return make_printable("".join(parts))


def begin_page(title: str, style: str) -> str:
    """Give all that stands before the first heading; `style` is added to the common one."""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}{style}</style>"
    )


def make_section(title: str, content: str) -> str:
    """Give a heading and what stands below it, or nothing."""
    return f"<h2>{title}</h2>{content}" if content else ""


def make_table(head: Sequence[str], rows: Iterable[Sequence[str]], sides: str = "") -> str:
    """Give a table, or nothing where it has no row; `sides` says to which each column is flush: l or r."""
    marks = [' class="n"' if side == "r" else "" for side in sides or "l" * len(head)]
    body = [
        "<tr>"
        + "".join(f"<td{mark}>{escape(cell)}</td>" for cell, mark in zip(row, marks, strict=True))
        + "</tr>"
        for row in rows
    ]
    top = "".join(f"<th{mark}>{escape(cell)}</th>" for cell, mark in zip(head, marks, strict=True))
    return f'<div class="wide"><table><tr>{top}</tr>{"".join(body)}</table></div>' if body else ""


def _row(verdict: Verdict) -> str:
    name = escape(verdict.guard)
    link = f'<a href="#{name}">{name}</a>' if verdict.findings or verdict.measurements else name
    return (
        f"<tr><td>{link}</td><td>{_status(verdict.status)}</td>"
        f'<td class="n">{verdict.duration_s:.1f} s</td><td>{escape(verdict.summary)}</td></tr>'
    )


def _status(status: Status) -> str:
    return f'<b class="{_SHADES[COLORS.get(status, "33")]}">{status}</b>'


def _verdict(verdict: Verdict) -> str:
    """Give what there is to say of a guard beside its line in the table: findings, then figures."""
    found = order_findings(verdict)
    rest = len(found) - _FINDINGS
    more = f"<p>and {rest} more in report.json</p>" if rest > 0 else ""
    content = "".join([*map(_card, found[:_FINDINGS]), more, *_figures(verdict.measurements)])
    return f'<div id="{escape(verdict.guard)}">{make_section(escape(verdict.guard), content)}</div>'


def _card(finding: Finding) -> str:
    lines = [f"expected  {finding.expected}", f"actual    {finding.actual}"]
    lines = lines if finding.expected or finding.actual else []
    lines += finding.evidence[:_EVIDENCE]
    if len(finding.evidence) > _EVIDENCE:
        lines.append(f"and {len(finding.evidence) - _EVIDENCE} more in report.json")
    place = f", <code>{escape(tell_place(finding))}</code>" if finding.file else ""
    opened = " open" if finding.severity is Severity.ERROR else ""
    said = "\n".join(lines)
    return (
        f'<details class="card {_MARKS[finding.severity]}"{opened}><summary>{escape(finding.message)}'
        f'<div class="head"><i>{finding.severity}</i>, {escape(finding.rule)}{place}</div></summary>'
        f"{f'<pre>{escape(said)}</pre>' if said else ''}"
        f"{f'<p>{escape(finding.hint)}</p>' if finding.hint else ''}</details>"
    )


def _figures(measurements: Sequence[Measurement]) -> Iterator[str]:
    """Give the figures that changed, times last, and behind a fold the others."""
    head = ("figure", "baseline", "candidate", "change", "how")
    changed = [each for each in measurements if each.baseline not in (None, each.value)]
    changed.sort(key=lambda each: each.unit == "s")
    others = [each for each in measurements if each.baseline in (None, each.value)]
    yield make_table(head, map(tell_figure, changed[:_FIGURES]), "lrrrl")
    if len(changed) > _FIGURES:
        yield f"<p>and {len(changed) - _FIGURES} more in report.json</p>"
    if others:
        folded = make_table(head, map(tell_figure, others), "lrrrl")
        yield f"<details><summary>{len(others)} unchanged, or of one side alone</summary>{folded}</details>"
