"""What all formats of a review say alike: durations, figures, places, counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from trainkit.review.findings import SEVERITIES
from trainkit.review.model import Issue, Place
from trainkit.review.result import Figure, Review

CLEAN = "none"


def tell_minutes(effort: tuple[int, int]) -> str:
    """Give a range of minutes as one would say it: "20 to 40 min", "3 to 6 h"."""
    low, high = effort
    if high < 120:
        return f"{low} to {high} min" if low != high else f"{low} min"
    return f"{_hours(low)} to {_hours(high)} h" if _hours(low) != _hours(high) else f"{_hours(low)} h"


def _hours(minutes: int) -> str:
    hours = minutes / 60
    return f"{hours:.0f}" if hours >= 10 or hours == int(hours) else f"{hours:.1f}"


def tell_place(place: Place) -> str:
    """Give `path:line`."""
    return f"{place.path}:{place.line}"


def tell_places(places: Iterable[Place], most: int) -> list[str]:
    """Give at most so many places, and how many there are more."""
    every = [tell_place(place) for place in places]
    return every[:most] + ([f"and {len(every) - most} more"] if len(every) > most else [])


def tell_value(value: float | None) -> str:
    """Give a figure: whole numbers with commas, others with two decimals, "not measured" for None."""
    if value is None:
        return "not measured"
    return f"{value:,.0f}" if value == int(value) else f"{value:,.2f}"


def tell_change(figure: Figure) -> str:
    """Give the difference with its sign, and how much that is of what was."""
    if figure.after is None or figure.before is None:
        return ""
    change = figure.after - figure.before
    part = f" ({100 * change / figure.before:+.0f} %)" if change and figure.before else ""
    return f"{tell_value(change) if change < 0 else '+' + tell_value(change)}{part}" if change else "="


def tell_size(review: Review) -> str:
    """Give how much was read, in one line."""
    lines = sum(row.num_lines for row in review.files)
    functions = sum(row.num_functions for row in review.files)
    return f"{len(review.files):,} files, {lines:,} lines, {functions:,} functions"


def tell_issues(review: Review) -> str:
    """Give the number of issues by severity, what they take and what they save, and how many are allowed."""
    allowed = f"; {len(review.allowed)} more allowed by a comment" if review.allowed else ""
    fresh = sum(issue.is_new for issue in review.issues)
    since = f"; {fresh} new and {len(review.gone)} gone since the base" if review.base else ""
    return f"{_tell_work(review) if review.issues else 'no issue'}{allowed}{since}"


def _tell_work(review: Review) -> str:
    counts = Counter(issue.severity for issue in review.issues)
    parts = ", ".join(f"{counts[severity]} {severity}" for severity in SEVERITIES if counts[severity])
    total = (
        sum(each.effort_min[0] for each in review.phases),
        sum(each.effort_min[1] for each in review.phases),
    )
    saved = sum(phase.num_lines_saved for phase in review.phases)
    less = f"; {saved:,} lines fewer" if saved else ""
    many = f"{len(review.issues)} issue{'s' if len(review.issues) > 1 else ''}"
    return f"{many}: {parts}; about {tell_minutes(total)} in all{less}"


def tell_cycles(review: Review) -> str:
    """Give the number of import cycles; none is a result, too."""
    counts = Counter(cycle.kind for cycle in review.dependencies.cycles)
    if not counts:
        return CLEAN
    parts = [(counts["module"], "at module level"), (counts["late"], "through imports inside functions")]
    return ", ".join(f"{count} {where}" for count, where in parts if count)


def tell_edges(review: Review) -> str:
    """Give how many imports among the files there are, by kind."""
    names = {"module": "at module level", "late": "inside functions", "typing": "for type checkers alone"}
    found = review.dependencies.num_edges
    return ", ".join(f"{found[kind]:,} {name}" for kind, name in names.items() if kind in found) or CLEAN


def tell_head(issue: Issue) -> str:
    """Give severity, priority and effort, and whether it is new."""
    new = ", new" if issue.is_new else ""
    return f"{issue.severity}, P{issue.priority}, {tell_minutes(issue.effort_min)}{new}"
