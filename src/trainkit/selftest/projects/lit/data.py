"""Two interleaved spirals."""

import math

import torch
from torch.utils.data import DataLoader, TensorDataset


def spirals(num_points, seed, noise=0.1):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(2, (num_points,), generator=generator)
    turn = torch.rand(num_points, generator=generator) * 2.0 * math.pi
    angle = turn + labels * math.pi
    points = torch.stack((angle.cos(), angle.sin()), dim=1) * (turn / 3.0)[:, None]
    points = points + noise * torch.randn(num_points, 2, generator=generator)
    return TensorDataset(points, labels)


def train_loader(batch_size, seed):
    generator = torch.Generator().manual_seed(seed)
    return DataLoader(spirals(110, seed=1), batch_size, shuffle=True, generator=generator)


def val_loader(batch_size):
    return DataLoader(spirals(48, seed=2), batch_size)
