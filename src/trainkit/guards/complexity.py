"""Cyclomatic complexity (radon's) of every function and module body: no worse than at the baseline.

A module body is scored like a function: that is where training scripts hide their loops. A function
is followed through renames and moves. Radon counts comprehensions, and not the handlers of `except*`.
"""

from __future__ import annotations

import ast
import fnmatch
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainkit.guards.context import Context
from trainkit.repo.trees import Tree
from trainkit.verdict import Finding, Measurement, Severity, Status, Verdict, status_of

_BODY = "module body"


@dataclass(frozen=True)
class ComplexitySettings:
    """`[tool.trainkit.complexity]`: which files, the budgets, and what the ratchet leaves alone.

    A budget bounds new code; code that was over it before only must not get worse.
    """

    include: tuple[str, ...] = ("*.py",)
    exclude: tuple[str, ...] = ("tests/*", "test_*.py", "*/test_*.py")
    max_function: int = field(default=10, metadata={"min": 1})
    max_module_body: int = field(default=10, metadata={"min": 1})
    free_up_to: int = field(default=5, metadata={"min": 0})  # radon's rank A may grow within itself


SETTINGS = ComplexitySettings


@dataclass(frozen=True)
class Unit:
    """A function, method or module body with its score; `shape` is its code without its name."""

    file: str
    name: str
    line: int
    score: int
    shape: str

    def describe(self) -> str:
        """Give the unit's name for a message."""
        return f"the module body of {self.file}" if self.name == _BODY else f"{self.name}()"


def check(context: Context) -> Verdict:
    """Score both sides and complain of what is over budget and new, or worse than it was."""
    settings = context.parse(ComplexitySettings)
    units, findings = _score_tree(context.candidate, settings)
    if not units and not findings:
        return Verdict(guard=context.name, status=Status.SKIPPED, summary="no Python file matches `include`")
    before: dict[Unit, Unit] = {}
    if context.baseline:
        old_units, old_findings = _score_tree(context.baseline, settings)
        before = _match(old_units, units)
        known = {finding.file for finding in old_findings}
        findings = [finding for finding in findings if finding.file not in known]
    findings += [finding for unit in units for finding in _judge(unit, before.get(unit), settings)]
    return Verdict(
        guard=context.name,
        status=status_of(findings),
        summary=_summarize(units, before, findings, context.baseline is not None),
        findings=tuple(findings),
        measurements=tuple(_list_measurements(units, before)),
    )


def _score_tree(tree: Tree, settings: ComplexitySettings) -> tuple[list[Unit], list[Finding]]:
    units: list[Unit] = []
    findings = []
    for path in sorted(tree.path.rglob("*.py")):
        file = path.relative_to(tree.path).as_posix()
        if not _matches(file, settings.include) or _matches(file, settings.exclude) or not path.is_file():
            continue
        try:
            units += score_source(file, path.read_bytes())
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            message = f"{file} could not be scored: {error}"
            findings.append(Finding(rule="complexity-unmeasured", message=message, file=file))
    return units, findings


def _matches(file: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatch(file, pattern) for pattern in patterns)


def score_source(file: str, source: str | bytes) -> list[Unit]:
    """Score the module body and every function of one source file, nested classes included.

    Raises:
        SyntaxError: `source` is no Python of this version.
    """
    from radon.visitors import ComplexityVisitor

    tree = ast.parse(source)
    visitor = ComplexityVisitor.from_ast(tree)
    nodes = {
        (node.lineno, node.name): node
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }
    statements = [ast.dump(node) for node in tree.body]
    units = [Unit(file, _BODY, 1, visitor.complexity, "".join(statements))]
    seen: Counter[str] = Counter()
    for name, block in _iterate_functions(visitor.functions, visitor.classes, ""):
        seen[name] += 1  # a property and its setter have one name
        full = name if seen[name] == 1 else f"{name}#{seen[name]}"
        node = nodes[block.lineno, block.name]
        units.append(Unit(file, full, block.lineno, block.complexity, _shape(node)))
    return units


def _iterate_functions(functions: list[Any], classes: list[Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for block in functions:
        yield prefix + block.name, block
    for block in classes:
        yield from _iterate_functions(block.methods, block.inner_classes, f"{prefix}{block.name}.")


def _shape(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    return ast.dump(node.args) + "".join(ast.dump(statement) for statement in node.body)


def _match(old: list[Unit], new: list[Unit]) -> dict[Unit, Unit]:
    """Map each unit to what it was: same place, else same code, else the only one of that name."""
    matched: dict[Unit, Unit] = {}
    keys: list[Callable[[Unit], Hashable]] = [_place, lambda unit: unit.shape, _name]
    for key in keys:
        known = set(matched.values())
        left = [unit for unit in old if unit not in known]
        right = [unit for unit in new if unit not in matched]
        by_key = _index_unique(left, key)
        matched |= {
            unit: by_key[place] for place, unit in _index_unique(right, key).items() if place in by_key
        }
    return matched


def _place(unit: Unit) -> Hashable:
    return unit.file, unit.name


def _name(unit: Unit) -> Hashable:
    return (Path(unit.file).name if unit.name == _BODY else unit.name), unit.name == _BODY


def _index_unique(units: list[Unit], key: Callable[[Unit], Hashable]) -> dict[Hashable, Unit]:
    counts = Counter(map(key, units))
    return {key(unit): unit for unit in units if counts[key(unit)] == 1}


def _judge(unit: Unit, before: Unit | None, settings: ComplexitySettings) -> Iterator[Finding]:
    budget = settings.max_module_body if unit.name == _BODY else settings.max_function
    place: dict[str, Any] = {"file": unit.file, "line": unit.line, "actual": str(unit.score)}
    if before is None:
        if unit.score > budget:
            message = f"{unit.describe()} has complexity {unit.score}, over the budget of {budget}"
            yield Finding(
                rule="complexity-over-budget", message=message, expected=f"at most {budget}", **place
            )
    elif unit.score > max(before.score, settings.free_up_to):
        message = f"{unit.describe()} went from complexity {before.score} to {unit.score}"
        yield Finding(rule="complexity-worse", message=message, expected=f"at most {before.score}", **place)


def _summarize(units: list[Unit], before: dict[Unit, Unit], findings: list[Finding], compared: bool) -> str:
    num_functions = sum(unit.name != _BODY for unit in units)
    size = f"{num_functions} functions, {len(units) - num_functions} module bodies"
    num_bad = sum(finding.severity is Severity.ERROR for finding in findings)
    if not compared:
        return f"{num_bad} over budget of {size}"
    num_simpler = sum(unit.score < old.score for unit, old in before.items())
    return f"{num_simpler} simpler, {num_bad} worse or over budget, of {size}"


def _list_measurements(units: list[Unit], before: dict[Unit, Unit]) -> Iterator[Measurement]:
    for label, body in (("worst function", False), ("worst module body", True)):
        ranked = sorted(
            (unit for unit in units if (unit.name == _BODY) is body), key=lambda unit: -unit.score
        )
        if ranked:
            worst = ranked[0]
            old = before.get(worst)
            yield Measurement(
                name=label,
                value=worst.score,
                unit="cyclomatic complexity",
                baseline=old.score if old else None,
                how=f"radon, {worst.file}:{worst.line} {worst.name}",
            )
