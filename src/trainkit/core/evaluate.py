"""Models measured on one task or many, as a table."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from trainkit.core.checkpoint import read_config, read_extra, read_weights, shorten
from trainkit.core.compose import compose, fill_config
from trainkit.core.config import SourceConfig, SplitConfig, TrainConfig
from trainkit.core.data import Loaders, count_batches
from trainkit.core.lightning import Place, open_loaders
from trainkit.core.loop import EpochResult
from trainkit.core.measuring import measure
from trainkit.core.parts import build_task, choose_device, list_steps_of, open_data, set_up
from trainkit.core.registry import import_object
from trainkit.core.rng import seed_everything
from trainkit.core.task import move_batch
from trainkit.core.tracking import track_progress
from trainkit.errors import UsageError

_SPLITTING = ("data.train_fraction", "data.validation_fraction", "data.split", "data.fold")


@dataclass(frozen=True)
class Measured:
    """What a model reached; `score` is the task's metric, or its accuracy, nan without either."""

    result: EpochResult
    score: float

    @property
    def perplexity(self) -> float:
        """Of a language model; nan of another."""
        return self.result.metrics.get("perplexity", math.nan)


def evaluate(
    checkpoint: Path, overrides: list[str], *, part: str = "", metric: str | None = None
) -> Measured:
    """Measure a checkpoint's weights on its own data's test part, or on the whole of another source.

    That whole is its test part where the overrides say how it is split. `part` is another one (train,
    validation, test), or all. `metric` is the dotted path of a function of
    (targets, predictions), such as sklearn.metrics.matthews_corrcoef. The limits of the run do not hold here.

    Raises:
        TrainkitError: the checkpoint cannot be read, or does not go with the data.
    """
    base = fill_config(read_config(checkpoint))
    source = getattr(base.data, "source", None)
    config = compose(overrides, base=base)
    part = _choose_part(part, config, overrides, getattr(config.data, "source", None) == source)
    device = choose_device(config.trainer.device)
    seed_everything(config.seed)
    data = open_data(config, saved=read_extra(checkpoint).get("data"))
    task = build_task(config, data)
    set_up(task)
    try:
        task.load_state_dict(read_weights(checkpoint))
    except RuntimeError as error:
        message = f"'{checkpoint}': {shorten(error)}"
        raise UsageError("weights-unsuited", message) from error
    loader: Any = getattr(data if isinstance(data, Loaders) else open_loaders(data), part)
    steps = list_steps_of(task.to(device), Place(), config)
    step = steps.test if part == "test" else steps.validation
    total = count_batches(loader, 1.0)
    if not total or step is None:
        message = f"there is nothing to measure in the {part} part of data={config.data.name}"
        raise UsageError("data-empty", message)
    batches = track_progress(loader, description=str(checkpoint), total=total)
    result = measure(
        task,
        steps,
        "test" if part == "test" else "validation",
        batches,
        device=device,
        precision=config.trainer.precision,
        monitor=config.trainer.monitor,
    )
    score = result.metrics.get("accuracy", math.nan)
    if metric is not None:
        score = _score(task, loader, import_object(metric, key="metric"), device)
    return Measured(result, score)


def _choose_part(part: str, config: TrainConfig, overrides: list[str], is_own: bool) -> str:
    """Give the part to measure; of other data than its own, which nobody has split, the test part is all."""
    is_split = any(each.lstrip("+").startswith(_SPLITTING) for each in overrides)
    if part == "all" or not (part or is_split or is_own):
        _take_all(config)
    return "test" if part in {"", "all"} else part


def _take_all(config: TrainConfig) -> None:
    """Make all rows, windows or documents the test part."""
    data = config.data
    if not isinstance(data, SplitConfig):
        message = f"part=all: data={data.name} says itself what its parts are; give train, validation or test"
        raise UsageError("usage", message)
    data.train_fraction = data.validation_fraction = 0.0
    if isinstance(data, SourceConfig):
        data.split = "temporal"  # in the order of the file


def _score(task: Any, loader: Any, metric: Any, device: torch.device) -> float:
    if not hasattr(task, "predict_step"):
        raise UsageError("model-unsuited", f"metric: {type(task).__name__} has no predict_step")
    pairs = []
    task.eval()
    with torch.inference_mode():
        for number, batch in enumerate(loader):
            pairs.append((batch[1], task.predict_step(move_batch(batch, device), number).cpu()))
    targets, predictions = (torch.cat(part).numpy() for part in zip(*pairs, strict=True))
    return float(metric(targets, predictions))
