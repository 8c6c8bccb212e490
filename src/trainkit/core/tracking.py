"""What a run tells while it goes: the same rows to every tracker, a progress bar on a terminal.

A tracker is a library that is imported where it is enabled, and that never ends a training.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, TypeVar

from trainkit.core.config import TrainConfig, iter_fields
from trainkit.core.journal import Journal
from trainkit.core.loop import EpochResult
from trainkit.core.records import JOURNAL
from trainkit.core.rng import capture_rng, restore_rng
from trainkit.core.table import PARTS, Row
from trainkit.errors import UsageError

T = TypeVar("T")
# Tracker -> (the modules that it needs, what opens it); an extra has the name of its tracker.
TRACKERS: dict[str, tuple[tuple[str, ...], str]] = {
    "csv": ((), "trainkit.core.table:open_csv"),
    "tensorboard": (("tensorboard",), "trainkit.core.trackers:Tensorboard"),
    "wandb": (("wandb",), "trainkit.core.trackers:Wandb"),
    "mlflow": (("mlflow", "sqlalchemy", "alembic"), "trainkit.core.trackers:Mlflow"),
}
OUTSIDE = {"tensorboard", "wandb", "mlflow"}  # not ours: they may draw random numbers


@dataclass(frozen=True)
class Opening:
    """What a tracker is opened with.

    `state` is its own to keep, from one process of a run to the next: plain values; "told" in it is the place
    [epoch, step, part] of the last row. A run that goes on has made `num_epochs` whole epochs and `step`
    steps; `table` is the metrics.csv that it continues.
    """

    config: TrainConfig
    folder: Path
    state: dict[str, Any]
    num_epochs: int = 0
    step: int = 0
    table: Path | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """The resolved configuration as (dotted key -> value)."""
        return {key: value for key, _, value in iter_fields(self.config)}


class Tracker(Protocol):
    """Where rows go."""

    def tell(self, row: Row) -> None:
        """Take a row."""

    def flush(self) -> None:
        """Bring what was told to where it outlives this process: a checkpoint is written next."""

    def close(self, status: str, reason: str | None) -> None:
        """End: "finished", or "interrupted" or "failed" for a reason."""


def list_enabled(config: TrainConfig) -> list[str]:
    """Give the trackers that are asked for.

    Raises:
        UsageError: the package of one is not installed.
    """
    names = [name for name in TRACKERS if getattr(config.logger, name).enabled]
    for name in names:
        if missing := [module for module in TRACKERS[name][0] if find_spec(module) is None]:
            advice = f"pip install 'trainkit[{name}]'"
            message = f"logger.{name}.enabled=true needs {' and '.join(missing)}: {advice}"
            raise UsageError("missing-dependency", message)
    return names


@dataclass
class Trackers:
    """All trackers of a run as one; one that fails is told of once, and asked no more in this process.

    None of them moves a random generator of the training.
    """

    opened: dict[str, Tracker] = field(default_factory=dict)
    states: dict[str, dict[str, Any]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def open(self, name: str, make: Callable[[], Tracker], state: dict[str, Any]) -> None:
        """Tell this one, too, from the row after `state["told"]` on."""

        def keep() -> None:
            self.opened[name], self.states[name] = make(), state

        self._guard(name, keep)

    def tell(self, row: Row) -> None:
        """Tell all who were not told of it before a crash."""
        place = [row.epoch, row.step, PARTS.index(row.part)]
        for name, tracker in list(self.opened.items()):
            if place > self.states[name].get("told", []):
                self._guard(name, partial(tracker.tell, row))
                self.states[name]["told"] = place

    def flush(self) -> None:
        """Flush all, the first one last: it knows what the others keep."""
        for name, tracker in reversed(list(self.opened.items())):
            self._guard(name, tracker.flush)

    def close(self, status: str, reason: str | None = None) -> None:
        """Close all, in the same order; what is told afterwards is lost."""
        for name, tracker in reversed(list(self.opened.items())):
            self._guard(name, partial(tracker.close, status, reason))
        self.opened.clear()

    def _guard(self, name: str, action: Callable[[], None]) -> None:
        before = capture_rng() if name in OUTSIDE else None
        try:
            action()
        except Exception as error:  # whatever a library does: the training is worth more than its record
            self.opened.pop(name, None)
            reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            self.failures[name] = reason
            print(f"trainkit: warning: {name} failed and is told no more: {reason}", file=sys.stderr)
        finally:
            if before is not None:
                restore_rng(before)


def open_trackers(
    names: Iterable[str], config: TrainConfig, folder: Path, journal: Callable[[], Journal], **place: Any
) -> Trackers:
    """Open run.json and these trackers; `place` is what an `Opening` says of a run that goes on."""
    trackers, states = Trackers(), {}

    def begin() -> Journal:
        opened = journal()
        opened.content["failures"] = trackers.failures
        states.update(opened.content["trackers"])
        opened.content["trackers"] = states
        return opened

    trackers.open(JOURNAL, begin, {})
    for name in names:
        module, _, function = TRACKERS[name][1].partition(":")
        state: dict[str, Any] = {} if name == "csv" else states.setdefault(name, {})
        opening = Opening(config, folder, state, **place)
        trackers.open(name, lambda: getattr(import_module(module), function)(opening), state)  # noqa: B023
    trackers.flush()
    return trackers


def follow_steps(
    trackers: Trackers, every_n_steps: int, *, epoch: int, before: EpochResult
) -> Callable[[EpochResult, int], None] | None:
    """Give what tells the loss of each n-th step, from the sums so far; None where nobody listens."""
    if not every_n_steps or not trackers.opened:
        return None
    loss_sum, items = before.loss_sum, before.num_items

    def tell(done: EpochResult, step: int) -> None:
        nonlocal loss_sum, items
        num_items = done.num_items - items
        if step % every_n_steps == 0 and num_items:
            loss = (done.loss_sum - loss_sum) / num_items
            trackers.tell(Row(epoch, step, "step", num_items, {"loss": loss}))
        loss_sum, items = done.loss_sum, done.num_items

    return tell


def track_progress(batches: Iterable[T], *, description: str, total: float, done: int = 0) -> Iterable[T]:
    """Show a bar on stderr when that is a terminal and tqdm is there; silent otherwise."""
    if not sys.stderr.isatty():
        return batches
    try:
        from tqdm import tqdm  # late: a run in a pipe works without it
    except ModuleNotFoundError:
        return batches
    bar: Iterable[T] = tqdm(batches, desc=description, total=total, initial=done, leave=False)
    return bar
