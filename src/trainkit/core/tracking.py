"""What a run tells while it goes: rows in metrics.csv, a progress bar on a terminal."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from trainkit.core.loop import EpochResult

T = TypeVar("T")
COLUMNS = ("epoch", "step", "part", "items", "loss", "metrics")


def start_metrics(path: Path, *, num_epochs: int) -> None:
    """Write the header and keep the rows of the first epochs of an earlier file: what a resume continues."""
    kept: list[dict[str, str]] = []
    if num_epochs and path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            kept = [row for row in rows if row["part"] != "test" and int(row["epoch"]) < num_epochs]
    for row in kept:
        row.setdefault("items", row.get("tokens", ""))  # as it was called once
    temporary = path.with_name(path.name + ".tmp")  # a crash in the middle keeps the rows
    with temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(kept)
    temporary.replace(path)


def append_metrics(path: Path, *, epoch: int, step: int, part: str, result: EpochResult) -> None:
    """Add one row; numbers as `repr` writes them, what else the task measures as JSON."""
    with path.open("a", newline="", encoding="utf-8") as file:
        loss, metrics = repr(result.mean_loss), json.dumps(result.metrics)
        row = (epoch, step, part, result.num_items, loss, metrics)
        csv.writer(file).writerow(row)


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
