"""What the recorder has met: modules, parameters, buffers and optimizers, each told once when first seen.

Modules are held weakly: a DistributedDataParallel that outlives its process group can block the process.
Parameters, buffers and optimizers are held, so that the end can tell what training left in them.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Container
from typing import Any

from . import facts
from .digest import describe, digest_bytes, digest_quick, digest_tensor
from .snapshot import (
    IMPLEMENTATION,
    NOTHING,
    ByHand,
    digest_layout,
    digest_state,
    list_leaves,
    list_parameters,
    list_settings,
    read_settings,
    show,
)


class Known:
    """Values by object, which need not be hashable and may die: another object with its id is not known."""

    def __init__(self) -> None:
        self._items: dict[int, tuple[Any, Any]] = {}

    def get(self, item: Any) -> Any:
        """Give the value, or None."""
        found = self._items.get(id(item))
        return found[1] if found is not None and found[0]() is item else None

    def put(self, item: Any, value: Any) -> None:
        """Remember a value while the object lives."""
        self._items[id(item)] = (weakref.ref(item), value)


class Inventory:
    """Writes an event for whatever is new, and gives names and indices to what is known."""

    def __init__(
        self, write: Callable[[dict[str, Any]], None], take_rng: Callable[[], dict[str, str]]
    ) -> None:
        self._write = write
        self._take_rng = take_rng
        self.step = 0  # in which things are first seen
        self.parameters: dict[int, tuple[int, Any]] = {}  # id -> (index, the parameter: keeps the id alive)
        self.others: list[Any] = []  # parameters of modules that nobody has called, averages of weights
        self.optimizers: dict[
            int, tuple[int, Any, list[int]]
        ] = {}  # id -> number, optimizer, parameters' ids
        self._buffers: list[list[Any]] = []  # [weak module, attribute, latest tensor]
        self._buffer_names = Known()
        self._modules = Known()  # -> (index, name)
        self._num_modules = 0
        self._num_optimizers = 0
        self._names: set[str] = set()
        self._by_hand: list[int] = []  # parameters that the program itself updates
        self._settings: dict[int, tuple[Any, Any]] = {}  # number of optimizer -> (compared, written)
        self._ordered: dict[int, list[Any]] = {}  # number of optimizer -> its parameters, see list_in_order
        self._first: dict[int, tuple[str, str]] = {}  # id of a parameter -> shape and first digest

    # -- modules

    def index_of(self, module: Any) -> int | None:
        """Give the number of a module, if it is known."""
        known = self._modules.get(module)
        return known[0] if known else None

    def name_of(self, module: Any) -> str:
        """Give the name of a module in its root; of an unknown one its class."""
        known = self._modules.get(module)
        return known[1] if known else type(module).__name__

    def adopt_module(self, module: Any, *, called: bool = True) -> None:
        """Tell all that a root module holds; one that nobody calls is watched as a copy."""
        prefix = type(module).__name__ + "."
        names = []
        for name, part in module.named_modules():
            if self._modules.get(part) is None:
                names.append(_strip_wrappers(name) or type(module).__name__)
                self._modules.put(part, (self._num_modules, names[-1]))
                self._num_modules += 1
        self._write({"event": "modules", "names": names})
        named = [
            (self._free_name(_strip_wrappers(name), prefix), parameter)
            for name, parameter in module.named_parameters()
            if id(parameter) not in self.parameters
        ]
        if not called:
            new = [pair for pair in named if not any(pair[1] is other for other in self.others)]
            self.others += [parameter for _, parameter in new]
            rows = [[name, describe(parameter), digest_tensor(parameter)] for name, parameter in new]
            self._write({"event": "init", "others": rows, "buffers": self._adopt_buffers(module)})
            return
        self._forget_others({id(parameter) for _, parameter in named})
        self._write_init(named, self._adopt_buffers(module))
        described = facts.describe_modules(module, _strip_wrappers)
        self._write({"event": "facts", "what": "modules", "rows": described})
        self._write({"event": "facts", "what": "model", "rows": facts.describe_configuration(module)})

    def adopt_bystanders(self, module_type: type) -> None:
        """Find modules that nobody has called yet: copies of the model that hold averages."""
        found = [item for item in gc.get_objects() if issubclass(type(item), module_type)]
        found = [item for item in found if "_modules" in item.__dict__ and is_ready(item)]
        parts = {id(part) for module in found for child in module.children() for part in child.modules()}
        for module in found:
            known = id(module) in parts or self._modules.get(module) is not None
            held = self.parameters.keys() | {id(other) for other in self.others}
            if not known and any(id(item) not in held for item in module.parameters()):
                self.adopt_module(module, called=False)

    def _forget_others(self, known: Container[int]) -> None:
        """Leave a gap where a bystander has become a part of training: readers count places."""
        self.others = [None if id(other) in known else other for other in self.others]

    def adopt_leaves(self, tensors: Any) -> list[Any]:
        """Adopt the leaves of a loss that no module holds, in the order of the graph."""
        found = list_leaves(tensors)
        new = [leaf for leaf in found if id(leaf) not in self.parameters]
        self._write_init([(f"leaf{number}", leaf) for number, leaf in enumerate(new)], [])
        return found

    def _adopt_buffers(self, module: Any) -> list[list[str]]:
        rows = []
        for owner_name, owner in module.named_modules():
            known = self._buffer_names.get(owner) or set()
            for attribute, buffer in owner._buffers.items():
                if buffer is not None and attribute not in known:
                    known = known | {attribute}
                    self._buffers.append([weakref.ref(owner), attribute, buffer])
                    full = _strip_wrappers(f"{owner_name}.{attribute}".lstrip("."))
                    rows.append([full, describe(buffer), digest_tensor(buffer)])
            self._buffer_names.put(owner, known)
        return rows

    def list_buffers(self) -> list[Any]:
        """Give the buffers as they are now; one that is gone, with its module or from it, as it was last.

        A profiler takes its own off a copy of the model, and when that goes is a matter of the collector.
        """
        for entry in self._buffers:
            owner = entry[0]()
            now = owner._buffers.get(entry[1]) if owner is not None else None
            if now is not None:
                entry[2] = now
        return [entry[2] for entry in self._buffers]

    def digest_buffers(self) -> str:
        """Give one digest per buffer, joined."""
        return "".join(NOTHING if item is None else digest_tensor(item) for item in self.list_buffers())

    def list_watched(self) -> list[Any]:
        """Give the buffers and averages that the pass of single operations shall explain."""
        return [item for item in [*self.list_buffers(), *self.others] if item is not None]

    def _free_name(self, name: str, prefix: str) -> str:
        while name in self._names:
            name = prefix + name
        self._names.add(name)
        return name

    def _write_init(self, named: list[tuple[str, Any]], buffers: list[list[str]]) -> None:
        rows = []
        for name, parameter in named:
            self.parameters[id(parameter)] = (len(self.parameters), parameter)
            row = [name, describe(parameter), digest_tensor(parameter)]
            self._first[id(parameter)] = (row[1], row[2])
            quick = digest_quick(parameter)  # what the steps hold
            rows.append(row if quick == row[2] else [*row, quick])
        if rows or buffers:
            event = {"event": "init", "step": self.step, "parameters": rows, "buffers": buffers}
            self._write(event | {"rng": self._take_rng()})

    # -- optimizers

    def adopt_optimizer(self, optimizer: Any) -> None:
        """Tell an optimizer and its parameters, again when a group was added."""
        known = self.optimizers.get(id(optimizer))
        held = [id(parameter) for parameter in list_parameters(optimizer)]
        if known is not None and known[2] == held:
            return
        number = self._num_optimizers  # a new one when a group is added: steps before keep their own
        self._num_optimizers += 1
        named = [
            (f"optimizer{number}.{group_number}.{place}", parameter)
            for group_number, group in enumerate(optimizer.param_groups)
            for place, parameter in enumerate(group["params"])
        ]
        self._write_init([pair for pair in named if id(pair[1]) not in self.parameters], [])
        self._forget_others(self.parameters)
        self.optimizers[id(optimizer)] = (number, optimizer, held)
        indices = [self.parameters[id(parameter)][0] for _, parameter in named]
        chosen = {key: show(group.get(key)) for group in optimizer.param_groups[:1] for key in IMPLEMENTATION}
        rows = {"class": type(optimizer).__name__} | dict(sorted(chosen.items()))
        self._write({"event": "optimizer", "optimizer": number, "parameters": indices, "facts": rows})

    def number_of(self, optimizer: Any) -> int:
        """Give the number of a known optimizer; -1 when the program itself updates."""
        return -1 if isinstance(optimizer, ByHand) else self.optimizers[id(optimizer)][0]

    def describe_optimizer(self, optimizer: Any, *, always: bool = False) -> dict[str, Any]:
        """Give weights, state and settings; settings that are as before only when `always`."""
        parameters = list_parameters(optimizer)
        digests = "".join(map(digest_quick, parameters))
        if isinstance(optimizer, ByHand):
            indices = [self.parameters[id(parameter)][0] for parameter in parameters]
            if indices != self._by_hand:
                self._by_hand = indices
                self._write({"event": "optimizer", "optimizer": -1, "parameters": indices, "facts": {}})
            return {"optimizer": -1, "parameters": digests, "state": NOTHING * len(parameters)}
        number = self.number_of(optimizer)
        held = [optimizer.state.get(parameter) for parameter in parameters]
        event = {"optimizer": number, "parameters": digests}
        event["state"] = "".join(digest_state(state, whole=always) for state in held)
        if always:
            event["layout"] = "".join(map(digest_layout, held))
        compared = read_settings(optimizer)
        if always or self._settings.get(number, (None, None))[0] != compared:
            self._settings[number] = (compared, None)
            event["hyper"] = list_settings(optimizer)
        return event

    def list_in_order(self, optimizer: Any) -> list[Any]:
        """Give the parameters in an order that names and groups do not change: by shape and first value."""
        number = self.number_of(optimizer)
        known = None if number < 0 else self._ordered.get(number)
        if known is None:
            keyed = [(self._first[id(p)], n, p) for n, p in enumerate(list_parameters(optimizer))]
            known = self._ordered[number] = [p for _, _, p in sorted(keyed, key=lambda item: item[:2])]
        return known

    def digest_settings(self, optimizer: Any) -> str:
        """Digest what each parameter, in that order, is updated with."""
        if isinstance(optimizer, ByHand):
            return NOTHING
        number, compared = self.number_of(optimizer), read_settings(optimizer)
        known = self._settings.get(number)
        if known is None or known[0] != compared:
            texts = {
                id(parameter): show(row)
                for row, group in zip(compared, optimizer.param_groups, strict=True)
                for parameter in group["params"]
            }
            joined = ";".join(texts[id(parameter)] for parameter in self.list_in_order(optimizer))
            known = self._settings[number] = (compared, digest_bytes(joined.encode()))
        return str(known[1])


def is_ready(module: Any) -> bool:
    """Tell whether a module's parameters and buffers have shapes: lazy ones get them in their first call."""
    held = [*module.parameters(), *module.buffers()]
    return not any(hasattr(item, "materialize") for item in held)


def _strip_wrappers(name: str) -> str:
    """Drop what DDP, FSDP, torch.compile and activation checkpointing put into a name."""
    for wrapper in ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"):
        name = name.replace(f"{wrapper}.", "").removesuffix(wrapper)
    return name.removeprefix("module.")
