"""Two deep passes side by side: the operation where they part, found by values, not by places in the code.

From each number that differs at the step's end one walks back through operations whose outputs the other
side never had. Where such an operation's inputs are all known to the other side, it is the culprit; where
an input comes from nowhere, it was read from outside torch (NumPy, a file) or was left by an earlier step.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from trainkit.trace.store import Event

Edited = dict[str, list[int]]  # file in the tree -> lines
_EPSILON = {"float64": 2.0**-52, "float32": 2.0**-23, "bfloat16": 2.0**-8, "float16": 2.0**-10}
_HALF = {"bfloat16", "float16"}
_OPERATIONS = ("operations",)
# What is looked at of both sides to tell how far they are apart, in this order.
_MEETINGS = (("output",), ("loss",), ("gradients",), _OPERATIONS, ("parameters", "watched"))
# They only move values: how far apart their outputs are says nothing.
_MOVES = {
    "stack",
    "cat",
    "index",
    "index_select",
    "gather",
    "permute",
    "clone",
    "copy_",
    "_to_copy",
    "embedding",
}


@dataclass(frozen=True)
class Line:
    """A line of code of one side; `why` says how it has to do with the divergence."""

    file: str
    line: int
    function: str = ""
    why: str = ""
    phase: str = ""  # what the program was doing when it first ran

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass
class DeepTrace:
    """What the deep pass of one process recorded."""

    operations: list[Event] = field(default_factory=list)
    seen: list[Event] = field(default_factory=list)
    lines: list[list[Any]] = field(default_factory=list)
    step: Event | None = None
    facts: dict[str, str] = field(default_factory=dict)


def read_deep(events: Iterable[Event]) -> DeepTrace:
    """Read one deep pass whole; it holds the operations of one step, and perhaps other steps around it."""
    deep = DeepTrace()
    ended = False
    for event in events:
        kind = event["event"]
        if kind == "op":
            deep.operations.append(event)
        elif kind == "seen":
            deep.seen.append(event)
        elif kind == "lines":
            deep.lines = event["rows"]
            ended = True
        elif kind == "step":
            deep.step = event
            if ended:
                break
    return deep


@dataclass(frozen=True, kw_only=True)
class Culprit:
    """The operation of one side after which numbers differ."""

    number: int
    op: str
    phase: str
    module: str
    node: str
    arguments: str
    frames: tuple[Line, ...]
    sample: dict[str, Any]
    reads_outside: bool  # one of its inputs was made by nothing that was recorded
    state: str  # of the generator that it draws from, "" if it draws nothing

    @property
    def line(self) -> Line | None:
        """Give the innermost line of the project."""
        return self.frames[0] if self.frames else None


@dataclass(frozen=True, kw_only=True)
class Size:
    """How far two tensors are apart, at up to 48 of their values."""

    what: str
    shape: str
    expected: float
    actual: float
    ulps: int | None
    relative: float  # largest difference over largest magnitude

    def is_rounding(self) -> bool:
        """Tell whether another order of the same operations could do that, by the size."""
        dtype = self.shape.partition("[")[0]
        epsilon = _EPSILON.get(dtype)
        return epsilon is not None and self.relative <= (4 if dtype in _HALF else 16) * epsilon


@dataclass(frozen=True, kw_only=True)
class Location:
    """Where two deep passes part; a side that has no culprit lacks the other's operation."""

    expected: Culprit | None
    actual: Culprit | None
    size: Size | None
    parted_before: bool = False  # gradients differed after a backward before the operation ran
    expected_lines: tuple[Line, ...] = ()  # edited ones, nearest first
    actual_lines: tuple[Line, ...] = ()

    @property
    def phase(self) -> str:
        """Give the phase of the operation that comes first: until there both sides do the same."""
        found = [culprit for culprit in (self.expected, self.actual) if culprit]
        return min(found, key=lambda culprit: culprit.number).phase if found else ""

    def draws_elsewhere(self) -> bool:
        """Tell whether random numbers are drawn from another state, or something else is drawn."""
        left, right = self.expected, self.actual
        if left is None or right is None:
            return bool((left or right) and (left or right).state)  # type: ignore[union-attr]
        return bool(left.state and right.state) and (left.state != right.state or left.op != right.op)

    def reads_outside(self) -> bool:
        """Tell whether an operation reads what no recorded one has made."""
        return any(culprit.reads_outside for culprit in (self.expected, self.actual) if culprit)


def locate(
    expected: DeepTrace,
    actual: DeepTrace,
    *,
    edited: tuple[Edited, Edited] = ({}, {}),
    ends: str = "numbers",
) -> Location:
    """Find the operation where two deep passes part.

    `ends` says from what to walk back: `numbers` that training leaves behind, `outputs` of modules too,
    or `reads`, numbers that the program takes out of tensors.
    """
    known = _list_values(expected), _list_values(actual)
    found = _find_culprits(expected, known[1], ends=ends), _find_culprits(actual, known[0], ends=ends)
    computing = 0 if found[0][0] or found[1][0] else 1
    left, right = found[0][computing], found[1][computing]
    return Location(
        expected=left,
        actual=right,
        size=_measure(expected, actual, left, right),
        parted_before=_have_gradients_parted((expected, actual), (left, right)),
        expected_lines=tuple(_list_edited_lines(expected, left, edited[0])),
        actual_lines=tuple(_list_edited_lines(actual, right, edited[1])),
    )


def _have_gradients_parted(sides: tuple[DeepTrace, DeepTrace], culprits: tuple[Culprit | None, ...]) -> bool:
    """Tell whether, before the culprits ran, a backward had left other gradients; zeros are none."""
    found: list[list[tuple[list[str], bool]]] = []
    for deep, culprit in zip(sides, culprits, strict=True):
        backwards: dict[int, list[str]] = {}
        for event in deep.seen:
            if event["what"] == "backward":
                values = backwards.setdefault(event["n"], [])
                values += [event["out"]] if event["sample"].get("max") != 0 else []
        limit = culprit.number if culprit else math.inf
        found.append([(sorted(values), number <= limit) for number, values in backwards.items()])
    return any(left[0] != right[0] and left[1] and right[1] for left, right in zip(*found, strict=False))


def _list_values(deep: DeepTrace) -> set[str]:
    found = {event["out"] for event in deep.seen}
    for operation in deep.operations:
        found.update(operation["in"])
        found.update(_list_results(operation))
    return found


def _list_results(operation: Event) -> list[str]:
    """Give what an operation has made: tensors, and the number that it took out of one."""
    return [*operation["out"], *_list_taken_out(operation)]


def _list_taken_out(operation: Event) -> list[str]:
    """Give the number that an operation took out of a tensor, if it did, marked as no tensor's digest."""
    return ["v:" + operation["value"]] if "value" in operation else []


def _find_culprits(deep: DeepTrace, known: set[str], *, ends: str) -> tuple[Culprit | None, Culprit | None]:
    """Walk back from what differs; the earliest operation whose inputs the other side has is the culprit.

    Gives one that computes, and one that takes a view, for when nothing computes otherwise.
    """
    needed = _list_differing(deep, known, ends=ends)
    made = {value for operation in deep.operations for value in _list_results(operation)}
    found: dict[bool, tuple[Event, bool]] = {}  # whether it takes a view -> the earliest so far
    for operation in reversed(deep.operations):
        if needed.isdisjoint(_list_results(operation)):
            continue
        unknown = _list_unknown_inputs(operation, known, made)
        outside = any(value not in made for value in unknown)
        needed.update(unknown)
        if not unknown or outside:
            found[bool(operation.get("view"))] = operation, outside
    culprits = {takes_view: _make_culprit(*each) for takes_view, each in found.items()}
    return culprits.get(False), culprits.get(True)


def _list_differing(deep: DeepTrace, known: set[str], *, ends: str) -> set[str]:
    """Give the values to walk back from: what the other side never had of what `ends` names, else of more."""
    differing = {event["out"] for event in deep.seen if event["what"] not in {"output", "backward"}} - known
    if ends == "reads":
        taken_out = {value for operation in deep.operations for value in _list_taken_out(operation)}
        differing = taken_out - known
    if ends == "outputs" or not differing:
        differing |= {event["out"] for event in deep.seen} - known
    # Nothing that was looked at: any operation that the other side lacks.
    return differing or {value for operation in deep.operations for value in operation["out"]} - known


def _list_unknown_inputs(operation: Event, known: set[str], made: set[str]) -> list[str]:
    """Give what an operation read and the other side never had; numbers that nothing made are constants."""
    numbers = [f"v:{text}" for text in operation.get("scalars", ())]
    read = [*operation["in"], *(number for number in numbers if number in made)]
    return [value for value in read if value not in known]


def _make_culprit(operation: Event, outside: bool) -> Culprit:
    return Culprit(
        number=operation["n"],
        op=operation["op"],
        phase=operation["phase"],
        module=operation["module"],
        node=operation.get("node", ""),
        arguments=operation["args"],
        frames=tuple(Line(file, line, function) for file, line, function in operation["frames"]),
        sample=operation.get("sample", {}),
        reads_outside=outside,
        state=operation["in"][-1] if operation.get("random") and operation["in"] else "",
    )


def _list_edited_lines(deep: DeepTrace, culprit: Culprit | None, edited: Edited) -> list[Line]:
    """Give the edited lines that can have done it: on the operation's stack, then what ran last before."""
    found: dict[tuple[str, int], Line] = {}
    for frame in culprit.frames if culprit else ():
        if frame.line in edited.get(frame.file, ()):
            found.setdefault(
                (frame.file, frame.line), Line(frame.file, frame.line, frame.function, "runs it")
            )
    limit = culprit.number if culprit else math.inf
    # Rows: file, line, step of the first and of the last run, operations before those runs (-1: earlier).
    rows = [row for row in deep.lines if row[4] <= limit]
    rows.sort(key=lambda row: (row[5] if row[5] <= limit else row[4], row[3], row[1]), reverse=True)
    for file, line, _first, last, number, _last_number, phase in rows:
        why = "ran last before it" if number >= 0 else f"ran in step {last + 1}"
        found.setdefault((file, line), Line(file, line, "", why, phase))
    return list(found.values())[:40]


def _measure(
    expected: DeepTrace, actual: DeepTrace, left: Culprit | None, right: Culprit | None
) -> Size | None:
    """Compare the culprits' own outputs; where they are different operations, what first comes together."""
    for one, other, what in _list_meetings((expected, actual), (left, right)):
        size = compare_samples(one, other, what)
        if size and size.relative > 0:
            return size
    return None


def _list_meetings(
    sides: tuple[DeepTrace, DeepTrace], culprits: tuple[Culprit | None, Culprit | None]
) -> Iterator[tuple[dict[str, Any], dict[str, Any], str]]:
    """Give samples of both sides that can be compared, and of what; those that say most come first."""
    left, right = culprits
    if left and right and left.op == right.op and left.op not in _MOVES:
        yield left.sample, right.sample, f"output of {left.op}"
    for kinds in _MEETINGS:
        pairs = zip(sides, culprits, strict=True)
        for a, b in _pair_up(*(_list_seen(deep, kinds, culprit) for deep, culprit in pairs)):
            if a["out"] != b["out"]:
                yield a["sample"], b["sample"], f"{a['what']} {a['name']}".strip()


def _list_seen(deep: DeepTrace, kinds: tuple[str, ...], culprit: Culprit | None) -> list[Event]:
    if kinds == _OPERATIONS:
        return _list_computed(deep, culprit.number if culprit else 0)
    return [event for event in deep.seen if event["what"] in kinds]


def _list_computed(deep: DeepTrace, start: int) -> list[Event]:
    """Give the operations from `start` on as things seen: new weights differ by little whatever was done."""
    return [
        {
            "what": "output of",
            "name": operation["op"],
            "out": operation["out"][0],
            "sample": operation["sample"],
        }
        for operation in deep.operations
        if operation["n"] >= start
        and operation["out"]
        and operation.get("sample", {}).get("values")
        and operation["op"] not in _MOVES
    ]


def _pair_up(left: list[Event], right: list[Event]) -> list[tuple[Event, Event]]:
    """Pair what was seen: by name and count, and by order where the names are others."""
    numbered: list[dict[tuple[str, int], Event]] = []
    for events in (left, right):
        counts: Counter[str] = Counter()
        found = {}
        for event in events:
            found[event["name"], counts[event["name"]]] = event
            counts[event["name"]] += 1
        numbered.append(found)
    if numbered[0].keys() & numbered[1].keys():
        return [(event, numbered[1][key]) for key, event in numbered[0].items() if key in numbered[1]]
    return list(zip(left, right, strict=True)) if len(left) == len(right) else []


def compare_samples(left: dict[str, Any], right: dict[str, Any], what: str) -> Size | None:
    """Give how far two samples are apart; None when they are not of the same shape, or hold nothing."""
    a, b = left.get("values"), right.get("values")
    if left.get("shape") != right.get("shape") or not a or not b:
        return None
    # Not a number in the same place of both sides is no difference.
    differing = [(x, y) for x, y in zip(a, b, strict=True) if x != y and not (x != x and y != y)]
    finite = [(x, y) for x, y in differing if math.isfinite(x) and math.isfinite(y)]
    largest = (abs(x) for x in [left.get("max") or 0, right.get("max") or 0, *a, *b])
    scale = max(x for x in largest if not math.isnan(x)) or 1.0
    if differing and not finite:
        return Size(what=what, shape=left["shape"], expected=differing[0][0], actual=differing[0][1],
                    ulps=None, relative=math.inf)  # fmt: skip
    if not finite:
        return Size(what=what, shape=left["shape"], expected=a[0], actual=b[0], ulps=None, relative=0.0)
    x, y = max(finite, key=lambda pair: abs(pair[0] - pair[1]))
    dtype = left["shape"].partition("[")[0]
    return Size(what=what, shape=left["shape"], expected=x, actual=y, ulps=_count_ulps(x, y, dtype),
                relative=abs(x - y) / scale if math.isfinite(scale) else math.inf)  # fmt: skip


def _count_ulps(x: float, y: float, dtype: str) -> int | None:
    """Count the representable numbers between two values of a dtype, by the ULP of the larger."""
    epsilon = _EPSILON.get(dtype)
    largest = max(abs(x), abs(y))
    if epsilon is None or not largest:
        return None
    unit = 2.0 ** math.floor(math.log2(largest)) * epsilon
    return round(abs(x - y) / unit)
