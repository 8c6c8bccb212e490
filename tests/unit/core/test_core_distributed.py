"""Two processes against one, both with the trainer itself; this file is also what the processes run."""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.distributed import TCPStore
from torch.distributed.tensor import DTensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from trainkit.core import distributed, sharded, trainer
from trainkit.core.checkpoint import save_checkpoint
from trainkit.core.config import (
    AdamWConfig,
    MLPConfig,
    MuonConfig,
    OwnConfig,
    SGDConfig,
    TableConfig,
    TextConfig,
    TrainConfig,
    TrainerConfig,
    TransformerConfig,
)
from trainkit.core.data import IGNORE_INDEX, Batch, EpochSampler, Loaders, build_loaders
from trainkit.core.distributed import Ranks
from trainkit.core.imported import Estimator
from trainkit.core.parts import check_ranks
from trainkit.core.sharded import COMMON, MANIFEST, METADATA, load_sharded, map_tensors, save_sharded
from trainkit.core.text import build_text
from trainkit.core.trainer import fit, train
from trainkit.core.world import World
from trainkit.errors import TrainkitError, UsageError

BATCHES = {"train": 7, "validation": 3, "test": 4}  # the last ones of train and test are ragged
CLOSE = 1e-6  # of a weight at the end of a run; measured: at most 2.4e-7


# ---- what is trained


def write_text(folder: Path) -> None:
    """Paragraphs of different lengths: most windows are padded, each differently."""
    generator = random.Random(7)
    words = ["the", "loss", "of", "a", "token", "is", "a", "number", "in", "nats", "and", "a", "sum"]
    paragraphs = [" ".join(generator.choices(words, k=generator.randint(4, 24))) for _ in range(19)]
    (folder / "text.txt").write_text("\n\n".join(paragraphs), encoding="utf-8")
    rows = [f"{n * n % 31},{n % 7}.5,{'no' if n % 3 else 'yes'}" for n in range(60)]
    (folder / "rows.csv").write_text("\n".join(["a,b,y", *rows]) + "\n", encoding="utf-8")


def build(
    folder: Path, name: str, *, num_layers: int = 1, dropout: float = 0.0, resume: Any = None, **options: Any
) -> TrainConfig:
    """Give a run of 2 epochs; what is left of the options is the trainer's."""
    optimizer = options.pop("optimizer", AdamWConfig(learning_rate=1e-2))
    return TrainConfig(
        model=TransformerConfig(num_layers=num_layers, num_heads=2, model_dim=16, dropout=dropout),
        data=TextConfig(source=str(folder / "text.txt"), sequence_length=16, batch_size=6),
        optimizer=optimizer,
        trainer=TrainerConfig(**{"max_epochs": 2, "clip_norm": 0.5, "device": "cpu", **options}),
        output_dir=str(folder),
        exp_name=name,
        resume=resume if resume in (None, "auto") else str(folder / resume),
    )


class Sparse(Dataset[Batch]):
    """Windows of 4 tokens, most of them all padding."""

    def __len__(self) -> int:
        return 27

    def __getitem__(self, index: int) -> Batch:
        tokens = torch.arange(5) * (index + 1) % 17
        return Batch(tokens[:-1], tokens[1:] if index % 3 == 0 else torch.full((4,), IGNORE_INDEX))


class Plain(nn.Module):
    """No Task: its training step takes the batch alone, and calls no `forward` of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(17, 8)
        self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(8, 8), nn.Tanh())])
        self.head = nn.Linear(8, 17)

    def training_step(self, batch: Batch) -> Tensor:
        hidden = self.blocks[0](self.embedding(batch.tokens))
        return F.cross_entropy(self.head(hidden).flatten(0, 1), batch.targets.flatten())

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        return {"loss": self.training_step(batch), "place": torch.tensor(float(batch_idx))}

    def count_items(self, batch: Batch) -> int:
        return int((batch.targets != IGNORE_INDEX).sum())


def run_sparse(folder: Path, name: str, **options: Any) -> Any:
    config = build(folder, name, **options)
    torch.manual_seed(5)
    data = build_loaders([Sparse()] * 3, replace(config.data, batch_size=1), seed=0)
    return fit(Plain(), data, config)


def run_table(folder: Path, name: str, **options: Any) -> Any:
    """Train on rows in two workers; in two processes they begin without a cache, both at once."""
    config = build(folder, name, **options)
    rows = TableConfig(source=str(folder / "rows.csv"), target="y", batch_size=6, num_workers=2, split="random",
                       cache_dir=str(folder / f"cache-{name}"))  # fmt: skip
    return train(replace(config, model=MLPConfig(hidden_dims=[8]), data=rows))


# ---- what is seen of a run


def make_whole(tree: Any) -> Any:
    """Give the same with ordinary tensors of its own."""
    return map_tensors(tree, lambda _, t: t.full_tensor() if isinstance(t, DTensor) else t.detach().clone())


@contextmanager
def record(folder: Path) -> Iterator[None]:
    """Write down the weights and the optimizer as a run restores and saves them, apart from its checkpoints."""
    folder.mkdir(exist_ok=True)

    def write(name: str, run: Any) -> None:
        state = make_whole({"model": run.task.state_dict(), "optimizer": run.optimizer.state_dict()})
        if not run.world.rank:
            torch.save(state, folder / name)

    def restore(run: Any, state: Any) -> None:
        real_restore(run, state)
        write("restored.pt", run)

    def save(run: Any, *, is_best: bool) -> None:
        write(f"saved-{run.progress.num_epochs}.pt", run)
        real_save(run, is_best=is_best)

    real_restore, real_save = trainer._restore, trainer._write
    trainer._restore, trainer._write = restore, save
    try:
        yield
    finally:
        trainer._restore, trainer._write = real_restore, real_save


def test_half_an_environment_is_explained(monkeypatch):
    """Some launchers set a part of torchrun's variables."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MASTER_PORT", "1")
    with pytest.raises(UsageError, match="RANK, LOCAL_RANK, MASTER_ADDR is not: start with torchrun"):
        trainer.train(TrainConfig())


@contextmanager
def dying(num_steps: int, die: Callable[[], None], *, before: bool = False) -> Iterator[None]:
    """Die behind the checkpoint of this step, or just before it."""
    real = trainer._write

    def save_and_die(run: Any, *, is_best: bool) -> None:
        is_now = run.progress.num_steps + run.progress.epoch.get("num_steps", 0) == num_steps
        if before and is_now:
            die()
        real(run, is_best=is_best)
        if is_now:
            die()

    trainer._write = save_and_die
    try:
        yield
    finally:
        trainer._write = real


def interrupt() -> None:
    raise KeyboardInterrupt


def read(path: Path) -> dict[str, Any]:
    return load_sharded(path) if path.is_dir() else torch.load(path, weights_only=True)


def freeze(value: Any) -> Any:
    """Turn nested containers and tensors into something that == compares bit by bit."""
    if isinstance(value, Tensor):
        content = bytes(value.detach().contiguous().reshape(-1).view(torch.uint8).tolist())
        return str(value.dtype), tuple(value.shape), content
    if isinstance(value, dict):
        return {key: freeze(each) for key, each in value.items()}
    return [freeze(each) for each in value] if isinstance(value, list | tuple) else repr(value)


def see(folder: Path, *, rng: bool = False) -> Any:
    """Give all that must be the same bits in two runs: last.ckpt but for its configuration, and metrics.csv."""
    state = read(folder / "last.ckpt")
    keys = ["model", "optimizer", "progress", "extra", *(["rng"] if rng else [])]
    return freeze({key: state[key] for key in keys}), (folder / "metrics.csv").read_text()


def find_gap(one: Any, other: Any) -> float:
    """Give the largest difference of any weight, or of anything else that both have."""
    values: dict[str, Tensor] = {}
    gaps: list[float] = []
    map_tensors(one, lambda name, t: values.setdefault(name, t))
    map_tensors(other, lambda name, t: gaps.append(float((t - values[name]).abs().max())) or t)
    return max(gaps)


def find_gap_of_runs(one: Path, other: Path) -> float:
    return find_gap(*(read(each / "last.ckpt")["model"] for each in (one, other)))


# ---- in the two processes


def run(folder: Path, name: str, **options: Any) -> Any:
    return train(build(folder, name, **options))


def run_until_3(folder: Path, name: str, **options: Any) -> Any:
    with dying(3, interrupt):
        return run(folder, name, **options)


def run_recorded(folder: Path, name: str, **options: Any) -> Any:
    with record(folder / name):
        return run(folder, name, **options)


def run_damaged(folder: Path, name: str, **options: Any) -> Any:
    """Go on in a copy, in which the second rank's files are cut."""
    copy = folder / name
    if os.environ["RANK"] == "0":
        shutil.copytree(folder / "fsdp-plain", folder / "unfinished")
        for path in ("last.ckpt", "best.ckpt"):
            cut = folder / "unfinished" / path / "__1_0.distcp"
            cut.write_bytes(cut.read_bytes()[:-100])
        (folder / "unfinished").rename(copy)
    while not copy.exists():
        time.sleep(0.01)
    return run(folder, name, **options)


DDP: dict[str, dict[str, Any]] = {
    "plain": {},
    "batches": {"average_over": "batches"},
    "average": {"ema_decay": 0.9},
    "sgd": {"optimizer": SGDConfig(), "num_layers": 2},
    "muon": {"optimizer": MuonConfig()},
}
DROPOUT = {"dropout": 0.2, "save_every_n_steps": 3}
PARTS = {"strategy": "fsdp"}
SCENARIOS: list[tuple[str, str, Callable[..., Any], dict[str, Any]]] = [
    # (its name, the run's folder, function, options); one after the other
    *((f"ddp-{name}", f"ddp-{name}", run, options) for name, options in DDP.items()),
    ("ddp-accumulated", "ddp-accumulated", run, {"accumulate_grad_batches": 2}),
    ("ddp-dropout", "ddp-dropout", run, DROPOUT),
    ("ddp-stopped", "ddp-resumed", run_until_3, DROPOUT),
    ("ddp-resumed", "ddp-resumed", run, {**DROPOUT, "resume": "auto"}),
    ("ddp-sparse", "ddp-sparse", run_sparse, {}),
    ("ddp-table", "ddp-table", run_table, {}),
    ("fsdp-table", "fsdp-table", run_table, PARTS),
    ("ddp-from-midst", "ddp-from-midst", run, {"resume": "midst.ckpt"}),
    ("odd", "odd", run, {"resume": "odd.ckpt"}),
    ("refused", "refused", run, {**PARTS, "ema_decay": 0.5}),
    ("fsdp-plain", "fsdp-plain", run_recorded, PARTS),
    ("fsdp-sgd", "fsdp-sgd", run, {**PARTS, **DDP["sgd"]}),
    ("fsdp-dropout", "fsdp-dropout", run, {**PARTS, **DROPOUT}),
    ("fsdp-stopped", "fsdp-resumed", run_until_3, {**PARTS, **DROPOUT}),
    ("fsdp-resumed", "fsdp-resumed", run, {**PARTS, **DROPOUT, "resume": "auto"}),
    ("fsdp-sparse", "fsdp-sparse", run_sparse, PARTS),
    ("fsdp-from-midst", "fsdp-from-midst", run, {**PARTS, "resume": "midst.ckpt"}),
    ("fsdp-from-file", "fsdp-from-file", run_recorded, {**PARTS, "resume": "one-plain/previous.ckpt"}),
    ("ddp-from-folder", "ddp-from-folder", run_recorded, {"resume": "fsdp-plain/previous.ckpt"}),
    ("damaged", "damaged", run_damaged, {**PARTS, "resume": "auto"}),
    ("cut", "cut", run_damaged, {**PARTS, "resume": "cut/best.ckpt"}),
]


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    for name, run_name, function, options in SCENARIOS:
        try:
            result = function(folder, run_name, **options)
            outcome = {part: asdict(getattr(result, part)) for part in ("train", "validation", "test")}
        except UsageError as error:
            outcome = {"slug": error.slug, "message": str(error)}
        except KeyboardInterrupt:
            outcome = {"slug": "interrupted"}
        (folder / f"{name}.{os.environ['RANK']}.json").write_text(json.dumps(outcome))


def die(folder: Path) -> None:
    """Under torchrun: the second rank is gone before the third checkpoint."""
    torch.set_num_threads(1)
    with dying(3, lambda: os._exit(3) if os.environ["RANK"] == "1" else None, before=True):
        train(build(folder, "dead", save_every_n_steps=1))


# ---- in the test process


def make_environment(rank: int, size: int, port: int) -> dict[str, str]:
    """Give what torchrun would set; the store at the port is ours, as there it is torchrun's."""
    return {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size),
            "MASTER_ADDR": "localhost", "MASTER_PORT": str(port),
            "TORCHELASTIC_USE_AGENT_STORE": "True"}  # fmt: skip


def make_base() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(trainer.__file__).parents[2]), "OMP_NUM_THREADS": "1"}


@contextmanager
def as_only_rank() -> Iterator[None]:
    """Let this process be what `torchrun --nproc_per_node=1` starts."""
    store = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in make_environment(0, 1, store.port).items():
            patch.setenv(name, value)
        yield


@pytest.fixture
def world_of_one() -> Iterator[World]:
    """Give this process a process group."""
    with as_only_rank(), distributed.join_world("cpu") as world:
        yield world


def run_alone(folder: Path) -> None:
    """One process with as many batches in a step, and checkpoints for two to begin with."""
    for name, options in DDP.items():
        train(build(folder, f"one-{name}", accumulate_grad_batches=2, **options))
    train(build(folder, "one-accumulated", accumulate_grad_batches=4))
    run_sparse(folder, "one-sparse", accumulate_grad_batches=2)
    run_table(folder, "one-table", accumulate_grad_batches=2)
    for name, size in (("midst", 2), ("odd", 1)):
        with dying(3, interrupt), pytest.raises(KeyboardInterrupt):
            train(build(folder, f"one-{name}", accumulate_grad_batches=size, save_every_n_steps=1))
        shutil.copy(folder / f"one-{name}/last.ckpt", folder / f"{name}.ckpt")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of all runs: of one process (one-…) and of two, by name of the scenario."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs")
    write_text(folder)
    run_alone(folder)
    store = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)  # one for all, as torchrun's
    # without torchrun itself, which takes as long to start as one of them
    children = [
        subprocess.Popen(
            [sys.executable, __file__, "main", str(folder)],
            env=make_base() | make_environment(rank, 2, store.port),
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        for rank, child in enumerate(children):
            _, errors = child.communicate(timeout=90)
            (folder / f"stderr.{rank}").write_text(errors)
            assert child.returncode == 0, errors[-3000:]
    finally:
        for child in children:
            child.kill()
            child.communicate()
    return folder


def read_outcomes(runs: Path, name: str) -> list[dict[str, Any]]:
    """Give what each of the two ranks said of a scenario."""
    return [json.loads((runs / f"{name}.{rank}.json").read_text()) for rank in range(2)]


def test_the_text_is_hard_enough(runs: Path) -> None:
    """Odd numbers of batches, a ragged last one, and other numbers of tokens in each."""
    loaders = build_text(build(runs, "any").data, seed=0)
    loaders.sampler.set_epoch(0)
    counts = [int((batch.targets != IGNORE_INDEX).sum()) for batch in loaders.train]

    assert {part: len(getattr(loaders, part)) for part in BATCHES} == BATCHES
    assert len(loaders.train.dataset) % 6
    assert len(loaders.test.dataset) % 6
    assert len(set(counts)) > 5


# ---- one process, started by torchrun or not


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_world_of_one_is_no_other_world(runs: Path, strategy: str) -> None:
    """Bit for bit with dropout and a stop in the midst of an epoch: weights, optimizer, RNG, metrics."""
    options = {"dropout": 0.2, "save_every_n_steps": 2, "accumulate_grad_batches": 2}
    train(build(runs, f"alone-{strategy}", **options))
    with as_only_rank(), dying(6, interrupt), pytest.raises(KeyboardInterrupt):
        train(build(runs, f"only-{strategy}", strategy=strategy, **options))
    with as_only_rank():
        train(build(runs, f"only-{strategy}", strategy=strategy, resume="auto", **options))
    rng = read(runs / f"only-{strategy}/last.ckpt")["rng"]

    assert see(runs / f"only-{strategy}") == see(runs / f"alone-{strategy}")
    assert freeze(rng.pop("ranks")) == [freeze(rng)]
    assert freeze(rng) == freeze(read(runs / f"alone-{strategy}/last.ckpt")["rng"])


# ---- two processes, ddp


@pytest.mark.parametrize("name", DDP)
def test_two_copies_are_one_process_with_accumulation(runs: Path, name: str) -> None:
    """The same batches per step: the same bits in weights, optimizer, average, and metrics.csv."""
    assert see(runs / f"ddp-{name}") == see(runs / f"one-{name}")


def test_both_ranks_give_the_same_result(runs: Path) -> None:
    """That of all; the number of batches is each rank's, the repeated one among them."""
    one, other = read_outcomes(runs, "ddp-plain")

    assert one == other
    assert one["train"]["num_batches"] == 4
    assert one["train"]["num_steps"] == 4


def test_accumulation_in_two_processes(runs: Path) -> None:
    """Sums of four gradients come in another order: close, and as many steps."""
    gap = find_gap_of_runs(runs / "ddp-accumulated", runs / "one-accumulated")

    assert gap < CLOSE
    steps = [read(runs / f"{each}-accumulated/last.ckpt")["progress"]["num_steps"] for each in ("ddp", "one")]
    assert steps == [4, 4]


def test_two_go_on_from_the_midst_of_ones_epoch(runs: Path) -> None:
    """The same bits as without a stop, and without a change of their number."""
    assert see(runs / "ddp-from-midst")[0] == see(runs / "one-plain")[0]
    assert find_gap_of_runs(runs / "fsdp-from-midst", runs / "one-plain") < CLOSE


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_one_goes_on_from_the_midst_of_twos_epoch(runs: Path, strategy: str) -> None:
    """It has done the batches of both, and goes on with the first rank's stream."""
    name = f"to-one-{strategy}"
    state = read(runs / f"{strategy}-resumed/previous.ckpt")
    resume = f"{strategy}-resumed/previous.ckpt"
    result = train(build(runs, name, dropout=0.2, resume=resume, accumulate_grad_batches=2))
    expected = read_outcomes(runs, f"{strategy}-dropout")[0]["train"]

    assert (state["progress"]["num_epochs"], state["progress"]["epoch"]["num_batches"]) == (1, 4)
    assert (result.num_steps, result.train.num_batches) == (8, 7)
    assert result.train.num_items == expected["num_items"]
    assert result.train.loss_sum != expected["loss_sum"]


def test_batches_that_cannot_be_shared(runs: Path) -> None:
    """Both ranks say the same, in one sentence."""
    one, other = read_outcomes(runs, "odd")

    assert one == other
    assert one["slug"] == "ranks-unsupported"
    assert "after 3 batches of an epoch, which 2 processes cannot have shared" in one["message"]


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_stop_leaves_no_trace(runs: Path, strategy: str) -> None:
    """With dropout, in the midst of an epoch: the same bits, the random state of both ranks among them."""
    states = read(runs / f"{strategy}-dropout/last.ckpt")["rng"]["ranks"]
    losses = [row.split(",")[4] for row in (runs / f"{strategy}-dropout/metrics.csv").read_text().split()[1:]]

    assert [each["slug"] for each in read_outcomes(runs, f"{strategy}-stopped")] == ["interrupted"] * 2
    assert see(runs / f"{strategy}-resumed", rng=True) == see(runs / f"{strategy}-dropout", rng=True)
    assert len(states) == 2
    assert not torch.equal(states[0]["cpu"], states[1]["cpu"])
    assert states[0]["python"] != states[1]["python"]
    assert all(0 < float(loss) < 6 for loss in losses)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_batches_without_items(runs: Path, strategy: str) -> None:
    """Their nan reaches nothing, they make no step, and they are counted; any module's step is called right.

    A validation step is told the number of its batch among those of all ranks.
    """
    one, two = read(runs / "one-sparse/last.ckpt"), read(runs / f"{strategy}-sparse/last.ckpt")
    outcome = read_outcomes(runs, f"{strategy}-sparse")[0]

    assert two["progress"]["num_steps"] == one["progress"]["num_steps"] < 2 * 14
    assert outcome["train"]["num_batches"] == 14
    assert outcome["validation"]["metric_sums"]["place"] == sum(range(0, 27, 3)) * 4
    if strategy == "ddp":
        assert see(runs / "ddp-sparse") == see(runs / "one-sparse")
    assert find_gap(one["model"], two["model"]) < CLOSE


def test_two_processes_share_a_table(runs: Path) -> None:
    """Both begin without its cache and leave one; the bits are those of one process."""
    places = [{*os.listdir(runs / f"cache-{who}-table")} - {"digests"} for who in ("ddp", "fsdp", "one")]

    assert see(runs / "ddp-table") == see(runs / "one-table")
    assert find_gap_of_runs(runs / "fsdp-table", runs / "one-table") < CLOSE
    assert places[0] == places[1] == places[2]
    assert len(places[0]) == 1


# ---- two processes, fsdp


@pytest.mark.parametrize("name", ["plain", "sgd"])
def test_two_parts_are_one_process_with_accumulation(runs: Path, name: str) -> None:
    """Only the norm is summed in another order: weights are close, and so are the metrics."""
    folders = [runs / f"fsdp-{name}", runs / f"one-{name}"]
    gap = find_gap_of_runs(*folders)
    rows = [[row.split(",") for row in (f / "metrics.csv").read_text().split()[1:]] for f in folders]

    assert gap < CLOSE
    assert [row[:4] for row in rows[0]] == [row[:4] for row in rows[1]]
    assert [float(row[4]) for row in rows[0]] == pytest.approx([float(row[4]) for row in rows[1]], rel=1e-6)
    print(f"fsdp-{name}: largest difference of a weight {gap!r}")


def test_parts_are_written_and_read_by_two(runs: Path) -> None:
    """A folder holds the same bits as the run that wrote it; both ranks have written."""
    last, previous = (runs / f"fsdp-plain/{name}.ckpt" for name in ("last", "previous"))

    assert {path.name for path in last.iterdir()} == {
        METADATA, COMMON, MANIFEST, "__0_0.distcp", "__1_0.distcp"
    }  # fmt: skip
    for path, number in ((previous, 1), (last, 2)):
        saved = torch.load(runs / f"fsdp-plain/saved-{number}.pt", weights_only=True)
        assert freeze({key: read(path)[key] for key in saved}) == freeze(saved)


@pytest.mark.parametrize(
    ("name", "source"), [("fsdp-from-file", "one-plain"), ("ddp-from-folder", "fsdp-plain")]
)
def test_two_go_on_with_anybodys_checkpoint(runs: Path, name: str, source: str) -> None:
    """They begin with the same bits of weights and optimizer, and end close to an undisturbed run."""
    saved = read(runs / source / "previous.ckpt")
    restored = torch.load(runs / name / "restored.pt", weights_only=True)

    assert freeze(restored) == freeze({key: saved[key] for key in restored})
    assert find_gap_of_runs(runs / name, runs / "one-plain") < CLOSE
    assert (runs / name / "last.ckpt").is_dir() == name.startswith("fsdp")


@pytest.mark.parametrize("strategy", ["none", "ddp", "fsdp"])
def test_one_goes_on_with_what_two_wrote(runs: Path, strategy: str) -> None:
    """Without torchrun and with it: the same bits to begin with, and close at the end."""
    options = {} if strategy == "none" else {"strategy": strategy}
    name = f"from-two-{strategy}"
    config = build(runs, name, resume="fsdp-plain/previous.ckpt", accumulate_grad_batches=2, **options)
    with record(runs / name):
        if strategy == "none":
            train(config)
        else:
            with as_only_rank():
                train(config)
    restored = torch.load(runs / name / "restored.pt", weights_only=True)

    assert freeze(restored) == freeze(torch.load(runs / "fsdp-plain/saved-1.pt", weights_only=True))
    assert find_gap_of_runs(runs / name, runs / "fsdp-plain") < CLOSE


def test_weights_of_a_folder_begin_a_new_run(runs: Path) -> None:
    """`init_from` reads what two processes wrote."""
    config = build(runs, "begun", max_epochs=1, optimizer=SGDConfig(learning_rate=1e-30, weight_decay=0.0))
    config.init_from = str(runs / "fsdp-plain/last.ckpt")
    train(config)

    assert find_gap_of_runs(runs / "begun", runs / "fsdp-plain") == 0


def test_the_one_before_stands_in(runs: Path) -> None:
    """One rank has read the damaged file; both go on with previous.ckpt, and end with the same bits."""
    assert see(runs / "damaged") == see(runs / "fsdp-plain")
    warnings = [(runs / f"stderr.{rank}").read_text().count("going on from") for rank in range(2)]
    assert warnings == [1, 0]


def test_all_ranks_refuse_a_file_that_is_cut(runs: Path) -> None:
    """One reads the damaged file, both raise."""
    one, other = read_outcomes(runs, "cut")

    assert one == other
    assert one["slug"] == "checkpoint-unreadable"
    assert "__1_0.distcp has sha256" in one["message"]


def test_a_run_changes_between_parts_and_a_whole(tmp_path: Path, world_of_one: World) -> None:
    """Files and folders replace each other, whichever comes after which."""
    last, previous, best = (tmp_path / f"{name}.ckpt" for name in ("last", "previous", "best"))
    for number, kind in enumerate(["file", "file", "folder", "file", "folder", "folder", "file"]):
        for path in (best, last):
            if kind == "file":
                save_checkpoint(path, {"epoch": number})
            else:
                save_sharded(path, {"epoch": number}, previous=previous, world=world_of_one)

        assert (read(last)["epoch"], read(best)["epoch"]) == (number, number)
        assert previous.exists() == (number > 0)


# ---- what is refused


def list_refused() -> list[tuple[str, str, Any, Any, Any]]:
    """Give (what is named, strategy, configuration's part, task, loaders)."""
    lightning = type("Net", (type("LightningModule", (nn.Module,), {}),), {})()
    estimator = Estimator(SimpleNamespace(), online=False, num_classes=None)
    foreign = Loaders(train=[], validation=[], test=[])
    return [
        ("trainer.compile=True", "ddp", {"compile": True}, None, None),
        ("a LightningModule", "ddp", {}, lightning, None),
        ("an estimator", "ddp", {}, estimator, None),
        ("optimizer=own", "ddp", {"optimizer": OwnConfig()}, None, None),
        ("loaders that are not trainkit's", "ddp", {}, None, foreign),
        ("loaders that are not trainkit's", "ddp", {}, None, "mixed"),
        ("optimizer=muon with fsdp", "fsdp", {"optimizer": MuonConfig()}, None, None),
        ("trainer.ema_decay with fsdp", "fsdp", {"ema_decay": 0.5}, None, None),
        ("trainer.precision=fp16 with fsdp", "fsdp", {"precision": "fp16"}, None, None),
    ]


@pytest.mark.parametrize(("named", "strategy", "options", "task", "loaders"), list_refused())
def test_what_was_never_seen_right_is_refused(
    tmp_path: Path, named: str, strategy: str, options: Any, task: Any, loaders: Any
) -> None:
    """Each combination is named in one line, and nothing else is."""
    config = build(tmp_path, "any", strategy=strategy, **options)
    ours = build_loaders([Sparse()] * 3, config.data, seed=0)
    if loaders == "mixed":
        loaders = replace(ours, validation=[])
    with pytest.raises(UsageError) as caught:
        check_ranks(config, task or Plain(), loaders or ours)

    assert caught.value.slug == "ranks-unsupported"
    assert str(caught.value) == f"under torchrun there is no {named}; train it in one process"


def test_all_that_is_refused_is_named_at_once(tmp_path: Path, runs: Path) -> None:
    """One sentence, on every rank; what is allowed passes."""
    config = build(tmp_path, "any", strategy="fsdp", compile=True, ema_decay=0.5, precision="fp16")
    loaders = build_loaders([Sparse()] * 3, config.data, seed=0)
    with pytest.raises(UsageError) as caught:
        check_ranks(config, Plain(), loaders)
    check_ranks(build(tmp_path, "any", ema_decay=0.5, precision="fp16"), Plain(), loaders)

    assert str(caught.value).count("no ") == 4 - 1
    one, other = read_outcomes(runs, "refused")
    assert one == other
    assert "trainer.ema_decay with fsdp" in one["message"]


def test_a_process_without_a_device_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """More processes than devices: a sentence before anybody is met."""
    for name, value in make_environment(1, 2, 0).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UsageError) as caught, distributed.join_world("cuda"):
        pass

    assert caught.value.slug == "device-unavailable"
    assert "process 1 of this machine has no CUDA device: torch sees 1" in str(caught.value)


# ---- a rank that dies


def test_one_rank_that_dies_ends_the_other(runs: Path) -> None:
    """Torchrun stops the one that waits, and one process goes on from the last checkpoint to the same bits."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", __file__]
    done = subprocess.run(
        [*command, "die", str(runs)],
        env=make_base(),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )  # the one that waits would wait for half an hour

    assert done.returncode == 1
    assert "exitcode  : 3" in done.stderr
    progress = read(runs / "dead/last.ckpt")["progress"]
    assert (progress["num_epochs"], progress["epoch"]["num_batches"]) == (0, 4)
    train(build(runs, "dead", accumulate_grad_batches=2, resume="auto"))
    assert see(runs / "dead") == see(runs / "one-plain")


def test_one_ranks_mistake_is_everybodys(world_of_one: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another rank raised is raised here, though this one was done."""
    mistake = (UsageError, "checkpoint-unreadable", "planted")
    monkeypatch.setattr(distributed, "gather", lambda found, _: [found, mistake])
    with pytest.raises(UsageError, match="planted") as caught:
        distributed.do_together(lambda: 1, world_of_one)

    assert caught.value.slug == "checkpoint-unreadable"


# ---- files that are not what they were


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def sign(folder: Path) -> None:
    """Write the sums of the files as they are now: an attacker can."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    (folder / MANIFEST).write_text(json.dumps({name: sharded._hash(folder / name) for name in manifest}))


@pytest.fixture
def copied(runs: Path, tmp_path: Path) -> Path:
    """Give a folder that two processes wrote, to be damaged."""
    return Path(shutil.copytree(runs / "fsdp-plain/previous.ckpt", tmp_path / "last.ckpt"))


def refuse(folder: Path) -> str:
    with pytest.raises(UsageError) as caught:
        load_sharded(folder)
    assert caught.value.slug == "checkpoint-unreadable"
    return str(caught.value)


@pytest.mark.parametrize("file", [METADATA, COMMON, "__0_0.distcp"])
def test_a_bomb_is_refused(copied: Path, tmp_path: Path, file: str) -> None:
    """Code in any of the files does not run, though its sum is right; plainly unpickled it does."""
    bomb = Bomb(tmp_path / "boom")
    if file == METADATA:
        (copied / file).write_bytes(pickle.dumps(bomb))
    else:
        torch.save(bomb, copied / file)
    sign(copied)
    refuse(copied)

    assert not bomb.path.exists()
    if file == METADATA:
        pickle.loads((copied / file).read_bytes())
        assert bomb.path.exists()


class OldPickler(pickle.Pickler):
    """Writes members of enumerations as Python 3.11.0 to 3.11.3 do, and of other classes an attribute."""

    def __init__(self, file: Any, attribute: str = "") -> None:
        super().__init__(file)
        self.attribute = attribute

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, Enum):
            return getattr, (type(value), self.attribute or value.name)
        return NotImplemented


@pytest.mark.parametrize("attribute", ["", "mro"])
def test_members_of_enumerations_are_read_by_name(copied: Path, attribute: str) -> None:
    """As an older Python writes them; nothing else is had by `getattr`."""
    metadata = pickle.loads((copied / METADATA).read_bytes())
    with (copied / METADATA).open("wb") as file:
        OldPickler(file, attribute).dump(metadata)
    sign(copied)

    if attribute:
        assert "'mro' of <enum '_MEM_FORMAT_ENCODING'>, which describes no tensor" in refuse(copied)
    else:
        read = sharded._read_metadata(copied)
        assert read.state_dict_metadata.keys() == metadata.state_dict_metadata.keys()


def test_an_entry_that_is_no_tensor_is_refused(copied: Path) -> None:
    """dcp would unpickle what its description calls bytes: with dcp's own reader the bomb goes off."""
    from torch.distributed.checkpoint.metadata import BytesStorageMetadata

    metadata = pickle.loads((copied / METADATA).read_bytes())
    name = next(iter(metadata.state_dict_metadata))
    metadata.state_dict_metadata[name] = BytesStorageMetadata()
    (copied / METADATA).write_bytes(pickle.dumps(metadata))
    sign(copied)

    assert "BytesStorageMetadata" in refuse(copied)


def test_a_file_of_another_folder_is_refused(copied: Path) -> None:
    """Neither the description nor the list of files leads out of the folder."""
    metadata = pickle.loads((copied / METADATA).read_bytes())
    index = next(iter(metadata.storage_data))
    metadata.storage_data[index].relative_path = "../other.distcp"
    (copied / METADATA).write_bytes(pickle.dumps(metadata))
    sign(copied)

    assert "names the file '../other.distcp'" in refuse(copied)
    manifest = json.loads((copied / MANIFEST).read_bytes())
    (copied / MANIFEST).write_text(json.dumps({"../other": "", **manifest}))
    assert "names '../other', which is not in the folder" in refuse(copied)


@pytest.mark.parametrize("file", [METADATA, COMMON, MANIFEST, "__0_0.distcp", "__1_0.distcp"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
def test_damage_is_refused(copied: Path, file: str, damage: str) -> None:
    """Whatever is wrong with one of the files, nothing is loaded."""
    path = copied / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content if damage == "flipped" else content[: len(content) // 2])

    refuse(copied)


def test_the_one_before_is_kept(world_of_one: World, tmp_path: Path) -> None:
    """Saving twice leaves both; a write that fails leaves the latest as it was, and says why."""
    last, previous = tmp_path / "last.ckpt", tmp_path / "previous.ckpt"
    for epoch in (1, 2):
        save_sharded(last, {"epoch": epoch}, previous=previous, world=world_of_one)
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainkitError) as caught:
        save_sharded(tmp_path / "file" / "last.ckpt", {}, previous=previous, world=world_of_one)

    assert caught.value.slug == "checkpoint-not-written"
    assert (read(last)["epoch"], read(previous)["epoch"]) == (2, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "last.ckpt", "previous.ckpt"]


# ---- how batches are dealt


@given(st.integers(0, 60), st.integers(1, 9), st.integers(1, 7), st.booleans(), st.integers(0, 20))
def test_every_batch_is_dealt_once(
    num_samples: int, batch_size: int, size: int, shuffle: bool, num_done: int
) -> None:
    """What counts are the batches of one process, each once, in turns; ranks stay in step; done is done."""

    def take(world: World, *, start: int = 0) -> tuple[list[list[int]], Ranks]:
        sampler = EpochSampler(num_samples, seed=3, shuffle=shuffle)
        ranks = Ranks(world, nn.Identity(), sampler.deal(world, batch_size))
        sampler.set_epoch(2, start=start * batch_size)
        own = list(sampler)
        assert len(sampler) == len(own)
        return [own[first : first + batch_size] for first in range(0, len(own), batch_size)], ranks

    expected, _ = take(World())
    dealt = [take(World(rank, size)) for rank in range(size)]
    rounds = list(zip(*(batches for batches, _ in dealt), strict=True))
    counted = [
        batch
        for number, together in enumerate(rounds)
        for batch, (_, ranks) in zip(together, dealt, strict=True)
        if ranks.counts(number)
    ]

    assert counted == expected
    assert len(rounds) == -(-len(expected) // size)
    assert all(batch == expected[-1] for each in rounds for batch in each if batch not in expected[:-1])
    for rank, (batches, _) in enumerate(dealt):
        rest, _ = take(World(rank, size), start=num_done)
        assert rest == batches[num_done:]


if __name__ == "__main__":
    {"main": main, "die": die}[sys.argv[1]](Path(sys.argv[2]))
