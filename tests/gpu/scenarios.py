"""What the GPU tests do, on any device: torch and trainkit alone, so that a bare GPU machine can run it.

The CPU runs the same scenarios in tests/unit/core/test_core_scenarios.py.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from trainkit.core.checkpoint import (
    Progress,
    build_state,
    load_checkpoint,
    restore_checkpoint,
    save_checkpoint,
)
from trainkit.core.config import LSTMConfig, TextConfig, TrainConfig, TrainerConfig, TransformerConfig
from trainkit.core.data import IGNORE_INDEX, Batch
from trainkit.core.loop import run_training_epoch, run_validation_epoch
from trainkit.core.registry import MODELS, OPTIMIZERS
from trainkit.core.text import NUM_BYTES
from trainkit.core.trainer import train

SMALL = {
    "transformer": TransformerConfig(num_layers=2, num_heads=2, model_dim=32),
    "lstm": LSTMConfig(num_layers=2, embedding_dim=16, hidden_dim=32),
}


def build_config(model: str) -> TrainConfig:
    """Give a small configuration of the model."""
    return TrainConfig(model=SMALL[model])


def build_parts(config: TrainConfig, device: torch.device) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Give model and optimizer, built on the CPU from the seed, then moved."""
    torch.manual_seed(config.seed)
    model = MODELS.load(config.model.name)(config.model, vocab_size=NUM_BYTES).to(device)
    return model, OPTIMIZERS.load(config.optimizer.name)(config.optimizer, model)


def make_batches(num_batches: int, *, batch_size: int = 8, time: int = 64) -> list[Batch]:
    """Give batches of counting bytes, easy to learn, the last row half padded."""
    steps = torch.arange(num_batches * batch_size * (time + 1)) % 50
    batches = []
    for rows in steps.view(num_batches, batch_size, time + 1):
        targets = rows[:, 1:].clone()
        targets[-1, time // 2 :] = IGNORE_INDEX
        batches.append(Batch(rows[:, :-1].contiguous(), targets))
    return batches


def measure_learning(device: torch.device, *, model: str, precision: str) -> list[float]:
    """Train three epochs; give the mean loss of each."""
    parts = build_parts(build_config(model), device)
    batches = make_batches(8)
    return [
        run_training_epoch(*parts, batches, device=device, clip_norm=1.0, precision=precision).mean_loss
        for _ in range(3)
    ]


def train_deterministically(device: torch.device, *, model: str, precision: str) -> list[Tensor]:
    """Train one epoch with dropout under deterministic algorithms; give the weights on the CPU."""
    parts = build_parts(build_config(model), device)
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        run_training_epoch(
            *parts, make_batches(8), device=device, accumulate_grad_batches=2, precision=precision
        )
    finally:
        torch.use_deterministic_algorithms(before)
    return [parameter.detach().cpu() for parameter in parts[0].parameters()]


def move_checkpoint(folder: Path, *, source: torch.device, target: torch.device) -> tuple[float, float]:
    """Train and save on one device, load on the other; give the validation loss on both."""
    config = build_config("transformer")
    model, optimizer = build_parts(config, source)
    batches = make_batches(4)
    run_training_epoch(model, optimizer, batches, device=source)
    path = folder / "moved.ckpt"
    progress = Progress(num_epochs=1)
    save_checkpoint(path, build_state(config=config, model=model, optimizer=optimizer, progress=progress))
    moved, moved_optimizer = build_parts(config, target)
    restore_checkpoint(load_checkpoint(path, config), model=moved, optimizer=moved_optimizer)
    pairs = zip(model.parameters(), moved.parameters(), strict=True)
    assert all(torch.equal(one.cpu(), other.cpu()) for one, other in pairs), "weights changed on the way"
    here = run_validation_epoch(model, batches, device=source).mean_loss
    there = run_validation_epoch(moved, batches, device=target).mean_loss
    run_training_epoch(moved, moved_optimizer, batches, device=target)  # its optimizer state moved too
    return here, there


def measure_peak_bytes(device: torch.device, *, precision: str) -> int:
    """Give the most bytes that an epoch held on a CUDA device; 0 elsewhere, where torch does not count."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    parts = build_parts(build_config("transformer"), device)
    run_training_epoch(*parts, make_batches(4), device=device, precision=precision)
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0


def train_with_resume(folder: Path, *, device: str) -> tuple[list[Tensor], list[Tensor]]:
    """Run the trainer for two epochs, and for one and one more; give the weights of both."""
    text = folder / "text.txt"
    text.write_text(
        "\n\n".join(f"paragraph {index} of a short text" for index in range(40)), encoding="utf-8"
    )

    def run(exp_name: str, max_epochs: int, resume: str | None = None) -> Path:
        config = TrainConfig(
            model=SMALL["transformer"],
            data=TextConfig(source=str(text), sequence_length=16, batch_size=8),
            trainer=TrainerConfig(max_epochs=max_epochs, device=device),
            exp_name=exp_name,
            output_dir=str(folder),
            resume=resume,
        )
        return train(config).run_folder / "last.ckpt"

    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        straight = run("straight", 2)
        halves = run("halves", 2, resume=str(run("halves", 1)))
    finally:
        torch.use_deterministic_algorithms(before)
    return _read_weights(straight), _read_weights(halves)


def _read_weights(path: Path) -> list[Tensor]:
    return list(torch.load(path, map_location="cpu", weights_only=True)["model"].values())
