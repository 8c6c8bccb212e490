"""The operation where two deep passes part, on passes written by hand."""

import math

import pytest

from trainkit.trace.locate import DeepTrace, Line, compare_samples, locate, read_deep

SHAPE = "float32[2]"


def sample(*values, shape=SHAPE):
    return {"shape": shape, "every": 1, "values": list(values), "max": max(map(abs, values), default=0)}


def op(name, reads, writes, **more):
    """One operation; its number is set by `make`."""
    event = {
        "event": "op",
        "op": name,
        "phase": "forward",
        "module": "net",
        "args": SHAPE,
        "in": reads.split(),
    }
    return event | {"out": writes.split(), "frames": [["net.py", 7, "forward"]], "sample": sample(1.0)} | more


def seen(what, name, out, *values):
    return {
        "event": "seen",
        "what": what,
        "name": name,
        "n": 0,
        "out": out,
        "sample": sample(*values or [1.0]),
    }


def make(*events, lines=()):
    deep = DeepTrace(lines=list(lines))
    for event in events:
        if event["event"] == "op":
            deep.operations.append({"n": len(deep.operations)} | event)
        else:
            deep.seen.append(event)
    return deep


def chain(scale="A", **more):
    """x times a weight, plus a bias, summed to a loss."""
    return [
        op("mul", "x w", scale, **more),
        op("add", f"{scale} b", f"{scale}B"),
        op("sum", f"{scale}B", f"{scale}L"),
        seen("loss", "loss", f"{scale}L"),
    ]


def ops(location):
    return [culprit and culprit.op for culprit in (location.expected, location.actual)]


def test_equal_passes_have_no_culprit():
    """Nothing differs, so nothing is blamed."""
    assert ops(locate(make(*chain()), make(*chain()))) == [None, None]


def test_the_operation_with_known_inputs_and_another_output_is_the_culprit():
    """What comes after it has inputs that the other side never had."""
    location = locate(make(*chain("A")), make(*chain("C", phase="loss")))

    assert ops(location) == ["mul", "mul"]
    assert location.expected.number == 0
    assert location.expected.line == Line("net.py", 7, "forward")
    assert not location.expected.reads_outside
    assert (location.expected.phase, location.actual.phase) == ("forward", "loss")


def test_moved_and_renamed_operations_are_found_by_value():
    """Other modules, lines, names, places and order: only the one with another value is blamed."""
    moved = [
        op("exp", "y", "E", module="other"),
        op("multiply", "x w", "A", module="wrapped.net", frames=[["lib/new.py", 70, "helper"]]),
        op("add", "A b", "Q", frames=[["lib/new.py", 71, "helper"]]),
        op("sum", "Q", "QL"),
        seen("loss", "loss", "QL"),
    ]

    location = locate(make(*chain()), make(*moved))

    assert ops(location) == ["add", "add"]
    assert location.actual.line == Line("lib/new.py", 71, "helper")


def test_an_operation_that_one_side_lacks_is_the_culprit_of_the_other():
    """Without weight decay the new weight is one that the baseline had on its way."""
    decayed = [op("sub_", "w g", "w1"), op("mul_", "w1", "w2"), seen("parameters", "0", "w2")]
    plain = [op("sub_", "w g", "w1"), seen("parameters", "0", "w1")]

    assert ops(locate(make(*decayed), make(*plain))) == ["mul_", None]
    assert ops(locate(make(*plain), make(*decayed))) == [None, "mul_"]


def test_an_operation_that_reads_outside_data_is_the_culprit():
    """A batch that NumPy made comes from nowhere: the first operation that reads it is where it shows."""
    left = [op("mul", "x w", "A"), seen("loss", "loss", "A")]
    right = [op("mul", "z w", "C"), seen("loss", "loss", "C")]

    location = locate(make(*left), make(*right))

    assert ops(location) == ["mul", "mul"]
    assert location.expected.reads_outside
    assert location.actual.reads_outside


def test_numbers_that_flow_through_item_are_followed():
    """A scale that is taken out of a tensor and given back as a number leads to what made the tensor."""

    def program(mean, number):
        return [
            op("mean", "x", mean, module="scale"),
            op("_local_scalar_dense", mean, "", value=number),
            op("mul", "y", f"y{number}", scalars=[number]),
            seen("loss", "loss", f"y{number}"),
        ]

    location = locate(make(*program("m", "0.5")), make(*program("n", "0.7")))

    assert ops(location) == ["mean", "mean"]


def test_a_number_of_the_code_is_no_number_of_a_tensor():
    """A constant that nobody took out of a tensor makes its own operation the culprit."""
    left = [op("mul", "x", "A", scalars=["0.5"]), seen("loss", "loss", "A")]
    right = [op("mul", "x", "C", scalars=["0.7"]), seen("loss", "loss", "C")]

    location = locate(make(*left), make(*right))

    assert ops(location) == ["mul", "mul"]
    assert not location.actual.reads_outside


def test_a_view_of_the_whole_is_passed_through():
    """A reshape has its input's digest and is never blamed."""
    left = [
        op("mul", "x w", "A"),
        op("view", "A", "A", view=1),
        op("sum", "A", "L"),
        seen("loss", "loss", "L"),
    ]
    right = [
        op("mul", "x w", "C"),
        op("view", "C", "C", view=1),
        op("sum", "C", "M"),
        seen("loss", "loss", "M"),
    ]

    assert ops(locate(make(*left), make(*right))) == ["mul", "mul"]


def test_a_view_of_another_part_has_its_reader_as_culprit():
    """The last token for the first: nothing is computed otherwise before the view is read."""
    left = [op("select", "x", "v0", view=1), op("mul", "v0 w", "A"), seen("loss", "loss", "A")]
    right = [op("select", "x", "v9", view=1), op("mul", "v9 w", "C"), seen("loss", "loss", "C")]

    location = locate(make(*left), make(*right))

    assert None not in ops(location)


def test_the_earliest_of_several_culprits_is_named():
    """Two changes in one step: the one that comes first."""
    left = [op("mul", "x", "A"), op("exp", "y", "E"), op("add", "A E", "L"), seen("loss", "loss", "L")]
    right = [op("mul", "x", "B"), op("exp", "y", "F"), op("add", "B F", "M"), seen("loss", "loss", "M")]

    location = locate(make(*left), make(*right))

    assert ops(location) == ["mul", "mul"]


def test_a_difference_that_leads_nowhere_is_not_blamed():
    """An operation whose result nothing uses is a detour, not the cause."""
    right = [op("exp", "x", "debug"), *chain("C")]

    assert ops(locate(make(*chain("A")), make(*right))) == ["mul", "mul"]


def test_where_all_results_agree_an_operation_of_ones_own_is_named():
    """Evaluations end in no gradient: then any operation that the other side lacks."""
    left, right = make(op("exp", "x", "E")), make(op("exp", "x", "F"))

    assert ops(locate(left, right)) == ["exp", "exp"]


def test_outputs_of_modules_are_ends_when_asked_for():
    """What an evaluation computes is seen by its modules alone."""
    left = make(op("relu", "x", "R"), seen("output", "net", "R"), seen("loss", "loss", "same"))
    right = make(op("gelu", "x", "G"), seen("output", "net", "G"), seen("loss", "loss", "same"))

    assert ops(locate(left, right, ends="outputs")) == ["relu", "gelu"]


def test_numbers_that_are_read_are_ends_when_asked_for():
    """A metric that is printed leads to the operation that made it, whatever training does."""

    def program(metric, number):
        return [*chain(), op("argmax", "AB", metric), op("_local_scalar_dense", metric, "", value=number)]

    location = locate(make(*program("m", "3.0")), make(*program("n", "4.0")), ends="reads")

    assert ops(location) == ["argmax", "argmax"]


def test_the_same_draw_from_another_state_is_told():
    """Dropout draws from a generator that something has drawn from before."""

    def program(state, mask):
        return [
            op("bernoulli_", state, mask, random=1),
            op("mul", f"x {mask}", f"x{mask}"),
            seen("loss", "loss", f"x{mask}"),
        ]

    elsewhere = locate(make(*program("s0", "m")), make(*program("s1", "n")))
    same = locate(make(*program("s0", "m")), make(*program("s0", "n")))

    assert elsewhere.draws_elsewhere()
    assert (elsewhere.expected.state, elsewhere.actual.state) == ("s0", "s1")
    assert not same.draws_elsewhere()


def test_the_phase_is_that_of_the_earlier_culprit():
    """Until the first of both, the sides did the same."""
    left = [op("exp", "y", "E"), op("mul", "x", "A", phase="backward"), seen("loss", "loss", "A")]
    right = [
        op("exp", "y", "E"),
        op("log", "y", "Z"),
        op("mul", "x Z", "C", phase="optimizer"),
        seen("loss", "loss", "C"),
    ]

    assert locate(make(*left), make(*right)).phase == "backward"
    assert locate(make(), make()).phase == ""


# -- lines


def test_edited_lines_on_the_stack_come_first_then_those_that_ran_last():
    """A line that only runs after the operation cannot have done it."""
    frames = [["net.py", 7, "forward"], ["train.py", 3, "main"]]
    # file, line, step of the first and last run, operations before these runs, phase
    rows = [
        ["config.py", 1, 0, 0, -1, -1, "init"],
        ["net.py", 5, 0, 1, 0, 0, "data"],
        ["net.py", 6, 0, 1, 1, 1, "data"],
        ["train.py", 3, 0, 1, 0, 9, "data"],
        ["late.py", 2, 1, 1, 3, 3, "clip"],
    ]
    left = make(
        op("exp", "y", "E"), op("mul", "x", "A", frames=frames), seen("loss", "loss", "A"), lines=rows
    )
    right = make(op("exp", "y", "E"), op("mul", "x", "C"), seen("loss", "loss", "C"))
    edited = {"train.py": [3], "net.py": [5, 6], "config.py": [1], "late.py": [2]}

    location = locate(left, right, edited=(edited, {}))

    assert [(str(line), line.why) for line in location.expected_lines] == [
        ("train.py:3", "runs it"),
        ("net.py:6", "ran last before it"),
        ("net.py:5", "ran last before it"),
        ("config.py:1", "ran in step 1"),
    ]
    assert location.actual_lines == ()


def test_without_a_culprit_the_lines_that_ran_are_told():
    """A side that lacks the operation has its edited lines, the latest first."""
    rows = [["a.py", line, 0, 1, line, line, "data"] for line in range(9)]

    location = locate(make(), make(lines=rows), edited=({}, {"a.py": list(range(9))}))

    assert [line.line for line in location.actual_lines] == [8, 7, 6, 5, 4, 3, 2, 1, 0]


def backward(*digests, number, value=1.0):
    """What a backward left, after so many operations."""
    return [{**seen("backward", "0", digest, value), "n": number} for digest in digests]


@pytest.mark.parametrize(
    ("left", "right", "parted"),
    [
        (backward("g", "h", number=1), backward("h", "g", number=1), False),
        (backward("g", "h", number=1), backward("g", "k", number=1), True),
        (backward("g", "h", number=1), backward("g", number=1), True),
        (backward("g", number=1), backward("g", number=1) + backward("z", number=1, value=0.0), False),
        (backward("g", number=4), backward("h", number=4), False),
        (backward("g", number=1) + backward("h", number=2), backward("g", number=1), False),
    ],
)
def test_gradients_that_a_backward_left_otherwise_parted_before_the_step(left, right, parted):
    """In any order, zeros being none; what a later backward leaves follows from the culprit."""
    sides = [
        make(op("mul", "x w", "A"), op("norm", "g", scale), seen("parameters", "0", scale), *gradients)
        for scale, gradients in (("P", left), ("Q", right))
    ]

    assert locate(*sides).parted_before == parted


# -- sizes


@pytest.mark.parametrize(
    ("shape", "before", "now", "ulps", "rounding"),
    [
        ("float32[1]", 1.0, 1.0 + 2.0**-23, 1, True),
        ("float32[1]", 1.0, 1.0 + 16 * 2.0**-23, 16, True),
        ("float32[1]", 1.0, 1.0 + 20 * 2.0**-23, 20, False),
        ("float32[1]", 1.0, -1.0, 2**24, False),
        ("float64[1]", 1.0, 1.0 + 2.0**-52, 1, True),
        ("float64[1]", 1.0, 1.0 + 2.0**-23, 2**29, False),
        ("bfloat16[1]", 1.0, 1.0 + 2.0**-7, 2, True),
        ("bfloat16[1]", 1.0, 1.0 + 2.0**-4, 16, False),
        ("float16[1]", 1.0, 1.0 + 2.0**-10, 1, True),
        ("int64[1]", 1, 2, None, False),
    ],
)
def test_rounding_is_told_from_another_value(shape, before, now, ulps, rounding):
    """By the dtype's own precision, against the largest magnitude."""
    size = compare_samples(sample(before, shape=shape), sample(now, shape=shape), "x")

    assert (size.expected, size.actual, size.ulps) == (before, now, ulps)
    assert size.is_rounding() is rounding


def test_a_small_value_beside_large_ones_may_be_rounding():
    """What cancels is measured against what it was computed from."""
    size = compare_samples(sample(1e-9, 1.0), sample(2e-9, 1.0), "x")

    assert size.is_rounding()
    assert size.relative == pytest.approx(1e-9)


def test_the_largest_difference_is_the_size():
    """Of all values that were kept."""
    size = compare_samples(sample(1.0, 2.0, 3.0), sample(1.5, 4.0, 3.0), "x")

    assert (size.expected, size.actual, size.relative) == (2.0, 4.0, 0.5)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (sample(1.0), sample(1.0, 2.0, shape="float32[3]")),
        (sample(1.0), {"shape": SHAPE}),
        ({}, {}),
    ],
)
def test_what_has_no_common_values_has_no_size(left, right):
    """Other shapes, or samples without values."""
    assert compare_samples(left, right, "x") is None


@pytest.mark.parametrize("odd", [math.nan, math.inf])
def test_a_value_that_is_no_number_is_no_rounding(odd):
    """One side lost its numbers."""
    size = compare_samples(sample(1.0), sample(odd), "x")

    assert size.relative == math.inf
    assert not size.is_rounding()


def test_nan_on_both_sides_hides_no_rounding():
    """A masked place is nan on both sides; the others tell the size."""
    size = compare_samples(sample(math.nan, 1.0), sample(math.nan, 1.0 + 2.0**-23), "x")

    assert size.ulps == 1
    assert size.is_rounding()


def test_the_size_is_that_of_the_culprits_outputs():
    """Where both sides run the same operation."""
    left = make(op("exp", "x", "E", sample=sample(1.0)), seen("loss", "loss", "E", 5.0))
    right = make(op("exp", "x", "F", sample=sample(1.0 + 2.0**-23)), seen("loss", "loss", "F", 6.0))

    size = locate(left, right).size

    assert (size.what, size.ulps) == ("output of exp", 1)


@pytest.mark.parametrize("name", ["index_select", "cat"])
def test_other_operations_are_measured_where_they_come_together(name):
    """Two orders of a sum have no common output; what moves values has no size: the module's output is it."""
    left = make(op(name, "x", "E"), seen("output", "net", "E", 1.0), seen("loss", "loss", "E", 5.0))
    right = make(op(name, "x", "F"), seen("output", "net", "F", 1.25), seen("loss", "loss", "F", 6.0))

    size = locate(left, right).size

    assert (size.what, size.expected, size.actual) == ("output net", 1.0, 1.25)


def test_renamed_modules_are_paired_by_order():
    """Where no name is common and their number is the same."""
    left = make(op("a", "x", "E"), seen("output", "net", "E", 1.0))
    right = make(op("b", "x", "F"), seen("output", "model", "F", 1.25))

    assert locate(left, right).size.actual == 1.25


# -- reading


def test_a_deep_pass_is_read_from_its_events():
    """Operations, what was seen, lines and the step; the rest is passed over."""
    events = [
        {"event": "trace"},
        op("mul", "x", "A"),
        seen("loss", "loss", "A"),
        {"event": "step", "step": 3},
        {"event": "lines", "rows": [["a.py", 1, 0, 0, 0, 0, "data"]]},
        {"event": "end"},
    ]

    deep = read_deep(events)

    assert [operation["op"] for operation in deep.operations] == ["mul"]
    assert len(deep.seen) == 1
    assert deep.step == {"event": "step", "step": 3}
    assert deep.lines == [["a.py", 1, 0, 0, 0, 0, "data"]]
