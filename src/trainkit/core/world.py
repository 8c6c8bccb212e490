"""The place of a process among those that train as one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass(frozen=True)
class World:
    """Ranks count from 0; `mesh` is a DeviceMesh of all ranks, absent where there is only this process."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    mesh: Any = None


ALONE = World()
