"""An evaluation with all that stands around it: hooks, other ranks, what is known only at its end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from trainkit.core import together
from trainkit.core.loop import EpochResult, Ranks, evaluating, run_validation_epoch
from trainkit.core.task import Steps
from trainkit.core.world import ALONE
from trainkit.errors import UsageError


def measure(
    task: nn.Module,
    steps: Steps,
    part: str,
    batches: Iterable[Any],
    *,
    device: torch.device,
    precision: str,
    monitor: str = "",
    ranks: Ranks | None = None,
) -> EpochResult:
    """Measure the part ("validation" or "test") by its step, in evaluation mode, hooks too; of all ranks.

    Raises:
        UsageError: the validation gives nothing of the name `monitor`, or no loss.
    """
    step = steps.test if part == "test" else steps.validation
    with evaluating(task), torch.inference_mode():
        for when in (f"on_{part}_start", f"on_{part}_epoch_start"):
            steps.hook(when)
        result = run_validation_epoch(
            task, batches, device=device, precision=precision, step=step, monitor=monitor, ranks=ranks
        )
        result = together.sum_result(result, ALONE if ranks is None else ranks.world)
        for when in (f"on_{part}_epoch_end", f"on_{part}_end"):
            steps.hook(when)
    for name, value in steps.collect().items():
        result.metric_sums[name] = value * result.num_items
    result.derive(task)
    if part == "validation" and result.num_items and monitor not in {"", "loss", *result.metrics}:
        known = ", ".join(result.metrics) or "a loss alone"
        raise UsageError("monitor-unknown", f"trainer.monitor='{monitor}': the validation gives {known}")
    return result
