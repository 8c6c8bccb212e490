"""Checkpoints that are whole or absent, and run no code when they are read.

`last.ckpt` and `previous.ckpt` are the latest two of a run: where the first is damaged, the second is taken.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol
from zipfile import BadZipFile, ZipFile

import torch
from torch import nn
from torch.optim import Optimizer

from trainkit.core.config import GROUPS, TrainConfig
from trainkit.core.optim import Several
from trainkit.errors import TrainkitError, UsageError

FORMAT = 2  # 1 knew no place within an epoch; it is read for ever
LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"
# A resumed run continues the same run: these parts of the configuration may not differ.
IDENTITY = ("model", "optimizer", "schedule", "data", "seed")
_KEYS = {"format", "config", "model", "optimizer", "progress", "extra", "rng"}


class Stateful(Protocol):
    """What can be saved and restored."""

    def state_dict(self) -> dict[str, Any]:
        """Give what must be saved."""

    def load_state_dict(self, state_dict: Any, /) -> Any:
        """Take it back."""


@dataclass
class Progress:
    """How far a run is; `best_loss` is the lowest validation loss in nats per token, nan before any.

    `epoch` is what the epoch after `num_epochs` whole ones has done so far: the fields of an EpochResult.
    """

    num_epochs: int = 0
    num_steps: int = 0
    best_loss: float = float("nan")
    epoch: dict[str, float] = field(default_factory=dict)
    epochs_without_gain: int = 0


def save_checkpoint(
    path: Path,
    *,
    config: TrainConfig,
    model: nn.Module,
    optimizer: Optimizer | Several,
    progress: Progress,
    extra: Mapping[str, Stateful] = MappingProxyType({}),
) -> None:
    """Write everything that a run needs to continue; a crash leaves the old file as it was.

    `extra` are parts that not every run has, such as an average of the weights or a scaler of gradients.

    Raises:
        TrainkitError: the file cannot be written, for instance because the disk is full.
    """
    state = {
        "format": FORMAT,
        "config": asdict(config),
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "progress": asdict(progress),
        "extra": {name: part.state_dict() for name, part in extra.items()},
        "rng": {
            "cpu": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all(),
            "python": random.getstate(),
        },
    }
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        if path.name == LAST and path.exists():
            _keep_previous(path)
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # torch's writer says RuntimeError when the disk is full
        raise TrainkitError(
            "checkpoint-not-written",
            f"'{path}' could not be written: {str(error).partition(chr(10))[0]}; the one before it is as it "
            "was: make room, then go on with resume=auto",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _keep_previous(path: Path) -> None:
    """Give the old file a second name before it loses its first: at no moment is there none."""
    other = path.with_name(PREVIOUS + ".tmp")
    other.unlink(missing_ok=True)
    try:
        other.hardlink_to(path)
    except OSError:  # a file system without links: for a moment there is only the previous one
        other = path
    other.replace(path.with_name(PREVIOUS))


def load_checkpoint(path: Path, config: TrainConfig) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; where `last.ckpt` is damaged the one before it, and say so.

    Raises:
        UsageError: it is missing, damaged, not ours, or of another run.
    """
    state = _read_or_previous(path)
    if isinstance(state, dict) and state.get("format") == 1:
        state["extra"] = {}
    if not isinstance(state, dict) or set(state) != _KEYS or state["format"] not in range(1, FORMAT + 1):
        found = f"format {state.get('format')!r}" if isinstance(state, dict) else type(state).__name__
        raise UsageError(
            "checkpoint-foreign",
            f"'{path}' is no trainkit checkpoint of format {FORMAT} (found {found}); give a last.ckpt or "
            "best.ckpt that this version wrote",
        )
    ours, theirs = asdict(config), _fill_in(state["config"])
    differences = [
        f"{key} is {there!r} there and {here!r} here"
        for part in IDENTITY
        for key, there, here in _diff(part, theirs[part], ours[part])
    ]
    if differences:
        raise UsageError(
            "checkpoint-mismatch",
            f"'{path}' is of another run: {'; '.join(differences)}; give the same settings, or train anew",
        )
    return state


def _read_or_previous(path: Path) -> Any:
    previous = path.with_name(PREVIOUS)
    try:
        return _read(path)
    except UsageError as error:
        if path.name != LAST or not previous.exists():
            raise
        print(f"trainkit: warning: {error}; going on from '{previous}'", file=sys.stderr)
        return _read(previous)


def _read(path: Path) -> Any:
    try:
        with ZipFile(path) as file:  # torch itself checks no sums: a flipped bit would be trained on
            if (damaged := file.testzip()) is not None:
                raise BadZipFile(f"bad checksum of {damaged}")
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file fails in as many ways as there are readers inside torch
        reason = str(error).partition("\n")[0]
        raise UsageError(
            "checkpoint-unreadable",
            f"'{path}' cannot be read as a checkpoint: {type(error).__name__}: {reason}; "
            "give the path of a whole last.ckpt or best.ckpt",
        ) from error


def _fill_in(config: dict[str, Any]) -> dict[str, Any]:
    """Give settings that are younger than the file the values that they stand for: the defaults."""
    filled = dict(config)
    for group, options in GROUPS.items():
        chosen = config.get(group, {})
        schema = options.get(chosen.get("name", next(iter(options))))
        filled[group] = (asdict(schema()) if schema else {}) | chosen
    return filled


def _diff(key: str, there: Any, here: Any) -> list[tuple[str, Any, Any]]:
    if not isinstance(there, Mapping) or not isinstance(here, Mapping):
        return [] if there == here else [(key, there, here)]
    names = [*there, *(name for name in here if name not in there)]
    return [
        found
        for name in names
        for found in _diff(f"{key}.{name}", there.get(name, "absent"), here.get(name, "absent"))
    ]


def restore_checkpoint(
    state: dict[str, Any],
    *,
    model: nn.Module,
    optimizer: Optimizer | Several,
    extra: Mapping[str, Stateful] = MappingProxyType({}),
) -> Progress:
    """Put weights, optimizer state and RNG back; the CUDA RNG where both sides have as many devices.

    Raises:
        UsageError: the same configuration, but the code builds other parameters today.
    """
    try:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        for name, part in extra.items():
            if name in state["extra"]:
                part.load_state_dict(state["extra"][name])
    except (RuntimeError, ValueError, KeyError) as error:
        raise UsageError(
            "checkpoint-mismatch",
            f"the model of this version has other parameters than the checkpoint: "
            f"{' '.join(str(error).split())}; train anew, or resume with the version that wrote it",
        ) from error
    torch.set_rng_state(state["rng"]["cpu"])
    if "python" in state["rng"]:
        random.setstate(state["rng"]["python"])
    if len(state["rng"]["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["rng"]["cuda"])
    return Progress(**state["progress"])
