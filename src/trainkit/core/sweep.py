"""Trials of one search space, drawn and remembered by Optuna: its study's database is the queue.

A trial that runs names its worker, and a worker holds a lock on a file of its own until it ends, however it
ends: a trial whose worker's lock is free is gone on with by the next worker, from its own checkpoint. What is
drawn depends on the seed, the trial's number and what was finished before: one worker, killed and started
again, draws what it would have drawn.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from math import isfinite, prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

from trainkit.core.compose import compose
from trainkit.core.config import CsvConfig, LoggerConfig
from trainkit.core.space import Axis, Space
from trainkit.errors import UsageError, suggest

if TYPE_CHECKING:
    import optuna

    from trainkit.core.loop import EpochResult

SAMPLERS = ("tpe", "random", "grid")
PRUNERS = ("none", "median", "hyperband")


@dataclass(frozen=True)
class Sweep:
    """What is searched, and how; its files go to `output_dir`/`name`, a trial's to its number there.

    `num_trials` 0 is the whole grid, or 20. `metric` is `loss`, or what else the validation step measures; a
    trial's value is its best epoch's. `storage` is a database's URL, by default SQLite's in the folder.
    """

    space: Space
    name: str = "sweep"
    num_trials: int = 0
    sampler: str = "tpe"
    pruner: str = "none"
    metric: str = "loss"
    direction: Literal["minimize", "maximize"] = "minimize"
    storage: str = ""
    timeout_s: float = float("inf")

    @property
    def folder(self) -> Path:
        """The folder of all trials."""
        return Path(self.space.config.output_dir, self.name)

    @property
    def database(self) -> Path:
        """The file of the default storage."""
        return self.folder / "study.db"

    def count_trials(self) -> int:
        """Give how many there will be.

        Raises:
            UsageError: the grid has fewer than are asked for, or none.
        """
        if self.sampler != "grid":
            return self.num_trials or 20
        size = prod(map(len, self.space.list_grid()))
        if self.num_trials > size:
            raise UsageError("sweep-space", f"--trials {self.num_trials}: the grid has {size} combinations")
        return self.num_trials or size

    def describe(self) -> dict[str, Any]:
        """Give what may not change while trials are added."""
        names = ("metric", "direction", "sampler", "pruner")
        fixed = sorted(text for text in self.space.fixed if not text.startswith("output_dir="))
        space = [axis.source for axis in self.space.axes]
        return {"space": space, "fixed": fixed} | {name: getattr(self, name) for name in names}


def open_study(sweep: Sweep) -> optuna.Study:
    """Open the study, or make it once a batch of its first combination could be trained.

    Raises:
        UsageError: the storage cannot be opened, holds another sweep of this name, or the first combination
            cannot be trained.
    """
    import optuna  # late: half a second

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    is_own = not sweep.storage
    storage = None if is_own and not sweep.database.exists() else _open_storage(sweep)
    if storage is None or sweep.name not in {each.study_name for each in storage.get_all_studies()}:
        rehearse(sweep)
        if any(each.name.isdecimal() for each in sweep.folder.glob("*")):
            message = f"'{sweep.folder}' holds trials that the storage does not know; give another --name"
            raise UsageError("sweep-other", message)
    try:
        (sweep.folder / "workers").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"output_dir/--name={sweep.folder}: {error.strerror}; give another output_dir"
        raise UsageError("output-not-writable", message) from error
    study = optuna.create_study(
        storage=storage or _open_storage(sweep),
        study_name=sweep.name,
        direction=sweep.direction,
        load_if_exists=True,
        pruner=_make_pruner(sweep),
    )
    here = sweep.describe()
    there = study.user_attrs.get("sweep")
    if there is None:
        study.set_user_attr("sweep", here)
    elif there != here:
        wrong = [
            f"{key} is {there.get(key)!r} there and {here[key]!r} here"
            for key in here
            if there.get(key) != here[key]
        ]
        message = f"the study '{sweep.name}' is of another sweep: {'; '.join(wrong)}; give another --name"
        raise UsageError("sweep-other", message)
    return study


def _open_storage(sweep: Sweep) -> Any:
    import optuna
    from sqlalchemy import event

    if not sweep.storage:
        sweep.folder.mkdir(parents=True, exist_ok=True)
    url = sweep.storage or f"sqlite:///{sweep.database}"
    wait = (
        {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else None
    )  # seconds, for other workers
    try:
        storage = optuna.storages.RDBStorage(url, engine_kwargs=wait)
    except Exception as error:  # each database fails in its own driver's way
        reason = str(error).partition("\n")[0]
        message = f"--storage: {type(error).__name__}: {reason}; give a URL such as sqlite:///study.db"
        raise UsageError("sweep-storage", message) from error
    if not sweep.storage:
        event.listen(storage.engine, "connect", _write_ahead)
        storage.engine.dispose()  # of connections that it was not told of
    return optuna.storages.get_storage(storage)


def _write_ahead(connection: Any, _: Any) -> None:
    """Let SQLite write a log first: as safe, and a commit waits for no disk."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def _make_pruner(sweep: Sweep) -> Any:
    from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner

    if sweep.pruner == "hyperband":
        return HyperbandPruner(max_resource=sweep.space.config.trainer.max_epochs)
    return MedianPruner() if sweep.pruner == "median" else NopPruner()


def rehearse(sweep: Sweep) -> None:
    """Train a batch of the first combination elsewhere, so that what is wrong is said before it is written.

    An imported model is left out: it may need more than one batch.

    Raises:
        UsageError: what `train` raises, or nobody measures the metric.
    """
    config = sweep.space.config
    if config.model.name == "import":
        return
    from trainkit.core.loop import NonFiniteLossError
    from trainkit.core.trainer import train

    trainer = replace(
        config.trainer,
        max_epochs=1,
        limit_train_batches=1,
        limit_val_batches=1 if config.trainer.limit_val_batches else 0,
        limit_test_batches=0,
        accumulate_grad_batches=1,
        compile=False,
        profile_steps=0,
    )

    def report(_: int, validation: EpochResult) -> None:
        read_metric(validation, sweep.metric)

    with tempfile.TemporaryDirectory() as folder, suppress(NonFiniteLossError):  # that is a trial's affair
        logger = LoggerConfig(csv=CsvConfig(enabled=False))
        train(replace(config, trainer=trainer, logger=logger, output_dir=folder), report=report)


def read_metric(validation: EpochResult, name: str) -> float:
    """Give the metric of an epoch.

    Raises:
        UsageError: it was not measured.
    """
    known = {"loss": validation.mean_loss, **validation.metrics} if validation.num_items else {}
    if name not in known:
        hint = suggest(name, known) if known else "; nothing is: see trainer.limit_val_batches"
        raise UsageError("sweep-metric", f"--metric {name}: no validation measures it{hint}")
    return float(known[name])


def run_trials(
    sweep: Sweep,
    study: optuna.Study,
    *,
    done: Callable[[], None] = lambda: None,
    alive: Callable[[], bool] = lambda: True,
) -> None:
    """Run trials until there are enough of them, the time is over, or `alive` says no.

    Raises:
        TrainkitError: a trial cannot be run; it is gone on with by the next call.
    """
    end = time.monotonic() + sweep.timeout_s
    own = uuid4().hex
    with _hold(sweep.folder / "workers" / own):
        while alive() and time.monotonic() < end:
            claimed = _claim(sweep, study, own)
            if claimed is None:
                break
            _run_trial(sweep, study, *claimed, alive)
            done()
    # only here: behind an error the file says that nobody holds it
    (sweep.folder / "workers" / own).unlink(missing_ok=True)


@contextmanager
def _hold(path: Path) -> Iterator[None]:
    """Hold a lock on a file; it is free when the process is gone (`flock`'s lives on in its children)."""
    with path.open("w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        yield


def _is_free(path: Path) -> bool:
    """Say whether the file is there and nobody holds it."""
    try:
        with path.open("r+") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held, or on another machine
        return False
    return True


def _claim(sweep: Sweep, study: optuna.Study, own: str) -> tuple[int, dict[int, float]] | None:
    """Take over the trial of a dead worker, or else begin one; give its id, and the values of its epochs.

    None where there are enough. One worker at a time: no trial twice, and none too many.
    """
    from optuna.trial import TrialState, create_trial

    storage, workers = study._storage, sweep.folder / "workers"
    with _hold(workers / "claim"):
        trials = study.get_trials(deepcopy=False)
        for found in trials:
            if found.state is TrialState.RUNNING and _is_free(workers / found.user_attrs["worker"]):
                now = storage.get_trial(found._trial_id)
                if not now.state.is_finished():  # as its worker may have done since
                    storage.set_trial_user_attr(now._trial_id, "worker", own)
                    (workers / found.user_attrs["worker"]).unlink(missing_ok=True)
                    return now._trial_id, dict(now.intermediate_values)
        if len(trials) >= sweep.count_trials():
            return None
        facts = {"worker": own, "threads": os.environ.get("OMP_NUM_THREADS")}
        template = create_trial(state=TrialState.RUNNING, user_attrs=facts)
        return storage.create_new_trial(study._study_id, template), {}


def _run_trial(
    sweep: Sweep, study: optuna.Study, trial_id: int, values: dict[int, float], alive: Callable[[], bool]
) -> None:
    import torch
    from optuna.exceptions import TrialPruned
    from optuna.trial import TrialState

    from trainkit.core.loop import NonFiniteLossError
    from trainkit.core.trainer import train

    trial = _suggest(sweep, study, trial_id)
    config = compose([*sweep.space.fixed, *sweep.space.write(trial.params)])
    config = replace(config, output_dir=str(sweep.folder), exp_name=str(trial.number), resume="auto")

    def report(epoch: int, validation: EpochResult) -> None:
        if not alive():
            raise KeyboardInterrupt
        if epoch not in values:  # else the epoch is repeated: it was told, and not saved
            values[epoch] = read_metric(validation, sweep.metric)
            trial.report(values[epoch], epoch)
        if sweep.pruner != "none" and trial.should_prune():
            raise TrialPruned

    torch.set_float32_matmul_precision("highest")  # a trial in tf32 leaves it behind
    reason = "pruned"
    try:
        train(config, report=report)
    except TrialPruned:
        pass
    except (NonFiniteLossError, torch.OutOfMemoryError) as error:
        reason = str(error).partition("\n")[0]
    else:
        finite = [value for value in values.values() if isfinite(value)]
        if finite:
            study.tell(trial, min(finite) if sweep.direction == "minimize" else max(finite))
            return
        reason = f"no {sweep.metric} is a number"
    trial.set_user_attr("reason", reason)
    study.tell(trial, state=TrialState.PRUNED)


def _suggest(sweep: Sweep, study: optuna.Study, trial_id: int) -> optuna.trial.Trial:
    """Give the trial with a value on every axis, those that it has already untouched.

    Each axis is drawn by a generator of its own: what a kill left undone is drawn as it would have been.
    """
    from optuna.trial import Trial

    trial = Trial(study, trial_id)
    if sweep.sampler == "grid":
        study._storage.set_trial_system_attr(trial_id, "fixed_params", sweep.space.pick(trial.number))
        trial = Trial(study, trial_id)
    study.sampler = _make_sampler(sweep, trial.number, "")
    _ = trial.relative_params  # what is drawn together, with this sampler
    for axis in sweep.space.axes:
        study.sampler = _make_sampler(sweep, trial.number, axis.key)
        _suggest_one(trial, axis)
    return trial


def _make_sampler(sweep: Sweep, number: int, key: str) -> Any:
    from optuna.samplers import RandomSampler, TPESampler

    seed = zlib.crc32(f"{sweep.space.config.seed},{number},{key}".encode())
    return TPESampler(seed=seed) if sweep.sampler == "tpe" else RandomSampler(seed)


def _suggest_one(trial: optuna.trial.Trial, axis: Axis) -> None:
    if not axis.numbers:
        trial.suggest_categorical(axis.key, axis.texts)
        return
    low, high = axis.numbers[0], axis.numbers[-1]
    if axis.is_integer:
        trial.suggest_int(axis.key, int(low), int(high), step=int(axis.step) or 1, log=axis.log)
    else:
        trial.suggest_float(axis.key, low, high, step=axis.step or None, log=axis.log)


def write_command(sweep: Sweep, trial: optuna.trial.FrozenTrial) -> str:
    """Give the command line that trains a trial's configuration again, elsewhere than in the sweep."""
    overrides = [
        *sweep.space.fixed,
        *sweep.space.write(trial.params),
        f"exp_name={sweep.name}-{trial.number}",
    ]
    command = shlex.join(["trainkit", "train", *overrides])
    threads = trial.user_attrs["threads"]
    return f"OMP_NUM_THREADS={threads} {command}" if threads else command


def draw(sweep: Sweep, study: optuna.Study) -> list[Path]:
    """Draw the history and the importance of the axes; give the files: none if all are alike."""
    import warnings

    from optuna.trial import TrialState

    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len({trial.value for trial in complete}) < 2:
        return []
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from optuna.visualization.matplotlib import plot_optimization_history, plot_param_importances

    drawn = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that these pictures are experimental
        for name, plot in (("history", plot_optimization_history), ("importance", plot_param_importances)):
            plot(study, target_name=sweep.metric)
            drawn.append(sweep.folder / f"{name}.png")
            pyplot.savefig(drawn[-1], bbox_inches="tight", dpi=120)
            pyplot.close()
    return drawn
