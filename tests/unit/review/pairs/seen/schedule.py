# === base
import math


def lr_at(step, max_lr, min_lr, warmup, total):
    if step < warmup:
        return max_lr * (step + 1) / warmup
    if step > total:
        return min_lr
    ratio = (step - warmup) / (total - warmup)
    assert 0 <= ratio <= 1
    coefficient = 0.5 * (1.0 + math.cos(math.pi * ratio))
    return min_lr + coefficient * (max_lr - min_lr)
# === copy: early return against else
import math


def get_lr(it, learning_rate, floor, warmup_iters, decay_iters):
    if it < warmup_iters:
        lr = learning_rate * (it + 1) / warmup_iters
    elif it > decay_iters:
        lr = floor
    else:
        ratio = (it - warmup_iters) / (decay_iters - warmup_iters)
        assert 0 <= ratio <= 1
        coefficient = 0.5 * (1.0 + math.cos(math.pi * ratio))
        lr = floor + coefficient * (learning_rate - floor)
    return lr
# === copy: method, hints
import math


class CosineSchedule:
    def __init__(self, max_lr: float, min_lr: float, warmup: int, total: int) -> None:
        self.max_lr, self.min_lr = max_lr, min_lr
        self.warmup, self.total = warmup, total

    def __call__(self, step: int) -> float:
        if step < self.warmup:
            return self.max_lr * (step + 1) / self.warmup
        if step > self.total:
            return self.min_lr
        ratio: float = (step - self.warmup) / (self.total - self.warmup)
        assert 0 <= ratio <= 1
        coefficient: float = 0.5 * (1.0 + math.cos(math.pi * ratio))
        return self.min_lr + coefficient * (self.max_lr - self.min_lr)
# === other: an exploration schedule
def epsilon_at(step, start, end, warmup, total):
    if step < warmup:
        return start
    if step >= total:
        return end
    slope = (end - start) / (total - warmup)
    value = slope * (step - warmup) + start
    return max(value, end)
# === other: noise levels
import math

import torch


def make_betas(num_steps, kind, max_beta=0.999):
    if kind == "linear":
        scale = 1000 / num_steps
        return torch.linspace(scale * 0.0001, scale * 0.02, num_steps, dtype=torch.float64)
    if kind == "cosine":
        def alpha_bar(t):
            return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2

        betas = [min(1 - alpha_bar((i + 1) / num_steps) / alpha_bar(i / num_steps), max_beta) for i in range(num_steps)]
        return torch.tensor(betas)
    raise NotImplementedError(kind)
