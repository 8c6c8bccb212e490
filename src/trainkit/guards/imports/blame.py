"""Findings that point at a line: the one of the project that is nearest to what it brought."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from trainkit.guards.imports.measure import Cost, Imported, Importer
from trainkit.verdict import Finding, Severity

_HINT = "import it in the function that needs it, or under TYPE_CHECKING"
_HINT_CALL = "it is imported in a function, which is called at start-up: call that later"
_NUM_SHOWN = 8


def blame(
    root: Path,
    imported: Imported,
    offender: str,
    *,
    rule: str,
    message: str,
    severity: Severity = Severity.ERROR,
    also: tuple[str, ...] = (),
) -> Finding:
    """Point at the line of the project that is nearest to the offender, with the chain as evidence."""
    chain = imported.chain(offender)
    own = find_own_line(root, chain)
    without = imported.dominated_by_edge(own) if own else imported.dominated(offender)
    cost = imported.total_of(without)
    return Finding(
        rule=rule,
        message=message,
        severity=severity,
        file=(own and locate(root, own.file)) or "",
        line=own.line if own else 0,
        evidence=(*(show_line(root, link) for link in chain), f"without it: {show_cost(cost)} less", *also),
        hint=_HINT_CALL if own and _is_in_function(root / own.file, own.line) else _HINT,
    )


def _is_in_function(path: Path, line: int) -> bool:
    """Tell whether a line stands in a function: what brings it is the call."""
    with suppress(OSError, SyntaxError, ValueError, RecursionError):
        return any(
            node.lineno < line <= (node.end_lineno or 0)
            for node in ast.walk(ast.parse(path.read_bytes()))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        )
    return False


def find_own_line(root: Path, chain: list[Importer]) -> Importer | None:
    """Give the first line of a chain that is in the project."""
    return next((link for link in chain if locate(root, link.file) is not None), None)


def locate(root: Path, file: str) -> str | None:
    """Give a file's path in the project, None when it is from elsewhere."""
    path = Path(file)
    if not path.is_absolute():  # python -c puts '' on sys.path
        path = root / path
    inside = path.is_relative_to(root) and not {"site-packages", "dist-packages"} & set(path.parts)
    return str(path.relative_to(root)) if inside else None


def show_line(root: Path, link: Importer) -> str:
    """Give "module (file:line)"."""
    return f"{link.module} ({locate(root, link.file) or link.file}:{link.line})"


def show_cost(cost: Cost) -> str:
    """Give what some modules cost, in words."""
    words = [f"{cost.num_modules} module{'s' * (cost.num_modules != 1)}", f"{cost.cpu_s:.3f} s of CPU"]
    return ", ".join([*words, f"{cost.pyc_bytes / 1e6:.1f} MB of .pyc"])


def package_of(name: str) -> str:
    """Give the top package of a module, "the standard library" for all of that."""
    package = name.partition(".")[0]
    return "the standard library" if package in sys.stdlib_module_names else package


def count_by_package(imported: Imported) -> Iterator[str]:
    """Give the packages that bring the most modules."""
    counts: dict[str, int] = {}
    for name in imported.modules:
        counts[package_of(name)] = counts.get(package_of(name), 0) + 1
    for package, number in sorted(counts.items(), key=lambda item: -item[1])[:_NUM_SHOWN]:
        yield f"{number} of {package}"
