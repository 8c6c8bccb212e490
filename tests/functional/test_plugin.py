"""The pytest plugin in projects of its own: real options, a real skip, a fixture that runs a guard."""

import os
import subprocess
import sys

import pytest
import torch

pytest.importorskip("pytest_benchmark")

SUITE = {
    "tests/test_plain.py": "def test_plain():\n    pass\n",
    "benchmarks/test_speed.py": "def test_speed(benchmark):\n    benchmark.pedantic(sum, args=([1],), rounds=2)\n",
}


@pytest.fixture
def run(make_project, uncovered):
    """Run pytest in a process of its own in a project with `testpaths`; gives its output and status."""

    def start(*arguments: str, files: dict[str, str] = SUITE, ini: str = ""):
        pyproject = f"[tool.pytest.ini_options]\ntestpaths = ['tests']\n{ini}"
        project = make_project({"pyproject.toml": pyproject, **files})
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rs", *arguments]
        alone = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_XDIST")}
        alone |= uncovered if "gpu" in arguments else {}
        return subprocess.run(
            command, cwd=project.path, env=alone, capture_output=True, text=True, check=False
        )

    return start


def test_plain_pytest_runs_no_benchmark(run):
    """The benchmarks folder is left alone."""
    done = run("-v")

    assert "test_plain" in done.stdout
    assert "test_speed" not in done.stdout


def test_benchmark_runs_the_benchmarks_and_nothing_else(run):
    """`pytest --benchmark` is a real option, although `testpaths` names other folders."""
    done = run("--benchmark", "-v")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_speed" in done.stdout
    assert "test_plain" not in done.stdout
    assert "benchmark: 1 tests" in done.stdout


def test_benchmark_takes_paths_and_other_options(run):
    """A path narrows it, and pytest-benchmark's own options still work."""
    done = run("--benchmark", "--benchmark-columns=min", "benchmarks/test_speed.py")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "StdDev" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "files", "message"),
    [
        (["--benchmark"], {"tests/test_plain.py": ""}, "--benchmark: there is no folder"),
        (["--benchmark", "-p", "no:benchmark"], SUITE, "--benchmark needs pytest-benchmark"),
    ],
)
def test_benchmark_says_what_it_lacks(run, arguments, files, message):
    """One line, and pytest's own status for wrong usage."""
    done = run(*arguments, files=files)

    assert done.returncode == 4
    assert message in done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_gpu_tests_are_skipped_with_the_reason(run):
    """The marker is known (strict markers), and the reason is the one that people look for."""
    files = {"tests/test_gpu.py": "import pytest\n\n@pytest.mark.gpu\ndef test_gpu():\n    assert False\n"}
    done = run("--strict-markers", "-m", "gpu", files=files)

    assert done.returncode == 0
    assert "no CUDA device" in done.stdout


def test_gpu_tests_are_skipped_without_torch(run):
    """A project that has no torch installed cannot run them either."""
    files = {
        "tests/test_gpu.py": "import pytest\n\n@pytest.mark.gpu\ndef test_gpu():\n    assert False\n",
        "conftest.py": "import sys\nsys.modules['torch'] = None\n",
    }

    assert "no torch" in run("-m", "gpu", files=files).stdout


def test_the_fixture_runs_a_guard(run):
    """A satisfied guard gives its verdict, a complaint fails with the report, nothing to judge skips."""
    source = (
        "def test_passes(trainkit_guard):\n"
        "    assert trainkit_guard('complexity').status == 'passed'\n\n"
        "def test_fails(trainkit_guard):\n"
        "    trainkit_guard('imports', targets={'pack': {'forbid': ['sqlite3']}})\n\n"
        "def test_skips(trainkit_guard):\n"
        "    trainkit_guard('golden')\n"
    )
    done = run(files={"tests/test_guard.py": source, "pack.py": "import sqlite3\n"})

    assert "1 failed, 1 passed, 1 skipped" in done.stdout
    assert "pack.py:1: importing pack loads sqlite3" in done.stdout
    assert "skipped: no runs configured" in done.stdout


def test_an_import_budget_is_a_marker(run):
    """A test fails with the guard's report where its target brings what it may not, and runs where it does not."""
    source = (
        "import pytest\n\n"
        "@pytest.mark.import_budget('pack', forbid=['sqlite3'])\ndef test_over():\n    pass\n\n"
        "@pytest.mark.import_budget('pack', forbid=['torch'], max_modules=400)\ndef test_within():\n    pass\n\n"
        "@pytest.mark.import_budget()\ndef test_nothing():\n    pass\n"
    )
    files = {"tests/test_budget.py": source, "pack.py": "import sqlite3\n"}
    done = run("--strict-markers", files=files)

    assert "2 failed, 1 passed" in done.stdout
    assert "pack.py:1: importing pack loads sqlite3" in done.stdout
    assert "import_budget takes one target" in done.stdout


def test_the_plugin_loads_nothing_heavy():
    """It is in every pytest run of everybody who installs trainkit."""
    code = "import sys, pytest; old = set(sys.modules); import trainkit.pytest_plugin; print(*(set(sys.modules) - old))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert set(done.stdout.split()) == {"trainkit", "trainkit.pytest_plugin"}


def test_a_wrong_use_fails_in_one_line(run):
    """Of a fixture and of a marker: what is wrong, and what was meant."""
    test = """
        import pytest

        def test_guard(trainkit_guard):
            trainkit_guard("import")

        @pytest.mark.import_budget("json", forbidd=["torch"])
        def test_budget():
            pass

        def test_verify(trainkit_verify):
            trainkit_verify(test_budget, base="nowhere")
    """
    lines = "\n".join(line[8:] for line in test.splitlines())
    done = run("tests", files={"tests/test_wrong.py": lines})

    assert "3 failed" in done.stdout
    assert "no guard 'import'; did you mean 'imports'?" in done.stdout
    assert "forbidd: no such key" in done.stdout
    assert "nowhere" in done.stdout
    assert (
        "Traceback" not in done.stdout and "site-packages" not in done.stdout and "gate.py" not in done.stdout
    )
