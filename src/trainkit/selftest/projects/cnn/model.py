"""A small convolutional classifier and the moving average of its weights."""

import copy

import torch
from torch import nn


class ConvBlock(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels, eps=1e-5, momentum=0.1)
        self.act = nn.ReLU()
        self.pool = nn.MaxPool2d(2)

    def forward(self, x):
        return self.pool(self.act(self.norm(self.conv(x))))


class Classifier(nn.Module):
    def __init__(self, num_classes, channels=8, dropout=0.2):
        super().__init__()
        self.block1 = ConvBlock(1, channels)
        self.block2 = ConvBlock(channels, 2 * channels)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x):
        x = self.block2(self.block1(x))
        x = x.mean(dim=(2, 3))
        return self.head(self.dropout(x))


def make_average(model):
    """A copy of the model that is never trained."""
    average = copy.deepcopy(model)
    return average.requires_grad_(False)


@torch.no_grad()
def update_average(average, model, decay):
    """Weights move by 1 - decay towards the model's, running statistics are copied."""
    for ours, theirs in zip(average.parameters(), model.parameters(), strict=True):
        ours.lerp_(theirs, 1.0 - decay)
    for ours, theirs in zip(average.buffers(), model.buffers(), strict=True):
        ours.copy_(theirs)
