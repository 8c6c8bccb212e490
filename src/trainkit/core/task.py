"""What is trained: a module in the shape of a LightningModule, its loss inside."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trainkit.core.config import ImportedModelConfig
from trainkit.core.registry import import_object
from trainkit.errors import UsageError

Outputs = Tensor | Mapping[str, Tensor] | None
Step = Callable[[Any, int], Outputs]


@dataclass(frozen=True)
class Steps:
    """What the loop calls: `validation` and `test` are None where there is nothing to measure."""

    training: Step
    validation: Step | None
    test: Step | None
    hook: Callable[..., None] = lambda *_: None
    end_batch: Callable[[], None] = lambda: None
    collect: Callable[[], dict[str, float]] = dict


class Task(nn.Module):
    """A model that knows its loss.

    A LightningModule has the same methods and is trained by the same loop; `count_items` is ours.
    """

    def training_step(self, batch: Any, batch_idx: int) -> Outputs:
        """Give the loss [], the mean over the items of the batch; or a mapping: "loss" and other means."""
        raise NotImplementedError

    def validation_step(self, batch: Any, batch_idx: int) -> Outputs:
        """Give the same, without a gradient."""
        return self.training_step(batch, batch_idx)

    def count_items(self, batch: Any) -> int:
        """Give the number of items (tokens, images, …) that the batch's loss is the mean of; 0 is allowed."""
        return find_batch_size(batch)


class Supervised(Task):
    """Any module and a loss of (outputs, targets); batches are (inputs, targets)."""

    def __init__(self, module: nn.Module, loss: Callable[[Any, Any], Tensor]) -> None:
        super().__init__()
        self.module = module
        self.loss = loss

    def forward(self, inputs: Any) -> Any:
        """Give the module's outputs."""
        return self.module(inputs)

    def training_step(self, batch: Any, batch_idx: int) -> Outputs:
        """Give the loss of (inputs, targets)."""
        inputs, targets = batch
        return self.loss(self(inputs), targets)

    def validation_step(self, batch: Any, batch_idx: int) -> Outputs:
        """Give the loss and, where the targets are classes, the accuracy."""
        inputs, targets = batch
        outputs = self(inputs)
        measured = {"loss": self.loss(outputs, targets)}
        if not targets.is_floating_point() and outputs.ndim == targets.ndim + 1:
            measured["accuracy"] = (outputs.argmax(1) == targets).float().mean()
        return measured


def import_task(config: ImportedModelConfig, **_: Any) -> Any:
    """Give what `target` makes: with a `training_step` or a `fit` as it is, another module with its loss.

    Raises:
        UsageError: it cannot be imported, or is nothing that can be trained.
    """
    made = import_object(config.target, key="model.target")(**config.kwargs)
    if hasattr(made, "training_step") or (hasattr(made, "fit") and hasattr(made, "predict")):
        return made
    if not isinstance(made, nn.Module):
        raise UsageError(
            "model-unsuited",
            f"model.target='{config.target}' made a {type(made).__name__}, which has no training_step, is no "
            "nn.Module and has no fit and predict",
        )
    if not config.loss:
        message = (
            f"model.target='{config.target}' has no training_step; give model.loss, such as cross_entropy"
        )
        raise UsageError("model-unsuited", message)
    path = config.loss if "." in config.loss else f"torch.nn.functional.{config.loss}"
    return Supervised(made, import_object(path, key="model.loss"))


def list_steps(task: Any) -> Steps:
    """Give the steps of a Task, or of a module in its shape."""
    evaluate = bind_step(getattr(task, "validation_step", task.training_step))
    return Steps(bind_step(task.training_step), evaluate, bind_step(getattr(task, "test_step", evaluate)))


def bind_step(step: Callable[..., Outputs]) -> Step:
    """Give the step as a function of batch and batch_idx, where it takes the batch alone, too."""
    names = list(inspect.signature(step).parameters.values())
    if len(names) > 1 or any(each.kind is each.VAR_POSITIONAL for each in names):
        return step
    return lambda batch, _: step(batch)


def find_batch_size(batch: Any) -> int:
    """Give the length of the first tensor in the batch, 1 where there is none."""
    if isinstance(batch, Tensor):
        return len(batch) if batch.ndim else 1
    parts = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, Sequence) else ()
    return next((find_batch_size(part) for part in parts if not isinstance(part, str)), 1)


def move_batch(batch: Any, device: torch.device) -> Any:
    """Give the batch with every tensor on the device; tuples, lists and mappings keep their types."""
    if hasattr(batch, "to"):
        return batch.to(device)
    if isinstance(batch, Mapping):
        return {name: move_batch(part, device) for name, part in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(move_batch(part, device) for part in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(move_batch(part, device) for part in batch)
    return batch
