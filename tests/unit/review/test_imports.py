"""Imports as Python would resolve them, cycles, names that stand twice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainkit.review.cycles import find_cycles, find_groups
from trainkit.review.graph import Edge, Graph
from trainkit.review.inventory import is_script, is_test, reads_arguments
from trainkit.review.names import find_namesakes

TREE = {
    "src/pkg/__init__.py": "",
    "src/pkg/a.py": "from . import b\nfrom .sub.deep import f\nimport numpy as np\n",
    "src/pkg/b.py": "import pkg.sub.deep\ndef late():\n    from pkg import a\n",
    "src/pkg/sub/deep.py": "from ..b import late\nimport typing\nif typing.TYPE_CHECKING:\n    from pkg import a\n",
    "tools/run.py": "import helper\nfrom pkg import a\nif __name__ == '__main__':\n    import pkg.b\n",
    "tools/helper.py": "import argparse\ntry:\n    import missing\nexcept ImportError:\n    missing = None\n",
}


def edges_of(sources):
    return {(edge.importer, edge.imported, edge.kind) for edge in Graph(sources).edges}


def test_imports_are_resolved(read_tree):
    """Relative ones, a src folder, a namespace package, the script's own folder, late and typing ones apart."""
    sources = read_tree(TREE)
    graph = Graph(sources)

    assert edges_of(sources) == {
        ("src/pkg/a.py", "src/pkg/b.py", "module"),
        ("src/pkg/a.py", "src/pkg/sub/deep.py", "module"),
        ("src/pkg/b.py", "src/pkg/sub/deep.py", "module"),
        ("src/pkg/b.py", "src/pkg/a.py", "late"),
        ("src/pkg/sub/deep.py", "src/pkg/b.py", "module"),
        ("src/pkg/sub/deep.py", "src/pkg/a.py", "typing"),
        ("tools/run.py", "tools/helper.py", "module"),
        ("tools/run.py", "src/pkg/a.py", "module"),
        ("tools/run.py", "src/pkg/b.py", "late"),
    }
    assert graph.list_externals() == [("missing", 1), ("numpy", 1)]
    assert graph.find_module("pkg.sub.deep") == ["src/pkg/sub/deep.py"]


def test_cycles_have_their_lines_and_kind(read_tree):
    """One at module level, and the late one around it; type checkers close none."""
    first, second = find_cycles(Graph(read_tree(TREE)).edges)

    assert (first.kind, first.num_files) == ("module", 2)
    assert [(edge.importer, edge.line) for edge in first.path] == [
        ("src/pkg/b.py", 1),
        ("src/pkg/sub/deep.py", 1),
    ]
    assert (second.kind, second.num_files) == ("late", 3)


def test_no_cycle_is_a_result(read_tree):
    """A tree without one has none."""
    assert find_cycles(Graph(read_tree({"a.py": "import b\n", "b.py": "import os\n"})).edges) == []


@given(st.sets(st.tuples(st.integers(0, 7), st.integers(0, 7)).filter(lambda pair: pair[0] != pair[1])))
def test_groups_are_the_files_that_reach_each_other(pairs):
    """As a search from every file finds them."""
    edges = [Edge(str(a), str(b), 1, "module") for a, b in sorted(pairs)]
    reach = {a: {a} for a in range(8)}
    for _ in range(8):
        for a, b in pairs:
            reach[a] |= reach[b]
    expected = {frozenset(str(b) for b in reach[a] if a in reach[b]) for a in range(8)}

    assert set(find_groups(edges)) == {group for group in expected if len(group) > 1}


def test_roles_of_files(read_tree):
    """Scripts, parsers and tests are told apart."""
    sources = {source.path: source for source in read_tree(TREE)}

    assert [path for path in sources if is_script(sources[path])] == ["tools/run.py"]
    assert [path for path in sources if reads_arguments(sources[path])] == ["tools/helper.py"]
    assert is_test("tests/a.py") and is_test("x/test_b.py") and not is_test("x/contest.py")


MANAGER = "class CheckpointManager:\n    def save(self): {}\n    def load(self): pass\n"


def test_names_that_stand_twice_with_evidence(read_tree):
    """Two checkpoint_manager.py, a class of two files, a helper that a sibling imports."""
    found = find_namesakes(
        sources := read_tree(
            {
                "core/checkpoint_manager.py": MANAGER.format("pass"),
                "utils/checkpoint_manager.py": MANAGER.format("return 1"),
                "lib.py": "def make_env(env_id, seed):\n    return 1\n",
                "train_a.py": "from core.checkpoint_manager import CheckpointManager\nfrom lib import make_env\nif __name__ == '__main__': pass\n",
                "train_b.py": "from utils.checkpoint_manager import CheckpointManager\ndef make_env(env_id, seed):\n    return 2\nif __name__ == '__main__': pass\n",
            }
        ),
        Graph(sources),
    )

    assert [(each.kind, each.name) for each in found] == [
        ("class", "CheckpointManager"),
        ("file", "checkpoint_manager.py"),
        ("redefined", "make_env"),
    ]
    assert "train_b.py" in found[1].evidence[2]
    assert "with another body" in found[2].evidence[1]


def test_what_is_built_on_its_namesake_is_none(read_tree):
    """Imported under another name, and extended."""
    extended = (
        "from lib import make_env as make\ndef make_env(env_id, seed):\n    return make(env_id, seed) + 1\n"
    )
    files = {
        "lib.py": "def make_env(env_id, seed):\n    return 1\n",
        "train_a.py": "from lib import make_env\nif __name__ == '__main__': pass\n",
        "train_b.py": extended + "if __name__ == '__main__': pass\n",
    }

    sources = read_tree(files)

    assert find_namesakes(sources, Graph(sources)) == []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("    # why\n\n    return 1  \n", "the same text"),
        ("    return 1  # why\n", "with another body"),
        ("    return '#'\n", "with another body"),
    ],
)
def test_a_line_of_comment_alone_makes_no_other_text(read_tree, body, said):
    sources = read_tree(
        {
            "lib.py": "def make_env(env_id, seed):\n    return 1\n",
            "train_a.py": "from lib import make_env\nif __name__ == '__main__': pass\n",
            "train_b.py": f"def make_env(env_id, seed):\n{body}if __name__ == '__main__': pass\n",
        }
    )

    (found,) = find_namesakes(sources, Graph(sources))

    assert said in found.evidence[1]


def test_one_name_alone_is_no_finding(read_tree):
    """Files and classes that nobody takes for each other: unused, one built on the other, only `forward` alike."""
    sources = read_tree(
        {
            "a/tool.py": "class Tool:\n    def go(self): pass\n    def stop(self): pass\n",
            "b/tool.py": "class Tool:\n    def go(self): return 1\n    def stop(self): pass\n",
            "net.py": "class Net:\n    def forward(self, x): pass\n",
            "other.py": "class Net:\n    def forward(self, x): return x\n",
            "base.py": "class Loop:\n    def run(self): pass\n    def end(self): pass\n",
            "more.py": "from base import Loop as Base\nclass Loop(Base):\n    def run(self): return 1\n    def end(self): pass\n",
            "user.py": "from net import Net\nimport more\nfrom more import Loop\nfrom a.tool import Tool\n",
            "users.py": "from other import Net\nfrom base import Loop\n",
        }
    )

    assert find_namesakes(sources, Graph(sources)) == []
