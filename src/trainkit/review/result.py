"""What a review found; whoever prints it needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from trainkit.review.cycles import Cycle
from trainkit.review.model import CloneClass, Issue, Unit


@dataclass(frozen=True, kw_only=True)
class FileRow:
    """A line of the inventory: `worst` and `mean` are cyclomatic, `role` is "script", "library" or "test"."""

    path: str
    role: str
    num_lines: int
    num_functions: int
    worst: int
    mean: float
    num_importers: int
    purpose: str  # the first line of its docstring, or ""
    upkeep: Mapping[str, float] = field(default_factory=dict)  # radon's figures, of the most complex files


@dataclass(frozen=True, kw_only=True)
class EntryPoint:
    """A file that is started as a program, or a console script that pyproject.toml names.

    `shared` is the part of its lines that other files have, too; `needs` counts the files behind it.
    """

    path: str
    line: int
    how: tuple[str, ...]  # "__main__", "parser", "training", "console script NAME"
    num_lines: int
    shared: float
    needs: int


@dataclass(frozen=True, kw_only=True)
class Dependencies:
    """The imports among the files: `folders` are (from, to, how many), `hubs` files by their importers."""

    num_edges: dict[str, int]  # by kind
    folders: tuple[tuple[str, str, int], ...]
    hubs: tuple[tuple[str, int], ...]
    externals: tuple[tuple[str, int], ...]
    cycles: tuple[Cycle, ...]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One line of the table: `before` is None without a base, either is None where it was not measured."""

    name: str
    after: float | None
    before: float | None = None
    unit: str = ""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Issues that are worth doing together: what they take and what they save."""

    name: str
    issues: tuple[str, ...]
    effort_min: tuple[int, int]
    num_lines_saved: int


@dataclass(frozen=True, kw_only=True)
class Review:
    """The whole report."""

    project: str
    candidate: str
    base: str = ""
    files: tuple[FileRow, ...] = ()
    unreadable: tuple[tuple[str, str], ...] = ()  # path, why
    entry_points: tuple[EntryPoint, ...] = ()
    namesakes: tuple[
        tuple[str, int, int], ...
    ] = ()  # function in many scripts: name, scripts, different bodies
    dependencies: Dependencies
    units: tuple[Unit, ...] = ()
    clones: tuple[CloneClass, ...] = ()
    issues: tuple[Issue, ...] = ()
    allowed: tuple[Issue, ...] = ()  # what comments say is meant: in no sum and in no phase
    gone: tuple[Issue, ...] = ()  # what the base has and the candidate has no more
    phases: tuple[Phase, ...] = ()
    figures: tuple[Figure, ...] = ()
    proof: tuple[str, ...] = field(default=())  # what `verify` said, its status first
