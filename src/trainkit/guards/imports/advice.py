"""Imports that could come later: which ones nothing needs at start-up, how, and what each would save."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

from trainkit.guards.imports.graph import ROOT
from trainkit.guards.imports.measure import Cost, Imported
from trainkit.guards.imports.names import Holder, Statement
from trainkit.guards.imports.project import Project, SourceFile

Cut = tuple[str, int, str]  # file relative to the project, line, module that it asks for
# What is asked for instead: (by a line or a module, for taking a name, this module).
Added = tuple[Cut | str, Cut | None, str]
_SHOWN = 100  # letters
_LEAST_MODULES, _LEAST_S = 3, 0.005
_WORTH = 0.01  # of all modules or of the time: less is no reason to edit a file
# Functions that are compiled by others, which know no import statement; decorators that read no annotation.
_COMPILERS = {
    "jit",
    "njit",
    "script",
    "vectorize",
    "guvectorize",
    "cuda",
    "compile",
    "kernel",
    "script_method",
}
_NEUTRAL = {
    "abstractmethod", "asynccontextmanager", "autocast", "cache", "cached_property", "classmethod",
    "contextmanager", "dataclass", "final", "fixture", "inference_mode", "lru_cache", "no_grad", "overload",
    "override", "parametrize", "property",
    "rank_zero_only", "record", "runtime_checkable", "setter", "staticmethod", "total_ordering", "unique",
    "wraps",
}  # fmt: skip
# They change other libraries when they are imported, or must come before them.
_PATCHING = {
    "comet_ml",
    "ddtrace",
    "eventlet",
    "gevent",
    "horovod",
    "intel_extension_for_pytorch",
    "readline",
    "unsloth",
}


@dataclass(frozen=True)
class Placement:
    """Where one imported name goes: into functions, below TYPE_CHECKING, into the package's `__getattr__`."""

    statement: Statement
    name: str
    holders: tuple[Holder, ...] = ()
    typing: bool = False
    lazy: tuple[tuple[str, str], ...] = ()  # name of the package -> where it is loaded from


@dataclass(frozen=True)
class Edit:
    """All imports of one family of modules in one file, each with its new place; or why they must stay."""

    file: str
    family: str
    cuts: frozenset[Cut]
    shown: str = ""  # the imports as they stand
    placements: tuple[Placement, ...] = ()
    blocked: str = ""
    added: tuple[Added, ...] = ()

    @property
    def line(self) -> int:
        """Give the first line that is moved."""
        return min(line for _, line, _ in self.cuts)

    @property
    def num_places(self) -> int:
        """Count the places that would have an import instead."""
        return len({(p.statement.line, holder.line) for p in self.placements for holder in p.holders}) + any(
            p.typing or p.lazy for p in self.placements
        )

    def how(self) -> str:
        """Say how they would be imported."""
        num_functions = len({holder.line for p in self.placements for holder in p.holders})
        ways = [f"in {num_functions} function{'s' * (num_functions != 1)}"] if num_functions else []
        ways += ["on first use of the package's name"] if any(p.lazy for p in self.placements) else []
        ways += ["for type checkers"] if any(p.typing and not p.lazy for p in self.placements) else []
        return " and ".join(ways)


@dataclass(frozen=True)
class Step:
    """Edits that belong together: only all of them make these modules disappear."""

    edits: tuple[Edit, ...]
    saves: frozenset[str]
    cost: Cost


class Graph:
    """What asked for what in one run, and what is left when some of the project's own lines do not."""

    def __init__(self, imported: Imported, root: Path) -> None:
        self.imported = imported
        self._root = f"{os.path.realpath(root)}{os.sep}"
        self._own: dict[str, set[tuple[Cut, str]]] = defaultdict(set)  # what lines of the project ask for
        self._others: dict[str, set[str]] = defaultdict(set)
        self._below: dict[str, set[str]] = {}
        for edge in imported.edges:
            file = self.name_file(edge.file)
            if Path(file).is_absolute() or file.startswith("<"):
                self._others[edge.within].add(edge.imported)
            else:
                self._own[edge.within].add(((file, edge.line, edge.imported), edge.imported))
        for name in imported.modules:  # put there by code: by its package, else by nobody we know
            if name not in imported.loads:
                package = name.rpartition(".")[0]
                self._others[package if package in imported.modules else ROOT].add(name)

    @cache  # noqa: B019  # a graph lives as long as the command
    def name_file(self, file: str) -> str:
        """Give a file of the project relative to it, others as they are."""
        real = os.path.realpath(file) if Path(file).is_absolute() else f"<{file}>"
        return real.removeprefix(self._root) if real.startswith(self._root) else real

    @cached_property
    def files(self) -> dict[str, str]:
        """Give the project's own modules: name -> relative file."""
        named = {
            name: self.name_file(file)
            for name, file in self.imported.modules.items()
            if Path(file).is_absolute()
        }
        return {name: file for name, file in named.items() if not Path(file).is_absolute()}

    def is_answered(self, name: str) -> bool:
        """Say whether the package of a module seems to load it by a `__getattr__` of its own."""
        package, _, child = name.rpartition(".")
        file = Path(self.imported.modules.get(package, ""))
        source = (
            file.read_text(encoding="utf-8", errors="replace")
            if file.suffix == ".py" and file.is_file()
            else ""
        )
        return "def __getattr__" in source and re.search(rf"\b{re.escape(child)}\b", source) is not None

    @cached_property
    def cuts(self) -> dict[str, list[Cut]]:
        """Give by file what its lines asked for."""
        found: dict[str, set[Cut]] = defaultdict(set)
        for rows in self._own.values():
            for cut, _ in rows:
                found[cut[0]].add(cut)
        return {file: sorted(cuts) for file, cuts in found.items()}

    def reach(self, edits: Iterable[Edit] = (), start: str = ROOT) -> set[str]:
        """Give the modules that are still loaded with `edits`."""
        cuts: set[Cut] = set()
        added: dict[Cut | str, list[str]] = defaultdict(list)
        edits = list(edits)
        for edit in edits:
            cuts |= edit.cuts
        for key, taking, name in (each for edit in edits for each in edit.added):
            if taking not in cuts:
                added[key].append(name)
        seen = {start}
        waiting = [start]
        while waiting:
            within = waiting.pop()
            found = [*added.get(within, ()), *self._others.get(within, ())]
            for cut, name in self._own.get(within, ()):
                if cut not in cuts:
                    found.append(name)
                    found += added.get(cut, ())
            for name in found:
                if name not in seen:
                    seen.add(name)
                    waiting.append(name)
        return seen

    def saved(self, edits: Iterable[Edit]) -> frozenset[str]:
        """Give the modules that only the imports of these edits keep."""
        return frozenset(self._all - self.reach(edits))

    def below(self, family: str) -> set[str]:
        """Give the modules that would not be there if nobody of the project asked for this family."""
        if family not in self._below:
            cuts = {
                cut
                for rows in self.cuts.values()
                for cut in rows
                if cut[2] == family or cut[2].startswith(family + ".")
            }
            self._below[family] = set(self.saved([Edit("", family, frozenset(cuts))]))
        return self._below[family]

    @cached_property
    def _all(self) -> set[str]:
        return self.reach()

    def is_worth(self, saves: frozenset[str]) -> bool:
        """Say whether it is worth an edit that these modules disappear."""
        cost, whole = (
            self.imported.total_of(sorted(saves)),
            self.imported.total_of(list(self.imported.modules)),
        )
        much = cost.num_modules > _WORTH * whole.num_modules or cost.cpu_s > _WORTH * whole.cpu_s > 0
        return much and (cost.num_modules >= _LEAST_MODULES or cost.cpu_s >= _LEAST_S)


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

    def _ask(self, statement: Statement, name: str) -> str:
        """Give the module that an import asks for by one of its names."""
        if not statement.module:
            return name
        base = self.file.resolve(statement.module)
        full = f"{base}.{name}"
        return full if full in self._graph.imported.modules else base

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
        reason = (
            self._check_statement(statement, name, target)
            or self._check_uses(target)
            or self._check_value(statement, name)
            or (
                self._check_package(statement, name, target)
                if self.file.is_package
                else self._check_takers(statement, target)
            )
        )
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

    def _check_statement(self, statement: Statement, name: str, target: str) -> str:
        names = self.file.names
        same = [
            each
            for each in names.statements
            if each.place != "class" and any(bound == target for _, bound in each.names)
        ]
        if statement.place != "top":
            return f"is imported in a `{statement.place}`"
        if name == "*":
            return "brings names that are not known"
        if target in names.others:
            return f"is bound by line {names.others[target]}, too"
        if len(same) > 1 and any(
            each.module or each.place != "top" or target not in _plain(each) for each in same
        ):
            return f"is imported by lines {', '.join(str(each.line) for each in same)}"
        if names.dynamic:
            return f"may be what {names.dynamic[1]} of line {names.dynamic[0]} reads"
        if name.partition(".")[0] in _PATCHING or statement.module.partition(".")[0] in _PATCHING:
            return "changes other libraries when it is imported"
        return ""

    def _check_uses(self, target: str) -> str:
        said = {
            "now": "is used while the module is imported",
            "lambda": "is used in a lambda, which has no place for an import",
            "field": "is the type of a variable, which may be read at run time",
            "doctest": "is used in a doctest",
        }
        uses = self.file.names.uses.get(target, [])
        if not uses and not self.file.is_package:
            return "is used by nothing in this file: it may be there for its effect"
        for use in uses:
            if use.when in said:
                return f"{said[use.when]} (line {use.line})"
            reason = self._check_holder(use.when, use.holder) if use.holder else ""
            if reason:
                return f"{reason} (line {use.line})"
        return ""

    def _check_holder(self, when: str, holder: Holder) -> str:
        words = [decorator.partition("(")[0].rpartition(".")[2] for decorator in holder.decorators]
        whole = {part for decorator in holder.decorators for part in decorator.partition("(")[0].split(".")}
        if when == "late" and whole & _COMPILERS:
            return f"is used in {holder.name}, which is compiled"
        if when == "late" and holder.name in self.file.names.finalizers:
            return f"is used in {holder.name}, which may run when Python ends and can import nothing more"
        if when == "annotation" and not set(words) <= _NEUTRAL:
            return f"is in the signature of {holder.name}, which its decorator may read"
        if when == "annotation" and self.project.annotation_reader:
            return f"is in a signature, and {self.project.annotation_reader}"
        return ""

    def _check_value(self, statement: Statement, name: str) -> str:
        """A value that changes later is not the same when it is taken later."""
        if not statement.module:
            return ""
        base = self.file.resolve(statement.module)
        source = self.project.files.get(self._graph.files.get(base, ""))
        if (source and name in source.names.rebound) or self.project.is_stored(f"{base}.{name}"):
            return f"gets another value later ({base}.{name})"
        return ""

    def _check_takers(self, statement: Statement, target: str) -> str:
        if target in self.file.names.exported or target in statement.explicit:
            return "is re-exported"
        taker = self.project.find_taker(self.file.module, target, but=self.file.path)
        return f"is taken from here by {taker}" if taker else ""

    def _check_package(self, statement: Statement, name: str, target: str) -> str:
        names = self.file.names
        if names.has_getattr:
            return "is imported by a package that has a __getattr__ of its own"
        if not statement.module and target == name.partition(".")[0] != name:
            return "is bound by a dotted import"
        folder = self.project.root / Path(self.file.path).parent / target
        asked = self._ask(statement, name)
        if asked == self.file.module or {"_LAZY", "__dir__"} & names.others.keys():
            return "cannot be asked for by a __getattr__"
        if (
            folder.with_suffix(".py").exists() or folder.is_dir()
        ) and asked != f"{self.file.module}.{target}":
            return f"has the name of the submodule {self.file.module}.{target}"
        if not names.has_all and any(self.file.module in file.stars for file in self.project.files.values()):
            return "may be taken by an import of *"
        return ""


def _plain(statement: Statement) -> set[str]:
    return {target for name, target in statement.names if name.partition(".")[0] == target}


def plan_step(
    project: Project, graph: Graph, edits: list[Edit], kept: list[Edit]
) -> tuple[Step | None, list[tuple[Step, str]]]:
    """Give the best next step beside what is kept; and what looked good and is a risk, with the reason."""
    refused: list[tuple[Step, str]] = []
    good = [edit for edit in edits if not edit.blocked and edit not in kept]
    while True:
        step = _find_best(graph, good, kept)
        if step is None:
            return None, refused
        module, reason = find_risk(project, graph, step, kept)
        if not reason:
            return step, refused
        guilty = find_guilty(graph, step, kept, module)
        refused.append((replace(step, edits=guilty), reason))
        good = [edit for edit in good if edit not in guilty]


def find_guilty(graph: Graph, step: Step, kept: list[Edit], module: str) -> tuple[Edit, ...]:
    """Give those edits of a step without any one of which a module would be loaded as before."""
    guilty = []
    for edit in step.edits:
        others = [each for each in step.edits if each is not edit]
        if module not in graph.saved([*kept, *others]):
            guilty.append(edit)
    direct = [edit for edit in guilty if edit.family == module]
    return tuple(direct or guilty or step.edits)


def _find_best(graph: Graph, good: list[Edit], kept: list[Edit]) -> Step | None:
    """Of the fewest edits that save all, give the one that saves most, or what must go together."""
    before = graph.saved(kept)
    core = _shrink(graph, _make_step(graph, tuple(good), kept, before), kept, before)
    families: dict[str, list[Edit]] = defaultdict(list)
    for edit in core.edits:
        families[edit.family].append(edit)
    for groups in ([[edit] for edit in core.edits], list(families.values()), [list(core.edits)]):
        steps = [_make_step(graph, tuple(group), kept, before) for group in groups]
        worth = [step for step in steps if graph.is_worth(step.saves)]
        if worth:
            best = max(worth, key=lambda step: (_round(step.cost.cpu_s), step.cost.num_modules))
            return _shrink(graph, best, kept, before)
    return None


def _round(seconds: float) -> float:
    return float(f"{seconds:.1e}")


def _make_step(graph: Graph, group: tuple[Edit, ...], kept: list[Edit], before: frozenset[str]) -> Step:
    saves = graph.saved([*kept, *group]) - before
    return Step(group, saves, graph.imported.total_of(sorted(saves)))


def _shrink(graph: Graph, step: Step, kept: list[Edit], before: frozenset[str]) -> Step:
    """Leave out what is not needed, beginning with what could never save much, and is in many places."""
    for edit in sorted(step.edits, key=lambda each: (len(graph.below(each.family)), -each.num_places)):
        rest = _make_step(graph, tuple(each for each in step.edits if each is not edit), kept, before)
        if not graph.is_worth(step.saves - rest.saves) and (rest.edits or not step.saves):
            step = rest
    return step


def find_risk(project: Project, graph: Graph, step: Step, kept: list[Edit]) -> tuple[str, str]:
    """Name a module that is needed: it acts when it is imported, or others reach it; and say why."""
    for name in sorted(step.saves & graph.files.keys()):
        effect = project.find_effect(graph.files[name])
        if effect:
            return name, f"{name} would not be loaded, and it acts when it is imported ({effect})"
    edits = [*kept, *step.edits]
    answered = {
        f"{project.files[edit.file].module}.{name}"
        for edit in edits
        for place in edit.placements
        for name, _ in place.lazy
    }
    for name in sorted(step.saves - answered):
        user = project.find_user(name) if "." in name else ""
        if user and name not in graph.reach(edits, name.rpartition(".")[0]) and not graph.is_answered(name):
            return name, f"{name} would not be loaded, and {user} reaches it without importing it"
    return "", ""
