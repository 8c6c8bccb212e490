"""How much two pieces of code share, and which functions belong together for it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trainkit.review.bodies import Body
from trainkit.review.expressions import Statement
from trainkit.review.normal import AS_METHOD
from trainkit.review.words import PLAIN, weight_of

_MIN_STATEMENTS, _MIN_LINES, _MIN_WEIGHT = (
    3,
    4,
    30,
)  # what weighs less is a copy only when all names are equal too
_SAME, _SAME_WORDS, _SAME_LINES = 0.65, 0.8, 0.8
_MANY, _VARIED = 10, 7  # statements of which few differ; different ones that are no coincidence without words
_WORDY, _BY_WORDS = 90, 0.6  # what weighs less says at most so much more than the statements
_KIN = 0.5  # what two members of a class have in common at least
_INLINED = 0.9  # what an extraction leaves the same
_OWN = 0.25  # what a function must be besides the helpers it calls
_TOO_COMMON = 60  # what stands in more shapes leads to no candidates
_HEAVY, _RARE = 7, 10  # weights of statements and words that lead to candidates
_LONG = 80  # statements: what longer functions have in common is told as runs


@dataclass(eq=False)
class Shape:
    """What a sequence of statements is compared by, and the bodies that have it in some order.

    `inlined` are the helpers whose statements were put in the place of their calls; `own` is the share of the
    weight that is not theirs.
    """

    keys: Counter[int]
    weights: dict[int, int]
    words: Counter[str]
    bodies: list[Body]
    inlined: frozenset[Body] = frozenset()
    own: float = 1.0
    otherwise: dict[Shape, float] = field(
        default_factory=dict
    )  # how like, with helpers inlined or as methods

    def __post_init__(self) -> None:
        """Number what stands there several times, so that sharing is a matter of sets."""
        weights = self.weights
        self.items = {hash((key, n)): weights[key] for key, count in self.keys.items() for n in range(count)}
        self.word_items = {
            (word, n) if n else word: weight_of(word)
            for word, count in self.words.items()
            for n in range(count)
        }
        self.weight, self.words_weight = sum(self.items.values()), sum(self.word_items.values())


def make_shape(statements: Sequence[Statement], bodies: list[Body]) -> Shape:
    """Give what a sequence of statements is compared by."""
    words = Counter([word for one in statements for word in one[4]])
    keys = Counter([one[0] for one in statements])
    return Shape(keys, {one[0]: one[1] for one in statements}, words, bodies)


def score_statements(one: Shape, other: Shape) -> float:
    """Give the weighted Dice of the statements, whatever their order."""
    shared = sum(map(one.items.__getitem__, one.items.keys() & other.items.keys()))
    return min(1.0, 2 * shared / (one.weight + other.weight or 1))


def score_words(one: Shape, other: Shape) -> float:
    """Give the weighted Dice of the words, 0 where it cannot be enough."""
    total = one.words_weight + other.words_weight
    if 2 * min(one.words_weight, other.words_weight) < _SAME_WORDS * total:
        return 0.0
    shared = sum(map(one.word_items.__getitem__, one.word_items.keys() & other.word_items.keys()))
    return 2 * shared / (total or 1)


def score_lines(one: Shape, other: Shape) -> float:
    """Give the Dice of the statements by number, 0 where few, light, or not enough: one may be long."""
    low, high = sorted((len(one.items), len(other.items)))
    if low < _MANY or 2 * low < _SAME_LINES * (low + high):
        return 0.0
    found = 2 * len(one.items.keys() & other.items.keys()) / (low + high)
    return found if found >= _SAME_LINES and score_statements(one, other) >= _KIN else 0.0


def similarity(one: Shape, other: Shape) -> float:
    """Give 1 for the same statements; words alone, which say less, count a little less."""
    found = max(score_statements(one, other), one.otherwise.get(other, 0.0))
    if found < 1:
        words, lines = score_words(one, other), score_lines(one, other)
        few = words < 1 and min(one.words_weight, other.words_weight) < _WORDY
        words = min(words - 0.05, found + _BY_WORDS * few + (not few)) if words >= _SAME_WORDS else 0.0
        found = max(found, words, lines)
    return found


def group_bodies(everything: Sequence[Body]) -> list[list[Shape]]:
    """Give the functions that belong together: groups of shapes, the one with most bodies first."""
    groups: dict[Any, list[Body]] = defaultdict(list)
    for body in everything:
        if body.kind not in ("function", "method") or body.num_lines < _MIN_LINES:
            continue
        keys = [one[0] for one in body.statements]
        if len(keys) >= _MIN_STATEMENTS:
            weight = sum([one[1] - PLAIN for one in body.statements])
            says_enough = weight >= _MIN_WEIGHT or len(set(keys)) >= _VARIED
            exact = () if says_enough else (body.strict, *[one[5] for one in body.statements])
            groups[(*sorted(keys), *exact)].append(body)
    shapes = [make_shape(group[0].statements, group) for group in groups.values()]
    links = _link(shapes, everything)
    return [part for group in links.groups() for part in _split([shapes[number] for number in group])]


def _link(shapes: Sequence[Shape], everything: Sequence[Body]) -> _Links:
    number_of = {body: number for number, shape in enumerate(shapes) for body in shape.bodies}
    extra = [*_read_as_methods(everything), *_inline(everything, number_of)]
    size, links = len(shapes), _Links(len(shapes))
    for one, other in _candidates([*shapes, *extra], size):
        base = other if other < size else number_of.get(extra[other - size].bodies[0])
        if base is None or links.same(one, base) or _stand_together(shapes[one], shapes[base]):
            continue
        if other < size:
            same = float(_is_same(shapes[one], shapes[other]))
        else:
            same = _score_otherwise(shapes[one], extra[other - size], shapes[base])
        if same:
            links.join(one, base)
            if other >= size:
                shapes[one].otherwise[shapes[base]] = shapes[base].otherwise[shapes[one]] = same
    return links


def _stand_together(one: Shape, other: Shape) -> bool:
    """Say whether both are copied from the same places to the same places: two copies, not one of four."""
    if min(len(one.bodies), len(other.bodies)) < 2:
        return False
    first, second = (
        {(body.source.path, body.qualname.rpartition(".")[0]) for body in shape.bodies}
        for shape in (one, other)
    )
    return len(first) > 1 and first == second


def _split(shapes: list[Shape]) -> list[list[Shape]]:
    """Split what is only linked through others: each part is like its first shape."""
    parts = []
    while shapes:
        first = max(shapes, key=lambda shape: (len(shape.bodies), shape.weight, shape.bodies[0].place.path))
        like, rest = [first], list[Shape]()
        for shape in shapes:
            if shape is not first:
                near = shape in first.otherwise or similarity(first, shape) >= _KIN
                (like if near else rest).append(shape)
        parts.append([first, *sorted(like[1:], key=lambda shape: -len(shape.bodies))])
        shapes = rest
    return parts


def _is_same(one: Shape, other: Shape) -> bool:
    return (
        score_statements(one, other) >= _SAME
        or score_words(one, other) >= _SAME_WORDS
        or score_lines(one, other) > 0
    )


def _score_otherwise(one: Shape, changed: Shape, plain: Shape) -> float:
    """Give how like `one` is to the other one with helpers inlined, or as a method; 0 if it is not."""
    if not changed.inlined:
        fits = any(body.kind == "method" for body in one.bodies)
    else:
        fits = changed.own >= _OWN and not changed.inlined.intersection(one.bodies)
        fits = fits and similarity(one, changed) > similarity(one, plain)
    return similarity(one, changed) if fits and _is_same(one, changed) else 0.0


def _read_as_methods(bodies: Sequence[Body]) -> Iterator[Shape]:
    before = None
    for body in bodies:
        if body.kind == AS_METHOD and before:
            yield make_shape(body.statements, [before])
        before = body


def _inline(bodies: Sequence[Body], wanted: Mapping[Body, int]) -> Iterator[Shape]:
    """Give each function that calls others of its file, with their statements in place of the calls."""
    named: dict[tuple[str, str], list[Body]] = defaultdict(list)
    for body in bodies:
        if body.kind in ("function", "method"):
            named[body.source.path, body.name].append(body)
    for body in bodies:
        if not body.calls or body not in wanted or len(body.statements) > _LONG:
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


def _candidates(shapes: Sequence[Shape], num_plain: int) -> Iterator[tuple[int, int]]:
    """Give the pairs that share what few have, those that share most first."""
    index: dict[Any, list[int]] = defaultdict(list)
    for number, shape in enumerate(shapes):
        if len(shape.keys) <= (_LONG if number < num_plain else 2 * _LONG):
            for mark in _list_marks(shape):
                index[mark].append(number)
    shared: Counter[tuple[int, int]] = Counter()
    for numbers in index.values():
        if 2 <= len(numbers) <= _TOO_COMMON:
            firsts = ((at, one) for at, one in enumerate(numbers) if one < num_plain)
            shared.update([(one, other) for at, one in firsts for other in numbers[at + 1 :]])
    for (one, other), count in shared.most_common():
        if count >= 2 and _may_be_same(shapes[one], shapes[other]):
            yield one, other


def _list_marks(shape: Shape) -> Iterator[int | str]:
    yield from (key for key, weight in shape.weights.items() if weight >= _HEAVY)
    yield from (word for word in shape.words if weight_of(word) >= _RARE)
    if len(shape.keys) >= _VARIED:  # all of it together, also where no statement says much
        whole = hash(tuple(sorted(shape.keys.elements())))
        yield from (whole, ~whole)


def _may_be_same(one: Shape, other: Shape) -> bool:
    """Say whether the sizes alone allow it."""
    if 2 * min(one.weight, other.weight) >= _SAME * (one.weight + other.weight):
        return True
    low, high = sorted((one.words_weight, other.words_weight))
    return 2 * low >= _SAME_WORDS * (low + high)


def contains(whole: Body, part: Body) -> float:
    """Give what share of the weight of `part` stands in `whole`."""
    one, other = make_shape(whole.statements, []), make_shape(part.statements, [])
    shared = [
        other.weights[key] * min(count, one.keys[key]) for key, count in other.keys.items() if key in one.keys
    ]
    return sum(shared) / (other.weight or 1)


def is_same_inlined(old: Body, new: Body, helpers: Sequence[Body]) -> bool:
    """Say whether `new` with these helpers in the place of their calls is `old`."""
    names = {helper.name for helper in helpers}
    own = [one for one in new.statements if names.isdisjoint(one[4])]
    inlined = make_shape([*own, *[one for helper in helpers for one in helper.statements]], [])
    before = make_shape(old.statements, [])
    return score_statements(before, inlined) >= _INLINED
