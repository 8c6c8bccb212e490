"""What a dotted path takes, read from its source: nothing is imported, least of all torch.

What cannot be read with certainty (a decorator, a base class elsewhere, a compiled module) is not judged;
it is found when it is called.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from trainkit.core.config import WORDS
from trainkit.errors import suggest

_KINDS: dict[str, type] = {"int": int, "float": float, "bool": bool, "str": str, "None": type(None)}
_PLAIN = {"final", "typing.final", "no_type_check", "typing.no_type_check"}
_MAX_HOPS = 8


@dataclass(frozen=True)
class Parameter:
    """One keyword; `kinds` are the types that its annotation allows, none if it is not so simple."""

    name: str
    required: bool
    kinds: tuple[type, ...] = ()


@dataclass(frozen=True)
class Signature:
    """The keywords of a call; `takes_more` with `**kwargs`."""

    parameters: tuple[Parameter, ...]
    takes_more: bool = False


@dataclass(frozen=True)
class _Found:
    """A definition, and the module that it stands in."""

    node: ast.AST
    module: str
    body: list[ast.stmt]


def find_mistakes(key: str, target: str, kwargs: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield (slug, dotted key, message) for an unknown keyword, a missing one, and a value of a wrong type.

    `key` is where the keywords stand, such as "model.kwargs".
    """
    signature = read_signature(target)
    if signature is None:
        return
    known = {each.name: each for each in signature.parameters}
    for name, value in kwargs.items():
        if name not in known:
            if not signature.takes_more:
                hint = suggest(name, known) or "; it takes none"
                yield (
                    "config-unknown-key",
                    f"{key}.{name}",
                    f"'{key}.{name}' is no parameter of {target}{hint}",
                )
            continue
        kinds = known[name].kinds
        if kinds and type(value) not in kinds and not (float in kinds and type(value) is int):
            expected = " or ".join(WORDS[each] for each in kinds)
            message = f"{key}.{name}={value!r}: expected {expected}, as {target} is annotated"
            yield "config-type", f"{key}.{name}", message
    missing = [each.name for each in signature.parameters if each.required and each.name not in kwargs]
    if missing:
        yield "config-missing", key, f"{target} needs {', '.join(f'{key}.{name}=…' for name in missing)}"


def read_signature(target: str) -> Signature | None:
    """Give what the function or class takes, None where the source does not say."""
    module, _, name = target.replace(":", ".").rpartition(".")
    found = _find(module, name) if module else None
    return None if found is None else _read(found, _MAX_HOPS)


def _find(module: str, name: str, hops: int = _MAX_HOPS) -> _Found | None:
    """Follow re-exports to the one definition of the name."""
    body = _parse(module)
    if body is None or not hops:
        return None
    places = [each for each in body if name in _names(each)]
    if not places:
        stars = [each for each in body if isinstance(each, ast.ImportFrom) and each.names[0].name == "*"]
        behind = [_find(_resolve(each, module), name, hops - 1) for each in stars]
        return next(filter(None, behind), None)
    if len(places) != 1:
        return None
    (place,) = places
    if isinstance(place, ast.ClassDef | ast.FunctionDef):
        return _Found(place, module, body)
    if isinstance(place, ast.ImportFrom):
        (alias,) = (each for each in place.names if (each.asname or each.name) == name)
        return _find(_resolve(place, module), alias.name, hops - 1)
    return None


def _names(statement: ast.stmt) -> set[str]:
    """Give the names that a statement of a module binds, nested ones too, "*" left out."""
    names = set()
    for node in [statement] if isinstance(statement, ast.ClassDef | ast.FunctionDef) else ast.walk(statement):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.alias):
            names.add(node.asname or node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def _resolve(statement: ast.ImportFrom, module: str) -> str:
    """Give the absolute name of the module that is imported from."""
    if not statement.level:
        return statement.module or ""
    source = _locate(module)
    package = module.split(".")
    drop = statement.level - (source is not None and source.name == "__init__.py")
    return ".".join([*package[: len(package) - drop], *filter(None, [statement.module])])


def _parse(module: str) -> list[ast.stmt] | None:
    source = _locate(module)
    if source is None:
        return None
    try:
        return ast.parse(source.read_bytes()).body
    except (OSError, SyntaxError, ValueError, RecursionError):
        return None


def _locate(module: str) -> Path | None:
    """Give the file of a module without importing its packages, as `find_spec` would."""
    search: Sequence[str] | None = [*sys.path, str(Path.cwd())]
    origin = None
    for number in range(len(parts := module.split("."))):
        spec = PathFinder.find_spec(".".join(parts[: number + 1]), search)
        if spec is None:
            return None
        search, origin = spec.submodule_search_locations, spec.origin
        if search is None and number + 1 < len(parts):
            return None
    return Path(origin) if origin and origin.endswith(".py") else None


def _read(found: _Found, hops: int) -> Signature | None:
    if isinstance(found.node, ast.FunctionDef):
        plain = all(ast.unparse(each) in _PLAIN for each in found.node.decorator_list)
        return _read_arguments(found.node.args, skip=0) if plain else None
    assert isinstance(found.node, ast.ClassDef)
    return _read_class(found.node, found, hops)


def _read_class(node: ast.ClassDef, found: _Found, hops: int) -> Signature | None:
    decorators = {ast.unparse(each).partition("(")[0] for each in node.decorator_list}
    is_dataclass = bool(decorators & {"dataclass", "dataclasses.dataclass"})
    methods = {each.name: each for each in node.body if isinstance(each, ast.FunctionDef)}
    bound = [name for each in node.body for name in _names(each)]
    if node.keywords or "__new__" in bound or bound.count("__init__") > ("__init__" in methods):
        return None
    if decorators - {"dataclass", "dataclasses.dataclass", *_PLAIN}:
        return None
    if "__init__" in methods:
        method = methods["__init__"]
        return None if method.decorator_list else _read_arguments(method.args, skip=1)
    if is_dataclass:
        return _read_fields(node) if not node.bases else None
    for base in node.bases:  # the first that is found must say: who comes after it is not asked
        name = base.id if isinstance(base, ast.Name) else ""
        inner = _find(found.module, name) if name and hops else None
        return None if inner is None else _read(inner, hops - 1)
    return Signature(())


def _read_arguments(arguments: ast.arguments, *, skip: int) -> Signature | None:
    named = [*arguments.posonlyargs, *arguments.args]
    if arguments.posonlyargs[skip:]:
        return None
    required = [number < len(named) - len(arguments.defaults) for number in range(len(named))]
    pairs = [*zip(named, required, strict=True)][skip:]
    pairs += [
        (each, default is None)
        for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]
    parameters = tuple(Parameter(each.arg, need, _read_kinds(each.annotation)) for each, need in pairs)
    return Signature(parameters, arguments.kwarg is not None)


def _read_fields(node: ast.ClassDef) -> Signature | None:
    """Give the fields of a dataclass that has no base; one that uses `field(…)` may have `init=False`."""
    parameters = []
    for each in node.body:
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
            shown = ast.unparse(each.annotation)
            if "ClassVar" in shown or "InitVar" in shown or "KW_ONLY" in shown:
                return None
            value = ast.unparse(each.value) if each.value is not None else ""
            if "init=False" in value:
                continue
            required = not value or ("field(" in value and "default" not in value)
            parameters.append(Parameter(each.target.id, required, _read_kinds(each.annotation)))
    return Signature(tuple(parameters))


def _read_kinds(annotation: ast.expr | None) -> tuple[type, ...]:
    """Give the plain types of `int`, `int | None`, `Optional[int]` or "int"; none of anything else."""
    if annotation is None:
        return ()
    shown = annotation.value if isinstance(annotation, ast.Constant) else ast.unparse(annotation)
    shown = str(shown).removeprefix("typing.")
    if shown.startswith("Optional[") and shown.endswith("]"):
        shown = shown[len("Optional[") : -1] + " | None"
    kinds = [_KINDS.get(part.strip()) for part in shown.split("|")]
    return tuple(filter(None, kinds)) if all(kinds) else ()
