"""What one module does with its names, as data: its imports, what else binds them, and when each is used."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Holder:
    """A place for an import: a `def`, or the block `if __name__ == "__main__"`."""

    line: int
    name: str
    decorators: tuple[str, ...] = ()


@dataclass(frozen=True)
class Use:
    """One use of a module's name.

    `when` is: now (the module is being imported), late (in a function: `holder`), lambda (late, but there is
    no place for an import), annotation (of the function `holder`), field (annotation of a variable of a class
    or of the module), typing (only type checkers look at it), doctest.
    """

    when: str
    line: int
    holder: Holder | None = None


@dataclass(frozen=True)
class Statement:
    """An import of the module's own namespace; `place` is top, or what it stands in."""

    line: int
    end_line: int
    module: str  # what follows `from`, dots included; "" for a plain import
    names: tuple[tuple[str, str], ...]  # (name, name that is bound)
    place: str
    explicit: frozenset[str] = frozenset()  # names bound by `x as x`: a re-export by convention

    def shown(self, bound: frozenset[str] | None = None) -> str:
        """Give the import as one writes it, of some of its names."""
        names = [
            name
            if target == name.partition(".")[0] and target not in self.explicit
            else f"{name} as {target}"
            for name, target in self.names
            if bound is None or target in bound
        ]
        return (
            f"from {self.module} import {', '.join(names)}" if self.module else f"import {', '.join(names)}"
        )


@dataclass
class Names:
    """What one module does with its names."""

    statements: list[Statement] = field(default_factory=list)
    uses: dict[str, list[Use]] = field(default_factory=lambda: defaultdict(list))
    others: dict[str, int] = field(default_factory=dict)  # bound by something else than an import -> line
    rebound: set[str] = field(default_factory=set)  # by a function, with `global`
    exported: set[str] = field(default_factory=set)  # the strings of __all__
    has_all: bool = False
    dynamic: tuple[int, str] | None = None  # the first use of globals(), eval(), sys.modules[__name__] ...
    finalizers: set[str] = field(default_factory=set)  # functions that may run while Python shuts down
    future: bool = False  # annotations are not evaluated
    has_getattr: bool = False
