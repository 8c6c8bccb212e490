"""The phase and the class of cause: one planted difference each."""

from dataclasses import replace

import pytest

from trainkit.trace.divergence import compare
from trainkit.trace.locate import Culprit, Line, Location, Size
from trainkit.verify.classify import Cause, classify

OTHER = "other".ljust(16, "_")
WEIGHTS = {"parameters": OTHER * 2}
LOSS = {"loss": ["0x1.8p+3", "0x1.8p+3"]}


def culprit(name, *, number=5, phase="forward", arguments="float32[2]", shape="float32[2]", state=""):
    return Culprit(
        number=number,
        op=name,
        phase=phase,
        module="net",
        node="",
        arguments=arguments,
        frames=(Line("net.py", 7, "forward"),),
        sample={"shape": shape, "values": [1.0]},
        reads_outside=False,
        state=state,
    )


def make_location(left, right, relative=1.0, shape="float32[2]"):
    size = Size(what="x", shape=shape, expected=1.0, actual=1.0 + relative, ulps=1, relative=relative)
    return Location(expected=left, actual=right, size=size)


@pytest.fixture
def cause_of(script):
    """Give the cause of changes in step 2 (index 1) of a training."""

    def find(changes, location=None, *, step=1):
        if any(call[0] == "e" for call in changes.get("calls", ())):
            script.steps[step]["calls"] = [["e", "i", "another"]]
        actual = script.copy()
        actual.steps[step].update(changes)
        return classify(compare(script.events(), actual.events()), location)

    return find


@pytest.mark.parametrize(
    ("changes", "phase", "kind"),
    [
        ({"loaded": [2, "x"], **LOSS}, "data", "data"),
        ({"loaded": [2, "x"], "rng": {"torch": "z"}, **LOSS}, "data", "data order"),
        ({"calls": [["t", "x", "out2a"], ["t", "in2b", "out2b"]], **LOSS}, "data", "data"),
        ({"calls": [["e", "i", "o"]]}, "eval", "eval"),
        ({"calls": [["e", "i", "o"]], "rng": {"torch": "z"}}, "eval", "eval side effect"),
        ({"calls": [["e", "i", "o"]], "buffers": OTHER}, "eval", "eval side effect"),
        ({"saved": [["c", "n"]]}, "save", "save/resume"),
        ({"outputs": OTHER * 2, **LOSS}, "forward", "forward"),
        (LOSS, "loss", "loss"),
        ({"gradients": OTHER * 2}, "backward", "backward"),
        (WEIGHTS, "optimizer", "optimizer"),
        ({"rng": {"torch": "z"}}, "rng", "RNG consumption"),
        ({"hyper": [["betas=(0.9, 0.99); lr=0.2"], [0, 0]]}, "schedule", "schedule"),
        ({"hyper": [["betas=(0.9, 0.9); lr=0.1"], [0, 0]]}, "optimizer", "hyper-parameter"),
    ],
)
def test_a_difference_has_its_class_without_a_deep_pass(cause_of, changes, phase, kind):
    """From what differs first in the order of causes."""
    cause = cause_of(changes)

    assert (cause.phase, cause.kind, cause.level) == (phase, kind, "value-level")


@pytest.mark.parametrize(("state", "kind"), [("s", "data order"), ("", "data")])
def test_an_operation_that_draws_chooses_the_data(cause_of, state, kind):
    """It reads a generator, as a permutation does."""
    found = culprit("randperm", phase="data", state=state)
    changes = {"calls": [["t", "x", "out2a"], ["t", "in2b", "out2b"]], **LOSS}

    assert cause_of(changes, make_location(found, found)).kind == kind


def test_a_loader_that_is_set_otherwise_gives_another_order(script):
    """Other batches alone may hold other values."""
    script.facts = {"loader": {"DataLoader": "sampler=RandomSampler"}}
    actual = script.copy()
    actual.facts = {"loader": {"DataLoader": "sampler=SequentialSampler"}}
    actual.steps[1].update({"loaded": [2, "x"], **LOSS})

    assert classify(compare(script.events(), actual.events()), None).kind == "data order"


def test_a_hyper_parameter_is_told_with_both_values(cause_of):
    """As a class with a detail."""
    cause = cause_of({"hyper": [["betas=(0.9, 0.99); lr=0.2"], [0, 0]]})

    assert str(cause) == "schedule: lr=0.1 -> lr=0.2"
    assert str(Cause(phase="x", kind="data")) == "data"


@pytest.mark.parametrize("closure", [False, True])
@pytest.mark.parametrize(("parted", "phase"), [(False, "clip"), (True, "backward")])
def test_gradients_part_in_the_backward_or_when_they_are_clipped(cause_of, closure, parted, phase):
    """The operation that reads them first may be one of the optimizer, within a closure."""
    found = culprit("norm", phase="optimizer")
    location = replace(make_location(found, found), parted_before=parted)
    modes = {"modes": {"closure": 1}} if closure else {}

    assert cause_of({"gradients": OTHER * 2, **modes}, location).phase == phase


def test_batches_that_differ_in_a_closure_are_data(cause_of):
    """Forward and backward take turns there, so that the loss comes first."""
    found = culprit("random_", phase="init")
    changes = {"modes": {"closure": 1}, "loaded": [2, "x"], **LOSS}

    assert cause_of(changes, make_location(found, found)).phase == "data"


@pytest.mark.parametrize(("outside", "phase"), [(True, "data"), (False, "forward")])
def test_a_batch_of_a_worker_is_first_read_in_the_forward(cause_of, outside, phase):
    """What it holds was made in another process; a forward that starts from what is known is to blame itself."""
    found = replace(culprit("convolution"), reads_outside=outside)
    changes = {"modes": {"closure": 1}, "loaded": [2, "x"], **LOSS}

    assert cause_of(changes, make_location(found, found)).phase == phase


def test_another_number_of_steps_is_data(script):
    """Whatever made the loop shorter."""
    actual = script.copy()
    del actual.steps[2]

    cause = classify(compare(script.events(), actual.events()), None)

    assert str(cause) == "data: another number of steps"


def test_other_initial_values_name_the_seed(script):
    """If it is another one."""
    actual = script.copy()
    actual.parameters[0][2] = "other"
    for one, value in ((script, "1"), (actual, "2")):
        one.extra = [{"event": "seed", "what": "torch", "value": value, "line": "a.py:1", "step": 0}]

    cause = classify(compare(script.events(), actual.events()), None)

    assert (cause.phase, cause.kind, cause.detail) == ("init", "init", "seed 1: torch 1 -> torch 2")


def test_a_lost_parameter_is_the_optimizers(script):
    """Who is updated, and on which side."""
    actual = script.copy()
    actual.optimizers = {0: [0]}
    for step in actual.steps:
        for key in ("gradients", "parameters", "state"):
            step[key] = step[key][:16]
    actual.steps[0]["hyper"][1] = [0]
    actual.end["optimizers"][0]["hyper"][1] = [0]

    cause = classify(compare(script.events(), actual.events()), None)

    assert str(cause) == "optimizer: head.bias: updated by the optimizer -> not in that optimizer"


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"modes": {"eval": 2}, **LOSS}, "mode"),
        ({"modes": {"autocast": 2}, **LOSS}, "mode"),
        (LOSS, "loss"),
    ],
)
def test_another_mode_is_the_cause_of_another_number(cause_of, changes, kind):
    """Modules in evaluation mode, autocast, gradients that are off."""
    assert cause_of(changes).kind == kind


@pytest.mark.parametrize(
    ("phase", "expected"),
    [("forward", "forward"), ("backward", "backward"), ("clip", "clip"), ("optimizer", "optimizer")],
)
def test_an_operation_that_was_found_tells_the_phase(cause_of, phase, expected):
    """The deep pass knows better than the order of what a step holds."""
    location = make_location(culprit("mul", phase=phase), culprit("add", phase=phase))

    changes = WEIGHTS if phase == "optimizer" else {"gradients": OTHER * 2, **WEIGHTS}

    assert cause_of(changes, location).phase == expected


def test_gradients_that_differ_before_the_optimizer_ran_are_clipped_otherwise(cause_of):
    """No operation between backward and step did it: what the optimizer computes is only what follows."""
    location = make_location(culprit("mul", phase="optimizer"), culprit("add", phase="optimizer"))

    assert cause_of({"gradients": OTHER * 2, **WEIGHTS}, location).phase == "clip"


def test_the_earlier_operation_tells_the_phase(cause_of):
    """Until there both sides did the same."""
    location = make_location(
        culprit("mul", number=9, phase="optimizer"), culprit("add", number=3, phase="backward")
    )

    assert cause_of({"gradients": OTHER * 2, **WEIGHTS}, location).phase == "backward"


def test_a_draw_from_another_state_is_consumption(cause_of):
    """The operation is the same, and so would its result be."""
    location = make_location(culprit("bernoulli_", state="s0"), culprit("bernoulli_", state="s1"))

    cause = cause_of({"outputs": OTHER * 2, **LOSS}, location)

    assert (cause.phase, cause.kind) == ("rng", "RNG consumption")


def test_a_draw_from_another_state_after_a_resume_is_the_resumes(cause_of):
    """The generator was not put back."""
    location = make_location(culprit("bernoulli_", state="s0"), culprit("bernoulli_", state="s1"))

    cause = cause_of({"outputs": OTHER * 2, "resumed": 1, **LOSS}, location)

    assert (cause.phase, cause.kind) == ("save", "save/resume")


@pytest.mark.parametrize(
    ("left", "right", "kind"),
    [
        (culprit("mm", shape="float32[2]"), culprit("mm", shape="bfloat16[2]"), "precision"),
        (culprit("mm", arguments="float16[2]"), culprit("mm", arguments="float32[2]"), "precision"),
        (
            culprit("mm", shape="float32[2]"),
            culprit("mm", shape="float64[2]", arguments="float64[2]"),
            "precision",
        ),
        (culprit("mm", shape="bfloat16[2]"), culprit("mul", shape="bfloat16[2]"), "forward"),
        (
            culprit("mul", shape="float64[2]", arguments="float64[2], 1.0"),
            culprit("mul", shape="float64[2]", arguments="float64[2], 2.0"),
            "forward",
        ),
        (culprit("masked_fill"), culprit("tril"), "mask"),
        (culprit("masked_fill"), culprit("mul"), "forward"),
        (culprit("nll_loss_forward"), culprit("nll_loss_forward"), "loss"),
        (culprit("relu"), culprit("gelu"), "forward"),
        (
            culprit("_scaled_dot_product_attention", arguments="float32[2], 0.0, False, scale=None"),
            culprit("_scaled_dot_product_attention", arguments="float32[2], 0.0, True, scale=None"),
            "mask",
        ),
    ],
)
def test_operations_tell_the_class(cause_of, left, right, kind):
    """Half of them in another dtype, masks, losses."""
    assert cause_of({"outputs": OTHER * 2, **LOSS}, make_location(left, right)).kind == kind


def test_a_side_that_lacks_a_draw_consumes_otherwise(cause_of):
    """Only one of them draws at all."""
    location = Location(expected=culprit("bernoulli_", state="s"), actual=None, size=None)

    assert cause_of({"outputs": OTHER * 2, **LOSS}, location).kind == "RNG consumption"


# -- levels


def test_another_order_of_operations_is_rounding(cause_of):
    """Other operations, a few ULPs apart."""
    location = make_location(culprit("sum"), culprit("mean"), relative=2.0**-23)

    assert cause_of({"outputs": OTHER * 2, **LOSS}, location).level == "rounding-level"


@pytest.mark.parametrize(
    ("changes", "location"),
    [
        (LOSS, None),
        (LOSS, make_location(culprit("sum"), culprit("mean"), relative=0.1)),
        (LOSS, make_location(culprit("sum"), culprit("mean"), relative=2.0**-23, shape="int64[2]")),
        (LOSS, Location(expected=culprit("sum"), actual=None, size=None)),
        (
            LOSS,
            make_location(
                culprit("add", arguments="a, 1e-8"), culprit("add", arguments="a, 2e-8"), relative=2.0**-24
            ),
        ),
        ({"rng": {"torch": "z"}, **LOSS}, make_location(culprit("a"), culprit("b"), relative=2.0**-23)),
        (
            {"hyper": [["betas=(0.9, 0.99); lr=0.2"], [0, 0]]},
            make_location(culprit("a"), culprit("b"), relative=2.0**-23),
        ),
    ],
)
def test_what_rounding_cannot_do_is_another_value(cause_of, changes, location):
    """Too far apart, no floats, other arguments, another generator, another learning rate."""
    assert cause_of(changes, location).level == "value-level"


def test_an_epsilon_that_was_changed_is_no_rounding(script):
    """However small its effect."""
    actual = script.copy()
    actual.steps[1].update(LOSS)
    script.facts, actual.facts = {"modules": {"norm": "eps=1e-05"}}, {"modules": {"norm": "eps=1e-06"}}
    location = make_location(culprit("native_layer_norm"), culprit("other"), relative=2.0**-23)

    assert classify(compare(script.events(), actual.events()), location).level == "value-level"
