"""One run from a configuration to checkpoints, metrics and a result."""

from __future__ import annotations

import copy
import json
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from trainkit.core import together
from trainkit.core.checkpoint import (
    BEST,
    LAST,
    PREVIOUS,
    build_state,
    load_checkpoint,
    restore_checkpoint,
)
from trainkit.core.config import ImportedDataConfig, ImportedModelConfig, TrainConfig, validate
from trainkit.core.data import count_batches
from trainkit.core.files import remove, write_whole
from trainkit.core.imported import Estimator
from trainkit.core.journal import REPLACED, Journal
from trainkit.core.lean import skip_dynamo
from trainkit.core.loop import EpochResult, run_training_epoch
from trainkit.core.measuring import measure
from trainkit.core.parts import Run, build_run, choose_device, open_epoch
from trainkit.core.rng import capture_rng, seed_everything
from trainkit.core.schedules import scale_learning_rate
from trainkit.core.table import METRICS, Row
from trainkit.core.tracking import follow_steps, list_enabled, open_trackers, track_progress
from trainkit.core.world import World
from trainkit.errors import ConfigError, TrainkitError, UsageError

Report = Callable[[int, EpochResult], None]


@dataclass(frozen=True)
class TrainResult:
    """How a run ended: train and validation of the last epoch, test with the best weights."""

    num_epochs: int
    num_steps: int
    train: EpochResult
    validation: EpochResult
    test: EpochResult
    run_folder: Path
    rank: int = 0

    @property
    def best_checkpoint(self) -> Path:
        """The checkpoint of the lowest validation loss."""
        return self.run_folder / BEST


def train(config: TrainConfig, *, report: Report | None = None) -> TrainResult:
    """Train, or continue from `config.resume`; sets the global seeds and writes the run folder.

    A run that does not resume replaces the files of an earlier one in the same folder. `report` is told
    each epoch and its validation before the epoch is saved; what it raises ends the run.

    Raises:
        ConfigError: the configuration has a wrong value.
        UsageError: data, device or checkpoint cannot be used.
        NonFiniteLossError: the training loss is no number any more.
    """
    return _fit(config, report)


def fit(task: Any, data: Any, config: TrainConfig, *, report: Report | None = None) -> TrainResult:
    """Train what is given: a Task, a LightningModule; with Loaders or a LightningDataModule.

    The configuration's model and data are not used; its optimizer may be `OwnConfig()`, the task's own.
    Nothing is seeded: the task has its weights. Raises what `train` raises.
    """
    names = [f"{type(each).__module__}.{type(each).__qualname__}" for each in (task, data)]
    model, loaders = ImportedModelConfig(target=names[0]), ImportedDataConfig(target=names[1])
    return _fit(replace(config, model=model, data=loaders), report, task=task, data=data)


def _fit(config: TrainConfig, report: Report | None, **given: Any) -> TrainResult:
    if mistakes := validate(config):
        raise ConfigError(mistakes)
    with together.join(choose_device(config.trainer.device).type) as world:
        # No name for the run here: it must be gone before the process group is.
        return _train(_start(config, world, report, **given))


def _train(run: Run) -> TrainResult:
    try:
        for when in ("on_fit_start", "on_train_start"):
            run.steps.hook(when)
        for epoch in range(run.progress.num_epochs, run.place.max_epochs):
            if 0 < run.config.trainer.patience <= run.progress.epochs_without_gain:
                break
            with _profile(run):
                _run_epoch(run, epoch)
        for when in ("on_train_end", "on_fit_end"):
            run.steps.hook(when)
        result = _finish(run)
        run.trackers.close("finished")
        return result
    except BaseException as error:
        slug = f"{error.slug}: " if isinstance(error, TrainkitError) else ""
        status = "failed" if isinstance(error, Exception) else "interrupted"
        status = "pruned" if type(error).__name__ == "TrialPruned" else status  # Optuna's, not imported here
        run.trackers.close(status, f"{slug or type(error).__name__ + ': '}{error}".rstrip(": "))
        raise
    finally:
        run.steps.detach()


def _start(config: TrainConfig, world: World, report: Report | None, **given: Any) -> Run:
    enabled = list_enabled(config)
    found = _find_checkpoint(config)
    state = load_checkpoint(found, config, world=world) if found else None
    if config.trainer.precision == "tf32":
        torch.set_float32_matmul_precision("high")
    if "task" not in given:
        seed_everything(config.seed)
    if config.trainer.lean and (reason := skip_dynamo()) is not None and world.rank == 0:
        print(f"trainkit: trainer.lean has no effect: {reason}", file=sys.stderr)
    if state is None:
        run = build_run(config, world=world, **given)
    else:
        saved = state["extra"].get("data")
        run = build_run(replace(config, init_from=None), world=world, saved=saved, **given)
    run.config, run.report = config, report
    together.split_generators(world)
    if state is not None:
        _check_options(run, state, str(found))
        _restore(run, state)
        _check_resume(run, str(found))
    if config.trainer.compile:
        run.steps = replace(run.steps, training=torch.compile(run.steps.training))
    if not world.rank:
        _open_folder(run, enabled, found)
    return run


def _restore(run: Run, state: dict[str, Any]) -> None:
    saved_by = len(state["rng"].get("ranks", [None]))
    state = together.take_part(state, run.task, run.config, run.world)
    run.progress = restore_checkpoint(
        state, model=run.task, optimizer=run.optimizer, extra=run.extra(), generators=run.generators()
    )
    run.epoch_rng = state["rng"].get("epoch", {})
    run.place.current_epoch = run.progress.num_epochs
    run.place.global_step = run.progress.num_steps + run.progress.epoch.get("num_steps", 0)
    together.split_generators(run.world, saved_by=saved_by)


def _find_checkpoint(config: TrainConfig) -> Path | None:
    if config.resume != "auto":
        return Path(config.resume) if config.resume is not None else None
    last = Path(config.output_dir, config.exp_name, LAST)
    return last if last.exists() or last.with_name(PREVIOUS).exists() else None


def _check_resume(run: Run, path: str) -> None:
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
        run.progress.best_loss, run.progress.epochs_without_gain = math.nan, 0


def _check_options(run: Run, state: dict[str, Any], path: str) -> None:
    """Refuse options that are free to change but for what the checkpoint has done with them."""
    trainer, there = run.config.trainer, state["config"]["trainer"]
    wrong = []
    if ("average" in state["extra"]) != (run.average is not None):
        wrong.append(f"trainer.ema_decay is {there.get('ema_decay', 0.0)!r} there")
    if run.config.schedule.name != "constant":
        wrong += [
            f"trainer.{name} is {there[name]!r} there, and with it the schedule={run.config.schedule.name}"
            for name in ("accumulate_grad_batches", "limit_train_batches")
            if there[name] != getattr(trainer, name)
        ]
    done = state["progress"].get("epoch", {}).get("num_batches", 0)
    if done and run.loaders.prepared is not None and run.loaders.prepared.is_changed:
        wrong.append("the data is other than in the epoch that was begun")
    if done > run.place.num_training_batches * run.world.size:
        wrong.append(f"{done} batches of an epoch are done, and there are {run.place.num_training_batches}")
    if wrong:
        message = f"'{path}' does not go with these options: {'; '.join(wrong)}; give the same, or train anew"
        raise UsageError("checkpoint-mismatch", message)


def _open_folder(run: Run, enabled: list[str], found: Path | None) -> None:
    """Open the trackers in the run's folder; what another run has left there goes.

    Its checkpoints would be resumed one day, its events would be taken for this run's.
    """
    goes_on = found is not None and found.resolve().parent == run.folder.resolve()
    old = (LAST, PREVIOUS, BEST, f"previous-{BEST}", *REPLACED)
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
        for name in () if goes_on else old:
            remove(run.folder / name)
    except OSError as error:
        message = f"output_dir/exp_name={run.folder}: {error.strerror}; give another output_dir"
        raise UsageError("output-not-writable", message) from error
    progress, resumed = run.progress, found is not None
    run.trackers = open_trackers(
        enabled,
        run.config,
        run.folder,
        partial(Journal, run.folder, run.config, progress, run.device, goes_on=goes_on, resumed=resumed),
        num_epochs=progress.num_epochs,
        step=progress.count_steps(),
        table=found.parent / METRICS if found is not None else None,
    )
    if run.loaders.prepared is not None:
        with write_whole(run.folder / "data.json") as file:
            json.dump(run.loaders.prepared.report(), file, indent=2)


def _run_epoch(run: Run, epoch: int) -> None:
    """Train, validate, write metrics, save: in this order, so that a crash repeats what was not saved."""
    trainer, progress, place = run.config.trainer, run.progress, run.place
    before = together.share_epoch(progress.epoch, run.world)
    tell_step = follow_steps(run.trackers, run.config.logger.every_n_steps, epoch=epoch, before=before)
    batches, total = open_epoch(run, epoch, num_done=before.num_batches)
    place.current_epoch = epoch
    run.steps.hook("on_train_epoch_start")

    def begin_step(done: EpochResult) -> None:
        set_learning_rates(run, progress.num_steps + done.num_steps)
        run.steps.hook("on_before_optimizer_step", run.optimizer)

    def finish_step(done: EpochResult) -> None:
        place.global_step = progress.num_steps + done.num_steps
        step_schedules(run, "step", done.num_batches)  # as Lightning counts
        if done.num_batches >= total:
            step_schedules(run, "epoch", epoch + 1)
        if run.average is not None:
            run.average.update_parameters(run.task)
        run.steps.end_batch()
        if run.count_profiled is not None:
            run.count_profiled()
        if tell_step is not None:
            tell_step(done, place.global_step)
        every = trainer.save_every_n_steps
        if every and place.global_step % every == 0 and done.num_batches < total:
            progress.epoch = together.merge_epoch(done, run.world)
            _write(run, is_best=False)

    tracked = track_progress(batches, description=f"epoch {epoch}", total=total, done=before.num_batches)
    if isinstance(run.task, Estimator):
        run.task.train_epoch(tracked, before)
        run.train = before
    else:
        run.train = run_training_epoch(
            run.task,
            run.optimizer,
            tracked,
            device=run.device,
            accumulate_grad_batches=trainer.accumulate_grad_batches,
            average_over=trainer.average_over,
            clip_norm=trainer.clip_norm,
            precision=trainer.precision,
            epoch=epoch,
            before=before,
            before_step=begin_step,
            after_step=finish_step,
            scaler=run.scaler,
            step=run.steps.training,
            ranks=together.list_ranks(run.world, run.trained, run.loaders.train),
        )
        run.train = together.sum_result(run.train, run.world)
        run.train.derive(run.task)
    run.validation = _evaluate(run, "validation")
    run.steps.hook("on_train_epoch_end")
    step_schedules(run, "epoch", epoch + 1, on_plateau=True)
    progress.num_epochs, progress.epoch, run.epoch_rng = epoch + 1, {}, {}
    progress.num_steps += run.train.num_steps
    _log(run, "train", run.train)
    _log(run, "validation", run.validation)
    if run.report is not None:
        run.report(epoch, run.validation)
    _save(run)


def set_learning_rates(run: Run, step: int) -> None:
    """Set what the schedule says of the step that is next; a model's own schedulers do it by themselves."""
    if run.config.optimizer.name != "own":
        total_steps = run.place.estimated_stepping_batches
        factor = scale_learning_rate(run.config.schedule, step, total_steps=total_steps)
        for group, learning_rate in zip(run.optimizer.param_groups, run.learning_rates, strict=True):
            group["lr"] = learning_rate * factor


def step_schedules(run: Run, interval: str, count: int, *, on_plateau: bool = False) -> None:
    """Step the schedulers that a model brought, those of this interval whose turn it is.

    Raises:
        UsageError: a scheduler watches what nobody measures.
    """
    for each in run.schedules:
        if each.interval != interval or count % each.frequency or on_plateau != (each.monitor is not None):
            continue
        if each.monitor is None:
            each.scheduler.step()
            continue
        values = {"val_loss": run.validation.mean_loss, **run.steps.logged(), **run.validation.metrics}
        if each.monitor not in values or not run.validation.num_items:
            known = ", ".join(values)
            message = f"a scheduler watches '{each.monitor}', and there is only: {known}"
            raise UsageError("model-unsuited", message)
        each.scheduler.step(float(values[each.monitor]))


@contextmanager
def _profile(run: Run) -> Iterator[None]:
    """Write what the first steps of this process do, operation by operation, once."""
    steps = run.config.trainer.profile_steps
    path = run.folder / "profile.json"
    if not steps or path.exists() or run.world.rank:
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


def _count_evaluated(run: Run, part: str) -> float:
    """Give the number of batches to measure, 0 where there is no step for it."""
    trainer = run.config.trainer
    limit = trainer.limit_test_batches if part == "test" else trainer.limit_val_batches
    has_step = getattr(run.evaluation, part) is not None
    return count_batches(getattr(run.loaders, part), limit) if has_step else 0


def _evaluate(run: Run, part: str) -> EpochResult:
    total = _count_evaluated(run, part)
    if not total:
        return EpochResult()
    loader = getattr(run.loaders, part)
    taken = islice(loader, int(total) if total < math.inf else None)
    return measure(
        run.evaluated,
        run.evaluation,
        part,
        track_progress(taken, description=part, total=total),
        device=run.device,
        precision=run.config.trainer.precision,
        monitor=run.config.trainer.monitor,
        ranks=together.list_ranks(run.world, run.trained, loader),
    )


def _log(run: Run, part: str, result: EpochResult) -> None:
    if result.num_items:
        epoch, step = run.progress.num_epochs - 1, run.progress.num_steps
        values = {"loss": result.mean_loss} | result.metrics
        run.trackers.tell(Row(epoch, step, part, result.num_items, values))


def _save(run: Run) -> None:
    """Save best.ckpt before last.ckpt: a crash between them repeats the epoch and finds both right.

    Without a validation loss to compare, the latest weights are the best.
    """
    loss = run.validation.mean_loss
    unmeasured = math.isnan(loss) and not _count_evaluated(run, "validation")
    improved = unmeasured or math.isnan(run.progress.best_loss) or loss < run.progress.best_loss
    run.progress.epochs_without_gain = 0 if improved else run.progress.epochs_without_gain + 1
    if improved:
        run.progress.best_loss = loss
    _write(run, is_best=improved)


def _write(run: Run, *, is_best: bool) -> None:
    run.trackers.flush()
    state = build_state(
        config=run.config,
        model=run.task,
        optimizer=run.optimizer,
        progress=run.progress,
        extra=run.extra(),
        rng=capture_rng(run.generators()) | {"epoch": run.epoch_rng},
    )
    together.save(run.folder, state, run.config, run.world, is_best=is_best)


def _finish(run: Run) -> TrainResult:
    test = _test(run) if _count_evaluated(run, "test") else EpochResult()
    _log(run, "test", test)
    progress = run.progress
    return TrainResult(
        progress.num_epochs, progress.num_steps, run.train, run.validation, test, run.folder, run.world.rank
    )


def _test(run: Run) -> EpochResult:
    """Test with the best weights; the model keeps the last ones."""
    last = copy.deepcopy(run.evaluated.state_dict())
    state = load_checkpoint(run.folder / BEST, run.config, world=run.world)
    state = together.take_part(state, run.task, run.config, run.world)
    if run.average is None:
        run.task.load_state_dict(state["model"])
    else:
        run.average.load_state_dict(state["extra"]["average"])
    test = _evaluate(run, "test")
    run.evaluated.load_state_dict(last)
    return test
