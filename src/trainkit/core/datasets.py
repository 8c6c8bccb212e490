"""Small data sets to train the other models on: written digits, and windows of a series."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from trainkit.core.config import DigitsConfig, SeriesConfig
from trainkit.core.data import Loaders, build_loaders, split
from trainkit.core.dit import ImageBatch
from trainkit.core.sssd import SeriesBatch
from trainkit.errors import UsageError


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


class Windows(Dataset[SeriesBatch]):
    """Windows (window, channels) of one part of a series, the last `horizon` values not observed."""

    def __init__(self, values: Tensor, config: SeriesConfig) -> None:
        self.values, self.config = values, config

    def __len__(self) -> int:
        return max(0, (len(self.values) - self.config.window) // self.config.stride + 1)

    def __getitem__(self, index: int) -> SeriesBatch:
        start = index * self.config.stride
        values = self.values[start : start + self.config.window]
        observed = torch.arange(len(values)) < self.config.window - self.config.horizon
        return SeriesBatch(values, observed[:, None].expand(values.shape))


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


def build_series(config: SeriesConfig, *, seed: int) -> Loaders:
    """Split the series in time, and standardise it by what is known at the end of the train part.

    Raises:
        UsageError: the source cannot be read, or leaves no window to train on.
    """
    values = make_waves() if config.source == "waves" else read_series(Path(config.source))
    parts = split(values, config)
    if len(parts[0]) < config.window:
        raise UsageError(
            "data-empty",
            f"data.source='{config.source}' has no window to train on: {len(parts[0])} of {len(values)} rows "
            f"are in the train part, and data.window={config.window}",
        )
    mean, deviation = parts[0].mean(0), parts[0].std(0)
    deviation = torch.where(deviation > 0, deviation, 1.0)
    sets = [Windows((part - mean) / deviation, config) for part in parts]
    return build_loaders(sets, config, seed=seed, facts={"num_channels": values.shape[1]})


def make_waves(num_rows: int = 2000) -> Tensor:
    """Give two channels (rows, 2): sines of several lengths, with noise, the same every time."""
    time = torch.arange(num_rows, dtype=torch.float32)[:, None]
    lengths = torch.tensor([[24.0, 31.0], [168.0, 90.0]])
    waves = (2 * math.pi * time[:, None] / lengths).sin().sum(1)
    noise = torch.randn(waves.shape, generator=torch.Generator().manual_seed(0))
    return waves + 0.1 * noise


def read_series(path: Path) -> Tensor:
    """Give the numbers below the header of a CSV file, float32 (rows, columns).

    Raises:
        UsageError: it cannot be read, or a cell is no finite number; row and column are named.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        message = f"data.source='{path}': {error}; give 'waves' or a CSV file with a header and numbers"
        raise UsageError("data-unreadable", message) from error
    values = []
    for number, row in enumerate(rows, start=2):
        place = f"'{path}', line {number}"
        if len(row) != len(header):
            message = f"{place}: {len(row)} cells, and the header has {len(header)}"
            raise UsageError("data-unreadable", message)
        values.append([_read_cell(*pair, place) for pair in zip(row, header, strict=True)])
    return torch.tensor(values, dtype=torch.float32).view(len(values), len(header))


def _read_cell(text: str, name: str, place: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UsageError("data-unreadable", f"{place}, {name}: {text!r} is no finite number")
    return value
