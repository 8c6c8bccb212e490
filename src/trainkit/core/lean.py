"""A lean start: optimizers without `torch._dynamo`, whose import takes as long as torch's own.

Constructing a torch optimizer imports it to tell the compiler where not to look; without a compiler this
says nothing. It is left out here by private names, each of which is looked at first: where one is not what
this module knows, nothing is changed. The profiler and the hooks of optimizers sit outside of what is
changed. Whoever imports `torch._dynamo` later, `torch.compile` for one, gets torch's own code from then on.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any

import torch
from torch import optim
from torch.optim import Optimizer, optimizer

_CACHE = "__dynamo_disable"  # where torch keeps the function that its decorator has made, on the function
# What `_use_grad` looks up by name; `_step_without` does the same but for the two graph breaks.
_USE_GRAD = {"torch._dynamo", "is_grad_enabled", "set_grad_enabled", "defaults", "_dynamo", "graph_break"}
_TYPING = {"cast", "Optimizer", "Any"}


@functools.cache  # each run of a sweep asks
def skip_dynamo() -> str | None:
    """Keep torch's optimizers from importing `torch._dynamo`, in this process; give None, or why not."""
    if "torch._dynamo" in sys.modules:
        return "torch._dynamo is loaded already"
    disabled, use_grad = _find_codes()
    if disabled is None or use_grad is None:
        return f"torch {torch.__version__} has other private names than those that are known"
    methods = [each for each in vars(Optimizer).values() if _is_made_of(each, disabled)]
    steps = [(owner, vars(owner)["step"]) for owner in _list_optimizers() if "step" in vars(owner)]
    steps = [(owner, step) for owner, step in steps if _is_made_of(step, use_grad)]
    if Optimizer.add_param_group not in methods or not steps:
        return f"torch {torch.__version__} builds its optimizers in another way than the one that is known"
    for method in methods:
        setattr(method.__wrapped__, _CACHE, functools.partial(_call_without, method))
    for owner, step in steps:
        owner.step = _step_without(step)
    return None


def _find_codes() -> tuple[CodeType | None, CodeType | None]:
    """Give the code of torch's two wrappers, or None for one that is not what this module knows."""
    disable: Any = getattr(torch, "_disable_dynamo", None)
    use_grad: Any = getattr(optimizer, "_use_grad_for_differentiable", None)
    codes = [
        getattr(decorate(_probe), "__code__", None) if decorate else None for decorate in (disable, use_grad)
    ]
    first, second = (code if isinstance(code, CodeType) else None for code in codes)
    if first is not None and not (_CACHE in first.co_consts and "torch._dynamo" in first.co_names):
        first = None
    if second is not None and set(second.co_names) - _TYPING != _USE_GRAD:
        second = None
    return first, second


def _probe(self: Any) -> None:
    """Nothing: what a decorator is tried on."""


def _list_optimizers() -> Iterator[type[Any]]:
    """Yield the classes of torch.optim."""
    for each in vars(optim).values():
        if isinstance(each, type) and issubclass(each, Optimizer):
            yield each


def _is_made_of(function: Any, code: CodeType) -> bool:
    return (
        isinstance(function, FunctionType)
        and function.__code__ is code
        and isinstance(getattr(function, "__wrapped__", None), FunctionType)
    )


def _call_without(method: Any, *args: Any, **kwargs: Any) -> Any:
    """Call the plain function; once a compiler may look, let torch's decorator make its own."""
    if "torch._dynamo" not in sys.modules:
        return method.__wrapped__(*args, **kwargs)
    vars(method.__wrapped__).pop(_CACHE, None)
    return method(*args, **kwargs)


def _step_without(step: Any) -> Callable[..., Any]:
    """Give torch's step without its graph breaks, as long as there is nothing to break."""
    plain = step.__wrapped__

    @functools.wraps(step)
    def lean_step(*args: Any, **kwargs: Any) -> Any:
        if "torch._dynamo" in sys.modules:
            return step(*args, **kwargs)
        before = torch.is_grad_enabled()
        try:
            torch.set_grad_enabled(args[0].defaults["differentiable"])
            return plain(*args, **kwargs)
        finally:
            torch.set_grad_enabled(before)

    return lean_step
