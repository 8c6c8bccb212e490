"""What differs between two events of the same step: pure functions, one for each thing that is compared."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from trainkit.trace.match import Matches, Tensor
from trainkit.trace.sides import split
from trainkit.trace.store import Event


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One thing that differs in a step: `key` is what was compared, `phase` where in the step it arises."""

    key: str
    phase: str
    what: str
    expected: str
    actual: str
    hard: bool = True
    name: str = ""  # of the tensor, module or hyper-parameter

    def __str__(self) -> str:
        return f"{self.what}: {self.expected} -> {self.actual}"


def differ_lightly(left: Event, right: Event) -> Iterator[Difference]:
    """Tell that something differs; what it is the full pass tells."""
    yield from differ_in_calls(left, right, training=False)
    yield from differ_in_saved(left, right)
    yield from differ_in_loss(left, right)
    for name, before in left["light"].items():
        if before != right["light"].get(name):
            yield Difference(
                key=name,
                phase="",
                what=f"digest of {name}",
                expected=before,
                actual=right["light"].get(name, ""),
            )
    yield from differ_in_rng(left["rng"], right["rng"])


def differ_in_saved(left: Event, right: Event) -> Iterator[Difference]:
    """Compare what torch.save was given: tensors as sets, numbers and layout softly."""
    a, b = left.get("saved", []), right.get("saved", [])
    if len(a) != len(b):
        yield Difference(
            key="saved",
            phase="save",
            what="number of times that something is saved",
            expected=str(len(a)),
            actual=str(len(b)),
            hard=bool(a) != bool(b),
        )
    for number, (before, now) in enumerate(zip(a, b, strict=False), start=1):
        lost = set(split(before[0])) - set(split(now[0]))
        if lost:
            yield Difference(
                key="saved",
                phase="save",
                what=f"what torch.save was given (save {number})",
                expected=f"{len(lost)} tensors",
                actual="not among what is saved now",
            )
            return
        if before[2:3] == now[2:3] and before[3:] != now[3:]:
            yield Difference(
                key="saved",
                phase="save",
                what=f"which name holds which tensor in what is saved (save {number})",
                expected=before[3],
                actual=now[3],
            )
            return
        if before != now:
            yield Difference(
                key="saved",
                phase="save",
                what=f"numbers or layout of what is saved (save {number})",
                expected="",
                actual="",
                hard=False,
            )


@dataclass(frozen=True, kw_only=True)
class _Passes:
    """What is said of the forward passes of root modules, and whether it is of a result."""

    name: str
    given: str
    given_phase: str
    computed_key: str
    computed: str
    computed_phase: str
    hard: bool


_TRAINING = _Passes(
    name="training",
    given="batch",
    given_phase="data",
    computed_key="model output",
    computed="the model",
    computed_phase="forward",
    hard=False,
)
_EVALUATION = _Passes(
    name="evaluation",
    given="input of an evaluation",
    given_phase="eval",
    computed_key="evaluated",
    computed="an evaluation",
    computed_phase="eval",
    hard=True,
)


def differ_in_calls(left: Event, right: Event, *, training: bool) -> Iterator[Difference]:
    """Compare the calls of root modules, of training or of evaluation: their number, else the first other."""
    a, b = (
        [call for call in event.get("calls", ()) if (call[0] == "t") == training] for event in (left, right)
    )
    passes = _TRAINING if training else _EVALUATION
    if not training and a != b and sorted(a) == sorted(b):
        yield Difference(
            key="order of evaluations",
            phase=passes.given_phase,
            what="the order of evaluations",
            hard=False,
            expected="",
            actual="",
        )
    elif len(a) != len(b):
        # More evaluations, the former ones among them, are no other result.
        kept = {call[2] for call in a} <= {call[2] for call in b}
        yield Difference(
            key="calls",
            phase=passes.given_phase,
            what=f"number of {passes.name} forward passes",
            expected=str(len(a)),
            actual=str(len(b)),
            hard=passes.hard and not kept,
        )
    else:
        for number, (before, now) in enumerate(zip(a, b, strict=True), start=1):
            if before[1:] != now[1:]:
                place = f" ({number} of {len(a)})" if len(a) > 1 else ""
                yield from _differ_in_call(before, now, passes, place)
                return


def _differ_in_call(before: list[str], now: list[str], passes: _Passes, place: str) -> Iterator[Difference]:
    """Compare the inputs and the outputs of one call, which are digests."""
    if before[1] != now[1]:
        yield Difference(
            key="batch",
            phase=passes.given_phase,
            hard=False,
            what=f"the {passes.given} given to the model{place}",
            expected=before[1],
            actual=now[1],
        )
    if before[2] != now[2]:
        yield Difference(
            key=passes.computed_key,
            phase=passes.computed_phase,
            what=f"what {passes.computed} computed{place}",
            hard=passes.hard,
            expected=before[2],
            actual=now[2],
        )


def differ_in_loaded(left: Event, right: Event) -> Iterator[Difference]:
    """Compare what data loaders handed out."""
    a, b = left.get("loaded", [0, ""]), right.get("loaded", [0, ""])
    if a != b:
        yield Difference(
            key="loaded",
            phase="data",
            what="the batches from the data loader",
            hard=False,
            expected=f"{a[0]} batches {a[1]}",
            actual=f"{b[0]} batches {b[1]}",
        )


def differ_in_loss(left: Event, right: Event) -> Iterator[Difference]:
    """Compare the losses given to backward, in hexadecimal."""
    a, b = left.get("loss", []), right.get("loss", [])
    if len(a) != len(b):
        yield Difference(
            key="num losses",
            phase="loss",
            what="number of backward passes",
            hard=False,
            expected=str(len(a)),
            actual=str(len(b)),
        )
        return
    for number, (before, now) in enumerate(zip(a, b, strict=True), start=1):
        if before != now:
            place = f" of micro_step {number}" if len(a) > 1 else ""
            yield Difference(
                key="loss",
                phase="loss",
                what=f"loss{place}",
                expected=show_loss(before),
                actual=show_loss(now),
            )
            return


def differ_in_rng(left: dict[str, str], right: dict[str, str]) -> Iterator[Difference]:
    """Compare the states of the random generators that both sides have."""
    # A generator that one side never loaded (a lazy import) is no difference.
    changed = [key for key in left if key in right and left[key] != right[key]]
    if changed:
        yield Difference(
            key="rng",
            phase="rng",
            name=changed[0],
            what=f"state of the random generator of {' and '.join(changed)}",
            expected=left[changed[0]],
            actual=right[changed[0]],
        )


def count_unmatched(left: list[Tensor], right: list[Tensor], matches: Matches) -> tuple[str, str] | None:
    """Give, for each side, the shapes that have no counterpart, in words."""
    lost = Counter(t.shape for index, t in enumerate(left) if index not in matches.pairs)
    new = Counter(t.shape for index, t in enumerate(right) if index not in set(matches.pairs.values()))
    if not lost and not new:
        return None
    return _count(", missing now", lost), _count(", new", new)


def _count(label: str, shapes: Counter[str]) -> str:
    shown = ", ".join(f"{number}x {shape}" for shape, number in list(shapes.items())[:4])
    return f"{label}: {shown}" if shown else ""


def only_changed(before: str, now: str) -> tuple[str, str]:
    """Keep the settings that differ of two lists such as `lr=0.1; weight_decay=0.0`."""
    left, right = before.split("; "), now.split("; ")
    if len(left) != len(right):
        return before, now
    changed = [(a, b) for a, b in zip(left, right, strict=True) if a != b]
    return "; ".join(a for a, _ in changed), "; ".join(b for _, b in changed)


def describe_modes(event: Event) -> str:
    """Give the flags of the root calls, and how many modules were in evaluation mode."""
    calls = "".join(call[0] for call in event.get("calls", ()))
    modes = ", ".join(f"{key} {number}" for key, number in event.get("modes", {}).items())
    return f"{calls} {modes}".strip()


def show_loss(item: str) -> str:
    """Give a loss as `repr` and hex; a digest when it was no single number."""
    if "0x" in item:
        return f"{float.fromhex(item)!r} ({item})"
    return item


def relative_difference(before: str, now: str) -> float:
    """Give |a - b| / |a| of two losses in hex; nan where one is no number."""
    try:
        a, b = float.fromhex(before), float.fromhex(now)
    except ValueError:
        return math.nan
    return abs(a - b) / abs(a) if a else abs(b)
