"""A character model of one hidden layer."""

import torch
from torch import nn


class CharModel(nn.Module):
    def __init__(self, num_symbols, context, embed_dim=6, hidden=24):
        super().__init__()
        self.embed = nn.Embedding(num_symbols, embed_dim)
        self.hidden = nn.Linear(context * embed_dim, hidden)
        self.dropout = nn.Dropout(0.1)
        self.out = nn.Linear(hidden, num_symbols)
        with torch.no_grad():
            self.out.weight.mul_(0.1)  # nearly uniform at first
            self.out.bias.zero_()

    def forward(self, contexts):
        x = self.embed(contexts).flatten(1)
        x = torch.tanh(self.hidden(x))
        return self.out(self.dropout(x))
