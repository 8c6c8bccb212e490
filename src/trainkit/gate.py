"""The use case: some guards, a candidate, perhaps a baseline → one verdict each."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trainkit import settings
from trainkit.errors import ConfigError, TrainkitError, UsageError, suggest
from trainkit.guards import GUARDS
from trainkit.guards.context import Context
from trainkit.repo.trees import open_trees
from trainkit.verdict import Finding, Status, Verdict


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What the guards said, and of what."""

    candidate: str
    baseline: str
    verdicts: tuple[Verdict, ...]


def judge(
    root: Path,
    guards: Sequence[str] = (),
    *,
    base: str | None = None,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
    writable: bool = False,
    update: bool = False,
    progress: Callable[[str], None] = lambda _: None,
    keep: Callable[[Any], None] = lambda _: None,
) -> Judgement:
    """Run `guards` (all by default) on the project at `root`, against the revision `base` if given.

    `overrides` replaces keys of a guard's table in [tool.trainkit]. `writable` lets a guard write
    stored expectations into the project, `update` makes it. `keep` is given what a guard measured. A guard
    that cannot judge does not keep the others from it.

    Raises:
        UsageError: an unknown guard, revision or setting; all wrong settings at once.
    """
    names = resolve_guards(guards)
    tables = read_tables(root, overrides or {})
    verdicts = []
    with open_trees(root, base) as (candidate, baseline):
        for name in names:
            context = Context(
                root=root,
                name=name,
                candidate=candidate,
                baseline=baseline,
                table=tables[name],
                writable=writable or update,
                update=update,
                progress=lambda what, name=name: progress(f"{name}: {what}"),  # type: ignore[misc]
                keep=keep,
            )
            verdicts.append(_run_guard(context))
        progress("")
        told = baseline.revision if baseline else ""
        return Judgement(candidate=candidate.revision, baseline=told, verdicts=tuple(verdicts))


def resolve_guards(names: Sequence[str]) -> list[str]:
    """Give the guards to run: those named, or all.

    Raises:
        UsageError: there is no guard of one of the names.
    """
    for name in names:
        if name not in GUARDS:
            raise UsageError("unknown-guard", f"no guard '{name}'{suggest(name, GUARDS)}")
    return list(names) or list(GUARDS)


def read_tables(root: Path, overrides: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Read and check the tables of all guards in `root`/pyproject.toml.

    Raises:
        ConfigError: with every mistake in [tool.trainkit].
    """
    table = settings.load_table(root)
    known = [*GUARDS, "base"]
    mistakes = [
        ("settings-unknown-key", f"[tool.trainkit] {key}: no such key{suggest(key, known)}")
        for key in table
        if key not in known
    ]
    tables: dict[str, Mapping[str, Any]] = {}
    for name, module in GUARDS.items():
        own = table.get(name, {})
        if not isinstance(own, dict):
            mistakes.append(("settings-type", f"[tool.trainkit] {name}: expected a table"))
            continue
        tables[name] = own | dict(overrides.get(name, {}))
        try:
            settings.parse(
                importlib.import_module(module).SETTINGS, tables[name], where=f"tool.trainkit.{name}"
            )
        except ConfigError as error:
            mistakes += error.mistakes
    if mistakes:
        raise ConfigError(mistakes)
    return tables


def _run_guard(context: Context) -> Verdict:
    start = time.monotonic()
    try:
        verdict: Verdict = importlib.import_module(GUARDS[context.name]).check(context)
    except TrainkitError as error:
        finding = Finding(rule=error.slug, message=str(error), evidence=error.evidence)
        summary = f"could not judge: {error.slug}"
        verdict = Verdict(guard=context.name, status=Status.ERROR, summary=summary, findings=(finding,))
    return replace(verdict, duration_s=time.monotonic() - start)
