"""Two sides of one target: what came, what went, and what is left out because it differs from itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from trainkit.guards.imports.measure import Imported

Remeasure = Callable[[], tuple[Imported, Imported]]  # baseline and candidate, once more


@dataclass(frozen=True)
class Comparison:
    """What holds in every run; a module that one side loads only at times is `unstable`, nobody's fault."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    added_shared: tuple[str, ...] = ()
    moved: tuple[str, str] | None = None  # the first two modules that swapped their order
    unstable: tuple[str, ...] = ()


def compare(before: Imported, now: Imported, remeasure: Remeasure) -> Comparison:
    """Compare the exact facts; where they differ, both are measured again, which must say the same."""
    if _facts(before) == _facts(now):
        return Comparison()
    before_again, now_again = remeasure()
    unstable = ({*before.modules} ^ {*before_again.modules}) | ({*now.modules} ^ {*now_again.modules})
    shared = {*before.shared, *before_again.shared}
    return Comparison(
        added=tuple(name for name in now.modules if name not in before.modules and name not in unstable),
        removed=tuple(name for name in before.modules if name not in now.modules and name not in unstable),
        added_shared=tuple(path for path in now.shared if path not in shared and path in now_again.shared),
        moved=_find_moved([before, before_again], [now, now_again], unstable),
        unstable=tuple(sorted(unstable)),
    )


def _facts(imported: Imported) -> tuple[list[str], tuple[str, ...]]:
    return list(imported.modules), imported.shared


def _find_moved(before: list[Imported], now: list[Imported], unstable: set[str]) -> tuple[str, str] | None:
    common = ({*before[0].modules} & {*now[0].modules}) - unstable
    orders = [[name for name in side.modules if name in common] for side in (*before, *now)]
    if orders[0] != orders[1] or orders[2] != orders[3] or orders[0] == orders[2]:
        return None
    return next((old, new) for old, new in zip(orders[0], orders[2], strict=True) if old != new)
