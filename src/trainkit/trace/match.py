"""Which tensors of two programs are the same: by name and value, then by each alone, then by order."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Tensor:
    """One parameter or buffer as it was first seen: `shape` is `dtype[sizes]`.

    `copied` is a buffer of a copy of the model, which training does not run.
    """

    name: str
    shape: str
    digest: str
    copied: bool = False


@dataclass
class Matches:
    """Indices of the expected side -> of the actual side; `guessed` ones were told apart by order alone."""

    pairs: dict[int, int]
    guessed: set[int]


def match_tensors(
    expected: Sequence[Tensor], actual: Sequence[Tensor], known: Matches, *, guess: bool = True
) -> None:
    """Add to `known`: name and value, then a value that is unique, then name, value, order; shapes agree.

    A model's are looked for among a model's and a copy's among a copy's first: the two begin alike, and a
    refactor may name either as the other was. Without `guess` only what a name or a value tells.
    """
    _match(expected, actual, known, guess=guess, role=lambda tensor: tensor.copied)
    _match(expected, actual, known, guess=guess, role=lambda _: False)
    ordered = dict(sorted(known.pairs.items()))  # sets below: else the first one named would be any
    known.pairs.clear()
    known.pairs.update(ordered)


def _match(
    expected: Sequence[Tensor],
    actual: Sequence[Tensor],
    known: Matches,
    *,
    guess: bool,
    role: Callable[[Tensor], bool],
) -> None:
    matched = known.pairs
    keys: list[tuple[Callable[[Tensor], Hashable], bool]] = [
        (lambda t: (t.name, t.shape, t.digest, role(t)), False),
        (lambda t: (t.shape, t.digest, role(t)), True),
        (lambda t: (t.name, t.shape, role(t)), False),
        (lambda t: (t.shape, t.digest, role(t)), False),
        (lambda t: (t.shape, role(t)), False),
    ]
    for number, (key, unique) in enumerate(keys if guess else keys[:3]):
        taken = set(matched.values())
        left = _index([index for index in range(len(expected)) if index not in matched], expected, key)
        right = _index([index for index in range(len(actual)) if index not in taken], actual, key)
        for place in left.keys() & right.keys():
            pairs = list(zip(left[place], right[place], strict=False))
            if not unique or len(left[place]) == len(right[place]) == 1:
                matched.update(pairs)
                if number >= 3 and len(pairs) > 1:
                    known.guessed.update(index for index, _ in pairs)


def _index(
    indices: list[int], tensors: Sequence[Tensor], key: Callable[[Tensor], Hashable]
) -> dict[Hashable, list[int]]:
    found: dict[Hashable, list[int]] = {}
    for index in indices:
        found.setdefault(key(tensors[index]), []).append(index)
    return found
