"""Diffusion: noise that is added to data, and a task that learns to take it away."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainkit.core.task import Task


def build_cosine_schedule(num_timesteps: int) -> Tensor:
    """Give the share of signal, alpha-bar, after 0, 1, …, `num_timesteps` steps of noise, from 1 to near 0.

    Source: Nichol and Dhariwal, arXiv 2102.09672, equation 17; no step takes more than 0.999 of the signal.
    """
    position = torch.arange(num_timesteps + 1, dtype=torch.float64) / num_timesteps
    share = ((position + 0.008) / 1.008 * math.pi / 2).cos().square()
    kept = (share[1:] / share[:-1]).clamp(min=0.001)
    return F.pad(kept.cumprod(0), (1, 0), value=1.0).float()


def compute_waves(positions: Tensor, dim: int) -> Tensor:
    """Give `dim` / 2 sines and as many cosines of each position: (n,) -> float32 (n, dim).

    Source: Vaswani et al., arXiv 1706.03762, section 3.5, in the half-split layout.
    """
    half = torch.arange(dim // 2, device=positions.device, dtype=torch.float32)
    angle = positions[:, None] * 10_000 ** (-half / (dim // 2))
    return torch.cat((angle.sin(), angle.cos()), dim=-1)


class Diffusion(Task):
    """The noise that is added, and taken away; a subclass has the network and gives `compute_loss`.

    Timesteps count from 1, the least noise, to `num_timesteps`. Data lie between -`limit` and `limit`.
    """

    signal: Tensor  # (num_timesteps + 1,)

    def __init__(self, num_timesteps: int, *, limit: float) -> None:
        super().__init__()
        self.limit = limit
        self.register_buffer("signal", build_cosine_schedule(num_timesteps), persistent=False)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Give the loss [] at timesteps and noise from torch's global generator."""
        return self.compute_loss(batch, None)

    def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Give the loss [] at timesteps and noise that depend on `batch_idx` alone, on any device."""
        return self.compute_loss(batch, torch.Generator().manual_seed(batch_idx))

    def compute_loss(self, batch: Any, generator: torch.Generator | None) -> Tensor:
        """Give the mean squared error of the predicted noise over the items of the batch, []."""
        raise NotImplementedError

    def add_noise(self, clean: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor, Tensor]:
        """Give (noised (batch, …), timesteps int64 (batch,), noise (batch, …)), drawn from `generator`."""
        device = generator.device if generator else clean.device
        size, last = (len(clean),), len(self.signal) - 1
        timesteps = torch.randint(1, last + 1, size, generator=generator, device=device).to(clean.device)
        noise = torch.randn(clean.shape, generator=generator, device=device).to(clean.device)
        signal = self.signal[timesteps].view(-1, *[1] * (clean.ndim - 1))
        return signal.sqrt() * clean + (1 - signal).sqrt() * noise, timesteps, noise

    def denoise(
        self, predict_noise: Callable[[Tensor, Tensor], Tensor], noised: Tensor, num_steps: int
    ) -> Tensor:
        """Take the noise away in `num_steps` steps, (batch, …) to the same shape; nothing is drawn.

        Source: Song et al., DDIM, arXiv 2010.02502, equation 12 with sigma = 0; the estimate of the clean
        data is clamped, and the noise follows it: at the first timesteps it is a quotient of small numbers.

        Raises:
            ValueError: there are fewer timesteps than steps, or no step.
        """
        last = len(self.signal) - 1
        if not 1 <= num_steps <= last:
            raise ValueError(f"num_steps={num_steps}: must be at least 1 and at most num_timesteps={last}")
        for timestep, following in pairwise(torch.linspace(last, 0, num_steps + 1).round().int().tolist()):
            now, then = self.signal[timestep], self.signal[following]
            timesteps = torch.full((len(noised),), timestep, device=noised.device)
            noise = predict_noise(noised, timesteps).float()
            clean = ((noised - (1 - now).sqrt() * noise) / now.sqrt()).clamp(-self.limit, self.limit)
            noise = (noised - now.sqrt() * clean) / (1 - now).sqrt()
            noised = then.sqrt() * clean + (1 - then).sqrt() * noise
        return noised


class TimestepEmbedding(nn.Module):
    """Waves of the timestep through two layers."""

    num_waves = 256

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(self.num_waves, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, timesteps: Tensor) -> Tensor:
        """Embed each: int64 (batch,) -> (batch, dim)."""
        embedded: Tensor = self.layers(compute_waves(timesteps, self.num_waves))
        return embedded
