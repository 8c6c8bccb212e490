"""The measures of complexity: radon's and SonarSource's figures, and what radon does not see."""

import ast
import json
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from radon.visitors import ComplexityVisitor

from trainkit.review.complexity import extract
from trainkit.review.measure import Facts

STDLIB = Path(sysconfig.get_path("stdlib"))
TREES = [
    *sorted(STDLIB.glob("[abc]*.py")),
    *sorted((STDLIB / "asyncio").glob("*.py")),
    # some distributions leave these out
    *(
        path
        for name in ("grammar", "generators", "scope")
        if (path := STDLIB / f"test/test_{name}.py").exists()
    ),
]


def measure(source: str) -> dict[str, Facts]:
    content = source.encode()
    return {unit[0]: Facts(*unit) for unit in extract(ast.parse(content), content)[0]}


def list_radon(functions, classes):
    for block in functions:
        yield (block.lineno, block.name), block.complexity
        yield from list_radon(block.closures, [])
    for block in classes:
        yield from list_radon(block.methods, block.inner_classes)


def test_figures_equal_radon_on_real_files():
    """Each function and module body of a part of the standard library, many of them, but for what radon does not see."""
    num_functions, others = 0, []
    planted = b"def f():\n    try:\n        a()\n    except* OSError:\n        b()\n    except* ValueError:\n        c()\n"
    for path, content in [*((path, path.read_bytes()) for path in TREES), ("planted", planted)]:
        tree = ast.parse(content)
        units = [Facts(*unit) for unit in extract(tree, content)[0]]
        ours = {
            (unit.line, unit.name.rpartition(".")[2].partition("#")[0]): unit.cyclomatic for unit in units[1:]
        }
        visitor = ComplexityVisitor.from_ast(tree)
        radon = dict(list_radon(visitor.functions, visitor.classes))
        num_functions += len(radon)

        assert units[0].cyclomatic == visitor.complexity, path
        others += [
            (unit, content)
            for unit in units
            if radon.get((unit.line, unit.name.rpartition(".")[2]), unit.cyclomatic) != unit.cyclomatic
        ]
        assert ours.keys() >= radon.keys(), path
    assert num_functions > 1500
    assert others, "the list of differences would not show one"
    assert [unit.name for unit, content in others if not _has_except_star(unit, content)] == []


def _has_except_star(unit: Facts, content: bytes) -> bool:
    return b"except*" in b"".join(content.splitlines()[unit.line - 1 : unit.end]).replace(b" ", b"")


# what radon 6.0.1 does not count, or counts twice: source of a function, radon's figure, ours and why
DIFFERENCES = [
    ("try:\n        a()\n    except* OSError:\n        pass\n    except* ValueError:\n        pass", 1, 3, "handlers"),
    ("match a:\n        case 1:\n            pass\n        case x if x > 1:\n            pass", 2, 3, "a guarded name is no else"),
    ("match a:\n        case 1:\n            pass\n        case 2 | _:\n            pass", 3, 2, "the last takes all"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "radon", "ours", "why"), DIFFERENCES, ids=[each[3] for each in DIFFERENCES])
def test_each_difference_from_radon_is_meant(body, radon, ours, why):
    """Where radon is wrong, and only there."""
    source = f"def f(a):\n    {body}\n"

    assert ComplexityVisitor.from_ast(ast.parse(source)).functions[0].complexity == radon
    assert measure(source)["f"].cyclomatic == ours


def test_what_radon_leaves_out_is_measured():
    """Classes in functions, their methods, and functions in those."""
    source = "def f():\n    class A:\n        def g(self):\n            def h(): return 1 if self else 2\n"
    found = {name: unit.cyclomatic for name, unit in measure(source).items()}

    assert found == {"module body": 1, "f": 1, "f.A": 1, "f.A.g": 1, "f.A.g.h": 2}


def test_ruff_is_a_second_witness(tmp_path):
    """mccabe's figure is ours without expressions, and with what is nested: equal for every function."""
    paths = [path for path in TREES if path.parent == STDLIB]
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "C901", "--config", "lint.mccabe.max-complexity=0", "--output-format", "json", "--no-cache", "--exit-zero", "--no-respect-gitignore", *map(str, paths)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    if "No module named ruff" in done.stderr:
        pytest.skip("ruff is not installed")
    sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))
    try:
        from review_trees import mccabe, parse_ruff
    finally:
        del sys.path[0]
    theirs = parse_ruff(json.loads(done.stdout))
    ours = {}
    for path in paths:
        content = path.read_bytes()
        units = [Facts(*unit) for unit in extract(ast.parse(content), content)[0]]
        ours |= {(str(path), line): value for line, value in mccabe(units).items()}

    assert len(theirs) > 500  # 819 in Python 3.14
    assert ours == theirs


COGNITIVE = {
    "if a:\n    if b: pass\n    elif c: pass\n    else: pass": 5,
    "for x in y:\n    while z:\n        continue\nelse: pass": 4,
    "try: pass\nexcept A:\n    if b: pass\nelse: pass\nfinally:\n    if c: pass": 5,
    "a and b and c": 1,
    "a and b or c and d": 3,
    "a or b and c or d": 3,
    "not (a and b) or c": 2,
    "x = (1 if a else 2) if b else 3": 3,
    "with a:\n    if b: pass": 1,
    "[x for x in y if x]": 0,
    "match a:\n    case 1:\n        if b: pass\n    case _: pass": 3,
    "assert a and b": 1,
    "if a: pass\nelse:\n    if b: pass": 4,
}


@pytest.mark.parametrize("source", COGNITIVE)
def test_cognitive_complexity_is_sonarsources(source):
    """One for each break of the line of thought, more for each level of nesting; in a script, too."""
    function = "def f():\n" + "".join(f"    {line}\n" for line in source.splitlines())

    assert measure(source)["module body"].cognitive == COGNITIVE[source]
    assert measure(function)["f"].cognitive == COGNITIVE[source]


def test_what_is_nested_in_a_function_counts_for_it_cognitively():
    """A function one level deeper; a decorator's at no depth; a class starts anew."""
    inner = "        if a:\n            if b: pass\n"
    found = measure(
        f"def f():\n    if c: pass\n    def g():\n{inner}"
        f"def deco(f):\n    'A decorator.'\n    def g():\n{inner}    return g\n"
        "def k():\n    class A:\n        def g(self):\n            if a: pass\n"
    )

    assert {name: unit.cognitive for name, unit in found.items()} == {
        "module body": 0, "f": 6, "f.g": 3, "deco": 3, "deco.g": 3, "k": 1, "k.A": 0, "k.A.g": 1,
    }  # fmt: skip


SOURCE = '''"""A module.

Of two lines.
"""

import os  # first


@decorate(
    1
)
class A:
    """A class."""

    x = 1

    @property
    def f(self, a, *b, c=1, **d):
        """Short."""

        # why
        for i in a:
            with i:
                try:
                    pass
                except (ValueError, Exception):
                    pass
                except OSError:
                    pass
        return [
            1,

            2,
        ]

    @f.setter
    async def f(self, value): pass

if os: print()
'''


def test_length_nesting_parameters_and_handlers():
    """Lines with code, without what is inside for classes and modules; `self` is no parameter."""
    found = measure(SOURCE)

    assert {name: (unit.kind, unit.num_lines, unit.num_parameters) for name, unit in found.items()} == {
        "module body": ("module body", 2, 0),
        "A": ("class body", 2, 0),
        "A.f": ("method", 13, 4),
        "A.f#2": ("method", 1, 1),
    }
    method = found["A.f"]
    assert (method.nesting, method.num_handlers, method.broad_lines) == (3, 2, (26,))
    assert (method.line, method.end) == (18, 34)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="its syntax came with Python 3.12")
def test_newer_syntax_is_measured():
    """Type parameters, type aliases and nested quotes in f-strings."""
    found = measure(
        "type A[T] = list[T]\ndef f[T](a: T) -> T:\n    return f'{'x' if a else 'y'}'\nclass B[T]:\n    def g(self): pass\n"
    )

    assert {name: unit.cyclomatic for name, unit in found.items()} == {
        "module body": 1,
        "f": 2,
        "B": 1,
        "B.g": 1,
    }


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_lines_are_pythons_whatever_ends_them(newline):
    """Decisions are found where they are, behind a form feed and at the end of a file without a line end, too."""
    source = newline.join(
        ["x = '\x0c'", "\x0c", "def f(a):", "    return (a or", "        1)", "y = 1 if x else 2"]
    )
    units = [Facts(*unit) for unit in extract(ast.parse(source), source.encode())[0]]

    assert [(unit.name, unit.cyclomatic, unit.num_lines) for unit in units] == [
        ("module body", 2, 2),
        ("f", 2, 3),
    ]


BLOCKS = {
    "if a:": 1,
    "for a in b:": 1,
    "while a:": 1,
    "with a:": 0,
    "if a and b:": 2,
    "for a in [b for c in d]:": 2,
}


@given(st.lists(st.sampled_from(sorted(BLOCKS)), max_size=12))
def test_cyclomatic_is_a_sum_over_blocks_however_they_are_nested(blocks):
    """Deep or flat, the figure is one and the sum; nesting is the depth, cognitive at least the flat one."""
    deep = "".join("    " * depth + block + "\n" for depth, block in enumerate(blocks))
    deep += "    " * len(blocks) + "pass\n"
    flat = "".join(f"{block}\n    pass\n" for block in blocks) or "pass\n"
    first, second = measure(deep)["module body"], measure(flat)["module body"]

    assert first.cyclomatic == second.cyclomatic == 1 + sum(BLOCKS[block] for block in blocks)
    assert first.nesting == len(blocks)
    assert first.cognitive >= second.cognitive
