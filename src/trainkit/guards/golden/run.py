"""A configured training, recorded in a tree."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trainkit import trace
from trainkit.errors import CannotJudgeError
from trainkit.repo.process import run_in_tree
from trainkit.repo.trees import Tree, copy_tree
from trainkit.trace.store import Trace, read_traces

_PRELOAD = Path(trace.__file__).with_name("preload.py")


@dataclass(frozen=True)
class Run:
    """One training: its commands run one after the other, so that a resume is a process of its own.

    In a command `{run}` is an empty folder that the commands share, `{root}` the user's project
    (for data that git ignores).
    """

    commands: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.commands:
            raise ValueError("commands = []: a run needs at least one")
        for command in self.commands:
            try:
                words = shlex.split(command)
            except ValueError as error:
                raise ValueError(f"commands: {command!r}: {error}") from error
            if not words:
                raise ValueError("commands: an empty command")


def record(tree: Tree, run: Run, *, timeout_s: float) -> list[Trace]:
    """Run the commands in a copy of `tree` and give the traces of their processes, in order.

    A copy, because what a training leaves behind must not reach the next one.

    Raises:
        CannotJudgeError: a command failed, or took no optimizer step.
    """
    traces: list[Trace] = []
    with copy_tree(tree) as copy:
        folder = copy.scratch
        (folder / "run").mkdir()
        for number, command in enumerate(run.commands):
            recorded = folder / f"trace-{number}"
            recorded.mkdir()
            places = {"{run}": str(folder / "run"), "{root}": str(tree.origin)}
            done = run_in_tree(
                copy,
                [_fill(word, places) for word in shlex.split(command)],
                shown=command,
                timeout_s=timeout_s,
                environment={"TRAINKIT_TRACE": str(recorded)},
                preload=_PRELOAD,
            )
            if done.returncode:
                message = f"on the {tree.side} side `{command}` left with status {done.returncode}"
                raise CannotJudgeError("training-failed", message, evidence=done.last_words())
            found = read_traces(recorded)
            if not found:
                message = f"`{command}` took no step of a torch optimizer: there is nothing to compare"
                raise CannotJudgeError("nothing-recorded", message)
            traces += found
    return traces


def _fill(word: str, places: Mapping[str, str]) -> str:
    for name, path in places.items():
        word = word.replace(name, path)
    return word
