"""The optimizer, its parameter groups and the learning-rate schedule."""

import math

import torch
from torch.optim.lr_scheduler import LambdaLR


def build_optimizer(model, lr, weight_decay):
    """AdamW; biases and norms are not decayed."""
    parameters = list(model.parameters())
    decay = [p for p in parameters if p.dim() >= 2]
    no_decay = [p for p in parameters if p.dim() < 2]
    groups = [{"params": decay, "weight_decay": weight_decay}, {"params": no_decay, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95), eps=1e-8)


def lr_factor(step, warmup_steps, total_steps, min_factor=0.1):
    """Linear warm-up, then a cosine down to `min_factor`."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return min_factor + (1.0 - min_factor) * 0.5 * (1.0 + math.cos(math.pi * progress))


def build_scheduler(optimizer, warmup_steps, total_steps):
    return LambdaLR(optimizer, lambda step: lr_factor(step, warmup_steps, total_steps))
