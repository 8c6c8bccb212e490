"""What there is to say of one target: forbidden, over budget, grown, new, and what only informs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from trainkit.guards.context import Context
from trainkit.guards.imports.blame import blame, count_by_package, find_own_line
from trainkit.guards.imports.examine import Examined
from trainkit.guards.imports.measure import run_probe
from trainkit.verdict import Finding, Severity

_NUM_TIMED = 3
_FAR_OVER = 1.5  # a run that takes that much more than it may: nobody needs to see it again
_NUM_NAMED = 6


def find(context: Context, examined: Examined) -> Iterator[Finding]:
    """Give all findings of a target; a budget of seconds costs more runs only where it may be exceeded."""
    root = context.candidate.path
    yield from _find_forbidden(root, examined)
    yield from _find_too_many(examined)
    if examined.now.cpu_s > examined.settings.max_seconds:  # without witnesses it may be within
        yield from _find_too_slow(context, examined)
    if examined.unmeasured:
        yield Finding(
            rule="import-baseline-failed",
            message=f"{examined.target.verb()} fails at the baseline: nothing is compared with it",
            severity=Severity.WARNING,
            evidence=(examined.unmeasured,),
        )
    if examined.before is not None:
        yield from _find_grown(root, examined)
        yield from _find_new_packages(root, examined)
        yield from _find_notes(examined)


def _find_forbidden(root: Path, examined: Examined) -> Iterator[Finding]:
    for family in examined.settings.forbid:
        offender = next((name for name in examined.now.modules if _belongs(name, family)), None)
        if offender:
            message = f"{examined.target.verb()} loads {offender}, and {family} is forbidden there"
            yield blame(root, examined.now, offender, rule="import-forbidden", message=message)


def _find_too_many(examined: Examined) -> Iterator[Finding]:
    most, number = examined.settings.max_modules, len(examined.now.modules)
    if most is not None and number > most:
        yield Finding(
            rule="import-too-many",
            message=f"{examined.target.verb()} loads {number} modules",
            expected=f"at most {most}",
            actual=str(number),
            evidence=tuple(count_by_package(examined.now)),
        )


def _find_too_slow(context: Context, examined: Examined) -> Iterator[Finding]:
    most, target = examined.settings.max_seconds, examined.target
    prove = context.baseline is not None
    runs: list[float] = []
    while not _are_enough(runs, most):
        runs.append(run_probe(context.candidate, target, "bare", prove=prove)["cpu_ns"] / 1e9)
    if min(runs) > most:
        number = "a fresh process" if len(runs) == 1 else f"{len(runs)} fresh processes"
        between = " to ".join(f"{each:.3f}" for each in sorted({min(runs), max(runs)}))
        yield Finding(
            rule="import-too-slow",
            message=f"{target.verb()} takes {min(runs):.3f} s of CPU",
            expected=f"at most {most:g} s",
            actual=f"{between} s of CPU in {number}",
            evidence=tuple(count_by_package(examined.now)),
            hint=f"see where it goes: trainkit imports {target.name}",
        )


def _are_enough(runs: Sequence[float], most: float) -> bool:
    return len(runs) >= _NUM_TIMED or (bool(runs) and (runs[-1] <= most or min(runs) > _FAR_OVER * most))


def _find_grown(root: Path, examined: Examined) -> Iterator[Finding]:
    """Find what a ratchet forbids: each line of the project that brought modules, with what it brought."""
    now, comparison, verb = examined.now, examined.comparison, examined.target.verb()
    if not examined.settings.ratchet:
        return
    if len(comparison.added) > len(comparison.removed):
        for names in _group_by_line(root, examined, comparison.added):
            number = f"{len(names)} module{'s' * (len(names) != 1)}"
            message = f"{verb} loads {number} more than at the baseline: {_name_some(names)}"
            yield blame(root, now, names[0], rule="import-grew", message=message)
    if comparison.added_shared:
        names = [Path(path).name for path in comparison.added_shared]
        message = f"{verb} maps shared objects that it did not at the baseline: {_name_some(names)}"
        yield Finding(rule="import-grew", message=message, evidence=comparison.added_shared)


def _group_by_line(root: Path, examined: Examined, names: Sequence[str]) -> Iterable[list[str]]:
    """Give the added modules by the line of the project that brought them."""
    by_line: dict[object, list[str]] = {}
    for name in names:
        line = find_own_line(root, examined.now.chain(_find_cause(examined, name)))
        by_line.setdefault(line, []).append(name)
    return by_line.values()


def _find_cause(examined: Examined, name: str) -> str:
    """Give the added module that brought another: the line to name is the one that asked for the first."""
    loads, added = examined.now.loads, set(examined.comparison.added)
    while name in loads and loads[name].within in added and loads[name].within != name:
        name = loads[name].within
    return name


def _find_new_packages(root: Path, examined: Examined) -> Iterator[Finding]:
    before = examined.before.modules if examined.before else {}
    known = {name.partition(".")[0] for name in before} | sys.stdlib_module_names
    known.add(examined.target.name.partition(".")[0])
    first: dict[str, str] = {}  # of each new package the module that was loaded first
    for name in examined.comparison.added:
        if (package := name.partition(".")[0]) not in known:
            first.setdefault(package, name)
    for names in _group_by_line(root, examined, list(first.values())):
        names.sort(key=lambda name: -len(examined.now.dominated(name)))
        packages = _name_some([name.partition(".")[0] for name in names])
        message = f"{examined.target.verb()} now loads {packages}, which it did not at the baseline"
        rule, severity = "import-new-package", Severity.WARNING
        yield blame(root, examined.now, names[0], rule=rule, message=message, severity=severity)


def _find_notes(examined: Examined) -> Iterator[Finding]:
    comparison, verb = examined.comparison, examined.target.verb()
    if comparison.moved:
        first, second = comparison.moved
        message = f"{verb} asks for the same modules in another order: {second} now comes where {first} came"
        yield Finding(rule="import-order", message=message, severity=Severity.NOTE)
    if comparison.unstable:
        message = f"{verb}: left out, as runs of one side differ in it: {_name_some(comparison.unstable)}"
        yield Finding(rule="import-unstable", message=message, severity=Severity.NOTE)
    if examined.now.compiled:
        names = [file.removeprefix(f"{examined.now.root}/") for file in examined.now.compiled]
        message = f"{verb} compiles at each start, as no .pyc is kept: {_name_some(names)}"
        yield Finding(rule="import-compiled", message=message, severity=Severity.NOTE)
    if examined.times:
        message = f"{verb} is {examined.times.describe()}"
        yield Finding(rule="import-times", message=message, severity=Severity.NOTE)


def _belongs(name: str, family: str) -> bool:
    return name == family or name.startswith(family + ".")


def _name_some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NUM_NAMED} more" if len(names) > _NUM_NAMED else ""
    return ", ".join(names[:_NUM_NAMED]) + more
