"""Which lines of code differ between two trees, on each side, and which of them are least suspicious."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from itertools import zip_longest
from keyword import iskeyword
from os.path import relpath
from pathlib import Path

from trainkit.repo.git import git
from trainkit.repo.trees import Tree

Edited = dict[str, list[int]]
Ranks = dict[tuple[str, int], int]  # (file, line) -> MOVED or RENAMED; other edited lines are not in it
Span = tuple[str, int, int]  # file, first line, number of lines
_Places = dict[tuple[str, ...], list[tuple[str, int]]]  # the words of a line -> where it stands
MOVED, RENAMED = 1, 2
_HUNK = re.compile(r"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
_MOST_LINES = 20_000


def list_edits(baseline: Tree, candidate: Tree) -> tuple[Edited, Edited]:
    """Give the lines of Python files that only the baseline has, and those that only the candidate has.

    Files are named relative to the project's folder in the tree; a file that was moved is compared
    with itself.
    """
    edited: tuple[Edited, Edited] = ({}, {})
    for spans in _list_hunks(baseline, candidate):
        for side, (file, start, count) in enumerate(spans):
            known = edited[side].setdefault(file, [])
            if file.endswith(".py") and len(known) < _MOST_LINES:
                known.extend(range(start, start + count))
    return tuple({name: found for name, found in side.items() if found} for side in edited)  # type: ignore[return-value]


def list_other_files(baseline: Tree, candidate: Tree) -> list[str]:
    """Give "file:line" of the first change in each text that is neither Python nor documentation."""
    found: dict[str, int] = {}
    for old, new in _list_hunks(baseline, candidate):
        file, line, _ = new if new[0] else old
        if Path(file).name != ".git" and not file.endswith((".py", ".md", ".rst")):  # that of a worktree
            found.setdefault(file, line)
    return [f"{file}:{line}" for file, line in found.items()]


def _list_hunks(baseline: Tree, candidate: Tree) -> Iterator[tuple[Span, Span]]:
    folder = baseline.scratch
    options = ["--no-index", "--no-color", "--no-ext-diff", "--no-prefix", "-U0", "-M30"]
    sides = baseline.top.name, candidate.top.name
    text = git(folder, "-c", "core.quotePath=false", "diff", *options, *sides, good=(0, 1))
    starts = [tree.path.relative_to(folder).as_posix() for tree in (baseline, candidate)]
    tops = [tree.top.relative_to(folder).as_posix() + "/" for tree in (baseline, candidate)]
    names = ["", ""]
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith(("--- ", "+++ ")):
            side = 0 if line.startswith("---") else 1
            name = line[4:].split("\t")[0].strip('"')
            names[side] = relpath(name, starts[side]) if name.startswith(tops[side]) else ""
        elif match := _HUNK.match(line):
            old = names[0], int(match[1]), int(match[2] or 1)
            new = names[1], int(match[3]), int(match[4] or 1)
            yield old, new
            for _ in range(old[2] + new[2]):  # what they say may look like a header
                next(lines, "")


def rank_edits(baseline: Tree, candidate: Tree) -> tuple[Ranks, Ranks]:
    """Find edited lines that are the least likely to change a number: only renamed, or found elsewhere.

    A rename is a name that the baseline defines and the candidate no more, for one that the candidate
    defines and the baseline did not, in lines that are otherwise equal.
    """
    hunks = [
        pair for pair in _list_hunks(baseline, candidate) if any(file.endswith(".py") for file, *_ in pair)
    ]
    try:
        sides = [
            _Words(tree, {spans[side][0] for spans in hunks})
            for side, tree in enumerate((baseline, candidate))
        ]
    except (SyntaxError, ValueError, tokenize.TokenError):  # a file of another Python: all is suspicious
        return {}, {}
    names = _find_renamed(sides, hunks)
    ranks: tuple[Ranks, Ranks] = ({}, {})
    places: tuple[_Places, _Places] = (defaultdict(list), defaultdict(list))
    for pair in hunks:
        left, right = (words.read(span) for words, span in zip(sides, pair, strict=True))
        left = [[names.get(word, word) for word in line] for line in left]
        for side, ((file, start, _), lines) in enumerate(zip(pair, (left, right), strict=True)):
            for number, line in enumerate(lines, start=start):
                if left == right:
                    ranks[side][file, number] = RENAMED
                elif len(line) > 1:
                    places[side][tuple(line[1:])].append((file, number))
    for moved in places[0].keys() & places[1].keys():
        for side in (0, 1):
            ranks[side].update(dict.fromkeys(places[side][moved], MOVED))
    return ranks


def _find_renamed(sides: list[_Words], hunks: list[tuple[Span, Span]]) -> dict[str, str]:
    """Give the new name of each that only the baseline defines."""
    gone, came = sides[0].defined - sides[1].defined, sides[1].defined - sides[0].defined
    return {
        old: new for pair in hunks for old, new in _list_renames(sides, pair) if old in gone and new in came
    }


class _Words:
    """The tokens of some files of one side, line by line, and the names that they define."""

    def __init__(self, tree: Tree, files: set[str]) -> None:
        self.defined: set[str] = set()
        self._lines: dict[str, dict[int, list[str]]] = {}
        for file in files:
            lines: dict[int, list[str]] = defaultdict(list)
            self._lines[file] = lines
            path = Path(tree.path, file)
            text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
            self.defined.update(_list_defined(ast.parse(text)))
            for token in tokenize.generate_tokens(io.StringIO(text).readline):
                if token.string.strip() and token.type != tokenize.COMMENT:
                    line = lines[token.start[0]]
                    line += [] if line else [token.line[: len(token.line) - len(token.line.lstrip())]]
                    line.append(token.string)

    def read(self, span: Span) -> list[list[str]]:
        """Give for each line its indentation and its tokens, without comments."""
        file, start, count = span
        return [self._lines[file].get(number, []) for number in range(start, start + count)]


def _list_defined(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Store):
            yield node.id if isinstance(node, ast.Name) else node.attr


def _list_renames(sides: list[_Words], pair: tuple[Span, Span]) -> Iterator[tuple[str, str]]:
    lines = zip_longest(*(words.read(span) for words, span in zip(sides, pair, strict=True)), fillvalue=[])
    for left, right in lines:
        if len(left) == len(right):
            changed = [(old, new) for old, new in zip(left, right, strict=True) if old != new]
            if all(word.isidentifier() and not iskeyword(word) for words in changed for word in words):
                yield from changed


def read_context(tree: Tree, file: str, line: int, around: int = 1) -> list[tuple[int, str]]:
    """Give the lines around one, with their numbers; nothing when the file is not there."""
    path = Path(tree.path, file)
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    first = max(1, line - around)
    return [(number, lines[number - 1]) for number in range(first, min(len(lines), line + around) + 1)]
