"""The recorder: what happens in each optimizer step of a program, through hooks of torch.

It sees, with no edit of the program: batches (loader and root module), the loss given to backward,
module outputs, gradients, parameters, buffers, optimizer state and hyper-parameters, evaluations, what is
saved, seeds, the state of the random generators. Programs that update weights by hand have a step where
the first forward after a backward finds other weights. A hook never raises into the program: an error
ends the recording and is written. The one exception is asked for: `steps` ends the program.
"""

from __future__ import annotations

import functools
import gc
import importlib
import json
import os
import random
import sys
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import facts
from .digest import (
    NAME,
    chain_digests,
    describe,
    digest_bytes,
    digest_leaf,
    digest_pieces,
    digest_quick,
    digest_sample,
    digest_tensor,
    digest_values,
    iterate_leaves,
)
from .frames import find_caller
from .probe import take_environment

FORMAT = 2
# Arguments of torch's optimizers that choose an implementation, not a result.
_IMPLEMENTATION = {"foreach", "fused", "capturable", "differentiable"}
_NOTHING = "0" * 16  # the digest of a missing or zero gradient, of no state
_MOST_CALLS = 256  # of root modules between two steps; what comes after is folded together
_MOST_OUTPUTS = 4096  # of modules between two steps; what comes after is not recorded


def _never_raise(method: Callable[..., None]) -> Callable[..., None]:
    """Let a hook run only while it may, and turn its errors into an event of the trace."""

    @functools.wraps(method)
    def hook(self: Recorder, *args: Any, **kwargs: Any) -> None:
        if self.may_record():
            with self.never_raising(method.__name__):
                method(self, *args, **kwargs)

    return hook


class Recorder:
    """Collects what happens between two optimizer steps and writes one line per step."""

    def __init__(self, folder: Path, options: dict[str, Any]) -> None:
        self.options = options
        self.rank = int(os.environ.get("RANK", "0"))
        self.path = folder / f"{self.rank:04d}-{time.time_ns()}-{os.getpid()}.jsonl"
        self.light = options.get("level") == "light"
        self.armed = True
        self.inside = False
        self.step = 0
        self.deep: Any = None  # the pass of single operations, while it is on
        self.depth = 0  # of module calls
        self.in_backward = 0
        self.in_step = 0
        self.after = "init"  # what the program did last: names the phase of what lies between modules
        self._file: Any = None
        self._early: list[dict[str, Any]] = []  # until something is trained
        self._torch: Any = None
        self._thread = 0
        self._parameters: dict[int, tuple[int, Any]] = {}  # id -> (index, the parameter: keeps the id alive)
        self._others: list[Any] = []  # parameters of modules that nobody has called yet, averages of weights
        self._buffers: dict[
            tuple[int, str], tuple[str, Any]
        ] = {}  # (id of module, attribute) -> name, module
        self._optimizers: dict[int, tuple[int, Any, list[int]]] = {}
        self._hyper: dict[int, tuple[Any, Any]] = {}  # number of optimizer -> (compared, written)
        self._num_optimizers = 0
        self._names: set[str] = set()
        self._roots: dict[int, bool] = {}  # id -> has parameters
        self._modules: dict[int, tuple[int, str, Any]] = {}  # id -> (index, name, module)
        self._order: list[int] = []  # of module calls in the step before
        self._manual: tuple[list[Any], list[str], list[str]] | None = None
        self._by_hand: list[int] = []  # parameters that the program itself updates
        self._ordered: dict[int, list[Any]] = {}  # number of optimizer -> its parameters, see _list_in_order
        self._first: dict[int, tuple[str, str]] = {}  # id of a parameter -> shape and first digest
        self._hits: dict[tuple[str, int], list[Any]] = {}  # place -> steps and operations, first and last
        self._generators: list[Any] = []  # NumPy's, made by default_rng
        self._forget_pending()

    def _forget_pending(self) -> None:
        self._loaded: tuple[int, str] = (0, "")
        self._calls: list[list[str]] = []
        self._num_trained = 0  # of these, how many came before the last backward
        self._reads: list[str] = []
        self._saved: list[list[str]] = []
        self._resumed = 0
        self._loss: list[str] = []
        self._called: list[int] = []
        self._outputs: list[str] = []
        self._modes: dict[str, int] = {}

    def hit(self, file: str, line: int) -> None:
        """Note that an edited line runs: in which step, and after which operation of the deep pass."""
        number = -1 if self.deep is None else self.deep.number
        known = self._hits.get((file, line))
        if known is None:
            self._hits[file, line] = [self.step, self.step, number, number, self.after]
        else:
            known[1] = self.step
            if known[2] < 0:
                known[2] = number
            known[3] = number

    # -- when it may run

    def disarm(self) -> None:
        """Stop recording; also called in forked children, whose work is not the training."""
        self.armed = False
        if self.deep is not None:
            self.deep.stop()

    def may_record(self) -> bool:
        """Tell whether a hook may look at tensors: not in our own work, another thread or a transform."""
        torch = self._torch
        if not self.armed or self.inside or torch is None:
            return False
        if self._thread and threading.get_ident() != self._thread:
            return False
        return not (torch._C._functorch.peek_interpreter_stack() is not None or torch.compiler.is_compiling())

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

    # -- hooks

    def hook_torch(self, torch: Any) -> None:
        """Install the hooks; called once, right after torch is imported."""
        self._torch = torch
        torch.nn.modules.module.register_module_forward_pre_hook(self._enter_module)
        torch.nn.modules.module.register_module_forward_hook(
            self._leave_module, with_kwargs=True, always_call=True
        )
        optimizer = importlib.import_module("torch.optim.optimizer")  # no attribute of torch.optim
        optimizer.register_optimizer_step_pre_hook(self._before_step)
        optimizer.register_optimizer_step_post_hook(self._after_step)
        for name in ("backward", "grad"):
            _wrap(torch.autograd, name, before=self._enter_backward, after=self._leave_backward)
        for name in () if self.light else ("item", "tolist", "__float__"):
            _wrap(torch.Tensor, name, after=self._see_read)
        _wrap(torch, "save", before=lambda value=None, *_, **__: self._see_saved(value))
        _wrap(torch, "load", after=self._see_resumed)
        for module in (torch, torch.random):
            _wrap(module, "manual_seed", before=lambda seed, *_, **__: self.see_seed("torch", seed))
        if self.options.get("deep") == 1:
            self._start_deep()

    def hook_loader(self, module: Any) -> None:
        """See each batch that a DataLoader hands out, targets included."""
        kind = module._BaseDataLoaderIter
        advance = kind.__next__

        @functools.wraps(advance)
        def recorded_next(iterator: Any) -> Any:
            self.after = "data"
            batch = advance(iterator)
            self._see_loaded(iterator, batch)
            return batch

        kind.__next__ = recorded_next

    def see_generator(self, generator: Any) -> None:
        """Watch the state of a generator that NumPy's default_rng has made."""
        if len(self._generators) < 4:
            self._generators.append(generator)

    def see_seed(self, what: str, value: Any) -> None:
        """Note that a generator was seeded, with the line that did it."""
        if self.armed and not self.inside:
            with self.never_raising("see_seed"):
                where = find_caller()
                if where:  # torch and NumPy seed within themselves, too
                    self.write_early(
                        {
                            "event": "seed",
                            "what": what,
                            "value": repr(value)[:40],
                            "line": where,
                            "step": self.step,
                        }
                    )

    def see_arguments(self, value: Any) -> None:
        """Note what a command line was parsed to."""
        if self.armed and not self.inside:
            with self.never_raising("see_arguments"):
                rows = facts.flatten(value, "arguments")
                self.write_early({"event": "facts", "what": "arguments", "rows": rows})

    def _enter_module(self, module: Any, inputs: Any) -> None:  # noqa: ARG002
        if self.depth == 0 and not self.in_backward:
            self._enter_root(module)
            if self._manual is not None:
                self._end_if_asked()
        self.depth += 1
        if self.deep is not None:
            self.deep.enter_module(self._name_of(module))

    def _leave_module(self, module: Any, args: Any, kwargs: Any, output: Any) -> None:
        self.depth = max(0, self.depth - 1)
        if self.light and self.depth:
            return
        if self.in_backward or not self.may_record():  # activation checkpointing computes once more
            return
        with self.never_raising("leave_module"):
            known = self._modules.get(id(module))
            if known is not None and not self.light and len(self._outputs) < _MOST_OUTPUTS:
                leaf = _first_tensor(output)
                if leaf is not None:
                    self._called.append(known[0])
                    self._outputs.append(digest_sample(leaf))
            if not module.training:
                self._modes["eval"] = self._modes.get("eval", 0) + 1
            if self.depth == 0:
                self._see_root(module, args, kwargs, output)
        if self.deep is not None:
            self.deep.leave_module(output)

    @_never_raise
    def _enter_root(self, module: Any) -> None:
        known = self._roots.get(id(module))
        if known is None:
            known = self._roots[id(module)] = next(module.parameters(), None) is not None
            if known:
                self._adopt_module(module)
        if known and self._manual is not None and self._torch.is_grad_enabled():
            self._see_manual_update()

    def _see_root(self, module: Any, args: Any, kwargs: Any, output: Any) -> None:
        if not self._roots.get(id(module)):  # a loss or a transform, no model
            return
        grad = self._torch.is_grad_enabled()
        flag = "t" if grad and module.training else "g" if grad else "e"
        self.after = "loss" if flag == "t" else "eval"
        if self._torch.is_autocast_enabled("cpu") or self._torch.is_autocast_enabled("cuda"):
            self._modes["autocast"] = self._modes.get("autocast", 0) + 1
        if self.light:
            call = [flag, "", "" if flag == "t" else digest_pieces(_list_tensors(output))]
        else:
            call = [flag, digest_values(args, kwargs), digest_values(output)]
        if len(self._calls) < _MOST_CALLS:
            self._calls.append(call)
        else:
            last = self._calls[-1]
            self._calls[-1] = [last[0], chain_digests(last[1], call[1]), chain_digests(last[2], *call)]

    @_never_raise
    def _see_loaded(self, iterator: Any, batch: Any) -> None:
        if not self._loaded[0] and self.step == 0:
            self.write_early({"event": "facts", "what": "loader", "rows": facts.describe_loader(iterator)})
        if self.light:
            return
        self._loaded = self._loaded[0] + 1, chain_digests(self._loaded[1], digest_values(batch))

    @_never_raise
    def _see_saved(self, value: Any) -> None:
        tensors, numbers = [], []
        for leaf in iterate_leaves(value):
            if hasattr(leaf, "untyped_storage"):
                tensors.append(digest_tensor(leaf))
            elif not isinstance(leaf, (float, complex)):  # those may be seconds
                numbers.append(digest_leaf(leaf))
        if len(tensors) > 1000:
            tensors = [chain_digests(*sorted(tensors))]
        self._saved.append(["".join(sorted(set(tensors))), chain_digests(*sorted(numbers))])

    @_never_raise
    def _see_read(self, value: Any = None) -> None:
        """Note a number that the program takes out of a tensor, mostly to print it."""
        if isinstance(value, float) and not self.in_step and not self.in_backward and len(self._reads) < 64:
            self._reads.append(f"{'eval' if self.after == 'eval' else 'log'}:{value!r}")

    @_never_raise
    def _see_resumed(self, value: Any = None) -> None:
        if isinstance(value, dict):  # a checkpoint, not a tensor of a dataset
            self._resumed += 1

    def _enter_backward(self, tensors: Any = (), *_: Any, **__: Any) -> None:
        self._see_loss(tensors)
        self.in_backward += 1

    @_never_raise
    def _see_loss(self, tensors: Any) -> None:
        self._thread = self._thread or threading.get_ident()
        self._recognise_training()
        if self._manual is not None and not self._roots:
            self._see_manual_update()
        for tensor in [tensors] if hasattr(tensors, "item") else list(tensors):
            self._loss.append(tensor.item().hex() if _is_number(tensor) else digest_tensor(tensor))
        if self.deep is not None:
            self.deep.see_loss(tensors)
        if not self._optimizers and (self._manual is None or not self._manual[0]):
            parameters = [parameter for _, parameter in self._parameters.values() if parameter.requires_grad]
            parameters = parameters or self._adopt_leaves(tensors)
            self._manual = (parameters, [digest_quick(parameter) for parameter in parameters], [])

    def _recognise_training(self) -> None:
        """A forward in evaluation mode that a backward follows was training: `eval` was never left."""
        since = self._calls[self._num_trained :]
        if since and since[-1][0] == "g" and not any(call[0] == "t" for call in since):
            since[-1][0] = "t"
            self._modes["training in eval mode"] = self._modes.get("training in eval mode", 0) + 1
        self._num_trained = len(self._calls)

    def _leave_backward(self, _: Any = None) -> None:
        self.in_backward -= 1
        self.after = "clip"
        if self._manual is not None and not self.in_step:
            self._see_manual_gradients()

    @_never_raise
    def _see_manual_gradients(self) -> None:
        assert self._manual is not None
        parameters, digests, _ = self._manual
        self._manual = parameters, digests, [_digest_gradient(parameter) for parameter in parameters]

    def _see_manual_update(self) -> None:
        """Write a step when, since the last backward, weights have changed and no optimizer exists."""
        assert self._manual is not None
        parameters, before, gradients = self._manual
        if self._optimizers or not gradients:
            return
        now = [digest_quick(parameter) for parameter in parameters]
        if now != before:
            self._manual = parameters, now, []
            self._write_step(_ByHand(parameters), gradients)

    def _before_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:  # noqa: ARG002
        self._adopt_optimizer_once(optimizer)
        self.in_step += 1
        if self.deep is not None and self.armed:
            self.deep.see_parameters(_list_parameters(optimizer), "gradients")

    @_never_raise
    def _adopt_optimizer_once(self, optimizer: Any) -> None:
        self._manual = None
        if id(optimizer) not in self._optimizers:
            self._adopt_optimizer(optimizer)

    def _after_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:  # noqa: ARG002
        self.depth = 0
        self.in_step = max(0, self.in_step - 1)
        self.after = "schedule"
        if not self.may_record():
            return
        with self.never_raising("after_step"):
            parameters = _list_parameters(optimizer)
            if len(parameters) != len(self._optimizers[id(optimizer)][2]):  # a group was added
                self._adopt_optimizer(optimizer)
            if self.light:
                self._write_light_step(optimizer)
            else:
                self._write_step(optimizer, [_digest_gradient(parameter) for parameter in parameters])
        self._end_if_asked()

    def _begin_step(self) -> None:
        self.step += 1
        if self.step == 1:
            self._adopt_bystanders()
            self._write_surroundings()

    def _write_light_step(self, optimizer: Any) -> None:
        """Write one digest for all gradients, one for all weights and so on; the end is told in full."""
        self._begin_step()
        parameters = self._list_in_order(optimizer)
        states = [optimizer.state.get(parameter) for parameter in parameters]
        groups = [[group.get(key) for key in self._keys_of(optimizer)] for group in optimizer.param_groups]
        pieces = {
            "gradients": digest_pieces([parameter.grad for parameter in parameters]),
            "parameters": digest_pieces(parameters),
            "state": digest_pieces(
                [leaf for state in states if state for leaf in state.values() if hasattr(leaf, "nbytes")]
            ),
            "buffers": digest_pieces(
                [owner._buffers.get(key[1]) for key, (_, owner) in self._buffers.items()]
            ),
            "others": digest_pieces(self._others),
            "hyper": self._digest_hyper(optimizer, groups),
        }
        event = {"event": "step", "step": self.step, "optimizer": self._optimizers[id(optimizer)][0]}
        rng = {"torch": digest_tensor(self._torch.get_rng_state())}
        self.write(event | self._pending() | {"light": pieces, "rng": rng})
        self._forget_pending()

    def _write_step(self, optimizer: Any, gradients: list[str]) -> None:
        self._begin_step()
        event = {"event": "step", "step": self.step, **self._pending(), "gradients": "".join(gradients)}
        event |= self._describe_optimizer(optimizer)
        event |= {"buffers": self._digest_buffers(), "rng": self._digest_generators()}
        if self._others:
            event["others"] = "".join(map(digest_quick, self._others))
        if self.deep is not None:
            self.deep.see_parameters(_list_parameters(optimizer), "parameters")
            self._finish_deep()
        self.write(event)
        self._forget_pending()
        if self.options.get("deep") == self.step + 1:
            self._start_deep()

    def _start_deep(self) -> None:
        deep = importlib.import_module(f"{__package__}.deep")
        self.deep = deep.Deep(self)
        self.deep.start()

    def _end_if_asked(self) -> None:
        limit = self.options.get("steps") or 0
        if not limit or self.step < limit:
            return
        if self.armed:
            self.finish(stopped=True)
            self.disarm()
        elif self._file is None:
            return
        if threading.current_thread() is not threading.main_thread():
            os._exit(0)
        raise SystemExit(0)  # runs the program's own clean-up

    # -- what is known

    def _name_of(self, module: Any) -> str:
        known = self._modules.get(id(module))
        return known[1] if known else type(module).__name__

    def _adopt_module(self, module: Any, *, called: bool = True) -> None:
        prefix = type(module).__name__ + "."
        names = []
        for name, part in module.named_modules():
            if id(part) not in self._modules:
                names.append(_strip_wrappers(name) or type(module).__name__)
                self._modules[id(part)] = (len(self._modules), names[-1], part)
        self.write({"event": "modules", "names": names})
        named = [
            (self._free_name(_strip_wrappers(name), prefix), parameter)
            for name, parameter in module.named_parameters()
            if id(parameter) not in self._parameters
        ]
        if not called:
            new = [pair for pair in named if not any(pair[1] is other for other in self._others)]
            self._others += [parameter for _, parameter in new]
            rows = [[name, describe(parameter), digest_tensor(parameter)] for name, parameter in new]
            self.write({"event": "init", "others": rows, "buffers": self._adopt_buffers(module)})
            return
        self._others = [other for other in self._others if not any(other is p for _, p in named)]
        self._write_init(named, self._adopt_buffers(module))
        described = facts.describe_modules(module, _strip_wrappers)
        self.write({"event": "facts", "what": "modules", "rows": described})
        self.write({"event": "facts", "what": "model", "rows": facts.describe_configuration(module)})

    def _adopt_buffers(self, module: Any) -> list[list[str]]:
        rows = []
        for owner_name, owner in module.named_modules():
            for attribute, buffer in owner._buffers.items():
                key = (id(owner), attribute)
                if buffer is not None and key not in self._buffers:
                    full = _strip_wrappers(f"{owner_name}.{attribute}".lstrip("."))
                    self._buffers[key] = (full, owner)
                    rows.append([full, describe(buffer), digest_tensor(buffer)])
        return rows

    def _adopt_bystanders(self) -> None:
        """Find modules that nobody has called yet: copies of the model that hold averages."""
        module_type = self._torch.nn.Module
        found = [item for item in gc.get_objects() if issubclass(type(item), module_type)]
        parts = {id(part) for module in found for child in module.children() for part in child.modules()}
        for module in found:
            known = id(module) in parts or id(module) in self._modules
            if not known and any(id(item) not in self._parameters for item in module.parameters()):
                self._adopt_module(module, called=False)

    def _adopt_leaves(self, tensors: Any) -> list[Any]:
        """Find the leaves of a loss that no module holds, in the order of the graph."""
        seen: set[Any] = set()
        found: list[Any] = []
        nodes = [t.grad_fn for t in ([tensors] if hasattr(tensors, "item") else tensors)]
        while nodes and len(seen) < 20_000:
            node = nodes.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            if hasattr(node, "variable"):
                found.append(node.variable)
            nodes += [child for child, _ in node.next_functions]
        new = [leaf for leaf in found if id(leaf) not in self._parameters]
        self._write_init([(f"leaf{number}", leaf) for number, leaf in enumerate(new)], [])
        return found

    def _adopt_optimizer(self, optimizer: Any) -> None:
        number = self._num_optimizers  # a new one when a group is added: steps before keep their own
        self._num_optimizers += 1
        parameters = [
            (f"optimizer{number}.{group_number}.{place}", parameter)
            for group_number, group in enumerate(optimizer.param_groups)
            for place, parameter in enumerate(group["params"])
        ]
        self._write_init([pair for pair in parameters if id(pair[1]) not in self._parameters], [])
        self._others = [other for other in self._others if id(other) not in self._parameters]
        indices = [self._parameters[id(parameter)][0] for _, parameter in parameters]
        self._optimizers[id(optimizer)] = (number, optimizer, indices)
        rows = {"class": type(optimizer).__name__}
        rows |= {
            key: str(group.get(key))
            for group in optimizer.param_groups[:1]
            for key in sorted(_IMPLEMENTATION)
        }
        event = {"event": "optimizer", "optimizer": number, "parameters": indices, "facts": rows}
        self.write(event)

    def _free_name(self, name: str, prefix: str) -> str:
        while name in self._names:
            name = prefix + name
        self._names.add(name)
        return name

    def _write_init(self, named: list[tuple[str, Any]], buffers: list[list[str]]) -> None:
        rows = []
        for name, parameter in named:
            self._parameters[id(parameter)] = (len(self._parameters), parameter)
            row = [name, describe(parameter), digest_tensor(parameter)]
            self._first[id(parameter)] = (row[1], row[2])
            quick = digest_quick(parameter)  # what the steps hold
            rows.append(row if quick == row[2] else [*row, quick])
        if rows or buffers:
            event = {"event": "init", "step": self.step, "parameters": rows, "buffers": buffers}
            self.write(event | {"rng": self._digest_generators()})

    def _write_surroundings(self) -> None:
        for what, rows in facts.describe_surroundings(self._torch).items():
            self.write({"event": "facts", "what": what, "rows": rows})

    def _finish_deep(self) -> None:
        self.deep.finish_step(self._list_watched())
        rows = [[*place, *when] for place, when in self._hits.items()]
        self.write({"event": "lines", "rows": rows})

    def _list_watched(self) -> list[Any]:
        """Give the buffers and averages that the pass of single operations shall explain."""
        buffers = [owner._buffers.get(key[1]) for key, (_, owner) in self._buffers.items()]
        return [buffer for buffer in buffers if buffer is not None] + self._others

    # -- what happened since the last step

    def _pending(self) -> dict[str, Any]:
        event: dict[str, Any] = {}
        for name in ("calls", "saved", "resumed", "loss", "modes", "reads"):
            value = getattr(self, f"_{name}")
            if value:
                event[name] = value
        if self._loaded[0]:
            event["loaded"] = self._loaded
        if self._outputs:
            event["outputs"] = "".join(self._outputs)
            if self._called != self._order:
                self._order = event["called"] = self._called
        return event

    def _describe_optimizer(self, optimizer: Any) -> dict[str, Any]:
        parameters = _list_parameters(optimizer)
        if isinstance(optimizer, _ByHand):
            indices = [self._parameters[id(parameter)][0] for parameter in parameters]
            if indices != self._by_hand:
                self._by_hand = indices
                self.write({"event": "optimizer", "optimizer": -1, "parameters": indices, "facts": {}})
            digests = "".join(map(digest_quick, parameters))
            return {"optimizer": -1, "parameters": digests, "state": _NOTHING * len(parameters)}
        number = self._optimizers[id(optimizer)][0]
        event = {
            "optimizer": number,
            "parameters": "".join(map(digest_quick, parameters)),
            "state": "".join(_digest_state(optimizer.state.get(parameter)) for parameter in parameters),
        }
        if self.light:  # at the end
            return event | {"hyper": _list_hyper(optimizer)}
        compared = [[group.get(key) for key in self._keys_of(optimizer)] for group in optimizer.param_groups]
        compared = [[v.item() if hasattr(v, "item") else v for v in row] for row in compared]
        if self._hyper.get(number, (None, None))[0] != compared:
            self._hyper[number] = (compared, _list_hyper(optimizer))
            event["hyper"] = self._hyper[number][1]
        return event

    def _keys_of(self, optimizer: Any) -> list[str]:
        return [key for key in optimizer.defaults if key not in _IMPLEMENTATION]

    def _list_in_order(self, optimizer: Any) -> list[Any]:
        """Give the parameters in an order that names and groups do not change: by shape and first value."""
        number = self._optimizers[id(optimizer)][0]
        known = self._ordered.get(number)
        if known is None:
            keyed = [(self._first[id(p)], n, p) for n, p in enumerate(_list_parameters(optimizer))]
            known = self._ordered[number] = [p for _, _, p in sorted(keyed, key=lambda item: item[:2])]
        return known

    def _digest_hyper(self, optimizer: Any, groups: list[list[Any]]) -> str:
        """Digest what each parameter, in that order, is updated with."""
        number = self._optimizers[id(optimizer)][0]
        known = self._hyper.get(number)
        if known is None or known[0] != groups:
            texts = {
                id(parameter): _show(row)
                for row, group in zip(groups, optimizer.param_groups, strict=True)
                for parameter in group["params"]
            }
            joined = ";".join(texts[id(parameter)] for parameter in self._list_in_order(optimizer))
            known = self._hyper[number] = (groups, [digest_bytes(joined.encode()), _list_hyper(optimizer)])
        return str(known[1][0])

    def _digest_buffers(self) -> str:
        values = [owner._buffers.get(key[1]) for key, (_, owner) in self._buffers.items()]
        return "".join(_NOTHING if value is None else digest_tensor(value) for value in values)

    def _digest_generators(self) -> dict[str, str]:
        _, state, gauss = random.getstate()
        states = {
            "torch": digest_tensor(self._torch.get_rng_state()),
            "python": digest_bytes(array("Q", state).tobytes() + repr(gauss).encode()),
        }
        if "numpy.random" in sys.modules:
            numpy_state = sys.modules["numpy.random"].get_state(legacy=False)
            states["numpy"] = digest_values(numpy_state)
        for number, generator in enumerate(self._generators):
            states[f"numpy{number}"] = digest_bytes(repr(generator.bit_generator.state).encode())
        if self._torch.cuda.is_initialized():
            states["cuda"] = digest_values(self._torch.cuda.get_rng_state_all())
        return states

    # -- the file

    def write_early(self, event: dict[str, Any]) -> None:
        """Write an event that alone is no reason to make a file: this process may train nothing."""
        if self._file is None:
            self._early.append(event)
        else:
            self.write(event)

    def write(self, event: dict[str, Any]) -> None:
        """Append one event as a line of JSON; the first one makes the file."""
        if self._file is None:
            self._file = self.path.open("w", encoding="utf-8")
            self.write({"event": "trace", "format": FORMAT, "digest": NAME, "rank": self.rank})
            for early in self._early:
                self.write(early)
        self._file.write(json.dumps(event, separators=(",", ":")) + "\n")
        self._file.flush()

    def finish(self, *, stopped: bool = False) -> None:
        """Write the last event, without which a trace counts as cut off: what training left behind."""
        if not self.armed or self._file is None or self._torch is None:
            return
        with self.never_raising("finish"):
            if self._manual is not None:
                self._see_manual_update()
            optimizers = [optimizer for _, optimizer, _ in self._optimizers.values()]
            if self.deep is not None:
                self._finish_deep()
            self.write(
                {
                    "event": "end",
                    "steps": self.step,
                    "stopped": stopped,
                    **self._pending(),
                    "values": "".join(digest_tensor(parameter) for _, parameter in self._parameters.values()),
                    "others": "".join(map(digest_tensor, self._others)),
                    "optimizers": [
                        {"hyper": self._hyper.get(number, (None, None))[1]}
                        | self._describe_optimizer(optimizer)
                        for (number, _, _), optimizer in zip(
                            self._optimizers.values(), optimizers, strict=True
                        )
                    ],
                    "buffers": self._digest_buffers(),
                    "rng": self._digest_generators(),
                    "compiled": facts.count_compiled(),
                    "environment": take_environment(self._torch),
                }
            )


class _ByHand:
    """Stands for the optimizer of a program that has none."""

    def __init__(self, parameters: list[Any]) -> None:
        self.param_groups = [{"params": parameters}]


def _wrap(
    owner: Any,
    name: str,
    *,
    before: Callable[..., None] = lambda *_, **__: None,
    after: Callable[[Any], None] = lambda _: None,
) -> None:
    """Call `before` with the arguments and `after` with the result (None if it raised) of a function."""
    function = getattr(owner, name)

    @functools.wraps(function)
    def recorded(*args: Any, **kwargs: Any) -> Any:
        before(*args, **kwargs)
        result = None
        try:
            result = function(*args, **kwargs)
            return result
        finally:
            after(result)

    setattr(owner, name, recorded)


def _strip_wrappers(name: str) -> str:
    """Drop what DDP, FSDP, torch.compile and activation checkpointing put into a name."""
    for wrapper in ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"):
        name = name.replace(f"{wrapper}.", "").removesuffix(wrapper)
    return name.removeprefix("module.")


def _list_tensors(value: Any) -> list[Any]:
    return [leaf for leaf in iterate_leaves(value) if hasattr(leaf, "untyped_storage")]


def _first_tensor(output: Any) -> Any:
    if hasattr(output, "untyped_storage"):
        return output
    return next((leaf for leaf in iterate_leaves(output) if hasattr(leaf, "untyped_storage")), None)


def _is_number(tensor: Any) -> bool:
    return bool(tensor.numel() == 1 and tensor.is_floating_point())


def _digest_gradient(parameter: Any) -> str:
    """Digest a gradient; a missing one and one of zeros are the same to training."""
    gradient = parameter.grad
    if gradient is None:
        return _NOTHING
    if gradient.is_sparse:
        gradient = gradient.to_dense()
    # Almost never zero, so the first element decides; only when that is zero all are looked at.
    flat = gradient.reshape(-1) if gradient.numel() else gradient
    if not gradient.numel() or (flat[0].item() == 0 and not bool((gradient != 0).any())):
        return _NOTHING
    return digest_quick(gradient)


def _digest_state(state: dict[str, Any] | None) -> str:
    """Digest the tensors and numbers of one parameter's state; of large ones eight pieces."""
    if not state:
        return _NOTHING
    found = [
        digest_sample(leaf) if hasattr(leaf, "untyped_storage") else digest_leaf(leaf)
        for leaf in iterate_leaves(state)
    ]
    return digest_bytes("".join(found).encode())


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
