"""The one place where training happens: one epoch of it, and one of validation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from trainkit.core.optim import Several
from trainkit.core.task import Outputs, Step, describe_batch, find_batch_size, move_batch
from trainkit.core.world import World
from trainkit.errors import TrainkitError, UsageError, describe_error

_Part = tuple[Any, int, float]

_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Ranks(Protocol):
    """What the loop must know of other processes that make the same steps."""

    @property
    def world(self) -> World:
        """This process's place among them."""

    def counts(self, number: int) -> bool:
        """Say whether this rank's batch of this number is no repeat, there to keep the ranks in step."""

    def sum(self, value: int) -> int:
        """Give the sum over ranks."""

    def synchronise(self, *, last: bool) -> AbstractContextManager[None]:
        """Give the context of a forward and backward pass; a group's last alone exchanges gradients."""

    def clip(self, parameters: Iterable[Tensor], max_norm: float) -> Tensor:
        """Clip the gradients in place; give the norm [] of all of them."""


class NonFiniteLossError(TrainkitError):
    """The training loss is nan or infinite: going on would write a broken model."""


@dataclass
class EpochResult:
    """Sums over the items (tokens, images, …) of an epoch: each batch's mean loss times its items."""

    loss_sum: float = 0.0
    num_items: int = 0
    num_steps: int = 0
    num_batches: int = 0  # taken from the loader
    metric_sums: dict[str, float] = field(default_factory=dict)
    derived: dict[str, float] = field(default_factory=dict)  # what follows from the mean loss

    def add(self, means: Mapping[str, Tensor], num_items: int) -> None:
        """Count a batch of which these are the means."""
        for name, mean in means.items():
            if name == "loss":
                self.loss_sum += float(mean) * num_items
            else:
                self.metric_sums[name] = self.metric_sums.get(name, 0.0) + float(mean) * num_items
        self.num_items += num_items

    @property
    def mean_loss(self) -> float:
        """The loss per item (nats per token for a language model); nan without items."""
        return self.loss_sum / self.num_items if self.num_items else math.nan

    @property
    def metrics(self) -> dict[str, float]:
        """What else the task measures: what follows from the loss, and means over the items."""
        means = {name: total / self.num_items for name, total in self.metric_sums.items() if self.num_items}
        return self.derived | means

    def derive(self, task: Any) -> None:
        """Add what the task says of the mean loss, where it is one that does."""
        if self.num_items and hasattr(task, "derive_metrics"):
            self.derived = task.derive_metrics(self.mean_loss)


def run_training_epoch(
    task: nn.Module,
    optimizer: Optimizer | Several,
    batches: Iterable[Any],
    *,
    device: torch.device,
    accumulate_grad_batches: int = 1,
    average_over: str = "items",
    clip_norm: float = 0.0,
    precision: str = "fp32",
    epoch: int = 0,
    before: EpochResult | None = None,
    before_step: Callable[[EpochResult], None] | None = None,
    after_step: Callable[[EpochResult], None] | None = None,
    scaler: GradScaler | None = None,
    step: Step | None = None,
    ranks: Ranks | None = None,
) -> EpochResult:
    """Train on every batch, one step per group of `accumulate_grad_batches`; mutates task and optimizer.

    `before` is what an interrupted epoch had done; `before_step` (which may set learning rates) and
    `after_step` are told what is done so far. `scaler` keeps small fp16 gradients from vanishing. `step`
    stands for `task.training_step`; `epoch` only names the place of an error. `clip_norm` 0 is off.
    With `ranks` a step is made of the batches of all; the result is this rank's part.

    A step's loss is the mean over the items of its group, so a ragged last group weighs what it holds; a
    group without items makes no step. With `average_over="batches"`, or a task that counts no items, it is
    the sum of the batches' means divided by `accumulate_grad_batches`, as in Lightning.

    Raises:
        NonFiniteLossError: a loss is nan or infinite; the step is not made.
    """
    task.train()
    measure = _build_measure(step or task.training_step, device, precision)  # type: ignore[arg-type]
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    clip = nn.utils.clip_grad_norm_ if ranks is None else ranks.clip
    done = replace(before) if before is not None else EpochResult()
    by_items = average_over == "items"
    for group in _group(batches, accumulate_grad_batches, task, done=done, by_items=by_items, ranks=ranks):
        optimizer.zero_grad(set_to_none=True)
        if not _accumulate(measure, group, done, scaler=scaler, epoch=epoch, ranks=ranks):
            continue
        if scaler is not None:
            scaler.unscale_(optimizer)  # type: ignore[arg-type]
        if before_step is not None:
            before_step(done)
        if clip_norm:
            clip(parameters, clip_norm)
        if scaler is None:
            optimizer.step()
        else:
            scaler.step(optimizer)  # type: ignore[arg-type]
            scaler.update()
        done.num_steps += 1
        if after_step is not None:
            after_step(done)
    return done


def _group(
    batches: Iterable[Any],
    size: int,
    task: nn.Module,
    *,
    done: EpochResult,
    by_items: bool,
    ranks: Ranks | None,
) -> Iterator[Iterable[_Part]]:
    """Give the parts of each step: (batch, its items, what its loss is divided by), 0 for no weight.

    Where no rank has an item in a group, its batches are counted as done here.
    """
    count: Callable[[Any], int] = getattr(task, "count_items", find_batch_size)
    by_items = by_items and hasattr(task, "count_items")
    if size == 1 and ranks is None:  # the usual, in little time
        return _take_singly(batches, count, by_items=by_items)
    return _take_together(batches, size, count, done=done, by_items=by_items, ranks=ranks)


def _take_singly(
    batches: Iterable[Any], count: Callable[[Any], int], *, by_items: bool
) -> Iterator[Iterable[_Part]]:
    for batch in batches:
        num_items = count(batch)
        yield ((batch, num_items, 1 if num_items or not by_items else 0),)


def _take_together(
    batches: Iterable[Any],
    size: int,
    count: Callable[[Any], int],
    *,
    done: EpochResult,
    by_items: bool,
    ranks: Ranks | None,
) -> Iterator[Iterable[_Part]]:
    iterator = enumerate(batches, start=done.num_batches)
    for head in iterator:
        group = chain((head,), islice(iterator, size - 1))
        if not by_items and ranks is None:  # loaded as it is trained on: a data set may draw random numbers
            yield ((batch, count(batch), size) for _, batch in group)
            continue
        counted = [(batch, count(batch) * (ranks is None or ranks.counts(n))) for n, batch in group]
        nums_items = [num_items for _, num_items in counted]
        if divisors := _find_divisors(nums_items, size, by_items=by_items, ranks=ranks):
            yield [(*part, divisor) for part, divisor in zip(counted, divisors, strict=True)]
        else:
            done.num_batches += len(counted)


def _find_divisors(
    nums_items: Sequence[int], size: int, *, by_items: bool, ranks: Ranks | None
) -> list[float]:
    """Give what the loss of each batch of a step is divided by; nothing where no rank has an item."""
    weights = [num_items if by_items else num_items and 1 for num_items in nums_items]
    total: float = sum(weights) if by_items else size
    if ranks is not None:
        total = ranks.sum(sum(weights)) if by_items else total * ranks.world.size
        if not total:
            return []
        total /= ranks.world.size  # each rank's gradients are divided by the number of ranks
    return [total / weight if weight else 0 for weight in weights]


def _accumulate(
    measure: Step,
    group: Iterable[_Part],
    done: EpochResult,
    *,
    scaler: GradScaler | None,
    epoch: int,
    ranks: Ranks | None,
) -> bool:
    """Add the gradients of the group's mean loss, count what is done; say whether there was any."""
    trained = ranks is not None
    last = len(group) - 1 if isinstance(group, list) else 0
    for number, part in enumerate(group):
        if ranks is not None:  # the other ranks wait for a pass that weighs nothing, too
            with ranks.synchronise(last=number == last):
                _train_on(measure, part, done, scaler, epoch)
        elif part[2] and _train_on(measure, part, done, scaler, epoch):
            trained = True
        done.num_batches += 1
    return trained


def _train_on(measure: Step, part: _Part, done: EpochResult, scaler: GradScaler | None, epoch: int) -> bool:
    """Add the gradients of a batch's loss divided by its divisor; say whether it had a loss."""
    batch, num_items, divisor = part
    try:
        outputs = measure(batch, done.num_batches)
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        if done.num_batches or isinstance(error, torch.OutOfMemoryError):
            raise
        raise explain_misfit(error, batch) from error
    if outputs is None:
        return False
    mean = outputs if isinstance(outputs, Tensor) else outputs.get("loss")
    if not isinstance(mean, Tensor) or mean.numel() != 1:
        found = describe_batch({"loss": outputs} if isinstance(outputs, Tensor) else outputs)
        raise UsageError("model-unsuited", f"training_step gave {found}; it must give the mean loss []")
    loss = mean
    if not divisor:
        loss = loss.nan_to_num(0.0, 0.0, 0.0) * 0.0
    elif divisor != 1:
        loss = loss / divisor
    torch.autograd.backward(loss if scaler is None else scaler.scale(loss))
    if divisor:
        value = mean.item()  # behind the backward pass: reading it waits for a GPU
        if not math.isfinite(value):
            raise _explain_non_finite(value, done, epoch)
        done.loss_sum += value * num_items
        done.num_items += num_items
    return True


def _explain_non_finite(value: float, done: EpochResult, epoch: int) -> NonFiniteLossError:
    return NonFiniteLossError(
        "train-non-finite",
        f"the training loss became {value!r} at epoch {epoch}, step {done.num_steps}, batch "
        f"{done.num_batches} (all count from 0); lower optimizer.learning_rate, set trainer.clip_norm, "
        "or look at the data of that step",
    )


def explain_misfit(error: Exception, batch: Any) -> UsageError:
    """Say which line could not work with the first batch, and what that is: most often shapes do not fit."""
    return UsageError(
        "model-unsuited",
        f"the first batch, {describe_batch(batch)}, could not be trained on: {describe_error(error)}; "
        "do they go together?",
    )


def run_validation_epoch(
    task: nn.Module,
    batches: Iterable[Any],
    *,
    device: torch.device,
    precision: str = "fp32",
    step: Step | None = None,
    monitor: str = "",
    ranks: Ranks | None = None,
) -> EpochResult:
    """Measure without a gradient; `step` stands for `task.validation_step`, `monitor` for its "loss".

    The modes of all modules are as before afterwards.
    """
    measure = _build_measure(step or task.validation_step, device, precision)  # type: ignore[arg-type]
    count = getattr(task, "count_items", find_batch_size)
    done = EpochResult()
    with evaluating(task), torch.inference_mode():
        for number, batch in enumerate(batches):
            num_items = count(batch) if ranks is None or ranks.counts(number) else 0
            place = number if ranks is None else number * ranks.world.size + ranks.world.rank
            outputs = measure(batch, place) if num_items or ranks is not None else None
            if outputs is not None and num_items:
                means = {"loss": outputs} if isinstance(outputs, Tensor) else outputs
                loss = means.get(monitor, means.get("loss"))
                if loss is None:
                    message = f"validation_step gave {', '.join(means) or 'nothing'}"
                    raise UsageError("model-unsuited", f"{message}, and no '{monitor or 'loss'}'")
                done.add({**means, "loss": loss}, num_items)
            done.num_batches += 1
    return done


def _build_measure(step: Step, device: torch.device, precision: str) -> Step:
    """Give the step on the device, in the precision; a CPU has what the loader gives."""
    half = _HALF.get(precision)
    if half is None:
        on_cpu = device.type == "cpu"
        return step if on_cpu else lambda batch, batch_idx: step(move_batch(batch, device), batch_idx)

    def measure(batch: Any, batch_idx: int) -> Outputs:
        with torch.autocast(device.type, dtype=half):
            return step(move_batch(batch, device), batch_idx)

    return measure


@contextmanager
def evaluating(task: nn.Module) -> Iterator[None]:
    """Put every module into evaluation mode, and each back into its own afterwards."""
    modes = [(module, module.training) for module in task.modules()]
    task.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
