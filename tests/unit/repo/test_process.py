"""Programs run in a tree: whose sources they load is proven, and none outlives its time."""

import os
import sys
import time

import pytest

from trainkit.errors import CannotJudgeError
from trainkit.repo.process import run_in_tree
from trainkit.repo.trees import open_trees


@pytest.fixture
def project(make_project):
    return make_project(
        {
            "src/pack/__init__.py": "WHERE = __file__\n",
            "show.py": "import os, pack; print(pack.WHERE); print(os.environ['PYTHONHASHSEED'])\n",
        }
    )


@pytest.fixture
def trees(project):
    with open_trees(project.path, "HEAD") as both:
        yield both


def test_each_side_loads_its_own_sources(trees):
    """A package in src is found in the tree, without being installed, and the proof lists it."""
    for tree in trees:
        done = run_in_tree(tree, ["python", "show.py"], timeout_s=60)

        assert done.stdout == f"{tree.path}/src/pack/__init__.py\n0\n"
        assert done.own == (f"{tree.path}/show.py", f"{tree.path}/src/pack/__init__.py")
        assert done.foreign == ()


def test_a_program_knows_the_project_s_folder_and_the_repository_s(project):
    """By these the recorder tells whose lines run: what stands beside the project may be imported."""
    code = "import os; print(*(os.environ[f'TRAINKIT_{name}'] for name in ('TREE', 'TOP')), sep='\\n')"
    with open_trees(project.path / "src", None) as (tree, _):
        done = run_in_tree(tree, ["python", "-c", code], timeout_s=60, prove=False)

    assert done.stdout.split() == [str(tree.path.resolve()), str(tree.top.resolve())]


def test_an_installed_copy_of_the_project_loses(trees, project, monkeypatch):
    """PYTHONPATH entries inside the project, as an editable install has, mean the tree."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(project.path / "src"), "/elsewhere"]))

    done = run_in_tree(trees[1], ["python", "show.py"], timeout_s=60)

    assert str(trees[1].path) in done.stdout


def test_sources_of_the_users_own_tree_are_refused(trees, project):
    """A program that reaches back into the user's folder would compare the code with itself."""
    code = f"import sys; sys.path.insert(0, {str(project.path / 'src')!r}); import pack"

    with pytest.raises(CannotJudgeError, match="on the candidate side it loaded .*not the copy in its tree"):
        run_in_tree(trees[0], ["python", "-c", code], timeout_s=60)


def test_a_program_in_a_folder_that_git_ignores_is_the_users(trees, project):
    """An environment stands in the project, and in no tree; what the tree has is the tree's."""
    project.write(".venv/bin/python", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (project.path / ".venv/bin/python").chmod(0o755)
    done = run_in_tree(trees[0], [".venv/bin/python", "show.py"], timeout_s=60)

    assert done.stdout.startswith(f"{trees[0].path}/src/pack/")
    with pytest.raises(CannotJudgeError, match="No such file"):
        run_in_tree(trees[0], [".venv/bin/pyton", "show.py"], timeout_s=60)


def test_a_program_that_git_tracks_is_the_trees(make_project):
    """Whatever the user has made of it since."""
    project = make_project({})
    project.write("bin/tool", "#!/bin/sh\necho the tree\n")
    (project.path / "bin/tool").chmod(0o755)
    project.commit("a tool")
    with open_trees(project.path, "HEAD", head="HEAD") as (tree, _):
        project.write("bin/tool", "#!/bin/sh\necho the user\n")

        assert run_in_tree(tree, ["bin/tool"], timeout_s=60, prove=False).stdout == "the tree\n"


def test_a_link_into_the_users_tree_is_refused(project):
    """Python puts the folder of a link's target on its path."""
    (project.path / "linked.py").symlink_to(project.path / "show.py")
    with (
        open_trees(project.path, None) as (candidate, _),
        pytest.raises(CannotJudgeError, match="not the copy in its tree"),
    ):
        run_in_tree(candidate, ["python", "linked.py"], timeout_s=60)


def test_a_program_without_sources_of_the_project_is_refused(trees):
    """It would be the same program on both sides."""
    with pytest.raises(CannotJudgeError, match="loaded no Python file of the project"):
        run_in_tree(trees[0], ["python", "-c", "pass"], timeout_s=60)


def test_a_program_that_leaves_by_the_back_door_tells_its_sources(trees):
    """`os._exit` calls nothing that is registered for the end, but us."""
    done = run_in_tree(trees[0], ["python", "-c", "import os, show; os._exit(4)"], timeout_s=60)

    assert (done.returncode, len(done.own)) == (4, 2)


def test_children_count_too(trees):
    """Sources loaded by a process that the program starts are part of the proof."""
    code = "import subprocess, sys; subprocess.run([sys.executable, 'show.py'], check=True)"

    done = run_in_tree(trees[0], ["python", "-c", code], timeout_s=60)

    assert len(done.own) == 2


def test_a_failing_program_is_reported_not_raised(trees):
    """Its status and last words are values for the guard."""
    done = run_in_tree(
        trees[0], ["python", "-c", "import sys; print('out'); sys.exit('no data')"], timeout_s=60
    )

    assert (done.returncode, done.last_words()) == (1, ("no data",))


@pytest.mark.parametrize("own_session", [False, True])
def test_a_program_that_hangs_is_stopped_with_its_children(trees, own_session):
    """No process outlives the time that it was given, not even one that left the group, as torchrun's do."""
    code = (
        "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(99)'], "
    )
    code += f"start_new_session={own_session}); "
    code += "open('pid', 'w').write(str(p.pid)); p.wait()"

    with pytest.raises(CannotJudgeError, match="stopped after 3 s"):
        run_in_tree(trees[0], ["python", "-c", code], timeout_s=3, prove=False)

    child = int((trees[0].path / "pid").read_text())
    deadline = time.monotonic() + 10
    while _is_running(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _is_running(child)


def _is_running(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_child_left_behind_does_not_hold_the_program_up(trees):
    """The program has ended; what it left is stopped."""
    code = "import subprocess, sys; p = subprocess.Popen(['sleep', '600']); open('pid', 'w').write(str(p.pid)); import pack"
    done = run_in_tree(trees[0], ["python", "-c", code], timeout_s=240)

    assert done.returncode == 0
    assert not _is_running(int((trees[0].path / "pid").read_text()))


def test_a_child_that_is_stopped_while_it_tells_its_sources_tells_none(trees):
    """As multiprocessing's resource tracker, which outlives its program by a moment."""
    child = (
        "import json, time\n"
        "def dump(loaded, file): file.write('{'); file.flush(); time.sleep(60)\n"
        "json.dump = dump\n"
    )
    code = (
        "import glob, os, subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-c', {child!r}])\n"
        "folder = os.environ['TRAINKIT_SOURCES']\n"
        "while not any(os.path.getsize(path) for path in glob.glob(folder + '/*')): time.sleep(0.01)\n"
        "import pack\n"
    )
    done = run_in_tree(trees[0], ["python", "-c", code], timeout_s=60)

    assert done.own == (f"{trees[0].path}/src/pack/__init__.py",)


def test_a_program_that_does_not_exist_is_said(trees):
    """The message names the program."""
    with pytest.raises(CannotJudgeError, match="no-such-program: No such file"):
        run_in_tree(trees[0], ["no-such-program"], timeout_s=60)


def test_the_environments_own_sitecustomize_still_runs(trees, tmp_path, monkeypatch):
    """Ours hands over to the one it hides."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text("import builtins; builtins.theirs = 'ran'\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))

    done = run_in_tree(trees[0], ["python", "-c", "print(theirs); import pack"], timeout_s=60)

    assert done.stdout == "ran\n"


def test_a_broken_preload_does_not_break_the_program(trees, tmp_path):
    """The program runs; what went wrong is on standard error."""
    (tmp_path / "preload.py").write_text("1 / 0\n")

    done = run_in_tree(trees[0], ["python", "show.py"], timeout_s=60, preload=tmp_path / "preload.py")

    assert done.returncode == 0
    assert "trainkit: preload failed: ZeroDivisionError" in done.stderr


def test_python_is_this_python(trees):
    """`python` in a command is the interpreter that runs trainkit."""
    done = run_in_tree(trees[0], ["python3", "-c", "import pack, sys; print(sys.executable)"], timeout_s=60)

    assert done.stdout.strip() == sys.executable
