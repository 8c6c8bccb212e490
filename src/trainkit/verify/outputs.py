"""What a run leaves in files of its tree, whoever wrote them: tensors, numbers in text, other bytes."""

from __future__ import annotations

import datetime
import json
import os
import re
import sys
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from trainkit.verify.formats import (
    MOST_PARSED,
    NO_FORMAT,
    Output,
    list_tensors,
    read_format,
    read_pickle,
    read_safetensors,
    tell_text,
)
from trainkit.verify.printed import (
    compare_printed,
    is_known,
    keep_repeated,
    list_lost,
    list_passed_over,
    list_unsteady,
)

_WIDTH = 60  # of what is shown of a value
_MOST_BYTES = 512 << 20  # read of all files; archives say their checksums themselves
_SLACK_NS = 20_000_000  # a file's time of change is that of the kernel's last tick
# In the name of a run's folder: a date with its time, seconds since 1970, a time alone.
_STAMP = re.compile(
    r"(?<!\d)(?P<date>20\d\d-?[01]\d-?[0-3]\d)(?:[-_T]?\d\d[-_:]?\d\d[-_:]?\d\d)?(?!\d)"
    r"|(?<!\d)(?P<seconds>[1-9]\d{9})(?:\d{3}|\d{6}|\d{9})?(?!\d)|(?<!\d)\d\d-\d\d-\d\d(?!\d)"
)
_DAY_S = 86_400
# A day, or an id of hexadecimal digits, in a file: of what it says something.
_DATED = re.compile(
    r"\d{4}-\d\d-\d\d|(?<![\w.+-])(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{7,40}(?![\w.]|[-+]\d)"
)
_EVENTS = re.compile(r"(tfevents)\..*")  # a time, the machine, the process
_PASSED_OVER = {".git", "__pycache__", ".pytest_cache"}
# Behind the path of a checkpoint, of a script, of safetensors.
_STATE, _SCRIPT, _WORDS = ", beside tensors", ", settings of modules", ", metadata"
_DATES = ", its dates and ids"  # and of a text
_UNSTEADY = "~"  # a value, or a checksum, that does not repeat


Outputs = Mapping[str, Output]  # path in the tree -> what it holds


class Changes(NamedTuple):
    """What two runs left otherwise: numbers, which are a result; other forms; what is left no more."""

    numbers: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


def read_outputs(root: Path, since_ns: int, *, beside: Mapping[Path, int] | None = None) -> dict[str, Output]:
    """Give what was written below `root` since a time (nanoseconds since the epoch); of links their ends.

    `beside` are files elsewhere, with how many of their bytes are older; caches are passed over. At most
    512 MiB are read, the files in the order of their paths; in these, dates and times are `#`.
    """
    found: dict[str, Output] = {}
    left, own = _MOST_BYTES, os.fsencode(root)
    elsewhere = {path: size for path, size in (beside or {}).items() if not _is_passed_over(path, root)}
    for path in chain(_list_files(root), sorted(elsewhere)):
        with suppress(OSError):  # gone by now, or not ours to read
            stat = path.lstat()
            changed_ns = max(stat.st_mtime_ns, stat.st_ctime_ns)  # a copy may have the time of its original
            if changed_ns < since_ns - _SLACK_NS:
                continue
            shown = path if path in elsewhere else path.relative_to(root)
            name = _STAMP.sub(_mask_now, _EVENTS.sub(r"\1", shown.as_posix()))
            parts = {"": _read_link(path, own)} if path.is_symlink() else _read_archive(path, own)
            if not parts and stat.st_size <= left:
                left -= stat.st_size
                content = path.read_bytes()[elsewhere.get(path, 0) :]
                parts = _read_safetensors(path, content) or {"": _read_content(path, content, own)}
            while name in found:  # another one of the same name but for its time
                name += "+"
            found |= {name + part: output for part, output in parts.items()}
    return found | dict(_list_dates(found))


def _mask_now(found: re.Match[str]) -> str:
    """Give `#` for a moment about now, which another run has not; what is dated otherwise is called so."""
    if found["seconds"]:
        return "#" if abs(int(found["seconds"]) - time.time()) < 2 * _DAY_S else found[0]
    return "#" if not found["date"] or _is_now(found["date"]) else found[0]


def _is_now(date: str) -> bool:
    with suppress(ValueError):
        then = datetime.date.fromisoformat(date)
        return abs((then - datetime.datetime.now(tz=datetime.UTC).date()).days) <= 1
    return False


def _list_dates(outputs: Outputs) -> Iterator[tuple[str, Output]]:
    """Yield the days and ids that stand in texts, but for today: where lines are compared they are not."""
    for name, output in outputs.items():
        if output.kind == "text":
            dates = [each for each in _DATED.findall(output.content) if "-" not in each or not _is_now(each)]
            if dates:
                yield name + _DATES, Output("bytes", f"{len(dates)}:{zlib.crc32(' '.join(dates).encode())}")


def keep_repeated_outputs(first: Outputs, second: Outputs, *, known: bool = False) -> dict[str, Output]:
    """Give what two runs of the same code leave alike; of text what is alike in it (see `keep_repeated`), of
    names without a number that differs.
    """
    kept = {}
    for path, other, common in _pair_names(first, second):
        a, b = first[path], second[other]
        kept[common] = a if a == b else _keep_alike(a, b, known=known)
    return kept


def _keep_alike(a: Output, b: Output, *, known: bool) -> Output:
    """Give what is alike in two files, where their kind says what in them belongs together."""
    if a.kind == b.kind == "text":
        return Output("text", keep_repeated(a.content, b.content, known=known))
    if a.kind == b.kind == "values":
        ours, theirs = json.loads(a.content), json.loads(b.content)
        both = ours.keys() & theirs.keys()
        return Output(
            "values", json.dumps({key: _keep_one(ours[key], theirs[key]) for key in ours if key in both})
        )
    if a.kind == b.kind == "tensors":
        (names, *_), (others, *_) = _read_tensors(a), _read_tensors(b)
        if names.keys() == others.keys() and "" not in names:
            return Output(
                "tensors", "\n".join(f"{_keep_one(names[key], others[key])}:{key}" for key in names)
            )
    return Output("unsteady", "")


def _keep_one(value: str, other: str) -> str:
    """Give a value, or "size:checksum" of a tensor, without what does not repeat."""
    size, colon, checksum = value.partition(":")
    is_tensor = colon and size.isdigit() and checksum.isdigit()
    return value if value == other else f"{size}:{_UNSTEADY}" if is_tensor else _UNSTEADY


def are_known(outputs: Outputs, repeated: Outputs) -> bool:
    """Tell whether all files are among these, which repeat, with all that they hold."""
    mine, known = (
        {name: output for name, output in some.items() if not name.endswith(_DATES)}
        for some in (outputs, repeated)
    )
    pairs = [(mine[path], known[other]) for path, other, _ in _pair_names(mine, known)]
    return len(pairs) == len(mine) and all(
        is_known(a.content, b.content) if a.kind == b.kind == "text" else a == b for a, b in pairs
    )


def list_unsteady_outputs(repeated: Outputs) -> list[str]:
    """Give the files that two runs of the same code leave otherwise, wholly or in some numbers."""
    return [
        path
        for path, output in sorted(repeated.items())
        if not path.endswith(_DATES) and _is_unsteady(output)
    ]


def list_passed_over_in_files(expected: Outputs, actual: Outputs) -> list[str]:
    """Give the lines of texts of which numbers differ that repeat and are no results (`list_passed_over`)."""
    return [
        f"{path}: {line}"
        for path, output in sorted(expected.items())
        if output.kind == "text" and path in actual and actual[path].kind == "text"
        for line in list_passed_over(output.content, actual[path].content)
    ]


def _is_unsteady(output: Output) -> bool:
    """Tell whether a file does not repeat, wholly or in part."""
    if output.kind == "values":
        return _UNSTEADY in json.loads(output.content).values()
    if output.kind == "tensors":
        return any(row.split(":", 2)[1] == _UNSTEADY for row in output.content.splitlines())
    return output.kind == "unsteady" or (output.kind == "text" and bool(list_unsteady(output.content)))


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
    if now is None:
        return Changes(lost=() if path.endswith((_STATE, _WORDS, _DATES)) else (path,))
    if before == now or "unsteady" in (before.kind, now.kind):
        return Changes()
    if before.kind == now.kind == "text":
        pair = compare_printed(before.content, now.content)
        lost = tuple(f"{path}: {line}" for line in list_lost(before.content, now.content))
        return Changes(numbers=(f"{path}: {pair[0]!r} -> {pair[1]!r}",) if pair else (), lost=lost)
    if before.kind == now.kind == "values":
        return _compare_values(path, json.loads(before.content), json.loads(now.content))
    compare = {"tensors": _compare_tensors, "numbers": _compare_numbers}.get(now.kind)
    if compare and before.kind == now.kind and (said := compare(before, now)):
        return Changes(numbers=(f"{path}: {said}",))
    if not _differs(before, now):
        return Changes()
    return Changes(others=(path + _describe_size(before, now),))


def _compare_values(path: str, before: Mapping[str, str], now: Mapping[str, str]) -> Changes:
    """Compare numbers and words by where they stand: fractions are results, all else may be an option."""
    numbers: list[str] = []
    others: list[str] = []
    lost = [name for name in before if name not in now]
    for name, value in before.items():
        if value != now.get(name, value) and _UNSTEADY not in (value, now[name]):
            is_result = _are_results(value, now[name], whole=not path.endswith(_STATE))
            said = f"{name} {value[:_WIDTH]} -> {now[name][:_WIDTH]}"
            (numbers if is_result else others).append(said)
    return Changes(*(_tell_first(path, found) for found in (numbers, others, lost)))


def _tell_first(path: str, found: Sequence[str]) -> tuple[str, ...]:
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    return (f"{path}: {found[0]}{more}",) if found else ()


def _are_results(before: str, now: str, *, whole: bool) -> bool:
    """Tell whether two values are numbers, and not both whole if these are not meant, or packed alike."""
    pair = (before, now)
    if all(each.startswith("<") for each in pair):
        return before.partition(",")[0] == now.partition(",")[0]
    are_whole = all(re.fullmatch(r"-?\d+", each) for each in pair)
    return (whole or not are_whole) and all(
        re.fullmatch(r"-?[\d.]+(?:e[-+]?\d+)?|-?inf|nan", each) for each in pair
    )


def _read_tensors(output: Output) -> tuple[dict[str, str], list[str], list[str]]:
    """Give what each name holds, and of all tensors the sizes with checksums, and the sizes."""
    rows = [row.split(":", 2) for row in output.content.splitlines()]
    named = {name: f"{size}:{checksum}" for size, checksum, name in rows}
    return named, [f"{size}:{checksum}" for size, checksum, _ in rows], sorted(size for size, *_ in rows)


def _differs(before: Output, now: Output) -> bool:
    """Tell whether more than the names differ."""
    if before.kind != "tensors" or now.kind != "tensors":
        return True
    return _read_tensors(before)[2] != _read_tensors(now)[2] or _count_changed(before, now) > 0


def _compare_tensors(before: Output, now: Output) -> str:
    """Say how many tensors hold other values, if there are as many of the same sizes."""
    (_, rows, sizes), changed = _read_tensors(before), _count_changed(before, now)
    same = sizes == _read_tensors(now)[2]
    return f"{changed} of {len(rows)} tensors hold other numbers" if changed and same else ""


def _count_changed(before: Output, now: Output) -> int:
    """Count the tensors that repeat and hold other values: by name where names are known and the same."""
    (names, rows, _), (new_names, new_rows, _) = _read_tensors(before), _read_tensors(now)
    if names.keys() == new_names.keys() and "" not in names:
        pairs = [(names[name], new_names[name]) for name in names]
        rows, new_rows = [one for one, other in pairs if one != other and not _is_open(other)], []
    return sum(not _is_open(row) for row in (Counter(rows) - Counter(new_rows)).elements())


def _is_open(row: str) -> bool:
    """Tell whether a tensor, "size:checksum", does not repeat."""
    return row.endswith(f":{_UNSTEADY}")


def _compare_numbers(before: Output, now: Output) -> str:
    """Say how many numbers there are, if either file has as many and they are others."""
    left, right = before.content.split(":"), now.content.split(":")
    same = left[0] != right[0] or left[1] == right[1]
    return "" if same else f"other ones among its {right[0]} numbers"


def _describe_size(before: Output, now: Output) -> str:
    """Say what differs of files that are read and hold no other numbers in the same places."""
    if before.kind == now.kind == "tensors":
        return " (tensors of other sizes)"
    counts = [output.content.partition(":")[0] for output in (before, now)]
    counted = before.kind == now.kind == "numbers" and counts[0] != counts[1]
    return f" ({counts[0]} -> {counts[1]} numbers)" if counted else ""


def _list_files(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in _PASSED_OVER)
        paths = (Path(folder, name) for name in sorted([*names, *folders]) if not name.endswith(".pyc"))
        yield from (path for path in paths if path.is_symlink() or path.is_file())


def _read_safetensors(path: Path, content: bytes) -> dict[str, Output]:
    with suppress(*NO_FORMAT):
        if path.suffix == ".safetensors":
            tensors, words = read_safetensors(content)
            return {"": tensors, _WORDS: words}
    return {}


def _read_link(path: Path, own: bytes) -> Output:
    """Give where a link leads: to the best epoch, for instance."""
    target = os.fsencode(path.readlink()).replace(own, b"")
    return tell_text(os.fsdecode(target), target)


def _read_archive(path: Path, own: bytes) -> dict[str, Output]:
    """Give the checksums that a checkpoint of torch or NumPy's archive has in its table of contents.

    Of what else a checkpoint holds the fractions are compared: whole numbers are sizes and options.
    """
    if not zipfile.is_zipfile(path):
        return {}
    with suppress(zipfile.BadZipFile, RuntimeError, *NO_FORMAT), zipfile.ZipFile(path) as archive:
        entries = {entry.filename: (entry.file_size, entry.CRC) for entry in archive.infolist()}
        state = next((name for name in entries if name.rpartition("/")[2] == "data.pkl"), "")
        if state:
            return _read_checkpoint(archive, entries, state, own)
        if {Path(name).suffix for name in entries} == {".npy"}:
            return {"": list_tensors((*row, name) for name, row in entries.items())}
        return _read_members(archive, own)
    return {}


def _read_members(archive: zipfile.ZipFile, own: bytes) -> dict[str, Output]:
    """Read what another program packed, unless it is large, or packed in a way that few are."""
    entries = sorted(archive.infolist(), key=lambda entry: entry.filename)
    is_plain = all(entry.compress_type in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED} for entry in entries)
    if not is_plain or sum(entry.file_size for entry in entries) > MOST_PARSED:
        return {}
    return {
        f"/{entry.filename}": _read_content(Path(entry.filename), archive.read(entry), own)
        for entry in entries
    }


def _read_checkpoint(
    archive: zipfile.ZipFile, entries: Mapping[str, tuple[int, int]], state: str, own: bytes
) -> dict[str, Output]:
    found = {"": list_tensors((*row, "") for name, row in entries.items() if "/data/" in name)}
    if entries[state][0] <= MOST_PARSED:
        content = archive.read(state)
        if any("/code/" in name for name in entries):  # TorchScript: whether it is in training, for one
            return found | {_SCRIPT: Output("bytes", f"{len(content)}:{zlib.crc32(content)}")}
        found[_STATE] = read_pickle(content, own)
    return found


def _is_passed_over(path: Path, root: Path) -> bool:
    """Tell whether a file elsewhere is none: it is in the tree, a cache, or there no more."""
    homes = (os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", Path.home() / ".config", sys.prefix)
    return path.is_relative_to(root) or any(map(path.is_relative_to, homes)) or not path.is_file()


def _read_content(path: Path, content: bytes, own: bytes) -> Output:
    """Read a file; `own` is the path of the tree, another one in each verification, and counts nowhere."""
    if path.suffix == ".gz":
        with suppress(OSError, *NO_FORMAT):
            stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
            unpacked = stream.decompress(content, MOST_PARSED)
            if stream.eof and not stream.unused_data:  # else it is longer, or there are several
                return _read_content(path.with_suffix(""), unpacked, own)
    with suppress(*NO_FORMAT):
        found = read_format(path, content, own)
        return found._replace(content=found.content.replace(os.fsdecode(own), ""))
    content = content.replace(own, b"")
    if len(content) <= MOST_PARSED and b"\0" not in content:
        with suppress(UnicodeDecodeError):
            return tell_text(content.decode(), content)
    return Output("bytes", f"{len(content)}:{zlib.crc32(content)}")
