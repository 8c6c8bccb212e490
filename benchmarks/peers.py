"""The same training by hand, by trainkit and by other libraries: loops for `step_overhead.py`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

from trainkit.core.config import OwnConfig, TrainConfig, TrainerConfig
from trainkit.core.data import Loaders
from trainkit.core.loop import run_training_epoch
from trainkit.core.task import Task
from trainkit.core.trainer import fit

NUM_EPOCHS = 3  # the second is timed


class Batches(IterableDataset[Any]):
    """A warm-up, an epoch that is timed from its first batch to the first of the next, and one batch more."""

    def __init__(self, make: Callable[[], Any], *, num_warm_up: int, num_steps: int) -> None:
        self.made = [make() for _ in range(100)]
        self.lengths = [num_warm_up, num_steps, 1]
        self.epoch = 0
        self.marks: list[float] = []

    def __len__(self) -> int:
        return self.lengths[min(self.epoch, 2)]

    def __iter__(self) -> Iterator[Any]:
        length = len(self)
        self.epoch += 1
        self.marks.append(time.process_time())
        for number in range(length):
            yield self.made[number % 100]


@dataclass
class Work:
    """One run of one loop: everything but the loop, and a folder to write to."""

    model: nn.Module
    batches: Batches
    folder: str
    loader: DataLoader[Any] = field(init=False)

    def __post_init__(self) -> None:
        self.loader = DataLoader(self.batches, batch_size=None)

    def build_optimizer(self) -> torch.optim.AdamW:
        """Give the optimizer of every loop."""
        return torch.optim.AdamW(self.model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1)


def compute_loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(model(x).flatten(0, -2), y.flatten())


def run_hand(work: Work) -> None:
    model, optimizer, total = work.model, work.build_optimizer(), 0.0
    model.train()
    for _ in range(NUM_EPOCHS):
        for x, y in work.loader:
            optimizer.zero_grad()
            loss = compute_loss(model, x, y)
            loss.backward()
            optimizer.step()
            total += loss.item()


class Ours(Task):
    """The same model and loss in the shape that trainkit trains."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        self.model = work.model
        self.configure_optimizers = work.build_optimizer

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:  # noqa: ARG002
        """Give the mean loss of the batch, []."""
        return compute_loss(self.model, *batch)

    def count_items(self, batch: Any) -> int:
        """Give the number of targets."""
        return int(batch[1].numel())


def run_trainkit(work: Work) -> None:
    task, optimizer = Ours(work), work.build_optimizer()
    for _ in range(NUM_EPOCHS):
        run_training_epoch(task, optimizer, work.loader, device=torch.device("cpu"))


def fit_with_trainkit(work: Work) -> None:
    """With metrics.csv, two checkpoints at each epoch's end and a progress bar."""
    trainer = TrainerConfig(max_epochs=NUM_EPOCHS, device="cpu", clip_norm=0.0)
    config = TrainConfig(optimizer=OwnConfig(), trainer=trainer, output_dir=work.folder)
    fit(Ours(work), Loaders(work.loader, [], []), config)


def run_fabric(work: Work) -> None:
    from lightning.fabric import Fabric

    fabric, total = Fabric(accelerator="cpu", devices=1), 0.0
    model, optimizer = fabric.setup(work.model, work.build_optimizer())
    loader = fabric.setup_dataloaders(work.loader)
    for _ in range(NUM_EPOCHS):
        for x, y in loader:
            optimizer.zero_grad()
            loss = compute_loss(model, x, y)
            fabric.backward(loss)
            optimizer.step()
            total += loss.item()


def run_accelerate(work: Work) -> None:
    from accelerate import Accelerator

    accelerator, total = Accelerator(cpu=True), 0.0
    model, optimizer, loader = accelerator.prepare(work.model, work.build_optimizer(), work.loader)
    for _ in range(NUM_EPOCHS):
        for x, y in loader:
            optimizer.zero_grad()
            loss = compute_loss(model, x, y)
            accelerator.backward(loss)
            optimizer.step()
            total += loss.item()


def run_ignite(work: Work) -> None:
    from ignite.engine import Engine

    model, optimizer = work.model, work.build_optimizer()

    def step(engine: Any, batch: Any) -> float:  # noqa: ARG001
        optimizer.zero_grad()
        loss = compute_loss(model, *batch)
        loss.backward()
        optimizer.step()
        return loss.item()

    for _ in range(NUM_EPOCHS):
        Engine(step).run(work.loader, max_epochs=1)


def run_lightning(work: Work, *, off: bool) -> None:
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.total = work.model, 0.0

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:  # noqa: ARG002
            loss = compute_loss(self.model, *batch)
            if off:
                self.total += loss.item()
            else:
                self.log("loss", loss, prog_bar=True)
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return work.build_optimizer()

    names = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    options: dict[str, Any] = dict.fromkeys(names, False) if off else {}
    trainer = lightning.Trainer(max_epochs=NUM_EPOCHS, accelerator="cpu", devices=1,
                                default_root_dir=work.folder, reload_dataloaders_every_n_epochs=1,
                                **options)  # fmt: skip
    trainer.fit(Module(), work.loader)


def run_hf(work: Work, *, off: bool) -> None:
    from transformers import Trainer, TrainingArguments

    class Module(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = work.model

        def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
            return {"loss": compute_loss(self.model, x, y)}

    class OurTrainer(Trainer):
        def get_train_dataloader(self) -> DataLoader[Any]:
            return work.loader

    work.batches.made = [{"x": x, "y": y} for x, y in work.batches.made]
    work.batches.lengths[0] = work.batches.lengths[1]  # it counts on epochs of the same length
    options: dict[str, Any] = {"save_strategy": "no", "logging_strategy": "no", "disable_tqdm": True}
    arguments = TrainingArguments(
        work.folder, max_steps=sum(work.batches.lengths), max_grad_norm=0.0, lr_scheduler_type="constant",
        use_cpu=True, report_to=[], **(options if off else {"save_strategy": "epoch"}),
    )  # fmt: skip
    trainer = OurTrainer(Module(), arguments, train_dataset=work.batches,
                         optimizers=(work.build_optimizer(), None))  # fmt: skip
    trainer.train()


# name -> the module that it needs, the loop
LOOPS: dict[str, tuple[str, Callable[[Work], None]]] = {
    "hand-written": ("torch", run_hand),
    "trainkit": ("trainkit", run_trainkit),
    "trainkit, all on": ("trainkit", fit_with_trainkit),
    "Fabric": ("lightning", run_fabric),
    "ignite": ("ignite", run_ignite),
    "accelerate": ("accelerate", run_accelerate),
    "Lightning, off": ("lightning", lambda work: run_lightning(work, off=True)),
    "Lightning": ("lightning", lambda work: run_lightning(work, off=False)),
    "HF Trainer, off": ("transformers", lambda work: run_hf(work, off=True)),
    "HF Trainer": ("transformers", lambda work: run_hf(work, off=False)),
}
