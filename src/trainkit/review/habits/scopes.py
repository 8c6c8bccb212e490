"""A file as the rules see it: functions and the module body, each with its calls, loops and assignments."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

OPTIMIZER = re.compile(r"(?:^|_)optim\w*$|(?:^|_)opt(?:_?[a-z0-9])?$|optimi[sz]er", re.IGNORECASE)
_MADE_OPTIMIZER = re.compile(
    r"(?:^|\.)optim\.|Optimizer$|^(?:SGD|Adam\w*|RMSprop|Adagrad|LBFGS|Muon|Lion)$|get_optimi"
)
_HYPER = {"lr", "learning_rate", "weight_decay", "momentum", "batch_size", "num_epochs", "epochs",
          "max_epochs", "dropout", "hidden_size", "hidden_dim", "num_layers", "gamma", "betas",
          "max_norm", "num_workers", "label_smoothing", "warmup_steps"}  # fmt: skip
_HELPER = re.compile(
    r"signal_handler|handle_signal|sigterm|sigint|preempt|^_?(?:launch|spawn|run_distributed)", re.I
)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_LEAVES = {ast.Name, ast.Constant, ast.Load, ast.Store, ast.Del, type(None), str, int}


@dataclass(frozen=True)
class Habit:
    """One place that a rule complains of: `evidence` are the lines it rests on, in words."""

    rule: str
    subject: str
    line: int
    end: int
    scope: str
    evidence: tuple[str, ...]
    allowed: str = ""  # the reason, where a comment allows it


class Call(NamedTuple):
    """One call: its dotted name, the loops around it (outermost first) and the branch that it stands in."""

    name: str
    receiver: str  # what stands before the last dot of the name
    last: str  # and what behind it
    line: int
    loops: tuple[int, ...]
    block: int
    node: ast.Call


@dataclass(frozen=True)
class Caught:
    """A try block whose broad handler lets the program go on: its calls are `start` to `stop`."""

    line: int
    handler_line: int
    start: int
    stop: int


@dataclass
class Scope:
    """A function or the module body."""

    name: str
    line: int
    end: int
    parameters: tuple[str, ...] = ()
    decorators: tuple[str, ...] = ()
    calls: list[Call] = field(default_factory=list)
    loops: list[tuple[int, str]] = field(default_factory=list)  # line, what is iterated over
    assigned: list[tuple[int, tuple[str, ...], ast.expr]] = field(default_factory=list)
    caught: list[Caught] = field(default_factory=list)
    stores: set[str] = field(default_factory=set)  # attributes that are assigned to

    def has(self, *lasts: str) -> bool:
        """Say whether a function or method of one of these names is called."""
        return any(call.last in lasts for call in self.calls)

    def made(self) -> Iterator[tuple[int, str, str]]:
        """Give the names that what a call gives is assigned to: line, what is called, name."""
        for line, names, value in self.assigned:
            if isinstance(value, ast.Call):
                yield from ((line, dotted(value.func), name) for name in names)

    def is_helper(self) -> bool:
        """Say whether this is a handler of signals or a launcher, by its name or its parameters."""
        if self.decorators or "." in self.name:
            return False
        handler = len(self.parameters) == 2 and self.parameters[0] in {"signum", "sig", "signal_number"}
        return handler or bool(_HELPER.search(self.name))


@dataclass
class File:
    """All scopes of a file; `text` is its source."""

    scopes: list[Scope]
    text: bytes

    @cached_property
    def by_name(self) -> dict[str, list[Scope]]:
        """The functions by the last part of their name."""
        found: dict[str, list[Scope]] = {}
        for scope in self.scopes:
            found.setdefault(scope.name.rpartition(".")[2], []).append(scope)
        return found

    @cached_property
    def optimizers(self) -> set[str]:
        """The names that an optimizer is assigned to."""
        made = (each for scope in self.scopes for each in scope.made())
        return {name for _, called, name in made if _MADE_OPTIMIZER.search(called)}

    def is_optimizer(self, name: str) -> bool:
        """Say whether a dotted name is an optimizer's."""
        return name in self.optimizers or bool(OPTIMIZER.search(name.rpartition(".")[2]))

    def is_step(self, call: Call) -> bool:
        """Say whether a call updates weights: `optimizer.step()`, `scaler.step(optimizer)`."""
        if call.last != "step":
            return False
        first = dotted(call.node.args[0]) if call.node.args else ""
        return self.is_optimizer(call.receiver) or bool(first and self.is_optimizer(first))

    def callees(self, scope: Scope, *, inside: int | None = None, depth: int = 2) -> list[Scope]:
        """Give the functions of this file that `scope` calls (in its loop `inside`), and theirs."""
        calls = [call for call in scope.calls if inside is None or inside in call.loops]
        found = [each for call in calls for each in self.by_name.get(call.last, []) if each is not scope]
        further = [deep for each in found if depth > 1 for deep in self.callees(each, depth=depth - 1)]
        return found + further

    def callers(self, scope: Scope, depth: int = 2) -> list[Scope]:
        """Give the scopes of this file that call `scope`, and those that call them."""
        last = scope.name.rpartition(".")[2]
        found = [each for each in self.scopes if each is not scope and each.has(last)]
        return found + [far for each in found if depth > 1 for far in self.callers(each, depth - 1)]

    def list_literals(self) -> list[tuple[str, str, int]]:
        """Give the hyper-parameters that are written into calls: name, value, line."""
        return [
            (keyword.arg, ast.unparse(keyword.value), keyword.value.lineno)
            for scope in self.scopes
            for call in scope.calls
            if call.last not in {"add_argument", "field", "option"}
            for keyword in call.node.keywords
            if keyword.arg in _HYPER and _is_number(keyword.value)
        ]


def read_file(tree: ast.Module, source: bytes) -> File:
    """Read the scopes of a file, the module body first."""
    body = Scope("", 1, max(1, source.count(b"\n")))
    walker = _Walker([body])
    walker.walk(tree.body, body, "", (), 0)
    return File(walker.scopes, source)


def dotted(node: Any) -> str:
    """Give `a.b.c` of an expression; what is called or indexed goes by its own name."""
    parts: list[str] = []
    while True:
        kind = type(node)
        if kind is ast.Attribute:
            parts.append(node.attr)
            node = node.value
        elif kind is ast.Call:
            node = node.func
        elif kind is ast.Subscript:
            node = node.value
        else:
            parts += [node.id] if kind is ast.Name else [""] if parts else []
            return ".".join(reversed(parts))


def names_in(node: ast.AST) -> set[str]:
    """Give every plain name that an expression reads."""
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


class _Walker:
    """Fills scopes in one pass over the statements and their expressions."""

    def __init__(self, scopes: list[Scope]) -> None:
        self.scopes = scopes
        self._blocks = 0

    def walk(
        self, body: Sequence[ast.stmt], scope: Scope, prefix: str, loops: tuple[int, ...], block: int
    ) -> None:
        for node in body:
            if isinstance(node, _FUNCTIONS):
                self._enter(node, prefix)
            elif isinstance(node, ast.ClassDef):
                self.walk(node.body, scope, f"{prefix}{node.name}.", loops, block)
            elif isinstance(node, (ast.For, ast.AsyncFor, ast.While)):
                self._walk_loop(node, scope, prefix, loops, block)
            elif isinstance(node, (ast.With, ast.AsyncWith)):
                for item in node.items:
                    self._read(item.context_expr, scope, loops, block)
                self.walk(node.body, scope, prefix, loops, block)
            elif isinstance(node, (ast.Try, ast.TryStar)):
                self._walk_try(node, scope, prefix, loops, block)
            elif isinstance(node, ast.If):
                self._read(node.test, scope, loops, block)
                self._walk_branches([node.body, node.orelse], scope, prefix, loops)
            elif isinstance(node, ast.Match):
                self._read(node.subject, scope, loops, block)
                self._walk_branches([case.body for case in node.cases], scope, prefix, loops)
            else:
                self._note_assignment(node, scope)
                self._read(node, scope, loops, block)

    def _walk_loop(self, node: Any, scope: Scope, prefix: str, loops: tuple[int, ...], block: int) -> None:
        has_test = isinstance(node, ast.While)
        over = node.test if has_test else node.iter
        self._read(over, scope, loops, block)
        scope.loops.append((node.lineno, "" if has_test else ast.unparse(over)))
        self.walk(node.body, scope, prefix, (*loops, len(scope.loops) - 1), self._new_block())
        self.walk(node.orelse, scope, prefix, loops, block)

    def _walk_branches(
        self, branches: Sequence[Sequence[ast.stmt]], scope: Scope, prefix: str, loops: tuple[int, ...]
    ) -> None:
        for body in branches:
            self.walk(body, scope, prefix, loops, self._new_block())

    def _enter(self, node: ast.FunctionDef | ast.AsyncFunctionDef, prefix: str) -> None:
        every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        scope = Scope(
            prefix + node.name,
            node.lineno,
            node.end_lineno or node.lineno,
            tuple(each.arg for each in every),
            tuple(dotted(each) for each in node.decorator_list),
        )
        self.scopes.append(scope)
        self.walk(node.body, scope, f"{prefix}{node.name}.", (), 0)

    def _walk_try(self, node: Any, scope: Scope, prefix: str, loops: tuple[int, ...], block: int) -> None:
        start = len(scope.calls)
        self.walk(node.body, scope, prefix, loops, block)
        broad = [each.lineno for each in node.handlers if _goes_on_broadly(each)]
        scope.caught += [Caught(node.lineno, line, start, len(scope.calls)) for line in broad]
        for handler in node.handlers:
            self.walk(handler.body, scope, prefix, loops, self._new_block())
        self.walk(node.orelse, scope, prefix, loops, block)
        self.walk(node.finalbody, scope, prefix, loops, block)

    def _new_block(self) -> int:
        self._blocks += 1
        return self._blocks

    def _note_assignment(self, node: ast.stmt, scope: Scope) -> None:
        value = getattr(node, "value", None)
        if not isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)) or value is None:
            return
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        names = [name for target in targets for name in _list_targets(target)]
        scope.assigned.append((node.lineno, tuple(names), value))
        scope.stores.update(name.rpartition(".")[2] for name in names if "." in name)

    def _read(self, node: ast.AST, scope: Scope, loops: tuple[int, ...], block: int) -> None:
        """Note the calls of an expression or a simple statement, in the order of their lines."""
        found = []
        stack: list[Any] = [node]
        leaves = _LEAVES
        while stack:
            each = stack.pop()
            kind = type(each)
            if kind in leaves:
                continue
            if kind is list:
                stack += each
                continue
            if kind is ast.Attribute:
                stack.append(each.value)
                continue
            if kind is ast.Call:
                name = dotted(each.func)
                receiver, _, last = name.rpartition(".")
                found.append(Call(name, receiver, last, each.lineno, loops, block, each))
            stack += [getattr(each, part) for part in kind._fields]
        scope.calls += sorted(found, key=lambda call: call.line) if len(found) > 1 else found


def _list_targets(target: ast.expr) -> Iterator[str]:
    if isinstance(target, (ast.Tuple, ast.List)):
        for each in target.elts:
            yield from _list_targets(each)
    else:
        yield dotted(target.value if isinstance(target, ast.Starred) else target)


def _goes_on_broadly(handler: ast.ExceptHandler) -> bool:
    """Say whether a handler takes every exception and neither raises nor leaves the loop or function."""
    broad = handler.type is None or dotted(handler.type) in {"Exception", "BaseException"}
    if not broad:
        return False
    leaves = (ast.Raise, ast.Break, ast.Return)
    ends = {"exit", "_exit", "quit", "abort"}
    return not any(
        isinstance(node, leaves)
        or (isinstance(node, ast.Call) and dotted(node.func).rpartition(".")[2] in ends)
        for node in ast.walk(handler)
    )


def _is_number(node: ast.expr) -> bool:
    if isinstance(node, ast.Tuple):
        return all(_is_number(each) for each in node.elts)
    if isinstance(node, ast.UnaryOp):
        node = node.operand
    return isinstance(node, ast.Constant) and type(node.value) in (int, float)
