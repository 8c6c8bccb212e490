"""The configuration composes, and the model learns."""

from pathlib import Path

import pytest
import torch

from trainkit.core.compose import compose
from trainkit.core.trainer import train

CONF = Path(__file__).parents[1] / "conf"


@pytest.mark.parametrize("model", [path.stem for path in (CONF / "model").glob("*.yaml")])
def test_every_model_composes(model):
    """A mistake in a file of conf/ is found here."""
    assert compose([f"model={model}"], config_dir=CONF).model.name == "import"


def test_the_model_learns(tmp_path):
    """After a few epochs the validation loss is below the variance of the targets."""
    overrides = ["trainer.max_epochs=10", "optimizer.learning_rate=0.01", "trainer.device=cpu"]

    result = train(compose([*overrides, f"output_dir='{tmp_path}'"], config_dir=CONF))

    assert result.validation.mean_loss < 1.0
    assert torch.isfinite(torch.tensor(result.test.mean_loss))
