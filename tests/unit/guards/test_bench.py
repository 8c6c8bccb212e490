"""The bench guard: only a slow-down beyond all spread fails."""

import pytest

from trainkit.errors import ConfigError
from trainkit.gate import judge
from trainkit.guards.bench import BenchSettings, _judge, _share_benchmarks
from trainkit.repo.trees import open_trees
from trainkit.verdict import Severity, Status

BENCHMARK = """
from work import work


def test_work(benchmark):
    benchmark(work)
"""
FILES = {
    "pyproject.toml": "[tool.pytest.ini_options]\naddopts = ['--benchmark-max-time=0.05', '-p', 'no:hypothesispytest']\n",
    "work.py": "def work():\n    return sum(range(2000))\n",
    "benchmarks/test_work.py": BENCHMARK,
}


@pytest.mark.parametrize(
    ("old", "new", "severities"),
    [
        ([1.0, 1.1], [1.0, 1.05], []),
        ([1.0, 1.1], [1.5, 1.4], [Severity.ERROR]),
        ([1.0, 1.3], [1.5, 1.4], [Severity.NOTE]),
        ([1.0, 1.0], [1.0, 1.4], [Severity.NOTE]),
        ([1.0, 1.1], [0.5, 0.6], []),
        ([], [9.0, 9.0], []),
        ([1.0, 1.1, 1.0, 1.1], [1.5, 1.4, 1.5, 1.1], [Severity.NOTE]),
    ],
)
def test_the_rule(old, new, severities):
    """The fastest candidate run against the slowest baseline run, 20 % let pass; else inconclusive."""
    findings = list(_judge("benchmarks/test_a.py::test_a", old, new, BenchSettings()))

    assert [finding.severity for finding in findings] == severities


def test_equal_revisions_pass_and_show_their_times(make_project):
    """Times come with their runs; a benchmark that the baseline cannot run has no ratio."""
    project = make_project(FILES)
    project.write("work.py", FILES["work.py"] + "\ndef more():\n    return 1\n")
    project.write(
        "benchmarks/test_more.py",
        "def test_more(benchmark):\n    from work import more\n    benchmark(more)\n",
    )
    verdict = judge(project.path, ["bench"], base="HEAD").verdicts[0]

    assert verdict.status is Status.PASSED, verdict
    by_name = {m.name: m for m in verdict.measurements}
    assert by_name["benchmarks/test_work.py::test_work"].baseline > 0
    assert by_name["benchmarks/test_more.py::test_more"].baseline is None
    assert "2 fresh processes" in by_name["benchmarks/test_work.py::test_work"].how


def test_a_burst_of_other_work_is_no_slow_down(make_project, monkeypatch):
    """What looks slower is run again, and passes when the candidate keeps up with the baseline there."""
    seconds = iter([1.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.1, 1.0])
    asked = []

    def run(tree, settings, only):
        asked.append((tree.side, list(only)))
        return {"benchmarks/test_work.py::test_work": next(seconds)}

    monkeypatch.setattr("trainkit.guards.bench._run_benchmarks", run)
    verdict = judge(make_project(FILES).path, ["bench"], base="HEAD").verdicts[0]

    assert (verdict.status, verdict.findings[0].rule) == (Status.PASSED, "bench-inconclusive")
    assert [side for side, _ in asked] == [
        *["baseline", "candidate", "candidate", "baseline"],
        *["candidate", "baseline", "baseline", "candidate"],
    ]
    assert asked[-1][1] == ["benchmarks/test_work.py::test_work"]


def test_alone_it_tells_the_times(make_project):
    """Without a baseline there is nothing to fail."""
    verdict = judge(make_project(FILES).path, ["bench"]).verdicts[0]

    assert verdict.summary == "1 benchmarks ran; no baseline to compare with"


def test_a_benchmark_that_breaks_is_no_verdict(make_project):
    """The candidate's own benchmarks must run."""
    project = make_project(FILES)
    project.write("work.py", "")
    verdict = judge(project.path, ["bench"], base="HEAD").verdicts[0]

    assert (verdict.status, verdict.findings[0].rule) == (Status.ERROR, "bench-failed")
    assert "cannot import name 'work'" in " ".join(verdict.findings[0].evidence)


@pytest.mark.parametrize("folder", ["/", "..", ".", "", "a/../../b"])
def test_a_folder_outside_the_project_is_refused(make_project, folder):
    """The guard replaces that folder on the baseline's side: it must lie in its tree."""
    with pytest.raises(ConfigError, match="must be a path inside the project"):
        judge(make_project(FILES).path, ["bench"], base="HEAD", overrides={"bench": {"folder": folder}})


def test_a_linked_folder_of_the_baseline_is_replaced(make_project):
    """The link goes, not what it points at."""
    project = make_project(
        {name: text for name, text in FILES.items() if "bench" not in name} | {"other/test_x.py": ""}
    )
    (project.path / "benchmarks").symlink_to("other")
    project.commit("a link")
    (project.path / "benchmarks").unlink()
    project.write("benchmarks/test_work.py", BENCHMARK)
    with open_trees(project.path, "HEAD") as (candidate, baseline):
        _share_benchmarks(candidate, baseline, "benchmarks")

        assert (baseline.path / "benchmarks/test_work.py").read_text() == BENCHMARK
        assert (baseline.path / "other/test_x.py").exists()
        assert not (baseline.path / "benchmarks").is_symlink()


def test_no_benchmarks_are_skipped(make_project):
    """A project without the folder is said to have none."""
    assert judge(make_project({"a.py": ""}).path, ["bench"]).verdicts[0].status is Status.SKIPPED
