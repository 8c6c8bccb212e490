"""Files block by block as polars frames, each row with its place; kinds of columns; typed arrays.

A kind is `number`, `category`, `time` (ISO 8601, or numbers) or `text`, which is read by nobody yet.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy

from trainkit.core.data.source import SourceFile, import_extra
from trainkit.errors import UsageError, suggest

if TYPE_CHECKING:
    import polars

KINDS = ("number", "category", "time", "text")
MISSING = ("", "NA", "N/A", "nan", "NaN", "null")
BLOCK_BYTES, BLOCK_ROWS = 1 << 24, 1 << 17
SAMPLE_BYTES = 1 << 22  # of which kinds are inferred
_GZIP = b"\x1f\x8b"
_ISO = r"^\d{4}-\d{2}-\d{2}"
_MAX_CATEGORIES = 1000  # of a column that nobody declared


@dataclass(frozen=True)
class Block:
    """Rows of one file; `locate` gives a row's place in words, and its cells as they stand, if known."""

    file: SourceFile
    frame: polars.DataFrame
    locate: Callable[[int], tuple[str, list[str] | None]]


def refuse(place: str, what: str, advice: str = "") -> UsageError:
    """Give the error for what stands at a place."""
    return UsageError("data-unreadable", f"{place}: {what}" + (f"; {advice}" if advice else ""))


def read_blocks(files: Sequence[SourceFile], kinds: Mapping[str, str] | None = None) -> Iterator[Block]:
    """Yield the rows of all files in order; without `kinds`, cells are what polars takes them for.

    All files have the columns of the first, in any order.

    Raises:
        UsageError: a file is empty, damaged, ragged, in another encoding, or has other columns.
    """
    expected: list[str] | None = None
    for file in files:
        readers = {"parquet": _read_parquet, "jsonl": _read_jsonl}
        for block in readers.get(file.format, _read_csv)(file, kinds):
            names = block.frame.columns
            if expected is not None and file.format != "jsonl" and set(names) != set(expected):
                odd = sorted(set(names) ^ set(expected))
                raise refuse(
                    f"'{file.shown}'", f"column '{odd[0]}' is not in each file: all must have the same ones"
                )
            expected = expected or names
            yield block


def _read_csv(file: SourceFile, kinds: Mapping[str, str] | None) -> Iterator[Block]:
    pl = import_extra("polars", need=f"data.source='{file.shown}'")
    header: list[str] = []
    delimiter = "\t" if file.format == "tsv" else ","
    for first_line, raw in _cut(file, BLOCK_BYTES if kinds else SAMPLE_BYTES):
        text = _decode(file, raw, first_line)
        if not header:
            delimiter, header, text, first_line = _read_header(file, text, delimiter, first_line)
            if not text.strip():
                continue
        shape = _Shape(file, header, delimiter, first_line)
        frame = shape.parse(pl, text, kinds)
        yield Block(file, frame, lambda row, shape=shape, text=text: shape.locate(text, row))  # type: ignore[misc]
    if not header:
        raise refuse(f"'{file.shown}'", "the file is empty")


def _cut(file: SourceFile, size: int) -> Iterator[tuple[int, bytes]]:
    """Yield (number of the first line, whole lines), never cut inside quotation marks."""
    rest, line = b"", 1
    with ExitStack() as stack:
        stream: Any = stack.enter_context(file.path.open("rb"))
        if stream.peek(2)[:2] == _GZIP:
            stream = stack.enter_context(gzip.open(stream))
        while piece := _read_piece(file, stream, size):
            rest += piece
            end = rest.rfind(b"\n") + 1
            while end and rest.count(b'"', 0, end) % 2:
                end = rest.rfind(b"\n", 0, end - 1) + 1
            if end:
                yield line, rest[:end]
                line += rest.count(b"\n", 0, end)
                rest = rest[end:]
    if rest:
        yield line, rest


def _read_piece(file: SourceFile, stream: BinaryIO, size: int) -> bytes:
    try:
        return stream.read(size)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise refuse(f"'{file.shown}'", f"damaged gzip: {error}", "fetch or compress it again") from error


def _decode(file: SourceFile, raw: bytes, first_line: int) -> str:
    if first_line == 1 and raw.startswith(codecs.BOM_UTF8):
        raw = raw[3:]
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = first_line + raw.count(b"\n", 0, error.start)
        byte = f"byte 0x{raw[error.start]:02x} is no UTF-8"
        raise refuse(f"'{file.shown}', line {line}", byte, "save the whole file as UTF-8") from error


def _iter_lines(text: str) -> Iterator[str]:
    start = 0
    while start < len(text):
        end = text.find("\n", start) + 1 or len(text)
        yield text[start:end]
        start = end


def _read_header(file: SourceFile, text: str, delimiter: str, line: int) -> tuple[str, list[str], str, int]:
    """Give the delimiter, the names, and what comes below them."""
    stripped = text.lstrip("\r\n")
    line += text[: len(text) - len(stripped)].count("\n")
    if not stripped:
        return delimiter, [], "", line
    first = stripped.partition("\n")[0]
    if delimiter not in first:
        delimiter = next((each for each in (";", "\t", "|") if each in first), delimiter)
    rows = csv.reader(_iter_lines(stripped), delimiter=delimiter)
    header = [name.strip() for name in next(rows)]
    end = 0
    for _ in range(rows.line_num):
        end = stripped.find("\n", end) + 1 or len(stripped)
    double = next((name for number, name in enumerate(header) if name in header[:number]), None)
    if double is not None:
        raise refuse(f"'{file.shown}', line {line}", f"two columns are called '{double}'")
    return delimiter, header, stripped[end:], line + rows.line_num


@dataclass(frozen=True)
class _Shape:
    """What all rows of a block have in common."""

    file: SourceFile
    header: list[str]
    delimiter: str
    first_line: int

    def parse(self, pl: Any, text: str, kinds: Mapping[str, str] | None) -> polars.DataFrame:
        """Give the rows: numbers as Float64 where all can be read, else strings; blank lines are none."""
        frame = self._read(pl, text, kinds)
        if not frame[self.header[-1]].null_count():
            return frame
        # a blank line is a row of nothing to polars, and a row that is too short has its last cells empty
        lines = text.splitlines(keepends=True)
        filled = "".join(line for line in lines if line.strip("\r\n"))
        frame = self._read(pl, filled, kinds) if len(filled) < len(text) else frame
        num_delimiters = (len(self.header) - 1) * len(frame)
        if '"' in filled or filled.count(self.delimiter) != num_delimiters:
            self.check_rows(text)
        return frame

    def _read(self, pl: Any, text: str, kinds: Mapping[str, str] | None) -> polars.DataFrame:
        typed = {
            name: pl.Float64 if (kinds or {}).get(name) == "number" else pl.String for name in self.header
        }
        options = {"has_header": False, "separator": self.delimiter, "null_values": list(MISSING)}
        data = text.encode()
        try:
            return pl.read_csv(data, schema=typed, **options)  # type: ignore[no-any-return]
        except pl.exceptions.PolarsError:
            self.check_rows(text)
        try:
            return pl.read_csv(data, schema=dict.fromkeys(self.header, pl.String), **options)  # type: ignore[no-any-return]
        except pl.exceptions.PolarsError as error:
            lines = f"'{self.file.shown}', from line {self.first_line}"
            raise refuse(lines, str(error).partition("\n")[0]) from error

    def check_rows(self, text: str) -> None:
        """Raise for the first row that is longer or shorter than the header."""
        for number, row in self.iter_rows(text):
            if len(row) != len(self.header):
                place = f"'{self.file.shown}', line {number}"
                raise refuse(place, f"{len(row)} cells, and the header has {len(self.header)}")

    def iter_rows(self, text: str) -> Iterator[tuple[int, list[str]]]:
        """Yield (line, cells)."""
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=self.delimiter)
        before = 0
        for row in rows:
            if row:
                yield self.first_line + before, row
            before = rows.line_num

    def locate(self, text: str, row: int) -> tuple[str, list[str] | None]:
        """Give the place of a row of the block, and its cells."""
        line, cells = next(each for number, each in enumerate(self.iter_rows(text)) if number == row)
        return f"'{self.file.shown}', line {line}", cells


def _read_jsonl(file: SourceFile, kinds: Mapping[str, str] | None) -> Iterator[Block]:
    pl = import_extra("polars", need=f"data.source='{file.shown}'")
    is_empty = True
    for first_line, raw in _cut(file, BLOCK_BYTES if kinds else SAMPLE_BYTES):
        text = _decode(file, raw, first_line)
        lines = [number for number, line in enumerate(text.split("\n"), first_line) if line.strip()]
        if not lines:
            continue
        is_empty = False
        try:
            frame = pl.read_ndjson(text.encode(), infer_schema_length=None)
        except pl.exceptions.PolarsError as error:
            raise _find_bad_json(file, text, first_line, error) from error
        yield Block(
            file,
            frame,
            lambda row, lines=lines: (f"'{file.shown}', line {lines[row]}", None),  # type: ignore[misc]
        )
    if is_empty:
        raise refuse(f"'{file.shown}'", "the file is empty")


def _find_bad_json(file: SourceFile, text: str, first_line: int, error: Exception) -> UsageError:
    import json

    for number, line in enumerate(text.split("\n"), first_line):
        try:
            is_bad = bool(line.strip()) and not isinstance(json.loads(line), dict)
            what = "no JSON object"
        except ValueError as problem:
            is_bad, what = True, f"no JSON: {problem}"
        if is_bad:
            return refuse(f"'{file.shown}', line {number}", what)
    return refuse(f"'{file.shown}', from line {first_line}", str(error).partition("\n")[0])


def _read_parquet(file: SourceFile, kinds: Mapping[str, str] | None) -> Iterator[Block]:
    pl = import_extra("polars", need=f"data.source='{file.shown}'")
    start = 0
    try:
        frames = pl.scan_parquet(file.path)
        frames = (
            frames.select([name for name in kinds if name in frames.collect_schema()]) if kinds else frames
        )
        for frame in frames.collect_batches(chunk_size=BLOCK_ROWS, maintain_order=True):
            if len(frame):
                yield Block(
                    file,
                    frame,
                    lambda row, start=start: (f"'{file.shown}', row {start + row + 1}", None),  # type: ignore[misc]
                )
            start += len(frame)
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise refuse(f"'{file.shown}'", f"cannot be read as Parquet: {reason}") from error


def infer_kinds(
    block: Block, declared: Mapping[str, str], wanted: Sequence[str] = (), needed: Sequence[str] = ()
) -> dict[str, str]:
    """Give the kind of each column, or of each that is wanted: as declared, else by its first block.

    Raises:
        UsageError: a column that is declared or wanted is not there.
    """
    names = block.frame.columns
    for name in (*wanted, *needed, *declared):
        if name not in names:
            raise UsageError(
                "data-column", f"'{block.file.shown}' has no column '{name}'{suggest(name, names)}"
            )
    chosen = [name for name in names if not wanted or name in wanted]
    return {name: declared.get(name) or _infer_kind(block.frame[name]) for name in chosen}


def _infer_kind(column: polars.Series) -> str:
    """Most cells decide: one that is not as the others is a mistake to be told, not another kind."""
    import polars as pl

    if column.dtype.is_numeric() or column.dtype == pl.Null:
        return "number"
    if column.dtype.is_temporal() and column.dtype != pl.Time:
        return "time"
    if column.dtype in (pl.Boolean, pl.Categorical, pl.Enum):
        return "category"
    if column.dtype != pl.String:
        return "text"
    cells = column.drop_nulls()
    num_numbers = cells.str.strip_chars().cast(pl.Float64, strict=False).count()
    if 2 * num_numbers > len(cells) or not len(cells):
        return "number"
    if 2 * cells.str.contains(_ISO).sum() > len(cells):
        return "time"
    limit = max(20, min(_MAX_CATEGORIES, len(cells) // 2))
    return "category" if cells.n_unique() <= limit else "text"


def take_numbers(block: Block, name: str) -> tuple[numpy.ndarray[Any, Any], int | None]:
    """Give a column as float32 (rows,), nan where it is missing, and the first row where it is.

    Raises:
        UsageError: a cell is no number, or infinite in float32.
    """
    import polars as pl

    column = _column(block, name)
    cells = column.str.strip_chars() if column.dtype == pl.String else column
    values = cells.cast(pl.Float64, strict=False)
    bad = (values.is_null() & column.is_not_null()).arg_true()
    small = values.cast(pl.Float32)
    infinite = small.is_infinite().arg_true()
    for rows in (bad, infinite):
        if len(rows):
            row = int(rows[0])
            advice = "" if len(rows) < 2 and row else f"data.schema.{name}=category makes categories of it"
            raise refuse(*describe_cell(block, name, row, "no finite number"), advice if rows is bad else "")
    array: numpy.ndarray[Any, Any] = small.fill_null(math.nan).to_numpy()
    missing = numpy.isnan(array)
    return array, int(missing.argmax()) if missing.any() else None


def take_times(block: Block, name: str, *, is_numeric: bool) -> numpy.ndarray[Any, Any]:
    """Give a column as float64 (rows,): microseconds since 1970, or the numbers that stand there.

    Raises:
        UsageError: a cell is missing, or is no time.
    """
    import polars as pl

    column = _column(block, name)
    if is_numeric:
        values = column.cast(pl.Float64, strict=False)
    else:
        is_text = column.dtype == pl.String
        try:
            times = column.str.to_datetime(time_unit="us", strict=False) if is_text else column
            values = times.cast(pl.Datetime("us"), strict=False).cast(pl.Int64).cast(pl.Float64)
        except pl.exceptions.PolarsError:  # no cell looks like one
            values = pl.Series([None] * len(column), dtype=pl.Float64)
    bad = (values.is_null() | ~values.is_finite()).arg_true()
    if len(bad):
        raise refuse(*describe_cell(block, name, int(bad[0]), "no time"), "write it as 2026-01-31T12:00:00")
    return values.to_numpy()


def take_codes(block: Block, name: str, codes: dict[str, int]) -> tuple[numpy.ndarray[Any, Any], int | None]:
    """Give a column as int32 (rows,), -1 where it is missing, and the first such row; `codes` grows."""
    import polars as pl

    column = _column(block, name)
    if column.dtype.is_float():  # 3.0 of a file where another cell is missing is the category 3
        whole = column.cast(pl.Int64, strict=False)
        column = whole if (whole.cast(column.dtype) == column).all() else column
    text = column.cast(pl.String)
    for each in text.drop_nulls().unique(maintain_order=True):
        codes.setdefault(each, len(codes))
    if codes:
        mapped = text.replace_strict(list(codes), list(codes.values()), default=-1, return_dtype=pl.Int32)
        array: numpy.ndarray[Any, Any] = mapped.fill_null(-1).to_numpy()
    else:
        array = numpy.full(len(text), -1, dtype=numpy.int32)
    missing = array < 0
    return array, int(missing.argmax()) if missing.any() else None


def describe_cell(block: Block, name: str, row: int, what: str) -> tuple[str, str]:
    """Give the place of a cell, and what is wrong with it."""
    place, cells = block.locate(row)
    if cells is not None:
        return f"{place}, {name}", f"{cells[block.frame.columns.index(name)]!r} is {what}"
    value = block.frame[name][row] if name in block.frame.columns else None
    return f"{place}, {name}", f"{'null' if value is None else repr(value)} is {what}"


def _column(block: Block, name: str) -> polars.Series:
    import polars as pl

    if name in block.frame.columns:
        return block.frame[name]
    return pl.Series(name, [None] * len(block.frame), dtype=pl.Null)  # a key that no line of a block has
