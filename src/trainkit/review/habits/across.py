"""Rules that several files show together: constants everywhere, settings that few use, dead helpers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from trainkit.review.graph import Edge, Graph
from trainkit.review.habits.scopes import Habit
from trainkit.review.inventory import is_script, is_test, list_imports, reads_arguments
from trainkit.review.sources import Source

_CONFIG = re.compile(r"^(?:\w+_)?(?:configs?|configuration|settings|hparams|hyperparameters)$")
_LIGHT = re.compile(
    r"^(?:\w+_)?(?:configs?|configuration|settings|options|arguments|args|constants|defaults)$"
)
_HEAVY = {"torch", "tensorflow", "jax", "transformers", "diffusers", "lightning", "keras",
          "pytorch_lightning",           "sklearn", "pandas", "torchvision", "wandb"}  # fmt: skip
_MANY = 3  # scripts from which on the same literal is a habit


def find_across(sources: Sequence[Source], graph: Graph) -> Iterator[tuple[str, Habit]]:
    """Give each finding with the path that it is about."""
    judged = [source for source in sources if not source.error and not is_test(source.path)]
    yield from _find_hard_coded(judged)
    yield from _find_lonely_configs(judged, graph)
    yield from _find_unused_helpers(judged, sources)
    yield from _find_heavy_configs(judged, graph)


def _find_hard_coded(sources: Sequence[Source]) -> Iterator[tuple[str, Habit]]:
    """The same hyper-parameter with the same value in the calls of many scripts."""
    places: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for source in sources:
        if is_script(source) and source.facts["habits"]["trains"]:
            once = {(name, value): line for name, value, line in reversed(source.facts["habits"]["literals"])}
            for key, line in once.items():
                if key[1] not in {"0", "1", "0.0", "1.0"}:  # an end of the scale is no choice
                    places.setdefault(key, []).append((source.path, line))
    for (name, value), found in sorted(places.items()):
        if len(found) >= _MANY:
            for path, line in found:
                evidence = (f"{name}={value} in {len(found)} scripts",)
                yield path, Habit("habit-hard-coded", f"{name}={value}", line, line, "", evidence)


def _find_lonely_configs(sources: Sequence[Source], graph: Graph) -> Iterator[tuple[str, Habit]]:
    """A module of settings that one of several training scripts reads, while its siblings have their own."""
    scripts = {
        source.path: source for source in sources if is_script(source) and source.facts["habits"]["trains"]
    }
    for source in sources:
        if is_script(source) or not _CONFIG.match(PurePosixPath(source.path).stem):
            continue
        users = graph.importers.get(source.path, set()) & set(scripts)
        if len(users) != 1:
            continue
        folder = PurePosixPath(user := min(users)).parent
        others = [path for path, each in scripts.items()
                  if path != user and PurePosixPath(path).parent == folder and _has_own(each)]  # fmt: skip
        if len(others) >= _MANY - 1:
            evidence = (f"{user} imports it", f"{len(others)} scripts beside it have settings of their own: "
                        + ", ".join(others[:3]))  # fmt: skip
            yield source.path, Habit("habit-config-unused", source.path, 1, 1, "", evidence)


def _has_own(source: Source) -> bool:
    return reads_arguments(source) or bool(source.facts["habits"]["literals"])


def _find_unused_helpers(judged: Sequence[Source], sources: Sequence[Source]) -> Iterator[tuple[str, Habit]]:
    """A handler of signals or a launcher that no file names again."""
    named: Counter[str] = Counter()
    defined: Counter[str] = Counter()
    for source in sources:
        if not source.error:
            named.update(source.facts["habits"]["names"])
            defined.update(name for name, _, _ in source.facts["habits"]["helpers"])
    for source in judged:
        for name, line, end in source.facts["habits"]["helpers"]:
            # A name that the extractor does not count is not judged.
            if named[name] and named[name] <= defined[name]:
                evidence = (f"line {line}: it is defined", "no Python file names it again")
                yield source.path, Habit("habit-helper-unused", name, line, end, name, evidence)


def _find_heavy_configs(sources: Sequence[Source], graph: Graph) -> Iterator[tuple[str, Habit]]:
    """A module of settings that brings a heavy library along when it is imported, by whichever way."""
    heavy: dict[str, dict[str, int]] = {}
    for source in sources:
        for each in list_imports(source):
            root = each.module.partition(".")[0]
            if each.kind == "module" and not each.level and root in _HEAVY:
                heavy.setdefault(source.path, {}).setdefault(root, each.line)
    edges: dict[str, list[Edge]] = {}
    for edge in graph.edges:
        if edge.kind == "module":
            edges.setdefault(edge.importer, []).append(edge)
    for source in sources:
        if not is_script(source) and _LIGHT.match(PurePosixPath(source.path).stem):
            for what, chain in _find_chains(source.path, edges, heavy).items():
                line = int(chain[0].split(":")[1].split()[0])
                yield source.path, Habit("habit-heavy-config", what, line, line, "", tuple(chain))


def _find_chains(
    start: str, edges: dict[str, list[Edge]], heavy: dict[str, dict[str, int]]
) -> dict[str, list[str]]:
    """Give the shortest way from a file to each heavy library: "file:line imports what"."""
    found: dict[str, list[str]] = {}
    ways: list[tuple[str, list[str]]] = [(start, [])]
    seen = {start}
    for path, way in ways:
        for root, line in heavy.get(path, {}).items():
            found.setdefault(root, [*way, f"{path}:{line} imports {root}"])
        for edge in edges.get(path, []):
            if edge.imported not in seen:
                seen.add(edge.imported)
                ways.append((edge.imported, [*way, f"{path}:{edge.line} imports {edge.imported}"]))
    return found
