"""Two traces side by side: the first place where their numbers differ, renames not counted.

Both are read once, event by event, in memory that does not grow with their length. A difference is *hard*
when it is a result (a loss, a weight, a buffer that training moves, an evaluation, a checkpoint) and
*soft* when it is only a way to a result (how a batch is handed over, what a module in the middle gives
back, how an optimizer keeps its state): soft ones alone are notes, and name the place when a hard one follows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from trainkit.trace.match import Matches, Tensor, match_tensors
from trainkit.trace.probe import DECISIVE
from trainkit.trace.store import Event

_WIDTH = 16
_NOTHING = "0" * _WIDTH
_MOST_LOSSES = 2000  # kept to show how far they drift; of longer runs the first ones and the last


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


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """The first step that differs: 0 is the initialisation, -1 what is left after the last step."""

    step: int
    differences: tuple[Difference, ...]

    @property
    def first(self) -> Difference:
        """Give the difference that comes first in the order of causes."""
        return self.differences[0]

    @property
    def phase(self) -> str:
        """Give the phase of the first difference."""
        return self.first.phase

    def lead(self, phase: str) -> Difference:
        """Give the difference to show when the phase is known better: the first of that phase, or hard one."""
        chosen = [item for item in self.differences if item.phase == phase]
        chosen += [item for item in self.differences if item.hard]
        return chosen[0]

    def describe(self, phase: str = "") -> str:
        """Give the place in words, such as `step 3, backward: gradients of head.weight`."""
        lead = self.lead(phase or self.phase)
        return f"{describe_step(self.step)}, {phase or lead.phase}: {lead.what}"


def describe_step(step: int) -> str:
    """Give a step in words; 0 is the initialisation, -1 the time after the last step."""
    return {0: "initialisation", -1: "after the last step"}.get(step, f"step {step}")


@dataclass(kw_only=True)
class Summary:
    """What one trace holds, whatever the other does."""

    num_steps: int = 0
    num_backwards: int = 0
    num_evaluations: int = 0
    num_saved: int = 0
    num_resumed: int = 0
    num_parameters: int = 0
    trained: bool = False  # a step changed a parameter
    not_finite: str = ""  # the first loss that is no number, with its step
    only_not_finite: bool = True
    complete: bool = False
    stopped: bool = False
    compiled: bool = False
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What two traces have in common: no `first` means that training computed the same bits."""

    first: Divergence | None
    num_steps: int
    notes: tuple[str, ...]
    facts: tuple[str, ...]  # what differs of what the programs say of themselves
    drift: tuple[tuple[int, str, str], ...]  # step, losses of both sides, from the first difference on
    expected: Summary
    actual: Summary
    modes: tuple[str, str] = ("", "")  # of the first differing step
    light: bool = False  # recorded by the light pass, which tells that something differs, not what
    resumed: bool = False  # a checkpoint was loaded in the first differing step
    reads: tuple[int, str] | None = None  # step and value of a number that only the baseline takes out


def list_environment_differences(expected: dict[str, str], actual: dict[str, str]) -> list[str]:
    """Name what makes two environments incomparable; an empty list means that they are comparable."""
    return [
        f"{key} {expected.get(key)} here {actual.get(key)}"
        for key in DECISIVE
        if expected.get(key) != actual.get(key)
    ]


class _Side:
    """One trace, read up to its next step."""

    def __init__(self, events: Iterable[Event]) -> None:
        self._events = iter(events)
        self.parameters: list[Tensor] = []
        self.others: list[Tensor] = []
        self.buffers: list[Tensor] = []
        self.adopted: list[int] = []  # for each parameter the step in which it was first seen
        self.optimizers: dict[int, list[int]] = {}
        self.facts: dict[str, str] = {}
        self.seeds: list[Event] = []
        self.modules: list[str] = []
        self.hyper: dict[int, list[Any]] = {}
        self.called: list[int] = []
        self.last: dict[int, str] = {}  # parameter -> digest of its latest value
        self.moved: set[int] = set()  # buffers that have changed
        self.losses: dict[int, list[str]] = {}
        self.summary = Summary()

    def read_step(self) -> Event | None:
        """Give the next step or end, and learn what comes before it; None when the trace is over."""
        for event in self._events:
            kind = event["event"]
            if kind in {"step", "end"}:
                return self._take(event)
            self._learn(kind, event)
        return None

    def _learn(self, kind: str, event: Event) -> None:
        if kind == "init":
            for row in event.get("parameters", ()):
                self.last[len(self.parameters)] = row[3] if len(row) > 3 else row[2]
                self.parameters.append(Tensor(*row[:3]))
                self.adopted.append(event["step"])
            self.others += [Tensor(*row) for row in event.get("others", ())]
            self.buffers += [Tensor(*row) for row in event["buffers"]]
            self.summary.num_parameters = len(self.parameters)
        elif kind == "optimizer":
            self.optimizers[event["optimizer"]] = event["parameters"]
            rows = {f"optimizer {event['optimizer']} {key}": value for key, value in event["facts"].items()}
            self.facts |= rows
        elif kind == "facts":
            self.facts |= {f"{event['what']}: {key}": value for key, value in event["rows"].items()}
        elif kind == "modules":
            self.modules += event["names"]
        elif kind == "seed":
            self.seeds.append(event)
            if len(self.seeds) <= 8:
                self.facts[f"seed {len(self.seeds)}"] = f"{event['what']} {event['value']}"

    def _take(self, event: Event) -> Event:
        summary = self.summary
        summary.num_evaluations += sum(call[0] == "e" for call in event.get("calls", ()))
        summary.num_saved += len(event.get("saved", ()))
        summary.num_resumed += event.get("resumed", 0)
        if event["event"] == "end":
            summary.complete, summary.stopped = True, event["stopped"]
            summary.compiled = event["compiled"] > 0
            summary.environment = event["environment"]
            first = [tensor.digest for tensor in self.parameters]
            summary.trained |= _split(event["values"])[: len(first)] != first
            return event
        summary.num_steps += 1
        losses = event.get("loss", [])
        summary.num_backwards += len(losses)
        for loss in losses:
            finite = loss not in {"nan", "inf", "-inf"}
            summary.only_not_finite &= not finite
            if not finite and not summary.not_finite:
                summary.not_finite = f"loss {loss} at step {event['step']}"
        if losses and len(self.losses) < _MOST_LOSSES:
            self.losses[event["step"]] = losses
        if "light" in event:
            return event
        for name in ("gradients", "parameters", "state", "buffers", "others"):
            event[name] = _split(event.get(name, ""))
        self.called = event["called"] = event.get("called", self.called if "outputs" in event else [])
        event["outputs"] = _split(event.get("outputs", ""))
        self._resolve_hyper(event)
        self._see_movement(event)
        return event

    def _resolve_hyper(self, event: Event) -> None:
        number = event["optimizer"]
        if "hyper" in event:
            self.hyper[number] = event["hyper"]
        settings, which = self.hyper.get(number, ([""], [0] * len(event["parameters"])))
        event["hyper"] = [settings[index] for index in which]

    def _see_movement(self, event: Event) -> None:
        for index, digest in zip(self.optimizers[event["optimizer"]], event["parameters"], strict=True):
            if self.last[index] != digest:
                self.summary.trained = True
                self.last[index] = digest
        for index, digest in enumerate(event["buffers"]):
            if digest != self.buffers[index].digest:
                self.moved.add(index)

    def column(self, event: Event, name: str) -> dict[int, str]:
        """Give one list of a step by index of parameter."""
        return dict(zip(self.optimizers[event["optimizer"]], event[name], strict=True))


def _split(joined: str) -> list[str]:
    return [joined[start : start + _WIDTH] for start in range(0, len(joined), _WIDTH)]


def summarise(events: Iterable[Event]) -> Summary:
    """Read one trace to its end and tell what it holds.

    Raises:
        CannotJudgeError: it is no trace, or damaged.
    """
    side = _Side(events)
    event = side.read_step()
    while event is not None:
        event = side.read_step()
    return side.summary


def compare(expected: Iterable[Event], actual: Iterable[Event]) -> Comparison:
    """Find the first divergence of two recorded processes.

    Raises:
        CannotJudgeError: one of them is no trace, or damaged.
    """
    return _Comparer(_Side(expected), _Side(actual)).run()


class _Comparer:
    """Both sides, which tensors of theirs are the same, and what was found so far."""

    def __init__(self, left: _Side, right: _Side) -> None:
        self._left, self._right = left, right
        self._parameters = Matches({}, set())
        self._buffers = Matches({}, set())
        self._others = Matches({}, set())
        self._notes: dict[str, str] = {}
        self._first: Divergence | None = None
        self._modes = ("", "")
        self._resumed = False
        self._light = False
        self._reads: tuple[int, str] | None = None
        self._common = 0
        self._checked = 0  # parameters whose first value was compared

    def run(self) -> Comparison:
        left, right = self._left.read_step(), self._right.read_step()
        while left and right and left["event"] == right["event"] == "step":
            if not self._first:
                self._compare_step(left, right)
            if not self._first:
                self._common += 1
            left, right = self._left.read_step(), self._right.read_step()
        if not self._first:
            self._compare_ends(left, right)
        for side, event in ((self._left, left), (self._right, right)):
            while event is not None:
                event = side.read_step()
        return Comparison(
            first=self._first,
            num_steps=self._common,
            notes=(*self._list_renames(), *self._notes.values()),
            facts=tuple(self._list_facts()),
            drift=tuple(self._list_drift()),
            expected=self._left.summary,
            actual=self._right.summary,
            light=self._light,
            modes=self._modes,
            resumed=self._resumed,
            reads=self._reads,
        )

    def _compare_step(self, left: Event, right: Event) -> None:
        at_start = list(self._differ_at_start())
        step = left["step"]
        light = self._light = "light" in left and "light" in right
        found = [*at_start, *(_differ_lightly(left, right) if light else self._differ_in_step(left, right))]
        self._compare_reads(step, left, right)
        if at_start and any(difference.hard for difference in at_start):
            step = 0 if not self._common else step
        self._conclude(step, found, left, right)

    def _compare_reads(self, step: int, left: Event, right: Event) -> None:
        lost: Counter[str] = Counter(left.get("reads", ())) - Counter(right.get("reads", ()))
        if lost and self._reads is None:
            self._reads = step, next(value for value in left["reads"] if value in lost)

    def _conclude(self, step: int, found: list[Difference], left: Event | None, right: Event | None) -> None:
        if any(difference.hard for difference in found):
            self._first = Divergence(step=step, differences=tuple(found))
            if left and right:
                self._modes = (_describe_modes(left), _describe_modes(right))
                self._resumed = bool(left.get("resumed") or right.get("resumed"))
            return
        for difference in found:
            self._notes.setdefault(difference.key, f"since {describe_step(step)}: {difference.what} differs")

    # -- initialisation

    def _differ_at_start(self) -> Iterator[Difference]:
        left, right = self._left, self._right
        match_tensors(left.parameters, right.parameters, self._parameters)
        match_tensors(left.buffers, right.buffers, self._buffers)
        match_tensors(left.others, right.others, self._others)
        if len(left.parameters) == self._checked:
            return
        pairs = {a: b for a, b in self._parameters.pairs.items() if a >= self._checked}
        resumed = any(left.adopted[index] > 0 for index in pairs)
        phase = "save" if resumed else "init"
        extra = _list_unmatched(left.parameters, right.parameters, self._parameters)
        if extra and not self._checked:
            yield Difference(
                key="parameter set",
                phase=phase,
                what="the model's parameters",
                hard=False,
                expected=f"{len(left.parameters)} parameters{extra[0]}",
                actual=f"{len(right.parameters)} parameters{extra[1]}",
            )
        changed = [a for a, b in pairs.items() if left.parameters[a].digest != right.parameters[b].digest]
        if changed:
            tensor, other = left.parameters[changed[0]], right.parameters[pairs[changed[0]]]
            yield Difference(
                key="initial values",
                phase=phase,
                name=tensor.name,
                what=f"{'resumed' if resumed else 'initial'} value of {tensor.name} {tensor.shape}"
                f" ({len(changed)} of {len(pairs)} differ)",
                expected=tensor.digest,
                actual=other.digest,
            )
        self._checked = len(left.parameters)

    # -- one step

    def _differ_in_step(self, left: Event, right: Event) -> Iterator[Difference]:
        yield from _differ_in_saved(left, right)
        yield from _differ_in_calls(left, right, training=False)
        yield from _differ_in_loaded(left, right)
        yield from _differ_in_calls(left, right, training=True)
        yield from self._differ_in_outputs(left, right)
        yield from _differ_in_loss(left, right)
        yield from self._differ_in_columns(left, right)
        yield from self._differ_in_buffers(left, right)
        yield from self._differ_in_others(left["others"], right["others"])
        yield from _differ_in_rng(left["rng"], right["rng"])

    def _differ_in_outputs(self, left: Event, right: Event) -> Iterator[Difference]:
        known = set(right["outputs"])
        unknown = [
            index
            for index, digest in zip(left["called"], left["outputs"], strict=True)
            if digest not in known
        ]
        if unknown and left["outputs"] != right["outputs"]:
            names = self._left.modules
            name = names[unknown[0]] if unknown[0] < len(names) else "a module"
            yield Difference(
                key="outputs",
                phase="forward",
                name=name,
                hard=False,
                what=f"output of module {name} ({len(unknown)} of {len(left['outputs'])} calls)",
                expected="computed",
                actual="not found",
            )

    def _differ_in_columns(self, left: Event, right: Event) -> Iterator[Difference]:
        sides = self._left, self._right
        columns = {
            name: (sides[0].column(left, name), sides[1].column(right, name))
            for name in ("gradients", "hyper", "parameters", "state")
        }
        matched = self._parameters.pairs
        alive = {  # of a parameter that one side leaves out and that has no gradient nothing can be said
            a: b
            for a, b in matched.items()
            if (a in columns["gradients"][0]) == (b in columns["gradients"][1])
            or {columns["gradients"][0].get(a), columns["gradients"][1].get(b)} != {None, _NOTHING}
        }
        unmatched = [
            sides[0].parameters[a].name
            for a, digest in columns["gradients"][0].items()
            if a not in matched and digest != _NOTHING
        ]
        if unmatched:
            yield Difference(
                key="lost parameter",
                phase="optimizer",
                name=unmatched[0],
                what=f"the update of {unmatched[0]}",
                expected="updated",
                actual="not found",
            )
        for name, (phase, label) in _COLUMNS.items():
            values = columns[name]
            changed = [
                (a, values[0].get(a, _ABSENT), values[1].get(b, _ABSENT))
                for a, b in alive.items()
                if values[0].get(a, _ABSENT) != values[1].get(b, _ABSENT)
            ]
            if not changed:
                continue
            index, before, now = changed[0]
            tensor = sides[0].parameters[index]
            if _ABSENT in (before, now):
                yield Difference(
                    key="lost parameter",
                    phase="optimizer",
                    name=tensor.name,
                    what=f"{tensor.name} {tensor.shape} ({len(changed)} of {len(alive)} differ)",
                    expected=_ABSENT if before == _ABSENT else "updated by the optimizer",
                    actual=_ABSENT if now == _ABSENT else "updated by the optimizer",
                )
                return
            if name == "hyper":
                before, now = _only_changed(before, now)
                phase = self._phase_of_hyper(before, left["step"])
            yield Difference(
                key=name,
                phase=phase,
                name=before.partition("=")[0] if name == "hyper" else tensor.name,
                what=f"{label} of {tensor.name} {tensor.shape} ({len(changed)} of {len(alive)} differ)",
                expected="zero" if before == _NOTHING else before,
                actual="zero" if now == _NOTHING else now,
                hard=name != "state",
            )

    def _phase_of_hyper(self, before: str, step: int) -> str:
        """A learning rate that agreed before, or that a schedule sets, is the schedule's."""
        scheduled = any(key.startswith("schedules:") for key in self._left.facts)
        return "schedule" if before.startswith("lr=") and (step > 1 or scheduled) else "optimizer"

    def _differ_in_buffers(self, left: Event, right: Event) -> Iterator[Difference]:
        changed = [
            a
            for a, b in self._buffers.pairs.items()
            if a < len(left["buffers"])
            and b < len(right["buffers"])
            and left["buffers"][a] != right["buffers"][b]
        ]
        tensors = self._left.buffers
        # One that training never moves is a constant: its effect shows elsewhere, if it has one.
        moving = [a for a in changed if a in self._left.moved or self._buffers.pairs[a] in self._right.moved]
        if changed:
            index = (moving or changed)[0]
            yield Difference(
                key="buffers",
                phase="forward",
                name=tensors[index].name,
                hard=bool(moving),
                what=f"buffer {tensors[index].name} {tensors[index].shape}"
                f" ({len(changed)} of {len(self._buffers.pairs)} differ)",
                expected=left["buffers"][index],
                actual=right["buffers"][self._buffers.pairs[index]],
            )

    def _differ_in_others(self, left: list[str], right: list[str]) -> Iterator[Difference]:
        changed = [
            a
            for a, b in self._others.pairs.items()
            if a < len(left) and b < len(right) and left[a] != right[b]
        ]
        if changed:
            tensor = self._left.others[changed[0]]
            yield Difference(
                key="averages",
                phase="optimizer",
                name=tensor.name,
                what=f"weight {tensor.name} {tensor.shape} of a copy of the model ({len(changed)} differ)",
                expected=left[changed[0]],
                actual=right[self._others.pairs[changed[0]]],
            )

    # -- the end

    def _compare_ends(self, left: Event | None, right: Event | None) -> None:
        if left and right and left["event"] == right["event"] == "end":
            self._conclude(-1, list(self._differ_at_end(left, right)), None, None)
            return
        longer = next((event for event in (left, right) if event and event["event"] == "step"), None)
        summaries = self._left.summary, self._right.summary
        other = right if longer is left else left
        if longer is None or other is None:  # one was cut off: there is nothing to compare any more
            return
        numbers = [
            str(summary.num_steps) if summary.complete else f"at least {summary.num_steps}"
            for summary in summaries
        ]
        difference = Difference(
            key="steps",
            phase="data",
            what="number of optimizer steps",
            expected=numbers[0],
            actual=numbers[1],
        )
        self._first = Divergence(step=self._common + 1, differences=(difference,))

    def _differ_at_end(self, left: Event, right: Event) -> Iterator[Difference]:
        self._compare_reads(-1, left, right)
        yield from self._differ_at_start()
        yield from _differ_in_saved(left, right)
        yield from _differ_in_calls(left, right, training=False)
        yield from _differ_in_calls(left, right, training=True)
        for name, tensors, matches, label in (
            ("values", self._left.parameters, self._parameters.pairs, "final value"),
            ("buffers", self._left.buffers, self._buffers.pairs, "buffer"),
            ("others", self._left.others, self._others.pairs, "weight of a copy of the model:"),
        ):
            a, b = _split(left[name]), _split(right[name])
            changed = [i for i, j in matches.items() if i < len(a) and j < len(b) and a[i] != b[j]]
            if name == "buffers":
                changed = [
                    i
                    for i in changed
                    if i in self._left.moved
                    or matches[i] in self._right.moved
                    or self._left.buffers[i].digest == self._right.buffers[matches[i]].digest
                ]
            if changed:
                tensor = tensors[changed[0]]
                yield Difference(
                    key=name,
                    phase="optimizer",
                    name=tensor.name,
                    what=f"{label} {tensor.name} {tensor.shape} ({len(changed)} differ)",
                    expected=a[changed[0]],
                    actual=b[matches[changed[0]]],
                )
        yield from self._differ_in_last_hyper(left, right)
        yield from _differ_in_rng(left["rng"], right["rng"])

    def _differ_in_last_hyper(self, left: Event, right: Event) -> Iterator[Difference]:
        values = [_merge_hyper(side, event) for side, event in ((self._left, left), (self._right, right))]
        for a, b in self._parameters.pairs.items():
            before, now = values[0].get(a), values[1].get(b)
            if before and now and before != now:
                before, now = _only_changed(before, now)
                yield Difference(
                    key="hyper",
                    phase="schedule",
                    name=before.partition("=")[0],
                    what=f"hyper-parameters of {self._left.parameters[a].name} after the last step",
                    expected=before,
                    actual=now,
                )
                return

    # -- what is told beside

    def _list_renames(self) -> list[str]:
        told: dict[str, None] = {}
        for matches, left, right in (
            (self._parameters, self._left.parameters, self._right.parameters),
            (self._buffers, self._left.buffers, self._right.buffers),
        ):
            for a, b in matches.pairs.items():
                if left[a].name != right[b].name:
                    guess = " (told apart by order alone)" if a in matches.guessed else ""
                    told[f"{left[a].name} is now {right[b].name}{guess}"] = None
        return list(told)

    def _list_facts(self) -> Iterator[str]:
        left, right = self._left.facts, self._right.facts
        for key in left.keys() | right.keys() if len(left) + len(right) < 5000 else ():
            before, now = left.get(key), right.get(key)
            if before != now and before is not None and now is not None:
                yield f"{key}: {' -> '.join(_only_changed(before, now))}"
        for key in left.keys() - right.keys():
            if not key.startswith("settings"):
                yield f"{key}: {left[key]} -> (gone)"
        for key in right.keys() - left.keys():
            if not key.startswith("settings"):
                yield f"{key}: (new) -> {right[key]}"

    def _list_drift(self) -> Iterator[tuple[int, str, str]]:
        if self._first is None:
            return
        for step in sorted(self._left.losses.keys() & self._right.losses.keys()):
            if step >= self._first.step:
                yield step, self._left.losses[step][-1], self._right.losses[step][-1]


_ABSENT = "not in the optimizer"
# What an optimizer's step holds per parameter, in causal order: the phase it arises in, what it is called.
_COLUMNS = {
    "gradients": ("backward", "gradients"),
    "hyper": ("optimizer", "hyper-parameters"),
    "parameters": ("optimizer", "new value"),
    "state": ("optimizer", "optimizer state"),
}


def _differ_lightly(left: Event, right: Event) -> Iterator[Difference]:
    """Tell that something differs; what it is the full pass tells."""
    yield from _differ_in_saved(left, right)
    yield from _differ_in_calls(left, right, training=False)
    yield from _differ_in_loss(left, right)
    for name, before in left["light"].items():
        if before != right["light"].get(name):
            yield Difference(
                key=name,
                phase="",
                what=f"digest of {name}",
                expected=before,
                actual=right["light"].get(name, ""),
            )
    yield from _differ_in_rng(left["rng"], right["rng"])


def _differ_in_saved(left: Event, right: Event) -> Iterator[Difference]:
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
        lost = set(_split(before[0])) - set(_split(now[0]))
        if lost:
            yield Difference(
                key="saved",
                phase="save",
                what=f"what torch.save was given (save {number})",
                expected=f"{len(lost)} tensors",
                actual="not among what is saved now",
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


def _differ_in_calls(left: Event, right: Event, *, training: bool) -> Iterator[Difference]:
    a, b = (
        [call for call in event.get("calls", ()) if (call[0] == "t") == training] for event in (left, right)
    )
    phase = "data" if training else "eval"
    if len(a) != len(b):
        what = f"number of {'training' if training else 'evaluation'} forward passes"
        yield Difference(
            key="calls", phase=phase, what=what, expected=str(len(a)), actual=str(len(b)), hard=not training
        )
        return
    for number, (before, now) in enumerate(zip(a, b, strict=True), start=1):
        place = f" ({number} of {len(a)})" if len(a) > 1 else ""
        if before[1] != now[1]:
            yield Difference(
                key="batch",
                phase=phase,
                hard=False,
                what=f"the {'batch' if training else 'input of an evaluation'} given to the model{place}",
                expected=before[1],
                actual=now[1],
            )
        if before[2] != now[2]:
            what = f"what {'the model' if training else 'an evaluation'} computed{place}"
            yield Difference(
                key="model output" if training else "evaluated",
                what=what,
                hard=not training,
                phase="forward" if training else "eval",
                expected=before[2],
                actual=now[2],
            )
        if before[1:] != now[1:]:
            return


def _differ_in_loaded(left: Event, right: Event) -> Iterator[Difference]:
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


def _differ_in_loss(left: Event, right: Event) -> Iterator[Difference]:
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


def _differ_in_rng(left: dict[str, str], right: dict[str, str]) -> Iterator[Difference]:
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


def _merge_hyper(side: _Side, end: Event) -> dict[int, str]:
    merged: dict[int, str] = {}
    for row in end["optimizers"]:
        if row["hyper"]:
            settings, which = row["hyper"]
            indices = side.optimizers[row["optimizer"]]
            merged |= {index: settings[number] for index, number in zip(indices, which, strict=True)}
    return merged


def _list_unmatched(left: list[Tensor], right: list[Tensor], matches: Matches) -> tuple[str, str] | None:
    lost = Counter(t.shape for index, t in enumerate(left) if index not in matches.pairs)
    new = Counter(t.shape for index, t in enumerate(right) if index not in set(matches.pairs.values()))
    if not lost and not new:
        return None
    return _count(", missing now", lost), _count(", new", new)


def _count(label: str, shapes: Counter[str]) -> str:
    shown = ", ".join(f"{number}x {shape}" for shape, number in list(shapes.items())[:4])
    return f"{label}: {shown}" if shown else ""


def _only_changed(before: str, now: str) -> tuple[str, str]:
    """Keep the settings that differ of two lists such as `lr=0.1; weight_decay=0.0`."""
    left, right = before.split("; "), now.split("; ")
    if len(left) != len(right):
        return before, now
    changed = [(a, b) for a, b in zip(left, right, strict=True) if a != b]
    return "; ".join(a for a, _ in changed), "; ".join(b for _, b in changed)


def _describe_modes(event: Event) -> str:
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
