"""What two traces have in common, and where they first differ."""

import copy

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainkit.errors import CannotJudgeError
from trainkit.trace.differ import relative_difference, show_loss
from trainkit.trace.divergence import compare, list_environment_differences, summarise
from trainkit.trace.store import parse_events

ZERO = "0" * 16
OTHER = "other".ljust(16, "_")


def judge(expected, actual):
    return compare(expected.events(), actual.events())


def place(first):
    return first and first.describe()


def add_parameter(script, name, *, digest, gradient, value, owned=True):
    """Add a parameter of its own shape that keeps its value, and its optimizer may not own."""
    index = len(script.parameters)
    script.parameters.append([name, "float32[7]", digest])
    script.end["values"] += value
    if owned:
        script.optimizers[0].append(index)
        script.steps[0]["hyper"][1].append(0)
        script.end["optimizers"][0]["hyper"][1].append(0)
        for step in script.steps:
            step["gradients"] += gradient
            step["parameters"] += value
            step["state"] += ZERO


# -- nothing differs


def test_equal_traces_are_identical(script):
    """Nothing differs, over all steps, with nothing to note."""
    result = judge(script, script.copy())

    assert (result.first, result.num_steps, result.notes, result.facts) == (None, 3, (), ())


def test_a_generator_that_one_side_never_loads_is_no_difference(script):
    """A lazy import of NumPy takes its generator away, and nothing else."""
    actual = script.copy()
    for event in [*actual.steps, actual.end]:
        del event["rng"]["python"]

    assert judge(script, actual).first is None
    assert judge(actual, script).first is None


def test_a_dead_parameter_may_leave_the_optimizer(script):
    """What one side's optimizer does not own, and has no gradient, trains as little on the other."""
    actual = script.copy()
    add_parameter(script, "dead", digest="d", gradient=ZERO, value="d".ljust(16, "_"))
    add_parameter(actual, "dead", digest="d", gradient="", value="d".ljust(16, "_"), owned=False)

    assert judge(script, actual).first is None
    assert judge(actual, script).first is None


@pytest.mark.parametrize("missing", ["expected", "actual"])
def test_a_living_parameter_may_not_leave_the_optimizer(script, missing):
    """With a gradient it is a loss, on whichever side."""
    other = script.copy()
    add_parameter(script, "alive", digest="d", gradient="g".ljust(16, "_"), value="d".ljust(16, "_"))
    add_parameter(other, "alive", digest="d", gradient="", value="d".ljust(16, "_"), owned=False)

    sides = (other, script) if missing == "expected" else (script, other)
    first = judge(*sides).first

    assert (first.step, first.first.key, first.first.name) == (1, "lost parameter", "alive")
    assert getattr(first.first, missing) == "not in that optimizer"


def test_a_dead_parameter_that_was_moved_is_seen_at_the_end(script):
    """Weight decay moves what has no gradient, but not what the optimizer does not own."""
    actual = script.copy()
    add_parameter(script, "dead", digest="d", gradient=ZERO, value="decayed".ljust(16, "_"))
    add_parameter(actual, "dead", digest="d", gradient="", value="d".ljust(16, "_"), owned=False)

    assert place(judge(script, actual).first).startswith("after the last step, optimizer: final value dead")


def test_renamed_and_reordered_parameters_are_matched(script, pack):
    """A rename and another order of parameters change no number, and are noted."""
    actual = script.copy()
    actual.parameters = [["out.bias", "float32[2]", "i1"], ["out.weight", "float32[2,3]", "i0"]]
    for number, step in enumerate(actual.steps, start=1):
        for key, letter in (("gradients", "g"), ("parameters", "p"), ("state", "s")):
            step[key] = pack(f"{letter}{number}b", f"{letter}{number}w")
    actual.end["values"] = pack("v1", "v0")

    result = judge(script, actual)

    assert result.first is None
    assert result.notes == ("head.weight is now out.weight", "head.bias is now out.bias")


def test_tensors_that_swap_names_are_matched_by_value(script):
    """Same names on other tensors: the initial values tell which is which."""
    script.parameters = [["a", "float32[2]", "i0"], ["b", "float32[2]", "i1"]]
    actual = script.copy()
    actual.parameters = [["b", "float32[2]", "i0"], ["a", "float32[2]", "i1"]]

    assert judge(script, actual).first is None


def test_what_order_alone_tells_apart_is_said(script):
    """Equal initial values under new names may be confused: the reader is told."""
    script.parameters = [["a", "float32[2]", "0"], ["b", "float32[2]", "0"]]
    actual = script.copy()
    actual.parameters = [["x", "float32[2]", "0"], ["y", "float32[2]", "0"]]

    assert judge(script, actual).notes == ("a is now x", "b is now y")  # training tells them apart
    for side in (script, actual):
        for step in side.steps:
            step["gradients"] = step["parameters"] = "s" * 32
        side.end["values"] = "s" * 32
    assert judge(script, actual).notes == (
        "a is now x (told apart by order alone)",
        "b is now y (told apart by order alone)",
    )


def test_training_tells_apart_what_began_alike(script):
    """Matched by order, exchanged by the first step: the names were exchanged, not the numbers."""
    script.parameters = [["a", "float32[2]", "0"], ["b", "float32[2]", "0"]]
    actual = script.copy()
    actual.parameters = [["x", "float32[2]", "0"], ["y", "float32[2]", "0"]]
    for event in [*actual.steps, actual.end]:
        for key in ("gradients", "parameters", "state", "values"):
            if event.get(key):
                event[key] = event[key][16:32] + event[key][:16]

    assert judge(script, actual).notes == ("a is now y", "b is now x")


# -- the first difference

HARD = [
    ("saved", [["c", "n"]], "save: number of times that something is saved"),
    ("buffers", OTHER, "forward: buffer norm.mean float32[2] (1 differ)"),
    ("loss", [(0.75).hex(), (9.0).hex()], "loss: loss of micro_step 2"),
    (
        "gradients",
        "g2w".ljust(16, "_") + OTHER,
        "backward: gradients of head.bias float32[2] (1 of 2 differ)",
    ),
    ("parameters", OTHER * 2, "optimizer: new value of head.weight float32[2,3] (2 of 2 differ)"),
    ("hyper", [["betas=(0.9, 0.99); lr=0.3"], [0, 0]], "schedule: hyper-parameters of head.weight"),
    ("hyper", [["betas=(0.9, 0.98); lr=0.1"], [0, 0]], "optimizer: hyper-parameters of head.weight"),
    ("rng", {"torch": OTHER}, "rng: state of the random generator of torch"),
]


@pytest.mark.parametrize(("key", "value", "where"), HARD)
def test_the_first_difference_is_named(script, key, value, where):
    """Step, phase and tensor of one changed result."""
    actual = script.copy()
    actual.steps[1][key] = value

    result = judge(script, actual)

    assert place(result.first).startswith(f"step 2, {where}")
    assert result.num_steps == 1


SOFT = [
    ("loaded", [2, "other"], "data", "the batches from the data loader"),
    ("loaded", [3, "l2"], "data", "the batches from the data loader"),
    (
        "calls",
        [["t", "other", "out2a"], ["t", "in2b", "out2b"]],
        "data",
        "the batch given to the model (1 of 2)",
    ),
    ("calls", [["t", "in2a", "out2a"], ["t", "in2b", "x"]], "forward", "what the model computed (2 of 2)"),
    ("calls", [["t", "in2a", "out2a"]], "data", "number of training forward passes"),
    ("outputs", "o2x".ljust(16, "_") + OTHER, "forward", "output of module head (1 of 2 calls)"),
    ("state", OTHER * 2, "optimizer", "optimizer state of head.weight float32[2,3] (2 of 2 differ)"),
    ("loss", [(4.0).hex()], "loss", "number of backward passes"),
]


@pytest.mark.parametrize(("key", "value", "phase", "what"), SOFT)
def test_a_way_to_a_result_is_a_note_until_a_result_differs(script, key, value, phase, what):
    """How data is handed over, module outputs and the layout of state; with another result it is the cause."""
    actual = script.copy()
    actual.steps[1][key] = value

    result = judge(script, actual)
    actual.steps[1]["rng"] = {"torch": OTHER}
    first = judge(script, actual).first

    assert result.first is None
    assert result.notes == (f"since step 2: {what} differs",)
    assert (first.phase, first.first.hard) == (phase, False)
    assert first.describe() == f"step 2, {phase}: {what}"


def test_an_evaluation_that_is_gone_is_a_result(script):
    """One more, beside all that there were, is a note."""
    actual = script.copy()
    script.steps[1]["calls"] = [["e", "i", "o"], *script.steps[1]["calls"]]

    assert place(judge(script, actual).first) == "step 2, eval: number of evaluation forward passes"
    assert judge(actual, script).first is None
    assert judge(actual, script).notes == ("since step 2: number of evaluation forward passes differs",)


def test_a_note_is_told_once(script):
    """What differs in every step is noted for the first."""
    actual = script.copy()
    for step in actual.steps:
        step["loaded"] = [2, "other"]

    assert judge(script, actual).notes == ("since step 1: the batches from the data loader differs",)


def test_modules_that_compute_the_same_elsewhere_are_no_note(script, pack):
    """Wrapped modules, and ones called in another order, give back the same tensors."""
    actual = script.copy()
    actual.modules = ["wrapper", "body", "head"]
    actual.steps[0]["called"] = [2, 1, 0]
    for number, step in enumerate(actual.steps, start=1):
        step["outputs"] = pack(f"o{number}y", f"o{number}x", f"o{number}y")

    assert judge(script, actual).notes == ()


def test_what_differs_later_in_the_step_is_told_too(script):
    """The first in causal order is the finding, the others are its evidence."""
    actual = script.copy()
    actual.steps[0] |= {"rng": {"torch": "z"}, "loss": [(9.0).hex(), (2.5).hex()], "gradients": OTHER * 2}

    first = judge(script, actual).first

    assert first.phase == "loss"
    assert str(first.first) == (
        "loss of micro_step 1: 1.5 (0x1.8000000000000p+0) -> 9.0 (0x1.2000000000000p+3)"
    )
    assert [difference.what for difference in first.differences[1:]] == [
        "gradients of head.weight float32[2,3] (2 of 2 differ)",
        "state of the random generator of torch",
    ]


def test_a_phase_that_is_known_better_leads(script):
    """Who knows the phase is shown the difference of that phase, or the first result."""
    actual = script.copy()
    actual.steps[1] |= {"loaded": [9, "x"], "loss": [(9.0).hex(), (9.0).hex()], "gradients": OTHER * 2}

    first = judge(script, actual).first

    assert first.describe() == "step 2, data: the batches from the data loader"
    assert (
        first.describe("backward")
        == "step 2, backward: gradients of head.weight float32[2,3] (2 of 2 differ)"
    )
    assert first.describe("clip") == "step 2, clip: loss of micro_step 1"


def test_a_zero_gradient_is_called_zero(script):
    """Sixteen zeros are the digest of no gradient, and of zeros."""
    actual = script.copy()
    actual.steps[1]["gradients"] = ZERO + actual.steps[1]["gradients"][16:]

    assert judge(script, actual).first.first.actual == "zero"


# -- hyper-parameters


def test_a_hyper_parameter_is_named_with_both_values(script):
    """Only the settings that differ are shown, and they hold until they are changed again."""
    actual = script.copy()
    actual.steps[1]["hyper"] = [["betas=(0.9, 0.99); lr=0.1", "betas=(0.9, 0.99); lr=0.2"], [0, 1]]

    first = judge(script, actual).first

    assert first.describe() == "step 2, schedule: hyper-parameters of head.bias float32[2] (1 of 2 differ)"
    assert (first.first.name, first.first.expected, first.first.actual) == ("lr", "lr=0.1", "lr=0.2")


def test_groups_that_are_split_otherwise_are_no_difference(script):
    """Two groups of the same settings are one group."""
    actual = script.copy()
    text = script.steps[0]["hyper"][0][0]
    actual.steps[0]["hyper"] = [[text, text], [0, 1]]

    assert judge(script, actual).first is None


def test_the_learning_rate_of_the_first_step_is_the_optimizers(script):
    """Unless there is a schedule, which sets it from the start."""
    actual = script.copy()
    actual.steps[0]["hyper"] = [["betas=(0.9, 0.99); lr=0.2"], [0, 0]]
    plain = judge(script, actual).first.phase
    script.facts = actual.facts = {"schedules": {"schedule0": "StepLR"}}

    assert (plain, judge(script, actual).first.phase) == ("optimizer", "schedule")


def test_a_schedule_stepped_after_the_last_step_is_seen(script):
    """The hyper-parameters at the end are part of the result."""
    actual = script.copy()
    actual.end["optimizers"][0]["hyper"] = [["betas=(0.9, 0.99); lr=0.05"], [0, 0]]

    first = judge(script, actual).first

    assert (first.step, first.phase) == (-1, "schedule")
    assert (first.first.expected, first.first.actual) == ("lr=0.1", "lr=0.05")


# -- initialisation


def test_initial_values_count(script):
    """Another initialisation is step 0, before anything else."""
    actual = script.copy()
    actual.parameters[0] = ["head.weight", "float32[2,3]", "other"]
    actual.steps[0]["loss"] = ["0x1.0p+9", "0x1.0p+9"]

    first = judge(script, actual).first

    assert place(first) == "initialisation, init: initial value of head.weight float32[2,3] (1 of 2 differ)"
    assert (first.first.expected, first.first.actual) == ("i0", "other")


def test_missing_and_new_parameters_are_counted_by_shape(script, pack):
    """A lost layer is told as what is missing."""
    actual = script.copy()
    actual.parameters[1] = ["gate", "float32[7]", "q"]

    first = judge(script, actual).first

    assert (first.step, first.first.what) == (1, "the model's parameters")
    assert first.first.expected == "2 parameters, missing now: 1x float32[2]"
    assert first.first.actual == "2 parameters, new: 1x float32[7]"
    assert "the update of head.bias" in [difference.what for difference in first.differences]


def test_values_that_are_first_seen_after_steps_are_resumed_ones(script):
    """A second model that a checkpoint fills is no initialisation."""
    late = {"event": "init", "step": 2, "parameters": [["late", "float32[9]", "a"]], "buffers": [], "rng": {}}
    script.steps.insert(2, late)
    actual = script.copy()
    actual.steps[2]["parameters"][0][2] = "b"

    assert (
        place(judge(script, actual).first) == "step 3, save: resumed value of late float32[9] (1 of 1 differ)"
    )


# -- buffers and averages


@pytest.mark.parametrize(("moves", "hard"), [(False, False), (True, True)])
def test_a_buffer_counts_when_training_moves_it(script, moves, hard):
    """A constant buffer shows where it is used; one that one side moves is a result."""
    for step in script.steps:
        step["buffers"] = "m0".ljust(16, "_")
    script.buffers[0][2] = "m0".ljust(16, "_")
    script.end["buffers"] = "m0".ljust(16, "_")
    actual = script.copy()
    actual.buffers[0][2] = OTHER
    for event in [*actual.steps, actual.end]:
        event["buffers"] = OTHER
    if moves:
        actual.steps[1]["buffers"] = "moved".ljust(16, "_")

    first = judge(script, actual).first

    assert (first is not None) == hard
    assert not hard or first.step == 2


def test_a_buffer_that_is_changed_after_the_last_step_is_a_result(script):
    """It was equal at the start and is not at the end."""
    for step in script.steps:
        step["buffers"] = "m0".ljust(16, "_")
    script.buffers[0][2] = script.end["buffers"] = "m0".ljust(16, "_")
    actual = script.copy()
    actual.end["buffers"] = OTHER

    assert (
        place(judge(script, actual).first)
        == "after the last step, optimizer: buffer norm.mean float32[2] (1 differ)"
    )


def test_a_copy_of_the_model_is_a_result(script):
    """Averages of weights that nobody calls are compared in each step."""
    script.others = [["head.weight", "float32[2,3]", "i0"]]
    for step in script.steps:
        step["others"] = "e".ljust(16, "_")
    actual = script.copy()
    actual.steps[2]["others"] = OTHER

    assert place(judge(script, actual).first) == (
        "step 3, optimizer: weight head.weight float32[2,3] of a copy of the model (1 differ)"
    )


# -- saves, evaluations, the end


@pytest.mark.parametrize(
    ("key", "value", "where"),
    [
        ("values", "v0".ljust(16, "_") + OTHER, "optimizer: final value head.bias float32[2] (1 differ)"),
        ("buffers", OTHER, "optimizer: buffer norm.mean float32[2] (1 differ)"),
        ("saved", [["d", "n"]], "save: what torch.save was given (save 1)"),
        ("saved", [], "save: number of times that something is saved"),
        ("calls", [["e", "in", "x"]], "eval: what an evaluation computed"),
        ("calls", [["e", "x", "y"]], "eval: the input of an evaluation given to the model"),
        ("calls", [], "eval: number of evaluation forward passes"),
        ("rng", {"torch": "z"}, "rng: state of the random generator of torch"),
    ],
)
def test_what_training_leaves_behind_counts(script, key, value, where):
    """A last evaluation, a last save, weights that are changed after the last step."""
    actual = script.copy()
    actual.end[key] = value

    assert place(judge(script, actual).first) == f"after the last step, {where}"


def test_a_checkpoint_may_hold_more_and_other_numbers(script, pack):
    """All that was saved must be there; what is new, and another layout, is a note."""
    actual = script.copy()
    actual.end["saved"] = [[pack("c0", "c1", "c2"), "other"]]

    more = judge(script, actual)
    fewer = judge(actual, script)

    assert more.first is None
    assert more.notes == ("after the last step: numbers or layout of what is saved (save 1) differs",)
    assert place(fewer.first) == "after the last step, save: what torch.save was given (save 1)"


def test_another_number_of_saves_is_a_note(script):
    """A rotation of checkpoints saves the same, more often; none at all is a result."""
    actual = script.copy()
    actual.end["saved"] *= 2

    assert judge(script, actual).first is None


@pytest.mark.parametrize("swap", [False, True])
def test_another_number_of_steps_diverges_at_the_end(script, swap):
    """A run that stops early is not identical."""
    actual = script.copy()
    del actual.steps[2]
    sides = (actual, script) if swap else (script, actual)

    first = judge(*sides).first

    assert (first.step, first.first.key, first.first.what) == (3, "steps", "number of optimizer steps")
    assert {first.first.expected, first.first.actual} == {"3", "2"}


def test_a_trace_that_was_cut_off_agrees_up_to_there(script):
    """Its missing steps are no difference; that it is incomplete is in its summary."""
    actual = script.copy()
    actual.end = None
    del actual.steps[2]

    result = judge(script, actual)

    assert (result.first, result.num_steps) == (None, 2)
    assert (result.expected.complete, result.actual.complete) == (True, False)


def test_what_was_cut_off_is_at_least_so_long(script):
    """The side that has ended took fewer steps than the other was seen to take."""
    actual = script.copy()
    actual.end = None
    del script.steps[2]

    first = judge(script, actual).first

    assert (first.first.expected, first.first.actual) == ("2", "at least 3")


# -- what is told beside


def test_a_summary_counts(script):
    """Steps, backwards, evaluations, saves, resumes."""
    script.steps[1] |= {"resumed": 2, "saved": [["a", "n"]], "calls": [["e", "i", "o"], ["g", "i", "o"]]}
    summary = summarise(script.events())

    assert (summary.num_steps, summary.num_backwards) == (3, 6)
    assert (summary.num_evaluations, summary.num_saved, summary.num_resumed) == (2, 2, 2)
    assert (summary.complete, summary.stopped, summary.compiled, summary.trained) == (
        True,
        False,
        False,
        True,
    )
    assert summary.environment == {"probe": "p", "torch": "2", "python": "3"}


def test_a_run_that_changes_no_parameter_has_not_trained(script, pack):
    """Equality of such runs would be vacuous."""
    for row, digest in zip(script.parameters, ("a" * 16, "b" * 16), strict=True):
        row[2] = digest
    for step in script.steps:
        step["parameters"] = "a" * 16 + "b" * 16
    script.end["values"] = "a" * 16 + "b" * 16

    assert not summarise(script.events()).trained


def test_the_quick_digest_of_an_initial_value_is_what_steps_hold(script):
    """A large tensor has two digests: the first one is compared with the other side, the second with steps."""
    script.parameters = [["a", "float32[9]", "x" * 16, "a" * 16], ["b", "float32[9]", "y" * 16, "b" * 16]]
    for step in script.steps:
        step["parameters"] = "a" * 16 + "b" * 16
    script.end["values"] = "x" * 16 + "y" * 16

    assert not summarise(script.events()).trained


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_losses_that_are_no_numbers_have_names(script, value):
    """Two of them are equal, and are told; against a number they diverge by name."""
    actual = script.copy()
    actual.steps[1]["loss"] = [(0.75).hex(), value]
    equal = judge(actual, actual)
    first = judge(script, actual).first

    assert (equal.first, equal.expected.not_finite) == (None, f"loss {value} at step 2")
    assert not equal.expected.only_not_finite
    assert (first.step, first.phase, first.first.actual) == (2, "loss", value)


def test_runs_of_nothing_but_nan_are_known_as_such(script):
    """They compute no numbers."""
    for step in script.steps:
        step["loss"] = ["nan"]

    assert summarise(script.events()).only_not_finite


def test_facts_are_told_that_changed_came_and_went(script):
    """Settings of a program that one side lacks are none of the other's."""
    actual = script.copy()
    script.facts = {"loader": {"batch_size": "4", "gone": "1"}, "settings": {"old": "1"}}
    actual.facts = {"loader": {"batch_size": "8", "new": "2"}, "settings": {"other": "1"}}

    assert sorted(judge(script, actual).facts) == [
        "loader: batch_size: 4 -> 8",
        "loader: gone: 1 -> (gone)",
        "loader: new: (new) -> 2",
    ]


def test_seeds_are_facts(script):
    """What was seeded with what, in order."""
    actual = script.copy()
    script.extra = [{"event": "seed", "what": "torch", "value": "1", "line": "a.py:1", "step": 0}]
    actual.extra = [{"event": "seed", "what": "torch", "value": "2", "line": "a.py:1", "step": 0}]

    assert judge(script, actual).facts == ("seed 1: torch 1 -> torch 2",)


def test_losses_drift_from_the_first_difference_on(script):
    """The losses of both sides, the differing step's first."""
    actual = script.copy()
    actual.steps[1]["loss"] = actual.steps[2]["loss"] = [(9.0).hex(), (8.0).hex()]

    assert judge(script, actual).drift == (
        (2, (1.25).hex(), (8.0).hex()),
        (3, (2.5 / 3).hex(), (8.0).hex()),
    )


def test_modes_of_the_differing_step_are_told(script):
    """Which calls trained, and how many modules were in evaluation mode."""
    actual = script.copy()
    actual.steps[1] |= {"modes": {"eval": 3}, "loss": ["0x1p+1", "0x1p+1"], "resumed": 1}

    result = judge(script, actual)

    assert result.modes == ("tt", "tt eval 3")
    assert result.resumed


def test_a_number_that_only_the_baseline_takes_out_is_told(script):
    """Its step and value; how often and in which order does not matter."""
    actual = script.copy()
    script.steps[1]["reads"] = ["log:1.0", "log:2.0", "eval:3.0"]
    actual.steps[1]["reads"] = ["eval:3.0", "log:1.0", "log:2.5"]

    assert judge(script, actual).reads == (2, "log:2.0")
    assert judge(script, script).reads is None


@pytest.mark.parametrize("key", ["probe", "torch", "python"])
def test_environments_differ_in_what_decides(key):
    """A processor's name is for the reader."""
    here = {"probe": "p", "torch": "2", "python": "3", "machine": "x"}

    assert list_environment_differences(here, here | {"machine": "y"}) == []
    assert list_environment_differences(here, here | {key: "z"}) == [f"{key} {here[key]} here z"]


def test_losses_are_shown_exactly():
    """As repr and hex; what was no single number is its digest."""
    assert show_loss((0.1).hex()) == "0.1 (0x1.999999999999ap-4)"
    assert show_loss("nan") == "nan"
    assert show_loss("0123456789abcdef") == "0123456789abcdef"


def test_relative_differences_of_losses():
    """nan where one of them is no number."""
    assert relative_difference((2.0).hex(), (2.5).hex()) == 0.25
    assert relative_difference((0.0).hex(), (2.5).hex()) == 2.5
    assert relative_difference("no number", (2.5).hex()) != relative_difference("no number", (2.5).hex())


def test_a_failure_of_the_recorder_is_no_verdict(script):
    """It is said when the comparison reaches it, on either side."""
    actual = script.copy()
    actual.steps.insert(1, {"event": "problem", "where": "a hook", "error": "E()"})

    with pytest.raises(CannotJudgeError, match="the recorder failed in a hook"):
        compare(script.events(), parse_events((line + "\n" for line in actual.lines()), origin="x"))


# -- properties

RESULTS = ["loss", "gradients", "parameters", "buffers", "rng"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_any_changed_result_is_found_in_its_step(script, data):
    """Whatever single digest, loss or state is changed, the divergence is there and nowhere else."""
    actual = copy.deepcopy(script)
    step = data.draw(st.integers(0, 2))
    key = data.draw(st.sampled_from(RESULTS))
    event = actual.steps[step]
    if key == "rng":
        event[key][data.draw(st.sampled_from(["torch", "python"]))] = "x"
    elif key == "loss":
        event[key][data.draw(st.integers(0, 1))] = (7.0).hex()
    else:
        index = data.draw(st.integers(0, len(event[key]) - 1))
        event[key] = event[key][:index] + "#" + event[key][index + 1 :]

    first = judge(script, actual).first

    assert first is not None
    assert first.step == step + 1
    assert judge(actual, script).first.step == step + 1


def test_a_step_without_modules_between_others_is_read(script):
    """Two optimizers step in turn: the second's event has no outputs, and the order of calls stands in the first."""
    for step in script.steps[1:]:
        step.pop("called", None)
    script.steps[1].pop("outputs", None)

    assert judge(script, script.copy()).first is None
