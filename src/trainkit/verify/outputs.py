"""What a run leaves in files of its tree, whoever wrote them: tensors, numbers in text, other bytes."""

from __future__ import annotations

import json
import os
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from trainkit.verify.printed import compare_printed, keep_repeated

_MOST_TEXT = 256 << 10  # of a file; larger ones are other bytes
_MOST_BYTES = 512 << 20  # read of all files; archives say their checksums themselves
_SLACK_NS = 20_000_000  # a file's time of change is that of the kernel's last tick
_STAMP = re.compile(r"\d{6,}|\d+(?:-\d\d){2}")  # in the name of a run's folder
_PASSED_OVER = {".git", "__pycache__", ".pytest_cache"}


class Output(NamedTuple):
    """One file: its text, the checksums of its tensors ("size:CRC-32", in order of both), or of its bytes."""

    kind: str  # "text", "tensors" or "bytes"
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
            output = _read_archive(path)
            if output is None and stat.st_size <= left:
                left -= stat.st_size
                output = _read_file(path)
            if output is not None:
                found[_STAMP.sub("#", path.relative_to(root).as_posix())] = output
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
        else:
            others.append(path)
    return Changes(tuple(numbers), tuple(others))


def _list_files(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in _PASSED_OVER)
        paths = (Path(folder, name) for name in sorted(names) if not name.endswith(".pyc"))
        yield from (path for path in paths if path.is_file() and not path.is_symlink())


def _read_archive(path: Path) -> Output | None:
    """Give the checksums that a checkpoint of torch or NumPy's archive has in its table of contents."""
    if not zipfile.is_zipfile(path):
        return None
    with suppress(zipfile.BadZipFile, ValueError, NotImplementedError), zipfile.ZipFile(path) as archive:
        entries = {entry.filename: (entry.file_size, entry.CRC) for entry in archive.infolist()}
        parts = {name.rpartition("/")[2] for name in entries}
        if "data.pkl" in parts:
            return _tensors(row for name, row in entries.items() if "/data/" in name)
        if {Path(name).suffix for name in parts} == {".npy"}:
            return _tensors(entries.values())
    return None


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
    if len(content) <= _MOST_TEXT and b"\0" not in content:
        with suppress(UnicodeDecodeError):
            return Output("text", content.decode())
    return Output("bytes", f"{len(content)}:{zlib.crc32(content)}")


def _tensors(rows: Iterable[tuple[int, int]]) -> Output:
    return Output("tensors", " ".join(f"{size}:{checksum}" for size, checksum in sorted(rows)))
