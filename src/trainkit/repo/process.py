"""Programs run in a tree: a fixed environment, and proof that they loaded the tree's own files."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainkit.errors import CannotJudgeError
from trainkit.repo.signals import hold_signals, wait_for
from trainkit.repo.trees import Tree

_BOOTSTRAP = Path(__file__).with_name("bootstrap")
# Measuring coverage would load modules first, which an import measurement then does not see.
WITHOUT_COVERAGE = {"COVERAGE_PROCESS_START": "", "COVERAGE_PROCESS_CONFIG": ""}
# What changes results or timings between two runs of the same program.
_FIXED = {
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
}


@dataclass(frozen=True, kw_only=True)
class Completed:
    """A finished program: what it printed, and the project's source files that it loaded."""

    command: str
    returncode: int
    stdout: str
    stderr: str
    own: tuple[str, ...]
    foreign: tuple[str, ...]

    def last_words(self, num_lines: int = 12) -> tuple[str, ...]:
        """Give the end of what it printed, standard error first."""
        said = self.stderr.strip() or self.stdout.strip()
        return tuple(said.splitlines()[-num_lines:])


def run_in_tree(
    tree: Tree,
    command: Sequence[str],
    *,
    timeout_s: float,
    shown: str = "",
    environment: Mapping[str, str] | None = None,
    preload: Path | None = None,
    prove: bool = True,
    without: Sequence[str] = (),
) -> Completed:
    """Run `command` in the folder of `tree`, in a process group that never outlives the call.

    `preload` is a file that runs at the start of each Python process of the command; `shown` stands
    for the command in messages. Of the fixed variables those in `without` are left as the user has them.

    Raises:
        CannotJudgeError: it ran out of time, could not be started, or (with `prove`) loaded sources
            of the project from elsewhere than the tree, or none at all.
    """
    words = [_find_program(tree, command[0]), *command[1:]]
    shown = shown or " ".join(command)
    with tempfile.TemporaryDirectory(prefix="sources-", dir=tree.scratch) as folder:
        fixed = {key: value for key, value in _FIXED.items() if key not in without}
        given = dict(environment or {})
        variables = _child_environment(tree, given.pop("PYTHONPATH", None)) | fixed | given
        variables |= {"TRAINKIT_SOURCES": folder, "TRAINKIT_PRELOAD": str(preload or "")}
        variables["TRAINKIT_FIXED"] = ",".join(fixed)
        returncode, stdout, stderr = _communicate(words, shown, tree.path, variables, timeout_s)
        own, foreign = _read_sources(Path(folder))
    done = Completed(
        command=shown, returncode=returncode, stdout=stdout, stderr=stderr, own=own, foreign=foreign
    )
    if prove and returncode == 0:
        prove_sources(tree, done)
    return done


def _find_program(tree: Tree, word: str) -> str:
    """Give the program to start: our Python, or what only the user has, such as `.venv/bin/python`."""
    if word in {"python", "python3"}:
        return sys.executable
    own = tree.origin.absolute() / word
    is_left = os.sep in word and own.exists() and not (tree.path / word).exists()
    return str(own) if is_left else word


@dataclass(frozen=True, kw_only=True)
class Running:
    """A program that runs beside us: its process, what it has printed, and where its sources will be told."""

    tree: Tree
    process: subprocess.Popen[bytes]
    shown: str
    folder: Path

    def finish(self, timeout_s: float) -> Completed:
        """Wait for its end; it is killed when that does not come."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            wait_for(self.process, timeout_s)
        _kill_group(self.process)
        own, foreign = _read_sources(self.folder)
        said = [(self.folder / name).read_text(errors="replace") for name in ("stdout", "stderr")]
        code = self.process.returncode
        return Completed(
            command=self.shown, returncode=code, stdout=said[0], stderr=said[1], own=own, foreign=foreign
        )


@contextlib.contextmanager
def start_in_tree(
    tree: Tree,
    command: Sequence[str],
    *,
    shown: str,
    environment: Mapping[str, str],
    pass_fds: Sequence[int] = (),
    before_exec: Callable[[], None] | None = None,
) -> Iterator[Running]:
    """Start `command` as `run_in_tree` does, and go on beside it; it does not outlive the context."""
    words = [_find_program(tree, command[0]), *command[1:]]
    with tempfile.TemporaryDirectory(prefix="sources-", dir=tree.scratch) as name:
        folder = Path(name)
        variables = _child_environment(tree, None) | _FIXED | dict(environment)
        variables |= {"TRAINKIT_SOURCES": name, "TRAINKIT_PRELOAD": ""}
        with (
            (folder / "stdout").open("wb") as stdout,
            (folder / "stderr").open("wb") as stderr,
            _start(
                words,
                shown,
                variables,
                cwd=tree.path,
                stdout=stdout,
                stderr=stderr,
                pass_fds=pass_fds,
                preexec_fn=before_exec,
            ) as process,
        ):
            yield Running(tree=tree, process=process, shown=shown, folder=folder)


def _child_environment(tree: Tree, python_path: str | None) -> dict[str, str]:
    # Entries of the user's PYTHONPATH that lie in the project mean the same place in the tree.
    origin = str(tree.origin)
    if python_path is None:
        python_path = os.environ.get("PYTHONPATH", "")
    inherited = [
        str(tree.path) + entry.removeprefix(origin) if (entry + os.sep).startswith(origin + os.sep) else entry
        for entry in python_path.split(os.pathsep)
        if entry
    ]
    search = [str(_BOOTSTRAP), *tree.python_path(), *inherited]
    ours = {
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(search)),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "TRAINKIT_TREE": str(tree.path.resolve()),
        "TRAINKIT_TOP": str(tree.top.resolve()),
        "TRAINKIT_ORIGIN": str(tree.origin.resolve()),
    }
    # When a test runs a guard, the guard's own pytest is no worker of that test run.
    outer = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_XDIST")}
    return outer | ours


def _communicate(
    words: Sequence[str], shown: str, folder: Path, environment: Mapping[str, str], timeout_s: float
) -> tuple[int, str, str]:
    # Files, not pipes: a child that the program leaves behind would keep a pipe open.
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        try:
            with _start(words, shown, environment, cwd=folder, stdout=stdout, stderr=stderr) as process:
                wait_for(process, timeout_s)
        except subprocess.TimeoutExpired as error:
            message = f"{shown}: stopped after {timeout_s:g} s"
            raise CannotJudgeError("command-timeout", message) from error
        said = []
        for file in (stdout, stderr):
            file.seek(0)
            said.append(file.read().decode(errors="replace"))
    return process.returncode, said[0], said[1]


@contextlib.contextmanager
def _start(
    words: Sequence[str], shown: str, environment: Mapping[str, str], **more: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program in a process group of its own, which does not outlive the context."""
    process = None
    try:
        with hold_signals():
            try:
                process = subprocess.Popen(
                    words, env=environment, stdin=subprocess.DEVNULL, start_new_session=True, **more
                )
            except OSError as error:
                message = f"{shown or repr(words[0])}: {error.strerror}"
                raise CannotJudgeError("command-not-started", message) from error
        yield process
    finally:
        if process:
            _kill_group(process)
        _kill_strays(environment)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with hold_signals():
        process.wait()


def _kill_strays(environment: Mapping[str, str]) -> None:
    """Kill what has left the group: torchrun gives each worker a session of its own.

    All that a program starts inherits its environment, in which one folder is this run's alone.
    """
    mark = f"TRAINKIT_SOURCES={environment['TRAINKIT_SOURCES']}".encode()
    for _ in range(3):  # one that is just being forked shows at the second look
        found = False
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has ended, or is another user's
                if mark in (path / "environ").read_bytes().split(b"\0"):
                    found = True
                    os.kill(int(path.name), signal.SIGKILL)
        if not found:
            return
        time.sleep(0.01)


def _read_sources(folder: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    own: set[str] = set()
    foreign: set[str] = set()
    for path in folder.glob("*.json"):
        loaded = json.loads(path.read_text())
        own.update(loaded["own"])
        foreign.update(loaded["foreign"])
    return tuple(sorted(own)), tuple(sorted(foreign))


def prove_sources(tree: Tree, done: Completed) -> None:
    """Make sure that a program ran on the sources of its tree.

    Raises:
        CannotJudgeError: it loaded sources of the project from elsewhere, or none.
    """
    if done.foreign:
        message = (
            f"{done.command}: on the {tree.side} side it loaded {done.foreign[0]}, not the copy in its tree"
        )
        raise CannotJudgeError("foreign-sources", message)
    if not done.own:
        message = f"{done.command}: on the {tree.side} side it loaded no Python file of the project"
        raise CannotJudgeError("no-own-sources", message)
