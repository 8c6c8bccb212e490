"""A configured training, recorded in a tree."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trainkit.errors import CannotJudgeError
from trainkit.repo.process import run_in_tree
from trainkit.repo.trees import Tree, copy_tree
from trainkit.trace.store import Recording, find_recording
from trainkit.verify.run import PRELOAD

_FOLDER = ".trainkit/run"


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


def record(tree: Tree, run: Run, *, timeout_s: float) -> list[list[str]]:
    """Run the commands in a copy of `tree` and give the lines of the traces of their processes, in order.

    A copy, because what a training leaves behind must not reach the next one.

    Raises:
        CannotJudgeError: a command failed, or took no optimizer step.
    """
    traces: list[list[str]] = []
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
                preload=PRELOAD,
            )
            if done.returncode:
                message = f"on the {tree.side} side `{command}` left with status {done.returncode}"
                raise CannotJudgeError("training-failed", message, evidence=done.last_words())
            found = find_recording(recorded)
            if not found.paths:
                message = f"`{command}` called neither backward nor an optimizer's step: nothing to compare"
                raise CannotJudgeError("nothing-recorded", message)
            traces += [list(Recording(paths=(path,)).lines()) for path in found.paths]
    return traces


def to_shell(run: Run, root: Path) -> tuple[str, ...]:
    """Give one command that runs them all, in a tree of its own; what they share lies in that."""
    places = {"{run}": _FOLDER, "{root}": str(root)}
    lines = [shlex.join([_fill(word, places) for word in shlex.split(command)]) for command in run.commands]
    return "/bin/sh", "-c", " && ".join([f"mkdir -p {_FOLDER}", *lines])


def _fill(word: str, places: Mapping[str, str]) -> str:
    for name, path in places.items():
        word = word.replace(name, path)
    return word
