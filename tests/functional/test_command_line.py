"""The command line as a user meets it: help, exit statuses, and one clear line for each mistake."""

import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trainkit import __version__
from trainkit.cli import COMMANDS, bench, main
from trainkit.cli.guards import _parser
from trainkit.cli.imports import make_parser

FILES = {"pyproject.toml": "[tool.trainkit]\n", "a.py": "A = 1\n"}


@pytest.fixture
def project(make_project):
    return make_project(FILES)


def test_the_commands_are_these():
    """Names that people type are kept: a new one is added here on purpose."""
    guards = {"bench", "complexity", "duplication", "gate", "golden", "gpu", "imports"}
    verify = {"bisect", "compare", "record", "selftest", "show", "verify"}
    review = {"review"}
    core = {"check", "evaluate", "new", "runs", "sweep", "train"}
    assert set(COMMANDS) == guards | verify | review | core


def test_the_options_are_these():
    """So are options."""
    parsers = {name: _parser(name) for name in ("golden", "complexity", "duplication", "gpu")}
    parsers["bench"] = bench._make_parser()
    options = {
        name: {flag for action in parser._actions for flag in action.option_strings} - {"-h", "--help"}
        for name, parser in parsers.items()
    }
    imports = {flag for action in make_parser()._actions for flag in action.option_strings}

    assert options == {
        "golden": {"--base", "--update"},
        "complexity": {"--base"},
        "duplication": {"--base"},
        "bench": {"--base", "-k", "--margin", "--json", "--history"},
        "gpu": {"--base"},
    }
    fixes = {"--advise", "--fix", "--test", "--verify", "--share", "--write"}
    budgets = {"--forbid", "--max-modules", "--max-seconds", "--ratchet"}
    assert (
        imports == budgets | {"-h", "--help", "--base", "--times", "--save", "--log", "--waterfall"} | fixes
    )


def test_help_and_version(capsys):
    """Help names every command and is no error; without a command it is one."""
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in COMMANDS)
    assert main([]) == 2
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.endswith(f"trainkit {__version__}\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_itself(name, capsys):
    """`trainkit COMMAND --help` shows its usage and leaves with 0."""
    with pytest.raises(SystemExit) if name not in {"check", "evaluate", "train"} else _nothing():
        assert main([name, "--help"]) == 0
    assert f"usage: trainkit {name}" in capsys.readouterr().out


class _nothing:  # noqa: N801  # reads like pytest.raises
    def __enter__(self):
        return self

    def __exit__(self, *_):
        return False


# arguments, pyproject.toml or None, exit status, the one line (a regular expression)
BAD_INPUTS = [
    (
        ["verify"],
        None,
        2,
        r"no-command: give the command behind --: trainkit verify \[options\] -- python train.py",
    ),
    (["verify", "python", "a.py"], None, 2, r"no-command: give the command behind --"),
    (["verify", "--"], None, 2, r"settings-range: \[trainkit verify\] command: no command to run"),
    (
        ["verify", "x", "--", "python"],
        None,
        2,
        r"usage: unexpected 'x' before --; see trainkit verify --help",
    ),
    (
        ["verify", "--base", "v9", "--", "python", "a.py"],
        None,
        2,
        r"unknown-revision: no commit 'v9' in this clone",
    ),
    (
        ["verify", "--steps", "-1", "--", "python"],
        None,
        2,
        r"settings-range: .* steps = -1: must be at least 0",
    ),
    (["verify", "--env", "A", "--", "python"], None, 2, r"settings-range: .* env: 'A' is not NAME=VALUE"),
    (
        ["verify", "--hash-seed", "x", "--", "python"],
        None,
        2,
        r"settings-range: .* hash_seed = 'x': a number up to 4294967295, or random",
    ),
    (
        ["verify", "--control-hash-seed", "4294967296", "--", "python"],
        None,
        2,
        "usage: --control-hash-seed 4294967296: give a number up to 4294967295",
    ),
    (["verify", "--share", "data", "--", "python"], None, 2, r"share-missing: --share data: there is no "),
    (
        ["verify", "--overlay", "p", "--base", "HEAD", "--", "python"],
        None,
        2,
        r"overlay-missing: --overlay p: no such",
    ),
    (
        ["verify", "--overlay", ".", "--base", "HEAD", "--", "python"],
        None,
        2,
        r"overlay-missing: --overlay .: is no file",
    ),
    (
        ["imports", "a"],
        '[tool.trainkit.imports.targets.a]\ncommand = "python \'x"\n',
        2,
        r"settings-range: .*targets.a\] command: .*No closing quotation",
    ),
    (["imports", "a", "--forbid", ""], None, 2, r"settings-range: .* forbid: '' is no module's name"),
    (
        ["verify", "--base", "HEAD", "--", "nosuchprogram"],
        None,
        3,
        r"command-not-started: nosuchprogram: No such file",
    ),
    (
        ["record", "-o", "no/such/folder.trace", "--", "python"],
        None,
        2,
        r"output-not-writable: no/such/folder.trace",
    ),
    (["compare", "a.trace", "b.trace"], None, 2, r"no-such-trace: no file a.trace"),
    (["compare", "a.py", "a.py"], None, 3, r"trace-damaged: a.py is no trace file, or damaged"),
    (["show", "a.py"], None, 3, r"trace-damaged: a.py is no trace file"),
    (
        ["bisect", "--good", "HEAD", "--", "python", "a.py"],
        None,
        2,
        r"bisect-range: HEAD is no ancestor of HEAD",
    ),
    (["selftest", "lmm"], None, 2, r"unknown-case: no case or project 'lmm'; did you mean 'lm'\?"),
    (["gat"], None, 2, r"unknown-command: no command 'gat'; did you mean 'gate'\?"),
    (["gate", "goldn"], None, 2, r"unknown-guard: no guard 'goldn'; did you mean 'golden'\?"),
    (["gate", "--bas", "x"], None, 2, r"usage: unrecognized arguments: --bas; see trainkit gate --help"),
    (
        ["gate", "--base", "v9"],
        None,
        2,
        r"unknown-revision: no commit 'v9' in this clone; give another revision",
    ),
    (
        ["verify", "--", "python", "a.py"],
        None,
        2,
        r"unknown-revision: this is the first commit: commit a change, or leave one uncommitted",
    ),
    (["gate", "--base", ""], None, 2, r"unknown-revision: no commit '' in this clone; give another revision"),
    (
        ["imports"],
        "[tool.trainkit]\nimports = 3\n",
        2,
        r"settings-type: \[tool.trainkit\] imports: expected a table",
    ),
    (
        ["golden", "a"],
        "[tool.trainkit.golden]\nruns = 3\n",
        2,
        r"settings-type: \[tool.trainkit.golden\] runs = 3: .*",
    ),
    (
        ["train", "output_dir=a.py"],
        None,
        2,
        r"output-not-writable: output_dir/exp_name=a.py/default: Not a directory.*",
    ),
    (
        ["imports", "--waterfall", "no/x.har", "json"],
        None,
        2,
        r"output-not-writable: --waterfall no/x.har: No such file.*",
    ),
    (
        ["gate", "--base", "HEAD", "--output", "a.py", "gpu"],
        None,
        2,
        r"output-not-writable: --output a.py: a.py is no folder to write to",
    ),
    (
        ["imports", "--forbid", "torch"],
        None,
        2,
        r"usage: --forbid needs a TARGET; see trainkit imports --help",
    ),
    (["imports", "jsonn"], None, 2, "unknown-target: there is no module 'jsonn'"),
    (["imports", "a b"], None, 2, "unknown-target: 'a b' is no module, and no console script"),
    (
        ["imports", "--max-modules", "many", "json"],
        None,
        2,
        r"usage: argument --max-modules: invalid int value: 'many'",
    ),
    (["bench", "--margin", "0"], None, 2, r"settings-range: .*margin = 0.0: must be at least 0.001"),
    (["bench", "/tmp"], None, 2, r"settings-range: .*folder = '/tmp': must be a path inside the project"),
    (["bench", "--json", "no/x.json"], None, 2, r"output-not-writable: no/x.json: no file can"),
    (["bench", "--history", "a.py"], None, 2, r"output-not-writable: a.py: no folder can be made there"),
    (
        ["bench"],
        "[tool.trainkit.bench.thresholds.a]\nmargn = 1\n",
        2,
        r"settings-unknown-key: \[tool.trainkit.bench.thresholds.a\] margn: no such key; did you mean 'margin'\?",
    ),
    (["imports", "--waterfall", "x.har"], None, 2, r"usage: --waterfall needs exactly one TARGET"),
    (["imports", "a", "b", "--save", "x.html"], None, 2, r"usage: --save needs exactly one TARGET, not 2"),
    (
        ["imports", "a", "--advise", "--base", "HEAD"],
        None,
        2,
        r"usage: --base has no effect here: advice is on the working tree alone; see trainkit imports --help",
    ),
    (["imports", "json", "--log", "x"], None, 2, r"usage: TARGET has no effect here: with --log nothing"),
    (["review", "--steps", "3"], None, 2, r"usage: --steps has no effect here: it belongs to --prove"),
    (["bench", "nowhere"], None, 2, r"no-such-path: .*nowhere does not exist"),
    (["imports", "--times", "2", "json"], None, 2, r"usage: --times needs --base: it compares"),
    (["imports", "--save", "x.svg", "json"], None, 2, r"usage: --save x.svg: the name must end with one of "),
    (["imports", "--save", "no/x.html", "json"], None, 2, r"output-not-writable: no/x.html: no file "),
    (["imports", "--log", "nothing.log"], None, 2, r"log-not-readable: --log nothing.log: No such file"),
    (
        ["imports", "--log", "a.py"],
        None,
        2,
        r"log-not-readable: --log a.py: no row of `python -X importtime`",
    ),
    (
        ["imports", "--waterfall", "x.har", "no_such"],
        None,
        3,
        r"waterfall-failed: importtime-waterfall no_such: .*",
    ),
    (
        ["complexity"],
        "[tool.trainkit.complexity]\nlines = [9, 3]\n",
        2,
        r"settings-range: .*lines = \[9, 3\]: must be two limits, \[warn, fail\], rising",
    ),
    (
        ["golden"],
        "[tool.trainkit.golden]\nruns = 3\n",
        2,
        r"settings-type: \[tool.trainkit.golden\] runs = 3: expected a table",
    ),
    (["golden", "x"], None, 2, r"unknown-run: no run 'x' in \[tool.trainkit.golden.runs\]"),
    (
        ["gate"],
        "[tool.trainkit]\nbase = 3\n",
        2,
        r"settings-type: \[tool.trainkit\] base = 3: expected a string",
    ),
    (["complexity"], "[tool.trainkit\n", 2, r"settings-syntax: .*pyproject.toml: .*line 1"),
    (["check", "trainer.max_epoch=1"], None, 2, r"config-unknown-key: .*did you mean 'trainer.max_epochs'\?"),
    (["train", "model=gru"], None, 2, r"config-unknown-choice: model=gru: no such option.*"),
]


@pytest.mark.parametrize(("arguments", "table", "status", "line"), BAD_INPUTS)
def test_a_bad_input_gets_one_clear_line(project, arguments, table, status, line, monkeypatch, capfd):
    """What is wrong and what to do, exit status 2 (3 when nothing could be judged), nothing written."""
    monkeypatch.chdir(project.path)
    if table:
        project.write("pyproject.toml", table)
        project.commit()
    before = project.state()

    left = main(list(arguments))
    out, error = capfd.readouterr()

    assert (left, out) == (status, "")
    assert re.fullmatch(rf"trainkit: error: {line}.*\n", error), error
    assert project.state() == before
    assert not (project.path / ".trainkit").exists()


def test_outside_a_repository_is_one_line_too(tmp_path):
    """No git, no judgement."""
    done = subprocess.run(
        [sys.executable, "-m", "trainkit", "complexity"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert done.stderr == f"trainkit: error: not-a-repository: {tmp_path} is in no git working tree\n"


def test_a_missing_tool_names_its_extra(project, monkeypatch):
    """What is not installed is said with what to install."""
    (project.path / "importtime_waterfall.py").write_text(
        "raise ModuleNotFoundError('No module named importtime_waterfall')"
    )
    done = project.trainkit("imports", "--waterfall", "x.har", "json", PYTHONPATH=str(project.path))

    assert done.returncode == 2
    assert "pip install 'trainkit[waterfall]'" in done.stderr


@pytest.mark.parametrize("redirection", [">&-", "> /dev/full"])
def test_an_output_that_fails_is_said(project, redirection):
    """No traceback when there is nowhere to print to."""
    command = f"{sys.executable} -m trainkit complexity {redirection}"
    done = subprocess.run(
        ["sh", "-c", command], cwd=project.path, capture_output=True, text=True, check=False
    )

    assert done.returncode in {0, 3}
    assert "Traceback" not in done.stderr


def test_a_name_that_no_encoding_has_is_printed(project):
    """Files may be named in bytes that are no text."""
    (project.path / os.fsdecode(b"\xff.py")).write_text("def f(:")
    project.commit()
    done = project.trainkit("gate", "complexity", "--base", "HEAD~1")

    assert (done.returncode, done.stderr) == (1, "")
    assert "\\udcff.py" in done.stdout


def test_a_closed_pipe_is_no_error(project):
    """`trainkit complexity | head -0` ends quietly."""
    process = subprocess.Popen(
        [sys.executable, "-m", "trainkit", "--help"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=project.path,
    )
    process.stdout.close()

    with process.stderr as stderr:
        said = stderr.read()
    process.wait(timeout=30)

    assert said == b""


def test_progress_is_shown_on_a_terminal_and_not_in_a_pipe(project):
    """A line that overwrites itself, on standard error."""
    project.commit()
    piped = project.trainkit("gate", "imports", "complexity", "gpu")
    assert piped.stderr == ""

    controller, terminal = pty.openpty()
    project.write("pyproject.toml", "[tool.trainkit.imports.targets.a]\n")
    subprocess.run(
        [sys.executable, "-m", "trainkit", "imports"],
        cwd=project.path,
        stderr=terminal,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    os.close(terminal)

    assert b"\r\033[Kimports: importing a" in os.read(controller, 4096)
    os.close(controller)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_gate_leaves_nothing(tiny, number, tmp_path):
    """No worktree, no temporary folder, no process, and the user's tree as it was."""
    before = tiny.state()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "trainkit", "gate", "golden", "bench"],
        cwd=tiny.path,
        env=os.environ | {"TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not list(scratch.glob("trainkit-*/work/trace-0")):  # the first training has begun
        time.sleep(0.02)
        assert process.poll() is None
    time.sleep(1.0)
    process.send_signal(number)
    _, said = process.communicate(timeout=30)

    assert process.returncode == (130 if number == signal.SIGINT else 128 + number)
    assert "Traceback" not in said
    assert list(scratch.glob("trainkit-*")) == []
    assert tiny.state() == before
    assert _find_processes(str(scratch)) == []


def _find_processes(needle: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if needle.encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            continue
    return found
