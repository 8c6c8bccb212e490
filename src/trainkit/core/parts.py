"""The parts of one run: built from a configuration, or given."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.amp import GradScaler
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from trainkit.core.checkpoint import Progress, Stateful, read_weights
from trainkit.core.config import SourceConfig, TrainConfig
from trainkit.core.data import EpochSampler, Loaders, count_batches
from trainkit.core.imported import Estimator, Supervised
from trainkit.core.lightning import Place, attach, is_lightning, open_loaders, overrides
from trainkit.core.loop import EpochResult
from trainkit.core.optim import OwnSchedule, Several, read_configured
from trainkit.core.registry import DATASETS, MODELS, OPTIMIZERS
from trainkit.core.rng import capture_rng, keep_rng, restore_rng
from trainkit.core.task import Steps, list_steps
from trainkit.core.tracking import Trackers
from trainkit.core.world import ALONE, World
from trainkit.errors import UsageError, suggest


@dataclass
class Run:
    """The parts, on their device, and how far they are."""

    config: TrainConfig
    folder: Path
    device: torch.device
    loaders: Loaders
    task: nn.Module
    steps: Steps
    place: Place
    optimizer: Optimizer | Several
    schedules: list[OwnSchedule]
    scaler: GradScaler | None
    average: AveragedModel | None
    evaluated: nn.Module  # what is validated, tested and kept: the average, where there is one
    evaluation: Steps
    learning_rates: list[float]  # of the optimizer's groups, before any schedule
    world: World
    trained: nn.Module  # what other ranks are told of: the task, or its copy's wrapper
    progress: Progress = field(default_factory=Progress)
    train: EpochResult = field(default_factory=EpochResult)
    validation: EpochResult = field(default_factory=EpochResult)
    count_profiled: Callable[[], None] | None = None
    report: Callable[[int, EpochResult], None] | None = None
    epoch_rng: dict[str, Any] = field(default_factory=dict)  # as the epoch began, for loaders not ours
    trackers: Trackers = field(default_factory=Trackers)  # of the first rank; none of another

    def extra(self) -> dict[str, Stateful]:
        """Give the parts that not every run has."""
        parts: dict[str, Any] = {
            "scaler": self.scaler,
            "average": self.average,
            "data": self.loaders.prepared,
        }
        parts |= {f"schedule{number}": each.scheduler for number, each in enumerate(self.schedules)}
        return {name: part for name, part in parts.items() if part is not None}

    def generators(self) -> list[torch.Generator]:
        """Give the generators that somebody's loaders draw from; nothing depends on those of ours."""
        if self.loaders.sampler is not None:
            return []
        owners = [
            (each, getattr(each, "sampler", None)) for each in (self.loaders.train, self.loaders.validation)
        ]
        found = [getattr(owner, "generator", None) for pair in owners for owner in pair]
        return [each for each in found if isinstance(each, torch.Generator)]


def build_run(
    config: TrainConfig,
    *,
    task: Any = None,
    data: Any = None,
    world: World = ALONE,
    saved: Mapping[str, Any] | None = None,
) -> Run:
    """Build what is not given: data first, then the model, then what depends on both.

    `saved` is what an earlier run has fitted to its data.

    Raises:
        UsageError: a part cannot be built, or does not go with another.
    """
    device = choose_device(config.trainer.device) if world.mesh is None else world.device
    if data is None:
        data = open_data(config, saved=saved)
    if task is None:
        task = build_task(config, data)
    loaders = data if isinstance(data, Loaders) else open_loaders(data)
    device = torch.device("cpu") if isinstance(task, Estimator) else device
    task = _prepare(task, config).to(device)
    trainer = config.trainer
    if world.mesh is not None:
        check_ranks(config, task, loaders)
        for loader in (loaders.train, loaders.validation, loaders.test):
            loader.sampler.deal(world, loader.batch_size)  # type: ignore[attr-defined]
    place = _find_place(config, task, data, loaders)
    average = _build_average(task, trainer.ema_decay)
    evaluated = task if average is None else average.module
    steps, trained = list_steps_of(task, place, config), task
    if world.mesh is not None:
        steps, trained = _distribute(steps, task, world, trainer.strategy)
    evaluation = steps if evaluated is task else list_steps_of(evaluated, place, config)
    if config.optimizer.name == "own":
        optimizer, schedules = read_configured(task)
    else:
        optimizer, schedules = OPTIMIZERS.load(config.optimizer.name)(config.optimizer, task), []
    return Run(
        config=config,
        folder=Path(config.output_dir, config.exp_name),
        device=device,
        loaders=loaders,
        task=task,
        steps=steps,
        place=place,
        optimizer=optimizer,
        schedules=schedules,
        scaler=GradScaler(device.type) if trainer.precision == "fp16" else None,
        average=average,
        evaluated=evaluated,
        evaluation=evaluation,
        learning_rates=[group["lr"] for group in optimizer.param_groups],
        world=world,
        trained=trained,
    )


def _find_place(config: TrainConfig, task: nn.Module, data: Any, loaders: Loaders) -> Place:
    """Give how long training will be.

    Raises:
        UsageError: there is nothing to train on, or a schedule needs an end and there is none.
    """
    trainer = config.trainer
    num_batches = count_batches(loaders.train, trainer.limit_train_batches)
    num_steps = num_batches
    if num_batches != math.inf:
        num_steps = math.ceil(num_batches / trainer.accumulate_grad_batches)
    elif config.schedule.name != "constant":
        message = f"schedule={config.schedule.name} needs the number of steps, and the loader has no length"
        raise UsageError("data-unsuited", f"{message}; set trainer.limit_train_batches to a count")
    if not num_batches and trainer.limit_train_batches:
        raise UsageError("data-empty", "there is no batch to train on")
    max_epochs = 1 if isinstance(task, Estimator) and not task.online else trainer.max_epochs
    return Place(
        max_epochs=max_epochs,
        num_training_batches=num_batches,
        estimated_stepping_batches=num_steps * max_epochs,
        accumulate_grad_batches=trainer.accumulate_grad_batches,
        datamodule=data,
    )


def _distribute(steps: Steps, task: nn.Module, world: World, strategy: str) -> tuple[Steps, nn.Module]:
    """Give the steps as several ranks make them together, and the module that tells the others of it."""
    from trainkit.core.distributed import shard, wrap_ddp  # late: seconds

    trained = wrap_ddp(task) if strategy == "ddp" else shard(task, world)
    names = ["training"] if strategy == "ddp" else ["training", "validation", "test"]
    return replace(steps, **{name: partial(trained, getattr(steps, name)) for name in names}), trained


def open_data(config: TrainConfig, *, saved: Mapping[str, Any] | None = None) -> Any:
    """Give the data that the configuration names, its steps as they were fitted, if they were.

    Raises:
        UsageError: it cannot be read.
    """
    options = {"saved": saved} if saved is not None and isinstance(config.data, SourceConfig) else {}
    # Ours draws nothing, but what it imports may, and that depends on what else is installed.
    with nullcontext() if config.data.name == "import" else keep_rng():
        return DATASETS.load(config.data.name)(config.data, seed=config.seed, **options)


def check_ranks(config: TrainConfig, task: Any, loaders: Loaders) -> None:
    """Refuse what was never seen to train right in several processes.

    Raises:
        UsageError: it names all that is refused.
    """
    trainer, is_fsdp = config.trainer, config.trainer.strategy == "fsdp"
    samplers = [getattr(each, "sampler", None) for each in (loaders.train, loaders.validation, loaders.test)]
    found = {
        "trainer.compile=True": trainer.compile,
        "a LightningModule": is_lightning(task),
        "an estimator": isinstance(task, Estimator),
        "optimizer=own": config.optimizer.name == "own",
        "loaders that are not trainkit's": loaders.sampler is None
        or not all(isinstance(each, EpochSampler) for each in samplers),
        f"optimizer={config.optimizer.name} with fsdp": is_fsdp
        and config.optimizer.name not in ("adamw", "sgd"),
        "trainer.ema_decay with fsdp": is_fsdp and trainer.ema_decay > 0,
        "trainer.precision=fp16 with fsdp": is_fsdp and trainer.precision == "fp16",
    }
    if wrong := [name for name, is_wrong in found.items() if is_wrong]:
        message = f"under torchrun there is no {', no '.join(wrong)}; train it in one process"
        raise UsageError("ranks-unsupported", message)


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


def build_task(config: TrainConfig, data: Any) -> Any:
    """Give the model that the configuration names, told what it must know of the data.

    Raises:
        UsageError: the data does not say what the model must know.
    """
    facts = dict(getattr(data, "facts", {}))
    try:
        return MODELS.load(config.model.name)(config.model, **facts)
    except TypeError as error:
        if "argument" not in str(error):
            raise
        raise UsageError(
            "model-unsuited",
            f"model={config.model.name} does not go with data that says {facts or 'nothing'} of itself: "
            f"{error}; give the data a `facts` mapping with what the model needs",
        ) from error


def _prepare(task: nn.Module, config: TrainConfig) -> nn.Module:
    set_up(task)
    if config.init_from is not None:
        initialize(task, Path(config.init_from))
    freeze(task, config.freeze)
    return task


def set_up(task: nn.Module) -> None:
    """Let a LightningModule make what it makes late."""
    if is_lightning(task) and overrides(task, "setup"):
        task.setup("fit")  # type: ignore[operator]


def list_steps_of(task: nn.Module, place: Place, config: TrainConfig) -> Steps:
    """Give what the loop calls, of a LightningModule or of another task."""
    if is_lightning(task):
        return attach(task, place, monitor=config.trainer.monitor)
    return list_steps(task)


def _build_average(task: nn.Module, decay: float) -> AveragedModel | None:
    if not decay:
        return None
    averaging = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
    return AveragedModel(task, multi_avg_fn=averaging, use_buffers=True)


def initialize(task: nn.Module, path: Path) -> None:
    """Put the weights of a file into the task, and say on stderr what stays as it was built.

    Raises:
        UsageError: none of them fits, or one has another shape.
    """
    own, found = task.state_dict(), read_weights(path)
    if isinstance(task, Supervised) and not any(name in own for name in found):  # the module's own names
        found = {f"module.{name}": value for name, value in found.items()}
    _check_weights(task, own, found, path)
    common = {name: found[name] for name in own if name in found}
    task.load_state_dict(common, strict=False)
    missing = [name for name in own if name not in found]
    unused = [name for name in found if name not in own]
    for names, what in ((missing, "not in it, left as built"), (unused, "in it and not in the model")):
        if names:
            listed = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
            print(f"trainkit: init_from='{path}': {len(names)} tensors {what}: {listed}", file=sys.stderr)


def _check_weights(task: nn.Module, own: Mapping[str, Any], found: Mapping[str, Any], path: Path) -> None:
    """Refuse weights that cannot be put into the task.

    Raises:
        UsageError: none of them fits, one has another shape, or a fit would not go on from them.
    """
    common = [name for name in own if name in found]
    wrong = [
        f"{name} is {list(found[name].shape)} there and {list(own[name].shape)} here"
        for name in common
        if found[name].shape != own[name].shape and not isinstance(task, Estimator)  # that is bytes
    ]
    if isinstance(task, Estimator) and not (task.online or getattr(task.estimator, "warm_start", False)):
        message = "its fit begins anew; set model.online=true, or model.kwargs.warm_start=true"
        raise UsageError("weights-unsuited", f"init_from='{path}': {message}")
    if wrong or not common:
        reason = "; ".join(wrong) or f"no name in it is one of {type(task).__name__}'s"
        raise UsageError("weights-unsuited", f"init_from='{path}': {reason}; give weights of this model")


def freeze(task: nn.Module, patterns: list[str]) -> None:
    """Let the parameters whose names match a pattern be as they are.

    Raises:
        UsageError: a pattern matches none, or nothing is left to train.
    """
    inner = task.module if isinstance(task, Supervised) else task
    names = [name for name, _ in inner.named_parameters()]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            message = f"freeze: no parameter matches '{pattern}'{suggest(pattern, names)}"
            raise UsageError("weights-unsuited", message)
    for name, parameter in inner.named_parameters():
        if any(fnmatchcase(name, pattern) for pattern in patterns):
            parameter.requires_grad_(False)
    if patterns and not any(parameter.requires_grad for parameter in task.parameters()):
        raise UsageError("weights-unsuited", f"freeze={patterns}: nothing is left to train")


def open_epoch(run: Run, epoch: int, *, num_done: int) -> tuple[Iterator[Any], float]:
    """Give the batches of an epoch after the first `num_done`, and the number of all.

    Our own sampler skips by index. Another loader is read again from the random state in which the epoch
    began, workers and all, and the present state is put back behind what is skipped.
    """
    loader: Any = run.loaders.train
    sampler = run.loaders.sampler
    if sampler is not None:
        sampler.set_epoch(epoch)
        total = count_batches(loader, run.config.trainer.limit_train_batches)
        sampler.set_epoch(epoch, start=num_done * loader.batch_size)
        return islice(loader, int(total) - num_done), total
    owners: list[Any] = [getattr(loader, name, None) for name in ("sampler", "batch_sampler")]
    for owner in (*owners, loader):
        if hasattr(owner, "set_epoch"):
            owner.set_epoch(epoch)
    total = count_batches(loader, run.config.trainer.limit_train_batches)
    now = capture_rng(run.generators())
    if num_done:
        restore_rng(run.epoch_rng, run.generators())
    else:
        run.epoch_rng = now
    batches = iter(loader)
    if num_done:
        for _ in islice(batches, num_done):
            pass
        restore_rng(now, run.generators())
    return (islice(batches, int(total) - num_done) if total < math.inf else batches), total
