"""What a sweep adds to a trial: time over the bare training of such a configuration in the same process.

In each round one trial of a study (SQLite, TPE, median pruner, each epoch told) and one bare `train`, in an
order drawn anew; both write their run folders to the same disk. Printed: median and range of the rounds'
ratios, and the ratio of the medians. Run: python benchmarks/sweep_overhead.py
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from trainkit.core.compose import compose
from trainkit.core.space import read_space
from trainkit.core.sweep import Sweep, open_study, run_trials
from trainkit.core.trainer import train

SPACE = ["optimizer.learning_rate=tag(log,interval(1e-4,1e-2))", "model.dropout=interval(0,0.3)"]
FIXED = ["model=transformer", "model.model_dim=64", "data.sequence_length=64", "data.batch_size=8"]


def main() -> None:
    """Measure the rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batches", type=int, default=40, help="in each of three epochs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    limits = ["trainer.device=cpu", "trainer.limit_val_batches=8", "trainer.limit_test_batches=8"]
    fixed = [*FIXED, *limits, f"trainer.limit_train_batches={options.batches}"]
    swept, bare = list[float](), list[float]()
    with tempfile.TemporaryDirectory() as folder:
        space = read_space([*SPACE, *fixed, f"output_dir={folder}"])
        sweep = Sweep(space, pruner="median", num_trials=options.rounds)
        study = open_study(sweep)
        study.set_user_attr("sweep", sweep.describe())

        def run_one(number: int) -> None:
            start = time.perf_counter()
            run_trials(replace(sweep, num_trials=number + 1), study)
            swept.append(time.perf_counter() - start)

        def run_bare(number: int) -> None:
            # the same cost: what is drawn changes numbers, not shapes
            config = compose([*fixed, "optimizer.learning_rate=1e-3", "model.dropout=0.1"])
            config = replace(config, output_dir=str(Path(folder, "bare")), exp_name=str(number))
            start = time.perf_counter()
            train(config)
            bare.append(time.perf_counter() - start)

        run_bare(-1)
        bare.clear()
        for number in range(options.rounds):
            for work in random.sample([run_one, run_bare], 2):
                work(number)
        states = [trial.state.name for trial in study.trials]
    complete = [
        number for number, state in enumerate(states) if state == "COMPLETE"
    ]  # a pruned one is shorter
    ratios = [swept[number] / bare[number] for number in complete]
    print(f"{options.rounds} rounds, {len(complete)} trials complete: median of the ratios "
          f"{statistics.median(ratios):.3f}, range {min(ratios):.3f}-{max(ratios):.3f}")  # fmt: skip
    trial_s = statistics.median(swept[number] for number in complete)
    bare_s = statistics.median(bare[number] for number in complete)
    extra_ms = 1e3 * (min(swept[number] for number in complete) - min(bare[number] for number in complete))
    print(f"trial {trial_s:.3f} s, bare {bare_s:.3f} s: {trial_s / bare_s:.3f}; of least {extra_ms:+.0f} ms")


if __name__ == "__main__":
    main()
