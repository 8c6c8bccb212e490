"""A search space in Hydra's sweep grammar: read, and checked at its corners before torch or Optuna load."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import TYPE_CHECKING, Any

from trainkit.core.compose import compose
from trainkit.core.config import GROUPS, Mistake, TrainConfig, iter_fields
from trainkit.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

_OWN = ("exp_name", "resume")  # each trial's own; output_dir may be set, but not swept
_MOST_COMBINATIONS = 500  # composed one by one, 3 ms each; of a larger space only pairs
_MOST_VALUES = {1: 64, 2: 8}  # of an axis, where one is varied, and where two are
_MOST_MISTAKES = 10


@dataclass(frozen=True)
class Axis:
    """A key that is swept: `texts` are its values as an override writes them, of an interval the two ends.

    `numbers` are the same where they have an order, `step` lies between two of them and is 0 in an interval.
    """

    key: str
    source: str
    texts: tuple[str, ...]
    numbers: tuple[float, ...] = ()
    step: float = 0
    log: bool = False

    @property
    def is_interval(self) -> bool:
        """Say whether what lies between the two numbers belongs to it."""
        return bool(self.numbers) and not self.step

    @property
    def is_integer(self) -> bool:
        """Say whether its numbers are integers."""
        return all(type(number) is int for number in self.numbers)

    def list_texts(self) -> tuple[str, ...]:
        """Give all values; of an interval of floats the two ends."""
        if self.is_interval and self.is_integer:
            return tuple(map(str, range(int(self.numbers[0]), int(self.numbers[1]) + 1)))
        return self.texts

    def write(self, value: Any) -> str:
        """Give the override that sets a value; of a range exactly the text that Hydra has for it."""
        if self.step:
            value = self.texts[round((value - self.numbers[0]) / self.step)]
        return f"{self.key}={value if isinstance(value, str) else repr(value)}"


@dataclass(frozen=True)
class Space:
    """What is fixed and what is swept; `config` is the first combination, resolved."""

    fixed: tuple[str, ...]
    axes: tuple[Axis, ...]
    config: TrainConfig

    def write(self, values: dict[str, Any]) -> list[str]:
        """Give the overrides of a combination, in the order of the axes."""
        return [axis.write(values[axis.key]) for axis in self.axes]

    def list_grid(self) -> list[Sequence[Any]]:
        """Give the values of each axis.

        Raises:
            UsageError: one has no end of them.
        """
        values: list[Sequence[Any]] = []
        for axis in self.axes:
            if axis.is_interval and not axis.is_integer:
                message = (
                    f"{axis.source!r}: a grid needs values, not an interval: a,b or choice(…) or range(…)"
                )
                raise UsageError("sweep-space", message)
            whole = axis.is_interval and range(int(axis.numbers[0]), int(axis.numbers[1]) + 1)
            values.append(whole or axis.numbers or axis.texts)
        return values

    def pick(self, number: int) -> dict[str, Any]:
        """Give the combination of the grid that has this number; the last axis changes fastest."""
        picked = {}
        for axis, values in zip(reversed(self.axes), reversed(self.list_grid()), strict=True):
            number, place = divmod(number, len(values))
            picked[axis.key] = values[place]
        return picked


def read_space(overrides: Sequence[str]) -> Space:
    """Tell what is swept from what is fixed, and check the combinations.

    Raises:
        ConfigError: the grammar, an axis or a combination is wrong: all mistakes, up to ten.
        UsageError: nothing is swept.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser, mistakes = OverridesParser.create(), list[Mistake]()
    fixed, axes, seen = list[str](), list[Axis](), set[str]()
    for text in overrides:
        try:
            override = parser.parse_override(text)
            swept = override.is_sweep_override()
            _refuse(override, seen)
            if swept and not (override.is_add() or override.package):
                axes.append(_read_axis(override))
            else:
                fixed.append(text)
        except HydraException:
            fixed.append(text)  # `compose` explains it
        except ValueError as error:
            mistakes.append(("sweep-space", f"{text!r}: {error}"))
    mistakes += _check(fixed, axes)
    if not mistakes and not axes:
        raise UsageError(
            "sweep-space",
            "nothing is searched: give a setting several values: a=1,2 or choice(…), range(…), interval(…), "
            "such as 'optimizer.learning_rate=tag(log,interval(1e-4,1e-2))'",
        )
    if mistakes:
        more = len(mistakes) - _MOST_MISTAKES
        shown = mistakes[:_MOST_MISTAKES]
        raise ConfigError([*shown, (shown[-1][0], f"… and {more} more")] if more > 0 else shown)
    return Space(
        tuple(fixed), tuple(axes), compose([*fixed, *(f"{axis.key}={axis.texts[0]}" for axis in axes)])
    )


def _refuse(override: Override, seen: set[str]) -> None:
    key = override.key_or_group
    if key in _OWN or (key == "output_dir" and override.is_sweep_override()):
        raise ValueError("each trial has its own; name the sweep by --name, its place by output_dir=…")
    if key in seen and (override.is_sweep_override() or f"{key}=*" in seen):
        raise ValueError(f"{key} stands twice")
    seen |= {key, f"{key}=*"} if override.is_sweep_override() else {key}


def _read_axis(override: Override) -> Axis:
    """Give the axis of an override.

    Raises:
        ValueError: it is empty, or what it asks for has no meaning.
    """
    from hydra.core.override_parser.types import Glob, IntervalSweep, RangeSweep

    key, value, source = override.key_or_group, override.value(), str(override.input_line)
    tags: set[str] = getattr(value, "tags", set())
    if tags - {"log"}:
        raise ValueError(f"tag {min(tags - {'log'})!r} has no meaning here, only 'log' has")
    if getattr(value, "shuffle", False):
        raise ValueError("shuffle has no effect: the sampler says what comes first")
    if isinstance(value, IntervalSweep):
        return _read_interval(key, source, value.start, value.end, log="log" in tags)
    numbers: tuple[float, ...] = ()
    step = abs(value.step) if isinstance(value, RangeSweep) else 0
    if isinstance(value, RangeSweep):
        numbers = tuple(sorted(value.range())) if step else ()
        texts = tuple(map(str, numbers))
    else:
        found: Any = value  # hydra's types do not tell of a Glob
        is_glob = isinstance(found, Glob)
        texts = tuple(found.filter([*GROUPS.get(key, {})]) if is_glob else override.sweep_string_iterator())
    if not texts or len(set(texts)) < len(texts):
        raise ValueError("a value stands twice" if texts else "it is empty")
    if "log" in tags and (step != 1 or numbers[0] < 1):
        raise ValueError("log goes with an interval, or a range of integers from 1 in steps of 1")
    return Axis(key, source, texts, numbers, step, "log" in tags)


def _read_interval(key: str, source: str, low: Any, high: Any, *, log: bool) -> Axis:
    """Give an interval, of integers where the schema has an integer."""
    if not (low < high and math.isfinite(high - low)):
        raise ValueError("it is empty: the first end must be less than the second, and both finite")
    if log and low <= 0:
        raise ValueError("a logarithm needs ends above 0")
    if _list_types().get(key) is int:
        if low != int(low) or high != int(high):
            raise ValueError(f"{key} is an integer, and so must be both ends")
        low, high = int(low), int(high)
    return Axis(key, source, (repr(low), repr(high)), (low, high), log=log)


def _list_types() -> dict[str, Any]:
    """Give the type of every key of every option."""
    types = {key: entry.type for key, entry, _ in iter_fields(TrainConfig())}
    for group, options in GROUPS.items():
        for schema in options.values():
            types |= {f"{group}.{entry.name}": entry.type for entry in dataclasses.fields(schema)}
    return types


def _check(fixed: Sequence[str], axes: Sequence[Axis]) -> list[Mistake]:
    """Compose the combinations; give every mistake once."""
    found: dict[Mistake, None] = {}
    for values in _list_checked(axes):
        try:
            compose([*fixed, *values])
        except ConfigError as error:
            found |= dict.fromkeys(error.mistakes)
    return list(found)


def _list_checked(axes: Sequence[Axis]) -> Iterator[list[str]]:
    """Give the overrides of all combinations, or, where these are too many, of each pair of axes with each
    choice of a group, the others at their first value. Of a long axis the ends count, and some between them.
    """
    all_texts = [axis.list_texts() for axis in axes]
    if math.prod(map(len, all_texts)) <= _MOST_COMBINATIONS:
        varied = [set(range(len(axes)))]
    else:
        groups = {place for place, axis in enumerate(axes) if axis.key in GROUPS}
        others = [place for place in range(len(axes)) if place not in groups]
        varied = [groups | set(some) for count in (1, 2) for some in combinations(others, count)] or [groups]
    for places in varied:
        most = _MOST_COMBINATIONS if len(varied) == 1 else _MOST_VALUES[min(2, len(places))]
        taken = [
            _thin(texts, most) if place in places else texts[:1] for place, texts in enumerate(all_texts)
        ]
        for texts in product(*taken):
            yield [f"{axis.key}={text}" for axis, text in zip(axes, texts, strict=True)]


def _thin(texts: Sequence[str], most: int) -> list[str]:
    """Give at most so many, evenly spread, both ends among them."""
    if len(texts) <= most:
        return list(texts)
    return [texts[place * (len(texts) - 1) // (most - 1)] for place in range(most)]
