"""What a verification is asked, and what is set for both sides alike."""

import pytest

from trainkit.errors import CannotJudgeError, ConfigError, UsageError
from trainkit.repo.trees import open_trees
from trainkit.settings import parse
from trainkit.verify.options import RunOptions, check_paths
from trainkit.verify.run import prepare
from trainkit.verify.verify import record

COMMAND = ("python", "train.py", "--name", "a b")
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def make(**more):
    return RunOptions(command=COMMAND, **more)


def test_a_command_is_shown_as_it_is_typed():
    """Words with spaces are quoted."""
    assert make().shown() == "python train.py --name 'a b'"


def test_one_thread_and_one_hash_seed_are_set():
    """What makes most programs differ from themselves."""
    assert make().environment() == dict.fromkeys(THREADS, "1") | {"PYTHONHASHSEED": "0"}


def test_the_control_may_have_another_hash_seed():
    """A program that depends on the order of sets is found by it."""
    assert make().environment(hash_seed="7")["PYTHONHASHSEED"] == "7"
    assert make(hash_seed="random").environment()["PYTHONHASHSEED"] == "random"


def test_threads_can_be_left_alone():
    """Then no variable is set, and what is usually fixed is taken back."""
    options = make(threads=0)

    assert not set(THREADS) & options.environment().keys()
    assert options.left_alone() == THREADS
    assert make().left_alone() == ()


def test_variables_of_the_user_come_last():
    """They win over ours; a value may hold an equals sign or be empty."""
    environment = make(env=("OMP_NUM_THREADS=4", "A=b=c", "EMPTY=")).environment()

    assert (environment["OMP_NUM_THREADS"], environment["A"], environment["EMPTY"]) == ("4", "b=c", "")


def test_portable_kernels_are_set_when_asked_for():
    """They make more machines comparable, and are slow."""
    plain, portable = make().environment(), make(portable=True).environment()

    assert portable.keys() - plain.keys() == {"ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_CBWR"}


def test_the_recorder_is_told_what_it_may_set():
    """Steps, seeds and deterministic algorithms."""
    options = make(steps=5, seeds=False, deterministic=False).trace_options()

    assert {"steps": 5, "seeds": False, "deterministic": False}.items() <= options.items()


def test_settings_are_said():
    """Everything that was set for both sides is in the report."""
    assert make().describe() == [
        "1 thread",
        "seeds planted for programs without",
        "deterministic algorithms",
        "hash seed 0",
    ]
    assert make(
        threads=0, seeds=False, deterministic=False, portable=True, steps=3, env=("A=1",)
    ).describe() == [
        "threads as they are",
        "no seeds planted",
        "algorithms as they are",
        "hash seed 0",
        "portable kernels",
        "stopped after 3 steps",
        "A=1",
    ]
    assert make(threads=2).describe()[0] == "2 threads"


@pytest.mark.parametrize("env", ["A", "=1", "1A=1", "A B=1", ""])
def test_a_variable_is_name_and_value(env):
    """Anything else is a mistake of the user's."""
    with pytest.raises(ValueError, match="is not NAME=VALUE"):
        make(env=(env,))


@pytest.mark.parametrize("seed", ["-1", "x", "", "1.5", "4294967296"])
def test_a_hash_seed_is_a_number_or_random(seed):
    """As Python takes it."""
    with pytest.raises(ValueError, match="a number up to 4294967295, or random"):
        make(hash_seed=seed)


def test_there_must_be_a_command():
    """Nothing would run."""
    with pytest.raises(ValueError, match="no command"):
        RunOptions(command=())


@pytest.mark.parametrize("table", [{"steps": -1}, {"timeout_s": 0}, {"threads": -1}, {"stepps": 1}])
def test_numbers_have_their_bounds_in_settings(table):
    """Steps and threads are not negative, a timeout is a second at least, names are spelt right."""
    with pytest.raises(ConfigError):
        parse(RunOptions, {"command": list(COMMAND)} | table, where="x")


def test_shared_paths_must_exist(tmp_path):
    """Before anything runs."""
    (tmp_path / "data").mkdir()
    check_paths(tmp_path, make(share=("data",)))

    with pytest.raises(UsageError, match="--share gone: there is no .*gone"):
        check_paths(tmp_path, make(share=("data", "gone")))


def test_a_setup_may_ask_git_on_either_side(make_project):
    """A build asks for its version; the copy of the working tree is none of git's otherwise."""
    project = make_project({"a.py": ""})
    options = make(setup="git rev-parse HEAD > commit.txt")
    with open_trees(project.path, "HEAD") as trees:
        for tree in trees:
            before = (tree.top / ".git").exists()
            prepare(tree, options)

            assert (tree.path / "commit.txt").read_text().strip() == project.git("rev-parse", "HEAD")
            assert (tree.top / ".git").exists() == before

        with pytest.raises(CannotJudgeError, match="left with status 3 on the candidate side") as raised:
            prepare(trees[0], make(setup="echo no compiler >&2; exit 3"))
    assert raised.value.evidence == ("no compiler",)


ODD = """
import torch
class Odd(dict):
    def items(self):
        raise KeyError("none of yours")
class Net(torch.nn.Linear):
    def forward(self, x):
        self.loss = super().forward(x).mean()
        return Odd(loss=self.loss)
net = Net(2, 1)
net(torch.ones(1, 2))
net.loss.backward()
"""


def test_a_recorder_that_failed_leaves_no_trace(make_project, tmp_path):
    """The program goes on, and what was recorded until then is nothing to trust."""
    root = make_project({"train.py": ODD}).path

    with pytest.raises(CannotJudgeError, match="the recorder failed in .*none of yours"):
        record(root, RunOptions(command=("python", "train.py")), into=tmp_path / "kept")
    assert not (tmp_path / "kept").exists()
