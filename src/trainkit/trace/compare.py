"""Two traces side by side: the first place where their numbers differ, renames not counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from trainkit.trace.store import Tensor, Trace

# What a step holds, in causal order, with the phase that a difference belongs to.
_PHASES = {
    "evaluated": "eval",
    "loaded": "data",
    "batch": "data",
    "buffers": "forward",
    "loss": "loss",
    "gradients": "backward",
    "hyper": "schedule",
    "parameters": "optimizer",
    "state": "optimizer",
    "rng": "rng",
}
_MEANING = {
    "evaluated": "what an evaluation before this step computed",
    "loaded": "the batch from the data loader",
    "batch": "the batch given to the model",
    "state": "optimizer state",
    "hyper": "hyper-parameters",
    "rng": "state of the random generator",
}


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """The first difference: `step` counts from 1 (0 is the initialisation)."""

    step: int
    phase: str
    what: str
    expected: str
    actual: str
    also: tuple[str, ...] = ()

    def describe(self) -> str:
        """Give the place in words, such as `step 3, backward: gradients of head.weight`."""
        place = "initialisation" if self.step == 0 else f"step {self.step}"
        return f"{place}, {self.phase}: {self.what}"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What two traces have in common: no `first` means that every compared bit is the same."""

    first: Divergence | None
    num_steps: int
    notes: tuple[str, ...] = ()


def compare(expected: Trace, actual: Trace) -> Comparison:
    """Find the first divergence of two traces; parameters are matched by name, then value, then order."""
    matched = _match(expected.parameters, actual.parameters)
    renamed = [
        f"{expected.parameters[left].name} is now {actual.parameters[right].name}"
        for left, right in matched.items()
        if expected.parameters[left].name != actual.parameters[right].name
    ]
    first = next(_differ(expected, actual, matched), None)
    return Comparison(first=first, num_steps=len(expected.steps), notes=tuple(renamed))


def find_not_finite(trace: Trace) -> Divergence | None:
    """Give the first loss that is NaN or infinite: two of them are equal without meaning anything."""
    for step in trace.steps:
        for loss in step["loss"]:
            if loss in {"nan", "inf", "-inf"}:
                return Divergence(
                    step=step["step"], phase="loss", what="loss", expected="finite", actual=loss
                )
    return None


def _match(expected: Sequence[Tensor], actual: Sequence[Tensor]) -> dict[int, int]:
    """Map indices of parameters: same name and shape first, then same value, then what is left in order."""
    matched: dict[int, int] = {}
    keys = (lambda t: (t.name, t.shape), lambda t: (t.shape, t.digest), lambda t: t.shape)
    for key in keys:
        free: dict[Any, list[int]] = {}
        for index, tensor in enumerate(actual):
            if index not in matched.values():
                free.setdefault(key(tensor), []).append(index)
        for index, tensor in enumerate(expected):
            if index not in matched and free.get(key(tensor)):
                matched[index] = free[key(tensor)].pop(0)
    return matched


def _differ(expected: Trace, actual: Trace, matched: dict[int, int]) -> Iterator[Divergence]:
    yield from _differ_at_start(expected, actual, matched)
    for left, right in zip(expected.steps, actual.steps, strict=False):
        differences = list(_differ_in_step(expected, actual, left, right, matched))
        if differences:
            what, expected_value, actual_value = differences[0][1:]
            yield Divergence(
                step=left["step"],
                phase=differences[0][0],
                what=what,
                expected=expected_value,
                actual=actual_value,
                also=_summarize(differences[1:]),
            )
    if len(expected.steps) != len(actual.steps):
        yield Divergence(
            step=min(len(expected.steps), len(actual.steps)) + 1,
            phase="data",
            what="number of optimizer steps",
            expected=str(len(expected.steps)),
            actual=str(len(actual.steps)),
        )
    for name in ("evaluated", "loaded", "rng"):
        if _differs(name, expected.end[name], actual.end[name]):
            yield Divergence(
                step=len(expected.steps),
                phase=_PHASES[name],
                what=f"{_MEANING[name]}, after the last step".replace(" before this step", ""),
                expected=_show(expected.end[name]),
                actual=_show(actual.end[name]),
            )


def _differ_at_start(expected: Trace, actual: Trace, matched: dict[int, int]) -> Iterator[Divergence]:
    if len(expected.parameters) != len(actual.parameters) or len(matched) != len(expected.parameters):
        shapes = [Counter(tensor.shape for tensor in side.parameters) for side in (expected, actual)]
        missing, extra = shapes[0] - shapes[1], shapes[1] - shapes[0]
        yield Divergence(
            step=0,
            phase="init",
            what="the model's parameters",
            expected=f"{len(expected.parameters)} parameters, of which missing now: {_count(missing)}",
            actual=f"{len(actual.parameters)} parameters, of which new: {_count(extra)}",
        )
    pairs = [(expected.parameters[left], actual.parameters[right]) for left, right in matched.items()]
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
    if _differs("rng", expected.initial_rng, actual.initial_rng):
        yield Divergence(
            step=0,
            phase="init",
            what="state of the random generator after initialisation",
            expected=_show(expected.initial_rng),
            actual=_show(actual.initial_rng),
        )


def _differ_in_step(
    expected: Trace, actual: Trace, left: dict[str, Any], right: dict[str, Any], matched: dict[int, int]
) -> Iterator[tuple[str, str, str, str]]:
    left_of = _by_parameter(expected, left)
    right_of = _by_parameter(actual, right)
    for name, phase in _PHASES.items():
        if name in left_of:
            yield from _differ_by_tensor(name, expected.parameters, left_of[name], right_of[name], matched)
        elif name == "buffers":
            sides = (dict(enumerate(left[name])), dict(enumerate(right[name])))
            pairs = _match(expected.buffers, actual.buffers)
            yield from _differ_by_tensor(name, expected.buffers, *sides, pairs)
        elif _differs(name, left[name], right[name]):
            place, before, now = _first_item(left[name], right[name])
            yield phase, _MEANING.get(name, name) + place, before, now


def _by_parameter(trace: Trace, step: dict[str, Any]) -> dict[str, dict[int, str]]:
    indices = trace.optimizers[step["optimizer"]]
    settings, which = step["hyper"]
    columns = {name: step[name] for name in ("gradients", "parameters", "state")}
    columns["hyper"] = [settings[index] for index in which]
    return {name: dict(zip(indices, values, strict=True)) for name, values in columns.items()}


def _differ_by_tensor(
    name: str,
    tensors: Sequence[Tensor],
    left_of: dict[int, str],
    right_of: dict[int, str],
    matched: dict[int, int],
) -> Iterator[tuple[str, str, str, str]]:
    absent = "not in the optimizer"
    changed = [
        (tensors[left], left_of.get(left, absent), right_of.get(right, absent))
        for left, right in matched.items()
        if left_of.get(left, absent) != right_of.get(right, absent)
    ]
    if changed:
        tensor, before, now = changed[0]
        label = {"parameters": "new value"}.get(name, _MEANING.get(name, name))
        if name == "hyper":
            before, now = _only_changed(before, now)
        what = f"{label} of {tensor.name} {tensor.shape} ({len(changed)} of {len(matched)} differ)"
        yield _PHASES[name], what, before or "zero", now or "zero"


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
    return "", _show(left), _show(right)


def _show(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={item}" for key, item in value.items())
    if isinstance(value, list):
        return " ".join(_show_loss(item) for item in value) or "none"
    return str(value)


def _show_loss(item: Any) -> str:
    if isinstance(item, str) and ("0x" in item):
        return f"{float.fromhex(item)!r} ({item})"
    return str(item)


def _count(shapes: Counter[str]) -> str:
    return ", ".join(f"{number}x {shape}" for shape, number in shapes.items()) or "none"


def _summarize(differences: Sequence[tuple[str, str, str, str]]) -> tuple[str, ...]:
    return tuple(f"{what}: {before} -> {now}" for _, what, before, now in differences)
