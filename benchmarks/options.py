"""What each option gives against the plain default: tokens per second and peak memory of a training.

Each variant trains in fresh processes, which take turns in random order. A process trains two epochs: the
first warms up (and compiles), the second is measured, in CPU time on a CPU and in wall time on CUDA. An
`accumulate` of n has n batches of 1/n of the size: the same tokens per step. Peak memory is of the whole
process on a CPU and of torch's allocator on CUDA. Run: python benchmarks/options.py [--device cuda]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

# name -> settings; a batch of so many windows is {batch}, a half and a quarter of it {half}, {quarter}
VARIANTS = {
    "default": ["data.batch_size={batch}"],
    "compile": ["data.batch_size={batch}", "trainer.compile=true"],
    "bf16": ["data.batch_size={batch}", "trainer.precision=bf16"],
    "fused": ["data.batch_size={batch}", "optimizer.fused=true"],
    "accumulate 2": ["data.batch_size={half}", "trainer.accumulate_grad_batches=2"],
    "accumulate 4": ["data.batch_size={quarter}", "trainer.accumulate_grad_batches=4"],
    "compile+fused": ["data.batch_size={batch}", "trainer.compile=true", "optimizer.fused=true"],
    "compile+bf16+fused": [
        "data.batch_size={batch}", "trainer.compile=true", "trainer.precision=bf16", "optimizer.fused=true",
    ],
}  # fmt: skip


def train_once(device: str, overrides: list[str]) -> dict[str, Any]:
    """Train in this process; give seconds of the second epoch, its tokens, peak memory and loss."""
    import torch

    from trainkit.core import loop, trainer
    from trainkit.core.compose import compose

    torch.set_num_threads(1)
    cuda = device == "cuda"
    epochs: list[tuple[float, Any]] = []
    plain = loop.run_training_epoch

    def run_timed(*arguments: Any, **options: Any) -> Any:
        clock = time.perf_counter if cuda else time.process_time
        start = clock()
        result = plain(*arguments, **options)
        if cuda:
            torch.cuda.synchronize()
        epochs.append((clock() - start, result))
        return result

    trainer.run_training_epoch = run_timed
    trainer.train(compose(overrides))
    seconds, result = epochs[1]
    peak = torch.cuda.max_memory_allocated() if cuda else 1024 * read_peak_rss_kib()
    return {"seconds": seconds, "peak_mb": peak / 2**20, "loss": result.mean_loss}


def read_peak_rss_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def run_variant(name: str, options: argparse.Namespace, folder: str) -> dict[str, Any]:
    """Train in a fresh process; a variant that this machine cannot run gives its last line instead."""
    sizes = {"batch": options.batch, "half": options.batch // 2, "quarter": options.batch // 4}
    settings = [each.format(**sizes) for each in VARIANTS[name]]
    groups = {"accumulate 2": 2, "accumulate 4": 4}.get(name, 1)
    overrides = [
        f"model.model_dim={options.width}", f"model.num_layers={options.layers}", "model.dropout=0.0",
        f"data.sequence_length={options.length}", f"trainer.device={options.device}", "trainer.max_epochs=2",
        f"trainer.limit_train_batches={options.steps * groups}", "trainer.limit_val_batches=0",
        "trainer.limit_test_batches=0", f"output_dir={folder}", *settings,
    ]  # fmt: skip
    command = [sys.executable, __file__, "--device", options.device, "--train", json.dumps(overrides)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["no message"])[-1][:80]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(options: argparse.Namespace) -> None:
    """Run all variants in turns and print a line for each."""
    names = [name for name in VARIANTS if not options.only or name in {"default", *options.only}]
    taken: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as top:
        for number in range(options.rounds):
            for name in random.sample(names, len(names)):
                taken[name].append(run_variant(name, options, str(Path(top, f"{number}-{name}"))))
    tokens = options.batch * options.length * options.steps
    print(f"{options.device}, width {options.width}, {options.layers} layers, length {options.length}, "
          f"batch {options.batch}, {options.steps} steps, {options.rounds} rounds")  # fmt: skip
    print(f"{'':20}{'tokens/s':>10}{'x default':>11}  {'range':12}{'peak MB':>9}{'x default':>11}{'loss':>9}")
    for name, results in taken.items():
        print(f"{name:20}{render(results, taken['default'], tokens)}")


def render(results: list[dict[str, Any]], default: list[dict[str, Any]], tokens: int) -> str:
    """Give a line of figures, or why there are none."""
    errors = [each["error"] for each in (*results, *default) if "error" in each]
    if errors:
        return f"  failed: {errors[0]}"
    speeds = [base["seconds"] / each["seconds"] for each, base in zip(results, default, strict=True)]
    seconds, memory, loss, base = (
        statistics.median(each[key] for each in rows)
        for rows, key in ((results, "seconds"), (results, "peak_mb"), (results, "loss"), (default, "peak_mb"))
    )
    speed = f"{tokens / seconds:10.0f}{statistics.median(speeds):11.2f}"
    spread = f"{min(speeds):.2f}-{max(speeds):.2f}"
    return f"{speed}  {spread:12}{memory:9.0f}{memory / base:11.2f}{loss:9.4f}"


def main() -> None:
    """Compare, or train for a comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: CUDA where there is one")
    for name, value, text in (
        ("width", 64, "of the model"), ("layers", 2, "of the model"), ("length", 64, "of a window"),
        ("batch", 16, "windows per step, a multiple of 4"),
        ("steps", 10, "per epoch"), ("rounds", 2, "of all"),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=value, help=f"{text}; default %(default)s")
    parser.add_argument("--only", nargs="*", default=[], help="names of variants")
    parser.add_argument("--train", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        print(json.dumps(train_once(options.device, json.loads(options.train))))
        return
    if options.device is None:
        import torch

        options.device = "cuda" if torch.cuda.is_available() else "cpu"
    compare(options)


if __name__ == "__main__":
    main()
