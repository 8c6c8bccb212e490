"""What people and machines read: whole reports, letter by letter."""

import json
import xml.etree.ElementTree as ElementTree

import pytest

from trainkit.report.json import render_json
from trainkit.report.junit import render_junit
from trainkit.report.measurements import render_measurements
from trainkit.report.text import render_text
from trainkit.report.verification import _render_location
from trainkit.trace.locate import Culprit, Location
from trainkit.verdict import Finding, Measurement, Severity, Status, Verdict

VERDICTS = (
    Verdict(guard="imports", status=Status.PASSED, summary="pack 3 modules (unchanged)", duration_s=0.41),
    Verdict(
        guard="golden",
        status=Status.DIVERGED,
        summary="lm diverged at step 3, backward: gradients of head.weight float32[2,3] (1 of 9 differ)",
        findings=(
            Finding(rule="golden-noted", message="lm a is now b", severity=Severity.NOTE),
            Finding(
                rule="golden-diverged",
                message="lm diverged",
                file="tests/golden/lm.jsonl",
                expected="1.0 (0x1.0p+0)",
                actual="2.0 (0x1.0p+1)",
                evidence=tuple(f"evidence {number}" for number in range(8)),
                hint="look",
            ),
            Finding(rule="import-new-package", message="new", severity=Severity.WARNING, file="a.py", line=3),
        ),
        measurements=(Measurement(name="recorded steps", value=40, unit="steps"),),
        duration_s=12.3,
    ),
    Verdict(guard="gpu", status=Status.SKIPPED, summary="no CUDA device", duration_s=1),
    Verdict(
        guard="bench", status=Status.ERROR, summary="could not judge: bench-failed \x1b[0m", duration_s=1
    ),
)

TEXT = """\
imports  passed      0.4 s  pack 3 modules (unchanged)
golden   diverged   12.3 s  lm diverged at step 3, backward: gradients of
                           head.weight float32[2,3] (1 of 9 differ)
gpu      skipped     1.0 s  no CUDA device

golden error [golden-diverged] tests/golden/lm.jsonl: lm diverged
    expected  1.0 (0x1.0p+0)
    actual    2.0 (0x1.0p+1)
    - evidence 0
    - evidence 1
    - evidence 2
    - evidence 3
    - evidence 4
    - evidence 5
    - and 2 more in report.json
    hint: look

golden warning [import-new-package] a.py:3: new

golden note [golden-noted] lm a is now b"""


def test_figures_are_lines_and_what_belongs_together_stands_together():
    """A benchmark's memory stands below its time; values have the unit that makes them readable."""
    rows = [
        Measurement(name="a::b", value=0.002, unit="s", baseline=0.001, how="slower"),
        Measurement(name="a::b allocated", value=2048.0, unit="bytes", how="peak"),
        Measurement(name="a::c", value=0.0, unit="", how="new"),
    ]
    text = render_measurements(
        Verdict(guard="bench", status=Status.PASSED, summary="", measurements=tuple(rows))
    )

    assert text.splitlines()[1:] == [
        "a::b  1 ms -> 2 ms",
        "    slower",
        "    allocated: 2 KiB (peak)",
        "",
        "a::c",
        "    new",
    ]


def test_the_text_report():
    """A table, then the findings, errors first, wrapped to the terminal."""
    assert render_text(VERDICTS[:3], width=80, max_evidence=6) == TEXT


@pytest.mark.parametrize(
    ("status", "code"), [(Status.PASSED, "32"), (Status.DIVERGED, "31"), (Status.ERROR, "33")]
)
def test_colours_mark_the_status(status, code):
    """Green is good, red is bad, yellow could not judge."""
    text = render_text([Verdict(guard="g", status=status, summary="s")], color=True)

    assert f"\033[{code}m{status}\033[0m" in text


def test_control_characters_are_shown_not_sent():
    """A program's words must not steer the terminal."""
    finding = Finding(rule="r", message="m\x00", evidence=("\x1b[2J",))
    text = render_text([Verdict(guard="g", status=Status.ERROR, summary="\x08", findings=(finding,))])

    assert all(character >= " " or character == "\n" for character in text)
    assert "\\x1b[2J" in text


def test_the_json_report_holds_everything():
    """Every field of every value, the exit status, and the two sides."""
    document = json.loads(render_json(VERDICTS, candidate="abc", baseline="def"))

    assert (document["format"], document["exit_status"]) == (1, 1)
    assert (document["candidate"], document["baseline"]) == ("abc", "def")
    assert document["verdicts"][1]["findings"][1]["evidence"][7] == "evidence 7"
    assert document["verdicts"][1]["measurements"][0]["value"] == 40


def test_the_junit_report_counts_what_it_holds():
    """A failure, an error and a skip are told apart, and control characters do not break the XML."""
    suite = ElementTree.fromstring(render_junit(VERDICTS))

    assert {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "4",
        "failures": "1",
        "errors": "1",
        "skipped": "1",
    }
    assert [case.get("name") for case in suite] == ["imports", "golden", "gpu", "bench"]
    assert suite.find("testcase/failure").get("message").startswith("diverged: lm diverged at step 3")
    assert "1.0 (0x1.0p+0)" in suite.find("testcase/failure").text


def test_where_neither_side_has_an_operation_none_is_spoken_of():
    """Of a side alone that lacks it, it is said."""
    culprit = Culprit(number=1, op="mul", phase="forward", module="", node="", arguments="", frames=(), sample={},
                      reads_outside=False, state="")  # fmt: skip
    for actual, said in ((None, 0), (culprit, 1)):
        location = Location(expected=None, actual=actual, size=None)
        page = "\n".join(_render_location(location, ("baseline", "candidate")))
        assert page.count("nothing like it") == page.count("operation") == said
