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
_DATACLASS = {"dataclass", "dataclasses.dataclass"}
_PLAIN = {"final", "typing.final", "no_type_check", "typing.no_type_check"}
_MAX_HOPS = 8


@dataclass(frozen=True)
class Parameter:
    """One keyword; `kinds` are the types that its annotation allows, none if it is not so simple."""

    name: str
    required: bool
    kinds: tuple[type, ...] = ()

    def accepts(self, value: Any) -> bool:
        """Say whether the annotation allows the value; an integer is a number."""
        return not self.kinds or type(value) in self.kinds or (float in self.kinds and type(value) is int)


@dataclass(frozen=True)
class Signature:
    """The keywords of a call; `takes_more` with `**kwargs`."""

    parameters: tuple[Parameter, ...]
    takes_more: bool = False

    def find(self, name: str) -> Parameter | None:
        """Give the parameter of that name, a free one for `**kwargs`."""
        free = (Parameter(name, required=False),) if self.takes_more else ()
        return next((each for each in (*self.parameters, *free) if each.name == name), None)

    def list_required(self) -> list[str]:
        """Give the names of those without a default."""
        return [each.name for each in self.parameters if each.required]


@dataclass(frozen=True)
class _Found:
    """A definition, and the module that it stands in."""

    node: ast.ClassDef | ast.FunctionDef
    module: str


def find_mistakes(key: str, target: str, kwargs: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield (slug, dotted key, message) for an unknown keyword, a missing one, and a value of a wrong type.

    `key` is where the keywords stand, such as "model.kwargs".
    """
    signature = read_signature(target)
    if signature is None:
        return
    for name, value in kwargs.items():
        place = f"{key}.{name}"
        parameter = signature.find(name)
        if parameter is None:
            hint = suggest(name, [each.name for each in signature.parameters]) or "; it takes none"
            yield "config-unknown-key", place, f"'{place}' is no parameter of {target}{hint}"
        elif not parameter.accepts(value):
            expected = " or ".join(map(WORDS.__getitem__, parameter.kinds))
            yield "config-type", place, f"{place}={value!r}: expected {expected}, as {target} is annotated"
    missing = [f"{key}.{name}=…" for name in signature.list_required() if name not in kwargs]
    if missing:
        yield "config-missing", key, f"{target} needs {', '.join(missing)}"


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
    if places:
        return _follow(places[0], module, name, hops) if len(places) == 1 else None
    stars = [_follow(each, module, name, hops) for each in body if "*" in _names(each)]
    known = list(filter(None, stars))
    return known[0] if len(known) == 1 else None


def _follow(place: ast.stmt, module: str, name: str, hops: int) -> _Found | None:
    """Give what a statement defines under the name, or what is behind its import."""
    if isinstance(place, ast.ClassDef | ast.FunctionDef):
        return _Found(place, module)
    if isinstance(place, ast.ImportFrom):
        inner = {each.asname or each.name: each.name for each in place.names}
        return _find(_resolve(place, module), inner.get(name, name), hops - 1)
    return None


def _names(statement: ast.stmt) -> set[str]:
    """Give the names that a statement of a module binds, nested ones too; "*" for a star."""
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
    return _read_class(found.node, found, hops)


def _read_class(node: ast.ClassDef, found: _Found, hops: int) -> Signature | None:
    decorators = {ast.unparse(each).partition("(")[0] for each in node.decorator_list}
    makers = [each for each in node.body if _names(each) & {"__init__", "__new__"}]
    if node.keywords or decorators - _DATACLASS - _PLAIN:
        return None
    if makers:
        return _read_maker(makers)
    if decorators & _DATACLASS:
        return _read_fields(node) if not node.bases else None
    return _read_base(node.bases[0], found.module, hops) if node.bases else Signature(())


def _read_maker(makers: list[ast.stmt]) -> Signature | None:
    """Give what the one `__init__` takes, after `self`."""
    method = makers[0]
    if not isinstance(method, ast.FunctionDef) or len(makers) > 1 or method.name == "__new__":
        return None
    return None if method.decorator_list else _read_arguments(method.args, skip=1)


def _read_base(base: ast.expr, module: str, hops: int) -> Signature | None:
    """Give what the first base takes: where it does not say, those behind it are not asked."""
    found = _find(module, base.id) if isinstance(base, ast.Name) and hops else None
    return None if found is None else _read(found, hops - 1)


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
    fields = [each for each in node.body if isinstance(each, ast.AnnAssign)]
    shown = " ".join(ast.unparse(each.annotation) for each in fields)
    if any(word in shown for word in ("ClassVar", "InitVar", "KW_ONLY")):
        return None
    return Signature(tuple(filter(None, map(_read_field, fields))))


def _read_field(field: ast.AnnAssign) -> Parameter | None:
    value = "" if field.value is None else ast.unparse(field.value)
    if "init=False" in value:
        return None
    required = not value or ("field(" in value and "default" not in value)
    return Parameter(ast.unparse(field.target), required, _read_kinds(field.annotation))


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
