"""Small data sets to train the other models on: written digits, and windows of a series."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from trainkit.core.config import DigitsConfig, SeriesConfig
from trainkit.core.data import Batched, Loaders, build_loaders, split
from trainkit.core.data.cache import Table
from trainkit.core.data.splits import Part, split_rows
from trainkit.core.data.table import TableBatch, open_source
from trainkit.core.dit import ImageBatch
from trainkit.core.sssd import SeriesBatch
from trainkit.errors import UsageError, suggest


class Digits(Dataset[ImageBatch]):
    """Images (1, 8, 8) in [-1, 1] and labels; with `shift`, moved by random numbers of pixels."""

    def __init__(self, images: Tensor, labels: Tensor, *, shift: int) -> None:
        self.images, self.labels, self.shift = images, labels, shift

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> ImageBatch:
        image = self.images[index]
        if self.shift:
            down, right = torch.randint(-self.shift, self.shift + 1, (2,)).tolist()
            image = image.roll((down, right), dims=(1, 2))
        return ImageBatch(image, self.labels[index])


class Windows(Batched):
    """Windows (window, channels) of one part of a series, the last `horizon` values not observed.

    Of several horizons each window has as many samples. With a target: what is observed before the farthest
    horizon, and the target's values at each of them.
    """

    def __init__(
        self,
        rows: Tensor | Table,
        config: SeriesConfig,
        *,
        part: range | None = None,
        transform: Callable[[Tensor], Tensor] | None = None,
        columns: Sequence[int] = (),
        target: int | None = None,
    ) -> None:
        self.rows, self.config, self.transform = rows, config, transform
        self.part = part if part is not None else range(len(self._read(slice(0, None))))
        self.columns, self.target = list(columns), target  # of a table; of what is learnt from

    def _read(self, rows: slice | Tensor) -> Tensor:
        whole = self.rows.numbers if isinstance(self.rows, Table) else self.rows
        if isinstance(rows, slice):
            return whole[rows]
        return whole.index_select(0, rows.flatten()).view(*rows.shape, -1)

    def read(self, rows: slice | Tensor) -> Tensor:
        """Give rows (…, channels) after the steps."""
        values = self._read(rows)
        values = values[..., self.columns] if self.columns else values
        return self.transform(values) if self.transform is not None else values

    @property
    def values(self) -> Tensor:
        """All rows of the part (rows, channels)."""
        return self.read(slice(self.part.start, self.part.stop))

    @property
    def horizons(self) -> list[int]:
        """How many rows ahead."""
        return self.config.horizons or [self.config.horizon]

    def __len__(self) -> int:
        num_windows = max(0, (len(self.part) - self.config.window) // self.config.stride + 1)
        return num_windows if self.target is not None else num_windows * len(self.horizons)

    def __getitems__(self, indices: Sequence[int]) -> SeriesBatch | TableBatch:
        horizons, window = torch.tensor(self.horizons), self.config.window
        number = torch.tensor(indices)
        if self.target is None:
            ahead = horizons[number % len(horizons)]
            number = number // len(horizons)
        starts = self.part.start + number * self.config.stride
        values = self.read(starts[:, None] + torch.arange(window))  # (batch, window, channels)
        if self.target is None:
            observed = torch.arange(window) < window - ahead[:, None]
            return SeriesBatch(values, observed[..., None].expand(values.shape).contiguous())
        past = window - int(horizons.max())
        targets = values[:, past - 1 + horizons, self.target]
        return TableBatch(values[:, :past], targets[:, 0] if len(horizons) == 1 else targets)


def build_digits(config: DigitsConfig, *, seed: int) -> Loaders:
    """Split the digits at random, the same way for every seed; only train is shifted.

    Raises:
        UsageError: scikit-learn is not there.
    """
    try:
        from sklearn.datasets import load_digits  # late: an extra
    except ModuleNotFoundError as error:
        message = "data=digits needs scikit-learn: pip install 'trainkit[sklearn]'"
        raise UsageError("missing-dependency", message) from error
    found = load_digits()
    images = torch.as_tensor(found.images, dtype=torch.float32)[:, None] / 8 - 1
    labels = torch.as_tensor(found.target, dtype=torch.int64)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    parts = [
        Digits(images[part], labels[part], shift=config.shift * (number == 0))
        for number, part in enumerate(split(order, config))
    ]
    facts = {"image_size": 8, "num_channels": 1, "num_classes": 10}
    return build_loaders(parts, config, seed=seed, draws=config.shift > 0, facts=facts)


def build_series(config: SeriesConfig, *, seed: int, saved: Mapping[str, Any] | None = None) -> Loaders:
    """Split the series in time, and scale it by what is known at the end of the train part.

    Raises:
        UsageError: the source cannot be read, is no series of numbers, or leaves no window to train on.
    """
    if config.source == "waves":
        values = make_waves()
        parts = [values[_bounds(part)] for part in split_rows(len(values), config)]
        _check_windows(parts, config)
        mean, deviation = parts[0].mean(0), parts[0].std(0)
        deviation = torch.where(deviation > 0, deviation, 1.0)
        sets = [Windows((part - mean) / deviation, config) for part in parts]
        return build_loaders(sets, config, seed=seed, facts={"num_channels": values.shape[1]})
    prepared = open_source(config, default="number", saved=saved)
    if not prepared.numbers or prepared.categories:
        odd = prepared.categories[0] if prepared.categories else config.source
        raise UsageError("data-column", f"data=series is of numbers, and '{odd}' is none: give data.columns")
    _check_windows(prepared.parts, config)
    facts, target = {"num_channels": len(prepared.numbers)}, None
    if config.target:
        if config.target not in prepared.numbers:
            hint = suggest(config.target, prepared.numbers)
            raise UsageError("data-column", f"data.target='{config.target}' is no column of numbers{hint}")
        target, horizons = prepared.numbers.index(config.target), config.horizons or [config.horizon]
        num_features = (config.window - max(horizons)) * len(prepared.numbers)
        facts = {"num_features": num_features, "num_targets": len(horizons)}
    columns, transform = [*map(prepared.place, prepared.numbers)], prepared.build_transform()
    windows = [
        Windows(prepared.table, config, part=part, transform=transform, columns=columns, target=target)
        for part in prepared.parts
        if isinstance(part, range)
    ]
    return build_loaders(windows, config, seed=seed, facts=facts, prepared=prepared)


def _bounds(part: Part) -> slice:
    assert isinstance(part, range), "a series is split without gaps"
    return slice(part.start, part.stop)


def _check_windows(parts: Sequence[Any], config: SeriesConfig) -> None:
    if len(parts[0]) < config.window and config.train_fraction:
        raise UsageError(
            "data-empty",
            f"data.source='{config.source}' has no window to train on: {len(parts[0])} of "
            f"{sum(map(len, parts))} rows are in the train part, and data.window={config.window}",
        )


def make_waves(num_rows: int = 2000) -> Tensor:
    """Give two channels (rows, 2): sines of several lengths, with noise, the same every time."""
    time = torch.arange(num_rows, dtype=torch.float32)[:, None]
    lengths = torch.tensor([[24.0, 31.0], [168.0, 90.0]])
    waves = (2 * math.pi * time[:, None] / lengths).sin().sum(1)
    noise = torch.randn(waves.shape, generator=torch.Generator().manual_seed(0))
    return waves + 0.1 * noise
