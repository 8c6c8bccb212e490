"""Optimizers, each from its configuration and a model; norms, biases and embeddings do not decay."""

from __future__ import annotations

import inspect
from collections.abc import Container, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from trainkit.core.config import AdamWConfig, MuonConfig, SGDConfig, ShampooConfig, SOAPConfig
from trainkit.errors import UsageError

Groups = list[dict[str, Any]]


class Several:
    """Optimizers that share the parameters of one model and step together, as one.

    No `Optimizer` itself: each of them is seen by hooks, and nothing is seen twice.
    """

    def __init__(self, optimizers: list[Optimizer]) -> None:
        self.optimizers = optimizers

    @property
    def param_groups(self) -> Groups:
        """Give the groups of all, in order."""
        return [group for each in self.optimizers for group in each.param_groups]

    def step(self) -> None:
        """Make a step of each."""
        for each in self.optimizers:
            each.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients of all."""
        for each in self.optimizers:
            each.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """Give the state of each, by its place."""
        return {str(number): each.state_dict() for number, each in enumerate(self.optimizers)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore each."""
        for number, each in enumerate(self.optimizers):
            each.load_state_dict(state[str(number)])


@dataclass(frozen=True)
class OwnSchedule:
    """A scheduler that a model brings, and when it steps: each `frequency` steps or epochs."""

    scheduler: Any
    interval: str = "epoch"
    frequency: int = 1
    monitor: str | None = None


def read_configured(task: Any) -> tuple[Optimizer | Several, list[OwnSchedule]]:
    """Give what the task's `configure_optimizers` returns, in any of Lightning's forms for one optimizer.

    A task that trains an epoch by itself has none.

    Raises:
        UsageError: it has none, or returns none or several optimizers.
    """
    if not hasattr(task, "configure_optimizers"):
        message = (
            f"optimizer=own: {type(task).__name__} has no configure_optimizers; choose another optimizer"
        )
        raise UsageError("model-unsuited", message)
    found = task.configure_optimizers()
    if found is None and hasattr(task, "train_epoch"):
        return Several([]), []
    while isinstance(found, list | tuple) and len(found) == 1:
        found = found[0]
    schedules: Any = []
    monitor = None
    if isinstance(found, Mapping):
        found, schedules, monitor = found["optimizer"], found.get("lr_scheduler", []), found.get("monitor")
    elif isinstance(found, tuple) and len(found) == 2 and isinstance(found[0], list) and len(found[0]) == 1:
        found, schedules = found[0][0], found[1]
    name = type(task).__name__
    if not isinstance(found, Optimizer):
        message = f"configure_optimizers of {name} must give one optimizer, gave {found!r:.80}"
        raise UsageError("model-unsuited", message)
    closure = inspect.signature(found.step).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        message = f"{type(found).__name__} of {name} steps with a closure; train it with lightning.Trainer"
        raise UsageError("model-unsuited", message)
    listed = schedules if isinstance(schedules, list | tuple) else [schedules]
    return found, [_read_schedule(each, monitor, name) for each in listed]


def _read_schedule(given: Any, monitor: str | None, owner: str) -> OwnSchedule:
    """Give a scheduler as Lightning reads it: `monitor` means something for ReduceLROnPlateau alone."""
    settings = dict(given) if isinstance(given, Mapping) else {"scheduler": given, "monitor": monitor}
    on_plateau = isinstance(settings["scheduler"], ReduceLROnPlateau)
    known = {entry.name for entry in fields(OwnSchedule)}
    schedule = OwnSchedule(**{name: value for name, value in settings.items() if name in known})
    if schedule.interval not in ("step", "epoch") or (on_plateau and schedule.interval != "epoch"):
        message = f"{owner}: interval={schedule.interval!r} of a {type(schedule.scheduler).__name__}"
        raise UsageError(
            "model-unsuited", f"{message} has no meaning here; give step or epoch (a plateau: epoch)"
        )
    if on_plateau and schedule.monitor is None:
        raise UsageError("model-unsuited", f"{owner}: ReduceLROnPlateau needs a monitor")
    return schedule if on_plateau else replace(schedule, monitor=None)


def build_adamw(config: AdamWConfig, model: nn.Module) -> AdamW:
    """Give AdamW with two groups: first the weights that decay, then those that do not."""
    groups = group_parameters(model, config.weight_decay)
    betas = (config.beta1, config.beta2)
    return AdamW(groups, lr=config.learning_rate, betas=betas, eps=config.eps, fused=config.fused or None)


def build_sgd(config: SGDConfig, model: nn.Module) -> SGD:
    """Give SGD with the same two groups."""
    groups = group_parameters(model, config.weight_decay)
    return SGD(groups, lr=config.learning_rate, momentum=config.momentum, nesterov=config.nesterov)


def build_muon(config: MuonConfig, model: nn.Module) -> Several:
    """Give torch's Muon for the matrices of hidden layers, and AdamW for all that Muon is not made for.

    Source: Jordan, Muon: an optimizer for hidden layers, 2024; embeddings and the head are AdamW's.
    """
    from torch.optim import Muon  # late: not in the oldest torch that the rest of the core runs on

    outer = {id(parameter) for parameter in list_outer_parameters(model)}
    inner = [p for p in split_parameters(model)[0] if p.ndim == 2 and id(p) not in outer]
    chosen = {id(parameter) for parameter in inner}
    groups = group_parameters(model, config.weight_decay, without=chosen)
    optimizers: list[Optimizer] = [AdamW(groups, lr=config.adamw_learning_rate)] if groups else []
    if inner:
        optimizers.insert(0, Muon(inner, lr=config.learning_rate, momentum=config.momentum,
                                  weight_decay=config.weight_decay))  # fmt: skip
    return Several(optimizers)


def build_shampoo(config: ShampooConfig, model: nn.Module) -> Optimizer:
    """Give pytorch_optimizer's Shampoo. Sources: Gupta et al., arXiv 1802.09568; Anil et al., 2002.09018."""
    every = config.precondition_every_n_steps
    # Its roots are zero until they are computed, and with them every update: begin one step before.
    groups = [group | {"step": every - 1} for group in group_parameters(model, config.weight_decay)]
    shampoo: Optimizer = _import_extra("Shampoo")(
        groups, lr=config.learning_rate, preconditioning_compute_steps=every
    )
    return shampoo


def build_soap(config: SOAPConfig, model: nn.Module) -> Optimizer:
    """Give pytorch_optimizer's SOAP. Source: Vyas et al., arXiv 2409.11321."""
    groups = group_parameters(model, config.weight_decay)
    betas = (config.beta1, config.beta2)
    soap: Optimizer = _import_extra("SOAP")(
        groups, lr=config.learning_rate, betas=betas, precondition_frequency=config.precondition_every_n_steps
    )
    return soap


def _import_extra(name: str) -> Any:
    try:
        import pytorch_optimizer  # late: as slow to import as torch itself
    except ModuleNotFoundError as error:
        message = f"optimizer {name} needs pytorch_optimizer: pip install 'trainkit[optim]'"
        raise UsageError("missing-dependency", message) from error
    return getattr(pytorch_optimizer, name)


def group_parameters(model: nn.Module, weight_decay: float, *, without: Container[int] = ()) -> Groups:
    """Give the weights that decay and those that do not, as groups; `without` are ids of others' ones."""
    parts = [[p for p in part if id(p) not in without] for part in split_parameters(model)]
    groups = [
        {"params": part, "weight_decay": decay}
        for part, decay in zip(parts, (weight_decay, 0.0), strict=True)
    ]
    return [group for group in groups if group["params"]] if without else groups


def list_outer_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Give what reads the input or writes the output: embeddings, and the last linear layer."""
    layers = [module for module in model.modules() if isinstance(module, nn.Embedding | nn.Linear)]
    outer = [layer for layer in layers if isinstance(layer, nn.Embedding)] + layers[-1:]
    return [parameter for layer in outer for parameter in layer.parameters()]


def split_parameters(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Give (matrices, the rest) in the model's order; an embedding is a table, not a matrix.

    A module's `no_decay` names those of its parameters that are no matrices, whatever their shape. What is
    frozen is in neither.
    """
    tables = {
        id(parameter)
        for module in model.modules()
        for name, parameter in module.named_parameters(recurse=False)
        if isinstance(module, nn.Embedding) or name in getattr(module, "no_decay", ())
    }
    matrices: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for parameter in filter(lambda each: each.requires_grad, model.parameters()):
        (matrices if parameter.ndim >= 2 and id(parameter) not in tables else rest).append(parameter)
    return matrices, rest
