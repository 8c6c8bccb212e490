"""Which lines differ between two trees, on each side."""

import pytest

from trainkit.verify.edits import MOVED, RENAMED, list_edits, list_other_files, rank_edits, read_context

TRAIN = "".join(f"line_{number} = {number}\n" for number in range(1, 21))


def find_lines(baseline, candidate, name="a.py"):
    return [side.get(name, []) for side in list_edits(baseline, candidate)]


def test_equal_trees_have_no_edits(make_trees):
    """Nothing differs."""
    assert list_edits(*make_trees({"a.py": TRAIN}, {"a.py": TRAIN})) == ({}, {})


def test_a_changed_line_is_on_both_sides(make_trees):
    """Under its own number on each."""
    changed = "import x\n" + TRAIN.replace("line_5 = 5", "line_5 = 50")

    assert list_edits(*make_trees({"a.py": TRAIN}, {"a.py": changed})) == ({"a.py": [5]}, {"a.py": [1, 6]})


def test_added_and_removed_lines_are_on_one_side(make_trees):
    """The other side has no line for them."""
    longer = TRAIN.replace("line_5 = 5\n", "line_5 = 5\nnew = 1\nnewer = 2\n")
    before, after = make_trees({"a.py": TRAIN}, {"a.py": longer})

    assert find_lines(before, after) == [[], [6, 7]]
    (before.path / "a.py").write_text(longer)
    (after.path / "a.py").write_text(TRAIN)
    assert find_lines(before, after) == [[6, 7], []]


def test_new_and_lost_files_are_edited_whole(make_trees):
    """Each line of them is on one side."""
    edits = list_edits(*make_trees({"old.py": "a = 1\nb = 2\n"}, {"pkg/new.py": "import torch\n"}))

    assert edits == ({"old.py": [1, 2]}, {"pkg/new.py": [1]})


def test_a_moved_file_is_compared_with_itself(make_trees):
    """Only the line that was changed on the way."""
    moved = TRAIN.replace("line_9 = 9", "line_9 = 90")

    assert list_edits(*make_trees({"a.py": TRAIN}, {"pkg/b.py": moved})) == ({"a.py": [9]}, {"pkg/b.py": [9]})


def test_only_python_counts(make_trees):
    """A configuration is a fact, no line that runs."""
    edits = list_edits(
        *make_trees({"a.yaml": "x: 1\n", "b.py": "x = 1\n"}, {"a.yaml": "x: 2\n", "b.py": "x = 2\n"})
    )

    assert edits == ({"b.py": [1]}, {"b.py": [1]})


def test_other_files_are_named_with_their_first_change(make_trees):
    """A setting in YAML may be to blame; documentation is not."""
    files = {
        "a.py": "x\n",
        "conf/b.yaml": "a: 1\nb: 2\nc: 3\n",
        "README.md": "x\n",
        ".git": "gitdir: a\n",
        "gone.txt": "one\ntwo\n",
    }
    new = {
        "a.py": "y\n",
        "conf/b.yaml": "a: 1\nb: 0\nc: 0\n",
        "README.md": "y\n",
        ".git": "gitdir: b\n",
        "new.sh": "1\n",
    }

    assert list_other_files(*make_trees(files, new)) == ["conf/b.yaml:2", "gone.txt:1", "new.sh:1"]


def test_an_indentation_is_an_edit(make_trees):
    """A line that leaves its loop runs at other times: in Python that is code."""
    before, after = "for x in y:\n    f(x)\n    g()\n", "for x in y:\n    f(x)\ng()\n"

    assert list_edits(*make_trees({"a.py": before}, {"a.py": after})) == ({"a.py": [3]}, {"a.py": [3]})


def test_a_project_in_a_folder_names_its_files_from_there(make_trees):
    """As the frames of a trace do, what stands beside it, too: it may be imported."""
    before = {"sub/a.py": "x = 1\n", "other/b.py": "x = 1\n"}
    after = {"sub/a.py": "x = 2\n", "other/b.py": "x = 2\n"}

    assert list_edits(*make_trees(before, after, inside="sub")) == (
        {"a.py": [1], "../other/b.py": [1]},
        {"a.py": [1], "../other/b.py": [1]},
    )


@pytest.mark.parametrize("name", ["my train.py", "modèle.py", "a'b.py"])
def test_names_may_hold_anything(make_trees, name):
    """Spaces, accents and quotes."""
    assert list_edits(*make_trees({name: "x = 1\n"}, {name: "x = 2\n"})) == ({name: [1]}, {name: [1]})


def test_lines_that_look_like_a_header_are_lines(make_trees):
    """In a text of SQL: `-- a comment`, which a diff shows as `--- a comment`."""
    before = 'SQL = """\n-- old\n"""\n' + TRAIN
    after = 'SQL = """\n-- new\n"""\n' + TRAIN.replace("line_9 = 9", "line_9 = 90")

    assert list_edits(*make_trees({"a.py": before}, {"a.py": after})) == (
        {"a.py": [2, 12]},
        {"a.py": [2, 12]},
    )


NET = """
class Net(Module):
    def __init__(self):
        self.embed = Embedding(8)
        self.act = GELU()

    def forward(self, x):
        return self.act(self.embed(x))
"""


def test_a_name_that_is_defined_anew_was_renamed(make_trees):
    """Wherever it is used; a comment or spaces do not matter."""
    after = NET.replace("embed", "table").replace("act(", "act( ").replace("GELU()", "GELU()  # as before")

    ranks = rank_edits(*make_trees({"a.py": NET}, {"a.py": after}))

    assert ranks == ({("a.py", line): RENAMED for line in (4, 5, 8)},) * 2


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("GELU", "ReLU"),  # nobody here defines either
        ("self.embed(x)", "self.act(x)"),  # another name, which was there before
        ("Embedding(8)", "Embedding(9)"),
        ("    def forward", "  def forward"),
        ("return self", "return 2 * self"),
    ],
)
def test_other_changes_are_none_of_names(make_trees, old, new):
    """They may change numbers, in the midst of renames, too."""
    after = NET.replace(old, new).replace("embed", "table")

    ranks = rank_edits(*make_trees({"a.py": NET}, {"a.py": after}))

    changed = NET[: NET.index(old)].count("\n") + 1
    assert all(("a.py", changed) not in side for side in ranks)


def test_what_is_found_elsewhere_was_moved(make_trees):
    """A line in another file, under another indentation."""
    before = {"a.py": "def f(x):\n    y = x + 1\n    return y * 2\n"}
    after = {"a.py": "from b import f\n", "b.py": "def f(x):\n  if x:\n    y = x + 1\n    return y * 3\n"}

    ranks = rank_edits(*make_trees(before, after))

    assert ranks == ({("a.py", 1): MOVED, ("a.py", 2): MOVED}, {("b.py", 1): MOVED, ("b.py", 3): MOVED})


def test_what_cannot_be_parsed_has_no_rank(make_trees):
    """It is suspicious as a whole."""
    assert rank_edits(*make_trees({"a.py": "def f(:\n"}, {"a.py": "def g(:\n"})) == ({}, {})


def test_a_line_has_its_neighbours(make_trees):
    """With their numbers, as far as there are any."""
    tree, _ = make_trees({"a.py": TRAIN}, {})

    assert read_context(tree, "a.py", 5) == [(4, "line_4 = 4"), (5, "line_5 = 5"), (6, "line_6 = 6")]
    assert read_context(tree, "a.py", 1) == [(1, "line_1 = 1"), (2, "line_2 = 2")]
    assert [number for number, _ in read_context(tree, "a.py", 20, around=2)] == [18, 19, 20]
    assert read_context(tree, "gone.py", 1) == []
