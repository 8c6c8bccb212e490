"""Several processes that train as one: started by torchrun, each has its part of the batches and the state.

Loaded only where WORLD_SIZE is set. All that is called `rank` counts from 0.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import random
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta, TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, Shard, zeros
from torch.nn.parallel import DistributedDataParallel

from trainkit.core.task import Outputs, Task
from trainkit.errors import TrainkitError, UsageError

T = TypeVar("T")

COMMON, MANIFEST, METADATA = "common.ckpt", "manifest.json", ".metadata"
_GOLDEN = 0x9E3779B97F4A7C15  # 2**64 / the golden ratio: its multiples are far apart, in the low 32 bits too
# Everything that dcp's description of tensors consists of; not one of these names runs anything.
_DESCRIPTION = {
    *(("torch.distributed.checkpoint.metadata", name) for name in (
        "ChunkStorageMetadata", "Metadata", "MetadataIndex", "StorageMeta", "TensorProperties",
        "TensorStorageMetadata", "_MEM_FORMAT_ENCODING")),
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    ("torch.serialization", "_get_layout"),
    ("torch", "Size"),
}  # fmt: skip


@dataclass(frozen=True)
class World:
    """The place of this process among all; `mesh` is absent where there is only this one."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    mesh: DeviceMesh | None = None


ALONE = World()


@contextmanager
def join_world(device_type: str) -> Iterator[World]:
    """Meet the processes that torchrun started, and part from them at the end.

    Raises:
        UsageError: there are more processes on this machine than CUDA devices.
    """
    rank, size, local = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
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
    dist.init_process_group(backend, device_id=device if backend == "nccl" else None)
    try:
        yield World(rank, size, device, init_device_mesh(device_type, (size,)))
    finally:
        dist.destroy_process_group()


class _TrainingStep(nn.Module):
    """DDP watches `forward` alone."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task

    def forward(self, batch: Any, batch_idx: int) -> Outputs:
        return self.task.training_step(batch, batch_idx)


def wrap_ddp(task: Task) -> DistributedDataParallel:
    """Give the task's training step, which averages gradients over ranks; it has rank 0's weights."""
    return DistributedDataParallel(_TrainingStep(task))


def shard(task: Task, world: World) -> None:
    """Leave each rank its rows of every parameter, in place; make the optimizer after that.

    The children of each ModuleList are gathered one at a time, all the rest as one.
    """
    for module in [*task.modules()]:
        if isinstance(module, nn.ModuleList):
            for block in module:
                fully_shard(block, mesh=world.mesh)
    fully_shard(task, mesh=world.mesh)
    for method in ("training_step", "validation_step"):
        register_fsdp_forward_method(task, method)


def synchronise(trained: nn.Module, *, last: bool) -> AbstractContextManager[None]:
    """Give the context of a forward and backward pass: ranks exchange gradients in a group's last alone."""
    if isinstance(trained, FSDPModule):
        trained.set_requires_gradient_sync(last)
    elif isinstance(trained, DistributedDataParallel) and not last:
        return cast(AbstractContextManager[None], trained.no_sync())
    return nullcontext()


def deal_batches(num_batches: int, world: World) -> Iterator[tuple[int, bool]]:
    """Yield (number of the batch, whether it counts); as many for each rank, so the last one may be repeated.

    Which batches make a step does not depend on how many processes and micro-steps share them.
    """
    for number in range(world.rank, num_batches + (-num_batches) % world.size, world.size):
        yield min(number, num_batches - 1), number < num_batches


def scale_loss(loss: Tensor, weight: int, *, total: int, world: World) -> Tensor:
    """Give what to go backward from: averaged over ranks it makes the mean over `total` items.

    With a power of two of ranks this is that power times the loss of a single process, to the bit. A loss
    without items (nan, or a repeated batch's) has no gradient, but its backward pass, which others wait for.
    """
    if not weight:
        return loss.nan_to_num(0.0, 0.0, 0.0) * 0.0
    divisor = total / weight / world.size
    return loss if divisor == 1.0 else loss / divisor


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
        seed = (int(torch.randint(2**62, ())) + world.rank * _GOLDEN) % 2**63
        torch.manual_seed(seed)
        random.seed(seed)


def gather_rng(world: World) -> list[dict[str, Any]]:
    """Give the state of each rank's generators, in the shape of a checkpoint's "rng"."""
    cuda = [torch.cuda.get_rng_state()] if world.device.type == "cuda" else []
    return gather({"cpu": torch.get_rng_state(), "cuda": cuda, "python": random.getstate()}, world)


def restore_rng(states: list[dict[str, Any]], world: World) -> None:
    """Put each rank's back; from another number of ranks the first one's, and split it anew."""
    state = states[world.rank if len(states) == world.size else 0]
    torch.set_rng_state(state["cpu"])
    random.setstate(state["python"])
    if state["cuda"] and world.device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"][0])
    if len(states) != world.size:
        split_rng(world)


def save_sharded(path: Path, state: dict[str, Any], *, previous: Path, world: World) -> None:
    """Write a folder: sharded tensors by those who hold them, all else by rank 0; the old one is `previous`.

    A crash leaves at least one of the two whole.

    Raises:
        TrainkitError: it cannot be written, for instance because the disk is full.
    """
    tensors: dict[str, Tensor] = {}
    common = _map_tensors(state, lambda name, tensor: _take_sharded(name, tensor, tensors))
    new = path.with_name(path.name + ".tmp")

    def on_first(action: Callable[[], None]) -> None:
        with _as_not_written(path):
            if world.rank == 0:
                action()

    do_together(lambda: on_first(lambda: _make_empty(new)), world)
    with _as_not_written(path):  # dcp tells all ranks of one's mistake
        save(tensors, storage_writer=_Writer(new))
    do_together(lambda: on_first(lambda: _write(new / COMMON, lambda file: torch.save(common, file))), world)
    files = [*new.glob(f"__{world.rank}_*"), *([new / COMMON, new / METADATA] if world.rank == 0 else [])]
    sums = gather({file.name: _hash(file) for file in files}, world)
    manifest = json.dumps({name: digest for part in sums for name, digest in part.items()}, indent=1).encode()

    def finish() -> None:
        _write(new / MANIFEST, lambda file: file.write(manifest))
        if path.exists():
            shutil.rmtree(previous, ignore_errors=True)
            path.replace(previous)
        new.replace(path)

    do_together(lambda: on_first(finish), world)


def load_sharded(path: Path, world: World = ALONE) -> dict[str, Any]:
    """Read what any number of ranks wrote: sharded over those of today; ALONE, whole and on the CPU.

    Nothing in it is run.

    Raises:
        UsageError: it is missing or damaged, or holds more than plain data.
    """
    state = do_together(lambda: _check_and_read(path, world), world)
    tensors: dict[str, Tensor] = {}
    state = _map_tensors(state, lambda name, tensor: _make_target(name, tensor, tensors, world))
    with _as_unreadable(path), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is")  # said of the one process we mean
        load(tensors, storage_reader=_Reader(path), no_dist=world.mesh is None)
    return cast(dict[str, Any], state)


def _map_tensors(tree: Any, change: Callable[[str, Tensor], Tensor], name: str = "") -> Any:
    if isinstance(tree, Tensor):
        return change(name, tree)
    if isinstance(tree, Mapping):
        return {key: _map_tensors(value, change, f"{name}/{key}") for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(_map_tensors(value, change, f"{name}/{key}") for key, value in enumerate(tree))
    return tree


def _take_sharded(name: str, tensor: Tensor, tensors: dict[str, Tensor]) -> Tensor:
    """Leave its shape where a sharded tensor was."""
    if not isinstance(tensor, DTensor):
        return tensor
    assert tensor.placements == (Shard(0),), f"{name} is {tensor.placements}, not split by rows"
    tensors[name] = tensor
    return torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")


def _make_target(name: str, tensor: Tensor, tensors: dict[str, Tensor], world: World) -> Tensor:
    if not tensor.is_meta:
        return tensor
    shape, dtype = tensor.shape, tensor.dtype
    if world.mesh is None:
        tensors[name] = torch.zeros(shape, dtype=dtype)
    else:
        tensors[name] = zeros(*shape, dtype=dtype, device_mesh=world.mesh, placements=[Shard(0)])
    return tensors[name]


class _Writer(FileSystemWriter):
    """One that does not write down where, when or by whom."""

    def storage_meta(self) -> StorageMeta:
        return StorageMeta()


class _Reader(FileSystemReader):
    """One that runs nothing: dcp's own reads the description with pickle."""

    def read_metadata(self, *_: Any, **__: Any) -> Metadata:
        return _read_metadata(Path(self.path))


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        is_dtype = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if is_dtype or (module, name) in _DESCRIPTION:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{METADATA} names {module}.{name}, which describes no tensor")


def _read_metadata(path: Path) -> Metadata:
    """Give the description of tensors that are all in the folder's own files.

    An entry that is no tensor would be unpickled by dcp without a check.
    """
    with (path / METADATA).open("rb") as file:
        metadata = _Unpickler(file).load()
    files = {entry.relative_path for entry in metadata.storage_data.values()}
    if strange := files - set(_read_manifest(path)):
        raise ValueError(f"{METADATA} names the file {min(strange)!r}, which {MANIFEST} does not")
    for name, entry in metadata.state_dict_metadata.items():
        if type(entry) is not TensorStorageMetadata:
            raise ValueError(f"{METADATA} has {name!r} as {type(entry).__name__}, which is no tensor")
    return cast(Metadata, metadata)


def _read_manifest(path: Path) -> dict[str, str]:
    manifest: dict[str, str] = json.loads((path / MANIFEST).read_bytes())
    if strange := [name for name in manifest if Path(name).name != name]:
        raise ValueError(f"{MANIFEST} names {strange[0]!r}, which is not in the folder")
    return manifest


def _check_and_read(path: Path, world: World) -> Any:
    """Compare this rank's share of the files with the manifest; give what is not sharded."""
    with _as_unreadable(path):
        for name, digest in [*_read_manifest(path).items()][world.rank :: world.size]:
            if (found := _hash(path / name)) != digest:
                raise ValueError(f"{name} has sha256 {found}, but {digest} was written")
        _read_metadata(path)
        return torch.load(path / COMMON, map_location="cpu", weights_only=True)


@contextmanager
def _as_unreadable(path: Path) -> Iterator[None]:
    try:
        yield
    except (Exception, CheckpointException) as error:  # the latter is no Exception
        reason = " ".join(str(error).split())
        raise UsageError(
            "checkpoint-unreadable",
            f"'{path}' cannot be read as a checkpoint: {type(error).__name__}: {reason}; "
            "give the path of a whole one",
        ) from error


@contextmanager
def _as_not_written(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError, CheckpointException) as error:
        reason = " ".join(str(error).split())
        raise TrainkitError(
            "checkpoint-not-written",
            f"'{path}' could not be written: {reason}; the one before it is as it was: make room, then go on "
            "with resume=auto",
        ) from error


def _make_empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _write(path: Path, write: Callable[[Any], object]) -> None:
    with path.open("wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
