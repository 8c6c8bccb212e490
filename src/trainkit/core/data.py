"""Text as byte tokens, cut into windows, split by document into train, validation and test."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from trainkit.core.config import TextConfig
from trainkit.errors import UsageError

IGNORE_INDEX = -100  # torch's own default in cross_entropy
NUM_BYTES = 256
BUILT_IN_SOURCE = "pydoc_data.topics"


class Batch(NamedTuple):
    """Tokens and the tokens that follow them, int64 (batch, time); padded targets are IGNORE_INDEX."""

    tokens: Tensor
    targets: Tensor


class Windows(Dataset[Batch]):
    """Windows of one part; a document's last one is padded with token 0 on the right."""

    def __init__(self, documents: Sequence[bytes], *, sequence_length: int) -> None:
        cut = [window for each in documents for window in cut_document(each, sequence_length)]
        empty = torch.empty((0, sequence_length), dtype=torch.int64)
        self.tokens = torch.stack([window.tokens for window in cut]) if cut else empty
        self.targets = torch.stack([window.targets for window in cut]) if cut else empty

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: int) -> Batch:
        return Batch(self.tokens[index], self.targets[index])


def cut_document(document: bytes, sequence_length: int) -> Iterator[Batch]:
    """Yield windows of shape (time,) that predict every byte but the first exactly once."""
    bytes_ = torch.tensor(list(document), dtype=torch.int64)
    for start in range(0, len(document) - 1, sequence_length):
        targets = bytes_[start + 1 : start + 1 + sequence_length]
        tokens = bytes_[start : start + len(targets)]
        missing = sequence_length - len(targets)
        pad = torch.nn.functional.pad
        yield Batch(pad(tokens, (0, missing)), pad(targets, (0, missing), value=IGNORE_INDEX))


class EpochSampler(Sampler[int]):
    """A shuffled order that depends on (seed, epoch) alone: a resumed run repeats it."""

    def __init__(self, num_samples: int, *, seed: int) -> None:
        self.num_samples = num_samples
        self.seed = seed
        self.epoch = 0
        self.start = 0

    def set_epoch(self, epoch: int, *, start: int = 0) -> None:
        """Choose the order of the next pass, and its first sample; both count from 0."""
        self.epoch = epoch
        self.start = start

    def __len__(self) -> int:
        return max(0, self.num_samples - self.start)

    def __iter__(self) -> Iterator[int]:
        # 2**20 epochs to a seed; the modulus keeps the largest seed within 64 bits
        generator = torch.Generator().manual_seed((self.seed * 2**20 + self.epoch) % 2**63)
        order: list[int] = torch.randperm(self.num_samples, generator=generator).tolist()
        return iter(order[self.start :])


@dataclass(frozen=True)
class Corpus:
    """Three loaders of `Batch`; only `train` is shuffled, by `sampler`: set its epoch first."""

    train: DataLoader[Batch]
    validation: DataLoader[Batch]
    test: DataLoader[Batch]
    sampler: EpochSampler
    vocab_size: int = NUM_BYTES


def build_text(config: TextConfig, *, seed: int) -> Corpus:
    """Read, split and cut the source.

    Raises:
        UsageError: the source cannot be read, or leaves nothing to train on.
    """
    parts = split_documents(read_documents(config.source), config)
    train, validation, test = (Windows(part, sequence_length=config.sequence_length) for part in parts)
    if not len(train):
        raise UsageError(
            "data-empty",
            f"data.source='{config.source}' has no window to train on: {sum(map(len, parts))} documents, "
            f"{len(parts[0])} of them in the train part; give more text or a larger data.train_fraction",
        )
    sampler = EpochSampler(len(train), seed=seed)
    return Corpus(
        _build_loader(train, config.batch_size, sampler),
        _build_loader(validation, config.batch_size),
        _build_loader(test, config.batch_size),
        sampler,
    )


def _build_loader(part: Windows, batch_size: int, sampler: EpochSampler | None = None) -> DataLoader[Batch]:
    # A generator of its own: without one, every iter(loader) draws from the global RNG.
    return DataLoader(part, batch_size=batch_size, sampler=sampler, generator=torch.Generator())


def read_documents(source: str) -> list[bytes]:
    """Give Python's own help topics, or the paragraphs (split at blank lines) of a UTF-8 file.

    Raises:
        UsageError: there is no such file, or it is not UTF-8.
    """
    if source == BUILT_IN_SOURCE:
        from pydoc_data.topics import topics  # late: half a megabyte of text

        return [text.encode() for text in topics.values()]
    try:
        text = Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            "data-unreadable",
            f"data.source='{source}': {error}; give '{BUILT_IN_SOURCE}' or the path of a UTF-8 text file",
        ) from error
    return [paragraph.encode() for paragraph in text.split("\n\n") if paragraph.strip()]


def split_documents(
    documents: list[bytes], config: TextConfig
) -> tuple[list[bytes], list[bytes], list[bytes]]:
    """Give train, validation and test documents, in order; none is in two parts."""
    end_train = round(len(documents) * config.train_fraction)
    end_validation = round(len(documents) * (config.train_fraction + config.validation_fraction))
    return documents[:end_train], documents[end_train:end_validation], documents[end_validation:]


def limit_batches(loader: DataLoader[Batch], limit: int | float) -> tuple[Iterable[Batch], int]:
    """Give the first batches and their number: an int counts, a float is a fraction of the loader.

    A fraction above 0 gives at least one batch.
    Source: Lightning's `limit_train_batches`.
    """
    available = len(loader)
    if isinstance(limit, float):
        limit = max(int(available * limit), 1) if limit > 0 else 0
    num_batches = min(limit, available)
    return islice(loader, num_batches), num_batches
