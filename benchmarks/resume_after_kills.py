"""Is a training that is killed again and again, and resumed, bitwise the one that is left alone?

Each run is a forked process that is sent SIGKILL at a random moment, until one comes to its end; then
weights, optimizer, random generators and metrics are compared with an uninterrupted run's. Prints a line
per configuration; exit status 1 if an end differs. Run: python benchmarks/resume_after_kills.py [--kills N]
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from trainkit.core.config import (
    CosineConfig,
    DigitsConfig,
    DiTConfig,
    LSTMConfig,
    MLPConfig,
    ModelConfig,
    TableConfig,
    TextConfig,
    TrainConfig,
    TrainerConfig,
    TransformerConfig,
)
from trainkit.core.datasets import build_digits
from trainkit.core.trainer import train

TRANSFORMER = TransformerConfig(num_layers=1, num_heads=2, model_dim=16, dropout=0.2)
LSTM = LSTMConfig(embedding_dim=8, hidden_dim=16, num_layers=2, dropout=0.2)
DIT = DiTConfig(num_layers=1, num_heads=2, model_dim=16, patch_size=4, num_timesteps=20)
DIGITS = DigitsConfig(shift=1, batch_size=8, num_workers=2)
MLP = MLPConfig(hidden_dims=[16], dropout=0.2)
CONFIGURATIONS: dict[str, tuple[ModelConfig, dict[str, Any]]] = {
    "transformer, each step saved": (TRANSFORMER, {"save_every_n_steps": 1}),
    "transformer, groups of 3, each second step saved": (
        TRANSFORMER,
        {"save_every_n_steps": 2, "accumulate_grad_batches": 3},
    ),
    "dit with an average, images shifted at random in 2 workers, each third step saved": (
        DIT,
        {"save_every_n_steps": 3, "ema_decay": 0.9},
    ),
    "lstm in fp16 with an average, epochs saved": (LSTM, {"precision": "fp16", "ema_decay": 0.9}),
    "mlp on a table split at random in 2 workers, its cache as it is left, each second step saved": (
        MLP,
        {"save_every_n_steps": 2, "limit_train_batches": 1.0},
    ),
}


def make_config(name: str, folder: Path) -> TrainConfig:
    """Give three short epochs, of a text beside the folder, that go on with what is in the folder."""
    text = folder.with_name("text.txt")
    text.write_text("\n\n".join(f"{'the loss of a token ' * (1 + n % 5)}{n * n}" for n in range(60)))
    model, options = CONFIGURATIONS[name]
    limits = {"limit_train_batches": 10, "limit_val_batches": 2, "limit_test_batches": 2}
    trainer = TrainerConfig(max_epochs=3, device="cpu", **{**limits, **options})
    data: Any = TextConfig(source=str(text), sequence_length=16, batch_size=4)
    if model is DIT:
        data = DIGITS
    elif model is MLP:
        rows = "".join(f"{n * n % 31},{n % 7}.5,{'no' if n % 3 else 'yes'}\n" for n in range(150))
        text.with_suffix(".csv").write_text(f"a,b,y\n{rows}")
        data = TableConfig(source=str(text.with_suffix(".csv")), target="y", batch_size=8, num_workers=2,
                           split="random", cache_dir=f"{folder}-cache")  # fmt: skip
    schedule = CosineConfig(warmup_steps=4)
    return TrainConfig(
        model=model, data=data, schedule=schedule, trainer=trainer, output_dir=str(folder), resume="auto"
    )


def run_in_child(work: Callable[[], Any], *, kill_after_s: float | None = None) -> bool:
    """Tell whether the work came to its end."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise SystemExit("a run failed by itself: see above")
    return os.WIFEXITED(status)


def read_end(folder: Path) -> tuple[Any, bytes]:
    """Give all that must be equal: a checkpoint's content as bytes by name, and metrics.csv."""
    state = torch.load(folder / "default" / "last.ckpt", weights_only=True)
    del state["config"]
    return _freeze(state), (folder / "default" / "metrics.csv").read_bytes()


def _freeze(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return (
            str(value.dtype),
            tuple(value.shape),
            value.contiguous().view(-1).view(torch.uint8).numpy().tobytes(),
        )
    if isinstance(value, dict):
        return {key: _freeze(item) for key, item in value.items()}
    return [_freeze(item) for item in value] if isinstance(value, list | tuple) else repr(value)


def kill_and_resume(name: str, kills: int, generator: random.Random) -> tuple[int, int]:
    """Give the number of ends, and of those that were bitwise equal; at least `kills` of kills and ends."""
    with tempfile.TemporaryDirectory() as top:
        straight = Path(top, "straight")
        start = time.monotonic()
        run_in_child(lambda: train(make_config(name, straight)))
        duration_s = time.monotonic() - start
        expected = read_end(straight)
        killed = ends = equal = 0
        while min(killed, ends) < kills:
            folder = Path(top, f"killed-{ends}")
            work = partial(train, make_config(name, folder))
            while not run_in_child(work, kill_after_s=generator.uniform(0, 1.5 * duration_s)):
                killed += 1
            ends += 1
            equal += read_end(folder) == expected
    print(
        f"{name}: {killed} kills, {ends} ends, {equal} bitwise equal ({duration_s:.1f} s alone)", flush=True
    )
    return ends, equal


def main() -> int:
    """Kill and resume each configuration."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--kills", type=int, default=25, help="at least so many kills and ends for each configuration"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    torch.set_num_threads(1)
    build_digits(DIGITS, seed=0)  # children that are forked have imported all
    generator = random.Random(options.seed)
    results = [kill_and_resume(name, options.kills, generator) for name in CONFIGURATIONS]
    return 0 if all(ends == equal for ends, equal in results) else 1


if __name__ == "__main__":
    sys.exit(main())
