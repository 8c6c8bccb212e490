"""Validation loss, and a sample to look at."""

import torch
import torch.nn.functional as F

from data import IGNORE


@torch.no_grad()
def evaluate(model, rows, batch_size):
    """Mean loss per predicted token."""
    model.eval()
    total_loss, total_tokens = 0.0, 0
    for tokens, labels, documents in rows.batches(batch_size):
        logits = model(tokens, documents)
        loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORE, reduction="sum")
        total_loss += loss.item()
        total_tokens += (labels != IGNORE).sum().item()
    model.train()
    return total_loss / total_tokens


@torch.no_grad()
def sample(model, vocabulary, num_words, seed):
    """A few words drawn from the model after "the"."""
    generator = torch.Generator().manual_seed(seed)
    words = list(vocabulary)
    was_training = model.training
    model.eval()
    tokens = torch.tensor([[vocabulary["the"]]])
    for _ in range(num_words):
        logits = model(tokens, torch.zeros_like(tokens))[:, -1]
        token = torch.multinomial(logits.softmax(-1), 1, generator=generator)
        tokens = torch.cat((tokens, token), dim=1)
    model.train(was_training)
    return " ".join(words[token] for token in tokens[0].tolist())
