"""What a function, class or comprehension binds itself: those names are no longer the module's."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

from trainkit.guards.imports.names import Holder

_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass
class Scope:
    """What lies between a name and the module."""

    kind: str  # function, lambda, class, comprehension
    bound: set[str]
    declared: set[str] = field(default_factory=set)  # by `global`
    holder: Holder | None = None
    decorators: tuple[str, ...] = ()  # of a class: they get its functions, too


def list_arguments(arguments: ast.arguments) -> list[ast.arg]:
    """Give all arguments of a function."""
    starred = [each for each in (arguments.vararg, arguments.kwarg) if each]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *starred]


def list_annotations(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.expr]:
    """Give the annotations of its arguments and of what it returns."""
    found = [argument.annotation for argument in list_arguments(node.args)] + [node.returns]
    return [annotation for annotation in found if annotation is not None]


def list_bound(body: list[ast.stmt] | list[ast.expr]) -> tuple[set[str], set[str]]:
    """Give what a scope binds itself, and what it declares global; nested scopes are not entered."""
    bound: set[str] = set()
    declared: set[str] = set()
    waiting: list[ast.AST] = list(body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Global):
            declared.update(node.names)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, _COMPREHENSIONS):
            bound.update(each.target.id for each in ast.walk(node) if isinstance(each, ast.NamedExpr))
        elif not isinstance(node, ast.Lambda):
            bound.update(_list_bound_by(node))
            waiting += ast.iter_child_nodes(node)
    return bound, declared


def _list_bound_by(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id
    elif isinstance(node, ast.Import | ast.ImportFrom):
        yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
    elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
        yield node.name
    elif isinstance(node, ast.MatchMapping) and node.rest:
        yield node.rest
