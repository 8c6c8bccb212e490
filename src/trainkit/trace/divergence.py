"""Two traces side by side: the first place where their numbers differ, renames not counted.

Both are read once, event by event, in memory that does not grow with their length. A difference is *hard*
when it is a result (a loss, a weight, a buffer that training moves, an evaluation, a checkpoint) and
*soft* when it is only a way to a result (how a batch is handed over, what a module in the middle gives
back, how an optimizer keeps its state): soft ones alone are notes, and tell the place of a hard one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from trainkit.trace.differ import (
    Difference,
    count_unmatched,
    describe_modes,
    differ_in_calls,
    differ_in_loaded,
    differ_in_loss,
    differ_in_rng,
    differ_in_saved,
    differ_lightly,
    only_changed,
)
from trainkit.trace.match import Matches, match_tensors
from trainkit.trace.probe import DECISIVE
from trainkit.trace.sides import NOTHING, Side, Summary, merge_hyper, merge_states, split
from trainkit.trace.store import Event

_Changed = list[tuple[int, str, str]]  # index of a parameter, what both sides hold for it


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
        """Give the difference to show for a phase known better: the first of that phase, else a hard one."""
        chosen = [item for item in self.differences if item.phase == phase]
        chosen += [item for item in self.differences if item.hard]
        return chosen[0]

    def describe(self, phase: str = "") -> str:
        """Give the place in words, such as `step 3, backward: gradients of head.weight`."""
        lead = self.lead(phase or self.phase)
        return f"{describe_step(self.step)}, {phase or lead.phase}: {lead.what}"

    def where(self, phase: str = "") -> str:
        """Give the place with its preposition, for the midst of a sentence."""
        return f"{'' if self.step == -1 else 'at '}{self.describe(phase)}"


def describe_step(step: int) -> str:
    """Give a step in words; 0 is the initialisation, -1 the time after the last step."""
    return {0: "initialisation", -1: "after the last step"}.get(step, f"step {step}")


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
    guessed: bool = False  # some tensors were matched by order alone
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


def summarise(events: Iterable[Event]) -> Summary:
    """Read one trace to its end and tell what it holds.

    Raises:
        CannotJudgeError: it is no trace, or damaged.
    """
    return Side(events).read_rest()


def compare(expected: Iterable[Event], actual: Iterable[Event]) -> Comparison:
    """Find the first divergence of two recorded processes.

    Raises:
        CannotJudgeError: one of them is no trace, or damaged.
    """
    return _Comparer(Side(expected), Side(actual)).run()


class _Comparer:
    """Both sides, which tensors of theirs are the same, and what was found so far."""

    def __init__(self, left: Side, right: Side) -> None:
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
        self._left.read_rest()
        self._right.read_rest()
        loaded = [side.summary.num_resumed for side in (self._left, self._right)]
        if not self._first and loaded[0] != loaded[1]:
            self._notes["resumed"] = f"number of checkpoints that are loaded: {loaded[0]} -> {loaded[1]}"
        return Comparison(
            first=self._first,
            num_steps=self._common,
            notes=(*self._list_renames(), *self._notes.values()),
            facts=tuple(self._list_facts()),
            drift=tuple(self._list_drift()),
            expected=self._left.summary,
            actual=self._right.summary,
            guessed=bool(self._parameters.guessed),
            light=self._light,
            modes=self._modes,
            resumed=self._resumed,
            reads=self._reads,
        )

    def _compare_step(self, left: Event, right: Event) -> None:
        at_start = list(self._differ_at_start())
        step = left["step"]
        if "light" not in left and self._parameters.guessed:
            self._settle_guesses(left, right)
        light = self._light = "light" in left and "light" in right
        found = [*at_start, *(differ_lightly(left, right) if light else self._differ_in_step(left, right))]
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
                self._modes = (describe_modes(left), describe_modes(right))
                self._resumed = bool(left.get("resumed") or right.get("resumed"))
            return
        since = "since " if step > 0 else ""
        for difference in found:
            self._notes.setdefault(difference.key, f"{since}{describe_step(step)}: {difference.what} differs")

    # -- initialisation

    def _differ_at_start(self) -> Iterator[Difference]:
        left, right = self._left, self._right
        match_tensors(left.parameters, right.parameters, self._parameters)
        match_tensors(left.buffers, right.buffers, self._buffers)
        match_tensors(left.others, right.others, self._others, guess=False)
        if len(left.parameters) == self._checked:
            return
        pairs = {a: b for a, b in self._parameters.pairs.items() if a >= self._checked}
        resumed = any(left.adopted[index] > 0 for index in pairs)
        phase = "save" if resumed else "init"
        extra = count_unmatched(left.parameters, right.parameters, self._parameters)
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

    def _settle_guesses(self, left: Event, right: Event) -> None:
        """Parameters that began alike are told apart by what the first step that tells them does to them."""
        columns = [
            [side.column(event, name) for name in ("gradients", "hyper", "parameters")]
            for side, event in ((self._left, left), (self._right, right))
        ]
        matched, tensors = self._parameters.pairs, self._left.parameters
        groups: dict[tuple[str, str], list[int]] = {}
        for a in sorted(self._parameters.guessed):
            groups.setdefault((tensors[a].shape, tensors[a].digest), []).append(a)
        for group in groups.values():
            one = {a: tuple(str(column.get(a)) for column in columns[0]) for a in group}
            two = {matched[a]: tuple(str(column.get(matched[a])) for column in columns[1]) for a in group}
            if len(set(one.values())) == 1 or sorted(one.values()) != sorted(two.values()):
                continue
            ordered = zip(
                sorted(one, key=lambda a: (one[a], a)), sorted(two, key=lambda b: (two[b], b)), strict=True
            )
            matched.update(ordered)
            counts = Counter(one.values())
            self._parameters.guessed -= {a for a in group if counts[one[a]] == 1}

    def _differ_in_step(self, left: Event, right: Event) -> Iterator[Difference]:
        yield from differ_in_calls(left, right, training=False)
        yield from differ_in_saved(left, right)
        yield from differ_in_loaded(left, right)
        yield from differ_in_calls(left, right, training=True)
        yield from self._differ_in_outputs(left, right)
        yield from differ_in_loss(left, right)
        yield from self._differ_in_columns(left, right)
        yield from self._differ_in_buffers(left, right)
        yield from self._differ_in_others(left["others"], right["others"])
        yield from differ_in_rng(left["rng"], right["rng"])

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
        columns = {
            name: (self._left.column(left, name), self._right.column(right, name)) for name in _COLUMNS
        }
        yield from self._differ_in_lost(columns["gradients"][0])
        alive = self._list_alive(*columns["gradients"])
        for name, (before, now) in columns.items():
            changed = [
                (a, before.get(a, _ABSENT), now.get(b, _ABSENT))
                for a, b in alive
                if before.get(a, _ABSENT) != now.get(b, _ABSENT)
            ]
            if changed and _ABSENT in changed[0][1:]:
                yield self._describe_absent(changed, len(alive))
                return
            if changed:
                yield self._describe_column(name, changed, len(alive), left["step"])

    def _list_alive(self, before: Mapping[int, str], now: Mapping[int, str]) -> list[tuple[int, int]]:
        """Give the pairs of parameters of whose gradients something can be said.

        Nothing can of one that one side leaves out and that has no gradient.
        """
        return [
            (a, b)
            for a, b in self._parameters.pairs.items()
            if (a in before) == (b in now) or {before.get(a), now.get(b)} != {None, NOTHING}
        ]

    def _differ_in_lost(self, gradients: Mapping[int, str]) -> Iterator[Difference]:
        """Tell of a parameter that the baseline trains and that the other side does not have."""
        unmatched = [
            self._left.parameters[a].name
            for a, digest in gradients.items()
            if a not in self._parameters.pairs and digest != NOTHING
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

    def _describe_absent(self, changed: _Changed, num_alive: int) -> Difference:
        """Tell of a parameter that one of both optimizers does not hold."""
        index, before, now = changed[0]
        tensor = self._left.parameters[index]
        return Difference(
            key="lost parameter",
            phase="optimizer",
            name=tensor.name,
            what=f"{tensor.name} {tensor.shape} ({len(changed)} of {num_alive} differ)",
            expected=_ABSENT if before == _ABSENT else "updated by the optimizer",
            actual=_ABSENT if now == _ABSENT else "updated by the optimizer",
        )

    def _describe_column(self, name: str, changed: _Changed, num_alive: int, step: int) -> Difference:
        """Tell of what an optimizer's step holds per parameter and both sides hold otherwise."""
        index, before, now = changed[0]
        tensor = self._left.parameters[index]
        phase, label = _COLUMNS[name]
        if name == "hyper":
            before, now = only_changed(before, now)
            phase = self._phase_of_hyper(before, step)
        return Difference(
            key=name,
            phase=phase,
            name=before.partition("=")[0] if name == "hyper" else tensor.name,
            what=f"{label} of {tensor.name} {tensor.shape} ({len(changed)} of {num_alive} differ)",
            expected="zero" if before == NOTHING else before,
            actual="zero" if now == NOTHING else now,
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
        for copied in (False, True):
            here = [index for index in changed if self._left.buffers[index].copied is copied]
            moved = [index for index in here if index in moving]
            if not here:
                continue
            index = (moved or here)[0]
            tensor = tensors[index]
            of = " of a copy of the model" if copied else ""
            yield Difference(
                key="averages" if copied else "buffers",
                phase="optimizer" if copied else "forward",
                name=tensor.name,
                hard=bool(moved),
                what=f"buffer {tensor.name} {tensor.shape}{of} ({len(here)} differ)",
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
        summaries = self._left.read_rest(), self._right.read_rest()
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
        yield from differ_in_calls(left, right, training=False)
        yield from differ_in_saved(left, right)
        yield from differ_in_calls(left, right, training=True)
        for name, tensors, matches, label in (
            ("values", self._left.parameters, self._parameters.pairs, "final value"),
            ("buffers", self._left.buffers, self._buffers.pairs, "buffer"),
            ("others", self._left.others, self._others.pairs, "weight of a copy of the model:"),
        ):
            a, b = split(left[name]), split(right[name])
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
        yield from self._differ_in_last_state(left, right)
        yield from self._differ_in_last_hyper(left, right)
        yield from differ_in_rng(left["rng"], right["rng"])

    def _differ_in_last_state(self, left: Event, right: Event) -> Iterator[Difference]:
        """State that is laid out otherwise says nothing; laid out alike it must hold the same numbers."""
        values = [merge_states(side, event) for side, event in ((self._left, left), (self._right, right))]
        changed = [
            a
            for a, b in self._parameters.pairs.items()
            if a in values[0] and b in values[1] and values[0][a][0] == values[1][b][0]
            and values[0][a][1] != values[1][b][1]
        ]  # fmt: skip
        if changed:
            tensor, other = self._left.parameters[changed[0]], self._parameters.pairs[changed[0]]
            yield Difference(
                key="last state",
                phase="optimizer",
                name=tensor.name,
                what=f"optimizer state of {tensor.name} {tensor.shape} ({len(changed)} differ)",
                expected=values[0][changed[0]][1],
                actual=values[1][other][1],
            )

    def _differ_in_last_hyper(self, left: Event, right: Event) -> Iterator[Difference]:
        values = [merge_hyper(side, event) for side, event in ((self._left, left), (self._right, right))]
        for a, b in self._parameters.pairs.items():
            before, now = values[0].get(a), values[1].get(b)
            if before and now and before != now:
                before, now = only_changed(before, now)
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
        for key, before in left.items():
            now = right.get(key)
            if now is not None and before != now:
                yield f"{key}: {' -> '.join(only_changed(before, now))}"
            elif now is None and not key.startswith("settings"):
                yield f"{key}: {before} -> (gone)"
        for key, now in right.items():
            if key not in left and not key.startswith("settings"):
                yield f"{key}: (new) -> {now}"

    def _list_drift(self) -> Iterator[tuple[int, str, str]]:
        if self._first is None:
            return
        for step in sorted(self._left.losses.keys() & self._right.losses.keys()):
            if step >= self._first.step:
                yield step, self._left.losses[step][-1], self._right.losses[step][-1]


_ABSENT = "not in that optimizer"
# What an optimizer's step holds per parameter, in causal order: the phase it arises in, what it is called.
_COLUMNS = {
    "gradients": ("backward", "gradients"),
    "hyper": ("optimizer", "hyper-parameters"),
    "parameters": ("optimizer", "new value"),
    "state": ("optimizer", "optimizer state"),
}
