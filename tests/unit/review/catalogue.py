"""Pairs of pieces of training code: copies in many disguises, and look-alikes that are none.

Each file below `pairs` holds a `base`, then `copy: kinds` of it and `other: what` that only look alike, and so on.
`held_out/` was written before anything was tuned and read by nothing that was tuned; `second/` by somebody who had not
seen the search: what was not found there at first is in docs/review.md.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from trainkit.review import clones
from trainkit.review.findings import is_left_alone
from trainkit.review.sources import Source


def read_catalogue(part: str) -> Iterator[tuple[str, str, bool, str, str]]:
    """Give name, kinds, whether it is a copy, the base's code and the other code."""
    for path in sorted(Path(__file__).with_name("pairs").joinpath(part).glob("*.py")):
        number, base = 0, ""
        for block in path.read_text().split("# === ")[1:]:
            head, _, code = block.partition("\n")
            if head == "base":
                number, base = number + 1, code
                continue
            kind, _, words = head.partition(": ")
            yield f"{path.stem} {number}", words, kind == "copy", base, code


def make_source(path: str, code: str) -> Source:
    """Give a source as `read_sources` does."""
    return Source(path, path, {"clones": clones.extract(ast.parse(code), code.encode())})


def judge_catalogue(part: str) -> tuple[list[tuple[str, bool]], list[tuple[str, bool]]]:
    """Give for the copies and for the look-alikes what each is and whether it was found.

    A copy is one that is an issue; a look-alike is taken for one also where a class is only shown.
    """
    results: tuple[list[tuple[str, bool]], list[tuple[str, bool]]] = ([], [])
    for name, words, is_copy, base, code in read_catalogue(part):
        classes = clones.find_clones([make_source("a.py", base), make_source("b.py", code)])
        found = any(
            len({place.path for place in each.members}) == 2 and not (is_copy and is_left_alone(each))
            for each in classes
        )
        results[not is_copy].append((f"{name}: {words}", found))
    return results
