"""What the imports guard measures: chains, dominators, costs, A/A, times; on tiny packages in real processes."""

import math
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainkit.errors import CannotJudgeError, UsageError
from trainkit.guards.imports import compare, measure, target, times
from trainkit.guards.imports.graph import ROOT, collect_below, find_dominators, walk_below
from trainkit.guards.imports.measure import Target
from trainkit.repo.trees import open_trees

FILES = {
    "pyproject.toml": "[project.scripts]\ndemo = 'pack.cli:main'\npack = 'pack.cli:main'\n",
    "pack/__init__.py": "",
    "pack/__main__.py": "from pack.cli import main\nmain()\n",
    "pack/cli.py": "import pack.late\nfrom pack import lazy, both\nfrom pack.version import has\nhas('heavy')\n\n\ndef main():\n    import textwrap\n",
    "pack/late.py": "import atexit\n\n\ndef bye():\n    import colorsys\n\n\natexit.register(bye)\n",
    "pack/lazy.py": "try:\n    import nothing_of_that_name\nexcept ImportError:\n    pass\nimport pack.shared\n",
    "pack/both.py": "import pack.shared\nimport gc\ngc.collect()\nblock = bytearray(30_000_000)\n",
    "pack/shared.py": "",
    "pack/version.py": "from importlib import import_module\n\n\ndef has(name):\n    import_module(name + '.core')\n",
    "heavy/__init__.py": "import heavy.core\n",
    "heavy/core.py": "import heavy.only\nimport pack.shared\n",
    "heavy/only.py": "",
    "leave.py": "import os\nos._exit(0)\n",
    "broken.py": "import sys\nsys.exit(3)\n",
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """One candidate tree for all that only look."""
    from tests.conftest import Project

    project = Project(tmp_path_factory.mktemp("measured"))
    project.git("init", "--quiet")
    for name, text in FILES.items():
        project.write(name, text)
    project.commit()
    with ExitStack() as stack:
        yield stack.enter_context(open_trees(project.path, None))[0]


@pytest.fixture(scope="module")
def imported(tree):
    return measure.measure(tree, Target("pack.cli"), prove=True)


def _show(imported, name):
    return [imported.show(link) for link in imported.chain(name)]


def test_the_chain_leads_through_a_version_check_to_the_target(imported):
    """The line that imports, the line that called for it, and no more."""
    assert _show(imported, "heavy.core") == ["pack/version.py:5", "pack/cli.py:4"]
    assert _show(imported, "heavy") == ["pack/version.py:5", "pack/cli.py:4"]
    assert _show(imported, "heavy.only") == ["heavy/core.py:1", "pack/version.py:5", "pack/cli.py:4"]


def test_what_would_go_with_a_module_or_a_line_is_what_it_dominates(imported):
    """heavy brings its parts, and not what others ask for, too."""
    assert imported.dominated("heavy.core") == ["heavy.core", "heavy.only"]
    assert imported.dominated("heavy") == ["heavy"]  # the line asks for heavy.core by name
    edge = next(
        edge for edge in imported.edges if edge.imported == "heavy.core" and edge.file.endswith("version.py")
    )
    assert set(imported.dominated_by_edge(edge)) == {"heavy", "heavy.core", "heavy.only"}
    assert edge.first
    assert (edge.importer, edge.within) == ("pack.version", "pack.cli")
    assert imported.dominated("pack.shared") == ["pack.shared"]
    assert "pack.shared" not in imported.dominated("pack.lazy")
    later = [edge for edge in imported.edges if edge.imported == "pack.shared" and not edge.first]
    assert {edge.importer for edge in later} == {"pack.both", "heavy.core"}


def test_what_a_line_dominates_is_what_goes_without_it(tree, imported):
    """The prediction, held against a run without the line."""
    edge = next(edge for edge in imported.edges if edge.imported == "pack.version")
    path = tree.path / "pack/cli.py"
    text = path.read_text()
    try:
        path.write_text(text.replace("from pack.version import has\nhas('heavy')\n", ""))
        without = measure.measure(tree, Target("pack.cli"), prove=True)
    finally:
        path.write_text(text)

    gone = set(imported.modules) - set(without.modules)
    assert {"pack.version", "heavy", "heavy.core", "heavy.only"} <= gone
    call = next(
        each for each in imported.edges if each.imported == "heavy.core" and each.importer == "pack.version"
    )
    assert gone == {*imported.dominated_by_edge(edge), *imported.dominated_by_edge(call)}


def test_costs_are_told_apart(imported):
    """Collections belong to nobody, failed imports have a row, memory is the module's that took it."""
    assert imported.num_collections >= 1
    assert [load.name for load in imported.failed] == ["nothing_of_that_name"]
    assert imported.loads["pack.both"].memory_bytes > 20_000_000
    assert imported.loads["pack.cli"].memory_bytes < 20_000_000
    assert imported.loads["pack.cli"].total_s >= imported.loads["pack.both"].total_s
    assert sum(load.self_s for load in imported.loads.values()) < imported.cpu_s
    assert imported.compiled == ()
    assert imported.pyc["pack.both"] > 100


def test_what_comes_at_the_end_counts(imported):
    """A module that an exit handler imports is one of the start's costs, too."""
    assert "colorsys" in imported.modules


def test_nothing_of_ours_is_counted(imported):
    """Neither the probe nor the bootstrap brings a module along, or hides one."""
    assert list(imported.modules)[:2] == ["pack", "pack.cli"]
    strangers = {name.partition(".")[0] for name in imported.modules} - {"pack", "heavy"}
    assert strangers == {"atexit", "colorsys", "gc", "importlib", "warnings"}


def test_a_command_is_measured_like_a_module(tree):
    """`python -m` runs the same modules, and what it calls."""
    command = measure.measure(tree, target.find_target(tree, "run", "python -m pack"), prove=True)

    assert {"runpy", "pack.cli", "heavy", "textwrap"} <= set(command.modules)
    assert _show(command, "heavy")[:2] == ["pack/version.py:5", "pack/cli.py:4"]


def test_a_console_script_is_run_with_help(tree):
    """Of the tree's own pyproject.toml; a module of that name comes first."""
    script = measure.measure(tree, target.find_target(tree, "demo"), prove=True)

    assert "textwrap" in script.modules
    assert target.find_target(tree, "pack") == Target("pack")
    assert target.find_target(tree, "heavy.core").words() == ["python", "-c", "import heavy.core"]
    with pytest.raises(UsageError, match="'no-such-script' is no module"):
        target.find_target(tree, "no-such-script")
    with pytest.raises(UsageError, match="No closing quotation"):
        target.find_target(tree, "x", "python 'a")


def test_what_cannot_be_measured_is_no_verdict(tree):
    """A process that leaves without its exit handlers, and one that fails."""
    with pytest.raises(CannotJudgeError, match="told what it imported"):
        measure.measure(tree, Target("leave"), prove=False)
    with pytest.raises(CannotJudgeError, match="import broken fails on the candidate side"):
        measure.measure(tree, Target("broken"), prove=False)


def _imported(names, shared=()):
    return measure.Imported(
        target="t", modules=dict.fromkeys(names, ""), loads={}, edges=(), failed=(), pyc={}, compiled=(),
        shared=tuple(shared), num_collections=0, collections_s=0.0, cpu_s=0.1,
    )  # fmt: skip


def test_what_differs_from_itself_is_left_out():
    """Only what holds in all runs is added; another order counts where each side agrees with itself."""
    once, again = _imported("ab"), _imported("abx")
    now = _imported("bacyx", ["lib.so"])
    found = compare.compare(once, now, lambda: (again, _imported("bac", ["lib.so"])))

    assert (found.added, found.removed, found.unstable) == (("c",), (), ("x", "y"))
    assert found.added_shared == ("lib.so",)
    assert found.moved == ("a", "b")
    assert compare.compare(once, once, lambda: pytest.fail("measured again")) == compare.Comparison()
    unsure = compare.compare(once, _imported("ba"), lambda: (_imported("ba"), once))
    assert unsure.moved is None


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=40))
def test_dominators_are_what_goes_when_a_node_is_removed(pairs):
    """The definition, by brute force on any graph."""
    graph = {}
    for left, right in pairs:
        graph.setdefault(left or ROOT, []).append(right or ROOT)
    below = collect_below(find_dominators(graph))
    everything = _reach(graph, None)

    for node in everything - {ROOT}:
        assert set(walk_below(below, node)) == everything - _reach(graph, node)


def _reach(graph, without):
    found, waiting = {ROOT}, [ROOT]
    while waiting:
        for after in graph.get(waiting.pop(), ()):
            if after not in found and after != without:
                found.add(after)
                waiting.append(after)
    return found


def test_the_interval_holds_the_ratio_and_says_what_it_knows():
    """Clearly slower, clearly faster, or inconclusive; one pair knows nothing."""
    count = times.Count(1, 1, True)
    steady = times.estimate_ratio((1.0, 1.0, 1.0), (1.1, 1.11, 1.09))
    assert steady[1] < steady[0] < steady[2]
    assert steady[0] == pytest.approx(1.1, abs=0.01)
    assert times.estimate_ratio((1.0,), (2.0,)) == (pytest.approx(2.0), 0.0, math.inf)
    for low, high, word in ((1.01, 1.2, "slower"), (0.8, 0.99, "faster"), (0.9, 1.1, "inconclusive")):
        told = times.Times(1.0, low, high, (1.0,), (1.0,), count, count).describe()
        assert told.startswith(word)
    assert times._quantile(10) > times._quantile(11) > times._quantile(100) > 2.575
    assert times._quantile(11) == pytest.approx(3.106, abs=0.005)
