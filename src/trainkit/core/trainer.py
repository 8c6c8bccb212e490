"""One run from a configuration to checkpoints, metrics and a result."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import cast

import torch
from torch import nn
from torch.amp import GradScaler
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from trainkit.core.checkpoint import (
    BEST,
    LAST,
    PREVIOUS,
    Progress,
    Stateful,
    load_checkpoint,
    restore_checkpoint,
    save_checkpoint,
)
from trainkit.core.config import TrainConfig, validate
from trainkit.core.data import Corpus, limit_batches
from trainkit.core.loop import EpochResult, run_training_epoch, run_validation_epoch
from trainkit.core.optim import Several
from trainkit.core.registry import DATASETS, MODELS, OPTIMIZERS
from trainkit.core.schedules import scale_learning_rate
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
        return self.run_folder / BEST


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
        if 0 < config.trainer.patience <= run.progress.epochs_without_gain:
            break
        with _profile(run):
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
    trained: nn.Module  # the same, compiled if asked for
    optimizer: Optimizer | Several
    scaler: GradScaler | None
    average: AveragedModel | None
    progress: Progress = field(default_factory=Progress)
    train: EpochResult = field(default_factory=EpochResult)
    validation: EpochResult = field(default_factory=EpochResult)
    count_profiled: Callable[[], None] | None = None
    learning_rates: list[float] = field(
        default_factory=list
    )  # of the optimizer's groups, before any schedule

    def extra(self) -> dict[str, Stateful]:
        """Give the parts that not every run has."""
        parts = {"scaler": self.scaler, "average": self.average}
        return {name: part for name, part in parts.items() if part is not None}

    def evaluated(self) -> nn.Module:
        """Give the model to validate, test and keep: the average of the weights, where there is one."""
        return self.model if self.average is None else self.average.module


def _start(config: TrainConfig) -> _Run:
    device = choose_device(config.trainer.device)
    found = _find_checkpoint(config)
    state = load_checkpoint(found, config) if found else None
    if config.trainer.precision == "tf32":
        torch.set_float32_matmul_precision("high")
    torch.manual_seed(config.seed)
    random.seed(config.seed)
    corpus = DATASETS.load(config.data.name)(config.data, seed=config.seed)
    model = MODELS.load(config.model.name)(config.model, vocab_size=corpus.vocab_size).to(device)
    optimizer = OPTIMIZERS.load(config.optimizer.name)(config.optimizer, model)
    scaler = GradScaler(device.type) if config.trainer.precision == "fp16" else None
    average = _build_average(model, config.trainer.ema_decay)
    folder = Path(config.output_dir, config.exp_name)
    trained = cast(nn.Module, torch.compile(model)) if config.trainer.compile else model
    run = _Run(config, folder, device, corpus, model, trained, optimizer, scaler, average)
    run.learning_rates = [group["lr"] for group in optimizer.param_groups]
    if state is not None:
        run.progress = restore_checkpoint(state, model=model, optimizer=optimizer, extra=run.extra())
        _check_resume(run, str(found))
    _prepare_folder(run)
    return run


def _build_average(model: nn.Module, decay: float) -> AveragedModel | None:
    if not decay:
        return None
    averaging = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
    return AveragedModel(model, multi_avg_fn=averaging, use_buffers=True)


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


def _find_checkpoint(config: TrainConfig) -> Path | None:
    if config.resume != "auto":
        return Path(config.resume) if config.resume is not None else None
    last = Path(config.output_dir, config.exp_name, LAST)
    return last if last.exists() or last.with_name(PREVIOUS).exists() else None


def _check_resume(run: _Run, path: str) -> None:
    """Refuse to do nothing; forget a best loss whose weights are not in this run's folder."""
    done, asked = run.progress.num_epochs, run.config.trainer.max_epochs
    if done > asked or (done == asked and run.config.resume != "auto"):
        raise UsageError(
            "resume-complete",
            f"'{path}' has finished {done} epochs and trainer.max_epochs={asked}: nothing is "
            "left to train; raise trainer.max_epochs",
        )
    same_folder = Path(path).resolve().parent == run.folder.resolve()
    if not (same_folder and (run.folder / BEST).exists()):
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
    """Train, validate, write metrics, save: in this order, so that a crash repeats what was not saved."""
    trainer, progress = run.config.trainer, run.progress
    before = EpochResult(**progress.epoch)  # type: ignore[arg-type]
    run.corpus.sampler.set_epoch(epoch)
    _, total = limit_batches(run.corpus.train, trainer.limit_train_batches)
    run.corpus.sampler.set_epoch(epoch, start=before.num_batches * (run.corpus.train.batch_size or 1))
    batches = islice(run.corpus.train, total - before.num_batches)

    steps = math.ceil(total / trainer.accumulate_grad_batches) * trainer.max_epochs

    def set_learning_rates(done: EpochResult) -> None:
        step = progress.num_steps + done.num_steps
        factor = scale_learning_rate(run.config.schedule, step, total_steps=steps)
        for group, learning_rate in zip(run.optimizer.param_groups, run.learning_rates, strict=True):
            group["lr"] = learning_rate * factor

    def finish_step(done: EpochResult) -> None:
        if run.average is not None:
            run.average.update_parameters(run.model)
        if run.count_profiled is not None:
            run.count_profiled()
        every = trainer.save_every_n_steps
        if every and (progress.num_steps + done.num_steps) % every == 0 and done.num_batches < total:
            progress.epoch = asdict(done)
            _save_as(run, LAST)

    run.train = run_training_epoch(
        run.trained,
        run.optimizer,
        track_progress(batches, description=f"epoch {epoch}", total=total, done=before.num_batches),
        device=run.device,
        accumulate_grad_batches=trainer.accumulate_grad_batches,
        clip_norm=trainer.clip_norm,
        precision=trainer.precision,
        epoch=epoch,
        before=before,
        before_step=set_learning_rates,
        after_step=finish_step,
        scaler=run.scaler,
    )
    run.validation = _evaluate(run, "validation")
    progress.num_epochs, progress.epoch = epoch + 1, {}
    progress.num_steps += run.train.num_steps
    _log(run, "train", run.train)
    _log(run, "validation", run.validation)
    _save(run)


@contextmanager
def _profile(run: _Run) -> Iterator[None]:
    """Write what the first steps of this process do, operation by operation, once."""
    steps = run.config.trainer.profile_steps
    path = run.folder / "profile.json"
    if not steps or path.exists():
        yield
        return
    from torch.profiler import profile  # late: a fifth of a second

    session, left = profile(), steps

    def stop() -> None:
        if run.count_profiled is not None:
            run.count_profiled = None
            session.stop()
            session.export_chrome_trace(str(path))

    def count() -> None:
        nonlocal left
        left -= 1
        if not left:
            stop()

    session.start()
    run.count_profiled = count
    try:
        yield
    finally:
        stop()


def _evaluate(run: _Run, part: str) -> EpochResult:
    trainer = run.config.trainer
    limit = trainer.limit_test_batches if part == "test" else trainer.limit_val_batches
    batches, total = limit_batches(getattr(run.corpus, part), limit)
    return run_validation_epoch(
        run.evaluated(),
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
    run.progress.epochs_without_gain = 0 if improved else run.progress.epochs_without_gain + 1
    if improved:
        run.progress.best_loss = loss
    for name in (BEST, LAST) if improved else (LAST,):
        _save_as(run, name)


def _save_as(run: _Run, name: str) -> None:
    save_checkpoint(
        run.folder / name,
        config=run.config,
        model=run.model,
        optimizer=run.optimizer,
        progress=run.progress,
        extra=run.extra(),
    )


def _finish(run: _Run) -> TrainResult:
    state = load_checkpoint(run.folder / BEST, run.config)
    run.model.load_state_dict(state["model"])
    if run.average is not None:
        run.average.load_state_dict(state["extra"]["average"])
    test = _evaluate(run, "test")
    _log(run, "test", test)
    progress = run.progress
    return TrainResult(progress.num_epochs, progress.num_steps, run.train, run.validation, test, run.folder)
