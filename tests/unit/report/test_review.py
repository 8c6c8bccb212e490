"""The pages of a review: widths, colors, durations, the treemap."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainkit.report.review import FORMATS, render_as
from trainkit.report.review.text import render_text, tabulate
from trainkit.report.review.treemap import lay_out
from trainkit.report.review.words import tell_change, tell_minutes, tell_value
from trainkit.review.model import Issue, Place
from trainkit.review.result import Dependencies, Figure, FileRow, Phase, Review


def make_review(num_issues=1, **more):
    issues = tuple(
        Issue(
            rule="clone-equal", key=f"clone-run:{n}", id=f"DUP-{n:04}", title="x" * 20 + " y" * 60, severity="high",
            places=tuple(Place(f"folder/f{n}.py", 1, 9) for n in range(30)), evidence=tuple("evidence" for _ in range(20)),
            proposal="do | it `now`",
        )
        for n in range(num_issues)
    )  # fmt: skip
    files = tuple(
        FileRow(path=f"folder/f{n}.py", role="library", num_lines=10, num_functions=1, worst=n, mean=1.0, num_importers=0,
                purpose="a <b> | c\x1b[0m")
        for n in range(130)
    )  # fmt: skip
    empty = Dependencies(num_edges={}, folders=(("a", "b", 2),), hubs=(), externals=(), cycles=())
    phases = (Phase(name="at once", issues=("DUP-0000",), effort_min=(5, 15), num_lines_saved=3),)
    return Review(
        project="p", candidate="c", files=files, dependencies=empty, issues=issues, phases=phases, **more
    )


@pytest.mark.parametrize("width", [60, 100])
def test_the_text_fits(width):
    """No line is wider than the terminal, and color is there only when asked for."""
    text = render_text(make_review(20), width=width)

    assert max(map(len, text.splitlines())) <= width
    assert "\033" not in text
    assert "\033[31mDUP-0000" in render_text(make_review(), width=width, color=True)
    assert "and 8 more issues" in text


@pytest.mark.parametrize("ending", [ending for ending in FORMATS if ending != ".sarif"])
def test_what_is_allowed_is_told_with_its_reason(ending):
    """It is counted beside the issues, and listed; SARIF has issues alone."""
    allowed = Issue(rule="complexity-high", key="complexity:a.py:f", title="f(): 20 cyclomatic", severity="low",
                    places=(Place("a.py", 3, 9),), allowed="it mirrors the paper")  # fmt: skip
    review = make_review(allowed=(allowed,))
    text = render_text(review)

    assert "1 more allowed by a comment" in text
    assert "a.py:3 f(): 20 cyclomatic, because it mirrors the paper" in text
    assert "it mirrors the paper" in render_as(review, ending)


@pytest.mark.parametrize("ending", FORMATS)
def test_long_lists_are_cut_with_their_number(ending):
    """Every format takes many issues, files that could not be read, and control characters."""
    unreadable = tuple((f"bad{n}.py", "line 1: no") for n in range(120))
    text = render_as(make_review(310, unreadable=unreadable, proof=("identical: all",)), ending)

    assert "bad0.py" in text
    assert "\x1b" not in text
    if ending == ".md":
        assert "and 210 more." in text
        assert "| and 20 more |" in text
        assert "do \\| it" in text
        assert "-->|2|" in text
    if ending == ".html":
        assert "<p>and 10 more</p>" in text
        assert "a &lt;b&gt;" in text


def test_figures_in_words():
    """Ranges, changes, what was not measured."""
    assert [tell_minutes(pair) for pair in [(5, 15), (5, 5), (60, 120), (90, 200), (600, 1200)]] == [
        "5 to 15 min", "5 min", "1 to 2 h", "1.5 to 3.3 h", "10 to 20 h",
    ]  # fmt: skip
    assert [tell_value(value) for value in (None, 1200.0, 1.5)] == ["not measured", "1,200", "1.50"]
    assert tell_change(Figure(name="a", before=10, after=8)) == "-2 (-20 %)"
    assert tell_change(Figure(name="a", before=0, after=8)) == "+8"
    assert tell_change(Figure(name="a", before=8, after=8)) == "="
    assert tell_change(Figure(name="a", before=None, after=8)) == ""


def test_columns():
    """Flush left and right, cut at the width."""
    assert tabulate([("a", "1", "long text"), ("bcd", "22", "x")], "lrl", 12) == [
        "a     1  lo…",
        "bcd  22  x",
    ]


@given(st.lists(st.integers(1, 100_000), min_size=1, max_size=40))
def test_the_treemap_fills_the_square(weights):
    """Each box has its part of the area and lies inside."""
    boxes = lay_out(sorted(weights, reverse=True))

    total = sum(weights)
    for weight, box in zip(sorted(weights, reverse=True), boxes, strict=True):
        assert box.width * box.height == pytest.approx(weight / total, rel=1e-6, abs=1e-9)
        assert -1e-9 <= box.x <= box.x + box.width <= 1 + 1e-6
        assert -1e-9 <= box.y <= box.y + box.height <= 1 + 1e-6
