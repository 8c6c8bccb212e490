"""The use case: a tree of Python files, perhaps beside an older revision of it → a `Review`."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath

from trainkit.errors import TrainkitError, UsageError
from trainkit.repo.git import git, resolve_commit
from trainkit.review.clones import Copies
from trainkit.review.complexity import units
from trainkit.review.coverage import read_coverage
from trainkit.review.cycles import Cycle, find_cycles
from trainkit.review.findings import COPIES, clone_key, list_issues, plan
from trainkit.review.graph import Graph
from trainkit.review.habits.across import find_across
from trainkit.review.habits.scopes import Habit
from trainkit.review.inventory import is_script, is_test, list_definitions, reads_arguments
from trainkit.review.model import CloneClass, Issue, Place, Unit
from trainkit.review.names import find_namesakes
from trainkit.review.result import Dependencies, EntryPoint, Figure, FileRow, Review
from trainkit.review.sources import Source, read_files, read_sources
from trainkit.review.uneven import uneven

EXTRACTORS = ("inventory", "habits", "complexity", "clones")
_FOLDERS, _MOST = 2, 30  # parts of a path in the picture of dependencies; its edges
_NUM_UPKEEP = 8  # files that radon is asked about: as many as a terminal shows


@dataclass(frozen=True)
class Side:
    """One revision: its sources and what was found in them."""

    sources: Sequence[Source]

    @cached_property
    def readable(self) -> list[Source]:
        """The files that are Python."""
        return [source for source in self.sources if not source.error]

    @cached_property
    def graph(self) -> Graph:
        """Their imports."""
        return Graph(self.sources)

    @cached_property
    def cycles(self) -> list[Cycle]:
        """The cycles among them."""
        return find_cycles(self.graph.edges)

    @cached_property
    def units(self) -> list[Unit]:
        """Their functions and bodies, measured."""
        return [unit for source in self.readable for unit in units(source)]

    @cached_property
    def copies(self) -> Copies:
        """What is copied in them."""
        return Copies(self.readable)

    @property
    def clones(self) -> list[CloneClass]:
        """Their classes of copies."""
        return self.copies.classes


def review(
    root: Path, *, paths: Sequence[str] = (), base: str = "", progress: Callable[[str], None] = lambda _: None
) -> Review:
    """Read the Python files below `root`, or below `paths` in it, and say what stands there.

    Raises:
        UsageError: there is no Python file, none that can be read, or no commit `base`.
    """
    commit = resolve_commit(root, base) if base else ""
    side = Side(read_sources(root, EXTRACTORS, paths=paths, progress=progress))
    if not side.sources:
        raise UsageError("nothing-to-review", f"no Python file in {', '.join(paths) or root}")
    old = (
        Side(read_sources(root, EXTRACTORS, paths=paths, revision=commit, progress=progress))
        if base
        else None
    )
    progress("comparing")
    scripts = console_scripts(root, side.graph)
    issues, allowed = _list_issues(side, old)
    gone: list[Issue] = []
    if old:
        before = [each for part in _list_issues(old) for each in part]
        issues, gone = _compare_issues(issues, allowed, before, side.clones)
    saved = {clone_key(each): each.num_lines_saved for each in side.clones}
    progress("")
    return Review(
        project=root.resolve().name,
        candidate=_describe_tree(root),
        base=f"{base} ({commit[:10]})" if base else "",
        files=_add_upkeep(root, list(_list_files(side))),
        unreadable=tuple((source.path, source.error) for source in side.sources if source.error),
        entry_points=tuple(_list_entry_points(side, scripts)),
        namesakes=tuple(_count_namesakes(side)),
        dependencies=_draw(side),
        units=tuple(
            sorted(side.units, key=lambda unit: (-unit.cognitive, -unit.cyclomatic, unit.place.path))
        ),
        clones=tuple(side.clones),
        issues=tuple(issues),
        allowed=tuple(allowed),
        gone=tuple(gone),
        phases=tuple(plan(issues, saved)),
        figures=tuple(_compare(_measure(side, read_coverage(root)), _measure(old, None) if old else {})),
    )


def _list_issues(side: Side, old: Side | None = None) -> tuple[list[Issue], list[Issue]]:
    """Give what is worth doing (beside an older side, what reached some copies only), and what is allowed."""
    found = list_issues(
        clones=side.clones,
        namesakes=find_namesakes(side.sources, side.graph),
        cycles=side.cycles,
        units=side.units,
        habits=_list_habits(side),
        changes=uneven(old.copies, side.copies) if old else (),
        scripts=frozenset(source.path for source in side.readable if is_script(source)),
    )
    return [issue for issue in found if not issue.allowed], [issue for issue in found if issue.allowed]


def _compare_issues(
    now: Sequence[Issue], allowed: Sequence[Issue], before: Sequence[Issue], clones: Sequence[CloneClass]
) -> tuple[list[Issue], list[Issue]]:
    """Mark what is new or has more places, put it first, and give what is gone.

    An issue is the same by its key, else (of code that moves or is renamed) by what is said of it, else by
    the places that copies have in common. Copies that only resemble each other by now are not gone.
    """
    kept = {issue.key for issue in [*now, *allowed]}
    left = [issue for issue in before if issue.key not in kept and not issue.allowed]
    was = _pair_issues(now, before, left)
    compared = [_compare_issue(issue, was.get(issue.key)) for issue in now]
    copies = [_name_places(each.members) for each in clones]
    return sorted(compared, key=lambda issue: not issue.is_new), [
        each for each in left if not _is_still_alike(each, copies)
    ]


def _pair_issues(now: Sequence[Issue], before: Sequence[Issue], left: list[Issue]) -> dict[str, Issue]:
    """Give by its key what each issue was; what is found among those that are `left` is taken from them."""
    known = {issue.key: issue for issue in before}
    was = {issue.key: known[issue.key] for issue in now if issue.key in known}
    for is_same in (_says_the_same, _measures_the_same, _has_the_same_places):
        for issue in now:
            old = next((each for each in left if issue.key not in was and is_same(each, issue)), None)
            if old is not None:
                was[issue.key] = old
                left.remove(old)
    return was


def _is_still_alike(issue: Issue, copies: Sequence[set[tuple[str, str]]]) -> bool:
    """Say whether copies only resemble each other by now."""
    return issue.rule in COPIES and any(len(_name_places(issue.places) & some) > 1 for some in copies)


def _compare_issue(issue: Issue, was: Issue | None) -> Issue:
    if was is None:
        return replace(issue, is_new=True)
    before = (f"before: {was.title}",) if was.title != issue.title else ()
    return replace(
        issue, evidence=(*before, *issue.evidence), is_new=issue.rule in COPIES and _has_more(issue, was)
    )


def _has_more(issue: Issue, was: Issue) -> bool:
    return len(issue.places) > len(was.places)


def _says_the_same(was: Issue, issue: Issue) -> bool:
    return (was.rule, was.title) == (issue.rule, issue.title)


def _measures_the_same(was: Issue, issue: Issue) -> bool:
    """Say whether a function was only renamed, in its file."""
    kinds = [(each.rule, each.places[0].path, each.title.partition(": ")[2]) for each in (was, issue)]
    return issue.rule == "complexity-high" and kinds[0] == kinds[1]


def _has_the_same_places(was: Issue, issue: Issue) -> bool:
    both = _name_places(was.places) & _name_places(issue.places)
    return was.rule in COPIES and issue.rule in COPIES and len(both) > 1


def _name_places(places: Sequence[Place]) -> set[tuple[str, str]]:
    return {(place.path, place.name) for place in places}


def _list_habits(side: Side) -> Iterator[tuple[str, Habit]]:
    """Give what the rules of training found, with the reason where a comment beside it allows it."""
    allowed = {source.path: source.facts["habits"]["allowed"] for source in side.readable}
    own = [
        (source.path, Habit(*each))
        for source in side.readable
        if not is_test(source.path)
        for each in source.facts["habits"]["found"]
    ]
    for path, habit in [*own, *find_across(side.sources, side.graph)]:
        beside = range(habit.line - 3, habit.end + 1)
        reasons = (reason for line, rule, reason in allowed[path] if rule == habit.rule and line in beside)
        yield path, replace(habit, allowed=next(reasons, ""))


def _describe_tree(root: Path) -> str:
    with suppress(TrainkitError):
        head = git(root, "rev-parse", "--short=10", "HEAD")
        return f"{head} with changes" if git(root, "status", "--porcelain", "-uno") else head
    with suppress(TrainkitError):
        git(root, "rev-parse", "--git-dir")
        return "no commit yet"
    return "no git repository"


def _list_files(side: Side) -> Iterator[FileRow]:
    scores: dict[str, list[int]] = {}
    for unit in side.units:
        scores.setdefault(unit.place.path, []).append(unit.cyclomatic)
    functions = Counter(unit.place.path for unit in side.units if unit.kind in {"function", "method"})
    for source in side.readable:
        facts, found = source.facts["inventory"], scores.get(source.path) or [0]
        yield FileRow(
            path=source.path,
            role="test" if is_test(source.path) else "script" if is_script(source) else "library",
            num_lines=facts["lines"],
            num_functions=functions[source.path],
            worst=max(found),
            mean=sum(found) / len(found),
            num_importers=len(side.graph.importers.get(source.path, ())),
            purpose=facts["doc"],
        )


def _add_upkeep(root: Path, rows: list[FileRow]) -> tuple[FileRow, ...]:
    worst = sorted(rows, key=lambda row: -row.worst)[:_NUM_UPKEEP]
    found = read_files(root, [row.path for row in worst], ["upkeep"])
    upkeep = {source.path: source.facts["upkeep"] for source in found if not source.error}
    return tuple(replace(row, upkeep=upkeep.get(row.path, {})) for row in rows)


def console_scripts(root: Path, graph: Graph) -> dict[str, list[str]]:
    """Give the console scripts of pyproject.toml by the file that they start."""
    found: dict[str, list[str]] = {}
    with suppress(OSError, ValueError, AttributeError):
        document = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
        poetry = document.get("tool", {}).get("poetry", {}).get("scripts", {})
        for name, target in {**document.get("project", {}).get("scripts", {}), **poetry}.items():
            module = str(target).partition(":")[0]
            for path in graph.find_module(module):
                found.setdefault(path, []).append(name)
    return found


def _list_entry_points(side: Side, console: Mapping[str, list[str]]) -> Iterator[EntryPoint]:
    shared = _count_shared_lines(side.clones)
    for source in side.readable:
        own = [f"console script {name}" for name in console.get(source.path, ())]
        if (not own and not is_script(source)) or is_test(source.path):
            continue
        facts = source.facts["inventory"]
        own += ["__main__"] if is_script(source) else []
        own += ["parser"] if reads_arguments(source) else []
        own += ["training"] if source.facts["habits"]["trains"] else []
        yield EntryPoint(
            path=source.path,
            line=facts["guard"] or 1,
            how=tuple(own),
            num_lines=facts["lines"],
            shared=shared.get(source.path, 0) / max(1, facts["lines"]),
            needs=len(_reach(source.path, side.graph)),
        )


def _count_shared_lines(clones: Sequence[CloneClass]) -> dict[str, int]:
    """Count the lines of each file that another file has, too, each once."""
    lines: dict[str, set[int]] = {}
    for each in clones:
        if each.grade != "related" and len({place.path for place in each.members}) > 1:
            for place in each.members:
                lines.setdefault(place.path, set()).update(range(place.line, place.end + 1))
    return {path: len(found) for path, found in lines.items()}


def _reach(path: str, graph: Graph) -> set[str]:
    seen: set[str] = set()
    waiting = [path]
    while waiting:
        for edge in graph.by_importer.get(waiting.pop(), ()):
            if edge.kind != "typing" and edge.imported not in seen:
                seen.add(edge.imported)
                waiting.append(edge.imported)
    return seen - {path}


def _count_namesakes(side: Side) -> Iterator[tuple[str, int, int]]:
    """Give the functions and classes that many scripts define: name, scripts, different texts."""
    found: dict[str, list[str]] = {}
    for source in side.readable:
        if is_script(source) and not is_test(source.path):
            for row in {row.name: row for row in list_definitions(source)}.values():
                found.setdefault(row.name, []).append(row.digest)
    ranked = sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))
    yield from ((name, len(digests), len(set(digests))) for name, digests in ranked[:12] if len(digests) > 2)


def _draw(side: Side) -> Dependencies:
    graph = side.graph
    folders = Counter(
        (_folder(edge.importer), _folder(edge.imported)) for edge in graph.edges if edge.kind != "typing"
    )
    hubs = sorted(graph.importers.items(), key=lambda item: (-len(item[1]), item[0]))
    return Dependencies(
        num_edges=dict(sorted(Counter(edge.kind for edge in graph.edges).items())),
        folders=tuple((a, b, n) for (a, b), n in folders.most_common(_MOST) if a != b),
        hubs=tuple((path, len(users)) for path, users in hubs[:10]),
        externals=tuple(graph.list_externals()),
        cycles=tuple(side.cycles),
    )


def _folder(path: str) -> str:
    parts = [part for part in PurePosixPath(path).parent.parts if part != "src"]
    return "/".join(parts[:_FOLDERS]) or "."


def _measure(side: Side, coverage: float | None) -> dict[str, float | None]:
    """Give the figures of one revision, in the order of the table."""
    functions = [unit for unit in side.units if unit.kind in {"function", "method"}]
    cyclomatic = [unit.cyclomatic for unit in functions] or [0]
    inventory = [source.facts["inventory"] for source in side.readable]
    documentable = sum(facts["documentable"] for facts in inventory)
    kinds = Counter(cycle.kind for cycle in side.cycles)
    return {
        "files": len(side.sources),
        "lines": sum(facts["lines"] for facts in inventory),
        "functions": len(functions),
        "longest function, lines": max((unit.num_lines for unit in functions), default=0),
        "worst complexity of a function": max(cyclomatic),
        "mean complexity of a function": sum(cyclomatic) / len(cyclomatic),
        "worst complexity of a module body": max(
            (u.cyclomatic for u in side.units if u.kind == "module body"), default=0
        ),
        "exception handlers": _count_handlers(side, "num_handlers"),
        "broad ones that go on": _count_handlers(side, "num_broad"),
        "classes of copies": sum(each.grade != "related" for each in side.clones),
        "lines that copies repeat": side.copies.count_repeated_lines(),
        "import cycles at module level": kinds["module"],
        "import cycles through functions": kinds["late"],
        "with a docstring, %": 100 * sum(f["documented"] for f in inventory) / documentable
        if documentable
        else None,
        "line coverage, %": coverage,
    }


def _count_handlers(side: Side, name: str) -> int:
    """Sum over the outermost units: what is nested in a function is counted there."""
    return sum(getattr(unit, name) for unit in side.units)


def _compare(after: Mapping[str, float | None], before: Mapping[str, float | None]) -> Iterator[Figure]:
    for name, value in after.items():
        yield Figure(name=name, after=value, before=before.get(name))
