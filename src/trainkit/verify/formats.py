"""Files of which the format says what is a number; nothing in them is run."""

from __future__ import annotations

import importlib
import io
import json
import pickletools
import re
import sqlite3
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

MOST_PARSED = 8 << 20  # bytes of a file of which each number is looked at
# What readers raise of a file that is damaged, or has the name of a format alone.
NO_FORMAT = (ValueError, LookupError, TypeError, AttributeError, EOFError, struct.error, zlib.error)
_SPELT = re.compile(r"(BIN)?(INT|FLOAT)\d?|LONG\d?")  # opcodes of pickle
_MAGIC_OF_SQLITE = b"SQLite format 3\0"


class Output(NamedTuple):
    """One file: its text, its tensors (a line "size:CRC-32:name" each, in order), the checksum of its bytes,
    or how many numbers it holds and what they amount to in any order; `unsteady` is one that does not repeat.
    """

    kind: str  # "text", "tensors", "numbers", "bytes" or "unsteady"
    content: str


def read_format(path: Path, content: bytes, own: bytes) -> Output:
    """Read one of the formats that say what is a number.

    Raises:
        Exception: one of `NO_FORMAT`: it is none of them.
    """
    if path.suffix == ".safetensors":
        start = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(content[8:start])
        ends = {name: entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"}
        parts = {name: content[start + begin : start + end] for name, (begin, end) in ends.items()}
        return list_tensors((len(part), zlib.crc32(part), name) for name, part in parts.items())
    if "tfevents" in path.name:
        return sum_up(_iterate_events(content))
    if path.suffix == ".npy":
        return list_tensors([(len(content), zlib.crc32(content), "")])
    if len(content) <= MOST_PARSED and (read := _READERS.get(path.suffix)):
        return read(content)
    if len(content) <= MOST_PARSED and content.startswith(_MAGIC_OF_SQLITE):
        return _read_sqlite(content)
    if len(content) <= MOST_PARSED and content.startswith(b"\x80") and content.endswith(b"."):
        return sum_up(iterate_pickle(content), content.replace(own, b""))
    raise ValueError


def list_tensors(rows: Iterable[tuple[int, int, str]]) -> Output:
    """Put down tensors: the size of each in bytes, its checksum, its name."""
    lines = [f"{size}:{checksum}:{' '.join(name.split())}" for size, checksum, name in sorted(rows)]
    return Output("tensors", "\n".join(lines))


def sum_up(values: Iterable[float | str], content: bytes = b"") -> Output:
    """Add checksums up: a table may be sorted otherwise, and keys be written in another order."""
    count = total = 0
    for count, value in enumerate(values, start=1):  # noqa: B007
        total += zlib.crc32((str(value) if isinstance(value, int) else float(value).hex()).encode())
    return Output("numbers", f"{count}:{total}:{zlib.crc32(content)}")


def iterate_pickle(content: bytes) -> Iterator[float]:
    """Yield the numbers that a pickle spells, and a checksum for each string of bytes; nothing is run.

    Raises:
        ValueError: it is no pickle, or damaged.
    """
    for opcode, argument, _ in pickletools.genops(content):
        if isinstance(argument, bytes | bytearray):
            yield zlib.crc32(argument)
        elif isinstance(argument, int | float) and _SPELT.fullmatch(opcode.name):
            yield argument


def _iterate_events(content: bytes) -> Iterator[float]:
    """Yield a checksum of each scalar that TensorBoard is told: step, tag and value, without the time.

    Records are framed by lengths (TFRecord), their fields as protocol buffers: event.proto, summary.proto.
    """
    at = 0
    while at < len(content):
        (size,) = struct.unpack_from("<Q", content, at)
        event = dict(_iterate_fields(content[at + 12 : at + 12 + size]))
        at += size + 16
        for _, value in _iterate_fields(event.get(5, b"")):
            scalar = dict(_iterate_fields(value))
            if 2 in scalar:
                yield zlib.crc32(repr((event.get(2), scalar.get(1), scalar[2])).encode())


def _iterate_fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Yield (number, value) of the fields of a protocol buffer: whole numbers, or their bytes."""
    at = 0

    def read_varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        key = read_varint()
        if key & 7 == 0:
            yield key >> 3, read_varint()
            continue
        size = {1: 8, 5: 4}.get(key & 7) or read_varint()
        yield key >> 3, message[at : at + size]
        at += size


def _read_sqlite(content: bytes) -> Output:
    try:
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.deserialize(content)
            return Output("text", "\n".join(connection.iterdump()))
    except sqlite3.Error as error:
        raise ValueError from error


def _read_frame(content: bytes, *ways: tuple[str, str, str]) -> Output:
    """Read rows by the library that the program will have written them with: its name, to read, to list."""
    for library, *names in ways:
        with suppress(ValueError):
            return Output("text", "\n".join(map(repr, _ask(library, partial(_list_rows, content, *names)))))
    raise ValueError


def _list_rows(content: bytes, read: str, list_: str, module: Any) -> Any:
    return getattr(getattr(module, read)(io.BytesIO(content)), list_)()


def _read_hdf(content: bytes) -> Output:
    """Read data sets; attributes may be dates."""

    def read(module: Any) -> list[tuple[int, int, str]]:
        rows = []

        def see(name: str, node: Any) -> None:
            if isinstance(node, module.Dataset):
                found = node[()]
                bits = repr(found).encode() if node.dtype.hasobject else found.tobytes()
                rows.append((len(bits), zlib.crc32(bits), name))

        with module.File(io.BytesIO(content), "r") as file:
            file.visititems(see)
        return rows

    return list_tensors(_ask("h5py", read))


def _ask(library: str, read: Callable[[Any], Any]) -> Any:
    """Read by a library.

    Raises:
        ValueError: it is not there, or cannot read this; each has errors of its own.
    """
    try:
        return read(importlib.import_module(library))
    except Exception as error:  # of whatever kind: it is not read then
        raise ValueError from error


_ARROW, _POLARS = "to_pylist", "to_dicts"
_PARQUET = ("pyarrow.parquet", "read_table", _ARROW), ("polars", "read_parquet", _POLARS)
_FEATHER = ("pyarrow.feather", "read_table", _ARROW), ("polars", "read_ipc", _POLARS)
_READERS: dict[str, Callable[[bytes], Output]] = {
    ".parquet": lambda content: _read_frame(content, *_PARQUET),
    ".feather": lambda content: _read_frame(content, *_FEATHER),
    ".arrow": lambda content: _read_frame(content, *_FEATHER),
    ".h5": _read_hdf,
    ".hdf5": _read_hdf,
}
