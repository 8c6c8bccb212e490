"""What a run leaves in files of its tree, whoever wrote them: tensors, numbers in text, other bytes."""

from __future__ import annotations

import json
import os
import pickletools
import re
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from trainkit.verify.printed import compare_printed, keep_repeated, list_lost

_MOST_TEXT = 256 << 10  # of a file that is compared line by line
_MOST_PARSED = 8 << 20  # of a file of which the numbers alone are compared; larger ones are other bytes
_MOST_BYTES = 512 << 20  # read of all files; archives say their checksums themselves
_SLACK_NS = 20_000_000  # a file's time of change is that of the kernel's last tick
_STAMP = re.compile(r"\d{6,}|\d+(?:-\d\d){2}")  # in the name of a run's folder
_EVENTS = re.compile(r"(tfevents)\..*")  # a time, the machine, the process
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_SPELT = re.compile(r"(BIN)?(INT|FLOAT)\d?|LONG\d?")  # opcodes of pickle
_PASSED_OVER = {".git", "__pycache__", ".pytest_cache"}
# What readers raise of a file that is damaged, or has the name of a format alone.
_NO_FORMAT = (ValueError, LookupError, TypeError, AttributeError, EOFError, struct.error, zlib.error)
_STATE, _SCRIPT = ", beside tensors", ", settings of modules"  # behind the path of a checkpoint, of a script


class Output(NamedTuple):
    """One file: its text, its tensors (a line "size:CRC-32:name" each, in order), the checksum of its bytes,
    or how many numbers it holds and what they amount to in any order; `unsteady` is one that does not repeat.
    """

    kind: str  # "text", "tensors", "numbers", "bytes" or "unsteady"
    content: str


Outputs = Mapping[str, Output]  # path in the tree -> what it holds


class Changes(NamedTuple):
    """What two runs left otherwise: numbers, which are a result; other forms; what is left no more."""

    numbers: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


def read_outputs(root: Path, since_ns: int, *, beside: Mapping[Path, int] | None = None) -> dict[str, Output]:
    """Give what was written below `root` since a time (nanoseconds since the epoch); links are passed over.

    `beside` are files elsewhere, with how many of their bytes are older; caches are passed over. At most
    512 MiB are read, the files in the order of their paths; in these, dates and times are `#`.
    """
    found: dict[str, Output] = {}
    left, own = _MOST_BYTES, os.fsencode(root)
    elsewhere = {path: size for path, size in (beside or {}).items() if not _is_passed_over(path, root)}
    for path in chain(_list_files(root), sorted(elsewhere)):
        with suppress(OSError):  # gone by now, or not ours to read
            stat = path.stat()
            if stat.st_mtime_ns < since_ns - _SLACK_NS:
                continue
            shown = path if path in elsewhere else path.relative_to(root)
            name = _STAMP.sub("#", _EVENTS.sub(r"\1", shown.as_posix()))
            parts = _read_archive(path, own)
            if not parts and stat.st_size <= left:
                left -= stat.st_size
                parts = {"": _read_content(path, path.read_bytes()[elsewhere.get(path, 0) :], own)}
            while name in found:  # another one of the same name but for its time
                name += "+"
            found |= {name + part: output for part, output in parts.items()}
    return found


def keep_repeated_outputs(first: Outputs, second: Outputs) -> dict[str, Output]:
    """Give what two runs of the same code leave alike; of text what is alike in it, of names without a number
    that differs.
    """
    kept = {}
    for path, other, common in _pair_names(first, second):
        a, b = first[path], second[other]
        if a.kind == b.kind == "text":
            kept[common] = Output("text", keep_repeated(a.content, b.content))
        else:
            kept[common] = a if a == b else Output("unsteady", "")
    return kept


def compare_outputs(expected: Outputs, actual: Outputs) -> Changes:
    """Compare the files that both sides have: a refactor may rename, add or drop some."""
    pairs = {path: other for path, other, common in _pair_names(expected, actual) if path in (other, common)}
    found = [
        _compare_file(path, expected[path], actual.get(pairs.get(path, ""))) for path in sorted(expected)
    ]
    return Changes(*(tuple(chain.from_iterable(part)) for part in zip(*found, strict=True)))


def _pair_names(first: Outputs, second: Outputs) -> Iterator[tuple[str, str, str]]:
    """Yield the two names of a file, and what they have in common: all, or all but numbers (`#`).

    A run's folder may be called by its process. Where several files fit, none is taken for another one.
    """
    same = first.keys() & second.keys()
    yield from zip(same, same, same, strict=True)
    left, right = first.keys() - same, second.keys() - same
    for mask in (_mask_folder, _mask):
        ours, theirs = _group(left, mask), _group(right, mask)
        for common in ours.keys() & theirs.keys():
            if len(ours[common]) == len(theirs[common]) == 1:
                yield ours[common][0], theirs[common][0], common
                left.discard(ours[common][0])
                right.discard(theirs[common][0])


def _mask(path: str) -> str:
    return re.sub(r"\d+", "#", path)


def _mask_folder(path: str) -> str:
    folder, slash, name = path.rpartition("/")
    return _mask(folder) + slash + name


def _group(paths: Iterable[str], mask: Callable[[str], str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for path in paths:
        groups.setdefault(mask(path), []).append(path)
    return groups


def _compare_file(path: str, before: Output, now: Output | None) -> Changes:
    is_state = path.endswith(_STATE)
    if now is None:
        return Changes(lost=() if is_state else (path,))
    if before == now or "unsteady" in (before.kind, now.kind):
        return Changes()
    if before.kind == now.kind == "text":
        pair = compare_printed(before.content, now.content)
        lost = tuple(f"{path}: {line}" for line in list_lost(before.content, now.content))
        return Changes(numbers=(f"{path}: {pair[0]!r} -> {pair[1]!r}",) if pair else (), lost=lost)
    compare = {"tensors": _compare_tensors, "numbers": _compare_numbers}.get(now.kind)
    if compare and before.kind == now.kind and (said := compare(before, now)):
        return Changes(numbers=(f"{path}: {said}",))
    return Changes(others=() if is_state or not _differs(before, now) else (path,))


def _read_tensors(output: Output) -> tuple[dict[str, str], list[str], list[str]]:
    """Give what each name holds, and of all tensors the sizes with checksums, and the sizes."""
    rows = [row.split(":", 2) for row in output.content.splitlines()]
    named = {name: f"{size}:{checksum}" for size, checksum, name in rows}
    return named, [f"{size}:{checksum}" for size, checksum, _ in rows], [size for size, *_ in rows]


def _differs(before: Output, now: Output) -> bool:
    """Tell whether more than the names differ."""
    return (
        before.kind != now.kind
        or before.kind != "tensors"
        or _read_tensors(before)[1] != _read_tensors(now)[1]
    )


def _compare_tensors(before: Output, now: Output) -> str:
    """Say how many tensors hold other values: by name where names are known and the same, else of any."""
    (names, left, sizes), (new_names, right, new_sizes) = _read_tensors(before), _read_tensors(now)
    if names.keys() == new_names.keys() and "" not in names:
        changed = sum(names[name] != new_names[name] for name in names)
    else:
        changed = sum(a != b for a, b in zip(left, right, strict=False))
    return f"{changed} of {len(left)} tensors hold other numbers" if changed and sizes == new_sizes else ""


def _compare_numbers(before: Output, now: Output) -> str:
    """Say how many numbers there are, if either file has as many and they are others."""
    left, right = before.content.split(":"), now.content.split(":")
    same = left[0] != right[0] or left[1] == right[1]
    return "" if same else f"other ones among its {right[0]} numbers"


def _list_files(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in _PASSED_OVER)
        paths = (Path(folder, name) for name in sorted(names) if not name.endswith(".pyc"))
        yield from (path for path in paths if path.is_file() and not path.is_symlink())


def _read_archive(path: Path, own: bytes) -> dict[str, Output]:
    """Give the checksums that a checkpoint of torch or NumPy's archive has in its table of contents.

    Of what else a checkpoint holds the fractions are compared: whole numbers are sizes and options.
    """
    if not zipfile.is_zipfile(path):
        return {}
    with suppress(zipfile.BadZipFile, RuntimeError, *_NO_FORMAT), zipfile.ZipFile(path) as archive:
        entries = {entry.filename: (entry.file_size, entry.CRC) for entry in archive.infolist()}
        state = next((name for name in entries if name.rpartition("/")[2] == "data.pkl"), "")
        if state:
            return _read_checkpoint(archive, entries, state)
        if {Path(name).suffix for name in entries} == {".npy"}:
            return {"": _tensors((*row, name) for name, row in entries.items())}
        return _read_members(archive, own)
    return {}


def _read_members(archive: zipfile.ZipFile, own: bytes) -> dict[str, Output]:
    """Read what another program packed, unless it is large, or packed in a way that few are."""
    entries = sorted(archive.infolist(), key=lambda entry: entry.filename)
    is_plain = all(entry.compress_type in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED} for entry in entries)
    if not is_plain or sum(entry.file_size for entry in entries) > _MOST_PARSED:
        return {}
    return {
        f"/{entry.filename}": _read_content(Path(entry.filename), archive.read(entry), own)
        for entry in entries
    }


def _read_checkpoint(
    archive: zipfile.ZipFile, entries: Mapping[str, tuple[int, int]], state: str
) -> dict[str, Output]:
    found = {"": _tensors((*row, "") for name, row in entries.items() if "/data/" in name)}
    if entries[state][0] <= _MOST_PARSED:
        content = archive.read(state)
        if any("/code/" in name for name in entries):  # TorchScript: whether it is in training, for one
            return found | {_SCRIPT: Output("bytes", f"{len(content)}:{zlib.crc32(content)}")}
        values = _iterate_pickle(content)
        found[_STATE] = _sum_up(value for value in values if isinstance(value, float))
    return found


def _is_passed_over(path: Path, root: Path) -> bool:
    """Tell whether a file elsewhere is none: it is in the tree, a cache, or there no more."""
    homes = (os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", Path.home() / ".config", sys.prefix)
    return path.is_relative_to(root) or any(map(path.is_relative_to, homes)) or not path.is_file()


def _read_content(path: Path, content: bytes, own: bytes) -> Output:
    """Read a file; `own` is the path of the tree, another one in each verification, and counts nowhere."""
    if path.suffix == ".gz":
        with suppress(OSError, *_NO_FORMAT):
            stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
            unpacked = stream.decompress(content, _MOST_PARSED)
            if stream.eof and not stream.unused_data:  # else it is longer, or there are several
                return _read_content(path.with_suffix(""), unpacked, own)
    with suppress(*_NO_FORMAT):
        return _read_format(path, content, own)
    content = content.replace(own, b"")
    if len(content) <= _MOST_PARSED and b"\0" not in content:
        with suppress(UnicodeDecodeError):
            text = content.decode()
            return (
                Output("text", text)
                if len(content) <= _MOST_TEXT
                else _sum_up(_NUMBER.findall(text), content)
            )
    return Output("bytes", f"{len(content)}:{zlib.crc32(content)}")


def _read_format(path: Path, content: bytes, own: bytes) -> Output:
    """Read one of the formats that say what is a number.

    Raises:
        Exception: one of `_NO_FORMAT`: it is none of them.
    """
    if path.suffix == ".safetensors":
        start = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(content[8:start])
        ends = {name: entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"}
        parts = {name: content[start + begin : start + end] for name, (begin, end) in ends.items()}
        return _tensors((len(part), zlib.crc32(part), name) for name, part in parts.items())
    if "tfevents" in path.name:
        return _sum_up(_iterate_events(content))
    if path.suffix == ".npy":
        return _tensors([(len(content), zlib.crc32(content), "")])
    if len(content) <= _MOST_PARSED and content.startswith(b"\x80") and content.endswith(b"."):
        return _sum_up(_iterate_pickle(content), content.replace(own, b""))
    raise ValueError


def _tensors(rows: Iterable[tuple[int, int, str]]) -> Output:
    lines = [f"{size}:{checksum}:{' '.join(name.split())}" for size, checksum, name in sorted(rows)]
    return Output("tensors", "\n".join(lines))


def _sum_up(values: Iterable[float | str], content: bytes = b"") -> Output:
    """Add checksums up: a table may be sorted otherwise, and keys be written in another order."""
    count = total = 0
    for count, value in enumerate(values, start=1):  # noqa: B007
        total += zlib.crc32((str(value) if isinstance(value, int) else float(value).hex()).encode())
    return Output("numbers", f"{count}:{total}:{zlib.crc32(content)}")


def _iterate_pickle(content: bytes) -> Iterator[float]:
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
