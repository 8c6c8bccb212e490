"""What one run loaded, and what is left of it when some lines of the project ask for nothing."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable
from functools import cache, cached_property
from pathlib import Path

from trainkit.guards.imports.edits import Cut, Edit
from trainkit.guards.imports.graph import ROOT
from trainkit.guards.imports.measure import Imported

_LEAST_MODULES, _LEAST_S = 3, 0.005
_WORTH = 0.01  # of all modules or of the time: less is no reason to edit a file


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
