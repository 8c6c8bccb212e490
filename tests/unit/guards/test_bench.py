"""The bench guard on real projects with real workers: planted slow-downs, clean cases, benchmarks that misbehave."""

import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from trainkit.errors import ConfigError
from trainkit.gate import judge
from trainkit.guards.bench import BenchSettings, pairs, session
from trainkit.guards.bench.check import share_benchmarks
from trainkit.repo.trees import open_trees
from trainkit.verdict import Severity, Status

INI = "[tool.pytest.ini_options]\naddopts = ['--benchmark-skip', '-p', 'pytest_benchmark.plugin']\n"
FILES = {
    "pyproject.toml": INI,
    "work.py": "SIZE = 300\n\n\ndef work():\n    return sum(i * i for i in range(SIZE))\n",
    "benchmarks/test_work.py": "from work import work\n\n\ndef test_work(benchmark):\n    assert benchmark(work) > 0\n",
}


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """Short batches and few rounds: enough for slow-downs of 100 %."""
    monkeypatch.setattr(pairs, "_BATCH_NS", 0.5e6)
    monkeypatch.setattr(pairs, "_SECONDS", 0.1)
    monkeypatch.setattr(pairs, "_CALIBRATION_S", 0.005)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # hydra's plugin alone takes a second


def run(project, base="HEAD", **table):
    """Give the verdict with wide margins, so that only what is planted is found."""
    return judge(project.path, ["bench"], base=base, overrides={"bench": {"margin": 0.5, **table}}).verdicts[
        0
    ]


def outcomes(verdict):
    """Give the first word said of each benchmark."""
    rows = [row for row in verdict.measurements if row.how.partition(" ")[0].rstrip(":") in OUTCOMES]
    return {row.name.partition("::")[2]: row.how.partition(" ")[0].rstrip(":") for row in rows}


OUTCOMES = {"passed", "slower", "faster", "inconclusive", "new", "removed", "broken", "skipped"}

MANY = """
import os
import sys

import pytest
import work


def test_same(benchmark):
    benchmark.group = "a group"
    benchmark.extra_info["note"] = 1
    assert benchmark(work.same, 1, two=2) == 3
    assert benchmark.stats["min"] > 0


def test_slow(benchmark):
    benchmark(work.slow)


@pytest.mark.benchmark(group="memory")
def test_memory(benchmark):
    benchmark(work.memory)


def test_prints(benchmark):
    def say():
        print("{\\"is\\": \\"batch\\"}")
        sys.__stdout__.write("more")
        os.write(1, b"and more")

    benchmark(say)


def test_forks(benchmark):
    def fork():
        child = os.fork()
        if child:
            os.waitpid(child, 0)

    benchmark(fork)


def test_setup(benchmark):
    left = []

    def setup():
        left.append(1)
        return ([3, 1, 2],), {}

    benchmark.pedantic(sorted, setup=setup, teardown=lambda _: left.pop(), rounds=3, iterations=1)
    assert not left


def test_waits(benchmark):
    benchmark(work.wait)


def test_breaks(benchmark):
    benchmark(work.only_old)


def test_grows(benchmark):
    benchmark(work.only_new)


def test_skips(benchmark):
    pytest.skip("not here")


def test_uses_nothing(benchmark):
    pass


@pytest.mark.parametrize("size", [work.SIZE], ids=["size"])
def test_parameters(benchmark, size):
    benchmark(sum, range(size))


def test_is_no_benchmark():
    raise AssertionError("never run")
"""
MANY_WORK = """
import time

SIZE = 10


def same(one, two):
    return one + two


def helper(n):
    return sum(i * i for i in range(n))


def slow():
    return helper(300)


def memory():
    return helper(3000), len(bytearray(100_000))


def wait():
    time.sleep(0.0005)


def only_old():
    return 1
"""


def test_a_clock_that_did_not_tick_ends_nothing():
    """Of a call that sleeps, on a busy machine."""
    rounds = [[{"cpu": 0.0}, {"cpu": 8.0}], [{"cpu": 8.0}, {"cpu": 0.0}], [{"cpu": 0.0}, {"cpu": 0.0}]]

    assert pairs.Sample("waits", rounds=rounds).log_ratios(1) == [math.log(8), -math.log(8), 0]


def test_each_benchmark_gets_its_own_verdict(make_project):
    """Slower, more memory, broken, new and unjudged ones beside equal ones, in one run; the function that grew is named."""
    project = make_project({"pyproject.toml": INI, "work.py": MANY_WORK, "benchmarks/test_many.py": MANY})
    for old, new in [
        ("helper(300)", "helper(900)"),
        ("100_000", "300_000"),
        ("0.0005", "0.002"),
        ("SIZE = 10", "SIZE = 11"),
        ("only_old", "only_new"),
    ]:
        project.edit("work.py", old, new)
    before = project.state()
    verdict = run(project)

    assert verdict.status is Status.FAILED
    assert outcomes(verdict) == {
        "test_same": "passed",
        "test_slow": "slower",
        "test_memory": "passed",
        "test_prints": "passed",
        "test_forks": "passed",
        "test_setup": "passed",
        "test_waits": "slower",
        "test_breaks": "broken",
        "test_grows": "new",
        "test_skips": "skipped",
        "test_uses_nothing": "broken",
        "test_parameters[size]": "broken",
    }
    by_rule = {(finding.rule, finding.message.partition(" ")[0]): finding for finding in verdict.findings}
    slower = by_rule["bench-slower", "test_slow"]
    assert (slower.file, slower.line) == ("benchmarks/test_many.py", 16)
    assert "work.py:helper" in slower.evidence[0]
    assert "bytecode instructions" in slower.evidence[0]
    assert "wall time" in by_rule["bench-slower", "test_waits"].message
    allocated = by_rule["bench-memory", "test_memory"].actual.removesuffix(" bytes").replace(",", "")
    assert 300_000 <= int(allocated) < 310_000  # a list of so many bytes; under coverage a little more
    assert "only_old" in by_rule["bench-failed", "test_breaks"].evidence[-1]
    assert "parameters are not the same" in by_rule["bench-failed", "test_parameters[size]"].evidence[0]
    assert "called no benchmark" in by_rule["bench-failed", "test_uses_nothing"].evidence[0]
    assert by_rule["bench-new", "test_grows:"].severity is Severity.NOTE
    assert any("baseline against itself" in row.how for row in verdict.measurements)
    assert {"test_same allocated", "test_same resident", "test_same peak-rss"} <= {
        row.name.partition("::")[2] for row in verdict.measurements
    }
    assert verdict.measurements[-1].name == "modules"
    assert project.state() == before


HANGS = """
import os
import time

import work


def test_first(benchmark):
    benchmark(work.work)


def test_hangs(benchmark):
    benchmark(time.sleep, 60 * work.HANG)


def test_dies(benchmark):
    benchmark(lambda: work.HANG and os._exit(7))


def test_last(benchmark):
    benchmark(work.work)
"""


def test_what_hangs_or_dies_is_told_and_the_rest_goes_on(make_project):
    """Each costs fresh workers; no process of theirs is left."""
    project = make_project(
        {**FILES, "work.py": "HANG = 0\n" + FILES["work.py"], "benchmarks/test_work.py": HANGS}
    )
    project.edit("work.py", "HANG = 0", "HANG = 1")
    verdict = run(project, timeout_s=4.0)

    assert verdict.status is Status.ERROR
    assert outcomes(verdict) == {
        "test_first": "passed",
        "test_hangs": "broken",
        "test_dies": "broken",
        "test_last": "passed",
    }
    evidence = {finding.message.partition(" ")[0]: finding.evidence[0] for finding in verdict.findings}
    assert "no answer for 4 s" in evidence["test_hangs"]
    assert "exit status 7" in evidence["test_dies"]


def test_names_at_both_revisions_say_what_is_new_removed_or_renamed(make_project):
    """By the code of the benchmark, where its name is another; a changed one is said to be."""
    project = make_project(
        {
            **FILES,
            "benchmarks/test_old.py": "from work import work\n\n\ndef test_gone(benchmark):\n    benchmark(max, [1])\n\n\n"
            "def test_kept(benchmark):\n    benchmark(work)\n\n\ndef test_before(benchmark):\n    benchmark(min, [1, 2])\n",
        }
    )
    project.write(
        "benchmarks/test_old.py",
        "from work import work\n\n\ndef test_kept(benchmark):\n    benchmark(lambda: work())\n\n\n"
        "def test_after(benchmark):\n    benchmark(min, [1, 2])\n\n\ndef test_added(benchmark):\n    benchmark(sum, [1])\n",
    )
    project.write(
        "benchmarks/test_more.py",
        "from work import more\n\n\ndef test_more(benchmark):\n    benchmark(more)\n",
    )
    project.write("work.py", FILES["work.py"] + "\n\ndef more():\n    return 1\n")
    verdict = run(project)
    said = {
        finding.message.partition(":")[0]: (finding.rule, finding.message) for finding in verdict.findings
    }

    assert verdict.status is Status.PASSED
    assert said["test_gone"][0] == "bench-removed"
    assert "renamed: benchmarks/test_old.py::test_before" in said["test_after"][1]
    assert "new" in said["test_added"][1]
    assert "its code has changed" in said["test_kept"][1]
    assert said["test_more"][0] == "bench-new"
    assert "cannot import name 'more'" in said["test_more"][1]
    assert outcomes(verdict)["test_after"] == "passed"


def test_a_random_layout_takes_more_pairs_and_is_said(make_project, monkeypatch):
    """Where a container forbids it each pair is one value of its own layout."""
    monkeypatch.setattr(pairs, "make_fixer", lambda: None)
    check = sys.modules["trainkit.guards.bench.check"]  # the package has a function of that name
    monkeypatch.setattr(check, "share_alpha", lambda _: 0.3)
    monkeypatch.setattr(check, "_LEAST_PAIRS_AT_RANDOM", 2)
    project = make_project(FILES)
    project.edit("work.py", "300", "900")
    verdict = run(project)

    assert verdict.status is Status.FAILED
    assert "layout: random" in verdict.summary
    assert " + " in verdict.measurements[0].how


def test_equal_revisions_pass(make_project):
    """The clean case: nothing is said, and only one pair is run."""
    project = make_project(FILES)
    verdict = run(project, margin=0.8)

    assert verdict.status is Status.PASSED, verdict
    assert verdict.findings == ()
    assert "layout" not in verdict.summary


TRAINING = """
import torch


def test_training(benchmark):
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loader = torch.utils.data.DataLoader(torch.randn(8, 4), batch_size=4)

    def epoch():
        for batch in loader:
            model(batch).sum().backward()
            optimizer.step()

    benchmark(epoch)
"""


@pytest.mark.parametrize("base", [None, "HEAD"])
def test_no_benchmark_is_no_pass(make_project, base):
    """A word that none has in its name."""
    verdict = run(make_project(FILES), base=base, keyword="nothing")

    assert verdict.status is Status.SKIPPED
    assert verdict.summary.startswith("no benchmarks ran")


def test_alone_it_tells_the_times(make_project):
    """Without a baseline there is nothing to fail; training has its steps per second and its wait for data."""
    verdict = run(make_project({**FILES, "benchmarks/test_training.py": TRAINING}), base=None)

    assert verdict.status is Status.PASSED
    assert verdict.summary == "2 benchmarks ran; no baseline to compare with"
    rows = {row.name.partition("::")[2]: row for row in verdict.measurements}
    assert rows["test_training steps/s"].value > 1
    assert 0 < rows["test_training data_wait"].value < 1
    assert "DataLoader" in rows["test_training data_wait"].how
    assert rows["test_training first-call"].value > 0


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"work.py": ""}, "cannot import name 'work'"),
        ({"benchmarks/conftest.py": "import no_such_module\n"}, "no_such_module"),
        ({"pyproject.toml": ""}, "pytest-benchmark is not installed"),
    ],
)
def test_a_suite_that_cannot_run_is_no_verdict(make_project, files, message):
    """The candidate's own benchmarks must run."""
    project = make_project(FILES)
    for name, text in files.items():
        project.write(name, text)
    verdict = run(project, base=None)

    assert (verdict.status, verdict.findings[0].rule) == (Status.ERROR, "bench-failed")
    assert message in " ".join(verdict.findings[0].evidence)


@pytest.mark.parametrize("folder", ["/", "..", ".", "", "a/../../b"])
def test_a_folder_outside_the_project_is_refused(make_project, folder):
    """The guard replaces that folder on the baseline's side: it must lie in its tree."""
    with pytest.raises(ConfigError, match="must be a path inside the project"):
        judge(make_project(FILES).path, ["bench"], base="HEAD", overrides={"bench": {"folder": folder}})


def test_a_linked_folder_of_the_baseline_is_replaced(make_project):
    """The link goes, not what it points at."""
    project = make_project({"other/test_x.py": "", "pyproject.toml": INI})
    (project.path / "benchmarks").symlink_to("other")
    project.commit("a link")
    (project.path / "benchmarks").unlink()
    project.write("benchmarks/test_work.py", "")
    with open_trees(project.path, "HEAD") as (candidate, baseline):
        share_benchmarks(candidate, baseline, "benchmarks")

        assert (baseline.path / "benchmarks/test_work.py").read_text() == ""
        assert (baseline.path / "other/test_x.py").exists()
        assert not (baseline.path / "benchmarks").is_symlink()


def test_no_benchmarks_are_skipped(make_project):
    """A project without the folder is said to have none; one that names it has a mistake in its settings."""
    project = make_project({"a.py": ""})
    assert judge(project.path, ["bench"]).verdicts[0].status is Status.SKIPPED
    verdict = judge(project.path, ["bench"], overrides={"bench": {"folder": "benchmark"}}).verdicts[0]
    assert [finding.rule for finding in verdict.findings] == ["folder-missing"]


def test_trainkit_can_be_judged_itself(make_project):
    """A project that holds the running trainkit has its worker in it: that is no source from elsewhere."""
    import trainkit

    project = make_project(FILES)
    ours = Path(trainkit.__file__).parent
    shutil.copytree(ours, project.path / "src/trainkit", ignore=shutil.ignore_patterns("__pycache__"))
    code = "from trainkit.cli import main; raise SystemExit(main(['bench', '--base', 'HEAD', '--margin', '0.8']))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=project.path,
        env=os.environ | {"PYTHONPATH": str(project.path / "src")},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_thresholds_are_by_name():
    """The first pattern that fits; else the table's own."""
    settings = BenchSettings(margin=0.02, thresholds={"test_a[x]": None, "test_b": 7})

    assert settings.threshold_of("benchmarks/t.py::test_b") == 7
    assert settings.threshold_of("benchmarks/t.py::test_c").margin == 0.02


def test_workers_start_with_one_layout(make_project):
    """Asked of the processes themselves: no random addresses, no random hashes."""
    project = make_project(FILES)
    with open_trees(project.path, None) as (candidate, _):
        found = session.Session([candidate], pairs.Suite(folder="benchmarks"), lambda _: None)
        found.run_pair(lambda names: pairs.Plan(alpha=0.1, margins=dict.fromkeys(names, 1.0)), None, 1)

    assert found.is_layout_fixed == os.path.exists("/proc/self/personality")
    assert found.names() == ["benchmarks/test_work.py::test_work"]
