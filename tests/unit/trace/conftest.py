"""Recorded programs as processes of their own, forked from one that has imported torch: 0.2 s, not 3."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import trainkit.trace
from trainkit.trace.store import find_recording

PRELOAD = Path(trainkit.trace.__file__).with_name("preload.py")
TIMEOUT_S = 120

# Reads requests from its standard input; runs each program in a child, and says how the child ended.
SERVER = """
import atexit, gc, json, os, runpy, signal, sys, threading, time, traceback
import numpy.random, torch, torch._dynamo, torch.utils.checkpoint  # what a first step would import

def start(request):
    os.environ.update(request["env"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.chdir(request["folder"])
    import random
    random.seed()  # else all children draw alike whatever the recorder does
    torch.seed()
    numpy.random.seed()
    if request["recorded"]:
        runpy.run_path(request["preload"], run_name="preload")
    exec(request["after"], {})
    runpy.run_path(request["program"], run_name="__main__")

gc.collect()
gc.freeze()  # the recorder looks through what a program made; what torch made at its import is half of its time
request = None
for line in iter(sys.stdin.readline, ""):
    child = os.fork()
    if not child:
        request = json.loads(line)
        break
    deadline, status = time.monotonic() + TIMEOUT_S, (0, 0)
    while status == (0, 0):
        status = os.waitpid(child, os.WNOHANG)
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            status = os.waitpid(child, 0)
        time.sleep(0.005)
    print(os.waitstatus_to_exitcode(status[1]), flush=True)
if request:
    code = 0
    try:
        start(request)
    except SystemExit as error:
        code = error.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(code)  # to take a forked interpreter apart takes three seconds
""".replace("TIMEOUT_S", str(TIMEOUT_S))


@dataclass(frozen=True)
class Done:
    """A program that has ended: what it said, and what was recorded of it."""

    returncode: int
    stdout: str
    stderr: str
    folder: Path

    def events(self) -> list[dict[str, Any]]:
        """Give the events of the only recorded process."""
        (process,) = find_recording(self.folder).processes()
        return list(process)

    def find(self, kind: str, **entries: Any) -> list[dict[str, Any]]:
        """Give the events of a kind that hold these entries."""
        wanted = {"event": kind, **entries}
        return [event for event in self.events() if wanted.items() <= event.items()]

    def steps(self) -> list[dict[str, Any]]:
        return self.find("step")

    def end(self) -> dict[str, Any]:
        (event,) = self.find("end")
        return event


class Workshop:
    """One warm process for all programs that are recorded in a test session."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            env=os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"} | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, request: dict[str, Any]) -> int:
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline())

    def close(self) -> None:
        for pipe in (self._server.stdin, self._server.stdout):
            assert pipe is not None
            pipe.close()
        self._server.wait(timeout=30)


@pytest.fixture(scope="session")
def workshops(uncovered):
    """Workshops by whether the coverage of their programs is measured, made when one is asked for."""
    made: dict[bool, Workshop] = {}

    def give(covered: bool) -> Workshop:
        covered = covered and "COVERAGE_PROCESS_START" in os.environ | uncovered
        if covered not in made:
            made[covered] = Workshop({} if covered else uncovered)
        return made[covered]

    yield give
    for workshop in made.values():
        workshop.close()


@pytest.fixture
def run(tmp_path, workshops):
    """Run a program in a process of its own, recorded unless told otherwise.

    `after` is code that runs between the recorder's start and the program's; `program.py` lies in a
    folder that counts as the user's tree.
    """
    count = iter(range(1000))

    def start(
        source: str,
        *,
        recorded: bool = True,
        after: str = "",
        covered: bool = False,
        folder: Path | None = None,
        env: dict[str, str] | None = None,
        **options: Any,
    ) -> Done:
        place = tmp_path / f"run{next(count)}"
        (place / "trace").mkdir(parents=True)
        tree = folder or tmp_path / "tree"
        tree.mkdir(exist_ok=True)
        (tree / "program.py").write_text(textwrap.dedent(source))
        variables = {
            "TRAINKIT_TRACE": str(place / "trace"),
            "TRAINKIT_TRACE_OPTIONS": json.dumps(options),
            "TRAINKIT_TREE": str(tree),
        }
        code = workshops(covered).run(
            {
                "env": variables | (env or {}),
                "folder": str(tree),
                "stdout": str(place / "stdout"),
                "stderr": str(place / "stderr"),
                "recorded": recorded,
                "preload": str(PRELOAD),
                "after": textwrap.dedent(after),
                "program": str(tree / "program.py"),
            }
        )
        said = [(place / name).read_text() for name in ("stdout", "stderr")]
        return Done(code, said[0], said[1], place / "trace")

    return start


@pytest.fixture
def run_fresh(tmp_path, uncovered):
    """Run a program in a fresh process, as a user's is: torch is imported after the recorder was armed."""
    count = iter(range(1000))

    def start(
        source: str, *, recorded: bool = True, covered: bool = False, early: str = "pass", **options: Any
    ) -> Done:
        place = tmp_path / f"fresh{next(count)}"
        (place / "trace").mkdir(parents=True)
        program = place / "program.py"
        program.write_text(textwrap.dedent(source))
        load = f"import runpy; runpy.run_path({str(PRELOAD)!r}, run_name='preload'); " if recorded else ""
        variables = {
            "TRAINKIT_TRACE": str(place / "trace"),
            "TRAINKIT_TRACE_OPTIONS": json.dumps(options),
            "TRAINKIT_TREE": str(place),
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
        }
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                f"{early}; {load}import runpy; runpy.run_path({str(program)!r}, run_name='__main__')",
            ],
            env=os.environ | variables | ({} if covered else uncovered),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr, place / "trace")

    return start
