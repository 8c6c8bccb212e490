"""What the cheap pass of the recorder costs: CPU time per step with and without it.

Two long-lived processes, plain and recorded, one thread each, take turns of a few steps (plain, recorded,
recorded, plain, ...): each pair of turns gives a ratio. Several such pairs of processes, because a process
keeps the layout it was born with. Printed: median, quartiles. Run: python benchmarks/recorder_overhead.py
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import trainkit.trace

PRELOAD = Path(trainkit.trace.__file__).with_name("preload.py")
BOOTSTRAP = Path(trainkit.trace.__file__).parents[1] / "repo" / "bootstrap"
# name -> width, layers, batch, length
WORKLOADS = {
    "transformer 64x1": (64, 1, 2, 16),
    "transformer 64x2": (64, 2, 4, 16),
    "transformer 128x4": (128, 4, 4, 32),
    "transformer 192x4": (192, 4, 4, 48),
    "transformer 256x4": (256, 4, 8, 64),
}
PROGRAM = """
import sys, time
import torch
from torch import nn
width, layers, batch, length = map(int, sys.argv[1:])
torch.manual_seed(0)

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down, self.act = nn.Linear(width, 4 * width), nn.Linear(4 * width, width), nn.GELU()
        self.drop = nn.Dropout(0.1)

    def forward(self, x):
        q, k, v = (t.unflatten(-1, (4, -1)).transpose(1, 2) for t in self.qkv(self.norm1(x)).chunk(3, -1))
        a = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.drop(self.out(a.transpose(1, 2).flatten(2)))
        return x + self.drop(self.down(self.act(self.up(self.norm2(x)))))

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(256, width), nn.Linear(width, 256, bias=False)
        self.blocks, self.norm = nn.ModuleList(Block() for _ in range(layers)), nn.LayerNorm(width)

    def forward(self, x):
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))

model = Model()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
sys.stdout.write("ready\\n")
for line in iter(sys.stdin.readline, ""):
    start = time.process_time()
    for _ in range(int(line)):
        x = torch.randint(0, 256, (batch, length + 1))
        loss = nn.functional.cross_entropy(model(x[:, :-1]).flatten(0, 1), x[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    print((time.process_time() - start) / int(line), flush=True)
"""


class Worker:
    """A training process that runs some steps when it is told to."""

    def __init__(self, sizes: tuple[int, ...], *, recorded: bool) -> None:
        self.folder = tempfile.TemporaryDirectory()
        environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        if recorded:
            environment |= {"TRAINKIT_TRACE_OPTIONS": '{"level": "light"}', "TRAINKIT_PRELOAD": str(PRELOAD)}
            environment |= {"TRAINKIT_TRACE": self.folder.name, "PYTHONPATH": str(BOOTSTRAP)}
        command = [sys.executable, "-u", "-c", PROGRAM, *map(str, sizes)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True)
        assert self.process.stdout and self.process.stdout.readline() == "ready\n"
        self.time_steps(3)
        assert recorded == any(Path(self.folder.name).glob("*.jsonl")), "nothing was recorded"

    def time_steps(self, number: int) -> float:
        """Give the CPU time of one step, in seconds: the mean over a turn."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(f"{number}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        self.process.communicate()
        self.folder.cleanup()


def measure(sizes: tuple[int, ...], seconds: float) -> Iterator[tuple[float, float]]:
    """Yield plain and recorded seconds per step, pair by pair, of one pair of processes."""
    workers = {recorded: Worker(sizes, recorded=recorded) for recorded in (False, True)}
    number = max(1, round(0.1 / workers[False].time_steps(3)))
    order = (False, True)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        taken = {recorded: workers[recorded].time_steps(number) for recorded in order}
        yield taken[False], taken[True]
        order = order[::-1]
    for worker in workers.values():
        worker.close()


def main() -> None:
    """Print one line per workload: the step's time, and the ratio with its quartiles."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10, help="for each pair of processes")
    parser.add_argument("--processes", type=int, default=3, help="pairs of processes")
    options = parser.parse_args()
    for name, sizes in WORKLOADS.items():
        pairs = [pair for _ in range(options.processes) for pair in measure(sizes, options.seconds)]
        low, ratio, high = statistics.quantiles([recorded / plain for plain, recorded in pairs], n=4)
        step_ms = 1000 * statistics.median(plain for plain, _ in pairs)
        spread = f"{low:.3f} to {high:.3f}, {len(pairs)} pairs"
        print(f"{name:20} {step_ms:7.1f} ms a step: ratio {ratio:.3f} ({spread})", flush=True)


if __name__ == "__main__":
    main()
