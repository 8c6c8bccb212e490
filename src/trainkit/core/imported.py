"""Anybody's model by its dotted path: a module with a loss, an estimator with `fit` and `predict`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from trainkit.core.config import ImportedDataConfig, ImportedModelConfig
from trainkit.core.data import Loaders, build_loaders
from trainkit.core.loop import EpochResult
from trainkit.core.registry import call_object, import_object
from trainkit.core.task import Outputs, Task
from trainkit.errors import UsageError


def import_task(config: ImportedModelConfig, **facts: int) -> Any:
    """Give what `target` makes: with a `training_step` as it is, another module with its loss, an estimator.

    Raises:
        UsageError: it cannot be imported, or is nothing that can be trained.
    """
    made = call_object(config.target, config.kwargs, key="model.target")
    if hasattr(made, "training_step"):
        return made
    if hasattr(made, "fit") and hasattr(made, "predict"):
        return Estimator(made, online=config.online, num_classes=facts.get("num_classes"))
    if not isinstance(made, nn.Module):
        raise UsageError(
            "model-unsuited",
            f"model.target='{config.target}' made a {type(made).__name__}, which has no training_step, is no "
            "nn.Module and has no fit and predict",
        )
    if not config.loss:
        message = (
            f"model.target='{config.target}' has no training_step; give model.loss, such as cross_entropy"
        )
        raise UsageError("model-unsuited", message)
    path = config.loss if "." in config.loss else f"torch.nn.functional.{config.loss}"
    return Supervised(made, import_object(path, key="model.loss"))


def import_data(config: ImportedDataConfig, *, seed: int) -> Any:
    """Give what `target` makes: an object with loaders of its own, or three loaders or data sets as Loaders.

    Raises:
        UsageError: it cannot be imported, or is none of these.
    """
    made = call_object(config.target, config.kwargs, key="data.target")
    if isinstance(made, Loaders) or hasattr(made, "train_dataloader"):
        return made
    if not isinstance(made, Sequence) or len(made) != 3:
        raise UsageError(
            "data-unsuited",
            f"data.target='{config.target}' made a {type(made).__name__}; it must make a LightningDataModule "
            "or (train, validation, test) as loaders or data sets",
        )
    if all(isinstance(part, Dataset) and hasattr(part, "__len__") for part in made):
        return build_loaders(made, config, seed=seed, draws=True)
    train, validation, test = (
        DataLoader(part, config.batch_size) if isinstance(part, IterableDataset) else part for part in made
    )
    return Loaders(train, validation, test)


class Supervised(Task):
    """Any module and a loss of (outputs, targets); batches are (inputs, targets)."""

    def __init__(self, module: nn.Module, loss: Callable[[Any, Any], Tensor]) -> None:
        super().__init__()
        self.module = module
        self.loss = loss

    def forward(self, inputs: Any) -> Any:
        """Give the module's outputs."""
        return self.module(inputs)

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Give the classes, or what the module gives where it is not one value per class: (batch, …)."""
        inputs, targets = batch
        outputs: Tensor = self(inputs)
        return outputs.argmax(1) if _are_classes(outputs, targets) else outputs

    def training_step(self, batch: Any, batch_idx: int) -> Outputs:
        """Give the loss of (inputs, targets)."""
        inputs, targets = batch
        return self.loss(self(inputs), targets)

    def validation_step(self, batch: Any, batch_idx: int) -> Outputs:
        """Give the loss and, where the targets are classes, the accuracy."""
        inputs, targets = batch
        outputs = self(inputs)
        measured = {"loss": self.loss(outputs, targets)}
        if _are_classes(outputs, targets):
            measured["accuracy"] = (outputs.argmax(1) == targets).float().mean()
        return measured


def _are_classes(outputs: Any, targets: Any) -> bool:
    return not targets.is_floating_point() and outputs.ndim == targets.ndim + 1


class Estimator(Task):
    """What has `fit` and `predict` as in scikit-learn; batches are (inputs, targets), inputs become rows.

    The loss of a classifier is its cross-entropy in nats, or its error rate if it gives no probabilities;
    that of a regressor the mean squared error. `online` calls `partial_fit` batch by batch in every epoch;
    otherwise `fit` sees the whole training part, once.
    """

    def __init__(self, estimator: Any, *, online: bool, num_classes: int | None) -> None:
        super().__init__()
        if online and not hasattr(estimator, "partial_fit"):
            raise UsageError(
                "model-unsuited", f"model.online=true: {type(estimator).__name__} has no partial_fit"
            )
        self.estimator = estimator
        self.online = online
        self.options = {}
        if online and "classes" in inspect.signature(estimator.partial_fit).parameters:
            if num_classes is None:
                message = (
                    f"{type(estimator).__name__}.partial_fit needs the classes: give the data's num_classes"
                )
                raise UsageError("model-unsuited", message)
            self.options["classes"] = list(range(num_classes))

    def configure_optimizers(self) -> None:
        """Give none: an estimator learns by itself."""

    def train_epoch(self, batches: Iterable[Any], done: EpochResult) -> None:
        """Learn from the batches, and count the loss: online before each is learnt, otherwise after all."""
        if not self.online:
            parts = [(_flatten(inputs), _check(targets)) for inputs, targets in batches]
            whole = (torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts]))
            self.estimator.fit(*(part.numpy() for part in whole))
            done.add(self.measure(*whole), len(whole[1]))
            done.num_batches += len(parts)
            done.num_steps += 1
            return
        for inputs, targets in batches:
            rows = _flatten(inputs)
            if hasattr(self.estimator, "n_features_in_"):  # it has learnt something
                done.add(self.measure(rows, targets), len(targets))
            self.estimator.partial_fit(rows.numpy(), _check(targets).numpy(), **self.options)
            done.num_batches += 1
            done.num_steps += 1

    def validation_step(self, batch: Any, batch_idx: int) -> Outputs:
        """Give the loss and, of a classifier, the accuracy."""
        return self.measure(_flatten(batch[0]), batch[1])

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Give what is predicted for each row (rows,)."""
        return torch.as_tensor(self.estimator.predict(_flatten(batch[0]).numpy()))

    def measure(self, rows: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Give the means over the rows (rows, features)."""
        predicted = torch.as_tensor(self.estimator.predict(rows.numpy()))
        if not hasattr(self.estimator, "classes_"):
            return {"loss": (predicted.reshape(targets.shape) - targets).square().mean()}
        accuracy = (predicted == targets).double().mean()
        if not hasattr(self.estimator, "predict_proba"):
            return {"loss": 1 - accuracy, "accuracy": accuracy}
        probabilities = torch.as_tensor(self.estimator.predict_proba(rows.numpy()))  # (rows, classes)
        of_target = torch.as_tensor(self.estimator.classes_) == targets[:, None]
        chosen = (probabilities * of_target).sum(1).clamp_min(torch.finfo(torch.float64).eps)
        return {"loss": -chosen.log().mean(), "accuracy": accuracy}

    def get_extra_state(self) -> Tensor:
        """Give the estimator as bytes that are read back without running code, uint8 [size]."""
        return torch.frombuffer(bytearray(_import_skops().dumps(self.estimator)), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Take it back.

        Raises:
            RuntimeError: it holds types of other packages than the estimator's own.
        """
        skops, data = _import_skops(), bytes(state.numpy())
        package = type(self.estimator).__module__.partition(".")[0] + "."
        types = skops.get_untrusted_types(data=data)
        foreign = [name for name in types if not name.startswith(package)]
        if foreign:
            raise RuntimeError(f"the estimator holds {', '.join(foreign)}, which are not of {package[:-1]}")
        self.estimator = skops.loads(data, trusted=types)


def _check(given: Any) -> Tensor:
    if not isinstance(given, Tensor):
        message = f"an estimator learns from tensors, and the data gives {type(given).__name__}"
        raise UsageError("data-unsuited", message)
    return given.cpu()


def _flatten(inputs: Any) -> Tensor:
    rows = _check(inputs)
    return rows.flatten(1) if rows.ndim > 1 else rows[:, None]


def _import_skops() -> Any:
    try:
        import skops.io  # late: brings scikit-learn
    except ModuleNotFoundError as error:
        message = "an estimator is saved with skops: pip install 'trainkit[sklearn]'"
        raise UsageError("missing-dependency", message) from error
    return skops.io
