"""Text as byte tokens, cut into windows, split by document into train, validation and test.

A file is mapped, not read: what is held of it are the places of its documents and windows.
"""

from __future__ import annotations

import codecs
import itertools
import mmap
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch

from trainkit.core.config import TextConfig
from trainkit.core.data import IGNORE_INDEX, Batch, Batched, Loaders, build_loaders, split
from trainkit.core.data.source import SourceFile, find_cache, find_files
from trainkit.errors import UsageError

NUM_BYTES = 256
BUILT_IN_SOURCE = "pydoc_data.topics"
_BLOCK_BYTES = 1 << 20
_PRINTED = re.compile(rb"[!-~]")
Places = numpy.ndarray[Any, numpy.dtype[numpy.int64]]


class Mapped:
    """The bytes of a file, mapped into each process that uses them."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self.data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if path.stat().st_size else b""
        self._path = path

    def __reduce__(self) -> tuple[type[Mapped], tuple[Path]]:
        return Mapped, (self._path,)


@dataclass(frozen=True)
class Held:
    """Bytes that are in memory."""

    data: bytes


@dataclass(frozen=True)
class Documents:
    """Texts, and where the documents lie in them: int64 (documents, 3) of text, start, end."""

    texts: Sequence[Mapped | Held]
    places: Places

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> bytes:
        text, start, end = self.places[index]
        return bytes(self.texts[text].data[start:end])

    @classmethod
    def hold(cls, documents: Sequence[bytes]) -> Documents:
        """Give documents that are in memory."""
        ends = [*itertools.accumulate(map(len, documents), initial=0)]
        return cls([Held(b"".join(documents))], _as_places((0, *each) for each in itertools.pairwise(ends)))


class Windows(Batched):
    """Windows of some documents that predict every byte but the first exactly once.

    A document's last one is padded: token 0 and a target that the loss ignores.
    """

    def __init__(self, texts: Sequence[Mapped | Held], places: Places, *, sequence_length: int) -> None:
        text, start, end = places.T
        num_targets = numpy.maximum(end - start - 1, 0)
        num_windows = -(-num_targets // sequence_length)
        before = numpy.repeat(num_windows.cumsum() - num_windows, num_windows)
        offset = (numpy.arange(num_windows.sum()) - before) * sequence_length
        left = numpy.repeat(num_targets, num_windows) - offset
        columns = numpy.repeat(text, num_windows), numpy.repeat(start, num_windows) + offset
        self._rows = numpy.stack([*columns, numpy.minimum(left, sequence_length)], axis=1)
        self._texts, self._steps = texts, numpy.arange(sequence_length + 1)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Give tokens and targets, int64 (windows, time) each."""
        text, start, length = self._rows[indices].T
        found = numpy.empty((len(text), len(self._steps)), numpy.uint8)
        for number in {*text.tolist()}:
            chosen = text == number
            data = numpy.frombuffer(self._texts[number].data, numpy.uint8)
            found[chosen] = data.take(start[chosen, None] + self._steps, mode="clip")
        tokens, targets = found[:, :-1].astype(numpy.int64), found[:, 1:].astype(numpy.int64)
        if length.min(initial=tokens.shape[1]) < tokens.shape[1]:
            padding = self._steps[:-1] >= length[:, None]
            tokens[padding], targets[padding] = 0, IGNORE_INDEX
        return Batch(torch.from_numpy(tokens), torch.from_numpy(targets))


def build_text(config: TextConfig, *, seed: int) -> Loaders:
    """Find the documents of the source, split them and cut them into windows.

    Raises:
        UsageError: the source cannot be read, or leaves nothing to train on.
    """
    documents = read_documents(config.source)
    parts: tuple[Places, ...] = split(documents.places, config)  # type: ignore[type-var]
    train, validation, test = (
        Windows(documents.texts, part, sequence_length=config.sequence_length) for part in parts
    )
    if not len(train) and config.train_fraction:
        raise UsageError(
            "data-empty",
            f"data.source='{config.source}' has no window to train on: {len(documents)} documents, "
            f"{len(parts[0])} of them in the train part; give more text or a larger data.train_fraction",
        )
    return build_loaders((train, validation, test), config, seed=seed, facts={"vocab_size": NUM_BYTES})


def read_documents(source: str) -> Documents:
    """Find Python's own help topics, or the paragraphs (split at blank lines) of UTF-8 text.

    That is a file, a glob, every file of a folder in the order of names, or an address.

    Raises:
        UsageError: there is no such file, or it is not UTF-8.
        TrainkitError: an address does not answer.
    """
    if source == BUILT_IN_SOURCE:
        from pydoc_data.topics import topics  # late: half a megabyte of text

        return Documents.hold([text.encode() for text in topics.values()])
    texts = [_open_text(file) for file in find_files(source, cache=find_cache(""), is_text=True)]
    places = (
        (number, start, end)
        for number, text in enumerate(texts)
        for start, end in _find_paragraphs(text.data)
    )
    return Documents(texts, _as_places(places))


def _open_text(file: SourceFile) -> Mapped | Held:
    try:
        text = Mapped(file.path)
    except OSError as error:
        raise UsageError("data-unreadable", f"'{file.shown}': {error}") from error
    decoder, num_lines = codecs.getincrementaldecoder("utf-8")(), 1
    for start in range(0, len(text.data) + 1, _BLOCK_BYTES):
        block = text.data[start : start + _BLOCK_BYTES]
        try:
            decoder.decode(block, final=start + _BLOCK_BYTES > len(text.data))
        except UnicodeDecodeError as error:
            line = num_lines + error.object.count(b"\n", 0, error.start)
            byte = f"byte 0x{error.object[error.start]:02x} is no UTF-8"
            advice = "give it decompressed" if text.data[:2] == b"\x1f\x8b" else "save it as UTF-8"
            message = f"'{file.shown}', line {line}: {byte}; {advice}"
            raise UsageError("data-unreadable", message) from error
        num_lines += block.count(b"\n")
    if text.data.find(b"\r") < 0:
        return text
    return Held(bytes(text.data[:]).replace(b"\r\n", b"\n").replace(b"\r", b"\n"))


def _find_paragraphs(data: mmap.mmap | bytes) -> Iterator[tuple[int, int]]:
    """Yield the start and end of what lies between blank lines and is not white."""
    start = 0
    while start <= len(data):
        end = data.find(b"\n\n", start)
        end = len(data) if end < 0 else end
        if _PRINTED.search(data, start, end) or data[start:end].decode().strip():
            yield start, end
        start = end + 2


def _as_places(rows: Iterable[tuple[int, int, int]]) -> Places:
    return numpy.fromiter(rows, numpy.dtype((numpy.int64, 3)))
