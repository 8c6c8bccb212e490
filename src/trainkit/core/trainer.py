"""One run from a configuration to checkpoints, metrics and a result."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import nn
from torch.optim import Optimizer

from trainkit.core.checkpoint import Progress, load_checkpoint, restore_checkpoint, save_checkpoint
from trainkit.core.config import TrainConfig, validate
from trainkit.core.data import Corpus, limit_batches
from trainkit.core.loop import EpochResult, run_training_epoch, run_validation_epoch
from trainkit.core.registry import DATASETS, MODELS, OPTIMIZERS
from trainkit.core.tracking import append_metrics, start_metrics, track_progress
from trainkit.errors import ConfigError, UsageError


@dataclass(frozen=True)
class TrainResult:
    """How a run ended: train and validation of the last epoch, test with the best weights."""

    num_epochs: int
    num_steps: int
    train: EpochResult
    validation: EpochResult
    test: EpochResult
    run_folder: Path

    @property
    def best_checkpoint(self) -> Path:
        """The checkpoint of the lowest validation loss."""
        return self.run_folder / "best.ckpt"


def train(config: TrainConfig) -> TrainResult:
    """Train, or continue from `config.resume`; sets torch's global seed and writes the run folder.

    A run that does not resume replaces the files of an earlier one in the same folder.

    Raises:
        ConfigError: the configuration has a wrong value.
        UsageError: data, device or checkpoint cannot be used.
        NonFiniteLossError: the training loss is no number any more.
    """
    if mistakes := validate(config):
        raise ConfigError(mistakes)
    run = _start(config)
    for epoch in range(run.progress.num_epochs, config.trainer.max_epochs):
        _run_epoch(run, epoch)
    return _finish(run)


@dataclass
class _Run:
    """The parts of one run, built, on their device."""

    config: TrainConfig
    folder: Path
    device: torch.device
    corpus: Corpus
    model: nn.Module
    optimizer: Optimizer
    progress: Progress = field(default_factory=Progress)
    train: EpochResult = field(default_factory=EpochResult)
    validation: EpochResult = field(default_factory=EpochResult)


def _start(config: TrainConfig) -> _Run:
    device = choose_device(config.trainer.device)
    state = load_checkpoint(Path(config.resume), config) if config.resume is not None else None
    torch.manual_seed(config.seed)
    corpus = DATASETS.load(config.data.name)(config.data, seed=config.seed)
    model = MODELS.load(config.model.name)(config.model, vocab_size=corpus.vocab_size).to(device)
    optimizer = OPTIMIZERS.load(config.optimizer.name)(config.optimizer, model)
    run = _Run(config, Path(config.output_dir, config.exp_name), device, corpus, model, optimizer)
    if state is not None:
        run.progress = restore_checkpoint(state, model=model, optimizer=optimizer)
        _check_resume(run)
    _prepare_folder(run)
    return run


def choose_device(name: str) -> torch.device:
    """Give the device: "auto" is CUDA where there is one.

    Raises:
        UsageError: "cuda" is asked for and torch sees none.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise UsageError(
            "device-unavailable",
            f"trainer.device='cuda': torch {torch.__version__} sees no CUDA device; use auto or cpu",
        )
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def _check_resume(run: _Run) -> None:
    """Refuse to do nothing; forget a best loss whose weights are not in this run's folder."""
    done, asked = run.progress.num_epochs, run.config.trainer.max_epochs
    if done >= asked:
        raise UsageError(
            "resume-complete",
            f"'{run.config.resume}' has finished {done} epochs and trainer.max_epochs={asked}: nothing is "
            "left to train; raise trainer.max_epochs",
        )
    same_folder = Path(str(run.config.resume)).resolve().parent == run.folder.resolve()
    if not (same_folder and (run.folder / "best.ckpt").exists()):
        run.progress.best_loss = math.nan


def _prepare_folder(run: _Run) -> None:
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"output_dir/exp_name={run.folder}: {error.strerror}; give another output_dir"
        raise UsageError("output-not-writable", message) from error
    (run.folder / "config.json").write_text(json.dumps(asdict(run.config), indent=2) + "\n", encoding="utf-8")
    if run.config.logger.csv.enabled:
        start_metrics(run.folder / "metrics.csv", num_epochs=run.progress.num_epochs)


def _run_epoch(run: _Run, epoch: int) -> None:
    """Train, validate, write metrics, save: in this order, so that a crash repeats at most this epoch."""
    trainer = run.config.trainer
    run.corpus.sampler.set_epoch(epoch)
    batches, total = limit_batches(run.corpus.train, trainer.limit_train_batches)
    run.train = run_training_epoch(
        run.model,
        run.optimizer,
        track_progress(batches, description=f"epoch {epoch}", total=total),
        device=run.device,
        accumulate_grad_batches=trainer.accumulate_grad_batches,
        clip_norm=trainer.clip_norm,
        precision=trainer.precision,
        epoch=epoch,
    )
    run.validation = _evaluate(run, "validation")
    run.progress.num_epochs = epoch + 1
    run.progress.num_steps += run.train.num_steps
    _log(run, "train", run.train)
    _log(run, "validation", run.validation)
    _save(run)


def _evaluate(run: _Run, part: str) -> EpochResult:
    trainer = run.config.trainer
    limit = trainer.limit_test_batches if part == "test" else trainer.limit_val_batches
    batches, total = limit_batches(getattr(run.corpus, part), limit)
    return run_validation_epoch(
        run.model,
        track_progress(batches, description=part, total=total),
        device=run.device,
        precision=trainer.precision,
    )


def _log(run: _Run, part: str, result: EpochResult) -> None:
    if run.config.logger.csv.enabled:
        progress = run.progress
        append_metrics(
            run.folder / "metrics.csv",
            epoch=progress.num_epochs - 1,
            step=progress.num_steps,
            part=part,
            result=result,
        )


def _save(run: _Run) -> None:
    """Save best.ckpt before last.ckpt: a crash between them repeats the epoch and finds both right.

    Without a validation loss to compare, the latest weights are the best.
    """
    loss = run.validation.mean_loss
    improved = math.isnan(run.progress.best_loss) or loss < run.progress.best_loss
    if improved:
        run.progress.best_loss = loss
    for name in ("best.ckpt", "last.ckpt") if improved else ("last.ckpt",):
        save_checkpoint(
            run.folder / name,
            config=run.config,
            model=run.model,
            optimizer=run.optimizer,
            progress=run.progress,
        )


def _finish(run: _Run) -> TrainResult:
    state = load_checkpoint(run.folder / "best.ckpt", run.config)
    run.model.load_state_dict(state["model"])
    test = _evaluate(run, "test")
    _log(run, "test", test)
    progress = run.progress
    return TrainResult(progress.num_epochs, progress.num_steps, run.train, run.validation, test, run.folder)
