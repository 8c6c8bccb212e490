"""A run trained again from its stored configuration: the same losses, or why they cannot be compared."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from trainkit.core.checkpoint import FREE as FREE_OF_IDENTITY
from trainkit.core.compose import fill_config
from trainkit.core.config import LoggerConfig
from trainkit.core.records import Difference, Record, find_first_difference, flatten, read_json, read_record
from trainkit.core.trainer import train
from trainkit.errors import CannotJudgeError, TrainkitError

# What may change between the sessions of a run without another loss.
FREE = FREE_OF_IDENTITY | {
    "resume",
    "exp_name",
    "output_dir",
    "trainer.save_every_n_steps",
    "trainer.profile_steps",
}


@dataclass(frozen=True)
class Rerun:
    """The new run; its first difference, if any; what is not as it was."""

    folder: Path
    num_rows: int
    difference: Difference | None
    reasons: list[str] = field(default_factory=list)


def rerun(record: Record) -> Rerun:
    """Train again in a new folder beside the old one, from where it began, where it was started.

    Raises:
        CannotJudgeError: there is nothing to compare with, or it cannot be trained again.
    """
    name, rows = str(record.config.get("exp_name", "")), record.rows
    sessions = record.journal.get("sessions") or []
    if not rows or not sessions or record.status == "running":
        what = "is running" if record.status == "running" else "has no metrics.csv and run.json with a row"
        raise CannotJudgeError("run-not-repeatable", f"'{record.folder}' {what}: nothing can be compared")
    config = fill_config(read_json(record.folder / "config.json"))
    output_dir = _find_output_dir(record.folder.resolve(), name)
    new = _find_free_name(output_dir, name)
    start = sessions[0]["inputs"].get("resume", {}).get("path") if sessions[0]["resumed_at"] else None
    logger = LoggerConfig(every_n_steps=config.logger.every_n_steps)  # other trackers have it already
    again = replace(config, exp_name=new, output_dir=str(output_dir), resume=start, logger=logger)
    torch.set_num_threads(sessions[-1]["environment"]["num_threads"])
    here = Path.cwd()
    try:
        os.chdir(sessions[-1]["cwd"])
        train(again)
    except (TrainkitError, OSError) as error:
        if record.status != "failed":  # or it fails again, after some rows
            message = f"'{record.folder}' cannot be trained again: {error}"
            raise CannotJudgeError("run-not-repeatable", message) from error
    finally:
        os.chdir(here)
    made = read_record(output_dir / new)
    repeated = made.rows if record.status == "finished" else made.rows[: len(rows)]
    return Rerun(made.folder, len(rows), find_first_difference(rows, repeated), list_reasons(record, made))


def list_reasons(one: Record, other: Record) -> list[str]:
    """Say in words which circumstances of two runs differ: code, environment, files, settings in between."""
    after = other.journal["sessions"][-1]
    reasons = []
    for number, before in enumerate(one.journal["sessions"]):
        for title, then, now in _list_circumstances(before, after):
            if then != now and not (number and title.startswith("resume ")):
                reasons.append(f"{title} {then!r} then, {now!r} now")
        changed = {key: pair for key, pair in before["changed"].items() if not _is_free(key)}
        reasons += [
            f"{key} was changed in between, {old!r} to {new!r}" for key, (old, new) in changed.items()
        ]
    return list(dict.fromkeys(reasons))


def _list_circumstances(before: dict[str, Any], after: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield (what, then, now)."""
    sides = [_flatten_session(each) for each in (before, after)]
    for title in dict.fromkeys((*sides[0], *sides[1])):
        yield title, sides[0].get(title), sides[1].get(title)


def _flatten_session(session: dict[str, Any]) -> dict[str, Any]:
    git = session.get("git") or {}
    facts = {"git revision": git.get("revision"), "uncommitted changes (digest)": git.get("diff_sha256")}
    facts |= flatten(session["environment"])
    return facts | {f"{key} (digest)": each["sha256"] for key, each in session["inputs"].items()}


def _is_free(key: str) -> bool:
    return key in FREE | FREE_OF_IDENTITY or key.startswith("logger.")


def _find_output_dir(folder: Path, name: str) -> Path:
    """Give the folder below which the run lies, wherever that was moved to."""
    parts = Path(name).parts
    return folder.parents[len(parts) - 1] if folder.parts[-len(parts) :] == parts else folder.parent


def _find_free_name(output_dir: Path, name: str) -> str:
    number = 1
    while (output_dir / f"{name}-rerun-{number}").exists():
        number += 1
    return f"{name}-rerun-{number}"
