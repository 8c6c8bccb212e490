"""What a loop adds to a training step: CPU time over a hand-written loop with the same duties.

All loops run in this process, in a new order each round, on one thread and on the same batches, out of the
same loader: AdamW, and the loss as a number after each step. The loader itself takes the time, from the
first batch of an epoch to the first of the next one: what is done once per epoch counts as well. Printed:
median of the times, median and range of each round's ratios, and whether the weights came out the same.
Run: python benchmarks/step_overhead.py
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import inspect
import logging
import os
import random
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

from trainkit.core.loop import run_training_epoch
from trainkit.core.task import Task

CPU = torch.device("cpu")
WARM_UP = 20  # batches of the first epoch; the second is measured, the third has one


class Block(nn.Module):
    """A pre-norm block of a causal transformer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, time, width) to the same shape."""
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, 4, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(-2))
        result: Tensor = x + self.down(F.gelu(self.up(self.norm2(x))))
        return result


def build_mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))


def build_transformer() -> nn.Module:
    return nn.Sequential(nn.Embedding(256, 64), Block(64), Block(64), nn.LayerNorm(64), nn.Linear(64, 256))


def make_mlp_batch() -> tuple[Tensor, Tensor]:
    return torch.randn(16, 32), torch.randint(0, 10, (16,))


def make_transformer_batch() -> tuple[Tensor, Tensor]:
    tokens = torch.randint(0, 256, (4, 17))
    return tokens[:, :-1], tokens[:, 1:]


# name -> model, one batch, steps measured
WORKLOADS = {
    "mlp 32-64-10, batch 16": (build_mlp, make_mlp_batch, 1000),
    "transformer 64x2, length 16": (build_transformer, make_transformer_batch, 200),
}


def compute_loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(model(x).flatten(0, -2), y.flatten())


class Batches(IterableDataset[Any]):
    """A warm-up, an epoch that is timed from its first batch to the first of the next, and one batch more."""

    def __init__(self, make: Callable[[], Any], num_steps: int) -> None:
        self.made = [make() for _ in range(100)]
        self.lengths = [WARM_UP, num_steps, 1]
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

    @property
    def max_steps(self) -> int:
        """Of the three epochs."""
        return sum(self.batches.lengths)

    def build_optimizer(self) -> torch.optim.AdamW:
        """Give the optimizer of every loop."""
        return torch.optim.AdamW(self.model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1)


def run_hand(work: Work) -> None:
    model, optimizer, total = work.model, work.build_optimizer(), 0.0
    model.train()
    for _ in range(3):
        for x, y in work.loader:
            optimizer.zero_grad()
            loss = compute_loss(model, x, y)
            loss.backward()
            optimizer.step()
            total += loss.item()


def run_fabric(work: Work) -> None:
    from lightning.fabric import Fabric

    fabric, total = Fabric(accelerator="cpu", devices=1), 0.0
    model, optimizer = fabric.setup(work.model, work.build_optimizer())
    loader = fabric.setup_dataloaders(work.loader)
    for _ in range(3):
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
    for _ in range(3):
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

    for _ in range(3):
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
    trainer = lightning.Trainer(max_epochs=3, accelerator="cpu", devices=1, default_root_dir=work.folder,
                                reload_dataloaders_every_n_epochs=1, **options)  # fmt: skip
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
        work.folder, max_steps=work.max_steps, max_grad_norm=0.0, lr_scheduler_type="constant", use_cpu=True,
        report_to=[], **(options if off else {"save_strategy": "epoch"}),
    )  # fmt: skip
    trainer = OurTrainer(Module(), arguments, train_dataset=work.batches,
                         optimizers=(work.build_optimizer(), None))  # fmt: skip
    trainer.train()


class Ours(Task):
    """The same model and loss in the shape that trainkit trains."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:  # noqa: ARG002
        """Give the mean loss of the batch, []."""
        return compute_loss(self.model, *batch)

    def count_items(self, batch: Any) -> int:
        """Give the number of targets."""
        return int(batch[1].numel())


class Pair(NamedTuple):
    """A batch for a loop that is older than tasks."""

    tokens: Tensor
    targets: Tensor


class Logits(nn.Module):
    """The same for a loop that is older than tasks: tokens -> logits (1, items, classes)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Give the logits."""
        logits: Tensor = self.model(x).flatten(0, -2)[None]
        return logits


def run_trainkit_loop(work: Work) -> None:
    optimizer: Any = work.build_optimizer()
    task: Any = Ours(work.model)
    if "task" not in inspect.signature(run_training_epoch).parameters:
        work.batches.made = [Pair(*each) for each in work.batches.made]
        task = Logits(work.model)
    for _ in range(3):
        run_training_epoch(task, optimizer, work.loader, device=CPU)


# name -> the module that it needs, the loop
LOOPS: dict[str, tuple[str, Callable[[Work], None]]] = {
    "hand-written": ("torch", run_hand),
    "trainkit, off": ("trainkit", run_trainkit_loop),
    "Fabric": ("lightning", run_fabric),
    "ignite": ("ignite", run_ignite),
    "accelerate": ("accelerate", run_accelerate),
    "Lightning, off": ("lightning", lambda work: run_lightning(work, off=True)),
    "Lightning": ("lightning", lambda work: run_lightning(work, off=False)),
    "HF Trainer, off": ("transformers", lambda work: run_hf(work, off=True)),
    "HF Trainer": ("transformers", lambda work: run_hf(work, off=False)),
}


def run_once(name: str, workload: str, num_steps: int) -> tuple[float, bytes]:
    """Give the CPU microseconds of a step, and the weights at the end as bytes."""
    build, make, _ = WORKLOADS[workload]
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        work = Work(build(), Batches(make, num_steps), folder)
        gc.collect()
        with silence():
            LOOPS[name][1](work)
    _, start, end = work.batches.marks[:3]
    weights = b"".join(each.detach().numpy().tobytes() for each in work.model.parameters())
    return 1e6 * (end - start) / num_steps, weights


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Take what a loop prints."""
    with Path(os.devnull).open("w") as nothing, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.redirect_stdout(nothing), contextlib.redirect_stderr(nothing):
            yield


def measure(names: list[str], workload: str, *, rounds: int, num_steps: int) -> None:
    """Print a line per loop."""
    taken: dict[str, list[float]] = {name: [] for name in names}
    weights = {name: run_once(name, workload, WARM_UP)[1] for name in names}
    gc.freeze()  # what was imported for one loop is not searched through by all
    for _ in range(rounds):
        for name in random.sample(names, len(names)):
            taken[name].append(run_once(name, workload, num_steps)[0])
    hand = taken["hand-written"]
    print(f"\n{workload}: {rounds} rounds of {num_steps} steps")
    print(f"{'':16}{'CPU us':>8}{'x hand':>8}  {'range':14}same bits")
    for name, times in sorted(taken.items(), key=lambda entry: statistics.median(entry[1])):
        ratios = [each / base for each, base in zip(times, hand, strict=True)]
        spread = f"{min(ratios):.2f}-{max(ratios):.2f}"
        same = "yes" if weights[name] == weights["hand-written"] else "no"
        figures = f"{statistics.median(times):8.0f}{statistics.median(ratios):8.3f}"
        print(f"{name:16}{figures}  {spread:14}{same}", flush=True)


def main() -> None:
    """Measure the loops that are installed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of steps")
    parser.add_argument("--only", nargs="*", default=list(LOOPS), help="names of loops")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    missing = {name for name, (module, _) in LOOPS.items() if find_spec(module) is None}
    if missing:
        print(f"not installed, left out: {', '.join(sorted(missing))}")
    names = [name for name in LOOPS if name not in missing and name in {"hand-written", *options.only}]
    for workload, (_, _, num_steps) in WORKLOADS.items():
        measure(names, workload, rounds=options.rounds, num_steps=round(options.scale * num_steps))


if __name__ == "__main__":
    main()
