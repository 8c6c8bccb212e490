"""Statements of functions and modules in a normal form that stays when they are written in another way.

Two statements of one key differ at most in their local names and literals (`expressions`). A compound
statement is its header, followed by what is inside.
"""

from __future__ import annotations

import ast
import builtins
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from trainkit.review.expressions import LOCAL, RESULT, TAGS, Expressions, key_of

Unit = tuple[str, int, int, str, int, int, tuple[str, ...], tuple[str, ...]]
"""Qualified name, first and last line, kind, first and last statement, parameters, defaults as written."""

AS_METHOD = (
    "as method"  # the kind of a second reading of a function, where its first parameter is taken as `self`
)
_SHORT = 60
_Function = ast.FunctionDef | ast.AsyncFunctionDef
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_IMPORTS = (ast.Import, ast.ImportFrom)


class Normaliser(Expressions):
    """Turns functions and the module's body into `statements`, in one walk over the tree."""

    def __init__(self, module: ast.Module) -> None:
        self.imports = read_imports(_walk_blocks(module.body))
        super().__init__(self.imports, _list_known(module))
        self.units: list[Unit] = []
        self._path: tuple[str, ...] = ()
        self.functions(module.body)
        self.module(module.body)

    def functions(self, nodes: Iterable[ast.stmt], path: tuple[str, ...] = ()) -> None:
        """Add the functions and methods that are defined among `nodes`, with what is inside them."""
        methods = (
            frozenset(node.name for node in nodes if isinstance(node, _FUNCTIONS)) if path else frozenset()
        )
        for node in nodes:
            if isinstance(node, _FUNCTIONS):
                self._path = path
                self._function(node, methods, "method" if path else "function")
            elif isinstance(node, ast.ClassDef):
                self.functions(node.body, (*path, node.name))

    def module(self, body: Sequence[ast.stmt]) -> None:
        """Add what runs when the module does, without imports and definitions."""
        plain = [node for node in body if not isinstance(node, (*_FUNCTIONS, ast.ClassDef, *_IMPORTS))]
        start, self._path, self._local = len(self.statements), (), set(_targets(plain))
        self.body(plain)
        self._local = set()
        if plain:
            end = plain[-1].end_lineno or 0
            self.units.append(("", plain[0].lineno, end, "module body", start, len(self.statements), (), ()))

    def _function(self, node: _Function, methods: frozenset[str], kind: str) -> None:
        start, kept = len(self.statements), (self._local, self._self, self._methods, self._path)
        a = node.args
        named = [*a.posonlyargs, *a.args, *a.kwonlyargs]
        names = tuple(one.arg for one in (*named, a.vararg, a.kwarg) if one)
        stars = [f"{star}{one.arg}" for star, one in (("*", a.vararg), ("**", a.kwarg)) if one]
        shown = (*(one.arg for one in named), *stars)
        defaults = tuple(ast.unparse(one) for one in (*a.defaults, *a.kw_defaults) if one)
        self._path = (*self._path, node.name)
        self._local = self._local.union(names, _bound(node))
        if kind == "method" and names:
            self._self, self._methods = names[0], methods
        self.body(node.body)
        self._local, self._self, self._methods, self._path = kept
        qualname = ".".join((*self._path, node.name))
        end = node.end_lineno or node.lineno
        self.units.append((qualname, node.lineno, end, kind, start, len(self.statements), shown, defaults))
        if kind == "function" and names and not self._path and self._is_object(names[0], start):
            start, self._self, self._methods = len(self.statements), names[0], frozenset()
            self._local = self._local.union(names, _bound(node))
            number = len(self.units)
            self.body(node.body)
            self._local, self._self, self._methods, self._path = kept
            del self.units[number:]
            self.units.append(
                (qualname, node.lineno, end, AS_METHOD, start, len(self.statements), shown, defaults)
            )

    def _is_object(self, name: str, start: int) -> bool:
        """Say whether a short function uses its first parameter for named parts only, as methods do."""
        through, self._through = self._through[name], Counter()
        if through < 2 or len(self.statements) - start > _SHORT:
            return False
        return through == sum(one[5].count(name) for one in self.statements[start:])

    # Statements.

    def body(self, nodes: Iterable[ast.stmt]) -> None:
        """Add each statement, compound ones by their header and then what is inside."""
        for node in nodes:
            handler = _STATEMENTS.get(type(node))
            if handler:
                handler(self, node)

    def _assign(
        self, node: ast.AST, target: ast.expr | None, value: ast.expr, *, written: bool = True
    ) -> None:
        if isinstance(value, ast.IfExp):
            self._aside(value, lambda: hash((TAGS["If"], self.value(value.test))))
            self._assign(node, target, value.body, written=written)
            self._assign(node, target, value.orelse, written=False)
            return
        if (
            isinstance(target, (ast.Tuple, ast.List))
            and isinstance(value, (ast.Tuple, ast.List))
            and len(target.elts) == len(value.elts)
        ):
            for number, (one, its) in enumerate(zip(target.elts, value.elts, strict=True)):
                self._assign(node, one, its, written=written and not number)
            return
        found = self.value(value)
        if target is None:
            self._names.append(RESULT)
            place = LOCAL
        else:
            place = self.value(target)
        self._add(node, hash((TAGS["Assign"], place, found)), written=written)

    def _do_assign(self, node: ast.Assign) -> None:
        for number, target in enumerate(node.targets):
            self._assign(node, target, node.value, written=not number)

    def _do_hinted(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self._assign(node, node.target, node.value)

    def _do_augmented(self, node: ast.AugAssign) -> None:
        place = self.value(node.target)
        self._names = [name.lstrip("=") for name in self._names]
        changed = hash((TAGS["BinOp"], TAGS[type(node.op).__name__], place, self.value(node.value)))
        self._add(node, hash((TAGS["Assign"], self.value(node.target), changed)))

    def _do_return(self, node: ast.Return) -> None:
        if node.value is None or type(node.value) in (ast.Name, ast.Constant, ast.Tuple):
            found = self.value(node.value) if node.value else 0
            self._add(node, hash((TAGS["Return"], found)))
            return
        self._assign(node, None, node.value)
        self._aside(node, lambda: hash((TAGS["Return"], LOCAL)))

    def _do_expression(self, node: ast.Expr) -> None:
        value = node.value
        if isinstance(value, ast.Constant):
            return  # a docstring, or `...`
        found = self.value(value)
        if isinstance(value, ast.ListComp) or (not self._words and not self._names):
            return
        self._add(node, hash((TAGS["Expr"], found)))

    def _do_if(self, node: ast.If) -> None:
        self._add(node, hash((TAGS["If"], self.value(node.test))))
        self.body(node.body)
        self.body(node.orelse)

    def _do_while(self, node: ast.While) -> None:
        self._add(node, hash((TAGS["While"], self.value(node.test))))
        self.body(node.body)
        self.body(node.orelse)

    def _do_for(self, node: ast.For | ast.AsyncFor) -> None:
        found = self.value(node.iter)
        self._add(node, hash((TAGS["For"], self.value(node.target), found)))
        self.body(node.body)
        self.body(node.orelse)

    def _do_with(self, node: ast.With | ast.AsyncWith) -> None:
        for number, item in enumerate(node.items):
            found = self.value(item.context_expr)
            place = self.value(item.optional_vars) if item.optional_vars else 0
            self._add(node, hash((TAGS["With"], found, place)), written=not number)
        self.body(node.body)

    def _do_try(self, node: ast.Try) -> None:
        self._add(node, TAGS["Try"])
        self.body(node.body)
        for handler in node.handlers:
            kind = self.value(handler.type) if handler.type else 0
            self._add(handler, hash((TAGS["ExceptHandler"], kind)))
            self.body(handler.body)
        self.body(node.orelse)
        self.body(node.finalbody)

    def _do_function(self, node: _Function) -> None:
        self._add(node, hash((TAGS["FunctionDef"], len(node.args.args))))
        self._function(node, frozenset(), "function")

    def _do_class(self, node: ast.ClassDef) -> None:
        for base in node.bases:
            self.value(base)
        self._add(node, TAGS["ClassDef"])
        methods = frozenset(one.name for one in node.body if isinstance(one, _FUNCTIONS))
        kept, self._path = self._path, (*self._path, node.name)
        for one in node.body:
            if isinstance(one, _FUNCTIONS):
                self._function(one, methods, "method")
        self._path = kept

    def _do_import(self, node: ast.Import | ast.ImportFrom) -> None:
        found = read_imports([node])
        self._imports.update(found)
        self._local -= found.keys()
        self._add(node, hash((TAGS["Import"], *sorted(map(key_of, found.values())))))

    def _do_match(self, node: ast.Match) -> None:
        self._add(node, hash((TAGS["Match"], self.value(node.subject))))
        for case in node.cases:
            found = key_of(ast.dump(case.pattern))
            if case.guard:
                found = hash((found, self.value(case.guard)))
            self._add(case.pattern, hash((TAGS["match_case"], found)))
            self.body(case.body)

    def _do_simple(self, node: ast.stmt) -> None:
        found = [self.value(one) for one in ast.iter_child_nodes(node) if isinstance(one, ast.expr)]
        self._add(node, hash((TAGS[type(node).__name__], *found)))


def _list_known(module: ast.Module) -> frozenset[str]:
    """What is no variable: builtins, functions and classes; `*` stands for anything after a star import."""
    names = set(dir(builtins))
    for node in _walk_blocks(module.body):
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
            names.add("*")
    return frozenset(names)


def _walk_blocks(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Give the statements of a scope, those inside its blocks too."""
    for node in nodes:
        yield node
        if not isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            for part in ("body", "handlers", "orelse", "finalbody"):
                yield from _walk_blocks(getattr(node, part, ()))


def read_imports(nodes: Iterable[ast.AST]) -> dict[str, str]:
    """Give what each imported name stands for, by dotted name; relative ones begin with their dots."""
    found: dict[str, str] = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            for one in node.names:
                found[one.asname or one.name.partition(".")[0]] = (
                    one.name if one.asname else one.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            found |= {one.asname or one.name: f"{base}.{one.name}" for one in node.names if one.name != "*"}
    return found


def _bound(node: _Function) -> set[str]:
    names = set(_targets(node.body))
    for one in node.body:
        if isinstance(one, ast.Global):
            names.difference_update(one.names)
    return names


def _targets(nodes: Iterable[ast.stmt]) -> Iterator[str]:
    """The names that statements bind in their own scope, imports left out."""
    for node in nodes:
        yield from _bound_by(node)
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            continue
        for inner in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
            yield from _targets(inner.body)
        for part in ("body", "orelse", "finalbody"):
            if inside := getattr(node, part, None):
                yield from _targets(inside)


def _bound_by(node: ast.stmt) -> Iterator[str]:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield node.name
        case ast.Assign():
            yield from (name for target in node.targets for name in _in_target(target))
        case ast.AugAssign() | ast.AnnAssign() | ast.For() | ast.AsyncFor():
            yield from _in_target(node.target)
        case ast.With() | ast.AsyncWith():
            yield from (name for item in node.items for name in _in_target(item.optional_vars))
        case ast.Try() | ast.TryStar():
            yield from (handler.name for handler in node.handlers if handler.name)
        case ast.Match():
            found = (one for case in node.cases for one in ast.walk(case.pattern))
            yield from (one.name for one in found if isinstance(one, ast.MatchAs) and one.name)


def _in_target(node: ast.expr | None) -> Iterator[str]:
    if isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, (ast.Tuple, ast.List)):
        for one in node.elts:
            yield from _in_target(one)
    elif isinstance(node, ast.Starred):
        yield from _in_target(node.value)


_STATEMENTS: dict[type, Callable[[Normaliser, Any], None]] = {
    ast.Assign: Normaliser._do_assign,
    ast.AnnAssign: Normaliser._do_hinted,
    ast.AugAssign: Normaliser._do_augmented,
    ast.Return: Normaliser._do_return,
    ast.Expr: Normaliser._do_expression,
    ast.If: Normaliser._do_if,
    ast.While: Normaliser._do_while,
    ast.For: Normaliser._do_for,
    ast.AsyncFor: Normaliser._do_for,
    ast.With: Normaliser._do_with,
    ast.AsyncWith: Normaliser._do_with,
    ast.Try: Normaliser._do_try,
    ast.TryStar: Normaliser._do_try,
    ast.FunctionDef: Normaliser._do_function,
    ast.AsyncFunctionDef: Normaliser._do_function,
    ast.ClassDef: Normaliser._do_class,
    ast.Import: Normaliser._do_import,
    ast.ImportFrom: Normaliser._do_import,
    ast.Match: Normaliser._do_match,
    ast.Raise: Normaliser._do_simple,
    ast.Assert: Normaliser._do_simple,
    ast.Delete: Normaliser._do_simple,
    ast.Break: Normaliser._do_simple,
    ast.Continue: Normaliser._do_simple,
}
