"""Trace files: JSON lines, `trace` first, then `init`, `optimizer` and `step` events, `end` last.

A file without `end` was cut off. Per parameter a step holds arrays in the order of its optimizer's
parameters; an `optimizer` event says which parameters of the `init` events these are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainkit.errors import CannotJudgeError
from trainkit.trace.record import FORMAT


@dataclass(frozen=True)
class Tensor:
    """One parameter or buffer as it was first seen: `shape` is `dtype[sizes]`."""

    name: str
    shape: str
    digest: str


@dataclass
class Trace:
    """One recorded process: its parameters, buffers, and steps in the order they happened."""

    parameters: list[Tensor] = field(default_factory=list)
    buffers: list[Tensor] = field(default_factory=list)
    initial_rng: dict[str, str] = field(default_factory=dict)
    optimizers: dict[int, list[int]] = field(default_factory=dict)  # number -> indices of parameters
    steps: list[dict[str, Any]] = field(default_factory=list)
    end: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    def first_step(self) -> str:
        """Give the line of the first step, or nothing."""
        return next((line for line in self.lines if line.startswith('{"event":"step"')), "")

    def has_trained(self) -> bool:
        """Tell whether a step changed a parameter; without that, equality means nothing."""
        known = {index: tensor.digest for index, tensor in enumerate(self.parameters)}
        for step in self.steps:
            for index, digest in zip(self.optimizers[step["optimizer"]], step["parameters"], strict=True):
                if known[index] != digest:
                    return True
        return False


def read_traces(folder: Path) -> list[Trace]:
    """Read the traces of all recorded processes of one command, ranks in order.

    Raises:
        CannotJudgeError: a trace is damaged, cut off, or holds an error of the recorder.
    """
    found = [
        (path.name[:4], parse_trace(path.read_text(encoding="utf-8").splitlines()))
        for path in folder.glob("*.jsonl")
    ]
    # Processes without a rank start in any order: told apart by what they did first.
    return [trace for _, trace in sorted(found, key=lambda pair: (pair[0], pair[1].first_step()))]


def parse_trace(lines: Iterable[str], *, origin: str = "the trace") -> Trace:
    """Build a trace from its lines; `origin` names it in messages.

    Raises:
        CannotJudgeError: not a trace, another format, cut off, or the recorder failed.
    """
    trace = Trace()
    try:
        for number, line in enumerate(lines):
            event = json.loads(line)
            if number == 0 and (event["event"] != "trace" or event["format"] != FORMAT):
                raise CannotJudgeError("trace-format", f"{origin} is not of format {FORMAT}; record it again")
            trace.lines.append(line)
            _add_event(trace, event)
    except (ValueError, KeyError, TypeError) as error:
        raise CannotJudgeError("trace-damaged", f"{origin}, line {number + 1}: {error!r}") from error
    if not trace.end:
        message = (
            f"{origin} is cut off after {len(trace.steps)} steps: the process was killed or left by os._exit"
        )
        raise CannotJudgeError("trace-cut-off", message)
    return trace


def _add_event(trace: Trace, event: dict[str, Any]) -> None:
    kind = event["event"]
    if kind == "init":
        trace.parameters += [Tensor(*row) for row in event["parameters"]]
        trace.buffers += [Tensor(*row) for row in event["buffers"]]
        trace.initial_rng = trace.initial_rng or event["rng"]
    elif kind == "optimizer":
        trace.optimizers[event["optimizer"]] = event["parameters"]
    elif kind == "step":
        trace.steps.append(event)
    elif kind == "end":
        trace.end = event
    elif kind == "problem":
        raise CannotJudgeError(
            "recorder-failed", f"the recorder failed in {event['where']}: {event['error']}"
        )
