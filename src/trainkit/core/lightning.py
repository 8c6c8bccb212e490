"""A user's LightningModule and LightningDataModule in our loop, and our task under Lightning's Trainer.

The first needs no import of Lightning: what it is shows in the names of its classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from trainkit.core.config import TrainConfig
from trainkit.core.data import Loaders
from trainkit.core.registry import OPTIMIZERS
from trainkit.core.schedules import scale_learning_rate
from trainkit.core.task import Outputs, Step, Steps, bind_step, find_size
from trainkit.errors import UsageError

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule

# What only Lightning's own loops call: a module that overrides one of these would train otherwise in ours.
UNSUPPORTED = (
    "backward",
    "optimizer_step",
    "optimizer_zero_grad",
    "configure_gradient_clipping",
    "lr_scheduler_step",
    "configure_model",
    "configure_sharded_model",
    "configure_callbacks",
    "transfer_batch_to_device",
    "on_before_batch_transfer",
    "on_after_batch_transfer",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_validation_batch_start",
    "on_validation_batch_end",
    "on_test_batch_start",
    "on_test_batch_end",
    "on_validation_model_eval",
    "on_validation_model_train",
    "on_validation_model_zero_grad",
    "on_test_model_eval",
    "on_test_model_train",
    "on_save_checkpoint",
    "on_load_checkpoint",
    "teardown",
)


class UnsupportedError(UsageError, AttributeError):
    """A LightningModule asks for what only Lightning's Trainer has; `hasattr` may ask."""


def is_lightning(task: object) -> bool:
    """Say whether this is a LightningModule, of either package."""
    return any(each.__name__ == "LightningModule" for each in type(task).__mro__)


def overrides(owner: object, name: str) -> bool:
    """Say whether the object or the user's classes have the method: those before Lightning's own."""
    if name in vars(owner):
        return True
    for each in type(owner).__mro__:
        if each.__name__ in {"LightningModule", "LightningDataModule"}:
            return False
        if name in vars(each):
            return True
    return False


@dataclass
class Place:
    """Where a run is: what a module may ask its trainer."""

    max_epochs: int = 0
    num_training_batches: float = 0
    estimated_stepping_batches: float = 0
    accumulate_grad_batches: int = 1
    current_epoch: int = 0
    global_step: int = 0
    datamodule: Any = None
    global_rank: int = 0
    local_rank: int = 0
    world_size: int = 1
    is_global_zero: bool = True
    sanity_checking: bool = False
    logger: None = None
    loggers: tuple[()] = ()


@dataclass
class Attached:
    """Stands where a LightningModule expects its Trainer: keeps what it logs, calls its steps and hooks."""

    module: Any
    place: Place
    logged: dict[str, Any] = field(default_factory=dict)
    latest: dict[str, Any] = field(default_factory=dict)  # of all that was logged
    _ended: tuple[Any, ...] | None = None  # the batch whose end is not told yet

    def __getattr__(self, name: str) -> Any:
        """Give what is known of the run."""
        if name == "callback_metrics":
            return self.latest | self.logged
        if hasattr(self.place, name):
            return getattr(self.place, name)
        raise UnsupportedError(
            "lightning-unsupported",
            f"{type(self.module).__name__} asks for trainer.{name}, which only Lightning's Trainer has; "
            "train it with lightning.Trainer, or do without",
        )

    def log(self, name: str, value: Any, *_: Any, **__: Any) -> None:
        """Keep the value; a torchmetrics object is computed at the end of the evaluation."""
        self.logged[name] = value.detach() if isinstance(value, Tensor) else value

    def log_dict(self, dictionary: Mapping[str, Any], *_: Any, **__: Any) -> None:
        """Keep each."""
        for name, value in dictionary.items():
            self.log(name, value)

    def detach(self) -> None:
        """Leave the module as it was, for another trainer."""
        for each in filter(is_lightning, self.module.modules()):
            each._trainer = None
            for name in ("log", "log_dict"):
                vars(each).pop(name, None)

    def hook(self, name: str, *arguments: Any) -> None:
        """Call a hook of the module, by its name in Lightning."""
        getattr(self.module, name)(*arguments)

    def end_batch(self) -> None:
        """Tell the end of the last batch: after its step, or before the next batch of its group."""
        ended, self._ended = self._ended, None
        if ended is not None:
            self.module.on_train_batch_end(*ended)

    def train_on(self, step: Step) -> Step:
        """Give a training step with its hooks."""

        def hooked(batch: Any, batch_idx: int) -> Outputs:
            self.end_batch()
            if self.module.on_train_batch_start(batch, batch_idx) == -1:
                message = "on_train_batch_start gave -1 to skip the epoch; only Lightning's Trainer does that"
                raise UnsupportedError("lightning-unsupported", message)
            outputs = step(batch, batch_idx)
            if outputs is None or (isinstance(outputs, Mapping) and "loss" not in outputs):
                message = f"training_step of {type(self.module).__name__} gave no loss; only Lightning skips"
                raise UnsupportedError("lightning-unsupported", message)
            told = {"loss": outputs} if isinstance(outputs, Tensor) else dict(outputs)
            told = {name: each.detach() if isinstance(each, Tensor) else each for name, each in told.items()}
            told["loss"] = told["loss"] / self.place.accumulate_grad_batches  # as Lightning tells it
            self._ended = (told, batch, batch_idx)
            return outputs

        return hooked

    def evaluate_with(self, step: Step, monitors: Sequence[str]) -> Step:
        """Give an evaluation step whose outputs hold all that it logs, and the loss."""

        def logged(batch: Any, batch_idx: int) -> Outputs:
            self._keep_computed()  # what training logged
            outputs = step(batch, batch_idx)
            given = {"loss": outputs} if isinstance(outputs, Tensor) else outputs
            means = {  # what else a step returns is nobody's business, in Lightning either
                name: each
                for name, each in (given.items() if isinstance(given, Mapping) else ())
                if find_size(each) == 1
            }
            means |= self._keep_computed()
            self.latest |= means
            loss = next((means[name] for name in monitors if name in means), None)
            if loss is None:
                raise UsageError(
                    "lightning-unsupported",
                    f"{type(self.module).__name__} gives no loss in its evaluation, logs no '{monitors[0]}' "
                    f"(logged: {', '.join(means) or 'nothing'}); set trainer.monitor",
                )
            return means | {"loss": loss}

        return logged

    def _keep_computed(self) -> dict[str, Any]:
        """Take out the plain values; what is computed over a whole evaluation stays."""
        plain = {name: value for name, value in self.logged.items() if not hasattr(value, "compute")}
        self.logged = {name: value for name, value in self.logged.items() if name not in plain}
        self.latest |= plain
        return plain

    def collect(self) -> dict[str, float]:
        """Give what is known only now that an evaluation has ended; torchmetrics objects are reset."""
        found = {}
        for name, value in self.logged.items():
            found[name] = float(value.compute() if hasattr(value, "compute") else value)
            if hasattr(value, "reset"):
                value.reset()
        self.logged = {}
        return found


def attach(module: Any, place: Place, *, monitor: str) -> Steps:
    """Give the steps of a LightningModule; it sees us where its Trainer would be.

    Raises:
        UnsupportedError: it overrides what only Lightning's own loops call, or steps by itself.
    """
    wrong = [name for name in UNSUPPORTED if overrides(module, name)]
    if not module.automatic_optimization:
        wrong.append("automatic_optimization = False")
    if wrong:
        raise UnsupportedError(
            "lightning-unsupported",
            f"{type(module).__name__} has {', '.join(wrong)}, which only Lightning's Trainer calls; train it "
            "with lightning.Trainer",
        )
    trainer = Attached(module, place)
    for each in module.modules():
        if is_lightning(each):
            each._trainer = trainer
            vars(each).update(log=trainer.log, log_dict=trainer.log_dict)
    evaluations = {}
    for part, short in (("validation", "val"), ("test", "test")):
        if overrides(module, f"{part}_step"):
            monitors = [name for name in (monitor, f"{short}_loss", "loss") if name]
            evaluations[part] = trainer.evaluate_with(bind_step(getattr(module, f"{part}_step")), monitors)
    return Steps(
        training=trainer.train_on(bind_step(module.training_step)),
        validation=evaluations.get("validation"),
        test=evaluations.get("test"),
        hook=trainer.hook,
        end_batch=trainer.end_batch,
        collect=trainer.collect,
        detach=trainer.detach,
        logged=lambda: trainer.latest | trainer.logged,
    )


def open_loaders(data: Any) -> Loaders:
    """Give the loaders of a LightningDataModule (or of a LightningModule that has its own).

    That of the test is opened when it is used, as Lightning does: `setup` may draw random numbers.

    Raises:
        UsageError: it gives several loaders for one part.
    """
    hooks = ["on_before_batch_transfer", "on_after_batch_transfer", "transfer_batch_to_device", "teardown"]
    if not isinstance(data, nn.Module):
        hooks += ["state_dict", "load_state_dict"]
    if wrong := [name for name in hooks if overrides(data, name)]:
        message = f"{type(data).__name__} has {', '.join(wrong)}, which only Lightning's Trainer calls"
        raise UnsupportedError("lightning-unsupported", f"{message}; train it with lightning.Trainer")
    data.prepare_data()
    data.setup("fit")
    train, validation = _open_loader(data, "train_dataloader"), _open_loader(data, "val_dataloader")
    return Loaders(train, validation, _TestLoader(data), facts=getattr(data, "facts", {}))


class _TestLoader:
    def __init__(self, data: Any) -> None:
        self.data = data

    @cached_property
    def loader(self) -> Any:
        if overrides(self.data, "test_dataloader"):
            self.data.setup("test")
        return _open_loader(self.data, "test_dataloader")

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.loader)


def _open_loader(data: Any, name: str) -> Any:
    loader = getattr(data, name)() if overrides(data, name) else []
    if isinstance(loader, list | tuple) and len(loader) == 1:
        return loader[0]
    if isinstance(loader, Mapping) or (isinstance(loader, list | tuple) and len(loader) > 1):
        message = f"{type(data).__name__}.{name} gives several loaders; give one"
        raise UnsupportedError("lightning-unsupported", message)
    return loader


def to_lightning(task: nn.Module, config: TrainConfig) -> LightningModule:
    """Give our task as a LightningModule, with the optimizer and the schedule of the configuration.

    Give accumulation and clipping to Lightning's Trainer. It divides by the number of batches, so the bits
    are those of our loop with `trainer.average_over=batches`.

    Raises:
        UsageError: an optimizer that is several in one, such as muon.
    """
    from lightning.pytorch import LightningModule  # late: three times as slow to import as torch
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LambdaLR

    class LightningTask(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.task = task

        def training_step(self, batch: Any, batch_idx: int) -> Outputs:
            return self.task.training_step(batch, batch_idx)  # type: ignore[operator,no-any-return]

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            outputs = self.task.validation_step(batch, batch_idx)  # type: ignore[operator]
            means = {"loss": outputs} if isinstance(outputs, Tensor) else outputs
            size = self.task.count_items(batch)  # type: ignore[operator]
            self.log_dict({f"val_{name}": mean for name, mean in means.items()}, batch_size=size)

        def configure_optimizers(self) -> Any:
            optimizer = OPTIMIZERS.load(config.optimizer.name)(config.optimizer, self.task)
            if not isinstance(optimizer, Optimizer):
                message = f"optimizer={config.optimizer.name} is several in one; Lightning steps one"
                raise UnsupportedError("lightning-unsupported", message)
            total_steps = int(self.trainer.estimated_stepping_batches)

            def scale(step: int) -> float:
                return scale_learning_rate(config.schedule, step, total_steps=total_steps)

            return [optimizer], [{"scheduler": LambdaLR(optimizer, scale), "interval": "step"}]

    return LightningTask()
