"""What could be imported later, as data: a name's new place, the edit of one family in a file, a step."""

from __future__ import annotations

from dataclasses import dataclass

from trainkit.guards.imports.measure import Cost
from trainkit.guards.imports.names import Holder, Statement

Cut = tuple[str, int, str]  # file relative to the project, line, module that it asks for
# What is asked for instead: (by a line or a module, for taking a name, this module).
Added = tuple[Cut | str, Cut | None, str]


@dataclass(frozen=True)
class Placement:
    """Where one imported name goes: into functions, below TYPE_CHECKING, into the package's `__getattr__`."""

    statement: Statement
    name: str
    holders: tuple[Holder, ...] = ()
    typing: bool = False
    lazy: tuple[tuple[str, str], ...] = ()  # name of the package -> where it is loaded from


@dataclass(frozen=True)
class Edit:
    """All imports of one family of modules in one file, each with its new place; or why they must stay."""

    file: str
    family: str
    cuts: frozenset[Cut]
    shown: str = ""  # the imports as they stand
    placements: tuple[Placement, ...] = ()
    blocked: str = ""
    added: tuple[Added, ...] = ()

    @property
    def line(self) -> int:
        """Give the first line that is moved."""
        return min(line for _, line, _ in self.cuts)

    @property
    def num_places(self) -> int:
        """Count the places that would have an import instead."""
        return len({(p.statement.line, holder.line) for p in self.placements for holder in p.holders}) + any(
            p.typing or p.lazy for p in self.placements
        )

    def how(self) -> str:
        """Say how they would be imported."""
        num_functions = len({holder.line for p in self.placements for holder in p.holders})
        ways = [f"in {num_functions} function{'s' * (num_functions != 1)}"] if num_functions else []
        ways += ["on first use of the package's name"] if any(p.lazy for p in self.placements) else []
        ways += ["for type checkers"] if any(p.typing and not p.lazy for p in self.placements) else []
        return " and ".join(ways)


@dataclass(frozen=True)
class Step:
    """Edits that belong together: only all of them make these modules disappear."""

    edits: tuple[Edit, ...]
    saves: frozenset[str]
    cost: Cost
