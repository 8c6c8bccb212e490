"""The two sides of a comparison as folders of their own; the user's tree is only read."""

from __future__ import annotations

import os
import re
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from trainkit.errors import CannotJudgeError
from trainkit.repo.git import find_toplevel, git, resolve_commit

_FOLDER = re.compile(r"/trainkit-(\d+)-[^/]*/baseline(/|$)")


@dataclass(frozen=True, kw_only=True)
class Tree:
    """One side: `path` is the project's folder in it, `origin` the user's folder it stands for."""

    side: str  # "baseline" or "candidate"
    path: Path
    origin: Path
    revision: str

    def python_path(self) -> list[str]:
        """Give the folders that Python must search first, `src` layouts included."""
        source = self.path / "src"
        return [str(source), str(self.path)] if source.is_dir() else [str(self.path)]


@contextmanager
def open_trees(root: Path, base: str | None) -> Iterator[tuple[Tree, Tree | None]]:
    """Make a candidate tree of the project at `root` as it is, and a baseline tree of `base`.

    The candidate is a copy of what git tracks and of untracked files it does not ignore. Both lie
    in one temporary folder that is removed at the end, also after SIGTERM and Ctrl-C; what a killed
    run left behind is removed at the next.

    Raises:
        UsageError: no such revision, or no git repository at all when a base is asked for.
        CannotJudgeError: the project is not in the base revision, or git failed.
    """
    toplevel = find_toplevel(root)
    inside = root.resolve().relative_to(toplevel)
    commit = resolve_commit(root, base) if base else ""
    _remove_stale(toplevel)
    with _terminate_as_exit(), _temporary_folder() as folder:
        _copy_working_tree(toplevel, folder / "candidate")
        head = (
            f"{_short(root)} and the uncommitted changes"
            if git(root, "status", "--porcelain")
            else _short(root)
        )
        candidate = Tree(side="candidate", path=folder / "candidate" / inside, origin=root, revision=head)
        if base is None:
            yield candidate, None
            return
        with _worktree(toplevel, folder / "baseline", commit):
            path = folder / "baseline" / inside
            if not path.is_dir():
                raise CannotJudgeError("baseline-without-project", f"{base} has no folder '{inside}'")
            yield candidate, Tree(side="baseline", path=path, origin=root, revision=f"{base} ({commit[:10]})")


def _short(root: Path) -> str:
    return git(root, "rev-parse", "--short=10", "HEAD")


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=f"trainkit-{os.getpid()}-")).resolve()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _worktree(toplevel: Path, path: Path, commit: str) -> Iterator[None]:
    try:
        git(toplevel, "worktree", "add", "--quiet", "--detach", str(path), commit)
        yield
    finally:
        # Not `worktree remove`: it fails on a half-made one, and a second Ctrl-C must not matter.
        shutil.rmtree(path, ignore_errors=True)
        git(toplevel, "worktree", "prune")


@contextmanager
def _terminate_as_exit() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into SystemExit, so that every `finally` runs."""

    def leave(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    numbers = (signal.SIGTERM, signal.SIGHUP)
    try:
        before = [signal.signal(number, leave) for number in numbers]
    except ValueError:  # not the main thread: whoever owns it decides about signals
        yield
        return
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _copy_working_tree(toplevel: Path, target: Path) -> None:
    target.mkdir()
    listed = git(toplevel, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in sorted(set(filter(None, listed.split("\0")))):
        source, copy = toplevel / name, target / name
        if source.is_symlink() or source.is_file():  # a deleted or a submodule's folder is neither
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy, follow_symlinks=False)


def _remove_stale(toplevel: Path) -> None:
    """Remove worktrees of our own whose process is gone (it was killed with SIGKILL)."""
    for line in git(toplevel, "worktree", "list", "--porcelain").splitlines():
        match = _FOLDER.search(line)
        if match and not _is_alive(int(match[1])):
            shutil.rmtree(Path(line.removeprefix("worktree ")).parent, ignore_errors=True)
            git(toplevel, "worktree", "prune")


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
