"""Optimizers, each from its configuration and a model."""

from __future__ import annotations

from torch import nn
from torch.optim import AdamW

from trainkit.core.config import AdamWConfig


def build_adamw(config: AdamWConfig, model: nn.Module) -> AdamW:
    """Give AdamW with two groups: first the weights that decay, then those that do not."""
    decayed, kept = split_parameters(model)
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": kept, "weight_decay": 0.0},
    ]
    betas = (config.beta1, config.beta2)
    return AdamW(groups, lr=config.learning_rate, betas=betas, eps=config.eps, fused=config.fused or None)


def split_parameters(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Give (matrices, the rest) in the model's order; an embedding is a table, not a matrix."""
    tables = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, nn.Embedding)
        for parameter in module.parameters(recurse=False)
    }
    matrices: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for parameter in model.parameters():
        (matrices if parameter.ndim >= 2 and id(parameter) not in tables else rest).append(parameter)
    return matrices, rest
