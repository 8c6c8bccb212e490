"""The project's own files read together: who takes which name from where, and what an import does."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from trainkit.guards.imports.effects import Hooks, has_hook, list_effects, registers
from trainkit.guards.imports.names import Names, Statement
from trainkit.guards.imports.reader import read_names

# What reads the annotations of functions while the program runs: with these a name in one is needed.
_READERS = {
    "beartype",
    "draccus",
    "hydra_zen",
    "jaxtyping",
    "jsonargparse",
    "plum",
    "simple_parsing",
    "typeguard",
    "typer",
    "tyro",
}
_READING = {"get_type_hints", "get_annotations", "__annotations__", "singledispatch", "singledispatchmethod"}
_DOTTED = re.compile(r"[A-Za-z_][\w]*(?:\.[A-Za-z_]\w*)+")
# Files in which others are told what to take from where: entry points, Hydra's _target_, notebooks.
_SETTINGS = {".cfg", ".ini", ".ipynb", ".json", ".toml", ".yaml", ".yml"}
_MOST_BYTES = 1 << 20
_NAMED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*[.:][A-Za-z_]\w*")
_SETTERS = {
    "setattr",
    "delattr",
    "getattr",
    "hasattr",
    "object",
}  # of monkeypatch, mock.patch, and Python's own


@dataclass
class SourceFile:
    """One Python file of the project."""

    path: str  # relative to the project
    module: str
    is_package: bool
    names: Names
    tree: ast.Module
    asked: set[str] = field(default_factory=set)  # modules that its imports may ask for, at any depth
    takes: list[tuple[str, str, int]] = field(
        default_factory=list
    )  # (module, name, line) of each from-import
    stars: set[str] = field(default_factory=set)
    chains: dict[str, int] = field(default_factory=dict)  # dotted names that lead through an import -> line
    patched: dict[str, int] = field(default_factory=dict)  # dotted names in strings
    stored: set[str] = field(default_factory=set)  # those that are assigned to
    claimed: set[str] = field(default_factory=set)  # modules that its objects give as theirs: for pickles

    def resolve(self, module: str) -> str:
        """Give the full name of what follows `from`."""
        level = len(module) - len(module.lstrip("."))
        if not level:
            return module
        package = self.module if self.is_package else self.module.rpartition(".")[0]
        for _ in range(level - 1):
            package = package.rpartition(".")[0]
        return ".".join(filter(None, [package, module[level:]]))

    def ask(self, statement: Statement, name: str, known: Container[str]) -> str:
        """Give the module that an import asks for by one of its names, of those that are known."""
        if not statement.module:
            return name
        base = self.resolve(statement.module)
        full = f"{base}.{name}"
        return full if full in known else base


@dataclass
class Project:
    """All files that could be read, and why the others could not."""

    root: Path
    files: dict[str, SourceFile]  # by relative path
    unread: dict[str, str]
    settings: list[tuple[str, str, int]] = field(default_factory=list)  # (dotted name, file, line)

    @cached_property
    def _taken(self) -> dict[str, list[tuple[str, int]]]:
        taken: dict[str, list[tuple[str, int]]] = defaultdict(list)
        for file in self.files.values():
            for dotted, line in [*file.chains.items(), *file.patched.items()]:
                parts = dotted.split(".")
                for end in range(1, len(parts) + 1):
                    taken[".".join(parts[:end])].append((file.path, line))
        for dotted, path, line in self.settings:
            taken[dotted].append((path, line))
        return taken

    def find_taker(self, module: str, name: str, *, but: str) -> str:
        """Give the place in another file that takes `name` out of `module`, or that takes everything."""
        places = [(path, line) for path, line in self._taken.get(f"{module}.{name}", ()) if path != but]
        places += [
            (file.path, 1)
            for file in self.files.values()
            if module in file.stars | file.claimed and file.path != but
        ]
        return "{}:{}".format(*min(places)) if places else ""

    def find_user(self, module: str) -> str:
        """Give the place that reaches `module` by its dotted name without importing it itself."""
        for path in sorted({path for path, _ in self._taken.get(module, ())} & self.files.keys()):
            file = self.files[path]
            asked = (f"{each}.".startswith(f"{module}.") for each in (file.module, *file.asked))
            lines = [line for chain, line in file.chains.items() if f"{chain}.".startswith(f"{module}.")]
            if lines and not any(asked):
                return f"{path}:{min(lines)}"
        return ""

    def is_stored(self, dotted: str) -> bool:
        """Say whether some file assigns to this name of another module."""
        return any(dotted in file.stored for file in self.files.values())

    @cached_property
    def annotation_reader(self) -> str:
        """Give the first place that reads annotations while the program runs."""
        for file in sorted(self.files.values(), key=lambda each: each.path):
            for name in sorted(file.asked):
                if name.partition(".")[0] in _READERS:
                    return f"{file.path} imports {name}"
            for node in ast.walk(file.tree):
                name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
                if name in _READING or (name == "script" and "jit" in ast.dump(node)):
                    return f"{file.path}:{getattr(node, 'lineno', 0)} uses {name}"
        return ""

    @cached_property
    def _hooks(self) -> Hooks:
        hooks = Hooks(set(), set())
        for file in self.files.values():
            for node in ast.walk(file.tree):
                if isinstance(node, ast.ClassDef) and has_hook(node):
                    hooks.classes.add(node.name)
                elif isinstance(node, ast.FunctionDef) and registers(node, file.names):
                    hooks.functions.add(node.name)
        return hooks

    def find_effect(self, path: str) -> str:
        """Give the first line of a file that, when it is imported, changes something elsewhere."""
        file = self.files.get(path)
        if file is None:
            return f"{path} ({self.unread.get(path, 'not read')})"
        line = next(list_effects(file.tree.body, file.names, self._hooks), 0)
        return f"{path}:{line}" if line else ""


def read_project(root: Path) -> Project:
    """Read all Python files below `root`."""
    files, unread = {}, {}
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if ".git" in path.parts:
            continue
        try:
            source = path.read_text(encoding="utf-8-sig")
            tree = ast.parse(source)
            module, is_package = _name_module(root, path)
            files[name] = SourceFile(name, module, is_package, read_names(source), tree)
            _read_references(files[name])
        except (SyntaxError, ValueError, RecursionError, OSError) as error:
            unread[name] = f"cannot be parsed: {error}"
    packages = {file.module.partition(".")[0] for file in files.values()}
    settings = [row for row in _read_settings(root) if row[0].partition(".")[0] in packages]
    return Project(root, files, unread, settings)


def _read_settings(root: Path) -> Iterator[tuple[str, str, int]]:
    """Give what looks like a name in files that entry points and configurations are read from."""
    for path in sorted(root.rglob("*")):
        wanted = path.suffix in _SETTINGS and ".git" not in path.parts and path.is_file()
        if wanted and path.stat().st_size < _MOST_BYTES:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            for number, line in enumerate(lines, start=1):
                for match in _NAMED.finditer(line):
                    yield match[0].replace(":", "."), path.relative_to(root).as_posix(), number


def _name_module(root: Path, path: Path) -> tuple[str, bool]:
    """Give the name by which a file is imported, and whether it is a package."""
    is_package = path.name == "__init__.py"
    parts = [] if is_package else [path.stem]
    folder = path.parent
    while folder != root and folder != root / "src" and (is_package or (folder / "__init__.py").exists()):
        parts.insert(0, folder.name)
        folder = folder.parent
        is_package = is_package and (folder / "__init__.py").exists()
    if folder not in {root, root / "src"} and not (folder / "__init__.py").exists():
        above = folder.relative_to(root / "src" if folder.is_relative_to(root / "src") else root).parts
        parts = [*above, *parts] if parts[0] != "conftest" else parts
    return ".".join(parts), path.name == "__init__.py"


def _read_references(file: SourceFile) -> None:
    """Note what a file takes from modules: by import, by attribute, by name in a string."""
    roots: dict[str, str] = {}  # name -> what it stands for
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Import):
            _read_import(file, node, roots)
        elif isinstance(node, ast.ImportFrom):
            _read_import_from(file, node, roots)
    for node in ast.walk(file.tree):
        file.claimed.update(_list_claimed(node))
        for dotted in _list_dotted(node, roots):
            found = file.patched if isinstance(node, ast.Constant) else file.chains
            found.setdefault(dotted, node.lineno)  # type: ignore[attr-defined]
            if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
                file.stored.add(dotted)


def _read_import(file: SourceFile, node: ast.Import, roots: dict[str, str]) -> None:
    for alias in node.names:
        file.asked.add(alias.name)
        top = alias.name.partition(".")[0]
        roots[alias.asname or top] = alias.name if alias.asname else top


def _read_import_from(file: SourceFile, node: ast.ImportFrom, roots: dict[str, str]) -> None:
    module = file.resolve("." * node.level + (node.module or ""))
    file.asked.add(module)
    for alias in node.names:
        file.takes.append((module, alias.name, node.lineno))
        if alias.name == "*":
            file.stars.add(module)
            continue
        full = f"{module}.{alias.name}"
        file.asked.add(full)
        file.chains.setdefault(full, node.lineno)
        roots[alias.asname or alias.name] = full


def _list_claimed(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
        names = [getattr(target, "attr", getattr(target, "id", "")) for target in node.targets]
        if "__module__" in names:
            yield str(node.value.value)


def _list_dotted(node: ast.AST, roots: dict[str, str]) -> Iterator[str]:
    if isinstance(node, ast.Attribute):
        dotted = _resolve_chain(node, roots)
        if dotted:
            yield dotted
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        if len(node.value) < 200 and _DOTTED.fullmatch(node.value):
            yield node.value  # mock.patch("pkg.mod.name"), import_module("pkg.mod")
    elif isinstance(node, ast.Call) and len(node.args) >= 2:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        attribute = getattr(node.args[1], "value", None)
        dotted = _resolve_chain(node.args[0], roots)
        if name in _SETTERS and dotted and isinstance(attribute, str):
            yield f"{dotted}.{attribute}"


def _resolve_chain(node: ast.AST, roots: dict[str, str]) -> str:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.insert(0, node.attr)
        node = node.value
    root = roots.get(node.id, "") if isinstance(node, ast.Name) else ""
    return ".".join([root, *parts]) if root else ""
