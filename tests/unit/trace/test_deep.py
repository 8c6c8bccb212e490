"""The deep pass in processes of its own: every operation of one step, and not a bit of it changed."""

import pytest
import torch

from tests.unit.trace.conftest import PRELOAD
from trainkit.trace.deep import sample
from trainkit.trace.locate import locate, read_deep
from trainkit.trace.store import find_recording

NET = """
import torch
from torch import nn
from torch.nn import functional as F

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.up = nn.Linear(4, 8)
        self.norm = nn.BatchNorm1d(8)
        self.head = nn.Linear(8, 1)

    def forward(self, x):
        y = self.up(x)
        y = torch.relu(y)
        y = self.norm(F.dropout(y, 0.25, self.training))
        return self.head(y)

torch.manual_seed(1)
net = Block()
optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
for number in range(3):
    x = torch.randn(6, 4)
    scale = x.mean().item()
    loss = F.mse_loss(net(x), x[:, :1] * scale)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), 0.5)
    optimizer.step()
"""


def line_of(text: str, source: str = NET) -> int:
    (line,) = [number for number, content in enumerate(source.splitlines(), start=1) if text in content]
    return line


@pytest.fixture
def zoom(run):
    """Run the deep pass of two programs and locate where they part."""

    def look(before: str, after: str, *, step: int = 2, **more):
        done = [run(source, deep=step, steps=step) for source in (before, after)]
        for item in done:
            assert item.returncode == 0, item.stderr
        return locate(*(read_deep(item.events()) for item in done), **more)

    return look


@pytest.fixture
def edit(zoom):
    def look(old: str, new: str, **more):
        assert old in NET
        return zoom(NET, NET.replace(old, new), **more)

    return look


def operations(done, name, **entries):
    return [event for event in done.find("op", **entries) if event["op"] == name]


def test_what_has_no_numbers_is_passed_over(run):
    """Models are put together on the meta device; of what comes of it nothing is read."""
    built = """
        shape = nn.Linear(4, 8, device="meta")(torch.zeros(2, 4, device="meta")) * 2
        layer = nn.Sequential(nn.Linear(4, 8)).to("meta")
        layer(shape[:, :4])
    """
    lines = "".join(f"    {line.strip()}\n" for line in built.strip().splitlines())
    done = run(NET.replace("    loss.backward()", lines + "    loss.backward()"), deep=2, steps=2)

    assert done.returncode == 0, done.stderr
    assert done.find("problem") == []
    assert {event["op"] for event in done.find("op", phase="loss")}.isdisjoint({"addmm", "linear"})
    assert done.find("deep-end")


@pytest.mark.parametrize("step", [1, 2, 3])
def test_the_deep_pass_is_the_cheap_pass_bit_for_bit(run, step):
    """All steps and the end are what they are without it; the operations come before their step."""
    cheap, deep = run(NET), run(NET, deep=step)
    kinds = [(event["event"], event.get("step")) for event in deep.events()]
    (ended,) = [index for index, (kind, _) in enumerate(kinds) if kind == "deep-end"]

    assert deep.steps() == cheap.steps()
    assert deep.end() == cheap.end()
    assert kinds[ended:].index(("step", step)) < kinds[ended:].index(("end", None))
    assert not [kind for kind, _ in kinds[ended + 1 :] if kind == "op"]


def test_the_pass_ends_with_a_program_of_fewer_steps(run):
    """What comes after the last step can be looked at, too."""
    done = run(NET + "\nprint(net.eval()(x).sum().item())", deep=4, covered=True)

    assert done.returncode == 0, done.stderr
    assert [event["operations"] > 0 for event in done.find("deep-end")] == [True]


def test_function_transforms_do_not_end_the_pass(run):
    """Their tensors have no storage; what follows is still told."""
    more = "\nfrom torch.func import grad\nw = grad(lambda w: (w * 2).sum())(torch.ones(3))\nw.exp()\n"

    done = run(NET + more, deep=4, covered=True)

    assert done.find("problem") == []
    assert operations(done, "exp")


def test_an_operation_has_its_module_line_and_phase(run):
    """The innermost module and the project's frames, innermost first."""
    (relu,) = operations(run(NET, deep=2, covered=True), "relu")

    assert (relu["phase"], relu["module"]) == ("forward", "Block")
    assert relu["frames"][0] == ["program.py", line_of("torch.relu"), "forward"]
    assert relu["frames"][1] == ["program.py", line_of("loss = "), "<module>"]
    assert relu["sample"]["shape"] == "float32[6,8]"


def test_code_without_a_file_is_no_line_of_the_project(run):
    """What `exec`, a dataclass or `python -m` run has a name in angle brackets."""
    done = run(NET + "\nexec('x.exp()', {'x': x}); optimizer.step()", deep=4)
    files = {frame[0] for event in done.find("op") for frame in event["frames"]}

    assert operations(done, "exp")
    assert files == {"program.py"}


def test_an_operation_inside_a_module_of_torch_names_that_module(run):
    """Its line is the project's that called the module."""
    done = run(NET, deep=2)
    first, second = operations(done, "addmm")

    assert (first["module"], second["module"]) == ("up", "head")
    assert first["frames"][0] == ["program.py", line_of("self.up(x)"), "forward"]


def test_a_backward_operation_carries_the_line_of_its_forward(run):
    """Autograd runs it from nowhere; its node tells which forward it belongs to."""
    (backward,) = operations(run(NET, deep=2), "threshold_backward")

    assert (backward["phase"], backward["module"], backward["node"]) == ("backward", "Block", "ReluBackward0")
    assert backward["frames"][0] == ["program.py", line_of("torch.relu"), "forward"]


def test_phases_follow_the_step(run):
    """Data, forward, loss, backward, clip, optimizer: each operation has the phase it ran in."""
    phases = [event["phase"] for event in run(NET, deep=2).find("op")]
    order = list(dict.fromkeys(phases))

    assert [phase for phase in order if phase in {"forward", "loss", "backward", "clip", "optimizer"}] == [
        "forward",
        "loss",
        "backward",
        "clip",
        "optimizer",
    ]


def test_random_operations_hold_the_generators_state(run):
    """Two draws in a step begin from two states, which other seeds change."""
    done, other = run(NET, deep=2), run(NET.replace("manual_seed(1)", "manual_seed(2)"), deep=2)
    draws = [[event["in"][-1] for event in item.find("op", random=1)] for item in (done, other)]

    assert len(draws[0]) == len(set(draws[0])) == 2
    assert not set(draws[0]) & set(draws[1])


def test_numbers_that_leave_and_enter_tensors_are_kept(run):
    """`item` has its value, and an operation the numbers that it is given."""
    done = run(NET, deep=2)
    values = [
        event["value"] for event in operations(done, "_local_scalar_dense") if event["phase"] != "optimizer"
    ]
    scalars = [number for event in operations(done, "mul") for number in event.get("scalars", ())]

    assert set(values) & set(scalars)


def test_running_statistics_are_among_what_batch_norm_writes(run):
    """Its schema does not say so."""
    done = run(NET, deep=2)
    (norm,) = operations(done, "native_batch_norm")
    watched = {event["out"] for event in done.find("seen", what="watched")}

    assert len(watched & set(norm["out"])) == 2


def test_views_are_marked_and_uninitialised_memory_is_left_out(run):
    """A slice shares memory; what `empty` holds is nobody's number."""
    source = NET.replace(
        "    optimizer.zero_grad()", "    torch.empty(5).fill_(1.0)\n    optimizer.zero_grad()"
    )
    done = run(source, deep=2)

    assert all(event.get("view") for event in operations(done, "slice"))
    assert not [event for event in done.find("op") if event["op"].startswith("empty")]
    assert len(operations(done, "fill_")) >= 1


def test_results_of_the_step_are_seen(run):
    """Loss, gradients, new values and buffers, to walk back from."""
    done = run(NET, deep=2)
    counts = {
        what: len(done.find("seen", what=what)) for what in ("loss", "gradients", "parameters", "watched")
    }
    made = {value for event in done.find("op") for value in event["out"]}

    assert counts == {"loss": 1, "gradients": 6, "parameters": 6, "watched": 3}
    assert all(event["out"] in made for event in done.find("seen", what="gradients"))
    assert all(event["out"] in made for event in done.find("seen", what="parameters"))


def test_sparse_gradients_do_not_end_the_pass(run):
    """An embedding with sparse gradients is looked at like any other layer."""
    source = """
        import torch
        table = torch.nn.Embedding(5, 2, sparse=True)
        optimizer = torch.optim.SGD(table.parameters(), lr=0.1)
        for number in range(2):
            table(torch.tensor([1, 2])).sum().backward()
            optimizer.step()
    """
    done = run(source, deep=2)

    assert done.returncode == 0, done.stderr
    assert operations(done, "embedding")


# edit -> operations of both sides, and the text of the line of the baseline
PLANTED = {
    "another activation": ("torch.relu(y)", "torch.tanh(y)", ["relu", "tanh"], "torch.relu"),
    "another number": ("x[:, :1] * scale", "x[:, :1] * (scale + 1)", ["mul", "mul"], "loss ="),
    "another column": ("x[:, :1] * scale", "x[:, 1:2] * scale", ["slice", "slice"], "loss ="),
    "another clip": ("net.parameters(), 0.5", "net.parameters(), 0.4", ["mul", "mul"], "clip_grad"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_edit_is_located(edit, name):
    """The operation that computes something else first, with the line of the project that runs it."""
    old, new, names, text = PLANTED[name]

    location = edit(old, new, step=1)

    assert [culprit and culprit.op for culprit in (location.expected, location.actual)] == names
    assert (location.expected.line.file, location.expected.line.line) == ("program.py", line_of(text))


def test_a_rewrite_without_another_number_has_no_culprit(edit):
    """The same operations from other lines, under other names."""
    location = edit("        y = torch.relu(y)\n", "        z = F.relu(y)\n        y = z\n", step=1)

    assert (location.expected, location.actual) == (None, None)


def test_a_draw_more_is_a_draw_from_another_state(edit):
    """What is drawn next begins where the baseline's does not."""
    location = edit("    scale =", "    torch.rand(1)\n    scale =", step=1)

    assert location.draws_elsewhere()
    assert [location.expected.op, location.expected.line.line] == ["bernoulli_", line_of("F.dropout")]


def test_another_order_of_a_sum_is_rounding(zoom):
    """The losses of both sides are a few ULPs apart."""
    wide = "(net(x) * torch.arange(1.0, 5000.0)).sin()"
    before = NET.replace("F.mse_loss(net(x), x[:, :1] * scale)", f"{wide}.sum()")
    after = before.replace(f"{wide}.sum()", f"{wide}.flip(1).sum()")
    assert after != before != NET

    location = zoom(before, after, step=1)

    assert location.size.is_rounding()


def test_edited_lines_that_ran_are_told(run):
    """Which of them, in which step and phase, and how many operations came before."""
    watched = [line_of("torch.relu"), line_of("lr=0.1"), line_of("def __init__")]
    done = run(NET, deep=2, edited={"program.py": [*watched, 1000], "other.py": [1]})
    (event,) = done.find("lines")
    rows = {row[1]: row for row in event["rows"]}

    assert {row[0] for row in event["rows"]} == {"program.py"}
    assert rows[line_of("lr=0.1")][2:5] == [0, 0, -1]
    assert rows[line_of("torch.relu")][2:4] == [0, 1]
    assert rows[line_of("torch.relu")][4] > 0


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_lines_that_run_in_workers_are_told_in_files(run, method, tmp_path):
    """A worker of a loader, however it is started, leaves a file beside the trace, and no trace of its own."""
    # As a guarded command's bootstrap does: each Python process that starts is armed.
    (tmp_path / "sitecustomize.py").write_text(
        f"import runpy; runpy.run_path({str(PRELOAD)!r}, run_name='p')"
    )
    source = """
        import torch
        from torch.utils.data import DataLoader
        class Data:
            def __len__(self):
                return 4
            def __getitem__(self, index):
                return torch.manual_seed(index) and torch.ones(2) * index
        if __name__ == "__main__":
            net = torch.nn.Linear(2, 1)
            optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
            for x in DataLoader(Data(), batch_size=2, num_workers=1, multiprocessing_context="START"):
                net(x).sum().backward()
                optimizer.step()
    """
    source = source.replace("START", method)
    done = run(source, deep=1, edited={"program.py": [8]}, env={"PYTHONPATH": str(tmp_path)})

    assert done.returncode == 0, done.stderr
    assert len(find_recording(done.folder).paths) == 1
    assert [path.read_text() for path in done.folder.glob("lines-*.txt")] == ['["program.py", 8]\n']


@pytest.mark.filterwarnings("ignore:.*quantized tensor creation functions")
def test_a_sample_of_a_quantized_tensor_is_its_whole_numbers():
    """It has no list of its values, and the pass must not end there."""
    tensor = torch.quantize_per_tensor(torch.arange(4.0), 0.5, 0, torch.qint8)

    assert sample(tensor)["values"] == [0, 2, 4, 6]
