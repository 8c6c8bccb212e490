# === base
from __future__ import annotations

from typing import Iterable

import torch
from torch import Tensor, nn


def compute_normalisation(loader: Iterable[tuple[Tensor, Tensor]], channels: int = 3) -> tuple[Tensor, Tensor]:
    total: Tensor = torch.zeros(channels)
    total_sq: Tensor = torch.zeros(channels)
    pixels: int = 0
    for images, _ in loader:
        b, c, h, w = images.shape
        total += images.sum(dim=(0, 2, 3))
        total_sq += images.pow(2).sum(dim=(0, 2, 3))
        pixels += b * h * w
    mean: Tensor = total / pixels
    std: Tensor = (total_sq / pixels - mean.pow(2)).clamp(min=0).sqrt()
    return mean, std


class Normalise(nn.Module):
    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.view(1, -1, 1, 1))
        self.register_buffer("std", std.view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std
# === copy: type hints
import sys

import torch
from torchvision.datasets import ImageFolder
from torchvision.transforms import ToTensor


def compute_normalisation(loader, channels=3):
    total = torch.zeros(channels)
    total_sq = torch.zeros(channels)
    pixels = 0
    for images, _ in loader:
        b, c, h, w = images.shape
        total += images.sum(dim=(0, 2, 3))
        total_sq += images.pow(2).sum(dim=(0, 2, 3))
        pixels += b * h * w
    mean = total / pixels
    std = (total_sq / pixels - mean.pow(2)).clamp(min=0).sqrt()
    return mean, std


if __name__ == "__main__":
    ds = ImageFolder(sys.argv[1], ToTensor())
    m, s = compute_normalisation(torch.utils.data.DataLoader(ds, 1, num_workers=8))
    print("mean", m.tolist())
    print("std", s.tolist())
# === base
import torch


class EMA:
    def __init__(self, model, decay=0.999):
        self.decay = decay
        self.shadow = {}
        self.backup = {}
        for name, p in model.named_parameters():
            if p.requires_grad:
                self.shadow[name] = p.data.clone()

    def update(self, model):
        for name, p in model.named_parameters():
            if p.requires_grad:
                new = (1.0 - self.decay) * p.data + self.decay * self.shadow[name]
                self.shadow[name] = new.clone()

    def apply(self, model):
        for name, p in model.named_parameters():
            if p.requires_grad:
                self.backup[name] = p.data
                p.data = self.shadow[name]


def diffusion_step(model, x0, alphas, ema, opt):
    t = torch.randint(len(alphas), (len(x0),))
    eps = torch.randn_like(x0)
    a = alphas[t].view(-1, 1, 1, 1)
    loss = (model(a.sqrt() * x0 + (1 - a).sqrt() * eps, t) - eps).square().mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
    ema.update(model)
    return loss.item()
# === copy: type hints
from typing import Dict

import torch.nn as nn
from torch import Tensor


class EMA:
    def __init__(self, model: nn.Module, decay: float = 0.999) -> None:
        self.decay: float = decay
        self.shadow: Dict[str, Tensor] = {}
        self.backup: Dict[str, Tensor] = {}
        for name, p in model.named_parameters():
            if p.requires_grad:
                self.shadow[name] = p.data.clone()

    def update(self, model: nn.Module) -> None:
        for name, p in model.named_parameters():
            if p.requires_grad:
                new: Tensor = (1.0 - self.decay) * p.data + self.decay * self.shadow[name]
                self.shadow[name] = new.clone()

    def apply(self, model: nn.Module) -> None:
        for name, p in model.named_parameters():
            if p.requires_grad:
                self.backup[name] = p.data
                p.data = self.shadow[name]


class Distiller:
    def __init__(self, student: nn.Module) -> None:
        self.student = student
        self.ema = EMA(student, 0.9995)

    def after_batch(self) -> None:
        self.ema.update(self.student)
# === base
from typing import List, Optional, Tuple

import numpy as np


def sliding_windows(
    series: np.ndarray, context: int, horizon: int, stride: int = 1, target: Optional[int] = None
) -> Tuple[np.ndarray, np.ndarray]:
    xs: List[np.ndarray] = []
    ys: List[np.ndarray] = []
    last: int = len(series) - context - horizon
    if last < 0:
        raise ValueError("series too short")
    for start in range(0, last + 1, stride):
        mid = start + context
        xs.append(series[start:mid])
        future = series[mid : mid + horizon]
        ys.append(future if target is None else future[:, target])
    return np.stack(xs).astype(np.float32), np.stack(ys).astype(np.float32)


def chronological_split(n: int, val: float, test: float) -> Tuple[slice, slice, slice]:
    a = int(n * (1 - val - test))
    b = int(n * (1 - test))
    return slice(0, a), slice(a, b), slice(b, n)
# === copy: type hints
import numpy as np
import torch
from torch.utils.data import TensorDataset


def sliding_windows(series, context, horizon, stride=1, target=None):
    xs = []
    ys = []
    last = len(series) - context - horizon
    if last < 0:
        raise ValueError("series too short")
    for start in range(0, last + 1, stride):
        mid = start + context
        xs.append(series[start:mid])
        future = series[mid : mid + horizon]
        ys.append(future if target is None else future[:, target])
    return np.stack(xs).astype(np.float32), np.stack(ys).astype(np.float32)


def load_meter(path):
    kwh = np.loadtxt(path, delimiter=";", skiprows=1, usecols=(1, 2))
    kwh = (kwh - kwh.mean(0)) / kwh.std(0)
    x, y = sliding_windows(kwh, 168, 24, stride=6, target=0)
    return TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
# === base
import torch
import torch.nn.functional as F


def sample_tokens(model, prompt, steps, temperature=1.0, top_k=None, eos=None):
    tokens = prompt
    for _ in range(steps):
        logits = model(tokens[:, -model.block_size :])[:, -1, :]
        logits = logits / temperature
        if top_k is not None:
            kth = torch.topk(logits, min(top_k, logits.size(-1))).values[:, -1:]
            logits[logits < kth] = -float("inf")
        probs = F.softmax(logits, dim=-1)
        nxt = torch.multinomial(probs, num_samples=1)
        tokens = torch.cat([tokens, nxt], dim=1)
        if eos is not None and bool((nxt == eos).all()):
            break
    return tokens


def chat(model, tok):
    while True:
        line = input("> ")
        ids = torch.tensor([tok.encode(line)])
        print(tok.decode(sample_tokens(model, ids, 200, 0.8, 50)[0].tolist()))
# === copy: type hints
from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor


def sample_tokens(
    model: torch.nn.Module,
    prompt: Tensor,
    steps: int,
    temperature: float = 1.0,
    top_k: Optional[int] = None,
    eos: Optional[int] = None,
) -> Tensor:
    tokens: Tensor = prompt
    for _ in range(steps):
        logits: Tensor = model(tokens[:, -model.block_size :])[:, -1, :]
        logits = logits / temperature
        if top_k is not None:
            kth: Tensor = torch.topk(logits, min(top_k, logits.size(-1))).values[:, -1:]
            logits[logits < kth] = -float("inf")
        probs: Tensor = F.softmax(logits, dim=-1)
        nxt: Tensor = torch.multinomial(probs, num_samples=1)
        tokens = torch.cat([tokens, nxt], dim=1)
        if eos is not None and bool((nxt == eos).all()):
            break
    return tokens


def music_sample(model: torch.nn.Module, seed_notes: Tensor, bars: int) -> list[int]:
    model.eval()
    out = sample_tokens(model, seed_notes[None], steps=bars * 16, temperature=0.95)
    return out[0, len(seed_notes):].tolist()
