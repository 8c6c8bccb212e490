"""Tables and series as they are trained on: steps, splits, look-ahead, resume."""

from dataclasses import replace

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, TensorDataset

from trainkit.core.compose import compose
from trainkit.core.config import (
    AdamWConfig,
    ImportedModelConfig,
    MLPConfig,
    OwnConfig,
    SeriesConfig,
    TableConfig,
    TrainConfig,
    TrainerConfig,
    validate,
)
from trainkit.core.data.splits import choose_rows, sample_rows, split_rows
from trainkit.core.data.steps import Fitted, compare_distributions
from trainkit.core.data.table import Rows, build_table, open_source
from trainkit.core.datasets import build_series
from trainkit.core.evaluate import evaluate
from trainkit.core.trainer import train
from trainkit.errors import ConfigError, UsageError

pytest.importorskip("polars")


def write(path, columns):
    rows = zip(*columns.values(), strict=True)
    path.write_text(
        "\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]) + "\n", encoding="utf-8"
    )
    return str(path)


def make_columns(num=120, seed=0):
    generator = numpy.random.default_rng(seed)
    a, b = generator.normal(3, 2, num).round(4), generator.integers(0, 9, num)
    color = generator.choice(["red", "green", "blue"], num)
    return {
        "a": a,
        "b": b,
        "c": color,
        "y": numpy.where(a + b > 7, "yes", "no"),
        "g": generator.integers(0, 12, num),
    }


@pytest.fixture
def table(tmp_path):
    return write(tmp_path / "table.csv", make_columns())


@pytest.fixture
def iris(tmp_path):
    """A real table: scikit-learn's irises, as CSV."""
    found = pytest.importorskip("sklearn.datasets").load_iris()
    names = [name.removesuffix(" (cm)").replace(" ", "_") for name in found.feature_names]
    columns = dict(zip(names, found.data.T, strict=True))
    return write(tmp_path / "iris.csv", columns | {"species": found.target_names[found.target]})


def config_for(tmp_path, data, *, model=None, **trainer):
    own = isinstance(model, ImportedModelConfig)
    return TrainConfig(
        model=model or MLPConfig(hidden_dims=[16]),
        **({"optimizer": OwnConfig()} if own else {}),
        data=data,
        trainer=TrainerConfig(**{"max_epochs": 2, "device": "cpu", **trainer}),
        output_dir=str(tmp_path / "runs"),
    )


def read_weights(result):
    return torch.load(result.run_folder / "last.ckpt", weights_only=True)["model"]


def test_a_real_table_is_learnt(tmp_path, iris):
    """Irises from a CSV file, by a perceptron and by an estimator; the classes are the file's words."""
    data = TableConfig(source=iris, target="species", batch_size=8)
    result = train(config_for(tmp_path, data, max_epochs=40))
    model = ImportedModelConfig(target="sklearn.linear_model.LogisticRegression")
    fitted = train(replace(config_for(tmp_path, data, model=model), exp_name="estimator"))

    assert min(result.test.metrics["accuracy"], fitted.test.metrics["accuracy"]) > 0.9
    assert result.test.num_items == 30


def test_an_estimator_learns_online_from_a_table(tmp_path, iris):
    """Batch by batch, and a number is predicted where the target is one."""
    online = ImportedModelConfig(
        target="sklearn.linear_model.SGDClassifier", online=True, kwargs={"random_state": 0}
    )
    data = TableConfig(source=iris, target="species", batch_size=16)
    classes = train(config_for(tmp_path, data, model=online, max_epochs=5))
    data = TableConfig(source=iris, target="petal_width", batch_size=16)
    faster = AdamWConfig(learning_rate=1e-2)
    number = train(replace(config_for(tmp_path, data, max_epochs=30), exp_name="number", optimizer=faster))

    assert classes.test.metrics["accuracy"] > 0.7
    assert number.test.metrics == {}
    assert number.test.mean_loss < 0.2


def test_a_real_series_is_forecast_at_several_horizons(tmp_path):
    """statsmodels' sunspots: their years rise, and a target has a value per horizon."""
    found = pytest.importorskip("statsmodels.datasets.sunspots").load_pandas().data
    path = write(tmp_path / "sunspots.csv", {name: found[name] for name in found})
    settings = {"time": "YEAR", "window": 24, "stride": 1, "horizons": [1, 8], "target": "SUNACTIVITY"}
    data = SeriesConfig(source=path, **settings)
    batch = next(iter(build_series(data, seed=0).test))
    result = train(config_for(tmp_path, data, max_epochs=20))

    assert (batch.inputs.shape, batch.targets.shape) == ((32, 16, 1), (32, 2))
    assert result.test.mean_loss < batch.targets.var()


def test_steps_are_what_their_names_say(tmp_path):
    """Fitted on the first rows alone, in the order that is given; missing cells are filled before they are scaled."""
    columns = {"n": [1, "", 3, 8, 100], "c": ["u", "v", "v", "", "w"], "y": [0.5] * 5}
    path = write(tmp_path / "t.csv", columns)
    config = TableConfig(source=path, target="y", split="temporal", train_fraction=0.6,
                         steps=["impute_mean", "min_max", "impute_most_frequent", "one_hot"])  # fmt: skip
    data = build_table(config, seed=0)
    batches = [next(iter(part)).inputs.tolist() for part in (data.validation, data.test)]
    codes = build_table(
        replace(config, steps=["impute_median", "standardize", "impute_most_frequent"]), seed=0
    )

    assert sorted(next(iter(data.train)).inputs.tolist()) == [[0, 1, 0], [0.5, 0, 1], [1, 0, 1]]
    assert batches == [[[3.5, 0, 1]], [[49.5, 0, 0]]]  # w was never seen
    assert sorted(next(iter(codes.train)).inputs.tolist()) == [[-1, 0], [0, 1], [1, 1]]
    assert next(iter(codes.test)).inputs[0].tolist() == [98.0, -1.0]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 99), split=st.sampled_from(["temporal", "walk_forward"]), fold=st.integers(1, 5))
def test_the_future_changes_nothing_that_is_trained_on(tmp_path_factory, seed, split, fold):
    """Rows after the training part in another order, with other values and categories: same batches, same statistics."""
    folder, generator = tmp_path_factory.mktemp("ahead"), numpy.random.default_rng(seed)
    before = make_columns(60, seed)
    before["a"] = [round(float(value), 3) for value in before["a"]]
    end = 36 if split == "temporal" else 60 * fold // 7
    after = {name: list(each) for name, each in before.items()}
    for name, each in after.items():
        future = [each[place] for place in end + generator.permutation(60 - end)]
        after[name][end:] = (
            [1e6] * (60 - end) if name == "a" else ["new"] * (60 - end) if name == "c" else future
        )
    settings = {"split": split, "steps": ["impute_median", "standardize", "one_hot"], "batch_size": 7,
                "schema": {"y": "category"}} | ({"fold": fold} if split == "walk_forward" else {})  # fmt: skip
    opened = []
    for name, columns in (("before", before), ("after", after)):
        config = TableConfig(source=write(folder / f"{name}.csv", columns), target="b", **settings)
        opened.append(build_table(config, seed=seed))
        columns = {key: columns[key] for key in ("a", "b")}
        config = SeriesConfig(source=write(folder / f"{name}s.csv", columns), window=4, horizon=1, stride=1,
                              split=split, **({"fold": fold} if split == "walk_forward" else {}))  # fmt: skip
        opened.append(build_series(config, seed=seed))
    for one, other in (opened[::2], opened[1::2]):
        assert one.prepared.fitted == other.prepared.fitted
        for first, second in zip(one.train, other.train, strict=True):
            assert all(map(torch.equal, first, second))
    assert len(opened[0].train.dataset) == end


@settings(max_examples=60, deadline=None)
@given(
    num=st.integers(1, 200),
    split=st.sampled_from(["temporal", "random", "walk_forward", "grouped"]),
    fold=st.integers(1, 4),
    block=st.integers(1, 60),
)
def test_parts_share_no_row_and_no_group(num, split, fold, block):
    """Each row is in at most one part, in order; what is after it never trains; blocks together are the part."""
    config = TableConfig(split=split, fold=fold, num_folds=4, group="g")
    groups = torch.arange(num) * 7 % 11
    parts = [torch.tensor(list(part)).long() for part in split_rows(num, config, groups)]
    together = torch.cat(parts)

    assert len(together.unique()) == len(together)
    assert split == "walk_forward" or len(together) == num
    assert all(torch.equal(part, part.sort().values) for part in parts)
    if split in ("temporal", "walk_forward"):
        assert torch.equal(together, together.sort().values)
    if split == "grouped":
        found = [set(groups[part].tolist()) for part in parts]
        assert not found[0] & found[1] and not found[0] & found[2] and not found[1] & found[2]
    for part in split_rows(num, config, groups):
        rows = torch.arange(num).numpy()
        taken = [rows[start : start + block][choose_rows(part, start, min(num, start + block))]
                 for start in range(0, num, block)]  # fmt: skip
        assert numpy.concatenate(taken).tolist() == list(part)
        assert len(sample_rows(part, 10)) == min(10, len(part))


def test_groups_stay_together(table):
    """Of a table, by the column that is named, which is not learnt from."""
    data = build_table(TableConfig(source=table, target="y", split="grouped", group="g"), seed=0)
    groups = data.prepared.table.codes[:, data.prepared.place("g")]
    found = [set(groups[part].tolist()) for part in data.prepared.parts]

    assert sum(map(len, found)) == len(set.union(*found)) == 12
    assert all(found)
    assert data.facts["num_features"] == 2 + 3


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_are_those_of_a_tensor_data_set(table, num_workers):
    """Bitwise what torch's own loader collates in the same order, in this process or in workers."""
    config = TableConfig(source=table, target="y", batch_size=7, num_workers=num_workers)
    data = build_table(config, seed=3)
    whole = data.train.dataset.__getitems__(range(len(data.train.dataset)))
    torchs = DataLoader(TensorDataset(*whole), batch_size=7, sampler=data.sampler)
    for epoch in (0, 1):
        data.sampler.set_epoch(epoch)
        expected, actual = list(torchs), list(data.train)

        assert len(actual) == len(expected) == 11
        for one, other in zip(expected, actual, strict=True):
            assert all(torch.equal(a, b) and a.dtype == b.dtype and a.stride() == b.stride()
                       for a, b in zip(one, other, strict=True))  # fmt: skip
    assert torch.equal(data.train.dataset[5].inputs, whole.inputs[5])


def test_an_interrupted_epoch_goes_on_to_the_bit(tmp_path, table, monkeypatch):
    """Stopped within the second epoch, three of its steps saved: the weights are those of the undisturbed run."""
    data = TableConfig(source=table, target="y", batch_size=8)
    config = config_for(tmp_path, data, save_every_n_steps=4, max_epochs=3)
    straight = train(replace(config, exp_name="straight"))
    calls, read = [], Rows.__getitems__

    def stop(rows, indices):
        calls.append(indices)
        if len(calls) == 18:  # nine batches and three of validation; then the sixth of the second epoch
            raise InterruptedError
        return read(rows, indices)

    with monkeypatch.context() as patch:
        patch.setattr(Rows, "__getitems__", stop)
        with pytest.raises(InterruptedError):
            train(replace(config, exp_name="broken"))
    left = torch.load(tmp_path / "runs" / "broken" / "last.ckpt", weights_only=True)["progress"]
    other_cache = replace(data, cache_dir=str(tmp_path / "c"))
    ended = train(replace(config, exp_name="broken", resume="auto", data=other_cache))

    assert (left["num_epochs"], left["epoch"]["num_batches"]) == (1, 3)
    assert ended.train == straight.train
    assert all(map(torch.equal, read_weights(ended).values(), read_weights(straight).values()))
    assert (ended.run_folder / "data.json").exists()


def test_new_data_is_measured_with_the_statistics_of_the_training(tmp_path, table):
    """Other means, a category fewer and a column more: nothing is fitted anew; a column that is missing is named."""
    result = train(config_for(tmp_path, TableConfig(source=table, target="y", batch_size=8)))
    path = str(result.best_checkpoint)
    columns = make_columns(40, seed=5)
    columns["a"] = columns["a"] + 100
    columns["c"] = numpy.where(columns["c"] == "red", "blue", columns["c"])
    new = write(tmp_path / "new.csv", {"extra": ["word"] * 40, **columns})
    saved = torch.load(path, weights_only=True)["extra"]["data"]
    opened = open_source(TableConfig(source=new, target="y"), target="y", saved=saved)

    assert opened.is_changed
    assert opened.fitted.numbers == saved["fitted"]["numbers"]
    assert opened.fitted.categories == {"c": ["blue", "green", "red"], "y": ["no", "yes"]}
    assert evaluate(result.best_checkpoint, []).result == result.test
    whole = evaluate(result.best_checkpoint, [f"data.source='{new}'"]).result
    assert whole.num_items == 40
    part = evaluate(result.best_checkpoint, [f"data.source='{new}'", "data.train_fraction=0.5"]).result
    assert part.num_items == 12
    turned = write(tmp_path / "turned.csv", dict(reversed([*columns.items()])))
    assert evaluate(result.best_checkpoint, [f"data.source='{turned}'"]).result == whole
    del columns["b"]
    with pytest.raises(UsageError, match=r"fewer\.csv' has no column 'b'"):
        evaluate(result.best_checkpoint, [f"data.source='{write(tmp_path / 'fewer.csv', columns)}'"])


def test_changed_data_is_refused_within_an_epoch_alone(tmp_path, table):
    """Its order would be another; at the end of an epoch the run goes on, with the statistics it has."""
    data = TableConfig(source=table, target="y", batch_size=8)
    config = config_for(tmp_path, data, max_epochs=1, save_every_n_steps=4)
    result = train(config)
    before = torch.load(result.run_folder / "last.ckpt", weights_only=True)["extra"]["data"]["fitted"]
    write(tmp_path / "table.csv", make_columns(160, seed=2))
    further = replace(config, resume="auto", trainer=replace(config.trainer, max_epochs=2))
    train(further)
    assert torch.load(result.run_folder / "last.ckpt", weights_only=True)["extra"]["data"]["fitted"] == before

    state = torch.load(result.run_folder / "last.ckpt", weights_only=True)
    state["progress"]["epoch"] = {"num_batches": 4, "num_steps": 4}
    torch.save(state, result.run_folder / "last.ckpt")
    write(tmp_path / "table.csv", make_columns(160, seed=3))
    with pytest.raises(UsageError, match="the data is other than in the epoch that was begun"):
        train(replace(further, trainer=replace(config.trainer, max_epochs=3)))


def test_a_class_that_is_not_trained_on_is_refused(tmp_path):
    """A temporal split of sorted classes is a mistake that a loss would not show."""
    path = write(tmp_path / "t.csv", {"a": range(10), "y": ["u"] * 8 + ["v"] * 2})
    with pytest.raises(UsageError, match=r"row 9, y: the class 'v' of the test part is in no row"):
        build_table(TableConfig(source=path, target="y", split="temporal"), seed=0)


def test_horizons_are_hidden_one_by_one(tmp_path):
    """Without a target each window is there once per horizon; with one its values lie that far ahead."""
    path = write(tmp_path / "s.csv", {"t": range(200), "u": [n * n for n in range(200)]})
    config = SeriesConfig(source=path, window=8, horizons=[1, 3], stride=5, steps=[])
    windows = build_series(config, seed=0).validation.dataset
    pairs = build_series(replace(config, target="u"), seed=0).validation.dataset
    batch = pairs.__getitems__([0, 1])

    assert len(windows) == 2 * len(pairs) == 14
    assert [int((~windows[index].observed[:, 0]).sum()) for index in range(4)] == [1, 3, 1, 3]
    assert torch.equal(windows[0].values, windows[1].values)
    assert batch.inputs[1, :, 0].tolist() == [125, 126, 127, 128, 129]
    assert batch.targets[1].tolist() == [130**2, 132**2]


def test_distributions_are_compared_as_scipy_does(table):
    """The Kolmogorov-Smirnov statistic of train and validation is told, and judges nothing."""
    stats = pytest.importorskip("scipy.stats")
    generator = numpy.random.default_rng(0)
    one, other = generator.normal(size=50), generator.normal(0.3, size=70).round(1)
    report = build_table(TableConfig(source=table, target="y"), seed=0).prepared.report()

    assert compare_distributions(one, other) == pytest.approx(stats.ks_2samp(one, other).statistic, abs=1e-12)
    assert compare_distributions(one, one[:0]) == 0
    assert report["kolmogorov_smirnov"].keys() == {"a", "b", "g"}
    assert report["rows"] == {"train": 72, "validation": 24, "test": 24}


def test_a_column_of_nothing_is_no_nan():
    """Where the training part knows no value, nothing is scaled."""
    fitted = Fitted(["impute_median", "standardize"])
    fitted.fit_numbers(["a"], [numpy.full(3, numpy.nan, numpy.float32)])

    assert fitted.build(["a"], [], {})(torch.full((2, 1), torch.nan)).tolist() == [[0.0], [0.0]]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data=table", "model=mlp"], "data.source='': must be given"),
        (["data.steps=[standardise]"], "no step is called 'standardise'; did you mean 'standardize'?"),
        (["data.schema.a=numeric"], "data.schema.a='numeric': must be one of 'number'"),
        (["data.split=grouped"], "data.group='': data.split is 'grouped', and it must be given"),
        (["data.fold=7", "data.split=walk_forward"], "data.fold=7: must be at most data.num_folds=5"),
        (["data.fold=2"], "data.fold=2: has no effect with data.split=random"),
        (["data.columns=[a,y]"], "data.columns: 'y' is not learnt from"),
        (["data.columns=[1]"], "data.columns=[1]: expected a list of strings"),
        (["model.hidden_dims=[0]"], "model.hidden_dims=[0]: must be at least 1"),
        (["model.hidden_dims=[a]"], "model.hidden_dims=['a']: expected a list of integers"),
        (["data=series"], "data.target='': model=mlp predicts one column of a series"),
        (["data=series", "data.target=a", "data.horizons=[1,64]", "data.source=a.csv"], "data.horizons=[1, 64]: must be less"),
        (["model=sssd", "data=series", "data.target=a"], "data.target='a': has no effect with model=sssd"),
        (["model=sssd", "data=series", "data.time=t"], "data.source='waves': has no columns and takes no data.time"),
    ],
)  # fmt: skip
def test_settings_that_contradict_are_explained(overrides, message):
    """Before anything is read."""
    given = [] if any(each == "data=table" for each in overrides) else ["data.source=x.csv", "data.target=y"]
    is_series = "data=series" in overrides
    with pytest.raises(ConfigError) as caught:
        compose(["model=mlp", *([] if is_series else given), *overrides])

    assert message in str(caught.value)
    assert validate(compose(["model=mlp", "data.source=x.csv", "data.target=y"])) == []
