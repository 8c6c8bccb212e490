"""Which lines of code differ between two trees, on each side."""

from __future__ import annotations

import re
from pathlib import Path

from trainkit.repo.git import git
from trainkit.repo.trees import Tree

Edited = dict[str, list[int]]
_HUNK = re.compile(r"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
_MOST_LINES = 20_000


def list_edits(baseline: Tree, candidate: Tree) -> tuple[Edited, Edited]:
    """Give the lines of Python files that only the baseline has, and those that only the candidate has.

    Files are named relative to the project's folder in the tree; a file that was moved is compared
    with itself.
    """
    folder = baseline.scratch
    options = ["--no-index", "--no-color", "--no-ext-diff", "--no-prefix", "-U0", "-M30"]
    sides = baseline.top.name, candidate.top.name
    text = git(folder, "-c", "core.quotePath=false", "diff", *options, *sides, good=(0, 1))
    prefixes = [str(tree.path.relative_to(folder)) + "/" for tree in (baseline, candidate)]
    edited: tuple[Edited, Edited] = ({}, {})
    names = ["", ""]
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith(("--- ", "+++ ")):
            side = 0 if line.startswith("---") else 1
            name = line[4:].split("\t")[0].strip('"')
            names[side] = name.removeprefix(prefixes[side]) if name.startswith(prefixes[side]) else ""
        elif match := _HUNK.match(line):
            spans = [(int(match[1]), int(match[2] or 1)), (int(match[3]), int(match[4] or 1))]
            for side, (start, count) in enumerate(spans):
                known = edited[side].setdefault(names[side], [])
                if names[side].endswith(".py") and len(known) < _MOST_LINES:
                    known.extend(range(start, start + count))
            for _ in range(sum(count for _, count in spans)):  # what they say may look like a header
                next(lines, "")
    return tuple({name: found for name, found in side.items() if found} for side in edited)  # type: ignore[return-value]


def read_context(tree: Tree, file: str, line: int, around: int = 1) -> list[tuple[int, str]]:
    """Give the lines around one, with their numbers; nothing when the file is not there."""
    path = Path(tree.path, file)
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    first = max(1, line - around)
    return [(number, lines[number - 1]) for number in range(first, min(len(lines), line + around) + 1)]
