"""Options that change between a kill and a resume, and what is left in a folder."""

from dataclasses import replace

import numpy
import pytest
import torch

from trainkit.core import trainer
from trainkit.core.checkpoint import Progress, build_state, save_checkpoint
from trainkit.core.config import CosineConfig, OwnConfig
from trainkit.core.data import Loaders
from trainkit.core.task import Task
from trainkit.core.trainer import fit, train
from trainkit.errors import UsageError


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ({"ema_decay": 0.5}, {}, "trainer.ema_decay is 0.5 there"),
        ({}, {"ema_decay": 0.5}, "trainer.ema_decay is 0.0 there"),
        (
            {"accumulate_grad_batches": 2},
            {},
            "trainer.accumulate_grad_batches is 2 there, and with it the schedule",
        ),
        ({}, {"limit_train_batches": 3}, "trainer.limit_train_batches is 1.0 there"),
    ],
)
def test_what_a_run_has_done_with_an_option_cannot_change(tiny_config, before, after, message):
    """A schedule would jump, an average would begin in the middle: said, not done."""
    schedule = CosineConfig(warmup_steps=1)
    train(replace(tiny_config(max_epochs=1, **before), schedule=schedule))
    with pytest.raises(UsageError, match=message):
        train(replace(tiny_config(max_epochs=2, **after), schedule=schedule, resume="auto"))


def test_a_limit_below_what_is_done_is_explained(tiny_config, monkeypatch):
    """In the midst of an epoch."""
    real = trainer._write

    def die(run, *, is_best):
        real(run, is_best=is_best)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "_write", die)
        with pytest.raises(KeyboardInterrupt):
            train(tiny_config(save_every_n_steps=5))
    with pytest.raises(UsageError, match="5 batches of an epoch are done, and there are 3"):
        train(replace(tiny_config(limit_train_batches=3), resume="auto"))


def test_a_new_run_leaves_nothing_of_an_old_one(tiny_config, monkeypatch):
    """Killed before its first checkpoint, it is not resumed from another run's."""
    old = train(tiny_config())
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "_run_epoch", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train(tiny_config())

    assert not [path for path in old.run_folder.iterdir() if path.suffix == ".ckpt"]


@pytest.mark.parametrize("name", ["last.ckpt", "best.ckpt", "previous.ckpt"])
def test_litter_of_a_run_in_parts_does_not_block_a_save(tiny_config, name):
    """A folder that was being written when its processes were killed."""
    first = train(tiny_config(max_epochs=1))
    (first.run_folder / f"{name}.tmp").mkdir()
    (first.run_folder / f"{name}.tmp" / "part").write_text("x")

    assert train(replace(tiny_config(), resume="auto")).num_epochs == 2


def test_numbers_of_numpy_become_pythons(tmp_path, tiny_config):
    """torch writes them and reads them never again."""
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=numpy.float64(0.25))
    state = build_state(config=tiny_config(), model=model, optimizer=optimizer, progress=Progress())
    save_checkpoint(tmp_path / "a.ckpt", state)

    group = torch.load(tmp_path / "a.ckpt", weights_only=True)["optimizer"]["param_groups"][0]
    assert type(group["lr"]) is float and group["lr"] == 0.25


class Line(Task):
    """y = a x; `gives` is what its steps make of the loss."""

    def __init__(self, training=lambda loss: loss, validation=lambda loss: loss):
        super().__init__()
        self.a = torch.nn.Parameter(torch.zeros(1))
        self.gives = training, validation

    def training_step(self, batch, batch_idx):
        return self.gives[0]((self.a * batch[0] - batch[1]).square())

    def validation_step(self, batch, batch_idx):
        return self.gives[1]((self.a * batch[0] - batch[1]).square().mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize(
    ("training", "validation", "monitor", "message"),
    [
        (lambda x: x, lambda x: x, "", r"training_step gave loss: float32\[4\]; it must give the mean loss"),
        (lambda x: {"error": x.mean()}, lambda x: x, "", "training_step gave error"),
        (torch.mean, lambda x: {"accuracy": x}, "", "validation_step gave accuracy, and no 'loss'"),
        (torch.mean, lambda x: {"accuracy": x}, "error", "validation_step gave accuracy, and no 'error'"),
        (
            torch.mean,
            lambda x: {"loss": x.mean()},
            "error",
            "trainer.monitor='error': the validation gives a loss alone",
        ),
        (torch.mean, torch.mean, "val_los", "trainer.monitor='val_los': the validation gives a loss"),
    ],
)
def test_a_task_without_a_loss_is_explained(tiny_config, training, validation, monitor, message):
    """A missing loss is no loss of zero."""
    batches = [(torch.ones(4), torch.ones(4))]
    config = replace(tiny_config(monitor=monitor), optimizer=OwnConfig())
    with pytest.raises(UsageError, match=message):
        fit(Line(training, validation), Loaders(batches, batches, []), config)
