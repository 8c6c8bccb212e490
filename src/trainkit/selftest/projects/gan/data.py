"""Points on a ring of eight clusters."""

import math

import torch


def ring(num_points, seed, radius=2.0, noise=0.05):
    """Points, (num_points, 2), in random order."""
    generator = torch.Generator().manual_seed(seed)
    angles = torch.randint(8, (num_points,), generator=generator) * (2 * math.pi / 8)
    centres = radius * torch.stack((angles.cos(), angles.sin()), dim=1)
    return centres + noise * torch.randn(num_points, 2, generator=generator)


def batches(points, batch_size):
    """Full batches in a new random order."""
    order = torch.randperm(len(points))
    for start in range(0, len(points) - batch_size + 1, batch_size):
        yield points[order[start : start + batch_size]]
