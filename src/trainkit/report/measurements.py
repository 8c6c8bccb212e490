"""The figures of a verdict for a terminal, one line each."""

from __future__ import annotations

from trainkit.report.text import make_printable
from trainkit.verdict import Measurement, Verdict


def render_measurements(verdict: Verdict) -> str:
    """Give a line for each measurement; what belongs to one named before it is indented below that."""
    lines: list[str] = []
    above = "\0"
    for each in verdict.measurements:
        shown = show_value(each.value, each.unit) if each.unit else ""
        if each.baseline is not None:
            shown = f"{show_value(each.baseline, each.unit)} -> {shown}"
        if each.name.startswith(f"{above} "):
            lines.append(f"    {each.name.removeprefix(above).strip()}: {shown} ({each.how})")
            continue
        above = each.name
        lines += ["", f"{each.name}  {shown}".rstrip(), f"    {each.how}"]
    return "\n".join(make_printable(line) for line in lines)


def tell_figure(each: Measurement) -> tuple[str, str, str, str, str]:
    """Give name, baseline, candidate, change and how it was taken; a change of times is a ratio."""
    before = "" if each.baseline is None else show_value(each.baseline, each.unit)
    after = show_value(each.value, each.unit)
    if each.baseline is None or each.baseline == each.value:
        change = ""
    elif each.unit == "s" and each.baseline:
        change = f"x {each.value / each.baseline:.2f}"
    else:
        size = abs(each.value - each.baseline)
        shown = show_value(size, each.unit) if each.unit in _SCALES else f"{size:.4g}"
        change = f"{'+' if each.value > each.baseline else '-'}{shown}"
    return each.name, before, after, change, each.how


_SCALES = {
    "s": (("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9)),
    "bytes": (("GiB", 2.0**30), ("MiB", 2.0**20), ("KiB", 2.0**10), ("bytes", 1.0)),
}


def show_value(value: float, unit: str) -> str:
    """Give a value with the unit that makes it readable."""
    for name, size in _SCALES.get(unit, ()):
        if abs(value) >= size:
            return f"{value / size:.4g} {name}"
    return f"{value:.4g} {unit}".rstrip()
