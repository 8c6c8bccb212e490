"""A noisy nonlinear regression task."""

import torch
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

NUM_FEATURES = 6


def make_dataset(num_rows, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(num_rows, NUM_FEATURES, generator=generator)
    y = torch.sin(x[:, 0] * x[:, 1]) + 0.5 * x[:, 2].abs() - x[:, 3]
    return TensorDataset(x, y + 0.1 * torch.randn(num_rows, generator=generator))


def make_loader(dataset, batch_size, rank, world_size, *, shuffle, seed=0):
    """The rank's share of the dataset, and the sampler that deals it."""
    sampler = DistributedSampler(dataset, num_replicas=world_size, rank=rank, shuffle=shuffle, seed=seed)
    loader = DataLoader(dataset, batch_size=batch_size, sampler=sampler, generator=torch.Generator())
    return loader, sampler
