"""Functions, methods and module bodies, as the facts of the extractor `clones` give them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from trainkit.review.expressions import Statement, key_of
from trainkit.review.model import Place
from trainkit.review.sources import Source


@dataclass(frozen=True, eq=False)
class Body:
    """A function, method or module body, with what it is compared by."""

    source: Source
    qualname: str
    line: int
    end: int
    kind: str
    statements: Sequence[Statement]
    parameters: tuple[str, ...]
    defaults: tuple[str, ...]
    calls: tuple[str, ...]
    intended: str  # why it may be a copy

    @property
    def name(self) -> str:
        """The last part of the qualified name."""
        return self.qualname.rpartition(".")[2]

    @property
    def place(self) -> Place:
        """Where it stands."""
        return Place(self.source.path, self.line, self.end, self.qualname)

    @property
    def num_lines(self) -> int:
        """From `def` to the end."""
        return self.end - self.line + 1

    @cached_property
    def strict(self) -> int:
        """What equals only for a consistent renaming of locals."""
        return hash((strict_key(self.statements), *map(key_of, sorted(self.defaults))))


def agree(reasons: Sequence[str]) -> str:
    """Give why copies are meant, where all but one of them say so."""
    return next(filter(None, reasons), "") if sum(map(bool, reasons)) >= len(reasons) - 1 else ""


def plain(name: str) -> str:
    """Give a local name without the mark that says how it is used."""
    return name.lstrip("=*")


def strict_key(statements: Sequence[Statement]) -> int:
    """Give a key of statements that depends on literals and on which local is which, not on their names."""
    numbers: dict[str, int] = {}
    return hash(
        tuple(
            [
                (
                    one[0],
                    *[numbers.setdefault(name.lstrip("=*"), len(numbers)) for name in one[5]],
                    *map(key_of, one[6]),
                )
                for one in statements
            ]
        )
    )


def count_kinds(parts: Sequence[Sequence[Statement]]) -> int:
    """Give how many differ in more than the names of locals."""
    written = {tuple([(one[0], one[8]) for one in part]): part for part in parts}
    return len({strict_key(part) for part in written.values()})


def read_bodies(source: Source) -> Iterator[Body]:
    """Give the units of a file."""
    facts = source.facts.get("clones")
    if not facts:
        return
    statements = facts["statements"]
    for unit, calls in zip(facts["units"], facts["calls"], strict=True):
        qualname, line, end, kind, start, stop, parameters, defaults = unit
        reason = next((facts["marks"][at] for at in range(line - 3, end + 1) if at in facts["marks"]), "")
        yield Body(
            source, qualname, line, end, kind, statements[start:stop], parameters, defaults, calls, reason
        )
