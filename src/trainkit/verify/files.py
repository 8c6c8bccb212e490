"""Recorded traces as files: two compared, one put into words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from trainkit.trace.differ import show_loss
from trainkit.trace.store import Event, read_trace
from trainkit.verify.judge import conclude, judge_environments, judge_vacuous
from trainkit.verify.pairs import compare_processes
from trainkit.verify.result import Verification


def compare_files(expected: Path, actual: Path) -> Verification:
    """Compare two `.trace` files, each read once.

    Raises:
        UsageError: no such file.
        CannotJudgeError: not a trace, damaged, or of another number of processes.
    """
    (left_header, left), (right_header, right) = read_trace(expected), read_trace(actual)
    pair = compare_processes(left, right)
    commands = left_header.get("command", ""), right_header.get("command", "")
    notes = (
        (f"recorded from another command: {commands[0]} -> {commands[1]}",)
        if commands[0] != commands[1]
        else ()
    )
    return judge_environments(pair) or judge_vacuous(pair) or conclude(pair, notes=notes)


def describe_file(path: Path) -> Iterator[str]:
    """Give a trace in words, line by line.

    Raises:
        UsageError: no such file.
        CannotJudgeError: not a trace, or damaged.
    """
    header, processes = read_trace(path)
    yield f"command      {header.get('command', '')}"
    yield f"on           {', '.join(header.get('settings', ()))}"
    if header.get("broke"):
        yield f"broke        {header['broke']}"
    for number, process in enumerate(processes):
        yield f"\nprocess {number}"
        yield from _describe_process(process)


def _describe_process(events: Iterator[Event]) -> Iterator[str]:
    for event in events:
        kind = event["event"]
        if kind == "init":
            rows = event.get("parameters", []) + event.get("others", [])
            if rows:
                more = "" if len(rows) == 1 else f" and {len(rows) - 1} more"
                yield f"  {len(rows)} tensors first seen: {rows[0][0]} {rows[0][1]}{more}"
        elif kind == "seed":
            yield f"  {event['what']} seeded with {event['value']} at {event['line']}"
        elif kind == "optimizer":
            who = f"optimizer {event['optimizer']}: {event['facts'].get('class', '')}"
            who = "updates by hand" if event["optimizer"] < 0 else who
            yield f"  {who}, {len(event['parameters'])} parameters"
        elif kind == "step":
            yield "  " + _describe_step(event)
        elif kind == "end":
            how = "stopped after" if event["stopped"] else "ended after"
            environment = event["environment"]
            where = f"torch {environment['torch']}, probe {environment['probe']}"
            yield f"  {how} {event['steps']} steps, {where}"


def _describe_step(event: Event) -> str:
    calls = [call[0] for call in event.get("calls", ())]
    parts = [f"step {event['step']}: loss {' '.join(map(show_loss, event.get('loss', []))) or 'none'}"]
    for flag, word in (("t", "training"), ("e", "evaluation"), ("g", "evaluating with gradients")):
        if flag in calls:
            parts.append(f"{calls.count(flag)}x {word}")
    parts += [key for key in ("saved", "resumed") if event.get(key)]
    if "hyper" in event:
        parts.append(" | ".join(event["hyper"][0]))
    return ", ".join(parts)
