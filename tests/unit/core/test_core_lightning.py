"""Bit for bit: a LightningModule in our loop, our task under Lightning's Trainer, a loop by hand."""

import copy
import math
import random
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from trainkit.core.config import CosineConfig, OwnConfig, TrainConfig, TrainerConfig
from trainkit.core.lightning import to_lightning
from trainkit.core.models import Transformer
from trainkit.core.optim import build_adamw
from trainkit.core.text import build_text
from trainkit.core.trainer import fit, train
from trainkit.errors import UsageError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    L = pytest.importorskip("lightning.pytorch")


class Noisy(Dataset):
    """Vectors and classes; each reading adds noise from torch's and Python's global generators."""

    def __init__(self, size):
        generator = torch.Generator().manual_seed(size)
        self.inputs = torch.randn(size, 6, generator=generator)
        self.targets = (self.inputs.sum(1) > 0).long()

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, index):
        noise = 0.1 * torch.randn(6) + 0.01 * random.random()
        return self.inputs[index] + noise, self.targets[index]


class NoisyData(L.LightningDataModule):
    def __init__(self, num_workers=0):
        super().__init__()
        self.num_workers = num_workers

    def setup(self, stage):
        self.parts = {name: Noisy(size) for name, size in (("train", 44), ("val", 12), ("test", 8))}

    def train_dataloader(self):
        return DataLoader(self.parts["train"], batch_size=4, shuffle=True, num_workers=self.num_workers)

    def val_dataloader(self):
        return DataLoader(self.parts["val"], batch_size=4)

    def test_dataloader(self):
        return DataLoader(self.parts["test"], batch_size=4)


class Classifier(L.LightningModule):
    """As people write them: logs, hooks, a scheduler by step, an average that it keeps itself."""

    def __init__(self, scheduler="step"):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(
            nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 2)
        )
        self.slow = copy.deepcopy(self.net)
        self.slow.requires_grad_(False)
        self.losses, self.called = [], []

    def forward(self, inputs):
        return self.net(inputs)

    def training_step(self, batch):  # without the index, as Lightning allows
        loss = F.cross_entropy(self(batch[0]), batch[1])
        self.log("train_loss", loss, prog_bar=True)
        self.losses.append(loss.item())
        return loss

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.called.append((batch_idx, self.global_step, float(outputs["loss"]).hex(), self.current_epoch))
        with torch.no_grad():
            for slow, fast in zip(self.slow.parameters(), self.net.parameters(), strict=True):
                slow.lerp_(fast, 0.1)

    def on_train_epoch_end(self):
        self.called.append("epoch")

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", F.cross_entropy(self(batch[0]), batch[1]))
        self.log_dict({"val_acc": (self(batch[0]).argmax(1) == batch[1]).float().mean()})

    def configure_optimizers(self):
        groups = [
            {"params": self.net[0].parameters(), "weight_decay": 0.1},
            {"params": self.net[1:].parameters()},
        ]
        optimizer = torch.optim.AdamW(groups, lr=0.02)
        if self.hparams.scheduler == "step":
            total = self.trainer.estimated_stepping_batches
            scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=int(total))
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)]


def train_with_lightning(module, data, **options):
    """Two epochs with Lightning's own Trainer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = L.Trainer(
            max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, **options,
        )  # fmt: skip
        if isinstance(data, tuple):
            trainer.fit(module, *data)
        else:
            trainer.fit(module, data)
    return trainer


def configure(tmp_path, **trainer):
    """The same in our words."""
    settings = TrainerConfig(max_epochs=2, device="cpu", **trainer)
    return TrainConfig(optimizer=OwnConfig(), trainer=settings, output_dir=str(tmp_path / "runs"))


def same(one, other):
    """Say whether two state dicts are bitwise equal, and name what is not."""
    assert list(one) == list(other)
    return [name for name, value in one.items() if not torch.equal(value, other[name])] == []


@pytest.mark.parametrize("scheduler", ["step", "epoch"])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_lightning_module_trains_to_the_same_bits(tmp_path, scheduler, accumulate):
    """Losses, hooks, weights, buffers and metrics, with 11 batches in groups of 3."""
    runs = []
    for ours in (True, False):
        torch.manual_seed(3)
        random.seed(3)
        module, data = Classifier(scheduler), NoisyData()
        if ours:
            clip = {"clip_norm": 0.3, "accumulate_grad_batches": accumulate}
            result = fit(module, data, configure(tmp_path, **clip))
            metrics = result.validation.metrics
        else:
            clip = {"gradient_clip_val": 0.3, "accumulate_grad_batches": accumulate}
            metrics = train_with_lightning(module, data, **clip).callback_metrics
        runs.append((module, metrics))
    (mine, my_metrics), (theirs, their_metrics) = runs

    assert mine.losses == theirs.losses
    assert len(mine.losses) == 22
    assert mine.called == theirs.called
    assert same(mine.state_dict(), theirs.state_dict())
    for name in ("val_loss", "val_acc"):
        assert my_metrics[name] == pytest.approx(their_metrics[name].item(), rel=1e-6)


def train_by_hand(task, data, config):
    """As anyone would write it, for two epochs: a cosine with two warm-up steps."""
    trainer = config.trainer
    optimizer = build_adamw(config.optimizer, task)
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    size, step = trainer.accumulate_grad_batches, 0
    total = 2 * math.ceil(len(data.train) / size)
    for epoch in range(2):
        data.sampler.set_epoch(epoch)
        task.train()
        for number, (tokens, targets) in enumerate(data.train, start=1):
            loss = F.cross_entropy(task(tokens).flatten(0, 1), targets.flatten(), ignore_index=-100)
            (loss / size).backward()
            if number % size == 0 or number == len(data.train):
                rate = 0.1 + 0.9 * (1 + math.cos(math.pi * (step - 2) / (total - 1 - 2))) / 2
                for group in optimizer.param_groups:
                    group["lr"] = 1e-3 * ((step + 1) / 2 if step < 2 else rate)
                nn.utils.clip_grad_norm_(parameters, trainer.clip_norm)
                optimizer.step()
                optimizer.zero_grad()
                step += 1


@pytest.mark.parametrize("accumulate", [1, 4])
def test_our_task_under_lightning_and_by_hand_trains_to_the_same_bits(tiny_config, tmp_path, accumulate):
    """Dropout, shuffling, clipping, a cosine, a ragged last group: three loops, the same weights."""
    config = tiny_config(clip_norm=0.5, accumulate_grad_batches=accumulate, average_over="batches")
    config.schedule = CosineConfig(warmup_steps=2)
    result = train(config)
    expected = torch.load(result.run_folder / "last.ckpt", weights_only=True)["model"]

    torch.manual_seed(config.seed)
    random.seed(config.seed)
    data = build_text(config.data, seed=config.seed)
    task = Transformer(config.model, vocab_size=256)
    trainer = train_with_lightning(
        to_lightning(task, config),
        (data.train, data.validation),
        gradient_clip_val=0.5,
        accumulate_grad_batches=accumulate,
    )

    torch.manual_seed(config.seed)
    by_hand = Transformer(config.model, vocab_size=256)
    train_by_hand(by_hand, build_text(config.data, seed=config.seed), config)

    assert len(data.train) % 4
    assert same(by_hand.state_dict(), expected)
    assert trainer.global_step == result.num_steps
    assert same(task.state_dict(), expected)
    assert trainer.callback_metrics["val_loss"].item() == pytest.approx(result.validation.mean_loss, rel=1e-6)


def test_the_mean_over_items_is_another_one(tiny_config):
    """A ragged last group weighs what it holds here, and less in Lightning: the weights tell."""
    ends = []
    for average_over in ("items", "batches"):
        result = train(tiny_config(accumulate_grad_batches=4, average_over=average_over))
        ends.append(torch.load(result.run_folder / "last.ckpt", weights_only=True)["model"])

    assert not same(*ends)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_killed_run_of_a_lightning_module_goes_on_to_the_same_bits(tmp_path, monkeypatch, num_workers):
    """With a shuffled loader and noise of its own, in the midst of an epoch: what Lightning itself cannot."""
    config = configure(tmp_path, save_every_n_steps=3)
    config.resume = "auto"

    def begin(folder):
        torch.manual_seed(3)
        random.seed(3)
        config.output_dir = str(tmp_path / folder)
        return Classifier(), NoisyData(num_workers)

    expected = fit(*begin("straight"), config)
    module, data = begin("killed")
    real, steps = module.training_step, []

    def die(batch):
        steps.append(batch)
        if len(steps) == 18:
            raise KeyboardInterrupt
        return real(batch)

    module.training_step = die
    with pytest.raises(KeyboardInterrupt):
        fit(module, data, config)
    module, data = begin("killed")
    torch.manual_seed(99)  # a new process does not know where the old one was
    actual = fit(module, data, config)

    states = [torch.load(each.run_folder / "last.ckpt", weights_only=True) for each in (expected, actual)]
    assert len(module.losses) == 22 - 15
    assert repr(states[0]["optimizer"]) == repr(states[1]["optimizer"])
    assert states[0]["extra"] == states[1]["extra"]
    assert same(states[0]["model"], states[1]["model"])
    assert actual.validation == expected.validation


class Splitting(NoisyData):
    """As many do: splits at random, whatever the stage."""

    def setup(self, stage):
        parts = torch.utils.data.random_split(Noisy(64), [44, 12, 8])
        self.parts = dict(zip(("train", "val", "test"), parts, strict=True))


def test_a_split_at_random_is_made_once_before_training(tmp_path):
    """The test's setup comes after the training, as in Lightning."""
    losses = []
    for ours in (True, False):
        torch.manual_seed(3)
        random.seed(3)
        module, data = Classifier(), Splitting()
        if ours:
            fit(module, data, configure(tmp_path, clip_norm=0.0))
        else:
            train_with_lightning(module, data)
        losses.append(module.losses)

    assert losses[0] == losses[1]


def test_a_module_is_left_for_another_trainer(tmp_path):
    """Lightning's own goes on with it."""
    module = Classifier()
    fit(module, NoisyData(), configure(tmp_path))
    assert "log" not in vars(module)
    trainer = train_with_lightning(module, NoisyData())

    assert "val_loss" in trainer.callback_metrics


class Scheduled(Classifier):
    """With whatever configure_optimizers is asked to give."""

    def __init__(self, configured):
        super().__init__()
        self.configured, self.rates = configured, []

    def on_train_batch_end(self, outputs, batch, batch_idx):
        super().on_train_batch_end(outputs, batch, batch_idx)
        self.rates.append(self.optimizer.param_groups[0]["lr"])

    def on_validation_epoch_end(self):
        self(torch.randn(4, 6))  # in evaluation mode it moves no buffer

    def configure_optimizers(self):
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.1)
        return self.configured(self.optimizer)


def on_plateau(optimizer):
    return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5, mode="max")


def by_step(optimizer):
    return torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.9)


@pytest.mark.parametrize(
    "configured",
    [
        lambda o: {"optimizer": o, "lr_scheduler": {"scheduler": by_step(o), "monitor": "val_loss"}},
        lambda o: [
            {"optimizer": o, "lr_scheduler": {"scheduler": by_step(o), "interval": "step", "frequency": 3}}
        ],
        lambda o: {"optimizer": o, "lr_scheduler": on_plateau(o), "monitor": "val_loss"},
        lambda o: {"optimizer": o, "lr_scheduler": {"scheduler": on_plateau(o), "monitor": "train_loss"}},
        lambda o: ([o], [by_step(o)]),
    ],
)
def test_schedulers_step_when_lightning_steps_them(tmp_path, configured):
    """Whatever the form in which they are given: the same rates after each batch, the same weights."""
    ends = []
    for ours in (True, False):
        torch.manual_seed(3)
        random.seed(3)
        module = Scheduled(configured)
        if ours:
            fit(module, NoisyData(), configure(tmp_path, clip_norm=0.0))
        else:
            train_with_lightning(module, NoisyData())
        ends.append(module)

    assert ends[0].rates == ends[1].rates
    assert same(ends[0].state_dict(), ends[1].state_dict())


@pytest.mark.parametrize(
    ("configured", "message"),
    [
        (lambda o: {"optimizer": o, "lr_scheduler": on_plateau(o)}, "ReduceLROnPlateau needs a monitor"),
        (lambda o: {"optimizer": o, "lr_scheduler": {"scheduler": by_step(o), "interval": "batch"}}, "interval='batch'"),
        (lambda o: {"optimizer": o, "lr_scheduler": on_plateau(o), "monitor": "val_los"}, "watches 'val_los'"),
        (lambda o: torch.optim.LBFGS(o.param_groups[0]["params"]), "LBFGS of Scheduled steps with a closure"),
    ],
)  # fmt: skip
def test_schedulers_that_mean_nothing_are_refused(tmp_path, configured, message):
    """Rather than stepped otherwise."""
    with pytest.raises(UsageError, match=message):
        fit(Scheduled(configured), NoisyData(), configure(tmp_path))


def test_a_module_that_reads_its_step_resumes_bitwise(tmp_path):
    """global_step and current_epoch are those of the run, before the first step of a resume, too."""

    class Annealed(Classifier):
        def training_step(self, batch):
            self.called.append((self.global_step, self.current_epoch))
            return super().training_step(batch) * (1 + self.global_step)

    config = configure(tmp_path)
    config.resume = "auto"
    config.trainer.max_epochs = 1
    torch.manual_seed(0)
    fit(Annealed("epoch"), NoisyData(), config)
    config.trainer.max_epochs = 2
    module = Annealed("epoch")
    fit(module, NoisyData(), config)

    assert module.called[0] == (11, 1)


def test_data_sets_given_to_a_data_module_are_trained_on(tmp_path):
    """`from_datasets` puts its loaders on the object; hooks of a data module are refused."""
    data = L.LightningDataModule.from_datasets(Noisy(44), val_dataset=Noisy(12), batch_size=4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it pins memory, and there is no accelerator
        assert fit(Classifier(), data, configure(tmp_path)).num_steps == 22

    class Moving(NoisyData):
        def on_after_batch_transfer(self, batch, dataloader_idx):
            return batch

    with pytest.raises(UsageError, match="Moving has on_after_batch_transfer"):
        fit(Classifier(), Moving(), configure(tmp_path))


class Manual(Classifier):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False


class Overriding(Classifier):
    def optimizer_step(self, *_):
        pass


class Curious(Classifier):
    def training_step(self, batch):
        assert not hasattr(self.trainer, "fit_loop")
        return self.trainer.strategy


class Silent(Classifier):
    def validation_step(self, batch, batch_idx):
        self.log("val_acc", 0.5)


class Several(Classifier):
    def configure_optimizers(self):
        return [torch.optim.SGD(self.parameters(), 0.1), torch.optim.SGD(self.parameters(), 0.1)]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Manual, "Manual has automatic_optimization = False, which only"),
        (Overriding, "Overriding has optimizer_step, which only Lightning's Trainer calls"),
        (Curious, "Curious asks for trainer.strategy, which only"),
        (Silent, r"Silent gives no loss in its evaluation, logs no 'val_loss' \(logged: val_acc\); set"),
        (Several, "configure_optimizers of Several must give one optimizer"),
    ],
)
def test_what_only_lightning_does_is_refused(tmp_path, kind, message):
    """Another training than Lightning's would be worse than none."""
    with pytest.raises(UsageError, match=message):
        fit(kind(), NoisyData(), configure(tmp_path))


def test_monitor_names_the_value_to_be_lowered(tmp_path):
    """A module that logs no val_loss says what is its loss."""
    result = fit(Silent(), NoisyData(), configure(tmp_path, monitor="val_acc"))

    assert result.validation.mean_loss == 0.5
    assert result.test.num_items == 0  # it has no test_step


def test_several_in_one_is_no_optimizer_for_lightning(tiny_config):
    """Muon and its partner cannot be stepped as one there."""
    from trainkit.core.config import MuonConfig

    config = tiny_config()
    config.optimizer = MuonConfig()
    module = to_lightning(Transformer(config.model, vocab_size=256), config)
    with pytest.raises(UsageError, match="optimizer=muon is several in one"):
        module.configure_optimizers()


def test_a_torchmetrics_object_is_computed_over_the_epoch(tmp_path):
    """And one that is logged at its end is taken as it is."""
    torchmetrics = pytest.importorskip("torchmetrics")

    class Measured(Classifier):
        def __init__(self):
            super().__init__()
            self.accuracy = torchmetrics.Accuracy(task="binary")

        def validation_step(self, batch, batch_idx):
            self.accuracy(self(batch[0]).argmax(1), batch[1])
            self.log("accuracy", self.accuracy)
            return F.cross_entropy(self(batch[0]), batch[1])

        def on_validation_epoch_end(self):
            self.log("twice", 2.0)

    torch.manual_seed(0)
    module = Measured()
    result = fit(module, NoisyData(), configure(tmp_path))

    assert 0 < result.validation.metrics["accuracy"] <= 1
    assert result.validation.metrics["accuracy"] * 12 == pytest.approx(
        round(result.validation.metrics["accuracy"] * 12)
    )
    assert result.validation.metrics["twice"] == pytest.approx(2.0)
    assert module.accuracy._update_count == 0
    assert math.isfinite(result.validation.mean_loss)
