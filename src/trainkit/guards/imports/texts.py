"""Names that stand in comments and docstrings: types of an older style, and the examples of doctests."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator

from trainkit.guards.imports.scopes import list_bound

_TYPE_COMMENT = re.compile(r"#\s*type:\s*(?!ignore\b)(.+)")


def list_type_comments(source: str) -> Iterator[tuple[int, str]]:
    """Give the types that stand in comments, each as an expression, with its line."""
    if "type:" not in source:
        return
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            match = _TYPE_COMMENT.match(token.string) if token.type == tokenize.COMMENT else None
            if match:
                text = match[1].partition("#")[0].strip()
                signature = re.fullmatch(r"\((.*)\)\s*->\s*(.+)", text)
                yield (
                    token.start[0],
                    f"({signature[1].replace('*', '')}, {signature[2]})" if signature else text,
                )
    except (tokenize.TokenError, SyntaxError):  # what the parser has taken: nothing more to see
        return


def read_doctests(text: str, line: int) -> Iterator[tuple[str, int]]:
    """Give the names that the examples of a docstring take from its module."""
    code = [
        (match[1], line + number)
        for number, row in enumerate(text.splitlines())
        if (match := re.match(r"\s*(?:>>>|\.\.\.) ?(.*)", row))
    ]
    if not code:
        return
    try:
        tree = ast.parse("\n".join(row for row, _ in code))
    except (SyntaxError, ValueError):
        yield from ((word, at) for row, at in code for word in re.findall(r"[A-Za-z_]\w*", row))
        return
    bound, _ = list_bound(tree.body)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id not in bound:
            yield node.id, code[node.lineno - 1][1]
