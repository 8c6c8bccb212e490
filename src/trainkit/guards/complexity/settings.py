"""What is measured, the limits, and that a change does not raise those that it is judged by."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from trainkit import settings as tables
from trainkit.errors import UsageError
from trainkit.verdict import Finding, Severity

MEASURES = ("cyclomatic", "cognitive", "lines", "nesting", "broad_excepts")


@dataclass(frozen=True)
class ComplexitySettings:
    """`[tool.trainkit.complexity]`: which files, and limits: one that warns and one that fails.

    A limit is for new code; code that was over it before only must not get worse.
    """

    include: tuple[str, ...] = ("*.py",)
    exclude: tuple[str, ...] = ("tests/*", "test_*.py", "*/test_*.py")
    cyclomatic: tuple[int, ...] = (10, 15)
    cognitive: tuple[int, ...] = (15, 25)
    lines: tuple[int, ...] = (80, 150)  # with code: no blanks, comments, docstring
    nesting: tuple[int, ...] = (4, 6)
    broad_excepts: tuple[int, ...] = (0, 0)  # that neither raise nor give a reason in a comment

    def __post_init__(self) -> None:
        for name in MEASURES:
            values = getattr(self, name)
            if len(values) != 2 or not 0 <= values[0] <= values[1]:
                raise ValueError(f"{name} = {list(values)!r}: must be two limits, [warn, fail], rising")

    def measures(self, file: str) -> bool:
        """Say whether a file is measured."""
        return _matches(file, self.include) and not self.excludes(file)

    def excludes(self, file: str) -> bool:
        """Say whether a file is left out on purpose."""
        return _matches(file, self.exclude)


def _matches(file: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatch(file, pattern) for pattern in patterns)


def read_settings(root: Path, name: str) -> ComplexitySettings | None:
    """Give what a tree's own pyproject.toml says; None where it has no trainkit, or one of other settings."""
    try:
        table = tables.load_table(root)
        found = table.get(name, {}) if table else None
        where = f"tool.trainkit.{name}"
        return tables.parse(ComplexitySettings, found, where=where) if isinstance(found, dict) else None
    except UsageError:
        return None


def keep_strict(
    own: ComplexitySettings, before: ComplexitySettings
) -> tuple[ComplexitySettings, list[Finding]]:
    """Give the lower of each pair of limits: a change does not raise those that it is judged by."""
    limits: dict[str, tuple[int, ...]] = {}
    findings = []
    for name in MEASURES:
        old, new = getattr(before, name), getattr(own, name)
        limits[name] = tuple(min(pair) for pair in zip(old, new, strict=True))
        if limits[name] != new:
            message = f"this change raises the limits of {name}: it is judged by {list(limits[name])}"
            findings.append(_tell(message, expected=str(list(old)), actual=str(list(new))))
    return replace(own, **limits), findings  # type: ignore[arg-type]  # only those of MEASURES


def tell_excluded(files: Sequence[str]) -> Finding:
    """Say that files which were measured at the baseline are left out now."""
    message = f"this change leaves out {len(files)} files that were measured: they still are, this time"
    return _tell(message, evidence=tuple(files[:20]))


def _tell(message: str, *, expected: str = "", actual: str = "", evidence: tuple[str, ...] = ()) -> Finding:
    return Finding(
        rule="complexity-limit-raised",
        message=message,
        severity=Severity.WARNING,
        file="pyproject.toml",
        expected=expected,
        actual=actual,
        evidence=evidence,
    )
