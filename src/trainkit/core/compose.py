"""Overrides in Hydra's grammar, and files -> a checked TrainConfig, or every mistake at once.

`hydra.compose` would do, for twice the CPU time, loose types ("yes" is true, "3" an integer) and
advice that is wrong here ("use +key"). So: Hydra's parser for the grammar, OmegaConf for
interpolation, and the schema's own check, which is strict, for the types.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
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
from trainkit.core.templates import Assignment, Layer, Templates, flatten
from trainkit.errors import ConfigError, suggest

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override


@dataclasses.dataclass(frozen=True)
class Change:
    """What one override or line of a file made of a key, or, with the key of a group, of a choice."""

    key: str
    old: Any
    new: Any
    where: str


@dataclasses.dataclass(frozen=True)
class Composition:
    """A configuration, how it differs from the one before, and the overrides that make no difference."""

    config: TrainConfig
    changes: list[Change]
    idle: dict[str, str]  # override -> why


def compose(
    overrides: Sequence[str],
    *,
    base: TrainConfig | None = None,
    config_dir: Path | None = None,
    config_name: str | None = None,
) -> TrainConfig:
    """Apply `key=value`, `++key=value` and group choices (`model=lstm`, first, wherever they stand).

    A model brings the data and the optimizer that go with it, where these are not chosen. Later overrides
    win; interpolations (`${seed}`) are resolved and checked like values. `base` is what they change. With
    `config_dir` its `config.yaml` (or `config_name`) comes before them, and its groups can be chosen.

    Raises:
        ConfigError: holds every mistake: of grammar, names, types and ranges.
    """
    return explain(overrides, base=base, config_dir=config_dir, config_name=config_name).config


def explain(
    overrides: Sequence[str],
    *,
    base: TrainConfig | None = None,
    config_dir: Path | None = None,
    config_name: str | None = None,
) -> Composition:
    """Do what `compose` does, and say what each override and file changed.

    Raises:
        ConfigError: as `compose`.
    """
    mistakes: list[Mistake] = []
    templates = Templates(config_dir, config_name, mistakes)
    parsed = _parse(overrides, templates, mistakes)
    config = base or TrainConfig()
    before = {group: getattr(config, group).name for group in GROUPS}
    choices = _read_choices(parsed, templates, mistakes)
    assignments = _apply_layers(config, templates.read(choices), choices, templates)
    places = {group: f"{where}: " for group, (_, where) in templates.chosen.items() if group not in choices}
    _choose_implied(config, templates)
    assignments += _list_given(parsed, templates)
    values = {key: value for key, _, value in iter_fields(config)}
    history = _assign(config, values, assignments, templates.broken, mistakes)
    places |= {each.key: f"{each.where}: " if each.in_file else "" for each, _ in history}
    _fill(config, _resolve(values, places, mistakes))
    mistakes += _judge(config, places)
    if not mistakes:
        mistakes += _check_targets(config, places)
    if mistakes:
        raise ConfigError(mistakes)
    changes = [*_list_choices(templates, before), *_list_changes(config, history)]
    return Composition(config, changes, _find_idle(parsed, changes, history, templates))


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


def _parse(overrides: Sequence[str], templates: Templates, mistakes: list[Mistake]) -> list[Override]:
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
        refused = _refuse(override, text, templates)
        if refused:
            mistakes.append(refused)
        else:
            parsed.append(override)
    return parsed


def _refuse(override: Override, text: str, templates: Templates) -> Mistake | None:
    """Say why a well-formed override has no meaning here, if so."""
    key = override.key_or_group
    if override.is_delete():
        return "config-delete", f"{text!r}: no key can be deleted; give it a value instead"
    if _adds(override, templates):
        return "config-add", f"{text!r}: the keys are fixed, none can be added; to set one write {key}=…"
    if override.is_sweep_override():
        return "config-sweep", f"{text!r}: a sweep is many runs, give one value; quote it if it has a comma"
    if override.package is not None:
        return (
            "config-grammar",
            f"{text!r}: packages (@{override.package}) have no meaning here; write {key}=…",
        )
    return None


def _adds(override: Override, templates: Templates) -> bool:
    """Say whether it adds a key; `+experiment=small`, as Hydra has it for a group of the folder, does not."""
    is_group = templates.is_group(override.key_or_group)
    if override.is_force_add():
        return is_group
    return bool(override.is_add()) and not (is_group and override.key_or_group not in GROUPS)


# --- choices


def _is_choice(override: Override, templates: Templates) -> bool:
    return templates.is_group(override.key_or_group) and not isinstance(override.value(), dict)


def _read_choices(
    parsed: list[Override], templates: Templates, mistakes: list[Mistake]
) -> dict[str, tuple[str, str]]:
    """Give group -> (option, override) of what is chosen on the command line; the last one wins."""
    choices = {}
    for override in parsed:
        group, option = override.key_or_group, override.value()
        if not _is_choice(override, templates):
            continue
        if templates.is_option(group, option):
            choices[group] = (str(option), str(override.input_line))
        else:
            templates.broken.add(group)
            hint = suggest(str(option), templates.list_options(group))
            mistakes.append(("config-unknown-choice", f"{group}={option}: no such option{hint}"))
    return choices


def _apply_layers(
    config: TrainConfig, layers: list[Layer], given: Mapping[str, Any], templates: Templates
) -> list[Assignment]:
    """Set the chosen options; give the values that the files have for them.

    A section with a name, such as `model: {name: lstm, hidden_dim: 8}`, is a choice with its values:
    another choice on the command line replaces the whole of it.
    """
    assignments: list[Assignment] = []
    chosen: dict[str, str] = {}

    def start(group: str, option: str) -> None:
        nonlocal assignments
        chosen[group] = option
        setattr(config, group, GROUPS[group][option]())
        assignments = [each for each in assignments if each.path[0] != group]

    for layer in layers:
        if layer.option:
            start(layer.group, layer.option)
            continue
        values = layer.values
        for each in _list_names(layer):
            group = each.path[0]
            if group in given:
                templates.replaced.setdefault(group, str(each.value))
                values = [other for other in values if other.path[0] != group]
            elif each.value not in GROUPS[group]:
                templates.refuse(group, f"{each.where}: {each.key}={each.value!r}", str(each.value))
            elif each.value != chosen.get(group):
                start(group, each.value)
                templates.chosen[group] = (each.value, each.where)
        assignments += values
    return assignments


def _list_names(layer: Layer) -> list[Assignment]:
    """Give the names that a file has in sections of groups other than its own."""
    own = layer.group
    return [
        each for each in layer.values if each.path in {(group, "name") for group in GROUPS if group != own}
    ]


def _choose_implied(config: TrainConfig, templates: Templates) -> None:
    """Set the data and the optimizer that go with a chosen model, where these are not chosen."""
    known = templates.chosen.keys() | templates.broken
    if "model" not in templates.chosen.keys() - templates.broken:
        return
    model = config.model.name
    implied = {"data": DATA_OF.get(model, ("import",))[0], "optimizer": OPTIMIZER_OF.get(model, "adamw")}
    for group, name in implied.items():
        if group not in known:
            setattr(config, group, GROUPS[group][name]())
            templates.chosen[group] = (name, f"goes with model={model}")


# --- values


def _list_given(parsed: list[Override], templates: Templates) -> Iterator[Assignment]:
    """Yield what the command line assigns."""
    for override in parsed:
        if not _is_choice(override, templates):
            for path, value in flatten(tuple(override.key_or_group.split(".")), override.value()):
                yield Assignment(path, value, str(override.input_line))


def _assign(
    config: TrainConfig,
    values: dict[str, Any],
    assignments: list[Assignment],
    broken: set[str],
    mistakes: list[Mistake],
) -> list[tuple[Assignment, Any]]:
    """Put each into `values` (dotted key -> value); give those that have a place, with what each replaced."""
    types = {key: entry.type for key, entry, _ in iter_fields(config)}
    history = []
    for each in assignments:
        key = each.key
        if each.in_file and each.path[0] in broken:
            continue
        owner = key if key in values else _find_owner(key, values)
        if owner is not None:
            inner = each.path[owner.count(".") + 1 :]
            history.append((each, _dig(values[owner], inner)))
            values[owner] = _put(values[owner], inner, _fit(each.value, types[owner]))
        elif each.value != {} and key.partition(".")[0] not in broken:
            slug, message = _explain_unknown(each, config, list(values))
            mistakes.append((slug, f"{each.where}: {message}" if each.in_file else message))
    return history


def _find_owner(key: str, values: dict[str, Any]) -> str | None:
    """Give the leaf above the key that takes any keys below it."""
    return next(
        (each for each, old in values.items() if type(old) is dict and key.startswith(each + ".")), None
    )


def _dig(value: Any, path: Sequence[Any]) -> Any:
    """Give what lies at the path, None where nothing does."""
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _put(old: Any, path: Sequence[Any], value: Any) -> Any:
    """Give a copy with the value at the path."""
    if not path:
        return value
    name, *rest = path
    known = old if isinstance(old, dict) else {}
    return known | {name: _put(known.get(name), rest, value)}


def _fit(value: Any, kind: Any) -> Any:
    """Make of an integer the number or the name that the schema asks for."""
    return kind(value) if type(value) is int and kind in (float, str) else value


def _explain_unknown(given: Assignment, config: TrainConfig, known: list[str]) -> Mistake:
    key = given.key
    inside = [each for each in known if each.startswith(f"{key}.")]
    if inside:
        return "config-type", _explain_section(given, inside[0])
    group, _, name = key.partition(".")
    for option, schema in GROUPS.get(group, {}).items():
        if name in {entry.name for entry in dataclasses.fields(schema)}:
            chosen = getattr(config, group).name
            return "config-unknown-key", f"'{key}' is no key of {group}={chosen}; {group}={option} has it"
    return (
        "config-unknown-key",
        f"'{key}' is no key of the configuration{_suggest_key(key, [*GROUPS, *known])}",
    )


def _explain_section(given: Assignment, example: str) -> str:
    if given.in_file and given.key in GROUPS:
        written = f"{given.key}: {given.value}"
        return f"{written}: is chosen in the defaults list: - {written}"
    return f"{given.key}={given.value!r}: expected keys below it, such as {example}"


def _suggest_key(key: str, known: list[str]) -> str:
    hint = suggest(key, known)
    if not hint.startswith("; known:"):
        return hint
    # nothing near: the whole list is long, the section's is enough
    section = key.partition(".")[0] + "."
    return suggest(key, [each for each in known if each.startswith(section)] or known)


def _resolve(values: dict[str, Any], places: Mapping[str, str], mistakes: list[Mistake]) -> dict[str, Any]:
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
            mistakes.append(_explain_interpolation(key, value, error, places))
            dynamic.discard(key)
            del resolved[key]
    for key in sorted(dynamic):
        try:
            found = OmegaConf.select(root, key)
            resolved[key] = (
                OmegaConf.to_container(found, resolve=True) if OmegaConf.is_config(found) else found
            )
        except OmegaConfBaseException as error:
            mistakes.append(_explain_interpolation(key, values[key], error, places))
            del resolved[key]
    return resolved


def _explain_interpolation(key: str, value: Any, error: Exception, places: Mapping[str, str]) -> Mistake:
    reason = str(error).partition("\n")[0]
    return "config-interpolation", f"{places.get(key, '')}{key}={value!r}: {reason}"


def _fill(config: TrainConfig, values: dict[str, Any]) -> None:
    """Set the leaves."""
    for key, entry, _ in list(iter_fields(config)):
        if key in values:
            section, _, name = key.rpartition(".")
            node: Any = config
            for part in filter(None, section.split(".")):
                node = getattr(node, part)
            setattr(node, name, _fit(values[key], entry.type))


# --- what the schema does not know


def _judge(config: TrainConfig, places: Mapping[str, str]) -> Iterator[Mistake]:
    """Yield what the schema says, each with its place; of a missing value only that it is missing."""
    missing = dict(_find_missing(config))
    for slug, message in validate(config):
        key = message.partition("=")[0]
        if key not in missing:
            yield slug, places.get(key, "") + message
    for key, message in missing.items():
        yield "config-missing", places.get(key, "") + message


def _find_missing(config: TrainConfig) -> Iterator[tuple[str, str]]:
    """Yield (key, message) for each value that is still "???", as Hydra marks what must be given."""
    for key, _, value in iter_fields(config):
        for path, inner in flatten((key,), value):
            if inner == "???":
                name = ".".join(map(str, path))
                yield name, f"{name}: has no value yet (???); write {name}=…"


def _check_targets(config: TrainConfig, places: Mapping[str, str]) -> Iterator[Mistake]:
    """Hold the keywords for what is imported against its signature, as far as its source tells."""
    for group in ("model", "data"):
        section = getattr(config, group)
        if section.name == "import":
            from trainkit.core.signature import find_mistakes  # late: 10 ms that few configurations pay

            for slug, key, message in find_mistakes(f"{group}.kwargs", section.target, section.kwargs):
                yield slug, places.get(key, "") + message


# --- what changed


def _list_choices(templates: Templates, before: Mapping[str, str]) -> Iterator[Change]:
    for group in sorted(templates.chosen, key=[*GROUPS, *templates.chosen].index):
        option, where = templates.chosen[group]
        old = templates.replaced.get(group, before.get(group))
        if old != option:
            yield Change(group, old, option, where)


def _list_changes(config: TrainConfig, history: list[tuple[Assignment, Any]]) -> Iterator[Change]:
    """Yield what the last assignment to each key changed, of what the files, or the defaults, had made it."""
    values = {key: value for key, _, value in iter_fields(config)}
    last = {each.key: each for each, _ in history}
    before: dict[tuple[str, bool], Any] = {}
    for each, replaced in history:
        old = before.setdefault((each.key, each.in_file), replaced)
        if each is last[each.key]:
            owner = each.key if each.key in values else str(_find_owner(each.key, values))
            new = _dig(values[owner], each.path[owner.count(".") + 1 :])
            if type(new) is not type(old) or new != old:
                yield Change(each.key, old, new, each.where)


def _find_idle(
    parsed: list[Override], changes: list[Change], history: list[tuple[Assignment, Any]], templates: Templates
) -> dict[str, str]:
    """Give the overrides that change nothing, each with the reason."""
    busy = {change.where for change in changes}
    brought = {group for each, _ in history if each.where in busy for group in each.choices}
    winners = _find_winners(parsed, history, templates)
    idle = {}
    for override in parsed:
        text = str(override.input_line)
        if text in busy or (winners[text] == text and override.key_or_group in brought):
            continue
        idle[text] = "it is so already" if winners[text] == text else f"{winners[text]} comes later"
    return idle


def _find_winners(
    parsed: list[Override], history: list[tuple[Assignment, Any]], templates: Templates
) -> dict[str, str]:
    """Give, for each override, the one that has the last word on its key or group."""
    last = {each.key: each.where for each, _ in history}
    winners = {str(override.input_line): str(override.input_line) for override in parsed}
    winners |= {each.where: last[each.key] for each, _ in history}
    for override in parsed:
        if _is_choice(override, templates):
            winners[str(override.input_line)] = templates.chosen[override.key_or_group][1]
    return winners
