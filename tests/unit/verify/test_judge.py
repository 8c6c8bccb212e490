"""From recorded runs to a verdict; the runs are written by hand."""

import json
import os
from dataclasses import replace

import pytest

from trainkit.errors import CannotJudgeError
from trainkit.report.verification import render_verification
from trainkit.trace.store import Recording, find_recording, write_trace
from trainkit.verdict import Status
from trainkit.verify.edits import MOVED, RENAMED
from trainkit.verify.files import compare_files
from trainkit.verify.formats import Output
from trainkit.verify.judge import judge_runs, tell_left
from trainkit.verify.pairs import compare_recordings
from trainkit.verify.run import Run

OTHER = "other".ljust(16, "_")
SAMPLE = {"shape": "float32[1]", "every": 1, "values": [1.0], "max": 1.0}


def deep_lines(out, *, step=2, rows=()):
    """Give the lines of a deep pass with one operation."""
    events = [
        {"event": "trace", "format": 3, "rank": 0},
        {"event": "op", "n": 0, "op": "mul", "phase": "forward", "module": "net", "frames": [["net.py", 3, "f"]],
         "in": ["x"], "out": [out], "args": "float32[1]", "sample": SAMPLE},
        {"event": "seen", "what": "loss", "name": "loss", "n": 1, "out": out, "sample": SAMPLE},
        {"event": "step", "step": step, "gradients": "g", "parameters": "p"},
        {"event": "lines", "rows": list(rows)},
    ]  # fmt: skip
    return [json.dumps(event, separators=(",", ":")) for event in events]


@pytest.fixture
def judge(make_run):
    """Judge two processes, or runs."""

    def look(expected, actual, **more):
        runs = [item if isinstance(item, Run) else make_run(item) for item in (expected, actual)]
        return judge_runs(*runs, **more)

    return look


def make_light(script):
    """Give the light pass of the same run: one digest for each kind of result."""
    light = script.copy()
    for step in light.steps:
        digests = {name: step.pop(name) for name in ("gradients", "parameters", "state", "buffers")}
        step["light"] = {name: value[:16] for name, value in digests.items()}
        step.pop("outputs"), step.pop("called", None), step.pop("hyper", None)
    return light


# -- equal


def test_equal_runs_are_identical(judge, script):
    """Over steps, evaluations and saves that are counted."""
    result = judge(script, script)

    assert result.status is Status.IDENTICAL
    assert result.summary == "bitwise identical over 3 steps, 1 evaluation pass, 1 save"


def test_each_process_is_told(judge, make_run, script):
    """Ranks are compared one by one."""
    result = judge(make_run(script, script), make_run(script, script))

    assert result.summary.endswith("in each of 2 processes")


def test_a_rename_is_noted(judge, script):
    """The numbers are the same, and the reader is told."""
    actual = script.copy()
    actual.parameters[0][0] = "out.weight"

    result = judge(script, actual)

    assert (result.status, result.notes) == (Status.NOTED, ("head.weight is now out.weight",))


def test_a_checkpoint_that_is_loaded_no_more_is_noted(judge, script):
    """The best one was the last one here, so that no number differs."""
    script.steps[1]["resumed"] = 2
    actual = script.copy()
    del actual.steps[1]["resumed"]

    result = judge(script, actual)

    assert (result.status, result.notes) == (Status.NOTED, ("number of checkpoints that are loaded: 2 -> 0",))


@pytest.mark.parametrize(
    ("what", "status"),
    [
        ("modules", Status.NOTED),
        ("loader", Status.NOTED),
        ("schedules", Status.NOTED),
        ("arguments", Status.IDENTICAL),
        ("settings", Status.IDENTICAL),
    ],
)
def test_facts_of_the_training_are_noted(judge, script, what, status):
    """Not those of the program around it: paths and names."""
    actual = script.copy()
    script.facts, actual.facts = {what: {"a": "1"}}, {what: {"a": "2"}}

    assert judge(script, actual).status is status


# -- different


def test_a_divergence_is_named_without_a_deep_pass(judge, script):
    """Step, phase, what, class and level."""
    actual = script.copy()
    actual.steps[1]["loss"] = ["0x1.8p+3", "0x1.8p+3"]

    result = judge(script, actual)

    assert result.status is Status.DIVERGED
    assert result.summary == "diverged at step 2, loss: loss of micro_step 1; loss (value-level)"
    assert result.cause.phase == "loss"
    assert result.location is None


def test_the_first_divergence_is_looked_at_deeply(judge, make_run, script):
    """Both sides run once more up to that step, with the edited lines of each."""
    actual = script.copy()
    actual.steps[1]["loss"] = ["0x1.8p+3", "0x1.8p+3"]
    asked = []

    def record(side, options):
        asked.append((side, {key: options[key] for key in ("deep", "edited", "steps")}))
        return make_run(deep_lines(side, rows=[["net.py", 3, 1, 1, 0, 0, "forward"]]))

    edited = ({"net.py": [3]}, {"net.py": [3, 4]})
    result = judge(script, actual, record=record, edited=edited)

    assert asked == [
        ("baseline", {"deep": 2, "edited": edited[0], "steps": 2}),
        ("candidate", {"deep": 2, "edited": edited[1], "steps": 2}),
    ]
    assert (result.location.expected.op, result.location.actual.op) == ("mul", "mul")
    assert [str(line) for line in result.location.expected_lines] == ["net.py:3"]
    assert result.cause.phase == "forward"


def test_what_differs_after_the_last_step_is_looked_at_there(judge, make_run, script):
    """The pass begins after it and goes to the end of the program."""
    actual = script.copy()
    actual.end["calls"] = [["e", "in", "x"]]
    asked = []

    def record(side, options):
        asked.append((options["deep"], "steps" in options))
        return make_run(deep_lines(side))

    judge(script, actual, record=record)

    assert asked == [(4, False), (4, False)]


def test_another_initialisation_is_looked_at_in_the_first_step(judge, make_run, script):
    """There is no step before it."""
    actual = script.copy()
    actual.parameters[0][2] = "other"
    asked = []

    def record(side, options):
        asked.append((options["deep"], options["steps"]))
        return make_run(deep_lines(side))

    judge(script, actual, record=record)

    assert asked == [(1, 1), (1, 1)]


@pytest.mark.parametrize("lines", [None, ["no json"]])
def test_a_deep_pass_that_fails_leaves_the_verdict(judge, make_run, script, lines):
    """It recorded nothing, or something damaged: that is a note."""
    actual = script.copy()
    actual.steps[1]["loss"] = ["0x1.8p+3", "0x1.8p+3"]

    result = judge(script, actual, record=lambda *_: make_run(*([lines] if lines else [])))

    assert (result.status, result.location) == (Status.DIVERGED, None)
    assert "the deep pass failed" in result.notes[-1]


def test_lines_of_workers_are_read(judge, make_run, script):
    """From the files that they left beside the trace."""
    actual = script.copy()
    actual.steps[1]["loss"] = ["0x1.8p+3", "0x1.8p+3"]

    def record(side, _):
        run = make_run(deep_lines(side))
        (run.recording.paths[0].parent / "lines-77.txt").write_text('["data.py", 4]\n')
        return run

    result = judge(script, actual, record=record)

    assert [str(line) for line in result.location.actual_lines] == ["data.py:4"]


@pytest.mark.parametrize(
    ("ranks", "named"),
    [
        ({}, ["net.py:3", "net.py:2", "net.py:1"]),
        ({("net.py", 3): MOVED}, ["net.py:2", "net.py:1", "net.py:3"]),
        ({("net.py", 3): RENAMED}, ["net.py:2", "net.py:1"]),
        ({("net.py", line): RENAMED for line in (1, 2, 3)}, ["net.py:3", "net.py:2", "net.py:1"]),
    ],
)
def test_suspicious_lines_are_named_first(judge, make_run, script, ranks, named):
    """Merely renamed ones only where there is nothing else."""
    actual = script.copy()
    actual.steps[1]["loss"] = ["0x1.8p+3", "0x1.8p+3"]
    rows = [["net.py", line, 1, 1, 0, 0, "forward"] for line in (1, 2, 3)]

    result = judge(
        script,
        actual,
        record=lambda side, _: make_run(deep_lines(side, rows=rows)),
        edited=({"net.py": [1, 2, 3]}, {"net.py": [1, 2, 3]}),
        rank=lambda: (ranks, ranks),
    )

    assert [str(line) for line in result.location.expected_lines] == named


@pytest.mark.parametrize("agree", [True, False])
def test_a_difference_of_compiled_code_alone_is_told(judge, make_run, script, agree):
    """The deep pass does not compile; where both sides agree in it, the compiler is the difference."""
    actual = script.copy()
    actual.steps[1]["loss"] = ["0x1.8p+3", "0x1.8p+3"]
    actual.end["compiled"] = 1

    def record(side, _):
        lines = deep_lines(side)
        return make_run(
            lines if agree or side == "baseline" else [line.replace('"g"', '"h"') for line in lines]
        )

    note = judge(script, actual, record=record).notes[-1]

    assert note.startswith("the deep pass ran without torch.compile")
    assert ("they differ only when compiled" in note) == agree


# -- the light pass


def test_light_passes_that_agree_are_identical(judge, script):
    """Nothing more is recorded."""
    light = make_light(script)

    assert judge(light, light, record=lambda *_: pytest.fail("recorded once more")).status is Status.IDENTICAL


@pytest.mark.parametrize(
    ("really", "deep_step", "recorded"),
    [
        (True, 2, ["deep"]),  # one full pass holds it all
        (True, 1, ["deep", "deep"]),  # the full pass finds that another step is the first
        (False, 2, ["deep", "full"]),  # the deep pass may have got in the way: once more without
        (True, 0, ["deep", "full", "deep"]),  # it failed
    ],
)
def test_light_passes_that_differ_are_recorded_in_full(judge, make_run, script, really, deep_step, recorded):
    """The full pass decides: what only the light one sees is no divergence."""
    actual = script.copy()
    actual.steps[1]["gradients"] = OTHER * 2
    full = actual.copy()
    if deep_step == 1:
        full.steps[0]["gradients"] = OTHER * 2
    sides = []

    def record(side, options):
        sides.append((side, "deep" if "deep" in options else options["level"]))
        lines = (full if really and side == "candidate" else script).lines()
        if "deep" in options and deep_step == 0:
            return make_run([*lines[:-1], '{"event":"problem","where":"deep","error":"planted"}'])
        if options.get("deep") == 2 or deep_step == 1:
            at = next(n for n, line in enumerate(lines) if '"event":"step"' in line)
            _, op, seen, _, rows = deep_lines(side)
            lines[at + 1 : at + 1] = [op, seen, rows]
        return make_run(lines)

    result = judge(make_light(script), make_light(actual), record=record)

    assert sides == [(side, what) for what in recorded for side in ("baseline", "candidate")]
    assert result.status is (Status.DIVERGED if really else Status.IDENTICAL)
    if not deep_step:
        assert result.notes == ("the deep pass failed: the recorder failed in deep: planted",)
    elif really:
        assert result.location.expected.op == "mul"


def test_what_is_compiled_is_not_recorded_with_its_operations(judge, make_run, script):
    """Under the deep pass it would not run compiled: the full pass stays as it is."""
    script.end["compiled"] = 1
    actual = script.copy()
    actual.steps[1]["gradients"] = OTHER * 2
    levels = []

    def record(side, options):
        levels.append("deep" if "deep" in options else options["level"])
        if "deep" in options:
            return make_run(deep_lines(side))
        return make_run(actual if side == "candidate" else script)

    judge(make_light(script), make_light(actual), record=record)

    assert levels == ["full", "full", "deep", "deep"]


def test_a_result_that_differed_once_is_unstable(judge, make_run, script):
    """The full passes agree, so a side does not repeat: what was seen must not be forgotten."""
    actual = script.copy()
    actual.steps[1]["loss"] = ["0x1.8p+3", "0x1.8p+3"]

    result = judge(make_light(script), make_light(actual), record=lambda *_: make_run(script))

    assert result.status is Status.UNSTABLE
    assert result.summary == "step 2, loss: loss of micro_step 1 differed, and did not when recorded again"


def test_an_unsteady_generator_hides_no_other_one(judge, make_run, script):
    """It is left out of both sides, whatever pass they are of, and told."""
    actual = script.copy()
    for step in actual.steps:
        step["rng"]["python"] = "other"
    before = make_run(script, unsteady=("python",))
    same = judge(before, actual)
    actual.steps[1]["rng"]["torch"] = "other"

    assert judge(script, actual).status is Status.DIVERGED
    assert same.status is Status.NOTED
    assert same.notes[0].endswith("two runs of the baseline are not compared: python")
    assert "rng" in judge(before, actual, record=lambda *_: pytest.fail("recorded"), deep=False).summary


def test_weights_that_were_only_paired_wrongly_are_no_sign_of_it(judge, make_run, script):
    """Equal at first and renamed: the light pass pairs them by order, the full one by what training does."""
    script.parameters = [["a", "float32[2]", "0"], ["b", "float32[2]", "0"]]
    actual = script.copy()
    actual.parameters = [["x", "float32[2]", "0"], ["y", "float32[2]", "0"]]
    actual.end["values"] = actual.end["values"][16:] + actual.end["values"][:16]

    result = judge(make_light(script), make_light(actual), record=lambda *_: make_run(script))

    assert result.status is Status.IDENTICAL


@pytest.mark.parametrize("name", ["gradients", "parameters", "state", "buffers"])
def test_every_part_of_a_light_step_counts(judge, script, name):
    """A digest of all gradients, weights, states, buffers."""
    actual = make_light(script)
    actual.steps[2]["light"][name] = OTHER

    assert judge(make_light(script), actual).status is Status.DIVERGED


# -- several processes


def test_another_number_of_processes_cannot_be_judged(judge, make_run, script):
    """A rank more is another training."""
    with pytest.raises(CannotJudgeError) as caught:
        judge(make_run(script, script), make_run(script))
    assert caught.value.slug == "processes-differ"


def test_nothing_recorded_cannot_be_judged():
    """No process trained."""
    with pytest.raises(CannotJudgeError) as caught:
        compare_recordings(Recording(paths=()), Recording(paths=()))
    assert caught.value.slug == "nothing-recorded"


def test_the_process_that_differs_first_is_told(make_run, script):
    """A difference after the last step comes after all steps."""
    late, early = script.copy(), script.copy()
    late.end["values"] = OTHER * 2
    early.steps[2]["gradients"] = OTHER * 2

    pair = compare_recordings(
        make_run(script, script, script).recording, make_run(script, late, early).recording
    )

    assert (pair.which, pair.number, pair.comparison.first.step) == ("process 2 of 3", 2, 3)


@pytest.fixture
def in_turn(make_run):
    """Make a run of programs, (words, process), each of which began when the one before had ended."""

    def make(*pairs, **more):
        run = make_run(*(process for _, process in pairs), **more)
        for number, path in enumerate(run.recording.paths):
            words, process = pairs[number]
            lines = process.lines()
            lines.insert(1, json.dumps({"event": "program", "words": words}))
            path.write_text("\n".join(lines) + "\n")
            begin = 10**18 + number * 10**12
            os.utime(path, ns=(begin + 10**9, begin + 10**9))
            path.rename(path.with_name(f"0000-{begin}-1.jsonl"))
        return replace(run, recording=find_recording(run.recording.paths[0].parent))

    return make


@pytest.mark.parametrize("digest", ["!", "~"])  # what a process computed first may sort before or behind
def test_of_programs_that_run_in_turn_the_first_that_differs_is_told(in_turn, script, digest):
    """The second goes on from what the first left: it differs at once, and is not to blame."""
    early, late = script.copy(), script.copy()
    early.steps[0]["gradients"] = digest * 32
    late.steps[2]["gradients"] = OTHER * 2
    expected = in_turn(("tune.py", script), ("a.py", script))

    def look(*pairs):
        return compare_recordings(expected.recording, in_turn(*pairs).recording)

    pair = look(("tune.py", late), ("a.py", early))
    swapped = look(("a.py", early), ("tune.py", late))
    renamed = look(("tune.py", script), ("b.py", late))

    assert (pair.which, pair.comparison.first.step, pair.in_turn) == ("process 0 of 2, tune.py", 3, True)
    assert (swapped.which, swapped.comparison.first.step) == ("process 0 of 2, tune.py", 3)
    assert (renamed.which, renamed.comparison.first.step) == ("process 1 of 2, a.py", 3)


def test_programs_that_run_in_turn_run_to_their_end(in_turn, judge, script):
    """Ended at the step that is looked into, the first would not leave what the second needs."""
    late, asked = script.copy(), []
    late.steps[2]["gradients"] = OTHER * 2
    runs = (in_turn(("tune.py", script), ("a.py", each)) for each in (script, late))

    def record(side, options):
        asked.append(options)
        raise CannotJudgeError("enough", "seen")

    with pytest.raises(CannotJudgeError, match="seen"):
        judge(*runs, record=record)

    assert [("deep" in options, "steps" in options) for options in asked] == [(True, False)]


# -- no verdict


def test_a_candidate_that_breaks_is_an_error(judge, make_run, script):
    """What it said last, and how far it went like the baseline."""
    actual = script.copy()
    actual.end = None
    del actual.steps[2]

    result = judge(script, make_run(actual, broke="it left with status 1", evidence=("boom",)))

    assert (result.status, result.evidence) == (Status.ERROR, ("boom",))
    assert result.summary == "it left with status 1; until then 2 steps were bitwise identical"


def test_a_candidate_that_diverged_before_it_broke_says_so(judge, make_run, script):
    """The divergence may be the reason."""
    actual = script.copy()
    actual.end = None
    actual.steps[1]["loss"] = ["nan", "nan"]

    result = judge(script, make_run(actual, broke="it left with status 1"))

    assert (
        result.summary
        == "it left with status 1; before that it diverged at step 2, loss: loss of micro_step 1"
    )


def test_a_baseline_that_breaks_too_is_told(judge, make_run, script):
    """It is not the candidate's fault."""
    broken = [make_run(script, broke="it left with status 1") for _ in range(2)]

    assert "so does the baseline" in judge(*broken).summary


def test_a_run_that_broke_at_once_has_nothing_before(judge, make_run, script):
    """Nothing was recorded."""
    result = judge(script, make_run(broke="it left with status 2"))

    assert (result.status, result.summary) == (
        Status.ERROR,
        "it left with status 2; nothing was recorded before",
    )


def make_untrained(script):
    script.parameters[0][2], script.parameters[1][2] = "a" * 16, "b" * 16
    for event in script.steps:
        event["parameters"] = "a" * 16 + "b" * 16
    script.end["values"] = "a" * 16 + "b" * 16


def make_nan(script):
    for step in script.steps:
        step["loss"] = ["nan"]


def make_evaluating(script):
    """Only the evaluation and the save at the end."""
    script.steps.clear()
    return script


def make_idle(script):
    make_evaluating(script)
    del script.end["calls"]


VACUOUS = {
    "took no optimizer step": make_idle,
    "trained nothing: no step changed a parameter": make_untrained,
    "computed no numbers: loss nan at step 1, and no finite one": make_nan,
    "was cut off after 3 steps (killed; --steps ends it before)": lambda script: setattr(script, "end", None),
}


@pytest.mark.parametrize("reason", VACUOUS)
def test_vacuous_equality_is_inconclusive(judge, script, reason):
    """Equal runs that trained nothing, or computed no numbers, prove nothing."""
    VACUOUS[reason](script)

    result = judge(script, script)

    assert result.status is Status.INCONCLUSIVE
    assert result.summary == f"the baseline {reason}; that both sides agree means nothing"


def test_a_program_that_only_evaluates_is_compared_and_no_word_on_training(judge, make_run, script):
    """A refactor of evaluate.py: exit status 0, with a note; beside one that trains it needs none."""
    trains = script.copy()
    make_evaluating(script)

    result = judge(script, script)
    beside = judge(make_run(script, trains), make_run(script, trains))

    assert (result.status, result.summary) == (
        Status.NOTED,
        "bitwise identical over 1 evaluation pass, 1 save",
    )
    assert result.notes == ("nothing is trained: no word on training",)
    assert (beside.status, beside.summary) == (
        Status.IDENTICAL,
        "bitwise identical over 3 steps in 2 processes",
    )


@pytest.mark.parametrize("more", [{"loss": ["0x1p+0"]}, {"elsewhere": 1}])
def test_training_that_is_not_seen_to_its_end_is_no_evaluation(judge, script, more):
    """A backward whose update does not show, and what other threads did."""
    make_evaluating(script).end |= more

    assert judge(script, script).status is Status.INCONCLUSIVE


@pytest.mark.parametrize(
    ("make", "rest"),
    [(make_evaluating, "all else is identical over 1 evaluation pass, 1 save"), (make_idle, "training is")],
)
def test_what_is_printed_counts_without_a_step_too(judge, make_run, script, make, rest):
    """An accuracy that differs is no equality that means nothing."""
    make(script)
    runs = [make_run(script, stdout=text) for text in ("acc 0.5\n", "acc 0.25\n")]

    result = judge(*runs, record=lambda *_: runs[1])

    assert result.status is Status.DIVERGED
    assert "'acc 0.5' -> 'acc 0.25'" in result.summary and rest in result.summary


def test_a_candidate_that_was_cut_off_is_inconclusive(judge, script):
    """It agreed as long as it ran."""
    actual = script.copy()
    actual.end = None
    del actual.steps[2]

    assert judge(script, actual).summary.startswith("the candidate was cut off after 2 steps")


def test_a_process_that_was_cut_off_beside_others_is_inconclusive(judge, make_run, script):
    """What it would have done is not known; of whole ones all steps are counted."""
    cut, short = script.copy(), script.copy()
    cut.end = None
    del short.steps[2]

    result = judge(make_run(script, cut), make_run(script, cut))
    whole = judge(make_run(script, short), make_run(script, short))

    assert (result.status, result.process) == (Status.INCONCLUSIVE, "process 1 of 2")
    assert result.summary.startswith("the baseline was cut off after 3 steps")
    assert whole.summary == "bitwise identical over 5 steps in 2 processes"


def test_a_run_that_loses_its_numbers_on_the_way_is_no_vacuous_one(judge, script):
    """What was finite was compared."""
    script.steps[2]["loss"] = ["nan"]

    assert judge(script, script).status is Status.IDENTICAL


def test_files_of_other_environments_are_not_comparable(make_run, script, tmp_path):
    """Whether the numbers agree or not."""
    actual = script.copy()
    actual.end["environment"]["probe"] = "q"
    files = [tmp_path / name for name in ("here.trace", "there.trace", "diverged.trace")]
    write_trace(files[0], {}, make_run(script).recording)
    write_trace(files[1], {}, make_run(actual).recording)
    actual.steps[1]["loss"] = ["0x1p+9", "0x1p+9"]
    write_trace(files[2], {}, make_run(actual).recording)
    equal, other = (compare_files(files[0], file) for file in files[1:])

    assert equal.status is other.status is Status.NOT_COMPARABLE
    assert equal.summary == "recorded in different environments: probe p here q"


def test_another_probe_here_and_now_is_the_candidates_doing(judge, script):
    """A program that chose other kernels diverged, and is no other machine."""
    actual = script.copy()
    actual.end["environment"]["probe"] = "q"
    actual.steps[1]["loss"] = ["0x1p+9", "0x1p+9"]

    assert judge(script, actual).status is Status.DIVERGED


# -- what is printed


def printed(make_run, script, *texts):
    return [make_run(script, stdout=text) for text in texts]


def test_numbers_that_are_printed_otherwise_each_time_are_a_divergence(judge, make_run, script):
    """Training is the same and a metric is not: it is computed or reported otherwise."""
    runs = printed(make_run, script, "acc 0.5000\n", "acc 0.7500\n")

    def record(_, options):
        return make_run(deep_lines("x")) if options else printed(make_run, script, "acc 0.7500\n")[0]

    result = judge(*runs, record=record)

    assert result.status is Status.DIVERGED
    assert result.cause.kind == "logging-only"
    assert "'acc 0.5000' -> 'acc 0.7500'" in result.summary
    assert "training is" in result.summary


def test_numbers_that_change_from_run_to_run_are_nobodys(judge, make_run, script):
    """The second run of the candidate prints others again."""
    runs = printed(make_run, script, "acc 0.5000\n", "acc 0.7500\n")

    result = judge(*runs, record=lambda *_: printed(make_run, script, "acc 0.9999\n")[0])

    assert result.status is Status.IDENTICAL


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("took 1.2 sec\n", "took 1.9 sec\n"),
        ("12.345 it/s\n", "13.345 it/s\n"),
        ("memory 1234 MB\n", "memory 1235 MB\n"),
        ("loss 0.1234\n", "loss 0.1234\nmore\n"),
        ("loss 0.1234\n", "loss 0.1234\n"),
    ],
)
def test_other_lines_are_passed_over(judge, make_run, script, before, now):
    """Coarse times, rates, memory, more lines."""
    result = judge(*printed(make_run, script, before, now), record=lambda *_: pytest.fail("recorded"))

    assert result.status is Status.IDENTICAL


def test_lines_that_are_lost_are_a_note(judge, make_run, script):
    """A refactor may word them otherwise, and it may forget to report; but not by chance."""
    runs = printed(make_run, script, "loss 0.1234\n", "cost 0.9999\n")

    result = judge(*runs, record=lambda *_: runs[1])

    assert result.status is Status.NOTED
    assert judge(*runs, record=lambda *_: runs[0]).status is Status.IDENTICAL
    assert result.notes == (
        "the candidate prints or leaves less, more, or in other words: 'loss 0.1234' -> 'cost 0.9999'",
    )


# -- what is left in files


def left(make_run, script, **tensors):
    outputs = {
        f"{name}.npy": Output("tensors", content.replace(" ", ":\n") + ":")
        for name, content in tensors.items()
    }
    return make_run(script, outputs=outputs)


def test_files_that_hold_other_numbers_each_time_are_a_divergence(judge, make_run, script):
    """Training is the same and what was made of it is not."""
    before, now = (
        left(make_run, script, a="4:1", b="4:1", c="4:1"),
        left(make_run, script, a="4:2", b="4:2", c="4:1"),
    )

    result = judge(before, now, record=lambda *_: now)

    assert (result.status, result.cause.kind) == (Status.DIVERGED, "files-only")
    assert "files-only: a.npy: 1 of 1 tensors hold other numbers, and 1 more files" in result.summary
    assert result.notes == ("b.npy: 1 of 1 tensors hold other numbers",)
    assert judge(before, now, record=lambda *_: before).status is Status.IDENTICAL


def test_the_losses_that_are_shown_are_those_that_differ(judge, script):
    """The first of them, the most different one and both ends; none where none does."""
    script.steps += [{**json.loads(json.dumps(script.steps[1])), "step": number} for number in (4, 5, 6)]
    actual, silent = script.copy(), script.copy()
    actual.steps[0]["gradients"] = silent.steps[3]["gradients"] = OTHER * 2
    for number, loss in ((2, "0x1.8p+0"), (4, "0x1.8p+3")):
        actual.steps[number]["loss"] = [loss, loss]
    told = render_verification(judge(script, actual)).partition("loss         ")[2].splitlines()

    assert [line.split()[1] for line in told[:4]] == ["1:", "3:", "5:", "6:"]
    assert [line.rpartition(", ")[2] for line in (told[0], told[3])] == ["the same", "the same"]
    assert "loss         the same in all 6 steps" in render_verification(judge(script, silent))


def test_what_comes_of_a_difference_after_the_last_step_is_told(judge, make_run, script):
    """The export that an evaluation went into; of one in a step all that follows differs anyhow."""
    late, early = script.copy(), script.copy()
    late.end["calls"] = [["e", "in", "other"]]
    early.steps[1]["loss"] = ["0x1p+9", "0x1p+9"]
    more = {"stdout": "acc 0.5\n", "outputs": {"a.npy": Output("tensors", "4:1:")}}
    other = {"stdout": "acc 0.25\n", "outputs": {"a.npy": Output("tensors", "4:2:")}}
    before = make_run(script, **more)

    def tell(actual):
        run = make_run(actual, **other)
        return list(tell_left(judge(before, run, record=lambda *_: run, deep=False), before, run))

    assert tell(late) == [
        "other numbers are printed, too: 'acc 0.5' -> 'acc 0.25'",
        "other files are left, too: a.npy: 1 of 1 tensors hold other numbers",
    ]
    assert tell(early) == []


def test_files_in_another_form_are_a_note(judge, make_run, script):
    """Nothing is run again for them."""
    before, now = (left(make_run, script, **dict.fromkeys("abcdef", sizes)) for sizes in ("4:1", "4:1 8:2"))

    result = judge(before, now, record=lambda *_: pytest.fail("recorded"))

    assert result.status is Status.NOTED
    assert result.notes == (
        "other bytes, which may mean the same, in "
        + ", ".join(f"{name}.npy (tensors of other sizes)" for name in "abc")
        + " and 3 more",
    )
