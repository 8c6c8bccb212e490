"""Checkpoints that are whole or absent, and run no code when they are read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from torch import nn
from torch.optim import Optimizer

from trainkit.core.config import TrainConfig
from trainkit.errors import UsageError

FORMAT = 1
# A resumed run continues the same run: these parts of the configuration may not differ.
IDENTITY = ("model", "optimizer", "data", "seed")
_KEYS = {"format", "config", "model", "optimizer", "progress", "rng"}


@dataclass
class Progress:
    """How far a run is; `best_loss` is the lowest validation loss in nats per token, nan before any."""

    num_epochs: int = 0
    num_steps: int = 0
    best_loss: float = float("nan")


def save_checkpoint(
    path: Path, *, config: TrainConfig, model: nn.Module, optimizer: Optimizer, progress: Progress
) -> None:
    """Write everything that a run needs to continue; a crash leaves the old file as it was."""
    state = {
        "format": FORMAT,
        "config": asdict(config),
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "progress": asdict(progress),
        "rng": {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()},
    }
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load_checkpoint(path: Path, config: TrainConfig) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises:
        UsageError: it is missing, damaged, not ours, or of another run.
    """
    state = _read(path)
    if not isinstance(state, dict) or set(state) != _KEYS or state["format"] != FORMAT:
        found = f"format {state.get('format')!r}" if isinstance(state, dict) else type(state).__name__
        raise UsageError(
            "checkpoint-foreign",
            f"'{path}' is no trainkit checkpoint of format {FORMAT} (found {found}); give a last.ckpt or "
            "best.ckpt that this version wrote",
        )
    ours = asdict(config)
    differences = [
        f"{key} is {there!r} there and {here!r} here"
        for part in IDENTITY
        for key, there, here in _diff(part, state["config"][part], ours[part])
    ]
    if differences:
        raise UsageError(
            "checkpoint-mismatch",
            f"'{path}' is of another run: {'; '.join(differences)}; give the same settings, or train anew",
        )
    return state


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


def _diff(key: str, there: Any, here: Any) -> list[tuple[str, Any, Any]]:
    if not isinstance(there, Mapping) or not isinstance(here, Mapping):
        return [] if there == here else [(key, there, here)]
    names = [*there, *(name for name in here if name not in there)]
    return [
        found
        for name in names
        for found in _diff(f"{key}.{name}", there.get(name, "absent"), here.get(name, "absent"))
    ]


def restore_checkpoint(state: dict[str, Any], *, model: nn.Module, optimizer: Optimizer) -> Progress:
    """Put weights, optimizer state and RNG back; the CUDA RNG where both sides have as many devices.

    Raises:
        UsageError: the same configuration, but the code builds other parameters today.
    """
    try:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    except (RuntimeError, ValueError) as error:
        raise UsageError(
            "checkpoint-mismatch",
            f"the model of this version has other parameters than the checkpoint: "
            f"{' '.join(str(error).split())}; train anew, or resume with the version that wrote it",
        ) from error
    torch.set_rng_state(state["rng"]["cpu"])
    if len(state["rng"]["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["rng"]["cuda"])
    return Progress(**state["progress"])
