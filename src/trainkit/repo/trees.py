"""The two sides of a comparison as folders of their own; the user's tree is only read."""

from __future__ import annotations

import os
import re
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from trainkit.errors import CannotJudgeError
from trainkit.repo.git import find_toplevel, git, resolve_commit

_FOLDER = re.compile(r"/trainkit-(\d+)-[^/]*/baseline$")


@dataclass(frozen=True, kw_only=True)
class Tree:
    """One side: `path` is the project's folder in it, `origin` the user's folder it stands for.

    `top` is the repository's folder in it, `scratch` a folder for whatever else is needed: both lie in
    the one temporary folder of a run, so that removing that removes everything.
    """

    side: str  # "baseline" or "candidate"
    path: Path
    origin: Path
    revision: str
    top: Path
    scratch: Path

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
    commit = resolve_commit(root, base) if base is not None else ""
    _remove_stale(toplevel)
    with _terminate_as_exit(), _temporary_folder() as folder:

        def make(side: str, revision: str) -> Tree:
            top = folder / side
            return Tree(side=side, path=top / inside, origin=root, revision=revision, top=top, scratch=folder)

        _copy_working_tree(toplevel, folder / "candidate")
        candidate = make("candidate", _describe_head(root))
        if base is None:
            yield candidate, None
            return
        with _worktree(toplevel, folder / "baseline", commit):
            baseline = make("baseline", f"{base} ({commit[:10]})")
            if not baseline.path.is_dir():
                raise CannotJudgeError("baseline-without-project", f"{base} has no folder '{inside}'")
            yield candidate, baseline


@contextmanager
def copy_tree(tree: Tree) -> Iterator[Tree]:
    """Make a copy of a tree for one program, with a scratch folder of its own; both are removed.

    Raises:
        CannotJudgeError: it could not be copied, for instance because the disk is full.
    """
    with tempfile.TemporaryDirectory(prefix="copy-", dir=tree.scratch) as name:
        top = Path(name) / tree.side
        try:
            shutil.copytree(tree.top, top, symlinks=True)
        except (OSError, shutil.Error) as error:
            raise CannotJudgeError("tree-not-copied", f"the {tree.side} tree: {error}") from error
        yield replace(tree, top=top, path=top / tree.path.relative_to(tree.top), scratch=Path(name))


def _describe_head(root: Path) -> str:
    try:
        commit = git(root, "rev-parse", "--short=10", "--verify", "HEAD")
    except CannotJudgeError:
        return "a working tree without a commit"
    return f"{commit} and the uncommitted changes" if git(root, "status", "--porcelain") else commit


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
        _remove_worktree(toplevel, path)


def _remove_worktree(toplevel: Path, path: Path) -> None:
    """Remove this one; never `worktree prune`, which forgets those on a disk that is not mounted now."""
    shutil.rmtree(path, ignore_errors=True)
    with suppress(CannotJudgeError):  # git does not know a half-made one
        git(toplevel, "worktree", "remove", "--force", "--force", str(path))


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
    links: dict[Path, bool] = {toplevel: False}

    def lies_behind_a_link(folder: Path) -> bool:
        if folder not in links:
            links[folder] = folder.is_symlink() or lies_behind_a_link(folder.parent)
        return links[folder]

    try:
        for name in sorted(set(filter(None, listed.split("\0")))):
            source, copy = toplevel / name, target / name
            if lies_behind_a_link(source.parent):  # a tracked folder that is a link now: copied as one
                continue
            if source.is_symlink() or source.is_file():  # a deleted or a submodule's folder is neither
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, copy, follow_symlinks=False)
    except OSError as error:
        raise CannotJudgeError("tree-not-copied", f"the candidate tree: {error}") from error


def _remove_stale(toplevel: Path) -> None:
    """Remove what runs of our own have left whose process is gone (it was killed with SIGKILL)."""
    for line in git(toplevel, "worktree", "list", "--porcelain").splitlines():
        match = _FOLDER.search(line)
        if match and not _is_alive(int(match[1])):
            _remove_worktree(toplevel, Path(line.removeprefix("worktree ")))
    for folder in Path(tempfile.gettempdir()).glob("trainkit-*-*"):
        process = folder.name.split("-")[1]
        if process.isdecimal() and not _is_alive(int(process)):
            shutil.rmtree(folder, ignore_errors=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
