"""Checkpoints that are whole or absent, and run no code when they are read.

`last.ckpt` and `previous.ckpt` are the latest two of a run: where the first is damaged, the second is taken.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, cast
from zipfile import BadZipFile, ZipFile

import torch
from torch import nn
from torch.optim import Optimizer

from trainkit.core.config import GROUPS, TrainConfig
from trainkit.core.files import make_room, remove
from trainkit.core.optim import Several
from trainkit.core.rng import capture_rng, restore_rng
from trainkit.core.world import ALONE, World
from trainkit.errors import TrainkitError, UsageError

FORMAT = 3  # 1 knew no place within an epoch, 2 called items tokens; both are read for ever
LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"
# A resumed run continues the same run: these parts of the configuration may not differ.
IDENTITY = ("model", "optimizer", "schedule", "data", "seed", "freeze")
FREE = {"data.num_workers", "data.cache_dir"}  # but for these
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
    epoch: dict[str, Any] = field(default_factory=dict)
    epochs_without_gain: int = 0

    def count_steps(self) -> int:
        """Give the steps of the whole run so far."""
        done: int = self.epoch.get("num_steps", 0)
        return self.num_steps + done


def build_state(
    *,
    config: TrainConfig,
    model: nn.Module,
    optimizer: Optimizer | Several,
    progress: Progress,
    extra: Mapping[str, Stateful] = MappingProxyType({}),
    rng: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Give everything that a run needs to continue.

    `extra` are parts that not every run has, such as an average of the weights or a scaler of gradients;
    `rng` is what `capture_rng` gave, now if nothing is said.
    """
    state = {
        "format": FORMAT,
        "config": asdict(config),
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "progress": asdict(progress),
        "extra": {name: part.state_dict() for name, part in extra.items()},
        "rng": dict(rng if rng is not None else capture_rng()),
    }
    return cast(dict[str, Any], _plain(state))


def _plain(value: Any) -> Any:
    """Turn NumPy's numbers into Python's: a checkpoint with them is written, and never read again."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_plain(each) for each in value)
    if type(value).__module__ == "numpy" and getattr(value, "ndim", 1) == 0:
        return value.item()
    return value


def save_checkpoint(path: Path, state: Mapping[str, Any], *, also: Path | None = None) -> None:
    """Write a state; a crash leaves the old file as it was. `also` is a second name for the same file.

    Raises:
        TrainkitError: the file cannot be written, for instance because the disk is full.
    """
    temporary = path.with_name(path.name + ".tmp")
    make_room(temporary)
    try:
        with temporary.open("wb") as file:
            torch.save(dict(state), file)
            file.flush()
            os.fsync(file.fileno())
        if also is not None:
            _give_name(temporary, also)
        if path.name == LAST and path.exists():
            _give_name(path, path.with_name(PREVIOUS))  # at no moment is there none
        make_room(path)
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # torch's writer says RuntimeError when the disk is full
        raise TrainkitError(
            "checkpoint-not-written",
            f"'{path}' could not be written: {str(error).partition(chr(10))[0]}; the one before it is as it "
            "was: make room, then go on with resume=auto",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _give_name(path: Path, name: Path) -> None:
    """Give the file a second name, replacing what has it; of a run in parts the folder is moved."""
    make_room(name)
    other = name.with_name(name.name + ".tmp")
    remove(other)
    try:
        other.hardlink_to(path)
    except OSError:  # a folder, or a file system without links
        if path.is_dir():
            name.unlink(missing_ok=True)  # a folder cannot take the place of a file
            other = path
        else:
            shutil.copyfile(path, other)
    other.replace(name)


def load_checkpoint(path: Path, config: TrainConfig, *, world: World = ALONE) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; where `last.ckpt` is damaged the one before it, and say so.

    A folder that several processes wrote is read in parts again where each has a part of the model.

    Raises:
        UsageError: it is missing, damaged, not ours, or of another run.
    """
    state = _read_or_previous(path, world if config.trainer.strategy == "fsdp" else ALONE)
    if isinstance(state, dict) and state.get("format") in (1, 2):
        _upgrade(state)
    if not isinstance(state, dict) or set(state) != _KEYS or state["format"] not in range(1, FORMAT + 1):
        found = f"format {state.get('format')!r}" if isinstance(state, dict) else type(state).__name__
        raise UsageError(
            "checkpoint-foreign",
            f"'{path}' is no trainkit checkpoint of format {FORMAT} (found {found}); give a last.ckpt or "
            "best.ckpt that this version wrote",
        )
    _check_same_run(path, state, config, world)
    return state


def _upgrade(state: dict[str, Any]) -> None:
    """Turn a state of format 1 or 2 into one of today, in place."""
    state.setdefault("extra", {})
    done = state["progress"].get("epoch", {})
    if "num_tokens" in done:
        done["num_items"] = done.pop("num_tokens")


def _check_same_run(path: Path, state: dict[str, Any], config: TrainConfig, world: World) -> None:
    """Refuse what another run has written; where other data may follow, say so.

    Raises:
        UsageError: it names each setting that differs, with both values.
    """
    ours, theirs = asdict(config), _fill_in(state["config"])
    differences = {
        key: f"{key} is {there!r} there and {here!r} here"
        for part in IDENTITY
        for key, there, here in _diff(part, theirs.get(part, ours[part]), ours[part])
        if key not in FREE
    }
    if not differences:
        return
    listed, only_data = "; ".join(differences.values()), all(map(_is_data, differences))
    if only_data and _may_take_other_data(path, state, config):
        if world.rank == 0:
            print(f"trainkit: going on with other data: {listed}", file=sys.stderr)
        return
    advice = "give the same settings, or train anew"
    if only_data:
        advice = "other data goes on in a folder of its own (exp_name=…), after a whole epoch, by a constant "
        advice += "schedule; or begin anew with init_from="
    raise UsageError("checkpoint-mismatch", f"'{path}' is of another run: {listed}; {advice}")


def _is_data(key: str) -> bool:
    return key.startswith("data.")


def _may_take_other_data(path: Path, state: dict[str, Any], config: TrainConfig) -> bool:
    """Say whether new data may follow: in a run of its own, after a whole epoch, no schedule counts steps."""
    own = path.resolve().parent != Path(config.output_dir, config.exp_name).resolve()
    whole = not state["progress"].get("epoch")
    return own and whole and config.schedule.name == "constant"


def _read_or_previous(path: Path, world: World) -> Any:
    previous = path.with_name(PREVIOUS)
    try:
        return _read(path, world)
    except UsageError as error:
        if path.name != LAST or not previous.exists():
            raise
        if world.rank == 0:
            print(f"trainkit: warning: {error}; going on from '{previous}'", file=sys.stderr)
        return _read(previous, world)


def _read(path: Path, world: World = ALONE) -> Any:
    if not path.exists():
        raise UsageError(
            "checkpoint-unreadable", f"no file '{path}'; give the path of a last.ckpt or best.ckpt"
        )
    if inside := [name for name in (BEST, LAST) if (path / name).exists()]:
        advice = f"give a checkpoint in it: {path / inside[0]}"
        raise UsageError("checkpoint-unreadable", f"'{path}' is the folder of a run; {advice}")
    if path.is_dir():
        from trainkit.core.sharded import load_sharded  # late: seconds

        return load_sharded(path, world)
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
    generators: Sequence[torch.Generator] = (),
) -> Progress:
    """Put weights, optimizer state and RNG back; the CUDA RNG where both sides have as many devices.

    `generators` are those of the data's own loaders.

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
            f"{shorten(error)}; train anew, or resume with the version that wrote it",
        ) from error
    restore_rng(state["rng"], generators)
    return Progress(**state["progress"])


def read_config(path: Path) -> dict[str, Any]:
    """Give the configuration of the run that wrote a checkpoint.

    Raises:
        UsageError: it cannot be read, or is none of ours.
    """
    return cast(dict[str, Any], _read_own(path)["config"])


def read_extra(path: Path) -> dict[str, Any]:
    """Give the parts of a run's checkpoint that not every run has.

    Raises:
        UsageError: it cannot be read, or is none of ours.
    """
    return cast(dict[str, Any], _read_own(path).get("extra", {}))


def _read_own(path: Path) -> dict[str, Any]:
    state = _read(path)
    if not isinstance(state, dict) or not isinstance(state.get("config"), dict) or "format" not in state:
        raise UsageError(
            "checkpoint-foreign", f"'{path}' is no trainkit checkpoint; give a last.ckpt or best.ckpt"
        )
    return state


def shorten(error: Exception) -> str:
    """Give torch's complaint about a state dict with its first two lines of many."""
    lines = [line.strip() for line in str(error).strip().splitlines()]
    more = f" (and {len(lines) - 3} more)" if len(lines) > 3 else ""
    return " ".join(lines[:3]) + more


def read_weights(path: Path) -> dict[str, Any]:
    """Give the weights in a file: a checkpoint of ours (the average, where it has one), a state dict, a
    Lightning checkpoint, or safetensors.

    Raises:
        UsageError: it cannot be read, or holds no weights.
    """
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError  # late: rarely used
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            message = f"'{path}' cannot be read as safetensors: {error}"
            raise UsageError("checkpoint-unreadable", message) from error
    state = _read(path)
    if isinstance(state, dict):
        average = state.get("extra", {}).get("average", {}) if isinstance(state.get("extra"), dict) else {}
        inside = {
            name.removeprefix("module."): value
            for name, value in average.items()
            if name.startswith("module.")
        }
        found = inside or state.get("model", state.get("state_dict", state))
        if (
            isinstance(found, dict)
            and found
            and all(isinstance(value, torch.Tensor) for value in found.values())
        ):
            return found
    raise UsageError("checkpoint-foreign", f"'{path}' holds no weights: give a checkpoint or a state dict")
