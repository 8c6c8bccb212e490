"""Planted faults of moved imports: pickles, spawned processes, cycles, class bodies, and Ctrl-C at every moment."""

import os
import shlex
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip("libcst")

from trainkit.guards.imports import fix as fixing
from trainkit.guards.imports.fix import fix
from trainkit.guards.imports.rewrite import rewrite

LATE = "import sqlite3\n\n\ndef open_it():\n    return sqlite3.connect(':memory:')\n"


@pytest.fixture
def run_fix(make_project, monkeypatch):
    """Give the function that proves the advice for a project with a command, in few runs."""
    monkeypatch.setattr(fixing, "_NUM_PAIRS", 1)

    def run(files: dict[str, str], target: str, *tests: str, command: str = ""):
        project = make_project(files)
        advice = fix(project.path, target, command=command, tests=("python", *tests))
        rejected = [told.reason for told in advice.told if told.outcome == "rejected"]
        return {name: after.decode() for name, _, after in advice.files}, rejected

    return run


CIRCLE = {
    "pkg/__init__.py": "",
    "pkg/c.py": "import sqlite3, difflib\nD = sqlite3, difflib\n\n\nclass C: ...\n\n\nfrom pkg.b import helper\nH = helper\n",
    "pkg/b.py": "from pkg import c\n\n\nclass B(c.C): ...\n\n\ndef helper(): ...\n",
}


def test_a_function_that_would_enter_a_circle_from_its_other_end(run_fix):
    """The first import in the module made the second work; in functions, who is called first decides."""
    a = "from pkg import c\nfrom pkg import b\n\n\ndef f():\n    return b.B\n\n\ndef g():\n    return c.C\n"
    files = {**CIRCLE, "pkg/a.py": a}
    edited, rejected = run_fix(files, "pkg.a", "-c", "import pkg.a; pkg.a.g(); pkg.a.f()")

    assert edited == {}
    assert "`import pkg.a; from pkg import b` in a fresh process fails, and did not before" in rejected[0]


def test_a_module_that_relied_on_the_order_of_another(run_fix):
    """A file that the target never loads imports an edited module before it enters the circle."""
    files = {
        **CIRCLE,
        "pkg/a.py": "from pkg import c\n\n\ndef g():\n    return c.C\n",
        "pkg/x.py": "from pkg import a, b\n\nX = a, b.B\n",
    }
    edited, rejected = run_fix(files, "pkg.a", "-c", "import pkg.a; pkg.a.g()")

    assert edited == {}
    assert "`import pkg.x` in a fresh process fails, and did not before" in rejected[0]


def test_a_package_that_no_longer_decides_what_comes_first(run_fix):
    """Its __init__ entered the circle at the only good end, before any of its modules could be asked for."""
    files = {**CIRCLE, "pkg/__init__.py": "import typing\nfrom pkg.c import C\n\n__all__ = ['C', 'typing']\n"}
    edited, rejected = run_fix(files, "pkg", "-c", "import pkg; pkg.C")

    assert edited == {}
    assert "`import pkg.b` in a fresh process fails, and did not before" in rejected[0]


def test_a_circle_that_can_be_entered_anywhere_is_no_obstacle(run_fix):
    """What works from each end is kept, and a module that never could come first is not held against it."""
    files = {
        "pkg/__init__.py": "",
        "pkg/a.py": "from pkg import b\n\n\ndef f():\n    return b.g()\n",
        "pkg/b.py": "import pkg.a\nimport sqlite3, difflib\n\nD = pkg, sqlite3, difflib\n\n\ndef g(): ...\n",
        "pkg/x.py": "import pkg.a\nimport pkg.nowhere\n",
    }
    edited, rejected = run_fix(files, "pkg.a", "-c", "import pkg.a; pkg.a.f()")

    assert (list(edited), rejected) == (["pkg/a.py"], [])


def test_an_edited_module_that_others_must_come_before(run_fix, monkeypatch):
    """In the run that is measured it comes second; by itself it cannot come any more."""
    planted = b"import sys\nif 'pkg.cli' not in sys.modules:\n    raise ImportError('too early')\n"
    monkeypatch.setattr(fixing, "rewrite", lambda *each: planted + rewrite(*each))
    files = {"pkg/__init__.py": "", "pkg/cli.py": "from pkg import late\nX = late\n", "pkg/late.py": LATE}
    edited, rejected = run_fix(files, "pkg.cli", "-c", "import pkg.cli")

    assert edited == {}
    assert rejected == [
        "`import pkg.late` in a fresh process fails, and did not before: ImportError: too early"
    ]


def test_a_program_is_not_imported_to_see_whether_it_could_be(run_fix, tmp_path):
    """What only runs as a program may do its work without a guard; it is run, never imported."""
    names = tmp_path / "names"
    text = f"{LATE}\n\nwith open({str(names)!r}, 'a') as file:\n    file.write(__name__ + '\\n')\n"
    edited, rejected = run_fix({"run.py": text}, "run.py", "run.py", command="python run.py")

    assert (list(edited), rejected) == (["run.py"], [])
    assert {*names.read_text().split()} == {"__main__"}


JOBS = """\
import sqlite3


class Job:
    def __reduce__(self):
        return make, (sqlite3.sqlite_version,)

    def run(self, kind):
        assert kind is type(self) is type(make(sqlite3.sqlite_version))


def make(version):
    assert version == sqlite3.sqlite_version
    return Job()


def main():
    import multiprocessing, pickle

    assert type(pickle.loads(pickle.dumps(Job()))) is Job
    assert pickle.loads(pickle.dumps(make)) is make
    process = multiprocessing.get_context("spawn").Process(target=Job().run, args=(Job,))
    process.start()
    process.join()
    assert process.exitcode == 0


if __name__ == "__main__":
    main()
"""
INIT = "import typing\n\nfrom pkg.jobs import Job\n\n__all__ = ['Job', 'typing']\n"
CHECK = "import pkg.jobs\n\nif __name__ == '__main__':\n    assert pkg.Job\n    pkg.jobs.main()\n"


@pytest.mark.parametrize("command", [("-m", "pkg.jobs"), ("check.py",)])
def test_what_is_pickled_by_reference_arrives_in_a_spawned_child(run_fix, command):
    """Classes and functions whose imports are moved, of a script's own and of a module, and by a lazy package."""
    files = {"pkg/__init__.py": INIT, "pkg/jobs.py": JOBS, "check.py": CHECK}
    edited, rejected = run_fix(files, "pkg.jobs", *command)

    assert rejected == []
    assert edited["pkg/jobs.py"].count("    import sqlite3\n") == 3


def test_what_is_pickled_arrives_where_a_package_became_lazy(run_fix):
    """The class says that the package is where it lives: its `__getattr__` answers for it in the child, too."""
    jobs = "import sqlite3\n\nX = sqlite3\n" + JOBS.replace(
        "class Job:", "class Job:\n    __module__ = 'pkg'\n"
    )
    files = {"pkg/__init__.py": INIT, "pkg/jobs.py": jobs, "check.py": CHECK}
    edited, rejected = run_fix(files, "pkg", "check.py")

    assert (list(edited), rejected) == (["pkg/__init__.py"], [])


def test_an_old_pickle_that_names_a_module_by_what_it_imports(run_fix):
    """The bytes ask `pkg.old` for a class that it has from elsewhere: the test that reads them notices."""
    files = {
        "pkg/__init__.py": "",
        "pkg/new.py": "import decimal\nD = decimal\n\n\nclass Model: ...\n",
        "pkg/old.py": "import sqlite3\nfrom pkg.new import Model\n\n\ndef f():\n    return Model(), sqlite3\n",
        "check.py": "import pickle, pkg.old\n\nassert pickle.loads(b'cpkg.old\\nModel\\n.')\n",
    }
    edited, rejected = run_fix(files, "pkg.old", "check.py")

    assert rejected == ["the test command: status 0 -> status 1"]
    assert "from pkg.new import Model\n\n\ndef f" in edited["pkg/old.py"]


@pytest.fixture
def interrupt(make_project, tmp_path):
    """Give the function that starts `--fix`, interrupts it, and looks at what is left."""
    project = make_project({"pkg/__init__.py": "", "pkg/late.py": LATE, "pkg/other.py": LATE})
    project.write("pkg/all.py", "from pkg import late, other\n\nX = late, other\n")
    project.commit()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    marker = str(tmp_path / "marker")

    def run(number: int, test: str, *, before: str = "", wait=lambda: os.path.exists(marker)):
        state = project.state()
        code = f"import sys\n{before}\nfrom trainkit.cli import main\nsys.exit(main())"
        words = ["imports", "pkg.all", "--fix", "--write", "--test", f"python -c {shlex.quote(test)}"]
        environment = os.environ | {"TMPDIR": str(scratch)}
        process = subprocess.Popen(
            [sys.executable, "-c", code, *words],
            cwd=project.path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        while not wait():
            time.sleep(0.01)
            assert process.poll() is None, process.communicate()
        process.send_signal(number)
        shown, said = process.communicate(timeout=60)

        assert process.returncode == (130 if number == signal.SIGINT else 128 + number), said
        assert "Traceback" not in said
        assert list(scratch.iterdir()) == []
        assert (
            str(scratch)
            not in subprocess.run(["ps", "axeww"], capture_output=True, text=True, check=True).stdout
        )
        return state, project.state(), shown

    run.marker = marker
    run.scratch = scratch
    return run


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["measuring", "testing", "testing in a session of its own"])
def test_an_interrupted_fix_leaves_nothing(interrupt, moment, number):
    """No process, no temporary folder, and the user's files as they were."""
    hang = f"import pathlib, time; pathlib.Path({interrupt.marker!r}).touch(); time.sleep(120)"
    own = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {hang!r}], start_new_session=True)"
    if moment == "measuring":
        before, after, shown = interrupt(
            number, "pass", wait=lambda: list(interrupt.scratch.glob("trainkit-*/imports-*"))
        )
    else:
        before, after, shown = interrupt(number, f"import pkg.all; {own if 'session' in moment else hang}")

    assert after == before
    assert shown == ""


# The process waits in the middle of its own writing: half of the files are in their place.
PLANTED = """
import os, pathlib, time
import trainkit.guards.imports.fix
trainkit.guards.imports.fix._NUM_PAIRS = 1
replace = pathlib.Path.replace
def replace_slowly(self, target):
    replace(self, target)
    if str(target).endswith("late.py"):
        pathlib.Path({marker!r}).touch()
        time.sleep(0.5)
pathlib.Path.replace = replace_slowly
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_is_being_written_is_written_wholly(interrupt, number):
    """A signal between two files waits for the second, and what was done is told."""
    before, after, shown = interrupt(number, "import pkg.all", before=PLANTED.format(marker=interrupt.marker))

    changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    assert changed == {"pkg/late.py", "pkg/other.py"}
    assert "written: pkg/late.py, pkg/other.py" in shown
