"""A table as batches of rows, and what every source of rows goes through: schema, cache, split, steps."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy
import torch
from torch import Tensor

from trainkit.core.config import SourceConfig, TableConfig
from trainkit.core.data.cache import Table, digest_files, open_table
from trainkit.core.data.loaders import Batched, Loaders, build_loaders
from trainkit.core.data.source import combine_digests, find_cache, find_files
from trainkit.core.data.splits import Part, choose_rows, sample_rows, split_rows, take_rows
from trainkit.core.data.steps import Fitted, Transform, compare_distributions
from trainkit.core.files import write_text
from trainkit.errors import UsageError

_SAMPLE_ROWS = 10_000  # of each part, to compare distributions


class TableBatch(NamedTuple):
    """Features float32 (batch, features), and targets: classes int64 (batch,), or float32 (batch,)."""

    inputs: Tensor
    targets: Tensor


@dataclass
class Prepared:
    """A source that is open, split, and fitted or told what was fitted.

    `numbers` and `categories` are the columns that features are made of.
    """

    table: Table
    parts: tuple[Part, Part, Part]
    numbers: list[str]
    categories: list[str]
    fitted: Fitted
    is_changed: bool  # the source has other content than when the steps were fitted

    def state_dict(self) -> dict[str, Any]:
        """Give the schema, what was fitted, and the digest of the content, as plain data."""
        manifest = self.table.manifest
        return {"kinds": manifest.kinds, "fitted": asdict(self.fitted), "content": manifest.content}

    def load_state_dict(self, state: Any) -> None:
        """Do nothing: the model depends on it, so it was given when the source was opened."""

    def build_transform(self) -> Transform:
        """Give the steps, ready for batches."""
        return self.fitted.build(self.numbers, self.categories, self.table.manifest.categories)

    def place(self, name: str) -> int:
        """Give the place of a column in its array."""
        manifest = self.table.manifest
        return (manifest.numbers if name in manifest.numbers else manifest.codes).index(name)

    def read_column(self, name: str, part: Part) -> Any:
        """Give a column of a part (rows,), without mapping it."""
        array = "numbers" if name in self.table.manifest.numbers else "codes"
        return self.table.read_columns(
            array, [self.place(name)], lambda start, end: choose_rows(part, start, end)
        )[:, 0]

    def report(self) -> dict[str, Any]:
        """Give sizes, schema and steps, and how far train and validation are apart in each number.

        That is the two-sample Kolmogorov–Smirnov statistic, 0 to 1, of at most 10,000 rows of each.
        """
        train, validation = (sample_rows(part, _SAMPLE_ROWS) for part in self.parts[:2])
        distances = {}
        for name in self.numbers:
            column = self.table.numbers[:, self.place(name)]
            distances[name] = compare_distributions(column[train].numpy(), column[validation].numpy())
        sizes = dict(zip(("train", "validation", "test"), map(len, self.parts), strict=True))
        return {"rows": sizes, **self.state_dict(), "kolmogorov_smirnov": distances}


def open_source(
    config: SourceConfig,
    *,
    target: str = "",
    default: str = "",
    saved: Mapping[str, Any] | None = None,
) -> Prepared:
    """Read a source into its cache, check and split it, and fit the steps on the training part.

    `default` is the kind of columns that are not declared. `saved` is what an earlier run fitted: its schema
    and its statistics are taken.

    Raises:
        UsageError: the source cannot be read, or is not as it is said to be; place and column are named.
        TrainkitError: an address does not answer, or the cache cannot be written.
    """
    cache = find_cache(config.cache_dir)
    files = find_files(config.source, cache=cache, format_name=config.format)
    content = digest_files(files, cache)
    is_changed = saved is not None and saved["content"] != content
    special = [name for name in (target, config.group, config.time) if name]
    wanted = [*config.columns, *(name for name in special if name not in config.columns)]
    declared = dict(config.schema)
    declared |= {config.time: "time"} if config.time else {}
    declared |= {config.group: "category"} if config.group else {}
    if saved is not None and is_changed:
        declared, wanted = dict(saved["kinds"]), list(saved["kinds"])
    table = open_table(
        files,
        cache=cache,
        content=content,
        declared=declared,
        wanted=wanted if config.columns or is_changed else [],
        needed=special,
        default=default,
    )
    manifest = table.manifest
    features = _list_features(config, (saved or {"kinds": manifest.kinds})["kinds"], special)
    prepared = Prepared(
        table,
        (range(0), range(0), range(0)),
        [name for name in features if manifest.kinds[name] == "number"],
        [name for name in features if manifest.kinds[name] == "category"],
        Fitted(list(config.steps)),
        is_changed,
    )
    _check_missing(prepared, config, target)
    groups = None
    if config.group:
        groups = table.codes[:, prepared.place(config.group)].long()
    prepared.parts = split_rows(manifest.num_rows, config, groups)
    if not len(prepared.parts[0]) and saved is None:
        message = f"data.source='{config.source}': {manifest.num_rows} rows leave none to train on"
        raise UsageError("data-empty", message)
    if saved is not None:
        prepared.fitted = Fitted(**saved["fitted"])
    else:
        _fit_once(prepared, config, target)
    return prepared


def _list_features(config: SourceConfig, kinds: Mapping[str, str], special: Sequence[str]) -> list[str]:
    """Give the columns that are learnt from, in the order of the first file: the model has learnt that."""
    return [name for name in config.columns or kinds if name not in special]


def _fit_once(prepared: Prepared, config: SourceConfig, target: str) -> None:
    """Fit the steps, or take what was fitted to the same rows by the same steps: it lies beside the cache."""
    keys = (
        "steps",
        "columns",
        "split",
        "train_fraction",
        "validation_fraction",
        "group",
        "fold",
        "num_folds",
    )
    facts = [numpy.__version__, target, config.time, *(getattr(config, key) for key in keys)]
    note = prepared.table.folder / f"fitted-{combine_digests([json.dumps(facts)])}.json"
    try:
        prepared.fitted = Fitted(**json.loads(note.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        _fit(prepared, target)
        with suppress(OSError):  # it is fitted again the next time
            write_text(note, json.dumps(asdict(prepared.fitted)))


def _check_missing(prepared: Prepared, config: SourceConfig, target: str) -> None:
    manifest, steps = prepared.table.manifest, set(config.steps)
    helps = {"number": ("impute_median", "impute_mean"), "category": ("impute_most_frequent",)}
    for name in (*prepared.numbers, *prepared.categories, target, config.group):
        if name not in manifest.missing:
            continue
        num_missing, place, what = manifest.missing[name]
        known = helps[manifest.kinds[name]]
        if name not in (target, config.group) and not steps.isdisjoint(known):
            continue
        advice = f"add {known[0]} to data.steps, or mend the file"
        if name in (target, config.group):
            advice = "mend the file"
        more = f" (and {num_missing - 1} more)" if num_missing > 1 else ""
        raise UsageError("data-unreadable", f"{place}: {what}{more}; {advice}")
    if config.time in manifest.disorder:
        place, what = manifest.disorder[config.time]
        raise UsageError("data-unreadable", f"{place}: {what}")


def _fit(prepared: Prepared, target: str) -> None:
    manifest, train = prepared.table.manifest, prepared.parts[0]
    at_once = max(1, (1 << 25) // len(train))  # 128 MiB of columns
    for first in range(0, len(prepared.numbers), at_once):
        names = prepared.numbers[first : first + at_once]
        columns = prepared.table.read_columns(
            "numbers", [*map(prepared.place, names)], lambda start, end: choose_rows(train, start, end)
        )
        prepared.fitted.fit_numbers(names, columns.T)
    is_class = target in manifest.codes
    for name in [*prepared.categories, *([target] if is_class else [])]:
        codes = prepared.read_column(name, train)
        prepared.fitted.fit_categories(name, codes, manifest.categories[name])


class Rows(Batched):
    """The rows of one part, as features and targets."""

    def __init__(self, prepared: Prepared, part: Part, target: str) -> None:
        self.table, self.part = prepared.table, part
        self.transform = prepared.build_transform()
        manifest, places = self.table.manifest, [*map(prepared.place, prepared.numbers)]
        self.columns = None if places == [*range(len(manifest.numbers))] else torch.tensor(places).long()
        self.categories = torch.tensor([*map(prepared.place, prepared.categories)]).long()
        self.target = prepared.place(target)
        self.classes = (
            prepared.fitted.translate(target, manifest.categories[target])
            if target in manifest.codes
            else None
        )

    def __len__(self) -> int:
        return len(self.part)

    def __getitems__(self, indices: Sequence[int]) -> TableBatch:
        rows = take_rows(self.part, indices)
        numbers = self.table.numbers.index_select(0, rows)  # not [rows], which asks other threads for help
        codes = (
            self.table.codes.index_select(0, rows)
            if len(self.categories) or self.classes is not None
            else None
        )
        if self.classes is not None and codes is not None:
            targets = self.classes[codes[:, self.target].long()]
        else:
            targets = numbers[:, self.target]
        features = numbers if self.columns is None else numbers.index_select(1, self.columns)
        if codes is not None and len(self.categories):
            return TableBatch(self.transform(features, codes.index_select(1, self.categories)), targets)
        return TableBatch(self.transform(features), targets)


def build_table(config: TableConfig, *, seed: int, saved: Mapping[str, Any] | None = None) -> Loaders:
    """Give the rows of a table; a target of kind `category` makes classes of it, `number` a regression.

    Raises:
        UsageError: the source cannot be read, or is not as it is said to be.
        TrainkitError: an address does not answer, or the cache cannot be written.
    """
    prepared = open_source(config, target=config.target, saved=saved)
    kind = prepared.table.manifest.kinds[config.target]
    if kind not in ("number", "category"):
        message = (
            f"data.target='{config.target}' is of kind {kind}: declare data.schema.{config.target}=category"
        )
        raise UsageError("data-column", message)
    num_features = prepared.fitted.count_features(prepared.numbers, prepared.categories)
    if not num_features:
        left = ", ".join(f"{name} ({each})" for name, each in prepared.table.manifest.kinds.items())
        raise UsageError("data-column", f"data.source='{config.source}': no column to learn from: {left}")
    facts = {"num_features": num_features}
    if kind == "category":
        facts["num_classes"] = len(prepared.fitted.categories[config.target])
        _check_classes(
            prepared, config, advice="give data.split=random, or more rows" if saved is None else ""
        )
    parts = [Rows(prepared, part, config.target) for part in prepared.parts]
    return build_loaders(parts, config, seed=seed, facts=facts, prepared=prepared)


def _check_classes(prepared: Prepared, config: TableConfig, *, advice: str) -> None:
    """Refuse a class that the training part does not have: nothing could be said of its loss."""
    known = prepared.table.manifest.categories[config.target]
    new = (prepared.fitted.translate(config.target, known)[:-1] < 0).nonzero()[:, 0].tolist()
    for part, name in zip(prepared.parts, ("train", "validation", "test"), strict=True):
        codes = torch.from_numpy(prepared.read_column(config.target, part))
        unseen = torch.isin(codes, torch.tensor(new, dtype=codes.dtype)).nonzero()
        if len(unseen):
            row = int(take_rows(part, [int(unseen[0])])) + 1
            message = (
                f"'{config.source}', row {row}, {config.target}: the class {known[int(codes[unseen[0]])]!r} "
                f"of the {name} part is in no row that was trained on" + (f"; {advice}" if advice else "")
            )
            raise UsageError("data-column", message)
