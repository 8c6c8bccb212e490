"""What a name stands for: a module of the tree or the environment, a console script, or a command."""

from __future__ import annotations

import shlex
import shutil
import tomllib
from collections.abc import Sequence
from pathlib import Path

from trainkit.errors import CannotJudgeError, UsageError, suggest
from trainkit.guards.imports.measure import Target
from trainkit.repo.trees import Tree


def find_target(tree: Tree, name: str, command: str = "") -> Target:
    """Give what is run for `name`: `command`, else a module, else a console script with `--help`.

    Where a module and a script have one name, it is the module.

    Raises:
        UsageError: there is nothing of that name.
        CannotJudgeError: pyproject.toml of the tree cannot be read.
    """
    if command:
        return Target(name, tuple(shlex.split(command)))
    script = _read_scripts(tree.path).get(name)
    if script and not any(_is_module(Path(folder), name) for folder in tree.python_path()):
        module, _, attribute = script.partition(":")
        code = (
            f"import sys; sys.argv = [{name!r}, '--help']; import {module}; sys.exit({module}.{attribute}())"
        )
        return Target(name, ("python", "-c", code))
    if all(part.isidentifier() for part in name.split(".")):
        return Target(name)
    if not shutil.which(name):
        raise UsageError(
            "unknown-target", f"'{name}' is no module, and no console script of that name is here"
        )
    return Target(name, (name, "--help"))


def explain_missing(tree: Tree, target: Target, evidence: Sequence[str]) -> str:
    """Say so where a target failed because no module has its name, with the name that was meant; else ""."""
    parts = target.name.split(".")
    named = {f"No module named '{'.'.join(parts[:count])}'" for count in range(1, len(parts) + 1)}
    if target.command or not any(words in line for line in evidence for words in named):
        return ""
    folders = [Path(folder) for folder in tree.python_path()]
    files = [path.relative_to(folder) for folder in folders for path in folder.rglob("*.py")]
    known = {".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in files}
    hint = suggest(target.name, sorted(known))
    return f"there is no module '{target.name}'" + (hint if hint.startswith("; did you") else "")


def _is_module(folder: Path, name: str) -> bool:
    return (folder / name).is_dir() or (folder / f"{name}.py").is_file()


def _read_scripts(root: Path) -> dict[str, str]:
    try:
        text = (root / "pyproject.toml").read_text(encoding="utf-8")
        scripts = tomllib.loads(text).get("project", {}).get("scripts", {})
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, AttributeError) as error:
        raise CannotJudgeError("settings-syntax", f"pyproject.toml: {error}") from error
    return {key: value for key, value in scripts.items() if isinstance(value, str)}
