"""What a table costs: from a CSV file of 500,000 rows to the first batch, and from there per batch.

Fresh processes take turns in random order, one round after the other; seconds and memory count from behind
`import torch`. Printed: median, range. What is not installed is left out and named.
Run: python benchmarks/data.py [--rounds N]; with --large ROWS: the peak memory of one large file alone.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

HEAD = """
import resource, sys, time
import torch
from torch.utils.data import DataLoader, TensorDataset
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
path, cache, before, start = sys.argv[1], sys.argv[2], peak(), time.perf_counter()
def first(loader):
    batch = next(iter(loader))
    print(time.perf_counter() - start, peak() - before, peak())
def from_rows(values):
    torch.manual_seed(0)
    values = torch.as_tensor(values, dtype=torch.float32)
    inputs = (values[:, :-1] - values[:, :-1].mean(0)) / values[:, :-1].std(0)
    first(DataLoader(TensorDataset(inputs, values[:, -1]), batch_size=256, shuffle=True))
"""
IMPORT = """
from trainkit.core.config import TableConfig
from trainkit.core.data.table import build_table
"""
OURS = (
    IMPORT
    + """
first(build_table(TableConfig(source=path, target="y", batch_size=256, cache_dir=cache), seed=0).train)
"""
)
PROGRAMS = {
    "trainkit, no cache": OURS,
    "trainkit, cached": OURS,
    "pandas": "import pandas\nfrom_rows(pandas.read_csv(path).to_numpy())",
    "polars": "import polars\nfrom_rows(polars.read_csv(path).cast(polars.Float32).to_numpy())",
    "datasets": """
import datasets
rows = datasets.load_dataset("csv", data_files=path, cache_dir=cache, split="train").with_format("torch")
first(DataLoader(rows, batch_size=256, shuffle=True))
""",
}
LARGE = """
config = TableConfig(source=path, target="y", batch_size=4096, cache_dir=cache)
loaders = build_table(config, seed=0)
print(time.perf_counter() - start, peak())
for number, batch in enumerate(loaders.train, 1):
    pass
print(time.perf_counter() - start, peak(), number, loaders.prepared.report()["rows"])
"""
LOADERS = """
config = TableConfig(source=path, target="y", batch_size=256, cache_dir=cache, num_workers=int(sys.argv[3]))
loaders = build_table(config, seed=0)
rows = loaders.train.dataset
whole = TensorDataset(*rows.__getitems__(range(len(rows))))
theirs = DataLoader(whole, batch_size=256, sampler=loaders.sampler, num_workers=config.num_workers,
                    persistent_workers=config.num_workers > 0)
for _ in range(2):
    times = []
    for loader in (loaders.train, theirs):
        begun = time.perf_counter()
        num_batches = sum(1 for _ in loader)
        times.append((time.perf_counter() - begun) / num_batches * 1e6)
    print(*times)
"""


def write_table(path: Path, num_rows: int, num_columns: int) -> None:
    """Write columns of six decimals and a target, a hundred thousand rows at a time."""
    import numpy
    import polars

    generator = numpy.random.default_rng(0)
    names = [*(f"x{number}" for number in range(num_columns - 1)), "y"]
    with path.open("wb") as file:
        for start in range(0, num_rows, 100_000):
            values = generator.normal(100, 30, (min(100_000, num_rows - start), num_columns))
            frame = polars.DataFrame(values, schema=names)
            frame.write_csv(file, include_header=not start, float_precision=8)


def run(program: str, *arguments: object) -> list[list[float]]:
    """Run a program in a process of its own; give the numbers of each line that it prints."""
    command = [sys.executable, "-c", HEAD + program, *map(str, arguments)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # what pip installs is compiled, ours must be, too
    ended = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return [[float(word) for word in line.split()[:3]] for line in ended.stdout.splitlines()]


def summarize(name: str, values: list[float], unit: str) -> str:
    return f"{name:24}{statistics.median(values):9.3f} ({min(values):.3f} to {max(values):.3f}) {unit}"


def read_large(path: Path, num_rows: int) -> None:
    """Read one table that is larger than the others; print what each line of the program measures."""
    write_table(path, num_rows, 5)
    print(f"{num_rows} rows, {path.stat().st_size / 1e6:.0f} MB; s, peak MiB of the process:")
    for line in run(IMPORT + LARGE, path, path.parent):
        print("  ", *line[:2])


def compare_readers(path: Path, kept: Path, num_rounds: int) -> None:
    """Run all programs that can be run, in another order in each round; `kept` is a cache that is full."""
    programs = {name: each for name, each in PROGRAMS.items() if "trainkit" in name or find_spec(name)}
    print("left out, not installed:", ", ".join(PROGRAMS.keys() - programs.keys()) or "nothing")
    run(OURS, path, kept)
    found: dict[str, list[list[float]]] = {name: [] for name in programs}
    for number in range(num_rounds):
        for name in random.sample(list(programs), len(programs)):
            cache = kept if name == "trainkit, cached" else Path(path.parent, f"{number}-{name}")
            found[name] += run(programs[name], path, cache)
    for place, unit in ((0, "s to the first batch"), (1, "MiB more than torch"), (2, "MiB in all")):
        for name, rows in found.items():
            print(summarize(name, [each[place] for each in rows], unit))


def compare_loaders(path: Path, kept: Path, num_rounds: int, num_workers: int) -> None:
    """Take batches from our loader and from torch's, beside each other in one process."""
    times = []
    for _ in range(num_rounds):
        times += run(IMPORT + LOADERS, path, kept, num_workers)
    print(summarize(f"trainkit, {num_workers} workers", [ours for ours, _ in times], "µs a batch of 256"))
    print(summarize(f"DataLoader, {num_workers} workers", [theirs for _, theirs in times], "µs"))
    print(summarize("ratio", [theirs / ours for ours, theirs in times], "times as fast"))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--large", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.csv")
        if options.large:
            read_large(path, options.large)
            return
        write_table(path, 500_000, 12)
        print(f"500000 rows of 12 columns, {path.stat().st_size / 1e6:.0f} MB")
        kept = Path(folder, "kept")
        compare_readers(path, kept, options.rounds)
        for num_workers in (0, 2):
            compare_loaders(path, kept, options.rounds, num_workers)


if __name__ == "__main__":
    main()
