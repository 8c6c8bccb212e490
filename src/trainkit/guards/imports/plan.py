"""The best next step: of the fewest edits that save everything together, the dearest that is no risk."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from trainkit.guards.imports.edits import Edit, Step
from trainkit.guards.imports.project import Project
from trainkit.guards.imports.savings import Graph


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
