"""The complexity guard: a ratchet that follows code through refactors, and lets no growth hide among them."""

import pytest

from trainkit.gate import judge
from trainkit.guards.complexity import check as run_guard
from trainkit.guards.complexity.settings import read_settings
from trainkit.guards.context import Context
from trainkit.repo.trees import Tree
from trainkit.verdict import Severity, Status

IFS = "    if a:\n        pass\n"


def make_function(name: str, num_ifs: int, first: str = "") -> str:
    return f"def {name}(a):\n{first}    pass\n" + IFS * num_ifs


def make_step(number: int, text: str, indent: str = "    ") -> str:
    """Two decisions that no other step has: real code differs from line to line."""
    lines = [
        f"for item{number} in batch.{text}_{number}:",
        f"    if item{number} > limit_{number}:",
        f'        total = total + scale_{text}(item{number}, "{text}{number}")',
    ]
    return "".join(f"{indent}{line}\n" for line in lines)


def make_steps(text: str, start: int, stop: int, indent: str = "    ") -> str:
    return "".join(make_step(number, text, indent) for number in range(start, stop))


def big(name: str = "train", text: str = "loss", start: int = 0, stop: int = 12) -> str:
    """A function of cyclomatic complexity 25 by default: over every limit."""
    return f"def {name}(batch, total):\n{make_steps(text, start, stop)}    return total\n"


@pytest.fixture
def check(tmp_path):
    """Judge two folders, written from {name: text}."""
    runs = []

    def run(old, new, **table):
        runs.append(tmp_path / str(len(runs)))
        trees = {}
        for side, files in (("baseline", old), ("candidate", new)):
            path = runs[-1] / side
            path.mkdir(parents=True)
            for name, text in files.items():
                (path / name).parent.mkdir(parents=True, exist_ok=True)
                (path / name).write_text(text)
            trees[side] = Tree(side=side, path=path, origin=path, revision="", top=path, scratch=tmp_path)
        return run_guard(Context(root=tmp_path, name="complexity", table=table, **trees))

    return run


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


RENAMED_LOCALS = big().replace("total", "summed").replace("batch", "rows")
EDITED = big().replace("limit_3", "0.5").replace("scale_loss(item4", "scale_loss(item4 + 1")
HELPER = f"def add_rest(batch, total):\n{make_steps('loss', 5, 12)}    return total\n"
EXTRACTED = f"def train(batch, total):\n{make_steps('loss', 0, 5)}    total = add_rest(batch, total)\n    return total\n\n\n{HELPER}"
METHOD = (
    "class Trainer:\n    def train(self, batch, total):\n"
    f"{make_steps('loss', 0, 12, '        ')}        return total\n"
)
WRAPPED = (
    big("_train") + "\n\ndef train(batch, total):\n    with timer():\n        return _train(batch, total)\n"
)
FILLER = "def small(x):\n    return x + 1\n"
SCRIPT = "import lib\n" + make_steps("loss", 0, 12, "")
A_AND_B = big("one", "loss") + big("two", "data")

# name of the row, files before, files after, the rules of what fails
MATRIX = {
    "nothing": ({"a.py": big()}, {"a.py": big()}, []),
    "rename": ({"a.py": big()}, {"a.py": big("fit")}, []),
    "move": ({"a.py": big() + FILLER}, {"a.py": FILLER, "b.py": "import os\n" + big()}, []),
    "move of the file": ({"a.py": big()}, {"lib/b.py": big()}, []),
    "rename and edit": ({"a.py": big()}, {"a.py": EDITED.replace("train", "fit")}, []),
    "move and local rename": ({"a.py": big()}, {"b.py": RENAMED_LOCALS}, []),
    "move, rename, local rename": ({"a.py": big()}, {"b.py": RENAMED_LOCALS.replace("train", "fit")}, []),
    "extraction": ({"a.py": big()}, {"a.py": EXTRACTED}, []),
    "extraction into another file": (
        {"a.py": big()},
        {"a.py": "from b import add_rest\n" + EXTRACTED.replace(HELPER, ""), "b.py": HELPER},
        [],
    ),
    "extraction that adds a branch": (
        {"a.py": big()},
        {
            "a.py": EXTRACTED.replace(
                HELPER, HELPER.replace("    return", IFS.replace("a:", "batch:") * 12 + "    return")
            )
        },
        ["complexity-over-budget"],
    ),
    "copies merged": (
        {"a.py": big(), "b.py": big("train", "loss", 0, 11)},
        {"a.py": "from c import train\n", "b.py": "from c import train\n", "c.py": big()},
        [],
    ),
    "two functions joined to one": (
        {"a.py": A_AND_B},
        {
            "a.py": f"def both(batch, total):\n{make_steps('loss', 0, 12)}{make_steps('data', 0, 12)}    return total\n"
        },
        ["complexity-worse"],
    ),
    "wrapper": ({"a.py": big()}, {"a.py": WRAPPED}, []),
    "decorator": ({"a.py": big()}, {"a.py": "@jit(cache=True)\n" + big()}, []),
    "function to method": ({"a.py": big()}, {"a.py": METHOD}, []),
    "method to function": ({"a.py": METHOD}, {"a.py": big()}, []),
    "script to function": (
        {"train.py": SCRIPT},
        {"train.py": f"import lib\n\n\n{big('main').replace('(batch, total)', '()')}\n\nmain()\n"},
        [],
    ),
    "split of a file": (
        {"a.py": A_AND_B + FILLER},
        {"one.py": big("one", "loss"), "two.py": "import x\n" + big("two", "data"), "a.py": FILLER},
        [],
    ),
    "reformatting": (
        {"a.py": big()},
        {
            "a.py": big()
            .replace("(item", "(\n            item")
            .replace('")', '",\n        )')
            .replace("train(batch", "train(\n    batch")
        },
        [],
    ),
    "comments and docstring": (
        {"a.py": big()},
        {"a.py": big().replace("):\n", '):\n    """What it does."""\n    # how\n', 1)},
        [],
    ),
    "type hints": (
        {"a.py": big()},
        {"a.py": big().replace("batch, total)", "batch: Batch, total: float = 0.0) -> float")},
        [],
    ),
    "growth": ({"a.py": big()}, {"a.py": big(stop=13)}, ["complexity-worse"]),
    "growth under the limit": ({"a.py": big(stop=2)}, {"a.py": big(stop=4)}, []),
    "growth among moves": (
        {"a.py": A_AND_B + FILLER},
        {"lib/one.py": big("one", "loss"), "lib/two.py": big("two", "data", 0, 13), "a.py": FILLER},
        ["complexity-worse"],
    ),
    "growth, moved and renamed": ({"a.py": big()}, {"b.py": big("fit", stop=14)}, ["complexity-worse"]),
    "swap: one better, one worse": (
        {"a.py": A_AND_B},
        {"a.py": big("one", "loss", 0, 11) + big("two", "data", 0, 13)},
        ["complexity-worse"],
    ),
    "bodies exchanged": (
        {"a.py": make_function("f", 30) + make_function("g", 20)},
        {"a.py": make_function("f", 20) + make_function("g", 30)},
        ["complexity-worse"],
    ),
    "one goes, an unrelated one comes": (
        {"a.py": big("one", "loss")},
        {"a.py": big("other", "data")},
        ["complexity-over-budget"],
    ),
    "a copy": ({"a.py": big()}, {"a.py": big(), "b.py": big("fit")}, ["complexity-over-budget"]),
    "new and over the limit": ({"a.py": FILLER}, {"a.py": FILLER + big()}, ["complexity-over-budget"]),
    "new and under it": ({"a.py": FILLER}, {"a.py": FILLER + big(stop=4)}, []),
    "raised limit": (
        {"a.py": FILLER, "pyproject.toml": "[tool.trainkit.complexity]\ncyclomatic = [10, 15]\n"},
        {"a.py": FILLER + big(), "pyproject.toml": "[tool.trainkit.complexity]\ncyclomatic = [50, 99]\n"},
        ["complexity-over-budget"],
    ),
}


@pytest.mark.parametrize("row", MATRIX)
def test_each_refactor_has_its_verdict(check, row):
    """Refactors pass, however they are mixed; growth fails, wherever it hides."""
    old, new, rules = MATRIX[row]
    settings = read_table(new)
    verdict = check(old, new, **settings)

    bad = [finding for finding in verdict.findings if finding.severity is Severity.ERROR]
    assert [finding.rule for finding in bad] == rules, [finding.message for finding in bad]
    assert verdict.status is (Status.FAILED if rules else Status.PASSED)


def read_table(files):
    import tomllib

    return (
        tomllib.loads(files.get("pyproject.toml", ""))
        .get("tool", {})
        .get("trainkit", {})
        .get("complexity", {})
    )
