"""Train the shape classifier: momentum SGD, bfloat16 autocast, averaged weights for validation."""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F

from data import NUM_CLASSES, Shapes, test_loader, train_loader
from model import Classifier, make_average, update_average


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--momentum", type=float, default=0.9)
    parser.add_argument("--weight-decay", type=float, default=5e-4)
    parser.add_argument("--lr-gamma", type=float, default=0.3)
    parser.add_argument("--ema-decay", type=float, default=0.8)
    parser.add_argument("--label-smoothing", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("checkpoints"))
    return parser.parse_args()


def train_epoch(model, average, optimizer, loader, args):
    """One epoch; returns the mean loss over the images."""
    model.train()
    total, seen = 0.0, 0
    for images, labels in loader:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(images)
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=args.label_smoothing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        update_average(average, model, args.ema_decay)
        total += loss.item() * len(labels)
        seen += len(labels)
    return total / seen


@torch.no_grad()
def evaluate(model, loader):
    """Mean loss and accuracy."""
    model.eval()
    loss, correct, seen = 0.0, 0, 0
    for images, labels in loader:
        logits = model(images)
        loss += F.cross_entropy(logits, labels, reduction="sum").item()
        correct += (logits.argmax(dim=1) == labels).sum().item()
        seen += len(labels)
    return loss / seen, correct / seen


def main():
    args = parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    args.out.mkdir(exist_ok=True)

    train = train_loader(Shapes(90, seed=1, augment=True), args.batch_size, args.workers, args.seed)
    val = test_loader(Shapes(40, seed=2, augment=False), args.batch_size)
    test = test_loader(Shapes(40, seed=3, augment=False), args.batch_size)

    model = Classifier(NUM_CLASSES)
    average = make_average(model)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=args.lr, momentum=args.momentum, weight_decay=args.weight_decay, nesterov=True
    )
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=args.lr_gamma)

    best_loss = float("inf")
    for epoch in range(args.epochs):
        train_loss = train_epoch(model, average, optimizer, train, args)
        val_loss, accuracy = evaluate(average, val)
        lr = scheduler.get_last_lr()[0]
        print(f"epoch {epoch} lr {lr:.4f} train {train_loss:.5f} val {val_loss:.5f} accuracy {accuracy:.3f}")
        # trainkit: allow habit-checkpoint-incomplete because no run goes on from it
        scheduler.step()
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, args.out / "last.pt")
        if val_loss < best_loss:
            best_loss = val_loss
            torch.save(average.state_dict(), args.out / "best.pt")

    average.load_state_dict(torch.load(args.out / "best.pt"))
    test_loss, accuracy = evaluate(average, test)
    print(f"test loss {test_loss:.5f} accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
