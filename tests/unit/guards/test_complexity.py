"""The complexity guard: radon's figures, module bodies too, and a ratchet that follows code."""

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainkit.gate import judge
from trainkit.guards.complexity import score_source
from trainkit.verdict import Status

IFS = "    if a:\n        pass\n"


def make_function(name: str, num_ifs: int, first: str = "") -> str:
    return f"def {name}(a):\n{first}    pass\n" + IFS * num_ifs


@pytest.fixture
def check(make_project):
    """Judge a project whose files went from `old` to `new` (None: deleted)."""

    def run(old, new, **table):
        project = make_project(old)
        for name, text in new.items():
            (project.path / name).unlink() if text is None else project.write(name, text)
        return judge(project.path, ["complexity"], base="HEAD", overrides={"complexity": table}).verdicts[0]

    return run


def test_functions_methods_and_module_bodies_are_scored():
    """Figures of radon: one, plus one per branch; a script's loop counts for its module body."""
    source = "for x in []:\n    if x: pass\nclass A:\n    class B:\n        def f(self):\n            return 1 if self else 2\n"
    units = {(unit.name, unit.line): unit.score for unit in score_source("a.py", source)}

    assert units == {("module body", 1): 3, ("A.B.f", 5): 2}


@given(st.lists(st.integers(0, 20), max_size=6))
def test_scores_count_branches(numbers):
    """A function of n branches has the figure n + 1, wherever it stands."""
    source = "\n".join(make_function(f"f{i}", number) for i, number in enumerate(numbers))
    ast.parse(source)

    assert [unit.score for unit in score_source("a.py", source)] == [1, *(number + 1 for number in numbers)]


def test_an_unchanged_function_over_budget_is_let_be(check):
    """The ratchet asks for no worse, not for good."""
    verdict = check({"a.py": make_function("f", 15)}, {"a.py": make_function("f", 14)})

    assert verdict.status is Status.PASSED
    assert verdict.summary.startswith("1 simpler, 0 worse")


def test_a_worse_function_fails_with_its_place(check):
    """One branch more than the baseline."""
    verdict = check({"a.py": "\n" + make_function("f", 6)}, {"a.py": "\n\n" + make_function("f", 7)})

    (finding,) = verdict.findings
    assert (finding.rule, finding.file, finding.line) == ("complexity-worse", "a.py", 3)
    assert finding.message == "f() went from complexity 7 to 8"
    assert (finding.expected, finding.actual) == ("at most 7", "8")


def test_a_worse_module_body_fails(check):
    """A script's own loop is held to the same rule."""
    loop = "for i in []:\n    pass\n"
    verdict = check({"train.py": loop * 6}, {"train.py": loop * 7})

    assert verdict.findings[0].message == "the module body of train.py went from complexity 7 to 8"


def test_simple_code_may_grow_within_rank_a(check):
    """Two branches more in a simple function are no reason to stop anybody."""
    verdict = check({"a.py": make_function("f", 1)}, {"a.py": make_function("f", 4)})

    assert verdict.status is Status.PASSED


def test_new_code_is_held_to_the_budget(check):
    """A new function has no past to be compared with."""
    verdict = check({"a.py": ""}, {"b.py": make_function("fresh", 12), "c.py": make_function("ok", 3)})

    (finding,) = verdict.findings
    assert (finding.rule, finding.message) == (
        "complexity-over-budget",
        "fresh() has complexity 13, over the budget of 10",
    )


@pytest.mark.parametrize(
    "new",
    [
        {"a.py": make_function("renamed", 15)},
        {"a.py": None, "b.py": make_function("f", 15)},
        {"a.py": None, "b.py": make_function("f", 15, first="    a = 1\n")},
        {"a.py": None, "c.py": "X = 1\n" + make_function("other", 15)},
    ],
    ids=["renamed", "moved", "moved and edited", "moved and renamed"],
)
def test_a_function_is_followed(check, new):
    """Known code is not judged as new, whatever it is called and wherever it is."""
    assert check({"a.py": make_function("f", 15)}, new).status is Status.PASSED


def test_a_moved_function_that_got_worse_is_still_seen(check):
    """Moving is no way around the ratchet."""
    verdict = check({"a.py": make_function("f", 15)}, {"a.py": None, "b.py": make_function("f", 16)})

    assert [finding.rule for finding in verdict.findings] == ["complexity-worse"]


def test_functions_of_one_name_are_told_apart(check):
    """A property and its setter, both unchanged and over budget."""
    source = make_function("f", 15) + make_function("f", 12)

    assert check({"a.py": source}, {"a.py": "# moved down\n" + source}).status is Status.PASSED


def test_what_cannot_be_parsed_is_unmeasured_not_fine(check):
    """A syntax error fails when it is new, and is left alone when the baseline has it too."""
    broken = {"a.py": "def f(:\n"}

    assert check({"a.py": ""}, broken).findings[0].rule == "complexity-unmeasured"


def test_an_old_syntax_error_is_not_blamed_on_the_candidate(check):
    """Templates and Python 2 files that were there before do not fail the gate."""
    broken = {"a.py": "def f(:\n"}

    assert check(broken, {"b.py": "X = 1\n"}).status is Status.PASSED


def test_every_encoding_that_python_reads_is_scored(make_project):
    """A byte-order mark and a declared encoding are no errors; a folder named like a file is none either."""
    project = make_project({"a.py": ""})
    (project.path / "bom.py").write_bytes(b"\xef\xbb\xbf" + make_function("f", 2).encode())
    (project.path / "latin.py").write_bytes(b"# coding: latin-1\nX = '\xe4'\n")
    (project.path / "folder.py").mkdir()
    (project.path / "folder.py/b.py").write_text("")
    (project.path / "broken.py").symlink_to("nowhere")
    verdict = judge(project.path, ["complexity"]).verdicts[0]

    assert verdict.summary == "0 over budget of 1 functions, 4 module bodies"


def test_files_are_chosen_by_patterns(check):
    """`exclude` wins over `include`."""
    bad = make_function("f", 15)
    new = {"src/a.py": bad, "tests/test_a.py": bad, "build/b.py": bad}
    verdict = check({"x.py": ""}, new, include=["src/*", "tests/*"])

    assert {finding.file for finding in verdict.findings} == {"src/a.py"}


def test_nothing_to_score_is_skipped(check):
    """No Python file at all is said, and is no pass."""
    assert check({"README": ""}, {}).status is Status.SKIPPED


def test_alone_it_holds_all_code_to_the_budget(make_project):
    """Without a baseline each function over budget is a finding."""
    project = make_project({"a.py": make_function("f", 15)})
    done = project.trainkit("complexity")

    assert done.returncode == 1
    assert "1 over budget of 1 functions, 1 module bodies" in done.stdout
    assert project.trainkit("complexity", "--max-function", "20").returncode == 0
