"""One trace, read step by step: what it has told so far of tensors, optimizers and itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from trainkit.trace.match import Tensor
from trainkit.trace.store import Event

WIDTH = 16
NOTHING = "0" * WIDTH  # the digest of a missing or zero gradient
_MOST_LOSSES = 2000  # kept to show how far they drift


@dataclass(kw_only=True)
class Summary:
    """What one trace holds, whatever the other does."""

    num_steps: int = 0
    num_backwards: int = 0
    num_evaluations: int = 0
    num_saved: int = 0
    num_resumed: int = 0
    evaluates: bool = False  # and does nothing else: no backward, no step
    trained: bool = False  # a step changed a parameter
    not_finite: str = ""  # the first loss that is no number, with its step
    only_not_finite: bool = True
    complete: bool = False
    stopped: bool = False
    scheduled: bool = False  # settings of an optimizer change from step to step
    compiled: bool = False
    elsewhere: bool = False  # something ran in a thread that is not recorded
    environment: dict[str, str] = field(default_factory=dict)


class Side:
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

    def read_rest(self) -> Summary:
        """Read to the end and give the summary."""
        while self.read_step() is not None:
            pass
        return self.summary

    def _learn(self, kind: str, event: Event) -> None:
        if kind == "init":
            for row in event.get("parameters", ()):
                self.last[len(self.parameters)] = row[3] if len(row) > 3 else row[2]
                self.parameters.append(Tensor(*row[:3]))
                self.adopted.append(event["step"])
            self.others += [Tensor(*row) for row in event.get("others", ())]
            self.buffers += [
                Tensor(name, shape, digest, "others" in event) for name, shape, digest in event["buffers"]
            ]
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
        calls = event.get("calls", ())
        summary.num_evaluations += sum(call[0] == "e" for call in calls) + event.get("folded", 0)
        summary.num_saved += len(event.get("saved", ()))
        summary.num_resumed += event.get("resumed", 0)
        if event["event"] == "end":
            self._take_end(event)
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
            event[name] = split(event.get(name, ""))
        self.called = event.get("called", self.called)  # written when it changes; a step without has none
        event["called"] = self.called if "outputs" in event else []
        event["outputs"] = split(event.get("outputs", ""))
        self._resolve_hyper(event)
        self._see_movement(event)
        return event

    def _take_end(self, event: Event) -> None:
        summary = self.summary
        summary.complete, summary.stopped = True, event["stopped"]
        summary.compiled = event["compiled"] > 0
        summary.elsewhere = event.get("elsewhere", 0) > 0
        trains = summary.num_steps or "loss" in event or summary.elsewhere
        summary.evaluates = "calls" in event and not trains
        summary.environment = event["environment"]
        first = [tensor.digest for tensor in self.parameters]
        summary.trained |= split(event["values"])[: len(first)] != first

    def _resolve_hyper(self, event: Event) -> None:
        number = event["optimizer"]
        if "hyper" in event:
            self.summary.scheduled |= number in self.hyper
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


def split(joined: str) -> list[str]:
    """Give the digests of a joined list."""
    return [joined[start : start + WIDTH] for start in range(0, len(joined), WIDTH)]


def merge_hyper(side: Side, end: Event) -> dict[int, str]:
    """Give the last settings of each parameter, over all optimizers."""
    merged: dict[int, str] = {}
    for row in end["optimizers"]:
        if row["hyper"]:
            settings, which = row["hyper"]
            indices = side.optimizers[row["optimizer"]]
            merged |= {index: settings[number] for index, number in zip(indices, which, strict=True)}
    return merged


def merge_states(side: Side, end: Event) -> dict[int, tuple[str, str]]:
    """Give the layout and the content of the last state of each parameter, as digests."""
    merged: dict[int, tuple[str, str]] = {}
    for row in end["optimizers"]:
        pairs = zip(split(row.get("layout", "")), split(row["state"]), strict=False)
        merged |= dict(zip(side.optimizers[row["optimizer"]], pairs, strict=False))
    return merged
