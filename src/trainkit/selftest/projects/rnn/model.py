"""A recurrent forecaster."""

import torch
from torch import nn


class Forecaster(nn.Module):
    def __init__(self, hidden_size=12, num_layers=2):
        super().__init__()
        self.embed = nn.Linear(1, hidden_size)
        self.lstm = nn.LSTM(hidden_size, hidden_size, num_layers=num_layers, batch_first=True)
        self.head = nn.Linear(hidden_size, 1)
        for name, parameter in self.lstm.named_parameters():
            if name.startswith("weight_hh"):
                nn.init.orthogonal_(parameter)
            if name.startswith("bias_ih"):
                with torch.no_grad():
                    parameter[hidden_size : 2 * hidden_size].fill_(1.0)  # remember at first

    def forward(self, values, state=None):
        """Forecasts, (batch, time), and the state after the last step."""
        x = torch.tanh(self.embed(values[..., None]))
        x, state = self.lstm(x, state)
        return self.head(x).squeeze(-1), state
