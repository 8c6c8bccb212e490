"""The one place where training happens: one epoch of it, and one of validation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.nn import functional as F
from torch.optim import Optimizer

from trainkit.core.data import IGNORE_INDEX, Batch
from trainkit.core.optim import Several
from trainkit.errors import TrainkitError


class NonFiniteLossError(TrainkitError):
    """The training loss is nan or infinite: going on would write a broken model."""


@dataclass(frozen=True)
class EpochResult:
    """Summed token cross-entropy in nats, over the tokens that are no padding."""

    loss_sum: float = 0.0
    num_tokens: int = 0
    num_steps: int = 0
    num_batches: int = 0  # taken from the loader

    def add(self, loss_sum: float, num_tokens: int) -> EpochResult:
        """Give what is done after one step more."""
        return replace(self, loss_sum=self.loss_sum + loss_sum, num_tokens=self.num_tokens + num_tokens,
                       num_steps=self.num_steps + 1)  # fmt: skip

    @property
    def mean_loss(self) -> float:
        """Nats per token; nan without tokens."""
        return self.loss_sum / self.num_tokens if self.num_tokens else math.nan

    @property
    def perplexity(self) -> float:
        """The exponential of the mean loss; nan without tokens."""
        return perplexity(self.mean_loss)


NOTHING = EpochResult()


def perplexity(mean_loss: float) -> float:
    """Give exp(mean_loss): inf where that overflows, nan for nan."""
    try:
        return math.exp(mean_loss)
    except OverflowError:
        return math.inf


def run_training_epoch(
    model: nn.Module,
    optimizer: Optimizer | Several,
    batches: Iterable[Batch],
    *,
    device: torch.device,
    accumulate_grad_batches: int = 1,
    clip_norm: float = 0.0,
    precision: str = "fp32",
    epoch: int = 0,
    before: EpochResult = NOTHING,
    before_step: Callable[[EpochResult], None] = lambda _: None,
    after_step: Callable[[EpochResult], None] = lambda _: None,
    scaler: GradScaler | None = None,
) -> EpochResult:
    """Train on every batch, one step per group of `accumulate_grad_batches`; mutates model and optimizer.

    `before` is what an interrupted epoch had done; `before_step` (which may set learning rates) and
    `after_step` are told what is done so far. `scaler` keeps small fp16 gradients from vanishing.

    A group is normalised by its own tokens, so a ragged last group weighs what it holds. A group of
    padding alone makes no step. `clip_norm` 0 is off; `epoch` only names the place of an error.

    Raises:
        NonFiniteLossError: a loss is nan or infinite; the step is not made.
    """
    model.train()
    measure = partial(compute_loss, model, device=device, precision=precision)
    done = before
    for group in _group(batches, accumulate_grad_batches):
        group_tokens = sum(_count_tokens(batch) for batch in group)
        done = replace(done, num_batches=done.num_batches + len(group))
        if not group_tokens:
            continue
        optimizer.zero_grad(set_to_none=True)
        place = f"epoch {epoch}, step {done.num_steps}"
        loss_sum = _accumulate(measure, group, num_tokens=group_tokens, place=place, scaler=scaler)
        before_step(done)
        if scaler is not None:
            scaler.unscale_(optimizer)  # type: ignore[arg-type]
        if clip_norm:
            nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
        if scaler is None:
            optimizer.step()
        else:
            scaler.step(optimizer)  # type: ignore[arg-type]
            scaler.update()
        done = done.add(loss_sum, group_tokens)
        after_step(done)
    return done


def _accumulate(
    measure: Callable[[Batch], Tensor],
    group: list[Batch],
    *,
    num_tokens: int,
    place: str,
    scaler: GradScaler | None,
) -> float:
    """Add the gradients of the group's mean token loss; give its summed loss."""
    group_sum = 0.0
    for batch in group:
        loss = measure(batch)
        group_sum += _check_finite(loss.item(), place)
        mean = loss / num_tokens
        torch.autograd.backward(mean if scaler is None else scaler.scale(mean))
    return group_sum


def _check_finite(loss: float, place: str) -> float:
    if not math.isfinite(loss):
        raise NonFiniteLossError(
            "train-non-finite",
            f"the training loss became {loss!r} at {place} (both count from 0); lower "
            "optimizer.learning_rate, set trainer.clip_norm, or look at the data of that step",
        )
    return loss


def run_validation_epoch(
    model: nn.Module, batches: Iterable[Batch], *, device: torch.device, precision: str = "fp32"
) -> EpochResult:
    """Measure the loss without a gradient; the modes of all modules are as before afterwards."""
    loss_sum, num_tokens = 0.0, 0
    with _evaluating(model), torch.inference_mode():
        for batch in batches:
            loss_sum += compute_loss(model, batch, device=device, precision=precision).item()
            num_tokens += _count_tokens(batch)
    return EpochResult(loss_sum, num_tokens)


def compute_loss(model: nn.Module, batch: Batch, *, device: torch.device, precision: str) -> Tensor:
    """Give the summed token cross-entropy in nats, float32 []; padding counts nothing."""
    tokens, targets = batch.tokens.to(device), batch.targets.to(device)
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    with torch.autocast(device.type, dtype=half, enabled=half is not None):
        logits = model(tokens)  # (batch, time, vocab)
    return F.cross_entropy(
        logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORE_INDEX, reduction="sum"
    )


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Put every module into evaluation mode, and each back into its own afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _count_tokens(batch: Batch) -> int:
    return int((batch.targets != IGNORE_INDEX).sum())


def _group(batches: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    iterator = iter(batches)
    while group := list(islice(iterator, size)):
        yield group
