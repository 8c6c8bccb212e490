"""`trainkit verify` and its sisters on a real project with real training."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from trainkit.cli import main

RUN = ("--", "python", "train.py", "--epochs", "2", "--checkpoint", "out.pt")


@pytest.fixture
def project(tiny, tmp_path, uncovered, monkeypatch, capsys):
    """The tiny project, and the command line on it, in this process so that coverage sees it."""
    for name, value in {**uncovered, "XDG_CACHE_HOME": str(tmp_path / "cache"), "COLUMNS": "200"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tiny.path)

    def run(*words):
        capsys.readouterr()
        status = main(list(words))
        said = capsys.readouterr()
        return SimpleNamespace(returncode=status, stdout=said.out, stderr=said.err)

    return tiny, run


def test_a_refactor_is_identical_and_a_fault_is_named_with_its_line(project):
    """First a rename, then another dropout than what is committed of it: the page names step, module, operation
    and lines.

    At last the file of the first epoch's checkpoint: what is saved is the same, and what is left is not.
    """
    tiny, run = project
    tiny.edit("train.py", "net = Net()", "model = Net()")
    text = (tiny.path / "train.py").read_text()
    tiny.write("train.py", text.replace("net.", "model.").replace("net(", "model("))
    same = run("verify", "--base", "HEAD", *RUN)
    tiny.commit("renamed")
    before = tiny.state()
    kept = list(Path(os.environ["XDG_CACHE_HOME"], "trainkit/verify").iterdir())
    tiny.edit("src/tiny/model.py", "nn.Dropout(0.1)", "nn.Dropout(0.2)")
    tiny.write("notes.txt", "untracked")
    other = run("verify", "--base", "HEAD", "--json", "verdict.json", *RUN)

    tiny.edit("src/tiny/model.py", "nn.Dropout(0.2)", "nn.Dropout(0.1)")
    keep = 'path = options.checkpoint\n        torch.save(state, path)\n        first = first or open(path, "rb").read()\n'
    tiny.edit(
        "train.py", "torch.save(state, options.checkpoint)\n", keep + '    open(path, "wb").write(first)\n'
    )
    tiny.edit("train.py", "    for epoch", "    first = b''\n    for epoch")
    file = run("verify", "--base", "HEAD", *RUN)

    assert same.returncode == 0, same.stdout + same.stderr
    assert "identical: bitwise identical over 8 steps, 2 evaluation passes, 2 saves" in same.stdout
    assert other.returncode == 1, other.stdout + other.stderr
    assert "diverged: at step 1, forward: what the model computed" in other.stdout
    assert "p=0.1 -> p=0.2" in other.stdout
    assert "other files differ, too: notes.txt:1" in other.stdout
    assert ">   " in other.stdout and "nn.Dropout(0.2)" in other.stdout
    verdict = json.loads((tiny.path / "verdict.json").read_text())
    assert (verdict["status"], verdict["cause"]["phase"]) == ("diverged", "forward")
    assert file.returncode == 1, file.stdout + file.stderr
    assert "files-only: out.pt: " in file.stdout and "tensors hold other numbers" in file.stdout
    assert len(kept) == 2 and sorted(kept) == sorted(kept[0].parent.iterdir())  # what was committed was known
    assert tiny.state()["worktrees"] == before["worktrees"]
    assert not (tiny.path / "out.pt").exists()


def test_a_run_that_breaks_says_what_would_help(project, monkeypatch):
    """Data that git ignores is not in the trees: the message names the option, and with it the run goes on.

    A Python that cannot be seen is said each time, also where it holds of the baseline itself: that is no noise.
    """
    tiny, run = project
    isolated = "    subprocess.run([sys.executable, '-I', '-c', ''], check=True)\n    torch.manual_seed(3)"
    tiny.edit("train.py", "    torch.manual_seed(3)", isolated)
    tiny.edit("train.py", "import argparse", "import argparse\nimport subprocess\nimport sys")
    tiny.write(".gitignore", "__pycache__/\ndata/\n")
    tiny.edit("train.py", "import torch\n", "import pathlib\n\nimport torch\n")
    tiny.edit(
        "train.py",
        "torch.manual_seed(3)",
        "torch.manual_seed(int(pathlib.Path('data/seed.txt').read_text()))",
    )
    tiny.commit("reads its seed")
    tiny.write("data/seed.txt", "3")

    missing = run("verify", "--base", "HEAD", *RUN)
    monkeypatch.chdir(tiny.path / "src/tiny")
    elsewhere = run("verify", "--base", "HEAD", "--", "python", "helpers.py")
    monkeypatch.chdir(tiny.path)
    shared = run("verify", "--base", "HEAD", "--share", "data", "--steps", "2", *RUN)

    assert missing.returncode == 3
    assert "git ignores data/seed.txt, which your folder has: --share data/seed.txt" in " ".join(
        missing.stdout.split()
    )
    assert "FileNotFoundError" in missing.stdout
    assert f"it runs in {tiny.path}, where this is src/tiny/helpers.py" in " ".join(elsewhere.stdout.split())
    assert shared.returncode == 0, shared.stdout
    assert "identical over 2 steps" in shared.stdout
    assert "stopped after 2 steps" in shared.stdout
    assert "Python processes with -I, -E or -S, compute is not compared" in " ".join(shared.stdout.split())


def test_a_submodule_that_the_clone_lacks_is_named(make_project):
    """Only where a program misses something: an empty folder alone is nobody's business."""
    modules = '[submodule "lib"]\n\tpath = third/lib\n\turl = ../lib\n'
    project = make_project({".gitmodules": modules, "train.py": "import lib_of_it\n"})

    done = project.trainkit("verify", "--base", "HEAD", "--", "python", "train.py")

    assert done.returncode == 3
    assert "the submodule third/lib is empty there: git submodule update --init" in " ".join(
        done.stdout.split()
    )
    assert "ModuleNotFoundError: No module named 'lib_of_it'" in done.stdout


def test_traces_are_recorded_shown_and_compared(project):
    """Two files: equal to itself; with another learning rate not, and the hyper-parameter is named."""
    tiny, run = project
    first = run("record", "-o", "a.trace", *RUN)
    tiny.edit("train.py", "lr=1e-2", "lr=2e-2")
    second = run("record", "-o", "b.trace", *RUN)
    shown = run("show", "a.trace")
    same, other = run("compare", "a.trace", "a.trace"), run("compare", "a.trace", "b.trace")
    Path(tiny.path / "cut.trace").write_bytes((tiny.path / "a.trace").read_bytes()[:-200])
    cut = run("compare", "a.trace", "cut.trace")

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert (tiny.path / "a.trace").stat().st_size < 27_000  # 100 kB in 30 steps
    assert "step 8: loss " in shown.stdout and "torch seeded with 3 at train.py:" in shown.stdout
    assert same.returncode == 0 and "bitwise identical over 8 steps" in same.stdout
    assert other.returncode == 1 and "lr=0.01 -> lr=0.02" in other.stdout
    assert cut.returncode == 3 and "cut.trace is cut off" in cut.stderr


def test_bisect_finds_the_commit(project):
    """Of two commits the second changes training."""
    tiny, run = project
    tiny.write("NOTES.md", "a")
    tiny.commit("notes")
    tiny.edit("train.py", "weight_decay=0.1", "weight_decay=0.2")
    tiny.commit("tidy up")

    found = run("bisect", "--good", "HEAD~2", "--steps", "2", *RUN)

    assert found.returncode == 1, found.stdout + found.stderr
    assert "first commit that computes other bits:" in found.stdout
    assert "tidy up" in found.stdout.partition("first commit")[2].splitlines()[0]
    assert "weight_decay=0.1 -> weight_decay=0.2" in found.stdout


def test_a_run_that_trains_nothing_is_no_pass(project):
    """Both sides agree about nothing: inconclusive, not identical."""
    tiny, run = project
    tiny.edit("train.py", "optimizer.step()", "optimizer.param_groups[0]['lr'] = 0.0; optimizer.step()")
    tiny.edit("train.py", "weight_decay=0.1", "weight_decay=0.0")
    tiny.commit("frozen")

    done = run("verify", "--base", "HEAD", "--head", "HEAD", "--steps", "2", *RUN)

    assert done.returncode == 3
    assert "inconclusive: the baseline trained nothing: no step changed a parameter" in done.stdout


def test_a_program_that_differs_from_itself_is_unstable(project):
    """A number of the clock: nobody is blamed, and its line is shown, once."""
    tiny, run = project
    tiny.edit("train.py", "x = torch.randn(40, 4)", "x = torch.randn(40, 4) + __import__('time').time() % 1")
    tiny.commit("clock")

    done = run("verify", "--base", "HEAD", "--head", "HEAD", "--steps", "2", *RUN)

    assert done.returncode == 3
    assert "unstable: the baseline differs from itself" in done.stdout
    assert re.search(r"first run +\S.*\n +second run ", done.stdout)
    assert len(re.findall(r">   \d+ \|.*time\(\)", done.stdout)) == 1


def test_what_a_program_prints_counts_though_it_never_steps(project):
    """Gradients of inputs: no training, which alone would be inconclusive."""
    tiny, run = project
    program = (
        "import torch\ntorch.manual_seed(0)\nx = torch.randn(4, 3, requires_grad=True)\n"
        "torch.nn.Linear(3, 1)(x).sum().backward()\nprint('saliency', x.grad.abs().mean().item())\n"
    )
    tiny.write("show.py", program)
    tiny.commit("shows")
    tiny.write("show.py", program.replace("mean", "sum"))

    done = run("verify", "--base", "HEAD", "--no-cache", "--", "python", "show.py")

    assert done.returncode == 1, done.stdout
    assert "diverged: in what is printed alone" in done.stdout


def test_the_gate_verifies_the_configured_runs(project):
    """[tool.trainkit.verify.runs.NAME] is judged against the base; without one it is skipped."""
    tiny, run = project
    text = (tiny.path / "pyproject.toml").read_text()
    table = '[tool.trainkit.verify.runs.short]\ncommand = "python train.py --checkpoint o.pt"\nsteps = 2\n'
    tiny.write("pyproject.toml", f"{text}\n{table}")
    tiny.edit("train.py", "lr=1e-2", "lr=2e-2")

    done = run("gate", "verify", "--base", "HEAD")
    finding = json.loads((tiny.path / ".trainkit/report.json").read_text())["verdicts"][0]["findings"][0]

    assert done.returncode == 1, done.stdout + done.stderr
    assert finding["rule"] == "verify-diverged"
    assert (finding["file"], finding["expected"], finding["actual"]) == ("train.py", "lr=0.01", "lr=0.02")


def test_a_test_verifies_a_function_against_a_revision(project):
    """The fixture trains with the sources of the revision and with those here."""
    tiny, _ = project
    test = """
        import torch
        from tiny.model import Net

        from trainkit.core.lean import skip_dynamo

        skip_dynamo()  # half of what a run of this takes

        def train():
            torch.manual_seed(0)
            net = Net()
            optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
            for _ in range(2):
                net(torch.ones(2, 4)).sum().backward()
                optimizer.step()

        def test_training_is_as_at_head(trainkit_verify):
            trainkit_verify(train, base="HEAD")
    """
    lines = [line.removeprefix("        ") for line in test.splitlines()]
    tiny.write("tests/test_training.py", "\n".join(lines))
    tiny.edit("src/tiny/model.py", "nn.Dropout(0.1)", "nn.Dropout(0.3)")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_training.py"]
    environment = os.environ | {
        "COVERAGE_PROCESS_START": "",
        "COVERAGE_PROCESS_CONFIG": "",
        "PYTHONPATH": "src",
    }
    done = subprocess.run(
        command, cwd=tiny.path, env=environment, capture_output=True, text=True, check=False
    )

    assert "1 failed" in done.stdout, done.stdout + done.stderr
    assert "diverged: at step 1, forward" in done.stdout


@pytest.mark.parametrize(
    ("number", "after_s"), [(signal.SIGINT, 1.0), (signal.SIGTERM, 4.0), (signal.SIGHUP, 7.0)]
)
def test_an_interrupted_verification_leaves_nothing(project, uncovered, number, after_s):
    """No worktree, folder, process or lock; the user's tree and index byte for byte as before."""
    tiny, _ = project
    before = tiny.state()
    command = [sys.executable, "-m", "trainkit", "verify", "--base", "HEAD", "--no-cache", *RUN]
    process = subprocess.Popen(
        command, cwd=tiny.path, env=os.environ | uncovered, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    time.sleep(after_s)
    process.send_signal(number)
    process.communicate(timeout=30)

    assert process.returncode in {130, 128 + number}
    assert not list(Path(tempfile.gettempdir()).glob(f"trainkit-{process.pid}-*"))
    assert f"trainkit-{process.pid}-" not in _commands_of_all_processes()
    assert tiny.state() == before


def _commands_of_all_processes() -> str:
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            found.append(path.read_bytes().decode(errors="replace"))
        except OSError:
            continue
    return "\n".join(found)


def test_the_self_test_judges_faults_and_refactors(project):
    """A fault, hidden in a refactor, and a refactor; and a trainer that repeats."""
    _, run = project
    plain = run("selftest", "-v", "--hidden", "momentum-constant-changed", "job-as-a-class")
    repeated = run("selftest", "--repeat", "2", "manual")

    assert plain.returncode == 0, plain.stdout
    assert "1 faults: 1 seen, 1 in the right phase, 1 with the right line or name" in plain.stdout
    assert "1 refactors: 0 false alarms" in plain.stdout
    assert repeated.stdout == "manual: 2 runs, 0 alarms\n"
