"""Findings as GitHub's workflow commands."""

from trainkit.report.annotations import render_annotations
from trainkit.verdict import Finding, Severity, Status, Verdict


def test_findings_show_at_their_lines():
    """One line each, escaped as GitHub wants it; findings without a file have no place to show."""
    findings = (
        Finding(rule="import-forbidden", message="100% heavy\nsecond", file="a,b:c.py", line=3, hint="later"),
        Finding(rule="r", message="m", severity=Severity.NOTE, file="x.py", expected="1", actual="2\x1b"),
        Finding(rule="none", message="nowhere", severity=Severity.WARNING),
    )
    verdict = Verdict(guard="imports", status=Status.FAILED, summary="", findings=findings)

    assert render_annotations([verdict], folder="sub/").split("\n") == [
        "::error file=sub/a%2Cb%3Ac.py,line=3,title=import-forbidden::100%25 heavy%0Asecond%0Ahint: later",
        "::notice file=sub/x.py,line=1,title=r::m%0Aexpected 1, actual 2\\x1b",
    ]
