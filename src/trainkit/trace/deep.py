"""The deep pass: every operation of one step, with its source line, by a dispatch mode.

It runs in a repetition of the program. Each operation is an event with the digests of what it read and
wrote, so that two passes can be put side by side however the code was moved. Compiled code does not run
compiled under a dispatch mode: the one who starts this pass switches compilation off for both sides.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from .digest import describe, digest_content, digest_tensor
from .frames import list_frames

_MOST_OPERATIONS = 200_000
_MOST_VALUES = 48  # of a tensor, evenly spread, kept to tell rounding from another value
# They make memory with whatever it holds; nobody may read it before it is written.
_UNINITIALISED = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "empty_permuted"}
_OVERWRITES = {"copy_", "fill_", "zero_", "normal_", "uniform_", "random_", "bernoulli_", "exponential_"}
_ORDINARY = (torch.Tensor, torch.nn.Parameter)


class Deep(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes one event for each operation until the step ends."""

    def __init__(self, recorder: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._recorder = recorder
        self._active = False
        self.number = 0
        self._modules: list[str] = []
        self._forward: dict[int, tuple[list[list[str | int]], str]] = {}  # node -> frames, module

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here, and to tell the compiler takes as long as to import torch

    def start(self) -> None:
        """Begin; operations are seen from now on."""
        self._active = True
        self.__enter__()  # type: ignore[no-untyped-call]

    def stop(self) -> None:
        """End; the mode stays where it is on the stack if others lie above it."""
        if not self._active:
            return
        self._active = False
        self._recorder.deep = None
        stack = torch.utils._python_dispatch._get_current_dispatch_mode_stack()
        if stack and stack[-1] is self:
            self.__exit__(None, None, None)  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation and write it down."""
        kwargs = kwargs or {}
        recorder = self._recorder
        # What is traced into TorchScript is left alone: our own work would become part of it.
        tracing = torch._C._get_tracing_state() is not None
        if not self._active or recorder.inside or tracing or self.number >= _MOST_OPERATIONS:
            return func(*args, **kwargs)
        seen = None
        with recorder.never_raising("deep"):
            seen = self._look_before(func, args, kwargs)
        result = func(*args, **kwargs)
        if seen is not None and self._active:
            with recorder.never_raising("deep"):
                self._write_operation(func, args, kwargs, result, seen)
        return result

    def _look_before(self, func: Any, args: Any, kwargs: Any) -> list[str] | None:
        tensors = _tensors((args, kwargs))
        if any(type(tensor) not in _ORDINARY for tensor in tensors):
            return None
        name = func._schema.name.rpartition("::")[2]
        if name in _OVERWRITES and tensors:
            tensors = tensors[1:]
        tensors = _without_workspace(name, tensors)
        read = [digest_content(tensor) for tensor in tensors]
        if torch.Tag.nondeterministic_seeded in func.tags:
            read.append(_digest_rng(kwargs))
        return read

    def _write_operation(self, func: Any, args: Any, kwargs: Any, result: Any, read: list[str]) -> None:
        name = func._schema.name.rpartition("::")[2]
        if name in _UNINITIALISED or name == "set_":  # memory of another process or file: made outside
            return
        written = _list_written(func, args, kwargs)
        produced = _tensors(result)
        produced += [tensor for tensor in written if not any(tensor is other for other in produced)]
        produced = _without_workspace(name, [tensor for tensor in produced if type(tensor) in _ORDINARY])
        wrote = [digest_content(tensor) for tensor in produced]
        if torch.Tag.nondeterministic_seeded in func.tags:
            wrote.append(_digest_rng(kwargs))
        if not produced and not isinstance(result, (bool, int, float)):
            return
        frames, module, node = self._find_place()
        event = {
            "event": "op",
            "n": self.number,
            "op": name,
            "phase": self.find_phase(),
            "module": module,
            "frames": frames,
            "in": read,
            "out": wrote,
            "args": _describe_arguments(args, kwargs),
        }
        if node:
            event["node"] = node
        if torch.Tag.nondeterministic_seeded in func.tags:
            event["random"] = 1
        scalars = [repr(value) for value in tree_flatten((args, kwargs))[0] if isinstance(value, float)]
        if scalars:
            event["scalars"] = scalars[:8]
        if not written and produced and all(_shares(tensor, args) for tensor in produced):
            event["view"] = 1
        if isinstance(result, (bool, int, float)):
            event["value"] = repr(result)
        else:
            event["sample"] = sample(produced[0])
        self.number += 1
        self._recorder.write(event)

    def _find_place(self) -> tuple[list[list[str | int]], str, str]:
        """Give the project's frames, the module and the node of autograd; in a backward the forward's."""
        node = torch._C._current_autograd_node()
        if node is not None and self._recorder.in_backward:
            frames, module = self._forward.get(node._sequence_nr(), ([], ""))
            return frames or list_frames(), module, node.name()
        frames = list_frames()
        module = self._modules[-1] if self._modules else ""
        if torch.is_grad_enabled():
            self._forward[torch._C._autograd._get_sequence_nr() - 1] = (frames, module)
        return frames, module, ""

    def find_phase(self) -> str:
        """Name the phase that the program is in."""
        recorder = self._recorder
        if recorder.in_backward:
            return "backward"
        if self._modules:
            return "forward" if torch.is_grad_enabled() else "eval"
        return "optimizer" if recorder.in_step and recorder.after != "loss" else str(recorder.after)

    # -- what the recorder tells

    def enter_module(self, name: str) -> None:
        """Note that a module is called."""
        self._modules.append(name)

    def leave_module(self, output: Any) -> None:
        """Note what a module gave back, to compare sizes where two programs compute it otherwise."""
        name = self._modules.pop() if self._modules else ""
        if not self._active:
            return
        with self._recorder.never_raising("deep"):
            tensors = [tensor for tensor in _tensors(output) if type(tensor) in _ORDINARY]
            if tensors:
                self._write_seen("output", name, tensors[0])

    def see_loss(self, tensors: Any) -> None:
        """Note the tensors that a backward starts from."""
        for tensor in _tensors(tensors):
            self._write_seen("loss", "loss", tensor)

    def see_parameters(self, parameters: list[Any], what: str) -> None:
        """Note gradients (after a `backward`, or at a step) or new values: where operations lead to."""
        if not self._active:
            return
        recorder = self._recorder
        inside, recorder.inside = recorder.inside, True
        try:
            for number, parameter in enumerate(parameters):
                tensor = parameter.detach() if what == "parameters" else parameter.grad
                if tensor is not None and not tensor.is_sparse:
                    self._write_seen(what, str(number), tensor)
        finally:
            recorder.inside = inside

    def finish_step(self, watched: list[Any]) -> None:
        """Note buffers and averages, and end with the step that was asked for."""
        for number, tensor in enumerate(watched):
            self._write_seen("watched", str(number), tensor.detach())
        self._recorder.write({"event": "deep-end", "operations": self.number})
        self.stop()

    def _write_seen(self, what: str, name: str, tensor: Any) -> None:
        event = {"event": "seen", "what": what, "name": name, "n": self.number}
        self._recorder.write(event | {"out": digest_content(tensor), "sample": sample(tensor)})


def sample(tensor: Any) -> dict[str, Any]:
    """Give `dtype[shape]`, up to 48 evenly spread values as numbers, and the largest magnitude."""
    plain = tensor.detach()
    if plain.layout is not torch.strided:
        plain = plain.to_dense()
    if plain.is_quantized:
        plain = plain.int_repr()
    flat = plain.reshape(-1)
    values: dict[str, Any] = {"shape": describe(tensor)}
    if flat.numel() and not flat.is_complex():
        every = max(1, -(-flat.numel() // _MOST_VALUES))
        values |= {"every": every, "values": flat[::every].tolist()}
        if flat.is_floating_point():
            values["max"] = flat.abs().max().item()
    return values


def _without_workspace(name: str, tensors: list[Any]) -> list[Any]:
    """Leave out the memory that recurrent layers keep for their backward: parts of it are never written."""
    return [tensor for tensor in tensors if tensor.dtype is not torch.uint8] if "rnn" in name else tensors


def _tensors(tree: Any) -> list[Any]:
    """Give the tensors in a tree; those of the meta device hold no numbers."""
    return [leaf for leaf in tree_flatten(tree)[0] if isinstance(leaf, torch.Tensor) and not leaf.is_meta]


def _list_written(func: Any, args: Any, kwargs: Any) -> list[Any]:
    written = []
    for number, argument in enumerate(func._schema.arguments):
        alias = argument.alias_info
        if alias is not None and alias.is_write:
            value = args[number] if number < len(args) else kwargs.get(argument.name)
            written += _tensors(value)
    if "batch_norm" in func._schema.name and not written:  # its schema does not say that it moves statistics
        written = [value for value in args[3:5] if isinstance(value, torch.Tensor)]
    return written


def _shares(tensor: Any, args: Any) -> bool:
    """Tell whether a tensor lies in the memory of another; sparse ones have none of their own."""
    places = [_place(other) for other in _tensors(args)]
    return _place(tensor) is not None and _place(tensor) in places


def _place(tensor: Any) -> int | None:
    return tensor.untyped_storage().data_ptr() if tensor.layout is torch.strided else None


def _digest_rng(kwargs: Any) -> str:
    generator = kwargs.get("generator")
    return digest_tensor(torch.get_rng_state() if generator is None else generator.get_state())


def _describe_arguments(args: Any, kwargs: Any) -> str:
    texts = [_describe_value(value) for value in args]
    texts += [f"{key}={_describe_value(value)}" for key, value in kwargs.items() if key != "generator"]
    text = ", ".join(texts)
    return text if len(text) < 300 else text[:297] + "..."


def _describe_value(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return describe(value)
    if isinstance(value, (list, tuple)):
        shown = [_describe_value(item) for item in value[:4]]
        return f"[{', '.join(shown)}{', ...' if len(value) > 4 else ''}]"
    return " ".join(repr(value).split())[:80]
