"""A review for a terminal: what stands out, the plan, the picture; the rest is in a file."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence

from trainkit.report.review.tables import make_allowed, make_figures, make_gone, make_plan, make_related
from trainkit.report.review.words import (
    tell_cycles,
    tell_edges,
    tell_head,
    tell_issues,
    tell_places,
    tell_size,
)
from trainkit.report.text import make_printable
from trainkit.review.model import Issue
from trainkit.review.result import FileRow, Review

_COLORS = {"high": "31", "medium": "33", "low": "2"}
_ISSUES, _ROWS, _PLACES, _EVIDENCE = 12, 8, 3, 4
_MARGIN = 14


def render_text(review: Review, *, width: int = 100, color: bool = False) -> str:
    """Give the report, no line wider than `width` but what cannot be broken."""
    parts = [
        _render_head(review, width),
        _render_figures(review) if review.base else [],
        [line for issue in review.issues[:_ISSUES] for line in ["", *_render_issue(issue, width, color)]],
        _render_rest(review),
        _render_plan(review),
        _render_picture(review, width),
    ]
    lines: list[str] = []
    for part in map(list, parts):
        lines += ["", *part] if part and part[0] and lines else part
    return "\n".join(lines)


def _render_head(review: Review, width: int) -> Iterator[str]:
    yield from _field("project", f"{review.project}, {review.candidate}", width)
    yield from _field("base", review.base, width)
    yield from _field("read", tell_size(review), width)
    for path, why in review.unreadable[:_ROWS]:
        yield from _field("not judged", f"{path}: {why}", width)
    if len(review.unreadable) > _ROWS:
        yield from _field("", f"and {len(review.unreadable) - _ROWS} more files", width)
    yield from _field("found", tell_issues(review), width)
    for place, title, reason in make_allowed(review).rows[:_ROWS]:
        yield from _field("allowed", f"{place} {title}, because {reason}", width)
    for title, place, _ in make_gone(review).rows[:_ROWS]:
        yield from _field("gone", f"{title}, was at {place}", width)
    for what, where, _ in make_related(review).rows[:_PLACES]:
        yield from _field("alike", f"{what}{', ' * bool(where)}{where} (no issue)", width)
    for line in review.proof:
        yield from _field("training", line, width)


def _render_figures(review: Review) -> list[str]:
    head, rows, sides = make_figures(review)
    return tabulate([("", *head[1:]), *rows], sides)


def _render_issue(issue: Issue, width: int, color: bool) -> Iterator[str]:
    head = f"{issue.id}  {tell_head(issue)}"
    yield f"\033[{_COLORS[issue.severity]}m{head}\033[0m" if color else head
    yield from _wrap(issue.title, width)
    yield from (make_printable(f"    {place}") for place in tell_places(issue.places, _PLACES))
    for said in [*issue.evidence[:_EVIDENCE]]:
        yield from _wrap(f"- {said}", width)
    if len(issue.evidence) > _EVIDENCE:
        yield f"    - and {len(issue.evidence) - _EVIDENCE} more"
    yield from _wrap(f"do: {issue.proposal}", width)


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(
        make_printable(text), width, initial_indent="    ", subsequent_indent="      ", break_on_hyphens=False
    )


def _render_rest(review: Review) -> list[str]:
    rest = len(review.issues) - _ISSUES
    return (
        [f"and {rest} more issue{'s' if rest > 1 else ''}: -o review.html, .md, .json or .sarif"]
        if rest > 0
        else []
    )


def _index(row: FileRow) -> str:
    """Give radon's maintainability index, 100 at best."""
    return f"{row.upkeep['index']:.0f}" if row.upkeep else ""


def _render_plan(review: Review) -> list[str]:
    head, rows, sides = make_plan(review)
    return tabulate([("plan", *head[1:]), *rows], sides) if rows else []


def _render_picture(review: Review, width: int) -> Iterator[str]:
    files = sorted(review.files, key=lambda row: -row.worst)[:_ROWS]
    rows = [("most complex files", "lines", "worst", "upkeep", "purpose")]
    rows += [(row.path, f"{row.num_lines:,}", str(row.worst), _index(row), row.purpose) for row in files]
    yield from tabulate(rows, "lrrrl", width)
    if review.entry_points:
        yield ""
        entries = sorted(review.entry_points, key=lambda entry: (-entry.shared, entry.path))[:_ROWS]
        more = f" ({len(review.entry_points)})"
        scripts = [(f"entry points{more}", "lines", "shared", "how")]
        scripts += [(e.path, f"{e.num_lines:,}", f"{e.shared:.0%}", ", ".join(e.how)) for e in entries]
        yield from tabulate(scripts, "lrrl", width)
    yield ""
    if review.namesakes:
        told = [f"{name} in {n} ({bodies} different)" for name, n, bodies in review.namesakes]
        yield from _field("in scripts", ", ".join(told), width)
    yield from _field("imports", tell_edges(review), width)
    yield from _field("cycles", tell_cycles(review), width)
    hubs = ", ".join(f"{path} ({count})" for path, count in review.dependencies.hubs[:5])
    yield from _field("most imported", hubs or "none", width)
    others = ", ".join(f"{name} ({count})" for name, count in review.dependencies.externals[:8])
    yield from _field("from outside", others or "nothing", width)


def _field(name: str, text: str, width: int) -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=f"{name:{_MARGIN}}",
        subsequent_indent=" " * _MARGIN,
        break_on_hyphens=False,
    )


def tabulate(rows: Iterable[Sequence[str]], sides: str, width: int = 0) -> list[str]:
    """Give rows as columns, each flush left or right; the last one is cut where it passes `width`."""
    every = list(rows)
    sizes = [max(len(row[at]) for row in every) for at in range(len(sides))]
    lines = []
    for row in every:
        cells = [
            f"{cell:{'<' if side == 'l' else '>'}{size}}"
            for cell, side, size in zip(row, sides, sizes, strict=True)
        ]
        line = make_printable("  ".join(cells).rstrip())
        lines.append(line if not width or len(line) <= width else line[: width - 1] + "…")
    return lines
