"""Where the imports of each file could go: one edit for each family of modules that it imports."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from trainkit.guards.imports.edits import Added, Cut, Edit, Placement
from trainkit.guards.imports.graph import ROOT
from trainkit.guards.imports.names import Statement
from trainkit.guards.imports.project import Project, SourceFile
from trainkit.guards.imports.reasons import Reasons
from trainkit.guards.imports.savings import Graph

_SHOWN = 100  # letters


def list_edits(project: Project, graph: Graph) -> list[Edit]:
    """Give one edit for each family of modules that each loaded file of the project imports."""
    edits: list[Edit] = []
    for path in sorted({*graph.files.values(), *graph.cuts} & {*project.files, *project.unread}):
        if path in project.unread:
            cuts = frozenset(graph.cuts.get(path, ()))
            edits += [Edit(path, path, cuts, blocked=project.unread[path])] if cuts else []
        else:
            edits += _list_edits_of(_Judge(project, project.files[path], graph))
    return edits


def _list_edits_of(judge: _Judge) -> Iterator[Edit]:
    groups: dict[str, list[tuple[Statement, str, str]]] = defaultdict(list)
    for statement in judge.file.names.statements:
        if statement.place not in {"TYPE_CHECKING", "function"} and statement.module != "__future__":
            for name, target in statement.names:
                groups[judge.find_family(statement, name)].append((statement, name, target))
    for family, members in groups.items():
        cuts = frozenset(judge.list_cuts(members))
        placed = [judge.place(statement, name, target) for statement, name, target in members]
        reasons = [each for each in placed if isinstance(each, str)]
        good = tuple(each for each in placed if isinstance(each, Placement))
        if cuts:
            added = tuple(judge.list_added(family, good))
            yield Edit(judge.file.path, family, cuts, _show(members), good, next(iter(reasons), ""), added)


def _show(members: list[tuple[Statement, str, str]]) -> str:
    statements = {
        statement: frozenset(t for each, _, t in members if each is statement) for statement, *_ in members
    }
    text = "; ".join(statement.shown(targets) for statement, targets in statements.items())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN].rpartition(' ')[0]} ..."


class _Judge:
    """Says of each imported name of one file where it could go, or why it must stay."""

    def __init__(self, project: Project, file: SourceFile, graph: Graph) -> None:
        self.project, self.file, self._graph = project, file, graph
        self._reasons = Reasons(project, file, graph)

    def _ask(self, statement: Statement, name: str) -> str:
        return self.file.ask(statement, name, self._graph.imported.modules)

    def find_family(self, statement: Statement, name: str) -> str:
        """Give the module of the project that is asked for, or somebody else's whole package."""
        asked = self._ask(statement, name)
        return asked if asked in self._graph.files else asked.partition(".")[0]

    def list_cuts(self, members: list[tuple[Statement, str, str]]) -> Iterator[Cut]:
        """Give what a file's lines would no longer ask for, and the names they would no longer take."""
        taken: dict[Statement, set[str]] = defaultdict(set)
        for statement, _, target in members:
            taken[statement].add(target)
        for statement, targets in taken.items():
            rest = {self._ask(statement, name) for name, target in statement.names if target not in targets}
            asked = [
                cut
                for cut in self._graph.cuts.get(self.file.path, ())
                if statement.line <= cut[1] <= statement.end_line
            ]
            yield from (cut for cut in asked if not any(f"{name}.".startswith(f"{cut[2]}.") for name in rest))
            base = self.file.resolve(statement.module)
            yield from (
                (self.file.path, statement.line, f"{base}:{name}")
                for name, target in statement.names
                if asked and target in targets
            )

    def list_added(self, family: str, placements: Iterable[Placement]) -> Iterator[Added]:
        """Give what is asked for instead: typing by the module, a package's names by those who take them."""
        package = self.file.module
        names = {place.name for place in placements if place.lazy}
        if any(place.typing or place.lazy for place in placements):
            yield (
                next((name for name, file in self._graph.files.items() if file == self.file.path), ROOT),
                None,
                "typing",
            )
        for file in self.project.files.values() if names else ():
            for module, name, line in file.takes:
                if module == package and name in {*names, "*"} and file.path != self.file.path:
                    yield (file.path, line, package), (file.path, line, f"{package}:{name}"), family

    def place(self, statement: Statement, name: str, target: str) -> Placement | str:
        """Give the new place of one name, or the reason why it stays."""
        at = f"line {statement.line}"
        reason = self._reasons.find(statement, name, target)
        if reason:
            return f"{at}: {target} {reason}"
        uses = self.file.names.uses.get(target, [])
        holders = {use.holder: None for use in uses if use.when == "late" and use.holder}
        typing = any(use.when in {"annotation", "typing"} for use in uses)
        rows = tuple(self._list_lazy_rows(statement, name, target)) if self.file.is_package else ()
        return Placement(statement, target, tuple(holders), typing, rows)

    def _list_lazy_rows(self, statement: Statement, name: str, target: str) -> Iterator[tuple[str, str]]:
        """Give what a package must answer for: the name, and the submodule that its import has bound, too."""
        base = self.file.resolve(statement.module)
        if not statement.module:
            yield target, name
        elif self._ask(statement, name) == base:
            yield target, f"{statement.module}:{name}"
        else:
            yield target, f"{statement.module}{'.' if statement.module.strip('.') else ''}{name}"
        child = base.removeprefix(self.file.module + ".").partition(".")[0]
        bound = {each for other in self.file.names.statements for _, each in other.names} | {
            *self.file.names.others
        }
        if base.startswith(self.file.module + ".") and child not in bound:
            yield child, f".{child}"
