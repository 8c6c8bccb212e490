"""Fit the forecaster with L-BFGS, one window of the series after the other."""

import copy

import torch
from torch import nn

from data import Batches, make_series
from model import Forecaster

SEED = 39
EPOCHS = 3
MAX_LEN = 24
WINDOW = 8
BATCH_SIZE = 8


def sequence_loss(model, inputs, targets, mask):
    """Mean squared error over what is not padding; gradients stop at the borders of windows."""
    state = None
    total = torch.zeros(())
    for start in range(0, inputs.shape[1], WINDOW):
        window = slice(start, start + WINDOW)
        forecast, state = model(inputs[:, window], state)
        state = tuple(part.detach() for part in state)
        error = (forecast - targets[:, window]) ** 2
        total = total + (error * mask[:, window]).sum()
    return total / mask.sum()


def train_step(model, optimizer, batch):
    def closure():
        optimizer.zero_grad()
        loss = sequence_loss(model, *batch)
        loss.backward()
        nn.utils.clip_grad_value_(model.parameters(), 0.1)
        return loss

    return optimizer.step(closure).item()


@torch.no_grad()
def evaluate(model, batches):
    model.eval()
    losses = [sequence_loss(model, *batch) for batch in batches]
    model.train()
    return torch.stack(losses).mean().item()


def main():
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    train = Batches(*make_series(24, MAX_LEN, seed=1), BATCH_SIZE, seed=SEED)
    val = Batches(*make_series(16, MAX_LEN, seed=2), BATCH_SIZE)

    model = Forecaster()
    optimizer = torch.optim.LBFGS(
        model.parameters(), lr=0.8, max_iter=4, history_size=5, line_search_fn="strong_wolfe"
    )
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[1, 2], gamma=0.5)

    best_loss, best_state = float("inf"), None
    for epoch in range(EPOCHS):
        losses = [train_step(model, optimizer, batch) for batch in train]
        val_loss = evaluate(model, val)
        print(f"epoch {epoch} lr {scheduler.get_last_lr()[0]} loss {losses[-1]:.6f} val {val_loss:.6f}")
        scheduler.step()
        if val_loss < best_loss:
            best_loss, best_state = val_loss, copy.deepcopy(model.state_dict())

    torch.save(best_state, "rnn.pt")
    model.load_state_dict(torch.load("rnn.pt"))
    print(f"best {evaluate(model, val):.6f}")


if __name__ == "__main__":
    main()
