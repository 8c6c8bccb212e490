"""False alarms and detection of three rules on injected slow-downs: ours, pytest-benchmark's and asv's.

    python benchmarks/power.py run --workload p --effects 0 --copies 4 --trials 20 --output power.jsonl
    python benchmarks/power.py run --workload t --effects 2,3,5,10 --trials 5 --rule pytest --busy
    python benchmarks/power.py table power.jsonl

A trial makes two folders with a benchmark (or several copies) for each effect. The candidate does that much
more real work: longer loops in `p` (pure Python, 0.5 ms), more small matrix products in `t` (a training step
of torch, 3 to 4 ms). Half of the trials are neutral edits besides: up to 40 unused functions before the
measured one, and a project's folder of another name (the sides' own are equally long, as the guard's copies
are: on this machine a torch step whose stack lies elsewhere takes up to 14 % more or less). The environment
is up to 6000 bytes longer.

`ours` runs the guard itself: real workers, the control, fresh pairs, 1 % margin, the benchmarks of one run
judged as one suite. `pytest` runs pytest-benchmark in two processes, one after the other, and compares as
`--benchmark-compare-fail=FIELD:5%` does. `asv` is its rule rebuilt, without its environments: two processes a
side, five samples of 10 ms each, Mann-Whitney p < 0.002 and a factor of 1.1 between medians. `--busy` keeps
one core busy; where the load is over 3 it is busy without that. Each trial is a line of the output, so parts
of any size add up; the table counts them.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from imports import keep_busy

from trainkit.guards.bench.check import BenchSettings, run
from trainkit.guards.bench.pairs import Suite
from trainkit.guards.bench.session import Session
from trainkit.repo.trees import Tree

WORK = {
    "p": """
def run(extra):
    counts = {}
    for i in range(3000 + 30 * extra):
        counts[i % 97] = counts.get(i % 97, 0) + i
    return sum(counts.values())
""",
    "t": """
import os
import torch
from torch import nn

torch.set_num_threads(1)
torch.manual_seed(0)
model = nn.TransformerEncoderLayer(32, 4, 128, dropout=0.0, batch_first=True)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
batch, small = torch.randn(4, 16, 32), torch.randn(32, 32)
PER_CENT = float(os.environ.get("POWER_PRODUCTS", "6"))


def run(extra):
    for _ in range(round(extra * PER_CENT)):
        small @ small
    loss = model(batch).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss
""",
}
SUITE = """
import pytest
import work


@pytest.mark.parametrize("copy", range({copies}))
@pytest.mark.parametrize("effect", {effects})
def test_work(benchmark, effect, copy):
    benchmark(work.run, work.EXTRA[effect])
"""
ASV = """
import json, math, sys, time
import work
found = {}
for effect, extra in work.EXTRA.items():
    end = time.perf_counter() + 0.1
    least = math.inf
    while time.perf_counter() < end:
        start = time.perf_counter()
        work.run(extra)
        least = min(least, time.perf_counter() - start)
    number = max(1, math.ceil(0.01 / least))
    found[effect] = []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(number):
            work.run(extra)
        found[effect].append((time.perf_counter() - start) / number)
print(json.dumps(found))
"""


def make_sides(
    folder: Path, workload: str, effects: Sequence[int], copies: int, rng: random.Random
) -> tuple[list[Path], str]:
    """Write both sides; gives their folders (baseline, candidate, baseline) and what kind of edit it is."""
    edit = rng.choice(["plain", "neutral"])
    longer = "x" * rng.randrange(20) if edit == "neutral" else ""
    sides = []
    for number in range(3):
        side = folder / f"project{longer}" / f"bench-{number}" / "tree"
        (side / "benchmarks").mkdir(parents=True)
        extra = {effect: effect if number == 1 else 0 for effect in effects}
        unused = rng.randrange(1, 41) if edit == "neutral" and number == 1 else 0
        before = "".join(f"def unused_{n}(a):\n    return [a, {n}, 'text {n}']\n\n\n" for n in range(unused))
        (side / "work.py").write_text(f"EXTRA = {extra}\n\n\n{before}{WORK[workload]}")
        (side / "benchmarks/test_work.py").write_text(SUITE.format(effects=list(effects), copies=copies))
        (side / "pyproject.toml").write_text(
            "[tool.pytest.ini_options]\naddopts = ['-p', 'no:hypothesispytest']\n"
        )
        sides.append(side)
    return sides, edit


def judge_ours(sides: Sequence[Path], _: Sequence[int]) -> list[dict[str, Any]]:
    """Run the guard's own session on the sides."""
    names = ("baseline", "candidate", "baseline")
    trees = [
        Tree(side=name, path=side, origin=side, revision="", top=side, scratch=side.parent)
        for name, side in zip(names, sides, strict=True)
    ]
    session = Session(trees, Suite(folder="benchmarks"), lambda _: None)
    results = {result.name: result for result in run(session, BenchSettings())}
    rows = []
    for name, result in results.items():
        assert result.judged is not None, result.words
        rows.append(
            {
                "effect": int(name.partition("[")[2].partition("-")[0]),
                "said": str(result.outcome),
                "estimate": result.judged.interval.estimate,
                "pairs": [str(sample.interval(result.alpha)) for sample in result.samples],
                "smallest": result.judged.smallest_effect,
                "control": statistics.median(result.samples[0].log_ratios(2)),
            }
        )
    return rows


def judge_pytest(sides: Sequence[Path], effects: Sequence[int]) -> list[dict[str, Any]]:
    """Run pytest-benchmark on one side after the other and compare as its option does."""
    stats = []
    for side in sides[:2]:
        command = ["-m", "pytest", "-q", "--benchmark-only", "--benchmark-json=out.json", "benchmarks"]
        _run_python(command, side)
        rows = json.loads((side / "out.json").read_text())["benchmarks"]
        stats.append({row["params"]["effect"]: row["stats"] for row in rows})
    found = []
    for effect in effects:
        changes = {
            key: stats[1][effect][key] / stats[0][effect][key] - 1 for key in ("median", "min", "mean")
        }
        said = [key for key, change in changes.items() if change > 0.05]
        found.append({"effect": effect, "said": said, "changes": changes})
    return found


def judge_asv(sides: Sequence[Path], effects: Sequence[int]) -> list[dict[str, Any]]:
    """Take asv's samples on one side after the other and decide as asv does."""
    samples: list[dict[str, list[float]]] = []
    for side in sides[:2]:
        rounds = [json.loads(_run_python(["-c", ASV], side)) for _ in range(2)]
        samples.append({key: rounds[0][key] + rounds[1][key] for key in rounds[0]})
    found = []
    for effect in effects:
        old, new = (side[str(effect)] for side in samples)
        change = statistics.median(new) / statistics.median(old) - 1
        differs = rank_probability(old, new) < 0.002
        said = "slower" if differs and change > 0.1 else "no change"
        found.append({"effect": effect, "said": said, "estimate": change})
    return found


def rank_probability(old: Sequence[float], new: Sequence[float]) -> float:
    """Give the exact two-sided probability of Mann and Whitney's U, for samples without ties."""
    larger = sum(b > a for a in old for b in new)
    extreme = min(larger, len(old) * len(new) - larger)
    counts = _count_ranks(len(old), len(new))
    return min(1.0, 2 * sum(counts[: extreme + 1]) / math.comb(len(old) + len(new), len(old)))


def _count_ranks(num_old: int, num_new: int) -> list[int]:
    """Give how many orders have each U: the coefficients of the Gaussian binomial."""
    counts = [1] + [0] * (num_old * num_new)
    for k in range(1, num_old + 1):
        for u in range(len(counts) - 1, num_new + k - 1, -1):  # times 1 - q^(num_new + k)
            counts[u] -= counts[u - num_new - k]
        for u in range(k, len(counts)):  # over 1 - q^k
            counts[u] += counts[u - k]
    return counts


def _run_python(command: Sequence[str], folder: Path) -> str:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


def calibrate_products() -> float:
    """Give how many small products are one per cent of a step on this machine."""
    code = (
        "import json, time\nimport work\n"
        "def least(call):\n"
        "    times = []\n"
        "    for _ in range(200):\n"
        "        start = time.process_time_ns(); call(); times.append(time.process_time_ns() - start)\n"
        "    return min(times)\n"
        "def products():\n"
        "    for _ in range(100):\n"
        "        work.small @ work.small\n"
        "print(least(lambda: work.run(0)) / 100 / (least(products) / 100))\n"
    )
    with tempfile.TemporaryDirectory() as name:
        Path(name, "work.py").write_text(WORK["t"])
        return float(_run_python(["-c", code], Path(name)))


RULES = {"ours": judge_ours, "pytest": judge_pytest, "asv": judge_asv}


def run_trials(options: argparse.Namespace) -> None:
    """Run the trials and write a line for each effect of each."""
    effects = [int(word) for word in options.effects.split(",")]
    rng = random.Random()
    if options.workload == "t":
        os.environ["POWER_PRODUCTS"] = repr(calibrate_products())
    with keep_busy(int(options.busy)), options.output.open("a") as output:
        for _ in range(options.trials):
            os.environ["POWER_PAD"] = "x" * rng.randrange(6000)
            start = time.monotonic()
            with tempfile.TemporaryDirectory(prefix="power-") as name:
                sides, edit = make_sides(Path(name), options.workload, effects, options.copies, rng)
                rows = RULES[options.rule](sides, effects)
            common = {
                "workload": options.workload,
                "rule": options.rule,
                "busy": options.busy,
                "edit": edit,
                "suite": len(rows),
                "seconds": round(time.monotonic() - start, 2),
                "load": round(os.getloadavg()[0], 2),
            }
            output.writelines(json.dumps({**common, **row}) + "\n" for row in rows)
            output.flush()


def condition_of(row: dict[str, Any]) -> str:
    """Name the state of the machine: a load over 3 is other people's work, as good as our own."""
    return "busy" if row["busy"] or row["load"] > 3 else "quiet"


def print_table(paths: Sequence[Path]) -> None:
    """Print found / trials by condition, workload and rule, and what else our rule said."""
    rows = [json.loads(line) for path in paths for line in path.read_text().splitlines()]
    effects = sorted({row["effect"] for row in rows})
    cells = _gather(rows)
    print(f"{'':40}" + "".join(f"{f'+{effect} %':>22}" for effect in effects))
    for key in sorted(cells):
        shown = [_show_cell(cells[key][effect]) for effect in effects]
        print(f"{' '.join(key):40}" + "".join(f"{text:>22}" for text in shown))
    ours: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["rule"] == "ours":
            ours[condition_of(row), row["workload"]].append(row)
    for condition, some in sorted(ours.items(), key=lambda item: item[0]):
        _print_estimates(" ".join(condition), some, effects)


def _gather(rows: Sequence[dict[str, Any]]) -> dict[tuple[str, ...], dict[int, list[str]]]:
    """Give what was said of each effect, by condition, workload and rule."""
    cells: dict[tuple[str, ...], dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        base = (condition_of(row), row["workload"])
        if row["rule"] == "pytest":
            for key in ("median", "min", "mean"):
                said = "slower" if key in row["said"] else "no change"
                cells[(*base, f"pytest-benchmark {key}:5%")][row["effect"]].append(said)
        else:
            cells[(*base, row["rule"])][row["effect"]].append(row["said"])
    return cells


def _print_estimates(condition: str, rows: Sequence[dict[str, Any]], effects: Sequence[int]) -> None:
    """Print how far our estimates lie around each effect, and what a baseline shows against itself."""
    for effect in effects:
        estimates = sorted(row["estimate"] for row in rows if row["effect"] == effect)
        if len(estimates) > 2:
            low, middle, high = (estimates[round(q * (len(estimates) - 1))] for q in (0.05, 0.5, 0.95))
            name = f"{condition} +{effect} %"
            print(f"{name:20} measured {middle:+.2%}, 90 % of them in [{low:+.2%}, {high:+.2%}]")
    controls = [row["control"] for row in rows]
    seconds = [row["seconds"] for row in rows]
    loads = [row["load"] for row in rows]
    print(
        f"{'':20} baseline against itself: sd {statistics.pstdev(controls):.2%}; "
        f"{statistics.median(seconds):.1f} s a run (median); load {min(loads)} to {max(loads)}"
    )


def _show_cell(said: Sequence[str]) -> str:
    if not said:
        return "-"
    unsure = said.count("inconclusive")
    faster = said.count("faster")
    more = (f" {unsure} inc." if unsure else "") + (f" {faster} faster" if faster else "")
    return f"{said.count('slower')}/{len(said)}{more}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    trials = commands.add_parser("run")
    trials.add_argument("--workload", choices=WORK, required=True)
    trials.add_argument("--rule", choices=RULES, default="ours")
    trials.add_argument("--effects", default="0")
    trials.add_argument("--copies", type=int, default=1)
    trials.add_argument("--trials", type=int, default=10)
    trials.add_argument("--busy", action="store_true")
    trials.add_argument("--output", type=Path, default=Path("power.jsonl"))
    trials.set_defaults(do=run_trials)
    table = commands.add_parser("table")
    table.add_argument("files", type=Path, nargs="+")
    table.set_defaults(do=lambda options: print_table(options.files))
    options = parser.parse_args()
    options.do(options)


if __name__ == "__main__":
    main()
