"""`trainkit review` as somebody runs it."""

import json
import re

import pytest

BODY = """
    total = 0.0
    for batch in loader:
        values = [item * scale for item in batch]
        total += sum(values) / len(values)
        if total > limit:
            total = limit
    print("done", total)
    return total
"""
TRAIN = '''"""Train {0}."""
import argparse
import torch
from shared import helper

def run_{0}(loader, scale, limit):{1}

def main():
    model, optimizer = make()
    for step in range(3):
        loss = model(step)
        loss.backward()
        optimizer.step()

if __name__ == "__main__":
    main()
'''
FILES = {
    "pyproject.toml": "[project]\nname = 'x'\n[project.scripts]\ngo = 'shared:helper'\n",
    "shared.py": '"""What both need: <b>&."""\nimport other\ndef helper():\n    pass\n',
    "other.py": "import shared\n",
    "train_a.py": TRAIN.format("a", BODY),
    "train_b.py": TRAIN.format("b", BODY),
    "broken.py": "def f(:\n",
}


@pytest.fixture
def project(make_project, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return make_project(FILES)


def test_the_report_on_a_terminal_and_in_files(project):
    """What is planted is found; all formats say the same; the tree is only read."""
    before = project.state()
    out = project.path.parent / "out"
    out.mkdir()
    names = [str(out / f"r{ending}") for ending in (".html", ".md", ".json", ".sarif")]
    done = project.trainkit("review", *(word for name in names for word in ("-o", name)))

    assert (done.returncode, done.stderr) == (0, "")
    assert project.state() == before
    assert "not judged    broken.py: line 1:" in done.stdout
    assert "gradients are never set to zero" in done.stdout
    assert re.search(r"DUP-\d{4}  medium, P1, 20 to 40 min\n    run_a\(\), run_b\(\): 2 copies", done.stdout)
    assert "cycles        1 at module level" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 120
    report = json.loads((out / "r.json").read_text())
    assert report["format"] == 1
    ids = {issue["id"] for issue in report["issues"]}
    assert {id_.partition("-")[0] for id_ in ids} == {"DUP", "CYC", "HABIT"}
    assert {entry["path"]: entry["how"] for entry in report["entry_points"]}["shared.py"] == [
        "console script go"
    ]
    for ending in ("html", "md"):
        page = (out / f"r.{ending}").read_text()
        assert all(id_ in page for id_ in ids)
    assert "<b>&." not in (out / "r.html").read_text()
    sarif = json.loads((out / "r.sarif").read_text())
    (run,) = sarif["runs"]
    assert {result["properties"]["id"] for result in run["results"]} == ids
    assert all(run["tool"]["driver"]["rules"][r["ruleIndex"]]["id"] == r["ruleId"] for r in run["results"])
    assert run["invocations"][0]["toolExecutionNotifications"][0]["level"] == "error"


def test_ids_and_fingerprints_stay_when_the_code_moves(project):
    """Lines shift, a file is added: the same issues have the same ids."""
    first = project.trainkit("review", "-o", "../first.sarif")
    assert first.returncode == 0
    project.write("train_a.py", "# new\n\n" + FILES["train_a.py"])
    project.write("new.py", "A = 1\n")
    project.trainkit("review", "-o", "../second.sarif")
    sides = []
    for name in ("first", "second"):
        (run,) = json.loads((project.path.parent / f"{name}.sarif").read_text())["runs"]
        sides.append({r["properties"]["id"]: r["partialFingerprints"] for r in run["results"]})

    assert sides[0] == sides[1]


def test_before_and_after(project):
    """With a base there is a table: what was merged is gone."""
    project.write(
        "train_b.py", FILES["train_b.py"].replace(BODY, "\n    return run_a(loader, scale, limit)\n")
    )
    done = project.trainkit("review", "--base", "HEAD")

    assert done.returncode == 0
    assert re.search(r"classes of copies +\d+ +\d+ +-\d", done.stdout)
    assert re.search(r"lines +\d+ +\d+ +-7 \(-\d+ %\)", done.stdout)
    assert re.search(r"line coverage, % +not measured +not measured", done.stdout)
    assert re.search(r"gone since +the base", done.stdout)
    assert re.search(r"gone +\S.*, was at +train_a.py:\d+", done.stdout)


def test_structure_joined_to_behaviour(project):
    """--prove runs the command on both sides and its verdict is the exit status."""
    done = project.trainkit(
        "review", "--base", "HEAD", "--prove", "--timeout", "60", "--", "python", "other.py"
    )

    assert done.returncode == 3  # nothing was trained: no proof
    assert re.search(r"training +could not be judged: no process ran a model, backward", done.stdout)


MISTAKES = [
    (["no/such"], r"no-such-path: no/such does not exist"),
    (["-o", "x.pdf"], r"unknown-format: x.pdf: the ending says the format: .html, .md, .json, .sarif"),
    (["-o", "no/x.md"], r"output-not-writable: no/x.md: .*"),
    (["--base", "v9"], r"unknown-revision: no commit 'v9' in this clone; .*"),
    (["--prove"], r"usage: --prove and a command behind -- go together; see trainkit review --help"),
    (["--", "python"], r"usage: --prove and a command behind -- go together; .*"),
    (["--prove", "--", "python"], r"usage: --prove needs --base REF; .*"),
    (["pyproject.toml"], r"nothing-to-review: no Python file in pyproject.toml"),
]


@pytest.mark.parametrize(("words", "line"), MISTAKES)
def test_a_mistake_is_one_line(project, words, line):
    """Exit status 2, and nothing is written."""
    before = project.state()
    done = project.trainkit("review", *words)

    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(rf"trainkit: error: {line}\n", done.stderr), done.stderr
    assert project.state() == before


@pytest.mark.parametrize("marks", [(), ("a", "b"), ("a",)])
def test_folders_side_by_side(project, tmp_path, marks):
    """What is asked for is read, in one project or in none: the nearest folder that holds all of it is the root."""
    for name in ("a", "b", "c"):
        (tmp_path / "plain" / name).mkdir(parents=True)
        (tmp_path / "plain" / name / "part.py").write_text("A = 1\n")
    for name in marks:
        (tmp_path / "plain" / name / "pyproject.toml").write_text("")
    output = tmp_path / "found.json"
    based = project.trainkit("review", tmp_path / "plain/a", tmp_path / "plain/b", "--base", "HEAD")
    assert (based.returncode, based.stderr.split(": ")[2]) == (2, "not-a-repository")
    done = project.trainkit("review", tmp_path / "plain/a/part.py", tmp_path / "plain/b", "-o", output)

    assert done.returncode == 0, done.stderr
    assert [row["path"] for row in json.loads(output.read_text())["files"]] == ["a/part.py", "b/part.py"]


def test_a_folder_outside_git(project, tmp_path):
    """A tree needs no repository."""
    folder = tmp_path / "plain"
    folder.mkdir()
    (folder / "a.py").write_text("A = 1\n")
    done = project.trainkit("review", str(folder))

    assert (done.returncode, done.stderr) == (0, "")
    assert "found         no issue" in done.stdout
    assert "cycles        none" in done.stdout
