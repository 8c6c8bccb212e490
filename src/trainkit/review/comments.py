"""What comments say to trainkit: why code is let be, and whether a broad handler has a reason."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator, Sequence

MARK = b"trainkit:"
_WAIVER = re.compile(r"#\s*trainkit:\s*allow\s+([a-z-]+)(?:\s+because\s+(\S.*))?")
_STRING = re.compile(rb"\"[^\"]*\"|'[^']*'")
_DIRECTIVE = re.compile(
    rb"\b(?:noqa(?:\s*:\s*[A-Z]+\d+(?:[\s,]+[A-Z]+\d+)*)?|nosec(?:\s+B\d+)*|pragma:\s*no\s+(?:cover|branch)"
    rb"|(?:type|mypy|pyright):\s*ignore(?:\[[^\]]*\])?|(?:pylint|ruff|isort|fmt):\s*[\w=:-]+(?:[\s,]+[\w-]+)*)"
)
_WORDS = re.compile(rb"[A-Za-z]{2,}\W+[A-Za-z]{2,}")


def gives_reason(lines: Sequence[bytes]) -> bool:
    """Say whether one of these lines has a comment of at least two words, directives to other tools aside."""
    for line in lines:
        comment = _STRING.sub(b"", line).partition(b"#")[2] if b"#" in line else b""
        if _WORDS.search(_DIRECTIVE.sub(b" ", comment)):
            return True
    return False


def list_allowed(source: bytes) -> list[tuple[int, str, str]]:
    """Give the waivers that give a reason: the others allow nothing."""
    return [waiver for waiver in find_waivers(source) if waiver[2]]


def find_waivers(source: bytes) -> Iterator[tuple[int, str, str]]:
    """Give line, subject and reason of each `# trainkit: allow SUBJECT because REASON`.

    A reason that is missing is empty.
    """
    if MARK not in source:
        return
    for token in tokenize.tokenize(io.BytesIO(source).readline):
        if token.type == tokenize.COMMENT and (match := _WAIVER.match(token.string)):
            yield token.start[0], match[1], (match[2] or "").strip()
