"""Copies: functions that do the same, as classes of all their copies, found through variations in writing.

The extractor gives each file's statements in their normal form (`normal`); `find_clones` compares.
"""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from trainkit.review.model import CloneClass, Place
from trainkit.review.normal import AS_METHOD, Normaliser, Statement, read_imports
from trainkit.review.sources import Source
from trainkit.review.words import weight_of

VERSION = 1
_MARK = re.compile(rb"^[ \t]*# ?(?:trainkit: copy\b[: ]*(.*)|(Copied from .*))$", re.MULTILINE)
_MIN_STATEMENTS, _MIN_LINES = 3, 4
_SAME, _SAME_WORDS, _NEAR = 0.6, 0.8, 0.8
_OWN = 0.25  # what a function must be besides the helpers it calls
_TOO_COMMON = 60  # what stands in more shapes leads to no candidates
_LONG = 80  # statements from which on words alone say nothing


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
    """What a sequence of statements is compared by, and the bodies that have it in some order.

    `inlined` are the helpers whose statements were put in the place of their calls; `own` is the share of the weight
    that is not theirs.
    """

    keys: Counter[int]
    weights: dict[int, int]
    words: Counter[str]
    bodies: list[Body]
    inlined: frozenset[Body] = frozenset()
    own: float = 1.0

    def __post_init__(self) -> None:
        self.weight = sum([self.weights[key] * count for key, count in self.keys.items()])
        self.repeated = {key for key, count in self.keys.items() if count > 1}
        self.is_short = len(self.keys) <= _LONG
        self.words_weight = sum([weight_of(word) * count for word, count in self.words.items()])


def make_shape(statements: Sequence[Statement], bodies: list[Body]) -> _Shape:
    """Give what a sequence of statements is compared by."""
    words = Counter([word for one in statements for word in one[4]])
    return _Shape(Counter([one[0] for one in statements]), {one[0]: one[1] for one in statements}, words, bodies)


def score(one: _Shape, other: _Shape) -> tuple[float, float]:
    """Give how much two shapes share of their statements, and of their words (weighted Dice)."""
    return score_statements(one, other), score_words(one, other)


def score_statements(one: _Shape, other: _Shape) -> float:
    """Give the weighted Dice of the statements, whatever their order."""
    theirs, weights = other.keys, one.weights
    both = one.keys.keys() & theirs.keys()
    shared = sum([weights[key] for key in both])
    for key in (one.repeated & both) & other.repeated:
        shared += weights[key] * (min(one.keys[key], theirs[key]) - 1)
    return min(1.0, 2 * shared / (one.weight + other.weight or 1))


def score_words(one: _Shape, other: _Shape) -> float:
    """Give the weighted Dice of the words."""
    theirs = other.words
    shared = sum([weight_of(word) * min(one.words[word], theirs[word]) for word in one.words.keys() & theirs.keys()])
    return 2 * shared / (one.words_weight + other.words_weight or 1)


def find_clones(sources: Sequence[Source]) -> list[CloneClass]:
    """Give the classes of functions that do the same, largest saving first."""
    everything = [body for source in sources for body in read_bodies(source)]
    groups: dict[Any, list[Body]] = defaultdict(list)
    for body in everything:
        if _is_worth(body):
            groups[tuple(sorted([one[0] for one in body.statements]))].append(body)
    shapes = [make_shape(group[0].statements, group) for group in groups.values()]
    number_of = {body: number for number, shape in enumerate(shapes) for body in shape.bodies}
    extra = [*_read_as_methods(everything), *_inline(everything, number_of)]
    links = _Links(len(shapes))
    for one, other in _candidates([*shapes, *extra], len(shapes)):
        if one >= len(shapes):
            continue
        if other >= len(shapes):
            base = number_of.get(extra[other - len(shapes)].bodies[0])
            if base is None or links.same(one, base):
                continue
            if _is_same_otherwise(shapes[one], extra[other - len(shapes)], shapes[base]):
                links.join(one, base)
        elif not links.same(one, other) and _is_same(shapes[one], shapes[other]):
            links.join(one, other)
    classes = [_make_class([shapes[number] for number in group]) for group in links.groups()]
    kept = [one for one in classes if len(one.members) > 1]
    return sorted(_without_inner(kept), key=lambda one: (-one.num_lines_saved, one.fingerprint))


def _is_worth(body: Body) -> bool:
    return (
        body.kind in ("function", "method")
        and len(body.statements) >= _MIN_STATEMENTS
        and body.num_lines >= _MIN_LINES
        and sum([one[1] for one in body.statements]) >= 30
    )


def _is_same(one: _Shape, other: _Shape) -> bool:
    if score_statements(one, other) >= _SAME:
        return True
    return one.is_short and other.is_short and score_words(one, other) >= _SAME_WORDS


def _is_same_otherwise(one: _Shape, changed: _Shape, plain: _Shape) -> bool:
    """Say whether `one` is what the other one is with its helpers inlined, or read as a method."""
    if not changed.inlined:
        return any(body.kind == "method" for body in one.bodies) and _is_same(one, changed)
    if changed.own < _OWN or changed.inlined.intersection(one.bodies):
        return False
    return _is_same(one, changed) and score_statements(one, changed) > score_statements(one, plain)


def _read_as_methods(bodies: Sequence[Body]) -> Iterator[_Shape]:
    before = None
    for body in bodies:
        if body.kind == AS_METHOD and before:
            yield make_shape(body.statements, [before])
        before = body


def _inline(bodies: Sequence[Body], wanted: Mapping[Body, int]) -> Iterator[_Shape]:
    """Give each function that calls others of its file, with their statements in place of the calls."""
    named: dict[tuple[str, str], list[Body]] = defaultdict(list)
    for body in bodies:
        if body.kind in ("function", "method"):
            named[body.source.path, body.name].append(body)
    for body in bodies:
        if not body.calls or body not in wanted:
            continue
        helpers = {
            name: found[0]
            for name in body.calls
            if len(found := named[body.source.path, name]) == 1
            and not (body.line <= found[0].line <= body.end)
            and not (found[0].line <= body.line <= found[0].end)
        }
        own = [one for one in body.statements if helpers.keys().isdisjoint(one[4])]
        if helpers and len(own) < len(body.statements):
            more = [one for helper in helpers.values() for one in helper.statements]
            shape = make_shape([*own, *more], [body])
            shape.inlined = frozenset(helpers.values())
            shape.own = 1 - sum(one[1] for one in more) / (shape.weight or 1)
            yield shape


class _Links:
    """Union of what is joined."""

    def __init__(self, size: int) -> None:
        self._parent = list(range(size))

    def _root(self, number: int) -> int:
        while self._parent[number] != number:
            self._parent[number] = number = self._parent[self._parent[number]]
        return number

    def same(self, one: int, other: int) -> bool:
        """Say whether both are in one group."""
        return self._root(one) == self._root(other)

    def join(self, one: int, other: int) -> None:
        """Put both into one group."""
        self._parent[self._root(one)] = self._root(other)

    def groups(self) -> list[list[int]]:
        """Give the groups."""
        found: dict[int, list[int]] = defaultdict(list)
        for number in range(len(self._parent)):
            found[self._root(number)].append(number)
        return list(found.values())


def _candidates(shapes: Sequence[_Shape], num_plain: int) -> Iterator[tuple[int, int]]:
    """Give the pairs that share what few have, those that share most first."""
    index: dict[Any, list[int]] = defaultdict(list)
    for number, shape in enumerate(shapes):
        for key, weight in shape.weights.items():
            if weight >= 7:
                index[key].append(number)
        for word in shape.words if shape.is_short else ():
            if weight_of(word) >= 10:
                index[word].append(number)
    shared: Counter[tuple[int, int]] = Counter()
    for numbers in index.values():
        if 2 <= len(numbers) <= _TOO_COMMON:
            shared.update(
                [(one, other) for at, one in enumerate(numbers) if one < num_plain for other in numbers[at + 1 :]]
            )
    for (one, other), count in shared.most_common():
        low, high = sorted((shapes[one].weight, shapes[other].weight))
        if count >= 2 and 2 * low / (low + high) >= 0.5:
            yield one, other


def _make_class(shapes: Sequence[_Shape]) -> CloneClass:
    largest = max(shapes, key=lambda shape: (len(shape.bodies), shape.weight))
    found = sorted((body for shape in shapes for body in shape.bodies), key=lambda one: (one.source.path, one.line))
    bodies = [body for body in found if not any(_is_inside(body.place, other.place) for other in found)]
    scores = [score_statements(largest, shape) for shape in shapes]
    saved = [
        sum([one[3] - one[2] + 1 for one in body.statements if one[3] and one[0] in largest.keys]) + 1
        for body in bodies
    ]
    return CloneClass(
        kind="function",
        grade="equal" if len(shapes) == 1 else "near" if min(scores) >= _NEAR else "related",
        members=tuple(body.place for body in bodies),
        num_bodies=len({body.strict for body in bodies}),
        num_lines_saved=sum(saved) - max(saved),
        fingerprint=f"{hash(tuple(sorted(largest.keys.elements()))) & (1 << 64) - 1:016x}",
    )


def _is_inside(place: Place, other: Place) -> bool:
    return (
        place is not other
        and place.path == other.path
        and other.line <= place.line
        and place.end <= other.end
        and (place.line, place.end) != (other.line, other.end)
    )


def _without_inner(classes: Sequence[CloneClass]) -> list[CloneClass]:
    """Leave out classes whose every member lies inside a member of another class."""
    outer: dict[str, list[Place]] = defaultdict(list)
    for one in classes:
        for place in one.members:
            outer[place.path].append(place)
    return [
        one
        for one in classes
        if not all(any(_is_inside(place, other) for other in outer[place.path]) for place in one.members)
    ]
