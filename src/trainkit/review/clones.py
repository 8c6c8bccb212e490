"""Copies: functions that do the same, as classes of all their copies, found through variations in writing.

The extractor gives each file's statements in their normal form (`normal`); `find_clones` compares.
"""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from trainkit.review.model import CloneClass, Place
from trainkit.review.normal import Normaliser, Statement, read_imports
from trainkit.review.sources import Source
from trainkit.review.words import weight_of

VERSION = 1
_MARK = re.compile(rb"^[ \t]*# ?(?:trainkit: copy\b[: ]*(.*)|(Copied from .*))$", re.MULTILINE)
_MIN_STATEMENTS, _MIN_LINES = 3, 4
_SAME, _SAME_WORDS = 0.6, 0.8
_TOO_COMMON = 60


def extract(tree: ast.Module, source: bytes) -> dict[str, Any]:
    """Give statements, units, imports and marks of intended copies of one file."""
    imports = read_imports(node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom)))
    normal = Normaliser(imports)
    normal.functions(tree.body)
    normal.module(tree.body)
    names = {unit[0].rpartition(".")[2] for unit in normal.units} - {"", "main"}
    calls = [
        tuple(sorted({word for one in normal.statements[unit[4] : unit[5]] for word in one[4] if word in names}))
        for unit in normal.units
    ]
    marks = {
        source.count(b"\n", 0, found.start()) + 1: (found[1] or found[2]).decode(errors="replace").strip()
        for found in _MARK.finditer(source)
    }
    return {
        "statements": normal.statements,
        "units": normal.units,
        "calls": calls,
        "imports": imports,
        "marks": marks,
    }


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
    calls: tuple[str, ...] = ()

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
        return strict_key(self.statements)


def strict_key(statements: Sequence[Statement]) -> int:
    """Give a key of statements that depends on literals and on which local is which, not on their names."""
    numbers: dict[str, int] = {}
    return hash(
        tuple(
            (one[0], *(numbers.setdefault(name, len(numbers)) for name in one[5]), *map(_text_key, one[6]))
            for one in statements
        )
    )


def _text_key(text: str) -> int:
    return int.from_bytes(text.encode()[:32], "big")


def read_bodies(source: Source) -> Iterator[Body]:
    """Give the units of a file."""
    facts = source.facts.get("clones")
    if not facts:
        return
    statements = facts["statements"]
    for unit, calls in zip(facts["units"], facts["calls"], strict=True):
        qualname, line, end, kind, start, stop, parameters, defaults = unit
        yield Body(source, qualname, line, end, kind, statements[start:stop], parameters, defaults, calls)


@dataclass(eq=False)
class _Shape:
    """All bodies of the same statement keys, in any order; or one body with its helpers inlined."""

    keys: Counter[int]
    weights: dict[int, float]
    words: Counter[str]
    bodies: list[Body]
    inlined: tuple[str, ...] = ()
    weight: float = 0.0
    words_weight: float = 0.0
    own: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.weight = sum(self.weights[key] * count for key, count in self.keys.items())
        self.words_weight = sum(weight_of(word) * count for word, count in self.words.items())


def make_shape(statements: Sequence[Statement], bodies: list[Body], inlined: tuple[str, ...] = ()) -> _Shape:
    """Give what a sequence of statements is compared by."""
    words = Counter(word for one in statements for word in one[4])
    return _Shape(Counter([one[0] for one in statements]), {one[0]: one[1] for one in statements}, words, bodies, inlined)


def score(one: _Shape, other: _Shape) -> tuple[float, float]:
    """Give how much two shapes share of their statements, and of their words (weighted Dice)."""
    shared = sum(
        one.weights[key] * min(count, other.keys[key]) for key, count in one.keys.items() if key in other.keys
    )
    same_words = sum(
        weight_of(word) * min(count, other.words[word]) for word, count in one.words.items() if word in other.words
    )
    return (
        2 * shared / (one.weight + other.weight or 1),
        2 * same_words / (one.words_weight + other.words_weight or 1),
    )


def find_clones(sources: Sequence[Source]) -> list[CloneClass]:
    """Give the classes of functions that do the same, largest saving first."""
    bodies = [body for source in sources for body in read_bodies(source) if _is_worth(body)]
    groups: dict[int, list[Body]] = defaultdict(list)
    for body in bodies:
        groups[hash(tuple(sorted([one[0] for one in body.statements])))].append(body)
    shapes = [make_shape(group[0].statements, group) for group in groups.values()]
    links = _Links(len(shapes))
    for one, other in _candidates(shapes):
        by_statements, by_words = score(shapes[one], shapes[other])
        if by_statements >= _SAME or by_words >= _SAME_WORDS:
            links.join(one, other)
    classes = [
        _make_class([shapes[number] for number in group])
        for group in links.groups()
        if sum(len(shapes[number].bodies) for number in group) > 1
    ]
    return sorted(_without_inner(classes), key=lambda one: (-one.num_lines_saved, one.fingerprint))


def _is_worth(body: Body) -> bool:
    return (
        body.kind != "module body"
        and len(body.statements) >= _MIN_STATEMENTS
        and body.num_lines >= _MIN_LINES
        and sum([one[1] for one in body.statements]) >= 3
    )


class _Links:
    """Union of what is joined."""

    def __init__(self, size: int) -> None:
        self._parent = list(range(size))

    def _root(self, number: int) -> int:
        while self._parent[number] != number:
            self._parent[number] = number = self._parent[self._parent[number]]
        return number

    def join(self, one: int, other: int) -> None:
        """Put both into one group."""
        self._parent[self._root(one)] = self._root(other)

    def groups(self) -> list[list[int]]:
        """Give the groups."""
        found: dict[int, list[int]] = defaultdict(list)
        for number in range(len(self._parent)):
            found[self._root(number)].append(number)
        return list(found.values())


def _candidates(shapes: Sequence[_Shape]) -> Iterator[tuple[int, int]]:
    """Give the pairs that share what few have: one heavy statement, two others, or some rare words."""
    index: dict[Any, list[int]] = defaultdict(list)
    for number, shape in enumerate(shapes):
        for key, weight in shape.weights.items():
            if weight >= 0.7:
                index[key].append(number)
        for word in shape.words:
            if weight_of(word) >= 1.0:
                index[word].append(number)
    shared: Counter[tuple[int, int]] = Counter()
    for numbers in index.values():
        if 2 <= len(numbers) <= _TOO_COMMON:
            shared.update((one, other) for at, one in enumerate(numbers) for other in numbers[at + 1 :])
    for (one, other), count in shared.items():
        low, high = sorted((shapes[one].weight, shapes[other].weight))
        if count >= 2 and 2 * low / (low + high) >= 0.5:
            yield one, other


def _make_class(shapes: Sequence[_Shape]) -> CloneClass:
    largest = max(shapes, key=lambda shape: (len(shape.bodies), shape.weight))
    bodies = sorted((body for shape in shapes for body in shape.bodies), key=lambda one: (one.place.path, one.line))
    scores = [score(largest, shape)[0] for shape in shapes]
    grade = "equal" if len(shapes) == 1 else "near" if min(scores) >= 0.8 else "related"
    lines = [body.num_lines for body in bodies]
    return CloneClass(
        kind="function",
        grade=grade,
        members=tuple(body.place for body in bodies),
        num_bodies=len({body.strict for body in bodies}),
        num_lines_saved=sum(lines) - max(lines),
        fingerprint=f"{hash(tuple(sorted(largest.keys.elements()))) & (1 << 64) - 1:016x}",
    )


def _without_inner(classes: Sequence[CloneClass]) -> list[CloneClass]:
    """Leave out classes whose every member lies inside a member of another class."""
    covers: Mapping[str, list[tuple[Place, CloneClass]]] = defaultdict(list)
    for one in classes:
        for place in one.members:
            covers[place.path].append((place, one))
    return [
        one
        for one in classes
        if not all(
            any(
                other is not one and outer.line <= place.line and place.end <= outer.end
                for outer, other in covers[place.path]
            )
            for place in one.members
        )
    ]
