"""Whole runs: files, resume, best weights."""

import csv
import json
import math
import os
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import asdict, replace

import pytest
import torch

from trainkit.core import measuring, trainer
from trainkit.core.config import CsvConfig, LinearConfig, LoggerConfig, TrainConfig
from trainkit.core.loop import EpochResult, run_validation_epoch
from trainkit.core.parts import choose_device
from trainkit.core.trainer import train
from trainkit.errors import ConfigError, UsageError


def read_rows(folder):
    """Give the rows of metrics.csv."""
    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_state(path):
    """Give what must be the same bits in two checkpoints of the same run: all but the configuration."""
    state = torch.load(path, weights_only=True)
    return freeze({key: value for key, value in state.items() if key != "config"})


def freeze(value):
    """Turn nested containers and tensors into something that == compares bit by bit."""
    if isinstance(value, torch.Tensor):
        content = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        return (str(value.dtype), tuple(value.shape), content)
    if isinstance(value, dict):
        return {key: freeze(each) for key, each in value.items()}
    return [freeze(each) for each in value] if isinstance(value, list | tuple) else repr(value)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("model", ["transformer", "lstm"])
def test_train_writes_its_files(tiny_config, tmp_path, model, precision):
    """Each model trains in each precision, its loss falls, and the folder holds what the docs say."""
    config = tiny_config(model, precision=precision)
    config.optimizer.learning_rate = 1e-2
    result = train(config)
    folder = tmp_path / "runs" / "default"
    rows = read_rows(folder)

    assert sorted({path.name for path in folder.iterdir()} - {"diff.patch"}) == [
        "best.ckpt",
        "config.json",
        "last.ckpt",
        "metrics.csv",
        "previous.ckpt",
        "report.html",
        "run.json",
    ]
    assert json.loads((folder / "config.json").read_text()) == asdict(config)
    assert [(row["epoch"], row["part"]) for row in rows] == [
        ("0", "train"),
        ("0", "validation"),
        ("1", "train"),
        ("1", "validation"),
        ("1", "test"),
    ]
    assert float(rows[2]["loss"]) < float(rows[0]["loss"])
    assert float(rows[2]["loss"]) == result.train.mean_loss
    assert float(rows[4]["perplexity"]) == math.exp(result.test.mean_loss)
    assert (result.num_epochs, result.num_steps) == (2, int(rows[-1]["step"]))


def test_same_seed_same_bits(tiny_config):
    """Two runs in one process are equal; another seed is not."""
    states = []
    for seed in (3, 3, 4):
        config = replace(tiny_config(), seed=seed)
        states.append(read_state(train(config).run_folder / "last.ckpt"))

    assert states[0] == states[1]
    assert states[0]["model"] != states[2]["model"]


def test_resume_in_new_processes_is_bitwise_equal(text_file, tmp_path, uncovered):
    """Two epochs at once, and one, then one more in another process: the same bits and metrics."""
    common = [
        *("model.num_layers=1", "model.num_heads=2", "model.model_dim=16", "trainer.device=cpu"),
        *(f"data.source='{text_file}'", "data.sequence_length=16", "data.batch_size=8"),
        *(f"output_dir='{tmp_path}'", "trainer.accumulate_grad_batches=2", "trainer.lean=true"),
    ]
    for extra in (
        ["trainer.max_epochs=2", "exp_name=straight"],
        ["trainer.max_epochs=1", "exp_name=halves"],
        ["trainer.max_epochs=2", "exp_name=halves", f"resume='{tmp_path}/halves/last.ckpt'"],
    ):
        code = "import sys; from trainkit.cli.train import run; sys.exit(run(sys.argv[1:]))"
        command = [sys.executable, "-c", code, *common, *extra]
        subprocess.run(
            command, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1", **uncovered}
        )
    straight, halves = tmp_path / "straight", tmp_path / "halves"

    assert read_state(straight / "last.ckpt") == read_state(halves / "last.ckpt")
    assert read_state(straight / "best.ckpt") == read_state(halves / "best.ckpt")
    assert (straight / "metrics.csv").read_bytes() == (halves / "metrics.csv").read_bytes()


class KilledError(Exception):
    """Stands for a SIGKILL: nothing of the run goes on after it."""


@pytest.mark.parametrize("after", range(1, 9))
@pytest.mark.parametrize(("accumulate", "every"), [(1, 1), (3, 1), (2, 2)])
def test_a_run_that_died_in_an_epoch_goes_on_bitwise(
    tiny_config, tmp_path, monkeypatch, accumulate, every, after
):
    """At whatever step, the last of an epoch too, from the place that was saved, not from the epoch's start."""

    def make(folder):
        config = tiny_config(accumulate_grad_batches=accumulate, save_every_n_steps=every)
        return replace(config, output_dir=str(tmp_path / folder), resume="auto")

    straight = train(make("straight"))
    each = straight.num_steps // 2  # epochs
    assert each >= 2 and straight.num_steps % 2 == 0
    after = min(after, straight.num_steps)
    with monkeypatch.context() as patch:
        count_steps(patch, die_after=after)
        with pytest.raises(KilledError):
            train(make("killed"))
    steps = count_steps(monkeypatch, die_after=1000)
    killed = train(make("killed"))

    within = [step for step in range(1, after + 1) if step % every == 0 and step % each]
    saved = max([0, *within, *(step for step in range(1, after) if step % each == 0)])
    assert len(steps) == straight.num_steps - saved
    for name in ("last.ckpt", "best.ckpt"):
        assert read_state(killed.run_folder / name) == read_state(straight.run_folder / name)
    metrics = [(result.run_folder / "metrics.csv").read_bytes() for result in (killed, straight)]
    assert metrics[0] == metrics[1]
    assert killed.train == straight.train


def count_steps(monkeypatch, die_after):
    """Give a list that grows with each step; the run dies right after one of them."""
    steps = []
    real = trainer.run_training_epoch

    def run(*arguments, after_step, **options):
        def then(done):
            after_step(done)
            steps.append(done)
            if len(steps) == die_after:
                raise KilledError

        return real(*arguments, after_step=then, **options)

    monkeypatch.setattr(trainer, "run_training_epoch", run)
    return steps


def test_resume_auto_finishes_what_was_only_not_tested(tiny_config):
    """A run that died after its last epoch is tested; without a run there is nothing to go on with."""
    config = replace(tiny_config(), resume="auto")
    first, again = train(config), train(config)

    assert (again.num_steps, again.test) == (first.num_steps, first.test)


def test_a_damaged_last_falls_back_to_the_one_before(tiny_config, capfd):
    """And says so; the end is the same."""
    config = replace(tiny_config(save_every_n_steps=1), resume="auto")
    first = train(config)
    expected = read_state(first.run_folder / "last.ckpt")
    (first.run_folder / "last.ckpt").write_bytes(b"half a file")
    again = train(config)

    assert "going on from" in capfd.readouterr().err
    assert read_state(again.run_folder / "last.ckpt") == expected
    (first.run_folder / "last.ckpt").write_bytes(b"")
    (first.run_folder / "previous.ckpt").write_bytes(b"")
    with pytest.raises(UsageError, match=r"previous\.ckpt' cannot be read"):
        train(config)


def script_validation(monkeypatch, losses):
    """Let validation and then test report the given losses, in order."""
    results = iter(losses)

    def evaluate(*arguments, **options):
        real = run_validation_epoch(*arguments, **options)
        return EpochResult(next(results) * real.num_items, real.num_items)

    monkeypatch.setattr(measuring, "run_validation_epoch", evaluate)


@pytest.mark.parametrize(
    ("losses", "best_epoch"),
    [([3.0, 2.0, 2.5, 0.0], 2), ([2.0, 2.0, 2.0, 0.0], 1), ([math.nan, 2.0, math.nan, 0.0], 2)],
)
def test_best_is_the_lowest_validation_loss(tiny_config, monkeypatch, losses, best_epoch):
    """best.ckpt is of the epoch with the lowest loss, the first of equals; nan never beats a number."""
    script_validation(monkeypatch, losses)
    result = train(tiny_config(max_epochs=3))
    state = torch.load(result.best_checkpoint, weights_only=True)

    assert state["progress"]["num_epochs"] == best_epoch
    assert torch.load(result.run_folder / "last.ckpt", weights_only=True)["progress"]["num_epochs"] == 3


def test_patience_ends_a_run_that_gains_nothing(tiny_config, monkeypatch):
    """After so many epochs in a row without a lower loss; the best is tested, and a resume stays ended."""
    config = replace(tiny_config(max_epochs=9, patience=2), resume="auto")
    script_validation(monkeypatch, [3.0, 2.0, 2.5, 1.9, 1.9, 2.0, 0.5])
    result = train(config)
    assert (result.num_epochs, result.test.mean_loss) == (6, 0.5)

    script_validation(monkeypatch, [0.25])
    again = train(config)
    assert (again.num_epochs, again.test.mean_loss) == (6, 0.25)


def test_the_first_steps_can_be_profiled(tiny_config):
    """A trace that Perfetto opens, with the optimizer's steps in it; training is as without."""
    plain = train(tiny_config())
    expected = read_state(plain.run_folder / "last.ckpt")
    profiled = train(tiny_config(profile_steps=2))
    trace = json.loads((profiled.run_folder / "profile.json").read_text())
    names = [event.get("name", "") for event in trace["traceEvents"]]

    assert sum("Optimizer.step" in name for name in names) == 2
    assert read_state(profiled.run_folder / "last.ckpt") == expected


def test_a_compiled_model_is_saved_under_its_own_names(tiny_config, monkeypatch):
    """What is compiled is called in training; the checkpoint is one that a plain run reads."""
    compiled = []

    def compile_nothing(step):
        compiled.append(step)
        return step

    monkeypatch.setattr(torch, "compile", compile_nothing)
    result = train(replace(tiny_config(compile=True, max_epochs=1), exp_name="compiled"))
    plain = train(tiny_config(max_epochs=1))

    assert len(compiled) == 1
    assert read_state(result.run_folder / "last.ckpt") == read_state(plain.run_folder / "last.ckpt")


def test_every_epoch_has_its_own_order(tiny_config, monkeypatch):
    """The trainer shuffles each epoch anew: the same windows, in another order."""
    epochs = []

    def record(model, optimizer, batches, **options):
        epochs.append([row.tolist() for batch in batches for row in batch.tokens])
        return EpochResult(1.0, 1, 1)

    monkeypatch.setattr(trainer, "run_training_epoch", record)
    train(tiny_config(max_epochs=2))

    assert epochs[0] != epochs[1]
    assert sorted(epochs[0]) == sorted(epochs[1])


def test_without_validation_the_latest_is_best(tiny_config):
    """No validation batches: nan in the result, and the last weights are tested."""
    result = train(tiny_config(limit_val_batches=0))

    assert math.isnan(result.validation.mean_loss)
    assert read_state(result.best_checkpoint) == read_state(result.run_folder / "last.ckpt")


def test_test_uses_the_best_weights(tiny_config, monkeypatch):
    """The test loss belongs to best.ckpt, not to the last epoch."""
    tested = []

    def evaluate(model, *arguments, **options):
        tested.append(freeze(model.state_dict()))
        return EpochResult(float(len(tested)), 1)

    monkeypatch.setattr(measuring, "run_validation_epoch", evaluate)
    result = train(tiny_config(max_epochs=3))

    assert tested[3] == tested[0] == read_state(result.best_checkpoint)["model"]
    assert tested[3] != tested[2]


def test_resume_keeps_the_best_of_its_folder(tiny_config, monkeypatch):
    """A resumed run that does not improve leaves best.ckpt; elsewhere it begins a best of its own."""
    script_validation(monkeypatch, [1.0, 9.0])
    first = train(tiny_config(max_epochs=1))
    last, copied = first.run_folder / "last.ckpt", first.run_folder / "copied.ckpt"
    copied.write_bytes(last.read_bytes())
    script_validation(monkeypatch, [0.5, 9.0])
    train(replace(tiny_config(max_epochs=1), exp_name="other"))  # leaves a best.ckpt of its own
    before = first.best_checkpoint.read_bytes()
    script_validation(monkeypatch, [2.0, 9.0, 2.0, 9.0])
    same = train(replace(tiny_config(max_epochs=2), resume=str(last)))
    other = train(replace(tiny_config(max_epochs=2), exp_name="other", resume=str(copied)))

    assert same.best_checkpoint.read_bytes() == before
    assert torch.load(other.best_checkpoint, weights_only=True)["progress"]["num_epochs"] == 2


def test_resume_of_a_finished_run_is_refused(tiny_config):
    """Nothing left to train is said, not silently done."""
    config = tiny_config(max_epochs=1)
    last = str(train(config).run_folder / "last.ckpt")
    with pytest.raises(UsageError) as caught:
        train(replace(config, resume=last))

    assert caught.value.lines() == [
        f"resume-complete: '{last}' has finished 1 epochs and trainer.max_epochs=1: "
        "nothing is left to train; raise trainer.max_epochs"
    ]


def test_new_run_replaces_the_metrics_of_an_old_one(tiny_config):
    """A second run into the same folder starts its table anew."""
    train(tiny_config(max_epochs=2))
    result = train(tiny_config(max_epochs=1))

    assert [row["part"] for row in read_rows(result.run_folder)] == ["train", "validation", "test"]


def test_csv_can_be_switched_off(tiny_config):
    """logger.csv.enabled=false writes no table."""
    result = train(replace(tiny_config(max_epochs=1), logger=LoggerConfig(csv=CsvConfig(enabled=False))))

    assert not (result.run_folder / "metrics.csv").exists()


def test_limits_and_accumulation_count_steps(tiny_config):
    """Three batches in groups of two are two steps an epoch."""
    result = train(tiny_config(limit_train_batches=3, accumulate_grad_batches=2, max_epochs=2))

    assert result.num_steps == 4


def test_config_is_checked():
    """A configuration built by hand is held to the same rules."""
    with pytest.raises(ConfigError, match=r"seed=-1: must be at least 0"):
        train(TrainConfig(seed=-1))


def test_cuda_without_a_device_is_refused(monkeypatch):
    """Asking for CUDA where there is none is a mistake; auto takes the CPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="sees no CUDA device; use auto or cpu") as caught:
        choose_device("cuda")

    assert caught.value.slug == "device-unavailable"
    assert choose_device("auto") == torch.device("cpu")


def test_auto_takes_cuda_where_there_is_one(monkeypatch):
    """With a CUDA device, auto is cuda and cpu stays cpu."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    assert [choose_device(name).type for name in ("auto", "cuda", "cpu")] == ["cuda", "cuda", "cpu"]


def test_new_data_goes_on_in_a_run_of_its_own(tiny_config, text_file, tmp_path, capsys):
    """Weights, optimizer and epochs go on; the best loss begins anew, and the table has both parts."""
    config = tiny_config(max_epochs=1)
    old = train(config)
    new_text = tmp_path / "new.txt"
    new_text.write_text(text_file.read_text().replace("loss", "gain"))
    again = replace(config, data=replace(config.data, source=str(new_text)), exp_name="new")
    again.trainer = replace(config.trainer, max_epochs=2)
    again.resume = str(old.run_folder / "last.ckpt")
    result = train(again)
    rows = read_rows(result.run_folder)

    assert (
        f"going on with other data: data.source is '{text_file}' there and '{new_text}'"
        in capsys.readouterr().err
    )
    assert (result.num_epochs, result.num_steps) == (2, 2 * old.num_steps)
    assert [row["epoch"] for row in rows] == ["0", "0", "1", "1", "1"]
    assert rows[:2] == read_rows(old.run_folder)[:2]
    assert result.best_checkpoint.exists()


@pytest.mark.parametrize("wrong", ["folder", "schedule", "epoch", "model"])
def test_new_data_is_refused_where_it_would_not_go_on(tiny_config, text_file, tmp_path, monkeypatch, wrong):
    """In the same folder, below a schedule that counts steps, in the midst of an epoch, with another model."""
    config = tiny_config(max_epochs=2, save_every_n_steps=1)
    if wrong == "schedule":
        config.schedule = LinearConfig()
    with monkeypatch.context() as patch:
        count_steps(patch, die_after=2 if wrong == "epoch" else 1000)
        with pytest.raises(KilledError) if wrong == "epoch" else nullcontext():
            train(config)
    new_text = tmp_path / "new.txt"
    new_text.write_text(text_file.read_text() * 2)
    again = replace(config, data=replace(config.data, source=str(new_text)))
    again.exp_name = config.exp_name if wrong == "folder" else "new"
    again.trainer = replace(config.trainer, max_epochs=3)
    again.resume = str(tmp_path / "runs" / config.exp_name / "last.ckpt")
    if wrong == "model":
        again.model = replace(config.model, dropout=0.3)
    with pytest.raises(UsageError, match=r"data\.source is") as caught:
        train(again)

    assert caught.value.slug == "checkpoint-mismatch"
    assert ("begin anew with init_from=" in str(caught.value)) == (wrong != "model")
