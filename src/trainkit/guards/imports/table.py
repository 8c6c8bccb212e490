"""Where an import's cost goes, as a table for a terminal: what would be spared without each module."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from trainkit.guards.imports.measure import Cost, Imported
from trainkit.guards.imports.views import COLLECTIONS, FAILED

_NUM_ROWS = 12


class Row(NamedTuple):
    """One module: what goes without it, its own and cumulative seconds, and the line that brought it."""

    name: str
    cost: Cost
    self_s: float
    total_s: float
    place: str


def list_rows(imported: Imported) -> list[Row]:
    """Give a row for each module, the one that costs most first; the target itself has none."""
    rows = [
        Row(
            load.name,
            imported.total_of(imported.dominated(load.name)),
            load.self_s,
            load.total_s,
            imported.show(load.links[0]),
        )
        for load in imported.loads.values()
        if load.name != imported.target
    ]
    return sorted(rows, key=lambda row: (-row.cost.cpu_s, row.name))


def render_table(imported: Imported, *, num_rows: int = _NUM_ROWS) -> str:
    """Give the table, and below it the chain of the module that costs most."""
    return "\n".join(_render(imported, list_rows(imported), num_rows))


def _render(imported: Imported, rows: list[Row], num_rows: int) -> Iterator[str]:
    cost = imported.total_of(list(imported.modules))
    yield (
        f"{imported.target}: {cost.num_modules} modules, {imported.cpu_s:.3f} s of CPU, "
        f"{cost.pyc_bytes / 1e6:.1f} MB of .pyc, {len(imported.shared)} shared objects"
    )
    yield "spared without it                      itself  cumulative"
    yield "modules   CPU ms  .pyc MB    RAM MB        ms          ms  module, and the line that brings it"
    for row in rows[:num_rows]:
        spared = f"{row.cost.num_modules:7} {row.cost.cpu_s * 1e3:8.1f} {row.cost.pyc_bytes / 1e6:8.2f}"
        spared += f" {max(row.cost.memory_bytes, 0) / 1e6:9.1f}"
        yield f"{spared} {row.self_s * 1e3:9.1f} {row.total_s * 1e3:11.1f}  {row.name}  {row.place}"
    blank = f"{'':16}"
    collections_ms, failed_ms = (
        imported.collections_s * 1e3,
        sum(load.self_s for load in imported.failed) * 1e3,
    )
    yield f"{'':7} {collections_ms:8.1f} {blank}{'':25}  {COLLECTIONS}  {imported.num_collections} of them"
    yield f"{'':7} {failed_ms:8.1f} {blank}{'':25}  {FAILED}  {len(imported.failed)} of them"
    if rows:
        yield f"\n{rows[0].name} comes by"
        yield from (f"  {imported.show(link)}  {link.module}" for link in imported.chain(rows[0].name))
