"""Figures of the search for copies: the catalogue's recall and false alarms, and CPU seconds over trees.

    python benchmarks/review_clones.py [FOLDER[:GLOB] ...]

Each tree is read without a cache ("cold") and with one ("warm"), child processes included. `--cross` lists
the classes of copies with several names, for reading.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "unit" / "review"))


def read_cpu() -> float:
    """Seconds of this process and of its finished children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def print_catalogue() -> None:
    from catalogue import judge_catalogue

    for part in ("seen", "held_out"):
        copies, others = judge_catalogue(part)
        missed = [what for what, found in copies if not found]
        alarms = [what for what, found in others if found]
        print(f"{part}: {len(copies) - len(missed)} of {len(copies)} copies found, missed {missed}")
        print(f"{part}: {len(alarms)} of {len(others)} look-alikes taken for copies {alarms}")


def print_tree(root: Path, pattern: str, *, cross: bool) -> None:
    from trainkit.review.bodies import read_bodies
    from trainkit.review.clones import find_clones
    from trainkit.review.runs import measure_share
    from trainkit.review.sources import read_sources

    paths = [path.relative_to(root).as_posix() for path in sorted(root.glob(pattern))]
    for what in ("cold", "warm"):
        begin = read_cpu()
        sources = read_sources(root, ["clones"], paths=paths)
        read = read_cpu()
        classes = find_clones(sources)
        end = read_cpu()
        print(f"{root.name}, {what}: {read - begin:.2f} s reading, {end - read:.2f} s comparing (CPU)")
    functions = [each for each in classes if each.kind == "function"]
    grades = {grade: sum(each.grade == grade for each in functions) for grade in ("equal", "near", "related")}
    runs = len(classes) - len(functions)
    print(f"{root.name}: {len(sources)} files, {grades} classes of functions, {runs} runs")
    for name in ("main", "parse_args"):
        bodies = [body for source in sources for body in read_bodies(source) if body.qualname == name]
        for least in (8, 15):
            shared, every = measure_share(bodies, least)
            if every:
                print(
                    f"{root.name}: {100 * shared / every:.1f} % of {name}() in shared runs of {least} or more"
                )
    for each in functions if cross else ():
        names = sorted({place.name.rpartition(".")[2] for place in each.members})
        if len(names) > 1:
            print(each.grade, names, each.members[0].path, each.members[-1].path)


if __name__ == "__main__":
    print_catalogue()
    with tempfile.TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        for argument in sys.argv[1:]:
            if argument != "--cross":
                folder, _, pattern = argument.partition(":")
                print_tree(Path(folder).resolve(), pattern or "**/*.py", cross="--cross" in sys.argv)
