"""Trace files: JSON lines, read one event at a time.

A recorded process is `trace` first, then `program`, `init`, `optimizer`, `facts`, `seed` and `step` events,
`end` last; one without `end` was cut off. Lists of digests are joined, 16 digits each. A step leaves out what
is empty and, in `hyper` and `called`, what is as in the step before. A `.trace` file is gzip of one header
line and the processes of one command, ranks in order. docs/trace_format.md says it field by field.
"""

from __future__ import annotations

import gzip
import itertools
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainkit.errors import CannotJudgeError, UsageError
from trainkit.trace.record import FORMAT

Event = dict[str, Any]
_START = '{"event":"trace"'


@dataclass(frozen=True, kw_only=True)
class Recording:
    """The recorded processes of one command: files of JSON lines, ranks in order."""

    paths: tuple[Path, ...]

    def processes(self) -> list[Iterator[Event]]:
        """Give the events of each process, read when they are asked for."""
        return [read_events(path) for path in self.paths]

    def programs(self) -> list[str]:
        """Give what each process was started as; "" for a trace that does not say."""
        found = []
        for events in self.processes():
            second = next(itertools.islice(events, 1, None), {})
            found.append(second["words"] if second.get("event") == "program" else "")
        return found

    def stages(self) -> list[int]:
        """Give for each process how many of the others had ended when it began."""
        ends = [path.stat().st_mtime_ns for path in self.paths]
        return [sum(end < begin for end in ends) for begin in self.begins()]

    def begins(self) -> list[int]:
        """Give when each process began, in nanoseconds."""
        return [int(path.name.split("-")[1]) for path in self.paths]

    def lines(self) -> Iterator[str]:
        """Give the lines of all processes, one after the other."""
        for path in self.paths:
            with path.open(encoding="utf-8") as file:
                # A line without its end was being written when the process was killed.
                yield from (line[:-1] for line in file if line.endswith("\n"))


def find_recording(folder: Path) -> Recording:
    """Give what the recorder left in `folder`: ranks in order, others told apart by their first step."""
    found = sorted(folder.glob("*.jsonl"), key=lambda path: (path.name[:4], _first_step(path), path.name))
    return Recording(paths=tuple(found))


def find_written(folder: Path) -> dict[Path, int]:
    """Give the files outside of the tree that the processes wrote, with how many bytes were there before."""
    found: dict[Path, int] = {}
    for path in folder.glob("written-*.txt"):
        for line in path.read_text(encoding="utf-8").splitlines():
            name, size = json.loads(line)
            found[Path(name)] = min(size, found.get(Path(name), size))
    return found


def _first_step(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        return next((line for line in file if line.startswith('{"event":"step"')), "")


def read_events(path: Path) -> Iterator[Event]:
    """Give the events of one recorded process.

    Raises:
        CannotJudgeError: not a trace, another format, damaged, or the recorder failed.
    """
    with path.open(encoding="utf-8") as file:
        yield from parse_events(file, origin=path.name)


def parse_events(lines: Iterable[str], *, origin: str) -> Iterator[Event]:
    """Give the events of lines; `origin` names them in messages. A cut-off last line is the end.

    Raises:
        CannotJudgeError: not a trace, another format, damaged, or the recorder failed.
    """
    for number, line in enumerate(lines):
        try:
            event = json.loads(line)
            kind = event["event"]
        except (ValueError, KeyError, TypeError) as error:
            if number and not line.endswith("\n"):  # killed while it wrote
                return
            raise CannotJudgeError("trace-damaged", f"{origin}, line {number + 1}: {error!r}") from error
        if number == 0 and (kind != "trace" or event.get("format") != FORMAT):
            raise CannotJudgeError("trace-format", f"{origin} is not of format {FORMAT}; record it again")
        if kind == "problem":
            message = f"the recorder failed in {event['where']}: {event['error']}"
            raise CannotJudgeError("recorder-failed", message)
        yield event


def write_trace(path: Path, header: dict[str, Any], recording: Recording) -> None:
    """Write a `.trace` file; an old one is replaced whole or not at all.

    Raises:
        UsageError: it cannot be written there.
    """
    temporary = path.with_name(path.name + ".writing")
    try:
        with gzip.open(temporary, "wt", encoding="utf-8", compresslevel=6) as file:
            file.write(json.dumps({"event": "recording", "format": FORMAT} | header) + "\n")
            for line in recording.lines():
                file.write(line + "\n")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UsageError("output-not-writable", f"{path}: {error.strerror or error}") from error


def read_trace(path: Path) -> tuple[dict[str, Any], Iterator[Iterator[Event]]]:
    """Give the header of a `.trace` file and its processes, each to be read before the next.

    Raises:
        UsageError: there is no such file.
        CannotJudgeError: it is no trace file, of another format, or cut off.
    """
    if not path.is_file():
        raise UsageError("no-such-trace", f"no file {path}")
    lines = _unpack(path)
    first = next(lines, "")
    try:
        header = json.loads(first)
        known = header["event"] == "recording" and header["format"] == FORMAT
    except (ValueError, KeyError, TypeError):
        header, known = {}, False
    if not known:
        message = f"{path} is no trace of format {FORMAT}; make one with: trainkit record -o FILE -- COMMAND"
        raise CannotJudgeError("trace-format", message)
    return header, split_processes(lines, origin=path.name)


def split_processes(lines: Iterator[str], *, origin: str) -> Iterator[Iterator[Event]]:
    """Split lines into the events of one process after the other."""
    ahead: list[str] = list(itertools.islice(lines, 1))

    def one() -> Iterator[str]:
        yield ahead.pop()
        for line in lines:
            if line.startswith(_START):
                ahead.append(line)
                return
            yield line

    while ahead:
        current = one()
        yield parse_events(current, origin=origin)
        for _ in current:  # what its reader did not want
            pass


def _unpack(path: Path) -> Iterator[str]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            yield from file
    except (EOFError, zlib.error, UnicodeDecodeError, OSError) as error:
        what = "is cut off" if isinstance(error, EOFError) else "is no trace file, or damaged"
        raise CannotJudgeError("trace-damaged", f"{path} {what}: {error}; record it again") from error
