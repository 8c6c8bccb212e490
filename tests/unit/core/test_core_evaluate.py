"""From weights to weights, and many models in one table."""

import math
from dataclasses import replace

import pytest
import torch

from trainkit.cli import evaluate as command
from trainkit.core.config import (
    DigitsConfig,
    ImportedDataConfig,
    ImportedModelConfig,
    LSTMConfig,
    OwnConfig,
    TransformerConfig,
)
from trainkit.core.evaluate import Measured, evaluate
from trainkit.core.loop import EpochResult
from trainkit.core.models import Transformer
from trainkit.core.trainer import train
from trainkit.errors import ConfigError, UsageError


def weights_of(result, name="last.ckpt"):
    return torch.load(result.run_folder / name, weights_only=True)["model"]


@pytest.fixture
def base(tiny_config):
    """A run to begin from."""
    return train(replace(tiny_config(max_epochs=1), exp_name="base"))


def test_a_new_run_begins_with_the_weights_of_a_file(tiny_config, tmp_path, base, capsys):
    """A checkpoint, a state dict, a Lightning checkpoint or safetensors: all the same."""
    weights = weights_of(base, "best.ckpt")
    files = {"run": base.best_checkpoint, "plain": tmp_path / "plain.pt", "lightning": tmp_path / "l.ckpt"}
    torch.save(weights, files["plain"])
    torch.save({"state_dict": weights, "epoch": 3, "global_step": 9}, files["lightning"])
    import safetensors.torch as safetensors

    files["safe"] = tmp_path / "weights.safetensors"
    safetensors.save_file({name: value.contiguous() for name, value in weights.items()}, files["safe"])
    ends = [
        weights_of(train(replace(tiny_config(max_epochs=1), init_from=str(path), exp_name=name)))
        for name, path in files.items()
    ]
    fresh = weights_of(train(replace(tiny_config(max_epochs=1), exp_name="fresh")))

    assert capsys.readouterr().err == ""
    for end in ends[1:]:
        assert all(torch.equal(value, ends[0][name]) for name, value in end.items())
    assert any(not torch.equal(value, fresh[name]) for name, value in ends[0].items())


def test_an_average_is_what_is_begun_from(tiny_config, tmp_path):
    """Where a run kept one: it is what was validated."""
    first = train(replace(tiny_config(max_epochs=1, ema_decay=0.5), exp_name="average"))
    state = torch.load(first.best_checkpoint, weights_only=True)["extra"]["average"]
    config = replace(tiny_config(max_epochs=1), init_from=str(first.best_checkpoint), freeze=["[!h]*"])
    end = weights_of(train(config))

    assert torch.equal(end["embedding.weight"], state["module.embedding.weight"])


def test_what_is_missing_or_unused_is_told(tiny_config, tmp_path, base, capsys):
    """A head of another size is left out by hand; the rest fits."""
    weights = weights_of(base)
    del weights["head.weight"]
    weights["other"] = torch.zeros(1)
    torch.save(weights, tmp_path / "w.pt")
    train(replace(tiny_config(max_epochs=1), init_from=str(tmp_path / "w.pt")))
    lines = capsys.readouterr().err.splitlines()

    assert lines == [
        f"trainkit: init_from='{tmp_path}/w.pt': 1 tensors not in it, left as built: head.weight",
        f"trainkit: init_from='{tmp_path}/w.pt': 1 tensors in it and not in the model: other",
    ]


def test_a_resumed_run_does_not_begin_again(tiny_config, base):
    """init_from is for the start; a resume goes on with its own weights."""
    config = replace(tiny_config(), init_from=str(base.best_checkpoint), exp_name="tuned", resume="auto")
    straight = train(config)
    half = replace(config, exp_name="half", trainer=replace(config.trainer, max_epochs=1))
    train(half)
    rest = train(replace(half, trainer=config.trainer))

    assert rest.train == straight.train


def test_frozen_parts_stay(tiny_config, base):
    """To the bit; the rest moves, and nothing of them is in the optimizer."""
    begun = weights_of(base, "best.ckpt")
    config = replace(tiny_config(), init_from=str(base.best_checkpoint), freeze=["embedding.*", "blocks.0.*"])
    result = train(config)
    end, state = weights_of(result), torch.load(result.run_folder / "last.ckpt", weights_only=True)

    moved = {name for name, value in end.items() if not torch.equal(value, begun[name])}
    assert moved == {"norm.weight", "norm.bias", "head.weight"}
    assert len(state["optimizer"]["state"]) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"freeze": ["blocks.9.*"]}, r"no parameter matches 'blocks\.9\.\*'"),
        ({"freeze": ["*"]}, "nothing is left to train"),
        ({"init_from": "nothing.pt"}, "no file 'nothing.pt'"),
        ({"init_from": "nothing.safetensors"}, "'nothing.safetensors' cannot be read as safetensors"),
    ],
)
def test_what_cannot_be_begun_from_is_explained(tiny_config, change, message):
    """Before anything is trained."""
    with pytest.raises(UsageError, match=message):
        train(replace(tiny_config(), **change))


def test_weights_of_another_model_are_refused(tiny_config, tmp_path, base):
    """By shape, with both; by name; and what holds no weights."""
    other = replace(tiny_config(), init_from=str(base.best_checkpoint))
    other.model = replace(other.model, model_dim=32)
    with pytest.raises(UsageError, match=r"embedding.weight is \[256, 16\] there and \[256, 32\] here"):
        train(other)
    other.model = LSTMConfig(embedding_dim=16, hidden_dim=8)
    torch.save({"a": torch.zeros(2)}, tmp_path / "a.pt")
    other.init_from = str(tmp_path / "a.pt")
    with pytest.raises(UsageError, match="no name in it is one of LSTM's"):
        train(other)
    torch.save({"a": 3}, tmp_path / "a.pt")
    with pytest.raises(UsageError, match="holds no weights"):
        train(other)
    with pytest.raises(ConfigError, match="contradicts resume"):
        train(replace(tiny_config(), init_from="a.pt", resume="b.ckpt"))


def test_a_checkpoint_is_measured_as_its_run_was(tiny_config, base, text_file, capsys):
    """The test part of its own data; overrides and another part give other numbers; many make a mean."""
    measured = evaluate(base.best_checkpoint, [])
    other = text_file.with_name("other.txt")
    other.write_text("\n\n".join(f"number {n} of another text" for n in range(30)), encoding="utf-8")
    path = str(base.best_checkpoint)
    status = command.run([path, f"other:{path}", f"data.source='{other}'", f"seen:{path}", "part=train"])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]

    assert measured.result == base.test
    assert measured.perplexity == base.test.metrics["perplexity"]
    assert math.isnan(measured.score)
    assert status == 0
    assert [row[0] for row in rows] == ["task", path, "other", "seen", "mean"]
    assert rows[1][1:3] == [str(base.test.num_items), f"{base.test.mean_loss:.6f}"]
    assert len({row[2] for row in rows[1:4]}) == 3
    perplexities = [float(row[-2]) for row in rows[1:]]
    assert perplexities[3] == pytest.approx(sum(perplexities[:3]) / 3, rel=1e-4)


def test_classes_have_a_score_of_ones_choice(tiny_config, tmp_path, capsys):
    """Accuracy, or any function of (targets, predictions)."""
    metrics = pytest.importorskip("sklearn.metrics")
    config = replace(tiny_config(max_epochs=1), data=DigitsConfig(batch_size=64), optimizer=OwnConfig())
    config.model = ImportedModelConfig(target="sklearn.linear_model.RidgeClassifier", kwargs={"alpha": 2.0})
    path = train(config).best_checkpoint
    command.run([f"a:{path}", "metric=sklearn.metrics.matthews_corrcoef", f"b:{path}"])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]

    assert metrics.matthews_corrcoef([1, 0], [1, 0]) == 1.0
    assert 0.8 < float(rows[1][4]) < 1
    assert float(rows[1][4]) != float(rows[2][4])
    assert rows[3] == ["mean", "-", f"{(float(rows[1][4]) + float(rows[2][4])) / 2:.6g}"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give a checkpoint; see trainkit evaluate --help"),
        (["part=test"], "'part=test' stands before the checkpoint"),
        (["a.ckpt", "a.ckpt"], "'a.ckpt' stands twice"),
        (["a.ckpt", "part=half"], "part=half: must be one of train, validation, test"),
        (["--fast"], "trainkit evaluate has no option '--fast'"),
        (["nothing.ckpt"], "no file 'nothing.ckpt'"),
    ],
)
def test_wrong_arguments_are_explained(arguments, message):
    """In one line."""
    with pytest.raises(UsageError, match=message):
        command.run(arguments)


def test_what_does_not_fit_a_checkpoint_is_explained(base, tmp_path):
    """Another model, a metric without predictions, a part that is empty, a file that is none of ours."""
    path = base.best_checkpoint
    with pytest.raises(UsageError, match=r"size mismatch for embedding.weight: .* \(and \d+ more\)$"):
        evaluate(path, ["model.model_dim=32"])
    with pytest.raises(UsageError, match="Transformer has no predict_step"):
        evaluate(path, [], metric="sklearn.metrics.accuracy_score")
    with pytest.raises(UsageError, match="nothing to measure in the test part"):
        evaluate(path, ["data.train_fraction=1.0", "data.validation_fraction=0.0"])
    torch.save(Transformer(TransformerConfig(), vocab_size=7).state_dict(), tmp_path / "w.pt")
    with pytest.raises(UsageError, match="is no trainkit checkpoint"):
        evaluate(tmp_path / "w.pt", [])


def make_parts():
    """Give three small data sets."""
    return [torch.utils.data.TensorDataset(torch.ones(4, 2), torch.ones(4, 1)) for _ in range(3)]


def test_foreign_data_says_itself_what_its_parts_are(tiny_config, tmp_path):
    """All of it is nothing that we could know."""
    config = replace(tiny_config(max_epochs=1), data=ImportedDataConfig(target=f"{__name__}.make_parts"))
    sizes = {"in_features": 2, "out_features": 1}
    config.model = ImportedModelConfig(target="torch.nn.Linear", kwargs=sizes, loss="mse_loss")
    result = train(config)
    with pytest.raises(UsageError, match="part=all: data=import says itself what its parts are"):
        evaluate(result.best_checkpoint, [], part="all")


def test_the_help_is_an_example(capsys):
    """Asked for, it is printed."""
    assert command.run(["--help"]) == 0
    assert "trainkit evaluate runs/default/best.ckpt" in capsys.readouterr().out


def test_a_mean_over_what_is_not_everywhere_is_none():
    """A score that one task lacks has no mean."""
    one = Measured(EpochResult(2.0, 1), 0.5)
    other = Measured(EpochResult(2.0, 1, derived={"perplexity": 3.0}), math.nan)

    assert command.list_rows({"a": one, "b": other})[-1] == ("mean", "", "", "-", "-")
