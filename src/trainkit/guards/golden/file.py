"""A golden on disk: one line with the environment and the commands, then the lines of the traces."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trainkit.errors import CannotJudgeError, UsageError
from trainkit.trace.store import Event, parse_events

# What a program says of itself holds paths and times; a golden holds what it computes.
_LEFT_OUT = ('{"event":"facts"', '{"event":"program"', '{"event":"seed"')


@dataclass(frozen=True)
class Golden:
    """A stored expectation, or a fresh recording in the same form: the lines of each recorded process."""

    environment: dict[str, str]
    commands: list[str]
    traces: list[list[str]]

    def processes(self) -> Iterator[Iterator[Event]]:
        """Give the events of each process.

        Raises:
            CannotJudgeError: a trace is damaged or of another format.
        """
        for number, lines in enumerate(self.traces, start=1):
            yield parse_events((line + "\n" for line in lines), origin=f"trace {number} of the golden")


def read_golden(path: Path) -> Golden:
    """Read a golden.

    Raises:
        CannotJudgeError: it is damaged or of another format.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        header = json.loads(lines[0])
        environment, commands = dict(header["environment"]), list(header["commands"])
    except (ValueError, KeyError, IndexError, TypeError, OSError) as error:
        message = f"{path.name} has no header ({error!r}); write it anew: trainkit golden --update"
        raise CannotJudgeError("golden-damaged", message) from error
    starts = [number for number, line in enumerate(lines) if line.startswith('{"event":"trace"')]
    stops = [*starts[1:], len(lines)]
    return Golden(environment, commands, [lines[a:b] for a, b in zip(starts, stops, strict=True)])


def write_golden(path: Path, golden: Golden) -> None:
    """Write a golden, making its folder; an old one is replaced whole or not at all.

    Raises:
        UsageError: it cannot be written there.
    """
    header = json.dumps({"environment": golden.environment, "commands": golden.commands})
    lines = [header, *(line for trace in golden.traces for line in trace if not line.startswith(_LEFT_OUT))]
    temporary = path.with_suffix(".writing")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise UsageError("output-not-writable", f"the golden {path}: {error.strerror}") from error
