"""What a verification found."""

from __future__ import annotations

from dataclasses import dataclass

from trainkit.trace.compare import Comparison
from trainkit.trace.locate import Line, Location
from trainkit.verdict import Status
from trainkit.verify.classify import Cause


@dataclass(frozen=True, kw_only=True)
class Excerpt:
    """A line of code with its neighbours: `lines` are numbers and texts."""

    side: str
    place: Line
    lines: tuple[tuple[int, str], ...]


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The outcome of one command at two revisions, or of two recorded traces."""

    status: Status
    summary: str
    command: str = ""
    baseline: str = ""
    candidate: str = ""
    cause: Cause | None = None
    process: str = ""  # which of several recorded processes
    comparison: Comparison | None = None
    location: Location | None = None
    excerpts: tuple[Excerpt, ...] = ()
    notes: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    duration_s: float = 0.0
