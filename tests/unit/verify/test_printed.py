"""Which printed numbers are results."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trainkit.verify.printed import compare_printed, join_streams, keep_repeated, list_lost, list_passed_over


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("val/smape: 0.123456", "val/smape: 0.123457"),
        ("built Sun Nov 29 03:24:58 2026, worst task 6", "built Sun Nov 29 03:25:02 2026, worst task 7"),
        ("theta 0 sentiment accuracy: 0.5000", "theta 0 sentiment accuracy: 0.6000"),
        ("accuracy 91.25 %", "accuracy 91.50 %"),
        ("validate: loss/step 0.1234", "validate: loss/step 0.1235"),
        ("loss 1.5", "loss 2.5"),
        ("2026-01-02 10:11:12,123 loss 0.1234", "2026-01-02 10:11:13,456 loss 0.1235"),
        ("acc_val: 0.3500 time: 0.0101s", "acc_val: 0.3600 time: 0.0202s"),
        ("took 1.25s, loss 0.1234", "took 1.35s, loss 0.1235"),
        ("12.5 seconds loss 0.1234", "13.5 seconds loss 0.1235"),
        ("step:10 loss 0.1234", "step:10 loss 0.1235"),
        (
            "50%|# | 5/10 [00:01<00:05, 4.95it/s, loss=0.1234]",
            "50%|# | 5/10 [00:02<00:06, 3it/s, loss=0.1235]",
        ),
        (
            "1234 MB, 12.3k tokens/s, accuracy 50/100 (50.5)",
            "1235 MB, 12.4k tokens/s, accuracy 51/100 (51.5)",
        ),
        ("loss 0.1234", "loss nan"),
        ("loss: 3.1415926e-05", "loss: 2.7182818e-05"),
        ("loss: 31415926e-12", "loss: 27182818e-12"),
        ("| loss 5.1 | ms/batch 3 |", "| loss 5.2 | ms/batch 4 |"),
        ("mAP 31.2", "mAP 31.4"),
        ("Top-1: 87%", "Top-1: 88%"),
        ("accuracy by class 0:12.345 1:45.678", "accuracy by class 0:12.345 1:45.679"),
        ("correct 87/100", "correct 88/100"),
        ("mean IoU 0.5", "mean IoU 0.6"),
        ("      \x1b[A\x1b[1mDice\x1b[0m score: 0.27", "  \x1b[ADice score:  0.45"),
        (
            "Epoch 1/2:  40%|#   | 8/20 [00:01<00:02, 3.4img/s, loss (batch)=0.61]INFO: Dice score: 8.2e-09",
            "Epoch 1/2:  60%|##  | 12/20 [00:02<00:02, ?img/s, loss (batch)=0.61]INFO: Dice score: 8.3e-09",
        ),
        ("lowest so far (min): 0.1234", "lowest so far (min): 0.1235"),
        ("step 1", "step 2"),
        ("tp 5 fp 2", "tp 5 fp 3"),
        ("speed MAE: 0.1234", "speed MAE: 0.1235"),
        ("score.py: 95.2", "score.py: 94.2"),
        ("loss:3 - acc:95 - go", "loss:4 - acc:95 - go"),
        ("3,cat\n4,dog\n5,cat", "3,cat\n4,cat\n5,dog"),
        ("Time series MSE: 0.12", "Time series MSE: 0.13"),
        ("fit/loss: 0.12", "fit/loss: 0.13"),
        ("split/test_acc: 0.12", "split/test_acc: 0.13"),
        ("travel time 0.1234", "travel time 0.1235"),
        ("queue memory purity 0.4419", "queue memory purity 0.7645"),
        ('{"memory_spread": 0.44}', '{"memory_spread": 0.76}'),
        ('{"speed_bias": 0.441}', '{"speed_bias": 0.764}'),
        ("velocity rmse 0.4419 m/s", "velocity rmse 0.7645 m/s"),
        ("minADE 0.44 m", "minADE 0.76 m"),
        ("minFDE 3.51 m at horizon 4", "minFDE 3.52 m at horizon 4"),
        ("q mean 0.441 min 0.359 max 0.7", "q mean 0.442 min 0.359 max 0.7"),
        ("psnr 26.5 ms-ssim 0.35", "psnr 25.2 ms-ssim 0.35"),
        ('{"auc": 0.44}', '{"auc": NaN}'),
        ("bound 0.44", "bound Infinity"),
        ("MAE 0.12 m", "MAE 0.13 m"),
        ("id 12345678901234567890123", "id 12345678901234567890124"),
        ("fold 0.12\nfold 0.13", "fold 0.12\nfold 0.14\nfold 0.15"),
    ],
)
def test_other_numbers_are_a_result(before, now):
    """On either stream, among other lines."""
    for one, two in ((before, now), (f"a\n{before}\n", f"a\n{now}\n")):
        found = compare_printed(join_streams(one, ""), join_streams(two, ""))
        assert found == compare_printed(join_streams("x\n", one), join_streams("x\n", two))
        assert found[0] != found[1]
        told = [line.split()[-1] for line in found]
        assert "#" in found[0] or "\n" in before or told == [before.split()[-1], now.split()[-1]]


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("loss 0.1234", "loss 0.1234"),
        ("loss 0.1234", "cost 0.9999"),
        ("took 1.2 sec", "took 1.9 sec"),
        ("step_time 0.123", "step_time 0.234"),
        ("{'train_runtime': '0.123'}", "{'train_runtime': '0.234'}"),
        ("{'eval_samples_per_second': 1234.5}", "{'eval_samples_per_second': 1235.5}"),
        ("12.345 tokens per sec", "12.346 tokens per sec"),
        ("peak memory 1234", "peak memory 1235"),
        ("memory used (GB): 1.234", "memory used (GB): 2.345"),
        ("speed: 12.34 in it/s", "speed: 12.35 in it/s"),
        ("done in 3.5 m", "done in 3.6 m"),
        ("left 1h 20m", "left 1h 30m"),
        ("so far 3m 20s", "so far 4m 30s"),
        ("took 3 min 20 s", "took 4 min 10 s"),
        ("nan NaN", "NaN nan"),
        ("loss 0.1234", "loss 0.12343"),
        ("loss 1e-3", "loss 0.0010"),
        ("fold 0.12\nfold 0.14", "fold 0.12\nfold 0.13\nfold 0.14"),
        ("50%|# | 1/2 [00:01<00:05, 4it/s]\n3it/s", "1it/s\n2it/s"),
        ("| __main__:main:41 - go", "| __main__:run:43 - go"),
        ("[train.py, 41] go", "[train.py, 43] go"),
        ("a.py:3: UserWarning: old\n  f(1)\n", "a.py:5: UserWarning: old\n  f(2)\n"),
        ("12.345 it/s", "13.345 it/s"),
        ("3.4567s/it", "3.5567s/it"),
        ("1234.5 tokens/s", "1235.5 tokens/s"),
        ("memory 1234 MB", "memory 1235 MB"),
        ("at commit 1a2b3c4d5e", "at commit 9a8b7c6d5e"),
        ("10:11:12 begin 1", "10:11:13 begin 1"),
        ("train.py:1234: UserWarning", "train.py:1240: UserWarning"),
        ("loss 0.5 seconds 12.3", "loss 0.5 seconds 13.3"),
        ("loss 0.1234 in 12.3 s", "loss 0.1234 in 13.3 s"),
        ("elapsed 1:23:45.678, 12.3k tokens/s", "elapsed 1:24:56.789, 12.4k tokens/s"),
        ("GPU mem 1.234G loss 0.5", "GPU mem 2.345G loss 0.5"),
    ],
)
def test_times_sizes_and_places_are_none(before, now):
    """They differ between equal runs, by chance not in two of them, or after any refactor."""
    assert compare_printed(join_streams(before, ""), join_streams(now, "")) is None


def test_a_line_more_hides_no_other():
    """Lines are compared with those of the same words, where there are as many of them."""
    found = compare_printed("loss 0.1234\n", "hello 1\nloss 0.1235\nx\n")
    assert found == ("loss 0.1234", "loss 0.1235")
    assert compare_printed("loss 0.1234\n", "loss 0.1235\nloss 0.1234\n") is None


def test_a_long_line_is_cut_around_its_number():
    """Not at its end, where both sides may look the same."""
    line = "a" * 200 + " 0.5 " + "b" * 200

    found = compare_printed(line, line.replace("0.5", "0.7"))

    assert [each.split()[1] for each in found or ()] == ["0.5", "0.7"]
    assert len(found[0]) == 101


def test_a_bar_that_is_not_full_is_compared_where_it_stands_alike():
    """Where it is drawn is a matter of time; what it says there is not, and the full one is an ordinary line."""
    bar = "[{}/10] {}0%|██ , loss={} [00:0{}<00:01]"
    two, three = bar.format(2, 2, 0.861, 0), bar.format(3, 3, 0.852, 1)

    assert compare_printed(two, three) is None
    assert list_lost(two, three) == list_lost(two, "") == []
    assert compare_printed(two, bar.format(2, 2, 0.862, 1)) == (
        "[2/10] 20%|██ , loss=0.861 [<]",
        "[2/10] 20%|██ , loss=0.862 [<]",
    )
    assert compare_printed(bar.format(10, 10, 0.5, 1), bar.format(10, 10, 0.6, 1))
    assert list_lost(bar.format(10, 10, 0.5, 1), "") == ["'[10/10] 100%|██ , loss=0.5 [<]'"]


def test_a_long_line_that_is_lost_is_cut_around_what_differs():
    """A model's configuration may be one line of JSON."""
    (told,) = list_lost("x" * 300 + "relu" + "y" * 300, "x" * 300 + "gelu" + "y" * 300)

    assert list_lost("x" * 90 + "relu", "x" * 90 + "gelu") == [f"'{'x' * 90}relu' -> '{'x' * 90}gelu'"]
    assert "xrelu" in told and "xgelu" in told
    assert len(told) < 250


def test_numbers_before_the_other_words_are_not_what_is_shown():
    """Those that do not repeat are masked on one side alone."""
    line = '{{"id": {}, "pad": "{}", "class": "{}"}}'
    kept = keep_repeated(*(line.format(number, "x" * 300, "Within") for number in (140, 150)))
    (told,) = list_lost(kept, line.format(160, "x" * 300, "Near"))

    assert told.startswith("'…xxx") and "Within" in told.partition(" -> ")[0]
    assert told.partition(" -> ")[2].startswith("'…xxx") and told.endswith("Near\"}'")


def test_lines_that_are_lost_are_told():
    """The words that are gone, the last of those that are fewer; not what a meter says when it has time."""
    before = 'rows 5\n7,1\n8,1\nfold 0.1\nfold 0.2\n---\n 1/2 [00:01<00:05, 4it/s]\ntook 3 s\n"dirty": false\n"diff_sha": 1\n'

    assert list_lost(before, before + "more\n") == []
    assert list_lost(before, "fold 0.1\n") == ["'rows 5'", "'8,1'", "'fold 0.2'", "'took # s'"]
    assert list_lost("7,1\n8,1\n", "7,1\n") == ["'8,1'"]
    assert list_lost("a\nquality: good\n", "quality: poor\na\n") == ["'quality: good' -> 'quality: poor'"]


def test_a_number_that_two_runs_print_otherwise_is_none():
    """The others of its line are compared, and so is what is printed more often than such a line."""
    kept = keep_repeated("rate 0.1234 loss 0.5678\na 1\nb 2\nb 3", "rate 0.4321 loss 0.5678\na 1\nb 2")

    assert compare_printed(kept, "rate 0.9999 loss 0.5678\na 1\nb 2222") is None
    assert compare_printed(kept, "rate 0.9999 loss 0.5679\na 1") == (
        "rate # loss 0.5678",
        "rate 0.9999 loss 0.5679",
    )
    assert compare_printed(keep_repeated("x 0.1234", "x 0.4321"), "x 0.9999") is None


@pytest.mark.parametrize("unit", ["12,", "1", "a1b2c3d", "1/2", "1s", "1[", "\x1b["])
def test_a_file_of_one_long_line_ends(unit):
    """Many characters without a space: what is quadratic in them would take minutes."""
    text = unit * (80_000 // len(unit))

    assert compare_printed(keep_repeated(text, text), text) is None
    compare_printed(text, text.replace("1", "3"))


def test_streams_are_kept_apart():
    """Of either only what repeats is kept."""
    assert keep_repeated(join_streams("a", "b"), join_streams("a", "c")) == join_streams("a", "")


TEXTS = st.text(alphabet="ab s:%./-12\n\r\x1e\x1b\u00b2", max_size=60)


@given(TEXTS, TEXTS)
@example("digest 76082a6e4ce4", "digest 76082a6e4ce4")
@example("built Sun Nov 29 03:24:58 2026 in 3.1s", "built Sun Nov 29 03:25:02 2026 in 3.2s")
@example("at 12:30line 5 loss", "at 12:31line 5 loss")
@example("2/9 20%|█ | loss=1 [0:01<0:02]", "2/9 20%|█ | loss=2 [0:01<0:03]")
def test_what_repeats_equals_both_that_it_was_made_of(first, second):
    """Whatever is printed: nothing of a run can differ from what is kept of it."""
    kept = keep_repeated(first, second)

    assert compare_printed(first, first) is None
    assert compare_printed(kept, first) is compare_printed(kept, second) is None
    assert list_lost(kept, first) == list_lost(kept, second) == []


def test_what_is_printed_more_often_is_told():
    """Rows of a file that is written twice; words of which there were none before are no more than new."""
    rows = "1,0.25\n2,0.5\n"

    assert list_lost(rows, rows * 2 + "more 3\n") == ["'2,0.5', 2 -> 4 times"]
    assert list_lost(rows, rows + "1 it/s\n" * 3) == []
    assert list_lost("0.5\n", "0.5\n0.25\n") == ["'0.5', 1 -> 2 times"]
    assert list_lost("branch audio: confidence 0.4\nmax diff 0.5\nOn branch main", "") == [
        "'branch audio: confidence 0.4'",
        "'max diff 0.5'",
    ]


def test_numbers_that_are_passed_over_are_told_where_they_repeat():
    """Called a time, with fewer decimals; not one that two runs print otherwise, or that is the same."""
    before = keep_repeated(*(f"took 1.5 s\nacc 0.1234\nloss 0.50\nwarm 2 s\nran {n} s\n" for n in (1, 2)))

    assert list_passed_over(before, "took 2.5 s\nacc 0.12\nloss 0.500\nwarm 2 s\nran 3 s\n") == [
        "'took 1.5 s' -> 'took 2.5 s'",
        "'acc 0.1234' -> 'acc 0.12'",
    ]
    assert list_passed_over(before, before) == []
