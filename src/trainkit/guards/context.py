"""What a guard is given: two trees, its own table of settings, and a way to say what it is doing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from trainkit import settings
from trainkit.repo.trees import Tree

T = TypeVar("T")


def _say_nothing(_: object) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Context:
    """One run of one guard; `root` is the user's project, written to only where `writable` says so."""

    root: Path
    name: str
    candidate: Tree
    baseline: Tree | None = None
    table: Mapping[str, Any] = field(default_factory=dict)
    writable: bool = False  # False in the gate: there nothing of the user's tree changes
    update: bool = False
    progress: Callable[[str], None] = _say_nothing
    keep: Callable[[Any], None] = _say_nothing  # takes what was measured, for who wants to show more of it

    def parse(self, kind: type[T]) -> T:
        """Give the guard's settings as its dataclass `kind`.

        Raises:
            ConfigError: with all mistakes of the guard's table.
        """
        return settings.parse(kind, self.table, where=f"tool.trainkit.{self.name}")
