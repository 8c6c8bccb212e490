"""Two traces side by side: the first place where their numbers differ, renames not counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from trainkit.trace.store import Tensor, Trace

# What a step holds, in causal order, with the phase that a difference belongs to.
_PHASES = {
    "saved": "save",
    "evaluated": "eval",
    "loaded": "data",
    "batch": "data",
    "buffers": "forward",
    "loss": "loss",
    "gradients": "backward",
    "hyper": "schedule",
    "parameters": "optimizer",
    "values": "optimizer",
    "state": "optimizer",
    "rng": "rng",
}
_MEANING = {
    "saved": "what torch.save was given",
    "evaluated": "what an evaluation computed",
    "loaded": "the batch from the data loader",
    "batch": "the batch given to the model",
    "parameters": "new value",
    "values": "final value",
    "state": "optimizer state",
    "hyper": "hyper-parameters",
    "rng": "state of the random generator",
}
# How data is handed over is no result: alone, with all numbers equal, it is a note.
_SOFT = {"loaded", "batch"}
_ABSENT = "not in the optimizer"


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """The first difference: `step` counts from 1; 0 is the initialisation, -1 what is left at the end."""

    step: int
    phase: str
    what: str
    expected: str
    actual: str
    also: tuple[str, ...] = ()

    def describe(self) -> str:
        """Give the place in words, such as `step 3, backward: gradients of head.weight`."""
        place = {0: "initialisation", -1: "after the last step"}.get(self.step, f"step {self.step}")
        return f"{place}, {self.phase}: {self.what}"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What two traces have in common: no `first` means that training computed the same bits."""

    first: Divergence | None
    num_steps: int
    notes: tuple[str, ...] = ()


class _Difference(NamedTuple):
    name: str
    what: str
    expected: str
    actual: str


@dataclass(frozen=True)
class _Sides:
    """Two traces and which tensors of theirs are the same: expected index -> actual index."""

    expected: Trace
    actual: Trace
    parameters: dict[int, int]
    buffers: dict[int, int]


def compare(expected: Trace, actual: Trace) -> Comparison:
    """Find the first divergence of two traces; parameters are matched by name and value, then order."""
    sides = _Sides(
        expected,
        actual,
        _match(expected.parameters, actual.parameters),
        _match(expected.buffers, actual.buffers),
    )
    notes = _list_renames(sides)
    first = next(_differ_at_start(sides), None)
    for left, right in zip(expected.steps, actual.steps, strict=False):
        if first:
            break
        differences = list(_differ_in_step(sides, left, right))
        first = _find_hard(left["step"], differences)
        if differences and not first and not any("handed over" in note for note in notes):
            notes.append(f"from step {left['step']} data is handed over otherwise: {differences[0].what}")
    first = first or _differ_in_number(sides) or _find_hard(-1, list(_differ_at_end(sides)))
    return Comparison(first=first, num_steps=len(expected.steps), notes=tuple(notes))


def find_not_finite(trace: Trace) -> Divergence | None:
    """Give the first loss that is NaN or infinite: two of them are equal without meaning anything."""
    for step in trace.steps:
        for loss in step["loss"]:
            if loss in {"nan", "inf", "-inf"}:
                return Divergence(
                    step=step["step"], phase="loss", what="loss", expected="finite", actual=loss
                )
    return None


def _find_hard(step: int, differences: Sequence[_Difference]) -> Divergence | None:
    """Make a divergence of the differences of one step, if one of them is a result."""
    if all(difference.name in _SOFT for difference in differences):
        return None
    first, *others = differences
    return Divergence(
        step=step,
        phase=_PHASES[first.name],
        what=first.what,
        expected=first.expected,
        actual=first.actual,
        also=tuple(f"{other.what}: {other.expected} -> {other.actual}" for other in others),
    )


def _match(expected: Sequence[Tensor], actual: Sequence[Tensor]) -> dict[int, int]:
    """Map indices of tensors: name and value, then a value that is unique, then name, value, order."""
    matched: dict[int, int] = {}
    keys: list[tuple[Callable[[Tensor], Hashable], bool]] = [
        (lambda t: t, False),
        (lambda t: (t.shape, t.digest), True),
        (lambda t: (t.name, t.shape), False),
        (lambda t: (t.shape, t.digest), False),
        (lambda t: t.shape, False),
    ]
    for key, unique in keys:
        taken = set(matched.values())
        left = _index([index for index in range(len(expected)) if index not in matched], expected, key)
        right = _index([index for index in range(len(actual)) if index not in taken], actual, key)
        for place in left.keys() & right.keys():
            if not unique or len(left[place]) == len(right[place]) == 1:
                matched.update(zip(left[place], right[place], strict=False))
    return dict(sorted(matched.items()))


def _index(
    indices: list[int], tensors: Sequence[Tensor], key: Callable[[Tensor], Hashable]
) -> dict[Hashable, list[int]]:
    found: dict[Hashable, list[int]] = {}
    for index in indices:
        found.setdefault(key(tensors[index]), []).append(index)
    return found


def _list_renames(sides: _Sides) -> list[str]:
    pairs = [
        (tensors[0][left].name, tensors[1][right].name)
        for tensors, matched in (
            ((sides.expected.parameters, sides.actual.parameters), sides.parameters),
            ((sides.expected.buffers, sides.actual.buffers), sides.buffers),
        )
        for left, right in matched.items()
    ]
    return [f"{before} is now {now}" for before, now in pairs if before != now]


def _differ_at_start(sides: _Sides) -> Iterator[Divergence]:
    expected, actual = sides.expected.parameters, sides.actual.parameters
    if not len(expected) == len(actual) == len(sides.parameters):
        shapes = [Counter(tensor.shape for tensor in tensors) for tensors in (expected, actual)]
        missing, extra = shapes[0] - shapes[1], shapes[1] - shapes[0]
        yield Divergence(
            step=0,
            phase="init",
            what="the model's parameters",
            expected=f"{len(expected)} parameters, of which missing now: {_count(missing)}",
            actual=f"{len(actual)} parameters, of which new: {_count(extra)}",
        )
    pairs = [(expected[left], actual[right]) for left, right in sides.parameters.items()]
    changed = [(left, right) for left, right in pairs if left.digest != right.digest]
    if changed:
        left, right = changed[0]
        yield Divergence(
            step=0,
            phase="init",
            what=f"initial value of {left.name} {left.shape} ({len(changed)} of {len(pairs)} differ)",
            expected=left.digest,
            actual=right.digest,
        )
    rng = sides.expected.initial_rng, sides.actual.initial_rng
    if _differs("rng", *rng):
        what = "state of the random generator after initialisation"
        yield Divergence(step=0, phase="init", what=what, expected=_show(rng[0]), actual=_show(rng[1]))


def _differ_in_step(sides: _Sides, left: dict[str, Any], right: dict[str, Any]) -> Iterator[_Difference]:
    columns = _by_parameter(sides.expected, left), _by_parameter(sides.actual, right)
    for name in _PHASES:
        if name in columns[0]:
            values = columns[0][name], columns[1][name]
            yield from _differ_by_tensor(name, sides.expected.parameters, *values, sides.parameters)
        elif name in left:
            yield from _differ_as_whole(name, sides, left, right)


def _differ_at_end(sides: _Sides) -> Iterator[_Difference]:
    left, right = sides.expected.end, sides.actual.end
    for name in ("saved", "evaluated", "buffers", "rng"):
        yield from _differ_as_whole(name, sides, left, right)
    values = dict(enumerate(left["values"])), dict(enumerate(right["values"]))
    yield from _differ_by_tensor("values", sides.expected.parameters, *values, sides.parameters)
    merged = [_merge_optimizers(sides.expected), _merge_optimizers(sides.actual)]
    for name in ("hyper", "state"):
        values = merged[0][name], merged[1][name]
        yield from _differ_by_tensor(name, sides.expected.parameters, *values, sides.parameters)


def _differ_as_whole(
    name: str, sides: _Sides, left: dict[str, Any], right: dict[str, Any]
) -> Iterator[_Difference]:
    if name == "buffers":
        values = dict(enumerate(left[name])), dict(enumerate(right[name]))
        yield from _differ_by_tensor(name, sides.expected.buffers, *values, sides.buffers)
    elif _differs(name, left[name], right[name]):
        place, before, now = _first_item(left[name], right[name])
        yield _Difference(name, _MEANING.get(name, name) + place, before, now)


def _differ_in_number(sides: _Sides) -> Divergence | None:
    numbers = len(sides.expected.steps), len(sides.actual.steps)
    if numbers[0] == numbers[1]:
        return None
    return Divergence(
        step=min(numbers) + 1,
        phase="data",
        what="number of optimizer steps",
        expected=str(numbers[0]),
        actual=str(numbers[1]),
    )


def _by_parameter(trace: Trace, event: dict[str, Any]) -> dict[str, dict[int, str]]:
    """Give the columns of one optimizer's event by index of parameter."""
    indices = trace.optimizers[event["optimizer"]]
    settings, which = event["hyper"]
    names = ("gradients", "parameters", "state")
    columns: dict[str, list[str]] = {name: event[name] for name in names if name in event}
    columns["hyper"] = [settings[index] for index in which]
    return {name: dict(zip(indices, values, strict=True)) for name, values in columns.items()}


def _merge_optimizers(trace: Trace) -> dict[str, dict[int, str]]:
    merged: dict[str, dict[int, str]] = {"hyper": {}, "state": {}}
    for event in trace.end["optimizers"]:
        for name, values in _by_parameter(trace, event).items():
            merged.get(name, {}).update(values)
    return merged


def _differ_by_tensor(
    name: str,
    tensors: Sequence[Tensor],
    left_of: dict[int, str],
    right_of: dict[int, str],
    matched: dict[int, int],
) -> Iterator[_Difference]:
    changed = [
        (tensors[left], left_of.get(left, _ABSENT), right_of.get(right, _ABSENT))
        for left, right in matched.items()
        if left_of.get(left, _ABSENT) != right_of.get(right, _ABSENT)
    ]
    if changed:
        tensor, before, now = changed[0]
        label = _MEANING.get(name, name)
        if name == "hyper":
            before, now = _only_changed(before, now)
        what = f"{label} of {tensor.name} {tensor.shape} ({len(changed)} of {len(matched)} differ)"
        yield _Difference(name, what, before or "zero", now or "zero")


def _only_changed(before: str, now: str) -> tuple[str, str]:
    """Keep the settings that differ of two lists such as `lr=0.1; weight_decay=0.0`."""
    left, right = before.split("; "), now.split("; ")
    if len(left) != len(right):
        return before, now
    changed = [(a, b) for a, b in zip(left, right, strict=True) if a != b]
    return "; ".join(a for a, _ in changed), "; ".join(b for _, b in changed)


def _differs(name: str, left: Any, right: Any) -> bool:
    if name == "rng":  # a generator that one side never loaded (a lazy import) is no difference
        return any(left[key] != right[key] for key in left.keys() & right.keys())
    return bool(left != right)


def _first_item(left: Any, right: Any) -> tuple[str, str, str]:
    """Name the first micro-step that differs, when both sides hold one value for each."""
    if isinstance(left, list) and len(left) == len(right) > 1 and isinstance(left[0], str):
        index = next(i for i, (a, b) in enumerate(zip(left, right, strict=True)) if a != b)
        return f" of micro_step {index + 1}", _show([left[index]]), _show([right[index]])
    if isinstance(left, list) and len(left) != len(right) and all(isinstance(x, str) for x in left + right):
        return ", how many", str(len(left)), str(len(right))
    return "", _show(left), _show(right)


def _show(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={item}" for key, item in value.items())
    if isinstance(value, list):
        return " ".join(_show_loss(item) for item in value) or "none"
    return str(value)


def _show_loss(item: Any) -> str:
    if isinstance(item, str) and "0x" in item:
        return f"{float.fromhex(item)!r} ({item})"
    return str(item)


def _count(shapes: Counter[str]) -> str:
    return ", ".join(f"{number}x {shape}" for shape, number in shapes.items()) or "none"
