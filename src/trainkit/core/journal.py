"""run.json: what a run is, where it comes from, how far it is and how it ended."""

from __future__ import annotations

import json
import math
import os
import secrets
import socket
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from trainkit.core.checkpoint import Progress
from trainkit.core.config import TrainConfig
from trainkit.core.files import write_whole
from trainkit.core.origin import describe_origin, describe_revision
from trainkit.core.page import write_page
from trainkit.core.records import JOURNAL, flatten, read_json, read_record, read_start_time
from trainkit.core.table import Row

FORMAT = 1
REPLACED = ("tensorboard", "wandb", "diff.patch", "report.html")  # of an earlier run in the same folder


class Journal:
    """The content of run.json, a tracker like others: it keeps the last row of each part.

    A run that goes on in the same folder keeps its id and gets one more session.
    """

    def __init__(
        self,
        folder: Path,
        config: TrainConfig,
        progress: Progress,
        device: torch.device,
        *,
        resumed: bool,
        goes_on: bool,
    ) -> None:
        self.folder = folder
        self.progress = progress
        now = _tell_time()
        there = read_json(folder / JOURNAL) if goes_on else {}
        before = read_json(folder / "config.json") if goes_on else {}
        self.content: dict[str, Any] = {
            "format": FORMAT,
            "id": there.get("id") or f"{now[:19].replace('-', '').replace(':', '')}-{secrets.token_hex(3)}",
            "name": config.exp_name,
            "status": "running",
            "reason": None,
            "started": there.get("started", now),
            "ended": None,
            "process": {
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "start_time": read_start_time(os.getpid()),
            },
            "num_epochs": 0,
            "num_steps": 0,
            "best_loss": None,
            "metrics": there.get("metrics", {}),
            "trackers": there.get("trackers", {}),
            "failures": {},
            "sessions": there.get("sessions", []),
        }
        ours, theirs = flatten(asdict(config)), flatten(before)
        changed = {
            key: [theirs.get(key), value]
            for key, value in ours.items()
            if before and theirs.get(key) != value
        }
        number = len(self.content["sessions"]) + 1
        patch = folder / ("diff.patch" if number == 1 else f"diff-{number}.patch")
        self.session = {
            "started": now,
            "ended": None,
            "resumed_at": {"epoch": progress.num_epochs, "step": progress.count_steps()} if resumed else None,
            "changed": changed,
            "git": describe_revision(patch),
            **describe_origin(config, device),
        }
        self.content["sessions"].append(self.session)
        with write_whole(folder / "config.json") as file:
            file.write(json.dumps(asdict(config), indent=2) + "\n")

    def tell(self, row: Row) -> None:
        """Keep the row as the last of its part."""
        if row.part != "step":
            self.content["metrics"][row.part] = {"epoch": row.epoch, "step": row.step} | dict(row.values)

    def flush(self) -> None:
        """Write run.json."""
        best, steps = self.progress.best_loss, self.progress.count_steps()
        self.content.update(num_epochs=self.progress.num_epochs, num_steps=steps, best_loss=best)
        with write_whole(self.folder / JOURNAL) as file:
            json.dump(_replace_non_finite(self.content), file, indent=1)
            file.write("\n")

    def close(self, status: str, reason: str | None) -> None:
        """Say how it ended."""
        self.content.update(status=status, reason=reason, ended=_tell_time())
        self.session["ended"] = self.content["ended"]
        self.flush()
        write_page(read_record(self.folder))


def _tell_time() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _replace_non_finite(value: Any) -> Any:
    """JSON has no nan: it becomes null."""
    if isinstance(value, dict):
        return {key: _replace_non_finite(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_replace_non_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
