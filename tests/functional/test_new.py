"""`trainkit new`: a project that passes its own gate, and fails it when training is changed."""

import importlib.util
import json
import shutil
import subprocess
from pathlib import Path

import pytest

import trainkit
from trainkit.cli import main, new
from trainkit.core.compose import compose
from trainkit.guards.golden.check import _Judge


@pytest.fixture
def quick(tmp_path_factory, tmp_path, monkeypatch, uncovered):
    """Work in an empty folder, with a template whose golden is one short training; git knows nobody."""
    template = tmp_path_factory.mktemp("template") / "project"
    shutil.copytree(new._TEMPLATE, template)
    settings = (template / "pyproject.toml").read_text()
    lines = [line for line in settings.splitlines() if "resume=auto" not in line]
    short = "\n".join(lines).replace("trainer.device=cpu", "trainer.device=cpu trainer.lean=true")
    (template / "pyproject.toml").write_text(short)
    monkeypatch.setattr(new, "_TEMPLATE", template)
    monkeypatch.chdir(tmp_path)
    nobody = {
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_SYSTEM": "/dev/null",
        "GIT_CEILING_DIRECTORIES": "/",
    }
    for name, value in (uncovered | nobody).items():
        monkeypatch.setenv(name, value)
    return tmp_path


def read_statuses(project):
    report = json.loads((project / ".trainkit/report.json").read_text())
    return {verdict["guard"]: verdict["status"] for verdict in report["verdicts"]}


def git(project, *arguments):
    done = subprocess.run(["git", *arguments], cwd=project, check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


def test_a_new_project_passes_its_gate_and_fails_it_when_the_loss_is_changed(quick, monkeypatch, capsys):
    """Committed and clean, it passes; twice the loss in the loop, and the golden says so."""
    monkeypatch.setattr(_Judge, "_find_unstable", lambda *_: None)  # that it repeats is tested elsewhere
    assert main(["new", "tiny_one"]) == 0
    said = capsys.readouterr().out
    project = quick / "tiny_one"
    monkeypatch.chdir(project)

    assert said.startswith(
        "tiny_one/: a model, its data and configuration, tests, a golden and a workflow, committed"
    )
    assert [path.name for path in quick.iterdir()] == ["tiny_one"]
    assert git(project, "status", "--porcelain") == []
    assert git(project, "log", "--format=%an %s") == ["trainkit A model, its data and what guards them"]
    assert {
        ".gitignore",
        ".github/workflows/ci.yml",
        "src/tiny_one/model.py",
        "tests/golden/small.jsonl",
    } <= {*git(project, "ls-files")}
    assert [path for path in project.rglob("*") if path.is_file() and b"myproject" in path.read_bytes()] == []

    assert main(["gate"]) == 0
    assert "baseline   none: this is the first commit" in capsys.readouterr().out
    skipped = dict.fromkeys(["verify", "bench", "duplication"], "skipped")
    statuses = read_statuses(project)
    assert statuses.pop("gpu") in {"skipped", "passed"}  # as there is a device
    assert statuses == {"imports": "passed", "golden": "identical", "complexity": "passed"} | skipped

    shutil.copytree(Path(trainkit.__file__).parent, quick / "other/trainkit")
    loop = quick / "other/trainkit/core/loop.py"
    planted = loop.read_text().replace(
        "torch.autograd.backward(loss if", "torch.autograd.backward(loss * 2 if"
    )
    assert planted != loop.read_text()
    loop.write_text(planted)
    monkeypatch.setenv("PYTHONPATH", str(quick / "other"))
    assert main(["gate", "golden"]) == 1
    assert read_statuses(project) == {"golden": "diverged"}
    assert "diverged at step 1, loss" in " ".join(capsys.readouterr().out.split())


def test_the_tests_of_a_new_project_pass(quick, monkeypatch):
    """Called here, where torch is loaded already."""
    new.write_project(quick / "tiny_two", "tiny_two")
    monkeypatch.syspath_prepend(quick / "tiny_two/src")
    spec = importlib.util.spec_from_file_location("test_tiny_two", quick / "tiny_two/tests/test_tiny_two.py")
    tests = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tests)

    tests.test_every_model_composes("small")
    tests.test_the_model_learns(quick / "runs")
    config = compose(["model.kwargs.dropout=0.2"], config_dir=quick / "tiny_two/conf")
    assert (config.exp_name, config.optimizer.name) == ("tiny_two", "adamw")


def test_a_folder_that_cannot_be_written_to_is_refused(quick, monkeypatch, capsys):
    """Before anything is trained."""
    monkeypatch.setattr(new.os, "access", lambda *_: False)

    assert main(["new", "tiny_four"]) == 2
    assert capsys.readouterr().err.startswith("trainkit: error: output-not-writable: ")


@pytest.mark.parametrize("where", ["--no-git", "inside"])
def test_without_a_repository_of_its_own(quick, monkeypatch, where):
    """On request, and inside another repository: the files alone, into an empty folder, too."""
    monkeypatch.setattr(new, "record_golden", lambda _: None)
    (quick / "tiny_three").mkdir()
    if where == "inside":
        git(quick, "init", "--quiet")

    assert main(["new", "tiny_three", *([where] if where == "--no-git" else [])]) == 0
    assert (quick / "tiny_three/conf/config.yaml").is_file()
    assert not (quick / "tiny_three/.git").exists()


REFUSED = {
    "my-project": "new-name: 'my-project' is no name of a Python package; take letters, digits and _",
    "class": "new-name: 'class' is no name of a Python package; take letters, digits and _",
    "../up": "new-name: '../up' is no name of a Python package; take letters, digits and _",
    "json": "new-name: 'json' is the name of a module of Python or of trainkit",
    "trainkit": "new-name: 'trainkit' is the name of a module of Python or of trainkit",
    "tests": "new-name: 'tests' is the name of a folder in the project",
    "pytest": "new-name: 'pytest' is the name of a module that is there already: ",
    "taken": "new-folder-taken: ",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_name_that_cannot_be_is_refused(quick, name, capsys):
    """One line, exit status 2, and nothing is written."""
    (quick / "taken").mkdir()
    (quick / "taken/notes.txt").touch()

    assert main(["new", name]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"trainkit: error: {REFUSED[name]}")
    assert said.count("\n") == 1
    assert [path.name for path in quick.iterdir()] == ["taken"]


def test_nothing_is_left_when_the_training_breaks(quick, capsys):
    """The message holds what the training said."""
    broken = new._TEMPLATE / "conf/model/small.yaml"
    broken.write_text(broken.read_text().replace("hidden_dim", "hiden_dim"))

    assert main(["new", "tiny_four"]) == 3
    said = capsys.readouterr().err
    assert said.startswith("trainkit: error: new-golden-failed: the golden was not recorded: ")
    assert "did you mean 'hidden_dim'?" in said
    assert list(quick.iterdir()) == []
