# === base
import torch


@torch.no_grad()
def generate(model, idx, max_new_tokens, block_size, temperature=1.0, top_k=None):
    for _ in range(max_new_tokens):
        idx_cond = idx if idx.size(1) <= block_size else idx[:, -block_size:]
        logits, _ = model(idx_cond)
        logits = logits[:, -1, :] / temperature
        if top_k is not None:
            v, _ = torch.topk(logits, min(top_k, logits.size(-1)))
            logits[logits < v[:, [-1]]] = -float("Inf")
        probs = torch.nn.functional.softmax(logits, dim=-1)
        idx_next = torch.multinomial(probs, num_samples=1)
        idx = torch.cat((idx, idx_next), dim=1)
    return idx
# === copy: method, docstring, hints
import torch
from torch import Tensor, nn
from torch.nn import functional as F


class GPT(nn.Module):
    @torch.no_grad()
    def generate(self, tokens: Tensor, num_tokens: int, temperature: float = 1.0, top_k: int | None = None) -> Tensor:
        """Go on with the tokens."""
        for _ in range(num_tokens):
            window = tokens if tokens.size(1) <= self.block_size else tokens[:, -self.block_size :]
            logits, _ = self(window)
            logits = logits[:, -1, :] / temperature
            if top_k is not None:
                best, _ = torch.topk(logits, min(top_k, logits.size(-1)))
                logits[logits < best[:, [-1]]] = -float("Inf")
            probs = F.softmax(logits, dim=-1)
            following = torch.multinomial(probs, num_samples=1)
            tokens = torch.cat((tokens, following), dim=1)
        return tokens
# === copy: extracted, walrus
import torch
import torch.nn.functional as F


def pick(logits, temperature, top_k):
    logits = logits[:, -1, :] / temperature
    if top_k is not None:
        v, _ = torch.topk(logits, min(top_k, logits.size(-1)))
        logits[logits < v[:, [-1]]] = -float("Inf")
    probs = F.softmax(logits, dim=-1)
    return torch.multinomial(probs, num_samples=1)


@torch.no_grad()
def sample(model, idx, max_new_tokens, block_size, temperature=1.0, top_k=None):
    while (max_new_tokens := max_new_tokens - 1) >= 0:
        idx_cond = idx if idx.size(1) <= block_size else idx[:, -block_size:]
        logits, _ = model(idx_cond)
        idx = torch.cat((idx, pick(logits, temperature, top_k)), dim=1)
    return idx
# === other: beam search
import torch


@torch.no_grad()
def beam(model, idx, max_new_tokens, width, eos):
    beams = [(idx, 0.0)]
    for _ in range(max_new_tokens):
        grown = []
        for tokens, score in beams:
            if tokens[0, -1] == eos:
                grown.append((tokens, score))
                continue
            log_probs = model(tokens)[0][:, -1, :].log_softmax(dim=-1)
            top, ids = log_probs.topk(width)
            for k in range(width):
                grown.append((torch.cat((tokens, ids[:, k : k + 1]), dim=1), score + top[0, k].item()))
        beams = sorted(grown, key=lambda beam: -beam[1])[:width]
    return beams[0][0]
# === other: perplexity
import math

import torch


@torch.no_grad()
def perplexity(model, tokens, block_size, stride, device):
    total, count = 0.0, 0
    for start in range(0, tokens.size(1) - 1, stride):
        window = tokens[:, start : start + block_size].to(device)
        logits, _ = model(window[:, :-1])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), window[:, 1:].flatten(), reduction="sum")
        total += loss.item()
        count += window.size(1) - 1
    return math.exp(total / count)
