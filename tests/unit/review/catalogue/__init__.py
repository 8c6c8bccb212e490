"""Pairs of pieces of training code: copies in many disguises, and look-alikes that are none.

Each file holds a `base`, then `copy: kinds` of it and `other: what` that only look alike. `held_out/` was written
before anything was tuned and read by nothing that was tuned.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from trainkit.review import clones
from trainkit.review.sources import Source


def read_catalogue(part: str) -> Iterator[tuple[str, str, bool, str, str]]:
    """Give name, kinds, whether it is a copy, the base's code and the other code, for `seen` or `held_out`."""
    for path in sorted(Path(__file__).with_name(part).glob("*.py")):
        blocks = path.read_text().split("# === ")[1:]
        base = blocks[0].partition("\n")[2]
        for block in blocks[1:]:
            head, _, code = block.partition("\n")
            kind, _, words = head.partition(": ")
            yield path.stem, words, kind == "copy", base, code


def make_source(path: str, code: str) -> Source:
    """Give a source as `read_sources` does."""
    return Source(path, path, {"clones": clones.extract(ast.parse(code), code.encode())})
