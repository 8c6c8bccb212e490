"""The classifier as a LightningModule."""

from dataclasses import dataclass

import lightning
import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class Config:
    seed: int = 17
    hidden: int = 24
    dropout: float = 0.1
    batch_size: int = 12
    accumulate: int = 2
    max_epochs: int = 3
    lr: float = 2e-2
    weight_decay: float = 1e-2
    warmup_steps: int = 3
    clip_norm: float = 0.2


class SpiralClassifier(lightning.LightningModule):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.net = nn.Sequential(
            nn.Linear(2, config.hidden),
            nn.LayerNorm(config.hidden),
            nn.SiLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, config.hidden),
            nn.SiLU(),
            nn.Linear(config.hidden, 2),
        )
        self.val_losses = []

    def forward(self, points):
        return self.net(points)

    def training_step(self, batch, batch_idx):
        points, labels = batch
        loss = F.cross_entropy(self(points), labels)
        if batch_idx % 5 == 0:
            print(f"epoch {self.current_epoch} batch {batch_idx} loss {loss.item():.6f}")
        return loss

    def validation_step(self, batch, batch_idx):
        points, labels = batch
        self.val_losses.append(F.cross_entropy(self(points), labels, reduction="none"))

    def on_validation_epoch_end(self):
        val_loss = torch.cat(self.val_losses).mean()
        self.val_losses.clear()
        print(f"epoch {self.current_epoch} val_loss {val_loss.item():.6f}")

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(
            self.parameters(), lr=self.config.lr, betas=(0.9, 0.98), weight_decay=self.config.weight_decay
        )
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self.lr_factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def lr_factor(self, step):
        """Linear warm-up, then the inverse square root."""
        warmup = self.config.warmup_steps
        return min((step + 1) / warmup, (warmup / (step + 1)) ** 0.5)
