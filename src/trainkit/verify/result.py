"""What a verification found."""

from __future__ import annotations

from dataclasses import dataclass

from trainkit.trace.differ import Difference
from trainkit.trace.divergence import Comparison
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

    @property
    def lead(self) -> Difference | None:
        """Give the difference to show: the first one of the phase in which the cause lies."""
        first = self.comparison.first if self.comparison else None
        return first.lead(self.cause.phase) if first and self.cause else None

    @property
    def place(self) -> Line | None:
        """Give the line of the candidate to look at: an edited one that is to blame, else the operation's."""
        return next((item.place for item in self.excerpts if item.side == "candidate"), None)

    def tell_places(self) -> list[str]:
        """Give the lines of both sides that are to blame, in words."""
        return [f"{item.side} {item.place} {item.place.why}" for item in self.excerpts]

    @property
    def others(self) -> list[Difference]:
        """Give what differs beside the lead in the same step."""
        first = self.comparison.first if self.comparison else None
        lead = self.lead
        return [difference for difference in first.differences if difference is not lead] if first else []
