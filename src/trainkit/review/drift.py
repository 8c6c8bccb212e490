"""In what copies differ, line by line: statements, literals, and which variable stands where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

from trainkit.review.bodies import Body
from trainkit.review.expressions import RESULT, Statement

_MOST = 8


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
    return (*lines[:_MOST], f"and {len(lines) - _MOST} more") if len(lines) > _MOST else tuple(lines)


def compare(usual: Body, odd: Body, *, against: str = "") -> Iterator[str]:
    """Give one line for each place in which `odd` differs from `usual`, which messages call `against`."""
    against = against or f"{usual.name} of {usual.source.path}"
    if sorted(usual.defaults) != sorted(odd.defaults):
        theirs, ours = _only(odd.defaults, usual.defaults), _only(usual.defaults, odd.defaults)
        what = f"default {', '.join(theirs)} where {against} has {', '.join(ours)}"
        yield f"{odd.source.path}:{odd.line}: {what}"
    left, right = usual.statements, odd.statements
    pairs: list[tuple[Statement, Statement]] = []
    matcher = SequenceMatcher(None, [one[0] for one in left], [one[0] for one in right], autojunk=False)
    for what, i, j, k, m in matcher.get_opcodes():
        if what == "equal":
            pairs += zip(left[i:j], right[k:m], strict=True)
        else:
            yield from _tell_block(usual, odd, left[i:j], right[k:m], against)
    for one, other in pairs:
        if one[6] != other[6]:
            yield (
                f"{_at(odd, other)}: {', '.join(_only(other[6], one[6]))} where {_at(usual, one)} has "
                f"{', '.join(_only(one[6], other[6]))}"
            )
    yield from find_other_names(usual, odd, pairs)


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
                kind = f"`{found}`"
            place = f"`{name.lstrip('=*')}` of {usual.source.path}"
            yield f"{_at(odd, other)}: {kind} where `{usually.lstrip('*')}` stands for {place}"


def _tell_block(
    usual: Body, odd: Body, old: Sequence[Statement], new: Sequence[Statement], against: str
) -> Iterator[str]:
    old, new = [one for one in old if one[3]], [one for one in new if one[3]]
    if old and new:
        yield f"{_at(odd, *new)}: {_say(new)} where {_at(usual, *old)} has {_say(old)}"
    elif new:
        yield f"{_at(odd, *new)}: {_say(new)} is not in {against}"
    elif old:
        yield f"{odd.source.path}:{odd.line} {odd.name}: nothing for {_say(old)} of {_at(usual, *old)}"


def _at(body: Body, *statements: Statement) -> str:
    first, last = statements[0][2], max(one[3] or one[2] for one in statements)
    return f"{body.source.path}:{first}" + (f"-{last}" if last > first else "")


def _say(statements: Sequence[Statement]) -> str:
    words = list(dict.fromkeys(word for one in statements for word in one[4] if word))[:4]
    names = list(dict.fromkeys(name.lstrip("=*") for one in statements for name in one[5]))[:3]
    return " ".join(repr(word) if " " in word else word for word in words) or " ".join(names) or "a statement"


def _only(these: Sequence[str], those: Sequence[str]) -> list[str]:
    rest = Counter(these) - Counter(those)
    return list(rest.elements()) or ["another order"]
