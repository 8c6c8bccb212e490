"""The duplication guard: no new copies, whatever is moved; and a word where a fix forgets some."""

import pytest

from trainkit.guards.context import Context
from trainkit.guards.duplication import check as run_guard
from trainkit.repo.trees import Tree
from trainkit.verdict import Severity, Status

COPY = """def collate(examples, tokenizer):
    values = [example["pixel_values"] for example in examples]
    stacked = torch.stack(values).to(memory_format=torch.contiguous_format).float()
    captions = tokenizer([example["caption"] for example in examples], padding="max_length")
    lengths = [len(ids) for ids in captions.input_ids]
    if max(lengths) > tokenizer.model_max_length:
        logger.warning("a caption is too long: %s", max(lengths))
    weights = torch.tensor([example["weight"] for example in examples])
    return {"pixel_values": stacked, "input_ids": captions.input_ids, "weights": weights}
"""
OTHER = """def schedule(step, warmup, total):
    if step < warmup:
        return step / max(1, warmup)
    progress = (step - warmup) / max(1, total - warmup)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
"""
FIXED = COPY.replace("float()", "half()")
RENAMED = COPY.replace("stacked", "batch").replace("lengths", "sizes").replace("def collate", "def join")
THREE = {"a.py": COPY, "b.py": COPY, "c.py": COPY}

# name of the row, files before, files after, the rules of findings
MATRIX = {
    "nothing": (THREE, THREE, []),
    "a third copy": ({"a.py": COPY, "b.py": COPY}, THREE, ["duplication-gained"]),
    "a first copy": ({"a.py": COPY}, {"a.py": COPY, "b.py": RENAMED}, ["duplication-gained"]),
    "two new copies": ({"a.py": OTHER}, {"a.py": OTHER + COPY, "b.py": RENAMED}, ["duplication-gained"]),
    "a renamed file": (THREE, {"a.py": COPY, "b.py": COPY, "lib/d.py": COPY}, []),
    "a renamed copy": (THREE, {"a.py": COPY, "b.py": COPY, "c.py": RENAMED}, []),
    "a comment in one copy": (THREE, THREE | {"b.py": COPY.replace("    lengths", "    # tokens\n    lengths")}, []),
    "reformatting one copy": (THREE, THREE | {"b.py": COPY.replace("tokenizer([", "tokenizer(\n        [")}, []),
    "hints in one copy": (THREE, THREE | {"b.py": COPY.replace("examples, tokenizer)", "examples: list, tokenizer)")}, []),
    "the same fix in all": (THREE, dict.fromkeys(THREE, FIXED), []),
    "a fix in one of three": (THREE, THREE | {"a.py": FIXED}, ["duplication-uneven"]),
    "a copy marked as meant": (THREE, THREE | {"d.py": "# trainkit: allow duplication because it is\n" + COPY}, []),
    "copies merged": (THREE, {"lib.py": COPY, "a.py": "from lib import collate\n"}, []),
    "one copy less": (THREE, {"a.py": COPY, "b.py": COPY, "c.py": OTHER}, []),
    "one goes, another comes": (
        {"a.py": COPY, "b.py": COPY, "c.py": OTHER},
        {"a.py": COPY, "c.py": OTHER, "d.py": OTHER.replace("def schedule", "def rate")},
        [],
    ),
}  # fmt: skip


@pytest.fixture
def check(tmp_path, monkeypatch, make_trees):
    """Judge two folders, written from {name: text}."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def run(old, new, **table):
        baseline, candidate = make_trees(old, new)
        context = Context(
            root=tmp_path, name="duplication", table=table, baseline=baseline, candidate=candidate
        )
        return run_guard(context)

    return run


@pytest.mark.parametrize("row", MATRIX)
def test_each_change_has_its_verdict(check, row):
    """New copies fail, forgotten ones are told, edits and refactors pass."""
    old, new, rules = MATRIX[row]
    verdict = check(old, new)

    assert [finding.rule for finding in verdict.findings] == rules, verdict.findings
    assert verdict.status is (Status.FAILED if "duplication-gained" in rules else Status.PASSED)


def test_the_findings_name_the_copies(check):
    """Which is new, of which; which was forgotten."""
    verdict = check(THREE, THREE | {"b.py": FIXED, "d.py": COPY})
    new, forgotten = verdict.findings

    assert (new.file, new.message, new.severity) == (
        "d.py",
        "collate is a new copy of collate at a.py:1",
        Severity.ERROR,
    )
    assert forgotten.message == "collate at b.py:1 changed, 2 of its 3 copies did not"
    assert forgotten.evidence[:2] == ("not changed: collate at a.py:1", "not changed: collate at c.py:1")


def test_what_one_class_has_of_another_is_one_finding(check):
    """And counted as what it is: copies."""
    longer = OTHER.replace(
        "    progress", "    rate = total - step\n    logger.info(rate, warmup)\n    progress"
    )
    body = "".join(f"    {line}\n" for text in (COPY, longer) for line in text.splitlines())
    verdict = check(
        {"a.py": f"class First:\n{body}"},
        dict.fromkeys(["a.py"], f"class First:\n{body}\n\nclass Second:\n{body}"),
    )
    (found,) = verdict.findings

    assert found.message == "2 parts of Second are new copies of parts of First in a.py"
    assert found.evidence[0] == "Second.collate is a new copy of First.collate at a.py:2"
    assert verdict.summary.startswith("2 new copies")


def test_a_copy_that_is_meant_is_counted(check):
    """With its reason in a comment it is no finding."""
    verdict = check(
        {"a.py": COPY},
        {"a.py": COPY, "b.py": "# trainkit: allow duplication because scripts stand alone\n" + COPY},
    )

    assert verdict.status is Status.PASSED, verdict.findings
    assert verdict.summary.endswith("; 1 copies are meant, and say so")


def test_what_is_merged_is_counted(check):
    """Of three copies two go, and their lines."""
    verdict = check(THREE, {"lib.py": COPY, "a.py": "from lib import collate\n"})
    repeated = next(each for each in verdict.measurements if each.name == "repeated by copies")

    assert (repeated.baseline, repeated.value) == (2 * len(COPY.splitlines()), 0)
    assert verdict.summary.endswith("in 2 files; copies repeat 18 lines less")
    assert check(THREE, THREE).summary.endswith("in 3 files")


def test_what_cannot_be_read_is_no_pass(check):
    """A new syntax error fails; tests are left out by default."""
    verdict = check({"a.py": COPY}, {"a.py": COPY, "b.py": "def f(:\n", "tests/t.py": COPY})

    assert [finding.rule for finding in verdict.findings] == ["duplication-unmeasured"]


def test_without_a_baseline_it_is_skipped(tmp_path):
    """Nothing is new where nothing was."""
    tree = Tree(side="candidate", path=tmp_path, origin=tmp_path, revision="", top=tmp_path, scratch=tmp_path)

    assert run_guard(Context(root=tmp_path, name="duplication", candidate=tree)).status is Status.SKIPPED
