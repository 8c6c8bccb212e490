"""A folder of configuration files in Hydra's layout -> layers of values, in the order in which they apply.

`config.yaml` has a `defaults` list and values; `model/big.yaml` is a template of the group `model`. The rules
are those of Hydra 1.3 (`_self_`, `override`, `optional`, `# @package`), with one of our own: a template says
which option of the schema it fills, by `name: transformer` or by naming it in its own `defaults`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainkit.core.config import GROUPS, Mistake
from trainkit.errors import suggest

_PACKAGE = re.compile(r"^\s*#\s*@package\s+(\S+)\s*$", re.MULTILINE)
_SELF = "_self_"


@dataclass(frozen=True)
class Assignment:
    """One value for one key; `where` is the override's text, or a file and a line."""

    path: tuple[Any, ...]
    value: Any
    where: str
    in_file: bool = False
    choices: tuple[str, ...] = ()  # the groups whose choice brought it, the nearest first

    @property
    def key(self) -> str:
        """Give the dotted key."""
        return ".".join(map(str, self.path))


@dataclass
class Layer:
    """The values of one file, or, with `option`, the defaults of an option of the schema's group."""

    group: str
    option: str = ""
    values: list[Assignment] = field(default_factory=list)


@dataclass(frozen=True)
class _File:
    """One file as it was read: its values, the line of each key, the parsed `defaults`."""

    shown: str
    values: dict[Any, Any]
    lines: dict[tuple[Any, ...], int]
    package: str | None

    def place(self, path: tuple[Any, ...]) -> str:
        """Give file and line of a key, or of what it lies in."""
        while path and path not in self.lines:
            path = path[:-1]
        return f"{self.shown}:{self.lines[path]}" if path else self.shown


@dataclass(frozen=True)
class _Entry:
    """One item of a defaults list; `options` are none for `group: null`."""

    group: str  # absolute; empty for a file beside config.yaml
    options: tuple[str, ...]
    package: str
    where: str
    is_choice: bool = False
    is_override: bool = False
    is_optional: bool = False


class Templates:
    """The files below `folder`, and what they mean together with the choices of the command line."""

    def __init__(self, folder: Path | None, name: str | None, mistakes: list[Mistake]) -> None:
        self.folder = folder
        self.chosen: dict[str, tuple[str, str]] = {}  # group -> (option, where)
        self.replaced: dict[str, str] = {}  # group -> what the files choose and the command line does not
        self.broken: set[str] = set()  # groups whose choice is unknown: their keys cannot be judged
        self._mistakes = mistakes
        self._files: dict[str, _File | str] = {}  # or what is wrong with it
        self._name = name.removesuffix(".yaml") if name else ""
        if folder is not None and not folder.is_dir():
            self._blame("config-file", f"--config-dir {folder}: there is no such folder")
        elif folder is not None and self._name and not self._find(self._name):
            known = [path.stem for path in sorted(folder.glob("*.yaml"))]
            message = (
                f"--config-name {name}: there is no {folder / self._name}.yaml{suggest(self._name, known)}"
            )
            self._blame("config-file", message)
        elif self._find("config"):
            self._name = self._name or "config"

    def is_group(self, key: str) -> bool:
        """Say whether options of that name can be chosen."""
        return key in GROUPS or (
            self.folder is not None and ".." not in key and any((self.folder / key).glob("*.yaml"))
        )

    def list_options(self, group: str) -> list[str]:
        """Give the names of a group's options: the schema's, then those of the folder."""
        files = sorted((self.folder / group).glob("*.yaml")) if self.folder is not None else []
        return list(dict.fromkeys([*GROUPS.get(group, {}), *(path.stem for path in files)]))

    def is_option(self, group: str, option: object) -> bool:
        """Say whether the group has the option, be its file readable or not."""
        name = f"{group}/{option}"
        known = option in GROUPS.get(group, {}) or self._find(name) is not None or name in self._files
        return isinstance(option, str) and known

    def read(self, choices: Mapping[str, tuple[str, str]]) -> list[Layer]:
        """Give the layers for the choices, group -> (option, where), of the command line.

        A choice replaces what a defaults list says of its group; where none does, it comes first, if the
        schema has the group (so its default stands), and last if only the folder has.
        """
        num_mistakes, broken = len(self._mistakes), set(self.broken)
        layers, unused = self._expand(choices, [])
        added = [group for group in unused if group not in GROUPS and group in choices]
        if added:
            del self._mistakes[num_mistakes:]
            self.broken = broken
            layers, unused = self._expand(choices, added)
        first = []
        for group in unused:
            where = self._choices[group][1]
            if group in GROUPS:
                first += self._choose(_Entry(group, (), group, where, is_choice=True), ())
            elif group not in added:
                message = f"{where}: no defaults list chooses '{group}', nothing to override"
                self._blame("config-defaults", message)
        return first + layers

    def _expand(
        self, choices: Mapping[str, tuple[str, str]], added: list[str]
    ) -> tuple[list[Layer], list[str]]:
        self._choices, self._given, self._used = dict(choices), choices, set[str]()
        self.chosen, self.replaced = {}, {}
        layers: list[Layer] = []
        for group in reversed(added):  # backwards, as all lists, so that what stands last overrides first
            entry = _Entry(group, (), group.replace("/", "."), "", is_choice=True)
            layers = self._choose(entry, ()) + layers
        root = self._find(self._name) if self._name else None
        if root is not None:
            group = self._name.rpartition("/")[0]
            package = group.replace("/", ".") if root.package is None else root.package
            layers = self._expand_file(root, group, package, (), (self._name,)) + layers
        return layers, [group for group in self._choices if group not in self._used]

    def _expand_file(
        self, file: _File, group: str, package: str, choices: tuple[str, ...], stack: tuple[str, ...]
    ) -> list[Layer]:
        entries = list(self._read_defaults(file, group, package))
        for entry in entries:
            if entry is not None and entry.is_override:
                self._choices.setdefault(entry.group, (entry.options[0], entry.where))
        layers: list[Layer] = []
        for entry in reversed(entries):
            if entry is None:
                prefix = tuple(filter(None, package.split(".")))
                inner = {key: value for key, value in file.values.items() if key != "defaults"}
                values = [
                    Assignment((*prefix, *path), value, file.place(path), in_file=True, choices=choices)
                    for path, value in flatten((), inner)
                ]
                layers.insert(0, Layer(group, values=values))
            elif not entry.is_override:
                layers = self._choose(entry, choices, stack) + layers
        return layers

    def _choose(self, entry: _Entry, choices: tuple[str, ...], stack: tuple[str, ...] = ()) -> list[Layer]:
        """Give the layers of what an entry chooses, or of what is chosen instead."""
        options, where = entry.options, entry.where
        if entry.is_choice:
            choices = (entry.group, *choices)
            if entry.group in self._choices:
                option, where = self._choices[entry.group]
                if entry.group in self._given and options:
                    self.replaced.setdefault(entry.group, options[0])
                options = (option,)
            self._used.add(entry.group)
            if options:
                self.chosen[entry.group] = (options[-1], where)
        layers: list[Layer] = []
        for option in options:
            layers += self._load(entry, option, where, choices, stack)
        return layers

    def _load(
        self, entry: _Entry, option: str, where: str, choices: tuple[str, ...], stack: tuple[str, ...]
    ) -> list[Layer]:
        group, name = entry.group, f"{entry.group}/{option}".removeprefix("/")
        file = self._find(name) if name not in stack else None
        if file is None:
            return self._load_schema(entry, option, where, stack)
        package = entry.package if file.package is None else file.package
        layers = self._expand_file(file, group, package, choices, (*stack, name))
        has_schema = any(each.option and each.group == group for each in layers)
        if entry.is_choice and group in GROUPS and not has_schema:
            schema = self._find_schema(layers, group, option, file)
            layers = ([Layer(group, schema)] if schema else []) + layers
        return layers

    def _load_schema(self, entry: _Entry, option: str, where: str, stack: tuple[str, ...]) -> list[Layer]:
        """Give the defaults of a schema's option; none for what there is not."""
        group, name = entry.group, f"{entry.group}/{option}".removeprefix("/")
        if option in GROUPS.get(group, {}):
            if entry.package != group:
                advice = f"write /{group}@_global_.{group}: {option}"
                message = f"{where}: {group}={option} would lie in '{entry.package}'; {advice}"
                self._blame("config-defaults", message)
            return [Layer(group, option)]
        if name in stack:
            circle = " > ".join([*stack, name])
            self._blame("config-defaults", f"{where}: '{name}' comes back to itself: {circle}")
        elif not entry.is_optional and name not in self._files:
            self.refuse(group, f"{where}: {group}={option}".replace(" =", " "), option)
        return []

    def _find_schema(self, layers: list[Layer], group: str, option: str, file: _File) -> str:
        """Give the schema's option that a template fills: what it calls itself, else its file's name."""
        own = [each for layer in layers if layer.group == group for each in layer.values]
        names = [each for each in own if each.path == (group, "name")]
        name = names[-1].value if names else option
        if name in GROUPS[group]:
            return str(name)
        self.broken.add(group)
        message = f"{file.shown}: needs name, the {group} that it fills; known: {', '.join(GROUPS[group])}"
        if names:
            hint = suggest(str(name), GROUPS[group])
            message = f"{names[-1].where}: {group}.name={name!r}: no such option{hint}"
        self._blame("config-unknown-choice", message)
        return ""

    def refuse(self, group: str, what: str, option: str) -> None:
        """Add the mistake that there is no such option."""
        self.broken.add(group)
        hint = suggest(option, self.list_options(group))
        self._blame("config-unknown-choice", f"{what}: no such option{hint}")

    # --- one defaults list

    def _read_defaults(self, file: _File, group: str, package: str) -> Iterator[_Entry | None]:
        """Yield the entries in order, None for the file's own values; without `_self_` these come last."""
        listed = file.values.get("defaults", [])
        if not isinstance(listed, list):
            self._blame("config-defaults", f"{file.place(('defaults',))}: defaults must be a list")
            listed = []
        has_self = False
        for number, item in enumerate(listed):
            if item == _SELF:
                has_self = True
                yield None
                continue
            where = file.place(("defaults", number))
            entry = self._read_entry(item, where, group, package)
            if isinstance(entry, str):
                self._blame("config-defaults", f"{where}: {item!r}: {entry}")
            else:
                yield entry
        if not has_self:
            yield None

    def _read_entry(self, item: Any, where: str, parent: str, package: str) -> _Entry | str:
        """Give the entry, or what is wrong with it."""
        is_choice = isinstance(item, dict) and len(item) == 1
        left, value = next(iter(item.items())) if is_choice else (item, None)
        if not isinstance(left, str):
            return "expected a name, or group: option"
        *words, target = left.split() or [""]
        target, _, own_package = target.partition("@")
        is_absolute, target = target.startswith("/"), target.strip("/")
        if not is_choice:  # a file: its group is the folder that it lies in
            target, _, value = target.rpartition("/")
        options = value if isinstance(value, list) else [] if value is None else [value]
        group = "/".join(filter(None, ("" if is_absolute else parent, target)))
        relative = {"": target.replace("/", "."), "_here_": ""}.get(own_package, own_package)
        place = ".".join(filter(None, (package, relative)))
        return _find_fault(words, group, options, is_choice=is_choice) or _Entry(
            group=group,
            options=tuple(options),
            package=place.rpartition("_global_")[2].removeprefix("."),
            where=where,
            is_choice=is_choice,
            is_override="override" in words,
            is_optional="optional" in words,
        )

    # --- one file

    def _find(self, name: str) -> _File | None:
        """Give the file of a name such as "model/big", None where there is none that can be read."""
        if self.folder is None or ".." in name.split("/"):
            return None
        if name not in self._files:
            path = self.folder / f"{name}.yaml"
            if not path.is_file():
                return None
            try:
                self._files[name] = _read(path)
            except OSError as error:
                self._files[name] = f"{path}: {error.strerror}"
            except UnicodeDecodeError as error:
                self._files[name] = f"{path}: no UTF-8 at byte {error.start}"
            except ValueError as error:
                self._files[name] = str(error)
        found = self._files[name]
        if isinstance(found, str):
            self._blame("config-file", found)
            return None
        return found

    def _blame(self, slug: str, message: str) -> None:
        if (slug, message) not in self._mistakes:
            self._mistakes.append((slug, message))


def _find_fault(words: list[str], group: str, options: list[Any], *, is_choice: bool) -> str:
    """Say what is wrong with the parts of an entry, if anything."""
    if not set(words) <= ({"optional", "override"} if is_choice else {"optional"}):
        return "expected '[optional|override] group: option'"
    if not all(isinstance(option, str) and "${" not in option and option != "???" for option in options):
        return "expected the name of an option"
    if "override" in words and len(options) != 1:
        return "expected one option"
    return "leads out of the folder" if ".." in group.split("/") else ""


def flatten(path: tuple[Any, ...], value: Any) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield ((a, b), 3) for {a: {b: 3}}; an empty mapping is a value."""
    if isinstance(value, dict) and (value or not path):
        for name, inner in value.items():
            yield from flatten((*path, name), inner)
    else:
        yield path, value


def _read(path: Path) -> _File:
    """Read one file.

    Raises:
        ValueError: it is no mapping in YAML; the message says where.
    """
    import yaml
    from omegaconf._utils import get_yaml_loader  # what OmegaConf.load reads with: 1e-3 is a number

    text = path.read_text(encoding="utf-8")
    try:
        loader = get_yaml_loader()(text)
        node = loader.get_single_node()
        lines = dict(_find_lines(node, (), path)) if node is not None else {}
        values = loader.construct_document(node) if node is not None else {}
    except yaml.YAMLError as error:
        raise ValueError(f"{path}{_describe(error)}") from error
    if not isinstance(values, dict | None):
        raise ValueError(f"{path}: expected keys with values")
    header = _PACKAGE.search(text.partition("\n\n")[0])
    package = header[1] if header else None
    return _File(
        str(path),
        values or {},
        lines,
        None if package is None else package.removeprefix("_global_").removeprefix("."),
    )


def _describe(error: Any) -> str:
    """Give ":line: reason" of an error of PyYAML, whose kinds have different attributes."""
    mark = getattr(error, "problem_mark", None)
    reason = getattr(error, "problem", None) or getattr(error, "reason", None) or "is no YAML"
    return f":{mark.line + 1}: {reason}" if mark is not None else f": {reason}"


def _find_lines(node: Any, path: tuple[Any, ...], file: Path) -> Iterator[tuple[tuple[Any, ...], int]]:
    """Yield the line of each key and list item; refuse what is neither plain data nor a tree."""
    kind = node.tag.rpartition(":")[2]
    line = node.start_mark.line + 1
    if kind not in ("map", "seq", "str", "int", "float", "bool", "null", "merge"):
        raise ValueError(f"{file}:{line}: a value of type '{kind}' has no meaning here")
    if len(path) > 32:
        raise ValueError(f"{file}:{line}: nested more than 32 levels deep")
    if kind == "map":
        for key, value in node.value:
            if not isinstance(key.value, str):
                raise ValueError(f"{file}:{line}: a key must be a name")
            yield (*path, key.value), key.start_mark.line + 1
            yield from _find_lines(value, (*path, key.value), file)
    elif kind == "seq":
        for number, value in enumerate(node.value):
            yield (*path, number), value.start_mark.line + 1
            yield from _find_lines(value, (*path, number), file)
