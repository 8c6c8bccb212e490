"""Structured state-space diffusion over series: forecasts and what is missing."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainkit.core.config import SSSDConfig
from trainkit.core.diffusion import Diffusion, TimestepEmbedding


class SeriesBatch(NamedTuple):
    """Standardised values, float32, and where they are given, bool; both (batch, time, channels).

    What is not observed is the target: a loss needs its values too, sampling does not.
    """

    values: Tensor
    observed: Tensor


class SSSD(Diffusion):
    """Residual blocks of state-space layers that fill in a series: what is missing, or yet to come.

    Source: Alcaraz and Lopez Lezcano, arXiv 2208.09399, with noise on the missing values alone, S4D for S4,
    and the schedule above. `limit` is in standard deviations.
    """

    def __init__(self, config: SSSDConfig, *, num_channels: int) -> None:
        super().__init__(config.num_timesteps, limit=5.0)
        dim = config.model_dim
        self.input = nn.Linear(num_channels, dim)
        self.timestep = TimestepEmbedding(dim)
        self.blocks = nn.ModuleList(
            SSSDBlock(dim, config.state_dim, num_channels) for _ in range(config.num_layers)
        )
        self.mix = nn.Linear(dim, dim)
        self.head = nn.Linear(dim, num_channels)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, noised: Tensor, timesteps: Tensor, values: Tensor, observed: Tensor) -> Tensor:
        """Predict the noise: (batch, time, channels) three times, `timesteps` (batch,) -> as the first.

        Of `noised` only what is not observed is read, of `values` only what is.
        """
        given = torch.cat((values.masked_fill(~observed, 0.0), observed.to(values.dtype)), dim=-1)
        hidden = F.relu(self.input(torch.where(observed, values, noised)))
        told = F.silu(self.timestep(timesteps))[:, None]  # (batch, 1, model_dim)
        skips = torch.zeros_like(hidden)
        for block in self.blocks:
            hidden, skip = block(hidden, told, given)
            skips = skips + skip
        noise: Tensor = self.head(F.relu(self.mix(skips / math.sqrt(len(self.blocks)))))
        return noise

    def compute_loss(self, batch: SeriesBatch, generator: torch.Generator | None) -> Tensor:
        """Give the mean squared error over the values that are not observed, []; 0 if there are none."""
        noised, timesteps, noise = self.add_noise(batch.values, generator)
        error = F.mse_loss(self(noised, timesteps, *batch).float(), noise, reduction="none")
        return error.masked_fill(batch.observed, 0.0).sum() / (~batch.observed).sum().clamp(min=1)

    def count_items(self, batch: SeriesBatch) -> int:
        """Give the number of values that are not observed."""
        return int((~batch.observed).sum())

    @torch.no_grad()
    def sample(self, values: Tensor, observed: Tensor, num_steps: int, generator: torch.Generator) -> Tensor:
        """Fill in what is not observed: (batch, time, channels), same shape; the rest stays as it is."""

        def predict_noise(noised: Tensor, timesteps: Tensor) -> Tensor:
            noise: Tensor = self(noised, timesteps, values, observed)
            return noise

        noise = torch.randn(values.shape, generator=generator, device=generator.device).to(values.device)
        return torch.where(observed, values, self.denoise(predict_noise, noise, num_steps))


class SSSDBlock(nn.Module):
    """Two state-space layers, the observed values added between them, a gate, and two ways out."""

    def __init__(self, dim: int, state_dim: int, num_channels: int) -> None:
        super().__init__()
        self.timestep = nn.Linear(dim, dim)
        self.widen = nn.Linear(dim, 2 * dim)
        self.first = S4DLayer(2 * dim, state_dim)
        self.given = nn.Linear(2 * num_channels, 2 * dim)
        self.second = S4DLayer(2 * dim, state_dim)
        self.output = nn.Linear(dim, 2 * dim)

    def forward(self, hidden: Tensor, told: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        """Give what goes on and what goes to the head, both (batch, time, dim), the shape of `hidden`.

        `told` is (batch, 1, dim), `given` (batch, time, 2 * channels).
        """
        mixed = self.first(self.widen(hidden + self.timestep(told)))
        content, gate = self.second(mixed + self.given(given)).chunk(2, dim=-1)
        residual, skip = self.output(content.tanh() * gate.sigmoid()).chunk(2, dim=-1)
        return (hidden + residual) * math.sqrt(0.5), skip


class S4DLayer(nn.Module):
    """A state space in each direction of time, a gated mix of their features, a residual and a norm."""

    def __init__(self, dim: int, state_dim: int) -> None:
        super().__init__()
        self.ahead = S4D(dim, state_dim)
        self.back = S4D(dim, state_dim)
        self.mix = nn.Linear(dim, 2 * dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (batch, time, dim) to the same shape."""
        mixed = F.gelu(self.ahead(hidden) + self.back(hidden.flip(1)).flip(1))
        result: Tensor = self.norm(hidden + F.glu(self.mix(mixed), dim=-1))
        return result


class S4D(nn.Module):
    """A linear state space of its own for each feature, its matrix diagonal; causal, float32 inside.

    `state_dim` / 2 pairs of conjugate states, of which one is kept; all parameters are real numbers.
    Source: Gu et al., arXiv 2206.11893: S4D-Lin, held by zero order, B = 1; as published, what makes the
    matrix and the step size does not decay.
    """

    no_decay = ("log_step", "log_decay", "frequency")

    def __init__(self, dim: int, state_dim: int) -> None:
        super().__init__()
        half = state_dim // 2
        self.log_step = nn.Parameter(torch.empty(dim).uniform_(math.log(0.001), math.log(0.1)))
        self.log_decay = nn.Parameter(torch.full((dim, half), math.log(0.5)))
        self.frequency = nn.Parameter(math.pi * torch.arange(half, dtype=torch.float32).repeat(dim, 1))
        self.readout = nn.Parameter(torch.randn(dim, half, 2) * math.sqrt(0.5))
        self.skip = nn.Parameter(torch.randn(dim))

    def discretize(self) -> tuple[Tensor, Tensor]:
        """Give the logarithm of each state's factor per step, and its weight: complex (dim, pairs)."""
        matrix = torch.complex(-self.log_decay.exp(), self.frequency)
        factor_log = self.log_step.exp()[:, None] * matrix
        return factor_log, 2 * torch.view_as_complex(self.readout) * (factor_log.exp() - 1) / matrix

    def forward(self, hidden: Tensor) -> Tensor:
        """Convolve with the state space's response: (batch, time, dim), same shape and dtype."""
        with torch.autocast(hidden.device.type, enabled=False):
            length, signal = hidden.shape[1], hidden.float()
            factor_log, weight = self.discretize()
            power = torch.arange(length, device=hidden.device)
            response = torch.einsum("dn,dnt->td", weight, (factor_log[..., None] * power).exp()).real
            # twice the length: a product of transforms goes round in a circle
            spectrum = torch.fft.rfft(signal, 2 * length, dim=1) * torch.fft.rfft(response, 2 * length, dim=0)
            mixed = torch.fft.irfft(spectrum, 2 * length, dim=1)[:, :length] + signal * self.skip
            result: Tensor = mixed.to(hidden.dtype)
        return result
