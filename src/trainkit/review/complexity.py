"""How complex each function, method, class body and module body is, by one pass over the syntax tree.

Cyclomatic complexity is radon's: one, and one for each `if`, `elif`, loop, `else` of a loop or a `try`,
handler, case but a last that takes all, assertion, conditional expression, comprehension, `if` in one, `and`,
`or`. Other than in radon 6.0.1, handlers of `except*` count, a guarded `case x if ...` is a case like others,
and what is nested in a function is measured, too: functions, and classes with their methods.

Cognitive complexity is SonarSource's, as its analyser of Python counts, with `match` as the white paper's
switch. What is nested in a function is part of it there, as it is for its length.

Source: https://www.sonarsource.com/docs/CognitiveComplexity.pdf
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from trainkit.review.comments import find_waivers
from trainkit.review.measure import MODULE_BODY, Facts, Visitor
from trainkit.review.model import Place, Unit

if TYPE_CHECKING:
    from trainkit.review.sources import Source


def extract(tree: ast.Module, source: bytes) -> Any:
    """Give the units, the module body first, and the waivers: index of the unit, line, subject, reason."""
    visitor = Visitor(source)
    visitor.visit_module(tree)
    found = sorted(visitor.units, key=lambda unit: (unit.kind != MODULE_BODY, unit.line, -unit.end))
    waivers = [
        (_find_unit(found, visitor, line), line, subject, reason)
        for line, subject, reason in find_waivers(source)
    ]
    return [tuple(unit) for unit in found], waivers


def units(source: Source) -> list[Unit]:
    """Give the measured units of a file; none of one that could not be read."""
    allowed = {index: reason for index, _, subject, reason in read_waivers(source) if subject == "complexity"}
    return [
        Unit(
            place=Place(source.path, facts.line, facts.end, facts.name),
            kind=facts.kind,
            cyclomatic=facts.cyclomatic,
            cognitive=facts.cognitive,
            num_lines=facts.num_lines,
            nesting=facts.nesting,
            num_parameters=facts.num_parameters,
            num_handlers=facts.num_handlers,
            num_broad=len(facts.broad_lines),
            allowed=allowed.get(index, ""),
        )
        for index, facts in enumerate(read_facts(source))
    ]


def read_facts(source: Source) -> list[Facts]:
    """Give all that is kept of the units of a file."""
    return [Facts._make(values) for values in source.facts["complexity"][0]] if source.facts else []


def read_waivers(source: Source) -> list[tuple[int, int, str, str]]:
    """Give the waivers: index of the unit in `read_facts`, line, subject, reason ("" if there is none)."""
    return list(source.facts["complexity"][1]) if source.facts else []


def _find_unit(found: Sequence[Facts], visitor: Visitor, line: int) -> int:
    """Give the unit that a comment speaks of: the one that begins behind it, else the one that it is in."""
    code, last = visitor.code, len(visitor.code) - 1
    begins = next((at for at in range(line, last) if code[at] > code[line - 1]), line)  # next line with code
    for index, unit in enumerate(found):
        if begins in {unit.line, visitor.starts.get(unit.line)} and unit.kind != MODULE_BODY:
            return index
    around = [index for index, unit in enumerate(found) if unit.line <= line <= unit.end]
    return max(around, default=0)
