"""Issues: severity, effort, priority, ids that stay; the plan; coverage."""

import subprocess

from hypothesis import given
from hypothesis import strategies as st

from trainkit.review.clones import find_clones
from trainkit.review.coverage import read_coverage
from trainkit.review.findings import RULES, list_issues, number, plan
from trainkit.review.model import CloneClass, Place, Unit
from trainkit.review.survey import review

LONG = "VALUES = (\n" + "    1,\n" * 160 + ")\n"
SAVES = """\
import torch

def train(model, optimizer, scheduler):
    scheduler.step()
    {}
    torch.save({{"model": model.state_dict(), "optimizer": optimizer.state_dict()}}, "last.pt")
"""


def make_clones(**changes):
    places = tuple(Place(f"{name}.py", 1, 20, "f") for name in "abc")
    values = {"kind": "function", "grade": "equal", "members": places, "num_bodies": 1, "num_lines_saved": 40}
    return CloneClass(**values | {"fingerprint": "x1", "signature": "f(a)"} | changes)


def make_issues(clones=(), units=(), **more):
    return list_issues(clones=clones, namesakes=(), cycles=(), units=units, habits=(), **more)


def test_copies_weigh_by_what_is_known_of_them():
    """Equal is medium; one that differs from many, too; much that differs is low; meant and short ones are left."""
    (equal,) = make_issues([make_clones()])
    (odd,) = make_issues([make_clones(grade="near", num_bodies=2, drift=("b.py:3: 1 where a.py:3 has 2",))])
    (loose,) = make_issues([make_clones(grade="near", num_bodies=3, drift=("x", "y", "z"))])
    (left,) = make_issues(
        [
            make_clones(
                grade="near", drift=("b.py:3: the module's `envs` where `envs` stands for `env` of a.py",)
            )
        ]
    )

    assert (equal.severity, equal.priority, equal.effort_min) == ("medium", 1, (30, 60))
    assert "safe to merge" in equal.proposal
    assert (odd.rule, odd.severity, odd.effort_min) == ("clone-drift", "medium", (50, 100))
    assert loose.severity == "low"
    assert (left.rule, left.severity) == ("clone-left-over", "medium")
    assert make_issues([make_clones(grade="related"), make_clones(num_lines_saved=3)]) == []
    assert [issue.allowed for issue in make_issues([make_clones(intended="docs")])] == ["docs"]


def test_a_run_that_differs_in_numbers_is_not_safe_to_merge():
    """Another momentum, another shuffle: such places are of one kind, and not the same."""
    (same,) = make_issues([make_clones(kind="run")])
    (other,) = make_issues([make_clones(kind="run", num_bodies=2)])

    assert (same.title.partition(": ")[2], "safe to merge" in same.proposal) == ("3 copies, all equal", True)
    assert (other.title.partition(": ")[2], "safe to merge" in other.proposal) == (
        "3 copies, 2 bodies",
        False,
    )


def test_definitions_divide_the_run_of_a_module(read_tree):
    """What stands before and after functions of other bodies is no run of its own."""
    head = "try:\n    from transformers import AutoTokenizer\nexcept ImportError:\n    AutoTokenizer = None\n"
    head += "logger = logging.getLogger(__name__)\nlimit = min(int(os.environ['LIMIT']), 20)\n"
    head += "torch.manual_seed(max(\n" + "    limit,\n" * 12 + "))\n"
    tail = "if __name__ == '__main__':\n    args = get_args(limit)\n    file = args.config_file\n"
    tail += "    trainer = Trainer(file, limit)\n    loader = make_loader(trainer, 'x')\n    trainer.train(loader)\n"
    ways = (
        "def make_loader(trainer, stage):\n    return DataLoader(torch.randn(100, 3), batch_size=trainer.batch)\n",
        "def make_loader(trainer, stage):\n    for folder in stage.folders:\n        yield folder.read_text()\n",
    )

    whole = dict(zip(("a.py", "b.py"), (way + "\n" * 9 + head + tail for way in ways), strict=True))
    divided = dict(zip(("a.py", "b.py"), (head + way + "\n" * 9 + tail for way in ways), strict=True))

    assert [clones.kind for clones in find_clones(read_tree(whole))] == ["run"]
    assert find_clones(read_tree(divided)) == []


def test_a_function_that_is_too_complex():
    """Over a limit it is an issue, far over it a medium one; what drives a script may be long."""

    def unit(**changes):
        values = {"kind": "function", "cyclomatic": 5, "cognitive": 5, "num_lines": 20, "nesting": 2}
        values |= {"num_parameters": 1, "num_handlers": 0, "num_broad": 0}
        return Unit(place=Place("a.py", 1, 20, "main"), **values | changes)

    assert make_issues(units=[unit()]) == []
    assert make_issues(units=[unit(num_lines=400)], scripts=frozenset({"a.py"})) == []
    assert make_issues(units=[unit(num_lines=400)])[0].severity == "low"
    assert make_issues(units=[unit(cognitive=60)])[0].severity == "medium"


@given(st.sets(st.text(min_size=1), max_size=30), st.data())
def test_an_id_stays_when_other_issues_come_and_go(names, data):
    """Numbers are made of the keys; all differ, and what meets no other number keeps its own."""
    keys = {f"clone-run:{name}" for name in names}
    ids = number(keys)
    assert len(set(ids.values())) == len(keys)

    rest = data.draw(st.sets(st.sampled_from(sorted(keys)))) if keys else set()
    alone = {key: number([key])[key] for key in keys}
    assert all(number(rest)[key] == ids[key] for key in rest if ids[key] == alone[key] == number(rest)[key])
    if len(set(alone.values())) == len(keys):
        assert all(number(rest)[key] == ids[key] for key in rest)


def test_what_a_comment_allows_is_no_issue_and_is_told(write_tree):
    """A reason moves it to what is allowed, whatever rule it is of; without one, or for another rule, it stays."""

    def judge(table, saves):
        found = review(
            write_tree(
                {
                    "table.py": f"# trainkit: allow {table}\n{LONG}",
                    "train.py": SAVES.format(f"# trainkit: allow {saves}"),
                }
            )
        )
        return {issue.rule for issue in found.issues}, {
            (issue.rule, issue.allowed) for issue in found.allowed
        }

    rules = {"complexity-high", "habit-checkpoint-incomplete"}
    reasons = {("complexity-high", "it is a table"), ("habit-checkpoint-incomplete", "nobody goes on")}

    assert judge(
        "complexity because it is a table", "habit-checkpoint-incomplete because nobody goes on"
    ) == (set(), reasons)
    assert judge("complexity", "habit-checkpoint-incomplete") == (rules, set())
    assert judge("duplication because it is a table", "habit-seed-late because nobody goes on") == (
        rules,
        set(),
    )


def test_beside_a_base_what_is_new_and_what_is_gone_is_told(make_project):
    """What moved is neither; what a comment allows now is not gone."""
    meant = "# trainkit: allow complexity because it is a table\n"
    tables = {name: LONG + "Z = 1\n" * n for n, name in enumerate(("dropped", "moved", "waived", "added"))}
    before = {f"{name}.py": tables[name] for name in ("dropped", "moved", "waived")}
    project = make_project(before | {"meant.py": meant + LONG + "Z = 1\n" * 9})
    for name in ("dropped", "moved", "meant"):
        (project.path / f"{name}.py").unlink()
    project.write("waived.py", meant + tables["waived"])
    project.write("new/moved.py", tables["moved"])
    project.write("added.py", tables["added"])
    project.commit("dropped, moved, waived, added")
    found = review(project.path, base="HEAD~1")

    assert {each.places[0].path: each.is_new for each in found.issues} == {
        "new/moved.py": False,
        "added.py": True,
    }
    assert [each.places[0].path for each in found.gone] == ["dropped.py"]
    assert not any(issue.is_new for issue in review(project.path).issues)


COPY = """
def {name}(model, loader, device):
    total, count = 0.0, 0
    model.eval()
    for inputs, targets in loader:
        outputs = model(inputs.to(device))
        total += (outputs.argmax(1) == targets.to(device)).sum().item()
        count += targets.numel()
    print("accuracy", total / count)
    {more}
    return total / max(count, 1)
"""


def _review_change(make_project, before, after):
    project = make_project(before)
    for path in before.keys() - after.keys():
        (project.path / path).unlink()
    for path, text in after.items():
        project.write(path, text)
    found = review(project.path, base="HEAD")
    return {issue.rule: issue for issue in found.issues if issue.is_new}, list(found.gone), found.issues


def test_a_renamed_function_is_neither_new_nor_gone(make_project):
    """In its file, with the same measures."""
    body = "    x = 1\n" * 160
    new, gone, issues = _review_change(
        make_project, {"a.py": f"def f():\n{body}"}, {"a.py": f"def g():\n{body}"}
    )
    assert (new, gone, len(issues)) == ({}, [], 1)


def test_what_grew_says_what_it_was(make_project):
    """It is no new issue."""
    files = [{"a.py": "def f():\n" + "    x = 1\n" * lines} for lines in (160, 170)]
    new, gone, issues = _review_change(make_project, *files)

    assert (new, gone) == ({}, [])
    assert issues[0].evidence[0] == "before: f(): 161 lines (from 150)"


def test_a_fix_that_some_copies_did_not_get_is_no_progress(make_project):
    """The copies are equal no more: that is told as what it is, and as nothing that is gone."""
    copies = {f"{name}.py": COPY.format(name=name, more="pass") for name in ("one", "two")}
    fixed = copies | {"one.py": copies["one.py"].replace("total / count", "total / len(loader.dataset)")}
    new, gone, issues = _review_change(make_project, copies, fixed)

    assert gone == []
    assert new["clone-uneven"].title == "one() changed, 1 of 2 copies did not"
    assert "not changed: two at two.py:2" in new["clone-uneven"].evidence
    assert issues[0].is_new


def test_a_copy_more_is_new_and_says_how_many_there_were(make_project):
    """A class of copies stays the same one when others join it."""
    copies = {f"{name}.py": COPY.format(name=name, more="pass") for name in ("one", "two")}
    third = {"three.py": COPY.format(name="three", more="log(total)")}
    new, gone, _ = _review_change(make_project, copies, copies | third)
    (issue,) = new.values()

    assert gone == []
    assert len(issue.places) == 3
    assert issue.evidence[0] == "before: one(), two(): 2 copies, all equal"


def test_copies_that_changed_and_became_more_are_the_same_ones(make_project):
    """By the places that they have in common, where nothing else is as it was."""
    before = {f"{name}.py": COPY.format(name=name, more="pass") for name in ("one", "two")}
    after = {
        f"{name}.py": COPY.format(name=name, more="log(total); log(count)") for name in ("one", "two", "six")
    }
    new, gone, _ = _review_change(make_project, before, after)

    assert gone == []
    assert [issue.evidence[0] for issue in new.values()] == ["before: one(), two(): 2 copies, all equal"]


def test_copies_that_only_resemble_each_other_by_now_are_not_gone(make_project):
    """Nobody has merged them."""
    before = {f"{name}.py": COPY.format(name=name, more="pass") for name in ("one", "two")}
    other = before["one.py"].replace(
        "    model.eval()\n", "    log(model)\n    seen = set()\n    begin(model)\n"
    )
    other = other.replace("pass", "seen.clear()\n    finish(model)\n    log(seen)\n    flush()")
    _, gone, issues = _review_change(make_project, before, before | {"one.py": other})

    assert gone == []
    assert not any(issue.rule in ("clone-equal", "clone-near", "clone-drift") for issue in issues)


def test_what_is_new_comes_first(make_project):
    """However little it weighs."""
    before = {f"{name}.py": COPY.format(name=name, more="pass") for name in ("one", "two")}
    _, _, issues = _review_change(
        make_project, before, before | {"long.py": "def f():\n" + "    x = 1\n" * 160}
    )

    assert [(issue.rule, issue.severity) for issue in issues] == [
        ("complexity-high", "low"),
        ("clone-equal", "medium"),
    ]


def test_copies_that_are_merged_are_gone(make_project):
    """Only then."""
    copies = {f"{name}.py": COPY.format(name=name, more="pass") for name in ("one", "two")}
    new, gone, _ = _review_change(
        make_project, copies, {"one.py": copies["one.py"], "two.py": "from one import one\n"}
    )

    assert new == {}
    assert [issue.rule for issue in gone] == ["clone-equal"]


def test_copies_that_call_what_they_had_in_common_are_gone(make_project):
    """What is left of them is alike, too, and short."""
    copies = {f"{name}.py": COPY.format(name=name, more="pass") for name in ("one", "two")}
    short = "from shared import accuracy\n\ndef {0}(model, loader, device):\n    print({0!r})\n    return accuracy(model, loader, device)\n"
    shared = {"shared.py": COPY.format(name="accuracy", more="pass")}
    new, gone, _ = _review_change(
        make_project, copies, shared | {f"{name}.py": short.format(name) for name in ("one", "two")}
    )

    assert new == {}
    assert [issue.rule for issue in gone] == ["clone-equal"]


def test_the_plan_adds_up():
    """Each issue is in one phase, with its effort and the lines that it saves."""
    issues = make_issues(
        [make_clones(), make_clones(fingerprint="x2", num_bodies=3, grade="near", drift=("a", "b", "c"))]
    )
    phases = plan(issues, {issue.key: 40 for issue in issues})

    assert sorted(id_ for phase in phases for id_ in phase.issues) == sorted(issue.id for issue in issues)
    assert sum(phase.num_lines_saved for phase in phases) == 80


def test_a_tree_says_what_it_is(write_tree):
    """No repository, one without a commit, one with."""
    folder = write_tree({"a.py": "x = 1\n"})
    said = [review(folder).candidate]
    for command in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=a", "-c", "user.email=a", "commit", "-qm", "a"],
    ):
        subprocess.run(["git", *command], cwd=folder, check=True)
        said.append(review(folder).candidate)

    assert said[:3] == ["no git repository", "no commit yet", "no commit yet"]
    assert len(said[3]) == 10


def test_every_rule_has_a_line():
    """SARIF shows it."""
    assert all(RULES.values())
    assert all("{" not in text for text in RULES.values())


def test_coverage_is_read_where_it_is(tmp_path):
    """JSON, XML, a broken file, none."""
    assert read_coverage(tmp_path) is None
    (tmp_path / "coverage.xml").write_text(
        '<?xml version="1.0" ?>\n<coverage version="7" line-rate="0.5" branch-rate="0">'
    )
    assert read_coverage(tmp_path) == 50.0
    (tmp_path / "coverage.json").write_text('{"totals": {"percent_covered": 81.5}}')
    assert read_coverage(tmp_path) == 81.5
    (tmp_path / "coverage.json").write_text("{")
    assert read_coverage(tmp_path) is None
