"""The two sides of a comparison as folders of their own; the user's tree is only read."""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from trainkit.errors import CannotJudgeError, UsageError
from trainkit.repo.git import find_fork, find_toplevel, git, list_files, resolve_commit
from trainkit.repo.signals import terminate_as_exit

_FOLDER = re.compile(r"/trainkit-(\d+)-[^/]*/(baseline|candidate)$")
# Larger files that are shared are linked, not copied; after the run they must be as they were.
_LINKED_BYTES = 64 << 20


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
def open_trees(
    root: Path,
    base: str | None,
    *,
    head: str | None = None,
    overlay: Path | None = None,
    from_fork: bool = False,
) -> Iterator[tuple[Tree, Tree | None]]:
    """Make a candidate tree of the project at `root` as it is (or of `head`), and a baseline tree of `base`.

    `from_fork` takes as baseline the commit where HEAD left the line of `base`, so that what others have
    changed there since is not held against the candidate.

    The candidate is a copy of what git tracks and of untracked files it does not ignore, environments
    left out. Submodules come along: as they are, or at the commit that a revision names, if the user's
    clone has it. Both lie in one temporary folder that is removed at the end, also after SIGTERM and
    Ctrl-C; what a killed run left behind is removed at the next. `overlay` is a patch applied to both.

    Raises:
        UsageError: no such revision, no git repository at all, or the overlay does not apply.
        CannotJudgeError: the project is not in the revision, or git failed.
    """
    toplevel = find_toplevel(root)
    inside = root.resolve().relative_to(toplevel)
    commits = {
        side: (revision, resolve_commit(root, revision))
        for side, revision in (("baseline", base), ("candidate", head))
        if revision is not None
    }
    if base is not None and from_fork:
        fork = find_fork(root, commits["baseline"][1])
        if fork != commits["baseline"][1]:
            commits["baseline"] = f"where HEAD left {base}", fork
    _remove_stale(toplevel)
    with ExitStack() as stack:
        stack.enter_context(terminate_as_exit())
        folder = stack.enter_context(_temporary_folder())

        def make(side: str) -> Tree:
            top = folder / side
            if side in commits:
                name, commit = commits[side]
                stack.enter_context(_worktree(toplevel, top, commit))
                _check_out_submodules(toplevel, top, commit)
                revision = f"{name} ({commit[:10]})"
            else:
                _copy_working_tree(toplevel, top)
                revision = _describe_head(root)
            path = top / inside
            if not path.is_dir():
                raise CannotJudgeError("baseline-without-project", f"{revision} has no folder '{inside}'")
            if overlay is not None:
                _apply_overlay(overlay, top, path, side)
            return Tree(side=side, path=path, origin=root, revision=revision, top=top, scratch=folder)

        candidate = make("candidate")
        yield candidate, make("baseline") if base is not None else None


@contextmanager
def copy_tree(tree: Tree, *, share: Sequence[str] = (), name: str = "work") -> Iterator[Tree]:
    """Make a copy of a tree for one program, with a scratch folder of its own; both are removed.

    It has the same path for each program of a run, so that what depends on paths is alike (copies that
    stand side by side need a `name` each), and a git folder of its own, so that a program that asks for its
    commit gets an answer. `share` are files and folders of the user's project that git does not track: they
    are copied, files of more than 64 MiB that are no code are linked.

    Raises:
        UsageError: a shared path does not exist, or leads out of the project.
        CannotJudgeError: it could not be copied, or the program wrote to a linked file.
    """
    folder = tree.scratch / name
    top = folder / "tree"
    copy = replace(tree, top=top, path=top / tree.path.relative_to(tree.top), scratch=folder)
    try:
        folder.mkdir()
        shutil.copytree(tree.top, top, symlinks=True, ignore=shutil.ignore_patterns(".git"))
        give_history(tree, top)
        linked = [pair for name in share for pair in _share(tree.origin, copy.path, name)]
        yield copy
        for path, before in linked:
            if _stamp(path) != before:
                raise CannotJudgeError("shared-file-changed", f"the program wrote to {path}, which is shared")
    except (OSError, shutil.Error) as error:
        raise CannotJudgeError("tree-not-copied", f"the {tree.side} tree: {error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def give_history(tree: Tree, top: Path) -> None:
    """Let git answer in a copy: another repository at the same commit, over the user's objects."""
    with suppress(CannotJudgeError):
        source = tree.top if (tree.top / ".git").exists() else tree.origin
        commit = git(source, "rev-parse", "--verify", "HEAD")
        common = Path(source, git(source, "rev-parse", "--git-common-dir"))
        folder = top / ".git"
        (folder / "objects" / "info").mkdir(parents=True)
        (folder / "refs").mkdir()
        (folder / "objects" / "info" / "alternates").write_text(f"{(common / 'objects').resolve()}\n")
        core = "[core]\n\trepositoryformatversion = 0\n\tbare = false\n"
        (folder / "config").write_text(core + "".join(_list_remotes(source)))
        (folder / "HEAD").write_text(f"{commit}\n")
        for name in ("packed-refs", "shallow"):
            if (common / name).is_file():
                shutil.copy2(common / name, folder / name)
        git(top, "read-tree", "HEAD")


def _list_remotes(source: Path) -> Iterator[str]:
    """Give the sections of the remotes: a program may look up where it is from."""
    for entry in git(source, "config", "-z", "--get-regexp", r"^remote\..*\.url$", good=(0, 1)).split("\0"):
        key, _, url = entry.partition("\n")
        if url and not any(mark in key + url for mark in '"\\'):
            yield f'[remote "{key.removeprefix("remote.").removesuffix(".url")}"]\n\turl = "{url}"\n'


def _share(origin: Path, target: Path, name: str) -> Iterator[tuple[Path, tuple[int, int]]]:
    """Copy what the user shares into a tree; give the large files that were linked, with their stamps."""
    root = (origin / name).absolute()
    if not root.exists():
        raise UsageError("share-missing", f"--share {name}: there is no {root}")
    if not root.is_relative_to(origin.absolute()) or ".." in Path(name).parts:
        message = f"--share {name}: it lies outside the project; a program reaches it by its absolute path"
        raise UsageError("share-outside", message)
    files = [path for path in root.rglob("*") if path.is_file()] if root.is_dir() else [root]
    for path in files:
        copy = target / path.relative_to(origin.absolute())
        copy.parent.mkdir(parents=True, exist_ok=True)
        if copy.exists():
            continue
        if path.stat().st_size > _LINKED_BYTES and path.suffix not in {".py", ".so", ".pth"}:
            copy.symlink_to(path.resolve())
            yield path, _stamp(path)
        else:
            shutil.copy2(path, copy)
    if root.is_dir():
        (target / name).mkdir(parents=True, exist_ok=True)


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found[stat.ST_SIZE], found.st_mtime_ns


def _apply_overlay(overlay: Path, top: Path, folder: Path, side: str) -> None:
    if not overlay.is_file():
        what = "is no file" if overlay.exists() else "no such file"
        raise UsageError("overlay-missing", f"--overlay {overlay}: {what}")
    inside = [f"--directory={folder.relative_to(top).as_posix()}"] if folder != top else []
    try:
        git(top, "apply", "--whitespace=nowarn", *inside, str(overlay.resolve()))
    except CannotJudgeError as error:
        said = str(error).rpartition("error: ")[2]
        raise UsageError("overlay-does-not-apply", f"{overlay} on the {side} side: {said}") from error


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


def _check_out_submodules(origin: Path, top: Path, commit: str) -> None:
    """Put the submodules of a commit into its tree, over the objects that the user's clone has of them.

    One that it lacks stays an empty folder, as git leaves it.
    """
    listed = [line.partition("\t") for line in git(top, "ls-tree", "-rz", commit).split("\0")]
    for inner, name in ((fields.split()[2], name) for fields, _, name in listed if fields[:6] == "160000"):
        source, target = _find_submodule(origin, top, name), top / name
        if source is None:
            continue
        try:
            git(top, "clone", "--quiet", "--shared", "--no-checkout", str(source), name)
            git(target, "checkout", "--quiet", "--detach", inner)
            _check_out_submodules(source, target, inner)
            shutil.rmtree(target / ".git")  # the candidate's has none
        except CannotJudgeError:  # such as a commit that was never fetched
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir(exist_ok=True)


def _find_submodule(origin: Path, top: Path, path: str) -> Path | None:
    """Give the user's repository of a submodule: where it stands, or what git kept of one that went.

    `origin` may itself be what git kept: a git folder whose working tree is there no more.
    """
    if (origin / path / ".git").exists():
        return origin / path
    is_kept = not (origin / ".git").exists()
    common = origin if is_kept else Path(origin, git(origin, "rev-parse", "--git-common-dir"))
    paths = r"^submodule\..*\.path$"
    for entry in git(top, "config", "-f", ".gitmodules", "-z", "--get-regexp", paths, good=(0, 1)).split(
        "\0"
    ):
        key, _, value = entry.partition("\n")
        kept = common / "modules" / key.removeprefix("submodule.").removesuffix(".path")
        if value == path and kept.is_dir():
            return kept
    return None


def _remove_worktree(toplevel: Path, path: Path) -> None:
    """Remove this one; never `worktree prune`, which forgets those on a disk that is not mounted now."""
    shutil.rmtree(path, ignore_errors=True)
    with suppress(CannotJudgeError):  # git does not know a half-made one
        git(toplevel, "worktree", "remove", "--force", "--force", str(path))


def _copy_working_tree(toplevel: Path, target: Path) -> None:
    target.mkdir(parents=True)
    links: dict[Path, bool] = {toplevel: False}

    def lies_behind_a_link(folder: Path) -> bool:
        if folder not in links:
            links[folder] = folder.is_symlink() or lies_behind_a_link(folder.parent)
        return links[folder]

    try:
        for name in sorted(list_files(toplevel)):
            source, copy = toplevel / name, target / name
            if lies_behind_a_link(source.parent):  # a tracked folder that is a link now: copied as one
                continue
            if source.is_symlink() or source.is_file():  # a deleted one is neither
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, copy, follow_symlinks=False)
            elif not name.endswith("/") and (source / ".git").exists():  # a submodule, no mere clone
                _copy_working_tree(source, copy)
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
