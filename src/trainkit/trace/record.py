"""The recorder: what happens in each optimizer step of a program, through hooks of torch.

It sees, with no edit of the program: batches (loader and root module), the loss given to backward,
gradients, parameters, buffers, optimizer state and hyper-parameters, evaluations, the state of the
random generators. A hook never raises into the program: an error ends the recording and is written.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import importlib.abc
import importlib.machinery
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from .digest import NAME, chain_digests, describe, digest_tensor, digest_unordered, digest_values

FORMAT = 1
# Arguments of torch's optimizers that choose an implementation, not a result.
_IMPLEMENTATION = {"foreach", "fused", "capturable", "differentiable"}
# For programs that do not seed: numbers that nobody else takes, so that a lost seed shows.
_SEEDS = {"python": 1_726_354_091, "numpy": 1_093_847_562, "torch": 5_820_174_639}


def arm(folder: Path) -> None:
    """Record the training of this process to a file in `folder`, once torch is imported.

    The generators of Python, NumPy and torch are seeded, so that a program without seeds of its own
    repeats; a program that seeds is not affected.
    """
    random.seed(_SEEDS["python"])
    recorder = Recorder(folder)
    callbacks: dict[str, Callable[[ModuleType], None]] = {
        "torch": recorder.hook_torch,
        "torch.utils.data.dataloader": recorder.hook_loader,
        "numpy.random": lambda numpy_random: numpy_random.seed(_SEEDS["numpy"]),
    }
    sys.meta_path.insert(0, _AfterImport(recorder, callbacks))
    os.register_at_fork(after_in_child=recorder.disarm)
    atexit.register(recorder.finish)


class _AfterImport(importlib.abc.MetaPathFinder):
    """Calls back with a module right after it was imported."""

    def __init__(self, recorder: Recorder, callbacks: dict[str, Callable[[ModuleType], None]]) -> None:
        self._recorder = recorder
        self._callbacks = callbacks

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in self._callbacks:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            # Only now: a program may ask for the spec of a module to see whether it is installed.
            with self._recorder.never_raising(name):
                callback = self._callbacks.pop(name, None)
                if callback:
                    callback(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _never_raise(method: Callable[..., None]) -> Callable[..., None]:
    """Let a hook run only while it may, and turn its errors into an event of the trace."""

    @functools.wraps(method)
    def hook(self: Recorder, *args: Any, **kwargs: Any) -> None:
        if not self.armed or self.inside or self.is_transformed():
            return
        with self.never_raising(method.__name__):
            method(self, *args, **kwargs)

    return hook


class Recorder:
    """Collects what happens between two optimizer steps and writes one line per step."""

    def __init__(self, folder: Path) -> None:
        rank = int(os.environ.get("RANK", "0"))
        self.path = folder / f"{rank:04d}-{time.time_ns()}-{os.getpid()}.jsonl"
        self.armed = True
        self.inside = False
        self._file: Any = None
        self._torch: Any = None
        self._depth = 0
        self._step = 0
        self._parameters: dict[int, tuple[int, Any]] = {}  # id -> (index, the parameter: keeps the id alive)
        self._buffers: dict[int, tuple[str, Any, str]] = {}  # id of module -> (name, module, attribute)
        self._optimizers: dict[int, tuple[int, Any, list[int]]] = {}
        self._num_optimizers = 0
        self._names: set[str] = set()
        self._roots: dict[int, Any] = {}
        self._forget_pending()

    def _forget_pending(self) -> None:
        self._loaded: tuple[int, str] = (0, "")
        self._evaluated: tuple[int, str] = (0, "")
        self._saved: tuple[int, str] = (0, "")
        self._batch: list[str] = []
        self._loss: list[str] = []

    def disarm(self) -> None:
        """Stop recording; also called in forked children, whose work is not the training."""
        self.armed = False

    @contextmanager
    def never_raising(self, where: str) -> Iterator[None]:
        """Write an exception of ours to the trace and stop recording; while inside, hooks do nothing."""
        self.inside = True
        try:
            yield
        except Exception as error:
            self.write({"event": "problem", "where": where, "error": repr(error)[:300]})
            self.disarm()
        finally:
            self.inside = False

    def is_transformed(self) -> bool:
        """Tell whether torch is tracing or transforming, when tensors hold no numbers."""
        torch = self._torch
        if torch is None:
            return True
        return bool(torch.compiler.is_compiling() or torch._C._functorch.peek_interpreter_stack() is not None)

    # -- hooks

    def hook_torch(self, torch: Any) -> None:
        """Install the hooks; called once, right after torch is imported."""
        self._torch = torch
        torch.manual_seed(_SEEDS["torch"])
        torch.nn.modules.module.register_module_forward_pre_hook(self._enter_module)
        torch.nn.modules.module.register_module_forward_hook(
            self._leave_module, with_kwargs=True, always_call=True
        )
        optimizer = importlib.import_module("torch.optim.optimizer")  # no attribute of torch.optim
        optimizer.register_optimizer_step_pre_hook(self._before_step)
        optimizer.register_optimizer_step_post_hook(self._after_step)
        backward = torch.autograd.backward

        @functools.wraps(backward)
        def recorded_backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
            self._see_loss(tensors)
            return backward(tensors, *args, **kwargs)

        torch.autograd.backward = recorded_backward
        save = torch.save

        @functools.wraps(save)
        def recorded_save(value: Any, *args: Any, **kwargs: Any) -> Any:
            self._see_saved(value)
            return save(value, *args, **kwargs)

        torch.save = recorded_save

    def hook_loader(self, module: Any) -> None:
        """See each batch that a DataLoader hands out, targets included."""
        kind = module._BaseDataLoaderIter
        advance = kind.__next__

        @functools.wraps(advance)
        def recorded_next(iterator: Any) -> Any:
            batch = advance(iterator)
            self._see_loaded(batch)
            return batch

        kind.__next__ = recorded_next

    def _enter_module(self, module: Any, inputs: Any) -> None:  # noqa: ARG002
        self._depth += 1

    def _leave_module(self, module: Any, args: Any, kwargs: Any, output: Any) -> None:
        self._depth = max(0, self._depth - 1)
        if self._depth == 0:
            self._see_root(module, args, kwargs, output)

    @_never_raise
    def _see_loaded(self, batch: Any) -> None:
        self._loaded = _chain(self._loaded, digest_values(batch))

    @_never_raise
    def _see_saved(self, value: Any) -> None:
        self._saved = _chain(self._saved, digest_unordered(value))

    @_never_raise
    def _see_root(self, module: Any, args: Any, kwargs: Any, output: Any) -> None:
        if next(module.parameters(), None) is None:  # a loss or a transform, no model
            return
        if self._torch.is_grad_enabled() and module.training:
            self._adopt_module(module)
            self._batch.append(digest_values(args, kwargs))
        else:
            self._evaluated = _chain(self._evaluated, digest_values(args, kwargs, output))

    @_never_raise
    def _see_loss(self, tensors: Any) -> None:
        for tensor in [tensors] if hasattr(tensors, "item") else list(tensors):
            self._loss.append(tensor.item().hex() if tensor.numel() == 1 else digest_tensor(tensor))

    @_never_raise
    def _before_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:  # noqa: ARG002
        if id(optimizer) not in self._optimizers:
            self._adopt_optimizer(optimizer)

    @_never_raise
    def _after_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:  # noqa: ARG002
        self._depth = 0
        self._step += 1
        parameters = _list_parameters(optimizer)
        if len(parameters) != len(self._optimizers[id(optimizer)][2]):  # a group was added
            self._adopt_optimizer(optimizer)
        self.write(
            {
                "event": "step",
                "step": self._step,
                **self._pending(),
                "gradients": [_digest_gradient(parameter) for parameter in parameters],
                **self._describe_optimizer(optimizer),
                "buffers": self._digest_buffers(),
                "rng": self._digest_generators(),
            }
        )
        self._forget_pending()

    # -- what is known

    def _adopt_module(self, module: Any) -> None:
        if id(module) in self._roots:
            return
        self._roots[id(module)] = module
        prefix = type(module).__name__ + "."
        named = [
            (self._free_name(name, prefix), parameter)
            for name, parameter in module.named_parameters()
            if id(parameter) not in self._parameters
        ]
        buffers = []
        for owner_name, owner in module.named_modules():
            for attribute, buffer in owner._buffers.items():
                key = hash((id(owner), attribute))
                if buffer is not None and key not in self._buffers:
                    full = f"{owner_name}.{attribute}".lstrip(".")
                    self._buffers[key] = (full, owner, attribute)
                    buffers.append([full, describe(buffer), digest_tensor(buffer)])
        self._write_init(named, buffers)

    def _adopt_optimizer(self, optimizer: Any) -> None:
        number = self._num_optimizers  # a new one when a group is added: steps before keep their own
        self._num_optimizers += 1
        parameters = [
            (f"optimizer{number}.{group_number}.{place}", parameter)
            for group_number, group in enumerate(optimizer.param_groups)
            for place, parameter in enumerate(group["params"])
        ]
        self._write_init([pair for pair in parameters if id(pair[1]) not in self._parameters], [])
        indices = [self._parameters[id(parameter)][0] for _, parameter in parameters]
        self._optimizers[id(optimizer)] = (number, optimizer, indices)
        self.write({"event": "optimizer", "optimizer": number, "parameters": indices})

    def _free_name(self, name: str, prefix: str) -> str:
        if name in self._names:
            name = prefix + name
        self._names.add(name)
        return name

    def _write_init(self, named: list[tuple[str, Any]], buffers: list[list[str]]) -> None:
        rows = []
        for name, parameter in named:
            self._parameters[id(parameter)] = (len(self._parameters), parameter)
            rows.append([name, describe(parameter), digest_tensor(parameter)])
        if rows or buffers:
            event = {"event": "init", "parameters": rows, "buffers": buffers}
            self.write(event | {"rng": self._digest_generators()})

    # -- what happened since the last step

    def _pending(self) -> dict[str, Any]:
        return {
            "evaluated": self._evaluated,
            "saved": self._saved,
            "loaded": self._loaded,
            "batch": self._batch,
            "loss": self._loss,
        }

    def _describe_optimizer(self, optimizer: Any) -> dict[str, Any]:
        parameters = _list_parameters(optimizer)
        return {
            "optimizer": self._optimizers[id(optimizer)][0],
            "hyper": _list_hyper(optimizer),
            "parameters": [digest_tensor(parameter) for parameter in parameters],
            "state": [_digest_state(optimizer.state.get(parameter, {})) for parameter in parameters],
        }

    def _digest_buffers(self) -> list[str]:
        values = [getattr(owner, attribute) for _, owner, attribute in self._buffers.values()]
        return ["" if value is None else digest_tensor(value) for value in values]

    def _digest_generators(self) -> dict[str, str]:
        states = {
            "torch": digest_tensor(self._torch.get_rng_state()),
            "python": digest_values(random.getstate()),
        }
        if "numpy.random" in sys.modules:
            states["numpy"] = digest_values(sys.modules["numpy.random"].get_state(legacy=False))
        if self._torch.cuda.is_initialized():
            states["cuda"] = digest_values(self._torch.cuda.get_rng_state_all())
        return states

    # -- the file

    def write(self, event: dict[str, Any]) -> None:
        """Append one event as a line of JSON; the first one makes the file."""
        if self._file is None:
            self._file = self.path.open("w", encoding="utf-8")
            self.write({"event": "trace", "format": FORMAT, "digest": NAME})
        self._file.write(json.dumps(event, separators=(",", ":")) + "\n")
        self._file.flush()

    def finish(self) -> None:
        """Write the last event, without which a trace counts as cut off: what training left behind."""
        if not self.armed or self._file is None:
            return
        with self.never_raising("finish"):
            optimizers = [optimizer for _, optimizer, _ in self._optimizers.values()]
            self.write(
                {
                    "event": "end",
                    "steps": self._step,
                    **self._pending(),
                    "values": [digest_tensor(parameter) for _, parameter in self._parameters.values()],
                    "optimizers": [self._describe_optimizer(optimizer) for optimizer in optimizers],
                    "buffers": self._digest_buffers(),
                    "rng": self._digest_generators(),
                }
            )


def _chain(chained: tuple[int, str], digest: str) -> tuple[int, str]:
    """Fold one more digest into (count, digest), which keeps a long evaluation short."""
    return chained[0] + 1, chain_digests(chained[1], digest)


def _digest_gradient(parameter: Any) -> str:
    """Digest a gradient; a missing one and one of zeros are the same to training."""
    gradient = parameter.grad
    if gradient is not None and gradient.is_sparse:
        gradient = gradient.to_dense()
    return "" if gradient is None or not bool((gradient != 0).any()) else digest_tensor(gradient)


def _digest_state(state: dict[str, Any]) -> str:
    return digest_values(state) if state else ""


def _list_parameters(optimizer: Any) -> list[Any]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _list_hyper(optimizer: Any) -> list[Any]:
    """Give [the distinct settings, for each parameter the index of its own]."""
    settings: list[str] = []
    indices = []
    for group in optimizer.param_groups:
        # Only what the optimizer itself asks for: schedulers and users add entries of their own.
        keys = sorted(optimizer.defaults.keys() & group.keys() - _IMPLEMENTATION)
        text = "; ".join(f"{key}={_show(group[key])}" for key in keys)
        if text not in settings:
            settings.append(text)
        indices += [settings.index(text)] * len(group["params"])
    return [settings, indices]


def _show(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"({', '.join(map(_show, value))})"
    return repr(value.item()) if hasattr(value, "item") else repr(value)
