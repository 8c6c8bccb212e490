"""Every optimizer on every model, its groups, its resume; and the schedules."""

import ast
import math
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainkit.core.config import (
    GROUPS,
    CosineConfig,
    LinearConfig,
    MuonConfig,
    TrainConfig,
    WSDConfig,
    validate,
)
from trainkit.core.models import Transformer
from trainkit.core.optim import build_muon
from trainkit.core.schedules import scale_learning_rate
from trainkit.core.trainer import train


def weights_of(result):
    return torch.load(result.run_folder / "last.ckpt", weights_only=True)["model"]


@pytest.mark.parametrize("optimizer", [name for name in GROUPS["optimizer"] if name != "own"])
@pytest.mark.parametrize("model", [name for name in GROUPS["model"] if name != "import"])
def test_every_optimizer_trains_every_model_and_resumes(tiny_config, tmp_path, model, optimizer):
    """One epoch and one more are bitwise two at once; the loss of the language models falls."""
    if optimizer in {"shampoo", "soap"}:
        pytest.importorskip("pytorch_optimizer")
    config = replace(tiny_config(model), optimizer=GROUPS["optimizer"][optimizer]())
    assert not validate(config)
    straight = train(config)
    half = replace(config, trainer=replace(config.trainer, max_epochs=1), output_dir=str(tmp_path / "half"))
    first = train(half)
    begun = weights_of(first)
    rest = train(replace(config, output_dir=str(tmp_path / "half"), resume="auto"))

    assert math.isfinite(straight.train.mean_loss)
    if model in {"transformer", "lstm"}:  # that of a diffusion depends on what is drawn
        assert straight.train.mean_loss < first.train.mean_loss < math.log(256) + 0.3
    expected, actual = weights_of(straight), weights_of(rest)
    assert all(torch.equal(value, actual[name]) for name, value in expected.items())
    assert any(not torch.equal(value, begun[name]) for name, value in expected.items())


@pytest.mark.parametrize("options", [{"ema_decay": 0.9}, {"precision": "fp16"}, {"precision": "tf32"}])
def test_options_resume_bitwise(tiny_config, tmp_path, options):
    """An average of the weights, a scaler of gradients, in the midst of a cosine."""
    config = replace(
        tiny_config(**options, save_every_n_steps=1), schedule=CosineConfig(warmup_steps=2), resume="auto"
    )
    straight = train(config)
    half = replace(config, output_dir=str(tmp_path / "half"))
    half.trainer = replace(config.trainer, limit_train_batches=1.0)
    from trainkit.core import trainer

    real, died = trainer._write, []

    def save_and_die(run, *, is_best):
        real(run, is_best=is_best)
        if run.progress.num_steps + run.progress.epoch.get("num_steps", 0) == 3 and not died:
            died.append(is_best)
            raise KeyboardInterrupt

    trainer._write = save_and_die
    try:
        with pytest.raises(KeyboardInterrupt):
            train(half)
    finally:
        trainer._write = real
    again = train(half)

    paths = [result.run_folder / "last.ckpt" for result in (straight, again)]
    states = [torch.load(path, weights_only=True) for path in paths]
    assert repr(states[0]["extra"]) == repr(states[1]["extra"])
    assert states[0]["extra"] or options["precision"] == "tf32"
    assert repr(states[0]["optimizer"]["param_groups"]) == repr(states[1]["optimizer"]["param_groups"])
    assert straight.test == again.test


def test_muon_has_the_matrices_between_embedding_and_head():
    """Each parameter is in one optimizer, and in the one that is made for it."""
    model = Transformer(TrainConfig().model, vocab_size=16)
    muon, adamw = build_muon(MuonConfig(), model).optimizers
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    held = [[names[id(p)] for group in each.param_groups for p in group["params"]] for each in (muon, adamw)]

    assert sorted(held[0] + held[1]) == sorted(names.values())
    assert all(name.startswith("blocks.") and model.get_parameter(name).ndim == 2 for name in held[0])
    assert "embedding.weight" in held[1] and "head.weight" in held[1]


HEAVY = """
import sys
from trainkit.cli.train import run
run(sys.argv[1:])
heavy = {"lightning", "pytorch_optimizer", "sklearn", "skops", "scipy", "torch._dynamo", "torch.distributed.fsdp",
         "torch.distributed.tensor", "torch.distributed.checkpoint"}
print(sorted(heavy & sys.modules.keys()), file=sys.stderr)
"""


@pytest.mark.parametrize(("optimizer", "expected"), [("adamw", set()), ("soap", {"pytorch_optimizer"})])
def test_nothing_extra_is_imported_unless_it_is_used(text_file, tmp_path, optimizer, expected):
    """By a whole run; pytorch_optimizer takes as long to import as torch, and comes with what needs it."""
    settings = ["model=lstm", "model.hidden_dim=4", "trainer.max_epochs=1", "trainer.limit_train_batches=1"]
    places = [f"data.source='{text_file}'", f"output_dir='{tmp_path}'", "trainer.device=cpu"]
    command = [sys.executable, "-c", HEAVY, *settings, *places, f"optimizer={optimizer}", "trainer.lean=true"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = set(ast.literal_eval(done.stderr.splitlines()[-1]))

    assert (found == set()) if not expected else expected <= found


SCHEDULES = st.one_of(
    st.builds(LinearConfig, warmup_steps=st.integers(0, 20), final_fraction=st.floats(0, 1)),
    st.builds(CosineConfig, warmup_steps=st.integers(0, 20), final_fraction=st.floats(0, 1)),
    st.builds(
        WSDConfig,
        warmup_steps=st.integers(0, 20),
        final_fraction=st.floats(0, 1),
        decay_fraction=st.floats(0.01, 1),
    ),
)


@given(SCHEDULES, st.integers(25, 200))
def test_a_schedule_rises_then_falls_to_its_fraction(config, total_steps):
    """Never above 1, never below what it ends with, once the warm-up is over."""
    factors = [scale_learning_rate(config, step, total_steps=total_steps) for step in range(total_steps)]
    up, down = factors[: config.warmup_steps], factors[config.warmup_steps :]

    assert up == sorted(up) and all(0 < factor <= 1 for factor in up)
    assert down == sorted(down, reverse=True)
    assert down[0] == 1.0
    assert down[-1] == pytest.approx(config.final_fraction)


def test_known_points_of_the_schedules():
    """The middle of a cosine and of a line; the plateau of WSD."""
    assert scale_learning_rate(CosineConfig(final_fraction=0.0), 50, total_steps=101) == pytest.approx(0.5)
    assert scale_learning_rate(LinearConfig(), 25, total_steps=101) == pytest.approx(0.75)
    wsd = WSDConfig(decay_fraction=0.5)
    assert [scale_learning_rate(wsd, step, total_steps=101) for step in (0, 49)] == [1.0, 1.0]
    assert scale_learning_rate(wsd, 75, total_steps=101) == pytest.approx(0.5, abs=0.02)
    assert [scale_learning_rate(CosineConfig(warmup_steps=4), step, total_steps=9) for step in range(3)] == [
        0.25,
        0.5,
        0.75,
    ]
