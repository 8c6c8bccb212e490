"""Advice about imports: what may move and what must stay, how it is written, measured, proven and taken back."""

import shutil
import symtable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("libcst")

from trainkit.errors import CannotJudgeError, UsageError
from trainkit.guards.imports import rewrite as rewriting
from trainkit.guards.imports.fix import Advice, write
from trainkit.guards.imports.measure import Edge, Imported, Load
from trainkit.guards.imports.places import list_edits
from trainkit.guards.imports.plan import plan_step
from trainkit.guards.imports.project import read_project
from trainkit.guards.imports.proof import Proof
from trainkit.guards.imports.reader import read_names
from trainkit.guards.imports.rewrite import CannotRewriteError, rewrite
from trainkit.guards.imports.savings import Graph
from trainkit.repo.trees import open_trees


def survey(root: Path, files: dict[str, str], target: str = "pkg.mod"):
    """Write files and give their project, and the graph of a run in which each top import has run."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    project = read_project(root)
    modules = {
        file.module: str(root / file.path) for file in project.files.values() if "test" not in file.path
    }
    edges = [Edge("__main__", "<string>", 1, target, "__main__", True)]
    for file in [each for each in project.files.values() if each.module in modules]:
        for statement in file.names.statements:
            for name, _ in statement.names:
                base = file.resolve(statement.module) if statement.module else name
                asked = f"{base}.{name}" if f"{base}.{name}" in modules else base
                if statement.place not in {"TYPE_CHECKING", "function"}:
                    edges.append(
                        Edge(file.module, str(root / file.path), statement.line, asked, file.module, True)
                    )
                    modules.setdefault(asked, "")
    loads = {name: Load(name, "", 0.0, 0.01, 0.01, 0, True, ()) for name in modules}
    return project, Graph(Imported(target, modules, loads, tuple(edges), (), {}, (), (), 0, 0.0, 1.0), root)


def judge(root: Path, text: str, others: dict[str, str] | None = None, path: str = "pkg/mod.py") -> str:
    """Give the reason why the import of `heavy` in a module stays, or how it would be done instead."""
    files = {"pkg/__init__.py": "", path: text, **(others or {})}
    project, graph = survey(root, files, "pkg" if path.endswith("__init__.py") else "pkg.mod")
    (edit,) = [
        each for each in list_edits(project, graph) if each.file == path and each.family.startswith("heavy")
    ]
    return edit.blocked or edit.how()


MOVED = {
    "a function": ("import heavy\ndef f(): return heavy.x\n", "in 1 function"),
    "a method and a function": (
        "import heavy as h\nclass A:\n    def f(self): return h.x\ndef g(): return h\n",
        "in 2 functions",
    ),
    "a lambda in a function": ("import heavy\ndef f(): return lambda: heavy.x\n", "in 1 function"),
    "a comprehension": ("import heavy\ndef f(): return [heavy.x for _ in range(3)]\n", "in 1 function"),
    "the inner function alone": (
        "import heavy\ndef f():\n    def g(): return heavy.x\n    return g\n",
        "in 1 function",
    ),
    "a shadowed name is another": (
        "import heavy\ndef f(heavy): return heavy\ndef g(): return heavy.x\n",
        "in 1 function",
    ),
    "a method of a class that imports it, too": (
        "import heavy\nclass A:\n    import json\n    def f(self): return heavy.x\n",
        "in 1 function",
    ),
    "a method of a dataclass": (
        "from dataclasses import dataclass\nimport heavy\n@dataclass\nclass A:\n    def f(self, x: heavy.X): ...\n",
        "for type checkers",
    ),
    "the main block": ('import heavy\nif __name__ == "__main__":\n    heavy.run()\n', "in 1 function"),
    "an annotation": ("import heavy\ndef f(x: heavy.X) -> None: ...\n", "for type checkers"),
    "a string": ('import heavy\ndef f(x: "heavy.X") -> None: ...\n', "for type checkers"),
    "a type comment": (
        "import heavy\ndef f():\n    x = []  # type: list[heavy.X]\n    return x\n",
        "for type checkers",
    ),
    "both": ("from heavy import X\ndef f(x: X): return X()\n", "in 1 function and for type checkers"),
    "a local annotation": ("import heavy\ndef f():\n    x: heavy.X = 1\n    return x\n", "for type checkers"),
    "two imports of one name": (
        "import heavy\nimport heavy.sub\ndef f(): return heavy.sub\n",
        "in 1 function",
    ),
    "a match": ("import heavy\ndef f(x):\n    match x:\n        case heavy.X(): return 1\n", "in 1 function"),
}


@pytest.mark.parametrize("case", MOVED)
def test_what_is_used_late_only_can_move(tmp_path, case):
    """Names that nothing needs while the module is imported, and where they go."""
    text, how = MOVED[case]

    assert judge(tmp_path, text) == how


KEPT = {
    "a decorator": ("import heavy\n@heavy.wrap\ndef f(): ...\n", "while the module is imported (line 2)"),
    "a base class": ("import heavy\nclass A(heavy.B): ...\n", "while the module is imported"),
    "a default": ("import heavy\ndef f(x=heavy.X): ...\n", "while the module is imported"),
    "a constant": ("import heavy\nX = heavy.X\n", "while the module is imported"),
    "a setup call": ('import heavy\nheavy.use("Agg")\n', "while the module is imported (line 2)"),
    "a class body": ("import heavy\nclass A:\n    x = heavy.X\n", "while the module is imported"),
    "a class's attribute by a comprehension": (
        "import heavy\nclass A:\n    x = [heavy.X for _ in range(3)]\n",
        "while the module is imported (line 3)",
    ),
    "a class's keyword": ("import heavy\nclass A(metaclass=heavy.M): ...\n", "while the module is imported"),
    "a class's decorator": (
        "import heavy\n@heavy.d\nclass A: ...\n",
        "while the module is imported (line 2)",
    ),
    "a method's default": (
        "import heavy\nclass A:\n    def f(self, x=heavy.X): ...\n",
        "while the module is imported (line 3)",
    ),
    "a method's decorator": (
        "import heavy\nclass A:\n    @heavy.d\n    def f(self): ...\n",
        "while the module is imported (line 3)",
    ),
    "a class in a class": (
        "import heavy\nclass A:\n    class B(heavy.C): ...\n",
        "while the module is imported (line 3)",
    ),
    "a property of a lambda": (
        "import heavy\nclass A:\n    x = property(lambda self: heavy.x)\n",
        "lambda, which has no place",
    ),
    "imported by a class": (
        "class A:\n    import heavy\n    x = heavy.X\n",
        "line 2: heavy is imported in a `class`",
    ),
    "a method's signature that the class's decorator may read": (
        "import heavy\nfrom a import serve\n@serve\nclass A:\n    def f(self, x: heavy.X): ...\n",
        "its decorator may read (line 5)",
    ),
    "a finalizer": (
        "import heavy\nclass A:\n    def close(self): heavy.x()\n    def __del__(self): self.close()\n",
        "is used in close, which may run when Python ends",
    ),
    "a field": (
        "import heavy\nfrom dataclasses import dataclass\n@dataclass\nclass A:\n    x: heavy.X\n",
        "type of a variable",
    ),
    "a field under the future": (
        "from __future__ import annotations\nimport heavy\nclass A:\n    x: heavy.X\n",
        "type of a variable",
    ),
    "a lambda": ("import heavy\nf = lambda: heavy.x\n", "lambda, which has no place"),
    "a try": (
        "try:\n    import heavy\nexcept ImportError:\n    heavy = None\ndef f(): return heavy\n",
        "imported in a `try`",
    ),
    "an if": (
        "import sys\nif sys.platform:\n    import heavy\ndef f(): return heavy\n",
        "imported in a `if`",
    ),
    "a star": ("from heavy import *\ndef f(): return x\n", "names that are not known"),
    "rebound": ("import heavy\nheavy = heavy.x\ndef f(): return heavy\n", "bound by line 2"),
    "rebound by a loop": ("import heavy\nfor heavy in []: ...\ndef f(): return heavy\n", "bound by line 2"),
    "rebound by an except": (
        "import heavy\ntry: ...\nexcept ValueError as heavy: ...\ndef f(): return heavy\n",
        "bound by line 3",
    ),
    "global": (
        "import heavy\ndef f():\n    global heavy\n    heavy = 1\ndef g(): return heavy\n",
        "bound by line 3",
    ),
    "deleted": ("import heavy\ndef f(): return heavy\ndel heavy\n", "bound by line 3"),
    "imported twice": (
        "import heavy\nfrom heavy import heavy\ndef f(): return heavy\n",
        "imported by lines 1, 2",
    ),
    "__all__": ('import heavy\n__all__ = ["heavy"]\ndef f(): return heavy\n', "re-exported"),
    "__all__ later": (
        'import heavy\n__all__ = []\n__all__ += ["heavy"]\n__all__.extend(["x"])\ndef f(): return heavy\n',
        "re-exported",
    ),
    "as itself": ("from heavy import x as x\ndef f(): return x\n", "re-exported"),
    "globals()": (
        "import heavy\ndef f(): return globals()[heavy.x]\n",
        "may be what globals() of line 2 reads",
    ),
    "sys.modules": (
        "import heavy\nimport sys\ndef f(n): return getattr(sys.modules[__name__], n), heavy\n",
        "may be what sys.modules[__name__] of line 3 reads",
    ),
    "its own import": (
        "import heavy\nfrom importlib import import_module\ndef f(n): return import_module(__name__), heavy\n",
        "may be what import_module(__name__) of line 3 reads",
    ),
    "eval": ('import heavy\ndef f(): return eval("heavy.x")\ndef g(): return heavy\n', "may be what eval()"),
    "unused": ("import heavy\n", "used by nothing"),
    "a doctest": (
        'import heavy\ndef f():\n    """Say.\n\n    >>> heavy.x\n    """\n    return heavy\n',
        "doctest (line 5)",
    ),
    "a compiled function": (
        "import heavy\nimport numba\n@numba.njit\ndef f(): return heavy.x\n",
        "f, which is compiled",
    ),
    "a signature that is read": (
        "import heavy\nimport typer\napp = typer.Typer()\n@app.command()\ndef f(x: heavy.X): ...\n",
        "its decorator may read",
    ),
}


@pytest.mark.parametrize("case", KEPT)
def test_what_is_needed_at_import_stays(tmp_path, case):
    """Each reason to leave an import alone, with the line."""
    text, reason = KEPT[case]

    assert reason in judge(tmp_path, text)


TAKEN = {
    "an import": ({"tests/test_a.py": "from pkg.mod import heavy\n"}, "taken from here by tests/test_a.py:1"),
    "an attribute": ({"pkg/b.py": "import pkg.mod as m\n\nm.heavy.x()\n"}, "taken from here by pkg/b.py:3"),
    "a patch": (
        {"tests/test_a.py": 'from unittest import mock\n@mock.patch("pkg.mod.heavy")\ndef test(m): ...\n'},
        "tests/test_a.py:2",
    ),
    "monkeypatch": (
        {
            "tests/test_a.py": 'from pkg import mod\ndef test(monkeypatch):\n    monkeypatch.setattr(mod, "heavy", 1)\n'
        },
        "tests/test_a.py:3",
    ),
    "a star": ({"pkg/b.py": "from .mod import *\n"}, "pkg/b.py:1"),
    "a class that says it lives here": (
        {"pkg/b.py": "class heavy:\n    __module__ = 'pkg.mod'\n"},
        "taken from here by pkg/b.py:1",
    ),
    "a console script": (
        {"pyproject.toml": "[project.scripts]\ntool = 'pkg.mod:heavy'\n"},
        "taken from here by pyproject.toml:2",
    ),
    "a configuration": ({"conf/a.yaml": "x:\n  _target_: pkg.mod.heavy\n"}, "from here by conf/a.yaml:2"),
    "types read at run time": (
        {"pkg/b.py": "from typing import get_type_hints\nfrom . import mod\nget_type_hints(mod.f)\n"},
        "in a signature, and pkg/b.py:3 uses get_type_hints",
    ),
}


@pytest.mark.parametrize("case", TAKEN)
def test_what_others_take_from_a_module_stays(tmp_path, case):
    """Names that are reached from other files, tests included, by import, attribute or patch."""
    others, reason = TAKEN[case]

    assert reason in judge(tmp_path, "import heavy\ndef f(x: heavy.X): return heavy\n", others)


def test_a_value_that_changes_later_is_not_taken_later(tmp_path):
    """What a module rebinds, or others store, is another value when the function runs."""
    text = "from pkg.heavy import level\ndef f(): return level\n"
    rebinding = {"pkg/heavy.py": "level = 1\ndef up():\n    global level\n    level += 1\n"}
    files = {"pkg/__init__.py": "", "pkg/mod.py": text, **rebinding}
    project, graph = survey(tmp_path, files)
    (edit,) = [edit for edit in list_edits(project, graph) if edit.family == "pkg.heavy"]

    assert "gets another value later (pkg.heavy.level)" in edit.blocked


PACKAGES = {
    "a re-export": ("from heavy import x\n__all__ = ['x']\n", {}, "on first use of the package's name"),
    "an alias": ("import heavy.sub as sub\n", {}, "on first use of the package's name"),
    "and a function": (
        "import heavy\ndef f(): return heavy.x\n",
        {},
        "in 1 function and on first use of the package's name",
    ),
    "a getattr of its own": (
        "from heavy import x\ndef __getattr__(n): ...\n",
        {},
        "a __getattr__ of its own",
    ),
    "a submodule of that name": (
        "from heavy import mod\n",
        {"pkg/mod.py": ""},
        "the name of the submodule pkg.mod",
    ),
    "a star": (
        "from heavy import x\n",
        {"pkg/b.py": "from pkg import *\n"},
        "may be taken by an import of *",
    ),
    "a dotted import": ("import heavy.sub\n", {}, "bound by a dotted import"),
    "used now": ("from heavy import x\ny = x()\n", {}, "while the module is imported"),
}


@pytest.mark.parametrize("case", PACKAGES)
def test_a_package_that_only_re_exports_can_be_lazy(tmp_path, case):
    """What an `__init__` passes on is answered by a `__getattr__`, unless something speaks against it."""
    text, others, expected = PACKAGES[case]

    assert expected in judge(tmp_path, text, others, path="pkg/__init__.py")


EFFECTS = {
    "registration": ("from pkg.registry import register\n@register\ndef f(): ...\n", "pkg/sub.py:3"),
    "a call": ("import logging\nlogging.basicConfig()\n", "pkg/sub.py:2"),
    "the environment": ('import os\nos.environ["A"] = "1"\n', "pkg/sub.py:2"),
    "in an if": ("import sys\nif sys.path:\n    sys.path.insert(0, '.')\n", "pkg/sub.py:3"),
    "in a try": ("try:\n    import x\nexcept ImportError:\n    print('no x')\n", "pkg/sub.py:4"),
    "a class with a hook": ("from pkg.registry import Base\nclass A(Base): ...\n", "pkg/sub.py:2"),
    "a metaclass": ("from pkg.registry import Meta\nclass A(Meta): ...\n", "pkg/sub.py:2"),
    "its own list": ("names = []\nnames.append(1)\nif __name__ == '__main__':\n    print(1)\n", ""),
    "plain": ("import functools\n@functools.cache\ndef f(): ...\n", ""),
}
REGISTRY = (
    "KNOWN = []\ndef register(f):\n    KNOWN.append(f)\n    return f\n"
    "class Base:\n    def __init_subclass__(cls): KNOWN.append(cls)\n"
    "class Meta(metaclass=Strange): ...\n"
)


@pytest.mark.parametrize("case", EFFECTS)
def test_a_module_that_acts_when_imported_is_not_put_off(tmp_path, case):
    """Registration, settings, hooks: the line is told, and the import stays."""
    text, line = EFFECTS[case]
    files = {"pkg/__init__.py": "", "pkg/registry.py": REGISTRY, "pkg/sub.py": text}
    project, graph = survey(tmp_path, {**files, "pkg/mod.py": "from pkg import sub\ndef f(): return sub\n"})
    step, refused = plan_step(project, graph, list_edits(project, graph), [])

    assert (step is None) == bool(line)
    assert not line or f"it acts when it is imported ({line})" in refused[0][1]


def test_a_submodule_that_others_reach_by_its_package_stays(tmp_path):
    """`import heavy.sub` here lets `heavy.sub` work there, where only `heavy` is imported."""
    mod = "import heavy.sub\nfrom pkg import b\ndef f(): return heavy.sub.x\n"
    files = {"pkg/__init__.py": "", "pkg/mod.py": mod, "pkg/b.py": "import heavy\nX = heavy.sub.y\n"}
    project, graph = survey(tmp_path, files)
    edits = list_edits(project, graph)
    step, refused = plan_step(project, graph, edits, [])

    assert step is None
    assert "pkg/b.py:2 reaches it without importing it" in refused[0][1]


def test_imports_that_only_save_together_are_one_step(tmp_path):
    """A library that two files import goes if both let go; where one cut is enough, the second is left out."""
    libraries = "".join(f"import lib{number}\n" for number in range(3))
    use = "def f(): return lib0, lib1, lib2\n"
    files = {
        "pkg/__init__.py": "",
        "pkg/a.py": libraries + use,
        "pkg/mod.py": f"import pkg.a\nX = pkg.a\n{libraries}{use}",
    }
    project, graph = survey(tmp_path, files)
    step, _ = plan_step(project, graph, list_edits(project, graph), [])

    assert {edit.file for edit in step.edits} == {"pkg/a.py", "pkg/mod.py"}
    assert len(step.saves) == 1

    files["pkg/mod.py"] = "from pkg.a import f\ndef g(): return f()\n"
    project, graph = survey(tmp_path, files)
    step, _ = plan_step(project, graph, list_edits(project, graph), [])
    assert [(edit.file, edit.family) for edit in step.edits] == [("pkg/mod.py", "pkg.a")]
    assert step.saves == {"pkg.a", "lib0", "lib1", "lib2"}


def test_a_file_of_a_newer_python_is_left_alone(tmp_path):
    """What this Python cannot parse is said, with its line."""
    project, _ = survey(tmp_path, {"pkg/__init__.py": "", "pkg/mod.py": "x = yield from = 3\n"})

    assert "cannot be parsed" in project.unread["pkg/mod.py"]


def move(root: Path, text: str, others: dict[str, str] | None = None) -> str:
    """Give a module with all moved that may be moved."""
    project, graph = survey(root, {"pkg/__init__.py": "", "pkg/mod.py": text, **(others or {})})
    edits = [edit for edit in list_edits(project, graph) if edit.file == "pkg/mod.py" and not edit.blocked]
    return rewrite(text.encode(), [place for edit in edits for place in edit.placements]).decode()


WRITTEN = {
    "behind the docstring, with its comment": (
        'import os\n# why\nimport json  # noqa\n\n\ndef f():\n    """Say."""\n    return json\n\n\nX = os.sep\n',
        'import os\n# why\n\n\ndef f():\n    """Say."""\n    import json  # noqa\n    return json\n\n\nX = os.sep\n',
    ),
    "one of several names": (
        "from a import (\n    b,\n    c,\n)\nX = b\n\n\ndef f():\n    return c\n",
        None,  # one family: all or nothing
    ),
    "one of several modules": (
        "import a, b\nX = a\ndef f(): return b\n",
        "import a\nX = a\ndef f():\n    import b\n    return b\n",
    ),
    "one of a line": (
        "import a; import b\nX = a\ndef f(): return b\n",
        "import a\nX = a\ndef f():\n    import b\n    return b\n",
    ),
    "quotes": (
        "from a import T\ndef f(x: list[T], y: int) -> T: ...\n",
        'from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from a import T\n\ndef f(x: "list[T]", y: int) -> "T": ...\n',
    ),
    "an existing block": (
        "from __future__ import annotations\nfrom typing import TYPE_CHECKING\nfrom a import T\nif TYPE_CHECKING:\n    import z\ndef f(x: T): ...\n",
        "from __future__ import annotations\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import z\n    from a import T\ndef f(x: T): ...\n",
    ),
    "the import from typing": (
        "from typing import Any\nfrom a import T\nX = Any\ndef f(x: T): ...\n",
        'from typing import TYPE_CHECKING, Any\n\nif TYPE_CHECKING:\n    from a import T\n\nX = Any\ndef f(x: "T"): ...\n',
    ),
    "the main block": (
        'import a\nif __name__ == "__main__":\n    a.run()\n',
        'if __name__ == "__main__":\n    import a\n    a.run()\n',
    ),
    "carriage returns": (
        "import a\r\ndef f():\r\n    return a\r\n",
        "def f():\r\n    import a\r\n    return a\r\n",
    ),
}


@pytest.mark.parametrize("case", WRITTEN)
def test_a_file_is_rewritten_to_the_letter(tmp_path, case):
    """What moves, where to, and that all else stays byte for byte."""
    before, after = WRITTEN[case]

    assert move(tmp_path, before) == (before if after is None else after)


def test_what_cannot_be_written_is_refused(tmp_path):
    """A comment inside an import of which one part moves, and an annotation with both kinds of quotes."""
    with pytest.raises(CannotRewriteError, match="comment stands inside"):
        text = "from pkg import (\n    a,  # one\n    b,\n)\nX = a\ndef f(): return b\n"
        others = {"pkg/a.py": "", "pkg/b.py": ""}
        move(tmp_path, text, others=others)
    with pytest.raises(CannotRewriteError, match="cannot be put in quotes"):
        move(tmp_path, "import a\ndef f(x: a.L['\"']): ...\n")


SNIPPETS = [
    "def f{n}(x): return {m}.__name__",
    "class C{n}:\n    y = 3\n    def f(self): return [{m}.__name__ for _ in range(self.y)]\ndef f{n}(x): return C{n}().f()",
    "def f{n}(x):\n    '''Doc.'''\n    def g(): return {m}.__name__\n    return g()",
    "def f{n}({m}): return {m}",
    "def f{n}(x):\n    return (lambda: {m}.__name__)()",
    "def f{n}(x: {m}.Any = 1): return x",
    "V{n} = {m}.__name__\ndef f{n}(x): return V{n}",
    "def f{n}(x):\n    for {m} in [1]: pass\n    return {m}",
    "async def g{n}(): return {m}.__name__\ndef f{n}(x):\n    try: g{n}().send(None)\n    except StopIteration as e: return e.value",
]
NAMES = ["colorsys", "string as s", "wave"]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(SNIPPETS), st.sampled_from(NAMES)), min_size=1, max_size=6))
def test_a_rewritten_module_computes_the_same(tmp_path_factory, parts):
    """Whatever is moved, every function gives what it gave."""
    head = "".join(f"import {name}\n" for name in NAMES)
    body = "\n".join(text.format(n=n, m=name.split()[-1]) for n, (text, name) in enumerate(parts))
    body = body.replace(".Any", ".__class__")
    before = f"{head}\n{body}\n"
    after = move(tmp_path_factory.mktemp("module"), before)
    results = []
    for source in (before, after):
        space: dict = {"__name__": "module"}
        exec(compile(source, "module", "exec"), space)
        results.append([space[f"f{n}"](7) for n in range(len(parts))])

    assert results[0] == results[1]


@pytest.mark.parametrize("name", ["argparse", "dataclasses", "contextlib", "asyncio.base_events"])
def test_names_are_resolved_as_python_does(name):
    """In real modules the compiler's own tables and ours name the same globals of each function."""
    path = Path(*[Path(symtable.__file__).parent, *name.split(".")]).with_suffix(".py")
    source = path.read_text()
    theirs = set()

    def collect(table, function):
        inner = table.get_type() == "function" and table.get_name() not in {
            "lambda",
            "listcomp",
            "setcomp",
            "dictcomp",
            "genexpr",
        }
        function = table.get_name() if inner else function if table.get_type() == "function" else None
        if function:
            theirs.update(
                (function, each.get_name())
                for each in table.get_symbols()
                if each.is_global() and each.is_referenced()
            )
        for child in table.get_children():
            collect(child, function)

    collect(symtable.symtable(source, name, "exec"), None)
    ours = {
        (use.holder.name, each)
        for each, uses in read_names(source).uses.items()
        for use in uses
        if use.when == "late"
    }

    assert ours - theirs == set()
    assert {pair for pair in theirs - ours if pair[1] not in {"__class__"}} == set()


BARE = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
FIXED = {
    "pyproject.toml": "[tool.pytest.ini_options]\n",
    "src/pkg/__init__.py": '"""A package."""\n\nfrom pkg.model import Model\n\n__all__ = ["Model"]\n',
    "src/pkg/model.py": "import sqlite3\n\n\nclass Model:\n    def run(self):\n        return sqlite3.connect(':memory:')\n",
    "src/pkg/early.py": "import xml.dom\n\n\ndef find():\n    return xml.dom.Node\n\n\nNODE = find()\n",
    "src/pkg/watched.py": "import json\n\n\ndef check():\n    return json\n",
    "src/pkg/cli.py": "from pkg import Model, early, watched\n\n\ndef main():\n    return Model(), early.NODE, watched.check()\n\n\nX = early, watched\n",
    "tests/test_pkg.py": (
        "import pkg.cli\n\n\ndef test_runs():\n    assert pkg.cli.main()[0].run()\n    assert pkg.model\n\n\n"
        "def test_watched():\n    assert 'js' + 'on' in vars(pkg.watched)\n\n\ndef test_fails():\n    assert not pkg\n"
    ),
}


def test_what_is_proven_is_kept_and_the_rest_is_told(make_project):
    """On the command line: one fix is kept, one does not help, one breaks a test; files change with --write only."""
    project = make_project(FIXED)
    before = project.state()
    command = ["imports", "pkg.cli", "--fix", "--test", "python -m pytest -q"]
    done = project.trainkit(*command, **BARE)

    assert done.returncode == 0, done.stderr
    assert "src/pkg/early.py:1  import xml.dom" in done.stdout
    assert " is still loaded by src/pkg/early.py:" in done.stdout
    assert "tests.test_pkg::test_watched: passed -> failed" in done.stdout
    assert "proof        tests: 1 failed, 2 passed, each as on the baseline" in done.stdout
    assert "+        import sqlite3" in done.stdout
    assert "-import json" not in done.stdout
    assert "nothing was written" in done.stdout
    assert project.state() == before

    done = project.trainkit(*command, "--write", **BARE)
    assert "written: src/pkg/model.py" in done.stdout
    assert "import sqlite3" not in project.trainkit("imports", "pkg.cli", "--advise").stdout


def test_a_proof_that_proves_nothing_is_refused(make_project):
    """Tests of which none passes on the baseline, a command without a test, and options that miss their companion."""
    project = make_project(
        {**FIXED, "tests/test_pkg.py": "import pkg\n\n\ndef test_fails():\n    assert not pkg\n"}
    )
    done = project.trainkit("imports", "pkg.cli", "--fix", "--test", "python -m pytest -q", **BARE)
    assert done.returncode == 3
    assert "proof-empty: on the baseline no test passes (1 failed)" in done.stderr

    for words, said in {
        ("--fix",): "--fix keeps only what is proven",
        ("--write",): "--write belongs to --fix",
        ("--fix", "--test", "'"): "No closing quotation",
        ("--fix", "--test", "x", "--share", "nowhere"): "share-missing",
    }.items():
        done = project.trainkit("imports", "pkg.cli", *words)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr


def test_a_file_that_has_changed_since_is_not_written(tmp_path):
    """All files or none, and each only as it was measured."""
    (tmp_path / "a.py").write_text("1\n")
    (tmp_path / "a.py").chmod(0o755)
    (tmp_path / "b.py").write_text("mine\n")
    files = (("a.py", b"1\n", b"2\n"), ("b.py", b"1\n", b"2\n"))
    advice = Advice("t", 1, 1.0, (), (), files=files)
    with pytest.raises(CannotJudgeError, match="b.py has changed"):
        write(tmp_path, advice)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.py", "b.py"]
    assert (tmp_path / "a.py").read_text() == "1\n"

    assert write(tmp_path, Advice("t", 1, 1.0, (), (), files=files[:1])) == ["a.py"]
    assert (tmp_path / "a.py").read_text() == "2\n"
    assert (tmp_path / "a.py").stat().st_mode & 0o777 == 0o755


def test_without_libcst_one_line_says_what_to_install(monkeypatch):
    """The extra is optional."""
    monkeypatch.setitem(__import__("sys").modules, "libcst.metadata", None)

    with pytest.raises(UsageError, match=r"pip install 'trainkit\[fix\]'"):
        rewriting.load_libcst()


def test_a_flaky_test_is_no_difference_and_another_command_has_its_status(make_project, monkeypatch):
    """What differs from itself on the baseline is not held against an edit; without pytest the status counts."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    flaky = (
        "import time\n\n\ndef test_good(): ...\n\n\ndef test_flaky():\n    import pkg\n"
        "    path = __import__('pathlib').Path('{count}')\n    path.write_text(path.read_text() + 'x')\n"
        "    assert len(path.read_text()) == 1\n"
    )
    project = make_project({"pkg.py": "X = 1\n", "tests/test_a.py": flaky})
    count = project.path.parent / "count"
    count.write_text("")
    project.edit("tests/test_a.py", "{count}", str(count))
    with open_trees(project.path, None) as (tree, _):
        tests = ("python", "-m", "pytest", "-q")
        proof = Proof(tree, tests=tests, training=None, share=(), timeout_s=60, progress=lambda _: None)
        assert proof.find_difference(tree) == ""
        assert "1 of them unstable" in proof.shown[0]

        (tree.path / "run.py").write_text("import pkg, sys\nsys.exit(pkg.X - 1)\n")
        tests = ("python", "run.py")
        proof = Proof(tree, tests=tests, training=None, share=(), timeout_s=60, progress=lambda _: None)
        assert proof.find_difference(tree) == ""
        edited = replace(tree, top=tree.scratch / "edited", path=tree.scratch / "edited")
        shutil.copytree(tree.top, edited.top)
        (edited.path / "pkg.py").write_text("X = 3\n")
        assert proof.find_difference(edited) == "the test command: status 0 -> status 2"


def test_training_must_stay_bitwise_identical(tiny, uncovered):
    """A late import in a training is kept when its verification says so."""
    tiny.write(
        "src/tiny/light.py", "import difflib\nimport wave\n\n\ndef look():\n    return difflib, wave\n"
    )
    tiny.edit("train.py", "import argparse\n", "import argparse\n\nimport tiny.light\n")
    done = tiny.trainkit(
        "imports",
        "tiny.light",
        "--fix",
        "--verify",
        "python train.py --epochs 1 --checkpoint last.pt",
        **uncovered,
    )

    assert done.returncode == 0, done.stderr
    assert "proof        training: identical over " in done.stdout
