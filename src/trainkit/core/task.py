"""What is trained: a module in the shape of a LightningModule, its loss inside."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

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
    detach: Callable[[], None] = lambda: None
    logged: Callable[[], Mapping[str, Any]] = dict


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

    def derive_metrics(self, mean_loss: float) -> dict[str, float]:
        """Give what follows from an epoch's mean loss, such as a perplexity."""
        return {}


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


def find_size(value: Any) -> int:
    """Give the number of elements of a tensor, 1 for a number, 0 for all else."""
    return value.numel() if isinstance(value, Tensor) else int(isinstance(value, int | float))


def describe_batch(batch: Any) -> str:
    """Give dtype and shape of every tensor in the batch, such as "float32[32,1,8,8], int64[32]"."""
    if isinstance(batch, Tensor):
        return f"{str(batch.dtype).removeprefix('torch.')}[{','.join(map(str, batch.shape))}]"
    if isinstance(batch, Mapping):
        return ", ".join(f"{name}: {describe_batch(part)}" for name, part in batch.items())
    if isinstance(batch, list | tuple):
        return ", ".join(map(describe_batch, batch))
    return type(batch).__name__


def move_batch(batch: Any, device: torch.device) -> Any:
    """Give the batch with every tensor on the device; tuples, lists and mappings keep their types."""
    if isinstance(batch, Tensor):
        return batch if batch.device == device else batch.to(device)
    if type(batch) in (tuple, list):
        return type(batch)([move_batch(part, device) for part in batch])
    if hasattr(batch, "to"):
        return batch.to(device)
    if isinstance(batch, Mapping):
        return {name: move_batch(part, device) for name, part in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(move_batch(part, device) for part in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(move_batch(part, device) for part in batch)
    return batch
