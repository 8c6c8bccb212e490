"""A small decoder-only transformer."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class ModelConfig:
    vocab_size: int = 32
    dim: int = 32
    num_layers: int = 2
    num_heads: int = 4
    max_len: int = 32
    dropout: float = 0.1
    rope_base: float = 10000.0
    norm_eps: float = 1e-5


def rope_tables(head_dim, max_len, base):
    """Cosines and sines of the rotary position embedding, (time, head_dim / 2)."""
    inv_freq = 1.0 / base ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    positions = torch.arange(max_len, dtype=torch.float32)
    angles = torch.outer(positions, inv_freq)
    return angles.cos(), angles.sin()


def apply_rope(x, cos, sin):
    """Turn pairs of channels of x, (batch, heads, time, head_dim)."""
    x1, x2 = x.chunk(2, dim=-1)
    return torch.cat((x1 * cos - x2 * sin, x1 * sin + x2 * cos), dim=-1)


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.num_heads = config.num_heads
        self.qkv = nn.Linear(config.dim, 3 * config.dim)
        self.proj = nn.Linear(config.dim, config.dim)
        cos, sin = rope_tables(config.dim // config.num_heads, config.max_len, config.rope_base)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, x, mask):
        batch, time, dim = x.shape
        q, k, v = self.qkv(x).split(dim, dim=-1)
        q = q.view(batch, time, self.num_heads, -1).transpose(1, 2)
        k = k.view(batch, time, self.num_heads, -1).transpose(1, 2)
        v = v.view(batch, time, self.num_heads, -1).transpose(1, 2)
        q = apply_rope(q, self.cos[:time], self.sin[:time])
        k = apply_rope(k, self.cos[:time], self.sin[:time])
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.proj(y.transpose(1, 2).reshape(batch, time, dim))


class MLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.up = nn.Linear(config.dim, 4 * config.dim)
        self.act = nn.GELU()
        self.down = nn.Linear(4 * config.dim, config.dim)

    def forward(self, x):
        return self.down(self.act(self.up(x)))


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.norm1 = nn.LayerNorm(config.dim, eps=config.norm_eps)
        self.attn = Attention(config)
        self.norm2 = nn.LayerNorm(config.dim, eps=config.norm_eps)
        self.mlp = MLP(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x, mask):
        x = x + self.dropout(self.attn(self.norm1(x), mask))
        return x + self.dropout(self.mlp(self.norm2(x)))


class Transformer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.dim)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.dim, eps=config.norm_eps)
        self.head = nn.Linear(config.dim, config.vocab_size, bias=False)
        self.apply(self.init_weights)
        for block in self.blocks:
            nn.init.normal_(block.mlp.down.weight, std=0.02 / math.sqrt(2 * config.num_layers))
        self.head.weight = self.embed.weight

    def init_weights(self, module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def forward(self, tokens, documents):
        time = tokens.shape[1]
        causal = torch.ones(time, time, dtype=torch.bool).tril()
        same_document = documents[:, :, None] == documents[:, None, :]
        mask = (causal & same_document)[:, None]
        x = self.dropout(self.embed(tokens))
        for block in self.blocks:
            x = block(x, mask)
        return self.head(self.norm(x))
