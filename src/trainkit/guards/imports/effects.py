"""What a module does when it is imported, beside defining things: lines that others may rely on."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from trainkit.guards.imports.names import Names

_MUTATORS = {"add", "append", "extend", "insert", "register", "setdefault", "update", "__setitem__"}
_HARMLESS_METACLASSES = {"ABCMeta", "EnumMeta", "EnumType", "type"}


@dataclass(frozen=True)
class Hooks:
    """Classes of the project that act when they are derived from, and functions that note what they get."""

    classes: set[str]
    functions: set[str]


def has_hook(node: ast.ClassDef) -> bool:
    """Say whether deriving from a class runs code of the project."""
    metaclass = next((ast.unparse(each.value) for each in node.keywords if each.arg == "metaclass"), "type")
    defined = {each.name for each in node.body if isinstance(each, ast.FunctionDef)}
    return "__init_subclass__" in defined or metaclass.rpartition(".")[2] not in _HARMLESS_METACLASSES


def registers(node: ast.FunctionDef, names: Names) -> bool:
    """Say whether a function writes into something that outlives it."""
    local = {argument.arg for argument in ast.walk(node.args) if isinstance(argument, ast.arg)} - {
        "self",
        "cls",
    }

    def outlives(target: ast.expr) -> bool:
        root = find_root(target)
        return root not in local and (root in {"self", "cls"} or root in names.others or root in names.uses)

    for each in ast.walk(node):
        if isinstance(each, ast.Assign | ast.AugAssign):
            targets = each.targets if isinstance(each, ast.Assign) else [each.target]
            if any(isinstance(t, ast.Subscript) and outlives(t) for t in targets):
                return True
        elif (
            isinstance(each, ast.Call)
            and isinstance(each.func, ast.Attribute)
            and each.func.attr in _MUTATORS
            and outlives(each.func.value)
        ):
            return True
    return False


def list_effects(body: list[ast.stmt], names: Names, hooks: Hooks) -> Iterator[int]:
    """Give the lines that call for an effect, write into what is not the module's own, or register."""
    for node in body:
        if _acts(node, names, hooks):
            yield node.lineno
        if isinstance(node, ast.If) and {"__main__", "TYPE_CHECKING"} & _list_words(node.test):
            yield from list_effects(node.orelse, names, hooks)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for block in ("body", "orelse", "finalbody"):
                yield from list_effects(getattr(node, block, []), names, hooks)
            for handler in getattr(node, "handlers", []):
                yield from list_effects(handler.body, names, hooks)


def _acts(node: ast.stmt, names: Names, hooks: Hooks) -> bool:
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Call) and not _is_own_method(node.value, names)
    if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign | ast.Delete):
        targets = node.targets if isinstance(node, ast.Assign | ast.Delete) else [node.target]
        value = getattr(node, "value", None)
        written = any(isinstance(t, ast.Attribute | ast.Subscript) and not _is_own(t, names) for t in targets)
        return written or (isinstance(value, ast.Call) and _is_registering(value.func, hooks))
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        bases = {find_last(base) for base in getattr(node, "bases", [])}
        return bool(bases & hooks.classes) or any(
            _is_registering(each, hooks) for each in node.decorator_list
        )
    return False


def _is_registering(node: ast.expr, hooks: Hooks) -> bool:
    function = node.func if isinstance(node, ast.Call) else node
    last = find_last(function)
    return "regist" in last.lower() or last in hooks.functions


def _is_own_method(call: ast.Call, names: Names) -> bool:
    return isinstance(call.func, ast.Attribute) and _is_own(call.func, names)


def _is_own(node: ast.expr, names: Names) -> bool:
    return find_root(node) in names.others


def find_root(node: ast.expr) -> str:
    """Give the name that a chain of attributes, items and calls begins with."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def find_last(node: ast.expr) -> str:
    """Give the last name of a chain of attributes."""
    node = node.func if isinstance(node, ast.Call) else node
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _list_words(test: ast.expr) -> set[str]:
    return {
        str(getattr(node, "attr", getattr(node, "id", getattr(node, "value", "")))) for node in ast.walk(test)
    }
