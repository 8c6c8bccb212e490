"""A verification for a terminal: the verdict, and on one screen what differs first and where."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator

from trainkit.report.text import COLORS, make_printable
from trainkit.trace.differ import relative_difference, show_loss
from trainkit.trace.divergence import Comparison, Divergence, describe_step
from trainkit.trace.locate import Culprit, Location
from trainkit.verdict import Status
from trainkit.verify.result import Excerpt, Verification

_MARGIN = 13
_MOST_ROWS = 6


def render_verification(result: Verification, *, width: int = 100, color: bool = False) -> str:
    """Give the whole report."""
    lines = [*_render_head(result), ""]
    status = f"\033[{COLORS.get(result.status, '33')}m{result.status}\033[0m" if color else str(result.status)
    said = result.summary.removeprefix("diverged ")  # the status says it
    wrapped = textwrap.wrap(said, width, initial_indent=" " * (len(result.status) + 2),
                            subsequent_indent="  ", break_on_hyphens=False)  # fmt: skip
    lines += [f"{status}: {wrapped[0].lstrip()}", *wrapped[1:]] if wrapped else [status]
    if result.status is Status.DIVERGED or result.status is Status.UNSTABLE:
        lines += _render_divergence(result, color)
    lines += [f"    | {line}" for line in result.evidence]
    shown = result.notes[:12]
    lines += [
        *_rows("note", [*shown, *([f"and {len(result.notes) - 12} more"] if len(result.notes) > 12 else [])])
    ]
    return "\n".join(make_printable(line) if "\033" not in line else line for line in lines)


def _render_head(result: Verification) -> Iterator[str]:
    for name in ("command", "baseline", "candidate"):
        if getattr(result, name):
            yield f"{name:{_MARGIN}}{getattr(result, name)}"
    if result.settings:
        yield f"{'on both':{_MARGIN}}{', '.join(result.settings)}"


def _rows(name: str, texts: list[str]) -> Iterator[str]:
    for number, text in enumerate(texts):
        yield f"{name if number == 0 else '':{_MARGIN}}{text}"


def _render_divergence(result: Verification, color: bool) -> Iterator[str]:
    comparison = result.comparison
    if comparison is None or result.cause is None:
        return
    yield ""
    # An unstable baseline is compared with itself.
    sides = ("first run", "second run") if result.status is Status.UNSTABLE else ("baseline", "candidate")
    if result.process:
        yield f"{'process':{_MARGIN}}{result.process}"
    first = comparison.first
    if first:
        yield from _render_first(first, result.cause.phase, sides)
    yield f"{'cause':{_MARGIN}}{result.cause} ({result.cause.level})"
    if result.location:
        yield from _render_location(result.location, sides)
    for excerpt in result.excerpts:
        yield from _render_excerpt(excerpt, sides[excerpt.side == "candidate"], color)
    yield ""
    if first and first.step != 0:
        steps = f"{comparison.num_steps} step{'s' if comparison.num_steps != 1 else ''}"
        yield f"{'equal':{_MARGIN}}the initial values and {steps} before it"
    yield from _rows("also", _cut([str(difference) for difference in result.others]))
    yield from _rows("facts", _cut([fact for fact in comparison.facts if _is_worth(fact)]))
    yield from _rows("loss", list(_render_drift(comparison)))


def _render_first(first: Divergence, phase: str, sides: tuple[str, str]) -> Iterator[str]:
    lead = first.lead(phase)
    yield f"{'first':{_MARGIN}}{first.describe(phase)}"
    if lead.expected or lead.actual:
        for side, value in zip(sides, (lead.expected, lead.actual), strict=True):
            yield f"{'':{_MARGIN}}{side:10} {value}"


def _is_worth(fact: str) -> bool:
    """Leave out what differs between runs anyway: times, paths."""
    return not any(word in fact for word in ("time", "t0", "/tmp/", "path"))  # noqa: S108


def _cut(texts: list[str]) -> list[str]:
    rest = len(texts) - _MOST_ROWS
    return texts[:_MOST_ROWS] + ([f"and {rest} more"] if rest > 0 else [])


def _render_location(location: Location, sides: tuple[str, str]) -> Iterator[str]:
    culprits = (location.expected, location.actual)
    for side, culprit in zip(sides, culprits, strict=True) if any(culprits) else ():
        name = "operation" if side == sides[0] else ""
        yield f"{name:{_MARGIN}}{side:10} {_describe_culprit(culprit)}"
    size = location.size
    if size is not None:
        yield f"{'size':{_MARGIN}}{_describe_value(size.expected)} -> {_describe_value(size.actual)}"
        ulps = f"{size.ulps} ULPs, " if size.ulps is not None else ""
        yield f"{'':{_MARGIN}}{ulps}{size.relative:.2g} of the largest value, in the {size.what} {size.shape}"


def _describe_value(value: float) -> str:
    return f"{value!r} ({value.hex()})" if isinstance(value, float) else repr(value)


def _describe_culprit(culprit: Culprit | None) -> str:
    if culprit is None:
        return "nothing like it"
    where = f" in {culprit.module}" if culprit.module else ""
    node = f" of {culprit.node}" if culprit.node else ""
    outside = "; reads what was made outside torch, or before this step" if culprit.reads_outside else ""
    line = f"  {culprit.line}" if culprit.line else ""
    return f"{culprit.op}({culprit.arguments}){node}{where}{line}{outside}"


def _render_excerpt(excerpt: Excerpt, side: str, color: bool) -> Iterator[str]:
    yield ""
    yield f"{side:{_MARGIN}}{excerpt.place}  {excerpt.place.why}"
    for number, text in excerpt.lines:
        mark = ">" if number == excerpt.place.line else " "
        line = f"{'':{_MARGIN - 2}}{mark} {number:4} | {make_printable(text)}"
        yield f"\033[1m{line}\033[0m" if color and mark == ">" else line


def _render_drift(comparison: Comparison) -> Iterator[str]:
    drift = comparison.drift
    if not drift:
        return
    sizes = [relative_difference(before, now) for _, before, now in drift]
    apart = [index for index, (_, before, now) in enumerate(drift) if before != now]
    if not apart:
        yield f"the same in all {drift[-1][0]} steps"  # before the first of these nothing differed
        return
    most = max(apart, key=lambda index: sizes[index] if sizes[index] < math.inf else 0)  # nan is the least
    chosen = sorted({0, apart[0], most, len(drift) - 1})
    for index in chosen:
        step, before, now = drift[index]
        size = f"{sizes[index]:.2g} apart" if before != now else "the same"
        yield f"{describe_step(step)}: {show_loss(before)} -> {show_loss(now)}, {size}"
