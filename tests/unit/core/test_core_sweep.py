"""`trainkit sweep`: the same trials however often it is killed, and by however many workers."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

optuna = pytest.importorskip("optuna")

import torch  # noqa: E402

from trainkit.cli import main  # noqa: E402
from trainkit.cli import sweep as command  # noqa: E402
from trainkit.core.compose import compose  # noqa: E402
from trainkit.core.loop import NonFiniteLossError  # noqa: E402
from trainkit.core.space import read_space  # noqa: E402
from trainkit.core.sweep import Sweep, draw, open_study, run_trials, write_command  # noqa: E402
from trainkit.core.trainer import train  # noqa: E402
from trainkit.errors import TrainkitError, UsageError  # noqa: E402

RATE = "optimizer.learning_rate=tag(log,interval(1e-4,1e-1))"


@pytest.fixture
def overrides(text_file, tmp_path):
    """A space whose trials take a twentieth of a second."""
    return [
        RATE, "model.dropout=0.0,0.1", "model.num_layers=1", "model.num_heads=2", "model.model_dim=8",
        f"data.source={text_file}", "data.sequence_length=16", "data.batch_size=4", "trainer.device=cpu",
        "trainer.max_epochs=2", "trainer.limit_train_batches=3", "trainer.limit_val_batches=1",
        "trainer.limit_test_batches=0", "trainer.save_every_n_steps=2", f"output_dir={tmp_path}/runs",
    ]  # fmt: skip


@pytest.fixture
def make(overrides):
    """Give a sweep over that space; keywords change it."""
    return lambda **options: Sweep(read_space(overrides), **{"num_trials": 2} | options)


def run(sweep):
    """Run it to its end; give what it found, by the trial's number."""
    study = open_study(sweep)
    run_trials(sweep, study)
    return read(study)


def read(study):
    return [
        (trial.number, trial.state.name, trial.value, trial.params, trial.intermediate_values)
        for trial in study.trials
    ]


def test_a_trial_is_an_ordinary_training(make):
    """A trial's folder holds a run, and its command trains to the same loss, bitwise."""
    sweep = make(num_trials=2)
    study = open_study(sweep)
    run_trials(sweep, study)
    best = study.best_trial
    arguments = write_command(sweep, best).partition("trainkit train ")[2].split()
    written = {path.name for path in (sweep.folder / "0").iterdir()}

    seen = []
    result = train(compose(arguments), report=lambda _, validation: seen.append(validation.mean_loss))

    assert {"config.json", "metrics.csv", "best.ckpt", "last.ckpt"} <= written
    assert min(seen) == best.value
    assert result.run_folder.name == f"sweep-{best.number}"


def test_a_sweep_killed_in_the_middle_of_a_trial_ends_as_if_nothing_had_been(make, overrides, uncovered):
    """SIGKILL to the whole group, then the same sweep: each trial's draw and values are bitwise the same."""
    sweep = make(num_trials=12, pruner="median", name="killed")
    arguments = [*overrides, "--trials", "12", "--pruner", "median", "--name", "killed"]
    child = subprocess.Popen(
        [sys.executable, "-m", "trainkit", "sweep", *arguments],
        env=os.environ | uncovered | {"OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    last = sweep.folder / "10" / "last.ckpt"  # by then TPE draws from what it knows
    while not last.exists():
        assert child.poll() is None, "the sweep ended by itself"
        time.sleep(0.002)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    study = open_study(sweep)
    states = [trial.state.name for trial in study.trials]
    run_trials(sweep, study)

    assert states.count("RUNNING") <= 1
    assert len(states) in (11, 12)
    assert {trial.state.name for trial in study.trials} == {"COMPLETE", "PRUNED"}
    assert read(study) == run(replace(sweep, name="straight"))
    assert not [path.name for path in (sweep.folder / "workers").iterdir() if path.name != "claim"]


@pytest.mark.parametrize("drawn", [0, 2])
def test_what_a_kill_left_undrawn_is_drawn_as_it_would_have_been(make, monkeypatch, drawn):
    """A worker that dies between two axes changes no draw; the trial keeps its number."""
    from trainkit.core import sweep as module

    expected = run(make(name="straight"))
    suggest, count = module._suggest_one, 0

    def fail(trial, axis):
        nonlocal count
        count += 1
        if count == 2 + drawn:  # in trial 0, after its last axis, or in trial 1
            raise KeyboardInterrupt
        suggest(trial, axis)

    monkeypatch.setattr(module, "_suggest_one", fail)
    with pytest.raises(KeyboardInterrupt):
        run(make(name="again"))
    monkeypatch.undo()

    assert run(make(name="again")) == expected


def test_an_epoch_that_was_told_and_not_saved_is_told_once(make, monkeypatch):
    """A crash between the database and the checkpoint repeats the epoch, and its value is the same."""
    from trainkit.core import trainer

    expected = run(make(name="straight", num_trials=1))
    save = trainer._save

    def fail(state):
        if state.progress.num_epochs == 2:
            raise KeyboardInterrupt
        save(state)

    monkeypatch.setattr(trainer, "_save", fail)
    with pytest.raises(KeyboardInterrupt):
        run(make(name="again", num_trials=1))
    monkeypatch.undo()

    assert run(make(name="again", num_trials=1)) == expected


def test_two_workers_lose_and_double_nothing(make, overrides, monkeypatch, capsys, uncovered):
    """Two processes on one study: every number once, the values of one worker; then a table and pictures."""
    for name, value in {**uncovered, "OMP_NUM_THREADS": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(command, "progress_printer", lambda: print)
    assert main(["sweep", *overrides, "--trials", "4", "--sampler", "random", "--workers", "2"]) == 0

    expected = run(make(num_trials=4, sampler="random", name="alone"))
    sweep = make(num_trials=4, sampler="random")
    assert read(open_study(sweep)) == expected
    printed = capsys.readouterr()
    best = min(expected, key=lambda each: each[2])
    assert "swept 4 trials, 4 complete, 0 pruned" in printed.out
    assert f"exp_name=sweep-{best[0]}\n" in printed.out
    assert "best again: OMP_NUM_THREADS=1 trainkit train " in printed.out
    assert (sweep.folder / "history.png").read_bytes()[:4] == b"\x89PNG"
    assert (sweep.folder / "importance.png").read_bytes()[:4] == b"\x89PNG"


def test_an_interrupt_leaves_no_process(make, overrides, monkeypatch, uncovered):
    """Ctrl-C ends the workers, and the status says so; the study is as it was."""
    for name, value in uncovered.items():
        monkeypatch.setenv(name, value)
    open_study(make())
    started, popen = [], subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: started.append(popen(*a, **k)) or started[-1])

    def interrupt(_):
        if len(started) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(command, "progress_printer", lambda: interrupt)
    assert main(["sweep", *overrides, "--trials", "4", "--workers", "2"]) == 130

    assert len(started) == 2
    assert all(process.poll() is not None for process in started)


def test_workers_that_fail_are_told_of(make, capsys):
    """What the workers say is said once, with their status."""
    sweep = make()
    study = open_study(sweep)
    with pytest.raises(UsageError, match=r"2 of 2 workers failed \(status 2\)"):
        command._run_workers(["model.num_layer=1,2"], 2, sweep, study)

    assert capsys.readouterr().err.count("trainkit: error: config-unknown-key: ") == 1


def test_a_worker_without_its_command_stops(overrides, make):
    """The parent is not the one that it was started by: nothing is begun."""
    study = open_study(make())

    assert main(["sweep", *overrides, "--trials", "4", "--worker-of", "1"]) == 0
    assert len(study.trials) in (0, 4)  # 4 only below init itself


def test_a_grid_is_gone_through_in_order(overrides, make, capsys):
    """Each combination once, the last axis fastest; of another machine's trials nothing is taken."""
    axes = ["model.dropout=0.0,0.1", "optimizer.learning_rate=1e-3,1e-2"]
    fixed = [each for each in overrides if "dropout" not in each and "learning_rate" not in each]
    sweep = Sweep(read_space([*axes, *fixed]), sampler="grid", pruner="hyperband")
    study = open_study(sweep)
    trial = optuna.trial.create_trial(
        state=optuna.trial.TrialState.RUNNING, user_attrs={"worker": "elsewhere"}
    )
    study.add_trial(trial)
    assert main(["sweep", *axes, *fixed, "--sampler", "grid", "--pruner", "hyperband"]) == 0

    params = [tuple(trial.params.values()) for trial in study.trials]
    assert params == [(), ("0.0", "0.01"), ("0.1", "0.001"), ("0.1", "0.01")]
    assert capsys.readouterr().err == "1 trials are left; the same command goes on\n"


def test_a_pruned_trial_is_shorter(make):
    """The pruner is asked after each epoch, and a trial that it stops is no best."""
    study = open_study(make())
    study.pruner = optuna.pruners.ThresholdPruner(upper=0.0)
    run_trials(make(pruner="median"), study)

    assert [trial.state.name for trial in study.trials] == ["PRUNED"] * 2
    assert all(list(trial.intermediate_values) == [0] for trial in study.trials)
    assert draw(make(), study) == []
    runs = [json.loads(path.read_text()) for path in make().folder.glob("*/run.json")]
    assert [run["status"] for run in runs] == ["pruned"] * 2


def test_a_trial_that_diverges_is_pruned(make, monkeypatch):
    """A loss that is no number, or too little memory, ends a trial and not the sweep; the reason is kept."""
    from trainkit.core import trainer

    errors = [NonFiniteLossError("loss-not-finite", "nan"), torch.OutOfMemoryError("2 GiB"), None]
    sweep = make(num_trials=3, metric="perplexity", direction="maximize")
    study = open_study(sweep)
    real = trainer.train

    def fail(config, *, report):
        error = errors[int(config.exp_name)]
        if error is not None:
            raise error
        return real(config, report=report)

    monkeypatch.setattr(trainer, "train", fail)
    run_trials(sweep, study)

    assert [trial.state.name for trial in study.trials] == ["PRUNED", "PRUNED", "COMPLETE"]
    assert [trial.user_attrs.get("reason") for trial in study.trials] == ["nan", "2 GiB", None]
    assert study.trials[2].value == max(study.trials[2].intermediate_values.values())


def test_without_a_finite_value_a_trial_is_pruned(make, monkeypatch):
    """A validation that gives nan alone has no value."""
    from trainkit.core import sweep as module

    sweep = make(num_trials=1)
    study = open_study(sweep)
    monkeypatch.setattr(module, "read_metric", lambda *_: float("nan"))
    run_trials(sweep, study)

    assert study.trials[0].user_attrs["reason"] == "no loss is a number"


def test_the_time_ends_a_sweep_between_two_trials(make):
    """With no time nothing is begun."""
    study = open_study(make())
    run_trials(make(timeout_s=0.0), study)

    assert study.trials == []


WRONG = {
    ("--sampler", "tpee"): "usage: --sampler tpee: there is no such; did you mean 'tpe'?",
    ("--pruner", "medain"): "usage: --pruner medain: there is no such; did you mean 'median'?",
    ("--direction", "up"): "usage: --direction up: there is no such",
    ("--workers", "0"): "usage: --workers 0: must be at least 1",
    ("--trials", "0"): "usage: --trials 0: must be at least 1",
    ("--name", "../x"): "usage: --name '../x': must name a folder inside output_dir",
    ("--trial", "3"): "usage: unrecognized arguments: --trial",
    (
        "--sampler",
        "grid",
    ): "sweep-space: 'optimizer.learning_rate=tag(log,interval(1e-4,1e-1))': a grid needs",
    ("--storage", "sqlite:////nowhere/study.db"): "sweep-storage: --storage: OperationalError: ",
    ("--storage", "study.db"): "sweep-storage: --storage: ArgumentError: ",
    (
        "--metric",
        "perplexitty",
    ): "sweep-metric: --metric perplexitty: no validation measures it; did you mean",
    ("trainer.limit_val_batches=0",): "sweep-metric: --metric loss: no validation measures it; nothing is:",
    ("data.source=absent.txt",): "data-",
}


@pytest.mark.parametrize("more", WRONG)
def test_what_is_wrong_is_said_before_anything_is_written(overrides, tmp_path, capsys, more):
    """One line, status 2, and no folder."""
    assert main(["sweep", *overrides, *more]) == 2

    said = capsys.readouterr().err
    assert said.startswith(f"trainkit: error: {WRONG[more]}")
    assert said.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_another_sweep_of_that_name_is_left_alone(make, overrides, capsys):
    """A study of another space, and trials that the storage does not know, are refused; nothing is run."""
    sweep = make(num_trials=1)
    study = open_study(sweep)
    run_trials(sweep, study)
    assert main(["sweep", *overrides, "seed=1,2"]) == 2
    assert "sweep-other: the study 'sweep' is of another sweep: space is [" in capsys.readouterr().err
    sweep.database.unlink()
    with pytest.raises(UsageError, match="holds trials that the storage does not know"):
        open_study(sweep)

    assert not sweep.database.exists()


def test_a_place_that_cannot_be_written(make, tmp_path):
    """A file where the folder is to be is one line."""
    (tmp_path / "runs").touch()
    with pytest.raises(UsageError, match="output_dir/--name="):
        open_study(make())


def test_a_grid_has_an_end(make):
    """More trials than combinations are refused, and torchrun is."""
    sweep = Sweep(read_space(["seed=1,2"]), sampler="grid", num_trials=3)
    with pytest.raises(TrainkitError, match="--trials 3: the grid has 2 combinations"):
        sweep.count_trials()


def test_optuna_is_missing(monkeypatch, capsys):
    """Without the extra its name is said."""
    monkeypatch.setattr(command, "find_spec", lambda _: None)

    assert main(["sweep", "seed=1,2"]) == 2
    assert "pip install 'trainkit[sweep]'" in capsys.readouterr().err
