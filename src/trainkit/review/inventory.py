"""What each file holds: its purpose, its imports, what it defines, and whether it is started as a program."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from trainkit.review.sources import Source

# Who imports one of these reads a command line.
PARSERS = {"absl", "argparse", "cli", "click", "docopt", "fire", "hydra", "jsonargparse", "optparse",
           "simple_parsing", "typer", "tyro"}  # fmt: skip
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_BASES = {"ABC", "Protocol"}


@dataclass(frozen=True)
class Import:
    """One import statement: `level` dots, then `module`; `names` is empty for `import module`.

    `kind` is "module" when it runs with the file, "late" in a function or where the file is started as a
    program, "typing" for type checkers alone.
    """

    line: int
    kind: str
    level: int
    module: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Definition:
    """A function or class at the top of a file; `members` are its parameters or its methods.

    `digest` is of its text without lines of comments alone, white space at line ends and blank lines.
    """

    kind: str  # "function", "class", or "protocol" where a class only says what others have to offer
    name: str
    line: int
    end: int
    members: tuple[str, ...]
    digest: str


def extract(tree: ast.Module, source: bytes) -> dict[str, Any]:
    """Give the facts of one file as plain values."""
    lines = source.split(b"\n")
    documented, total = _count_docstrings(tree)
    return {
        "lines": len(lines) - (not lines[-1]),
        "doc": (ast.get_docstring(tree) or "").partition("\n")[0].strip(),
        "imports": [tuple(vars(each).values()) for each in _iterate_imports(tree.body, "module")],
        "definitions": [tuple(vars(each).values()) for each in _iterate_definitions(tree, lines)],
        "guard": next((node.lineno for node in tree.body if _is_main_guard(node)), 0),
        "documented": documented,
        "documentable": total,
    }


def list_imports(source: Source) -> list[Import]:
    """Give the import statements of a file, by line."""
    return [Import(*each) for each in source.facts["inventory"]["imports"]]


def list_definitions(source: Source) -> list[Definition]:
    """Give what stands at the top of a file."""
    return [Definition(*each) for each in source.facts["inventory"]["definitions"]]


def is_test(path: str) -> bool:
    """Say whether a file is of the tests: their conventions are their own."""
    *folders, name = path.split("/")
    return (
        name.startswith("test_")
        or name.endswith("_test.py")
        or name == "conftest.py"
        or bool({"tests", "testing"} & set(folders))
    )


def is_script(source: Source) -> bool:
    """Say whether a file is started as a program."""
    return bool(source.facts["inventory"]["guard"]) or source.path.rpartition("/")[2] == "__main__.py"


def reads_arguments(source: Source) -> bool:
    """Say whether a file brings a parser of command lines."""
    roots = {each.module.partition(".")[0] for each in list_imports(source) if not each.level}
    return bool(roots & PARSERS) or any("HfArgumentParser" in each.names for each in list_imports(source))


def _iterate_imports(body: Sequence[ast.stmt], kind: str) -> Iterator[Import]:
    for node in body:
        if isinstance(node, ast.Import):
            yield from (Import(node.lineno, kind, 0, alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            yield Import(node.lineno, kind, node.level, node.module or "", names)
        elif isinstance(node, _FUNCTIONS):
            yield from _iterate_imports(node.body, "typing" if kind == "typing" else "late")
        elif isinstance(node, ast.If) and _last_name(node.test) == "TYPE_CHECKING":
            yield from _iterate_imports(node.body, "typing")
            yield from _iterate_imports(node.orelse, kind)
        elif _is_main_guard(node):
            yield from _iterate_imports(node.body, "late")
        else:
            for part in _list_bodies(node):
                yield from _iterate_imports(part, kind)


def _list_bodies(node: Any) -> Iterator[list[ast.stmt]]:
    for name in ("body", "orelse", "finalbody"):
        yield from [part] if (part := getattr(node, name, None)) and isinstance(part, list) else []
    for each in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
        yield each.body


def _iterate_definitions(tree: ast.Module, lines: list[bytes]) -> Iterator[Definition]:
    for node in tree.body:
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            start = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            digest = _digest_code(lines[start - 1 : node.end_lineno])
            end = node.end_lineno or node.lineno
            if isinstance(node, ast.ClassDef):
                members = tuple(each.name for each in node.body if isinstance(each, _FUNCTIONS))
                kind = "protocol" if _BASES & {_last_name(base) for base in node.bases} else "class"
                yield Definition(kind, node.name, node.lineno, end, members, digest)
            else:
                every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                members = tuple(each.arg for each in every)
                yield Definition("function", node.name, node.lineno, end, members, digest)


def _digest_code(lines: Sequence[bytes]) -> str:
    code = [line.rstrip() for line in lines if line.strip() and line.lstrip()[:1] != b"#"]
    return hashlib.blake2b(b"\n".join(code), digest_size=8).hexdigest()


def _last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _is_main_guard(node: ast.stmt) -> TypeGuard[ast.If]:
    return (
        isinstance(node, ast.If)
        and isinstance(test := node.test, ast.Compare)
        and any(
            isinstance(side, ast.Name) and side.id == "__name__" for side in (test.left, *test.comparators)
        )
    )


def _count_docstrings(tree: ast.Module) -> tuple[int, int]:
    """Count what has a docstring, and what could: the file, public classes, functions and methods."""
    nodes: list[Any] = [tree]
    for node in tree.body:
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)) and not node.name.startswith("_"):
            nodes.append(node)
            if isinstance(node, ast.ClassDef):
                nodes += [n for n in node.body if isinstance(n, _FUNCTIONS) and not n.name.startswith("_")]
    return sum(_has_docstring(node) for node in nodes), len(nodes)


def _has_docstring(node: Any) -> bool:
    first = node.body[0] if node.body else None
    return (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    )
