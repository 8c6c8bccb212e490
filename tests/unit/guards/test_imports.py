"""The imports guard on tiny packages: what comes along, within which budget, and by which line."""

import dataclasses
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from trainkit.gate import judge
from trainkit.verdict import Severity, Status

CLEAN = {
    "src/pack/__init__.py": "",
    "src/pack/cli.py": "from pack import helpers\n",
    "src/pack/helpers.py": "import json\n",
    "src/heavy/__init__.py": "import heavy.core\n",
    "src/heavy/core.py": "",
}


@pytest.fixture
def check(make_project):
    """Judge `pack.cli` of a project with some files changed since the baseline."""

    def run(changes, before=None, **target):
        project = make_project(CLEAN | (before or {}))
        for name, text in changes.items():
            project.write(name, text)
        table = {"imports": {"targets": {"pack.cli": target}}}
        return judge(project.path, ["imports"], base="HEAD", overrides=table).verdicts[0]

    return run


def test_a_clean_target_passes_with_exact_counts(check):
    """The same modules on both sides, counted exactly, and times told with their spread."""
    verdict = check({}, forbid=["heavy", "torch"])

    assert verdict.status is Status.PASSED
    assert verdict.findings == ()
    figures = {measurement.name: measurement for measurement in verdict.measurements}
    for name in ("modules", "shared objects", ".pyc"):
        assert figures[f"pack.cli: {name}"].value == figures[f"pack.cli: {name}"].baseline
    assert min(figures["pack.cli: modules"].value, figures["pack.cli: .pyc"].value) > 3
    assert "(unchanged)" in verdict.summary


# how the offender is brought -> (changes, the file and line to blame)
WAYS = {
    "directly": ({"src/pack/cli.py": "from pack import helpers\nimport heavy\n"}, "src/pack/cli.py", 2),
    "through a helper": ({"src/pack/helpers.py": "import json\n\nimport heavy\n"}, "src/pack/helpers.py", 3),
    "through import_module": (
        {"src/pack/helpers.py": "from importlib import import_module\nimport_module('heavy.core')\n"},
        "src/pack/helpers.py",
        2,
    ),
    "through a lazy __getattr__": (
        {
            "src/pack/__init__.py": "def __getattr__(name):\n    import heavy\n    return heavy\n",
            "src/pack/cli.py": "import pack\npack.anything\n",
        },
        "src/pack/__init__.py",
        2,
    ),
    "in a try": (
        {"src/pack/helpers.py": "try:\n    import heavy\nexcept ImportError:\n    heavy = None\n"},
        "src/pack/helpers.py",
        2,
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_forbidden_module_is_blamed_on_its_line(check, way):
    """The chain leads from the line that brings it up to the target."""
    changes, file, line = WAYS[way]
    verdict = check(changes, forbid=["heavy"])

    finding = verdict.findings[0]
    assert verdict.status is Status.FAILED
    assert (finding.rule, finding.file, finding.line) == ("import-forbidden", file, line)
    assert finding.message == "importing pack.cli loads heavy, and heavy is forbidden there"
    assert finding.evidence[0] == f"{finding.evidence[0].split(' ')[0]} ({file}:{line})"


@pytest.mark.parametrize("forbidden", ["library", "library.part"])
def test_what_a_line_brings_is_all_that_is_spared_without_it(check, forbidden):
    """The package of a part, too, and what that imports, whichever of them is forbidden."""
    changes = {
        "src/library/__init__.py": "import library.own\n",
        "src/library/own.py": "",
        "src/library/part.py": "",
        "src/pack/cli.py": "from library import part\n",
    }
    finding = check(changes, forbid=[forbidden]).findings[0]

    assert [said for said in finding.evidence if said.startswith("without it: 3 modules")]


def test_a_function_level_import_is_no_offence(check):
    """What does not run at import is not counted, unlike in a static graph."""
    verdict = check({"src/pack/helpers.py": "import json\ndef f():\n    import heavy\n"}, forbid=["heavy"])

    assert verdict.status is Status.PASSED


def test_a_family_is_its_submodules_and_not_a_prefix(check):
    """`heavy` forbids heavy.core, and not heavyweight."""
    verdict = check({"src/heavyweight.py": "", "src/pack/cli.py": "import heavyweight\n"}, forbid=["heavy"])

    assert verdict.status is Status.PASSED


def test_too_many_modules_fail(check):
    """A budget of modules is exact, and the packages that fill it are listed."""
    verdict = check({}, max_modules=2)

    assert [finding.rule for finding in verdict.findings] == ["import-too-many"]
    assert any("of the standard library" in line for line in verdict.findings[0].evidence)


@pytest.mark.parametrize(("most", "number"), [(0.2, "a fresh process"), (0.28, "3 fresh processes")])
def test_too_slow_an_import_fails(check, most, number):
    """A budget of CPU seconds is held against as few runs as are needed, the fastest of three at most."""
    code = "import time\nend = time.process_time() + 0.31\nwhile time.process_time() < end: pass\n"
    verdict = check({"src/pack/cli.py": code}, max_seconds=most)

    assert [finding.rule for finding in verdict.findings] == ["import-too-slow"]
    assert verdict.findings[0].actual.endswith(f" s of CPU in {number}")


def test_what_only_watching_makes_slow_is_not_too_slow(make_project):
    """Statements that run very often take many times longer while they are watched: that decides nothing."""
    code = "def ask():\n    import os\nfor _ in range(200_000): ask()\n"
    project = make_project(CLEAN | {"src/pack/cli.py": code})

    def look(most):
        table = {"imports": {"targets": {"pack.cli": {"max_seconds": most}}}}
        verdict = judge(project.path, ["imports"], overrides=table).verdicts[0]
        return verdict, next(each.value for each in verdict.measurements if each.name.endswith(": import"))

    most = look(60)[1] / 2  # on this machine, at this moment
    verdict, watched = look(most)

    assert not verdict.findings
    assert watched > most, "it was not watched: the test says nothing"


def test_a_new_package_is_a_warning_with_its_line(check):
    """Start-up grew: said, with the line, but only what is forbidden fails."""
    verdict = check({"src/pack/cli.py": "from pack import helpers\nimport heavy\n"})

    (finding,) = verdict.findings
    assert verdict.status is Status.PASSED
    assert (finding.rule, finding.severity, finding.line) == ("import-new-package", Severity.WARNING, 2)
    assert "(+" in verdict.summary


def test_new_packages_of_one_line_are_one_finding(check):
    """One `import torch` brings many packages: told once, the one that brings the others first."""
    verdict = check(
        {
            "src/pack/cli.py": "from pack import helpers\nimport heavy\n",
            "src/heavy/core.py": "import ally\n",
            "src/ally.py": "",
        }
    )

    (finding,) = verdict.findings
    assert "now loads heavy, ally, which" in finding.message
    assert finding.line == 2


def test_a_ratchet_forbids_any_rise_and_names_each_line(check):
    """Modules of the standard library count, too; fewer or as many are fine."""
    changes = {
        "src/pack/cli.py": "from pack import helpers\nimport colorsys\n",
        "src/pack/helpers.py": "import json\nimport heavy\n",
    }
    verdict = check(changes, ratchet=True)

    grown = {(each.file, each.line): each.message for each in verdict.findings if each.rule == "import-grew"}
    assert verdict.status is Status.FAILED
    assert list(grown) == [("src/pack/helpers.py", 2), ("src/pack/cli.py", 2)]
    assert grown["src/pack/helpers.py", 2].endswith(
        "loads 2 modules more than at the baseline: heavy, heavy.core"
    )


PLUG = {  # which modules of Python are shared objects depends on how it was built; this one is mapped anywhere
    "src/pack/plug.so": "plug",
    "src/pack/helpers.py": "import mmap\nfile = open(__file__[:-len('helpers.py')] + 'plug.so')\n"
    "held = mmap.mmap(file.fileno(), 4, access=mmap.ACCESS_READ)\n",
}


@pytest.mark.parametrize(("before", "new"), [({}, ["plug.so"]), (PLUG, [])])
def test_a_ratchet_forbids_a_new_shared_object(check, before, new):
    """One that the baseline maps, too, is none, although it lies in the other tree."""
    verdict = check(PLUG | {"src/pack/cli.py": "import pack.helpers\n"}, before=before, ratchet=True)

    grown = [path for each in verdict.findings if each.rule == "import-grew" for path in each.evidence]
    assert [Path(path).name for path in grown if "plug" in path] == new


def test_a_ratchet_lets_a_shift_pass_and_tells_another_order(check):
    """A module for a module is no rise; the order of the same modules is a note."""
    assert check({"src/pack/helpers.py": "import heavy\n"}, ratchet=True).status is Status.PASSED


def test_another_order_is_a_note(check):
    """It may change what patches what, and nothing else."""
    verdict = check({"src/pack/cli.py": "import json\nfrom pack import helpers\n"}, ratchet=True)

    assert verdict.status is Status.PASSED
    assert [(each.rule, each.severity) for each in verdict.findings] == [("import-order", Severity.NOTE)]


def test_somebody_elses_module_can_be_looked_at(make_project):
    """Without a baseline nothing is compared, so the target need not be of this project."""
    table = {"imports": {"targets": {"json": {"forbid": ["torch"]}}}}

    assert (
        judge(make_project({"a.py": ""}).path, ["imports"], overrides=table).verdicts[0].status
        is Status.PASSED
    )


def test_a_target_that_cannot_be_imported_is_no_verdict(check):
    """An import that fails is an error with what Python said."""
    verdict = check({"src/pack/cli.py": "import nothing_of_that_name\n"})

    assert verdict.status is Status.ERROR
    assert verdict.findings[0].rule == "import-failed"
    assert "No module named 'nothing_of_that_name'" in verdict.findings[0].evidence[-1]


def test_targets_that_are_misspelt_get_their_names(make_project):
    """No traceback for a name in the configuration, each of them is told, and the others are judged."""
    table = {"imports": {"targets": {"pack.clii": {}, "other": {}, "pack.cli": {}}}}
    verdict = judge(make_project(CLEAN).path, ["imports"], overrides=table).verdicts[0]

    assert verdict.status is Status.ERROR
    assert [(finding.rule, finding.message) for finding in verdict.findings] == [
        ("unknown-target", "there is no module 'pack.clii'; did you mean 'pack.cli'?"),
        ("unknown-target", "there is no module 'other'"),
    ]
    assert verdict.summary.startswith("could not judge: unknown-target; pack.cli ")


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        ("import heavy\n", "import it in the function"),
        ("def load():\n    import heavy\n\n\nload()\n", "call that later"),
    ],
)
def test_the_hint_is_for_where_the_import_stands(check, code, hint):
    """What is in a function already is brought by its call."""
    verdict = check(
        {"src/pack/helpers.py": code, "src/pack/cli.py": "from pack import helpers\n"}, forbid=["heavy"]
    )

    assert hint in verdict.findings[0].hint


def test_a_target_that_the_baseline_lacks_is_judged_alone(make_project):
    """A new module has no baseline, which is no error."""
    project = make_project({"src/pack/__init__.py": ""})
    project.write("src/pack/new.py", "import json\n")
    table = {"imports": {"targets": {"pack.new": {}}}}
    verdict = judge(project.path, ["imports"], base="HEAD", overrides=table).verdicts[0]

    assert verdict.status is Status.PASSED
    assert verdict.measurements[0].baseline is None
    assert verdict.findings == ()


def test_a_target_that_fails_at_the_baseline_alone_is_said_not_to_be_compared(make_project):
    """The ratchet has nothing to hold on to, which is no pass in silence; of a command as of a module."""
    project = make_project({"src/pack/__init__.py": "", "src/pack/m.py": "import nothing_here\n"})
    project.write("src/pack/m.py", "import json\n")
    table = {"pack.m": {"ratchet": True}, "run": {"command": "python -c 'import pack.m'", "ratchet": True}}
    verdict = judge(
        project.path, ["imports"], base="HEAD", overrides={"imports": {"targets": table}}
    ).verdicts[0]

    found = [each for each in verdict.findings if each.rule == "import-baseline-failed"]
    assert [each.severity for each in found] == [Severity.WARNING] * 2
    assert found[0].message == "importing pack.m fails at the baseline: nothing is compared with it"
    assert found[0].evidence == ("ModuleNotFoundError: No module named 'nothing_here'",)


def test_without_targets_the_guard_is_skipped(make_project):
    """Nothing configured is said, and is no pass."""
    verdict = judge(make_project({"a.py": ""}).path, ["imports"]).verdicts[0]

    assert verdict.status is Status.SKIPPED


def test_the_command_line_times_saves_and_annotates(make_project):
    """Pairs with an interval, calls that repeat, files for viewers, and the findings as GitHub shows them."""
    project = make_project({f"sub/{name}": text for name, text in CLEAN.items()} | {"sub/pyproject.toml": ""})
    project.write("sub/src/pack/helpers.py", "import json\nimport heavy\n")
    command = [
        "imports",
        "pack.cli",
        "--base",
        "HEAD",
        "--times",
        "2",
        "--forbid",
        "heavy",
        "--save",
        "../x.html",
    ]
    done = dataclasses.replace(project, path=project.path / "sub").trainkit(
        *command, "--save", "../x.trace.json", GITHUB_ACTIONS="true"
    )

    assert done.returncode == 1, done.stderr
    assert "import-times] importing pack.cli is" in done.stdout
    assert "2 interleaved pairs" in " ".join(done.stdout.split())
    assert (
        "::error file=sub/src/pack/helpers.py,line=2,title=import-forbidden::importing pack.cli"
        in done.stdout
    )
    assert "spared without it" in done.stdout
    assert (project.path / "x.html").read_text().startswith("<!doctype html>")
    assert "traceEvents" in (project.path / "x.trace.json").read_text()


def test_a_log_and_a_command_on_the_command_line(make_project):
    """Both without any configuration."""
    project = make_project({"a.py": "import json\n"})
    project.write("x.log", "import time:  5 |  5 | re\n")
    done = project.trainkit("imports", "--log", "x.log", "--save", "x.speedscope.json")
    ran = project.trainkit("imports", "--forbid", "json", "--", "python", "a.py")

    assert (done.returncode, ran.returncode) == (0, 1)
    assert done.stdout.startswith("x.log: 1 loads")
    assert "speedscope" in (project.path / "x.speedscope.json").read_text()
    assert "a.py:1: running python a.py loads json, and json is forbidden there" in ran.stdout


def test_planted_imports_are_caught_and_equal_sides_are_silent(request):
    """A sample of the benchmark: one plant of each way, one project against itself."""
    spec = importlib.util.spec_from_file_location(
        "bench_imports", request.config.rootpath / "benchmarks/imports.py"
    )
    bench = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)

    caught, missed = bench.run_planted(len(bench.WAYS), seed=1)
    assert missed == []
    assert set(caught) == set(bench.WAYS)
    assert bench.run_equal(1, {"threads": bench.EQUAL["threads"]})[1] == []


def test_a_waterfall_is_written(make_project):
    """importtime-waterfall's HAR of one target, on the command line."""
    project = make_project(CLEAN)

    done = project.trainkit("imports", "--waterfall", "out.har", "json")

    assert done.returncode == 0, done.stderr
    assert '"creator"' in (project.path / "out.har").read_text()


@pytest.mark.parametrize(
    ("target", "forbidden"),
    [("trainkit", "trainkit.cli"), ("trainkit.cli", "torch"), ("trainkit.cli.check", "torch")],
)
def test_our_own_start_is_light(target, forbidden):
    """A fresh process imports trainkit without torch, and without any third-party module."""
    code = f"import sys; old = set(sys.modules); import {target}; print(*(set(sys.modules) - old))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    packages = {name.partition(".")[0] for name in done.stdout.split()}

    assert forbidden not in done.stdout.split()
    assert packages - sys.stdlib_module_names == {"trainkit"}
