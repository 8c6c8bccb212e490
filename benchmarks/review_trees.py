"""Measure whole trees with `trainkit.review.complexity`, and compare each function with ruff's C901.

    python benchmarks/review_trees.py [PACKAGE ...]      (default: torch transformers, of this environment)

Prints counts, the CPU seconds of a run without a cache, of one with it and of `radon cc` on the first package
(the machine's pace: seconds of two machines, or of two hours, are not comparable), and how far ruff's are.
Ruff counts statements alone, and what is nested in a function for it. `mccabe` takes off our figure what is
in expressions, adds what is nested, and must give ruff's figure; what it does not explain is listed.
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from trainkit.review.complexity import read_facts, units
from trainkit.review.measure import CLASS_BODY, MODULE_BODY, Facts
from trainkit.review.sources import list_tree, read_files


def mccabe(facts: Sequence[Facts]) -> dict[int, int]:
    """Give mccabe's figure of each function by line, from the units of a file, the module body first."""
    figures: dict[int, int] = {}
    around: list[list[Any]] = []  # the units that the line is in: facts, figure so far

    def close(line: float) -> None:
        while around and around[-1][0].end < line:
            unit, figure = around.pop()
            if unit.kind != CLASS_BODY:
                figures[unit.line] = figure
            if around:
                around[-1][1] += figure - (unit.kind == CLASS_BODY)

    for unit in facts:
        if unit.kind != MODULE_BODY:
            close(unit.line)
            around.append([unit, unit.cyclomatic - unit.in_expressions])
    close(float("inf"))
    return figures


def parse_ruff(found: Iterable[dict[str, Any]]) -> dict[tuple[str, int], int]:
    """Give ruff's figure by file and line."""
    return {
        (each["filename"], each["location"]["row"]): int(re.search(r"\((\d+) >", each["message"])[1])  # type: ignore[index]
        for each in found
        if each["code"] == "C901" and each["filename"].endswith(".py")  # no stubs
    }


def cpu_s() -> float:
    """Give the CPU seconds of this process and of those it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def main(packages: Sequence[str]) -> None:
    """Print the figures of these packages together."""
    site = Path(sysconfig.get_path("purelib"))
    files = [f"{package}/{file}" for package in packages for file in list_tree(site / package)]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        for label in ("cold", "warm"):
            start, began = cpu_s(), time.perf_counter()
            sources = read_files(site, files, ["complexity"])
            measured = [unit for source in sources for unit in units(source)]
            print(f"{label}: {cpu_s() - start:.1f} s of CPU, {time.perf_counter() - began:.1f} s")
    start = cpu_s()
    command = [sys.executable, "-m", "radon", "cc", "--total-average", packages[0]]
    subprocess.run(command, cwd=site, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    print(f"radon on {packages[0]} alone: {cpu_s() - start:.1f} s of CPU")
    failed = [f"{source.path} ({source.error})" for source in sources if source.error]
    num_lines = sum((site / file).read_bytes().count(b"\n") for file in files)
    print(f"{len(files)} files, {num_lines} lines, {len(measured)} units")
    print(f"not Python: {', '.join(failed) or 'none'}")
    command = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--isolated",
        "--select",
        "C901",
        "--output-format",
        "json",
    ]
    command += [
        "--config",
        "lint.mccabe.max-complexity=0",
        "--no-cache",
        "--exit-zero",
        "--no-respect-gitignore",
    ]
    done = subprocess.run([*command, *packages], cwd=site, capture_output=True, text=True, check=True)
    theirs = parse_ruff(json.loads(done.stdout))
    compare(site, sources, theirs)


def compare(site: Path, sources: Sequence[Any], theirs: dict[tuple[str, int], int]) -> None:
    """Print how our figures stand to ruff's, before and after what explains the difference."""
    plain, explained, other = [], [], []
    for source in sources:
        facts = read_facts(source)
        figures = mccabe(facts)
        for unit in facts:
            ruff = theirs.get((str(site / source.path), unit.line))
            if unit.kind in {"function", "method"} and ruff is not None:
                plain.append(abs(unit.cyclomatic - ruff))
                explained.append(abs(figures[unit.line] - ruff))
                if explained[-1]:
                    other.append(f"{source.path}:{unit.line} {unit.name}: {figures[unit.line]}, ruff {ruff}")
    total = len(plain)
    print(f"{total} functions that ruff knows, of its {len(theirs)}")
    for label, values in (("radon's scale", plain), ("mccabe's scale", explained)):
        equal, near = sum(not value for value in values), sum(value <= 1 for value in values)
        print(f"{label}: equal {equal / total:.2%}, within one {near / total:.2%}, at most {max(values)} off")
    print(f"{len(other)} without explanation", *other[:20], sep="\n  ")


if __name__ == "__main__":
    main(sys.argv[1:] or ["torch", "transformers"])
