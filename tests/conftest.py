"""Real git repositories and real processes for the tests."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

collect_ignore = ["assets"]  # projects of their own
pytest_plugins = ["pytester"]

ASSETS = Path(__file__).parent / "assets"
REPOSITORY = Path(__file__).parents[1]


# A shell that runs tests in the background lets them ignore SIGINT, and all that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# For processes that import torch and run nothing that is not measured elsewhere: coverage doubles their time.
UNCOVERED = {"COVERAGE_PROCESS_START": "", "COVERAGE_PROCESS_CONFIG": ""}


@dataclass(frozen=True)
class Project:
    """A git repository of its own in a temporary folder."""

    path: Path

    def git(self, *arguments: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"]
        command = ["git", *identity, *arguments]
        return subprocess.run(
            command, cwd=self.path, check=True, capture_output=True, text=True
        ).stdout.strip()

    def write(self, name: str, text: str) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace `old`, which must be there: a fault that is not planted proves nothing."""
        text = (self.path / name).read_text(encoding="utf-8")
        assert old in text, f"{old!r} is not in {name}"
        self.write(name, text.replace(old, new))

    def commit(self, message: str = "change") -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)

    def trainkit(
        self, *arguments: str, timeout_s: float = 300, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the command line in the project, as a user does."""
        return subprocess.run(
            [sys.executable, "-m", "trainkit", *arguments],
            cwd=self.path,
            env=os.environ | {"COLUMNS": "200"} | environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def state(self) -> dict[str, bytes | str]:
        """Give everything a guard must leave alone: all files, the index, branches and worktrees."""
        files: dict[str, bytes | str] = {
            str(path.relative_to(self.path)): path.read_bytes()
            for path in self.path.rglob("*")
            if path.is_file() and not {".git", "__pycache__", ".trainkit"} & set(path.parts)
        }
        files["index"] = self.git("ls-files", "--stage")
        files["worktrees"] = self.git("worktree", "list")
        files["refs"] = self.git("show-ref", "--head")
        return files


@pytest.fixture(scope="session")
def uncovered() -> dict[str, str]:
    """Environment variables of a process whose coverage is not measured."""
    return UNCOVERED


@pytest.fixture
def make_project(tmp_path):
    """Make a project from {name: text}, committed once."""

    def make(files: dict[str, str], folder: str = "project") -> Project:
        project = Project(tmp_path / folder)
        project.path.mkdir()
        project.git("init", "--quiet")
        for name, text in files.items():
            project.write(name, text)
        project.commit("first")
        return project

    return make


@pytest.fixture(scope="session")
def golden_project(tmp_path_factory) -> Project:
    """The project of tests/assets/tiny with its golden, committed; only to be copied.

    Made once for all processes of a test run.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    project = Project(shared / "tiny-with-golden")
    with (shared / "tiny.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (project.path / "tests/golden/regression.jsonl").exists():
            _make_golden_project(project)
    return project


def _make_golden_project(project: Project) -> None:
    shutil.copytree(ASSETS / "tiny", project.path, ignore=shutil.ignore_patterns("__pycache__"))
    project.write(".gitignore", "__pycache__/\n")
    project.git("init", "--quiet")
    project.commit("first")
    done = project.trainkit("golden", "--update", **UNCOVERED)
    assert done.returncode == 0, done.stdout + done.stderr
    project.commit("golden")


@pytest.fixture
def tiny(golden_project, tmp_path) -> Project:
    """A training project of its own, with a committed golden and a clean tree."""
    project = Project(tmp_path / "tiny")
    shutil.copytree(golden_project.path, project.path, symlinks=True)
    return project
