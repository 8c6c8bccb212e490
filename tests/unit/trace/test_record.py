"""The recorder in processes of its own: it sees everything, changes nothing, and never raises."""

import json
import textwrap

import pytest

from tests.unit.trace.conftest import PRELOAD
from trainkit.errors import CannotJudgeError
from trainkit.trace.divergence import compare, summarise
from trainkit.trace.store import find_recording, find_written, read_events

# It asks whether torch is installed before it imports it: that must not use up the hook on the import.
TRAINING = """
import importlib.util
assert importlib.util.find_spec("torch")
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(1)
data = TensorDataset(torch.randn(12, 3), torch.randn(12, 1))
net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.2), nn.Linear(4, 1))
optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
for x, y in DataLoader(data, batch_size=4, shuffle=True):
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(net(x), y)
    loss.backward()
    optimizer.step()
net.eval()
with torch.no_grad():
    net(data.tensors[0])
import io
torch.save({"net": net.state_dict(), "note": "kept", "epoch": 1}, io.BytesIO())
print([p.sum().item().hex() for p in net.parameters()], torch.rand(1).item().hex())
"""

# Everything at once whose bits a recorder could change: generators, in-place work, closures, transforms,
# recomputation, double backward, views, sparse gradients, autocast, hooks of the program's own.
RICH = """
import copy, io, random
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(3)
random.seed(3)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(11, 8, sparse=True)
        self.attention = nn.MultiheadAttention(8, 2, dropout=0.1, batch_first=True)
        self.memory = nn.LSTM(8, 8, batch_first=True)
        self.image = nn.Conv1d(8, 8, 3, padding=1)
        self.norm = nn.BatchNorm1d(8)
        self.head = nn.Linear(8, 11)
        self.register_buffer("shift", torch.ones(1))

    def mix(self, x):
        return F.dropout(F.gelu(self.image(x.transpose(1, 2))), 0.2, self.training).transpose(1, 2)

    def forward(self, tokens):
        x = self.table(tokens)
        x = x + self.attention(x, x, x)[0]
        with torch.autocast("cpu", enabled=False):
            x = self.memory(x.float())[0]
        x = x + checkpoint(self.mix, x, use_reentrant=False)
        x = self.norm(x.transpose(1, 2)).transpose(1, 2)
        x[..., 0] += self.shift
        return self.head(x)

net = Net()
average = copy.deepcopy(net)
data = TensorDataset(torch.randint(0, 11, (24, 6)))
sparse = torch.optim.SparseAdam(list(net.table.parameters()), lr=0.01)
dense = torch.optim.AdamW([p for n, p in net.named_parameters() if not n.startswith("table")], lr=0.01)
schedule = torch.optim.lr_scheduler.OneCycleLR(dense, 0.1, total_steps=9)
scale = torch.ones(2, requires_grad=True)
curved = torch.optim.LBFGS([scale], max_iter=3)
net.head.weight.register_hook(lambda g: g * 1.5)
for epoch in range(2):
    for (tokens,) in DataLoader(data, batch_size=6, shuffle=True):
        with torch.autocast("cpu", torch.bfloat16, enabled=epoch == 1):
            out = net(tokens[:, :-1])
            loss = F.cross_entropy(out.flatten(0, 1).float(), tokens[:, 1:].flatten())
        inner = torch.rand(3, requires_grad=True)
        slope, = torch.autograd.grad((inner**3).sum(), inner, create_graph=True)
        loss = loss + slope.sum() * random.random()
        loss.backward()
        nn.utils.clip_grad_norm_(net.head.parameters(), 0.1)
        sparse.step(); dense.step(); schedule.step()
        sparse.zero_grad(); dense.zero_grad()
        with torch.no_grad():
            for a, b in zip(average.parameters(), net.parameters()):
                a.lerp_(b, 0.1)
    def closure():
        curved.zero_grad()
        value = ((scale - 3) ** 4).sum()
        value.backward()
        return value
    curved.step(closure)
    net.eval()
    with torch.no_grad():
        print(epoch, loss.item().hex(), net(data.tensors[0]).sum().item().hex())
    net.train()
torch.func.vmap(torch.func.grad(lambda x: (x**2).sum()))(torch.randn(3, 2))
buffer = io.BytesIO()
torch.save(net.state_dict(), buffer)
buffer.seek(0)
net.load_state_dict(torch.load(buffer))
for value in [*net.state_dict().values(), *average.parameters(), scale, torch.rand(2)]:
    print(value.double().sum().item().hex(), value.double().pow(2).sum().item().hex())
print(random.random(), torch.get_rng_state().sum().item())
"""
AS_IT_IS = {"deterministic": False, "seeds": False}


@pytest.fixture(scope="module")
def recorded():
    """What was recorded of programs that were not edited."""
    return {}


@pytest.fixture
def differ(run, recorded):
    """Record a program and an edited one; gives the comparison. An edit that is not there proves nothing."""

    def compare_edited(source: str, old: str, new: str, **more):
        assert old in source
        key = source, repr(more)
        if key not in recorded:
            recorded[key] = run(source, **more)
        done = recorded[key], run(source.replace(old, new), **more)
        for item in done:
            assert item.returncode == 0, item.stderr
        return compare(iter(done[0].events()), iter(done[1].events()))

    return compare_edited


@pytest.fixture(scope="module")
def said():
    """What programs print that are not recorded."""
    return {}


@pytest.fixture
def plain(run, said):
    """Give what a program prints when nobody records it."""

    def ask(source: str) -> str:
        if source not in said:
            done = run(source, recorded=False)
            assert done.returncode == 0, done.stderr
            said[source] = done.stdout
        return said[source]

    return ask


# -- it changes nothing


def test_a_recorded_program_computes_the_same_bits(run_fresh):
    """The same program without the recorder, with it, and in the deep pass prints the same bits."""
    plain = run_fresh(RICH, recorded=False)
    cheap = run_fresh(RICH, covered=True, **AS_IT_IS)
    deep = run_fresh(RICH, deep=4, **AS_IT_IS)

    assert plain.returncode == cheap.returncode == deep.returncode == 0, cheap.stderr + deep.stderr
    assert len(plain.stdout.splitlines()) > 30
    assert cheap.stdout == plain.stdout
    assert deep.stdout == plain.stdout
    assert cheap.end()["steps"] == 18
    assert len(deep.find("op")) > 100


@pytest.mark.parametrize("step", [1, 2, 9, 10, 18])
def test_the_deep_pass_of_any_step_computes_the_same_bits(run, step):
    """The first step, one in the middle, one of a closure, the last: all computed as in the cheap pass."""
    cheap, deep = run(RICH), run(RICH, deep=step)

    assert deep.stdout == cheap.stdout
    assert deep.steps() == cheap.steps()
    assert {**deep.end()} == {**cheap.end()}


SABOTAGE = {
    "a hook that draws a number": "record._first_tensor = lambda output: torch.rand(1)",
    "a digest that writes": "record.digest_quick = lambda tensor: tensor.data.mul_(1.25) is None or '0' * 16",
    "a state that is read with a draw": "record.digest_sample = lambda tensor: torch.rand(1) and '0' * 16",
}


@pytest.mark.parametrize("what", SABOTAGE)
def test_a_recorder_that_changes_a_bit_would_be_seen(run, plain, what):
    """The test above can fail: planted into the recorder, each of these changes what is printed."""
    after = f"import sys, torch; record = sys.modules['_trainkit_trace.record']; {SABOTAGE[what]}"
    recorded = run(TRAINING, after=after, **AS_IT_IS)

    assert recorded.returncode == 0, recorded.stderr
    assert recorded.stdout != plain(TRAINING)


# -- it never raises

FAILING = [
    "digest_tensor",
    "digest_quick",
    "digest_sample",
    "digest_values",
    "digest_leaf",
    "describe",
    "find_caller",
    "take_environment",
    "describe_modules",
    "describe_loader",
    "describe_surroundings",
]
FAILING_DEEP = ["digest_content", "list_frames", "sample", "Deep.enter_module", "Deep.find_phase"]


@pytest.mark.parametrize("name", FAILING + FAILING_DEEP)
def test_an_error_of_the_recorder_never_reaches_the_program(run, plain, name):
    """Whatever part of the recorder fails, the program goes on undisturbed, and the trace cannot be used."""
    owner, _, function = name.rpartition(".")
    after = f"""
        import importlib, sys
        importlib.import_module("_trainkit_trace.deep")
        def fail(*args, **kwargs):
            raise RuntimeError("planted")
        modules = [module for key, module in sys.modules.items() if key.startswith("_trainkit_trace")]
        owners = [getattr(module, "{owner}", None) for module in modules] if "{owner}" else modules
        found = [owner for owner in owners if hasattr(owner, "{function}")]
        assert found
        for owner in found:
            setattr(owner, "{function}", fail)
    """
    recorded = run(TRAINING, after=after, deep=2 * (name in FAILING_DEEP), **AS_IT_IS)

    assert (recorded.returncode, recorded.stdout) == (0, plain(TRAINING)), recorded.stderr
    with pytest.raises(CannotJudgeError, match="the recorder failed in .*planted"):
        recorded.events()


def test_a_disk_that_is_full_never_reaches_the_program(run, plain):
    """When the trace cannot be written, the program runs as it would without us."""
    after = """
        import pathlib, sys
        class Full:
            def write(self, text):
                raise OSError(28, "No space left on device")
        sys.modules["_trainkit_trace.record"].Path.open = lambda *args, **kwargs: Full()
    """
    recorded = run(TRAINING, after=after, **AS_IT_IS)

    assert (recorded.returncode, recorded.stdout) == (0, plain(TRAINING)), recorded.stderr


def test_a_folder_that_is_gone_never_reaches_the_program(run, plain):
    """When the trace's folder was removed, the program runs as it would without us."""
    after = "import os; os.rmdir(os.environ['TRAINKIT_TRACE'])"
    recorded = run(TRAINING, after=after, **AS_IT_IS)

    assert (recorded.returncode, recorded.stdout) == (0, plain(TRAINING)), recorded.stderr


def test_odd_values_never_reach_the_program(run, plain):
    """Models that take and give objects whose attributes raise are recorded as far as that goes."""
    source = TRAINING.replace(
        "net(x), y",
        "Odd()(x, Evil()).value, y",
    ).replace(
        "optimizer =",
        """
class Evil:
    value = None
    def __getattr__(self, name): raise RuntimeError(name)
    def __repr__(self): raise RuntimeError("repr")
class Odd(nn.Module):
    config = Evil()
    def __init__(self):
        super().__init__()
        self.net = net
    def extra_repr(self): raise RuntimeError("extra")
    def forward(self, x, other):
        other.value = self.net(x)
        return other
evil = Evil()
optimizer =""",
    )
    recorded = run(source, **AS_IT_IS)

    assert (recorded.returncode, recorded.stdout) == (0, plain(source)), recorded.stderr


def test_a_forward_that_raises_leaves_the_recorder_in_order(run, plain):
    """A program that catches an error of its model trains on, is recorded on, and hears nothing of us."""
    source = TRAINING.replace(
        "    optimizer.zero_grad()",
        "    try: net(x[:, :2])\n    except RuntimeError: pass\n    optimizer.zero_grad()",
    )
    recorded = run(source, env={"PYTHONWARNINGS": ""}, **AS_IT_IS)

    assert (recorded.returncode, recorded.stdout) == (0, plain(source)), recorded.stderr
    assert recorded.stderr == ""
    assert [call[0] for step in recorded.steps() for call in step["calls"]] == ["t"] * 3


# -- it sees everything


def test_what_a_trace_holds(run):
    """Names, initial values, batches, losses, settings, evaluations, saves and the final values."""
    done = run(TRAINING, covered=True)
    (init, *_) = done.find("init")
    step, end = done.steps()[0], done.end()

    assert [row[:2] for row in init["parameters"]][:2] == [
        ["0.weight", "float32[4,3]"],
        ["0.bias", "float32[4]"],
    ]
    assert [row[0] for row in init["buffers"]] == ["1.running_mean", "1.running_var", "1.num_batches_tracked"]
    assert len(done.steps()) == 3
    assert step["loaded"][0] == 1
    assert [call[0] for call in step["calls"]] == ["t"]
    assert float.fromhex(step["loss"][0]) > 0
    assert step["hyper"][0][0].startswith("dampening=0; lr=0.1; maximize=False; momentum=0.9; ")
    assert "hyper" not in done.steps()[1]
    assert [call[0] for call in end["calls"]] == ["e"]
    assert len(end["saved"]) == 1
    assert end["values"] == done.steps()[-1]["parameters"]
    assert summarise(iter(done.events())).trained


# change in the training program -> the first divergence
AFTER_TRAINING = {
    "nothing": ("import io", "import io", None),
    "an evaluation": (
        "net(data.tensors[0])\nimport",
        "net(-data.tensors[0])\nimport",
        "eval: the input of an evaluation given to the model",
    ),
    "a checkpoint": ('"net": net', '"net": optimizer', "save: what torch.save was given (save 1)"),
    "the weights": (
        "import io",
        "net[0].bias.data.zero_(); import io",
        "save: what torch.save was given (save 1)",
    ),
}


@pytest.mark.parametrize("name", AFTER_TRAINING)
def test_only_what_differs_is_seen(differ, name):
    """A second recording is equal, bit for bit; what happens after the last step is a result, too."""
    old, new, place = AFTER_TRAINING[name]

    first = differ(TRAINING, old, new).first

    assert (first and first.describe()) == (place and f"after the last step, {place}")


def test_the_light_pass_sees_all_of_an_evaluation(differ):
    """One value in the midst of a large output: nothing that is compared later comes of it."""
    source = (
        TRAINING
        + "\nwith torch.no_grad():\n    net(torch.ones(2000, 3) * (torch.arange(2000) != 1)[:, None])\n"
    )

    assert differ(source, "!= 1)", "!= 2000)", level="light").first.first.key == "evaluated"
    assert differ(source, "!= 1)", "!= 1 )", level="light").first is None


SMALL = """
import copy, io, pickle
import numpy as np
import torch
from torch import nn

torch.manual_seed(1)
x, out = torch.randn(8, 3), io.BytesIO()
class Lazy(nn.Module):
    def forward(self, x):
        if not hasattr(self, "inner"):
            self.inner = nn.Linear(3, 2)
        return self.inner(x)
net = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3), nn.LayerNorm(3), nn.Linear(3, 2))
first, other, average = copy.deepcopy(net), nn.Linear(2, 2), None
optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
for step in range(4):
    optimizer.zero_grad()
    net(x).pow(2).sum().backward()
    optimizer.step()
    if step == 1:
        average = copy.deepcopy(net)
    elif average:
        for a, p in zip(average.parameters(), net.parameters()):
            a.data.lerp_(p.data, 0.5)
"""
# what the program does in the end, and what it does instead: seen by the light pass and by the full one
HIDDEN = {
    "keywords of torch.save": ("torch.save(obj=net.state_dict(), f=out)", "net.", "first."),
    "a module that is saved whole": ("torch.save(net, out)", "net", "first"),
    "names exchanged": (
        'torch.save({"a": net.state_dict(), "b": first.state_dict()}, out)',
        '"a": net',
        None,
    ),
    "state at the end": ("[s['momentum_buffer'].mul_(1.0) for s in optimizer.state.values()]", "1.0", "0.5"),
    "a pickled state": ("pickle.dumps(first.state_dict())", "first", "average"),
    "a module made in its first call": (
        "lazy = Lazy(); lazy(x)\nwith torch.no_grad(): lazy(x[:4])",
        ":4",
        "4:",
    ),
    "an output that is an object": (
        "net.add_module('d', nn.Identity())\nnet.forward = lambda x: torch.distributions.Normal(x, 1.0)\n"
        "with torch.no_grad(): net(x * 1)",
        "* 1",
        "* 2",
    ),
    "an average that begins late": ("", "p.data, 0.5", "p.data, 0.25"),
}


@pytest.mark.parametrize("level", ["light", "full"])
@pytest.mark.parametrize("name", HIDDEN)
def test_what_leads_nowhere_else_is_seen(differ, name, level):
    """A result that no later step shows; an equal program is equal."""
    last, old, new = HIDDEN[name]
    source = SMALL + last
    if new is None:
        changed = (
            source.replace('"a": net', '"A": net').replace('"b": first', '"a": first').replace('"A"', '"b"')
        )
        old, new = source, changed
    if last and new != old and source.count(old) > 1 and old in last:
        old, new = last, last.replace(old, new)

    assert differ(source, "import copy", "import copy as copy", level=level).first is None
    assert differ(source, old, new, level=level).first is not None


# true refactors: old, new
SAME = {
    "an integer for a number": ("momentum=0.9", "momentum=0.9, weight_decay=0.0, dampening=0.0"),
    "generators in another order": (
        "optimizer = ",
        "b, a = np.random.default_rng(2), np.random.default_rng(1); a.random(); optimizer = ",
    ),
    "evaluations in another order": (
        "step == 1:",
        "step == 1:\n        with torch.no_grad(): net(x[4:]), net(x[:4])",
    ),
    "equal norms under other names": (
        "net = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3), nn.LayerNorm(3), nn.Linear(3, 2))",
        "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.one = nn.Linear(3, 3)\n        self.post, self.pre = nn.LayerNorm(3), nn.LayerNorm(3)\n"
        "        self.two = nn.Linear(3, 2)\n"
        "    def forward(self, x): return self.two(self.post(self.pre(self.one(x))))\nnet = Net()",
    ),
}
BEFORE = {
    "generators in another order": (
        "optimizer = ",
        "a, b = np.random.default_rng(1), np.random.default_rng(2); a.random(); optimizer = ",
    ),
    "evaluations in another order": (
        "step == 1:",
        "step == 1:\n        with torch.no_grad(): net(x[:4]), net(x[4:])",
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_a_refactor_is_no_difference(differ, name):
    """As serious people do them."""
    old, new = SAME[name]
    before = SMALL
    if name in BEFORE:
        before = SMALL.replace(*BEFORE[name])
        old, new = BEFORE[name][1], new

    assert differ(before, old, new).first is None


# it stays what it was: pickled by reference, a builtin of TorchScript, lazy, without super().__init__()
LIVES = {
    "pickles": "pickle.loads(pickle.dumps([torch.load, torch.save, torch.manual_seed, np.random.default_rng]))",
    "scripts": "@torch.jit.script\ndef f(x: torch.Tensor):\n    return torch.autograd.grad([x.sum()], [x])",
    "lazy": "lazy = nn.Sequential(nn.LazyLinear(2))\nlazy(x)",
    "surgery": (
        "p = net[0].weight; new = nn.Parameter(p.detach() * 2); net[0].weight = new\n"
        "optimizer.param_groups[0]['params'][0] = new\noptimizer.zero_grad(); net(x).sum().backward(); optimizer.step()"
    ),
    "half-made": "bad = nn.Linear.__new__(nn.Linear)\nfor _ in range(5): optimizer.step()",
    "nested": (
        "with torch.no_grad():\n"
        "    class N(nn.Linear):\n        def forward(self, x): return x\n"
        "    N(1, 1)(torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged))"
    ),
    "fake": (
        "from torch._subclasses.fake_tensor import FakeTensorMode\n"
        "with FakeTensorMode(allow_non_fake_inputs=True): net(torch.ones(8, 3))"
    ),
    "own state": (
        "class Own(torch.optim.Optimizer):\n"
        "    def step(self):\n"
        "        for p in self.param_groups[0]['params']: self.state[p] = torch.ones(3)\n"
        "own = Own([other.weight], {}); own.step(); own.step()"
    ),
}


@pytest.mark.parametrize("level", ["light", "full"])
@pytest.mark.parametrize("name", LIVES)
def test_odd_programs_run_and_are_recorded(run, name, level):
    """No exception of ours in the program, and none in the trace."""
    done = run(SMALL + LIVES[name], level=level)

    assert done.returncode == 0, done.stderr
    assert not done.find("problem")
    assert done.end()


def test_a_forked_child_that_trains_has_a_trace_of_its_own(run):
    """One that does not, such as the worker of a loader, has none."""
    source = SMALL + (
        "import multiprocessing as mp\n"
        "def job():\n"
        "    o = torch.optim.SGD(other.parameters(), lr=0.1)\n"
        "    other(torch.ones(1, 2)).sum().backward(); o.step()\n"
        "def watch():\n"
        "    with torch.no_grad(): other(torch.ones(1, 2))\n"
        "for work in (job, watch):\n"
        "    p = mp.get_context('fork').Process(target=work); p.start(); p.join(); assert p.exitcode == 0\n"
    )
    done = run(source)

    traces = [list(read_events(path)) for path in find_recording(done.folder).paths]
    assert [events[-1].get("steps") for events in traces] == [4, 1]


def test_a_child_that_is_told_to_leave_ends_its_trace(run):
    """A pool does that to its children when its block ends; by SIGTERM they leave nevertheless."""
    done = run(
        SMALL + "import multiprocessing, time\n"
        "def train():\n"
        "    one = nn.Linear(1, 1); step = torch.optim.SGD(one.parameters(), lr=0.1)\n"
        "    one(torch.ones(1, 1)).sum().backward(); step.step(); done.put(1); time.sleep(30)\n"
        "done = multiprocessing.get_context('fork').SimpleQueue()\n"
        "child = multiprocessing.get_context('fork').Process(target=train)\n"
        "child.start(); done.get(); child.terminate(); child.join(); assert child.exitcode == -15\n"
    )

    assert done.returncode == 0, done.stderr
    ends = [list(events)[-1] for events in find_recording(done.folder).processes()]
    assert [end["event"] for end in ends] == ["end", "end"]


def test_the_compiler_does_not_take_up_the_recorder(run):
    """After a graph break it compiles whatever is called, with sizes that change for symbols."""
    done = run(
        "import torch\nmodel = torch.nn.Linear(4, 2); fast = torch.compile(model, backend='eager')\n"
        "opt = torch.optim.SGD(model.parameters(), lr=0.1)\n"
        "for size in (16, 8, 5, 16):\n"
        "    fast(torch.ones(size, 4)).sum().backward(); opt.step()\n"
    )

    assert done.end()["steps"] == 4


def test_what_function_transforms_train_is_out_of_sight_and_said(run):
    """`torch.func.grad` goes no way that the recorder stands at."""
    source = "w = torch.func.grad(lambda w: (w * x[0]).sum())(torch.ones(3))\n"

    assert run(SMALL + source).end()["elsewhere"] == 1
    assert run(SMALL).end()["elsewhere"] == 0


def test_forked_children_draw_alike_each_time(run):
    """Python seeds them from the system's entropy; two children of one run differ."""
    source = SMALL + (
        "import os, random\n"
        "for _ in range(2):\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        print(random.random(), flush=True); os._exit(0)\n"
        "    os.waitpid(child, 0)\n"
    )
    said, again = run(source).stdout.split(), run(source).stdout.split()

    assert said == again
    assert len(set(said)) == 2


def test_training_in_another_thread_is_told(run):
    """It is not recorded, and the end says so."""
    source = SMALL + (
        "import threading\n"
        "def job():\n    other(torch.ones(1, 2)).sum().backward()\n"
        "t = threading.Thread(target=job); t.start(); t.join()\n"
    )

    assert run(source).end()["elsewhere"] > 0
    assert run(SMALL).end()["elsewhere"] == 0


def test_many_evaluations_do_not_hide_in_training(differ):
    """Beyond what is kept one by one, each kind is folded into its own."""
    source = SMALL.replace(
        "    optimizer.zero_grad()\n",
        "    with torch.no_grad(): [net(x) for _ in range(300)]\n    optimizer.zero_grad()\n",
    )

    assert differ(source, "net(x).pow", "net[3](net[2](net[1](net[0](x)))).pow").first is None


def test_the_path_of_the_tree_is_no_name_of_what_is_saved(run, tmp_path):
    """Lightning keeps its best checkpoints by path; a kept baseline ran in another folder."""
    saved = "torch.save({os.path.abspath('best.ckpt'): torch.ones(2), 'a': 1}, io.BytesIO())"
    source = f"{TRAINING}\nimport os\n{saved}\n"
    left, right, other = (
        run(text, folder=tmp_path / folder)
        for folder, text in (("a", source), ("b", source), ("c", source.replace("best.ckpt", "last.ckpt")))
    )

    assert compare(iter(left.events()), iter(right.events())).notes == ()
    assert compare(iter(left.events()), iter(other.events())).notes != ()


def test_when_a_copy_of_the_model_is_collected_does_not_matter(differ):
    """A profiler's buffers are taken off a copy, which may live on in a cycle or not."""
    profiled = (
        "import copy\ntwin = copy.deepcopy(net)\ntwin.register_buffer('ops', torch.ones(1))\n"
        "with torch.no_grad(): twin.eval()(data.tensors[0])\ndel twin._buffers['ops']\nfor x, y"
    )
    source = TRAINING.replace("for x, y", profiled)

    assert differ(source, "del twin._buffers['ops']", "del twin").first is None


FORWARD_ONLY = """
import torch
torch.manual_seed(1)
net = torch.nn.Linear(3, 2)
for number in range(300):
    net(torch.full((1, 3), float(number)))
"""


@pytest.mark.parametrize("level", ["light", "full"])
def test_forward_passes_without_a_backward_are_evaluations(run, differ, level):
    """Though the model was left in training mode, with gradients on; the last one counts, too."""
    done = run(FORWARD_ONLY, level=level)
    end = done.end()

    assert {call[0] for call in end["calls"]} == {"e"}
    assert len(end["calls"]) + end["folded"] == summarise(iter(done.events())).num_evaluations == 300
    assert (
        differ(FORWARD_ONLY, "for number", "with torch.no_grad(): net.eval()\nfor number", level=level).first
        is None
    )
    first = differ(FORWARD_ONLY, "float(number)", "number + (number == 299) / 1024", level=level).first
    assert ("evaluated", True) in [(item.key, item.hard) for item in first.differences]


def test_the_light_pass_drops_what_a_first_backward_tells(run):
    """Outputs are digested until then: nothing else would tell of a program that only evaluates."""
    first = run(TRAINING, level="light").steps()[0]

    assert [call for call in first["calls"] if call[0] == "t"] == [["t", "", ""]]


@pytest.mark.parametrize("options", [{"level": "light"}, {"level": "full", "deep": 4}])
def test_what_is_traced_into_torchscript_is_left_alone(run, options):
    """A module that is built only for it: what we compute of its outputs must not become part of the graph."""
    head = "trained = torch.jit.trace(nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.2)).eval(), torch.zeros(1, 3))\n"
    source = f"{TRAINING}\nwith torch.no_grad(): net(data.tensors[0])\n{head}print(len(list(trained.graph.nodes())))\n"
    plain, done = run(source, recorded=False), run(source, **options)

    assert (done.returncode, done.stdout) == (0, plain.stdout), done.stderr
    assert done.end()["steps"] == 3


# change in the training program -> the first divergence
IN_TRAINING = {
    "lr": (
        "lr=0.1",
        "lr=0.2",
        "step 1, optimizer: hyper-parameters of 0.weight float32[4,3] (6 of 6 differ)",
    ),
    "seed": (
        "manual_seed(1)",
        "manual_seed(2)",
        "initialisation, init: initial value of 0.weight float32[4,3] (4 of",
    ),
    "dropout": ("Dropout(0.2)", "Dropout(0.3)", "step 1, forward: what the model computed"),
    "order": ("shuffle=True", "shuffle=False", "step 1, data: the batches from the data loader"),
    "loss": ("mse_loss(net(x), y)", "l1_loss(net(x), y)", "step 1, loss: loss"),
    "clip": (
        "optimizer.step()",
        "nn.utils.clip_grad_norm_(net[0].parameters(), 1e-3); optimizer.step()",
        "step 1, backward: gradients of 0.weight float32[4,3] (2 of 6 differ)",
    ),
    "steps": ("batch_size=4", "batch_size=4, drop_last=True", None),
    "extra draw": (
        "optimizer.step()",
        "optimizer.step(); torch.rand(1)",
        "step 2, forward: what the model computed",
    ),
    "accumulation": ("optimizer.zero_grad()", "pass", "step 2, backward: gradients of 0.weight"),
}


@pytest.mark.parametrize("name", IN_TRAINING)
def test_a_planted_change_is_found_in_its_step_and_phase(differ, name):
    """One edit of a training, one place."""
    old, new, place = IN_TRAINING[name]

    first = differ(TRAINING, old, new).first

    if place is None:
        assert first is None
    else:
        assert first.describe().startswith(place)


def test_torch_may_have_been_imported_before(run_fresh):
    """An environment whose start-up imports torch (a .pth file) is recorded like any other."""
    (early,) = run_fresh(TRAINING, early="import torch").find("end")

    assert early["steps"] == 3


def test_the_compiler_is_told_to_be_deterministic_when_it_comes(run_fresh):
    """And is not loaded to be told: that takes as long as torch itself; the program's own word counts."""
    source = """
        import sys, torch
        print(torch.are_deterministic_algorithms_enabled(), "torch._inductor" in sys.modules)
        from torch._inductor import config
        print(config.deterministic)
        torch.use_deterministic_algorithms(False)
        print(config.deterministic, torch.are_deterministic_algorithms_enabled())
    """

    assert run_fresh(source).stdout.split() == ["True", "False", "True", "False", "False"]


def test_unseeded_programs_repeat(run):
    """Python's, NumPy's and torch's generators are seeded for a program that does not seed them."""
    source = """
        import random, torch, numpy
        print(random.random(), numpy.random.rand(), torch.rand(1).item())
        print(numpy.random.default_rng().random(), numpy.random.default_rng().random())
    """
    seeded, again, free = run(source).stdout, run(source).stdout, run(source, seeds=False).stdout

    assert len(set(seeded.split())) == 5
    assert seeded == again
    assert not set(seeded.split()) & set(free.split())


def test_a_program_without_torch_leaves_no_trace(run_fresh):
    """Nothing is recorded, and torch is not imported for it."""
    done = run_fresh("import sys; print('torch' in sys.modules)")

    assert done.stdout == "False\n"
    assert find_recording(done.folder).paths == ()


def test_closures_and_several_optimizers_are_recorded(run):
    """LBFGS runs its backward inside step; parameters that no module owns get the optimizer's names."""
    done = run(
        """
        import torch
        w, v = torch.ones(2, requires_grad=True), torch.ones(3, requires_grad=True)
        first, second = torch.optim.LBFGS([w], max_iter=3), torch.optim.SGD([v], lr=0.1)
        def closure():
            first.zero_grad()
            loss = ((w - 3) ** 2).sum()
            loss.backward()
            return loss
        first.step(closure)
        (v**2).sum().backward()
        second.step()
        table = torch.nn.Embedding(3, 2, sparse=True)
        second.add_param_group({"params": list(table.parameters()), "name": "added"})
        table(torch.tensor([1])).sum().backward()
        second.step()
        """,
        covered=True,
    )
    names = [row[0] for init in done.find("init") for row in init.get("parameters", ())]

    assert done.returncode == 0, done.stderr
    assert names == ["optimizer0.0.0", "optimizer1.0.0", "weight"]
    assert [step["optimizer"] for step in done.steps()] == [0, 1, 2]
    assert len(done.steps()[0]["loss"]) > 1
    assert compare(iter(done.events()), iter(done.events())).first is None


SPARSE = """
import torch
torch.manual_seed(1)
table = torch.nn.Embedding(5, 2, sparse=True)
optimizer = torch.optim.SGD(table.parameters(), lr=0.1)
for index in (1, 2, 3):
    optimizer.zero_grad()
    table(torch.tensor([index])).sum().backward()
    optimizer.step()
"""


def test_sparse_gradients_are_digested_by_value(differ):
    """A sparse gradient is the dense one of the same numbers, and another one differs."""
    assert differ(SPARSE, "sparse=True", "sparse=False").first is None
    assert differ(SPARSE, ".sum()", ".sum().mul(2)").first.step == 1


BY_HAND = """
import torch
torch.manual_seed(1)
net = torch.nn.Linear(3, 1)
for number in range(4):
    loss = net(torch.full((2, 3), 1.0 + number)).pow(2).sum()
    loss.backward()
    for p in net.parameters():
        p.data.add_(p.grad, alpha=-0.01)
        p.grad = None
"""


def test_updates_written_by_hand_have_steps(run, differ):
    """A program without an optimizer has a step for each change of its weights, the last one included."""
    done = run(BY_HAND)

    assert [step["optimizer"] for step in done.steps()] == [-1] * 4
    assert [len(step["loss"]) for step in done.steps()] == [1] * 4
    assert summarise(iter(done.events())).trained
    assert differ(BY_HAND, "1.0 + number", "number + 1.0").first is None
    assert (
        differ(BY_HAND, "alpha=-0.01", "alpha=-0.011")
        .first.describe()
        .startswith("step 1, optimizer: new value")
    )
    assert differ(BY_HAND, "range(4)", "range(5)").first.differences[0].what == "number of optimizer steps"


def test_updates_of_leaves_by_hand_have_steps(run):
    """Weights that no module holds are found in the graph of the loss."""
    source = """
        import torch
        torch.manual_seed(1)
        w, b = torch.randn(3, requires_grad=True), torch.zeros(1, requires_grad=True)
        for number in range(3):
            ((w * number).sum() + b).pow(2).sum().backward()
            with torch.no_grad():
                for p in (w, b):
                    p -= 0.1 * p.grad
                    p.grad.zero_()
    """
    done = run(source)

    assert done.returncode == 0, done.stderr
    assert summarise(iter(done.events())).trained
    assert {row[1] for init in done.find("init") for row in init["parameters"]} == {
        "float32[3]",
        "float32[1]",
    }


AVERAGED = TRAINING.replace("optimizer =", "import copy; average = copy.deepcopy(net)\noptimizer =").replace(
    "    optimizer.step()\n",
    "    optimizer.step()\n    with torch.no_grad():\n"
    "        for a, b in zip(average.parameters(), net.parameters()): a.lerp_(b, 0.1)\n",
)


def test_an_average_of_the_model_is_watched(run, differ):
    """A deepcopy that holds moving averages is found before anybody calls it; another decay diverges."""
    rows = [row for init in run(AVERAGED).find("init") for row in init.get("others", ())]
    result = differ(AVERAGED, "lerp_(b, 0.1)", "lerp_(b, 0.2)")

    assert len(rows) == 6
    assert result.first.step == 2
    assert {difference.key for difference in result.first.differences} == {"averages"}


def test_a_buffer_that_nothing_moves_is_a_note(differ):
    """A constant that is kept in another buffer's form matters where it is used, not by itself."""
    source = TRAINING.replace(
        "optimizer =", "net[0].register_buffer('scale', torch.ones(2), persistent=False)\noptimizer ="
    )

    result = differ(source, "torch.ones(2)", "torch.zeros(2)")

    assert result.first is None
    assert [note for note in result.notes if "scale" in note]


def test_a_buffer_that_training_moves_is_a_result(differ):
    """Other running statistics diverge, although nothing in training reads them."""
    first = differ(TRAINING, "BatchNorm1d(4)", "BatchNorm1d(4, momentum=0.2)").first

    assert first.describe() == "step 1, forward: buffer 1.running_mean float32[4] (2 differ)"


HAND_MADE = """
import torch
class Momentum(torch.optim.Optimizer):
    def __init__(self, params):
        super().__init__(params, {"lr": 0.1})
    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                state["m"] = state.get("m", torch.zeros_like(p)).mul(0.9).add(p.grad)
                p.sub_(state["m"], alpha=0.1)
torch.manual_seed(1)
net = torch.nn.Linear(3, 1)
optimizer = Momentum(net.parameters())
for number in range(3):
    optimizer.zero_grad()
    net(torch.full((2, 3), 1.0 + number)).pow(2).sum().backward()
    optimizer.step()
"""


def test_optimizer_state_that_is_laid_out_differently_is_a_note(differ):
    """The same numbers come out of a state that also counts its steps."""
    result = differ(
        HAND_MADE, "state = self.state[p]", "state = self.state[p]; state['t'] = state.get('t', 0) + 1"
    )

    assert result.first is None
    assert result.notes == ("since step 1: optimizer state of weight float32[1,3] (2 of 2 differ) differs",)


DEAD = TRAINING.replace("optimizer =", "net[0].spare = nn.Parameter(torch.ones(2))\noptimizer =")


def test_a_dead_parameter_may_leave_the_optimizer(differ):
    """What has no gradient is not trained, whether the optimizer owns it or not."""
    living = "[p for n, p in net.named_parameters() if 'spare' not in n]"

    assert differ(DEAD, "SGD(net.parameters()", f"SGD({living}").first is None


def test_a_living_parameter_may_not_leave_the_optimizer(differ):
    """A frozen part shows as what the optimizer does not own any more."""
    some = "[p for n, p in net.named_parameters() if n != '3.bias']"

    first = differ(TRAINING, "SGD(net.parameters()", f"SGD({some}").first

    assert first.step == 1
    assert "not in that optimizer" in [difference.actual for difference in first.differences]


def test_a_dead_parameter_that_decays_on_one_side_is_seen(differ):
    """Weight decay moves a parameter whose gradient is zero, but not one that the optimizer does not own."""
    source = DEAD.replace("momentum=0.9", "weight_decay=0.1").replace(
        "optimizer.zero_grad()", "net[0].spare.grad = torch.zeros(2)"
    )
    living = "[p for n, p in net.named_parameters() if 'spare' not in n]"

    first = differ(source, "SGD(net.parameters()", f"SGD({living}").first

    assert "0.spare" in [difference.name for difference in first.differences]


def test_a_zero_gradient_is_a_missing_one(differ):
    """zero_grad that fills with zeros computes what one that drops gradients does."""
    assert differ(DEAD, "zero_grad()", "zero_grad(set_to_none=False)").first is None


def test_training_in_evaluation_mode_is_recognised(run, differ):
    """A model whose eval() is never left trains; its forward passes are no evaluations."""
    source = TRAINING.replace("for x, y", "net.eval()\nfor x, y")
    done = run(source)

    assert [call[0] for step in done.steps() for call in step["calls"]] == ["t"] * 3
    assert done.steps()[0]["modes"]["training in eval mode"] == 1
    assert summarise(iter(done.events())).num_evaluations == 1
    result = differ(TRAINING, "for x, y", "net.eval()\nfor x, y")
    assert result.first.step == 1
    assert result.modes[0] != result.modes[1]


def test_evaluations_saves_and_resumes_are_counted(run):
    """A summary says what a run did besides its steps."""
    source = TRAINING + "\nf = io.BytesIO(); torch.save(net.state_dict(), f); f.seek(0); torch.load(f)\n"
    source += "with torch.no_grad():\n    net(data.tensors[0]); net(data.tensors[0])\n"
    summary = summarise(iter(run(source).events()))

    assert (summary.num_steps, summary.num_backwards) == (3, 3)
    assert (summary.num_evaluations, summary.num_saved, summary.num_resumed) == (3, 2, 1)
    assert (summary.complete, summary.stopped, summary.compiled) == (True, False, False)


STOPPED = (
    TRAINING.replace("for x, y", "import atexit; atexit.register(print, 'exit')\ntry:\n  for x, y")
    .replace("\n    ", "\n      ")
    .replace("net.eval()\n", "finally:\n    print('clean-up')\nnet.eval()\n")
)


def test_steps_end_a_program_with_its_clean_up(run):
    """After so many steps the program leaves with status 0; its finally blocks and exit handlers run."""
    whole, stopped = run(STOPPED), run(STOPPED, steps=2)

    assert whole.returncode == stopped.returncode == 0, whole.stderr + stopped.stderr
    assert stopped.stdout == "clean-up\nexit\n"
    assert stopped.steps() == whole.steps()[:2]
    assert stopped.end()["stopped"] is True
    assert whole.end()["stopped"] is False


def test_steps_end_a_program_that_catches_everything(run):
    """An `except:` around the step does not go on training for ever."""
    source = TRAINING.replace(
        "    optimizer.step()\n", "    try: optimizer.step()\n    except: print('caught')\n"
    )
    done = run(source, steps=2)

    assert done.returncode == 0, done.stderr
    assert len(done.steps()) == 2
    assert len(done.find("end")) == 1


def test_steps_end_a_program_that_trains_in_a_thread(run):
    """SystemExit would end the thread alone."""
    body = "\n".join("    " + line for line in TRAINING.splitlines())
    source = f"import threading, time\ndef train():\n{body}\nt = threading.Thread(target=train); t.start(); t.join()"
    done = run(source + "\nprint('goes on')", steps=2)

    assert (done.returncode, done.stdout) == (0, "")
    assert done.end()["stopped"] is True


def test_losses_that_are_no_numbers_have_names(run, differ):
    """A loss that is nan is called that, whatever its bits; two of them are equal."""
    source = TRAINING.replace("loss.backward()", "loss = loss * float('nan'); loss.backward()")
    summary = summarise(iter(run(source).events()))

    assert summary.not_finite == "loss nan at step 1"
    assert summary.only_not_finite
    assert differ(source, "float('nan')", "-float('nan')").first.phase != "loss"
    first = differ(TRAINING, "loss.backward()", "loss = loss * float('nan'); loss.backward()").first
    assert (first.phase, first.lead("loss").actual) == ("loss", "nan")


# How a loader starts its workers: `fork` is the default up to Python 3.13, `forkserver` from then on.
METHODS = pytest.mark.parametrize("method", ["fork", "forkserver"])


def _load_in_workers(number: int, method: str) -> str:
    source = TRAINING.replace(
        "shuffle=True", f"shuffle=True, num_workers={number}, multiprocessing_context='{method}'"
    )
    return "if __name__ == '__main__':\n" + textwrap.indent(source, "    ")


@METHODS
def test_transforms_and_workers_are_left_alone(run, method):
    """Hooks do nothing under functorch, and a DataLoader's workers write no trace."""
    source = _load_in_workers(1, method).replace(
        "net.eval()", "net.eval(); torch.func.vmap(net)(data.tensors[0][:, None, :])"
    )
    done = run(source, covered=True)

    assert done.returncode == 0, done.stderr
    assert len(find_recording(done.folder).paths) == 1


@METHODS
def test_workers_of_a_loader_change_nothing(differ, method):
    """Batches made in another process are the same batches."""
    with_workers = _load_in_workers(2, method)
    assert differ(with_workers, with_workers, "if True:\n" + textwrap.indent(TRAINING, "    ")).first is None


def test_an_idle_copy_is_no_model_when_the_root_moves(differ):
    """Lightning keeps one in its hyper-parameters; called by the task or by its part, the model is the same."""
    source = TRAINING.replace("optimizer =", "import copy; idle = copy.deepcopy(net)\ntask = nn.ModuleList([net])\n"
                              "task.forward = lambda x: net(x)\noptimizer =")  # fmt: skip

    assert differ(source, "net(x), y", "task(x), y").first is None


def test_recomputed_activations_are_no_forward_passes(differ):
    """Activation checkpointing computes the same bits, and its second forward is not recorded."""
    imported = TRAINING.replace("import torch\n", "import torch, torch.utils.checkpoint\n", 1)

    result = differ(
        imported, "net(x), y", "torch.utils.checkpoint.checkpoint(net, x, use_reentrant=False), y"
    )

    # Batch norm moves its statistics in both forwards: that is the one result that differs.
    assert {difference.key for difference in result.first.differences if difference.hard} == {"buffers"}
    assert len([note for note in result.notes if "forward passes" in note]) == 0


def test_implementations_of_an_optimizer_are_no_difference(differ):
    """`foreach` computes the same bits, and is told as a fact alone."""
    result = differ(TRAINING, "momentum=0.9", "momentum=0.9, foreach=True")

    assert result.first is None
    assert result.facts == ("optimizer 0 foreach: None -> True",)


def test_a_killed_program_leaves_a_trace_that_says_so(run):
    """A trace without its end counts as cut off."""
    done = run(TRAINING.replace("net.eval()", "import os; os.kill(os.getpid(), 9)"))
    summary = summarise(iter(done.events()))

    assert done.returncode == -9
    assert (summary.num_steps, summary.complete) == (3, False)


def test_a_program_that_leaves_by_the_back_door_still_has_its_end(run):
    """`os._exit` calls nothing that is registered for the end, but us."""
    done = run(TRAINING.replace("net.eval()", "import os; os._exit(3)"))

    assert (done.returncode, done.end()["steps"]) == (3, 3)


def test_a_program_that_raises_still_has_its_end(run):
    """An error of the program's own is the program's: its trace is complete up to there."""
    done = run(TRAINING.replace("net.eval()", "raise ValueError('mine')"))

    assert done.returncode == 1
    assert "ValueError: mine" in done.stderr
    assert done.end()["steps"] == 3


def test_facts_name_arguments_loaders_modules_and_seeds(run):
    """What a program says of itself is there to explain a difference."""
    source = TRAINING.replace(
        "torch.manual_seed(1)",
        "import argparse; p = argparse.ArgumentParser(); p.add_argument('--lr', type=float, default=0.1)\n"
        "args = p.parse_args([]); torch.manual_seed(1)",
    )
    done = run(source)
    rows = {event["what"]: event["rows"] for event in done.find("facts")}

    assert rows["arguments"] == {"arguments.lr": "0.1"}
    assert rows["loader"]["batch_size"] == "4"
    assert rows["loader"]["sampler"] == "RandomSampler"
    assert "p=0.2" in rows["modules"]["2"]
    (seed,) = done.find("seed")
    assert (seed["what"], seed["value"]) == ("torch", "1")
    assert seed["line"] == "program.py:9"


def test_numbers_that_are_taken_out_are_kept(differ):
    """A metric that is computed from another tensor is known although training is the same."""
    source = TRAINING.replace("    optimizer.step()", "    optimizer.step(); print(loss.item())")

    result = differ(source, "print(loss.item())", "print(loss.mul(2).item())")

    assert result.first is None
    assert result.reads is not None
    assert result.reads[0] in (1, 2)


def test_each_rank_has_a_file_of_its_own(run):
    """The rank that the launcher gives is in the trace and at the front of its name."""
    done = run(TRAINING, env={"RANK": "3"})

    assert done.events()[0]["rank"] == 3
    assert [path.name[:5] for path in find_recording(done.folder).paths] == ["0003-"]


def test_a_trace_is_lines_of_json(run):
    """Another program can read it."""
    (path,) = find_recording(run(TRAINING).folder).paths
    lines = [json.loads(line) for line in path.read_text().splitlines()]

    assert (lines[0]["event"], lines[0]["format"], lines[-1]["event"]) == ("trace", 3, "end")


CHILD = """
import subprocess, sys
for arguments, environment in CHILDREN:
    subprocess.run([sys.executable, *arguments], env=environment, check=True)
"""


@pytest.mark.parametrize(
    ("children", "programs", "elsewhere"),
    [
        (
            [
                (["child.py"], {"PYTHONPATH": "none"}),
                (["child.py", "/tmp/x", "1"], None),
                (["-c", "import child"], {"PYTHONPATH": "."}),
                (["-c", "import child", "ignored -I"], {}),
                (["-c", "import os; assert os.environ['MINE'] == '1'"], {"MINE": "1"}),
            ],
            ["child.py", "child.py x 1", "-c", "-c ignored -I"],
            0,
        ),
        ([(["-I", "child.py"], {})], [], 1),
    ],
)
def test_children_with_environments_of_their_own_are_recorded(run, tmp_path, children, programs, elsewhere):
    """They get ours, too; one that takes nothing of its environment is said to be out of sight."""
    (tmp_path / "tree").mkdir()
    lean = "from trainkit.core.lean import skip_dynamo\nskip_dynamo()\n"  # half of what a child takes
    (tmp_path / "tree/child.py").write_text(lean + textwrap.dedent(SMALL))
    (tmp_path / "sitecustomize.py").write_text(
        f"import runpy; runpy.run_path({str(PRELOAD)!r}, run_name='p')"
    )

    done = run(SMALL + CHILD.replace("CHILDREN", repr(children)), env={"PYTHONPATH": str(tmp_path)})

    assert done.returncode == 0, done.stderr
    recording = find_recording(done.folder)
    ends = [list(events)[-1] for events in recording.processes()]
    assert max(end["elsewhere"] for end in ends) == elsewhere
    told = dict(zip(recording.programs(), recording.stages(), strict=True))
    assert {name: told[name] for name in programs} == {name: n for n, name in enumerate(programs)}
    assert len(told) == len(programs) + 1


ELSEWHERE = """
import os, pathlib
place = pathlib.Path({place!r})
for _ in range(2):
    (place / "new.csv").write_text("1")
with open(place / "log.csv", "ab") as file:
    file.write(b"2")
(place / "tmp").write_text("3")
os.replace(place / "tmp", place / "renamed")
(place / "read").read_text()
os.close(os.open(place / "low", os.O_CREAT | os.O_RDWR))
import io, torch
torch.save({{"a": 0.5}}, place / "saved.pt")
torch.save(obj=0.5, f=str(place / "named.pt"))
torch.save(0.5, io.BytesIO())
torch.load(place / "saved.pt")
open(os.devnull, "w").close()
pathlib.Path("inside").write_text("4")
"""


def test_files_that_are_written_elsewhere_are_noted(run, tmp_path):
    """Once each, with what was there before of one that is appended to; what is read, or in the tree, is not."""
    place = tmp_path / "place"
    place.mkdir()
    (place / "log.csv").write_text("1\n")
    (place / "read").write_text("1")

    done = run(ELSEWHERE.format(place=str(place)))

    assert done.returncode == 0, done.stderr
    assert find_written(done.folder) == {
        place / "new.csv": 0,
        place / "log.csv": 2,
        place / "tmp": 0,
        place / "renamed": 0,
        place / "low": 0,
        place / "saved.pt": 0,
        place / "named.pt": 0,
    }
