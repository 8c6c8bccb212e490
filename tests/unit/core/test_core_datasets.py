"""Digits and series: what is split, seen and hidden."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainkit.core.config import DigitsConfig, SeriesConfig, SSSDConfig, TrainConfig, validate
from trainkit.core.datasets import build_digits, build_series, make_waves
from trainkit.errors import UsageError


def write_series(path, rows, header="a,b"):
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n", encoding="utf-8")
    return str(path)


def test_digits_are_the_same_for_every_seed():
    """Only the order in which they are trained on depends on it; every digit is in one part."""
    pytest.importorskip("sklearn")
    one, two = (build_digits(DigitsConfig(), seed=seed) for seed in (0, 1))

    assert torch.equal(one.train.dataset.images, two.train.dataset.images)
    assert next(iter(one.train)).labels.tolist() != next(iter(two.train)).labels.tolist()
    assert [len(part.dataset) for part in (one.train, one.validation, one.test)] == [1078, 360, 359]
    assert (one.train.dataset.images.min(), one.train.dataset.images.max()) == (-1.0, 1.0)


def test_only_training_digits_are_shifted():
    """Each by its own number of pixels, the same ones whenever the epoch is the same."""
    pytest.importorskip("sklearn")
    data = build_digits(DigitsConfig(shift=2), seed=3)
    first, again = next(iter(data.train)), next(iter(data.train))
    data.sampler.set_epoch(1)
    other = next(iter(data.train))

    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)
    assert torch.equal(next(iter(data.test)).images, data.test.dataset.dataset.images[:32])


@settings(max_examples=30, deadline=None)
@given(
    window=st.integers(2, 40),
    stride=st.integers(1, 30),
    train=st.floats(0.3, 0.7),
    validation=st.floats(0.0, 0.3),
)
def test_no_window_crosses_a_boundary(tmp_path_factory, window, stride, train, validation):
    """Each is of consecutive rows of one part, in the order of time; the last `horizon` values are hidden."""
    rows = [[number] for number in range(200)]
    path = write_series(tmp_path_factory.mktemp("series") / "s.csv", rows, header="t")
    config = SeriesConfig(source=path, window=window, horizon=1, stride=stride,
                          train_fraction=train, validation_fraction=validation)  # fmt: skip
    data = build_series(config, seed=0)
    mean, deviation = None, None
    ends = (0, round(200 * train), round(200 * (train + validation)), 200)
    values = torch.arange(ends[1], dtype=torch.float32)
    mean, deviation = values.mean(), values.std()
    for loader, start, end in zip((data.train, data.validation, data.test), ends, ends[1:], strict=False):
        for values, observed in (loader.dataset[index] for index in range(len(loader.dataset))):
            times = (values[:, 0] * deviation + mean).round().int().tolist()
            assert times == list(range(times[0], times[0] + window))
            assert start <= times[0] and times[-1] < end
            assert observed[:, 0].tolist() == [True] * (window - 1) + [False]


def test_the_future_changes_no_statistic(tmp_path):
    """Other values after the training part leave its windows as they are, to the bit."""
    values = make_waves(300)
    other = values.clone()
    other[180:] = 1e6
    sets = [
        build_series(
            SeriesConfig(source=write_series(tmp_path / f"{n}.csv", each.tolist())), seed=0
        ).train.dataset
        for n, each in enumerate((values, other))
    ]

    assert torch.equal(sets[0].values, sets[1].values)


def test_a_constant_column_is_no_division_by_zero(tmp_path):
    """It becomes zeros."""
    path = write_series(tmp_path / "s.csv", [[n, 5] for n in range(200)])

    assert build_series(SeriesConfig(source=path), seed=0).train.dataset.values[:, 1].abs().max() == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n3,x\n", "line 3, b: 'x' is no finite number"),
        ("a,b\n1,nan\n", "line 2, b: 'nan' is no finite number"),
        ("a,b\n1,2,3\n", "line 2: 3 cells, and the header has 2"),
        ("", "the file is empty"),
        ("a\n1\n2\n", "no window to train on: 1 of 2 rows"),
    ],
)
def test_bad_series_are_explained(tmp_path, text, message):
    """With line and column."""
    path = tmp_path / "s.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=message):
        build_series(SeriesConfig(source=str(path)), seed=0)


def test_a_missing_series_and_a_horizon_without_a_past_are_explained():
    """A file that is not there; nothing observed at all."""
    with pytest.raises(UsageError, match="nothing.csv': no such file"):
        build_series(SeriesConfig(source="nothing.csv"), seed=0)
    config = TrainConfig(model=SSSDConfig(), data=SeriesConfig(window=8, horizon=8))

    assert validate(config) == [("config-range", "data.horizon=8: must be less than data.window=8")]
