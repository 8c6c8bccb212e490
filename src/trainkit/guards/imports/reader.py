"""One module read: a walk over its syntax that notes each import and each use of a name of the module."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable

from trainkit.guards.imports.names import Holder, Names, Statement, Use
from trainkit.guards.imports.scopes import Scope, list_annotations, list_arguments, list_bound
from trainkit.guards.imports.texts import list_type_comments, read_doctests

_DYNAMIC = {"globals", "locals", "vars", "eval", "exec"}
_IMPORTERS = {"import_module", "__import__"}
_TYPING_CALLS = {"cast", "TypeVar", "NewType", "ForwardRef"}


def read_names(source: str) -> Names:
    """Read a module.

    Raises:
        SyntaxError: this Python cannot parse it.
    """
    tree = ast.parse(source)
    reader = _Reader()
    reader.names.future = any(
        isinstance(node, ast.ImportFrom)
        and node.module == "__future__"
        and any(a.name == "annotations" for a in node.names)
        for node in tree.body
    )
    reader.names.finalizers = _list_finalizers(tree)
    reader.visit(tree)
    for line, text in list_type_comments(source):
        reader.read_text(text, line, "typing")
    return reader.names


class _Reader(ast.NodeVisitor):
    def __init__(self) -> None:
        self.names = Names()
        self._scopes: list[Scope] = []
        self._places: list[str] = []  # the blocks of the module's body around us
        self._main: Holder | None = None
        self._override: tuple[str, Holder | None] | None = None

    # What a name means, and when it is used

    def _is_global(self, name: str) -> bool:
        for depth, scope in enumerate(reversed(self._scopes)):
            if scope.kind == "class" and depth:
                continue
            if name in scope.declared:
                return True
            if name in scope.bound:
                return False
        return True

    def _in_function(self) -> Holder | None:
        return next((s.holder for s in reversed(self._scopes) if s.kind == "function"), None)

    def _when(self) -> tuple[str, Holder | None]:
        holder = self._in_function()
        if holder:
            return "late", holder
        if any(scope.kind == "lambda" for scope in self._scopes):
            return "lambda", None
        return ("late", self._main) if self._main else ("now", None)

    def visit_Name(self, node: ast.Name) -> None:
        if not self._is_global(node.id):
            return
        if isinstance(node.ctx, ast.Load):
            when, holder = self._override or self._when()
            self.names.uses[node.id].append(Use(when, node.lineno, holder))
            if node.id in _DYNAMIC:
                self._note_dynamic(node, f"{node.id}()")
        else:
            self.names.others.setdefault(node.id, node.lineno)

    def _note_dynamic(self, node: ast.expr, shown: str) -> None:
        self.names.dynamic = self.names.dynamic or (node.lineno, shown)

    def read_text(self, text: str, line: int, when: str, holder: Holder | None = None) -> None:
        """Read an expression that stands in a string or a comment."""
        try:
            tree = ast.parse(text.strip(), mode="eval")
        except (SyntaxError, ValueError):
            return
        for node in ast.walk(tree):
            if isinstance(node, ast.Name):
                self.names.uses[node.id].append(Use(when, line, holder))

    # Imports and other bindings

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        module = "." * node.level + (node.module or "") if isinstance(node, ast.ImportFrom) else ""
        targets = [(a.name, a.asname or (a.name if module else a.name.partition(".")[0])) for a in node.names]
        place = self._find_place(target for _, target in targets)
        if place:
            explicit = frozenset(a.asname for a in node.names if a.asname and a.asname == a.name)
            end = node.end_lineno or node.lineno
            self.names.statements.append(Statement(node.lineno, end, module, tuple(targets), place, explicit))

    def _find_place(self, targets: Iterable[str]) -> str:
        """Say where an import stands; nothing for one in a function, unless it binds names of the module."""
        if not self._scopes:
            return self._places[-1] if self._places else "top"
        inner = self._scopes[-1]
        if any(target in inner.declared for target in targets):
            return "function"
        return "class" if inner.kind == "class" and self._in_function() is None else ""

    visit_ImportFrom = visit_Import  # noqa: N815

    def visit_Assign(self, node: ast.Assign | ast.AugAssign) -> None:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if not self._scopes and any(isinstance(t, ast.Name) and t.id == "__all__" for t in targets):
            self._read_exports(node.value)
        self.generic_visit(node)

    visit_AugAssign = visit_Assign  # noqa: N815

    def _read_exports(self, node: ast.expr) -> None:
        self.names.has_all = True
        for each in ast.walk(node):
            if isinstance(each, ast.Constant) and isinstance(each.value, str):
                self.names.exported.add(each.value)

    def visit_Call(self, node: ast.Call) -> None:
        function = node.func
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        if isinstance(function, ast.Attribute) and getattr(function.value, "id", "") == "__all__":
            for argument in node.args:
                self._read_exports(argument)
        if name in _IMPORTERS and [getattr(each, "id", "") for each in node.args[:1]] == ["__name__"]:
            self._note_dynamic(node, f"{name}(__name__)")
        if name in _TYPING_CALLS:
            for each in [*node.args, *(keyword.value for keyword in node.keywords)]:
                if isinstance(each, ast.Constant) and isinstance(each.value, str):
                    self.read_text(each.value, each.lineno, "typing")
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        base = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
        if base == "modules" and getattr(node.slice, "id", "") == "__name__":
            self._note_dynamic(node, "sys.modules[__name__]")
        if self._override is None and (
            base[:1].isupper() or base in {"list", "dict", "tuple", "type", "set"}
        ):
            for each in ast.walk(node.slice):
                if isinstance(each, ast.Constant) and isinstance(each.value, str):
                    self.read_text(each.value, each.lineno, "typing")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if self._override and isinstance(node.value, str):
            self.read_text(node.value, node.lineno, *self._override)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        self._bind(node.name, node.lineno)
        self.generic_visit(node)

    def visit_MatchAs(self, node: ast.MatchAs | ast.MatchStar) -> None:
        self._bind(node.name, node.lineno)
        self.generic_visit(node)

    visit_MatchStar = visit_MatchAs  # noqa: N815

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        self._bind(node.rest, node.lineno)
        self.generic_visit(node)

    def visit_Global(self, node: ast.Global) -> None:
        for name in node.names:
            self.names.others.setdefault(name, node.lineno)
            self.names.rebound.add(name)

    def _bind(self, name: str | None, line: int) -> None:
        if name and self._is_global(name):
            self.names.others.setdefault(name, line)

    # Scopes

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._bind(node.name, node.lineno)
        self.names.has_getattr |= node.name == "__getattr__" and not self._scopes
        inner = self._scopes[-1] if self._scopes else None
        decorators = tuple(ast.unparse(each) for each in node.decorator_list)
        holder = Holder(node.lineno, node.name, decorators + (inner.decorators if inner else ()))
        self._visit_all(node.decorator_list)
        self._visit_defaults(node.args)
        type_names = {each.name for each in getattr(node, "type_params", [])}
        self._scopes.append(Scope("types", type_names))
        for annotation in list_annotations(node):
            self._visit_annotation(annotation, "annotation", holder)
        bound, declared = list_bound(node.body)
        bound |= {argument.arg for argument in list_arguments(node.args)}
        self._visit_in(Scope("function", bound - declared, declared, holder), node.body)
        self._scopes.pop()

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._visit_defaults(node.args)
        bound = {argument.arg for argument in list_arguments(node.args)}
        self._visit_in(Scope("lambda", bound | list_bound([node.body])[0]), [node.body])

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._bind(node.name, node.lineno)
        self._visit_all(node.decorator_list)
        self._scopes.append(Scope("types", {each.name for each in getattr(node, "type_params", [])}))
        self._visit_all([*node.bases, *(keyword.value for keyword in node.keywords)])
        bound, declared = list_bound(node.body)
        decorators = tuple(ast.unparse(each) for each in node.decorator_list)
        self._visit_in(Scope("class", bound - declared, declared, decorators=decorators), node.body)
        self._scopes.pop()

    def _visit_comprehension(self, node: ast.ListComp) -> None:
        bound = {
            each.id
            for part in node.generators
            for each in ast.walk(part.target)
            if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)
        }
        self._scopes.append(Scope("comprehension", bound))
        self.generic_visit(node)
        self._scopes.pop()

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _visit_comprehension  # type: ignore[assignment]  # noqa: N815

    def _visit_in(self, scope: Scope, body: list[ast.stmt] | list[ast.expr]) -> None:
        override, self._override = self._override, None
        self._scopes.append(scope)
        self._visit_all(body)
        self._scopes.pop()
        self._override = override

    def _visit_all(self, nodes: list[ast.stmt] | list[ast.expr]) -> None:
        for node in nodes:
            self.visit(node)

    def _visit_defaults(self, arguments: ast.arguments) -> None:
        self._visit_all([*arguments.defaults, *(each for each in arguments.kw_defaults if each)])

    # Annotations

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        direct = next((s.kind for s in reversed(self._scopes) if s.kind != "types"), "module")
        self._visit_annotation(node.annotation, "typing" if direct == "function" else "field", None)
        self.visit(node.target)
        if node.value:
            if not self._scopes and getattr(node.target, "id", "") == "__all__":
                self._read_exports(node.value)
            self.visit(node.value)

    def _visit_annotation(self, node: ast.expr, when: str, holder: Holder | None) -> None:
        evaluated = when != "typing" and not self.names.future
        # Inside a function an annotation is evaluated when that function runs.
        late = evaluated and self._in_function() is not None
        before, self._override = self._override, None if late else (when, holder)
        self.visit(node)
        self._override = before

    # The blocks of the module's body, and what runs in none of them

    def _visit_block(self, node: ast.stmt) -> None:
        if self._scopes:
            self.generic_visit(node)
            return
        is_main = isinstance(node, ast.If) and _is_main(node.test) and not self._places and not node.orelse
        self._places.append(_describe_block(node))
        self._main = Holder(node.lineno, "__main__") if is_main else self._main
        self.generic_visit(node)
        self._main = None if is_main else self._main
        self._places.pop()

    visit_If = visit_Try = visit_TryStar = visit_With = visit_For = visit_While = visit_Match = _visit_block  # noqa: N815

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            for name, line in read_doctests(node.value.value, node.lineno):
                self.names.uses[name].append(Use("doctest", line))
        self.generic_visit(node)


def _list_finalizers(tree: ast.Module) -> set[str]:
    """Give the names of all `__del__` and of what they call in this file: by name, so rather too many."""
    calls: dict[str, set[str]] = defaultdict(set)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            for each in ast.walk(node):
                if isinstance(each, ast.Call):
                    name = getattr(each.func, "attr", getattr(each.func, "id", ""))
                    calls[node.name].add(name)
            calls[node.name].add("")
    found = [name for name in calls if name == "__del__"]
    for name in found:
        found += [each for each in calls[name] if each in calls and each not in found]
    return {*found}


def _is_main(test: ast.expr) -> bool:
    return ast.unparse(test).replace('"', "'") in {"__name__ == '__main__'", "'__main__' == __name__"}


def _describe_block(node: ast.stmt) -> str:
    if isinstance(node, ast.If) and ast.unparse(node.test).rpartition(".")[2] == "TYPE_CHECKING":
        return "TYPE_CHECKING"
    return type(node).__name__.lower().removesuffix("star")
