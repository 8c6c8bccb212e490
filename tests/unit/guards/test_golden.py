"""The golden guard's judgement. The training here is a program that writes a trace, so that it is quick;
real trainings are in tests/functional and tests/golden."""

import json

import pytest

from trainkit.gate import judge
from trainkit.verdict import Severity, Status, exit_status

# Writes to TRAINKIT_TRACE what the recorder would: one parameter, one loss per step.
TRAIN = """
import json, os, pathlib, sys, time
settings = json.loads(pathlib.Path("settings.json").read_text())
if settings.get("fail"):
    sys.exit("no such file: data.bin")
if settings.get("random"):
    settings["losses"][1] = int.from_bytes(os.urandom(4), "big") + 0.5
rng = {"torch": "r"}
lines = [
    {"event": "trace", "format": 3, "digest": "none", "rank": 0},
    {"event": "facts", "what": "settings", "rows": {"folder": os.getcwd()}},
    {"event": "init", "step": 0, "parameters": [["w", "float32[2]", "start___________"]], "buffers": [], "rng": rng},
    {"event": "optimizer", "optimizer": 0, "parameters": [0], "facts": {"class": "SGD"}},
]
for number, loss in enumerate(settings["losses"], start=1):
    new = "start" if settings.get("frozen") else f"p{number}"
    lines.append({
        "event": "step", "step": number, "optimizer": 0, "loss": [float(loss).hex()], "gradients": "g" * 16,
        "hyper": [["lr=0.1"], [0]], "parameters": new.ljust(16, "_"), "state": "0" * 16, "buffers": "", "rng": rng,
    })
lines.append({
    "event": "end", "steps": len(settings["losses"]), "stopped": False, "others": "",
    "values": ("start" if settings.get("frozen") else "last").ljust(16, "_"),
    "optimizers": [], "buffers": "", "rng": rng, "compiled": 0,
    "environment": {"probe": "here", "torch": "2", "python": "3"},
})
if settings["losses"]:
    path = pathlib.Path(os.environ["TRAINKIT_TRACE"]) / f"0000-{time.time_ns()}-{sys.argv[1]}.jsonl"
    path.write_text("".join(json.dumps(line, separators=(",", ":")) + "\\n" for line in lines))
"""
GOLDEN = "tests/golden/small.jsonl"


@pytest.fixture
def project(make_project):
    """A project with a committed golden of three steps."""
    table = '[tool.trainkit.golden.runs.small]\ncommands = ["python train.py one"]\n'
    files = {"pyproject.toml": table, "train.py": TRAIN, "settings.json": '{"losses": [3, 2, 1]}'}
    project = make_project(files)
    assert check(project, writable=True).status is Status.FAILED
    project.commit("golden")
    return project


def check(project, **options):
    return judge(project.path, ["golden"], **options).verdicts[0]


def change(project, **settings):
    project.write("settings.json", json.dumps({"losses": [3, 2, 1]} | settings))


def make_foreign(project):
    """Make the golden one of another processor."""
    lines = (project.path / GOLDEN).read_text().splitlines()
    header = json.loads(lines[0])
    header["environment"]["probe"] = "0000000000000000"
    project.write(GOLDEN, "\n".join([json.dumps(header), *lines[1:]]) + "\n")
    project.commit("foreign golden")


def rules(verdict):
    return [finding.rule for finding in verdict.findings]


def test_a_missing_golden_is_written_and_fails_once(project):
    """The first run fails and writes; the second is identical."""
    (project.path / GOLDEN).unlink()

    first, second = check(project, writable=True), check(project, writable=True)

    assert (first.status, rules(first)) == (Status.FAILED, ["golden-missing"])
    assert "has been written" in first.summary
    assert second.status is Status.IDENTICAL
    assert second.summary == f"small is bitwise identical to the golden {GOLDEN} over 3 steps"


def test_the_gate_writes_no_golden(project):
    """In the user's tree nothing changes unless that is asked for."""
    (project.path / GOLDEN).unlink()
    before = project.state()

    assert rules(check(project, base="HEAD")) == ["golden-missing"]
    assert project.state() == before


def test_a_divergence_is_named_and_kept_beside_the_golden(project):
    """One ULP in one loss diverges; the actual run is written where git ignores it."""
    change(project, losses=[3, 2.0000000000000004, 1])

    verdict = check(project, writable=True)

    assert (verdict.status, rules(verdict)) == (Status.DIVERGED, ["golden-diverged"])
    assert verdict.summary == "small diverged at step 2, loss: loss"
    finding = verdict.findings[0]
    assert finding.expected == "2.0 (0x1.0000000000000p+1)"
    assert finding.actual == "2.0000000000000004 (0x1.0000000000001p+1)"
    assert (project.path / "tests/golden/actual/small.jsonl").exists()
    assert "actual" not in project.git("status", "--porcelain")


def test_a_golden_holds_what_was_computed_alone(project):
    """Facts hold paths and times of whoever made it."""
    assert "folder" not in (project.path / GOLDEN).read_text()


def test_an_update_accepts_what_training_does_now(project):
    """After --update the same run is identical; a second update changes nothing."""
    change(project, losses=[3, 9, 1])

    assert check(project, update=True).status is Status.PASSED
    written = (project.path / GOLDEN).read_text()
    assert check(project).status is Status.IDENTICAL
    assert check(project, update=True).status is Status.IDENTICAL
    assert (project.path / GOLDEN).read_text() == written


def test_an_accepted_change_is_told_to_the_reviewer(project):
    """The candidate's own golden agrees, so it passes; that the golden was changed is a warning."""
    change(project, losses=[3, 9, 1])
    check(project, update=True)

    verdict = check(project, base="HEAD")

    assert (verdict.status, rules(verdict)) == (Status.IDENTICAL, ["golden-rebaselined"])
    assert "step 2" in verdict.findings[0].message


def test_a_foreign_golden_is_not_comparable_and_no_pass(project):
    """On another processor a stored golden says nothing, not even when the bits agree."""
    make_foreign(project)

    verdict = check(project)

    assert verdict.status is Status.NOT_COMPARABLE
    assert "probe 0000000000000000 here" in verdict.findings[0].message
    assert project.trainkit("golden").returncode == 3


def test_with_a_baseline_two_revisions_are_compared_on_this_machine(project):
    """Where the stored golden says nothing, the baseline judges: identical or diverged."""
    make_foreign(project)

    assert check(project, base="HEAD").status is Status.IDENTICAL
    change(project, losses=[3, 2, 7])
    verdict = check(project, base="HEAD")

    assert (verdict.status, rules(verdict)) == (Status.DIVERGED, ["golden-diverged", "golden-not-comparable"])
    assert "diverged from the baseline HEAD" in verdict.findings[0].message


def test_elsewhere_a_change_that_its_golden_accepts_is_not_blamed_and_no_pass(project):
    """What it should be is known where the golden was made; a golden of the same training accepts nothing."""
    change(project, losses=[3, 2, 7])
    check(project, update=True)
    make_foreign(project)
    verdict = check(project, base="HEAD~1")

    assert verdict.status is Status.NOT_COMPARABLE
    assert rules(verdict) == ["golden-rebaselined", "golden-not-comparable"]
    assert "as does its golden, which was made in another environment" in verdict.summary

    change(project)
    project.commit("back")
    change(project, losses=[3, 2, 8])
    assert check(project, base="HEAD").status is Status.DIVERGED


def test_what_is_saved_otherwise_is_a_warning(project):
    """It is no number of training, and a resume may go on from it."""
    train = (project.path / "train.py").read_text()
    saved = '"gradients": "g" * 16, "saved": [["", settings.get("saved", "n"), "", ""]],'
    project.write("train.py", train.replace('"gradients": "g" * 16,', saved))
    check(project, update=True)
    project.commit("saves")
    change(project, saved="m")
    verdict = check(project, base="HEAD")

    assert verdict.status is Status.IDENTICAL
    assert verdict.findings[0].severity is Severity.WARNING
    assert "what it saves beside that is other numbers" in verdict.findings[0].message


def test_a_golden_that_the_baseline_has_left_is_said_to_be_older(project):
    """The change is not to blame for it; where it is, or the sides cannot be run, nothing of the kind is said."""
    change(project, losses=[3, 2, 4])
    assert "older" not in str(check(project, base="HEAD"))
    project.commit("other losses, no other golden")
    project.write("notes.txt", "x")

    head = project.git("rev-parse", "HEAD").strip()
    first = check(project, base="HEAD").findings[0]
    assert first.rule == "golden-diverged"
    assert (
        first.evidence[0] == f"the baseline HEAD ({head[:10]}) trains like the candidate: the golden is older"
    )

    change(project, fail=True)
    project.commit("broken")
    change(project, losses=[3, 2, 4])
    assert "older" not in str(check(project, base="HEAD"))


def test_a_baseline_that_differs_from_itself_is_unstable(project):
    """What the baseline does not keep itself is never blamed on the candidate."""
    change(project, random=True)
    make_foreign(project)
    project.write("train.py", TRAIN.replace("+ 0.5", "+ 0.25"))

    verdict = check(project, base="HEAD")

    assert (verdict.status, rules(verdict)) == (Status.UNSTABLE, ["golden-unstable", "golden-not-comparable"])
    assert "the baseline differs from itself: diverged at step 2, loss: loss" in verdict.summary


def test_no_golden_is_written_of_what_differs_from_itself(project):
    """An expectation that the same code does not keep would only cry wolf."""
    change(project, random=True)
    before = (project.path / GOLDEN).read_text()

    for options in ({"update": True}, {"writable": True}):
        assert rules(check(project, **options)) == ["golden-unstable"]
    assert (project.path / GOLDEN).read_text() == before
    (project.path / GOLDEN).unlink()
    assert rules(check(project, writable=True)) == ["golden-unstable"]
    assert not (project.path / GOLDEN).exists()


def test_what_a_training_leaves_behind_reaches_no_other(project):
    """A script that goes on from a file of its own starts anew in each recording."""
    resume = "path = pathlib.Path('left.json')\nsettings['losses'][0] += path.exists()\npath.write_text('')\n"
    project.edit("train.py", "rng = {", resume + "rng = {")
    make_foreign(project)
    change(project, losses=[3, 2, 7])

    assert check(project, base="HEAD").status is Status.DIVERGED


def test_a_renamed_run_still_has_its_past(project):
    """A candidate that renames its run and brings a new golden is seen to have changed its training."""
    project.edit("pyproject.toml", "runs.small", "runs.other")
    project.git("mv", GOLDEN, "tests/golden/other.jsonl")
    change(project, losses=[3, 9, 1])
    check(project, update=True)

    assert rules(check(project, base="HEAD")) == ["golden-rebaselined"]


def test_a_removed_run_is_a_warning(project):
    """A candidate cannot switch its judge off unseen."""
    project.write("pyproject.toml", "")

    verdict = check(project, base="HEAD")

    assert (verdict.status, rules(verdict)) == (Status.SKIPPED, ["golden-run-removed"])
    assert (
        verdict.findings[0].message
        == "the baseline's run 'small' is gone: its training is not guarded any more"
    )


def test_placeholders_may_hold_spaces(project):
    """{root} and {run} are one word, whatever is in them."""
    project.edit("pyproject.toml", "train.py one", "train.py one '{root}/a b' {run}")
    project.edit(
        "train.py", "rng = {", "assert sys.argv[2].endswith('/project/a b') and len(sys.argv) == 4\nrng = {"
    )

    assert check(project, update=True).status is Status.PASSED


def test_other_commands_need_another_golden(project):
    """A golden of other commands is no expectation for these."""
    project.edit("pyproject.toml", "train.py one", "train.py two")

    assert rules(check(project)) == ["golden-other-commands"]


def test_another_number_of_processes_diverges(project):
    """A command more is a training more; with the same commands it is a rank more."""
    lines = (project.path / GOLDEN).read_text().splitlines()
    project.write(GOLDEN, "\n".join([lines[0], *lines[1:], *lines[1:]]) + "\n")

    assert check(project).summary == f"small diverged: 1 recorded processes, 2 in the golden {GOLDEN}"


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"frozen": True}, "golden-vacuous"),
        ({"losses": [3, float("nan"), 1]}, "golden-vacuous"),
        ({"losses": []}, "nothing-recorded"),
        ({"fail": True}, "training-failed"),
    ],
)
def test_vacuous_equality_is_no_pass(project, settings, rule):
    """A training that trains nothing, loses its numbers, or breaks gives no verdict."""
    change(project, **settings)

    verdict = check(project)

    assert (verdict.status, rules(verdict)) == (Status.ERROR, [rule])
    assert exit_status([verdict]) == 3


@pytest.mark.parametrize("text", ["", "{}\n", "no json\n", '{"environment": 3, "commands": 3}\n'])
def test_a_damaged_golden_is_an_error(project, text):
    """It says how to write it anew, and is no failure of the candidate."""
    project.write(GOLDEN, text)

    assert rules(check(project)) == ["golden-damaged"]
    assert check(project, update=True).status is Status.PASSED
    assert check(project).status is Status.IDENTICAL


def test_a_cut_off_golden_is_an_error(project):
    """A golden without its end is not compared up to there and passed."""
    lines = (project.path / GOLDEN).read_text().splitlines()
    project.write(GOLDEN, "\n".join(lines[:-1]) + "\n")

    assert rules(check(project)) == ["trace-cut-off"]


def test_runs_are_chosen_on_the_command_line(project):
    """A name picks a run, a misspelt one gets the nearest."""
    assert project.trainkit("golden", "small").returncode == 0
    done = project.trainkit("golden", "smal")

    assert done.returncode == 2
    assert done.stderr == (
        "trainkit: error: unknown-run: no run 'smal' in [tool.trainkit.golden.runs]; did you mean 'small'?\n"
    )


def test_without_runs_the_guard_is_skipped(make_project):
    """Nothing configured is said, and is no pass."""
    assert check(make_project({"a.py": ""})).status is Status.SKIPPED
