"""What a sweep adds to a trial: time over the bare training of such a configuration in the same process.

In each round one trial of a study (SQLite, TPE, median pruner, each epoch told) and one bare `train`, in an
order drawn anew; both write their run folders to the same disk. Printed, of wall and CPU time: median and
range of the rounds' ratios, the medians, and what the least differ by.
Run: python benchmarks/sweep_overhead.py
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

from trainkit.core.space import read_space
from trainkit.core.sweep import Sweep, open_study, run_trials
from trainkit.core.trainer import train

SPACE = ["optimizer.learning_rate=tag(log,interval(1e-4,1e-2))", "optimizer.beta1=interval(0.85,0.95)"]
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
    taken: dict[str, list[tuple[float, float]]] = {"trial": [], "bare": []}
    with tempfile.TemporaryDirectory() as folder:
        space = read_space([*SPACE, *fixed, f"output_dir={folder}"])
        sweep = Sweep(space, pruner="median", num_trials=options.rounds)
        study = open_study(sweep)

        def run_trial(number: int) -> None:
            run_trials(replace(sweep, num_trials=number + 1), study)

        def run_bare(number: int) -> None:
            # the same cost: what is drawn changes numbers, not shapes
            train(replace(space.config, output_dir=str(Path(folder, "bare")), exp_name=str(number)))

        run_bare(-1)
        for number in range(options.rounds):
            for name in random.sample(list(taken), 2):
                start = time.perf_counter(), time.process_time()
                {"trial": run_trial, "bare": run_bare}[name](number)
                taken[name].append((time.perf_counter() - start[0], time.process_time() - start[1]))
        states = [trial.state.name for trial in study.trials]
    whole = [number for number, state in enumerate(states) if state == "COMPLETE"]  # a pruned one is shorter
    print(f"{options.rounds} rounds, {len(whole)} trials complete, {torch.get_num_threads()} thread")
    for place, kind in enumerate(("wall", "cpu")):
        trial, bare = ([taken[name][number][place] for number in whole] for name in ("trial", "bare"))
        ratios = [one / other for one, other in zip(trial, bare, strict=True)]
        print(f"{kind}: median ratio {statistics.median(ratios):.3f} ({min(ratios):.3f}-{max(ratios):.3f}); "
              f"medians {statistics.median(trial):.3f} s and {statistics.median(bare):.3f} s, "
              f"of the least {1e3 * (min(trial) - min(bare)):+.0f} ms")  # fmt: skip


if __name__ == "__main__":
    main()
