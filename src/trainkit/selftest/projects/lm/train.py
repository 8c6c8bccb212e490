"""Train a small language model in two jobs; the second goes on where the first one stopped."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from data import IGNORE, PackedRows, build_vocabulary, make_documents
from evaluate import evaluate, sample
from model import ModelConfig, Transformer
from optim import build_optimizer, build_scheduler

CHECKPOINT = "lm.pt"


@dataclass
class TrainConfig:
    seed: int = 1234
    num_documents: int = 66
    row_len: int = 16
    batch_size: int = 4
    accumulate: int = 3
    epochs: int = 3
    lr: float = 3e-3
    weight_decay: float = 0.1
    warmup_steps: int = 3
    clip_norm: float = 0.5


def compute_loss(model, batch, num_tokens):
    tokens, labels, documents = batch
    logits = model(tokens, documents)
    loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORE, reduction="sum")
    return loss / num_tokens


def train_epoch(model, optimizer, scheduler, rows, epoch, config):
    """One pass over the rows; every step sees the mean over the tokens of its micro-batches."""
    generator = torch.Generator().manual_seed(config.seed + epoch)
    batches = list(rows.batches(config.batch_size, generator))
    for start in range(0, len(batches), config.accumulate):
        micro_batches = batches[start : start + config.accumulate]
        num_tokens = sum((labels != IGNORE).sum().item() for _, labels, _ in micro_batches)
        train_loss = 0.0
        for batch in micro_batches:
            loss = compute_loss(model, batch, num_tokens)
            loss.backward()
            train_loss += loss.item()
        grad_norm = nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        print(f"epoch {epoch} loss {train_loss:.6f} norm {grad_norm:.4f} lr {scheduler.get_last_lr()[0]:.6f}")


def save_checkpoint(model, optimizer, scheduler, epoch):
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}
    state["scheduler"] = scheduler.state_dict()
    state["rng"] = torch.get_rng_state()
    torch.save(state, CHECKPOINT)


def load_checkpoint(model, optimizer, scheduler):
    """Restore everything and return the number of epochs done."""
    state = torch.load(CHECKPOINT)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    scheduler.load_state_dict(state["scheduler"])
    torch.set_rng_state(state["rng"])
    return state["epoch"]


def run_job(config, last_epoch, resume):
    documents = make_documents(config.num_documents, config.seed)
    vocabulary = build_vocabulary(documents)
    train_rows = PackedRows(documents[:-10], vocabulary, config.row_len)
    val_rows = PackedRows(documents[-10:], vocabulary, config.row_len)
    num_batches = -(-len(train_rows) // config.batch_size)
    total_steps = config.epochs * -(-num_batches // config.accumulate)

    torch.manual_seed(config.seed)
    model = Transformer(ModelConfig(vocab_size=len(vocabulary)))
    optimizer = build_optimizer(model, config.lr, config.weight_decay)
    scheduler = build_scheduler(optimizer, config.warmup_steps, total_steps)
    first_epoch = load_checkpoint(model, optimizer, scheduler) if resume else 0

    for epoch in range(first_epoch, last_epoch):
        train_epoch(model, optimizer, scheduler, train_rows, epoch, config)
        val_loss = evaluate(model, val_rows, config.batch_size)
        print(f"epoch {epoch} val_loss {val_loss:.6f} sample: {sample(model, vocabulary, 6, seed=epoch)}")
    save_checkpoint(model, optimizer, scheduler, last_epoch)


def main():
    torch.set_num_threads(1)
    config = TrainConfig()
    run_job(config, last_epoch=2, resume=False)
    run_job(config, last_epoch=config.epochs, resume=True)


if __name__ == "__main__":
    main()
