"""Two trees in temporary folders; the user's own is only read, whatever happens."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from trainkit.errors import CannotJudgeError, UsageError
from trainkit.repo.git import default_base, find_toplevel, git, resolve_commit
from trainkit.repo.trees import copy_tree, open_trees


@pytest.fixture
def project(make_project):
    """A project whose second commit, index, working tree and untracked files all differ."""
    project = make_project({"a.py": "A = 1\n", "gone.py": "", ".gitignore": "ignored/\n"})
    project.write("a.py", "A = 2\n")
    project.commit("second")
    project.write("a.py", "A = 3\n")
    project.write("new file.py", "N = 1\n")
    project.write("ignored/data.bin", "x")
    (project.path / "gone.py").unlink()
    (project.path / "link.py").symlink_to("a.py")
    return project


def test_each_side_is_what_it_should_be(project):
    """The baseline is the revision, the candidate the working tree with uncommitted and new files."""
    before = project.state()
    with open_trees(project.path, "HEAD~1") as (candidate, baseline):
        assert (candidate.path / "a.py").read_text() == "A = 3\n"
        assert (candidate.path / "new file.py").exists()
        assert (candidate.path / "link.py").is_symlink()
        assert not (candidate.path / "gone.py").exists()
        assert not (candidate.path / "ignored").exists()
        assert (baseline.path / "a.py").read_text() == "A = 1\n"
        assert (baseline.path / "gone.py").exists()
        assert "uncommitted" in candidate.revision
        assert baseline.revision.startswith("HEAD~1 (")
        folder = candidate.path.parent

    assert not folder.exists()
    assert project.state() == before


def test_a_folder_that_became_a_link_is_copied_as_one(make_project):
    """Tracked files behind the link are not copied through it."""
    project = make_project({"src/a.py": "", "b.py": ""})
    (project.path / "src").rename(project.path / "moved")
    (project.path / "src").symlink_to("moved")
    with open_trees(project.path, None) as (candidate, _):
        assert (candidate.path / "src").is_symlink()
        assert (candidate.path / "src/a.py").exists()


def test_an_environment_is_no_part_of_the_candidate(make_project):
    """What `python -m venv env` leaves is not ignored by git before Python 3.13."""
    project = make_project({"a.py": ""})
    project.write("env/pyvenv.cfg", "")
    project.write("env/lib/torch.py", "")
    with open_trees(project.path, None) as (candidate, _):
        assert sorted(path.name for path in candidate.path.iterdir()) == ["a.py"]


def test_a_file_that_cannot_be_copied_is_an_error(make_project, monkeypatch):
    """A full disk is no verdict."""

    def fail(*_, **__):
        raise OSError("No space left on device")

    monkeypatch.setattr("shutil.copy2", fail)
    with (
        pytest.raises(CannotJudgeError, match="the candidate tree: No space left"),
        open_trees(make_project({"a.py": ""}).path, None),
    ):
        pass


def test_a_copy_for_one_program_is_its_own(project):
    """What a program leaves there is gone with it, and the tree is as before."""
    with open_trees(project.path, None) as (candidate, _):
        with copy_tree(candidate) as copy:
            (copy.path / "left").write_text("")
            assert (copy.path / "a.py").exists()
            assert copy.path.is_relative_to(candidate.scratch)

        assert not copy.path.exists()
        assert not (candidate.path / "left").exists()
        assert list(candidate.scratch.iterdir()) == [candidate.top]


def test_a_program_in_a_copy_may_ask_git(project):
    """For its commit and for what was changed; what it commits stays in the copy."""
    project.git("remote", "add", "origin", "https://example.org/p.git#1")
    before = project.state()
    head, status = (git(project.path, *words) for words in (["rev-parse", "HEAD"], ["status", "--porcelain"]))
    with open_trees(project.path, "HEAD") as (candidate, baseline):
        for tree, changed in ((candidate, status), (baseline, "")):
            with copy_tree(tree) as copy:
                assert git(copy.path, "rev-parse", "HEAD") == head
                assert git(copy.path, "status", "--porcelain") == changed
                assert git(copy.path, "rev-parse", "--show-toplevel") == str(copy.top)
                assert git(copy.path, "remote", "get-url", "origin") == "https://example.org/p.git#1"
                git(
                    copy.path,
                    "-c",
                    "user.name=a",
                    "-c",
                    "user.email=a@b",
                    "commit",
                    "--allow-empty",
                    "-qm",
                    "x",
                )

    assert project.state() == before


def test_the_users_own_worktrees_stay(project, tmp_path):
    """Also one whose folder is away for the moment, which `worktree prune` would forget."""
    project.git("worktree", "add", "--detach", str(tmp_path / "mine"))
    (tmp_path / "mine").rename(tmp_path / "away")
    with open_trees(project.path, "HEAD"):
        pass
    (tmp_path / "away").rename(tmp_path / "mine")

    assert (
        subprocess.run(["git", "status"], cwd=tmp_path / "mine", check=False, capture_output=True).returncode
        == 0
    )


def test_a_repository_without_commits_has_a_candidate(tmp_path):
    """Guards that need no baseline work before the first commit."""
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    with open_trees(tmp_path, None) as (candidate, _):
        assert candidate.revision == "a working tree without a commit"


def test_a_project_in_a_subfolder_keeps_its_place(make_project):
    """In a repository of several projects the trees point at the same folder inside."""
    project = make_project({"one/pyproject.toml": "", "one/src/one.py": "", "two/x.py": ""})
    with open_trees(project.path / "one", "HEAD") as (candidate, baseline):
        assert candidate.python_path() == [str(candidate.path / "src"), str(candidate.path)]
        assert (baseline.path / "src/one.py").exists()

        assert baseline.path.name == candidate.path.name == "one"


def test_a_project_that_the_base_does_not_have_is_an_error(make_project):
    """No empty baseline, which everything would be better than."""
    project = make_project({"a.py": ""})
    project.write("late/b.py", "")

    with (
        pytest.raises(CannotJudgeError, match="has no folder 'late'"),
        open_trees(project.path / "late", "HEAD"),
    ):
        pass


def test_an_unknown_revision_is_a_usage_error(project):
    """The message names the revision and what to do."""
    with pytest.raises(UsageError, match="no commit 'v99' in this clone; give another revision"):
        resolve_commit(project.path, "v99")


def test_a_revision_is_never_read_as_an_option(project):
    """`--base --output=x` must not reach git as an option."""
    with pytest.raises(UsageError, match="no commit '--output=x'"):
        resolve_commit(project.path, "--output=x")


def test_a_shallow_clone_says_that_it_is(project, tmp_path):
    """The parent is missing in a clone of depth 1, and the message says how to get it."""
    clone = tmp_path / "shallow"
    subprocess.run(["git", "clone", "-q", "--depth=1", f"file://{project.path}", str(clone)], check=True)

    with pytest.raises(UsageError, match="shallow, get more of it: git fetch --deepen=50"):
        resolve_commit(clone, "HEAD~1")


def test_a_folder_outside_git_is_a_usage_error(tmp_path):
    """No guess at a repository."""
    with pytest.raises(UsageError, match="is in no git working tree"):
        find_toplevel(tmp_path)


def test_a_missing_git_is_said(project, monkeypatch):
    """Without git there is no judgement."""
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(CannotJudgeError, match="git is not on PATH"):
        find_toplevel(project.path)


def test_a_hooks_environment_is_not_inherited(project, monkeypatch):
    """Inside a git hook GIT_DIR and GIT_INDEX_FILE would point at something else."""
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_INDEX_FILE", "/nowhere")

    assert find_toplevel(project.path) == project.path.resolve()


def test_the_default_base_is_the_previous_revision(project):
    """HEAD while something is uncommitted, its parent in a clean tree."""
    assert default_base(project.path) == "HEAD"
    project.commit()

    assert default_base(project.path) == "HEAD~1"


def test_without_a_previous_revision_there_is_no_default_base(tmp_path, make_project):
    """No commit, or only one: said as what it is."""
    subprocess.run(["git", "init", "--quiet", str(tmp_path / "empty")], check=True)

    with pytest.raises(UsageError, match="there is no commit yet"):
        default_base(tmp_path / "empty")
    with pytest.raises(
        UsageError, match="this is the first commit: commit a change, or leave one uncommitted"
    ):
        default_base(make_project({"a.py": ""}).path)


HOLD = """
import sys, time
from pathlib import Path
from trainkit.repo.trees import copy_tree, open_trees
with open_trees(Path(sys.argv[1]), "HEAD") as (candidate, baseline):
    print(candidate.path.parent, flush=True)
    for _ in range(600):  # a signal between the two lines is seen at the next bytecode that looks for one
        time.sleep(0.1)
"""


def _hold(project) -> tuple[subprocess.Popen, Path]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(project.path)], stdout=subprocess.PIPE, text=True
    )
    return process, Path(process.stdout.readline().strip())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_leaves_nothing(project, number):
    """Ctrl-C, SIGTERM and a closed terminal remove the trees and the worktree."""
    before = project.state()
    process, folder = _hold(project)
    assert folder.is_dir()
    process.send_signal(number)
    process.communicate(timeout=30)

    assert not folder.exists()
    assert project.state() == before


def test_what_a_killed_run_left_is_removed_by_the_next(project):
    """SIGKILL leaves a worktree; the next run removes it, and that of a living process stays."""
    killed, left = _hold(project)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    living, kept = _hold(project)
    try:
        assert left.exists() is False, "the next run is the one that started above"
        with open_trees(project.path, "HEAD"):
            pass

        assert kept.exists()
        assert str(kept) in git(project.path, "worktree", "list")
        assert str(left) not in git(project.path, "worktree", "list")
    finally:
        living.terminate()
        living.communicate(timeout=30)


@pytest.fixture
def with_submodule(make_project):
    """A project with a submodule in a submodule, whose second commit takes a newer one of it."""
    inner = make_project({"deep.py": "D = 1\n"}, "inner")
    library = make_project({"lib.py": "L = 1\n"}, "library")
    project = make_project({"a.py": ""})
    wanted = (library, inner, "deep"), (project, inner, "another"), (project, library, "third/lib")
    for owner, added, path in wanted:
        owner.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(added.path), path)
        owner.commit("a submodule")
    project.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "update", "--init", "--recursive")
    checkout = type(project)(project.path / "third/lib")
    checkout.write("lib.py", "L = 2\n")
    checkout.commit("newer")
    project.commit("takes it")
    return project


def test_submodules_are_what_each_side_names(with_submodule):
    """Also one in another, and changes in it that are not committed; what the user has is only read."""
    with_submodule.write("third/lib/lib.py", "L = 3\n")
    with_submodule.write("third/lib/deep/new.py", "")
    with_submodule.git("clone", "--quiet", str(with_submodule.path / "another"), "mere")
    before = with_submodule.state(), with_submodule.git("-C", "third/lib", "status", "--porcelain")
    with open_trees(with_submodule.path, "HEAD~1") as (candidate, baseline):
        assert (candidate.path / "third/lib/lib.py").read_text() == "L = 3\n"
        assert (candidate.path / "third/lib/deep/new.py").exists()
        assert not (candidate.path / "mere").exists()  # a clone that is no submodule: the baseline has none
        assert (baseline.path / "third/lib/lib.py").read_text() == "L = 1\n"
        assert (baseline.path / "third/lib/deep/deep.py").exists()
        assert not (baseline.path / "third/lib/deep/new.py").exists()
        assert not [*candidate.path.glob("third/**/.git"), *baseline.path.glob("third/**/.git")]
        with copy_tree(baseline) as copy:
            assert (copy.path / "third/lib/lib.py").read_text() == "L = 1\n"
    with open_trees(with_submodule.path, "HEAD~1", head="HEAD") as (candidate, _):
        assert (candidate.path / "third/lib/lib.py").read_text() == "L = 2\n"
    assert (with_submodule.state(), with_submodule.git("-C", "third/lib", "status", "--porcelain")) == before


def test_a_submodule_that_the_candidate_no_longer_has_is_in_the_baseline(with_submodule):
    """A refactor that takes its code into the project: git keeps what it had of it."""
    with_submodule.git("rm", "--quiet", "third/lib")
    with_submodule.write("third/lib/lib.py", "L = 2\n")
    with_submodule.commit("its code is ours now")
    with open_trees(with_submodule.path, "HEAD~1") as (candidate, baseline):
        assert (baseline.path / "third/lib/lib.py").read_text() == "L = 2\n"
        assert (candidate.path / "third/lib/lib.py").read_text() == "L = 2\n"


@pytest.mark.parametrize("change", [("mv", "third/lib", "lib"), ("rm", "--quiet", "third/lib")])
def test_a_submodule_that_moved_or_went_is_where_the_baseline_has_it(with_submodule, change):
    """With those in it, though its folder is there no more."""
    with_submodule.git(*change)
    with_submodule.commit("elsewhere, or gone")
    with open_trees(with_submodule.path, "HEAD~1") as (candidate, baseline):
        assert (baseline.path / "third/lib/lib.py").read_text() == "L = 2\n"
        assert (baseline.path / "third/lib/deep/deep.py").exists()
        assert not (candidate.path / "third/lib").exists()
        assert (candidate.path / "lib/deep/deep.py").exists() == (change[0] == "mv")


def test_a_submodule_that_the_clone_lacks_is_empty(with_submodule, tmp_path):
    """Never taken at another commit instead; a clone without it, and one that has not fetched its commit."""
    with_submodule.git("clone", "--quiet", str(with_submodule.path), str(tmp_path / "clone"))
    clone = type(with_submodule)(tmp_path / "clone")
    with open_trees(clone.path, "HEAD~1") as (candidate, baseline):
        assert not any((candidate.path / "third/lib").glob("*"))
        assert not any((baseline.path / "third/lib").glob("*"))
    clone.git("-c", "protocol.file.allow=always", "clone", "--quiet", str(tmp_path / "library"), "third/lib")
    with open_trees(clone.path, "HEAD~1", head="HEAD") as (candidate, baseline):
        assert (baseline.path / "third/lib/lib.py").read_text() == "L = 1\n"
        assert not any((candidate.path / "third/lib").glob("*"))  # that commit was never pushed
