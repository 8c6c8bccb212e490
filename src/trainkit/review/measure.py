"""One pass over a syntax tree: all measures of each function, class body and module body in it."""

from __future__ import annotations

import ast
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from trainkit.review.comments import gives_reason

MODULE_BODY = "module body"
CLASS_BODY = "class body"

# Only a statement with `and`, `or`, `for` or `else` on its lines can hold a decision inside an expression.
# More lines match, which costs time alone; the letters come first because `re` looks for them fastest.
_DECIDES = re.compile(rb"[aofe](?<![A-Za-z_].)(?:nd|r|or|lse)(?![A-Za-z0-9_])").search
_LEAVES = {ast.Name, ast.Constant, ast.Load, ast.Store, ast.Del, type(None), str, int}
_BROAD = {"Exception", "BaseException"}
_HASH = ord("#")


class Facts(NamedTuple):
    """What is kept of a unit."""

    name: str
    kind: str  # "function", "method", "class body" or "module body"
    line: int
    end: int
    cyclomatic: int
    in_expressions: int  # of it: assertions, `else` of loops, and what is in expressions; mccabe counts none
    cognitive: int
    num_lines: int
    nesting: int
    num_parameters: int
    num_handlers: int
    broad_lines: tuple[int, ...]
    body: int  # equal where the code lines of the body are, whatever their indentation


class _Frame:
    """What is summed up while the statements of one unit are walked."""

    def __init__(self, kind: str, name: str, body: list[ast.stmt]) -> None:
        self.kind, self.name, self.body = kind, name, body
        self.is_function = kind in {"function", "method"}
        self.cyclomatic = 1
        self.in_expressions = self.num_handlers = self.nesting = 0
        self.cognitive = 0  # of its own statements, and of functions in a function
        self.weighted = 0  # how many of these increments grow when all is nested one level deeper
        self.nested = (
            0  # cognitive complexity of what starts at no nesting again: classes, and methods in them
        )
        self.doc_lines = 0
        self.inner: list[tuple[int, int]] = []  # lines of the functions and classes inside
        self.broad: list[int] = []


class Visitor:
    """Walks statements by their class; `depth` counts blocks, `level` is cognitive complexity's nesting."""

    def __init__(self, source: bytes) -> None:
        self.lines = [line.strip() for line in source.splitlines()]
        # The number of lines up to each one that hold code, and of those that may hold a decision.
        self.code = [0, *accumulate([1 if line and line[0] != _HASH else 0 for line in self.lines])]
        self.decides = [0, *accumulate([1 if _DECIDES(line) else 0 for line in self.lines])]
        self.code += self.code[-1:] * 2
        self.decides += self.decides[-1:] * 2
        self.units: list[Facts] = []
        self.starts: dict[int, int] = {}  # by line of the definition, that of its first decorator
        self.seen: Counter[str] = Counter()
        self.frame = _Frame(MODULE_BODY, MODULE_BODY, [])

    def visit_module(self, tree: ast.Module) -> None:
        """Add the units of a file to `units`."""
        self.frame.body = tree.body
        self.walk(tree.body, 0, 0)
        self._add(1, max(len(self.lines), 1))

    def _function(self, node: Any, _: int, level: int) -> None:
        outer = self._enter(node, "method" if self.frame.kind == CLASS_BODY else "function")
        inner = self.frame
        self._add(node.lineno, node.end_lineno, _count_parameters(node.args, inner.kind))
        self.frame = outer
        if outer.is_function:
            level += not _wraps_only(outer.body, node)
            outer.cognitive += inner.cognitive + level * inner.weighted
            outer.weighted += inner.weighted
            outer.nested += inner.nested
            outer.doc_lines += inner.doc_lines
        else:
            outer.nested += inner.cognitive + inner.nested

    def _class(self, node: ast.ClassDef, *_: int) -> None:
        outer = self._enter(node, CLASS_BODY)
        inner = self.frame
        self._add(node.lineno, node.end_lineno or node.lineno)
        self.frame = outer
        outer.nested += inner.cognitive + inner.nested
        outer.doc_lines += inner.doc_lines if outer.is_function else 0

    def _enter(self, node: Any, kind: str) -> _Frame:
        """Walk the body of a definition in a frame of its own; give the frame around it."""
        outer = self.frame
        full = node.name if outer.kind == MODULE_BODY else f"{outer.name}.{node.name}"
        self.seen[full] += 1  # a property and its setter have one name
        name = full if self.seen[full] == 1 else f"{full}#{self.seen[full]}"
        start = node.decorator_list[0].lineno if node.decorator_list else node.lineno
        self.starts[node.lineno] = start
        outer.inner.append((start, node.end_lineno))
        self.frame = _Frame(kind, name, node.body)
        self.walk(node.body, 0, 0)
        return outer

    def _add(self, line: int, end: int, num_parameters: int = 0) -> None:
        frame, code = self.frame, self.code
        first = frame.body[0].lineno if frame.body else line
        if frame.body and _is_docstring(frame.body[0]):
            last = frame.body[0].end_lineno or first
            if first > line or frame.kind == MODULE_BODY:
                frame.doc_lines += code[last] - code[first - 1]
                first = last + 1
        num_lines = code[end] - code[line - 1] - frame.doc_lines
        own = self.lines[first - 1 : end]
        if not frame.is_function:
            for start, stop in frame.inner:
                num_lines -= code[stop] - code[start - 1]
                own[start - first : stop - first + 1] = [b""] * (stop - start + 1)
        text = b"\n".join([each for each in own if each and each[0] != _HASH])
        self.units.append(
            Facts(
                name=frame.name,
                kind=frame.kind,
                line=line,
                end=end,
                cyclomatic=frame.cyclomatic,
                in_expressions=frame.in_expressions,
                cognitive=frame.cognitive + (frame.nested if frame.is_function else 0),
                num_lines=num_lines,
                nesting=frame.nesting,
                num_parameters=num_parameters,
                num_handlers=frame.num_handlers,
                broad_lines=tuple(frame.broad),
                body=int.from_bytes(hashlib.blake2b(text, digest_size=7).digest(), "big"),
            )
        )

    def walk(self, body: Sequence[ast.stmt], depth: int, level: int) -> None:
        """Walk statements that stand in `depth` blocks."""
        handlers, decides = _HANDLERS, self.decides
        for node in body:
            handler = handlers.get(type(node))
            if handler is not None:
                handler(self, node, depth, level)
            elif decides[node.end_lineno] != decides[node.lineno - 1]:  # type: ignore[index]
                self.search(node, level)

    def _block(self, body: Sequence[ast.stmt], depth: int, level: int) -> None:
        self.frame.nesting = max(self.frame.nesting, depth + 1)
        self.walk(body, depth + 1, level)

    def _count(self, level: int) -> None:
        """Count a decision whose weight grows with its nesting."""
        frame = self.frame
        frame.cyclomatic += 1
        frame.cognitive += 1 + level
        frame.weighted += 1

    def _if(self, node: ast.If, depth: int, level: int) -> None:
        self._count(level)
        while True:
            self._header(node.test, level)
            self._block(node.body, depth, level + 1)
            rest = node.orelse
            if not rest:
                return
            self.frame.cognitive += 1
            if len(rest) != 1 or type(rest[0]) is not ast.If or rest[0].col_offset != node.col_offset:
                self._block(rest, depth, level + 1)
                return
            node = rest[0]  # an elif
            self.frame.cyclomatic += 1

    def _loop(self, node: Any, depth: int, level: int) -> None:
        self._count(level)
        self._header(node.test if type(node) is ast.While else node.iter, level)
        self._block(node.body, depth, level + 1)
        self._else(node.orelse, depth, level)
        self.frame.in_expressions += bool(node.orelse)

    def _else(self, body: list[ast.stmt], depth: int, level: int) -> None:
        if body:
            self.frame.cyclomatic += 1
            self.frame.cognitive += 1
            self._block(body, depth, level + 1)

    def _try(self, node: Any, depth: int, level: int) -> None:
        self._block(node.body, depth, level)
        for handler in node.handlers:
            self._count(level)
            self.frame.num_handlers += 1
            if handler.type is not None:
                self._header(handler.type, level)
            if _is_broad(handler.type) and not self._is_excused(handler):
                self.frame.broad.append(handler.lineno)
            self._block(handler.body, depth, level + 1)
        self._else(node.orelse, depth, level)
        self._block(node.finalbody, depth, level)

    def _is_excused(self, handler: ast.ExceptHandler) -> bool:
        return _raises(handler.body) or gives_reason(self.lines[handler.lineno - 1 : handler.body[0].lineno])

    def _with(self, node: Any, depth: int, level: int) -> None:
        for item in node.items:
            self._header(item.context_expr, level)
        self._block(node.body, depth, level)

    def _match(self, node: ast.Match, depth: int, level: int) -> None:
        frame = self.frame
        last = node.cases[-1]
        frame.cyclomatic += len(node.cases) - (last.guard is None and _takes_all(last.pattern))
        frame.cognitive += 1 + level
        frame.weighted += 1
        self._header(node.subject, level)
        for case in node.cases:
            if case.guard is not None:
                self._header(case.guard, level)
            self._block(case.body, depth, level + 1)

    def _assert(self, node: ast.Assert, _: int, level: int) -> None:
        frame = self.frame
        before = frame.cyclomatic + 1, frame.in_expressions + 1
        self.search(node, level)
        frame.cyclomatic, frame.in_expressions = before  # one, whatever it asserts

    def _header(self, node: ast.expr, level: int) -> None:
        if self.decides[node.end_lineno] != self.decides[node.lineno - 1]:  # type: ignore[index]
            self.search(node, level)

    def search(self, root: ast.AST, level: int) -> None:
        """Count the decisions inside an expression, or a statement without blocks."""
        frame, leaves = self.frame, _LEAVES
        stack: list[Any] = [root]
        num_decisions = 0
        while stack:
            node = stack.pop()
            kind = type(node)
            if kind in leaves:
                continue
            if kind is list:
                stack += node
                continue
            if kind is ast.BoolOp:
                num_decisions += len(node.values) - 1
                frame.cognitive += _count_sequences(node)
            elif kind is ast.comprehension:
                num_decisions += 1 + len(node.ifs)
            elif kind is ast.IfExp:
                num_decisions += 1
                frame.cognitive += 1 + level
                frame.weighted += 1
                for part in (node.test, node.body, node.orelse):
                    self.search(part, level + 1)
                continue
            stack += [getattr(node, field) for field in kind._fields]
        frame.cyclomatic += num_decisions
        frame.in_expressions += num_decisions


_HANDLERS: dict[type[ast.stmt], Callable[[Visitor, Any, int, int], None]] = {
    ast.FunctionDef: Visitor._function,
    ast.AsyncFunctionDef: Visitor._function,
    ast.ClassDef: Visitor._class,
    ast.If: Visitor._if,
    ast.For: Visitor._loop,
    ast.AsyncFor: Visitor._loop,
    ast.While: Visitor._loop,
    ast.Try: Visitor._try,
    ast.TryStar: Visitor._try,
    ast.With: Visitor._with,
    ast.AsyncWith: Visitor._with,
    ast.Match: Visitor._match,
    ast.Assert: Visitor._assert,
}


def _count_parameters(arguments: ast.arguments, kind: str) -> int:
    """Count all but a method's own object or class."""
    named = [*arguments.posonlyargs, *arguments.args]
    own = kind == "method" and bool(named) and named[0].arg in {"self", "cls"}
    others = arguments.vararg, arguments.kwarg
    return len(named) - own + len(arguments.kwonlyargs) + sum(each is not None for each in others)


def _wraps_only(body: list[ast.stmt], inner: ast.stmt) -> bool:
    """Say whether a function does nothing but give the one inside it, as decorators do."""
    return all(
        statement is inner
        or _is_docstring(statement)
        or (type(statement) is ast.Return and type(statement.value) is ast.Name)
        for statement in body
    )


def _is_docstring(node: ast.stmt) -> bool:
    return type(node) is ast.Expr and type(node.value) is ast.Constant and type(node.value.value) is str


def _is_broad(node: ast.expr | None) -> bool:
    if isinstance(node, ast.Tuple):
        return any(map(_is_broad, node.elts))
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    return node is None or name in _BROAD


def _raises(body: list[ast.stmt]) -> bool:
    """Say whether some statement of a handler raises, functions that it defines aside."""
    stack: list[ast.AST] = list(body)
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Raise):
            return True
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            stack += ast.iter_child_nodes(node)
    return False


def _takes_all(pattern: ast.pattern) -> bool:
    if isinstance(pattern, ast.MatchOr):
        return any(map(_takes_all, pattern.patterns))
    return isinstance(pattern, ast.MatchAs) and (pattern.pattern is None or _takes_all(pattern.pattern))


def _count_sequences(node: ast.BoolOp) -> int:
    """Count runs of like operators; an `and` between two `or`s ends one and begins another."""
    if isinstance(node.op, ast.And):
        return 1
    return 1 + sum(isinstance(value, ast.BoolOp) for value in node.values[1:-1])
