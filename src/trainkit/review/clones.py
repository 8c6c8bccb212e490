"""Copies, as classes of all of them: functions that do the same, and runs of statements inside longer ones.

The extractor gives each file's statements in their normal form (`normal`); `find_clones` compares.
"""

from __future__ import annotations

import ast
import re
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from trainkit.review.bodies import Body, agree, read_bodies
from trainkit.review.drift import MOST, describe_drift
from trainkit.review.model import CloneClass, Place
from trainkit.review.normal import Normaliser
from trainkit.review.runs import find_runs
from trainkit.review.similar import Shape, group_bodies, similarity
from trainkit.review.sources import Source

_NEAR = 0.8
_LIKELY = 6  # shapes among which a near one is looked for, the ones with most copies
_MARK = re.compile(
    rb"^[ \t]*# ?(?:trainkit: (?:copy|allow (?:clone|duplication))\b(?: because)?[: ]*(.*)"
    rb"|(Copied from .*))$",
    re.MULTILINE,
)


def extract(tree: ast.Module, source: bytes) -> dict[str, Any]:
    """Give statements, units, imports and marks of intended copies of one file."""
    normal = Normaliser(tree)
    names = {unit[0].rpartition(".")[2] for unit in normal.units} - {"", "main"}
    called = [(at, name) for at, name in normal.calls if name in names]
    spans = [tuple(bisect_left(called, (at,)) for at in unit[4:6]) for unit in normal.units]
    calls = [tuple(sorted({name for _, name in called[start:stop]})) for start, stop in spans]
    marks = {
        source.count(b"\n", 0, found.start()) + 1: (found[1] or found[2] or b"no reason given").decode(
            errors="replace"
        )
        for found in _MARK.finditer(source)
    }
    return {"statements": normal.statements, "units": normal.units, "calls": calls, "marks": marks}


class Copies:
    """The bodies of some files, and the classes of copies among them, each found when it is asked for."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.bodies = [body for source in sources for body in read_bodies(source)]

    @cached_property
    def functions(self) -> list[CloneClass]:
        """The functions that are copies as a whole."""
        return find_functions(self.bodies)

    @cached_property
    def runs(self) -> list[CloneClass]:
        """The runs inside what is no copy as a whole."""
        return find_further_runs(self.bodies, self.functions)

    @cached_property
    def classes(self) -> list[CloneClass]:
        """All of them, largest saving first; copied methods of the same classes are one."""
        methods = [body.place for body in self.bodies if body.kind == "method"]
        found = [*_join_methods(self.functions, methods), *self.runs]
        return sorted(found, key=lambda one: (-one.num_lines_saved, one.fingerprint))

    def count_repeated_lines(self) -> int:
        """Give how many lines would go if each class had one copy; what only resembles another is none."""
        return sum(each.num_lines_saved for each in self.classes if each.grade != "related")


def find_clones(sources: Sequence[Source]) -> list[CloneClass]:
    """Give the classes of copies among the files, largest saving first."""
    return Copies(sources).classes


def find_further_runs(bodies: Sequence[Body], functions: Sequence[CloneClass]) -> list[CloneClass]:
    """Give the runs that do not lie, at each of their places, inside functions that are told as copies."""
    told: dict[str, set[tuple[int, int]]] = defaultdict(set)
    for place in (place for one in functions if one.grade != "related" for place in one.members):
        told[place.path].add((place.line, place.end))

    def is_told(place: Place) -> bool:
        return any(line <= place.line and place.end <= end for line, end in told[place.path])

    others = [body for body in bodies if (body.line, body.end) not in told[body.source.path]]
    return [run for run in find_runs(others) if not all(map(is_told, run.members))]


def find_functions(bodies: Sequence[Body]) -> list[CloneClass]:
    """Give the classes of functions."""
    groups = [shapes for shapes in group_bodies(bodies) if sum(len(shape.bodies) for shape in shapes) > 1]
    kept = [(shapes, _list_members(shapes)) for shapes in groups]
    outer: dict[str, list[Place]] = defaultdict(list)
    for _, members in kept:
        for body in members:
            outer[body.source.path].append(body.place)
    return [
        _make_class(shapes, members)
        for shapes, members in kept
        if len(members) > 1
        and not all(
            any(_is_inside(body.place, other) for other in outer[body.source.path]) for body in members
        )
    ]


def _join_methods(classes: Sequence[CloneClass], methods: Sequence[Place]) -> list[CloneClass]:
    """Make one of the copies of several methods of the same classes: what was copied is the class."""
    known = set(methods)
    num_methods = Counter((place.path, place.name.rpartition(".")[0]) for place in methods)
    joined: dict[frozenset[tuple[str, str]], list[CloneClass]] = defaultdict(list)
    alone = []
    for each in classes:
        owners = frozenset((place.path, place.name.rpartition(".")[0]) for place in each.members)
        is_whole = each.grade != "related" and len(owners) == len(each.members)
        if is_whole and known >= set(each.members):
            joined[owners].append(each)
        else:
            alone.append(each)
    found = alone
    for owners, group in joined.items():
        is_whole = len(group) == max(num_methods[owner] for owner in owners)
        found += group if len(group) == 1 else [_join(group, "class" if is_whole else "methods")]
    return found


def _join(group: Sequence[CloneClass], kind: str) -> CloneClass:
    places: dict[tuple[str, str], list[Place]] = defaultdict(list)
    for place in (place for each in group for place in each.members):
        places[place.path, place.name.rpartition(".")[0]].append(place)
    group = sorted(group, key=lambda each: each.members[0].line)
    drift = tuple(line for each in group for line in each.drift)
    reasons = [each.intended for each in group]
    prints = tuple(sorted(int(each.fingerprint, 16) for each in group))
    return CloneClass(
        kind=kind,
        grade="equal" if all(each.grade == "equal" for each in group) else "near",
        members=tuple(
            Place(path, min(place.line for place in its), max(place.end for place in its), name)
            for (path, name), its in sorted(places.items())
        ),
        num_bodies=max(each.num_bodies for each in group),
        num_lines_saved=sum(each.num_lines_saved for each in group),
        fingerprint=f"{hash(prints) & (1 << 64) - 1:016x}",
        signature=", ".join(dict.fromkeys(f"{each.members[0].name.rpartition('.')[2]}()" for each in group)),
        drift=(*drift[:MOST], f"and {len(drift) - MOST} more") if len(drift) > MOST else drift,
        intended=reasons[0] if all(reasons) else "",
    )


def _list_members(shapes: Sequence[Shape]) -> list[Body]:
    found = sorted(
        (body for shape in shapes for body in shape.bodies), key=lambda one: (one.source.path, one.line)
    )
    inside: dict[str, list[Place]] = defaultdict(list)
    for body in found:
        inside[body.source.path].append(body.place)
    return [
        body for body in found if not any(_is_inside(body.place, other) for other in inside[body.source.path])
    ]


def _make_class(shapes: Sequence[Shape], members: Sequence[Body]) -> CloneClass:
    first = shapes[0]
    body = next((each for each in members if each.kind == "function"), first.bodies[0])
    like = {its: similarity(first, shape) for shape in shapes for its in shape.bodies}
    saved = [_count_lines(body, first, like[body]) for body in members]
    grade = _grade(shapes, members)
    otherwise = {its for shape in first.otherwise for its in shape.bodies}  # written in another way
    alike = {its for its, score in like.items() if score >= _NEAR} - otherwise
    return CloneClass(
        kind="function",
        grade=grade,
        members=tuple(one.place for one in members),
        num_bodies=len({one.strict for one in members}),
        num_lines_saved=sum(saved) - max(saved),
        fingerprint=f"{hash(tuple(sorted(first.keys.elements()))) & (1 << 64) - 1:016x}",
        signature=f"{body.name}({', '.join(body.parameters)})",
        drift=describe_drift([one for one in members if one in alike]) if grade != "related" else (),
        intended=agree([one.intended for one in members]),
    )


def _count_lines(body: Body, first: Shape, like: float) -> int:
    """Give how many lines of a copy the first shape has; a near one may have written them in another way."""
    written, usual = (
        [(one[0], one[3] - one[2] + 1) for one in each.statements if one[3]]
        for each in (body, first.bodies[0])
    )
    same = sum([size for key, size in written if key in first.keys])
    most = min(sum([size for _, size in each]) for each in (written, usual))
    return max(same, round(like * most) if like >= _NEAR else 0) + 1


def _grade(shapes: Sequence[Shape], members: Sequence[Body]) -> str:
    """Near is a class most of whose members have a near copy in it."""
    kept, found = set(members), []
    shapes = [shape for shape in shapes if not kept.isdisjoint(shape.bodies)]
    if len(shapes) == 1:
        return "equal"
    for shape in shapes:
        num = len(kept.intersection(shape.bodies))
        best = (
            1.0
            if num > 1
            else max(similarity(shape, other) for other in shapes[:_LIKELY] if other is not shape)
        )
        found += [best] * num
    return "near" if sum(found) >= _NEAR * len(found) else "related"


def _is_inside(place: Place, other: Place) -> bool:
    return (
        other.line <= place.line
        and place.end <= other.end
        and (place.line, place.end) != (other.line, other.end)
    )
