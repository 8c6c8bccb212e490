"""The recorder in processes of its own: it sees everything, changes nothing, and never raises."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import trainkit.trace
from trainkit.errors import CannotJudgeError
from trainkit.trace.compare import compare
from trainkit.trace.store import parse_trace, read_traces

PRELOAD = Path(trainkit.trace.__file__).with_name("preload.py")

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
torch.save({"net": net.state_dict(), "note": "kept"}, io.BytesIO())
print([p.sum().item().hex() for p in net.parameters()], torch.rand(1).item().hex())
"""


@pytest.fixture
def run(tmp_path, uncovered):
    """Run a program in a fresh process, recorded unless told otherwise; gives its output and traces."""

    def start(source: str, *, recorded: bool = True, name: str = "trace", covered: bool = False):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        program = tmp_path / "program.py"
        program.write_text(textwrap.dedent(source))
        preamble = f"import runpy; runpy.run_path({str(PRELOAD)!r}, run_name='preload'); " if recorded else ""
        code = preamble + f"import runpy; runpy.run_path({str(program)!r}, run_name='__main__')"
        environment = os.environ | {"TRAINKIT_TRACE": str(folder), "OMP_NUM_THREADS": "1"}
        environment |= {} if covered else uncovered
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done, folder

    return start


def test_a_recorded_program_computes_the_same_bits(run):
    """The same program without the recorder prints the same parameters and draws the same number."""
    recorded, folder = run(TRAINING, covered=True)
    plain, _ = run(TRAINING, recorded=False, name="none")

    assert recorded.returncode == plain.returncode == 0, recorded.stderr
    assert recorded.stdout == plain.stdout
    (trace,) = read_traces(folder)
    step = trace.steps[0]
    assert [tensor.name for tensor in trace.parameters][:2] == ["0.weight", "0.bias"]
    assert [tensor.name for tensor in trace.buffers] == [
        "1.running_mean",
        "1.running_var",
        "1.num_batches_tracked",
    ]
    assert len(trace.steps) == 3
    assert step["loaded"][0] == 1
    assert float.fromhex(step["loss"][0]) > 0
    assert step["hyper"][0][0].startswith("dampening=0; lr=0.1; maximize=False; momentum=0.9; ")
    assert trace.end["evaluated"][0] == 1
    assert trace.end["saved"][0] == 1
    assert trace.end["values"] == trace.steps[-1]["parameters"]
    assert trace.has_trained()


# change in the training program -> the first divergence
AFTER_TRAINING = {
    "nothing": ("import io", "import io", None),
    "an evaluation": (
        "net(data.tensors[0])\nimport",
        "net(-data.tensors[0])\nimport",
        "eval: what an evaluation computed",
    ),
    "a checkpoint": ('"net": net', '"net": optimizer', "save: what torch.save was given"),
    "the weights": ("import io", "net[0].bias.data.zero_(); import io", "save: what torch.save was given"),
}


def test_only_what_differs_is_seen(run):
    """A second recording is equal, bit for bit; what happens after the last step is a result, too."""
    (before,) = read_traces(run(TRAINING, name="before")[1])
    places = {}
    for name, (old, new, _) in AFTER_TRAINING.items():
        assert old in TRAINING
        (after,) = read_traces(run(TRAINING.replace(old, new), name=name)[1])
        first = compare(before, after).first
        places[name] = first and first.describe()

    assert places == {
        name: place and f"after the last step, {place}" for name, (_, _, place) in AFTER_TRAINING.items()
    }


def test_unseeded_programs_repeat(run):
    """Python's, NumPy's and torch's generators are seeded for a program that does not seed them."""
    source = "import random, torch, numpy\nprint(random.random(), numpy.random.rand(), torch.rand(1).item())"

    assert run(source)[0].stdout == run(source)[0].stdout


def test_a_program_without_torch_leaves_no_trace(run):
    """Nothing is recorded, and torch is not imported for it."""
    done, folder = run("import sys; print('torch' in sys.modules)")

    assert done.stdout == "False\n"
    assert read_traces(folder) == []


def test_closures_and_several_optimizers_are_recorded(run):
    """LBFGS runs its backward inside step; parameters that no module owns get the optimizer's names."""
    done, folder = run(
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
    (trace,) = read_traces(folder)

    assert done.returncode == 0, done.stderr
    assert [tensor.name for tensor in trace.parameters] == [
        "optimizer0.0.0",
        "optimizer1.0.0",
        "weight",
    ]
    assert [step["optimizer"] for step in trace.steps] == [0, 1, 2]
    assert trace.has_trained()
    assert compare(trace, trace).first is None
    assert len(trace.steps[0]["loss"]) > 1


def test_transforms_and_forked_workers_are_left_alone(run):
    """Hooks do nothing under functorch, and a DataLoader's workers write no trace."""
    source = TRAINING.replace("shuffle=True", "shuffle=True, num_workers=1").replace(
        "net.eval()", "net.eval(); torch.func.vmap(net)(data.tensors[0][:, None, :])"
    )
    done, folder = run(source, covered=True)

    assert done.returncode == 0, done.stderr
    assert len(list(folder.glob("*.jsonl"))) == 1


def test_an_error_of_the_recorder_never_reaches_the_program(run):
    """The program goes on undisturbed; the trace says what went wrong and cannot be used."""
    source = TRAINING.replace("torch.manual_seed(1)", "torch.manual_seed(1)\ntorch.get_rng_state = None")
    done, folder = run(source, covered=True)
    plain, _ = run(source, recorded=False, name="none")

    assert done.stdout == plain.stdout
    with pytest.raises(CannotJudgeError, match="the recorder failed in _see_root: TypeError"):
        read_traces(folder)


def test_a_killed_program_leaves_a_trace_that_says_so(run):
    """A trace without its end counts as cut off."""
    _, folder = run(TRAINING.replace("net.eval()", "import os; os._exit(3)"))

    with pytest.raises(CannotJudgeError, match="cut off after 3 steps"):
        read_traces(folder)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['{"event":"trace","format":99}'], "is not of format 1"),
        (["no json"], "line 1"),
        ([json.dumps({"event": "trace", "format": 1}), '{"event":"init"}'], "line 2"),
    ],
)
def test_foreign_files_are_refused(lines, message):
    """What is no trace of ours is a clear error."""
    with pytest.raises(CannotJudgeError, match=message):
        parse_trace(lines)
