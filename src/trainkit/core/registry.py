"""Names of models, optimizers and data sets, each with the place of its code."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from trainkit.errors import TrainkitError, UsageError, describe_error, suggest


@dataclass(frozen=True)
class Registry:
    """Entries of one kind: name -> "module:attribute"; nothing is imported before `load`."""

    kind: str
    entries: Mapping[str, str]

    def load(self, name: str) -> Any:
        """Import and give the entry.

        Raises:
            UsageError: no entry has that name.
        """
        if name not in self.entries:
            raise UsageError(
                "registry-unknown-name", f"no {self.kind} is called '{name}'{suggest(name, self.entries)}"
            )
        module, _, attribute = self.entries[name].partition(":")
        return getattr(import_module(module), attribute)


def import_object(path: str, *, key: str) -> Any:
    """Give what a dotted path names, such as "package.module.Name" (or "package.module:Name").

    Raises:
        UsageError: there is no such module, or no such name in it; `key` says where the path stands.
    """
    module_name, _, attribute = path.replace(":", ".").rpartition(".")
    if str(Path.cwd()) not in sys.path:  # as `python -m` has it, and the installed command has not
        sys.path.append(str(Path.cwd()))
    try:
        module = import_module(module_name or path)
    except ModuleNotFoundError as error:
        if not (module_name or path).startswith(error.name or "?"):
            raise  # found, but something that it imports is missing
        message = f"{key}={path!r}: no module is called '{error.name}'; is it installed, or in this folder?"
        raise UsageError("import-failed", message) from error
    except Exception as error:
        raise UsageError("import-failed", f"{key}={path!r}: {describe_error(error)}") from error
    if not hasattr(module, attribute):
        hint = suggest(attribute, [name for name in vars(module) if not name.startswith("_")])
        hint = "" if hint.startswith("; known:") else hint  # a whole module's names are too many
        raise UsageError("import-failed", f"{key}={path!r}: {module_name} has no '{attribute}'{hint}")
    return getattr(module, attribute)


def call_object(path: str, kwargs: Mapping[str, Any], *, key: str) -> Any:
    """Give what the object of a dotted path gives when it is called.

    Raises:
        UsageError: as `import_object`, or it raised something.
    """
    function = import_object(path, key=key)
    try:
        return function(**kwargs)
    except TrainkitError:
        raise
    except Exception as error:
        if isinstance(error, TypeError) and "argument" in str(error):
            advice = f"{error}; give it as {key.replace('target', 'kwargs')}.NAME=…"
            raise UsageError("target-failed", f"{key}={path!r}: {advice}") from error
        raise UsageError("target-failed", f"{key}={path!r}: {describe_error(error)}") from error


# Called as (config, **facts of the data) -> Task, (config, model) -> Optimizer, (config, seed=…) -> Loaders.
MODELS = Registry(
    "model",
    {
        "transformer": "trainkit.core.models:Transformer",
        "lstm": "trainkit.core.models:LSTM",
        "dit": "trainkit.core.dit:DiT",
        "sssd": "trainkit.core.sssd:SSSD",
        "mlp": "trainkit.core.mlp:MLP",
        "import": "trainkit.core.imported:import_task",
    },
)
OPTIMIZERS = Registry(
    "optimizer",
    {name: f"trainkit.core.optim:build_{name}" for name in ("adamw", "sgd", "muon", "shampoo", "soap")},
)
DATASETS = Registry(
    "data set",
    {
        "text": "trainkit.core.text:build_text",
        "digits": "trainkit.core.datasets:build_digits",
        "series": "trainkit.core.datasets:build_series",
        "table": "trainkit.core.data.table:build_table",
        "import": "trainkit.core.imported:import_data",
    },
)
