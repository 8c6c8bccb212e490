"""One file with imports moved: into functions, below TYPE_CHECKING, or into a package's `__getattr__`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from trainkit.errors import UsageError
from trainkit.guards.imports.names import Statement

if TYPE_CHECKING:
    from trainkit.guards.imports.edits import Placement

_GETATTR = """\
_LAZY = {{  # name -> where it is loaded from, on first use
{rows}
}}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {{__name__!r}} has no attribute {{name!r}}")
    import importlib

    module, _, attribute = _LAZY[name].partition(":")
    value = importlib.import_module(module, __name__)
    globals()[name] = value = getattr(value, attribute) if attribute else value
    return value


def __dir__() -> list[str]:
    return sorted({{*globals(), *_LAZY}})
"""


class CannotRewriteError(Exception):
    """This file cannot be rewritten so; the message says why."""


def load_libcst() -> Any:
    """Give the module libcst.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import libcst.metadata
    except ImportError as error:
        raise UsageError(
            "missing-dependency", "libcst is not installed: pip install 'trainkit[fix]'"
        ) from error
    return libcst


def rewrite(source: bytes, placements: Iterable[Placement]) -> bytes:
    """Give a file with each imported name in its new place; what is not moved stays as it is, byte for byte.

    Raises:
        CannotRewriteError: libcst cannot parse it, or something cannot be moved without a loss.
        UsageError: libcst is not installed.
    """
    cst = load_libcst()
    placements = list(placements)
    try:
        wrapper = cst.metadata.MetadataWrapper(cst.parse_module(source), unsafe_skip_copy=True)
    except cst.ParserSyntaxError as error:
        raise CannotRewriteError(f"libcst cannot parse it: {error.message}") from error
    lines = wrapper.resolve(cst.metadata.PositionProvider)
    imports = _Imports(cst, wrapper.module, lines)
    changed = wrapper.module.visit(_make_mover(cst, lines, imports, placements))
    changed = _add_blocks(cst, imports.take_out(changed, placements), imports, placements)
    result: bytes = changed.bytes
    try:
        compile(result, "<rewritten>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        raise CannotRewriteError(f"what came out is no valid Python: {error}") from error
    return result


class _Imports:
    """The imports at the top level of a module, by (line, name that is bound)."""

    def __init__(self, cst: Any, module: Any, positions: Any) -> None:
        self._cst, self._lines = cst, positions
        self._found: dict[tuple[int, str], tuple[Any, Any]] = {}  # -> its line, its statement
        self.original = module
        for line in module.body:
            for small in line.body if isinstance(line, cst.SimpleStatementLine) else ():
                for alias in self.list_aliases(small):
                    self._found[positions[small].start.line, self.bind(alias)] = line, small

    def list_aliases(self, small: Any) -> list[Any]:
        """Give the names of an import; of anything else, none."""
        is_import = isinstance(small, self._cst.Import | self._cst.ImportFrom)
        return list(small.names) if is_import and not isinstance(small.names, self._cst.ImportStar) else []

    def bind(self, alias: Any) -> str:
        """Give the name that is bound."""
        if alias.asname:
            return str(alias.asname.name.value)
        name = alias.name
        while isinstance(name, self._cst.Attribute):
            name = name.value
        return str(name.value)

    def keep(self, small: Any, names: set[str], *, inside: bool) -> Any:
        """Give an import with those of its names that are (`inside`) or are not in `names`, or None."""
        aliases = self.list_aliases(small)
        kept = [alias for alias in aliases if (self.bind(alias) in names) is inside]
        if not kept or len(kept) == len(aliases):
            return small if kept or not aliases else None
        if "#" in self._cst.Module(body=[]).code_for_node(small):
            raise CannotRewriteError(
                "a comment stands inside an import of which only some names can be moved"
            )
        if inside:
            comma = self._cst.Comma(whitespace_after=self._cst.SimpleWhitespace(" "))
            kept = [alias.with_changes(comma=comma) for alias in kept[:-1]] + [
                kept[-1].with_changes(comma=self._cst.MaybeSentinel.DEFAULT)
            ]
            parentheses = {"lpar": None, "rpar": None} if isinstance(small, self._cst.ImportFrom) else {}
            return small.with_changes(names=kept, **parentheses)
        return small.with_changes(names=[*kept[:-1], kept[-1].with_changes(comma=aliases[-1].comma)])

    def make_line(self, statement: Statement, names: set[str]) -> Any:
        """Give a line of its own that imports `names`, with the comment that stood behind the import."""
        line, small = self._found[statement.line, min(names)]
        kept = self.keep(small, names, inside=True).with_changes(semicolon=self._cst.MaybeSentinel.DEFAULT)
        trailing = line.trailing_whitespace if len(line.body) == 1 else self._cst.TrailingWhitespace()
        return self._cst.SimpleStatementLine([kept.deep_clone()], trailing_whitespace=trailing.deep_clone())

    def take_out(self, module: Any, placements: Sequence[Placement]) -> Any:
        """Remove the moved names from the top level; comments and blank lines above them stay."""
        removed: dict[int, set[str]] = defaultdict(set)
        for place in placements:
            removed[place.statement.line].add(place.name)
        body, waiting = [], []
        for old, new in zip(self.original.body, module.body, strict=True):
            if isinstance(old, self._cst.SimpleStatementLine):
                new = self._take_from_line(old, new, removed)
            if new is None:
                waiting += old.leading_lines
                continue
            said = any(row.comment for row in waiting)
            above = (
                [*waiting, *new.leading_lines] if said else max(waiting, new.leading_lines, key=_count_blank)
            )
            body.append(new.with_changes(leading_lines=above))
            waiting = []
        footer = [*waiting, *module.footer]
        if body and not module.header:
            rows = list(body[0].leading_lines)
            while rows and not rows[0].comment:  # a file begins with no blank line
                del rows[0]
            body[0] = body[0].with_changes(leading_lines=rows)
        return module.with_changes(body=body, footer=footer)

    def _take_from_line(self, old: Any, new: Any, removed: dict[int, set[str]]) -> Any:
        kept = [
            self.keep(small, removed.get(self._lines[small].start.line, set()), inside=False)
            for small in old.body
        ]
        if all(after is before for after, before in zip(kept, old.body, strict=True)):
            return new
        good = [small for small in kept if small is not None]
        if not good:
            return None
        good[-1] = good[-1].with_changes(semicolon=self._cst.MaybeSentinel.DEFAULT)
        return new.with_changes(body=good)


def _count_blank(rows: Sequence[Any]) -> tuple[bool, int]:
    return any(row.comment for row in rows), len(rows)


def _make_mover(cst: Any, positions: Any, imports: _Imports, placements: Sequence[Placement]) -> Any:
    """Give the transformer that puts imports into functions; its base class is libcst's, loaded here only."""
    inserted: dict[tuple[int, str], dict[Statement, set[str]]] = defaultdict(lambda: defaultdict(set))
    for place in placements:
        for holder in place.holders:
            inserted[holder.line, holder.name][place.statement].add(place.name)
    quoted = {place.name for place in placements if place.typing}
    if "annotations" in _list_future(cst, imports):
        quoted = set()

    def list_lines(node: Any, name: str) -> list[Any]:
        wanted = inserted.get((positions[node].start.line, name), {})
        return [
            imports.make_line(statement, wanted[statement])
            for statement in sorted(wanted, key=lambda s: s.line)
        ]

    class Mover(cst.CSTTransformer):  # type: ignore[misc]
        depth = 0

        def visit_FunctionDef(self, node: Any) -> None:  # noqa: N802, ARG002
            self.depth += 1

        def leave_Param(self, original_node: Any, updated_node: Any) -> Any:  # noqa: N802
            quote = self.depth == 1 and original_node.annotation is not None
            return _quote(cst, updated_node, "annotation", quoted) if quote else updated_node

        def leave_FunctionDef(self, original_node: Any, updated_node: Any) -> Any:  # noqa: N802
            self.depth -= 1
            if self.depth == 0 and original_node.returns is not None:
                updated_node = _quote(cst, updated_node, "returns", quoted)
            return _put_into(cst, updated_node, list_lines(original_node, original_node.name.value))

        def leave_If(self, original_node: Any, updated_node: Any) -> Any:  # noqa: N802
            return _put_into(cst, updated_node, [] if self.depth else list_lines(original_node, "__main__"))

    return Mover()


def _list_future(cst: Any, imports: _Imports) -> set[str]:
    return {
        imports.bind(alias)
        for line in imports.original.body
        for small in (line.body if isinstance(line, cst.SimpleStatementLine) else ())
        if _is_from(cst, small, "__future__")
        for alias in imports.list_aliases(small)
    }


def _is_from(cst: Any, small: Any, module: str) -> bool:
    return (
        isinstance(small, cst.ImportFrom)
        and getattr(small.module, "value", None) == module
        and not small.relative
    )


def _quote(cst: Any, node: Any, key: str, names: set[str]) -> Any:
    """Put an annotation into quotes if one of `names` stands in it, outside of quotes."""
    annotation = getattr(node, key)
    if not names & {each.value for each in _walk(cst, annotation.annotation) if isinstance(each, cst.Name)}:
        return node
    code = cst.Module(body=[]).code_for_node(annotation.annotation)
    mark = "'" if '"' in code else '"'
    if mark in code or "\n" in code or "\\" in code:
        raise CannotRewriteError(f"the annotation {code!r} cannot be put in quotes")
    return node.with_changes(
        **{key: annotation.with_changes(annotation=cst.SimpleString(f"{mark}{code}{mark}"))}
    )


def _walk(cst: Any, node: Any) -> list[Any]:
    found = [node]
    for each in found:
        if not isinstance(each, cst.Attribute):
            found += each.children
        else:  # the name behind a dot is no name
            found.append(each.value)
    return found


def _put_into(cst: Any, node: Any, lines: list[Any]) -> Any:
    """Put lines at the start of a function or block, behind its docstring."""
    if not lines:
        return node
    body = node.body
    if isinstance(body, cst.SimpleStatementSuite):  # `def f(): return x`
        rest = cst.SimpleStatementLine(body.body, trailing_whitespace=body.trailing_whitespace)
        return node.with_changes(body=cst.IndentedBlock([*lines, rest]))
    at = 1 if _is_docstring(cst, body.body[0]) else 0
    return node.with_changes(body=body.with_changes(body=[*body.body[:at], *lines, *body.body[at:]]))


def _is_docstring(cst: Any, line: Any) -> bool:
    first = line.body[0] if isinstance(line, cst.SimpleStatementLine) else None
    return isinstance(first, cst.Expr) and isinstance(first.value, cst.SimpleString | cst.ConcatenatedString)


def _add_blocks(cst: Any, module: Any, imports: _Imports, placements: Sequence[Placement]) -> Any:
    """Add what type checkers see, and the `__getattr__` of a package."""
    wanted: dict[Statement, set[str]] = defaultdict(set)
    for place in placements:
        if place.typing or place.lazy:
            wanted[place.statement].add(place.name)
    lines = [
        imports.make_line(statement, wanted[statement]) for statement in sorted(wanted, key=lambda s: s.line)
    ]
    if lines:
        module = _add_typing(cst, module, lines)
    rows = dict(row for place in placements for row in place.lazy)
    if rows:
        code = _GETATTR.format(
            rows="\n".join(f'    "{name}": "{place}",' for name, place in sorted(rows.items()))
        )
        block = list(cst.parse_module(code, config=module.config_for_parsing).body)
        block[0] = block[0].with_changes(leading_lines=[cst.EmptyLine(indent=False)])
        at = _find_end_of_imports(cst, module)
        module = module.with_changes(body=[*module.body[:at], *block, *_space(cst, module.body[at:])])
    return module


def _space(cst: Any, rest: Sequence[Any]) -> list[Any]:
    """Set what follows off by two blank lines."""
    if not rest:
        return []
    rows = rest[0].leading_lines
    missing = 2 - sum(not row.comment for row in rows)
    return [rest[0].with_changes(leading_lines=[*[cst.EmptyLine(indent=False)] * missing, *rows]), *rest[1:]]


def _add_typing(cst: Any, module: Any, lines: list[Any]) -> Any:
    body = list(module.body)
    for at, node in enumerate(body):
        if isinstance(node, cst.If) and module.code_for_node(node.test).rpartition(".")[2] == "TYPE_CHECKING":
            block = node.body
            if isinstance(block, cst.SimpleStatementSuite):
                raise CannotRewriteError("its TYPE_CHECKING block is a single line")
            body[at] = node.with_changes(body=block.with_changes(body=[*block.body, *lines]))
            return module.with_changes(body=body)
    module = _import_type_checking(cst, module)
    at = _find_end_of_imports(cst, module)
    blank = [cst.EmptyLine(indent=False)]
    block = cst.If(cst.Name("TYPE_CHECKING"), cst.IndentedBlock(lines), leading_lines=blank)
    rest = list(module.body[at:])
    if rest and not any(not row.comment for row in rest[0].leading_lines):
        rest[0] = rest[0].with_changes(leading_lines=[*blank, *rest[0].leading_lines])
    return module.with_changes(body=[*module.body[:at], block, *rest])


def _import_type_checking(cst: Any, module: Any) -> Any:
    """Make sure that TYPE_CHECKING is imported: with what else comes from typing, or in a line of its own."""
    alias = cst.ImportAlias(cst.Name("TYPE_CHECKING"))
    for at, line in enumerate(module.body):
        small: Any = line.body[0] if isinstance(line, cst.SimpleStatementLine) else None
        if not _is_from(cst, small, "typing") or isinstance(small.names, cst.ImportStar):
            continue
        if any(each.name.value == "TYPE_CHECKING" for each in small.names):
            return module
        changed = line.with_changes(
            body=[
                small.with_changes(names=[alias.with_changes(comma=_comma(cst)), *small.names]),
                *line.body[1:],
            ]
        )
        return module.with_changes(body=[*module.body[:at], changed, *module.body[at + 1 :]])
    at = _find_start(cst, module)
    line = cst.SimpleStatementLine([cst.ImportFrom(cst.Name("typing"), [alias])])
    rest = list(module.body[at:])
    if at and rest:  # it takes the blank lines of what it stands before
        line = line.with_changes(leading_lines=[row for row in rest[0].leading_lines if not row.comment])
        rest[0] = rest[0].with_changes(leading_lines=[row for row in rest[0].leading_lines if row.comment])
    return module.with_changes(body=[*module.body[:at], line, *rest])


def _comma(cst: Any) -> Any:
    return cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))


def _find_start(cst: Any, module: Any) -> int:
    """Give the place behind the docstring and the imports from __future__."""
    at = 1 if module.body and _is_docstring(cst, module.body[0]) else 0
    for number, line in enumerate(module.body):
        if isinstance(line, cst.SimpleStatementLine) and any(
            _is_from(cst, small, "__future__") for small in line.body
        ):
            at = number + 1
    return at


def _find_end_of_imports(cst: Any, module: Any) -> int:
    """Give the place behind the last import at the top level before the first function or class."""
    at = _find_start(cst, module)
    for number, line in enumerate(module.body):
        if isinstance(line, cst.FunctionDef | cst.ClassDef):
            break
        smalls = line.body if isinstance(line, cst.SimpleStatementLine) else ()
        is_typing = isinstance(line, cst.If) and "TYPE_CHECKING" in module.code_for_node(line.test)
        if is_typing or any(isinstance(small, cst.Import | cst.ImportFrom) for small in smalls):
            at = number + 1
    return at
