"""Several processes that train as one: started by torchrun, each has its part of the batches and the state.

Loaded only where WORLD_SIZE is set. All that is called `rank` counts from 0.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.rendezvous import rendezvous
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from trainkit.core.rng import mix_seed, seed_everything
from trainkit.core.task import Outputs, Step
from trainkit.core.world import World
from trainkit.errors import TrainkitError, UsageError

T = TypeVar("T")
_NUM_JOINED = count()


@dataclass(frozen=True)
class Ranks:
    """What the loop must know of the others; of `num_batches`, all ranks' together, each has its share."""

    world: World
    trained: nn.Module
    num_batches: int

    def counts(self, number: int) -> bool:
        """Say whether this rank's batch of this number is no repeat, there to keep the ranks in step."""
        return number * self.world.size + self.world.rank < self.num_batches

    def sum(self, value: int) -> int:
        """Give the sum over ranks."""
        return int(sum_over_ranks([value], self.world)[0])

    def synchronise(self, *, last: bool) -> AbstractContextManager[None]:
        """Give the context of a forward and backward pass; a group's last alone exchanges gradients."""
        if isinstance(self.trained, FSDPModule):
            self.trained.set_requires_gradient_sync(last)
        elif isinstance(self.trained, DistributedDataParallel) and not last:
            return cast(AbstractContextManager[None], self.trained.no_sync())
        return nullcontext()

    def clip(self, parameters: Iterable[Tensor], max_norm: float) -> Tensor:
        """Clip the gradients in place; give the norm [] of all of them, on every rank the same."""
        return clip_norm(parameters, max_norm)


@contextmanager
def join_world(device_type: str) -> Iterator[World]:
    """Meet the processes that torchrun started, and part from them at the end.

    Raises:
        UsageError: there are more processes on this machine than CUDA devices.
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    if missing := [name for name in names if not os.environ.get(name)]:
        raise UsageError(
            "ranks-unsupported",
            f"WORLD_SIZE is set and {', '.join(missing)} is not: start with torchrun, or unset WORLD_SIZE",
        )
    rank, size, local = (int(os.environ[name]) for name in names[:3])
    device, backend = torch.device("cpu"), "gloo"
    if device_type == "cuda":
        if local >= torch.cuda.device_count():
            raise UsageError(
                "device-unavailable",
                f"process {local} of this machine has no CUDA device: torch sees "
                f"{torch.cuda.device_count()}; give torchrun a smaller --nproc_per_node, or take the CPU",
            )
        device, backend = torch.device("cuda", local), "nccl"
        torch.cuda.set_device(device)
    store, _, _ = next(rendezvous("env://"))
    dist.init_process_group(
        backend,
        # torchrun's store keeps the addresses of an earlier run in these processes: a part of it for each
        store=PrefixStore(f"trainkit{next(_NUM_JOINED)}", store),
        rank=rank,
        world_size=size,
        device_id=device if backend == "nccl" else None,
    )
    try:
        yield World(rank, size, device, init_device_mesh(device_type, (size,)))
    finally:
        dist.destroy_process_group()


class _Watched(nn.Module):
    """What a step of the task is called through: DDP and FSDP watch `forward` alone."""

    def __init__(self, task: nn.Module) -> None:
        super().__init__()
        self.task = task

    def forward(self, step: Step, batch: Any, batch_idx: int) -> Outputs:
        return step(batch, batch_idx)


def wrap_ddp(task: nn.Module) -> DistributedDataParallel:
    """Give what calls a training step and averages gradients over ranks; the task has rank 0's weights."""
    return DistributedDataParallel(_Watched(task))


def shard(task: nn.Module, world: World) -> nn.Module:
    """Leave each rank its rows of every parameter, in place; give what gathers them and calls a step.

    Make the optimizer after that.

    The children of each ModuleList are gathered one at a time, all the rest as one.
    """
    for module in [*task.modules()]:
        if isinstance(module, nn.ModuleList):
            for block in module:
                fully_shard(block, mesh=world.mesh)
    watched = _Watched(task)
    fully_shard(watched, mesh=world.mesh)
    return watched


def clip_norm(parameters: Iterable[Tensor], max_norm: float) -> Tensor:
    """Clip the gradients in place; give the norm [] of all of them, on every rank the same."""
    parameters = [parameter for parameter in parameters if parameter.grad is not None]
    norm = nn.utils.get_total_norm([cast(Tensor, parameter.grad) for parameter in parameters])
    norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
    nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
    return norm


def sum_over_ranks(values: list[float], world: World) -> list[float]:
    """Give each value's sum; integers stay integers, exactly."""
    if world.mesh is None:
        return values
    dtype = torch.int64 if all(isinstance(value, int) for value in values) else torch.float64
    summed = torch.tensor(values, dtype=dtype, device=world.device)
    dist.all_reduce(summed)
    return cast(list[float], summed.tolist())


def gather(value: T, world: World) -> list[T]:
    """Give the value of each rank, to each."""
    if world.mesh is None:
        return [value]
    values: list[Any] = [None] * world.size
    dist.all_gather_object(values, value)
    return values


def do_together(action: Callable[[], T], world: World) -> T:
    """Do it on each rank; where one fails, all raise its error, and none waits for it for ever."""
    result, mistake = None, None
    try:
        result = action()
    except TrainkitError as error:
        mistake = (type(error), error.slug, str(error))
    for found in gather(mistake, world):
        if found is not None:
            kind, slug, message = found
            raise kind(slug, message)
    return cast(T, result)


def split_rng(world: World) -> None:
    """Give each rank a stream of its own, from a state that is the same on all; rank 0 keeps that one."""
    if world.rank:
        seed_everything(mix_seed(int(torch.randint(2**62, ())), world.rank))


def gather_rng(state: dict[str, Any], world: World) -> dict[str, Any]:
    """Give the first rank's state, with those of all below "ranks"."""
    states = gather(state, world)
    return states[0] | {"ranks": states}


def choose_rng(state: dict[str, Any], world: World) -> dict[str, Any]:
    """Give this rank's state; from another number of ranks the first one's, to be split anew."""
    states = state.get("ranks", [])
    return states[world.rank] if len(states) == world.size else state
