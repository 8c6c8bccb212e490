"""What the cheap pass of the recorder costs: CPU time per step with and without it.

Fresh processes, interleaved (plain, recorded, recorded, plain, ...), one thread; each gives the median CPU
time of its steps, each pair a ratio. Run: python benchmarks/recorder_overhead.py [--pairs N]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import trainkit.trace

PRELOAD = Path(trainkit.trace.__file__).with_name("preload.py")
BOOTSTRAP = Path(trainkit.trace.__file__).parents[1] / "repo" / "bootstrap"
# name -> width, layers, batch, length
WORKLOADS = {
    "transformer 64x2": (64, 2, 4, 16),
    "transformer 128x4": (128, 4, 4, 32),
    "transformer 256x4": (256, 4, 8, 64),
    "transformer 384x6": (384, 6, 8, 64),
}
PROGRAM = """
import statistics, sys, time
import torch
from torch import nn
width, layers, batch, length, steps = map(int, sys.argv[1:])
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
times = []
for step in range(steps):
    start = time.process_time()
    x = torch.randint(0, 256, (batch, length + 1))
    loss = nn.functional.cross_entropy(model(x[:, :-1]).flatten(0, 1), x[:, 1:].flatten())
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    times.append(time.process_time() - start)
print(statistics.median(times[len(times) // 4:]))
"""


def measure(sizes: tuple[int, ...], steps: int, *, recorded: bool) -> float:
    """Give the median CPU time of one step, in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        if recorded:
            options = {"TRAINKIT_TRACE_OPTIONS": '{"level": "light"}', "TRAINKIT_PRELOAD": str(PRELOAD)}
            environment |= options | {"TRAINKIT_TRACE": folder}
            environment["PYTHONPATH"] = str(BOOTSTRAP)
        command = [sys.executable, "-c", PROGRAM, *map(str, sizes), str(steps)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert not recorded or list(Path(folder).glob("*.jsonl")), "nothing was recorded"
        return float(done.stdout)


def main() -> None:
    """Print one line per workload: the step's time, and the ratio with its spread."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    pairs = parser.parse_args().pairs
    for name, sizes in WORKLOADS.items():
        ratios, plain_s = [], []
        for number in range(pairs):
            steps = 60
            order = (False, True) if number % 2 == 0 else (True, False)
            taken = {recorded: measure(sizes, steps, recorded=recorded) for recorded in order}
            ratios.append(taken[True] / taken[False])
            plain_s.append(taken[False])
        ratios.sort()
        spread = f"{ratios[0]:.3f} to {ratios[-1]:.3f}"
        step_ms = 1000 * statistics.median(plain_s)
        ratio = statistics.median(ratios)
        print(f"{name:20} {step_ms:7.1f} ms a step: ratio {ratio:.3f} ({spread})", flush=True)


if __name__ == "__main__":
    main()
