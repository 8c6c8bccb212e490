"""The tables of a review as cells of text: what stands in them is the same in every format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from trainkit.report.review.words import tell_change, tell_minutes, tell_place, tell_places, tell_value
from trainkit.review.findings import is_left_alone, name_clones
from trainkit.review.result import Review

_RELATED, _PLACES = 20, 4


class Table(NamedTuple):
    """A head, rows of as many cells, and the side to which each column is flush: l or r."""

    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    sides: str


def make_figures(review: Review) -> Table:
    """Give the figures, of both revisions where there are two."""
    if not review.base:
        rows = [(each.name, tell_value(each.after)) for each in review.figures]
        return Table(("metric", "value"), rows, "lr")
    both = [
        (each.name, tell_value(each.before), tell_value(each.after), tell_change(each))
        for each in review.figures
    ]
    return Table(("metric", "before", "after", "change"), both, "lrrr")


def make_plan(review: Review) -> Table:
    """Give the phases: how many issues, what they take, what they save."""
    rows = [
        (phase.name, str(len(phase.issues)), tell_minutes(phase.effort_min), f"{phase.num_lines_saved:,}")
        for phase in review.phases
    ]
    return Table(("phase", "issues", "effort", "lines fewer"), rows, "lrrr")


def make_allowed(review: Review) -> Table:
    """Give what comments allow, with their reasons."""
    rows = [(tell_place(each.places[0]), each.title, each.allowed) for each in review.allowed]
    return Table(("allowed", "what", "because"), rows, "lll")


def make_gone(review: Review) -> Table:
    """Give the issues that the base has and the candidate no more."""
    rows = [(each.title, tell_place(each.places[0]), each.severity) for each in review.gone]
    return Table(("gone since the base", "where it was", "severity"), rows, "lll")


def make_related(review: Review) -> Table:
    """Give the largest classes of functions that are no issue: they resemble each other, or are short."""
    some = [each for each in review.clones if is_left_alone(each) and each.kind != "run"]
    rows = [
        (name_clones(each), ", ".join(tell_places(each.members, _PLACES)), each.grade)
        for each in some[:_RELATED]
    ]
    rows += [(f"and {len(some) - _RELATED} more", "", "")] if len(some) > _RELATED else []
    return Table(("alike, but no issue", "where", "how"), rows, "lll")


def make_files(review: Review) -> Table:
    """Give all files, the most complex first."""
    rows = [
        (
            row.path,
            row.role,
            f"{row.num_lines:,}",
            str(row.num_functions),
            str(row.worst),
            f"{row.mean:.1f}",
            row.purpose,
        )
        for row in sorted(review.files, key=lambda row: (-row.worst, row.path))
    ]
    return Table(
        ("file", "role", "lines", "functions", "worst complexity", "mean", "purpose"), rows, "llrrrrl"
    )


def make_entry_points(review: Review) -> Table:
    """Give the programs: how they are started, how much of them others have, too."""
    rows = [
        (
            f"{entry.path}:{entry.line}",
            ", ".join(entry.how),
            f"{entry.num_lines:,}",
            f"{entry.shared:.0%}",
            str(entry.needs),
        )
        for entry in review.entry_points
    ]
    return Table(("file", "how", "lines", "shared with others", "files behind it"), rows, "llrrr")


def make_namesakes(review: Review) -> Table:
    """Give the functions that many scripts define."""
    rows = [(name, str(scripts), str(bodies)) for name, scripts, bodies in review.namesakes]
    return Table(("defined in scripts", "scripts", "different texts"), rows, "lrr")
