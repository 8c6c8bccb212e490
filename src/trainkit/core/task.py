"""What is trained: a module in the shape of a LightningModule, its loss inside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

Outputs = Tensor | Mapping[str, Tensor]


class Task(nn.Module):
    """A model that knows its loss; a subclass gives `training_step`, and `validation_step` where it differs.

    A LightningModule has the same methods and is trained by the same loop; `count_items` is ours.
    """

    def training_step(self, batch: Any, batch_idx: int) -> Outputs:
        """Give the loss [], the mean over the items of the batch; or a mapping with "loss" and other means."""
        raise NotImplementedError

    def validation_step(self, batch: Any, batch_idx: int) -> Outputs:
        """Give the same without a gradient."""
        return self.training_step(batch, batch_idx)

    def count_items(self, batch: Any) -> int:
        """Give the number of items (tokens, images, …) that the batch's loss is the mean of; 0 is allowed."""
        raise NotImplementedError
