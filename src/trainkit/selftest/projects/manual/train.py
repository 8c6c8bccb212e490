"""Train the character model with momentum written out and a scaled loss; stop once and resume."""

import torch
import torch.nn.functional as F

from data import CONTEXT, SYMBOLS, encode, make_names
from model import CharModel

SEED = 21
EPOCHS = 3
BATCH_SIZE = 32
LR = 0.5
LR_DECAY = 0.5
MOMENTUM = 0.9
WEIGHT_DECAY = 1e-3
LOSS_SCALE = 1024.0
CLIP_NORM = 0.5


def learning_rate(epoch):
    return LR * LR_DECAY**epoch


def clip_gradients(parameters, max_norm):
    """Scale the gradients down to a norm of max_norm at most; returns the norm before."""
    norm = torch.sqrt(sum((p.grad**2).sum() for p in parameters))
    if norm > max_norm:
        for p in parameters:
            p.grad.mul_(max_norm / norm)
    return norm.item()


@torch.no_grad()
def update(parameters, velocities, lr):
    """Momentum with decoupled weight decay."""
    for p, velocity in zip(parameters, velocities, strict=True):
        velocity.mul_(MOMENTUM).add_(p.grad)
        p.mul_(1.0 - lr * WEIGHT_DECAY)
        p.add_(velocity, alpha=-lr)


def train_epoch(model, velocities, contexts, targets, epoch):
    parameters = list(model.parameters())
    for rows in torch.randperm(len(targets)).split(BATCH_SIZE):
        loss = F.cross_entropy(model(contexts[rows]), targets[rows])
        for p in parameters:
            p.grad = None
        (loss * LOSS_SCALE).backward()
        for p in parameters:
            p.grad.div_(LOSS_SCALE)
        norm = clip_gradients(parameters, CLIP_NORM)
        update(parameters, velocities, learning_rate(epoch))
        print(f"epoch {epoch} loss {loss.item():.6f} norm {norm:.4f}")


@torch.no_grad()
def evaluate(model, contexts, targets):
    model.eval()
    loss = F.cross_entropy(model(contexts), targets).item()
    model.train()
    return loss


def run(train, val, first_epoch, last_epoch, checkpoint=None):
    """Train from one epoch to another; returns what is needed to go on."""
    torch.manual_seed(SEED)
    model = CharModel(len(SYMBOLS), CONTEXT)
    velocities = [torch.zeros_like(p) for p in model.parameters()]
    if checkpoint is not None:
        model.load_state_dict(checkpoint["model"])
        velocities = checkpoint["velocities"]
        torch.set_rng_state(checkpoint["rng"])
    for epoch in range(first_epoch, last_epoch):
        train_epoch(model, velocities, *train, epoch)
        print(f"epoch {epoch} val_loss {evaluate(model, *val):.6f}")
    return {"model": model.state_dict(), "velocities": velocities, "rng": torch.get_rng_state()}


def main():
    torch.set_num_threads(1)
    names = make_names(45, seed=4)
    train, val = encode(names[:32]), encode(names[32:])
    torch.save(run(train, val, 0, 2), "manual.pt")
    run(train, val, 2, EPOCHS, checkpoint=torch.load("manual.pt"))


if __name__ == "__main__":
    main()
