"""`trainkit bench` and `pytest --benchmark --base` as a user meets them: the report, the files, an interruption."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from trainkit.guards.bench.history import read_history

INI = "[tool.pytest.ini_options]\naddopts = ['-p', 'no:hypothesispytest', '-p', 'no:hydra_pytest']\n[tool.trainkit.bench]\nmargin = 0.3\n"
SUITE = "import work\n\n\ndef test_work(benchmark):\n    benchmark(work.work)\n"
FILES = {
    "pyproject.toml": INI,
    "work.py": "def work():\n    return sum(i * i for i in range(300))\n",
    "benchmarks/test_work.py": SUITE,
}


@pytest.fixture
def slow(make_project):
    """A project whose working tree is twice as slow as its commit."""
    project = make_project(FILES)
    project.edit("work.py", "range(300)", "range(600)")
    return project


def test_a_slow_down_fails_and_names_the_function(slow, tmp_path):
    """Exit status 1, the interval, the function, the control; a history with its page that peers can read, too."""
    history = tmp_path / "history"
    done = slow.trainkit(
        "bench", "--base", "HEAD", "--history", str(history), "--json", str(tmp_path / "x.json")
    )

    assert (done.returncode, done.stderr) == (1, "")
    assert "[bench-slower] benchmarks/test_work.py:4: test_work is slower by" in done.stdout
    assert "grew: work.py:work" in done.stdout
    assert "the baseline against itself" in done.stdout
    (run,) = read_history(history)
    row = run["benchmarks"][0]
    assert row["fullname"] == "benchmarks/test_work.py::test_work"
    assert 0 < row["extra_info"]["baseline_s"] < row["stats"]["min"] < 1
    assert (
        json.loads((tmp_path / "x.json").read_text())["benchmarks"][0]["stats"]["min"] == row["stats"]["min"]
    )
    command = [sys.executable, "-m", "pytest_benchmark", "compare", str(tmp_path / "x.json")]
    read = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert read.returncode == 0, read.stderr
    assert "test_work" in read.stdout
    page = (history / "index.html").read_text()
    assert "benchmarks/test_work.py::test_work" in page
    assert "http" not in page.replace("http://www.w3.org", "")
    machine = next(path for path in (history / "asv").iterdir() if path.is_dir())
    result = json.loads(next(machine.glob("*-trainkit-py*.json")).read_text())
    assert result["version"] == 2
    assert result["results"]["benchmarks.test_work.test_work"][0] == [row["stats"]["min"]]
    assert "benchmarks.test_work.test_work" in json.loads((history / "asv/benchmarks.json").read_text())


def test_pytest_compares_with_a_base(slow):
    """`pytest --benchmark --base REF` is the same gate; pytest-benchmark reads the history."""
    command = [sys.executable, "-m", "pytest", "--benchmark"]
    done = subprocess.run(
        [*command, "--base", "HEAD", "-k", "work"], cwd=slow.path, capture_output=True, text=True, check=False
    )
    wrong = subprocess.run(
        [*command, "--base", "nowhere"], cwd=slow.path, capture_output=True, text=True, check=False
    )
    alone = subprocess.run(
        [sys.executable, "-m", "pytest", "--base", "HEAD"],
        cwd=slow.path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1, done.stdout + done.stderr
    assert "test_work is slower by" in done.stdout
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "unknown-revision" in wrong.stderr
    assert "--base belongs to --benchmark" in alone.stderr


def test_an_interrupted_bench_leaves_nothing(make_project, tmp_path):
    """No worker, no folder, also when a benchmark hangs at that moment."""
    project = make_project({**FILES, "work.py": "import time\n\n\ndef work():\n    time.sleep(60)\n"})
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "trainkit", "bench", "--base", "HEAD"],
        cwd=project.path,
        env=os.environ | {"TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not list(scratch.glob("trainkit-*/bench-2/sources-*/stdout")):
        time.sleep(0.02)
        assert process.poll() is None
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)

    assert process.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in said
    assert list(scratch.glob("trainkit-*")) == []
    running = subprocess.run(["ps", "axeww"], capture_output=True, text=True, check=True).stdout
    assert str(scratch) not in running
