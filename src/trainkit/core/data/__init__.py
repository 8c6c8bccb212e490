"""From files to batches: sources, a mapped cache, steps, splits, and loaders that repeat their order."""

from trainkit.core.data.loaders import (
    IGNORE_INDEX,
    Batch,
    Batched,
    EpochSampler,
    Loaders,
    Seeded,
    build_loaders,
    count_batches,
    split,
)

__all__ = [
    "IGNORE_INDEX",
    "Batch",
    "Batched",
    "EpochSampler",
    "Loaders",
    "Seeded",
    "build_loaders",
    "count_batches",
    "split",
]
