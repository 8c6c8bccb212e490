"""One command, run in a copy of a tree and recorded."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trainkit import trace
from trainkit.errors import CannotJudgeError
from trainkit.repo.process import Completed, prove_sources, run_in_tree
from trainkit.repo.trees import Tree, copy_tree, give_history
from trainkit.trace.store import Recording, find_recording, find_written
from trainkit.verify.options import RunOptions
from trainkit.verify.outputs import Outputs, are_known, keep_repeated_outputs, read_outputs
from trainkit.verify.printed import is_known, join_streams, keep_repeated

PRELOAD = Path(trace.__file__).with_name("preload.py")
_REST_S = 0.03  # between what is copied and what the program writes: file systems know no finer time
_QUOTED = re.compile(r"(?<!\w)['\"]([^'\"\n]{1,300})['\"]")  # no apostrophe


@dataclass(frozen=True, kw_only=True)
class Run:
    """A recorded run: its traces, what it printed, and why it broke if it did."""

    side: str
    recording: Recording
    stdout: str = ""  # and standard error, see `join_streams`
    outputs: Outputs = field(default_factory=dict)
    noise: tuple[str, ...] = ()  # what differs in a second run of the same code, and decides nothing
    unsteady: tuple[str, ...] = ()  # random generators that something draws from that does not repeat
    broke: str = ""
    evidence: tuple[str, ...] = ()


def record_run(
    tree: Tree, options: RunOptions, *, into: Path, hash_seed: str = "", deep: Mapping[str, Any] | None = None
) -> Run:
    """Run the command in a copy of `tree`; its traces land in `into`. A run that broke is a value, too.

    `deep` are options of the recorder beside those of every run: another `level`, or the step whose
    operations are recorded, for which compilation is switched off.

    Raises:
        CannotJudgeError: it could not be started, or ran on other sources than the tree's.
    """
    into.mkdir(parents=True)
    environment = {
        **options.environment(hash_seed=hash_seed),
        "TRAINKIT_TRACE": str(into),
        "TRAINKIT_TRACE_OPTIONS": json.dumps(options.trace_options() | dict(deep or {})),
        **({"TORCHDYNAMO_DISABLE": "1"} if deep and "deep" in deep else {}),
    }
    with copy_tree(tree, share=options.share) as copy:
        time.sleep(_REST_S)
        done, broke, began = None, "", time.time_ns()
        try:
            done = run_in_tree(
                copy,
                list(options.command),
                shown=options.shown(),
                timeout_s=options.timeout_s,
                environment=environment,
                preload=PRELOAD,
                prove=False,
                without=options.left_alone(),
            )
        except CannotJudgeError as error:
            if error.slug != "command-timeout":
                raise
            broke = str(error)
        recording = find_recording(into)
        if done is None:
            return Run(side=tree.side, recording=recording, broke=broke)
        if done.returncode and not _stopped_by_us(recording):
            broke = f"on the {tree.side} side `{options.shown()}` left with status {done.returncode}"
            broke += _advise_share(tree, copy, done)
        if recording.paths or not broke:
            prove_sources(copy, done)
        evidence = tuple(line.replace(str(copy.path) + "/", "") for line in done.last_words())
        return Run(
            side=tree.side,
            recording=recording,
            stdout=join_streams(done.stdout, done.stderr).replace(str(copy.top), ""),
            outputs=read_outputs(copy.top, began, beside=find_written(into)),
            broke=broke,
            evidence=evidence if broke else (),
        )


def keep_what_repeats(first: Run, second: Run, *, known: bool = False) -> Run:
    """Give the first of two runs of the same code without what the second printed or left otherwise.

    With `known` the second is what repeats of a run, which the first `repeats`.
    """
    return replace(
        first,
        stdout=keep_repeated(first.stdout, second.stdout, known=known),
        outputs=keep_repeated_outputs(first.outputs, second.outputs, known=known),
    )


def repeats(run: Run, known: Run) -> bool:
    """Tell whether all that a run printed and left is in one of which only what repeats is left."""
    return is_known(run.stdout, known.stdout) and are_known(run.outputs, known.outputs) and not known.noise


def prepare(tree: Tree, options: RunOptions) -> None:
    """Run the setup command in a tree, once.

    Raises:
        CannotJudgeError: it failed.
    """
    if not options.setup:
        return
    command = ["/bin/sh", "-c", options.setup]
    environment = options.environment()
    is_copy = not (tree.top / ".git").exists()
    if is_copy:  # of the working tree: a build may ask for its version
        give_history(tree, tree.top)
    done = run_in_tree(
        tree, command, shown=options.setup, timeout_s=options.timeout_s, environment=environment, prove=False
    )
    if is_copy:
        shutil.rmtree(tree.top / ".git", ignore_errors=True)
    if done.returncode:
        message = f"--setup `{options.setup}` left with status {done.returncode} on the {tree.side} side"
        raise CannotJudgeError("setup-failed", message, evidence=done.last_words())


def _stopped_by_us(recording: Recording) -> bool:
    """Tell whether the program ended because it had taken as many steps as were asked for."""
    for path in recording.paths:
        with path.open(encoding="utf-8") as file:
            last = ""
            for line in file:
                last = line
        if '"stopped":true' in last[:200]:
            return True
    return False


def _advise_share(tree: Tree, copy: Tree, done: Completed) -> str:
    """Name what the user's folder has and the tree lacks, of the paths in an error message."""
    said = done.stderr + done.stdout
    missed = r"FileNotFound|ModuleNotFound|No such file|not found|does not exist|cannot find"
    if not re.search(missed, said):
        return ""
    for text in _QUOTED.findall(said):
        relative = text.removeprefix(str(copy.path)).removeprefix(str(tree.origin)).lstrip("/")
        for path in (Path(relative), Path(relative).parent):
            if path.parts and not (copy.path / path).exists() and (advice := _advise_path(tree, path)):
                return advice
    for name in _list_empty_submodules(tree):
        if "ModuleNotFound" in said or name in said:
            help_ = f"git submodule update --init, or git -C {shlex.quote(name)} fetch"
            return f"; the submodule {name} is empty there: {help_}"
    return ""


def _advise_path(tree: Tree, path: Path) -> str:
    """Say where a path is that the tree lacks: in the folder where the user stands, or ignored by git."""
    here = Path.cwd()
    if here != tree.origin and here.is_relative_to(tree.origin) and (here / path).exists():
        return f"; it runs in {tree.origin}, where this is {here.relative_to(tree.origin) / path}"
    if (tree.origin / path).exists():
        return f"; git ignores {path}, which your folder has: --share {shlex.quote(str(path))}"
    return ""


def _list_empty_submodules(tree: Tree) -> list[str]:
    """Give the submodules that the user's clone lacks, or lacks at the commit of the tree."""
    path = tree.top / ".gitmodules"
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    names = re.findall(r"^\s*path\s*=\s*(.+?)\s*$", text, re.MULTILINE)
    return [name for name in names if not any(Path(tree.top, name).glob("*"))]
