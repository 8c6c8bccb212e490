"""The complexity guard: a ratchet that follows code through refactors, and lets no growth hide among them."""

import pytest

from trainkit.gate import judge
from trainkit.guards.complexity import check as run_guard
from trainkit.guards.complexity.settings import read_settings
from trainkit.guards.context import Context
from trainkit.verdict import Severity, Status

IFS = "    if a:\n        pass\n"


def make_function(name: str, num_ifs: int, first: str = "") -> str:
    return f"def {name}(a):\n{first}    pass\n" + IFS * num_ifs


def make_step(number: int, text: str, indent: str = "    ") -> str:
    """Two decisions that no other step has: real code differs from line to line."""
    lines = [
        f"for item{number} in batch.{text}_{number}:",
        f"    if item{number} > limit_{number}:",
        f'        total = total + scale_{text}(item{number}, "{text}{number}")',
    ]
    return "".join(f"{indent}{line}\n" for line in lines)


def make_steps(text: str, start: int, stop: int, indent: str = "    ") -> str:
    return "".join(make_step(number, text, indent) for number in range(start, stop))


def big(name: str = "train", text: str = "loss", start: int = 0, stop: int = 12) -> str:
    """A function of cyclomatic complexity 25 by default: over every limit."""
    return f"def {name}(batch, total):\n{make_steps(text, start, stop)}    return total\n"


@pytest.fixture
def check(tmp_path, make_trees):
    """Judge two folders, written from {name: text}."""

    def run(old, new, **table):
        baseline, candidate = make_trees(old, new)
        context = Context(
            root=tmp_path, name="complexity", table=table, baseline=baseline, candidate=candidate
        )
        return run_guard(context)

    return run


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


RENAMED_LOCALS = big().replace("total", "summed").replace("batch", "rows")
EDITED = big().replace("limit_3", "0.5").replace("scale_loss(item4", "scale_loss(item4 + 1")
HELPER = (
    f"def add_rest(batch, total):\n{make_steps('loss', 3, 12)}    return total\n"  # 19: over the limit, too
)
EXTRACTED = f"def train(batch, total):\n{make_steps('loss', 0, 3)}    total = add_rest(batch, total)\n    return total\n\n\n{HELPER}"
METHOD = (
    "class Trainer:\n    def train(self, batch, total):\n"
    f"{make_steps('loss', 0, 12, '        ')}        return total\n"
)
WRAPPED = (
    big("_train") + "\n\ndef train(batch, total):\n    with timer():\n        return _train(batch, total)\n"
)
FILLER = "def small(x):\n    return x + 1\n"
SCRIPT = "import lib\n" + make_steps("loss", 0, 12, "")
PLAIN = "".join(f"    part_{n} = prepare_{n}(rows, {n})\n" for n in range(9))
NEST = "".join(f"{'    ' * (n + 1)}if rows.deep_{n}:\n" for n in range(7)) + "    " * 8 + "act_deep(rows)\n"
LONG_ONE = "def work(rows):\n" + "".join(f"    part_{n} = prepare_{n}(rows, {n})\n" for n in range(160))
A_AND_B = big("one", "loss") + big("two", "data")

# name of the row, files before, files after, the rules of what fails
MATRIX = {
    "nothing": ({"a.py": big()}, {"a.py": big()}, []),
    "rename": ({"a.py": big()}, {"a.py": big("fit")}, []),
    "move": ({"a.py": big() + FILLER}, {"a.py": FILLER, "b.py": "import os\n" + big()}, []),
    "move of the file": ({"a.py": big()}, {"lib/b.py": big()}, []),
    "rename and edit": ({"a.py": big()}, {"a.py": EDITED.replace("train", "fit")}, []),
    "move and local rename": ({"a.py": big()}, {"b.py": RENAMED_LOCALS}, []),
    "move, rename, local rename": ({"a.py": big()}, {"b.py": RENAMED_LOCALS.replace("train", "fit")}, []),
    "extraction": ({"a.py": big()}, {"a.py": EXTRACTED}, []),
    "extraction into another file": (
        {"a.py": big()},
        {"a.py": "from b import add_rest\n" + EXTRACTED.replace(HELPER, ""), "b.py": HELPER},
        [],
    ),
    "extraction that adds a branch": (
        {"a.py": big()},
        {
            "a.py": EXTRACTED.replace(
                HELPER, HELPER.replace("    return", IFS.replace("a:", "batch:") * 12 + "    return")
            )
        },
        ["complexity-over-budget"],
    ),
    "copies merged": (
        {"a.py": big(), "b.py": big("train", "loss", 0, 11)},
        {"a.py": "from c import train\n", "b.py": "from c import train\n", "c.py": big()},
        [],
    ),
    "two functions joined to one": (
        {"a.py": A_AND_B},
        {
            "a.py": f"def both(batch, total):\n{make_steps('loss', 0, 12)}{make_steps('data', 0, 12)}    return total\n"
        },
        ["complexity-worse"],
    ),
    "helper put in its place": (
        {"a.py": f"def deep(rows):\n{NEST}\n\ndef work(rows):\n{PLAIN}    deep(rows)\n"},
        {"a.py": f"def work(rows):\n{PLAIN}{NEST}"},
        [],
    ),
    "wrapper": ({"a.py": big()}, {"a.py": WRAPPED}, []),
    "decorator": ({"a.py": big()}, {"a.py": "@jit(cache=True)\n" + big()}, []),
    "function to method": ({"a.py": big()}, {"a.py": METHOD}, []),
    "method to function": ({"a.py": METHOD}, {"a.py": big()}, []),
    "script to function": (
        {"train.py": SCRIPT},
        {"train.py": f"import lib\n\n\n{big('main').replace('(batch, total)', '()')}\n\nmain()\n"},
        [],
    ),
    "split of a file": (
        {"a.py": A_AND_B + FILLER},
        {"one.py": big("one", "loss"), "two.py": "import x\n" + big("two", "data"), "a.py": FILLER},
        [],
    ),
    "reformatting": (
        {"a.py": big()},
        {
            "a.py": big()
            .replace("(item", "(\n            item")
            .replace('")', '",\n        )')
            .replace("train(batch", "train(\n    batch")
        },
        [],
    ),
    "comments and docstring": (
        {"a.py": big()},
        {"a.py": big().replace("):\n", '):\n    """What it does."""\n    # how\n', 1)},
        [],
    ),
    "type hints": (
        {"a.py": big()},
        {"a.py": big().replace("batch, total)", "batch: Batch, total: float = 0.0) -> float")},
        [],
    ),
    "reformatting of what is too long": (
        {"a.py": LONG_ONE},
        {"a.py": LONG_ONE.replace("(rows, 3)", "(\n        rows,\n        3,\n    )")},
        [],
    ),
    "a statement more in what is too long": (
        {"a.py": LONG_ONE},
        {"a.py": LONG_ONE + "    finish(rows)\n"},
        ["complexity-worse"],
    ),
    "a getter that stood elsewhere": (
        {"a.py": "def get(rows):\n    return rows.kept\n"},
        {"a.py": big().replace("return total", "return batch.kept")},
        ["complexity-over-budget"],
    ),
    "growth": ({"a.py": big()}, {"a.py": big(stop=13)}, ["complexity-worse"]),
    "growth under the limit": ({"a.py": big(stop=2)}, {"a.py": big(stop=4)}, []),
    "growth among moves": (
        {"a.py": A_AND_B + FILLER},
        {"lib/one.py": big("one", "loss"), "lib/two.py": big("two", "data", 0, 13), "a.py": FILLER},
        ["complexity-worse"],
    ),
    "growth, moved and renamed": ({"a.py": big()}, {"b.py": big("fit", stop=14)}, ["complexity-worse"]),
    "swap: one better, one worse": (
        {"a.py": A_AND_B},
        {"a.py": big("one", "loss", 0, 11) + big("two", "data", 0, 13)},
        ["complexity-worse"],
    ),
    "bodies exchanged": (
        {"a.py": make_function("f", 30) + make_function("g", 20)},
        {"a.py": make_function("f", 20) + make_function("g", 30)},
        ["complexity-worse"],
    ),
    "one goes, an unrelated one comes": (
        {"a.py": big("one", "loss")},
        {"a.py": big("other", "data")},
        ["complexity-over-budget"],
    ),
    "a copy": ({"a.py": big()}, {"a.py": big(), "b.py": big("fit")}, ["complexity-over-budget"]),
    "new and over the limit": ({"a.py": FILLER}, {"a.py": FILLER + big()}, ["complexity-over-budget"]),
    "new and under it": ({"a.py": FILLER}, {"a.py": FILLER + big(stop=4)}, []),
    "raised limit": (
        {"a.py": FILLER, "pyproject.toml": "[tool.trainkit.complexity]\ncyclomatic = [10, 15]\n"},
        {"a.py": FILLER + big(), "pyproject.toml": "[tool.trainkit.complexity]\ncyclomatic = [50, 99]\n"},
        ["complexity-over-budget"],
    ),
}


@pytest.mark.parametrize("row", MATRIX)
def test_each_refactor_has_its_verdict(check, row):
    """Refactors pass, however they are mixed; growth fails, wherever it hides."""
    old, new, rules = MATRIX[row]
    settings = read_table(new)
    verdict = check(old, new, **settings)

    bad = [finding for finding in verdict.findings if finding.severity is Severity.ERROR]
    assert [finding.rule for finding in bad] == rules, [finding.message for finding in bad]
    assert verdict.status is (Status.FAILED if rules else Status.PASSED)


def read_table(files):
    import tomllib

    return (
        tomllib.loads(files.get("pyproject.toml", ""))
        .get("tool", {})
        .get("trainkit", {})
        .get("complexity", {})
    )


def test_a_finding_names_place_measures_and_what_it_was(check):
    """One finding for a function, with each measure that got worse, before and after."""
    verdict = check({"a.py": "\n" + big("old")}, {"b.py": big("fit", stop=13)})

    (finding,) = verdict.findings
    assert (finding.file, finding.line) == ("b.py", 1)
    assert finding.message == "fit() got worse: cyclomatic 27 (was 25), cognitive 39 (was 36)"
    assert (finding.expected, finding.actual) == ("cyclomatic at most 25, cognitive at most 36", "27, 39")
    assert finding.evidence == ("it was old() at a.py:2",)


def test_between_the_limits_is_a_warning(check):
    """Over the first limit and not over the second one."""
    verdict = check({"a.py": ""}, {"a.py": make_function("f", 12)})

    assert verdict.status is Status.PASSED
    assert [finding.severity for finding in verdict.findings] == [Severity.WARNING]
    assert verdict.findings[0].expected == "cyclomatic at most 10"


HANDLER = "def f(a):\n    try:\n        a()\n    except Exception:{}\n        pass\n"


@pytest.mark.parametrize(
    ("comment", "is_allowed"),
    [
        ("", False),
        ("  # noqa: BLE001, S110", False),
        ("  # pragma: no cover", False),
        ("  # noqa: BLE001 - a plugin may raise anything", True),
        ("\n        # whatever it is, the next one is tried", True),
        ("\n        log(a)\n        raise", True),
    ],
)
def test_a_new_broad_handler_needs_a_reason(check, comment, is_allowed):
    """`except Exception` raises, or says why in a comment that is no directive."""
    verdict = check({"a.py": "def f(a):\n    a()\n"}, {"a.py": HANDLER.format(comment)})

    assert [(finding.rule, finding.line) for finding in verdict.findings] == (
        [] if is_allowed else [("complexity-worse", 4)]
    )


def test_an_old_broad_handler_may_stay(check):
    """And move, and a second one fails."""
    old = HANDLER.format("")

    assert check({"a.py": old}, {"b.py": old.replace("def f", "def g")}).findings == ()
    assert check({"a.py": old}, {"a.py": old + old.replace("def f", "def g")}).status is Status.FAILED


def test_a_waiver_with_a_reason_is_counted_and_one_without_is_none(check):
    """Above the function, or inside it; the finding becomes a note."""
    waived = check(
        {"a.py": ""}, {"a.py": "# trainkit: allow complexity because it mirrors the paper\n" + big()}
    )
    inside = check(
        {"a.py": ""},
        {
            "a.py": big().replace(
                "    return", "    # trainkit: allow complexity because it mirrors the paper\n    return"
            )
        },
    )
    bare = check({"a.py": ""}, {"a.py": "# trainkit: allow complexity\n" + big()})

    for verdict in (waived, inside):
        assert verdict.status is Status.PASSED
        assert [(each.rule, each.severity) for each in verdict.findings] == [
            ("complexity-waived", Severity.NOTE)
        ]
        assert verdict.findings[0].evidence == ("allowed because it mirrors the paper",)
        assert verdict.summary.endswith("; 1 waived")
    assert bare.status is Status.FAILED
    assert {each.rule for each in bare.findings} == {
        "complexity-over-budget",
        "complexity-waiver-without-reason",
    }


def test_a_change_is_judged_by_the_limits_that_stood(check):
    """Raising a limit, or leaving files out, is said, and helps from the next change on."""
    old = {"a.py": big(), "pyproject.toml": "[tool.trainkit.complexity]\n"}
    verdict = check(old, {"a.py": big(stop=13)}, cyclomatic=[50, 99], cognitive=[50, 99])
    left_out = check(old, {"a.py": big(stop=13)}, exclude=["a.py"])

    assert [each.message for each in verdict.findings if each.rule == "complexity-limit-raised"] == [
        "this change raises the limits of cyclomatic: it is judged by [10, 15]",
        "this change raises the limits of cognitive: it is judged by [15, 25]",
    ]
    assert verdict.status is left_out.status is Status.FAILED
    assert left_out.findings[-1].evidence == ("a.py",)


def test_the_first_limits_are_those_of_the_change(check, tmp_path):
    """A baseline without trainkit, or with settings of another version, has no say."""
    (tmp_path / "pyproject.toml").write_text("[tool.trainkit.complexity]\nmax_function = 3\n")
    verdict = check(
        {"a.py": "", "pyproject.toml": "[tool.other]\n"},
        {"a.py": big()},
        cyclomatic=[30, 30],
        cognitive=[40, 40],
    )

    assert verdict.findings == ()
    assert read_settings(tmp_path, "complexity") is None


def test_the_length_of_a_script_only_warns(check):
    """`main` lists what is done; any other function of 200 lines fails."""
    body = "    step()\n" * 200
    verdict = check(
        {"a.py": ""}, {"a.py": f"def main():\n{body}def other():\n{body}", "b.py": "step()\n" * 200}
    )

    assert {each.message.split()[0]: each.severity.value for each in verdict.findings} == {
        "main()": "warning", "other()": "error", "the": "warning",
    }  # fmt: skip


def test_what_cannot_be_parsed_is_unmeasured_not_fine(check):
    """New, it fails; known from the baseline, it is a warning, and alone no judgement at all."""
    broken = {"a.py": "def f(:\n"}

    new, known = check({"a.py": ""}, broken), check(broken, broken)
    assert [each.rule for each in new.findings] == ["complexity-unmeasured"]
    assert (new.status, known.status) == (Status.FAILED, Status.ERROR)
    assert check(broken, broken | {"b.py": FILLER}).status is Status.PASSED


def test_notebooks_are_counted_as_unmeasured(check):
    """They are said, whatever else there is."""
    verdict = check({}, {"a.py": FILLER, "n.ipynb": "{}", "tests/m.ipynb": "{}"})

    assert verdict.summary.endswith("1 module bodies; 1 notebooks not measured")
    assert check({}, {"n.ipynb": "{}"}).status is Status.SKIPPED


def test_through_git_the_baseline_is_where_the_branch_began(make_project):
    """What main has changed since is not held against a branch, and a branch cannot move its baseline."""
    project = make_project(
        {"pyproject.toml": "[tool.trainkit.complexity]\n", "a.py": big(), "b.py": big("fit", "data")}
    )
    project.git("checkout", "--quiet", "-b", "topic")
    project.write("a.py", EXTRACTED)
    project.commit()
    project.git("checkout", "--quiet", "main")
    project.write("b.py", big("fit", "data", 0, 8))
    project.commit()
    project.git("checkout", "--quiet", "topic")

    done = project.trainkit("gate", "complexity", "duplication", "--base", "main")
    assert done.returncode == 0, done.stdout
    assert "baseline   where HEAD left main (" in done.stdout
    project.write("b.py", big("fit", "data", 0, 13))
    project.commit()
    verdict = judge(project.path, ["complexity"], base="main").verdicts[0]
    assert [each.message for each in verdict.findings if each.severity is Severity.ERROR] == [
        "fit() got worse: cyclomatic 27 (was 25), cognitive 39 (was 36)"
    ]


def test_alone_it_holds_all_code_to_the_limits(make_project):
    """Without a baseline each function over a limit is a finding; a wrong limit is one line."""
    project = make_project({"a.py": big(), "pyproject.toml": ""})
    done = project.trainkit("complexity")
    assert (done.returncode, "1 over the limits of 1 functions, 1 module bodies" in done.stdout) == (1, True)

    project.write("pyproject.toml", "[tool.trainkit.complexity]\ncyclomatic = [9, 3]\nlines = [1]\n")
    done = project.trainkit("complexity")
    assert done.returncode == 2
    assert done.stderr == (
        "trainkit: error: settings-range: [tool.trainkit.complexity] cyclomatic = [9, 3]: must be two limits, "
        "[warn, fail], rising\n"
    )


def test_the_summary_counts_what_warns_and_what_got_better_below_the_limit(check):
    """Between the two limits nothing fails, and something changed."""
    many, few = ("def {0}(x):\n" + "    if x: x += 1\n" * number + "    return x\n" for number in (12, 2))
    old = {"a.py": many.format("simpler") + few.format("worse")}
    new = {"a.py": few.format("simpler") + many.format("worse")}

    verdict = check(old, new)
    assert verdict.summary.startswith(
        "0 worse, or new and over the limits; 1 that warns; 1 better; 0 over in all"
    )
    first = verdict.measurements[0]
    assert (first.name, first.baseline, first.value, first.unit, first.how) == (
        "simpler(), simpler", 13, 3, "cyclomatic", "a.py:1",
    )  # fmt: skip
