"""A search space in Hydra's sweep grammar, checked before anything heavy is loaded."""

import subprocess
import sys
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainkit.core.config import TrainConfig
from trainkit.core.space import Axis, Space, read_space
from trainkit.errors import TrainkitError

RATE = "optimizer.learning_rate=tag(log,interval(1e-4,1e-2))"


def test_axes_are_told_from_what_is_fixed():
    """Lists, choices, ranges and intervals are axes, in the order given; integers where the schema has them."""
    space = read_space(["model=choice(lstm,transformer)", "model.num_layers=range(1,4)", RATE, "seed=3",
                        "trainer.max_epochs=interval(2,9)", "model.dropout=0.0,0.1"])  # fmt: skip

    assert space.fixed == ("seed=3",)
    assert [(axis.key, axis.numbers or axis.texts, axis.step, axis.log) for axis in space.axes] == [
        ("model", ("lstm", "transformer"), 0, False),
        ("model.num_layers", (1, 2, 3), 1, False),
        ("optimizer.learning_rate", (1e-4, 1e-2), 0, True),
        ("trainer.max_epochs", (2, 9), 0, False),
        ("model.dropout", ("0.0", "0.1"), 0, False),
    ]
    assert space.config.model.name == "lstm"


def test_a_glob_takes_the_options_of_a_group():
    """`glob(*)` is every option of a group."""
    (axis,) = read_space(["schedule=glob(*)"]).axes

    assert axis.texts == ("constant", "linear", "cosine", "wsd")


WRONG = {
    "seed=3": "sweep-space: nothing is searched",
    "model.num_layer=1,2": "config-unknown-key: 'model.num_layer' is no key of the configuration; did you mean",
    "model=lstn,transformer": "config-unknown-choice: model=lstn: no such option; did you mean 'lstm'?",
    "optimizer.learning_rate=interval(0,1)": "config-range: optimizer.learning_rate=0.0: must be above 0",
    "model.dropout=interval(0,1)": "config-range: model.dropout=1.0: must be at least 0 and below 1",
    "model.num_heads=range(1,4)": "config-range: model.model_dim=128: must be a multiple of",
    "optimizer.fused=interval(0,1)": "config-type: optimizer.fused=0.0: expected true or false",
    "model.dropout=interval(0.5,0.5)": "sweep-space: 'model.dropout=interval(0.5,0.5)': it is empty",
    "model.num_layers=range(5,1)": "sweep-space: 'model.num_layers=range(5,1)': it is empty",
    "model.num_layers=interval(1.5,3)": "sweep-space: 'model.num_layers=interval(1.5,3)': model.num_layers is an",
    "model.dropout=tag(log,interval(0,0.5))": "a logarithm needs ends above 0",
    "model.dropout=tag(log,choice(0.1,0.2))": "log goes with an interval",
    "model.dropout=tag(lin,interval(0,0.5))": "tag 'lin' has no meaning here",
    "model.dropout=shuffle(range(0,0.5,0.1))": "shuffle has no effect",
    "seed=1,1": "a value stands twice",
    "exp_name=a,b": "each trial has its own",
    "output_dir=a,b": "each trial has its own",
    "seed=interval(1)": "config-grammar: ",
    "+seed=1,2": "config-add: ",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_axis_is_explained(text):
    """Each mistake is one line that says what is wrong with which axis."""
    with pytest.raises(TrainkitError) as caught:
        read_space([text])

    assert WRONG[text] in caught.value.lines()[0]
    assert caught.value.exit_status == 2


def test_a_key_stands_once():
    """An axis whose key is also fixed, or swept twice, is no axis."""
    for other in ("seed=3", "seed=4,5"):
        with pytest.raises(TrainkitError, match="seed stands twice"):
            read_space(["seed=1,2", other])


def test_a_bad_corner_of_two_axes_is_found_in_a_large_space():
    """Where all combinations are too many, each pair of axes is checked; of many mistakes ten are shown."""
    large = ["seed=range(0,1000)", "model.num_heads=4,3", "model.model_dim=64,96", RATE]
    with pytest.raises(TrainkitError) as caught:
        read_space(large)
    with pytest.raises(TrainkitError) as many:
        read_space(["model.model_dim=range(8,64)"])

    assert [line for line in caught.value.lines() if "model.model_dim=64" in line and "num_heads=6" in line]
    assert len(many.value.lines()) == 11
    assert many.value.lines()[-1] == "config-range: … and 39 more"


@given(st.integers(-50, 50), st.integers(1, 7), st.integers(1, 30))
def test_a_value_of_a_range_is_written_as_hydra_writes_it(start, step, count):
    """Whatever rounding a sampler's `low + k * step` brings, the override is the exact text of the range."""
    low, width = start / 10, step / 10
    numbers = tuple(round(low + width * k, 10) for k in range(count))
    axis = Axis("a", "", tuple(map(str, numbers)), numbers, width)

    assert [axis.write(low + k * width) for k in range(count)] == [f"a={number}" for number in numbers]


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3))
def test_the_grid_has_every_combination_once(sizes):
    """Numbers count through the product of the axes, the last fastest."""
    values = [tuple(map(str, range(size))) for size in sizes]
    space = Space(
        (), tuple(Axis(f"k{place}", "", texts) for place, texts in enumerate(values)), TrainConfig()
    )

    expected = [*product(*values)]
    assert [tuple(space.pick(number).values())[::-1] for number in range(len(expected))] == expected


def test_an_interval_is_no_grid():
    """Floats between two ends have no end; integers have."""
    with pytest.raises(TrainkitError, match="a grid needs values"):
        read_space([RATE]).list_grid()

    assert read_space(["seed=interval(2,4)"]).list_grid() == [range(2, 5)]


def test_the_space_is_read_without_torch_and_optuna():
    """A typo in a sweep costs no heavy import."""
    code = """
import sys
from trainkit.cli import main
status = main(["sweep", "model.num_layer=1,2"])
print(status, [name for name in ("torch", "optuna", "numpy") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "2 []\n"
    assert done.stderr.startswith("trainkit: error: config-unknown-key: 'model.num_layer'")
