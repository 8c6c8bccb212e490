"""Why an import must stay where it is, in words, for one imported name of a file."""

from __future__ import annotations

from pathlib import Path

from trainkit.guards.imports.names import Holder, Statement
from trainkit.guards.imports.project import Project, SourceFile
from trainkit.guards.imports.savings import Graph

# Functions that are compiled by others, which know no import statement; decorators that read no annotation.
_COMPILERS = {
    "compile", "cuda", "guvectorize", "jit", "kernel", "njit", "script", "script_method", "vectorize",
}  # fmt: skip
_NEUTRAL = {
    "abstractmethod", "asynccontextmanager", "autocast", "cache", "cached_property", "classmethod",
    "contextmanager", "dataclass", "final", "fixture", "inference_mode", "lru_cache", "no_grad", "overload",
    "override", "parametrize", "property", "rank_zero_only", "record", "runtime_checkable", "setter",
    "staticmethod", "total_ordering", "unique", "wraps",
}  # fmt: skip
# They change other libraries when they are imported, or must come before them.
_PATCHING = {
    "comet_ml", "ddtrace", "eventlet", "gevent", "horovod", "intel_extension_for_pytorch", "readline",
    "unsloth",
}  # fmt: skip


class Reasons:
    """Finds the first reason against another place for the imports of one file."""

    def __init__(self, project: Project, file: SourceFile, graph: Graph) -> None:
        self._project, self._file, self._graph = project, file, graph

    def find(self, statement: Statement, name: str, target: str) -> str:
        """Give the reason why `name`, which is bound as `target`, stays, or ""."""
        return (
            self._check_statement(statement, name, target)
            or self._check_uses(target)
            or self._check_value(statement, name)
            or (
                self._check_package(statement, name, target)
                if self._file.is_package
                else self._check_takers(statement, target)
            )
        )

    def _check_statement(self, statement: Statement, name: str, target: str) -> str:
        names = self._file.names
        same = [
            each
            for each in names.statements
            if each.place != "class" and any(bound == target for _, bound in each.names)
        ]
        if statement.place != "top":
            return f"is imported in a `{statement.place}`"
        if name == "*":
            return "brings names that are not known"
        if target in names.others:
            return f"is bound by line {names.others[target]}, too"
        if len(same) > 1 and any(
            each.module or each.place != "top" or target not in _plain(each) for each in same
        ):
            return f"is imported by lines {', '.join(str(each.line) for each in same)}"
        if names.dynamic:
            return f"may be what {names.dynamic[1]} of line {names.dynamic[0]} reads"
        if name.partition(".")[0] in _PATCHING or statement.module.partition(".")[0] in _PATCHING:
            return "changes other libraries when it is imported"
        return ""

    def _check_uses(self, target: str) -> str:
        said = {
            "now": "is used while the module is imported",
            "lambda": "is used in a lambda, which has no place for an import",
            "field": "is the type of a variable, which may be read at run time",
            "doctest": "is used in a doctest",
        }
        uses = self._file.names.uses.get(target, [])
        if not uses and not self._file.is_package:
            return "is used by nothing in this file: it may be there for its effect"
        for use in uses:
            if use.when in said:
                return f"{said[use.when]} (line {use.line})"
            reason = self._check_holder(use.when, use.holder) if use.holder else ""
            if reason:
                return f"{reason} (line {use.line})"
        return ""

    def _check_holder(self, when: str, holder: Holder) -> str:
        words = [decorator.partition("(")[0].rpartition(".")[2] for decorator in holder.decorators]
        whole = {part for decorator in holder.decorators for part in decorator.partition("(")[0].split(".")}
        if when == "late" and whole & _COMPILERS:
            return f"is used in {holder.name}, which is compiled"
        if when == "late" and holder.name in self._file.names.finalizers:
            return f"is used in {holder.name}, which may run when Python ends and can import nothing more"
        if when == "annotation" and not set(words) <= _NEUTRAL:
            return f"is in the signature of {holder.name}, which its decorator may read"
        if when == "annotation" and self._project.annotation_reader:
            return f"is in a signature, and {self._project.annotation_reader}"
        return ""

    def _check_value(self, statement: Statement, name: str) -> str:
        """A value that changes later is not the same when it is taken later."""
        if not statement.module:
            return ""
        base = self._file.resolve(statement.module)
        source = self._project.files.get(self._graph.files.get(base, ""))
        if (source and name in source.names.rebound) or self._project.is_stored(f"{base}.{name}"):
            return f"gets another value later ({base}.{name})"
        return ""

    def _check_takers(self, statement: Statement, target: str) -> str:
        if target in self._file.names.exported or target in statement.explicit:
            return "is re-exported"
        taker = self._project.find_taker(self._file.module, target, but=self._file.path)
        return f"is taken from here by {taker}" if taker else ""

    def _check_package(self, statement: Statement, name: str, target: str) -> str:
        names = self._file.names
        if names.has_getattr:
            return "is imported by a package that has a __getattr__ of its own"
        if not statement.module and target == name.partition(".")[0] != name:
            return "is bound by a dotted import"
        folder = self._project.root / Path(self._file.path).parent / target
        asked = self._file.ask(statement, name, self._graph.imported.modules)
        if asked == self._file.module or {"_LAZY", "__dir__"} & names.others.keys():
            return "cannot be asked for by a __getattr__"
        if (
            folder.with_suffix(".py").exists() or folder.is_dir()
        ) and asked != f"{self._file.module}.{target}":
            return f"has the name of the submodule {self._file.module}.{target}"
        if not names.has_all and any(
            self._file.module in file.stars for file in self._project.files.values()
        ):
            return "may be taken by an import of *"
        return ""


def _plain(statement: Statement) -> set[str]:
    return {target for name, target in statement.names if name.partition(".")[0] == target}
