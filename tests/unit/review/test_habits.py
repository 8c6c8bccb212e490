"""Each rule sees what was planted, and says nothing of what looks like it."""

import ast
import textwrap

import pytest

from trainkit.review.graph import Graph
from trainkit.review.habits import extract
from trainkit.review.habits.across import find_across
from trainkit.review.habits.scopes import read_file

LOOP = """
import torch
def train(model, optimizer, loader):
    for x, y in loader:
        {}
"""
EVALUATION = """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self):
        self.drop = nn.Dropout()
{}
def test(model, test_loader):
    {}
    for x, y in test_loader:
        out = model(x)
def main():
    {}
    test(model, loader)
"""
EPOCHS = """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self):
        self.drop = nn.Dropout()
def learn(model):
    {}
    model(x).backward()
def test(model):
    model.eval()
    return model(x)
def main():
    for epoch in range(3):
        learn(model)
        {}
"""
SAVE = """
import torch
def train(model, optimizer, scheduler):
    loss.backward()
    optimizer.step()
    {}
"""
FULL = '{"model": model.state_dict(), "optimizer": optimizer.state_dict(), "rng": torch.get_rng_state()'

# rule, planted, the line that it names, look-alikes
CASES = [
    (
        "habit-zero-grad-missing",
        LOOP.format("loss(model(x), y).backward(); optimizer.step()"),
        5,
        [
            LOOP.format("optimizer.zero_grad(); loss(model(x), y).backward(); optimizer.step()"),
            LOOP.format("update(optimizer, loss(x)); loss(x).backward(); optimizer.step()")
            + "\ndef update(optimizer, loss):\n    optimizer.zero_grad()\n",
            LOOP.format("loss(x).backward(); optimizer.step(); w.grad = None"),
            LOOP.format("self.clear_gradients(); loss(x).backward(); optimizer.step()"),
            LOOP.format("helpers.clear(optimizer); loss(x).backward(); optimizer.step()"),
            LOOP.format("loss(x).backward(); scheduler.step()"),
            LOOP.format("optimizer = SGD([x]); loss(x).backward(); optimizer.step()"),
            LOOP.format("dist_autograd.backward(c, [loss]); optimizer.step(c)"),
            LOOP.format("loss(x).backward()") + "    optimizer.step()\n",
        ],
    ),
    (
        "habit-zero-grad-order",
        LOOP.format("loss(model(x), y).backward(); optimizer.zero_grad(); optimizer.step()"),
        5,
        [
            LOOP.format("loss(model(x), y).backward(); optimizer.step(); optimizer.zero_grad()"),
            LOOP.format("d_loss(x).backward(); g_opt.zero_grad(); d_opt.step()"),
            LOOP.format("loss(x).backward(); optimizer.zero_grad(); loss(y).backward(); optimizer.step()"),
        ],
    ),
    (
        "habit-step-error-swallowed",
        LOOP.format("""
        try:
            loss(x).backward(); optimizer.step(); optimizer.zero_grad()
        except Exception as error:
            print(error)"""),
        6,
        [
            LOOP.format("""
        try:
            loss(x).backward(); optimizer.step(); optimizer.zero_grad()
        except Exception:
            save(); raise"""),
            LOOP.format("""
        try:
            loss(x).backward(); optimizer.step(); optimizer.zero_grad()
        except torch.OutOfMemoryError:
            skip()"""),
            LOOP.format("""
        try:
            log(x)
        except Exception:
            pass"""),
            LOOP.format("""
        try:
            loss(x).backward(); times.append(now())
        except Exception:
            times.append(None)"""),
        ],
    ),
    (
        "habit-train-mode-lost",
        LOOP.format("out = model(x); out.backward(); optimizer.step(); optimizer.zero_grad(); model.eval(); test(model)"),
        5,
        [
            LOOP.format("model.train(); out = model(x); out.backward(); model.eval(); test(model)"),
            LOOP.format("out = model(x); out.backward(); teacher.eval()"),
            LOOP.format("out = model(x); out.backward()") + "    model.eval()\n",
        ],
    ),
    (
        "habit-eval-mode-missing",
        EVALUATION.format("", "pass", "pass"),
        10,
        [
            EVALUATION.format("", "model.eval()", "pass"),
            EVALUATION.format("", "pass", "model.eval()"),
            EVALUATION.format("", "pass", "pass").replace("test(model, loader)", "pass"),
            EVALUATION.format("", "pass", "pass").replace("Dropout", "Linear"),
            EVALUATION.format("", "pass", "pass").replace("test_loader", "train_loader"),
            EVALUATION.format("", "model.train(False)", "pass"),
            EVALUATION.format("", "model.train(mode)", "pass"),
        ],
    ),
    (  # a function of that name switches nothing, nor does the mode of training
        "habit-eval-mode-missing",
        EVALUATION.format("", "model.train(True)", "train(epoch)"),
        10,
        [EVALUATION.format("", "model.eval()", "train(epoch)")],
    ),
    (
        "habit-train-mode-lost",
        EPOCHS.format("", "test(model)"),
        16,
        [
            EPOCHS.format("model.train()", "test(model)"),
            EPOCHS.format("", "test(model); model.train()"),
            EPOCHS.format("", "log()"),
            EPOCHS.format("", "helpers.set_train(model); test(model)"),
            EPOCHS.format("", "model = Net(); test(model)"),
            EPOCHS.format("", "test(model)").replace("Dropout", "Linear"),
            EPOCHS.format("", "test(model)").replace("return model(x)", "return model(x).backward()"),
            EPOCHS.format("", "test(model)").replace("    learn(model)\n", ""),
            EPOCHS.format("", "test(model)").replace("model.eval()", "model.eval(); model.train(was)"),
        ],
    ),
    (
        "habit-no-grad-missing",
        EVALUATION.format("", "model.eval()", "pass"),
        10,
        [
            EVALUATION.format("@torch.no_grad()", "model.eval()", "pass"),
            EVALUATION.format("", "model.eval(); torch.set_grad_enabled(False)", "pass"),
            EVALUATION.format("", "model.eval()", "torch.inference_mode()"),
        ],
    ),
    (
        "habit-seed-late",
        "import torch\nmodel = Net(3).to(device)\ntorch.manual_seed(1)\nfor x in y:\n    optimizer.step()\n",
        2,
        [
            "import torch\ntorch.manual_seed(1)\nmodel = Net(3)\ntorch.manual_seed(2)\noptimizer.step()\n",
            "import torch\nmodel = Net(3)\ntorch.manual_seed(1)\nmodel.load_state_dict(torch.load(path))\n",
            "import torch\nmodel = Net.from_pretrained(name)\ntorch.manual_seed(1)\noptimizer.step()\n",
            "import torch\ngenerator = torch.Generator(device)\ntorch.manual_seed(1)\noptimizer.step()\n",
        ],
    ),
    (
        "habit-checkpoint-incomplete",
        SAVE.format(f"scheduler.step(); torch.save({FULL}}}, path)"),
        6,
        [
            SAVE.format(f'scheduler.step(); torch.save({FULL}, "sched": scheduler.state_dict()}}, path)'),
            SAVE.format(f"torch.save({FULL}}}, path)"),
            SAVE.format("torch.save(model.state_dict(), path)"),
            SAVE.format(f'scheduler.step(); state = {FULL}}}; state["scheduler"] = scheduler.state_dict(); torch.save(state, path)'),
        ],
    ),
    (
        "habit-statistics-before-split",
        "from sklearn import x\nscaler = StandardScaler()\nX = scaler.fit_transform(X)\na, b = train_test_split(X, y)\n",
        3,
        [
            "from sklearn import x\na, b = train_test_split(X, y)\nscaler = StandardScaler()\na = scaler.fit_transform(a)\n",
            "from sklearn import x\nscaler = StandardScaler()\nz = scaler.fit_transform(other)\na, b = train_test_split(X, y)\n",
            "from sklearn import x\ny = LabelEncoder().fit_transform(y)\na, b = train_test_split(X, y)\n",
            "from sklearn import x\nmodel.fit(X)\na, b = train_test_split(X, y)\n",
            "from sklearn import x\nX_train = StandardScaler().fit_transform(X_train)\nc = train_test_split(X_train)\n",
        ],
    ),
    (
        "habit-statistics-before-split",
        "import torch\nx = (data - data.mean()) / data.std()\ntrain = x[:80]\n",
        2,
        [
            "import torch\ntrain = data[:80]\nx = (train - train.mean()) / train.std()\n",
            "import torch\nx = (data - data.mean()) / data.std()\nhead = x[:5]\n",
            "import torch\nx = (data - other.mean()) / data.std()\ntrain = x[:80]\n",
        ],
    ),
    (
        "habit-statistics-of-test",
        "from sklearn import x\ns = StandardScaler()\na = s.fit_transform(x_train)\nb = s.fit_transform(x_test)\n",
        4,
        ["from sklearn import x\ns = StandardScaler()\na = s.fit_transform(x_train)\nb = s.transform(x_test)\n"],
    ),
    (
        "habit-series-shuffled",
        'from sklearn import x\ndf = df.sort_values("date")\na, b = train_test_split(df)\n',
        3,
        [
            'from sklearn import x\ndf = df.sort_values("date")\na, b = train_test_split(df, shuffle=False)\n',
            'from sklearn import x\ndf = df.sort_values("price")\na, b = train_test_split(df)\n',
            "from sklearn import x\na, b = train_test_split(df)\n",
        ],
    ),
    (
        "habit-series-shuffled",
        "from sklearn import x\nX = create_windows(s)\na, b = train_test_split(X, shuffle=True)\n",
        3,
        ["from sklearn import x\nX = create_windows(s)\na, b = train_test_split(Z, shuffle=True)\n"],
    ),
]  # fmt: skip


def judge(text):
    source = textwrap.dedent(text).encode()
    return [(rule, line) for rule, _, line, *_ in extract(ast.parse(source), source)["found"]]


@pytest.mark.parametrize(("rule", "planted", "line", "alikes"), CASES, ids=[case[0] for case in CASES])
def test_a_rule_sees_the_fault_and_not_what_looks_like_it(rule, planted, line, alikes):
    """The planted line is named; each look-alike is silent."""
    assert (rule, line) in judge(planted)

    assert [alike for alike in alikes if rule in dict(judge(alike))] == []


@pytest.mark.parametrize(
    ("over", "found"),
    [
        *((name, True) for name in ("val_loader", "validation_data", "val_set", "test_batches", "valid_iter",
                                    "self.valid_dl", "loaders['val']", "enumerate(dev_dataset)", "testset")),
        *((name, False) for name in ("train_data", "latest_batches", "data", "contest_set", "value_set",
                                     "loaders['train']")),
    ],
)  # fmt: skip
def test_data_that_is_evaluated_on_is_known_by_its_name(over, found):
    """Of the parts of the data, however they are called."""
    text = EVALUATION.format("", "pass", "pass").replace("in test_loader", f"in {over}")

    assert [rule for rule, _ in judge(text)] == ["habit-eval-mode-missing", "habit-no-grad-missing"] * found


def test_a_plain_file_is_not_searched():
    """Nothing is found where no word of training stands."""
    assert judge("def f():\n    for x in y:\n        x.backward_step()\n") == []


SCRIPT = "import argparse, torch\nif __name__ == '__main__':\n    optimizer = torch.optim.SGD(p, lr=0.3)\n    optimizer.step()\n"


def test_rules_of_several_files(read_tree):
    """Constants in three scripts, settings that one script reads, a dead handler, settings that bring torch."""
    files = {f"train_{name}.py": SCRIPT for name in "abc"}
    files["train_a.py"] = "import config\n" + SCRIPT
    files["config.py"] = "import helper\nRATE = 3\n"
    files["helper.py"] = "import torch\ndef handle_sigterm(signum, frame):\n    pass\n"
    sources = read_tree(files)

    found = {(path, habit.rule) for path, habit in find_across(sources, Graph(sources))}

    assert found == {
        ("train_a.py", "habit-hard-coded"),
        ("train_b.py", "habit-hard-coded"),
        ("train_c.py", "habit-hard-coded"),
        ("config.py", "habit-config-unused"),
        ("config.py", "habit-heavy-config"),
        ("helper.py", "habit-helper-unused"),
    }


def test_each_heavy_library_of_the_settings_is_told(read_tree):
    """One that comes first is not the only one; by the shortest way."""
    files = {"config.py": "import helper\nimport torch\n", "helper.py": "import torch, pandas\n"}
    sources = read_tree(files)

    assert {habit.subject: habit.evidence for _, habit in find_across(sources, Graph(sources))} == {
        "torch": ("config.py:2 imports torch",),
        "pandas": ("config.py:1 imports helper.py", "helper.py:1 imports pandas"),
    }


def test_several_files_without_these_habits(read_tree):
    """Two scripts are no habit, settings of all are fine, a handler in use is, and torch may come late."""
    files = {f"train_{name}.py": "import config\n" + SCRIPT for name in "ab"}
    files["config.py"] = "def f():\n    import torch\n"
    files["helper.py"] = (
        "import signal\ndef handle_sigterm(signum, frame):\n    pass\nsignal.signal(1, handle_sigterm)\n"
    )
    sources = read_tree(files)

    assert list(find_across(sources, Graph(sources))) == []


def test_words_of_signals_and_launchers_are_whole_and_as_written():
    """In whatever case, from their first letter on; what only looks alike in the middle is counted as it is."""
    source = b"def on_SIGTERM(): pass\nLaunch = re_spawned2\nx = launch_launch(ddp)\n"

    assert extract(ast.parse(source), source)["names"] == {
        "on_SIGTERM": 1,
        "Launch": 1,
        "re_spawned2": 1,
        "launch_launch": 1,
        "ddp": 1,
    }


def test_calls_are_noted_wherever_they_stand():
    """In chains, arguments, keywords, indices and comprehensions."""
    (scope,) = read_file(ast.parse("a(b()).c[d()].e(*f(), g=[h() for i in j()])\n"), b"").scopes

    assert sorted(call.name for call in scope.calls) == ["a", "a.c.e", "b", "d", "f", "h", "j"]
    assert [(call.receiver, call.last) for call in scope.calls if call.last == "e"] == [("a.c", "e")]
