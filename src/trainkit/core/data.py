"""Loaders whose order and randomness depend on seed and epoch alone; text as byte tokens in windows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from trainkit.core.config import DataConfig, ImportedDataConfig, TextConfig
from trainkit.core.registry import import_object
from trainkit.core.rng import capture_rng, restore_rng, seed_everything
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


class EpochSampler(Sampler[Any]):
    """An order that depends on (seed, epoch) alone: a resumed run repeats it."""

    def __init__(self, num_samples: int, *, seed: int, shuffle: bool = True, keyed: bool = False) -> None:
        self.num_samples = num_samples
        self.seed = seed
        self.shuffle = shuffle
        self.keyed = keyed  # it yields (epoch, index), for Seeded
        self.epoch = 0
        self.start = 0

    def set_epoch(self, epoch: int, *, start: int = 0) -> None:
        """Choose the order of the next pass, and its first sample; both count from 0."""
        self.epoch = epoch
        self.start = start

    def __len__(self) -> int:
        return max(0, self.num_samples - self.start)

    def __iter__(self) -> Iterator[Any]:
        order = list(range(self.num_samples))
        if self.shuffle:
            # 2**20 epochs to a seed; the modulus keeps the largest seed within 64 bits
            generator = torch.Generator().manual_seed((self.seed * 2**20 + self.epoch) % 2**63)
            order = torch.randperm(self.num_samples, generator=generator).tolist()
        rest = order[self.start :]
        return iter([(self.epoch, index) for index in rest] if self.keyed else rest)


class Seeded(Dataset[Any]):
    """A data set whose random draws depend on (seed, epoch, index) alone, in whichever process it is read.

    Its keys are (epoch, index). Draws from torch, `random` and NumPy are covered.
    """

    def __init__(self, dataset: Dataset[Any], *, seed: int) -> None:
        self.dataset = dataset
        self.seed = seed

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, key: tuple[int, int]) -> Any:
        epoch, index = key
        before = capture_rng() if get_worker_info() is None else None  # a worker's own state is used by none
        seed_everything(hash((self.seed, epoch, index)) % 2**32)  # of integers: the same in every process
        try:
            return self.dataset[index]
        finally:
            if before is not None:
                restore_rng(before)


@dataclass(frozen=True)
class Loaders:
    """What is trained, validated and tested on; `facts` are what a model must know of it, such as vocab_size.

    `sampler`, where it is ours, shuffles `train`: set its epoch first.
    """

    train: Iterable[Any]
    validation: Iterable[Any]
    test: Iterable[Any]
    sampler: EpochSampler | None = None
    facts: Mapping[str, int] = field(default_factory=dict)


def build_loaders(
    parts: Sequence[Dataset[Any]],
    config: DataConfig,
    *,
    seed: int,
    draws: bool = False,
    facts: Mapping[str, int] = MappingProxyType({}),
) -> Loaders:
    """Give loaders of (train, validation, test); `draws` says that reading a sample draws random numbers."""
    samplers, loaders = [], []
    for number, part in enumerate(parts):
        samplers.append(EpochSampler(len(part), seed=seed, shuffle=number == 0, keyed=draws))  # type: ignore[arg-type]
        # A generator of its own: without one, every iter(loader) draws from the global RNG.
        loader = DataLoader(Seeded(part, seed=seed) if draws else part, batch_size=config.batch_size,
                            sampler=samplers[-1], generator=torch.Generator(), num_workers=config.num_workers,
                            persistent_workers=config.num_workers > 0)  # fmt: skip
        loaders.append(loader)
    return Loaders(loaders[0], loaders[1], loaders[2], samplers[0], facts)


def import_data(config: ImportedDataConfig, *, seed: int) -> Any:
    """Give what `target` makes: an object with loaders of its own, or three loaders or data sets as Loaders.

    Raises:
        UsageError: it cannot be imported, or is none of these.
    """
    made = import_object(config.target, key="data.target")(**config.kwargs)
    if isinstance(made, Loaders) or hasattr(made, "train_dataloader"):
        return made
    if not isinstance(made, Sequence) or len(made) != 3:
        raise UsageError(
            "data-unsuited",
            f"data.target='{config.target}' made a {type(made).__name__}; it must make a LightningDataModule "
            "or (train, validation, test) as loaders or data sets",
        )
    if all(isinstance(part, Dataset) and hasattr(part, "__len__") for part in made):
        return build_loaders(made, config, seed=seed, draws=True)
    return Loaders(*made)


def build_text(config: TextConfig, *, seed: int) -> Loaders:
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
    return build_loaders((train, validation, test), config, seed=seed, facts={"vocab_size": NUM_BYTES})


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


def count_batches(loader: Any, limit: int | float) -> float:
    """Give the number of batches to take: an int counts, a float is a fraction of the loader.

    A fraction above 0 gives at least one batch; a loader without a length has infinitely many.
    Source: Lightning's `limit_train_batches`.

    Raises:
        UsageError: a fraction of a loader that does not know its length.
    """
    try:
        available: float = len(loader)
    except TypeError:
        available = math.inf
    if isinstance(limit, int):
        return min(limit, available)
    if limit in (0.0, 1.0):
        return available if limit else 0
    if available == math.inf:
        raise UsageError("data-unsuited", f"a limit of {limit!r} is no count, and the loader has no length")
    return min(max(int(available * limit), 1), available)
