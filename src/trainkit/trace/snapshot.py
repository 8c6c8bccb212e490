"""What optimizers, gradients and generators hold at one moment, as digests."""

from __future__ import annotations

import random
import sys
from array import array
from typing import Any

from .digest import (
    describe,
    digest_bytes,
    digest_leaf,
    digest_quick,
    digest_sample,
    digest_tensor,
    digest_values,
    iterate_leaves,
)

NOTHING = "0" * 16  # the digest of a missing or zero gradient, of no state
# Arguments of torch's optimizers that choose an implementation, not a result.
IMPLEMENTATION = {"foreach", "fused", "capturable", "differentiable"}


class ByHand:
    """Stands for the optimizer of a program that has none."""

    def __init__(self, parameters: list[Any]) -> None:
        self.param_groups = [{"params": parameters}]


def list_parameters(optimizer: Any) -> list[Any]:
    """Give the parameters of an optimizer, groups in order."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def list_leaves(tensors: Any) -> list[Any]:
    """Find the tensors that a backward from `tensors` gives gradients, in the order of the graph."""
    seen: set[Any] = set()
    found: list[Any] = []
    nodes = [item.grad_fn for item in ([tensors] if hasattr(tensors, "item") else tensors)]
    while nodes and len(seen) < 20_000:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.append(node.variable)
        nodes += [child for child, _ in node.next_functions]
    return found


def digest_gradient(parameter: Any) -> str:
    """Digest a gradient; a missing one and one of zeros are the same to training."""
    gradient = parameter.grad
    if gradient is None:
        return NOTHING
    if gradient.is_sparse:
        gradient = gradient.to_dense()
    # Almost never zero, so the first element decides; only when that is zero all are looked at.
    flat = gradient.reshape(-1) if gradient.numel() else gradient
    if not gradient.numel() or (flat[0].item() == 0 and not bool((gradient != 0).any())):
        return NOTHING
    return digest_quick(gradient)


def digest_state(state: Any, *, whole: bool = False) -> str:
    """Digest the tensors and numbers of one parameter's state; of large ones eight pieces, if not `whole`."""
    leaves = list(iterate_leaves(state))
    digest = digest_tensor if whole else digest_sample
    found = [digest(leaf) if hasattr(leaf, "untyped_storage") else digest_leaf(leaf) for leaf in leaves]
    return digest_bytes("".join(found).encode()) if found else NOTHING


def digest_layout(state: Any) -> str:
    """Digest how one parameter's state is laid out: shapes and types, whatever the values."""
    shapes = [
        describe(leaf) if hasattr(leaf, "untyped_storage") else type(leaf).__name__
        for leaf in iterate_leaves(state)
    ]
    return digest_bytes(";".join(shapes).encode())


def read_settings(optimizer: Any) -> list[list[Any]]:
    """Give what each group updates with, as numbers; only what the optimizer itself asks for."""
    keys = [key for key in optimizer.defaults if key not in IMPLEMENTATION]
    rows = [[group.get(key) for key in keys] for group in optimizer.param_groups]
    return [[value.item() if hasattr(value, "item") else value for value in row] for row in rows]


def list_settings(optimizer: Any) -> list[Any]:
    """Give [the distinct settings in words, for each parameter the index of its own]."""
    settings: list[str] = []
    indices = []
    for group in optimizer.param_groups:
        # Schedulers and users add entries of their own.
        keys = sorted(optimizer.defaults.keys() & group.keys() - IMPLEMENTATION)
        text = "; ".join(f"{key}={show(group[key])}" for key in keys)
        if text not in settings:
            settings.append(text)
        indices += [settings.index(text)] * len(group["params"])
    return [settings, indices]


def show(value: Any) -> str:
    """Give a setting in words, whether it is a number or a tensor of one."""
    if isinstance(value, (list, tuple)):
        return f"({', '.join(map(show, value))})"
    value = value.item() if hasattr(value, "item") else value
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 1e15
    return repr(int(value)) if whole else repr(value)  # 0 and 0.0 are the same to an optimizer


def digest_generators(torch: Any, made: list[Any]) -> dict[str, str]:
    """Digest the states of all random generators; `made` are NumPy's that default_rng has made."""
    _, state, gauss = random.getstate()
    states = {
        "torch": digest_tensor(torch.get_rng_state()),
        "python": digest_bytes(array("Q", state).tobytes() + repr(gauss).encode()),
    }
    if "numpy.random" in sys.modules:
        states["numpy"] = digest_values(sys.modules["numpy.random"].get_state(legacy=False))
    # In which order they were made does not matter.
    digests = sorted(digest_bytes(repr(generator.bit_generator.state).encode()) for generator in made)
    states |= {f"numpy{number}": digest for number, digest in enumerate(digests)}
    if torch.cuda.is_initialized():
        states["cuda"] = digest_values(torch.cuda.get_rng_state_all())
    return states
