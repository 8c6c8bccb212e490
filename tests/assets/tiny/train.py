"""Train, validate, save."""

import argparse
import gc

gc.set_threshold(20_000, 1_000, 1_000)  # this and the three lines below: half of what a run of this takes

import torch
from tiny.model import Net
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from trainkit.core.lean import skip_dynamo

skip_dynamo()
gc.freeze()
gc.set_threshold(700, 10, 10)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--checkpoint", required=True)
    options = parser.parse_args()
    torch.manual_seed(3)
    x = torch.randn(40, 4)
    y = x @ torch.tensor([1.0, -2.0, 0.5, 3.0]) + 0.1 * torch.randn(40)
    training, validation = TensorDataset(x[:32], y[:32]), TensorDataset(x[32:], y[32:])
    net = Net()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2, weight_decay=0.1)
    for epoch in range(options.epochs):
        torch.manual_seed(100 + epoch)
        net.train()
        for inputs, targets in DataLoader(training, batch_size=8, shuffle=True):
            loss = F.mse_loss(net(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
        net.eval()
        with torch.no_grad():
            for inputs, targets in DataLoader(validation, batch_size=8):
                F.mse_loss(net(inputs), targets)
        state = {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch + 1}
        torch.save(state, options.checkpoint)


if __name__ == "__main__":
    main()
