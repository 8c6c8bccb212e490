"""A multi-layer perceptron: features float32 (batch, …) -> classes or numbers."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from trainkit.core.config import MLPConfig
from trainkit.core.imported import Supervised


class MLP(Supervised):
    """Cross-entropy in nats where there are classes, else the mean squared error; (batch, …) is flattened."""

    def __init__(
        self, config: MLPConfig, *, num_features: int, num_classes: int = 0, num_targets: int = 1
    ) -> None:
        dims = [num_features, *config.hidden_dims]
        layers: list[nn.Module] = [nn.Flatten()]
        for size, next_size in pairwise(dims):
            layers += [nn.Linear(size, next_size), nn.ReLU(), nn.Dropout(config.dropout)]
        layers.append(nn.Linear(dims[-1], num_classes or num_targets))
        super().__init__(nn.Sequential(*layers), F.cross_entropy if num_classes else F.mse_loss)
        self.is_one_number = not num_classes and num_targets == 1

    def forward(self, inputs: Tensor) -> Tensor:
        """Give (batch, classes), (batch, targets), or (batch,) where one number is predicted."""
        outputs: Tensor = self.module(inputs)
        return outputs[:, 0] if self.is_one_number else outputs
