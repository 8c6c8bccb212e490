"""Runs of statements that several long functions or module bodies have in common, each line counted once."""

from __future__ import annotations

from bisect import bisect
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from trainkit.review.bodies import Body, agree, count_kinds, plain
from trainkit.review.expressions import Statement
from trainkit.review.model import CloneClass, Place
from trainkit.review.normal import AS_METHOD

LEAST, LEAST_GATE = 8, 15  # statements: worth telling, worth stopping
_MIN_WEIGHT = 8 * 7
_MIN_LINES = 20
_Position = tuple[int, int]  # number of the body, of the statement


@dataclass(frozen=True)
class Run:
    """The same statements, `length` of them, at several positions."""

    positions: tuple[_Position, ...]
    length: int


def find_runs(bodies: Sequence[Body], *, least: int = LEAST) -> list[CloneClass]:
    """Give the shared runs of at least so many statements inside long bodies, as classes."""
    chosen = list_long(bodies)
    taken: list[set[int]] = [set() for _ in chosen]
    found = []
    runs = sorted(
        _list_runs(chosen, least), key=lambda run: (-(len(run.positions) - 1) * run.length, run.positions)
    )
    for run in runs:
        for part in _free_parts(run, taken, least):
            for body, start in part.positions:
                taken[body].update(range(start, start + part.length))
            found.append(_make_class(chosen, part))
    return found


def list_long(bodies: Sequence[Body]) -> list[Body]:
    """Give the outermost bodies that are long enough to hold a run worth a function of its own."""
    ends: dict[str, int] = {}
    chosen = []
    for body in sorted(
        bodies, key=lambda one: (one.source.path, one.kind == "module body", one.line, -one.end)
    ):
        if body.kind == AS_METHOD or body.num_lines < _MIN_LINES:
            continue
        if body.kind != "module body":
            if body.end <= ends.get(body.source.path, 0):
                continue
            ends[body.source.path] = body.end
        chosen.append(body)
    return chosen


def share_windows(bodies: Sequence[Body], least: int) -> dict[int, list[_Position]]:
    """Give the positions of each sequence of `least` statements that says something and stands twice."""
    windows: dict[int, list[_Position]] = defaultdict(list)
    for number, body in enumerate(bodies):
        keys, weights = [one[0] for one in body.statements], [one[1] for one in body.statements]
        parts = _number_parts(body)
        weight = sum(weights[: least - 1])
        for start in range(len(keys) - least + 1):
            weight += weights[start + least - 1]
            if weight >= _MIN_WEIGHT and parts[start] == parts[start + least - 1]:
                windows[hash(tuple(keys[start : start + least]))].append((number, start))
            weight -= weights[start]
    return {key: kept for key, found in windows.items() if len(kept := _apart(found, least)) > 1}


def _number_parts(body: Body) -> list[int]:
    """Give for each statement in which part of a module it lies: definitions, told elsewhere, divide it."""
    if body.kind != "module body":
        return [0] * len(body.statements)
    ends = sorted(unit[2] for unit in body.source.facts["clones"]["units"] if unit[3] != body.kind)
    return [bisect(ends, one[2]) for one in body.statements]


def measure_share(bodies: Sequence[Body], least: int = LEAST) -> tuple[int, int]:
    """Give how many statements of these bodies lie in a run that another file has too, of how many."""
    shared: list[set[int]] = [set() for _ in bodies]
    for positions in share_windows(bodies, least).values():
        if len({bodies[number].source.path for number, _ in positions}) > 1:
            for number, start in positions:
                shared[number].update(range(start, start + least))
    return sum(map(len, shared)), sum(len(body.statements) for body in bodies)


def _apart(positions: list[_Position], least: int) -> list[_Position]:
    """Leave out what overlaps the one before it."""
    kept: list[_Position] = []
    for number, start in positions:
        if not kept or kept[-1][0] != number or start >= kept[-1][1] + least:
            kept.append((number, start))
    return kept


def _list_runs(bodies: Sequence[Body], least: int) -> Iterator[Run]:
    """Join windows that follow each other at the same places."""
    windows = sorted(map(tuple, share_windows(bodies, least).values()))
    ends: dict[tuple[_Position, ...], tuple[tuple[_Position, ...], int]] = {}
    for positions in sorted(windows, key=lambda found: found[0]):
        begun = ends.pop(positions, (positions, least - 1))
        following = tuple((number, start + 1) for number, start in positions)
        ends[following] = (begun[0], begun[1] + 1)
    yield from (Run(positions, length) for positions, length in ends.values())


def _free_parts(run: Run, taken: Sequence[set[int]], least: int) -> Iterator[Run]:
    """Give what of a run no other one has taken, where at least two places have it."""
    free: list[_Position] = [
        (number, start)
        for number, start in run.positions
        if taken[number].isdisjoint(range(start, start + run.length))
    ]
    if len(free) > 1:
        yield Run(tuple(free), run.length)
        return
    offset = 0
    while offset + least <= run.length:
        places = [
            (number, start + offset)
            for number, start in run.positions
            if taken[number].isdisjoint(range(start + offset, start + offset + least))
        ]
        if len(places) < 2:
            offset += 1
            continue
        length = least
        while offset + length < run.length and all(
            start + length not in taken[number] for number, start in places
        ):
            length += 1
        yield Run(tuple(places), length)
        return


def _make_class(bodies: Sequence[Body], run: Run) -> CloneClass:
    parts = [bodies[number].statements[start : start + run.length] for number, start in run.positions]
    owners = [bodies[number] for number, _ in run.positions]
    places = [_make_place(body, part) for body, part in zip(owners, parts, strict=True)]
    lines = [len({line for one in part if one[3] for line in range(one[2], one[3] + 1)}) for part in parts]
    number, start = run.positions[0]
    keys = tuple([one[0] for one in parts[0]])
    return CloneClass(
        kind="run",
        grade="equal",
        members=tuple(places),
        num_bodies=count_kinds(parts),
        num_lines_saved=sum(lines) - max(lines),
        fingerprint=f"{hash(keys) & (1 << 64) - 1:016x}",
        signature=propose_signature(bodies[number], start, run.length),
        intended=agree([why_meant(body, place) for body, place in zip(owners, places, strict=True)]),
    )


def why_meant(body: Body, place: Place) -> str:
    """Give the reason of a comment in or above a run, or of its function; "" without one."""
    marks = body.source.facts["clones"]["marks"]
    near = next((marks[at] for at in range(place.line - 3, place.end + 1) if at in marks), "")
    return near or ("" if body.kind == "module body" else body.intended)


def _make_place(body: Body, part: Sequence[Statement]) -> Place:
    end = max(one[3] or one[2] for one in part)
    return Place(body.source.path, part[0][2], end, body.qualname or "module body")


def propose_signature(body: Body, start: int, length: int) -> str:
    """Give the head of a function for a run: what it reads from before, and what of its own is read later.

    Empty where the run begins inside a block and leaves it: then no function can take its place as it is.
    """
    part = body.statements[start : start + length]
    if any(one[7] < part[0][7] for one in part):
        return ""
    bound: list[str] = []
    needed: list[str] = []
    for one in part:
        for name in one[5]:
            if name.startswith("="):
                continue
            if plain(name) not in bound and plain(name) not in needed:
                needed.append(plain(name))
        bound += [name[1:] for name in one[5] if name.startswith("=")]
    later = {name for one in body.statements[start + length :] for name in one[5]}
    given = [name for name in dict.fromkeys(bound) if name in later]
    parameters = [
        name for name in dict.fromkeys(name.replace(".", "_") for name in needed) if "<" not in name
    ]
    return f"run({', '.join(parameters)})" + (f" -> {', '.join(given)}" if given else "")
