"""Train a regressor on several ranks: torchrun --nproc-per-node 2 train.py (or alone)."""

import contextlib
import math
import os

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from data import NUM_FEATURES, make_dataset, make_loader
from model import Regressor

SEED = 3
EPOCHS = 3
BATCH_SIZE = 8
ACCUMULATE = 2
LR = 5e-3
CLIP_NORM = 1.0


def init_distributed():
    if "RANK" in os.environ:
        dist.init_process_group("gloo")
    else:
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    return dist.get_rank(), dist.get_world_size()


def reduce_mean(value, world_size):
    """The mean over the ranks of a number that every rank has."""
    value = torch.tensor(value)
    dist.all_reduce(value)
    return value.item() / world_size


def train_epoch(model, optimizer, scheduler, loader):
    model.train()
    total = 0.0
    for index, (x, y) in enumerate(loader):
        last = (index + 1) % ACCUMULATE == 0 or index + 1 == len(loader)
        with contextlib.nullcontext() if last else model.no_sync():
            loss = F.smooth_l1_loss(model(x), y) / ACCUMULATE
            loss.backward()
        total += loss.item() * ACCUMULATE
        if last:
            nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
    return total / len(loader)


@torch.no_grad()
def evaluate(model, loader):
    model.eval()
    losses = [F.mse_loss(model(x), y).item() for x, y in loader]
    return sum(losses) / len(losses)


def run(rank, world_size):
    train_set, val_set = make_dataset(80, seed=1), make_dataset(32, seed=2)
    train, sampler = make_loader(train_set, BATCH_SIZE, rank, world_size, shuffle=True, seed=SEED)
    val, _ = make_loader(val_set, BATCH_SIZE, rank, world_size, shuffle=False)

    torch.manual_seed(SEED)
    model = DistributedDataParallel(Regressor(NUM_FEATURES))
    torch.manual_seed(SEED + rank)  # every rank has its own dropout
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.01)
    total_steps = EPOCHS * math.ceil(len(train) / ACCUMULATE)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=total_steps, eta_min=1e-4)

    for epoch in range(EPOCHS):
        sampler.set_epoch(epoch)
        train_loss = reduce_mean(train_epoch(model, optimizer, scheduler, train), world_size)
        val_loss = reduce_mean(evaluate(model.module, val), world_size)
        if rank == 0:
            lr = scheduler.get_last_lr()[0]
            print(f"epoch {epoch} lr {lr:.6f} train {train_loss:.6f} val {val_loss:.6f}")
            torch.save(model.module.state_dict(), "ddp.pt")


def main():
    torch.set_num_threads(1)
    run(*init_distributed())
    # The model is gone by now: a Reducer that outlives its group can deadlock in ~ProcessGroupGloo.
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
