"""Overrides in Hydra's grammar -> a checked TrainConfig, or every mistake at once.

`hydra.compose` would do, for twice the CPU time, loose types ("yes" is true, "3" an integer) and
advice that is wrong here ("use +key"). So: Hydra's parser for the grammar, OmegaConf for
interpolation, and the schema's own check, which is strict, for the types.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from trainkit.core.config import (
    DATA_OF,
    GROUPS,
    OPTIMIZER_OF,
    Mistake,
    TrainConfig,
    iter_fields,
    validate,
)
from trainkit.errors import ConfigError, suggest

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override


def compose(overrides: Sequence[str], *, base: TrainConfig | None = None) -> TrainConfig:
    """Apply `key=value`, `++key=value` and group choices (`model=lstm`, first, wherever they stand).

    A model brings the data and the optimizer that go with it, where these are not chosen. Later overrides
    win; interpolations (`${seed}`) are resolved and checked like values. `base` is what they change.

    Raises:
        ConfigError: holds every mistake: of grammar, names, types and ranges.
    """
    mistakes: list[Mistake] = []
    parsed = _parse(overrides, mistakes)
    config = base or TrainConfig()
    broken = _choose_options(config, parsed, mistakes)
    values = {key: value for key, _, value in iter_fields(config)}
    for override in parsed:
        if not _is_choice(override):
            free = _find_owner(override.key_or_group, values) is not None  # below a key that takes any
            given = [(override.key_or_group, override.value())]
            for key, value in given if free else _flatten(*given[0]):
                if key in values:
                    values[key] = value
                elif (owner := _find_owner(key, values)) is not None:
                    values[owner] = _put(values[owner], key.removeprefix(owner + ".").split("."), value)
                elif key.partition(".")[0] not in broken:
                    mistakes.append(_explain_unknown(key, value, config, list(values)))
    _fill(config, _resolve(values, mistakes))
    mistakes += validate(config)
    if mistakes:
        raise ConfigError(mistakes)
    return config


def fill_config(values: dict[str, Any]) -> TrainConfig:
    """Give the configuration of nested values, as a checkpoint holds them; unknown ones stay out."""
    config = TrainConfig()
    for group, options in GROUPS.items():
        schema = options.get(values.get(group, {}).get("name", ""))
        if schema is not None:
            setattr(config, group, schema())
    for key, _, _ in list(iter_fields(config)):
        node, place = values, key.split(".")
        for part in place[:-1]:
            node = node.get(part, {})
        if place[-1] in node:
            _fill(config, {key: node[place[-1]]})
    return config


def to_yaml(config: TrainConfig) -> str:
    """Give the configuration as YAML that OmegaConf reads back, in the order of the schema."""
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(OmegaConf.create(dataclasses.asdict(config, dict_factory=_escape)))


def _escape(items: list[tuple[str, Any]]) -> dict[str, Any]:
    """Keep a "${" that is resolved text from being read as an interpolation."""
    return {key: value.replace("${", "\\${") if isinstance(value, str) else value for key, value in items}


def _parse(overrides: Sequence[str], mistakes: list[Mistake]) -> list[Override]:
    """Parse all; add a mistake for each that is no assignment of one value."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    parsed = []
    for text in overrides:
        try:
            override = parser.parse_override(text)
        except HydraException as error:
            reason = str(error).partition("\n")[0].partition(" expecting {")[0]
            advice = "write key=value, and quote a value that holds special characters"
            mistakes.append(("config-grammar", f"{text!r}: {reason}; {advice}"))
            continue
        refused = _refuse(override, text)
        if refused:
            mistakes.append(refused)
        else:
            parsed.append(override)
    return parsed


def _refuse(override: Override, text: str) -> Mistake | None:
    """Say why a well-formed override has no meaning here, if so."""
    key = override.key_or_group
    if override.is_delete():
        return "config-delete", f"{text!r}: no key can be deleted; give it a value instead"
    if override.is_add() or (override.is_force_add() and key in GROUPS):
        return "config-add", f"{text!r}: the keys are fixed, none can be added; to set one write {key}=…"
    if override.is_sweep_override():
        return "config-sweep", f"{text!r}: a sweep is many runs, give one value; quote it if it has a comma"
    if override.package is not None:
        return (
            "config-grammar",
            f"{text!r}: packages (@{override.package}) have no meaning here; write {key}=…",
        )
    return None


def _is_choice(override: Override) -> bool:
    return override.key_or_group in GROUPS and not isinstance(override.value(), dict)


def _find_owner(key: str, values: dict[str, Any]) -> str | None:
    """Give the leaf above the key that takes any keys below it."""
    return next(
        (each for each, old in values.items() if type(old) is dict and key.startswith(each + ".")), None
    )


def _put(old: dict[str, Any], path: list[str], value: Any) -> dict[str, Any]:
    """Give a copy with the value at the path."""
    name, *rest = path
    inner = old.get(name)
    return old | {name: _put(inner if isinstance(inner, dict) else {}, rest, value) if rest else value}


def _choose_options(config: TrainConfig, parsed: list[Override], mistakes: list[Mistake]) -> set[str]:
    """Set the chosen options; give the groups whose choice is unknown: their keys cannot be judged."""
    broken, chosen = set(), set()
    for override in filter(_is_choice, parsed):
        group, name = override.key_or_group, override.value()
        options = GROUPS[group]
        if isinstance(name, str) and name in options:
            setattr(config, group, options[name]())
            chosen.add(group)
        else:
            broken.add(group)
            mistakes.append(
                ("config-unknown-choice", f"{group}={name}: no such option{suggest(str(name), options)}")
            )
    model = config.model.name
    implied = {"data": DATA_OF.get(model, ("import",))[0], "optimizer": OPTIMIZER_OF.get(model, "adamw")}
    for group, name in implied.items():
        if "model" in chosen and group not in chosen | broken:
            setattr(config, group, GROUPS[group][name]())
    return broken


def _flatten(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield `a.b=3` for `a={b:3}`."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _flatten(f"{key}.{name}", inner)
    else:
        yield key, value


def _explain_unknown(key: str, value: Any, config: TrainConfig, known: list[str]) -> Mistake:
    inside = [each for each in known if each.startswith(f"{key}.")]
    if inside:
        return "config-type", f"{key}={value!r}: expected keys below it, such as {inside[0]}"
    group, _, name = key.partition(".")
    for option, schema in GROUPS.get(group, {}).items():
        if name in {entry.name for entry in dataclasses.fields(schema)}:
            chosen = getattr(config, group).name
            return "config-unknown-key", f"'{key}' is no key of {group}={chosen}; {group}={option} has it"
    return "config-unknown-key", f"'{key}' is no key of the configuration{_suggest_key(key, known)}"


def _suggest_key(key: str, known: list[str]) -> str:
    hint = suggest(key, known)
    if not hint.startswith("; known:"):
        return hint
    # nothing near: the whole list is long, the section's is enough
    section = key.partition(".")[0] + "."
    return suggest(key, [each for each in known if each.startswith(section)] or known)


def _resolve(values: dict[str, Any], mistakes: list[Mistake]) -> dict[str, Any]:
    """Replace interpolations by what they point at; one that leads nowhere is a mistake, and left out."""
    dynamic = {key for key, value in values.items() if "${" in str(value)}
    if not dynamic:
        return values
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    root = OmegaConf.create({})
    resolved = dict(values)
    for key, value in values.items():
        try:
            OmegaConf.update(root, key, value)
        except OmegaConfBaseException as error:
            mistakes.append(_explain_interpolation(key, value, error))
            dynamic.discard(key)
            del resolved[key]
    for key in sorted(dynamic):
        try:
            found = OmegaConf.select(root, key)
            resolved[key] = (
                OmegaConf.to_container(found, resolve=True) if OmegaConf.is_config(found) else found
            )
        except OmegaConfBaseException as error:
            mistakes.append(_explain_interpolation(key, values[key], error))
            del resolved[key]
    return resolved


def _explain_interpolation(key: str, value: Any, error: Exception) -> Mistake:
    return "config-interpolation", f"{key}={value!r}: {str(error).partition(chr(10))[0]}"


def _fill(config: TrainConfig, values: dict[str, Any]) -> None:
    """Set the leaves; an integer becomes the number or the name that the schema asks for."""
    for key, entry, _ in list(iter_fields(config)):
        if key in values:
            value = values[key]
            if type(value) is int and entry.type in (float, str):
                value = entry.type(value)
            section, _, name = key.rpartition(".")
            node: Any = config
            for part in filter(None, section.split(".")):
                node = getattr(node, part)
            setattr(node, name, value)
