"""Generator and discriminator for points in the plane."""

import torch
from torch import nn

LATENT_DIM = 8


class Generator(nn.Module):
    def __init__(self, hidden=32):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(LATENT_DIM, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, 2),
        )

    def forward(self, z):
        return self.net(z)


class Discriminator(nn.Module):
    def __init__(self, hidden=32, dropout=0.1):
        super().__init__()
        self.features = nn.Sequential(
            nn.Linear(2, hidden),
            nn.LeakyReLU(0.2),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.LeakyReLU(0.2),
        )
        self.head = nn.Linear(hidden, 1)

    def forward(self, points):
        return self.head(self.features(points)).squeeze(-1)


def init_weights(module):
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.2)
        nn.init.zeros_(module.bias)


def build_models():
    generator, discriminator = Generator(), Discriminator()
    generator.apply(init_weights)
    discriminator.apply(init_weights)
    return generator, discriminator


def draw_latent(batch_size, generator=None):
    return torch.randn(batch_size, LATENT_DIM, generator=generator)
