"""metrics.csv: the rows of a run, as they are told and as they are read back; loads without torch."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainkit.core.files import write_whole

METRICS = "metrics.csv"
COLUMNS = ("epoch", "step", "part", "items", "loss")
PARTS = ("step", "train", "validation", "test")  # in the order in which rows of one step are told


@dataclass(frozen=True)
class Row:
    """What was measured of a part of an epoch, after so many steps of the run."""

    epoch: int
    step: int
    part: str
    num_items: int
    values: Mapping[str, float]  # "loss" first

    def name_values(self) -> dict[str, float]:
        """Give the values as trackers call them: "validation/loss"."""
        return {f"{self.part}/{name}": value for name, value in self.values.items()}


class Table:
    """metrics.csv: a row per part of an epoch and a column per value, written whole each time."""

    def __init__(self, path: Path, rows: list[dict[str, Any]]) -> None:
        self.path = path
        self.names = list(COLUMNS)
        self.rows: list[dict[str, Any]] = []
        self.lines: list[str] = []
        for row in rows:
            self._add(row)
        self.is_new = True
        self.flush()

    def tell(self, row: Row) -> None:
        """Add the row; numbers as `repr` writes them."""
        place = {"epoch": row.epoch, "step": row.step, "part": row.part, "items": row.num_items}
        self._add(place | {name: repr(value) for name, value in row.values.items()})
        self.is_new = True

    def _add(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        if missing := [name for name in row if name not in self.names]:
            self.names += missing
            self.lines = [self._format(each) for each in self.rows]
        else:
            self.lines.append(self._format(row))

    def _format(self, row: dict[str, Any]) -> str:
        return ",".join(str(row.get(name, "")) for name in self.names) + "\n"

    def flush(self) -> None:
        """Write it, whole or not at all."""
        if not self.is_new:
            return
        with write_whole(self.path, newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(self.names)
            file.writelines(self.lines)
        self.is_new = False

    def close(self, status: str, reason: str | None) -> None:
        """Write what is not written."""
        self.flush()


def open_csv(opening: Any) -> Table:
    """Start the table with the rows of what was done before: not those that will be repeated, or the test."""
    kept: list[dict[str, Any]] = []
    if opening.table is not None and opening.table.exists():
        kept = [
            row
            for row in read_table(opening.table)
            if (int(row["epoch"]) < opening.num_epochs and row["part"] != "test")
            or (row["part"] == "step" and int(row["step"]) <= opening.step)
        ]
    return Table(opening.folder / "metrics.csv", kept)


def read_table(path: Path) -> list[dict[str, str]]:
    """Give the rows of a metrics.csv without their empty cells, also of one that an earlier version wrote."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        more = json.loads(row.pop("metrics", None) or "{}")
        row.update({name: repr(value) for name, value in more.items()})
        if "tokens" in row:
            row["items"] = row.pop("tokens")
    return [{name: value for name, value in row.items() if value} for row in rows]
