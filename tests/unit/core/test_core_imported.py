"""Anybody's modules, estimators and data, by their dotted paths."""

import math
import os
import random
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from trainkit.core.compose import compose
from trainkit.core.config import (
    AdamWConfig,
    DigitsConfig,
    ImportedDataConfig,
    ImportedModelConfig,
    OwnConfig,
    SGDConfig,
    TrainConfig,
    TrainerConfig,
)
from trainkit.core.data import EpochSampler
from trainkit.core.imported import import_data, import_task
from trainkit.core.trainer import train
from trainkit.errors import ConfigError, UsageError

THIS = __name__


@pytest.fixture(autouse=True)
def this_module(monkeypatch):
    """Let the tests be found by the names they have here, as a project's code would."""
    monkeypatch.setitem(sys.modules, "project", sys.modules[THIS])


class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(12, width), nn.Dropout(0.2), nn.Linear(width, 3))

    def forward(self, inputs):
        return self.layers(inputs)


class Augmented(Dataset):
    """Images with noise of all three generators."""

    def __init__(self, size=30):
        generator = torch.Generator().manual_seed(1)
        self.images = torch.randn(size, 3, 4, generator=generator)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        import numpy

        noise = 0.1 * torch.randn(3, 4) + random.random() + numpy.random.rand()
        return self.images[index] + noise, int(self.images[index].sum() > 0)


def make_sets(size=30):
    return Augmented(size), Augmented(10), Augmented(10)


def make_loaders():
    return [DataLoader(each, batch_size=4, shuffle=True) for each in make_sets()]


def make_endless():
    class Stream(IterableDataset):
        def __iter__(self):
            return (Augmented()[index % 30] for index in range(10**9))

    return DataLoader(Stream(), batch_size=4), [], []


def make_regression():
    inputs = torch.linspace(-1, 1, 40)[:, None]
    return (TensorDataset(inputs, 2 * inputs[:, 0] + 1),) * 3


def mean_absolute_error(outputs, targets):
    return (outputs.squeeze(-1) - targets).abs().mean()


def configure(tmp_path, model="project.Net", data="project.make_sets", *, num_workers=0, **trainer):
    return TrainConfig(
        model=ImportedModelConfig(target=model, loss="cross_entropy"),
        data=ImportedDataConfig(target=data, batch_size=4, num_workers=num_workers),
        optimizer=AdamWConfig(),
        trainer=TrainerConfig(**{"max_epochs": 2, "device": "cpu", **trainer}),
        output_dir=str(tmp_path / "runs"),
    )


def read(result, name="last.ckpt"):
    state = torch.load(result.run_folder / name, weights_only=True)
    return repr({key: value for key, value in state.items() if key != "config"})


def test_a_module_with_a_loss_trains(tmp_path):
    """Metrics have the accuracy, of classes; the module's own names are below `module`."""
    result = train(configure(tmp_path, max_epochs=4))
    names = torch.load(result.best_checkpoint, weights_only=True)["model"]

    assert set(result.validation.metrics) == {"accuracy"}
    assert result.train.num_items == 30
    assert all(name.startswith("module.layers.") for name in names)


def test_a_module_and_a_loss_of_ones_own(tmp_path):
    """A regression: no accuracy; the loss falls."""
    config = configure(tmp_path, "torch.nn.Linear", "project.make_regression", max_epochs=20)
    config.model = ImportedModelConfig(
        target="torch.nn:Linear",
        kwargs={"in_features": 1, "out_features": 1},
        loss="project.mean_absolute_error",
    )
    config.optimizer = SGDConfig(learning_rate=0.05)
    result = train(config)

    assert result.validation.metrics == {}
    assert result.test.mean_loss < 0.2


@pytest.mark.parametrize(
    ("data", "num_workers"),
    [("project.make_sets", 0), ("project.make_sets", 2), ("project.make_loaders", 0)],
)
def test_random_augmentation_resumes_bitwise(tmp_path, monkeypatch, data, num_workers):
    """In the midst of an epoch, in workers or without, with our loaders or with somebody's."""

    def make(folder):
        config = configure(tmp_path, data=data, num_workers=num_workers, save_every_n_steps=2)
        return replace(config, output_dir=str(tmp_path / folder), resume="auto")

    expected = train(make("straight"))
    real, steps = Net.forward, []

    def die(self, inputs):
        steps.append(inputs)
        if self.training and len(steps) == 14:  # the fourth step of the second epoch
            raise KeyboardInterrupt
        return real(self, inputs)

    monkeypatch.setattr(Net, "forward", die)
    with pytest.raises(KeyboardInterrupt):
        train(make("killed"))
    monkeypatch.setattr(Net, "forward", real)
    actual = train(make("killed"))

    assert read(actual) == read(expected)
    assert actual.train == expected.train
    assert actual.validation == expected.validation


def test_workers_change_nothing(tmp_path):
    """Noise depends on seed, epoch and index, not on the process that adds it; a resume may have others."""
    results = [train(configure(tmp_path, num_workers=number)) for number in (0, 2)]
    more = replace(configure(tmp_path, max_epochs=3), resume=str(results[0].run_folder / "last.ckpt"))
    assert train(more).num_epochs == 3

    assert results[0].train == results[1].train
    assert results[0].validation == results[1].validation


def test_augmentation_is_another_in_each_epoch(tmp_path):
    """The same sample is not seen twice with the same noise."""
    config = configure(tmp_path)
    config.optimizer = AdamWConfig(learning_rate=1e-12, weight_decay=0.0)
    first = train(replace(config, trainer=replace(config.trainer, max_epochs=1)))
    second = train(config)

    assert first.train.mean_loss != second.train.mean_loss


def test_a_stream_is_limited_by_a_count(tmp_path):
    """Its length is not known: a count ends the epoch, a fraction is refused."""
    result = train(configure(tmp_path, data="project.make_endless", limit_train_batches=3))

    assert (result.num_steps, result.train.num_items, result.test.num_items) == (6, 12, 0)
    with pytest.raises(UsageError, match="0.5 is no count"):
        train(configure(tmp_path, data="project.make_endless", limit_train_batches=0.5))


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        ("nosuch.module.Net", "project.make_sets", "model.target='nosuch.module.Net': no module is called 'nosuch'"),
        ("project.Nett", "project.make_sets", "project has no 'Nett'; did you mean 'Net'"),
        ("random.Random", "project.make_sets", "made a Random, which has no training_step"),
        ("project.Net", "random.Random", "data.target='random.Random' made a Random; it must make"),
        ("project.Net", "project.make_regression", r"the first batch, float32\[4,1\], float32\[4\], could not be"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_explained(tmp_path, model, data, message):
    """What was found, and what was wanted."""
    with pytest.raises(UsageError, match=message):
        train(configure(tmp_path, model, data))


def test_a_module_without_a_loss_is_explained(tmp_path):
    """And one whose own optimizer is asked for, without it."""
    config = configure(tmp_path)
    config.model.loss = ""
    with pytest.raises(UsageError, match="has no training_step; give model.loss"):
        train(config)
    config.model.loss = "cross_entropie"
    with pytest.raises(UsageError, match="did you mean 'cross_entropy'"):
        train(config)
    with pytest.raises(UsageError, match="optimizer=own: Supervised has no configure_optimizers"):
        train(replace(configure(tmp_path), optimizer=OwnConfig()))


def needs_width(width):
    return Net(width)


def test_a_missing_keyword_is_explained(tmp_path):
    """With the key to give it by."""
    with pytest.raises(UsageError, match=r"missing 1 required .* 'width'; give it as model\.kwargs\.NAME="):
        train(configure(tmp_path, "project.needs_width"))


def test_data_that_does_not_say_enough_is_explained(tmp_path):
    """A transformer must know the number of tokens."""
    from trainkit.core.config import TransformerConfig

    config = replace(configure(tmp_path), model=TransformerConfig())
    with pytest.raises(UsageError, match="does not go with data that says nothing of itself: .*vocab_size"):
        train(config)


def test_keys_below_kwargs_are_free():
    """Any depth, and interpolations; what is not below stays fixed."""
    config = compose(
        [
            *("model=import", "model.target=a.B", "model.kwargs.width=3", "model.kwargs.inner.deep=${seed}"),
            *("++model.kwargs.inner.flag=true", "data.target=c.d", "data.kwargs={x: [1, 2]}", "seed=7"),
        ]
    )

    assert config.model.kwargs == {"width": 3, "inner": {"deep": 7, "flag": True}}
    assert config.data.kwargs == {"x": [1, 2]}
    assert (config.data.name, config.optimizer.name) == ("import", "own")
    with pytest.raises(ConfigError, match="model.kwarg"):
        compose(["model=import", "model.target=a.B", "data.target=c.d", "model.kwarg.width=3"])
    with pytest.raises(ConfigError, match=r"model\.target='': must be a dotted path"):
        compose(["model=import", "data=text"])


# --- estimators


class Mean:
    """As small as an estimator can be."""

    def __init__(self):
        self.mean = math.nan

    def fit(self, rows, targets):
        self.mean = float(targets.mean())

    def predict(self, rows):
        import numpy

        return numpy.full(len(rows), self.mean)


def configure_estimator(tmp_path, target, *, online=False, data=None, **kwargs):
    config = configure(tmp_path)
    config.model = ImportedModelConfig(target=target, online=online, kwargs=kwargs)
    config.data = data or DigitsConfig(batch_size=64)
    config.optimizer = OwnConfig()
    return config


def test_a_classifier_is_fitted_once(tmp_path):
    """On the whole training part, with the loss and the accuracy that scikit-learn itself computes."""
    metrics = pytest.importorskip("sklearn.metrics")
    from sklearn.linear_model import LogisticRegression

    from trainkit.core.datasets import build_digits

    result = train(configure_estimator(tmp_path, "sklearn.linear_model.LogisticRegression", max_iter=400))
    data = build_digits(DigitsConfig(), seed=0)
    rows = {
        name: next(iter(DataLoader(getattr(data, name).dataset, batch_size=2000)))
        for name in ("train", "test")
    }
    oracle = LogisticRegression(max_iter=400).fit(
        rows["train"][0].flatten(1).numpy(), rows["train"][1].numpy()
    )
    proba = oracle.predict_proba(rows["test"][0].flatten(1).numpy())

    assert (result.num_epochs, result.num_steps) == (1, 1)
    assert result.test.metrics["accuracy"] == pytest.approx(
        metrics.accuracy_score(rows["test"][1], proba.argmax(1)), abs=0.01
    )
    assert result.test.mean_loss == pytest.approx(metrics.log_loss(rows["test"][1], proba), abs=0.02)


def test_online_learning_resumes_bitwise(tmp_path):
    """Epoch by epoch with partial_fit; one and one more are two."""
    pytest.importorskip("skops")

    def make(folder, max_epochs):
        config = configure_estimator(
            tmp_path, "sklearn.linear_model.SGDClassifier", online=True, loss="log_loss", alpha=0.1
        )
        config.data = DigitsConfig(batch_size=64, shift=1)
        config.trainer = replace(config.trainer, max_epochs=max_epochs)
        return replace(config, output_dir=str(tmp_path / folder), resume="auto")

    straight, _, rest = train(make("a", 2)), train(make("b", 1)), train(make("b", 2))

    assert straight.num_steps == 2 * math.ceil(1078 / 64)
    assert (rest.train, rest.validation, rest.test) == (straight.train, straight.validation, straight.test)
    assert straight.test.metrics["accuracy"] > 0.5


@pytest.mark.parametrize("key", ["resume", "init_from"])
def test_online_learning_goes_on_with_new_data(tmp_path, capsys, key):
    """What was learnt from the old is the beginning: `partial_fit` sees the new alone, bitwise as by hand."""
    pytest.importorskip("skops")
    from sklearn.linear_model import SGDRegressor

    def make(name, target, **more):
        data = ImportedDataConfig(target=f"project.{target}", batch_size=20)
        config = configure_estimator(
            tmp_path,
            "sklearn.linear_model.SGDRegressor",
            online=True,
            data=data,
            random_state=0,
            shuffle=False,
        )
        config.trainer = replace(config.trainer, max_epochs=2 if more.get("resume") else 1)
        return replace(config, output_dir=str(tmp_path), exp_name=name, **more)

    def learn(target, estimator, epoch):
        train_set = sys.modules["project"].__dict__[target]()[0]
        order = EpochSampler(40, seed=0)
        order.set_epoch(epoch)
        rows = [train_set[index] for index in order]
        for start in (0, 20):
            inputs, targets = zip(*rows[start : start + 20], strict=True)
            estimator.partial_fit(torch.stack(inputs).numpy(), torch.stack(targets).numpy())

    old = train(make("old", "make_line")).run_folder / "last.ckpt"
    result = train(make("new", "make_other_line", **{key: str(old)}))
    by_hand = SGDRegressor(random_state=0, shuffle=False)
    learn("make_line", by_hand, 0)
    learn("make_other_line", by_hand, 1 if key == "resume" else 0)
    told = "going on with other data: data.target is 'project.make_line' there and"
    inputs, targets = make_other_line()[2].tensors
    loss = ((torch.from_numpy(by_hand.predict(inputs.numpy())) - targets) ** 2).mean().item()

    assert result.test.mean_loss == pytest.approx(loss, rel=1e-12)
    assert (told in capsys.readouterr().err) == (key == "resume")


def test_fitting_anew_has_no_use_for_weights(tmp_path):
    """`init_from` without `partial_fit` or a warm start would have no effect, and is refused."""
    pytest.importorskip("skops")
    data = ImportedDataConfig(target="project.make_line", batch_size=20)
    config = replace(configure_estimator(tmp_path, "sklearn.linear_model.Ridge", data=data), exp_name="old")
    path = train(config).run_folder / "last.ckpt"
    with pytest.raises(UsageError, match=r"its fit begins anew; set model\.online=true"):
        train(replace(config, exp_name="new", init_from=str(path)))


def make_line(slope=2):
    inputs = torch.linspace(-1, 1, 40, dtype=torch.float64)[:, None]
    return (TensorDataset(inputs, slope * inputs[:, 0]),) * 3


def make_other_line():
    return make_line(slope=-3)


def test_a_regressor_has_the_mean_squared_error(tmp_path):
    """And an estimator of one's own needs three methods, no scikit-learn class."""
    pytest.importorskip("skops")
    config = configure_estimator(
        tmp_path, "project.Mean", data=ImportedDataConfig(target="project.make_regression", batch_size=16)
    )
    result = train(config)

    inputs = torch.linspace(-1, 1, 40)
    assert result.test.mean_loss == pytest.approx((2 * inputs).square().mean().item(), rel=1e-6)


def make_columns():
    inputs = torch.linspace(-1, 1, 40)[:, None]
    return (TensorDataset(inputs, 2 * inputs),) * 3


def make_counts():
    inputs = torch.arange(40, dtype=torch.float32)[:, None]
    return (TensorDataset(inputs, torch.arange(40)),) * 3


def make_words():
    return ([(torch.ones(2, 3), ["a", "b"])],) * 3


def make_streams():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter([Augmented()[index] for index in range(10)])

    return Stream(), Stream(), Stream()


@pytest.mark.parametrize("data", ["project.make_columns", "project.make_counts"])
def test_targets_in_a_column_or_whole_numbers_are_no_other_problem(tmp_path, data):
    """A line is fitted exactly: nothing is broadcast, and a count is no class."""
    pytest.importorskip("skops")
    config = configure_estimator(
        tmp_path, "sklearn.linear_model.LinearRegression", data=ImportedDataConfig(target=data, batch_size=16)
    )
    result = train(config)

    assert result.test.mean_loss == pytest.approx(0.0, abs=1e-6)
    assert result.test.metrics == {}


def test_words_are_no_targets(tmp_path):
    """An estimator learns from tensors here."""
    data = ImportedDataConfig(target="project.make_words")
    with pytest.raises(UsageError, match="learns from tensors, and the data gives list"):
        train(configure_estimator(tmp_path, "project.Mean", data=data))


def test_streams_are_batched(tmp_path):
    """Iterable data sets have the batch size of the configuration."""
    result = train(configure(tmp_path, data="project.make_streams", max_epochs=1))

    assert (result.num_steps, result.train.num_items) == (3, 10)


def test_keys_of_a_mapping_keep_their_type():
    """Below kwargs nothing is made a string."""
    config = compose(
        ["model=import", "model.target=a.B", "data.target=c.d", "model.kwargs.weight={0: 1.0, 1: 5.0}"]
    )

    assert config.model.kwargs == {"weight": {0: 1.0, 1: 5.0}}


@pytest.mark.parametrize(
    ("target", "online", "message"),
    [
        ("sklearn.ensemble.RandomForestClassifier", True, "RandomForestClassifier has no partial_fit"),
        ("sklearn.linear_model.SGDClassifier", True, "needs the classes: give the data's num_classes"),
    ],
)
def test_what_cannot_learn_online_is_explained(tmp_path, target, online, message):
    """Before anything is trained."""
    pytest.importorskip("sklearn")
    data = ImportedDataConfig(target="project.make_regression")
    with pytest.raises(UsageError, match=message):
        train(configure_estimator(tmp_path, target, online=online, data=data))


class Bomb:
    """Runs code when it is read by pickle."""

    def __reduce__(self):
        return os.mkdir, (os.environ["BOMB"],)


def test_a_saved_estimator_of_another_package_is_refused(tmp_path, monkeypatch):
    """Types that are not of the estimator's own package are not made, and nothing is run."""
    skops = pytest.importorskip("skops.io")
    from trainkit.core.imported import Estimator

    monkeypatch.setenv("BOMB", str(tmp_path / "bomb"))
    estimator = Estimator(Mean(), online=False, num_classes=None)
    estimator.estimator.mean = Bomb()
    data = skops.dumps({"mean": estimator.estimator})
    target = Estimator(pytest.importorskip("sklearn.linear_model").Ridge(), online=False, num_classes=None)
    with pytest.raises(RuntimeError, match=r"which are not of sklearn"):
        target.set_extra_state(torch.frombuffer(bytearray(data), dtype=torch.uint8))

    assert not (tmp_path / "bomb").exists()


def explode(**kwargs):
    raise ValueError("no such shard\nand more")


@pytest.mark.parametrize("key", ["model", "data"])
def test_an_exception_in_somebodys_function_is_one_line(key):
    """With its kind, text and place; importing a file that is broken, too."""
    target = f"{__name__}.explode"
    config = compose(["model=import", f"model.target={target}", "data=import", f"data.target={target}"])
    build = (
        (lambda: import_task(config.model)) if key == "model" else (lambda: import_data(config.data, seed=0))
    )
    with pytest.raises(
        UsageError, match=rf"{key}.target='.*explode': ValueError: no such shard \(at .*py:\d+\)"
    ):
        build()
    sys.modules.pop("broken_module", None)


def test_a_module_that_cannot_be_imported_is_one_line(tmp_path, monkeypatch):
    """An error of its own, not only a missing one."""
    (tmp_path / "broken_module.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        UsageError, match=r"data.target='broken_module.x': ZeroDivisionError: .* \(at .*module.py:1\)"
    ):
        import_data(ImportedDataConfig(target="broken_module.x"), seed=0)
