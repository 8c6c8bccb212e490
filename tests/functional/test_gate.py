"""The gate on a project that is not ours: one planted fault per guard, and exactly that guard fails."""

import json
import xml.etree.ElementTree as ElementTree

import pytest

# guard -> (file, what is replaced, by what, the rule that must name it)
# A function that is no other's copy until it stands there twice.
COPY = """
def count_{}(rows, limit):
    counts, skipped = {{}}, 0
    for row in rows:
        name = row["name"].strip().lower()
        if len(name) > limit:
            skipped += 1
            continue
        counts[name] = counts.get(name, 0) + row["count"]
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    print(f"skipped {{skipped}} rows")
    return ranked
"""

FAULTS = {
    "imports": (
        "src/tiny/helpers.py",
        '"""Small functions."""\n',
        '"""Small."""\n\nimport sqlite3\n',
        "import-forbidden",
    ),
    "golden": (
        "src/tiny/model.py",
        "self.dropout = nn.Dropout(0.1)",
        "self.dropout = nn.Dropout(0.2)",
        "golden-diverged",
    ),
    "complexity": (
        "src/tiny/helpers.py",
        "        if key:\n",
        f"        if key and {' and '.join(f'key != {letter!r}' for letter in 'abcdefghijklmnop')}:\n",
        "complexity-worse",
    ),
    "duplication": (
        "src/tiny/helpers.py",
        '"""Small functions."""\n',
        '"""Small functions."""\n' + COPY.format("one") + COPY.format("two"),
        "duplication-gained",
    ),
    "bench": (
        "src/tiny/helpers.py",
        "    for word in text.split():\n",
        "    for word in text.split():\n        sum(map(ord, word))\n",
        "bench-slower",
    ),
    "gpu": (
        "tests/gpu/test_device.py",
        "from tiny.model import Net",
        "from tiny.model import Network as Net",
        "gpu-test-failed",
    ),
}


@pytest.fixture
def judge(tiny, uncovered):
    """Run the gate on the tiny project and give exit status, statuses and rules of errors by guard."""

    def run(**more):
        done = tiny.trainkit("gate", **uncovered, **more)
        report = json.loads((tiny.path / ".trainkit/report.json").read_text())
        statuses = {verdict["guard"]: verdict["status"] for verdict in report["verdicts"]}
        rules = {
            verdict["guard"]: [f["rule"] for f in verdict["findings"] if f["severity"] == "error"]
            for verdict in report["verdicts"]
        }
        return done, statuses, rules

    return run


def test_a_refactor_that_changes_no_number_passes(tiny, judge, tmp_path):
    """Renames, an extraction and a late import pass, and nothing of the user's tree is touched."""
    tiny.edit("src/tiny/model.py", "self.hidden", "self.first")
    tiny.edit("train.py", "    state = {", "    to_save = {")
    tiny.edit("train.py", "torch.save(state,", "torch.save(to_save,")
    tiny.write("notes.txt", "untracked")
    before = tiny.state()

    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    done, statuses, _ = judge(GITHUB_STEP_SUMMARY=str(summary))

    assert done.returncode == 0, done.stdout + done.stderr
    assert statuses == {
        "imports": "passed",
        "verify": "skipped",
        "golden": "identical",
        "complexity": "passed",
        "duplication": "passed",
        "bench": "passed",
        "gpu": "skipped",
    }
    assert "hidden.weight is now first.weight" in done.stdout
    assert tiny.state() == before
    assert tiny.git("status", "--porcelain", ".trainkit") == ""
    assert 'gate <b class="good">passed</b>' in (tiny.path / ".trainkit/report.html").read_text()
    assert summary.read_text().startswith("before\n## trainkit gate: passed\n")


@pytest.mark.parametrize(
    "guards", [("golden", "bench"), ("duplication", "imports", "complexity", "gpu")], ids=" ".join
)
def test_exactly_the_guards_of_planted_faults_fail(tiny, judge, guards):
    """Each fault is seen by its own guard, named by its rule, and by no other guard."""
    for guard in guards:
        tiny.edit(*FAULTS[guard][:3])

    done, statuses, rules = judge()

    assert done.returncode == 1, done.stdout + done.stderr
    bad = {name for name, status in statuses.items() if status not in {"passed", "identical", "skipped"}}
    assert bad == set(guards)
    assert {guard: statuses[guard] for guard in guards} == {
        guard: "diverged" if guard == "golden" else "failed" for guard in guards
    }
    assert {guard: set(rules[guard]) for guard in guards} == {guard: {FAULTS[guard][3]} for guard in guards}
    if "golden" in guards:
        at = (
            (tiny.path / "src/tiny/model.py")
            .read_text()
            .split("\n")
            .index("        self.dropout = nn.Dropout(0.2)")
        )
        assert f"golden error [golden-diverged] src/tiny/model.py:{at + 1}: " in done.stdout
    suite = ElementTree.parse(tiny.path / ".trainkit/junit.xml").getroot()
    assert {case.get("name") for case in suite if case.find("failure") is not None} == set(guards)
