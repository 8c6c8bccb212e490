"""Named steps from the cells of a row to features: fitted on the training part, kept with the weights.

Numbers: `impute_mean`, `impute_median`, then `standardize` or `min_max`. Categories: `impute_most_frequent`,
then `one_hot`; without it a category is the number of its place among the training part's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy
import torch
from torch import Tensor
from torch.nn import functional as F

Pair = tuple[float, float]


class Step(NamedTuple):
    """`fit` gives two numbers of a column (rows,) without what is missing; `apply` takes (…, columns)."""

    fit: Callable[[Any], Pair]
    apply: Callable[[Tensor, Tensor, Tensor], Tensor]


def _spread(values: Any) -> Pair:
    """Give mean and standard deviation (of a sample, as torch has it); 1 where nothing varies."""
    deviation = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return float(values.mean()), deviation if deviation > 0 else 1.0


def _range(values: Any) -> Pair:
    low, high = float(values.min()), float(values.max())
    return low, high - low if high > low else 1.0


def _scale(values: Tensor, offset: Tensor, unit: Tensor) -> Tensor:
    return (values - offset) / unit


def _fill(values: Tensor, filling: Tensor, _: Tensor) -> Tensor:
    return torch.where(values.isnan(), filling, values)


NUMBER_STEPS = {
    "impute_mean": Step(lambda values: (float(values.mean()), 0.0), _fill),
    "impute_median": Step(lambda values: (float(numpy.median(values)), 0.0), _fill),
    "standardize": Step(_spread, _scale),
    "min_max": Step(_range, _scale),
}


@dataclass
class Fitted:
    """What the training part has taught: plain data, so that a checkpoint can hold it.

    `numbers` has, of each column, two numbers for each of the number steps; `categories` those of each column
    in order; `most_frequent` the place of the most frequent one among them.
    """

    steps: list[str]
    numbers: dict[str, list[list[float]]] = field(default_factory=dict)
    categories: dict[str, list[str]] = field(default_factory=dict)
    most_frequent: dict[str, int] = field(default_factory=dict)

    @property
    def number_steps(self) -> list[str]:
        """The steps that numbers go through, in order."""
        return [name for name in self.steps if name in NUMBER_STEPS]

    def fit_numbers(self, names: Sequence[str], columns: Iterable[Any]) -> None:
        """Learn from columns of the training part (rows,), float32, nan where missing."""
        for name, column in zip(names, columns, strict=True):
            values = column.astype(numpy.float64)
            learnt = []
            for step in self.number_steps:
                known = values[~numpy.isnan(values)]
                pair = NUMBER_STEPS[step].fit(known) if len(known) else (0.0, 1.0)
                learnt.append(list(pair))
                offset, unit = (torch.tensor(each, dtype=torch.float64) for each in pair)
                values = NUMBER_STEPS[step].apply(torch.from_numpy(values), offset, unit).numpy()
            self.numbers[name] = learnt

    def fit_categories(self, name: str, codes: Any, known: Sequence[str]) -> None:
        """Learn from codes of the training part (rows,), places in `known`, -1 where missing."""
        counts = numpy.bincount(codes[codes >= 0], minlength=len(known))
        found = sort_categories([each for each, count in zip(known, counts, strict=True) if count])
        self.categories[name] = found
        places = {each: place for place, each in enumerate(known)}
        ordered = [int(counts[places[each]]) for each in found]
        self.most_frequent[name] = ordered.index(max(ordered)) if ordered else 0

    def count_features(self, numbers: Sequence[str], categories: Sequence[str]) -> int:
        """Give the number of features of these columns."""
        sizes = [len(self.categories[name]) if "one_hot" in self.steps else 1 for name in categories]
        return len(numbers) + sum(sizes)

    def build(
        self, numbers: Sequence[str], categories: Sequence[str], known: Mapping[str, Sequence[str]]
    ) -> Transform:
        """Give the steps as tensors; `known` are the categories that the codes of the data are places in."""
        pairs = torch.tensor([self.numbers[name] for name in numbers], dtype=torch.float32)
        tables = []
        for name in categories:
            filling = self.most_frequent[name] if "impute_most_frequent" in self.steps else -1
            tables.append(self.translate(name, known[name], missing=filling))
        stages = [
            (NUMBER_STEPS[step].apply, pairs[:, number, 0], pairs[:, number, 1])
            for number, step in enumerate(self.number_steps)
            if len(numbers)
        ]
        sizes = [len(self.categories[name]) for name in categories]
        return Transform(stages, tables, sizes if "one_hot" in self.steps else None)

    def translate(self, name: str, known: Sequence[str], *, missing: int = -1) -> Tensor:
        """Give, for each code of the data and at last for a missing one, the place among the learnt ones.

        What was never seen is -1.
        """
        places = {each: place for place, each in enumerate(self.categories[name])}
        return torch.tensor([*(places.get(each, -1) for each in known), missing], dtype=torch.int64)


@dataclass
class Transform:
    """The steps, ready for batches."""

    stages: list[tuple[Callable[[Tensor, Tensor, Tensor], Tensor], Tensor, Tensor]]
    tables: list[Tensor]
    sizes: list[int] | None

    def __call__(self, numbers: Tensor, codes: Tensor | None = None) -> Tensor:
        """Map float32 (…, numbers) and codes (batch, categories) to float32 (…, features)."""
        for apply, first, second in self.stages:
            numbers = apply(numbers, first, second)
        if codes is None or not self.tables:
            return numbers
        columns = [numbers]
        for number, table in enumerate(self.tables):
            place = table[codes[:, number].long()]  # -1, what is missing, is the table's last
            if self.sizes is None:
                columns.append(place[:, None].to(numbers.dtype))
            else:  # never seen: all zeros
                columns.append(F.one_hot(place + 1, self.sizes[number] + 1)[:, 1:].to(numbers.dtype))
        return torch.cat(columns, dim=1)


def sort_categories(names: Sequence[str]) -> list[str]:
    """Give whole numbers in their order, and all else by letters."""
    try:
        return sorted(names, key=int)
    except ValueError:
        return sorted(names)


def compare_distributions(first: Any, second: Any) -> float:
    """Give the largest distance of two samples' distribution functions: from 0, alike, to 1.

    Source: the two-sample statistic of Kolmogorov and Smirnov.
    """
    first, second = (numpy.sort(each[~numpy.isnan(each)]) for each in (first, second))
    if not len(first) or not len(second):
        return 0.0
    both = numpy.concatenate((first, second))
    shares = [numpy.searchsorted(each, both, side="right") / len(each) for each in (first, second)]
    return float(numpy.abs(shares[0] - shares[1]).max())
