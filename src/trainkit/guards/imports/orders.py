"""Does every order of imports still work: what enters a circle first, and each edited module by itself."""

from __future__ import annotations

import ast
import json
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

from trainkit.guards.imports.edits import Edit
from trainkit.guards.imports.graph import ROOT
from trainkit.guards.imports.project import Project
from trainkit.guards.imports.savings import Graph
from trainkit.repo.process import WITHOUT_COVERAGE, run_in_tree
from trainkit.repo.trees import Tree

_TIMEOUT_S = 1800.0
_LOST = "it ended, or took more than 300 s"
# Each piece of code runs in a fork of a Python that has imported nothing, or only libraries.
_FORKS = """\
import json, os, signal, sys
folder, libraries, tasks = json.loads(sys.argv[1])
for number, (ready, code) in enumerate(tasks):
    while ready and libraries:
        try:
            __import__(libraries.pop(0))
        except Exception:
            pass
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        continue
    said = ""
    try:
        signal.alarm(300)
        exec(code, {})
    except BaseException as error:
        said = f"{type(error).__name__}: {error}"
    with open(os.path.join(folder, str(number)), "w") as file:
        file.write(said)
    os._exit(0)
"""
Task = tuple[bool, str]  # (libraries may be there before, code)


class Orders:
    """Knows which of the project's modules import each other in a circle, and what the baseline can do."""

    def __init__(self, project: Project, graph: Graph, baseline: Tree) -> None:
        self._project, self._graph, self._baseline = project, graph, baseline
        self._names = {path: file.module for path, file in project.files.items() if file.module}
        loaded = {path: name for name, path in graph.files.items() if name != ROOT}
        self._names |= {path: loaded[path] for path in loaded.keys() & project.files.keys()}
        self._before: dict[Task, str] = {}

    def find_broken(self, candidate: Tree, edits: list[Edit]) -> str:
        """Give the first import that worked on the baseline and fails in an edited tree, or ""."""
        # What is run as a program is imported by nobody.
        edits = [edit for edit in edits if self._names.get(edit.file) in self._graph.files]
        edited = list(dict.fromkeys(self._names[edit.file] for edit in edits))
        circle = self._list_circle(edited)
        tasks = [(False, f"import {name}") for name in edited]
        if circle:
            tasks += [(True, code) for edit in edits for code in self._list_moved(edit)]
            tasks += [(True, f"import {name}") for name in circle]
        failed = self._run(candidate, list(dict.fromkeys(tasks)))
        if any(code == f"import {name}" for _, code in failed for name in circle):
            others = [(True, f"import {name}") for name in self._list_outside(circle)]
            failed |= self._run(candidate, [task for task in others if task not in tasks])
        unknown = [task for task in failed if task not in self._before]
        found = self._run(self._baseline, unknown)
        self._before |= {task: found.get(task, "") for task in unknown}
        for task, said in failed.items():
            if not self._before[task]:
                return f"`{task[1]}` in a fresh process fails, and did not before: {said}"
        return ""

    def _run(self, tree: Tree, tasks: list[Task]) -> dict[Task, str]:
        """Give those that fail, with the error."""
        if not tasks:
            return {}
        own = {ROOT, *(name.partition(".")[0] for name in self._graph.files)}
        libraries = [name for name in self._graph.imported.modules if "." not in name and name not in own]
        with tempfile.TemporaryDirectory(prefix="orders-", dir=tree.scratch) as folder:
            code = json.dumps([folder, libraries, tasks])
            run_in_tree(
                tree,
                ["python", "-c", _FORKS, code],
                shown="importing the edited modules",
                timeout_s=_TIMEOUT_S,
                environment=WITHOUT_COVERAGE,
                prove=False,
            )
            paths = [Path(folder, str(number)) for number in range(len(tasks))]
            said = [
                path.read_text(errors="replace").replace(f"{tree.path}/", "") if path.exists() else _LOST
                for path in paths
            ]
        return {task: words for task, words in zip(tasks, said, strict=True) if words}

    def _list_moved(self, edit: Edit) -> Iterator[str]:
        """Give what a function does first when it is called, or who asks a package for a name."""
        file = self._project.files[edit.file]
        name = self._names[edit.file]
        for place in edit.placements:
            for asked, target in place.statement.names:
                if target != place.name:
                    continue
                base = file.resolve(place.statement.module)
                line = f"from {base} import {asked}" if place.statement.module else f"import {asked}"
                if place.lazy:
                    yield f"from {name} import {target}"
                elif place.holders and (base or asked).partition(".")[0] == name.partition(".")[0]:
                    yield f"import {name}; {line}"

    @cached_property
    def _asked(self) -> dict[str, set[str]]:
        """Give what each module of the project asks for while it is imported, of the project."""
        known = set(self._names.values())
        asked: dict[str, set[str]] = defaultdict(set)
        for path, module in self._names.items():
            file = self._project.files[path]
            for statement in file.names.statements:
                if statement.place not in {"TYPE_CHECKING", "function"}:
                    asked[module] |= {file.ask(statement, name, known) for name, _ in statement.names}
        for edge in self._graph.imported.edges:  # also what is asked for by import_module()
            asked[edge.within].add(edge.imported)
        return {name: (asked[name] & known) - {name} for name in known}

    def _reach(self, start: Iterable[str], *, packages: bool) -> set[str]:
        """Give all that is asked for by what `start` asks for; with `packages`, also what they lie in."""
        found: set[str] = set()
        waiting = list(start)
        while waiting:
            name = waiting.pop()
            above = name.rpartition(".")[0]
            new = {
                *self._asked.get(name, ()),
                *({above} if packages and above in self._asked else ()),
            } - found
            found |= new
            waiting += new
        return found

    def _list_circle(self, edited: list[str]) -> list[str]:
        """Give the modules that import themselves by others and that come by what is edited."""
        near = {*self._reach(edited, packages=True), *edited} & self._asked.keys()
        return sorted(name for name in near if name in self._reach([name], packages=False))

    def _list_outside(self, circle: list[str]) -> list[str]:
        """Give the other modules that lead into a circle and do nothing else when they are imported."""
        paths = {name: path for path, name in self._names.items()}
        return sorted(
            name
            for name in self._asked.keys() & paths.keys()
            if self._reach([name], packages=True) & {*circle} and self._is_quiet(paths[name])
        )

    def _is_quiet(self, path: str) -> bool:
        file = self._project.files.get(path)
        loops = (ast.For, ast.While, ast.With)
        return (
            file is not None
            and not {"test", "tests"} & {*Path(path).parts}
            and not Path(path).name.startswith(("test_", "conftest"))
            and not any(isinstance(node, loops) for node in file.tree.body)
            and not self._project.find_effect(path)
        )
