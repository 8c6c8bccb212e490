"""The recorder: what happens in each optimizer step of a program, through hooks of torch.

It sees, with no edit of the program: batches (loader and root module), the loss given to backward,
module outputs, gradients, parameters, buffers, optimizer state and hyper-parameters, evaluations, what is
saved, seeds, the state of the random generators. Programs that update weights by hand have a step where
the first forward after a backward finds other weights. A hook never raises into the program: an error
ends the recording and is written. The one exception is asked for: `steps` ends the program.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from . import facts
from .digest import (
    NAME,
    chain_digests,
    digest_leaf,
    digest_pieces,
    digest_quick,
    digest_sample,
    digest_tensor,
    digest_values,
    iterate_leaves,
    iterate_named_leaves,
)
from .frames import TREE, find_caller
from .inventory import Inventory, Known, is_ready
from .probe import take_environment
from .snapshot import (
    NOTHING,
    ByHand,
    digest_generators,
    digest_gradient,
    list_leaves,
    list_parameters,
)

FORMAT = 3
_encode = json.JSONEncoder(separators=(",", ":")).encode
_LOOK_AROUND = {1, 2, 8, 64}  # steps in which copies of the model are looked for; and at the end
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
        self.forked = False
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
        self._elsewhere = 0  # calls of hooks in other threads, children that cannot be recorded
        self._order: list[int] = []  # of module calls in the step before
        self._manual: tuple[list[Any], list[str], list[str]] | None = None
        self._hits: dict[tuple[str, int], list[Any]] = {}  # place -> steps and operations, first and last
        self._generators: list[Any] = []  # NumPy's, made by default_rng
        self._met_root = False
        self._roots = Known()  # -> has parameters
        self._known = Inventory(self.write, self._take_rng)
        self._forget_pending()

    def _take_rng(self) -> dict[str, str]:
        return digest_generators(self._torch, self._generators)

    def _forget_pending(self) -> None:
        self._loaded: tuple[int, str] = (0, "")
        self._calls: list[list[str]] = []
        self._folded: dict[str, int] = {}  # flag -> calls that are no longer kept one by one
        self._evaluating: dict[int, tuple[int, list[str]]] = {}  # root -> a parameter, its last call with "g"
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
        """Stop recording."""
        self.armed = False
        if self.deep is not None:
            self.deep.stop()

    def begin_again(self) -> None:
        """Start a trace of its own in a forked child; most of these train nothing and leave none."""
        armed, torch = self.armed, self._torch
        if self.deep is not None:
            self.deep.stop()
        self.__init__(self.path.parent, self.options)  # type: ignore[misc]
        self.armed, self._torch, self.forked = armed, torch, True

    def may_record(self) -> bool:
        """Tell whether a hook may look at tensors: not in our own work, another thread or a transform."""
        torch = self._torch
        if not self.armed or self.inside or torch is None:
            return False
        if self._thread and threading.get_ident() != self._thread:
            self._elsewhere += 1
            return False
        if _is_pretending(torch):
            return False
        # What is traced into TorchScript is left alone: our work would become part of it.
        tracing = torch._C._get_tracing_state() is not None
        in_transform = torch._C._functorch.peek_interpreter_stack() is not None
        return not (tracing or in_transform or torch.compiler.is_compiling())

    @contextmanager
    def never_raising(self, where: str) -> Iterator[None]:
        """Write an exception of ours to the trace and stop recording; while inside, hooks do nothing.

        Nor does the compiler: after a graph break it takes up whatever is called, us among it.
        """
        self.inside = True
        compiler = None
        if "torch._dynamo" in sys.modules:
            compiler = sys.modules["torch"]._C._dynamo.eval_frame.set_eval_frame(None)
        try:
            yield
        except Exception as error:
            self.disarm()
            with suppress(Exception):  # the disk may be full: then the trace ends here, without its end
                self.write({"event": "problem", "where": where, "error": repr(error)[:300]})
        finally:
            self.inside = False
            if "torch._dynamo" in sys.modules:
                sys.modules["torch"]._C._dynamo.eval_frame.set_eval_frame(compiler)

    def see_elsewhere(self) -> None:
        """Note that something happens where nothing is recorded."""
        self._elsewhere += 1

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
        _wrap(torch.autograd, "backward", "tensors", before=self._enter_backward, after=self._leave_backward)
        _wrap(torch.autograd, "grad", "outputs", before=self._enter_backward, after=self._leave_backward)
        for name in () if self.light else ("item", "tolist", "__float__"):
            _wrap(torch.Tensor, name, after=self._see_read)
        _wrap(torch, "save", "obj", before=self._see_saved)
        _wrap(torch, "save", "f", place=1, before=_tell_target)
        _wrap(torch, "load", after=self._see_resumed)
        _wrap(torch, "manual_seed", "seed", before=lambda seed: self.see_seed("torch", seed))
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
        if self._thread and threading.get_ident() != self._thread:
            self._elsewhere += 1
            return
        if self.depth == 0 and not self.in_backward:
            self._enter_root(module)
            if self._manual is not None and not self.inside:
                self._end_if_asked()
        self.depth += 1
        if self.deep is not None:
            with self.never_raising("enter_module"):
                self.deep.enter_module(self._known.name_of(module))

    def _leave_module(self, module: Any, args: Any, *rest: Any) -> None:
        if self._thread and threading.get_ident() != self._thread:
            return
        self.depth = max(0, self.depth - 1)
        if len(rest) != 2:  # torch gives no keywords when the forward raised: there is nothing to see
            return
        kwargs, output = rest
        if self.light and self.depth:
            return
        if self.in_backward or not self.may_record():  # activation checkpointing computes once more
            return
        with self.never_raising("leave_module"):
            index = self._known.index_of(module)
            if index is not None and not self.light and len(self._outputs) < _MOST_OUTPUTS:
                leaf = _first_tensor(output)
                if leaf is not None:
                    self._called.append(index)
                    self._outputs.append(digest_sample(leaf))
            if not module.training:
                self._count_mode("eval")
            if self.depth == 0:
                self._see_root(module, args, kwargs, output)
        if self.deep is not None:
            self.deep.leave_module(output)

    def _is_root(self, module: Any) -> bool:
        """Tell whether a module has parameters by now: some are made, or get a shape, in their first call."""
        if self._roots.get(module):
            return True
        if next(module.parameters(), None) is None or not is_ready(module):
            return False
        self._roots.put(module, True)
        self._met_root = True
        self._known.adopt_module(module)
        return True

    @_never_raise
    def _enter_root(self, module: Any) -> None:
        if self._is_root(module) and self._manual is not None and self._torch.is_grad_enabled():
            self._see_manual_update()

    def _see_root(self, module: Any, args: Any, kwargs: Any, output: Any) -> None:
        if not self._is_root(module):  # a loss or a transform, no model
            return
        grad = self._torch.is_grad_enabled()
        flag = "t" if grad and module.training else "g" if grad else "e"
        self.after = "loss" if flag == "t" else "eval"
        if self._torch.is_autocast_enabled("cpu") or self._torch.is_autocast_enabled("cuda"):
            self._count_mode("autocast")
        call = self._digest_call(flag, (args, kwargs), output)
        if flag == "g":
            first = next((item for item in module.parameters() if item.requires_grad), None)
            self._evaluating[id(module)] = (id(first), call)
        elif flag == "t":
            self._evaluating.pop(id(module), None)  # what was trained is this, not what came before
        if self.in_step:
            self._count_mode("closure")
        self._keep_call(call)

    def _digest_call(self, flag: str, given: Any, output: Any) -> list[str]:
        """Give flag, input, output. The light pass leaves out what a loss tells of, and inputs."""
        if not self.light:  # in full: what an evaluation computed leads to nothing that is compared later
            return [flag, digest_values(*given), digest_values(output)]
        is_seen_later = flag == "t" and (self.step or self._thread)
        return [flag, "", "" if is_seen_later else digest_values(output)]

    def _count_mode(self, name: str) -> None:
        self._modes[name] = self._modes.get(name, 0) + 1

    def _keep_call(self, call: list[str]) -> None:
        """Keep a call of a root module, after very many folded into the last one of its kind."""
        last = None
        if len(self._calls) >= _MOST_CALLS:
            # Training and evaluation apart: they are compared apart.
            trains = call[0] == "t"
            last = next((item for item in reversed(self._calls) if (item[0] == "t") == trains), None)
        if last is None:
            self._calls.append(call)
        else:
            self._folded[call[0]] = self._folded.get(call[0], 0) + 1
            last[1:] = [chain_digests(last[1], call[1]), chain_digests(last[2], *call[1:])]

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
        for path, leaf in iterate_named_leaves(value):
            name = path.replace(TREE, "")  # a key may be a file: the best checkpoints, by their paths
            if hasattr(leaf, "untyped_storage") or hasattr(leaf, "_untyped_storage"):
                tensors.append((name, digest_leaf(leaf)))
            elif not isinstance(leaf, (float, complex)):  # those may be seconds
                numbers.append(digest_leaf(leaf))
        digests = [digest for _, digest in tensors]
        if len(digests) > 1000:
            digests = [chain_digests(*sorted(digests))]
        names = chain_digests(*sorted(name for name, _ in tensors))
        named = chain_digests(*sorted(map(":".join, tensors)))
        self._saved.append(["".join(sorted(set(digests))), chain_digests(*sorted(numbers)), names, named])

    @_never_raise
    def _see_read(self, value: Any = None) -> None:
        """Note a number that the program takes out of a tensor, mostly to print it."""
        if isinstance(value, float) and not self.in_step and not self.in_backward and len(self._reads) < 64:
            self._reads.append(f"{'eval' if self.after == 'eval' else 'log'}:{value!r}")

    @_never_raise
    def _see_resumed(self, value: Any = None) -> None:
        if isinstance(value, dict):  # a checkpoint, not a tensor of a dataset
            self._resumed += 1

    def _enter_backward(self, tensors: Any) -> None:
        self._see_loss(tensors)
        if self._manual is not None and not self.inside:
            self._end_if_asked()
        self.in_backward += 1
        if self._torch._C._functorch.peek_interpreter_stack() is not None:  # torch.func.grad
            self.see_elsewhere()

    @_never_raise
    def _see_loss(self, tensors: Any) -> None:
        if not self._thread:
            self._thread = threading.get_ident()
            self._drop_outputs_of_training()
        self._recognise_training(tensors)
        if self._manual is not None and not self._met_root:
            self._see_manual_update()
        for tensor in [tensors] if hasattr(tensors, "item") else list(tensors):
            self._loss.append(tensor.item().hex() if _is_number(tensor) else digest_tensor(tensor))
        if self.deep is not None:
            self.deep.see_loss(tensors)
        if not self._known.optimizers and (self._manual is None or self._has_new_parameters()):
            if self._manual is not None:
                self._see_manual_update()
            held = [parameter for _, parameter in self._known.parameters.values()]
            parameters = [parameter for parameter in held if parameter.requires_grad]
            parameters = parameters or self._known.adopt_leaves(tensors)
            self._manual = (parameters, [digest_quick(parameter) for parameter in parameters], [])

    def _drop_outputs_of_training(self) -> None:
        """The light pass needs them no longer: from the first backward on the loss tells of them."""
        for call in self._calls if self.light else ():
            if call[0] == "t":
                call[2] = ""

    def _count_all_as_evaluation(self) -> None:
        """Where no backward came nothing was trained, whatever mode the model was in."""
        for call in self._calls:
            call[0] = "e"
        self._folded = {"e": sum(self._folded.values())}

    def _has_new_parameters(self) -> bool:
        assert self._manual is not None
        held = [parameter for _, parameter in self._known.parameters.values()]
        return len(self._manual[0]) != len([item for item in held if item.requires_grad])

    def _recognise_training(self, tensors: Any) -> None:
        """A forward in evaluation mode that a backward goes through was training: `eval` was never left."""
        if self._evaluating:
            leaves = {id(leaf) for leaf in list_leaves(tensors)}
            for parameter, call in self._evaluating.values():
                if parameter in leaves:
                    call[0] = "t"
                    self._count_mode("training in eval mode")
            self._evaluating = {}

    def _leave_backward(self, _: Any = None) -> None:
        self.in_backward -= 1
        self.after = "clip"
        if self.deep is not None and not self.in_backward and self.may_record():
            with self.never_raising("leave_backward"):
                self.deep.see_parameters([item for _, item in self._known.parameters.values()], "backward")
        if self._manual is not None and not self.in_step:
            self._see_manual_gradients()

    @_never_raise
    def _see_manual_gradients(self) -> None:
        assert self._manual is not None
        parameters, digests, _ = self._manual
        self._manual = parameters, digests, [digest_gradient(parameter) for parameter in parameters]
        if self.deep is not None:
            self.deep.see_parameters(parameters, "gradients")

    def _see_manual_update(self) -> None:
        """Write a step when, since the last backward, weights have changed and no optimizer exists."""
        assert self._manual is not None
        parameters, before, gradients = self._manual
        if self._known.optimizers or not gradients:
            return
        now = [digest_quick(parameter) for parameter in parameters]
        if now != before:
            self._manual = parameters, now, []
            if self.light:
                self._write_light_step(ByHand(parameters), gradients)
            else:
                self._write_step(ByHand(parameters), gradients)

    def _before_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:  # noqa: ARG002
        self._adopt_optimizer_once(optimizer)
        self.in_step += 1
        if self.deep is not None and self.armed:
            with self.never_raising("before_step"):
                self.deep.see_parameters(list_parameters(optimizer), "gradients")

    @_never_raise
    def _adopt_optimizer_once(self, optimizer: Any) -> None:
        self._manual = None
        self._known.adopt_optimizer(optimizer)

    def _after_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:  # noqa: ARG002
        self.depth = 0
        self.in_step = max(0, self.in_step - 1)
        self.after = "schedule"
        if not self.may_record():
            return
        with self.never_raising("after_step"):
            self._known.adopt_optimizer(optimizer)  # once more when a group was added
            if self.light:
                self._write_light_step(optimizer)
            else:
                self._write_step(optimizer, list(map(digest_gradient, list_parameters(optimizer))))
        self._end_if_asked()

    def _begin_step(self) -> None:
        self.step += 1
        self._known.step = self.step
        if self.step in _LOOK_AROUND:
            self._known.adopt_bystanders(self._torch.nn.Module)
        if self.step == 1:
            self._write_surroundings()

    def _write_light_step(self, optimizer: Any, gradients: list[str] | None = None) -> None:
        """Write one digest for all gradients, one for all weights and so on; the end is told in full.

        `gradients` are given by programs that update by hand and have dropped them by now.
        """
        self._begin_step()
        parameters = self._known.list_in_order(optimizer)
        # Gradients and state show in the weights, state at the end in full: here those of every fourth.
        some = parameters[self.step % 4 :: 4]
        states = [] if gradients else [optimizer.state.get(parameter) for parameter in some]
        pieces = {
            "gradients": chain_digests(*sorted(gradients))
            if gradients
            else digest_pieces([parameter.grad for parameter in some]),
            "parameters": digest_pieces(parameters),
            "state": digest_pieces(
                [leaf for state in states if state for leaf in state.values() if hasattr(leaf, "nbytes")]
            ),
            "buffers": digest_pieces(self._known.list_buffers()),
            "others": digest_pieces(self._known.others),
            "hyper": self._known.digest_settings(optimizer),
        }
        event = {"event": "step", "step": self.step, "optimizer": self._known.number_of(optimizer)}
        rng = {"torch": digest_tensor(self._torch.get_rng_state())}
        self.write(event | self._pending() | {"light": pieces, "rng": rng})
        self._forget_pending()

    def _write_step(self, optimizer: Any, gradients: list[str]) -> None:
        self._begin_step()
        event = {"event": "step", "step": self.step, **self._pending(), "gradients": "".join(gradients)}
        event |= self._known.describe_optimizer(optimizer)
        event |= {"buffers": self._known.digest_buffers(), "rng": self._take_rng()}
        if self._known.others:
            event["others"] = "".join(
                NOTHING if item is None else digest_quick(item) for item in self._known.others
            )
        if self.deep is not None:
            self.deep.see_parameters(list_parameters(optimizer), "parameters")
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

    def _write_surroundings(self) -> None:
        for what, rows in facts.describe_surroundings(self._torch).items():
            self.write({"event": "facts", "what": what, "rows": rows})

    def _finish_deep(self) -> None:
        self.deep.finish_step(self._known.list_watched())
        rows = [[*place, *when] for place, when in self._hits.items()]
        self.write({"event": "lines", "rows": rows})
        if self.options.get("edited"):
            importlib.import_module(f"{__package__}.lines").stop_watching()

    # -- what happened since the last step

    def _pending(self) -> dict[str, Any]:
        event: dict[str, Any] = {}
        for name in ("calls", "saved", "resumed", "loss", "modes", "reads"):
            value = getattr(self, f"_{name}")
            if value:
                event[name] = value
        if self._loaded[0]:
            event["loaded"] = self._loaded
        if self._folded.get("e"):
            event["folded"] = self._folded["e"]
        if self._outputs:
            event["outputs"] = "".join(self._outputs)
            if self._called != self._order:
                self._order = event["called"] = self._called
        return event

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
            if (self.forked or was_spawned()) and not (self._thread or event["event"] == "step"):
                self._early.append(event)  # the worker of a loader may call a model, too
                return
            if self.forked or was_spawned():
                _finish_at_exit(self)
            self._file = self.path.open("w", encoding="utf-8")
            self.write({"event": "trace", "format": FORMAT, "digest": NAME, "rank": self.rank})
            self.write({"event": "program", "words": _describe_program()})
            for early in self._early:
                self.write(early)
        self._file.write(_encode(event) + "\n")
        self._file.flush()

    def finish(self, *, stopped: bool = False) -> None:
        """Write the last event, without which a trace counts as cut off: what training left behind."""
        if not self.armed or self._file is None or self._torch is None:
            return
        with self.never_raising("finish"):
            if self._manual is not None:
                self._see_manual_update()
            if self.deep is not None:
                self._finish_deep()
            self._known.adopt_bystanders(self._torch.nn.Module)
            if not (self._thread or self.step):
                self._count_all_as_evaluation()
            self.write(
                {
                    "event": "end",
                    "steps": self.step,
                    "stopped": stopped,
                    **self._pending(),
                    "values": "".join(digest_tensor(item) for _, item in self._known.parameters.values()),
                    "others": "".join(
                        NOTHING if item is None else digest_tensor(item) for item in self._known.others
                    ),
                    "optimizers": [
                        self._known.describe_optimizer(optimizer, always=True)
                        for _, optimizer, _ in self._known.optimizers.values()
                    ],
                    "buffers": self._known.digest_buffers(),
                    "rng": self._take_rng(),
                    "compiled": facts.count_compiled(),
                    "elsewhere": self._elsewhere,
                    "environment": take_environment(self._torch),
                }
            )
        self.armed = False  # os._exit may come on top


def _tell_target(target: Any) -> None:
    """Let the hook of `written` know of a file that torch opens by itself."""
    if isinstance(target, str | os.PathLike):
        sys.audit("trainkit.save", target)


def _wrap(
    owner: Any,
    name: str,
    argument: str = "",
    *,
    place: int = 0,
    before: Callable[[Any], None] = lambda _: None,
    after: Callable[[Any], None] = lambda _: None,
) -> None:
    """Call `before` with the argument at `place`, `after` with the result (None if it raised) of a function.

    It stays what it was to pickle and to TorchScript: found under its name, and a builtin.
    """
    function = getattr(owner, name)

    @functools.wraps(function)
    def recorded(*args: Any, **kwargs: Any) -> Any:
        before(args[place] if len(args) > place else kwargs.get(argument, ()))
        result = None
        try:
            result = function(*args, **kwargs)
            return result
        finally:
            after(result)

    home = sys.modules.get(str(getattr(function, "__module__", "")))
    setattr(owner, name, recorded)
    if hasattr(home, name):  # the same, or what a compiler has put around it
        setattr(home, name, recorded)
    builtins = getattr(sys.modules.get("torch.jit._builtins"), "_builtin_table", None)
    if builtins and id(function) in builtins:
        builtins[id(recorded)] = builtins[id(function)]


def _is_pretending(torch: Any) -> bool:
    """Tell whether tensors have no values: a program estimates its memory under FakeTensorMode."""
    keys = torch._C._TorchDispatchModeKey
    return torch._C._get_dispatch_mode(keys.FAKE) is not None


def _describe_program() -> str:
    """Give the program and its arguments, without the folders, which are other ones on each side."""
    words = [word.rpartition("/")[2] if word.startswith("/") else word for word in sys.argv]
    return " ".join(words)[:120]


def _finish_at_exit(recorder: Recorder) -> None:
    """Children of multiprocessing leave without atexit, or, those of a pool, are told to leave by SIGTERM."""
    util = importlib.import_module("multiprocessing.util")
    util.Finalize(None, recorder.finish, exitpriority=1)

    def finish(number: int, _: object) -> None:
        recorder.finish()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    if (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    ):
        signal.signal(signal.SIGTERM, finish)


def _first_tensor(output: Any) -> Any:
    if hasattr(type(output), "untyped_storage"):
        return output
    return next((leaf for leaf in iterate_leaves(output) if hasattr(leaf, "untyped_storage")), None)


def _is_number(tensor: Any) -> bool:
    return bool(tensor.numel() == 1 and tensor.is_floating_point())


def was_spawned() -> bool:
    """Tell whether multiprocessing started this process, by `spawn` or from its server of forks."""
    process = sys.modules.get("multiprocessing.process")
    return process is not None and process.parent_process() is not None
