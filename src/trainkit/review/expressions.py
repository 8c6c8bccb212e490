"""Expressions as keys that stay when names of variables, numbers and ways of writing change.

What a key leaves out is kept beside it: the local names and the literals, in the order of the normal form.
Keys are 64-bit hashes of tuples of numbers, which do not depend on the process.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from hashlib import blake2b
from typing import Any

from trainkit.review.words import weigh

Statement = tuple[int, int, int, int, tuple[str, ...], tuple[str, ...], tuple[str, ...], int, int]
"""Key, weight, first line, last line (0: part of a written statement), words, local names, literals, column,
and a key of names and literals.

A name that is bound there begins with `=`, a variable of the module with `*`; `<name>` is a lambda's own.
"""

RESULT = "<result>"
LOCAL = 1
_NUMBER = 2
_HEADED = frozenset(kind for kind in vars(ast).values() if "body" in getattr(kind, "_fields", ())) | {
    ast.Match
}
_PLACES = re.compile(r"%[-+ #0-9.]*[sdifgr]|\{[^{}]*\}")


class _Words(dict[str, int]):
    """A stable number for each string."""

    def __missing__(self, word: str) -> int:
        self[word] = number = int.from_bytes(
            blake2b(word.encode("utf-8", "surrogatepass"), digest_size=7).digest(), "big"
        )
        return number


key_of = _Words().__getitem__
TAGS = {kind: key_of(f"<{kind}>") for kind in vars(ast)}
_SWAPPED = {ast.Gt: TAGS["Lt"], ast.GtE: TAGS["LtE"]}
_COMPARES = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Is, ast.IsNot, ast.In, ast.NotIn)
_COMPARE: dict[type[ast.cmpop], int] = {kind: TAGS[kind.__name__] for kind in _COMPARES}


class Expressions:
    """Reads expressions, and adds to `statements` what is a statement of its own in them."""

    def __init__(self, imports: Mapping[str, str], known: frozenset[str]) -> None:
        self.statements: list[Statement] = []
        self._imports = dict(imports)
        self._known = known  # builtins, functions and classes: all else that is not imported is a variable
        self._local: set[str] = set()
        self._self = ""
        self._methods: frozenset[str] = frozenset()
        self.calls: list[tuple[int, str]] = []  # number of the statement, function or method of the own class
        self._words: list[str] = []
        self._names: list[str] = []
        self._literals: list[str] = []
        self._dotted: dict[str, int] = {}
        self._through: Counter[str] = Counter()  # locals by how often only a named part of theirs is used

    def _add(self, node: Any, key: int, *, written: bool = True) -> None:
        words, names, literals = self._words, self._names, self._literals
        end = 0 if not written else node.lineno if type(node) in _HEADED else node.end_lineno
        weight = weigh(words, len(names) + len(literals))
        exact = hash((*map(key_of, names), 0, *map(key_of, literals)))
        self.statements.append(
            (
                key,
                weight,
                node.lineno,
                end,
                tuple(words),
                tuple(names),
                tuple(literals),
                node.col_offset,
                exact,
            )
        )
        self._words, self._names, self._literals = [], [], []

    def _aside(self, node: ast.AST, make: Callable[[], int]) -> None:
        """Add what `make` gives as a statement of its own, while another one is being read."""
        kept = self._words, self._names, self._literals
        self._words, self._names, self._literals = [], [], []
        self._add(node, make(), written=False)
        self._words, self._names, self._literals = kept

    def value(self, node: Any) -> int:
        """Give the key of an expression."""
        handler = _EXPRESSIONS.get(type(node))
        return handler(self, node) if handler else self._other(node)

    def _name(self, node: ast.Name) -> int:
        name = node.id
        if name in self._local:
            self._names.append(f"={name}" if type(node.ctx) is ast.Store else name)
            return LOCAL
        found = self._imports.get(name)
        if found is not None:
            return self._global(found)
        if name in self._known or "*" in self._known:
            self._words.append(name)
            return key_of(name)
        self._names.append(f"*{name}")
        return LOCAL

    def _global(self, dotted: str) -> int:
        head, _, last = dotted.rpartition(".")
        self._words.append(last)
        if not head:
            return key_of(last)
        found = self._dotted.get(dotted)
        if found is None:
            # Of a relative import it is not known where it begins: of all only the last module counts.
            parts = [part for part in dotted.split(".") if part][-2:]
            found = key_of(parts[0])
            for part in parts[1:]:
                found = hash((TAGS["Attribute"], found, key_of(part)))
            self._dotted[dotted] = found
        return found

    def _constant(self, node: ast.Constant) -> int:
        value = node.value
        if value is None:
            return 3
        if isinstance(value, str):
            self._words.append(value)
            return key_of(value)
        self._literals.append(repr(value))
        return _NUMBER

    def _attribute(self, node: ast.Attribute) -> int:
        inner, name = node.value, node.attr
        if type(inner) is ast.Name and inner.id == self._self and inner.id in self._local:
            if name in self._methods:
                self.calls.append((len(self.statements), name))
                self._words.append(name)
                return key_of(name)
            return self._own(node, name)
        found = self.value(inner)
        if found == LOCAL and type(inner) is ast.Name:
            self._through[inner.id] += 1
        self._words.append(name)
        return hash((TAGS["Attribute"], found, key_of(name)))

    def _own(self, node: ast.Attribute | ast.Subscript, name: str) -> int:
        """Take what an object holds as a local."""
        bound = "=" if type(node.ctx) is ast.Store else ""
        self._names.append(f"{bound}{self._self}.{name}")
        return LOCAL

    def _call(self, node: ast.Call) -> int:
        function = node.func
        if type(function) is ast.Name:
            if function.id in ("dict", "list", "tuple", "set") and not node.args:
                return self._made(function.id, node.keywords)
            self.calls.append((len(self.statements), function.id))
        if type(function) is ast.Attribute and function.attr == "format" and not node.keywords:
            text = function.value
            if type(text) is ast.Constant and isinstance(text.value, str):
                return self._text([text.value], node.args)
        parts = [TAGS["Call"], self.value(function)]
        parts += [self.value(one) for one in node.args]
        keywords = node.keywords
        if len(keywords) > 1:
            keywords = sorted(keywords, key=lambda one: one.arg or "~")
        for keyword in keywords:
            if keyword.arg:
                self._words.append(keyword.arg)
                parts.append(key_of(keyword.arg))
            parts.append(self.value(keyword.value))
        return hash(tuple(parts))

    def _made(self, kind: str, keywords: list[ast.keyword]) -> int:
        pairs = [(ast.Constant(one.arg) if one.arg else None, one.value) for one in keywords]
        if kind == "dict":
            return self._pairs(pairs)
        return hash((TAGS[{"list": "List", "tuple": "Tuple", "set": "Set"}[kind]],))

    def _dict(self, node: ast.Dict) -> int:
        return self._pairs(list(zip(node.keys, node.values, strict=True)))

    def _pairs(self, pairs: list[tuple[Any, ast.expr]]) -> int:
        pairs.sort(key=lambda pair: str(pair[0].value) if isinstance(pair[0], ast.Constant) else "~")
        parts = [TAGS["Dict"]]
        for key, value in pairs:
            parts += [self.value(key) if key else 4, self.value(value)]
        return hash(tuple(parts))

    def _binary(self, node: ast.BinOp) -> int:
        left = node.left
        if type(node.op) is ast.Mod and type(left) is ast.Constant and isinstance(left.value, str):
            values = node.right.elts if isinstance(node.right, ast.Tuple) else [node.right]
            return self._text([left.value], values)
        return hash((TAGS["BinOp"], TAGS[type(node.op).__name__], self.value(left), self.value(node.right)))

    def _text(self, pieces: Iterable[str], values: Iterable[ast.expr]) -> int:
        """Text with values in it, however it is written."""
        template = _PLACES.sub("{}", "".join(pieces))
        self._words.append(template)
        return hash((TAGS["JoinedStr"], key_of(template), *(self.value(value) for value in values)))

    def _joined(self, node: ast.JoinedStr) -> int:
        pieces = [str(one.value) if isinstance(one, ast.Constant) else "{}" for one in node.values]
        return self._text(pieces, [one.value for one in node.values if isinstance(one, ast.FormattedValue)])

    def _unary(self, node: ast.UnaryOp) -> int:
        found = self.value(node.operand)
        if found == _NUMBER or isinstance(node.op, ast.Not):
            self._literals.append("not" if isinstance(node.op, ast.Not) else type(node.op).__name__)
            return found
        return hash((TAGS[type(node.op).__name__], found))

    def _compare(self, node: ast.Compare) -> int:
        left, others = node.left, node.comparators
        kind = type(node.ops[0])
        if len(others) == 1:
            if kind in _SWAPPED:
                return hash((_SWAPPED[kind], self.value(others[0]), self.value(left)))
            return hash((_COMPARE[kind], self.value(left), self.value(others[0])))
        ops = (_COMPARE[type(one)] for one in node.ops)
        return hash((TAGS["Compare"], *ops, self.value(left), *map(self.value, others)))

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> int:
        """A loop of its own; the value is what the loop gathered."""
        kind = type(node)
        if kind is not ast.GeneratorExp:
            made = {ast.ListComp: "List", ast.SetComp: "Set", ast.DictComp: "Dict"}[kind]
            self._aside(node, lambda: hash((TAGS["Assign"], self._result(), hash((TAGS[made],)))))
        for loop in node.generators:
            self._local.update(one.id for one in ast.walk(loop.target) if isinstance(one, ast.Name))
            self._aside(loop.iter, partial(self._loop, loop))
            for test in loop.ifs:
                self._aside(test, partial(self._test, test))
        self._aside(node, lambda: self._gathered(node))
        return self._result()

    def _test(self, node: ast.expr) -> int:
        return hash((TAGS["If"], self.value(node)))

    def _loop(self, loop: ast.comprehension) -> int:
        found = self.value(loop.iter)
        return hash((TAGS["For"], self.value(loop.target), found))

    def _gathered(self, node: Any) -> int:
        if isinstance(node, ast.DictComp):
            key, value = self.value(node.key), self.value(node.value)
            return hash((TAGS["Assign"], hash((TAGS["Subscript"], self._result(), key)), value))
        if isinstance(node, ast.GeneratorExp):
            return hash((TAGS["Expr"], self.value(node.elt)))
        verb = "append" if isinstance(node, ast.ListComp) else "add"
        adds = hash((TAGS["Attribute"], self._result(), key_of(verb)))
        self._words.append(verb)
        return hash((TAGS["Expr"], hash((TAGS["Call"], adds, self.value(node.elt)))))

    def _result(self) -> int:
        self._names.append(RESULT)
        return LOCAL

    def _walrus(self, node: ast.NamedExpr) -> int:
        self._local.add(node.target.id)
        self._aside(node, lambda: self._walrus_key(node))
        return self.value(node.target)

    def _walrus_key(self, node: ast.NamedExpr) -> int:
        found = self.value(node.value)
        return hash((TAGS["Assign"], self.value(node.target), found))

    def _lambda(self, node: ast.Lambda) -> int:
        own = {one.arg for one in ast.walk(node.args) if isinstance(one, ast.arg)}
        kept, start = self._local, len(self._names)
        self._local = kept | own
        found = self.value(node.body)
        self._local = kept
        self._names[start:] = [f"<{name}>" if name in own else name for name in self._names[start:]]
        return hash((TAGS["Lambda"], len(node.args.args), found))

    def _inner(self, node: Any) -> int:
        return self.value(node.value)

    def _subscript(self, node: ast.Subscript) -> int:
        inner, at = node.value, node.slice
        found = None
        if type(inner) is ast.Name and type(at) is ast.Constant and isinstance(at.value, str):
            if inner.id == self._self and inner.id in self._local:
                return self._own(node, at.value)
            found = self.value(inner)
            self._through[inner.id] += found == LOCAL
        found = self.value(inner) if found is None else found
        return hash((TAGS["Subscript"], found, self.value(at)))

    def _elements(self, node: ast.Tuple | ast.List) -> int:
        return hash((TAGS[type(node).__name__], *map(self.value, node.elts)))

    def _other(self, node: ast.AST) -> int:
        parts: list[int] = [TAGS[type(node).__name__]]
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                parts.append(self.value(child))
            elif not isinstance(child, ast.expr_context):
                parts.append(TAGS.get(type(child).__name__, 0))
        return hash(tuple(parts))


_EXPRESSIONS: dict[type, Callable[[Expressions, Any], int]] = {
    ast.Name: Expressions._name,
    ast.Constant: Expressions._constant,
    ast.Attribute: Expressions._attribute,
    ast.Call: Expressions._call,
    ast.Dict: Expressions._dict,
    ast.BinOp: Expressions._binary,
    ast.JoinedStr: Expressions._joined,
    ast.UnaryOp: Expressions._unary,
    ast.Compare: Expressions._compare,
    ast.ListComp: Expressions._comprehension,
    ast.SetComp: Expressions._comprehension,
    ast.DictComp: Expressions._comprehension,
    ast.GeneratorExp: Expressions._comprehension,
    ast.NamedExpr: Expressions._walrus,
    ast.Lambda: Expressions._lambda,
    ast.Await: Expressions._inner,
    ast.Starred: Expressions._inner,
    ast.Subscript: Expressions._subscript,
    ast.Tuple: Expressions._elements,
    ast.List: Expressions._elements,
}
