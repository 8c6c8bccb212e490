"""`[tool.trainkit]` of pyproject.toml as checked dataclasses: every mistake at once, typos named.

A guard declares its own table as a frozen dataclass beside its code; `parse` fills it.
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any, TypeVar

from trainkit.errors import ConfigError, UsageError, suggest

T = TypeVar("T")
Mistakes = list[tuple[str, str]]
_KINDS: dict[type, str] = {str: "a string", int: "an integer", float: "a number", bool: "true or false"}


def load_table(root: Path) -> dict[str, Any]:
    """Read `[tool.trainkit]` of `root`/pyproject.toml; an absent file or table is an empty one.

    Raises:
        UsageError: the file is not valid TOML, or the table is no table.
    """
    path = root / "pyproject.toml"
    if not path.exists():
        return {}
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UsageError("settings-syntax", f"{path}: {error}") from error
    tool = document.get("tool", {})
    table = tool.get("trainkit", {}) if isinstance(tool, dict) else tool
    if not isinstance(table, dict):
        raise UsageError("settings-type", f"{path}: [tool.trainkit] must be a table")
    return table


def parse(kind: type[T], table: Mapping[str, Any], *, where: str) -> T:
    """Fill the dataclass `kind` from `table`, whose place in the file is `where`.

    Field metadata may bound a number: `field(metadata={"min": 0})`.

    Raises:
        ConfigError: with every unknown key, wrong type and value out of range.
    """
    mistakes: Mistakes = []
    value = _parse_dataclass(kind, table, where, mistakes)
    if mistakes:
        raise ConfigError(mistakes)
    return typing.cast(T, value)


def _parse_dataclass(kind: type, table: Mapping[str, Any], where: str, mistakes: Mistakes) -> Any:
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    values = {}
    for key, raw in table.items():
        place = f"[{where}] {key}"
        if key not in fields:
            mistakes.append(("settings-unknown-key", f"{place}: no such key{suggest(key, fields)}"))
            continue
        values[key] = _convert(hints[key], raw, place, mistakes)
        _check_minimum(fields[key], values[key], place, mistakes)
    for name, field in fields.items():
        needed = field.default is field.default_factory is dataclasses.MISSING
        if needed and name not in table:
            mistakes.append(("settings-missing-key", f"[{where}] needs the key '{name}'"))
    if mistakes:
        return None
    try:
        return kind(**values)
    except ValueError as error:  # what a __post_init__ refuses
        mistakes.append(("settings-range", f"[{where}] {error}"))
        return None


def _check_minimum(field: dataclasses.Field[Any], value: Any, place: str, mistakes: Mistakes) -> None:
    least = field.metadata.get("min")
    if isinstance(value, float) and not math.isfinite(value):
        mistakes.append(("settings-range", f"{place} = {value!r}: must be a finite number"))
    elif least is not None and isinstance(value, (int, float)) and value < least:
        mistakes.append(("settings-range", f"{place} = {value!r}: must be at least {least!r}"))


def check_inside(key: str, value: str) -> None:
    """Make sure that a setting names something below the project's folder: guards write and remove there.

    Raises:
        ValueError: it is absolute, leads outside, or is the project's folder itself.
    """
    parts = PurePath(value).parts
    if not parts or PurePath(value).is_absolute() or ".." in parts:
        raise ValueError(f"{key} = {value!r}: must be a path inside the project")


def _convert(hint: Any, raw: Any, place: str, mistakes: Mistakes) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:  # only `X | None` is used; TOML has no null, so a value is an X
        return _convert(arguments[0], raw, place, mistakes)
    if origin is tuple and isinstance(raw, list):
        return tuple(_convert(arguments[0], item, place, mistakes) for item in raw)
    if not isinstance(raw, dict):
        return _convert_scalar(hint, raw, place, mistakes)
    if origin is dict:
        return {key: _convert(arguments[1], item, f"{place}.{key}", mistakes) for key, item in raw.items()}
    if dataclasses.is_dataclass(hint):
        where = place.removeprefix("[").replace("] ", ".")
        return _parse_dataclass(typing.cast(type, hint), raw, where, mistakes)
    return _convert_scalar(hint, raw, place, mistakes)


def _convert_scalar(hint: Any, raw: Any, place: str, mistakes: Mistakes) -> Any:
    if hint is float and type(raw) is int:
        return float(raw)
    if type(raw) is not hint:  # not isinstance: true is no integer
        mistakes.append(("settings-type", f"{place} = {raw!r}: expected {_describe(hint)}"))
    return raw


def _describe(hint: Any) -> str:
    if typing.get_origin(hint) is tuple:
        return f"an array, each item {_describe(typing.get_args(hint)[0])}"
    return _KINDS.get(hint, "a table")
