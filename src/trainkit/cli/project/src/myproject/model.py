"""What is trained: a module that knows its loss, in the shape of a LightningModule."""

from torch import Tensor, nn
from torch.nn import functional as F

from trainkit.core.task import Task


class Regressor(Task):
    """Two layers from features to a number; sizes in features."""

    def __init__(self, *, num_features: int = 4, hidden_dim: int = 16, dropout: float = 0.1) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(num_features, hidden_dim),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden_dim, 1),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Give a prediction for each row: (batch, features) -> (batch,)."""
        outputs: Tensor = self.layers(inputs)
        return outputs.squeeze(-1)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Give the mean squared error []."""
        inputs, targets = batch
        return F.mse_loss(self(inputs), targets)
