"""What a user waits for: an import, a check, a step, data, a checkpoint. Run with `pytest --benchmark`."""

import subprocess
import sys
from itertools import islice

import pytest


@pytest.mark.parametrize("target", ["trainkit.cli", "trainkit.core.config"])
def test_import(benchmark, target):
    """A fresh process that imports a module, interpreter included."""
    benchmark.pedantic(_run, args=(["-c", f"import {target}"],), rounds=5)


def test_check(benchmark):
    """A fresh process that composes and validates a configuration."""
    benchmark.pedantic(
        _run, args=(["-m", "trainkit", "check", "model=lstm", "trainer.max_epochs=3"],), rounds=3
    )


def _run(arguments: list[str]) -> None:
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)


@pytest.fixture(params=["transformer", "lstm"])
def training(request):
    """A model, its optimizer and a batch of 8 windows of 64 bytes, on one thread."""
    import torch

    from trainkit.core.config import GROUPS, AdamWConfig, TextConfig
    from trainkit.core.optim import build_adamw
    from trainkit.core.registry import DATASETS, MODELS

    torch.set_num_threads(1)
    torch.manual_seed(0)
    corpus = DATASETS.load("text")(TextConfig(sequence_length=64, batch_size=8), seed=0)
    config = GROUPS["model"][request.param]()
    model = MODELS.load(request.param)(config, vocab_size=256)
    return model, build_adamw(AdamWConfig(), model), corpus


def test_training_step(benchmark, training):
    """Forward, backward and update of one batch."""
    _train(benchmark, training, num_batches=1, rounds=20)


def test_training_epoch(benchmark, training):
    """Eight batches out of the loader, accumulated in pairs."""
    _train(benchmark, training, num_batches=8, rounds=3, accumulate_grad_batches=2)


@pytest.mark.parametrize("training", ["transformer"], indirect=True)
def test_loader(benchmark, training):
    """A hundred batches of windows, without a model."""
    corpus = training[2]
    benchmark(lambda: sum(1 for _ in islice(corpus.train, 100)))


@pytest.mark.parametrize("training", ["transformer"], indirect=True)
def test_checkpoint(benchmark, training, tmp_path):
    """What a run's state is written with: whole or not at all."""
    from trainkit.core.checkpoint import Progress, build_state, save_checkpoint
    from trainkit.core.config import TrainConfig

    model, optimizer, _ = training
    state = build_state(config=TrainConfig(), model=model, optimizer=optimizer, progress=Progress())
    benchmark(save_checkpoint, tmp_path / "a.ckpt", state)


@pytest.mark.parametrize("training", ["transformer"], indirect=True)
def test_resume(benchmark, training, tmp_path):
    """Reading a checkpoint back into a model and its optimizer."""
    from trainkit.core.checkpoint import (
        Progress,
        build_state,
        load_checkpoint,
        restore_checkpoint,
        save_checkpoint,
    )
    from trainkit.core.config import TrainConfig

    model, optimizer, _ = training
    state = build_state(config=TrainConfig(), model=model, optimizer=optimizer, progress=Progress())
    save_checkpoint(tmp_path / "a.ckpt", state)

    def resume() -> None:
        restore_checkpoint(
            load_checkpoint(tmp_path / "a.ckpt", TrainConfig()), model=model, optimizer=optimizer
        )

    benchmark(resume)


def _train(benchmark, training, *, num_batches: int, rounds: int, **options) -> None:
    import torch

    from trainkit.core.loop import run_training_epoch

    model, optimizer, corpus = training

    def run() -> None:
        run_training_epoch(
            model, optimizer, islice(corpus.train, num_batches), device=torch.device("cpu"), **options
        )

    benchmark.pedantic(run, rounds=rounds, warmup_rounds=1)
