"""The imports guard on planted imports and on equal sides: `imports.py --planted 100 --aa 200`.

Each plant is one change of a small project, in one of six ways, at a line that is drawn; it is caught when
exactly this file and line are blamed for the forbidden module. Each A/A trial compares a project with itself,
and any finding at all (a note, too) is an alarm. `--load N` keeps N processes busy meanwhile.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trainkit.guards.context import Context
from trainkit.guards.imports import check
from trainkit.repo.trees import Tree
from trainkit.verdict import Verdict

CALM = ("json", "re", "dataclasses", "collections", "enum", "pathlib", "string", "textwrap")
BASE = {
    "pack/__init__.py": "",
    "pack/cli.py": "from pack import helpers, plugins\n",
    "pack/helpers.py": "import json\n",
    "pack/plugins.py": "from importlib.metadata import entry_points\n",
    "pack/deep.py": "",
    "heavy/__init__.py": "import heavy.core\n",
    "heavy/core.py": "import heavy.parts\n",
    "heavy/parts.py": "def tiny():\n    return 1\n",
    "plug/__init__.py": "",
    "plug-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: plug\nVersion: 1.0\n",
    "plug-1.0.dist-info/entry_points.txt": "[pack.plugins]\nplug = plug\n",
}


@dataclass(frozen=True)
class Plant:
    """One change: what stands in which file, and the line to blame."""

    way: str
    files: dict[str, str]
    file: str
    line: int


def plant(way: str, rng: random.Random) -> Plant:
    """Make one change; calm lines before it move the line to blame."""
    calm = [f"import {rng.choice(CALM)}" for _ in range(rng.randrange(30))]
    files, file = {}, "pack/helpers.py"
    code, at = {
        "direct": (["import heavy"], 1),
        "transitive": (["from pack import deep"], 0),
        "borrowed helper": (["from heavy.parts import tiny"], 1),
        "import_module": (["from importlib import import_module", "", "import_module('heavy.core')"], 3),
        "entry point": (
            ["from importlib.metadata import entry_points", "for each in entry_points(group='pack.plugins'):",
             "    each.load()"], 0),
        "version check": (
            ["import sys", "if sys.version_info >= (3, 8):", "    import heavy", "else:", "    pass"], 3),
    }[way]  # fmt: skip
    files[file] = "\n".join([*calm, *code]) + "\n"
    line = len(calm) + at
    if way in {"transitive", "entry point"}:
        file = "pack/deep.py" if way == "transitive" else "plug/__init__.py"
        files[file] = "\n".join([*calm, "import heavy"]) + "\n"
        line = len(calm) + 1
    return Plant(way, files, file, line)


WAYS = ("direct", "transitive", "borrowed helper", "import_module", "entry point", "version check")


@contextlib.contextmanager
def make_trees(base: dict[str, str], changes: dict[str, str]) -> Iterator[tuple[Tree, Tree]]:
    """Give a baseline with `BASE` and `base`, and a candidate with `changes`, too."""
    with tempfile.TemporaryDirectory(prefix="imports-") as name:
        top = Path(name).resolve()
        trees = []
        for side, files in (("baseline", BASE | base), ("candidate", BASE | base | changes)):
            for file, text in files.items():
                path = top / side / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            folder = top / side
            trees.append(
                Tree(side=side, path=folder, origin=top / "user", revision=side, top=folder, scratch=top)
            )
        yield trees[0], trees[1]


def judge(base: dict[str, str], changes: dict[str, str], **settings: object) -> Verdict:
    """Give the verdict on pack.cli of a candidate with `changes`."""
    with make_trees(base, changes) as (baseline, candidate):
        table = {"targets": {"pack.cli": settings}}
        return check(
            Context(root=candidate.path, name="imports", candidate=candidate, baseline=baseline, table=table)
        )


def run_planted(number: int, seed: int = 0) -> tuple[Counter[str], list[str]]:
    """Plant `number` imports; give how many of each way were caught, and what was missed."""
    rng, caught, missed = random.Random(seed), Counter(), []
    for index in range(number):
        planted = plant(WAYS[index % len(WAYS)], rng)
        verdict = judge({}, planted.files, forbid=["heavy"])
        places = [(each.file, each.line) for each in verdict.findings if each.rule == "import-forbidden"]
        if places == [(planted.file, planted.line)]:
            caught[planted.way] += 1
        else:
            missed.append(f"{planted.way}: blamed {places}, not {planted.file}:{planted.line}")
    return caught, missed


def run_equal(number: int, targets: dict[str, str]) -> tuple[Counter[str], list[str]]:
    """Compare `number` times a project with itself; give the trials of each target, and the alarms."""
    trials, alarms = Counter(), []
    for index in range(number):
        name = list(targets)[index % len(targets)]
        verdict = judge({"pack/cli.py": targets[name]}, {}, ratchet=True, max_seconds=600)
        trials[name] += 1
        alarms += [f"{name}: {each.rule}: {each.message}" for each in verdict.findings]
    return trials, alarms


@contextlib.contextmanager
def keep_busy(number: int) -> Iterator[None]:
    """Run `number` processes that do nothing but work, and end with us even where we are killed."""
    code = "import os\nparent = os.getppid()\nwhile os.getppid() == parent:\n    sum(range(100000))"
    busy = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(number)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def main() -> int:
    """Print the counts; 1 if anything was missed or alarmed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--planted", type=int, default=0)
    parser.add_argument("--aa", type=int, default=0)
    parser.add_argument(
        "--torch", type=int, default=0, help="A/A trials more, of a target that imports torch"
    )
    parser.add_argument("--load", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    bad = []
    with keep_busy(options.load):
        for what, number, measure in (
            ("planted", options.planted, lambda number: run_planted(number, options.seed)),
            ("equal", options.aa, lambda number: run_equal(number, EQUAL)),
            ("equal, torch", options.torch, lambda number: run_equal(number, {"torch": "import torch\n"})),
        ):
            if number:
                start = time.monotonic()
                counts, wrong = measure(number)
                spent = time.monotonic() - start
                said = "missed" if what == "planted" else "alarms"
                print(f"{what}: {dict(counts)}; {said}: {len(wrong)} of {number}; {spent:.0f} s")
                bad += wrong
    print("\n".join(bad))
    return bool(bad)


EQUAL = {
    "hydra": "import hydra\n",
    "json": "from pack import helpers, plugins\n",
    "threads": "import threading\nt = threading.Thread(target=__import__, args=('decimal',))\nt.start()\n",
    "logging": "import logging.config, unittest.mock\n",
}

if __name__ == "__main__":
    sys.exit(main())
