"""A checkpoint that several processes write and any number reads; nothing in it is run."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import EnumType
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta, TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.tensor import DTensor, Shard, distribute_tensor, zeros

from trainkit.core.distributed import do_together, gather
from trainkit.core.files import remove
from trainkit.core.world import ALONE, World
from trainkit.errors import TrainkitError, UsageError

COMMON, MANIFEST, METADATA = "common.ckpt", "manifest.json", ".metadata"
# Everything that dcp's description of tensors consists of; not one of these names runs anything.
_DESCRIPTION = {
    *(("torch.distributed.checkpoint.metadata", name) for name in (
        "ChunkStorageMetadata", "Metadata", "MetadataIndex", "StorageMeta", "TensorProperties",
        "TensorStorageMetadata", "_MEM_FORMAT_ENCODING")),
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    ("torch.serialization", "_get_layout"),
    ("torch", "Size"),
}  # fmt: skip


def save_sharded(path: Path, state: dict[str, Any], *, previous: Path, world: World) -> None:
    """Write a folder: sharded tensors by those who hold them, all else by rank 0; the old one is `previous`.

    A crash leaves at least one of the two whole.

    Raises:
        TrainkitError: it cannot be written, for instance because the disk is full.
    """
    tensors: dict[str, Tensor] = {}
    common = map_tensors(state, lambda name, tensor: _take_sharded(name, tensor, tensors))
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
            if previous.is_file():
                previous.unlink()
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
    state = map_tensors(state, lambda name, tensor: _make_target(name, tensor, tensors, world))
    with _as_unreadable(path), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is")  # said of the one process we mean
        load(tensors, storage_reader=_Reader(path), no_dist=world.mesh is None)
    return cast(dict[str, Any], state)


def distribute(state: dict[str, Any], own: Mapping[str, Tensor], world: World) -> dict[str, Any]:
    """Give each rank its rows of what is whole in a checkpoint; `own` is a sharded model's state dict."""

    def take_rows(tensor: Tensor) -> Tensor:
        if isinstance(tensor, DTensor):
            return tensor
        return distribute_tensor(tensor.to(world.device), world.mesh, [Shard(0)])

    model = {
        name: take_rows(tensor) if isinstance(own.get(name), DTensor) else tensor
        for name, tensor in state["model"].items()
    }
    # all but the number of steps has a parameter's shape
    optimizer = map_tensors(
        state["optimizer"], lambda _, tensor: take_rows(tensor) if tensor.ndim else tensor
    )
    return state | {"model": model, "optimizer": optimizer}


def map_tensors(tree: Any, change: Callable[[str, Tensor], Tensor], name: str = "") -> Any:
    """Give a copy of nested containers, each tensor changed; its name is the way to it."""
    if isinstance(tree, Tensor):
        return change(name, tree)
    if isinstance(tree, Mapping):
        return {key: map_tensors(value, change, f"{name}/{key}") for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(map_tensors(value, change, f"{name}/{key}") for key, value in enumerate(tree))
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
        if (module, name) == ("builtins", "getattr"):
            return _take_member
        raise pickle.UnpicklingError(f"{METADATA} names {module}.{name}, which describes no tensor")


def _take_member(kind: Any, name: Any) -> Any:
    """Stand in for `getattr`, by which Python 3.11.0 to 3.11.3 write a member of an enumeration."""
    if not isinstance(kind, EnumType) or name not in kind.__members__:
        raise pickle.UnpicklingError(f"{METADATA} names {name!r} of {kind!r}, which describes no tensor")
    return kind[name]


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
    remove(folder)
    folder.mkdir(parents=True)


def _write(path: Path, write: Callable[[Any], object]) -> None:
    with path.open("wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
