"""In what copies differ, line by line: statements, literals, and which variable stands where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

from trainkit.review.bodies import Body, plain
from trainkit.review.expressions import RESULT, Statement

MOST = 8


def describe_drift(bodies: Sequence[Body]) -> tuple[str, ...]:
    """Say where copies leave what most of them have, the first eight places."""
    kinds: dict[int, list[Body]] = {}
    for body in bodies:
        kinds.setdefault(body.strict, []).append(body)
    if len(kinds) < 2:
        return ()
    most = max(kinds.values(), key=len)
    lines: list[str] = []
    for kind in kinds.values():
        if kind is not most:
            who = f" (so in {len(kind)} copies)" if len(kind) > 1 else ""
            lines += [line + who for line in compare(most[0], kind[0])]
    return (*lines[:MOST], f"and {len(lines) - MOST} more") if len(lines) > MOST else tuple(lines)


def compare(usual: Body, odd: Body, *, against: str = "") -> Iterator[str]:
    """Give one line for each place in which `odd` differs from `usual`, which messages call `against`."""
    against = against or f"{usual.name} of {usual.source.path}"
    if sorted(usual.defaults) != sorted(odd.defaults):
        theirs, ours = _only(odd.defaults, usual.defaults), _only(usual.defaults, odd.defaults)
        what = f"default {', '.join(theirs)} where {against} has {', '.join(ours)}"
        yield f"{odd.source.path}:{odd.line}: {what}"
    left, right = usual.statements, odd.statements
    pairs: list[tuple[Statement, Statement]] = []
    blocks: list[tuple[Sequence[Statement], Sequence[Statement]]] = []
    matcher = SequenceMatcher(None, [one[0] for one in left], [one[0] for one in right], autojunk=False)
    for what, i, j, k, m in matcher.get_opcodes():
        if what == "equal":
            pairs += zip(left[i:j], right[k:m], strict=True)
        else:
            blocks.append((left[i:j], right[k:m]))
    moved = _match_moved(blocks)
    pairs = _pair_by_names(pairs + moved)
    gone = {id(one) for pair in moved for one in pair}
    for old, new in blocks:
        less, more = ([one for one in side if id(one) not in gone] for side in (old, new))
        yield from _tell_block(usual, odd, less, more, against)
    if places := [one for _, one in moved if one[3]]:
        yield f"{_at(odd, *places)}: in another order than in {against}"
    for one, other in pairs:
        if one[6] != other[6]:
            yield (
                f"{_at(odd, other)}: {', '.join(_only(other[6], one[6]))} where {_at(usual, one)} has "
                f"{', '.join(_only(one[6], other[6]))}"
            )
    yield from find_other_names(usual, odd, pairs)


def _match_moved(
    blocks: Sequence[tuple[Sequence[Statement], Sequence[Statement]]],
) -> list[tuple[Statement, Statement]]:
    """Give the statements that stand at another place in the other one."""
    left: dict[int, list[Statement]] = {}
    for old, _ in blocks:
        for one in old:
            left.setdefault(one[0], []).append(one)
    return [(left[one[0]].pop(0), one) for _, new in blocks for one in new if left.get(one[0])]


def _pair_by_names(pairs: Sequence[tuple[Statement, Statement]]) -> list[tuple[Statement, Statement]]:
    """Among statements of one key, put those together whose names are the same: their order says nothing."""
    left: dict[tuple[int, tuple[str, ...]], list[Statement]] = {}
    for one, _ in pairs:
        left.setdefault((one[0], one[5]), []).append(one)
    found, odd = [], []
    for _, other in pairs:
        if same := left.get((other[0], other[5])):
            found.append((same.pop(0), other))
        else:
            odd.append(other)
    rest: dict[int, list[Statement]] = {}
    for (key, _), some in left.items():
        rest.setdefault(key, []).extend(some)
    for some in rest.values():
        some.sort(key=lambda one: (one[2], one[7]))
    return found + [(rest[other[0]].pop(0), other) for other in odd]


def find_other_names(usual: Body, odd: Body, pairs: Sequence[tuple[Statement, Statement]]) -> Iterator[str]:
    """Give the lines on which a local is not the one that stands in its place everywhere else."""
    stands: dict[str, Counter[str]] = {}
    for one, other in pairs:
        for name, its in zip(one[5], other[5], strict=False):
            stands.setdefault(name.lstrip("="), Counter())[its.lstrip("=")] += 1
    for one, other in pairs:
        for name, its in zip(one[5], other[5], strict=False):
            usually, count = stands[name.lstrip("=")].most_common(1)[0]
            found = its.lstrip("=")
            if found == usually or RESULT in (found, usually, name) or count < 2:
                continue
            if found.startswith("*") and not usually.startswith("*"):
                kind = f"the module's `{found[1:]}`"
            elif usually.startswith("*") and not found.startswith("*"):
                continue
            else:
                kind = f"`{_show(found)}`"
            place = f"`{_show(name)}` of {usual.source.path}"
            yield f"{_at(odd, other)}: {kind} where `{_show(usually)}` stands for {place}"


def _tell_block(
    usual: Body, odd: Body, old: Sequence[Statement], new: Sequence[Statement], against: str
) -> Iterator[str]:
    old, new = [one for one in old if one[3]], [one for one in new if one[3]]
    if old and new:
        place = f"the baseline's {_at(usual, *old)}" if against == "the baseline" else _at(usual, *old)
        said, was = _say(new, old), _say(old, new)
        yield f"{_at(odd, *new)}: {said} " + (
            f"where {place} has {was}" if said != was else f"in another form than {place}"
        )
    elif new:
        yield f"{_at(odd, *new)}: {_say(new)} is not in {against}"
    elif old:
        yield f"{odd.source.path}:{odd.line} {odd.name}: nothing for {_say(old)} of {_at(usual, *old)}"


def _at(body: Body, *statements: Statement) -> str:
    first, last = statements[0][2], max(one[3] or one[2] for one in statements)
    return f"{body.source.path}:{first}" + (f"-{last}" if last > first else "")


def _say(statements: Sequence[Statement], others: Sequence[Statement] = ()) -> str:
    """Give some of the words and names; those that the other statements do not have, where there are any."""
    (words, names), (known, known_names) = _list_said(statements), _list_said(others)
    own = [word for word in words if word not in known], [name for name in names if name not in known_names]
    words, names = own if any(own) else (words, names)
    said = [repr(word) if " " in word else word for word in words[:4]]
    return " ".join(said) or " ".join(names[:3]) or "a statement"


def _list_said(statements: Sequence[Statement]) -> tuple[list[str], list[str]]:
    words = dict.fromkeys(word for one in statements for word in one[4] if word)
    return list(words), list(dict.fromkeys(_show(name) for one in statements for name in one[5]))


def _show(name: str) -> str:
    """Give a local name as it stands in the source."""
    return plain(name).strip("<>")


def _only(these: Sequence[str], those: Sequence[str]) -> list[str]:
    rest = Counter(these) - Counter(those)
    return list(rest.elements()) or ["another order"]
