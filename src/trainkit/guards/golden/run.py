"""A configured training, recorded in a tree."""

from __future__ import annotations

import shlex
import tempfile
from dataclasses import dataclass
from pathlib import Path

from trainkit import trace
from trainkit.errors import CannotJudgeError
from trainkit.repo.process import run_in_tree
from trainkit.repo.trees import Tree
from trainkit.trace.store import Trace, read_traces

_PRELOAD = Path(trace.__file__).with_name("preload.py")


@dataclass(frozen=True)
class Run:
    """One training: its commands run one after the other, so that a resume is a process of its own.

    In a command `{run}` is an empty folder that the commands share, `{root}` the user's project
    (for data that git ignores).
    """

    commands: tuple[str, ...]


def record(tree: Tree, run: Run, *, timeout_s: float) -> list[Trace]:
    """Run the commands in `tree` and give the traces of their processes, in order.

    Raises:
        CannotJudgeError: a command failed, or took no optimizer step.
    """
    traces: list[Trace] = []
    with tempfile.TemporaryDirectory(prefix="trainkit-run-") as name:
        folder = Path(name)
        (folder / "run").mkdir()
        for number, command in enumerate(run.commands):
            recorded = folder / f"trace-{number}"
            recorded.mkdir()
            line = command.replace("{run}", str(folder / "run")).replace("{root}", str(tree.origin))
            done = run_in_tree(
                tree,
                shlex.split(line),
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
