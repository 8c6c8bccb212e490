"""A review as Markdown: cards, tables and a picture that GitHub draws."""

from __future__ import annotations

from collections.abc import Iterator

from trainkit.report.markdown import code, escape, make_table
from trainkit.report.review.tables import (
    make_allowed,
    make_entry_points,
    make_figures,
    make_files,
    make_gone,
    make_namesakes,
    make_plan,
    make_related,
)
from trainkit.report.review.words import (
    tell_cycles,
    tell_edges,
    tell_head,
    tell_issues,
    tell_minutes,
    tell_places,
    tell_size,
)
from trainkit.report.text import make_printable
from trainkit.review.model import Issue
from trainkit.review.result import Review

_ISSUES, _PLACES, _EVIDENCE, _ARROWS = 100, 12, 12, 16


def render(review: Review) -> str:
    """Give the whole report; of long lists the first hundred, and how many there are more."""
    base = f", compared with {escape(review.base)}" if review.base else ""
    lines = [f"# Review of {escape(review.project)}", "", f"{escape(review.candidate)}{base}. "
             f"{tell_size(review)}. {tell_issues(review)}.", ""]  # fmt: skip
    lines += [f"> Training, {escape(said)}" for said in review.proof]
    for title, content in (
        ("Could not be judged", make_table(("file", "why"), review.unreadable)),
        ("Before and after", make_table(*make_figures(review))),
        ("Issues", _issues(review)),
        ("Allowed", make_table(*make_allowed(review))),
        ("Gone", make_table(*make_gone(review))),
        ("Alike", make_table(*make_related(review))),
        ("Plan", make_table(*make_plan(review))),
        ("Files", make_table(*make_files(review))),
        ("Entry points", _entry_points(review)),
        ("Dependencies", _dependencies(review)),
    ):
        if body := list(content):
            lines += ["", f"## {title}", "", *body]
    return make_printable("\n".join(lines)) + "\n"


def _issues(review: Review) -> Iterator[str]:
    shown = review.issues[:_ISSUES]
    rows = ((i.id, i.severity, f"P{i.priority}", tell_minutes(i.effort_min), i.title) for i in shown)
    yield from make_table(("issue", "severity", "priority", "effort", "what"), rows)
    if len(review.issues) > _ISSUES:
        yield f"\nand {len(review.issues) - _ISSUES} more."
    for issue in shown:
        yield from _card(issue)


def _card(issue: Issue) -> Iterator[str]:
    yield from ("", f"### {issue.id}: {escape(issue.title)}", "", f"{tell_head(issue)} ({issue.rule})", "")
    yield from (f"- {code(place)}" for place in tell_places(issue.places, _PLACES))
    if issue.evidence:
        yield from ("", "Evidence:", "", *(f"- {code(said)}" for said in issue.evidence[:_EVIDENCE]))
    yield from ("", f"**Do:** {escape(issue.proposal)}")


def _entry_points(review: Review) -> Iterator[str]:
    yield from make_table(*make_entry_points(review))
    if review.namesakes:
        yield from ("", *make_table(*make_namesakes(review)))


def _dependencies(review: Review) -> Iterator[str]:
    found = review.dependencies
    yield f"Imports among the files: {tell_edges(review)}. Import cycles: {tell_cycles(review)}."
    if found.folders:
        names = {
            name: f"n{at}"
            for at, name in enumerate(dict.fromkeys(n for a, b, _ in found.folders for n in (a, b)))
        }
        yield from ("", "```mermaid", "graph LR")
        shown = found.folders[:_ARROWS]
        used = {name for a, b, _ in shown for name in (a, b)}
        yield from (f'  {key}["{name}"]' for name, key in names.items() if name in used)
        yield from (f"  {names[a]} -->|{count}| {names[b]}" for a, b, count in shown)
        yield "```"
    yield from (
        "",
        *make_table(("most imported", "by"), ((path, str(count)) for path, count in found.hubs), "lr"),
    )
    yield from (
        "",
        *make_table(("from outside", "files"), ((name, str(count)) for name, count in found.externals), "lr"),
    )
