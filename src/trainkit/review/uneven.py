"""What a change does to copies: some of them changed and others not, and new ones."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher

from trainkit.review.bodies import Body
from trainkit.review.clones import Copies
from trainkit.review.drift import compare
from trainkit.review.expressions import Statement
from trainkit.review.measure import MODULE_BODY
from trainkit.review.model import CloneClass, Place
from trainkit.review.normal import AS_METHOD
from trainkit.review.runs import LEAST, LEAST_GATE, find_runs, list_long, share_windows, why_meant
from trainkit.review.similar import contains, is_same_inlined

_MIN_STATEMENTS, _MIN_LINES = 6, 10  # smaller copies are told of, and stop nobody
_MOVED = 0.6
_Opcode = tuple[str, int, int, int, int]
_Traced = tuple[Counter[int], Counter[int]]  # the statements of a run, and those in its place before


@dataclass(frozen=True)
class Uneven:
    """Copies of which some were changed and others not: places in the new revision, and what was changed."""

    clones: CloneClass
    changed: tuple[Place, ...]
    untouched: tuple[Place, ...]
    what: tuple[str, ...]


@dataclass(frozen=True)
class Gained:
    """Copies that are new: of a class, or of a run of statements."""

    clones: CloneClass
    new: tuple[Place, ...]


def uneven(before: Copies, after: Copies) -> list[Uneven]:
    """Give the classes of copies (equal or near) and the runs of which a change reached some members only.

    A body is unchanged when only names, hints, comments, docstrings or the way of writing differ, or when
    what is gone from it stands in a helper that it calls. A run is left where most of it is gone.
    """
    old = before.bodies
    now = _match(old, after.bodies)
    in_old = {body.place: body for body in old}
    pairs = [
        (clones, [(body, now[body]) for place in clones.members if (body := in_old[place]) in now])
        for clones in before.functions
        if clones.grade != "related"
    ]
    pairs += _pair_runs(before.runs, old, now)
    helpers = _by_name(after.bodies)
    return [found for clones, both in pairs if (found := _judge(clones, both, helpers))]


def _judge(
    clones: CloneClass, pairs: Sequence[tuple[Body, Body]], helpers: Mapping[str, Sequence[Body]]
) -> Uneven | None:
    changed = [] if clones.intended else [pair for pair in pairs if _is_changed(*pair, helpers)]
    left = [pair[1] for pair in pairs if pair not in changed]
    lacking = [body for body in left if any(_lacks(body, *pair) for pair in changed)]
    missed = [pair for pair in changed if any(_lacks(body, *pair) for body in lacking)]
    if not missed:
        return None
    return Uneven(
        clones,
        tuple(its.place for _, its in missed),
        tuple(body.place for body in lacking),
        tuple(list(compare(*missed[0], against="the baseline"))[:4]),
    )


def _lacks(body: Body, old: Body, new: Body) -> bool:
    """Tell whether a change of a copy is one that another copy could need: it has what was replaced.

    What it had already, or where it was written in a way of its own, it does not lack.
    """
    before, after, its = _list_statements(old), _list_statements(new), Counter(_list_statements(body))
    gone, come = Counter(before) - Counter(after), Counter(after) - Counter(before)
    if not gone and not come:  # another variable
        return True
    for what, i, j, k, m in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        less, more = Counter(before[i:j]) & gone, Counter(after[k:m]) & come
        if what != "equal" and (less & its if less else more - its):
            return True
    return False


def _list_statements(body: Body) -> list[tuple[object, ...]]:
    return [*(("default", one) for one in body.defaults), *((one[0], *one[6]) for one in body.statements)]


def _pair_runs(
    runs: Sequence[CloneClass], old: Sequence[Body], now: Mapping[Body, Body]
) -> Iterator[tuple[CloneClass, list[tuple[Body, Body]]]]:
    """Give the members of each run as bodies: what each was, and what stands in its place now."""
    placed = _by_place(old)
    aligned: dict[Body, Sequence[_Opcode]] = {}
    for run in runs:
        pairs = []
        for place in run.members:
            body = _find_owner(place, placed)
            if body not in now:
                continue
            its = now[body]
            if body not in aligned:
                keys, new_keys = ([one[0] for one in each.statements] for each in (body, its))
                aligned[body] = SequenceMatcher(None, keys, new_keys, autojunk=False).get_opcodes()
            inside = [n for n, one in enumerate(body.statements) if place.line <= one[2] <= place.end]
            num_same, start, stop = _follow(aligned[body], inside[0], inside[-1] + 1)
            if num_same >= _MOVED * len(inside):
                was = body.statements[inside[0] : inside[-1] + 1]
                pairs.append((_cut(body, was), _cut(its, its.statements[start:stop])))
        yield run, pairs


def _find_owner(place: Place, bodies: Mapping[tuple[str, str], Sequence[Body]]) -> Body:
    """Give the body that a run is of: of several of its name the one that it lies in."""
    return next(body for body in bodies[place.path, place.name] if _holds(body.place, place))


def _by_place(bodies: Sequence[Body]) -> dict[tuple[str, str], list[Body]]:
    placed: dict[tuple[str, str], list[Body]] = defaultdict(list)
    for body in bodies:
        if body.kind != AS_METHOD:
            placed[body.source.path, body.qualname or MODULE_BODY].append(body)
    return placed


def _follow(opcodes: Sequence[_Opcode], first: int, last: int) -> tuple[int, int, int]:
    """Give how many of the old statements first:last are left, and which new ones stand in their place."""
    num_same, parts = 0, []
    for what, i, j, k, m in opcodes:
        low, high = max(i, first), min(j, last)
        if what == "equal" and low < high:
            num_same += high - low
            parts.append((k + low - i, k + high - i))
        elif low < high:
            parts.append((k, m))
    return num_same, parts[0][0], parts[-1][1]


def _cut(body: Body, part: Sequence[Statement]) -> Body:
    end = max(one[3] or one[2] for one in part)
    return replace(body, statements=part, line=part[0][2], end=end, defaults=())


def gained(before: Copies, after: Copies) -> list[Gained]:
    """Give the classes (equal or near, 6 statements or 10 lines) with new members, and runs of 15 statements.

    What was moved, renamed or cut out of a longer body is not new.
    """
    old, new = before.bodies, after.bodies
    now = _match(old, new)
    known = {body.place for body in now.values()}  # of one or the other reading
    gone = _list_gone(old, now)
    in_new = {body.place: body for body in new}
    found = []
    for clones in after.functions:
        members = [in_new[place] for place in clones.members if place not in known]
        fresh = [body for body in members if _is_from_nowhere(body, gone)]
        if fresh and clones.grade != "related" and not clones.intended:
            found.append(Gained(clones, tuple(body.place for body in fresh)))
    told = [place for one in found for place in one.new]
    return [*found, *_list_gained_runs(old, new, now, told)]


def _list_gone(old: Sequence[Body], now: Mapping[Body, Body]) -> list[Body]:
    """Give what is gone or has lost statements: what is new may come from there."""
    return [body for body in old if body not in now or len(now[body].statements) < len(body.statements)]


def _is_from_nowhere(body: Body, gone: Sequence[Body]) -> bool:
    if body.intended or not _is_large(body):
        return False
    return not any(contains(base, body) >= _MOVED for base in gone)


def _is_large(body: Body) -> bool:
    return sum(bool(one[3]) for one in body.statements) >= _MIN_STATEMENTS or body.num_lines >= _MIN_LINES


def _by_name(bodies: Sequence[Body]) -> Mapping[str, list[Body]]:
    named: dict[str, list[Body]] = defaultdict(list)
    for body in bodies:
        named[body.name].append(body)
    return named


def _match(old: Sequence[Body], new: Sequence[Body]) -> dict[Body, Body]:
    """Give for each old body what it is now: by place and name, else by what it does, else by name."""
    free = {(body.source.path, body.qualname, body.kind): body for body in reversed(new)}
    found: dict[Body, Body] = {}
    for body in old:
        if its := free.pop((body.source.path, body.qualname, body.kind), None):
            found[body] = its
    for mark in (_read_strict, _read_name):
        left: dict[object, list[Body]] = defaultdict(list)
        for body in free.values():
            if body.kind != "module body" and body.statements:
                left[mark(body)].append(body)
        for body in old:
            if body not in found and left.get(mark(body)):
                its = found[body] = left[mark(body)].pop(0)
                del free[its.source.path, its.qualname, its.kind]
    return found


def _read_strict(body: Body) -> object:
    return body.strict


def _read_name(body: Body) -> object:
    return body.qualname


def _is_changed(old: Body, new: Body, helpers: Mapping[str, Sequence[Body]]) -> bool:
    if old.strict == new.strict:
        return False
    called = [found[0] for word in _new_words(old, new) if len(found := helpers.get(word, ())) == 1]
    return not (called and is_same_inlined(old, new, called))


def _new_words(old: Body, new: Body) -> set[str]:
    before = {word for one in old.statements for word in one[4]}
    return {word for one in new.statements for word in one[4]} - before


def _list_gained_runs(
    old: Sequence[Body], new: Sequence[Body], now: Mapping[Body, Body], told: Sequence[Place]
) -> Iterator[Gained]:
    """Give runs in which a stretch begins that stands more often than before, in places not yet told.

    Copies that were edited alike are none: 15 statements must have come to a new one, and what stood in its
    place and another's must not have been mostly the same.
    """
    long = list_long(old), list_long(new)
    begins = _find_grown(*long) & _find_fresh(*long)
    placed = _by_place(new)
    was = {its: body for body, its in now.items()}

    def is_fresh(place: Place) -> bool:
        begun = any(path == place.path and place.line <= line <= place.end for path, line in begins)
        meant = why_meant(_find_owner(place, placed), place)
        return begun and not meant and not any(_holds(one, place) for one in told)

    for clones in find_runs(new, least=LEAST_GATE):
        fresh = [] if clones.intended else list(filter(is_fresh, clones.members))
        if fresh:
            before = {place: _trace_back(place, _find_owner(place, placed), was) for place in clones.members}
            if places := tuple(place for place in fresh if _is_new(place, before)):
                yield Gained(clones, places)


def _is_new(place: Place, before: Mapping[Place, _Traced]) -> bool:
    others = (traced for other, traced in before.items() if other != place)
    return not _was_there(before[place]) and not any(_were_copies(before[place], each) for each in others)


def _trace_back(place: Place, body: Body, was: Mapping[Body, Body]) -> _Traced:
    """Give the statements of a run, and those that stood in its place before."""
    inside = [n for n, one in enumerate(body.statements) if place.line <= one[2] <= place.end]
    keys = [one[0] for one in body.statements]
    its = Counter(keys[inside[0] : inside[-1] + 1])
    if body not in was:
        return its, Counter()
    old_keys = [one[0] for one in was[body].statements]
    opcodes = SequenceMatcher(None, keys, old_keys, autojunk=False).get_opcodes()
    _, start, stop = _follow(opcodes, inside[0], inside[-1] + 1)
    return its, Counter(old_keys[start:stop])


def _was_there(traced: _Traced) -> bool:
    """Tell whether all but fewer statements than a run of the gate stood in its place before."""
    return (traced[0] & traced[1]).total() > traced[0].total() - LEAST_GATE


def _were_copies(one: _Traced, other: _Traced) -> bool:
    """Tell whether what stood in two places of a run was mostly the same before."""
    most = max(one[1].total(), other[1].total())
    return (one[1] & other[1]).total() >= max(LEAST, _MOVED * most)


def _holds(one: Place, other: Place) -> bool:
    return one.path == other.path and one.line <= other.line and other.end <= one.end


def _find_grown(old: Sequence[Body], new: Sequence[Body]) -> set[tuple[str, int]]:
    """Give file and line where a stretch begins of which there are more copies than there were."""
    shared = Counter({key: len(found) for key, found in share_windows(old, LEAST_GATE).items()})
    single = Counter(key for body in old for key in _windows(body))
    return {
        (new[number].source.path, new[number].statements[start][2])
        for key, found in share_windows(new, LEAST_GATE).items()
        if len(found) > max(shared[key], single[key], 1)
        for number, start in found
    }


def _find_fresh(old: Sequence[Body], new: Sequence[Body]) -> set[tuple[str, int]]:
    """Give file and line where a stretch begins that this file did not have."""
    known = {(body.source.path, key) for body in old for key in _windows(body)}
    return {
        (body.source.path, body.statements[start][2])
        for body in new
        for start, key in enumerate(_windows(body))
        if (body.source.path, key) not in known
    }


def _windows(body: Body) -> list[int]:
    keys = [one[0] for one in body.statements]
    return [hash(tuple(keys[start : start + LEAST_GATE])) for start in range(len(keys) - LEAST_GATE + 1)]
