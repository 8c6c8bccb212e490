"""The few things we ask git. A git failure is an error of ours, never a verdict."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from trainkit.errors import CannotJudgeError, UsageError

# Set inside hooks and `git rebase --exec`: they would point our calls at another index or folder.
_INHERITED = ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY")


def git(folder: Path, *arguments: str, good: tuple[int, ...] = (0,)) -> str:
    """Run git in `folder` and give its standard output, without the last newline.

    `good` are the exit statuses that are no failure (`git diff` has one for "they differ").

    Raises:
        CannotJudgeError: git is missing or failed; the message holds what it said.
    """
    environment = {key: value for key, value in os.environ.items() if key not in _INHERITED}
    command = ["git", "-c", "core.hooksPath=/dev/null", *arguments]
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)
    except FileNotFoundError as error:
        raise CannotJudgeError(
            "git-missing", "git is not on PATH; trainkit compares git revisions"
        ) from error
    if done.returncode not in good:
        said = done.stderr.decode(errors="replace").strip().replace("\n", " | ")
        if "promisor" in said or "unable to read" in said or "bad object" in said:
            said += "; this clone lacks that part of the history, get it with: git fetch --refetch"
        raise CannotJudgeError("git-failed", f"git {' '.join(arguments)}: {said}")
    return done.stdout.decode(errors="surrogateescape").removesuffix("\n")


def read_blobs(folder: Path, blobs: Sequence[str]) -> dict[str, bytes]:
    """Give the content of each of `blobs` (git's ids), by one call of git.

    Raises:
        CannotJudgeError: git failed, or this clone lacks one of them.
    """
    environment = {key: value for key, value in os.environ.items() if key not in _INHERITED}
    asked = "".join(f"{blob}\n" for blob in blobs).encode()
    command = ["git", "cat-file", "--batch"]
    done = subprocess.run(command, cwd=folder, env=environment, input=asked, capture_output=True, check=False)
    contents, rest = {}, memoryview(done.stdout)
    for blob in blobs:
        end = bytes(rest[:200]).find(b"\n")
        fields = bytes(rest[:end]).split()
        if done.returncode or len(fields) != 3:
            said = done.stderr.decode(errors="replace").strip() or bytes(rest[:end]).decode(errors="replace")
            raise CannotJudgeError("git-failed", f"git cat-file --batch: {said}")
        size = int(fields[2])
        contents[blob] = bytes(rest[end + 1 : end + 1 + size])
        rest = rest[end + 2 + size :]
    return contents


def list_files(folder: Path, *paths: str) -> list[str]:
    """Give what git tracks below a folder, or of `paths` in it, or does not ignore; no environments.

    Raises:
        CannotJudgeError: git failed.
    """
    listed = git(folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *paths)
    names = dict.fromkeys(filter(None, listed.split("\0")))
    environments = tuple(name.removesuffix("pyvenv.cfg") for name in names if name.endswith("/pyvenv.cfg"))
    return [name for name in names if not name.startswith(environments)]


def find_toplevel(folder: Path) -> Path:
    """Give the top folder of the working tree that `folder` lies in.

    Raises:
        UsageError: `folder` is in no git working tree.
    """
    try:
        return Path(git(folder, "rev-parse", "--show-toplevel")).resolve()
    except CannotJudgeError as error:
        if error.slug == "git-missing":
            raise
        raise UsageError("not-a-repository", f"{folder} is in no git working tree") from error


def resolve_commit(folder: Path, revision: str) -> str:
    """Give the full hash of the commit that `revision` names.

    Raises:
        UsageError: there is no such commit in this clone (says so when it is shallow), or no repository.
    """
    try:
        return git(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    except CannotJudgeError as error:
        find_toplevel(folder)
        if not git(folder, "rev-list", "--all", "--max-count=1"):
            raise UsageError(
                "unknown-revision", "there is no commit yet: nothing to judge against"
            ) from error
        shallow = git(folder, "rev-parse", "--is-shallow-repository") == "true"
        help_ = (
            "the clone is shallow, get more of it: git fetch --deepen=50"
            if shallow
            else "give another revision"
        )
        raise UsageError("unknown-revision", f"no commit '{revision}' in this clone; {help_}") from error


def find_fork(folder: Path, commit: str, head: str = "HEAD") -> str:
    """Give the newest commit that both have: where `head` left the line of `commit`.

    Where this clone knows none, `commit` itself.
    """
    return git(folder, "merge-base", commit, head, good=(0, 1)).partition("\n")[0] or commit


def default_base(folder: Path) -> str:
    """Name the previous revision: HEAD while there are uncommitted changes, else HEAD's parent.

    Raises:
        UsageError: there is none yet.
    """
    if not git(folder, "rev-list", "--all", "--max-count=1"):
        raise UsageError("unknown-revision", "there is no commit yet: nothing to judge against")
    if git(folder, "status", "--porcelain"):
        return "HEAD"
    if is_first_commit(folder):
        raise UsageError(
            "unknown-revision", "this is the first commit: commit a change, or leave one uncommitted"
        )
    return "HEAD~1"


def is_first_commit(folder: Path) -> bool:
    """Say whether HEAD is the only commit, and the working tree is as it is there."""
    if not git(folder, "rev-list", "--all", "--max-count=1") or git(folder, "status", "--porcelain"):
        return False
    shallow = git(folder, "rev-parse", "--is-shallow-repository") == "true"
    return not shallow and git(folder, "rev-list", "--count", "HEAD") == "1"
