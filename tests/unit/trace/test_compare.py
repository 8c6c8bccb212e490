"""What two traces have in common, and where they first differ."""

import copy

import pytest

from trainkit.trace.compare import compare, find_not_finite
from trainkit.trace.store import Tensor, Trace

RNG = {"torch": "r0", "python": "p0"}


def make_step(number: int) -> dict:
    return {
        "step": number,
        "optimizer": 0,
        "evaluated": [0, ""],
        "saved": [0, ""],
        "loaded": [2, f"l{number}"],
        "batch": [f"b{number}a", f"b{number}b"],
        "loss": [(1.5 / number).hex(), (2.5 / number).hex()],
        "gradients": [f"g{number}w", f"g{number}b"],
        "hyper": [["betas=(0.9, 0.99); lr=0.1"], [0, 0]],
        "parameters": [f"p{number}w", f"p{number}b"],
        "state": [f"s{number}w", f"s{number}b"],
        "buffers": [f"u{number}"],
        "rng": dict(RNG),
    }


@pytest.fixture
def trace() -> Trace:
    return Trace(
        parameters=[Tensor("head.weight", "float32[2,3]", "i0"), Tensor("head.bias", "float32[2]", "i1")],
        buffers=[Tensor("norm.mean", "float32[2]", "m0")],
        initial_rng=dict(RNG),
        optimizers={0: [0, 1]},
        steps=[make_step(number) for number in (1, 2, 3)],
        end={
            "evaluated": [4, "e"],
            "saved": [1, "c"],
            "loaded": [4, "x"],
            "values": ["v0", "v1"],
            "optimizers": [{key: make_step(3)[key] for key in ("optimizer", "hyper", "parameters", "state")}],
            "buffers": ["u"],
            "rng": dict(RNG),
        },
    )


def test_equal_traces_are_identical(trace):
    """Nothing differs, over all steps, with nothing to note."""
    result = compare(trace, copy.deepcopy(trace))

    assert (result.first, result.num_steps, result.notes) == (None, 3, ())


@pytest.mark.parametrize(
    ("key", "value", "place"),
    [
        ("evaluated", [1, "e"], "step 2, eval: what an evaluation computed"),
        ("saved", [1, "c"], "step 2, save: what torch.save was given"),
        ("buffers", ["other"], "step 2, forward: buffers of norm.mean float32[2] (1 of 1 differ)"),
        ("loss", [(0.75).hex(), (9.0).hex()], "step 2, loss: loss of micro_step 2"),
        (
            "gradients",
            ["g2w", "other"],
            "step 2, backward: gradients of head.bias float32[2] (1 of 2 differ)",
        ),
        (
            "parameters",
            ["x", "y"],
            "step 2, optimizer: new value of head.weight float32[2,3] (2 of 2 differ)",
        ),
        (
            "state",
            ["s2w", "other"],
            "step 2, optimizer: optimizer state of head.bias float32[2] (1 of 2 differ)",
        ),
        ("rng", {"torch": "r1"}, "step 2, rng: state of the random generator"),
    ],
)
def test_the_first_difference_is_named(trace, key, value, place):
    """Step, phase and tensor of one changed observable."""
    actual = copy.deepcopy(trace)
    actual.steps[1][key] = value

    assert compare(trace, actual).first.describe() == place


@pytest.mark.parametrize(
    ("key", "value", "place"),
    [
        ("loaded", [2, "other"], "step 2, data: the batch from the data loader"),
        ("batch", ["b2a", "other"], "step 2, data: the batch given to the model of micro_step 2"),
    ],
)
def test_other_data_is_a_note_until_a_number_differs(trace, key, value, place):
    """Prefetching or a dict for a tuple changes no result; with another loss the data is the cause."""
    actual = copy.deepcopy(trace)
    actual.steps[1][key] = value

    result = compare(trace, actual)
    assert result.first is None
    assert result.notes == (f"from step 2 data is handed over otherwise: {place.partition(': ')[2]}",)
    actual.steps[1]["loss"] = [(9.0).hex(), (9.0).hex()]
    assert compare(trace, actual).first.describe() == place


@pytest.mark.parametrize(
    ("key", "value", "place"),
    [
        ("values", ["v0", "other"], "optimizer: final value of head.bias float32[2] (1 of 2 differ)"),
        ("buffers", ["other"], "forward: buffers of norm.mean float32[2] (1 of 1 differ)"),
        ("saved", [2, "d"], "save: what torch.save was given"),
        ("evaluated", [4, "other"], "eval: what an evaluation computed"),
        ("rng", {"torch": "z"}, "rng: state of the random generator"),
    ],
)
def test_what_training_leaves_behind_counts(trace, key, value, place):
    """A last evaluation, a last save, weights that are changed or a schedule stepped after the last step."""
    actual = copy.deepcopy(trace)
    actual.end[key] = value

    assert compare(trace, actual).first.describe() == f"after the last step, {place}"


def test_a_schedule_stepped_after_the_last_step_is_seen(trace):
    """The hyper-parameters at the end are part of the result."""
    actual = copy.deepcopy(trace)
    actual.end["optimizers"][0]["hyper"] = [["betas=(0.9, 0.99); lr=0.05"], [0, 0]]

    first = compare(trace, actual).first

    assert first.phase == "schedule"
    assert (first.expected, first.actual) == ("lr=0.1", "lr=0.05")


def test_tensors_that_swap_names_are_matched_by_value(trace):
    """Same names on other tensors: the initial values tell which is which."""
    trace.parameters = [Tensor("a", "float32[2]", "i0"), Tensor("b", "float32[2]", "i1")]
    actual = copy.deepcopy(trace)
    actual.parameters = [Tensor("b", "float32[2]", "i0"), Tensor("a", "float32[2]", "i1")]

    assert compare(trace, actual).first is None


def test_what_differs_later_in_the_step_is_told_too(trace):
    """The first in causal order is the finding, the others are its evidence."""
    actual = copy.deepcopy(trace)
    actual.steps[0] |= {"rng": {"torch": "z"}, "loss": [(9.0).hex(), (2.5).hex()], "gradients": ["x", "y"]}

    first = compare(trace, actual).first

    assert first.phase == "loss"
    assert (first.expected, first.actual) == ("1.5 (0x1.8000000000000p+0)", "9.0 (0x1.2000000000000p+3)")
    assert [line.partition(":")[0] for line in first.also] == [
        "gradients of head.weight float32[2,3] (2 of 2 differ)",
        "state of the random generator",
    ]


def test_another_number_of_forward_passes_is_told_as_a_number(trace):
    """A validation that trains, because eval() is missing, gives the model more batches."""
    actual = copy.deepcopy(trace)
    actual.steps[1] |= {"batch": ["b2a", "b2b", "b2c"], "rng": {"torch": "z"}}

    first = compare(trace, actual).first

    assert first.describe() == "step 2, data: the batch given to the model, how many"
    assert (first.expected, first.actual) == ("2", "3")


def test_a_hyper_parameter_is_named_with_both_values(trace):
    """Only the settings that differ are shown."""
    actual = copy.deepcopy(trace)
    actual.steps[2]["hyper"] = [["betas=(0.9, 0.99); lr=0.1", "betas=(0.9, 0.99); lr=0.2"], [0, 1]]

    first = compare(trace, actual).first

    assert first.describe() == "step 3, schedule: hyper-parameters of head.bias float32[2] (1 of 2 differ)"
    assert (first.expected, first.actual) == ("lr=0.1", "lr=0.2")


def test_a_parameter_that_left_the_optimizer_is_seen(trace):
    """A frozen part shows although its name and value are as before."""
    actual = copy.deepcopy(trace)
    actual.optimizers = {0: [0]}
    for step in actual.steps:
        step["hyper"] = [step["hyper"][0], [0]]
        for key in ("gradients", "parameters", "state"):
            step[key] = step[key][:1]

    assert compare(trace, actual).first.actual == "not in the optimizer"


def test_initial_values_count(trace):
    """Another initialisation is step 0, before anything else."""
    actual = copy.deepcopy(trace)
    actual.parameters[0] = Tensor("head.weight", "float32[2,3]", "other")
    actual.steps[0]["loss"] = ["0x1.0p+9", "0x1.0p+9"]

    first = compare(trace, actual).first

    assert first.describe() == (
        "initialisation, init: initial value of head.weight float32[2,3] (1 of 2 differ)"
    )


def test_missing_and_new_parameters_are_counted_by_shape(trace):
    """A lost layer is told as what is missing."""
    actual = copy.deepcopy(trace)
    actual.parameters = [actual.parameters[0], Tensor("gate", "float32[7]", "q")]
    actual.steps = []

    first = compare(trace, actual).first

    assert first.what == "the model's parameters"
    assert "missing now: 1x float32[2]" in first.expected
    assert "new: 1x float32[7]" in first.actual


def test_renamed_and_reordered_parameters_are_matched(trace):
    """A rename and another order of parameters change no number, and are noted."""
    actual = copy.deepcopy(trace)
    actual.parameters = [Tensor("out.bias", "float32[2]", "i1"), Tensor("out.weight", "float32[2,3]", "i0")]
    for step in actual.steps:
        for key in ("gradients", "parameters", "state"):
            step[key] = step[key][::-1]
    actual.end["values"].reverse()
    actual.end["optimizers"][0]["state"].reverse()

    result = compare(trace, actual)

    assert result.first is None
    assert result.notes == ("head.weight is now out.weight", "head.bias is now out.bias")


def test_another_number_of_steps_diverges_at_the_end(trace):
    """A run that stops early is not identical."""
    actual = copy.deepcopy(trace)
    del actual.steps[2]

    first = compare(trace, actual).first

    assert (first.step, first.expected, first.actual) == (3, "3", "2")


def test_a_generator_that_one_side_never_loads_is_no_difference(trace):
    """A lazy import of NumPy takes its generator away, and nothing else."""
    actual = copy.deepcopy(trace)
    for step in actual.steps:
        del step["rng"]["python"]

    assert compare(trace, actual).first is None


def test_losses_that_are_no_numbers_are_found(trace):
    """Two NaN are equal in hexadecimal, and prove nothing."""
    assert find_not_finite(trace) is None
    trace.steps[1]["loss"] = [(1.0).hex(), "nan"]

    assert find_not_finite(trace).describe() == "step 2, loss: loss"


def test_a_run_that_changes_no_parameter_has_not_trained(trace):
    """Equality of such runs would be vacuous."""
    assert trace.has_trained()
    for step in trace.steps:
        step["parameters"] = ["i0", "i1"]

    assert not trace.has_trained()
