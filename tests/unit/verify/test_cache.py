"""What is kept of a baseline between verifications."""

import subprocess

import pytest

from trainkit.repo.trees import open_trees
from trainkit.trace.store import find_recording
from trainkit.verdict import Status
from trainkit.verify import cache
from trainkit.verify.formats import Output
from trainkit.verify.options import RunOptions
from trainkit.verify.result import Verification
from trainkit.verify.run import Run
from trainkit.verify.verify import _drop_noise


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A run that was kept."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "0000-1-1.jsonl").write_text("{}\n")
    run = Run(side="baseline", recording=find_recording(tmp_path), stdout="loss 0.5",
              outputs={"a.npy": Output("tensors", "4:1")}, noise=("a note",), unsteady=("python",))  # fmt: skip
    cache.keep("key", run)
    return run


def test_all_of_a_run_is_kept_until_it_is_forgotten(kept):
    """What it printed, left in files, and what is said of it anyway."""
    found = cache.load("key")

    assert (found.stdout, found.outputs) == (kept.stdout, kept.outputs)
    assert (found.noise, found.unsteady) == (kept.noise, kept.unsteady)
    cache.forget("key")
    assert cache.load("key") is None


def test_another_way_of_reading_what_is_kept_is_another_entry():
    """Files and lines are kept in a form that the code decides: all of it is in the key."""
    names = {path.name for path in cache._list_own_sources() if path.is_file()}
    assert {"record.py", "digest.py", "formats.py", "outputs.py", "printed.py", "run.py"} <= names


def test_a_run_is_kept_for_the_files_that_it_was_of(make_project):
    """Whether they were committed already does not count; each file, its name, its kind and where it links to does."""
    project = make_project({"train.py": "pass\n", "lib/a.py": ""})
    options = RunOptions(command=("python", "train.py"))

    def key_of(change="", *, base=None, folder="."):
        project.git("checkout", "--quiet", ".")
        project.git("clean", "--quiet", "--force", "-d")
        subprocess.run(["sh", "-c", change], cwd=project.path, check=True)
        with open_trees(project.path / folder, base) as trees:
            return cache.make_key(trees[1] or trees[0], options)

    committed = key_of(base="HEAD")
    changes = ["echo 1 > lib/a.py", "mv lib/a.py lib/b.py", "chmod +x train.py", "ln -s a.py lib/c.py",
               "ln -s b.py lib/c.py", "ln -s lib linked"]  # fmt: skip

    assert key_of() == committed
    assert len({committed, *map(key_of, changes)}) == 1 + len(changes)
    # What stands beside a project may be imported by it.
    assert len({committed, key_of(folder="lib"), key_of("echo 1 > train.py", folder="lib")}) == 3


def test_a_variable_that_a_program_may_read_is_in_the_key(make_project, monkeypatch):
    """Whatever it is called; those of a terminal or a login are not."""
    options = RunOptions(command=("python", "train.py"))
    with open_trees(make_project({"train.py": "pass\n"}).path, None) as (tree, _):
        keys = [cache.make_key(tree, options)]
        for name in ("TERM", "SSH_CLIENT", "OLDPWD", "LR", "BATCH_SIZE"):
            monkeypatch.setenv(name, "0.5")
            keys.append(cache.make_key(tree, options))

    assert len({*keys[:4]}) == 1
    assert len({*keys[3:]}) == 3


def test_a_damaged_entry_is_none(kept, tmp_path):
    """It is recorded again."""
    (tmp_path / "cache/trainkit/verify/key/outputs.json").write_text("{")
    assert cache.load("key") is None


def test_notes_that_hold_of_the_baseline_itself_are_left_out():
    """Nothing else is: with another note it stays a note."""
    noted = Verification(status=Status.NOTED, summary="", notes=("a note", "b"))

    assert _drop_noise(noted, ["a note", "b"]).status is Status.IDENTICAL
    assert _drop_noise(noted, ["a note"]).notes == ("b",)
    assert _drop_noise(noted, ["a note"]).status is Status.NOTED
