"""Which printed numbers are results."""

import pytest

from trainkit.verify.printed import compare_printed, join_streams, keep_repeated


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("val/smape: 0.123456", "val/smape: 0.123457"),
        ("theta 0 sentiment accuracy: 0.5000", "theta 0 sentiment accuracy: 0.6000"),
        ("accuracy 91.25 %", "accuracy 91.50 %"),
        ("validate: loss/step 0.1234", "validate: loss/step 0.1235"),
        ("loss 1.5", "loss 2.5"),
        ("2026-01-02 10:11:12,123 loss 0.1234", "2026-01-02 10:11:13,456 loss 0.1235"),
    ],
)
def test_other_numbers_are_a_result(before, now):
    """On either stream, among other lines."""
    for one, two in ((before, now), (f"a\n{before}\n", f"a\n{now}\n")):
        found = compare_printed(join_streams(one, ""), join_streams(two, ""))
        assert found == compare_printed(join_streams("x\n", one), join_streams("x\n", two))
        assert found[0] in before and found[1] in now and found[0] != found[1]


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("loss 0.1234", "loss 0.1234"),
        ("step 1", "step 2"),
        ("loss 0.1234", "cost 0.9999"),
        ("took 1.2345 sec", "took 1.9999 sec"),
        ("step_time 0.1234", "step_time 0.2345"),
        ("12.345 it/s", "13.345 it/s"),
        ("3.4567s/it", "3.5567s/it"),
        ("1234.5 tokens/s", "1235.5 tokens/s"),
        ("memory 1234 MB", "memory 1235 MB"),
        ("at commit 1a2b3c4d5e", "at commit 9a8b7c6d5e"),
        ("10:11:12 begin 1", "10:11:13 begin 1"),
        ("train.py:1234: UserWarning", "train.py:1240: UserWarning"),
    ],
)
def test_times_sizes_and_places_are_none(before, now):
    """They differ between equal runs, or after any refactor."""
    assert compare_printed(join_streams(before, ""), join_streams(now, "")) is None


def test_a_line_more_ends_the_comparison_of_its_stream():
    """The other stream is compared all the same."""
    assert compare_printed(join_streams("loss 0.1234\n", ""), join_streams("loss 0.1235\nx\n", "")) is None
    said = compare_printed(join_streams("a\n", "loss 0.1234"), join_streams("a\nb\n", "loss 0.1235"))
    assert said == ("loss 0.1234", "loss 0.1235")


def test_only_lines_that_repeat_are_kept():
    """What two runs of the same code print otherwise is emptied; with more lines nothing is left."""
    assert keep_repeated("a 1\nb 2\nc 3", "a 1\nb 9\nc 3") == "a 1\n\nc 3"
    assert keep_repeated("a 1\nb 2", "a 1") == ""
    assert keep_repeated(join_streams("a", "b"), join_streams("a", "c")) == join_streams("a", "")
