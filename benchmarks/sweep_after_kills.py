"""Is a sweep that is killed again and again, and started again, bitwise the one that is left alone?

`trainkit sweep` runs in a process group of its own that is sent SIGKILL at random moments; then the same
command is given again, until it comes to its end. Compared are each trial's state, value, what was drawn,
each epoch's value, metrics.csv and the weights. One worker draws by TPE and prunes; two draw at random, for
what they know of each other depends on time. Prints a line for each; exit status 1 if an end differs.
Run: python benchmarks/sweep_after_kills.py [--trials 20] [--kills 3] [--only "two workers, random"]
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import optuna
import torch

SPACE = ("model.num_layers=range(1,3)", "model.dropout=0.0,0.1,0.2")
RATE = "optimizer.learning_rate=tag(log,interval(1e-4,1e-1))"
FIXED = (
    "model=transformer", "model.num_heads=2", "model.model_dim=16", "data.sequence_length=16",
    "data.batch_size=4", "trainer.device=cpu", "trainer.max_epochs=4", "trainer.limit_train_batches=20",
    "trainer.limit_val_batches=2", "trainer.limit_test_batches=2", "trainer.save_every_n_steps=5",
)  # fmt: skip
CASES = {
    "one worker, tpe, median pruner": ("--sampler", "tpe", "--pruner", "median"),
    "one worker, tpe, hyperband": ("--sampler", "tpe", "--pruner", "hyperband"),
    "two workers, random": ("--sampler", "random", "--workers", "2"),
}


def make_command(case: str, folder: Path, num_trials: int) -> list[str]:
    """Give the command line; the text lies beside the folder."""
    text = folder.with_name("text.txt")
    text.write_text("\n\n".join(f"{'the loss of a token ' * (1 + n % 5)}{n * n}" for n in range(60)))
    overrides = [*SPACE, RATE, *FIXED, f"data.source={text}", f"output_dir={folder}"]
    return [sys.executable, "-m", "trainkit", "sweep", *overrides, "--trials", str(num_trials), *CASES[case]]


def run(command: list[str], *, kill_after_s: float | None = None) -> bool:
    """Tell whether the command came to its end."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment, start_new_session=True
    )
    try:
        _, said = child.communicate(timeout=kill_after_s)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        return False
    if child.returncode:
        raise SystemExit(f"the sweep failed by itself: {said.decode()}")
    return True


def read_end(folder: Path) -> dict[int, Any]:
    """Give all that must be equal, by the trial's number."""
    study = optuna.load_study(study_name="sweep", storage=f"sqlite:///{folder}/sweep/study.db")
    end = {}
    for trial in study.trials:
        run_folder = folder / "sweep" / str(trial.number)
        weights = torch.load(run_folder / "last.ckpt", weights_only=True)["model"] if trial.value else {}
        drawn = [(name, repr(value)) for name, value in trial.params.items()]
        values = [(step, value.hex()) for step, value in trial.intermediate_values.items()]
        value = None if trial.value is None else trial.value.hex()
        files = (run_folder / "metrics.csv").read_bytes()
        frozen = [each.numpy().tobytes() for each in weights.values()]
        end[trial.number] = (trial.state.name, value, drawn, values, files, frozen)
    return end


def compare(case: str, num_trials: int, kills: int, generator: random.Random) -> bool:
    """Run it once undisturbed and once killed; say whether all is equal."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory() as top:
        straight, killed = Path(top, "straight"), Path(top, "killed")
        start = time.monotonic()
        run(make_command(case, straight, num_trials))
        duration_s = time.monotonic() - start
        command, done, starts = make_command(case, killed, num_trials), 0, 1
        while done < kills and not run(
            command, kill_after_s=generator.uniform(0.3, 1.2) * duration_s / kills
        ):
            done += 1
            starts += 1
        run(command)
        expected, actual = read_end(straight), read_end(killed)
    wrong = [number for number in expected | actual if expected.get(number) != actual.get(number)]
    states = [each[0] for each in actual.values()]
    counts = ", ".join(f"{states.count(name)} {name.lower()}" for name in sorted(set(states)))
    equal = f"{len(expected) - len(wrong)} of {len(expected)} trials bitwise equal"
    print(f"{case}: {done} kills, {counts}; {equal} ({duration_s:.1f} s alone)", flush=True)
    if wrong:
        first = [str(end.get(wrong[0]))[:300] for end in (expected, actual)]
        print(f"  differ: {wrong}; first: {first}")
    return not wrong and len(expected) == num_trials


def main() -> int:
    """Kill and go on, for each case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--only", nargs="*", default=list(CASES), help="names of cases")
    options = parser.parse_args()
    generator = random.Random(options.seed)
    results = [compare(case, options.trials, options.kills, generator) for case in options.only]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
