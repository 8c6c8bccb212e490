"""Hydra's multirun around our training: a grid here, and through submitit's local mode."""

import json
import os
import subprocess
import sys

import pytest

from trainkit.core import multirun

STARTS = pytest.mark.skipif(sys.version_info >= (3, 14), reason="Hydra 1.3 does not start on Python 3.14")
QUIET = ["hydra/job_logging=none", "hydra/hydra_logging=none"]


@pytest.fixture
def launch(text_file, tmp_path, monkeypatch):
    """Run the entry point; give its exit status and the configurations of the jobs, in their order."""
    pytest.importorskip("hydra")
    from hydra.core.global_hydra import GlobalHydra

    def run(*arguments, process=None):
        small = [
            "model.embedding_dim=4",
            "model.hidden_dim=8",
            "data.sequence_length=16",
            "trainer.max_epochs=1",
        ]
        limits = [f"trainer.limit_{part}_batches=1" for part in ("train", "val", "test")]
        fixed = ["model=lstm", *small, *limits, "trainer.device=cpu", f"data.source={text_file}"]
        argv = [*arguments, *fixed, f"hydra.sweep.dir={tmp_path}/out", *QUIET]
        monkeypatch.setattr(sys, "argv", ["multirun", *argv])
        monkeypatch.chdir(tmp_path)
        try:
            status = process(argv) if process else multirun.main()
        finally:
            GlobalHydra.instance().clear()
        paths = sorted(tmp_path.glob("out/*/config.json"))
        return status, [json.loads(path.read_text()) for path in paths]

    return run


@STARTS
def test_a_grid_is_trained_combination_by_combination(launch, tmp_path):
    """Hydra cuts the list, each job trains its own combination in its own folder, with our types."""
    status, configs = launch("--multirun", "optimizer.learning_rate=1e-3,1e-2")

    assert status == 0
    assert [config["optimizer"]["learning_rate"] for config in configs] == [1e-3, 1e-2]
    assert [config["exp_name"] for config in configs] == ["0", "1"]
    assert (tmp_path / "out/1/best.ckpt").exists()


@STARTS
def test_submitit_launches_the_same_jobs(launch, uncovered):
    """Through a launcher of a cluster, in its local mode: processes of their own."""
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")

    def process(argv):  # what other tests have told Hydra would be pickled along
        command = [sys.executable, "-m", "trainkit.core.multirun", *argv]
        return subprocess.run(command, env=os.environ | uncovered, check=False).returncode

    status, configs = launch("-m", "seed=3,4", "hydra/launcher=submitit_local", process=process)

    assert status == 0
    assert [config["seed"] for config in configs] == [3, 4]


def test_a_hydra_that_does_not_start_is_told(launch, capsys, monkeypatch):
    """One line, not argparse's traceback: what Python 3.14 thinks of Hydra 1.3."""
    if sys.version_info < (3, 14):

        def fail():
            raise ValueError("badly formed help string")

        monkeypatch.setattr("hydra.main", lambda **_: lambda _: fail)

    assert launch("-m", "seed=3,4") == (2, [])
    assert "does not start on this Python; take 3.13, or: trainkit sweep" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("-m", "optimizer.learning_rat=1e-3,1e-2"),
            "config-unknown-key: 'optimizer.learning_rat' is no key",
        ),
        (
            ("-m", "model.dropout=interval(0,0.5)"),
            "sweep-space: 'model.dropout=interval(0,0.5)': a grid needs",
        ),
        (("seed=x",), "config-type: seed='x': expected an integer"),
    ],
)
def test_a_mistake_is_ours_to_explain(launch, capsys, arguments, said):
    """One line, status 2, and Hydra has launched nothing."""
    status, configs = launch(*arguments)

    assert (status, configs) == (2, [])
    assert capsys.readouterr().err.startswith(f"trainkit: error: {said}")
