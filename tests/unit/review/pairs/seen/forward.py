# === base
import torch
from torch import nn
import torch.nn.functional as F


class Attention(nn.Module):
    def forward(self, x, mask=None):
        batch, length, dim = x.shape
        qkv = self.qkv(x).reshape(batch, length, 3, self.heads, dim // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        scores = (q @ k.transpose(-2, -1)) * self.scale
        if mask is not None:
            scores = scores.masked_fill(mask == 0, float("-inf"))
        weights = self.dropout(scores.softmax(dim=-1))
        out = (weights @ v).transpose(1, 2).reshape(batch, length, dim)
        return self.proj(out)
# === copy: renamed, hints
from torch import Tensor, nn


class SelfAttention(nn.Module):
    def forward(self, hidden: Tensor, keep: Tensor | None = None) -> Tensor:
        b, t, c = hidden.shape
        packed: Tensor = self.to_qkv(hidden).reshape(b, t, 3, self.num_heads, c // self.num_heads)
        query, key, value = packed.permute(2, 0, 3, 1, 4).unbind(0)
        att = (query @ key.transpose(-2, -1)) * self.factor
        if keep is not None:
            att = att.masked_fill(keep == 0, float("-inf"))
        probs = self.drop(att.softmax(dim=-1))
        merged = (probs @ value).transpose(1, 2).reshape(b, t, c)
        return self.to_out(merged)
# === copy: temporaries
from torch import nn


class Attention(nn.Module):
    def forward(self, x, mask=None):
        batch, length, dim = x.shape
        head_dim = dim // self.heads
        qkv = self.qkv(x)
        qkv = qkv.reshape(batch, length, 3, self.heads, head_dim)
        qkv = qkv.permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        kt = k.transpose(-2, -1)
        scores = q @ kt
        scores = scores * self.scale
        if mask is not None:
            blocked = mask == 0
            scores = scores.masked_fill(blocked, float("-inf"))
        weights = scores.softmax(dim=-1)
        weights = self.dropout(weights)
        out = weights @ v
        out = out.transpose(1, 2)
        out = out.reshape(batch, length, dim)
        return self.proj(out)
# === other: convolutional forward
import torch
from torch import nn
import torch.nn.functional as F


class ConvNet(nn.Module):
    def forward(self, x, mask=None):
        batch, channels, height, width = x.shape
        x = F.relu(self.conv1(x))
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        if mask is not None:
            x = x * F.interpolate(mask, size=x.shape[-2:])
        x = self.dropout(torch.flatten(x, 1))
        x = F.relu(self.fc1(x))
        return F.log_softmax(self.fc2(x), dim=1)
# === other: recurrent forward
import torch
from torch import nn


class Tagger(nn.Module):
    def forward(self, tokens, lengths, state=None):
        batch, length = tokens.shape
        embedded = self.dropout(self.embed(tokens))
        packed = nn.utils.rnn.pack_padded_sequence(embedded, lengths.cpu(), batch_first=True, enforce_sorted=False)
        out, state = self.lstm(packed, state)
        out, _ = nn.utils.rnn.pad_packed_sequence(out, batch_first=True, total_length=length)
        logits = self.proj(out)
        return logits.reshape(batch * length, -1), state
# === other: residual block
from torch import nn


class Block(nn.Module):
    def forward(self, x, mask=None):
        identity = x
        out = self.norm1(x)
        out = self.act(self.conv1(out))
        out = self.norm2(out)
        out = self.dropout(self.conv2(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        return out + identity
