"""What a run does with other ranks; nothing, and no import, where it is alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from trainkit.core.checkpoint import BEST, LAST, PREVIOUS, save_checkpoint
from trainkit.core.config import TrainConfig
from trainkit.core.loop import EpochResult
from trainkit.core.world import ALONE, World
from trainkit.errors import UsageError

if TYPE_CHECKING:
    from trainkit.core.distributed import Ranks


@contextmanager
def join(device_type: str) -> Iterator[World]:
    """Meet the others under torchrun, and part from them at the end."""
    if "WORLD_SIZE" not in os.environ:
        yield ALONE
        return
    from trainkit.core.distributed import join_world  # late: seconds

    with join_world(device_type) as world:
        yield world


def list_ranks(world: World, trained: nn.Module, loader: Any) -> Ranks | None:
    """Give what the loop must know of the others."""
    if world.mesh is None:
        return None
    from trainkit.core.distributed import Ranks

    return Ranks(world, trained, loader.sampler.deal(world, loader.batch_size))


def sum_result(result: EpochResult, world: World) -> EpochResult:
    """Give the result of all ranks together; its batches are those of one."""
    if world.mesh is None:
        return result
    from trainkit.core.distributed import gather

    parts = gather(result, world)
    names = dict.fromkeys(name for part in parts for name in part.metric_sums)
    return replace(
        result,
        loss_sum=sum(part.loss_sum for part in parts),
        num_items=sum(part.num_items for part in parts),
        metric_sums={name: sum(part.metric_sums.get(name, 0.0) for part in parts) for name in names},
    )


def save(folder: Path, state: dict[str, Any], config: TrainConfig, world: World, *, is_best: bool) -> None:
    """Write the last checkpoint, the best before it, once for all ranks: a file, or a folder of parts.

    Raises:
        TrainkitError: it cannot be written; on every rank.
    """
    best = folder / BEST if is_best else None
    if world.mesh is None:
        save_checkpoint(folder / LAST, state, also=best)
        return
    from trainkit.core.distributed import do_together, gather_rng

    state = state | {"rng": gather_rng(state["rng"], world)}
    if config.trainer.strategy == "ddp":
        action = partial(save_checkpoint, folder / LAST, state, also=best)
        do_together(action if world.rank == 0 else lambda: None, world)
        return
    from trainkit.core.sharded import save_sharded

    if best is not None:
        save_sharded(best, state, previous=folder / f"previous-{BEST}", world=world)
    save_sharded(folder / LAST, state, previous=folder / PREVIOUS, world=world)


def take_part(state: dict[str, Any], model: nn.Module, config: TrainConfig, world: World) -> dict[str, Any]:
    """Give this rank's part of a checkpoint: its rows of the weights, its random generators."""
    if world.mesh is None:
        return state
    from trainkit.core.distributed import choose_rng

    if config.trainer.strategy == "fsdp":
        from trainkit.core.sharded import distribute

        state = distribute(state, model.state_dict(), world)
    return state | {"rng": choose_rng(state["rng"], world)}


def split_generators(world: World, *, saved_by: int | None = None) -> None:
    """Give each rank a stream of random numbers of its own; not where as many ranks have saved theirs."""
    if world.mesh is not None and saved_by != world.size:
        from trainkit.core.distributed import split_rng

        split_rng(world)


def merge_epoch(done: EpochResult, world: World) -> dict[str, Any]:
    """Give what all ranks have done in an epoch, to be saved."""
    whole = sum_result(done, world)
    return asdict(replace(whole, num_batches=done.num_batches * world.size))


def share_epoch(saved: dict[str, Any], world: World) -> EpochResult:
    """Give what this rank has done of it: the first rank keeps the sums, the batches are everybody's.

    Raises:
        UsageError: the batches cannot be shared equally.
    """
    whole = EpochResult(**saved)
    if whole.num_batches % world.size:
        raise UsageError(
            "ranks-unsupported",
            f"the checkpoint was written after {whole.num_batches} batches of an epoch, which {world.size} "
            "processes cannot have shared; take as many as then, or a checkpoint of the end of an epoch",
        )
    num_batches = whole.num_batches // world.size
    if world.rank:
        return EpochResult(num_steps=whole.num_steps, num_batches=num_batches)
    return replace(whole, num_batches=num_batches)
