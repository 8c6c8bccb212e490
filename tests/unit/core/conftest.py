"""A tiny text and a tiny run for the tests of the core."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from trainkit.core.config import (
    DigitsConfig,
    DiTConfig,
    LSTMConfig,
    MLPConfig,
    SeriesConfig,
    SSSDConfig,
    TableConfig,
    TextConfig,
    TrainConfig,
    TrainerConfig,
    TransformerConfig,
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny tensors on several threads take ten times as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    """Thirty paragraphs of a few words, different in length."""
    generator = random.Random(7)
    words = [
        "the",
        "loss",
        "of",
        "a",
        "token",
        "is",
        "a",
        "number",
        "of",
        "nats",
        "and",
        "the",
        "sum",
        "of",
        "all",
        "is",
        "the",
        "loss",
    ]
    paragraphs = [" ".join(generator.choices(words, k=generator.randint(4, 24))) for _ in range(30)]
    path = tmp_path / "text.txt"
    path.write_text("\n\n".join(paragraphs), encoding="utf-8")
    return path


@pytest.fixture
def tiny_config(text_file: Path, tmp_path: Path) -> Callable[..., TrainConfig]:
    """Give a configuration that trains in a fraction of a second; keywords change the trainer."""

    def build(model: str = "transformer", **trainer: object) -> TrainConfig:
        models = {
            "transformer": TransformerConfig(num_layers=1, num_heads=2, model_dim=16),
            "lstm": LSTMConfig(embedding_dim=8, hidden_dim=16, num_layers=2),
            "dit": DiTConfig(num_layers=1, num_heads=2, model_dim=8, patch_size=4, num_timesteps=20),
            "mlp": MLPConfig(hidden_dims=[8]),
            "sssd": SSSDConfig(num_layers=1, model_dim=4, state_dim=4, num_timesteps=20),
        }
        text = TextConfig(source=str(text_file), sequence_length=16, batch_size=8)
        others = {"dit": DigitsConfig(shift=1), "sssd": SeriesConfig(window=16, horizon=4, stride=32)}
        if model == "mlp":
            path = tmp_path / "rows.csv"
            path.write_text("a,b,kind\n" + "\n".join(f"{n % 7},{n % 5},{n % 3}" for n in range(60)))
            others["mlp"] = TableConfig(source=str(path), target="kind")
        settings = {"max_epochs": 2, "device": "cpu", **trainer}
        if model in others:
            settings |= {"limit_train_batches": 2, "limit_val_batches": 1, "limit_test_batches": 1}
        return TrainConfig(
            model=models[model],
            data=others.get(model, text),
            trainer=TrainerConfig(**settings),
            output_dir=str(tmp_path / "runs"),
        )

    return build


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is kept in the user's cache, nor found there."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
