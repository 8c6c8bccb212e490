"""Two small language models: tokens int64 (batch, time) -> logits (batch, time, vocab)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainkit.core.config import LSTMConfig, TransformerConfig
from trainkit.core.data import IGNORE_INDEX, Batch
from trainkit.core.task import Task


class LanguageModel(Task):
    """Predicts the next token; its loss is the mean cross-entropy in nats over tokens that are no padding."""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Give the loss, float32 []."""
        logits: Tensor = self(batch.tokens)  # (batch, time, vocab)
        return F.cross_entropy(
            logits.float().flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORE_INDEX
        )

    def count_items(self, batch: Batch) -> int:
        """Give the number of tokens to predict."""
        return int((batch.targets != IGNORE_INDEX).sum())

    def derive_metrics(self, mean_loss: float) -> dict[str, float]:
        """Give exp(mean_loss), at most 1e6 so that one untrained part does not swamp a table."""
        return {"perplexity": min(math.exp(min(mean_loss, 100.0)), 1e6)}


class Transformer(LanguageModel):
    """A pre-norm decoder with rotary positions and an untied head; causal."""

    def __init__(self, config: TransformerConfig, *, vocab_size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, config.model_dim)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.model_dim)
        self.head = nn.Linear(config.model_dim, vocab_size, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Give the logits of the next token: (batch, time) -> (batch, time, vocab)."""
        hidden = self.dropout(self.embedding(tokens))
        for block in self.blocks:
            hidden = block(hidden)
        logits: Tensor = self.head(self.norm(hidden))
        return logits


class Block(nn.Module):
    """Attention, then a feed-forward layer, each behind a norm and added to its input."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        dim = config.model_dim
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = CausalAttention(config)
        self.feed_forward_norm = nn.LayerNorm(dim)
        self.feed_forward = nn.Sequential(
            nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim), nn.Dropout(config.dropout)
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (batch, time, model_dim) to the same shape."""
        hidden = hidden + self.attention(self.attention_norm(hidden))
        result: Tensor = hidden + self.feed_forward(self.feed_forward_norm(hidden))
        return result


class CausalAttention(nn.Module):
    """Multi-head attention in which a position sees itself and what came before."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.dropout = config.dropout
        self.qkv = nn.Linear(config.model_dim, 3 * config.model_dim, bias=False)
        self.output = nn.Linear(config.model_dim, config.model_dim, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (batch, time, model_dim) to the same shape."""
        heads = self.qkv(hidden).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = heads.permute(2, 0, 3, 1, 4)  # each (batch, heads, time, head_dim)
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(
            rotate(query), rotate(key), value, dropout_p=dropout, is_causal=True
        )
        result: Tensor = self.output(mixed.transpose(1, 2).flatten(-2))
        return result


def rotate(x: Tensor) -> Tensor:
    """Turn pairs of features by an angle that grows with the position: (…, time, head_dim), same shape.

    Source: Su et al., RoFormer, arXiv 2104.09864, equation 34, in the half-split layout.
    """
    time, half = x.shape[-2], x.shape[-1] // 2
    frequency = 10_000 ** (-torch.arange(half, device=x.device, dtype=torch.float32) / half)
    angle = torch.arange(time, device=x.device, dtype=torch.float32)[:, None] * frequency
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)  # (time, half)
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, first * sin + second * cos), dim=-1)


class LSTM(LanguageModel):
    """An embedding, a stack of LSTM layers from a zero state, and a linear head."""

    def __init__(self, config: LSTMConfig, *, vocab_size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, config.embedding_dim)
        # torch warns when dropout between layers is asked of a single layer: it has no such place.
        between = config.dropout if config.num_layers > 1 else 0.0
        self.layers = nn.LSTM(
            config.embedding_dim, config.hidden_dim, config.num_layers, batch_first=True, dropout=between
        )
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.hidden_dim, vocab_size)

    def forward(self, tokens: Tensor) -> Tensor:
        """Give the logits of the next token: (batch, time) -> (batch, time, vocab)."""
        # oneDNN has no bfloat16 LSTM on many processors: on a CPU these layers stay in float32.
        with torch.autocast("cpu", enabled=False):
            hidden, _ = self.layers(self.dropout(self.embedding(tokens)))
        logits: Tensor = self.head(self.dropout(hidden))
        return logits
