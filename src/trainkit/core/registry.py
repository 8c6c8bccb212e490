"""Names of models, optimizers and data sets, each with the place of its code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from trainkit.errors import UsageError, suggest


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


# Called as (config, vocab_size=…) -> Module, (config, model) -> Optimizer, (config, seed=…) -> Corpus.
MODELS = Registry(
    "model", {"transformer": "trainkit.core.models:Transformer", "lstm": "trainkit.core.models:LSTM"}
)
OPTIMIZERS = Registry(
    "optimizer",
    {name: f"trainkit.core.optim:build_{name}" for name in ("adamw", "sgd", "muon", "shampoo", "soap")},
)
DATASETS = Registry("data set", {"text": "trainkit.core.data:build_text"})
