"""Who goes on after an interruption as if there had been none? trainkit, Lightning and the HF Trainer.

Each trains the same module, a small network with dropout, on the same data set, which adds random noise to
what is read from it: two epochs of 20 shuffled batches. A second run of it is interrupted behind a step (in
the middle of an epoch, or at its end), and a third goes on from the second one's last checkpoint, in a fresh
process, as from the box: a plain DataLoader, a checkpoint at every step. Printed: how many steps it trains
(a run that ends at once loses an epoch), and how many of them have, bit for bit, the loss of the run that was
left alone. As a check, "twice" and "before" say the same of a second run that is left alone, and of the
interrupted one. Run: python benchmarks/resume_of_peers.py
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

NUM_BATCHES, NUM_EPOCHS, BATCH_SIZE = 20, 2, 4
STOPS = {"in the middle of an epoch": 7, "at its end": NUM_BATCHES}


class Interruption(Exception):  # noqa: N818
    """What ends a run between two steps."""


def build_parts() -> tuple[Any, Any]:
    """Give the network (it gives the loss) and the data, on the seed of each run."""
    import torch
    from torch import nn

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(8, 16), nn.Dropout(0.2), nn.ReLU(), nn.Linear(16, 1))

        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return nn.functional.mse_loss(self.layers(x), y)

    class Noisy(torch.utils.data.Dataset[Any]):
        def __init__(self) -> None:
            self.x = torch.randn(NUM_BATCHES * BATCH_SIZE, 8, generator=torch.Generator().manual_seed(1))

        def __len__(self) -> int:
            return len(self.x)

        def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
            return {"x": self.x[index] + 0.1 * torch.randn(8), "y": self.x[index].sum(0, keepdim=True)}

    torch.set_num_threads(1)
    torch.manual_seed(0)
    return Network(), Noisy()


def run_trainkit(folder: str, *, num_workers: int, resume: bool, note: Callable[[Any], None]) -> None:
    from trainkit.core.config import AdamWConfig, ImportedDataConfig, TrainConfig, TrainerConfig
    from trainkit.core.data import build_loaders
    from trainkit.core.task import Task
    from trainkit.core.trainer import fit

    network, data = build_parts()

    class Module(Task):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def training_step(self, batch: Any, batch_idx: int) -> Any:  # noqa: ARG002
            loss = self.network(**batch)
            note(loss)
            return loss

    loading = ImportedDataConfig(batch_size=BATCH_SIZE, num_workers=num_workers)
    loaders = build_loaders([data, data, data], loading, seed=0, draws=True)
    trainer = TrainerConfig(max_epochs=NUM_EPOCHS, device="cpu", clip_norm=0.0, save_every_n_steps=1,
                            limit_val_batches=0, limit_test_batches=0)  # fmt: skip
    fit(Module(), loaders, TrainConfig(
        trainer=trainer, optimizer=AdamWConfig(learning_rate=1e-2), output_dir=folder,
        resume="auto" if resume else None,
    ))  # fmt: skip


def run_lightning(folder: str, *, num_workers: int, resume: bool, note: Callable[[Any], None]) -> None:
    import lightning
    import torch
    from lightning.pytorch.callbacks import ModelCheckpoint

    network, data = build_parts()

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def training_step(self, batch: Any, batch_idx: int) -> Any:  # noqa: ARG002
            loss = self.network(**batch)
            note(loss)
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), lr=1e-2)

    loader = torch.utils.data.DataLoader(data, BATCH_SIZE, shuffle=True, num_workers=num_workers)
    keep = ModelCheckpoint(folder, save_last=True, every_n_train_steps=1)
    trainer = lightning.Trainer(max_epochs=NUM_EPOCHS, accelerator="cpu", logger=False, callbacks=[keep],
                                enable_progress_bar=False, enable_model_summary=False,
                                default_root_dir=folder)  # fmt: skip
    trainer.fit(Module(), loader, ckpt_path=str(Path(folder, "last.ckpt")) if resume else None)


def run_hf(folder: str, *, num_workers: int, resume: bool, note: Callable[[Any], None]) -> None:
    import torch
    from transformers import Trainer, TrainingArguments

    network, data = build_parts()

    class Module(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: Any, y: Any) -> dict[str, Any]:
            loss = self.network(x, y)
            note(loss)
            return {"loss": loss}

    arguments = TrainingArguments(
        folder, num_train_epochs=NUM_EPOCHS, per_device_train_batch_size=BATCH_SIZE, learning_rate=1e-2,
        save_strategy="steps", save_steps=1, logging_strategy="no", report_to=[], use_cpu=True, seed=0,
        dataloader_num_workers=num_workers, disable_tqdm=True,
    )  # fmt: skip
    Trainer(Module(), arguments, train_dataset=data).train(resume_from_checkpoint=resume or None)


# name -> the module that it needs, the training
LIBRARIES: dict[str, tuple[str, Callable[..., None]]] = {
    "trainkit": ("torch", run_trainkit),
    "Lightning": ("lightning", run_lightning),
    "HF Trainer": ("transformers", run_hf),
}


def train_once(name: str, folder: str, *, num_workers: int, stop: int, resume: bool) -> None:
    """Train in this process up to the step after `stop`, 0 for never; print the losses of its steps."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    losses: list[str] = []

    def note(loss: Any) -> None:
        if stop and len(losses) == stop:  # in the next forward pass: what a step saves is there
            raise Interruption
        losses.append(loss.item().hex())

    with contextlib.suppress(Interruption):
        LIBRARIES[name][1](folder, num_workers=num_workers, resume=resume, note=note)
    print(json.dumps(losses), flush=True)


def start_process(name: str, folder: Path, *, num_workers: int, stop: int = 0, resume: bool = False) -> Any:
    """Give the losses of a training in a fresh process."""
    asked = json.dumps({"num_workers": num_workers, "stop": stop, "resume": resume})
    command = [sys.executable, __file__, "--train", name, str(folder), asked]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def compare(name: str, num_workers: int, top: Path) -> None:
    """Print a line for each interruption."""
    straight, twice = (start_process(name, top / f"alone{n}", num_workers=num_workers) for n in range(2))
    same = sum(one == two for one, two in zip(straight, twice, strict=True))
    for where, stop in STOPS.items():
        folder = top / str(stop)
        begun = start_process(name, folder, num_workers=num_workers, stop=stop)
        rest = start_process(name, folder, num_workers=num_workers, resume=True)
        expected = straight[stop:]
        equal = sum(one == two for one, two in zip(rest, expected, strict=False))
        before = sum(one == two for one, two in zip(begun, straight, strict=False))
        print(f"{name:12}{num_workers:8}  {where:27}{same:4}/{len(straight):<4}{before:4}/{stop:<5}"
              f"{len(rest):8}{equal:6}/{len(expected)}", flush=True)  # fmt: skip


def main() -> None:
    """Ask all that are installed, or train for a question."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--only", nargs="*", default=list(LIBRARIES), help="names of libraries")
    options = parser.parse_args()
    if options.train:
        name, folder, asked = options.train
        train_once(name, folder, **json.loads(asked))
        return
    print(f"{'':12}{'workers':>8}  {'interrupted':27}{'twice':>9}{'before':>10}{'trained':>8}{'equal':>9}")
    for name in options.only:
        if find_spec(LIBRARIES[name][0]) is None:
            print(f"{name} is not installed: left out")
            continue
        for num_workers in (0, 2):
            with tempfile.TemporaryDirectory() as top:
                compare(name, num_workers, Path(top))


if __name__ == "__main__":
    main()
