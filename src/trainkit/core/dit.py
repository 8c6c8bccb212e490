"""A diffusion transformer over the patches of images."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainkit.core.config import DiTConfig
from trainkit.core.diffusion import Diffusion, TimestepEmbedding, compute_waves
from trainkit.errors import UsageError


class ImageBatch(NamedTuple):
    """Square images in [-1, 1], float32 (batch, channels, height, width), and labels, int64 (batch,)."""

    images: Tensor
    labels: Tensor


class DiT(Diffusion):
    """A transformer over patches, told the timestep and the label by scales and shifts of its norms.

    Source: Peebles and Xie, arXiv 2212.09748, with adaLN-Zero; it predicts the noise, not its variance.
    """

    positions: Tensor  # (patches, model_dim)

    def __init__(self, config: DiTConfig, *, image_size: int, num_channels: int, num_classes: int) -> None:
        super().__init__(config.num_timesteps, limit=1.0)
        if image_size % config.patch_size:
            message = (
                f"model.patch_size={config.patch_size}: must divide the side of the images, {image_size}"
            )
            raise UsageError("config-range", message)
        dim, features = config.model_dim, num_channels * config.patch_size**2
        self.patch_size, self.label_dropout = config.patch_size, config.label_dropout
        self.no_label = num_classes
        self.image_shape = (num_channels, image_size, image_size)
        positions = compute_grid_positions(image_size // config.patch_size, dim)
        self.register_buffer("positions", positions, persistent=False)
        self.patches = nn.Linear(features, dim)
        self.timestep = TimestepEmbedding(dim)
        self.label = nn.Embedding(num_classes + 1, dim)
        self.blocks = nn.ModuleList(DiTBlock(dim, config.num_heads) for _ in range(config.num_layers))
        self.modulation = nn.Linear(dim, 2 * dim)
        self.norm = nn.LayerNorm(dim, elementwise_affine=False, eps=1e-6)
        self.head = nn.Linear(dim, features)
        self._initialize()

    def _initialize(self) -> None:
        """Start as the published code does: each block the identity, the output zero."""
        for name, layer in self.named_modules():
            if not isinstance(layer, nn.Linear):
                continue
            nn.init.zeros_(layer.bias)
            if name == "head" or name.endswith("modulation"):
                nn.init.zeros_(layer.weight)
            elif name.startswith("timestep"):
                nn.init.normal_(layer.weight, std=0.02)
            else:
                nn.init.xavier_uniform_(layer.weight)
        nn.init.normal_(self.label.weight, std=0.02)

    def forward(self, noised: Tensor, timesteps: Tensor, labels: Tensor) -> Tensor:
        """Predict the noise: (batch, channels, height, width), (batch,), (batch,) -> as the first."""
        hidden = self.patches(patchify(noised, self.patch_size)) + self.positions
        told = F.silu(self.timestep(timesteps) + self.label(labels))  # (batch, model_dim)
        for block in self.blocks:
            hidden = block(hidden, told)
        shift, scale = self.modulation(told)[:, None].chunk(2, dim=-1)
        return unpatchify(self.head(modulate(self.norm(hidden), shift, scale)), self.image_shape[0])

    def training_step(self, batch: ImageBatch, batch_idx: int) -> Tensor:
        """Give the loss [], some of the labels replaced by the one that says nothing."""
        dropped = torch.rand(len(batch.labels), device=batch.labels.device) < self.label_dropout
        labels = batch.labels.masked_fill(dropped, self.no_label)
        return super().training_step(ImageBatch(batch.images, labels), batch_idx)

    def compute_loss(self, batch: ImageBatch, generator: torch.Generator | None) -> Tensor:
        """Give the mean squared error over images and their values, []."""
        noised, timesteps, noise = self.add_noise(batch.images, generator)
        return F.mse_loss(self(noised, timesteps, batch.labels).float(), noise)

    def count_items(self, batch: ImageBatch) -> int:
        """Give the number of images."""
        return len(batch.images)

    @torch.no_grad()
    def sample(
        self, labels: Tensor, num_steps: int, generator: torch.Generator, *, guidance: float = 1.0
    ) -> Tensor:
        """Draw images of these labels, int64 (batch,) -> (batch, channels, height, width) in [-1, 1].

        `guidance` above 1 moves them away from what an unlabelled image would be; it needs `label_dropout`.
        Source: Ho and Salimans, arXiv 2207.12598, equation 6 with 1 + w = `guidance`.
        """

        def predict_noise(noised: Tensor, timesteps: Tensor) -> Tensor:
            noise: Tensor = self(noised, timesteps, labels)
            if guidance == 1.0:
                return noise
            unlabelled: Tensor = self(noised, timesteps, torch.full_like(labels, self.no_label))
            return unlabelled + guidance * (noise - unlabelled)

        shape = (len(labels), *self.image_shape)
        noise = torch.randn(shape, generator=generator, device=generator.device).to(labels.device)
        return self.denoise(predict_noise, noise, num_steps)


class DiTBlock(nn.Module):
    """Attention over all patches, then a feed-forward layer; each shifted, scaled and gated from outside."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.modulation = nn.Linear(dim, 6 * dim)
        self.norm = nn.LayerNorm(dim, elementwise_affine=False, eps=1e-6)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.output = nn.Linear(dim, dim)
        self.feed_forward = nn.Sequential(
            nn.Linear(dim, 4 * dim), nn.GELU(approximate="tanh"), nn.Linear(4 * dim, dim)
        )

    def forward(self, hidden: Tensor, told: Tensor) -> Tensor:
        """Map (batch, patches, dim) and (batch, dim) to the first's shape."""
        first, second = self.modulation(told)[:, None].chunk(2, dim=-1)
        shift, scale, gate = first.chunk(3, dim=-1)  # each (batch, 1, dim)
        hidden = hidden + gate * self.attend(modulate(self.norm(hidden), shift, scale))
        shift, scale, gate = second.chunk(3, dim=-1)
        result: Tensor = hidden + gate * self.feed_forward(modulate(self.norm(hidden), shift, scale))
        return result

    def attend(self, hidden: Tensor) -> Tensor:
        """Let each patch see every patch: (batch, patches, dim), same shape."""
        heads = self.qkv(hidden).unflatten(-1, (3, self.num_heads, -1))
        mixed = F.scaled_dot_product_attention(*heads.permute(2, 0, 3, 1, 4))  # (batch, heads, patches, …)
        result: Tensor = self.output(mixed.transpose(1, 2).flatten(-2))
        return result


def modulate(hidden: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Scale and shift the features: (batch, patches, dim) by (batch, 1, dim)."""
    return hidden * (1 + scale) + shift


def compute_grid_positions(side: int, dim: int) -> Tensor:
    """Give waves of the row, then of the column, of a square of patches: (side * side, dim)."""
    waves = compute_waves(torch.arange(side), dim // 2)
    return torch.cat((waves.repeat_interleave(side, dim=0), waves.repeat(side, 1)), dim=-1)


def patchify(images: Tensor, size: int) -> Tensor:
    """Cut, row by row: (batch, channels, height, width) -> (batch, patches, channels * size * size)."""
    return F.unfold(images, size, stride=size).transpose(1, 2)


def unpatchify(patches: Tensor, num_channels: int) -> Tensor:
    """Put the patches of square images together again: the inverse of `patchify`."""
    size = math.isqrt(patches.shape[2] // num_channels)
    side = size * math.isqrt(patches.shape[1])
    return F.fold(patches.transpose(1, 2), (side, side), size, stride=size)
