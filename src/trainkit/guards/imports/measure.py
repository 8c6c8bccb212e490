"""A target imported in fresh processes of a tree: which modules came, from which lines, in what time."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainkit.errors import CannotJudgeError
from trainkit.repo.process import WITHOUT_COVERAGE, run_in_tree
from trainkit.repo.trees import Tree

_TIMEOUT_S = 300.0
_PROBE = Path(__file__).with_name("probe.py")


@dataclass(frozen=True)
class Importer:
    """The line that first asked for a module."""

    module: str
    file: str
    line: int


@dataclass(frozen=True)
class Imported:
    """What one import brought: modules in the order they were asked for, CPU seconds of each run."""

    target: str
    modules: dict[str, str]  # name -> file, "" for a module without one
    importers: dict[str, Importer]
    cpu_s: tuple[float, ...]

    def chain(self, module: str) -> list[Importer]:
        """Give the importers from the line that brought `module` up to the target."""
        links: list[Importer] = []
        while module in self.importers and module != self.target:
            link = self.importers[module]
            if link in links or link.module == "__main__":
                break
            links.append(link)
            module = link.module
        return links


def measure(tree: Tree, target: str, *, prove: bool, num_timed: int = 3) -> Imported:
    """Import `target` once with witnesses (which also warms .pyc files), then `num_timed` times for time.

    `prove` asks that the project's own sources are loaded: where two revisions are compared.

    Raises:
        CannotJudgeError: the import failed, or did not use the tree's own sources.
    """
    first = _import_once(tree, target, "witnessed", prove)
    files = dict(first["modules"])  # sys.modules has them in the order they were finished
    asked = [name for name in first["importers"] if name in files]
    timed = [_import_once(tree, target, "bare", prove)["cpu_s"] for _ in range(num_timed)]
    return Imported(
        target=target,
        modules={name: files[name] for name in dict.fromkeys([*asked, *files])},
        importers={name: Importer(*link) for name, link in first["importers"].items()},
        cpu_s=tuple(timed),
    )


def _import_once(tree: Tree, target: str, mode: str, prove: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="imports-", dir=tree.scratch) as folder:
        output = Path(folder) / "imported.json"
        code = _PROBE.read_text(encoding="utf-8")
        command = ["python", "-c", code, target, str(output), mode]
        done = run_in_tree(
            tree,
            command,
            shown=f"import {target}",
            timeout_s=_TIMEOUT_S,
            environment=WITHOUT_COVERAGE,
            prove=prove,
        )
        if done.returncode:
            message = f"import {target} fails on the {tree.side} side"
            raise CannotJudgeError("import-failed", message, evidence=done.last_words())
        imported: dict[str, Any] = json.loads(output.read_text())
        return imported
