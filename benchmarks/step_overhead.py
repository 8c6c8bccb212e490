"""What a loop adds to a training step: CPU time over a hand-written loop with the same duties.

All loops run in this process, in a new order each round, on one thread and on the same batches, out of the
same loader: AdamW, and the loss as a number after each step. The loader itself takes the time, from the
first batch of an epoch to the first of the next one: what is done once per epoch counts as well. Printed:
median and least of the times, median and quartiles of each round's ratios, the ratio of the least, and
whether the weights came out the same. Many short rounds say more than few long ones: the speed drifts.
`--floor` runs the hand-written loop twice in each round: how far two equal loops are apart.
Run: python benchmarks/step_overhead.py
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import logging
import random
import statistics
import tempfile
import warnings
from collections.abc import Iterator
from importlib.util import find_spec

import torch
from peers import LOOPS, Batches, Work
from torch import Tensor, nn
from torch.nn import functional as F

WARM_UP = 20  # batches of the first epoch


class Block(nn.Module):
    """A pre-norm block of a causal transformer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, time, width) to the same shape."""
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, 4, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(-2))
        result: Tensor = x + self.down(F.gelu(self.up(self.norm2(x))))
        return result


def build_mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))


def build_transformer() -> nn.Module:
    return nn.Sequential(nn.Embedding(256, 64), Block(64), Block(64), nn.LayerNorm(64), nn.Linear(64, 256))


def make_mlp_batch() -> tuple[Tensor, Tensor]:
    return torch.randn(16, 32), torch.randint(0, 10, (16,))


def make_transformer_batch() -> tuple[Tensor, Tensor]:
    tokens = torch.randint(0, 256, (4, 17))
    return tokens[:, :-1], tokens[:, 1:]


# name -> model, one batch, steps measured
WORKLOADS = {
    "mlp 32-64-10, batch 16": (build_mlp, make_mlp_batch, 200),
    "transformer 64x2, length 16": (build_transformer, make_transformer_batch, 50),
}


class Terminal(io.StringIO):
    """Takes what is printed, bars as well: they are drawn on terminals only."""

    def isatty(self) -> bool:
        """Say yes."""
        return True


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Take what a loop prints."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.redirect_stdout(Terminal()), contextlib.redirect_stderr(Terminal()):
            yield


def run_once(name: str, workload: str, num_steps: int) -> tuple[float, bytes]:
    """Give the CPU microseconds of a step, and the weights at the end as bytes."""
    build, make, _ = WORKLOADS[workload]
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        work = Work(build(), Batches(make, num_warm_up=WARM_UP, num_steps=num_steps), folder)
        gc.collect()
        with silence():
            LOOPS[name][1](work)
    _, start, end = work.batches.marks[:3]
    weights = b"".join(each.detach().numpy().tobytes() for each in work.model.parameters())
    return 1e6 * (end - start) / num_steps, weights


def measure(names: list[str], workload: str, *, rounds: int, num_steps: int) -> None:
    """Print a line per loop."""
    taken: dict[str, list[float]] = {name: [] for name in names}
    weights = {name: run_once(name, workload, WARM_UP)[1] for name in names}
    gc.freeze()  # what was imported for one loop is not searched through by all
    for _ in range(rounds):
        for name in random.sample(names, len(names)):
            taken[name].append(run_once(name, workload, num_steps)[0])
    hand = taken["hand-written"]
    print(f"\n{workload}: {rounds} rounds of {num_steps} steps")
    print(f"{'':20}{'CPU us':>7}{'least':>7}{'x hand':>8}  {'quartiles':13}{'of least':>9}  same bits")
    for name, times in sorted(taken.items(), key=lambda entry: statistics.median(entry[1])):
        ratios = [each / base for each, base in zip(times, hand, strict=True)]
        low, median, high = statistics.quantiles(ratios, n=4)
        spread = f"{low:.3f}-{high:.3f}"
        same = "yes" if weights[name] == weights["hand-written"] else "no"
        figures = f"{statistics.median(times):7.0f}{min(times):7.0f}{median:8.3f}"
        print(f"{name:20}{figures}  {spread:13}{min(times) / min(hand):9.3f}  {same}", flush=True)


def main() -> None:
    """Measure the loops that are installed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of steps")
    parser.add_argument("--floor", action="store_true", help="measure the hand-written loop twice")
    parser.add_argument("--only", nargs="*", default=list(LOOPS), help="names of loops")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    missing = {name for name, (module, _) in LOOPS.items() if find_spec(module) is None}
    if missing:
        print(f"not installed, left out: {', '.join(sorted(missing))}")
    LOOPS["hand-written, again"] = LOOPS["hand-written"]
    names = [name for name in LOOPS if name not in missing and name in {"hand-written", *options.only}]
    names += ["hand-written, again"] * options.floor
    for workload, (_, _, num_steps) in WORKLOADS.items():
        measure(names, workload, rounds=options.rounds, num_steps=round(options.scale * num_steps))


if __name__ == "__main__":
    main()
