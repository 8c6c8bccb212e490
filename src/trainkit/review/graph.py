"""Which file imports which: statements resolved to files as Python would, without importing."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

from trainkit.review.inventory import Import, is_script, list_imports
from trainkit.review.sources import Source


@dataclass(frozen=True, order=True)
class Edge:
    """`importer` imports `imported`, both paths, in `line`; `kind` is that of the statement."""

    importer: str
    imported: str
    line: int
    kind: str


class Graph:
    """The imports among `sources`: `edges` among their files, `externals` counts the others by name.

    An absolute name is sought from the folder of the program's package upwards, in each folder and its `src`.
    A folder without `__init__.py` is a namespace package when Python files lie in it.
    """

    def __init__(self, sources: Iterable[Source]) -> None:
        self._sources = [source for source in sources if not source.error]
        self._files = {source.path for source in self._sources}
        self._folders = {str(parent) for path in self._files for parent in PurePosixPath(path).parents}
        self._known: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
        self.externals: Counter[str] = Counter()
        self.edges: list[Edge] = []
        self.loaded: dict[str, list[tuple[Import, list[str]]]] = {}  # by file: each statement, what it loads
        for source in self._sources:
            roots = list(dict.fromkeys(self._list_roots(source)))
            rows = [(each, self._resolve(source.path, each, roots)) for each in list_imports(source)]
            self.loaded[source.path] = rows
            for each, found in rows:
                others = [path for path in dict.fromkeys(found) if path != source.path]
                self.edges += [Edge(source.path, path, each.line, each.kind) for path in others]
            away = {each.module.partition(".")[0] for each, found in rows if not found and not each.level}
            self.externals.update(away)

    @cached_property
    def importers(self) -> dict[str, set[str]]:
        """Who imports a file, by file; type checkers do not count."""
        found: dict[str, set[str]] = {}
        for edge in self.edges:
            if edge.kind != "typing":
                found.setdefault(edge.imported, set()).add(edge.importer)
        return found

    @cached_property
    def by_importer(self) -> dict[str, list[Edge]]:
        """The edges that start at a file, by file."""
        found: dict[str, list[Edge]] = {}
        for edge in self.edges:
            found.setdefault(edge.importer, []).append(edge)
        return found

    def list_externals(self) -> list[tuple[str, int]]:
        """Give what is not of the project nor of Python, and how many files import it."""
        own = {PurePosixPath(path).parts[0].removesuffix(".py") for path in self._files}
        found = [(name, n) for name, n in self.externals.items() if name not in sys.stdlib_module_names | own]
        return sorted(found, key=lambda item: (-item[1], item[0]))

    def find_module(self, name: str) -> list[str]:
        """Give the files that `import name` loads where the project's folder is on the path."""
        each = Import(0, "module", 0, name, ())
        return next((found for base in (".", "src") if (found := self._find(base, each))), [])

    def _resolve(self, path: str, each: Import, roots: Sequence[str]) -> list[str]:
        """Give the project's files that a statement of `path` loads, the deepest module of each name."""
        if each.level:
            parents = PurePosixPath(path).parents
            roots = [str(parents[each.level - 1])] if each.level <= len(parents) else []
        for base in roots:
            if found := self._find(base, each):
                return found
        return []

    def _list_roots(self, source: Source) -> Iterator[str]:
        folder = str(PurePosixPath(source.path).parent)
        own = folder
        while f"{folder}/__init__.py".removeprefix("./") in self._files and folder != ".":
            folder = str(PurePosixPath(folder).parent)
        if own == folder:
            yield own
        for parent in PurePosixPath(folder, "x").parents:
            yield str(parent)
            if (inner := _join(str(parent), "src")) in self._folders:
                yield inner
        if is_script(source) and own != folder:  # started as a file, its own folder is where Python looks
            yield own

    def _find(self, base: str, each: Import) -> list[str]:
        key = (base, each.module, each.names)
        if key not in self._known:
            self._known[key] = self._look_up(base, each)
        return self._known[key]

    def _look_up(self, base: str, each: Import) -> list[str]:
        parts = each.module.split(".") if each.module else []
        place = _join(base, *parts)
        module = self._module(place)
        if not each.names:
            return [module] if module else []
        if place not in self._folders:
            return [module] if module else []
        inner = {name: self._module(_join(place, name)) for name in each.names}
        found = [path for path in inner.values() if path]
        if module and (len(found) < len(each.names) or "*" in each.names):
            found.append(module)
        return found

    def _module(self, place: str) -> str | None:
        for path in (f"{place}.py", _join(place, "__init__.py")):
            if path in self._files:
                return path
        return None


def _join(*parts: str) -> str:
    return "/".join(part for part in parts if part != ".") or "."
