"""Which commit: the history between two revisions halved until training parts at one commit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trainkit.errors import CannotJudgeError, UsageError
from trainkit.repo.git import git, resolve_commit
from trainkit.verdict import Status
from trainkit.verify.options import RunOptions
from trainkit.verify.result import Verification
from trainkit.verify.verify import verify

_EQUAL = {Status.IDENTICAL, Status.NOTED}


@dataclass(frozen=True, kw_only=True)
class Bisection:
    """The first commit that computes other bits than the good one, and how it differs from the one before."""

    commit: str
    verification: Verification
    tried: tuple[str, ...]


def bisect(
    root: Path,
    options: RunOptions,
    *,
    good: str,
    bad: str,
    overlay: Path | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Bisection:
    """Compare commits between `good` and `bad` (first parents) with `good`, by halves.

    A commit that cannot be judged (its run breaks) is passed over for its neighbour.

    Raises:
        UsageError: no such revisions, `good` is no ancestor of `bad`, or they train alike.
        CannotJudgeError: no commit between them can be judged.
    """
    ends = resolve_commit(root, good), resolve_commit(root, bad)
    listed = git(root, "rev-list", "--first-parent", "--reverse", f"{ends[0]}..{ends[1]}")
    commits = listed.split()
    if not commits or ends[0] == ends[1]:
        raise UsageError("bisect-range", f"{good} is no ancestor of {bad}, or the same commit")
    tried: list[str] = []

    def judge(base: str, head: str, *, deep: bool = False) -> Verification:
        def say(what: str) -> None:
            progress(f"{head[:10]}: {what}" if what else "")

        result = verify(root, options, base=base, head=head, overlay=overlay, deep=deep, progress=say)
        told = git(root, "log", "-1", "--format=%h %s", head)
        tried.append(f"{result.status:24} {told}")
        return result

    whole = judge(ends[0], ends[1])
    if whole.status in _EQUAL:
        raise UsageError("bisect-equal", f"{good} and {bad} train alike: {whole.summary}")
    if whole.status is not Status.DIVERGED:
        raise CannotJudgeError("bisect-unjudged", f"{bad}: {whole.summary}", evidence=whole.evidence)
    low, high = _halve(len(commits), lambda index: judge(ends[0], commits[index]).status)
    between = [commits[index][:10] for index in range(low + 1, high)]
    commit = git(root, "log", "-1", "--format=%h %an %ad %s", "--date=short", commits[high])
    if between:
        commit += f" (or one that could not be judged: {', '.join(between)})"
    base = commits[low] if low >= 0 else ends[0]
    result = judge(base, commits[high], deep=True)
    return Bisection(commit=commit, verification=result, tried=tuple(tried))


def _halve(number: int, judge: Callable[[int], Status]) -> tuple[int, int]:
    """Give the last commit known to be equal (-1: the good one) and the first known to differ."""
    low, high = -1, number - 1
    skipped: set[int] = set()
    while (middle := _choose(low, high, skipped)) is not None:
        status = judge(middle)
        if status in _EQUAL:
            low = middle
        elif status is Status.DIVERGED:
            high = middle
        else:
            skipped.add(middle)
    return low, high


def _choose(low: int, high: int, skipped: set[int]) -> int | None:
    """Give the commit nearest to the middle that was not passed over."""
    left = [index for index in range(low + 1, high) if index not in skipped]
    return min(left, key=lambda index: abs(index - (low + high) / 2)) if left else None
