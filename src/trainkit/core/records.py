"""Run folders read back: found, filtered, compared; loads without torch."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

from trainkit.core.table import METRICS, read_table
from trainkit.errors import UsageError, suggest

JOURNAL = "run.json"


@dataclass(frozen=True)
class Record:
    """A run folder: run.json, config.json flattened to dotted keys, the rows of metrics.csv."""

    folder: Path
    journal: Mapping[str, Any]
    config: Mapping[str, Any]

    @property
    def rows(self) -> list[dict[str, str]]:
        """The rows of metrics.csv, none without it."""
        path = self.folder / METRICS
        return read_table(path) if path.exists() else []

    @property
    def status(self) -> str:
        """How it ended, "interrupted" also if its process is gone; "unknown" of an earlier version's run."""
        status = str(self.journal.get("status", "unknown"))
        process = self.journal.get("process", {})
        gone = process.get("host") == socket.gethostname() and (
            read_start_time(process.get("pid", 0)) != process.get("start_time")
        )
        return "interrupted" if status == "running" and gone else status

    def facts(self) -> dict[str, Any]:
        """Give what can be listed, filtered and sorted by: facts of the run, last metrics, configuration."""
        metrics = self.journal.get("metrics", {})
        return {
            "id": self.journal.get("id", self.folder.name),
            "name": self.config.get("exp_name", self.folder.name),
            "status": self.status,
            "started": self.journal.get("started"),
            "ended": self.journal.get("ended"),
            "model": self.config.get("model.name"),
            "optimizer": self.config.get("optimizer.name"),
            "data": self.config.get("data.name"),
            "epochs": self.journal.get("num_epochs"),
            "steps": self.journal.get("num_steps"),
            "best_loss": self.journal.get("best_loss"),
            **{f"{part}.{name}": value for part, values in metrics.items() for name, value in values.items()},
            **self.config,
        }


def read_json(path: Path) -> dict[str, Any]:
    """Give the object in a file; an empty one where it is missing or damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def read_start_time(pid: int) -> str | None:
    """Give when the process began, in the kernel's ticks; None where it is gone or nobody knows."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Give (dotted key -> value)."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, dict) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def find_records(output_dir: Path) -> list[Record]:
    """Give the runs below a folder, the oldest first.

    Raises:
        UsageError: there is no such folder.
    """
    if not output_dir.is_dir():
        raise UsageError("no-such-run", f"there are no runs: '{output_dir}' is no folder; give --output-dir")
    records = [read_record(folder) for folder in _walk(output_dir)]
    return sorted(records, key=lambda record: (str(record.journal.get("started", "")), str(record.folder)))


def _walk(folder: Path) -> Iterator[Path]:
    """Yield run folders; nothing is looked for inside of one."""
    for top, folders, files in os.walk(folder):
        if "config.json" in files:
            folders.clear()
            yield Path(top)
        folders.sort()


def read_record(folder: Path) -> Record:
    """Give the record of a run folder."""
    return Record(folder, read_json(folder / JOURNAL), flatten(read_json(folder / "config.json")))


def find_record(name: str, output_dir: Path) -> Record:
    """Give the run of this id, the beginning of one, this name, or this folder.

    Raises:
        UsageError: none, or several.
    """
    if (Path(name) / "config.json").exists():
        return read_record(Path(name))
    records = find_records(output_dir)
    whole = [each for each in records if name in (each.journal.get("id"), each.facts()["name"])]
    found = whole or [each for each in records if str(each.journal.get("id", "")).startswith(name)]
    if len(found) == 1:
        return found[0]
    if found:
        listed = ", ".join(str(each.facts()["id"]) for each in found)
        raise UsageError(
            "no-such-run", f"'{name}' may be {len(found)} runs: {listed}; give an id or a folder"
        )
    hint = suggest(name, dict.fromkeys(str(each.facts()["name"]) for each in records[-20:]))
    raise UsageError("no-such-run", f"no run '{name}' below '{output_dir}'{hint}")


@dataclass(frozen=True)
class Difference:
    """The first row in which two runs are not the same bits; nothing where one has ended."""

    epoch: str
    step: str
    part: str
    values: dict[str, tuple[str | None, str | None]] = field(default_factory=dict)

    def describe(self) -> str:
        """Say it in a line, numbers as repr and in hex."""
        sides = [
            f"{name} {' and '.join('absent' if side is None else _show(side) for side in pair)}"
            for name, pair in self.values.items()
        ]
        return f"epoch {self.epoch}, step {self.step}, {self.part}: {'; '.join(sides)}"


def _show(number: str) -> str:
    return f"{number} ({float(number).hex()})" if "." in number or "e" in number else number


def find_first_difference(one: list[dict[str, str]], other: list[dict[str, str]]) -> Difference | None:
    """Compare the rows of two runs bit by bit, those of single steps where both have them.

    None where all are the same.
    """
    tables = [one, other]
    if not all(any(row["part"] == "step" for row in rows) for rows in tables):
        tables = [[row for row in rows if row["part"] != "step"] for rows in tables]
    absent: dict[str, str] = {}
    for here, there in zip_longest(*tables, fillvalue=absent):
        names = dict.fromkeys((*here, *there))
        pairs = {name: (here.get(name), there.get(name)) for name in names}
        wrong = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
        if wrong:
            place = here or there
            return Difference(place["epoch"], place["step"], place["part"], wrong)
    return None
