"""TensorBoard, Weights & Biases and MLflow on real runs; what they may and may not do to a training."""

import json
import os
import random
import runpy
import signal
import subprocess
import sys
from dataclasses import replace
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

import numpy
import pytest
import torch

from trainkit.core import table, tracking
from trainkit.core.config import (
    LoggerConfig,
    MlflowConfig,
    TensorboardConfig,
    WandbConfig,
)
from trainkit.core.loop import NonFiniteLossError
from trainkit.core.tracking import list_enabled
from trainkit.core.trainer import train
from trainkit.errors import UsageError

ASSET = Path(__file__).parents[2] / "assets" / "tracked_run.py"
OUTSIDE = ("tensorboard", "wandb", "mlflow")


needs_all = pytest.mark.skipif(
    any(find_spec(name) is None for name in (*OUTSIDE, "sqlalchemy")), reason="needs all trackers"
)


def run_tracked(folder: Path, environment: dict[str, str], *saves: str) -> subprocess.CompletedProcess[str]:
    """Run the tiny tracked run in a process of its own."""
    command = [sys.executable, str(ASSET), str(folder), *saves]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=240)


def collect_points(rows: list[dict[str, str]]) -> dict[str, list[tuple[int, float]]]:
    """Give the points of metrics.csv by the name that trackers call them."""
    points: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        for name in row.keys() - {"epoch", "step", "part", "items"}:
            points.setdefault(f"{row['part']}/{name}", []).append((int(row["step"]), float(row[name])))
    return points


@needs_all
def test_all_trackers_tell_the_same_of_a_run_that_was_killed(tmp_path, monkeypatch, uncovered):
    """Killed after a row was told and before its checkpoint: one run in each, each point once, the same values.

    TensorBoard keeps float32; the rest is bitwise what metrics.csv has, and that of a run without trackers
    that was left alone, as are its weights.
    """
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    environment = {**os.environ, **uncovered}
    killed = run_tracked(tmp_path, environment, "7")
    told = table.read_table(tmp_path / "runs/default/metrics.csv")
    done = run_tracked(tmp_path, environment)
    found = json.loads(done.stdout.splitlines()[-1])
    alone = train(runpy.run_path(str(ASSET))["configure"](str(tmp_path), "exp_name=alone")).run_folder
    weights = [torch.load(tmp_path / f"runs/{name}/last.ckpt")["model"] for name in ("default", "alone")]
    points = collect_points(table.read_table(tmp_path / "runs/default/metrics.csv"))
    read = {
        name: {tag: [tuple(pair) for pair in pairs] for tag, pairs in found[name].items()} for name in OUTSIDE
    }

    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert told[-1]["part"] == "step" and told[-1]["step"] == "20"  # behind the checkpoint at 18
    assert found["failures"] == {}, done.stderr
    assert set(points) == {
        f"{part}/{name}" for part in ("train", "validation", "test") for name in ("loss", "perplexity")
    } | {"step/loss"}
    assert [step for step, _ in points["step/loss"]] == list(range(2, 28, 2))
    assert (alone / "metrics.csv").read_text() == (tmp_path / "runs/default/metrics.csv").read_text()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[1])
    assert read["wandb"] == points
    assert read["mlflow"] == points
    assert read["tensorboard"] == {
        tag: [(step, float(numpy.float32(value))) for step, value in pairs] for tag, pairs in points.items()
    }
    assert (
        found["settings"]
        == {
            "mlflow": "8",
            "tensorboard": 8.0,
            "wandb": [8, 8],  # once for each process
            "status": "FINISHED",
            "num_mlflow_runs": 1,
            "wandb_ids": found["settings"]["wandb_ids"][:1],
        }
    )


IMPORTED = """
import sys
from trainkit.core.compose import compose
from trainkit.core.trainer import train
train(compose(["model=lstm", "model.hidden_dim=8", "model.embedding_dim=4", "data.sequence_length=16",
               "trainer.device=cpu", "trainer.max_epochs=1", "trainer.limit_train_batches=2",
               "trainer.limit_val_batches=1", "trainer.limit_test_batches=1", "output_dir=" + sys.argv[1]]))
def look():
    print([name for name in ("tensorboard", "wandb", "mlflow", "sqlalchemy", "matplotlib") if name in sys.modules])
look()
import tensorboard
look()
"""


@needs_all
def test_what_is_not_enabled_is_not_imported(tmp_path, uncovered):
    """A run without trackers has none of their packages in its process; a planted import is seen."""
    command = [sys.executable, "-c", IMPORTED, str(tmp_path)]
    environment = {**os.environ, **uncovered}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)

    assert done.stdout.splitlines()[-2:] == ["[]", "['tensorboard']"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_missing_package_is_a_mistake_before_the_training(tiny_config, monkeypatch, name):
    """Asking for a tracker whose package is not there ends at once, and names the extra."""
    config = tiny_config()
    getattr(config.logger, name).enabled = True
    monkeypatch.setattr(tracking, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match=rf"pip install 'trainkit\[{name}\]'") as caught:
        train(config)

    assert caught.value.slug == "missing-dependency"
    assert not Path(config.output_dir).exists()


class Fake:
    """A tracker that draws random numbers, and fails where it is told to."""

    fails = ""
    told: list = []  # noqa: RUF012

    def __init__(self, opening):
        torch.rand(3), random.random(), numpy.random.rand()
        self.act("open")

    def act(self, what):
        torch.rand(3), random.random(), numpy.random.rand()
        Fake.told.append(what)
        if what == Fake.fails:
            raise OSError(28, "No space left on device\nand more")

    def tell(self, row):
        self.act("tell")

    def flush(self):
        self.act("flush")

    def close(self, status, reason):
        self.act(f"close {status}")


@pytest.fixture
def fake(monkeypatch, tiny_config):
    """A configuration with a fake in the place of mlflow."""
    monkeypatch.setitem(tracking.TRACKERS, "mlflow", ((), "fake:Fake"))
    modules = {"fake": sys.modules[__name__], "trainkit.core.table": table}
    monkeypatch.setattr(tracking, "import_module", modules.__getitem__)
    monkeypatch.setattr(Fake, "fails", "")
    monkeypatch.setattr(Fake, "told", [])
    config = tiny_config()
    return replace(config, logger=LoggerConfig(mlflow=MlflowConfig(enabled=True)))


@pytest.mark.parametrize("fails", ["open", "tell", "flush", "close finished", ""])
def test_a_failing_tracker_ends_nothing_and_changes_no_bit(fake, tiny_config, monkeypatch, capsys, fails):
    """It is told of once, noted in run.json and asked no more; random numbers that it draws are put back."""
    alone = train(replace(tiny_config(), exp_name="alone"))
    monkeypatch.setattr(Fake, "fails", fails)
    result = train(fake)
    run = json.loads((result.run_folder / "run.json").read_text())
    warned = [line for line in capsys.readouterr().err.splitlines() if "mlflow" in line]
    warning = (
        "trainkit: warning: mlflow failed and is told no more: OSError: [Errno 28] No space left on device"
    )

    assert (result.train, result.test) == (alone.train, alone.test)
    assert run["status"] == "finished"
    assert warned == ([warning] if fails else [])
    assert run["failures"] == ({"mlflow": warning.partition("more: ")[2]} if fails else {})
    assert Fake.told[-1] == (fails or "close finished")
    assert Fake.told.count(fails) == bool(fails)


def test_the_end_of_a_run_is_told(fake):
    """A run that fails says so to its trackers, and why in run.json."""
    fake.optimizer.learning_rate = 1e30
    fake.trainer.clip_norm = 0.0
    with pytest.raises(NonFiniteLossError):
        train(fake)
    folder = Path(fake.output_dir, fake.exp_name)
    run = json.loads((folder / "run.json").read_text())

    assert Fake.told[-1] == "close failed"
    assert run["status"] == "failed"
    assert run["reason"].startswith("train-non-finite: the training loss became")


def test_only_what_is_asked_for_is_looked_for(monkeypatch, tiny_config):
    """No package is searched for a tracker that is off."""
    seen = []
    monkeypatch.setattr(tracking, "find_spec", lambda name: seen.append(name) or ModuleSpec(name, None))
    logger = LoggerConfig(tensorboard=TensorboardConfig(enabled=True), wandb=WandbConfig())

    assert list_enabled(replace(tiny_config(), logger=logger)) == ["csv", "tensorboard"]
    assert seen == ["tensorboard"]
