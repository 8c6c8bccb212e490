"""A table as memory-mapped arrays, built once for each content and selection of columns.

A cache is built in a folder beside its place and renamed into it: of two processes one wins, and after a
crash there is none. What has another size or checksum than its manifest says is built anew.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy
import torch
from torch import Tensor

from trainkit.core.data.reading import (
    KINDS,
    Block,
    describe_cell,
    infer_kinds,
    read_blocks,
    take_codes,
    take_numbers,
    take_times,
)
from trainkit.core.data.source import SourceFile, combine_digests
from trainkit.core.files import make_folder
from trainkit.errors import TrainkitError, UsageError

FORMAT = 1
MANIFEST, PREFIX = "manifest.json", ".building-"
_DTYPES = {"numbers": "<f4", "codes": "<i4", "times": "<f8"}
_ABANDONED_S = 86_400


@dataclass
class Manifest:
    """What lies in a cache: the kinds of columns, and which array holds which, in the order of its columns.

    `missing` has, of each column with missing cells, their number and what is to be said of the first.
    """

    num_rows: int = 0
    kinds: dict[str, str] = field(default_factory=dict)
    numbers: list[str] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)
    times: list[str] = field(default_factory=list)
    categories: dict[str, list[str]] = field(default_factory=dict)
    missing: dict[str, list[Any]] = field(default_factory=dict)
    disorder: dict[str, list[str]] = field(default_factory=dict)  # the first time that does not rise
    content: str = ""
    files: dict[str, list[int]] = field(default_factory=dict)  # name -> size, time of change in ns, CRC-32
    format: int = FORMAT


@dataclass
class Table:
    """A cache that is open: `numbers` float32, `codes` int32, `times` float64; each (rows, its columns)."""

    folder: Path
    manifest: Manifest

    def __getstate__(self) -> dict[str, Any]:
        """Give what a worker needs to map the same files."""
        return {"folder": self.folder, "manifest": self.manifest}

    @cached_property
    def numbers(self) -> Tensor:
        """Columns of numbers, nan where one is missing."""
        return self._open("numbers")

    @cached_property
    def codes(self) -> Tensor:
        """Categories by their places in the manifest's lists, -1 where one is missing."""
        return self._open("codes")

    @cached_property
    def times(self) -> Tensor:
        """Columns of times."""
        return self._open("times")

    def _open(self, name: str) -> Tensor:
        shape = (self.manifest.num_rows, len(getattr(self.manifest, name)))
        if not all(shape):
            return torch.empty(shape, dtype=getattr(torch, numpy.dtype(_DTYPES[name]).name))
        # copied on write: torch wants memory that it could write to, and the file stays as it is
        return torch.from_numpy(numpy.load(self.folder / f"{name}.npy", mmap_mode="c"))

    def read_columns(
        self, name: str, columns: Sequence[int], take: Callable[[int, int], Any]
    ) -> numpy.ndarray[Any, Any]:
        """Give some columns of an array (rows, columns), of the rows `take(start, end)` chooses of a block.

        The file is read, not mapped: what is read does not stay in memory.
        """
        width, dtype = len(getattr(self.manifest, name)), numpy.dtype(_DTYPES[name])
        block = max(1, (1 << 22) // max(1, width))
        parts = []
        with (self.folder / f"{name}.npy").open("rb") as file:
            numpy.lib.format.read_magic(file)
            numpy.lib.format.read_array_header_1_0(file)
            for start in range(0, self.manifest.num_rows, block):
                end = min(start + block, self.manifest.num_rows)
                values = numpy.fromfile(file, dtype, (end - start) * width).reshape(-1, width)
                parts.append(values[take(start, end)][:, list(columns)])
        return numpy.concatenate(parts)


def digest_files(files: Sequence[SourceFile], cache: Path) -> str:
    """Give one digest of what the files hold.

    Raises:
        TrainkitError: the cache cannot be written.
    """
    with _explain_os_errors(cache):
        return combine_digests([f"{each.format} {each.digest(cache)}" for each in files])


def open_table(
    files: Sequence[SourceFile], *, cache: Path, content: str, declared: Mapping[str, str],
    wanted: Sequence[str] = (), needed: Sequence[str] = (), default: str = "",
) -> Table:  # fmt: skip
    """Give the cache of these files, built where there is none that is whole.

    `content` is their digest; `declared` are kinds; `wanted` are the columns to keep, all if nothing is said,
    and `needed` those that must be there; `default` is the kind of columns that are not declared, inferred if
    empty.

    Raises:
        UsageError: the files cannot be read as such a table.
        TrainkitError: the cache cannot be written.
    """
    selection = json.dumps([FORMAT, content, sorted(declared.items()), list(wanted), list(needed), default])
    place = cache / combine_digests([selection])
    with _explain_os_errors(cache):
        make_folder(cache)
        if place.exists():
            manifest, reason = _check(place)
            if manifest is not None:
                return Table(place, manifest)
            print(f"trainkit: the cache '{place}' is damaged ({reason}): built anew", file=sys.stderr)
        return _build(
            place, files, content, lambda first: _choose_kinds(first, declared, wanted, needed, default)
        )


@contextmanager
def _explain_os_errors(cache: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = f"the cache in '{cache}' could not be written: {error}; make room, or give data.cache_dir"
        raise TrainkitError("data-not-cached", message) from error


def _choose_kinds(
    first: Block, declared: Mapping[str, str], wanted: Sequence[str], needed: Sequence[str], default: str
) -> dict[str, str]:
    names = [*wanted] or first.frame.columns
    preset = dict.fromkeys(names, default) if default else {}
    return infer_kinds(first, {**preset, **declared}, wanted, needed)


def _check(place: Path) -> tuple[Manifest | None, str]:
    """Give the manifest, or why it is not to be believed; sums are made of files that changed since."""
    try:
        manifest = Manifest(**json.loads((place / MANIFEST).read_text(encoding="utf-8")))
        for name, (size, changed_ns, checksum) in manifest.files.items():
            facts = (place / name).stat()
            if facts.st_size != size:
                return None, f"{name} has {facts.st_size} of {size} bytes"
            if facts.st_mtime_ns != changed_ns and _sum_file(place / name) != checksum:
                return None, f"{name} has another checksum"
    except (OSError, ValueError, TypeError) as error:
        return None, f"{type(error).__name__}: {error}"
    return manifest, ""


def _sum_file(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            checksum = zlib.crc32(piece, checksum)
    return checksum


def _build(
    place: Path, files: Sequence[SourceFile], content: str, choose: Callable[[Block], dict[str, str]]
) -> Table:
    for each in place.parent.glob(f"{PREFIX}*"):
        if time.time() - each.stat().st_mtime > _ABANDONED_S:
            shutil.rmtree(each, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place.parent))
    try:
        first = next(iter(read_blocks(files)), None)
        if first is None:
            raise UsageError("data-empty", f"'{files[0].shown}' has a header and no rows")
        manifest = _write_arrays(folder, files, choose(first), first)
        manifest.content = content
        (folder / MANIFEST).write_text(json.dumps(asdict(manifest)), encoding="utf-8")
        folder.chmod(0o755)
        return Table(_give_place(folder, place), manifest)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _give_place(folder: Path, place: Path) -> Path:
    """Rename the folder; another process's, if it is whole, stays, and this one is for nothing."""
    lock = os.open(place.parent, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # else of two that find a damaged one each may remove the other's
        if place.exists():
            if _check(place)[0] is not None:
                return place
            damaged = folder.with_name(f"{folder.name}.damaged")
            place.rename(damaged)
            shutil.rmtree(damaged, ignore_errors=True)
        folder.rename(place)
    finally:
        os.close(lock)
    return place


def _write_arrays(folder: Path, files: Sequence[SourceFile], kinds: dict[str, str], first: Block) -> Manifest:
    builder = _Builder(kinds, first)
    manifest = builder.manifest
    with ExitStack() as stack:
        arrays = {name: stack.enter_context((folder / f"{name}.npy").open("wb")) for name in _DTYPES}
        for name, file in arrays.items():
            _write_header(file, name, manifest)
        for block in read_blocks(files, kinds):
            for name, file in arrays.items():
                if columns := [builder.take(block, each) for each in getattr(manifest, name)]:
                    file.write(numpy.stack(columns, axis=1).data)
            manifest.num_rows += len(block.frame)
        for name, file in arrays.items():
            file.seek(0)
            _write_header(file, name, manifest)
            file.flush()
            os.fsync(file.fileno())
    manifest.categories = {name: list(each) for name, each in builder.codes.items()}
    for name in _DTYPES:
        path = folder / f"{name}.npy"
        facts = path.stat()
        manifest.files[path.name] = [facts.st_size, facts.st_mtime_ns, _sum_file(path)]
    return manifest


class _Builder:
    """What is known of the columns after so many blocks."""

    def __init__(self, kinds: dict[str, str], first: Block) -> None:
        names = {kind: [name for name, each in kinds.items() if each == kind] for kind in KINDS}
        self.manifest = Manifest(
            kinds=kinds, numbers=names["number"], codes=names["category"], times=names["time"]
        )
        self.codes: dict[str, dict[str, int]] = {name: {} for name in names["category"]}
        self.numeric = {name for name in names["time"] if _is_numeric(first, name)}
        self.last: dict[str, float] = {}

    def take(self, block: Block, name: str) -> numpy.ndarray[Any, Any]:
        """Give a column of a block as it is stored (rows,), and note what is wrong with it."""
        kind = self.manifest.kinds[name]
        if kind == "time":
            times = take_times(block, name, is_numeric=name in self.numeric)
            self.note_disorder(block, name, times)
            return times
        values, row = (
            take_numbers(block, name) if kind == "number" else take_codes(block, name, self.codes[name])
        )
        if row is not None:
            self.note_missing(block, name, values, row)
        return values

    def note_missing(self, block: Block, name: str, values: Any, row: int) -> None:
        """Count missing cells; of the first keep what is to be said."""
        is_code, missing = name in self.codes, self.manifest.missing
        count = int((values < 0).sum() if is_code else numpy.isnan(values).sum())
        if name in missing:
            missing[name][0] += count
        else:
            what = "no category" if is_code else "no finite number"
            missing[name] = [count, *describe_cell(block, name, row, what)]

    def note_disorder(self, block: Block, name: str, times: Any) -> None:
        """Note the first time that does not come after the one above it."""
        above = numpy.concatenate(([self.last.get(name, -numpy.inf)], times[:-1]))
        wrong = times <= above
        if wrong.any() and name not in self.manifest.disorder:
            row = int(wrong.argmax())
            word = "the same as" if times[row] == above[row] else "before"
            what = f"{word} the time in the row above; sort the file by {name}, with each time once"
            self.manifest.disorder[name] = list(describe_cell(block, name, row, what))
        self.last[name] = float(times[-1])


def _write_header(file: BinaryIO, name: str, manifest: Manifest) -> None:
    """Write the head of an .npy file; NumPy leaves room in it for the number of rows to grow."""
    shape = (manifest.num_rows, len(getattr(manifest, name)))
    header = {"descr": _DTYPES[name], "fortran_order": False, "shape": shape}
    numpy.lib.format.write_array_header_1_0(file, header)


def _is_numeric(block: Block, name: str) -> bool:
    import polars as pl

    column = block.frame[name]
    if column.dtype == pl.String:
        cells = column.drop_nulls()
        return 2 * cells.cast(pl.Float64, strict=False).count() > len(cells)
    return bool(column.dtype.is_numeric())
