"""How an import is shown: logs of Python, trees, traces, the page and the table."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainkit.guards.imports import log, page, table, views
from trainkit.guards.imports.measure import Edge, Imported, Importer, Load
from trainkit.guards.imports.views import Node

# Python 3.14 with =2; the cached row of the short name is padded, that of the long one is not.
LOG = """\
import time: self [us] | cumulative | imported package
import time:       120 |        120 |   zipimport
noise of a program
import time: cached    | cached     |   re
import time: cached    | cached     | a.name.that.is.longer.than.its.depth
import time:       -30 |         10 |     pack.deep
import time:       500 |        480 |   pack.core
import time:      1000 |       1600 | pack
import time: garbage
progress 12% import time:        70 |         70 | last
"""


@pytest.fixture
def imported():
    """Two modules of which one loads the other, a failed import, and a collection."""
    at = (Importer("__main__", "<string>", 1),)
    inner = (Importer("pack", "/tree/pack/<x>.py", 7),)
    loads = {
        "pack": Load("pack", "__main__", 0.0, 0.010, 0.050, 10, True, at),
        "heavy": Load("heavy", "pack", 0.001, 0.040, 0.040, 5_000_000, True, inner),
    }
    return Imported(
        target="pack", modules={"pack": "p", "heavy": "h"}, loads=loads,
        edges=(Edge("__main__", "<string>", 1, "pack", "__main__", True),
               Edge("pack", "/tree/pack/<x>.py", 7, "heavy", "pack", True)),
        failed=(Load("nt", "pack", 0.0, 0.002, 0.002, 0, False, inner),), pyc={"pack": 10, "heavy": 90},
        compiled=(), shared=("a.so",), num_collections=3, collections_s=0.005, cpu_s=0.06, root="/tree",
    )  # fmt: skip


def test_a_log_of_any_python_is_read():
    """Depths, cached rows, negative times, other output in between, and rows that are cut."""
    read = log.parse_log(LOG, name="x.log")

    assert read.root.name == "x.log"
    by_name = {each.node.name: each for each in views.lay_out(read.root)}
    assert {name: each.depth for name, each in by_name.items() if name != "x.log"} == {
        "pack": 1, "zipimport": 2, "pack.core": 2, "pack.deep": 3, "last": 1,
    }  # fmt: skip
    assert by_name["pack"].node.total_s == pytest.approx(0.00162)
    assert (read.again["re"], read.again["a.name.that.is.longer.than.its.depth"]) == (1, 1)
    assert (read.num_negative, read.num_unread) == (1, 1)
    told = log.describe_log(read)
    assert "5 loads" in told.splitlines()[0]
    assert "2 times one was there already, 1 negative times (as 0), 1 rows unread" in told
    assert "1 negative times" in told


def test_a_module_of_a_log_that_is_asked_for_again_says_so():
    """All importers of an expensive module are why =2 exists."""
    text = "import time:  5 |  5 | re\nimport time: cached    | cached     | re\n"

    assert "re  asked for 1 times more" in log.describe_log(log.parse_log(text))


@given(st.recursive(st.just([]), lambda children: st.lists(children, max_size=4), max_leaves=20))
def test_every_tree_survives_a_log_and_fits_its_parents(shape):
    """What Python would print of a tree is read back as that tree; bars lie within their parents'."""
    count = iter(range(1000))

    def build(children):
        return Node(f"m{next(count)}", next(count) / 1e6, [build(each) for each in children])

    def rows(node, depth):
        for child in node.children:
            yield from rows(child, depth + 1)
        own, total = round(node.self_s * 1e6), round(node.total_s * 1e6)
        yield f"import time: {own:9} | {total:10} | {'  ' * depth}{node.name}"

    def names(node):
        return node.name, [names(child) for child in node.children]

    root = build(shape)
    back = log.parse_log("\n".join(rows(root, 0))).root
    assert [names(child) for child in back.children] == [names(root)]
    events = json.loads(views.render_speedscope(root))["profiles"][0]["events"]
    stack = []
    for event in events:
        if event["type"] == "O":
            stack.append(event["frame"])
        else:
            assert stack.pop() == event["frame"]
    assert stack == []
    assert [event["at"] for event in events] == pytest.approx(sorted(event["at"] for event in events))


def test_collections_and_failures_have_bars_of_their_own(imported):
    """The tree has all that was spent."""
    root = views.build_tree(imported)

    assert [child.name for child in root.children] == ["pack", views.COLLECTIONS, views.FAILED]
    assert root.total_s == pytest.approx(0.057)
    trace = json.loads(views.render_chrome(root))["traceEvents"]
    heavy = next(event for event in trace if event["name"] == "heavy")
    assert heavy["dur"] == pytest.approx(40_000)
    assert heavy["args"]["by"] == "pack/<x>.py:7"


def test_the_table_names_what_costs_most_and_its_chain(imported):
    """What would be spared, sorted; the target itself is no news."""
    text = table.render_table(imported)

    assert text.splitlines()[0] == "pack: 2 modules, 0.060 s of CPU, 0.0 MB of .pyc, 1 shared objects"
    assert [row.name for row in table.list_rows(imported)] == ["heavy"]
    assert "heavy comes by\n  pack/<x>.py:7  pack" in text
    assert "(garbage collection)  3 of them" in text
    assert "(imports that failed)  1 of them" in text


def test_the_page_needs_nothing_else_and_escapes_what_it_shows(imported):
    """No address, no mark-up from names; bars and rows are there."""
    html = page.build_page(imported)

    assert "http" not in html
    assert "pack/&lt;x&gt;.py:7" in html
    assert html.count("<button") == 5
    assert "prefers-color-scheme:dark" in html
    assert 'class="none"' in html
