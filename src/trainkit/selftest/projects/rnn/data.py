"""Noisy sums of sines of different lengths, padded to the longest."""

import torch


def make_series(num_series, max_len, seed):
    """Values, (series, time), and the length of every series."""
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(max_len + 1, dtype=torch.float32)
    frequency = 0.2 + 0.6 * torch.rand(num_series, 2, 1, generator=generator)
    phase = 6.28 * torch.rand(num_series, 2, 1, generator=generator)
    values = torch.sin(frequency * time + phase).sum(dim=1)
    values = values + 0.05 * torch.randn(values.shape, generator=generator)
    lengths = torch.randint(max_len // 2, max_len + 1, (num_series,), generator=generator)
    return values, lengths


class Batches:
    """Inputs, targets (the next value) and mask, each (batch, time); shuffled anew every epoch."""

    def __init__(self, values, lengths, batch_size, seed=None):
        self.values, self.lengths, self.batch_size = values, lengths, batch_size
        self.generator = None if seed is None else torch.Generator().manual_seed(seed)

    def __iter__(self):
        order = torch.arange(len(self.values))
        if self.generator is not None:
            order = order[torch.randperm(len(order), generator=self.generator)]
        for rows in order.split(self.batch_size):
            values, lengths = self.values[rows], self.lengths[rows]
            mask = torch.arange(values.shape[1] - 1) < lengths[:, None]
            yield values[:, :-1], values[:, 1:], mask
