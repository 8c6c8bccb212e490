"""Verdicts as JUnit XML: a guard is a test case, what could not be judged is an error."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from trainkit.report.text import make_printable, render_text
from trainkit.verdict import Status, Verdict

_TAGS = {
    Status.DIVERGED: "failure",
    Status.FAILED: "failure",
    Status.UNSTABLE: "error",
    Status.NOT_COMPARABLE: "error",
    Status.ERROR: "error",
    Status.SKIPPED: "skipped",
}


def render_junit(verdicts: Sequence[Verdict]) -> str:
    """Give one test suite named trainkit with a test case per guard."""
    tags = [_TAGS.get(verdict.status, "") for verdict in verdicts]
    suite = Element(
        "testsuite",
        name="trainkit",
        tests=str(len(verdicts)),
        failures=str(tags.count("failure")),
        errors=str(tags.count("error")),
        skipped=str(tags.count("skipped")),
        time=f"{sum(verdict.duration_s for verdict in verdicts):.3f}",
    )
    for verdict, tag in zip(verdicts, tags, strict=True):
        case = SubElement(
            suite, "testcase", classname="trainkit", name=verdict.guard, time=f"{verdict.duration_s:.3f}"
        )
        if tag:
            message = f"{verdict.status}: {verdict.summary}"
            SubElement(case, tag, message=make_printable(message)).text = make_printable(
                render_text([verdict])
            )
    indent(suite)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + tostring(suite, encoding="unicode") + "\n"
