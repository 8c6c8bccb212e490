"""Issues from facts: what is worth doing, how much it weighs, what it takes, and in which order.

Severity. High: training is, or will silently be, wrong: a rule of the training loop. Medium: what costs at
the next change: equal copies and long ones, one copy that differs from many, a name that is left over in a
copy, a cycle, a name that stands twice. Low: the rest.

Effort, in minutes. Copies: 10 for each of them and 20 for each body more than one; a function that is too
complex: 10 and one for each point of its cognitive complexity. The range is from that to twice that.

Priority. 0: high, in half an hour; 1: high, or medium in half an hour; 2: medium, or low in half an hour;
3: the rest.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from trainkit.review.cycles import Cycle
from trainkit.review.habits.scopes import Habit
from trainkit.review.inventory import is_test
from trainkit.review.model import CloneClass, Issue, Place, Unit
from trainkit.review.names import Namesake
from trainkit.review.result import Phase
from trainkit.review.uneven import Uneven

SEVERITIES = ("high", "medium", "low")
PREFIXES = {"clone": "DUP", "name": "NAME", "import": "CYC", "complexity": "CPLX", "habit": "HABIT"}
CYCLOMATIC, COGNITIVE, LINES = 15, 25, 150  # from which on a function is an issue
_MANY_LINES = 60  # saved, from which on copies that are not quite equal weigh as much as equal ones
_FEW, _WORTH = 2, 6  # spots in which copies differ; lines saved, below which copies are no issue
_QUICK = 30
_PHASES = ("at once", "next", "then", "when you are there anyway")

# rule -> severity, title, proposal
_HABITS = {
    "habit-zero-grad-missing": ("high", "gradients are never set to zero", "Call {0}.zero_grad() first."),
    "habit-zero-grad-order": ("high", "gradients are set to zero before the step uses them",
                              "Move zero_grad() before backward(), or behind step()."),
    "habit-step-error-swallowed": ("high", "a training step that fails is passed over",
                                   "Catch what you expect, and let the rest end the run."),
    "habit-train-mode-lost": ("high", "{0} stays in evaluation mode after the first evaluation",
                              "Call {0}.train() at the start of each epoch."),
    "habit-eval-mode-missing": ("medium", "{0} is evaluated in training mode", "Call {0}.eval() first."),
    "habit-no-grad-missing": ("medium", "an evaluation keeps the graph of every batch",
                              "Decorate it with torch.no_grad()."),
    "habit-statistics-before-split": ("high", "statistics of {0} are taken before it is split",
                                      "Split first, then fit on the training part alone."),
    "habit-statistics-of-test": ("high", "{0} is fitted anew", "Use what was fitted on training."),
    "habit-series-shuffled": ("medium", "a series is split at random", "Split by time."),
    "habit-seed-late": ("medium", "{0} is made before the seed is set", "Set the seed first."),
    "habit-checkpoint-incomplete": ("medium", "a checkpoint lacks the {0}", "Save and load its state, too."),
    "habit-hard-coded": ("low", "{0} is written into many scripts", "Give it a name, or an argument."),
    "habit-config-unused": ("low", "one script uses {0}, its siblings do not", "Use it in all of them."),
    "habit-helper-unused": ("low", "{0}() is used nowhere", "Use it, or delete it."),
    "habit-heavy-config": ("low", "reading settings loads {0}", "Import it in the function that needs it."),
}  # fmt: skip
COPIES = ("clone-drift", "clone-left-over", "clone-equal", "clone-near")
RULES = {
    "clone-uneven": "A change that reached some of several copies",
    "clone-drift": "Copies that differ here and there",
    "clone-left-over": "A copy uses a name of the one that it was made from",
    "clone-equal": "Copies that are equal after normalisation",
    "clone-near": "Copies that are nearly equal",
    "name-file-twice": "Two library files of one name define the same names",
    "name-class-twice": "Two public classes of one name and one interface, with different bodies",
    "name-redefined": "A script defines anew what its sibling imports",
    "import-cycle": "An import cycle at module level",
    "import-cycle-late": "An import cycle through an import inside a function",
    "complexity-high": "A function or module body that is too complex or too long",
} | {
    rule: title.replace("{0} ", "something ").replace("{0}", "something")
    for rule, (_, title, _) in _HABITS.items()
}
_PER_RULE = {"habit-checkpoint-incomplete", "habit-hard-coded", "habit-heavy-config", "habit-no-grad-missing"}


def list_issues(
    *,
    clones: Iterable[CloneClass],
    namesakes: Iterable[Namesake],
    cycles: Iterable[Cycle],
    units: Iterable[Unit],
    habits: Iterable[tuple[str, Habit]],
    changes: Iterable[Uneven] = (),
    scripts: frozenset[str] = frozenset(),
) -> list[Issue]:
    """Give all issues with priorities and ids, the most urgent first; some of them may be allowed."""
    found = [
        *(_judge_clones(each) for each in clones if not is_left_alone(each)),
        *map(_judge_change, changes),
        *map(_judge_namesake, namesakes),
        *map(_judge_cycle, cycles),
        *(issue for unit in units for issue in _judge_unit(unit, scripts)),
        *_judge_habits(habits),
    ]
    ranked = [replace(issue, priority=_rank(issue)) for issue in found]
    ids = number([issue.key for issue in ranked])
    named = [replace(issue, id=ids[issue.key]) for issue in ranked]
    return sorted(
        named, key=lambda each: (each.priority, SEVERITIES.index(each.severity), -_size(each), each.id)
    )


def number(keys: Iterable[str]) -> dict[str, str]:
    """Give each key its id: letters for its kind, a number made of the key: it stays between runs."""
    ids: dict[str, str] = {}
    taken = set()
    for key in sorted(set(keys)):
        prefix = PREFIXES[key.partition(":")[0].partition("-")[0]]
        at = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=4).digest()) % 10_000
        while (prefix, at) in taken:
            at = (at + 1) % 10_000
        taken.add((prefix, at))
        ids[key] = f"{prefix}-{at:04}"
    return ids


def plan(issues: Sequence[Issue], saved: dict[str, int]) -> list[Phase]:
    """Give the phases that are not empty; `saved` are the lines that an issue of that key takes away."""
    phases = []
    for priority, name in enumerate(_PHASES):
        chosen = [issue for issue in issues if issue.priority == priority]
        if chosen:
            phases.append(
                Phase(
                    name=name,
                    issues=tuple(issue.id for issue in chosen),
                    effort_min=(
                        sum(each.effort_min[0] for each in chosen),
                        sum(each.effort_min[1] for each in chosen),
                    ),
                    num_lines_saved=sum(saved.get(issue.key, 0) for issue in chosen),
                )
            )
    return phases


def clone_key(clones: CloneClass) -> str:
    """Give the key of the issue that a class of copies is."""
    return f"clone-{clones.kind}:{clones.fingerprint}"


def _rank(issue: Issue) -> int:
    quick = issue.effort_min[0] <= _QUICK
    return SEVERITIES.index(issue.severity) + (0 if quick else 1)


def _size(issue: Issue) -> int:
    return sum(place.end - place.line + 1 for place in issue.places)


def is_left_alone(clones: CloneClass) -> bool:
    """Copies that only resemble each other, or are short, are no issue."""
    return clones.grade == "related" or clones.num_lines_saved < _WORTH


def _judge_clones(clones: CloneClass) -> Issue:
    count, bodies = len(clones.members), clones.num_bodies
    one = _is_one(clones)
    left_over = [said for said in clones.drift if "the module's `" in said]  # see drift.py
    # Most are equal and few are not: that may be the fix that one copy did not get.
    odd = bool(clones.drift) and bodies == 2 < count and len(clones.drift) <= _FEW
    medium = one or odd or clones.num_lines_saved >= _MANY_LINES
    tests = all(is_test(place.path) for place in clones.members)
    effort = 10 * count + 20 * (bodies - 1)
    return Issue(
        rule="clone-left-over" if left_over else "clone-drift" if clones.drift else f"clone-{clones.grade}",
        key=clone_key(clones),
        title=f"{name_clones(clones)}: {count} copies, "
        + ("all equal" if one else f"{bodies} {'body' if bodies == 1 else 'bodies'}"),
        severity="low" if tests else "medium" if medium or left_over else "low",
        places=clones.members,
        evidence=(*left_over, *(said for said in clones.drift if said not in left_over)),
        proposal=_propose(clones, one=one),
        effort_min=(effort, 2 * effort),
        allowed="" if clones.drift else clones.intended,
    )


def _judge_change(change: Uneven) -> Issue:
    changed, left = len(change.changed), len(change.untouched)
    names = ", ".join(dict.fromkeys(f"{place.name}()" for place in change.changed))
    return Issue(
        rule="clone-uneven",
        key=f"clone-uneven:{change.clones.fingerprint}",
        title=f"{names} changed, {left} of {changed + left} copies did not",
        severity="medium",
        places=(*change.changed, *change.untouched),
        evidence=(
            *(f"not changed: {place.name} at {place.path}:{place.line}" for place in change.untouched),
            *change.what,
        ),
        proposal="If the change is a fix, the others need it, too.",
        effort_min=(10 * left, 20 * left),
    )


def _is_one(clones: CloneClass) -> bool:
    """Say whether one copy can stand for all; of runs nobody has looked at the drift."""
    return clones.grade == "equal" and not clones.drift and (clones.num_bodies == 1 or clones.kind != "run")


def _propose(clones: CloneClass, *, one: bool) -> str:
    """Give what to do with copies; of `one` body they can be merged as they are."""
    if clones.intended:
        return f"The copies are meant ({clones.intended}) and differ: bring them together again."
    proposal = f"Keep one: def {clones.signature}." if clones.signature else "Keep one and import it."
    if clones.kind == "class":
        proposal = f"Keep one class, or a base of both with {clones.signature}."
    if clones.kind == "methods":
        proposal = f"Give the classes a base with {clones.signature}; the rest of them differs."
    if clones.kind == "run" and clones.num_bodies > 1:
        proposal += " They differ in numbers, strings or what they call: read them side by side."
    if one:
        proposal += " Equal after normalisation: safe to merge where the helpers they call are the same;"
        proposal += " --prove shows that training stays the same."
    return proposal


def name_clones(clones: CloneClass) -> str:
    """Give what the copies are called, or how long they are."""
    if clones.kind == "run":
        return f"{min(place.end - place.line for place in clones.members) + 1} lines"
    full = {place.name for place in clones.members}
    if clones.kind in {"class", "methods"}:
        what = "class" if clones.kind == "class" else f"{clones.signature.count('()')} methods of"
        return f"{what} {', '.join(sorted(full)[:2])}" + (" and others" if len(full) > 2 else "")
    names = list(
        dict.fromkeys(
            place.name if len(full) == 1 else place.name.rpartition(".")[2] for place in clones.members
        )
    )
    return ", ".join(f"{name}()" for name in names[:2]) + (" and others" if len(names) > 2 else "")


def _judge_namesake(each: Namesake) -> Issue:
    proposals = {
        "file": "Merge them, or name each by what it is for.",
        "class": "Keep one, or name each by what it is for.",
        "redefined": "Import it as the sibling does.",
    }
    titles = {
        "file": f"{each.name} stands in {len(each.places)} folders",
        "class": f"class {each.name} stands {len(each.places)} times, with different bodies",
        "redefined": f"{each.name} is defined anew, a sibling imports it",
    }
    minutes = 20 * len(each.places)
    return Issue(
        rule=f"name-{each.kind}-twice" if each.kind != "redefined" else "name-redefined",
        key=f"name-{each.kind}:{each.name}:{','.join(sorted(place.path for place in each.places))}",
        title=titles[each.kind],
        severity="medium",
        places=each.places,
        evidence=each.evidence,
        proposal=proposals[each.kind],
        effort_min=(minutes, 2 * minutes),
    )


def _judge_cycle(cycle: Cycle) -> Issue:
    files = [edge.importer for edge in cycle.path]
    package = any(file.endswith("__init__.py") for file in files)
    places = tuple(Place(edge.importer, edge.line, edge.line) for edge in cycle.path)
    more = f"; {cycle.num_files} files reach each other" if cycle.num_files > len(files) else ""
    kind = "when it is imported" if cycle.kind == "module" else "through an import inside a function"
    return Issue(
        rule="import-cycle" if cycle.kind == "module" else "import-cycle-late",
        key=f"import-cycle:{','.join(sorted(files))}",
        title=f"import cycle of {len(files)} files, {kind}{more}",
        severity="medium" if cycle.kind == "module" and not package else "low",
        places=places,
        evidence=tuple(f"{edge.importer}:{edge.line} imports {edge.imported}" for edge in cycle.path),
        proposal="Move what both need into a file below them, or pass it as an argument.",
        effort_min=(20 * len(files), 60 * len(files)),
    )


def _judge_unit(unit: Unit, scripts: frozenset[str]) -> Iterator[Issue]:
    # The length of what reads arguments or drives a script is told in the inventory, it is no fault.
    drives = unit.place.path in scripts and unit.place.name in {
        "main",
        "parse_args",
        "get_args",
        "module body",
    }
    over = [
        f"{value} {name} (from {limit})"
        for value, name, limit in (
            # Cyclomatic counts comprehensions and cases, too: alone it says little.
            (unit.cyclomatic if unit.cognitive > CYCLOMATIC else 0, "cyclomatic", CYCLOMATIC),
            (unit.cognitive, "cognitive", COGNITIVE),
            (0 if drives else unit.num_lines, "lines", LINES),
        )
        if value > limit
    ]
    if over and not is_test(unit.place.path):
        minutes = 10 + unit.cognitive
        bad = unit.cognitive > 2 * COGNITIVE
        what = f"{unit.place.name}()" if unit.kind in {"function", "method"} else f"the {unit.kind}"
        yield Issue(
            rule="complexity-high",
            key=f"complexity:{unit.place.path}:{unit.place.name}",
            title=f"{what}: {', '.join(over)}",
            severity="medium" if bad else "low",
            places=(unit.place,),
            evidence=(
                f"nesting {unit.nesting}, {unit.num_parameters} parameters, {unit.num_handlers} handlers",
            ),
            proposal="Move the deepest branches and the longest stretch into functions of their own.",
            effort_min=(minutes, 2 * minutes),
            allowed=unit.allowed,
        )


def _judge_habits(habits: Iterable[tuple[str, Habit]]) -> Iterator[Issue]:
    """Give one issue for each place; of what many files do alike, one for all."""
    groups: dict[tuple[tuple[str, ...], str], list[tuple[str, Habit]]] = defaultdict(list)
    for path, habit in habits:
        where = () if habit.rule in _PER_RULE else (path, habit.scope)
        subject = habit.subject if habit.rule != "habit-no-grad-missing" else ""
        groups[(habit.rule, subject, *where), habit.allowed].append((path, habit))
    for (key, allowed), group in groups.items():
        rule, subject = key[:2]
        severity, title, proposal = _HABITS[rule]
        if subject == "random generators":
            severity = "low"
        places = tuple(Place(path, each.line, max(each.line, each.end), each.scope) for path, each in group)
        evidence = [
            f"{path}: {said}" if len(group) > 1 else said
            for path, each in group[:3]
            for said in each.evidence
        ]
        yield Issue(
            rule=rule,
            key=":".join(key),
            title=title.format(subject),
            severity=severity,
            places=places,
            evidence=tuple(dict.fromkeys(evidence)),
            proposal=proposal.format(subject),
            effort_min=(5 * len(places), 15 * len(places)),
            allowed=allowed,
        )
