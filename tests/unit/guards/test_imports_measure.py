"""What the imports guard measures: chains, dominators, costs, A/A, times; on tiny packages in real processes."""

import builtins
import dataclasses
import gc
import importlib.util
import marshal
import math
import sys
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
    # importlib brings warnings up to Python 3.12
    assert strangers | {"warnings"} == {"atexit", "colorsys", "gc", "importlib", "warnings"}


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


@pytest.fixture
def probe(monkeypatch):
    """The probe in this process, all that it replaces put back afterwards."""
    monkeypatch.delenv("TRAINKIT_IMPORTS", raising=False)
    spec = importlib.util.spec_from_file_location("_probe_here", measure._PROBE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for place, name in (
        (module.importlib_core, "_find_and_load"),
        (builtins, "__import__"),
        (module.importlib_files.SourceLoader, "source_to_code"),
    ):
        monkeypatch.setattr(place, name, getattr(place, name))
    limit, callbacks = sys.getrecursionlimit(), list(gc.callbacks)
    yield module
    gc.callbacks[:] = callbacks
    sys.setrecursionlimit(limit)


def test_the_probe_notes_loads_edges_and_collections(probe):
    """What stands in for Python's functions, called as Python calls it."""
    witness = probe.Witness()
    for name in ("colorsys", "wsgiref.types", "wsgiref"):
        sys.modules.pop(name, None)
    probe._BEFORE.difference_update({"colorsys", "wsgiref", "wsgiref.types", "json", "json.decoder"})
    witness.find_and_load("wsgiref.types", __import__)
    witness.find_and_load("wsgiref", __import__)
    with pytest.raises(ImportError):
        witness.find_and_load("nothing_of_that_name", __import__)
    call = lambda *words: witness.import_statement(*words)  # noqa: E731  # a frame between, as when it is armed
    assert call("json", globals(), None, ("decoder",), 0).__name__ == "json"
    outer = probe.Load("outer", "", [])
    witness.stack().append(outer)
    witness.note_collection("start", None)
    witness.note_collection("stop", None)
    report = witness.report()

    assert [(row[0], row[6]) for row in report["loads"]] == [
        ("wsgiref.types", True),
        ("nothing_of_that_name", False),
    ]
    asked = {edge[3] for edge in report["edges"]}
    assert asked == {"wsgiref", "wsgiref.types", "json", "json.decoder", "nothing_of_that_name"}
    assert all(edge[:2] == (__name__, __file__) for edge in report["edges"] if edge[3] == "json")
    assert report["collections"][0] == 1
    assert outer.collected > 0


def test_a_parent_is_not_charged_to_the_module_that_waits_for_it(probe):
    """Times, collections and memory go to whom they were spent within."""
    witness = probe.Witness()
    above, waiting, parent = (probe.Load(name, "", []) for name in ("above", "a.b", "a"))
    parent.collected = 10
    witness.close(parent, [above, waiting], 110, 7)
    witness.close(waiting, [above], 160, 9)

    assert (parent.total, waiting.total, waiting.pages) == (100, 50, 2)
    assert (above.children, above.collected, above.pages) == (150, 10, -9)


@pytest.mark.parametrize(
    ("name", "level", "variables", "full"),
    [
        ("a.b", 0, {}, "a.b"),
        ("b", 1, {"__package__": "a"}, "a.b"),
        ("", 1, {"__package__": "a"}, "a"),
        ("c", 2, {"__package__": "a.b"}, "a.c"),
        ("b", 1, {"__name__": "a.x"}, "a.b"),
        ("b", 1, {"__name__": "a", "__path__": []}, "a.b"),
    ],
)
def test_a_relative_import_is_resolved(probe, name, level, variables, full):
    """As Python does, with and without __package__."""
    assert probe.resolve(name, level, variables) == full


@pytest.mark.parametrize("mode", ["witness", "bare", "calls"])
def test_the_probe_writes_at_the_end(probe, mode, tmp_path, monkeypatch):
    """Each mode writes what it is for."""
    handlers = []
    monkeypatch.setattr(probe.atexit, "register", handlers.append)
    trace = sys.getprofile()
    probe.start(str(tmp_path), mode)
    sys.modules.pop("colorsys", None)
    probe._BEFORE.discard("colorsys")
    import colorsys  # noqa: F401

    handlers[0]()
    sys.setprofile(trace)
    (written,) = tmp_path.iterdir()
    facts = marshal.loads(written.read_bytes())
    assert facts["cpu_ns"] > 0
    assert ("loads" in facts) == (mode == "witness")
    assert (facts["calls"] > 0) == (mode == "calls")
    if mode == "witness":
        assert "colorsys" in {row[0] for row in facts["loads"]}
        assert "colorsys" in {row[0] for row in facts["modules"]}


def test_where_the_system_says_nothing_the_probe_goes_on(probe, monkeypatch):
    """Without /proc memory and shared objects are unknown, and told as nothing."""
    monkeypatch.setattr(probe.os, "open", _refuse)
    monkeypatch.setattr(builtins, "open", _refuse)

    assert probe._open_statm() == -1
    assert probe.list_shared_objects() == []


def _refuse(*_, **__):
    raise OSError("no such file")


def test_a_line_that_served_several_is_taken_out_as_a_whole():
    """A helper that imports by name is one line with several ways."""
    line = ("helper", "helper.py", 3)
    ways = [("a", "__main__"), ("x", "a"), ("b", "__main__"), ("y", "b")]
    edges = [measure.Edge(*line, name, within, True) for name, within in ways[1::2]]
    edges += [
        measure.Edge("__main__", "m.py", number, name, within, True)
        for number, (name, within) in enumerate(ways[::2])
    ]
    loads = {name: measure.Load(name, within, 0, 0, 0, 0, True, ()) for name, within in ways}
    found = dataclasses.replace(_imported("abxy"), edges=tuple(edges), loads=loads)

    assert found.dominated_by_edge(edges[0]) == ["x", "y"]
    assert found.dominated("a") == ["a", "x"]
