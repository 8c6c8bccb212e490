"""The lean start, each time in a fresh process: torch loads its compiler once and for all."""

import functools
import json
import subprocess
import sys

import pytest

TRAINING = """
import hashlib, sys
import torch
from torch import nn
from trainkit.core import lean
{before}
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4, bias=False))
{watch}
optimizer = torch.optim.{optimizer}
{hook}
for _ in range(5):
    optimizer.zero_grad()
    loss = model(torch.randn(4, 8)).square().mean()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    optimizer.step()
optimizer.load_state_dict(optimizer.state_dict())
weights = b"".join(bytes(each.detach().view(-1).view(torch.uint8).tolist()) for each in model.parameters())
print(hashlib.sha256(weights).hexdigest(), "torch._dynamo" in sys.modules, torch.is_grad_enabled())
"""
ADAMW = "AdamW(model.parameters(), lr=0.1)"
OPTIMIZERS = [
    ADAMW,
    "SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)",
    "RMSprop(model.parameters(), lr=0.1)",
]
SKIP = "assert lean.skip_dynamo() is lean.skip_dynamo() is None"  # the second run of a sweep asks again


SERVER = """
import json, os, sys
import torch, trainkit.core.lean
for line in sys.stdin:
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(write, 1)
        status = 1
        try:
            exec(compile(json.loads(line), "program", "exec"), {"__name__": "__main__"})
            status = 0
        finally:
            sys.stdout.flush()
            os._exit(status)
    os.close(write)
    with os.fdopen(read) as pipe:
        output = pipe.read()
    status = os.waitpid(child, 0)[1]
    print(json.dumps([status, output]), flush=True)
"""


@pytest.fixture(scope="module")
def server():
    """One process that has imported torch without its compiler, and is copied for each program."""
    command = [sys.executable, "-c", SERVER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.stdin.close()


@pytest.fixture(scope="module")
def train(server):
    """Give the lines that a fresh process prints."""

    @functools.cache
    def run(before="", *, optimizer=ADAMW, watch="", hook="", after=""):
        program = TRAINING.format(before=before, optimizer=optimizer, watch=watch, hook=hook) + after
        server.stdin.write(json.dumps(program) + "\n")
        server.stdin.flush()
        status, output = json.loads(server.stdout.readline())
        assert not status, program
        return output.splitlines()

    return run


def test_a_process_of_its_own_trains_without_dynamo():
    """As a user starts it."""
    program = TRAINING.format(before=SKIP, optimizer=ADAMW, watch="", hook="")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.split()[1:] == ["False", "True"]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda text: text.partition("(")[0])
def test_training_computes_the_same_bits_without_dynamo(train, optimizer):
    """Without the module, and to the last bit as with it."""
    lean, plain = train(SKIP, optimizer=optimizer), train(optimizer=optimizer)

    assert lean[-1].split() == [plain[-1].split()[0], "False", "True"]
    assert plain[-1].split()[1:] == ["True", "True"], "torch does not load it any more: drop the module"


@pytest.mark.parametrize(
    "fault",
    [
        "del lean.optimizer._use_grad_for_differentiable",
        "lean.optimizer._use_grad_for_differentiable = lambda function: lambda *a: function(*a)",
        "del torch._disable_dynamo",
        "torch.optim.Optimizer.add_param_group = torch.optim.Optimizer.add_param_group.__wrapped__",
        "import torch._dynamo",
    ],
)
def test_a_torch_that_is_built_otherwise_is_left_as_it_is(train, fault):
    """A private name that is gone, or means something else: a reason, no change, the same training."""
    keep = "kept = torch._disable_dynamo, lean.optimizer._use_grad_for_differentiable\n"
    check = """
before = [dict(vars(each)) for each in (torch.optim.Optimizer, torch.optim.AdamW, torch.optim.SGD)]
print(lean.skip_dynamo())
assert before == [vars(each) for each in (torch.optim.Optimizer, torch.optim.AdamW, torch.optim.SGD)]
torch._disable_dynamo, lean.optimizer._use_grad_for_differentiable = kept  # torch needs them itself
"""
    reason, result = train(keep + fault + check)

    assert "torch" in reason
    assert result.split()[0] == train()[-1].split()[0]


def test_hooks_of_optimizers_fire(train):
    """Those of one optimizer and those of all, before and after a step."""
    watch = """
from torch.optim.optimizer import register_optimizer_step_post_hook as every_post
from torch.optim.optimizer import register_optimizer_step_pre_hook as every_pre
seen = []
every_pre(lambda *_: seen.append("every pre"))
every_post(lambda *_: seen.append("every post"))
"""
    hook = """
optimizer.register_step_pre_hook(lambda *_: seen.append("pre"))
optimizer.register_step_post_hook(lambda *_: seen.append("post"))
"""
    result, seen = train(SKIP, watch=watch, hook=hook, after="print(seen == 5 * seen[:4], *sorted(seen[:4]))")

    assert result.split()[1] == "False"
    assert seen == "True every post every pre post pre"


def test_the_profiler_sees_the_step(train):
    """The range that torch puts around a step is outside of what is changed."""
    after = """
with torch.autograd.profiler.profile() as session:
    optimizer.step()
print(any(event.key == "Optimizer.step#AdamW.step" for event in session.key_averages()))
"""
    assert train(SKIP, after=after)[-1] == "True"


def test_a_closure_and_the_mode_of_gradients_work_as_before(train):
    """A step gives the closure's loss and leaves gradients on or off, also when it fails."""
    after = """
def closure():
    with torch.enable_grad():
        return model(torch.ones(4, 8)).sum()

with torch.no_grad():
    print(optimizer.step(closure).requires_grad, torch.is_grad_enabled())
def fail():
    raise ZeroDivisionError
try:
    optimizer.step(fail)
except ZeroDivisionError:
    print(torch.is_grad_enabled())
"""
    assert train(SKIP, after=after)[-2:] == ["True False", "True"]


def test_a_compiler_that_comes_later_finds_torch_as_it_was(train):
    """From then on the step breaks the graph where torch's own does, and the caches are torch's own."""
    after = """
import torch._dynamo
breaks = []
torch._dynamo.graph_break = lambda *_: breaks.append(1)
optimizer.step()
optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))]})
cached = torch.optim.Optimizer.add_param_group.__wrapped__.__dynamo_disable
print(len(breaks), cached.__module__, len(optimizer.param_groups))
"""
    breaks, module, groups = train(SKIP, after=after)[-1].split()

    assert (breaks, groups) == ("2", "2")
    assert module != "functools"
