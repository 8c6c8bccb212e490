"""Files of which the format says what is a number; nothing in them is run."""

from __future__ import annotations

import importlib
import io
import json
import math
import os
import pickle
import pickletools
import re
import sqlite3
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

MOST_PARSED = 8 << 20  # bytes of a file of which each number is looked at
# What readers raise of a file that is damaged, or has the name of a format alone.
NO_FORMAT = (ValueError, LookupError, TypeError, AttributeError, EOFError, struct.error, zlib.error)
_SPELT = re.compile(r"(BIN)?(INT|FLOAT)\d?|LONG\d?")  # opcodes of pickle
_MOST_TEXT = 256 << 10  # characters that are compared line by line
_MOST_VALUES = 100_000  # of a pickle; what holds more is summed up
_MOST_CELLS = 1_000_000  # of a table: a few bytes may say very many
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|\b(?:nan|NaN)\b")
_MAGIC_OF_SQLITE = b"SQLite format 3\0"
_BINARY = re.compile(r"X'[0-9A-F]*'", re.IGNORECASE)
_ARROW, _POLARS = "to_pylist", "to_dicts"
_FEATHER = ("pyarrow.feather", "read_table", _ARROW), ("polars", "read_ipc", _POLARS)
_FRAMES = {
    ".parquet": (("pyarrow.parquet", "read_table", _ARROW), ("polars", "read_parquet", _POLARS)),
    ".feather": _FEATHER,
    ".arrow": _FEATHER,
}


class Output(NamedTuple):
    """One file: its text, its tensors (a line "size:CRC-32:name" each, in order), its values by their paths
    (`list_values`), the checksum of its bytes, or how many numbers it holds and what they amount to in any
    order; `unsteady` is one that does not repeat.
    """

    kind: str  # "text", "tensors", "values", "numbers", "bytes" or "unsteady"
    content: str


def read_format(path: Path, content: bytes, own: bytes) -> Output:
    """Read one of the formats that say what is a number.

    Raises:
        Exception: one of `NO_FORMAT`: it is none of them.
    """
    if "tfevents" in path.name:
        return list_values(_iterate_events(content))
    if path.suffix == ".npy":
        return list_tensors([(len(content), zlib.crc32(content), "")])
    if path.suffix in {".h5", ".hdf5"}:
        return _read_hdf(content)
    if len(content) <= MOST_PARSED and path.suffix in _FRAMES:
        return _read_frame(content, _FRAMES[path.suffix])
    if len(content) <= MOST_PARSED and content.startswith(_MAGIC_OF_SQLITE):
        return _read_sqlite(content)
    if len(content) <= MOST_PARSED and content.startswith(b"\x80") and content.endswith(b"."):
        return read_pickle(content, own)
    raise ValueError


def read_safetensors(content: bytes) -> tuple[Output, Output]:
    """Give the tensors and the words that stand before them."""
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    ends = {name: entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"}
    parts = {name: content[start + begin : start + end] for name, (begin, end) in ends.items()}
    tensors = list_tensors((len(part), zlib.crc32(part), name) for name, part in parts.items())
    return tensors, list_values(header.get("__metadata__", {}).items())


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


class Packed(NamedTuple):
    """Numbers of an array, or whatever else was written as bytes."""

    size: int
    checksum: int

    def __repr__(self) -> str:
        return f"<{self.size} bytes, CRC {self.checksum}>"


def list_values(pairs: Iterable[tuple[str, Any]]) -> Output:
    """Put down numbers and words by their paths: JSON of {path: the value as Python writes it}."""
    values: dict[str, str] = {}
    for path, value in pairs:
        name = path
        while name in values:  # the same once more, in order
            name += "+"
        values[name] = repr(float(value) if isinstance(value, float) else value)
    return Output("values", json.dumps(values))


def read_pickle(content: bytes, own: bytes = b"") -> Output:
    """Read what a pickle holds, each number and word by its path; nothing in it is run.

    Raises:
        Exception: one of `NO_FORMAT`: it is no pickle, or damaged.
    """
    try:
        return list_values(_iterate_plain(_Inert(io.BytesIO(content)).load(), os.fsdecode(own)))
    except (*NO_FORMAT, pickle.UnpicklingError, RecursionError, MemoryError, OverflowError):
        return sum_up(iterate_pickle(content), content.replace(own, b""))


class _Anything(dict[Any, Any]):
    """Stands for each class and function that a pickle names: takes what it is given, and does nothing."""

    def __new__(cls, *given: Any, **_: Any) -> _Anything:
        made = super().__new__(cls)
        made["()"] = given
        return made

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self["state"] = state

    def append(self, item: Any) -> None:
        self[len(self)] = item

    def extend(self, items: Iterable[Any]) -> None:
        for item in items:
            self.append(item)

    add = append
    __hash__ = object.__hash__  # type: ignore[assignment]


def _leave_out(*_: Any) -> None:
    """Stand for what makes a tensor."""


def _to_bytes(text: str, _: str) -> bytes:
    return text.encode("latin1")


class _Inert(pickle.Unpickler):
    """Builds containers, numbers and words; of all else a stand-in."""

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("torch") and name.startswith("_rebuild"):
            return _leave_out  # a tensor: its numbers lie elsewhere, and are compared there
        if (module, name) == ("_codecs", "encode"):
            return _to_bytes  # bytes, as older protocols write them
        return type(name, (_Anything,), {"__module__": module})

    def persistent_load(self, _: Any) -> Any:
        return None  # a storage


def _iterate_plain(value: Any, own: str) -> Iterator[tuple[str, Any]]:
    """Yield the path and value of each number, word and string of bytes.

    Raises:
        ValueError: there are very many.
    """
    waiting = [("", value)]
    for _ in range(_MOST_VALUES):
        if not waiting:
            return
        path, value = waiting.pop()
        if isinstance(value, bytes | bytearray):
            yield path, Packed(len(value), zlib.crc32(value))
        elif isinstance(value, str):
            yield path, value.replace(own, "")
        elif isinstance(value, int | float):
            yield path, value
        elif isinstance(value, dict):
            waiting += [(f"{path}.{key}".lstrip("."), item) for key, item in value.items()]
        elif isinstance(value, list | tuple | set | frozenset):
            ordered = value if isinstance(value, list | tuple) else sorted(value, key=repr)
            waiting += [(f"{path}.{at}".lstrip("."), item) for at, item in enumerate(ordered)]
    raise ValueError


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


def _iterate_events(content: bytes) -> Iterator[tuple[str, Any]]:
    """Yield tag and step of each scalar that TensorBoard is told, and its value, without the time.

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
                tag = os.fsdecode(scalar.get(1, b""))
                yield f"{tag} at step {event.get(2, 0)}", struct.unpack("<f", scalar[2])[0]


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


def tell_text(text: str, content: bytes) -> Output:
    """Keep a text that is compared line by line, or of a long one what its numbers amount to."""
    return Output("text", text) if len(text) <= _MOST_TEXT else sum_up(_NUMBER.findall(text), content)


def _read_sqlite(content: bytes) -> Output:
    """Read a database as the statements that make it, of what is binary a checksum."""
    try:
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.deserialize(content)
            text = "\n".join(connection.iterdump())
    except sqlite3.Error as error:
        raise ValueError from error
    return tell_text(_BINARY.sub(lambda found: f"crc {zlib.crc32(found[0].encode())}", text), content)


def _read_frame(content: bytes, ways: Sequence[tuple[str, str, str]]) -> Output:
    """Read rows by the library that the program will have written them with: its name, to read, to list."""
    for library, *names in ways:
        with suppress(ValueError):
            rows = _ask(library, partial(_list_rows, content, *names))
            return tell_text("\n".join(map(repr, rows)), content)
    raise ValueError


def _list_rows(content: bytes, read: str, list_: str, module: Any) -> Any:
    frame = getattr(module, read)(io.BytesIO(content))
    if math.prod(frame.shape) > _MOST_CELLS:
        raise ValueError
    return getattr(frame, list_)()


def _read_hdf(content: bytes) -> Output:
    """Read data sets, and attributes that are no text: that may be a date."""

    def read(module: Any) -> list[tuple[int, int, str]]:
        rows = []

        def see(name: str, node: Any) -> None:
            held = {f"{name}@{key}": value for key, value in node.attrs.items() if _is_plain(value)}
            if isinstance(node, module.Dataset):
                held[name] = node[()]
            for each, value in held.items():
                bits = value.tobytes() if _is_plain(value) else repr(_list_values(value)).encode()
                rows.append((len(bits), zlib.crc32(bits), each))

        with module.File(io.BytesIO(content), "r") as file:
            see("", file)
            file.visititems(see)
        return rows

    return list_tensors(_ask("h5py", read))


def _list_values(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


def _is_plain(value: Any) -> bool:
    return hasattr(value, "tobytes") and not value.dtype.hasobject


def _ask(library: str, read: Callable[[Any], Any]) -> Any:
    """Read by a library.

    Raises:
        ValueError: it is not there, or cannot read this; each has errors of its own.
    """
    try:
        return read(importlib.import_module(library))
    except Exception as error:  # of whatever kind: it is not read then
        raise ValueError from error
