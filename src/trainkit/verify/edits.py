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
    text = git(
        folder, "diff", "--no-index", "--no-color", "--no-ext-diff", "-U0", "-M30", "-w", "--no-prefix",
        baseline.top.name, candidate.top.name, good=(0, 1),
    )  # fmt: skip
    edited: tuple[Edited, Edited] = ({}, {})
    names = ["", ""]
    prefixes = [str(tree.path.relative_to(folder)) + "/" for tree in (baseline, candidate)]
    for line in text.splitlines():
        if line.startswith(("--- ", "+++ ")):
            side = 0 if line.startswith("---") else 1
            name = line[4:].split("\t")[0].strip('"')
            names[side] = name.removeprefix(prefixes[side]) if name.startswith(prefixes[side]) else ""
        elif match := _HUNK.match(line):
            for side, (start, count) in enumerate(((match[1], match[2]), (match[3], match[4]))):
                lines = range(int(start), int(start) + int(count or 1))
                if names[side].endswith(".py") and len(edited[side].get(names[side], ())) < _MOST_LINES:
                    edited[side].setdefault(names[side], []).extend(lines)
    return edited


def read_context(tree: Tree, file: str, line: int, around: int = 1) -> list[tuple[int, str]]:
    """Give the lines around one, with their numbers; nothing when the file is not there."""
    path = Path(tree.path, file)
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    first = max(1, line - around)
    return [(number, lines[number - 1]) for number in range(first, min(len(lines), line + around) + 1)]
