"""What a run leaves in files of its tree, whoever wrote them: tensors, numbers in text, other bytes."""

from __future__ import annotations

import json
import os
import pickletools
import re
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from trainkit.verify.printed import compare_printed, keep_repeated

_MOST_TEXT = 256 << 10  # of a file that is compared line by line
_MOST_PARSED = 8 << 20  # of a file of which the numbers alone are compared; larger ones are other bytes
_MOST_BYTES = 512 << 20  # read of all files; archives say their checksums themselves
_SLACK_NS = 20_000_000  # a file's time of change is that of the kernel's last tick
_STAMP = re.compile(r"\d{6,}|\d+(?:-\d\d){2}")  # in the name of a run's folder
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_SPELT = re.compile(r"(BIN)?(INT|FLOAT)\d?|LONG\d?")  # opcodes of pickle
_PASSED_OVER = {".git", "__pycache__", ".pytest_cache"}
_STATE = ", beside tensors"  # behind the path of a checkpoint


class Output(NamedTuple):
    """One file: its text, the checksums of its tensors ("size:CRC-32", in order of both) or of its bytes, or
    how many numbers it holds and what they amount to in any order.
    """

    kind: str  # "text", "tensors", "numbers" or "bytes"
    content: str


Outputs = Mapping[str, Output]  # path in the tree -> what it holds


class Changes(NamedTuple):
    """What two runs left otherwise: numbers, which are a result, and what may be another form of the same."""

    numbers: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


def read_outputs(root: Path, since_ns: int) -> dict[str, Output]:
    """Give what was written below `root` since a time (nanoseconds since the epoch); links are passed over.

    Read are at most 512 MiB, the files in the order of their paths; in these, dates and times are `#`.
    """
    found: dict[str, Output] = {}
    left = _MOST_BYTES
    for path in _list_files(root):
        with suppress(OSError):  # gone by now, or not ours to read
            stat = path.stat()
            if stat.st_mtime_ns < since_ns - _SLACK_NS:
                continue
            name = _STAMP.sub("#", path.relative_to(root).as_posix())
            parts = _read_archive(path)
            if not parts and stat.st_size <= left:
                left -= stat.st_size
                parts = {"": _read_file(path)}
            found |= {name + part: output for part, output in parts.items()}
    return found


def keep_repeated_outputs(first: Outputs, second: Outputs) -> dict[str, Output]:
    """Give what two runs of the same code leave alike; of text what is alike in it."""
    kept = {}
    for path in first.keys() & second.keys():
        a, b = first[path], second[path]
        if a.kind == b.kind == "text":
            kept[path] = Output("text", keep_repeated(a.content, b.content))
        elif a == b:
            kept[path] = a
    return kept


def compare_outputs(expected: Outputs, actual: Outputs) -> Changes:
    """Compare the files that both sides have: a refactor may rename, add or drop some."""
    numbers, others = [], []
    for path in sorted(expected.keys() & actual.keys()):
        before, now = expected[path], actual[path]
        if before == now:
            continue
        if before.kind == now.kind == "text":
            pair = compare_printed(before.content, now.content)
            numbers += [f"{path}: {pair[0]!r} -> {pair[1]!r}"] if pair else []
        elif before.kind == now.kind == "tensors":
            left, right = before.content.split(), now.content.split()
            if [each.partition(":")[0] for each in left] == [each.partition(":")[0] for each in right]:
                changed = sum(a != b for a, b in zip(left, right, strict=True))
                numbers.append(f"{path}: {changed} of {len(left)} tensors hold other numbers")
            else:
                others.append(path)
        elif before.kind == now.kind == "numbers" and (count := _find_other_numbers(before, now)):
            numbers.append(f"{path}: other ones among its {count} numbers")
        elif not path.endswith(_STATE):
            others.append(path)
    return Changes(tuple(numbers), tuple(others))


def _list_files(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in _PASSED_OVER)
        paths = (Path(folder, name) for name in sorted(names) if not name.endswith(".pyc"))
        yield from (path for path in paths if path.is_file() and not path.is_symlink())


def _read_archive(path: Path) -> dict[str, Output]:
    """Give the checksums that a checkpoint of torch or NumPy's archive has in its table of contents.

    Of what else a checkpoint holds the fractions are compared: whole numbers are sizes and options.
    """
    if not zipfile.is_zipfile(path):
        return {}
    with suppress(zipfile.BadZipFile, ValueError, NotImplementedError), zipfile.ZipFile(path) as archive:
        entries = {entry.filename: (entry.file_size, entry.CRC) for entry in archive.infolist()}
        state = next((name for name in entries if name.rpartition("/")[2] == "data.pkl"), "")
        if state:
            found = {"": _tensors(row for name, row in entries.items() if "/data/" in name)}
            if entries[state][0] <= _MOST_PARSED:
                values = _iterate_pickle(archive.read(state))
                found[_STATE] = _sum_up(value for value in values if isinstance(value, float))
            return found
        if {Path(name).suffix for name in entries} == {".npy"}:
            return {"": _tensors(entries.values())}
    return {}


def _read_file(path: Path) -> Output:
    content = path.read_bytes()
    if path.suffix == ".safetensors":
        with suppress(ValueError, KeyError, TypeError, AttributeError):
            start = 8 + int.from_bytes(content[:8], "little")
            header = json.loads(content[8:start])
            ends = [entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"]
            parts = [content[start + begin : start + end] for begin, end in ends]
            return _tensors((len(part), zlib.crc32(part)) for part in parts)
    if path.suffix == ".npy":
        return _tensors([(len(content), zlib.crc32(content))])
    if len(content) <= _MOST_PARSED and content.startswith(b"\x80") and content.endswith(b"."):
        with suppress(ValueError, IndexError, KeyError, struct.error):  # what else ends in a full stop
            return _sum_up(_iterate_pickle(content), content)
    if len(content) <= _MOST_PARSED and b"\0" not in content:
        with suppress(UnicodeDecodeError):
            text = content.decode()
            return (
                Output("text", text)
                if len(content) <= _MOST_TEXT
                else _sum_up(_NUMBER.findall(text), content)
            )
    return Output("bytes", f"{len(content)}:{zlib.crc32(content)}")


def _tensors(rows: Iterable[tuple[int, int]]) -> Output:
    return Output("tensors", " ".join(f"{size}:{checksum}" for size, checksum in sorted(rows)))


def _sum_up(values: Iterable[float | str], content: bytes = b"") -> Output:
    """Add checksums up: a table may be sorted otherwise, and keys be written in another order."""
    count = total = 0
    for count, value in enumerate(values, start=1):  # noqa: B007
        total += zlib.crc32((str(value) if isinstance(value, int) else float(value).hex()).encode())
    return Output("numbers", f"{count}:{total}:{zlib.crc32(content)}")


def _find_other_numbers(before: Output, now: Output) -> str:
    """Give how many numbers either file has, if it is as many and they are others."""
    left, right = before.content.split(":"), now.content.split(":")
    return right[0] if left[0] == right[0] and left[1] != right[1] else ""


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
