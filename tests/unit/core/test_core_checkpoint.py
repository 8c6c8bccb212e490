"""Checkpoints: whole or absent, safe to read, and of the same run."""

import dataclasses
import math
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from trainkit.core.checkpoint import (
    Progress,
    build_state,
    load_checkpoint,
    restore_checkpoint,
    save_checkpoint,
)
from trainkit.core.config import CosineConfig, LSTMConfig, TextConfig, TrainConfig
from trainkit.core.loop import EpochResult
from trainkit.core.models import LSTM
from trainkit.core.optim import build_adamw
from trainkit.errors import TrainkitError, UsageError


def build_parts(num_features=3):
    """Give a small model and its optimizer, one step in."""
    model = nn.Linear(num_features, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, num_features)).sum().backward()
    optimizer.step()
    return model, optimizer


def save(path, config=None, progress=None):
    """Save small parts; give them."""
    model, optimizer = build_parts()
    state = build_state(
        config=config or TrainConfig(), model=model, optimizer=optimizer, progress=progress or Progress()
    )
    save_checkpoint(path, state)
    return model, optimizer


def test_round_trip_restores_everything(tmp_path):
    """Weights, optimizer state, progress and RNG are what they were."""
    saved, saved_optimizer = save(tmp_path / "a.ckpt", progress=Progress(2, 30, 0.1))
    expected_draw = torch.rand(3)
    model, optimizer = build_parts()
    optimizer.step()  # its state is another one now
    state = load_checkpoint(tmp_path / "a.ckpt", TrainConfig())
    progress = restore_checkpoint(state, model=model, optimizer=optimizer)

    assert torch.equal(torch.rand(3), expected_draw)
    assert progress == Progress(2, 30, 0.1)
    assert torch.equal(model.weight, saved.weight)
    for key in ("step", "exp_avg", "exp_avg_sq"):
        assert torch.equal(optimizer.state[model.weight][key], saved_optimizer.state[saved.weight][key])


def test_nan_survives(tmp_path):
    """A run without a validation loss has nan, before and after."""
    save(tmp_path / "a.ckpt")

    assert math.isnan(load_checkpoint(tmp_path / "a.ckpt", TrainConfig())["progress"]["best_loss"])


def test_crash_while_saving_keeps_the_old_file(tmp_path, monkeypatch):
    """Half a write leaves the old checkpoint as it was, and no litter."""
    save(tmp_path / "a.ckpt")
    before = (tmp_path / "a.ckpt").read_bytes()

    def write_half(state, file):
        file.write(before[: len(before) // 2])
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", write_half)
    with pytest.raises(TrainkitError, match=r"a\.ckpt' could not be written: disk full; the one before"):
        save(tmp_path / "a.ckpt")

    assert (tmp_path / "a.ckpt").read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["a.ckpt"]


def test_a_checkpoint_of_the_first_format_loads_for_ever():
    """Written before there was a place within an epoch; settings that are younger have their defaults."""
    path = Path(__file__).parents[2] / "assets" / "checkpoints" / "format1.ckpt"
    config = TrainConfig(
        model=LSTMConfig(embedding_dim=2, hidden_dim=2), data=TextConfig(sequence_length=8), resume=str(path)
    )
    state = load_checkpoint(path, config)
    model = LSTM(config.model, vocab_size=256)
    progress = restore_checkpoint(state, model=model, optimizer=build_adamw(config.optimizer, model))

    assert state["format"] == 1
    assert (progress.num_epochs, progress.num_steps, progress.epoch) == (2, 6, {})


def test_a_checkpoint_of_the_second_format_loads_for_ever():
    """Written in the midst of an epoch, when items were called tokens; with a scaler and an average."""
    path = Path(__file__).parents[2] / "assets" / "checkpoints" / "format2.ckpt"
    config = TrainConfig(
        model=LSTMConfig(embedding_dim=2, hidden_dim=2, dropout=0.0),
        data=TextConfig(source="text.txt", sequence_length=8, batch_size=4),
        schedule=CosineConfig(warmup_steps=2),
        resume=str(path),
    )
    state = load_checkpoint(path, config)
    model = LSTM(config.model, vocab_size=256)
    extra = {"average": AveragedModel(model), "scaler": torch.amp.GradScaler("cpu")}
    optimizer = build_adamw(config.optimizer, model)
    progress = restore_checkpoint(state, model=model, optimizer=optimizer, extra=extra)

    assert state["format"] == 2
    assert EpochResult(**progress.epoch) == EpochResult(566.1606903076172, 98, num_steps=2, num_batches=4)
    assert (progress.num_epochs, progress.num_steps) == (1, 4)
    assert extra["average"].n_averaged == 6


@pytest.mark.parametrize("links", [True, False])
def test_the_last_one_becomes_the_previous_one(tmp_path, monkeypatch, links):
    """On a file system that knows no links, too."""
    if not links:
        monkeypatch.setattr(Path, "hardlink_to", lambda *_: (_ for _ in ()).throw(OSError("not supported")))
    save(tmp_path / "last.ckpt")
    before = (tmp_path / "last.ckpt").read_bytes()
    save(tmp_path / "last.ckpt", progress=Progress(num_steps=7))

    assert (tmp_path / "previous.ckpt").read_bytes() == before
    assert (tmp_path / "last.ckpt").read_bytes() != before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.ckpt", "previous.ckpt"]


class Planted:
    """A pickle that writes a file when it is read carelessly."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("write", [lambda value, path: torch.save(value, path), "pickle"])
def test_malicious_file_runs_nothing(tmp_path, write):
    """A planted pickle, bare or inside torch's own format, is refused without running."""
    planted = {"format": 1, "model": Planted(tmp_path / "ran")}
    path = tmp_path / "evil.ckpt"
    if write == "pickle":
        path.write_bytes(pickle.dumps(planted))
    else:
        write(planted, path)
    with pytest.raises(UsageError) as caught:
        load_checkpoint(path, TrainConfig())

    assert caught.value.slug == "checkpoint-unreadable"
    assert not (tmp_path / "ran").exists()
    torch.load(path, weights_only=False) if write != "pickle" else pickle.loads(path.read_bytes())
    assert (tmp_path / "ran").exists(), "the planted file is harmless: this test proves nothing"


def test_missing_file_is_named(tmp_path):
    """A path that is not there is in the message, without a newline."""
    with pytest.raises(UsageError, match=r"no file '.*no\.ckpt'; give the path"):
        load_checkpoint(tmp_path / "no.ckpt", TrainConfig())
    (tmp_path / "last.ckpt").touch()
    with pytest.raises(UsageError, match=r"is the folder of a run; give a checkpoint in it: .*/last\.ckpt"):
        load_checkpoint(tmp_path, TrainConfig())


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_truncated_file_is_refused(tmp_path, share):
    """Any part of a checkpoint is no checkpoint."""
    path = tmp_path / "a.ckpt"
    save(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(UsageError) as caught:
        load_checkpoint(path, TrainConfig())

    assert caught.value.slug == "checkpoint-unreadable"
    assert len(caught.value.lines()[0].splitlines()) == 1


def test_flipped_weight_is_refused(tmp_path):
    """One changed bit in a weight is found."""
    path = tmp_path / "a.ckpt"
    model, _ = save(path)
    content = bytearray(path.read_bytes())
    content[content.index(model.weight.detach().numpy().tobytes())] ^= 1
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        load_checkpoint(path, TrainConfig())

    assert caught.value.slug == "checkpoint-unreadable"


@pytest.mark.parametrize(
    ("state", "found"), [({"epoch": 3}, "format None"), ([1, 2], "list"), ({"format": 99}, "format 99")]
)
def test_foreign_file_is_refused(tmp_path, state, found):
    """Somebody else's checkpoint is not ours, even when it is readable."""
    path = tmp_path / "other.ckpt"
    torch.save(state, path)
    with pytest.raises(UsageError) as caught:
        load_checkpoint(path, TrainConfig())

    assert caught.value.lines() == [
        f"checkpoint-foreign: '{path}' is no trainkit checkpoint of format 3 (found {found}); "
        "give a last.ckpt or best.ckpt that this version wrote"
    ]


def test_other_run_is_refused_with_every_difference(tmp_path):
    """All differing settings are named with both values; those of the trainer are free."""
    path = tmp_path / "a.ckpt"
    save(path, config=TrainConfig(model=LSTMConfig(num_layers=2)))
    other = TrainConfig(model=LSTMConfig(hidden_dim=8), seed=4, exp_name="other")
    other.trainer = dataclasses.replace(other.trainer, max_epochs=99)
    with pytest.raises(UsageError) as caught:
        load_checkpoint(path, other)

    assert caught.value.lines() == [
        f"checkpoint-mismatch: '{path}' is of another run: model.num_layers is 2 there and 1 here; "
        "model.hidden_dim is 256 there and 8 here; seed is 0 there and 4 here; "
        "give the same settings, or train anew"
    ]


def test_other_option_is_refused(tmp_path):
    """A key that only one side has is told."""
    path = tmp_path / "a.ckpt"
    save(path)
    with pytest.raises(UsageError, match=r"model.num_heads is 4 there and 'absent' here"):
        load_checkpoint(path, TrainConfig(model=LSTMConfig()))


def test_parameters_of_other_code_are_refused(tmp_path):
    """The same configuration with another shape of model is a mistake of the user, not a traceback."""
    save(tmp_path / "a.ckpt")
    state = load_checkpoint(tmp_path / "a.ckpt", TrainConfig())
    model, optimizer = build_parts(num_features=4)
    with pytest.raises(UsageError, match="size mismatch for weight") as caught:
        restore_checkpoint(state, model=model, optimizer=optimizer)

    assert caught.value.slug == "checkpoint-mismatch"
    assert len(caught.value.lines()[0].splitlines()) == 1
