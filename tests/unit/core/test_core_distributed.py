"""Two processes against one; this file is also what torchrun starts (`main`)."""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from trainkit.core import distributed as d
from trainkit.core.config import TransformerConfig
from trainkit.core.data import IGNORE_INDEX, Batch
from trainkit.core.models import Transformer
from trainkit.core.optim import group_parameters
from trainkit.core.task import Task
from trainkit.errors import TrainkitError, UsageError


class LanguageTask(Task):
    """A transformer with the mean loss of its tokens that are no padding."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        config = TransformerConfig(num_layers=2, num_heads=2, model_dim=16, dropout=dropout)
        self.model = Transformer(config, vocab_size=17)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return F.cross_entropy(
            self.model(batch.tokens).flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORE_INDEX
        )

    def count_items(self, batch: Batch) -> int:
        return int((batch.targets != IGNORE_INDEX).sum())


def make_batches(num: int, *, ragged: bool) -> list[Batch]:
    """Give batches of 4 windows of 8; ragged ones are padded, and the last has fewer windows."""
    generator = torch.Generator().manual_seed(3)
    batches = []
    for number in range(num):
        tokens = torch.randint(17, (4, 9), generator=generator)
        targets = tokens[:, 1:].clone()
        if ragged:
            targets[number % 4, 1 + number % 5 :] = IGNORE_INDEX
        batches.append(Batch(tokens[:, :-1], targets))
    if ragged:
        batches[-1] = Batch(batches[-1].tokens[:3], batches[-1].targets[:3])
    return batches


def build(strategy: str, world: d.World, *, dropout: float = 0.0) -> tuple[LanguageTask, Any, Any]:
    """Give the task, what the loop calls, and an AdamW."""
    torch.manual_seed(5)
    task = LanguageTask(dropout)
    step: Any = task.training_step
    trained: Any = task
    if strategy == "ddp":
        trained = step = d.wrap_ddp(task)
    if strategy == "fsdp":
        d.shard(task, world)
        step = task.training_step
    optimizer = torch.optim.AdamW(group_parameters(task, 0.1), lr=1e-2)
    return task, (trained, step), optimizer


def train(
    parts: Any, batches: list[Batch], world: d.World, *, accumulate: int = 1, clip: float = 0.0
) -> list[float]:
    """A loop as the core's, in a few lines; gives loss sum, items and the norms before clipping."""
    task, (trained, step), optimizer = parts
    own = list(d.deal_batches(len(batches), world))
    loss_sum, num_items, norms = 0.0, 0, []
    for start in range(0, len(own), accumulate):
        group = own[start : start + accumulate]
        weights = [task.count_items(batches[number]) if counts else 0 for number, counts in group]
        total = int(d.sum_over_ranks([sum(weights)], world)[0])
        if not total:
            continue
        optimizer.zero_grad()
        for (number, _), weight in zip(group, weights, strict=True):
            if not weight and not isinstance(trained, d.FSDPModule | d.DistributedDataParallel):
                continue
            with d.synchronise(trained, last=number == group[-1][0]):
                loss = step(batches[number], number)
                d.scale_loss(loss, weight, total=total, world=world).backward()
            loss_sum += loss.item() * weight if weight else 0.0
            num_items += weight
        if clip:
            norms.append(d.clip_norm(task.parameters(), clip).item())
        optimizer.step()
    return [*d.sum_over_ranks([loss_sum], world), *d.sum_over_ranks([num_items], world), *norms]


def make_state(parts: Any) -> dict[str, Any]:
    return {"model": parts[0].state_dict(), "optimizer": parts[2].state_dict(), "epoch": 3}


def make_whole(tree: Any) -> Any:
    """Give the same with ordinary tensors."""
    return d._map_tensors(tree, lambda _, t: t.full_tensor() if isinstance(t, DTensor) else t.clone())


def flatten(tree: Any) -> dict[str, bytes]:
    """Give the bits of every tensor by its place."""
    found: dict[str, bytes] = {}

    def take(name: str, tensor: Tensor) -> Tensor:
        found[name] = bytes(tensor.detach().contiguous().view(-1).view(torch.uint8).tolist())
        return tensor

    d._map_tensors(tree, take)
    return found


def find_gap(one: Any, other: Any) -> float:
    """Give the largest difference of any element."""
    gaps: list[float] = []
    values: dict[str, Tensor] = {}
    d._map_tensors(one, lambda name, t: values.setdefault(name, t))
    d._map_tensors(other, lambda name, t: gaps.append(float((t - values[name]).abs().max())) or t)
    return max(gaps)


SCENARIOS = {  # name: batches, ragged, accumulation in two processes, clipping
    "equal": (6, False, 1, 0.0),
    "ragged": (7, True, 1, 0.0),
    "clipped": (7, True, 1, 0.5),
    "accumulated": (10, True, 2, 0.0),
}


# ---- in the two processes


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    with d.join_world("cpu") as world:
        result: dict[str, Any] = {}
        for strategy in ("ddp", "fsdp"):
            for name, (num, ragged, accumulate, clip) in SCENARIOS.items():
                parts = build(strategy, world)
                numbers = train(
                    parts, make_batches(num, ragged=ragged), world, accumulate=accumulate, clip=clip
                )
                result[f"{strategy}-{name}"] = {**make_whole(make_state(parts)), "numbers": numbers}
        d.save_sharded(folder / "two.ckpt", make_state(parts), previous=folder / "previous.ckpt", world=world)
        loaded = d.load_sharded(folder / "one.ckpt", world)
        fresh = build("fsdp", world)
        fresh[0].load_state_dict(loaded["model"])
        fresh[2].load_state_dict(loaded["optimizer"])
        result["from-one"] = make_whole(make_state(fresh))
        result["nan"] = check_nan(world)
        result["average"] = check_average(world)
        result["rng"] = check_rng(world)
        result["damaged"] = check_damaged(folder, world)
        if world.rank == 0:
            torch.save(result, folder / "result.pt")


def check_nan(world: d.World) -> dict[str, bool]:
    """A rank whose batch has no items must leave no trace."""
    found = {}
    for strategy in ("ddp", "fsdp"):
        batches = make_batches(2, ragged=False)
        batches[1].targets.fill_(IGNORE_INDEX)
        parts = build(strategy, world)
        train(parts, batches, world)
        found[strategy] = all(bool(make_whole(p.detach()).isfinite().all()) for p in parts[0].parameters())
    return found


def check_average(world: d.World) -> str:
    """An average made before sharding, and sharded itself."""
    torch.manual_seed(5)
    task = LanguageTask()
    average = AveragedModel(task, multi_avg_fn=get_ema_multi_avg_fn(0.5), use_buffers=True)
    d.shard(task, world)
    d.shard(average.module, world)
    optimizer = torch.optim.AdamW(task.parameters(), lr=1e-2)
    batches = make_batches(2, ragged=False)
    for _ in range(3):
        optimizer.zero_grad()
        task.training_step(batches[world.rank], 0).backward()
        optimizer.step()
        average.update_parameters(task)
    with torch.inference_mode():
        loss = average.module.validation_step(batches[0], 0).item()
    try:
        AveragedModel(task)
    except Exception as error:
        return f"{type(error).__name__} after sharding; before: loss {loss < 10}"
    return "copied"


def check_rng(world: d.World) -> list[Any]:
    torch.manual_seed(1)
    random.seed(1)
    d.split_rng(world)
    states = d.gather_rng(world)
    drawn = d.gather((torch.rand(()).item(), random.random()), world)
    torch.manual_seed(9)
    d.restore_rng(states, world)
    again = d.gather((torch.rand(()).item(), random.random()), world)
    d.restore_rng(states[:1], world)
    other = d.gather((torch.rand(()).item(), random.random()), world)
    return [drawn, again, other]


def check_damaged(folder: Path, world: d.World) -> list[str]:
    """Both ranks say the same, though one of them alone has read the damaged file."""
    try:
        d.load_sharded(folder / "cut.ckpt", world)
    except UsageError as error:
        return d.gather(f"{error.slug}: {error}", world)
    return d.gather("loaded", world)


def fail_alone() -> None:
    with d.join_world("cpu") as world:
        if world.rank == 1:
            raise TrainkitError("train-non-finite", "planted")
        d.sum_over_ranks([1], world)


# ---- in the test process


def find_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return int(free.getsockname()[1])


def make_environment(rank: int, size: int, port: int) -> dict[str, str]:
    """Give what torchrun would set."""
    return {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size),
            "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}  # fmt: skip


def launch_two(*arguments: str) -> None:
    """Run this file as two processes; without torchrun, which takes as long to start as one of them."""
    port = find_port()
    base = {**os.environ, "PYTHONPATH": str(Path(d.__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, *arguments]
    children = [
        subprocess.Popen(
            command, env=base | make_environment(rank, 2, port), stderr=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    for child in children:
        _, errors = child.communicate(timeout=60)
        assert child.returncode == 0, errors[-3000:]


def launch_torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run this file as two processes, as users do."""
    environment = {**os.environ, "PYTHONPATH": str(Path(d.__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", __file__]
    return subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, timeout=60)


@pytest.fixture
def world_of_one(monkeypatch: pytest.MonkeyPatch) -> Iterator[d.World]:
    """Give this process a process group."""
    for name, value in make_environment(0, 1, find_port()).items():
        monkeypatch.setenv(name, value)
    with d.join_world("cpu") as world:
        yield world


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, Any], dict[str, Any]]]:
    """Give the folder, what two processes found, and the state that one process had saved for them."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("two")
    with pytest.MonkeyPatch.context() as patch:
        world = next(generator := world_of_one.__wrapped__(patch))  # type: ignore[attr-defined]
        parts = build("fsdp", world)
        train(parts, make_batches(4, ragged=True), world)
        d.save_sharded(folder / "one.ckpt", make_state(parts), previous=folder / "old", world=world)
        saved = make_whole(make_state(parts))
        next(generator, None)
    shutil.copytree(folder / "one.ckpt", folder / "cut.ckpt")
    cut = folder / "cut.ckpt/__0_0.distcp"
    cut.write_bytes(cut.read_bytes()[:-100])
    launch_two(str(folder))
    yield folder, torch.load(folder / "result.pt", weights_only=False), saved


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_are_one_with_accumulation(two: Any, strategy: str, name: str) -> None:
    """The same batches per step: bit for bit, but where sums of more than two are in another order."""
    num, ragged, accumulate, clip = SCENARIOS[name]
    parts = build("none", d.ALONE)
    numbers = train(parts, make_batches(num, ragged=ragged), d.ALONE, accumulate=2 * accumulate, clip=clip)
    found = two[1][f"{strategy}-{name}"]
    state = make_state(parts)
    gap = find_gap(
        {k: found[k] for k in ("model", "optimizer")}, {k: state[k] for k in ("model", "optimizer")}
    )
    print(
        strategy, name, "gap", gap, "numbers", [a - b for a, b in zip(numbers, found["numbers"], strict=True)]
    )

    assert found["numbers"] == pytest.approx(numbers, rel=1e-6)
    assert found["numbers"][1] == numbers[1]
    same = all(flatten(found[k]) == flatten(state[k]) for k in ("model", "optimizer"))
    if name == "accumulated" or (strategy, name) == ("fsdp", "clipped"):
        assert gap < 2e-4
    else:
        assert same


def test_one_process_reads_what_two_wrote(two: Any, world_of_one: d.World) -> None:
    """Weights and optimizer state are the same bits, in one process of a group and without any group."""
    folder, found, _ = two
    expected = {key: found["fsdp-accumulated"][key] for key in ("model", "optimizer", "epoch")}
    parts = build("fsdp", world_of_one)
    loaded = d.load_sharded(folder / "two.ckpt", world_of_one)
    parts[0].load_state_dict(loaded["model"])
    parts[2].load_state_dict(loaded["optimizer"])

    assert flatten(make_whole(make_state(parts))) == flatten(expected)
    assert flatten(d.load_sharded(folder / "two.ckpt")) == flatten(expected)
    assert (
        d.load_sharded(folder / "two.ckpt")["optimizer"]["param_groups"]
        == expected["optimizer"]["param_groups"]
    )


def test_two_processes_read_what_one_wrote(two: Any) -> None:
    """The other way round."""
    assert flatten(two[1]["from-one"]) == flatten(two[2])


def test_a_rank_without_items_leaves_no_trace(two: Any) -> None:
    """The nan of an empty mean reaches no weight."""
    assert two[1]["nan"] == {"ddp": True, "fsdp": True}


def test_an_average_is_made_before_sharding(two: Any) -> None:
    """A sharded module cannot be copied; a copy can be sharded."""
    assert two[1]["average"].endswith("after sharding; before: loss True")


def test_each_rank_has_its_own_stream(two: Any) -> None:
    """Rank 0 keeps the plain one; all come back; another number of ranks splits rank 0's."""
    drawn, again, other = two[1]["rng"]
    torch.manual_seed(1)

    assert drawn[0][0] == torch.rand(()).item()
    assert drawn[0] != drawn[1]
    assert again == drawn
    assert other == drawn  # split at the same place


def test_all_ranks_refuse_a_file_that_is_cut(two: Any) -> None:
    """One reads the damaged file, both raise."""
    one, other = two[1]["damaged"]

    assert one == other
    assert one.startswith("checkpoint-unreadable: ") and "__0_0.distcp has sha256" in one


def test_one_rank_that_fails_ends_the_other() -> None:
    """Torchrun stops a process that waits for one that is gone."""
    start = time.monotonic()
    done = launch_torchrun("fail")

    assert done.returncode == 1
    assert "planted" in done.stderr
    assert time.monotonic() - start < 30


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def sign(folder: Path) -> None:
    """Write the sums of the files as they are now: an attacker can."""
    manifest = json.loads((folder / d.MANIFEST).read_bytes())
    (folder / d.MANIFEST).write_text(json.dumps({name: d._hash(folder / name) for name in manifest}))


@pytest.mark.parametrize("file", [d.METADATA, d.COMMON, "__0_0.distcp"])
def test_a_bomb_is_refused(two: Any, tmp_path: Path, file: str) -> None:
    """Code in any of the files does not run, though its sum is right; plainly unpickled it does."""
    folder = tmp_path / "last.ckpt"
    shutil.copytree(two[0] / "one.ckpt", folder)
    bomb = Bomb(tmp_path / "boom")
    if file == d.METADATA:
        (folder / file).write_bytes(pickle.dumps(bomb))
    else:
        torch.save(bomb, folder / file)
    sign(folder)
    with pytest.raises(UsageError) as caught:
        d.load_sharded(folder)

    assert caught.value.slug == "checkpoint-unreadable"
    assert not bomb.path.exists()
    if file == d.METADATA:
        pickle.loads((folder / file).read_bytes())
        assert bomb.path.exists()


def test_an_entry_that_is_no_tensor_is_refused(two: Any, tmp_path: Path) -> None:
    """dcp would unpickle what its description calls bytes: with dcp's own reader the bomb goes off."""
    from torch.distributed.checkpoint.metadata import BytesStorageMetadata

    folder = tmp_path / "last.ckpt"
    shutil.copytree(two[0] / "one.ckpt", folder)
    metadata = pickle.loads((folder / d.METADATA).read_bytes())
    name = next(iter(metadata.state_dict_metadata))
    metadata.state_dict_metadata[name] = BytesStorageMetadata()
    (folder / d.METADATA).write_bytes(pickle.dumps(metadata))
    sign(folder)
    with pytest.raises(UsageError) as caught:
        d.load_sharded(folder)

    assert "BytesStorageMetadata" in str(caught.value)


@pytest.mark.parametrize("file", [d.METADATA, d.COMMON, d.MANIFEST, "__0_0.distcp"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
def test_damage_is_refused(two: Any, tmp_path: Path, file: str, damage: str) -> None:
    """Whatever is wrong with one of the files, nothing is loaded."""
    folder = tmp_path / "last.ckpt"
    shutil.copytree(two[0] / "one.ckpt", folder)
    path = folder / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content if damage == "flipped" else content[: len(content) // 2])
    with pytest.raises(UsageError) as caught:
        d.load_sharded(folder)

    assert caught.value.slug == "checkpoint-unreadable"


def test_the_one_before_is_kept(world_of_one: d.World, tmp_path: Path) -> None:
    """Saving twice leaves both; a write that fails leaves the latest as it was, and says why."""
    last, previous = tmp_path / "last.ckpt", tmp_path / "previous.ckpt"
    for epoch in (1, 2):
        d.save_sharded(last, {"epoch": epoch}, previous=previous, world=world_of_one)
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainkitError) as caught:
        d.save_sharded(tmp_path / "file" / "last.ckpt", {}, previous=previous, world=world_of_one)

    assert caught.value.slug == "checkpoint-not-written"
    assert (d.load_sharded(last)["epoch"], d.load_sharded(previous)["epoch"]) == (2, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "last.ckpt", "previous.ckpt"]


@pytest.mark.parametrize("num_batches", [0, 1, 4, 7])
def test_batches_are_dealt(num_batches: int) -> None:
    """Each rank has as many; those that count are all of them once, in order over ranks."""
    dealt = [list(d.deal_batches(num_batches, d.World(rank, 3))) for rank in range(3)]
    rounds = [each for part in zip(*dealt, strict=True) for each in part]

    assert [number for number, counts in rounds if counts] == list(range(num_batches))


if __name__ == "__main__":
    fail_alone() if sys.argv[1] == "fail" else main(Path(sys.argv[1]))
