"""Names that stand twice. One name alone proves nothing: reported is what somebody can take for the other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import PurePosixPath

from trainkit.review.graph import Graph
from trainkit.review.inventory import Definition, is_script, is_test, list_definitions
from trainkit.review.model import Place
from trainkit.review.sources import Source

# What every project has many of.
_COMMON = {"__init__", "__main__", "setup", "conf", "config", "main", "train", "test", "utils", "util",
           "model", "models", "data", "dataset", "common", "base", "constants", "types", "version", "run",
           "check", "load", "evaluate", "validate", "build", "save", "parse_args", "get_args"}  # fmt: skip
_ANY_MODEL = {
    "__init__",
    "forward",
    "__call__",
    "setup",
}  # what classes have in common that have nothing in common


@dataclass(frozen=True)
class Namesake:
    """One name at several places: `kind` is "file", "class", "function" or "redefined"."""

    kind: str
    name: str
    places: tuple[Place, ...]
    evidence: tuple[str, ...]


def find_namesakes(sources: Sequence[Source], graph: Graph) -> list[Namesake]:
    """Give files, classes and functions whose name stands twice, and helpers that a sibling imports."""
    judged = [source for source in sources if not source.error and not is_test(source.path)]
    definitions = {source.path: list_definitions(source) for source in judged}
    found = [
        *_find_files(judged, definitions, graph),
        *_find_imported_twice(judged, definitions, graph),
        *_find_redefined(judged, definitions, graph),
    ]
    return sorted(found, key=lambda each: (each.kind, each.name, each.places[0].path))


def _find_files(
    sources: Sequence[Source], definitions: dict[str, list[Definition]], graph: Graph
) -> Iterator[Namesake]:
    """Library files of one name that define the same names otherwise."""
    by_name: dict[str, list[Source]] = defaultdict(list)
    for source in sources:
        stem = PurePosixPath(source.path).stem
        if stem not in _COMMON and graph.importers.get(source.path):
            by_name[stem].append(source)
    for stem, group in by_name.items():
        paths = [source.path for source in group]
        if not 2 <= len(paths) <= 4:  # more of a name are a convention (modeling_x/config.py)
            continue
        shared = set.intersection(*({each.name for each in definitions[path]} for path in paths))
        both = [name for name in sorted(shared - _COMMON) if not name.startswith("_")]
        if len(both) > 1 or any(
            _is_class_twice(name, [definitions[path] for path in paths]) for name in both
        ):
            evidence = [f"both define {', '.join(both[:5])}"]
            evidence += [f"{path} is imported by {_tell(graph.importers[path])}" for path in paths]
            places = tuple(
                Place(path, 1, source.facts["inventory"]["lines"])
                for path, source in zip(paths, group, strict=True)
            )
            yield Namesake("file", f"{stem}.py", places, tuple(evidence))


def _find_imported_twice(
    sources: Sequence[Source], definitions: dict[str, list[Definition]], graph: Graph
) -> Iterator[Namesake]:
    """A public class that some files import from here and others from there, alike outside, not inside.

    Functions are not judged: those with one name and like bodies are copies, the others are one interface.
    """
    importers = _list_users(sources, graph)
    by_name: dict[str, list[tuple[str, Definition]]] = defaultdict(list)
    for path, rows in definitions.items():
        for row in rows:
            if row.kind == "class" and not row.name.startswith("_") and importers.get((path, row.name)):
                by_name[row.name].append((path, row))
    for name, group in by_name.items():
        rows = [row for _, row in group]
        paths = {path for path, _ in group}
        if any(paths & graph.importers.get(path, set()) for path in paths):
            continue  # one is built on the other
        if len({row.digest for row in rows}) < 2 or not _are_alike(rows, least=2):
            continue
        places = tuple(Place(path, row.line, row.end, name) for path, row in group)
        evidence = tuple(
            f"{path}:{row.line} is imported by {_tell(importers[path, name])}" for path, row in group
        )
        yield Namesake(group[0][1].kind, name, places, evidence)


def _list_users(sources: Sequence[Source], graph: Graph) -> dict[tuple[str, str], set[str]]:
    """Give who imports a name from a file, by both."""
    users: dict[tuple[str, str], set[str]] = defaultdict(set)
    for source in sources:
        for each, paths in graph.loaded[source.path]:
            for name in each.names if each.kind != "typing" else ():
                for path in paths:
                    users[path, name].add(source.path)
    return users


def _find_redefined(
    sources: Sequence[Source], definitions: dict[str, list[Definition]], graph: Graph
) -> Iterator[Namesake]:
    """A function or class that a file defines anew while a file beside it imports it from the project."""
    scripts = [source for source in sources if is_script(source)]
    imported = _list_imported(scripts, graph)
    for source in scripts:
        for row in definitions[source.path]:
            origin, sibling = imported.get((_folder_of(source), row.name), ("", ""))
            theirs = [each for each in definitions.get(origin, []) if each.name == row.name]
            other = theirs and origin != source.path and not _imports(source, row.name, origin, graph)
            if other and _are_alike([row, *theirs]):
                same = "the same text" if theirs[0].digest == row.digest else "with another body"
                evidence = (
                    f"{sibling} imports it from {origin}:{theirs[0].line}",
                    f"{source.path}:{row.line} defines it anew, {same}",
                )
                places = (
                    Place(source.path, row.line, row.end, row.name),
                    Place(origin, theirs[0].line, theirs[0].end, row.name),
                )
                yield Namesake("redefined", row.name, places, evidence)


def _imports(source: Source, name: str, origin: str, graph: Graph) -> bool:
    """Say whether a file has a name from another, mostly to build its own on it."""
    return any(name in each.names for each, paths in graph.loaded[source.path] if origin in paths)


def _list_imported(scripts: Sequence[Source], graph: Graph) -> dict[tuple[str, str], tuple[str, str]]:
    """Give where the scripts of a folder have a name from, and the first that imports it, by both."""
    found: dict[tuple[str, str], tuple[str, str]] = {}
    for source in scripts:
        for each, paths in graph.loaded[source.path]:
            for path, name in product(paths, each.names):
                found.setdefault((_folder_of(source), name), (path, source.path))
    return found


def _folder_of(source: Source) -> str:
    return str(PurePosixPath(source.path).parent)


def _is_class_twice(name: str, files: Sequence[list[Definition]]) -> bool:
    rows = [row for each in files for row in each if row.name == name and row.kind == "class"]
    return len(rows) == len(files) and _are_alike(rows, least=2)


def _are_alike(rows: Sequence[Definition], *, least: int = 1) -> bool:
    """Say whether definitions are of one kind and share half of their members, `least` of them."""
    first, *others = rows
    members = {name for name in first.members if name not in _ANY_MODEL}
    for each in others:
        theirs = {name for name in each.members if name not in _ANY_MODEL}
        most = max(len(members), len(theirs), 2 * least - 1)
        if each.kind != first.kind or len(members & theirs) * 2 < most:
            return False
    return True


def _tell(paths: set[str]) -> str:
    shown = sorted(paths)
    return ", ".join(shown[:2]) + (f" and {len(shown) - 2} more" if len(shown) > 2 else "")
