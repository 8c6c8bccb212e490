"""Signals that come at the worst moment: nothing is left, and nothing waits for ever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from trainkit.repo.process import run_in_tree
from trainkit.repo.signals import has_ended, hold_signals, terminate_as_exit, wait_for
from trainkit.repo.trees import open_trees

SLEEP = [sys.executable, "-c", "import time; time.sleep(100)"]


class _Lock:
    """Popen's lock, that a signal comes with when it is taken; it says so when nobody would give it back."""

    def __init__(self) -> None:
        self._lock, self.signals = threading.Lock(), [signal.SIGTERM]

    def acquire(self, blocking: bool = True) -> bool:
        assert not blocking or not self._lock.locked(), "this would wait for ever"
        taken = self._lock.acquire(blocking)
        while self.signals:
            signal.raise_signal(self.signals.pop())
        return taken

    def release(self) -> None:
        self._lock.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


@pytest.fixture
def plant(monkeypatch):
    """Call it, and each process that is started from now on gets its signal when its lock is taken first."""

    class Popen(subprocess.Popen):
        def __init__(self, *arguments, **more):
            super().__init__(*arguments, **more)
            self._waitpid_lock = _Lock()

    return lambda: monkeypatch.setattr(subprocess, "Popen", Popen)


def test_the_planted_lock_finds_what_it_is_for(plant):
    plant()
    process = subprocess.Popen(SLEEP)
    with terminate_as_exit(), pytest.raises(SystemExit):
        process.wait(timeout=50)
    with pytest.raises(AssertionError, match="for ever"):
        process.wait()
    process._waitpid_lock.release()
    process.kill()
    process.wait()


def test_a_wait_that_is_interrupted_can_be_waited_for_again(plant):
    plant()
    process = subprocess.Popen(SLEEP)
    with terminate_as_exit(), pytest.raises(SystemExit):
        wait_for(process, 50)
    with pytest.raises(subprocess.TimeoutExpired):
        wait_for(process, 0.01)
    assert not has_ended(process)
    process.kill()
    wait_for(process, 50)
    assert has_ended(process)


def test_a_program_is_stopped_when_the_signal_comes_with_the_lock(plant, make_project):
    project = make_project({"a.py": "import time; time.sleep(100)"})
    with open_trees(project.path, None) as (tree, _), pytest.raises(SystemExit):
        plant()
        run_in_tree(tree, ["python", "a.py"], timeout_s=50)


def test_a_program_that_a_signal_starts_with_is_ended(monkeypatch, make_project):
    """It is known, and reaped, when the signal is heeded."""
    started = []

    class Popen(subprocess.Popen):
        def __init__(self, *arguments, **more):
            super().__init__(*arguments, **more)
            started.append(self)
            signal.raise_signal(signal.SIGTERM)

    project = make_project({"a.py": "import time; time.sleep(100)"})
    with open_trees(project.path, None) as (tree, _), pytest.raises(SystemExit):
        monkeypatch.setattr(subprocess, "Popen", Popen)
        run_in_tree(tree, ["python", "a.py"], timeout_s=50)
    assert [process.returncode for process in started] == [-signal.SIGKILL]


def test_signals_are_held_from_all_threads():
    """Given to a thread, and their handlers called in the main one as ever."""
    leave = threading.Event()
    other = threading.Thread(target=leave.wait, daemon=True)
    other.start()
    seen = []
    with terminate_as_exit(), pytest.raises(SystemExit, match="143"), hold_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(10):
            time.sleep(0.001)
        seen.append("finished")
    assert seen == ["finished"]
    leave.set()
    other.join()


def test_another_thread_holds_nothing():
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def run() -> None:
        with terminate_as_exit(), hold_signals():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before]
