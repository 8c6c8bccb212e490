"""Loaders whose order and randomness depend on seed and epoch alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from trainkit.core.config import DataConfig, SplitConfig
from trainkit.core.rng import keep_rng, mix_seed, seed_present
from trainkit.core.world import World
from trainkit.errors import UsageError

Sliceable = TypeVar("Sliceable", Tensor, list[bytes])
IGNORE_INDEX = -100  # torch's own default in cross_entropy


class Batch(NamedTuple):
    """Tokens and the tokens that follow them, int64 (batch, time); padded targets are IGNORE_INDEX."""

    tokens: Tensor
    targets: Tensor


class EpochSampler(Sampler[Any]):
    """An order that depends on (seed, epoch) alone: a resumed run repeats it."""

    def __init__(self, num_samples: int, *, seed: int, shuffle: bool = True, keyed: bool = False) -> None:
        self.num_samples = num_samples
        self.seed = seed
        self.shuffle = shuffle
        self.keyed = keyed  # it yields (epoch, index), for Seeded
        self.epoch = 0
        self.start = 0
        self.rank, self.num_ranks, self.batch_size = 0, 1, 1

    def set_epoch(self, epoch: int, *, start: int = 0) -> None:
        """Choose the order of the next pass, and its first sample; both count from 0."""
        self.epoch = epoch
        self.start = start

    def deal(self, world: World, batch_size: int) -> int:
        """Leave this rank every `world.size`-th batch; give the number of all.

        The last one is repeated where ranks would have unequal numbers: which batches make a step does not
        depend on how many processes share them.
        """
        self.rank, self.num_ranks, self.batch_size = world.rank, world.size, batch_size
        return math.ceil(self.num_samples / batch_size)

    def _take_own(self, order: Tensor) -> Tensor:
        if self.num_ranks == 1 or not len(order):
            return order
        size, last = self.batch_size, math.ceil(len(order) / self.batch_size) - 1
        own = range(self.rank, last + 1 + -(last + 1) % self.num_ranks, self.num_ranks)
        return torch.cat([order[min(number, last) * size :][:size] for number in own])

    def __len__(self) -> int:
        num_own = (
            self.num_samples if self.num_ranks == 1 else len(self._take_own(torch.arange(self.num_samples)))
        )
        return max(0, num_own - self.start)

    def __iter__(self) -> Iterator[Any]:
        if self.shuffle:
            generator = torch.Generator().manual_seed(mix_seed(self.seed, self.epoch))
            order = torch.randperm(self.num_samples, generator=generator)
        else:
            order = torch.arange(self.num_samples)
        return self._yield(self._take_own(order)[self.start :], self.epoch)

    def _yield(self, order: Tensor, epoch: int) -> Iterator[Any]:
        """Yield a part at a time: as Python's numbers, ten million indices take 400 MB."""
        for start in range(0, len(order), 1 << 16):
            part = order[start : start + (1 << 16)]
            yield from ([(epoch, index) for index in part.tolist()] if self.keyed else part.tolist())


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
        # a worker's own state is used by none
        with keep_rng() if get_worker_info() is None else nullcontext():
            seed_present(mix_seed(self.seed, epoch, index))
            return self.dataset[index]


class Batched(Dataset[Any]):
    """A data set that gives whole batches at once: what collating its samples would give, to the bit."""

    def __getitems__(self, indices: Sequence[int]) -> Any:
        """Give the batch of these samples."""
        raise NotImplementedError

    def __getitem__(self, index: int) -> Any:
        batch = self.__getitems__([index])
        return type(batch)(*(part[0] for part in batch))


def _keep(batch: Any) -> Any:
    return batch


@dataclass(frozen=True)
class Loaders:
    """What is trained, validated and tested on; `facts` are what a model must know of it, such as vocab_size.

    `sampler`, where it is ours, shuffles `train`: set its epoch first. `prepared`, where there are steps that
    were fitted, is saved with the run.
    """

    train: Iterable[Any]
    validation: Iterable[Any]
    test: Iterable[Any]
    sampler: EpochSampler | None = None
    facts: Mapping[str, int] = field(default_factory=dict)
    prepared: Any = None


def build_loaders(
    parts: Sequence[Dataset[Any]],
    config: DataConfig,
    *,
    seed: int,
    draws: bool = False,
    facts: Mapping[str, int] = MappingProxyType({}),
    prepared: Any = None,
) -> Loaders:
    """Give loaders of (train, validation, test); `draws` says that reading a sample draws random numbers."""
    samplers, loaders = [], []
    num_workers = config.num_workers
    for number, part in enumerate(parts):
        num_samples = len(part)  # type: ignore[arg-type]
        samplers.append(EpochSampler(num_samples, seed=seed, shuffle=number == 0, keyed=draws))
        collate = _keep if isinstance(part, Batched) and not draws else None
        # A generator of its own: without one, every iter(loader) draws from the global RNG.
        loader = DataLoader(Seeded(part, seed=seed) if draws else part, batch_size=config.batch_size,
                            sampler=samplers[-1], generator=torch.Generator(), num_workers=num_workers,
                            persistent_workers=num_workers > 0, collate_fn=collate)  # fmt: skip
        loaders.append(loader)
    return Loaders(loaders[0], loaders[1], loaders[2], samplers[0], facts, prepared)


def split(values: Sliceable, config: SplitConfig) -> tuple[Sliceable, Sliceable, Sliceable]:
    """Give the first values for training, the next for validation, the rest for test."""
    end_train = round(len(values) * config.train_fraction)
    end_validation = round(len(values) * (config.train_fraction + config.validation_fraction))
    return values[:end_train], values[end_train:end_validation], values[end_validation:]


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
