"""Statements as keys that stay when names of variables, numbers, hints and ways of writing change.

What a key leaves out is kept beside it: the local names and the literals, in the order of the normal form. Two
statements of one key differ at most in these. Keys are 64-bit hashes of tuples of numbers, which do not depend on
the process.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from trainkit.review.words import weigh

Statement = tuple[int, int, int, int, tuple[str, ...], tuple[str, ...], tuple[str, ...]]
"""Key, weight, first line, last line (0: part of a written statement), words, local names, literals."""

Unit = tuple[str, int, int, str, int, int, tuple[str, ...], tuple[str, ...]]
"""Qualified name, first and last line, kind, first and last statement, parameters, defaults as written."""

RESULT = "<result>"
AS_METHOD = "as method"  # the kind of a second reading of a function, where its first parameter is taken as `self`
_SHORT = 60
_Function = ast.FunctionDef | ast.AsyncFunctionDef
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_IMPORTS = (ast.Import, ast.ImportFrom)
_LOCAL, _NUMBER = 1, 2
_PLACES = re.compile(r"%[-+ #0-9.]*[sdifgr]|\{[^{}]*\}")


class _Words(dict[str, int]):
    """A stable number for each string."""

    def __missing__(self, word: str) -> int:
        self[word] = number = int.from_bytes(
            blake2b(word.encode("utf-8", "surrogatepass"), digest_size=7).digest(), "big"
        )
        return number


_word = _Words().__getitem__
_TAGS = {kind: _word(f"<{kind}>") for kind in vars(ast)}
_SWAPPED = {ast.Gt: _TAGS["Lt"], ast.GtE: _TAGS["LtE"]}
_COMPARE = {getattr(ast, name): _TAGS[name] for name in "Eq NotEq Lt LtE Gt GtE Is IsNot In NotIn".split()}


class Normaliser:
    """Turns bodies of functions into `statements`, in one walk over the tree."""

    def __init__(self, imports: Mapping[str, str]) -> None:
        self.statements: list[Statement] = []
        self.units: list[Unit] = []
        self._imports = dict(imports)
        self._local: set[str] = set()
        self._path: tuple[str, ...] = ()
        self._self = ""
        self._methods: frozenset[str] = frozenset()
        self._words: list[str] = []
        self._names: list[str] = []
        self._literals: list[str] = []
        self._dotted: dict[str, int] = {}
        self._through: Counter[str] = Counter()  # locals by how often only an attribute of theirs is used

    def functions(self, nodes: Iterable[ast.stmt], path: tuple[str, ...] = ()) -> None:
        """Add the functions and methods that are defined among `nodes`, with what is inside them."""
        methods = frozenset(node.name for node in nodes if isinstance(node, _FUNCTIONS)) if path else frozenset()
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
        defaults = tuple(ast.unparse(one) for one in (*a.defaults, *a.kw_defaults) if one)
        self._path = (*self._path, node.name)
        self._local = self._local.union(names, _bound(node))
        if kind == "method" and names:
            self._self, self._methods = names[0], methods
        self.body(node.body)
        self._local, self._self, self._methods, self._path = kept
        qualname = ".".join((*self._path, node.name))
        end = node.end_lineno or node.lineno
        self.units.append((qualname, node.lineno, end, kind, start, len(self.statements), names, defaults))
        if kind == "function" and names and not self._path and self._is_object(names[0], start):
            start, self._self, self._methods = len(self.statements), names[0], frozenset()
            self._local = self._local.union(names, _bound(node))
            number = len(self.units)
            self.body(node.body)
            self._local, self._self, self._methods, self._path = kept
            del self.units[number:]
            self.units.append((qualname, node.lineno, end, AS_METHOD, start, len(self.statements), names, defaults))

    def _is_object(self, name: str, start: int) -> bool:
        """Say whether a short function uses its first parameter for attributes only, as methods do."""
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

    def _add(self, node: ast.AST, key: int, *, written: bool = True) -> None:
        words = self._words
        end = node.end_lineno if written else 0  # type: ignore[attr-defined]
        if written and type(node) in _COMPOUND:
            end = node.lineno  # type: ignore[attr-defined]
        self.statements.append(
            (key, weigh(words, len(self._names) + len(self._literals)), node.lineno, end, tuple(words), tuple(self._names), tuple(self._literals))  # type: ignore[attr-defined]
        )
        self._words, self._names, self._literals = [], [], []

    def _aside(self, node: ast.AST, make: Callable[[], int]) -> None:
        """Add what `make` gives as a statement of its own, while another one is being read."""
        kept = self._words, self._names, self._literals
        self._words, self._names, self._literals = [], [], []
        self._add(node, make(), written=False)
        self._words, self._names, self._literals = kept

    def _assign(self, node: ast.AST, target: ast.expr | None, value: ast.expr, *, written: bool = True) -> None:
        if isinstance(value, ast.IfExp):
            self._aside(value, lambda: hash((_TAGS["If"], self.value(value.test))))
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
            place = _LOCAL
        else:
            place = self.value(target)
        self._add(node, hash((_TAGS["Assign"], place, found)), written=written)

    def _do_assign(self, node: ast.Assign) -> None:
        for number, target in enumerate(node.targets):
            self._assign(node, target, node.value, written=not number)

    def _do_hinted(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self._assign(node, node.target, node.value)

    def _do_augmented(self, node: ast.AugAssign) -> None:
        changed = hash((_TAGS["BinOp"], _TAGS[type(node.op).__name__], self.value(node.target), self.value(node.value)))
        self._add(node, hash((_TAGS["Assign"], self.value(node.target), changed)))

    def _do_return(self, node: ast.Return) -> None:
        if node.value is None or type(node.value) in (ast.Name, ast.Constant, ast.Tuple):
            found = self.value(node.value) if node.value else 0
            self._add(node, hash((_TAGS["Return"], found)))
            return
        self._assign(node, None, node.value)
        self._aside(node, lambda: hash((_TAGS["Return"], _LOCAL)))

    def _do_expression(self, node: ast.Expr) -> None:
        value = node.value
        if isinstance(value, ast.Constant):
            return  # a docstring, or `...`
        found = self.value(value)
        if isinstance(value, ast.ListComp) or (not self._words and not self._names):
            return
        self._add(node, hash((_TAGS["Expr"], found)))

    def _do_if(self, node: ast.If) -> None:
        self._add(node, hash((_TAGS["If"], self.value(node.test))))
        self.body(node.body)
        self.body(node.orelse)

    def _do_while(self, node: ast.While) -> None:
        self._add(node, hash((_TAGS["While"], self.value(node.test))))
        self.body(node.body)
        self.body(node.orelse)

    def _do_for(self, node: ast.For | ast.AsyncFor) -> None:
        found = self.value(node.iter)
        self._add(node, hash((_TAGS["For"], self.value(node.target), found)))
        self.body(node.body)
        self.body(node.orelse)

    def _do_with(self, node: ast.With | ast.AsyncWith) -> None:
        for number, item in enumerate(node.items):
            found = self.value(item.context_expr)
            place = self.value(item.optional_vars) if item.optional_vars else 0
            self._add(node, hash((_TAGS["With"], found, place)), written=not number)
        self.body(node.body)

    def _do_try(self, node: ast.Try) -> None:
        self._add(node, _TAGS["Try"])
        self.body(node.body)
        for handler in node.handlers:
            kind = self.value(handler.type) if handler.type else 0
            self._add(handler, hash((_TAGS["ExceptHandler"], kind)))
            self.body(handler.body)
        self.body(node.orelse)
        self.body(node.finalbody)

    def _do_function(self, node: _Function) -> None:
        self._add(node, hash((_TAGS["FunctionDef"], len(node.args.args))))
        self._function(node, frozenset(), "function")

    def _do_class(self, node: ast.ClassDef) -> None:
        for base in node.bases:
            self.value(base)
        self._add(node, _TAGS["ClassDef"])
        methods = frozenset(one.name for one in node.body if isinstance(one, _FUNCTIONS))
        kept, self._path = self._path, (*self._path, node.name)
        for one in node.body:
            if isinstance(one, _FUNCTIONS):
                self._function(one, methods, "method")
        self._path = kept

    def _do_import(self, node: ast.Import | ast.ImportFrom) -> None:
        found = read_imports([node])
        self._imports.update(found)
        self._local -= set(found)
        self._words += [name.rpartition(".")[2] for name in found.values()]
        self._add(node, hash((_TAGS["Import"], *sorted(map(_word, found.values())))))

    def _do_match(self, node: ast.Match) -> None:
        self._add(node, hash((_TAGS["Match"], self.value(node.subject))))
        for case in node.cases:
            found = _word(ast.dump(case.pattern))
            if case.guard:
                found = hash((found, self.value(case.guard)))
            self._add(case.pattern, hash((_TAGS["match_case"], found)))
            self.body(case.body)

    def _do_simple(self, node: ast.stmt) -> None:
        found = [self.value(one) for one in ast.iter_child_nodes(node) if isinstance(one, ast.expr)]
        self._add(node, hash((_TAGS[type(node).__name__], *found)))

    # Expressions.

    def value(self, node: Any) -> int:
        """Give the key of an expression."""
        handler = _EXPRESSIONS.get(type(node))
        return handler(self, node) if handler else self._other(node)

    def _name(self, node: ast.Name) -> int:
        name = node.id
        if name in self._local:
            self._names.append(name)
            return _LOCAL
        known = self._imports.get(name)
        if known is None:
            self._words.append(name)
            return _word(name)
        return self._global(known)

    def _global(self, dotted: str) -> int:
        head, _, last = dotted.rpartition(".")
        self._words.append(last)
        if not head:
            return _word(last)
        found = self._dotted.get(dotted)
        if found is None:
            parts = dotted.split(".")
            found = _word(parts[0])
            for part in parts[1:]:
                found = hash((_TAGS["Attribute"], found, _word(part)))
            self._dotted[dotted] = found
        return found

    def _constant(self, node: ast.Constant) -> int:
        value = node.value
        if value is None:
            return 3
        if isinstance(value, str):
            self._words.append(value)
            return _word(value)
        self._literals.append(repr(value))
        return _NUMBER

    def _attribute(self, node: ast.Attribute) -> int:
        inner, name = node.value, node.attr
        if type(inner) is ast.Name and inner.id == self._self and inner.id in self._local:
            if name in self._methods:
                self._words.append(name)
                return _word(name)
            self._names.append(f"{inner.id}.{name}")
            return _LOCAL
        found = self.value(inner)
        if found == _LOCAL and type(inner) is ast.Name:
            self._through[inner.id] += 1
        self._words.append(name)
        return hash((_TAGS["Attribute"], found, _word(name)))

    def _call(self, node: ast.Call) -> int:
        function = node.func
        if type(function) is ast.Name and function.id in ("dict", "list", "tuple", "set") and not node.args:
            return self._made(function.id, node.keywords)
        if type(function) is ast.Attribute and function.attr == "format" and not node.keywords:
            text = function.value
            if type(text) is ast.Constant and isinstance(text.value, str):
                return self._text([text.value], node.args)
        parts = [_TAGS["Call"], self.value(function)]
        parts += [self.value(one) for one in node.args]
        keywords = node.keywords
        if len(keywords) > 1:
            keywords = sorted(keywords, key=lambda one: one.arg or "~")
        for keyword in keywords:
            if keyword.arg:
                self._words.append(keyword.arg)
                parts.append(_word(keyword.arg))
            parts.append(self.value(keyword.value))
        return hash(tuple(parts))

    def _made(self, kind: str, keywords: list[ast.keyword]) -> int:
        pairs = [(ast.Constant(one.arg) if one.arg else None, one.value) for one in keywords]
        if kind == "dict":
            return self._pairs(pairs)
        return hash((_TAGS[{"list": "List", "tuple": "Tuple", "set": "Set"}[kind]],))

    def _dict(self, node: ast.Dict) -> int:
        return self._pairs(list(zip(node.keys, node.values, strict=True)))

    def _pairs(self, pairs: list[tuple[Any, ast.expr]]) -> int:
        pairs.sort(key=lambda pair: str(pair[0].value) if isinstance(pair[0], ast.Constant) else "~")
        parts = [_TAGS["Dict"]]
        for key, value in pairs:
            parts += [self.value(key) if key else 4, self.value(value)]
        return hash(tuple(parts))

    def _binary(self, node: ast.BinOp) -> int:
        left = node.left
        if type(node.op) is ast.Mod and type(left) is ast.Constant and isinstance(left.value, str):
            values = node.right.elts if isinstance(node.right, ast.Tuple) else [node.right]
            return self._text([left.value], values)
        return hash((_TAGS["BinOp"], _TAGS[type(node.op).__name__], self.value(left), self.value(node.right)))

    def _text(self, pieces: Iterable[str], values: Iterable[ast.expr]) -> int:
        """Text with values in it, however it is written."""
        template = _PLACES.sub("{}", "".join(pieces))
        self._words.append(template)
        return hash((_TAGS["JoinedStr"], _word(template), *(self.value(value) for value in values)))

    def _joined(self, node: ast.JoinedStr) -> int:
        pieces = [one.value if isinstance(one, ast.Constant) else "{}" for one in node.values]
        return self._text(pieces, [one.value for one in node.values if isinstance(one, ast.FormattedValue)])

    def _unary(self, node: ast.UnaryOp) -> int:
        found = self.value(node.operand)
        if found == _NUMBER or isinstance(node.op, ast.Not):
            self._literals.append("not" if isinstance(node.op, ast.Not) else type(node.op).__name__)
            return found
        return hash((_TAGS[type(node.op).__name__], found))

    def _compare(self, node: ast.Compare) -> int:
        left, others = node.left, node.comparators
        kind = type(node.ops[0])
        if len(others) == 1:
            if kind in _SWAPPED:
                return hash((_SWAPPED[kind], self.value(others[0]), self.value(left)))
            return hash((_COMPARE[kind], self.value(left), self.value(others[0])))
        ops = (_COMPARE[type(one)] for one in node.ops)
        return hash((_TAGS["Compare"], *ops, self.value(left), *map(self.value, others)))

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> int:
        """A loop of its own; the value is what the loop gathered."""
        kind = type(node)
        if kind is not ast.GeneratorExp:
            made = {ast.ListComp: "List", ast.SetComp: "Set", ast.DictComp: "Dict"}[kind]
            self._aside(node, lambda: hash((_TAGS["Assign"], self._result(), hash((_TAGS[made],)))))
        for loop in node.generators:
            self._local.update(one.id for one in ast.walk(loop.target) if isinstance(one, ast.Name))
            self._aside(loop.iter, lambda loop=loop: self._loop(loop))  # type: ignore[misc]
            for test in loop.ifs:
                self._aside(test, lambda test=test: hash((_TAGS["If"], self.value(test))))  # type: ignore[misc]
        self._aside(node, lambda: self._gathered(node))
        return self._result()

    def _loop(self, loop: ast.comprehension) -> int:
        found = self.value(loop.iter)
        return hash((_TAGS["For"], self.value(loop.target), found))

    def _gathered(self, node: Any) -> int:
        if isinstance(node, ast.DictComp):
            key, value = self.value(node.key), self.value(node.value)
            return hash((_TAGS["Assign"], hash((_TAGS["Subscript"], self._result(), key)), value))
        if isinstance(node, ast.GeneratorExp):
            return hash((_TAGS["Expr"], self.value(node.elt)))
        verb = "append" if isinstance(node, ast.ListComp) else "add"
        adds = hash((_TAGS["Attribute"], self._result(), _word(verb)))
        self._words.append(verb)
        return hash((_TAGS["Expr"], hash((_TAGS["Call"], adds, self.value(node.elt)))))

    def _result(self) -> int:
        self._names.append(RESULT)
        return _LOCAL

    def _walrus(self, node: ast.NamedExpr) -> int:
        self._local.add(node.target.id)
        self._aside(node, lambda: self._walrus_key(node))
        return self.value(node.target)

    def _walrus_key(self, node: ast.NamedExpr) -> int:
        found = self.value(node.value)
        return hash((_TAGS["Assign"], self.value(node.target), found))

    def _lambda(self, node: ast.Lambda) -> int:
        self._local |= {one.arg for one in ast.walk(node.args) if isinstance(one, ast.arg)}
        return hash((_TAGS["Lambda"], len(node.args.args), self.value(node.body)))

    def _inner(self, node: Any) -> int:
        return self.value(node.value)

    def _subscript(self, node: ast.Subscript) -> int:
        return hash((_TAGS["Subscript"], self.value(node.value), self.value(node.slice)))

    def _elements(self, node: ast.Tuple | ast.List) -> int:
        return hash((_TAGS[type(node).__name__], *map(self.value, node.elts)))

    def _other(self, node: ast.AST) -> int:
        parts: list[int] = [_TAGS[type(node).__name__]]
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                parts.append(self.value(child))
            elif not isinstance(child, ast.expr_context):
                parts.append(_TAGS.get(type(child).__name__, 0))
        return hash(tuple(parts))


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
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            yield node.name
            continue
        if isinstance(node, ast.Assign):
            for target in node.targets:
                yield from _in_target(target)
        elif isinstance(node, (ast.AugAssign, ast.AnnAssign)):
            yield from _in_target(node.target)
        elif isinstance(node, (ast.For, ast.AsyncFor)):
            yield from _in_target(node.target)
        elif isinstance(node, (ast.With, ast.AsyncWith)):
            for item in node.items:
                if item.optional_vars:
                    yield from _in_target(item.optional_vars)
        elif isinstance(node, ast.Match):
            for case in node.cases:
                yield from (one.name for one in ast.walk(case.pattern) if isinstance(one, ast.MatchAs) and one.name)
                yield from _targets(case.body)
        for handler in getattr(node, "handlers", ()):
            if handler.name:
                yield handler.name
            yield from _targets(handler.body)
        for part in ("body", "orelse", "finalbody"):
            inside = getattr(node, part, None)
            if inside:
                yield from _targets(inside)


def _in_target(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, (ast.Tuple, ast.List)):
        for one in node.elts:
            yield from _in_target(one)
    elif isinstance(node, ast.Starred):
        yield from _in_target(node.value)


_COMPOUND = {
    ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.FunctionDef,
    ast.AsyncFunctionDef, ast.ClassDef, ast.Match, ast.ExceptHandler,
}  # fmt: skip
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
_EXPRESSIONS: dict[type, Callable[[Normaliser, Any], int]] = {
    ast.Name: Normaliser._name,
    ast.Constant: Normaliser._constant,
    ast.Attribute: Normaliser._attribute,
    ast.Call: Normaliser._call,
    ast.Dict: Normaliser._dict,
    ast.BinOp: Normaliser._binary,
    ast.JoinedStr: Normaliser._joined,
    ast.UnaryOp: Normaliser._unary,
    ast.Compare: Normaliser._compare,
    ast.ListComp: Normaliser._comprehension,
    ast.SetComp: Normaliser._comprehension,
    ast.DictComp: Normaliser._comprehension,
    ast.GeneratorExp: Normaliser._comprehension,
    ast.NamedExpr: Normaliser._walrus,
    ast.Lambda: Normaliser._lambda,
    ast.Await: Normaliser._inner,
    ast.Starred: Normaliser._inner,
    ast.Subscript: Normaliser._subscript,
    ast.Tuple: Normaliser._elements,
    ast.List: Normaliser._elements,
}
