"""What people and machines read: whole reports, letter by letter."""

import json
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest

from trainkit.report.html import render_html
from trainkit.report.json import render_json
from trainkit.report.junit import render_junit
from trainkit.report.markdown import render_markdown
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


class _Balance(HTMLParser):
    """Which elements are open, and the words that are shown."""

    def __init__(self):
        super().__init__()
        self.open, self.words, self.cards = [], [], []

    def handle_starttag(self, tag, attrs):
        if tag not in {"meta"}:
            self.open.append(tag)
        if tag == "details":
            self.cards.append(dict(attrs))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def read_page(verdicts, baseline="def (0123)"):
    page = _Balance()
    page.feed(render_html(verdicts, project="a<b", candidate="abc", baseline=baseline))
    assert page.open == []
    return page, "\n".join(page.words)


def test_the_page_of_a_gate():
    """The outcome on top, errors open and the rest folded, changed figures before the others."""
    figures = tuple(
        Measurement(name=name, value=value, unit=unit, baseline=before, how="how")
        for name, value, unit, before in (
            ("start", 0.5, "s", 0.25), ("shared", 3.0, "files", 3.0), (".pyc", 3072.0, "bytes", 2048.0), ("new", 1.0, "s", None),
            ("modules", 5.0, "modules", 7.0),
        )
    )  # fmt: skip
    many = tuple(Finding(rule="r", message=f"m{n}", severity=Severity.NOTE) for n in range(130))
    shown = (
        *VERDICTS,
        Verdict(guard="more", status=Status.FAILED, summary="", findings=many, measurements=figures),
    )
    page, text = read_page(shown)

    assert "a<b: gate FAILED" in text
    assert "abc, against def (0123) · 15 s" in text.replace("\n", "")
    assert "\x1b" not in text
    assert [card.get("class") for card in page.cards[:3]] == ["card high", "card medium", "card low"]
    assert ["open" in card for card in page.cards[:4]] == [True, False, False, False]
    assert "expected  1.0 (0x1.0p+0)\nactual    2.0 (0x1.0p+1)\nevidence 0" in text
    assert "and 30 more in report.json" in text
    rows = text[text.index("m99") :].split("\n")
    order = [
        rows.index(each)
        for each in (".pyc", "modules", "start", "2 unchanged, or of one side alone", "shared")
    ]
    assert order == sorted(order)
    assert [rows[place + 3] for place in order[:3]] == ["+1 KiB", "-2", "x 2.00"]


@pytest.mark.parametrize(
    ("verdicts", "outcome"),
    [(VERDICTS[:1], "passed"), (VERDICTS[2:3], "could not judge"), (VERDICTS[3:], "could not judge")],
)
def test_the_page_says_what_it_comes_to(verdicts, outcome):
    """Without a baseline it says so; what was only skipped is no pass."""
    page, text = read_page(verdicts, baseline="")

    assert f"gate {outcome}" in text
    assert "the first commit" in text
    assert page.cards == []


def test_the_summary_of_a_workflow():
    """A table, and findings behind a fold that is open where one is an error; nothing in them is markup."""
    finding = Finding(
        rule="r", message="a|b `c` <i>", evidence=("```", "x"), severity=Severity.NOTE, file="a.py"
    )
    verdicts = (
        *VERDICTS,
        Verdict(guard="more", status=Status.PASSED, summary="a | b", findings=(finding,) * 33),
    )
    text = render_markdown(verdicts, candidate="abc", baseline="def_g")
    lines = text.split("\n")

    assert lines[:3] == ["## trainkit gate: FAILED", "", "abc, against def\\_g"]
    assert "| imports | passed | 0.4 s | pack 3 modules (unchanged) |" in lines
    assert "<details open><summary>golden: 3 findings</summary>" in lines
    assert "- actual `2.0 (0x1.0p+1)`" in lines
    assert "<details><summary>more: 33 findings</summary>" in lines
    assert "**note** `a.py` a\\|b \\`c\\` \\<i\\> (r)" in lines
    assert lines.count("```text") == lines.count("```") == 31  # each fence is closed
    assert "and 3 more in report.json" in lines
    assert "\x1b" not in text
    assert "the first commit" in render_markdown(VERDICTS, candidate="abc", baseline="")


def test_where_neither_side_has_an_operation_none_is_spoken_of():
    """Of a side alone that lacks it, it is said."""
    culprit = Culprit(number=1, op="mul", phase="forward", module="", node="", arguments="", frames=(), sample={},
                      reads_outside=False, state="")  # fmt: skip
    for actual, said in ((None, 0), (culprit, 1)):
        location = Location(expected=None, actual=actual, size=None)
        page = "\n".join(_render_location(location, ("baseline", "candidate")))
        assert page.count("nothing like it") == page.count("operation") == said
