"""A target run in a fresh process of a tree: which modules came, from which lines, at what cost."""

from __future__ import annotations

import importlib.util
import itertools
import marshal
import os
import py_compile
import tempfile
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from trainkit.errors import CannotJudgeError
from trainkit.guards.imports.graph import ROOT, collect_below, find_dominators, reach, walk_below
from trainkit.repo.process import WITHOUT_COVERAGE, run_in_tree
from trainkit.repo.trees import Tree

_TIMEOUT_S = 300.0
_SHOWN = 6  # of the last lines of what failed
_PROBE = Path(__file__).with_name("probe.py")
_PAGE_BYTES = 4096
_STANDARD = os.path.dirname(os.__file__) + "/"  # noqa: PTH120


class Importer(NamedTuple):
    """A line, and the module that it is in."""

    module: str
    file: str
    line: int


class Edge(NamedTuple):
    """A line that asked for a module while the module `within` was being loaded; `first` brought it."""

    importer: str
    file: str
    line: int
    imported: str
    within: str
    first: bool


class Load(NamedTuple):
    """One load of a module, or a try that failed; times are CPU, without garbage collections."""

    name: str
    within: str
    start_s: float
    self_s: float
    total_s: float  # with all that was first loaded within
    memory_bytes: int  # how much more was resident after it, without what it loaded
    loaded: bool
    links: tuple[Importer, ...]  # from the line that asked out to the body of `within`


@dataclass(frozen=True)
class Target:
    """What is run: a module that is imported, or a command line."""

    name: str
    command: tuple[str, ...] = ()

    def words(self) -> list[str]:
        """Give the command line."""
        return list(self.command) or ["python", "-c", f"import {self.name}"]

    def verb(self) -> str:
        """Give the beginning of a sentence about it."""
        return f"running {self.name}" if self.command else f"importing {self.name}"

    def describe(self) -> str:
        """Give it for a message."""
        return self.name if self.command else f"import {self.name}"


@dataclass(frozen=True)
class Imported:
    """What one process brought, until its end; modules in the order they were asked for."""

    target: str
    modules: dict[str, str]  # name -> file, "" for a module without one
    loads: dict[str, Load]  # of those that Python's import loaded; others were put into sys.modules by code
    edges: tuple[Edge, ...]
    failed: tuple[Load, ...]
    pyc: dict[str, int]  # name -> bytes of its .pyc
    compiled: tuple[str, ...]  # sources that were compiled: their .pyc was not there
    shared: tuple[str, ...]
    num_collections: int
    collections_s: float
    cpu_s: float
    num_processes: int = 1
    root: str = ""  # the folder of the tree

    def show(self, link: Importer) -> str:
        """Give "file:line", the file from the project or from its folder of packages."""
        if not link.file:
            return "Python itself"
        file = link.file.removeprefix(self.root + "/").removeprefix(_STANDARD)
        for folder in ("/site-packages/", "/dist-packages/"):
            file = file.rpartition(folder)[2]
        return f"{file}:{link.line}"

    def chain(self, module: str) -> list[Importer]:
        """Give the lines from the one that brought `module` out to the target, or the command's start."""
        links: list[Importer] = []
        seen = {module}
        while module in self.loads:
            load = self.loads[module]
            links += [link for link in load.links if link.file and link.file[0] != "<"]
            module = load.within
            if module in seen or module == self.target:
                break
            seen.add(module)
        return links

    @cached_property
    def _dominated(self) -> dict[Hashable, list[Hashable]]:
        return collect_below(find_dominators(self._graph))

    @cached_property
    def _graph(self) -> dict[Hashable, dict[Hashable, None]]:
        """Give what asked for what: from modules to the lines that ran while they were loaded, to modules."""
        successors: dict[Hashable, dict[Hashable, None]] = {}
        for edge in self.edges:
            line = (edge.within, edge.file, edge.line)
            successors.setdefault(edge.within, {})[line] = None
            successors.setdefault(line, {})[edge.imported] = None
        for name in self.modules:  # put there by code: by its package, else by nobody we know
            if name not in self.loads:
                package = name.rpartition(".")[0]
                successors.setdefault(package if package in self.modules else ROOT, {})[name] = None
        return successors

    def dominated(self, module: str) -> list[str]:
        """Give the modules that would not be loaded without `module`, itself first."""
        return [name for name in walk_below(self._dominated, module) if isinstance(name, str)]

    def dominated_by_edge(self, edge: Edge | Importer) -> list[str]:
        """Give the modules that would not be loaded without the line of `edge`, whoever comes by it."""
        place = (edge.file, edge.line)
        ways = {(each.within, *place) for each in self.edges if (each.file, each.line) == place}
        if len(ways) == 1:
            return [name for name in walk_below(self._dominated, ways.pop()) if isinstance(name, str)]
        left = reach(self._graph, without=ways)
        return [name for name in self.modules if name not in left]

    def total_of(self, names: Sequence[str]) -> Cost:
        """Give what these modules cost together, each by itself."""
        loads = [self.loads[name] for name in names if name in self.loads]
        return Cost(
            num_modules=len(names),
            cpu_s=sum(load.self_s for load in loads),
            pyc_bytes=sum(self.pyc.get(name, 0) for name in names),
            memory_bytes=sum(load.memory_bytes for load in loads),
        )


class Cost(NamedTuple):
    """What some modules cost."""

    num_modules: int
    cpu_s: float
    pyc_bytes: int
    memory_bytes: int


def measure(tree: Tree, target: Target, *, prove: bool) -> Imported:
    """Run `target` with witnesses; again if a .pyc had to be written, so that sides are compared alike.

    `prove` asks that the project's own sources are loaded: where two revisions are compared.

    Raises:
        CannotJudgeError: it failed, did not use the tree's own sources, or could not be witnessed.
    """
    imported = _read(tree, target.name, run_probe(tree, target, "witness", prove=prove))
    if imported.compiled and _warm(tree, imported):
        imported = _read(tree, target.name, run_probe(tree, target, "witness", prove=prove))
    return imported


def _warm(tree: Tree, imported: Imported) -> bool:
    """Make sure that the tree's sources have a .pyc, also where the user wants none; False if none is new."""
    for file in imported.compiled:
        if file.startswith(f"{tree.path}/") and not Path(importlib.util.cache_from_source(file)).exists():
            py_compile.compile(file, quiet=2)
    files = (file for file in imported.compiled if file in imported.modules.values())
    return any(Path(importlib.util.cache_from_source(file)).exists() for file in files)


def run_probe(tree: Tree, target: Target, mode: str, *, prove: bool) -> dict[str, Any]:
    """Run a target once with the probe in a mode of its own; give what its first Python process wrote.

    Raises:
        CannotJudgeError: it failed, or no process could be witnessed.
    """
    with tempfile.TemporaryDirectory(prefix="imports-", dir=tree.scratch) as folder:
        variables = {"TRAINKIT_IMPORTS": folder, "TRAINKIT_IMPORTS_MODE": mode}
        done = run_in_tree(
            tree,
            target.words(),
            shown=target.describe(),
            timeout_s=_TIMEOUT_S,
            environment=WITHOUT_COVERAGE | variables,
            preload=_PROBE,
            prove=prove,
        )
        if done.returncode:
            message = f"{target.describe()} fails on the {tree.side} side"
            raise CannotJudgeError("import-failed", message, evidence=done.last_words(_SHOWN))
        written = [marshal.loads(path.read_bytes()) for path in Path(folder).glob("*.facts")]  # noqa: S302  # our own
        if not written:
            message = (
                f"{target.describe()}: no Python process of it told what it imported; it must be started "
                "without -I, -E or -S, keep PYTHONPATH, and end by itself (not by os._exit)"
            )
            raise CannotJudgeError("import-not-measured", message, evidence=done.last_words())
        first: dict[str, Any] = min(written, key=lambda facts: facts["started"])
        return first | {"num_processes": len(written)}


def _read(tree: Tree, target: str, facts: dict[str, Any]) -> Imported:
    files = {name: file for name, file, _, _ in facts["modules"]}
    loads = [_read_load(row) for row in facts["loads"]]
    good: dict[str, Load] = {}
    for load in loads:
        if load.loaded and load.name in files:
            # Asked for by its own package while that was loaded for it: who asked first is to blame.
            good[load.name] = _add(good[load.name], load) if load.name in good else load
    brought = {(load.links[0], load.name) for load in good.values()}
    return Imported(
        target=target,
        modules={name: files[name] for name in _order(good, files)},
        loads=good,
        edges=tuple(_read_edge(row, brought) for row in facts["edges"] if row[3] in files),
        failed=tuple(load for load in loads if not load.loaded),
        # A .pyc holds the path of its source once: that of the tree must not count.
        pyc={
            name: size - len(str(tree.path)) * file.startswith(f"{tree.path}/")
            for name, file, _, size in facts["modules"]
            if size
        },
        compiled=tuple(facts["compiled"]),
        shared=_name_inside(tree, facts["shared"]),
        num_collections=facts["collections"][0],
        collections_s=facts["collections"][1] / 1e9,
        cpu_s=facts["cpu_ns"] / 1e9,
        num_processes=facts["num_processes"],
        root=str(tree.path),
    )


def _name_inside(tree: Tree, paths: Iterable[str]) -> tuple[str, ...]:
    """Give paths as they are on either side: those in the tree are relative to it."""
    return tuple(path.removeprefix(f"{tree.path}/") for path in paths)


def _order(asked: Iterable[str], files: Mapping[str, str]) -> Iterable[str]:
    """Give the modules in the order they were asked for, a package before what it was asked for with."""
    packages = [[name.rsplit(".", up)[0] for up in range(name.count("."), 0, -1)] + [name] for name in asked]
    return dict.fromkeys(name for name in [*itertools.chain(*packages), *files] if name in files)


def _add(first: Load, second: Load) -> Load:
    return first._replace(
        self_s=first.self_s + second.self_s,
        total_s=first.total_s + second.total_s,
        memory_bytes=first.memory_bytes + second.memory_bytes,
    )


def _read_edge(row: Any, brought: set[tuple[Importer, str]]) -> Edge:
    module, file, line, imported, within = row
    return Edge(module, file, line, imported, within, (Importer(module, file, line), imported) in brought)


def _read_load(row: Any) -> Load:
    name, within, start, own, total, pages, loaded, links = row
    memory = pages * _PAGE_BYTES
    places = tuple(Importer(*link) for link in links)
    return Load(name, within, start / 1e9, own / 1e9, total / 1e9, memory, loaded, places)
