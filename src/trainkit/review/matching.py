"""Which function of one tree is which of another: through renames, moves, edits, extraction and merging.

In rounds, each over what the one before left: the same place and similar code, the same name and code
elsewhere, the same code, the same name with similar code, similar code, the same place with other code. Code
is compared in its normal form (`normal`), where local names, hints, formatting and comments say nothing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trainkit.review.bodies import read_bodies
from trainkit.review.complexity import read_facts
from trainkit.review.measure import MODULE_BODY, Facts
from trainkit.review.similar import Shape, make_shape, score_statements
from trainkit.review.sources import Source, read_files

_LIKE = 0.3  # the same place is the same function when so much of it stands
_SAME = 0.6  # so much of it makes another place the same function, or a part one of the whole
_LEAST_MERGED = 4  # statements: what is shorter, such as a getter, stands in many functions
_TOO_COMMON = 50  # a statement in more functions leads to no pairs


@dataclass(frozen=True, eq=False)
class Piece:
    """A function, method, class body or module body of a tree; `shapes` is its code, read one or two ways."""

    source: Source
    index: int
    facts: Facts
    shapes: tuple[Shape, ...] = ()

    @property
    def place(self) -> tuple[str, str]:
        """File and qualified name."""
        return self.source.path, self.facts.name

    def describe(self) -> str:
        """Give its name for a message."""
        kind, name = self.facts.kind, self.facts.name
        if kind == MODULE_BODY:
            return f"the module body of {self.source.path}"
        return f"{name}()" if kind in {"function", "method"} else f"the class body of {name}"

    def keys(self) -> Counter[int]:
        """Give its statements, as keys of their normal form."""
        return self.shapes[0].keys if self.shapes else Counter[int]()


@dataclass
class Matching:
    """New pieces by what they were: `before` the same, `origin` the whole of a part, `merged` parts of it."""

    old: list[Piece]
    new: list[Piece]
    before: dict[Piece, Piece] = field(default_factory=dict)
    origin: dict[Piece, Piece] = field(default_factory=dict)
    merged: dict[Piece, list[Piece]] = field(default_factory=dict)

    def after(self) -> dict[Piece, Piece]:
        """Give the new piece of each old one that is still there."""
        return {old: new for new, old in self.before.items()}


def read_pieces(sources: Iterable[Source], shapes: Iterable[Source] = ()) -> list[Piece]:
    """Give the pieces of sources with facts of complexity, with the shapes that are among `shapes`."""
    bodies: dict[tuple[str, int, bool], list[Shape]] = defaultdict(list)
    for source in shapes:
        for body in read_bodies(source):
            is_body = body.kind == MODULE_BODY
            shape = make_shape(body.statements, [body])
            bodies[source.path, 0 if is_body else body.line, is_body].append(shape)
    return [
        Piece(source, index, facts, tuple(bodies.get(_place_of(source, facts), ())))
        for source in sources
        for index, facts in enumerate(read_facts(source))
    ]


def _place_of(source: Source, facts: Facts) -> tuple[str, int, bool]:
    is_body = facts.kind == MODULE_BODY
    return source.path, 0 if is_body else facts.line, is_body


def match_trees(old: tuple[Path, Sequence[Source]], new: tuple[Path, Sequence[Source]]) -> Matching:
    """Match two folders, each with sources that have facts of complexity; what differs is read once more."""
    blobs = [{source.path: source.blob for source in sources} for _, sources in (old, new)]
    sides = []
    for (root, sources), mine, other in zip((old, new), blobs, blobs[::-1], strict=True):
        changed = [path for path, blob in mine.items() if other.get(path) != blob]
        sides.append(read_pieces(sources, read_files(root, changed, ["clones"])))
    return match(*sides)


def match(old: list[Piece], new: list[Piece]) -> Matching:
    """Match pieces; those of a file that stayed as it was are what they were."""
    result = Matching(old, new)
    files = {piece.source.path: piece.source.blob for piece in old}
    standing = {piece.place: piece for piece in new if files.get(piece.source.path) == piece.source.blob}
    result.before = {standing[piece.place]: piece for piece in old if piece.place in standing}
    for pair in (_by_place, _by_name_and_code, _by_code, _by_name, _by_likeness, _by_place_alone):
        known = set(result.before.values())
        left = [piece for piece in old if piece not in known]
        right = [piece for piece in new if piece not in result.before]
        result.before |= pair(left, right)
    _find_parts(result)
    return result


def likeness(one: Piece, other: Piece) -> float:
    """Give how much of the code of two pieces is the same, from 0 to 1."""
    if one.facts.body == other.facts.body:
        return 1.0
    return max((score_statements(a, b) for a in one.shapes for b in other.shapes), default=0.0)


def _by_place(old: list[Piece], new: list[Piece]) -> dict[Piece, Piece]:
    pairs = _by_place_alone(old, new)
    return {
        piece: was
        for piece, was in pairs.items()
        if likeness(piece, was) >= _LIKE or not (piece.keys() and was.keys())
    }


def _by_place_alone(old: list[Piece], new: list[Piece]) -> dict[Piece, Piece]:
    return _pair(old, new, lambda piece: piece.place)


def _by_name_and_code(old: list[Piece], new: list[Piece]) -> dict[Piece, Piece]:
    return _pair(old, new, lambda piece: (piece.facts.name, piece.facts.body)) if old and new else {}


def _by_code(old: list[Piece], new: list[Piece]) -> dict[Piece, Piece]:
    found = _pair([p for p in old if p.keys()], [p for p in new if p.keys()], lambda piece: piece.facts.body)
    known = set(found.values())
    left = [piece for piece in old if piece.keys() and piece not in known]
    right = [piece for piece in new if piece.keys() and piece not in found]
    return found | _pair(left, right, lambda piece: frozenset(piece.keys().items()))


def _pair(old: list[Piece], new: list[Piece], key: Callable[[Piece], Hashable]) -> dict[Piece, Piece]:
    """Pair what has the same key, one to one in the order of the places."""
    by_key: dict[Hashable, list[Piece]] = defaultdict(list)
    for piece in reversed(old):
        by_key[key(piece)].append(piece)
    return {piece: by_key[key(piece)].pop() for piece in new if by_key.get(key(piece))}


def _by_name(old: list[Piece], new: list[Piece]) -> dict[Piece, Piece]:
    by_name: dict[str, list[Piece]] = defaultdict(list)
    for piece in old:
        by_name[_last_name(piece)].append(piece)
    pairs = ((piece, was) for piece in new for was in by_name[_last_name(piece)])
    return _best_first(pairs, least=_LIKE)


def _last_name(piece: Piece) -> str:
    if piece.facts.kind == MODULE_BODY:
        return f"{Path(piece.source.path).name} as a module"
    return piece.facts.name.rpartition(".")[2].partition("#")[0]


def _by_likeness(old: list[Piece], new: list[Piece]) -> dict[Piece, Piece]:
    return _best_first(_candidates(old, new), least=_SAME)


def _candidates(old: Iterable[Piece], new: Iterable[Piece]) -> set[tuple[Piece, Piece]]:
    """Give the pairs, new and old, that share a statement which is not everywhere."""
    where: dict[int, tuple[set[Piece], set[Piece]]] = defaultdict(lambda: (set(), set()))
    for side, pieces in enumerate((old, new)):
        for piece in pieces:
            for key in {key for shape in piece.shapes for key in shape.keys}:
                where[key][side].add(piece)
    return {
        (piece, was)
        for before, after in where.values()
        if len(before) <= _TOO_COMMON and len(after) <= _TOO_COMMON
        for was in before
        for piece in after
    }


def _best_first(pairs: Iterable[tuple[Piece, Piece]], *, least: float) -> dict[Piece, Piece]:
    """Take pairs, new and old, that are alike enough, the most alike first, each piece once."""
    scored = [(likeness(*pair), pair) for pair in pairs]
    ranked = sorted(
        (each for each in scored if each[0] >= least),
        key=lambda each: (-each[0], each[1][0].place, each[1][1].place),
    )
    found: dict[Piece, Piece] = {}
    taken: set[Piece] = set()
    for _, (piece, was) in ranked:
        if piece not in found and was not in taken:
            found[piece] = was
            taken.add(was)
    return found


def _find_parts(result: Matching) -> None:
    """Find what was taken out of an old piece (`origin`), and old pieces that went into one (`merged`)."""
    after = result.after()
    gone = {old: _rest(old, after.get(old)) for old in result.old if old.shapes}
    fresh = [piece for piece in result.new if piece.shapes and piece not in result.before]
    best: dict[Piece, float] = {}
    for piece, old in _sorted(_candidates(gone, fresh)):
        share = _share(piece, gone[old])
        if share >= _SAME and share > best.get(piece, 0.0):
            best[piece], result.origin[piece] = share, old
    for piece, old in _sorted(
        _candidates(_list_lost(gone, after), [piece for piece in result.new if piece.shapes])
    ):
        if _share(old, _rest(piece, result.before.get(piece))) >= _SAME:
            result.merged.setdefault(piece, []).append(old)


def _list_lost(old: Iterable[Piece], after: Mapping[Piece, Piece]) -> list[Piece]:
    return [piece for piece in old if piece not in after and piece.keys().total() >= _LEAST_MERGED]


def _rest(piece: Piece, other: Piece | None) -> Counter[int]:
    """Give the statements of a piece that the other one has not."""
    return piece.keys() - other.keys() if other else piece.keys()


def _sorted(pairs: Iterable[tuple[Piece, Piece]]) -> list[tuple[Piece, Piece]]:
    return sorted(pairs, key=lambda pair: (pair[0].place, pair[1].place))


def _share(part: Piece, whole: Counter[int]) -> float:
    """Give the share of the weight of `part` that stands in `whole`."""
    shape = part.shapes[0]
    shared = sum(shape.weights[key] * min(count, whole[key]) for key, count in shape.keys.items())
    return shared / (shape.weight or 1)
