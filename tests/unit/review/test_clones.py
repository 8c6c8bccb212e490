"""Copies in any disguise are found, look-alikes are not; drift and shared runs are told line by line."""

import ast
import subprocess
import sys
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainkit.review import clones
from trainkit.review.bodies import read_bodies
from trainkit.review.clones import Copies, find_clones
from trainkit.review.findings import list_issues
from trainkit.review.runs import measure_share

_SPEC = spec_from_file_location("catalogue", Path(__file__).with_name("catalogue.py"))
catalogue = module_from_spec(_SPEC)
_SPEC.loader.exec_module(catalogue)

TRAIN = '''
import torch


def train_one(model, loader, opt, clip=1.0):
    """Train once."""
    model.train()
    total = 0.0
    for x, y in loader:
        opt.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y, label_smoothing=0.1)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        opt.step()
        total += loss.item() * len(x)
    return total / len(loader.dataset)
'''


def sources(**files):
    return [catalogue.make_source(f"{name}.py", code) for name, code in files.items()]


def only(**files):
    """The one class of functions that these files have."""
    (found,) = [each for each in find_clones(sources(**files)) if each.kind == "function"]
    return found


@pytest.mark.parametrize("part", ["seen", "held_out", "second"])
def test_the_catalogue_is_told_apart(part):
    """At least 92 % of the copies are issues, in each part, and no look-alike is taken for one."""
    copies, others = catalogue.judge_catalogue(part)

    assert sum(found for _, found in copies) >= 0.92 * len(copies), copies
    assert [what for what, found in others if found] == []


def test_the_catalogue_can_fail():
    """A base beside itself as a look-alike is an alarm: the judge sees what it should see."""
    base = next(catalogue.read_catalogue("seen"))[3]

    assert find_clones(sources(a=base, b=base))
    assert not find_clones(sources(a=base, b="x = 1\n"))


def test_no_piece_is_a_copy_of_another_task():
    """Over all bases of the catalogue together no class has members of two files."""
    bases = {
        name: base for part in ("seen", "held_out") for name, _, _, base, _ in catalogue.read_catalogue(part)
    }

    assert find_clones(sources(**bases)) == []


def test_equal_copies_are_safe_to_merge():
    """Other names, hints and docstrings: equal, one body, no drift, what would be saved, one fingerprint."""
    other = TRAIN.replace("loss", "err").replace("loader", "data: list").replace("data: list.", "data.")
    other = other.replace("in data: list:", "in data:").replace("total / len(data: list", "total / len(data")
    found = only(a=TRAIN, b=other, c=TRAIN.replace("Train once.", "Once over."))

    assert (found.grade, len(found.members), found.num_bodies, found.drift) == ("equal", 3, 1, ())
    assert found.signature == "train_one(model, loader, opt, clip)"
    assert found.num_lines_saved == 22
    assert found.fingerprint == only(z=other, y=TRAIN).fingerprint


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("smoothing=0.1", "smoothing=0.2", "c.py:11: 0.2 where a.py:11 has 0.1"),
        ("clip=1.0", "clip=5.0", "c.py:5: default 5.0 where train_one of a.py has 1.0"),
        ("        opt.step()\n", "", "c.py:5 train_one: nothing for step of a.py:14"),
        ("model(x), y,", "model(y), y,", "c.py:11: `y` where `x` stands for `x` of a.py"),
        ("        opt.step()\n", "        opt.step()\n        ema.update()\n", "c.py:15: update is not in"),
        ("loss.backward()", "loss.mean().backward()", "c.py:12: mean where a.py:12 has backward"),
    ],
)
def test_what_one_copy_alone_has_is_told(old, new, line):
    """Drift names the line of the odd copy and the line of a usual one."""
    found = only(a=TRAIN, b=TRAIN, c=TRAIN.replace(old, new))

    assert found.num_bodies == 2
    assert any(told.startswith(line) for told in found.drift), found.drift


def test_a_name_left_over_from_the_copied_function_is_told():
    """`envs` is a parameter here, and the module's variable there, where the parameter is called `env`."""
    code = """
from torch import nn
class {name}(nn.Module):
    def __init__(self, {env}):
        super().__init__()
        self.network = nn.Sequential(layer_init(nn.Conv2d(4, 32, 8, stride=4)), nn.ReLU(), nn.Flatten())
        self.actor = layer_init(nn.Linear(512, {env}.single_action_space.n), std=0.01)
        self.critic = layer_init(nn.Linear({env}.size, {used}.single_action_space.n), std=1)
"""
    agent = code.format(name="Agent", env="envs", used="envs")
    found = only(a=agent, b=agent, c=code.format(name="QNetwork", env="env", used="envs") + "envs = make()\n")

    assert found.drift == ("c.py:8: the module's `envs` where `env` stands for `envs` of a.py",)


def test_marked_copies_say_why():
    """A mark above the copy is the reason, upstream's own convention included; drift is still told."""
    marked = TRAIN.replace("def train_one", "# trainkit: copy because examples stand alone\ndef train_one")
    upstream = TRAIN.replace("def train_one", "# Copied from a.train_one\ndef train_one")

    assert only(a=TRAIN, b=marked).intended == "examples stand alone"
    assert only(a=TRAIN, b=upstream).intended == "Copied from a.train_one"
    assert only(a=TRAIN, b=TRAIN).intended == ""
    assert only(a=TRAIN, b=TRAIN, c=marked).intended == ""
    assert only(a=TRAIN, b=marked.replace("0.1", "0.3")).drift


def test_small_bodies_are_copies_only_with_the_same_names():
    """Four lines that say little are a copy when nothing differs, and nothing when names do."""
    small = "class A:\n    def forward(self, x):\n        x = self.one(x)\n        x = self.two(x)\n        return x\n"

    assert only(a=small, b=small).grade == "equal"
    assert find_clones(sources(a=small, b=small.replace("one", "conv"))) == []


LINES = "".join(f'    part{n} = build("part {n}", size=width + {n})\n' for n in range(12))
LONG = "def main(width):\n    prepare()\n" + "".join(f"    box.print{n}({n})\n" for n in range(30))


def test_runs_inside_long_functions():
    """A run has the head of the function that would replace it, and each line counts once."""
    first = LONG + LINES + "    return part3, part7\n"
    second = LONG.replace("main", "other").replace("print", "log") + LINES + "    use(part2)\n"
    (found,) = find_clones(
        sources(a=first, b=second, c=second.replace("log", "tell").replace("other", "third"))
    )

    assert (found.kind, found.num_bodies, found.num_lines_saved) == ("run", 1, 24)
    assert found.signature == "run(build, width) -> part3, part7"
    assert [(place.name, place.end - place.line + 1) for place in found.members] == [
        ("main", 12),
        ("other", 12),
        ("third", 12),
    ]
    assert measure_share([body for each in sources(a=first, b=second) for body in read_bodies(each)])[0] == 24


def test_the_head_of_a_function_keeps_its_stars():
    """What takes any arguments is proposed so."""
    code = TRAIN.replace("clip=1.0)", "clip=1.0, *rest, **more)")

    assert only(a=code, b=code).signature == "train_one(model, loader, opt, clip, *rest, **more)"


def test_a_lambdas_own_names_are_no_parameters_of_a_run():
    """What a lambda takes is not read from before, and not given back where a local of that name is read later."""
    lines = LINES.replace("size=width + 3", "size=lambda item: item + width")
    first = LONG + lines + "    return part3, item\n"
    second = LONG.replace("print", "log") + lines + "    use(item)\n"
    (found,) = find_clones(sources(a=first, b=second))

    assert found.signature == "run(build, width) -> part3"


def test_a_copied_function_inside_a_function_is_told_once():
    """It is no run of the function around it besides; what stands beside it is."""
    inner = "    def make(width):\n" + "".join(f"    {line}\n" for line in LINES.splitlines())
    alone = {"a": LONG + inner, "b": LONG.replace("print", "log") + inner}
    beside = {key: text + LINES.replace("part", "piece") for key, text in alone.items()}

    assert [each.kind for each in find_clones(sources(**alone))] == ["function"]
    assert sorted(each.kind for each in find_clones(sources(**beside))) == ["function", "run"]


def test_runs_of_assignments_say_nothing():
    """Fields set one after another, in whatever class, are no run."""
    fields = "class {name}:\n    def __init__(self, a):\n" + "".join(
        f"        self.{{name}}{n} = a\n" for n in range(40)
    )

    assert find_clones(sources(a=fields.format(name="A"), b=fields.format(name="B"))) == []


def test_facts_do_not_depend_on_the_process():
    """Keys are the same under another hash seed, so that a cache can be shared."""
    program = (
        "import ast, sys; from trainkit.review.clones import extract; code = sys.stdin.read();"
        "print(extract(ast.parse(code), code.encode()))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", program], input=TRAIN, env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip

    assert len(said) == 1


ODD = """
async def work(queue, *rest, flag=None, **more):
    global total
    import math as m
    match queue:
        case [first, *others] if first: yield first
        case {"a": one}: pass
    async with queue.lock as held, other(): await held.go()
    async for item in queue: yield item
    try: total = 1
    except* (ValueError, TypeError) as error: raise RuntimeError(f"{error!r:>{10}}") from error
    else: del rest[0]
    finally: assert flag, "no"
    table = {**more, "k": [*rest], "s": {x for x in rest}, "d": {k: v for k, v in more.items() if v}}
    picked = rest[0] if flag else (lambda a, *b: a + 1)(2)
    while (n := next(rest)) and not n < m.pi <= 3: continue
    a, b = b, a = dict(x=1), "%s and %d" % (n, -1)
    def inner(): return inner
    class Local(Base):
        def run(self): return self.run() @ -self.x
    self.x: int
    self.y: int = ~a[1:2, ...]
    print("done", sep="")
    return None
"""


def test_every_construct_has_a_place():
    """Whatever Python 3.11 can say is read, and is equal to itself."""
    facts = clones.extract(ast.parse(ODD), ODD.encode())

    assert {unit[0] for unit in facts["units"]} >= {"work", "work.inner", "work.Local.run"}
    assert only(a=ODD, b=ODD).grade == "equal"


@given(st.permutations(["alpha", "beta", "gamma", "delta"]), st.integers(2, 99))
def test_renaming_and_numbers_never_hide_a_copy(names, number):
    """Any consistent renaming gives the same keys; another number gives them too, and is told."""
    code = TRAIN
    for old, new in zip(["model", "loader", "opt", "total"], names, strict=True):
        code = code.replace(f"{old}.", f"{new}.").replace(f"{old},", f"{new},").replace(f"{old}(", f"{new}(")
        code = code.replace(f"{old} ", f"{new} ").replace(f"in {old}:", f"in {new}:")
    found = only(a=TRAIN, b=code.replace("0.1", f"0.5{number}1"))

    assert found.grade == "equal"
    assert len(found.drift) == 1


METER = """
class Meter:
    def __init__(self, name, window):
        self.name = name
        self.window = window
        self.reset()

    def reset(self):
        self.total = 0
        self.count = 0
        self.recent = []

    def update(self, value, count=1):
        self.total += value * count
        self.count += count
        self.recent.append(value)
        self.recent = self.recent[-self.window:]
"""


def test_the_methods_of_a_copied_class_are_one_class():
    """Each of them is short; together they are what was copied, and the page says which they are."""
    (found,) = find_clones(sources(a=METER, b="import os\n\n" + METER))

    assert (found.kind, found.grade, found.num_bodies) == ("class", "equal", 1)
    assert [(place.path, place.name) for place in found.members] == [("a.py", "Meter"), ("b.py", "Meter")]
    assert (found.members[0].line, found.members[1].line - found.members[0].line) == (3, 2)
    assert found.num_lines_saved >= 6
    assert found.fingerprint == "140dec5c7efe3630"  # in every process: an issue keeps its id
    (issue,) = list_issues(clones=[found], namesakes=[], cycles=[], units=[], habits=[])
    assert issue.title == "class Meter: 2 copies, all equal"
    assert "a base of both with __init__(), reset(), update()" in issue.proposal


def test_classes_that_share_some_methods_are_no_equal_classes():
    """The title says how many methods, and the proposal that the rest differs."""
    others = ("a + b", "print(a)")
    codes = [f"{METER}\n    def show(self, a, b):\n        return {other}\n" for other in others]
    (found,) = find_clones(sources(a=codes[0], b=codes[1]))
    (issue,) = list_issues(clones=[found], namesakes=[], cycles=[], units=[], habits=[])

    assert issue.title == "3 methods of Meter: 2 copies, all equal"
    assert "the rest of them differs" in issue.proposal


def test_methods_of_one_class_that_resemble_each_other_are_not_mixed():
    """Copied side by side, they are two pairs, not one class of four."""
    body = """
class Average:
    def update(self, model):
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and name in self.shadow:
                self.shadow[name] = self.decay * self.shadow[name] + (1 - self.decay) * parameter.data
                self.backup[name] = parameter.data.clone().detach().cpu()

    def apply(self, model):
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and name in self.shadow:
                parameter.data.copy_(self.shadow[name])
                self.backup[name] = parameter.data.clone().detach().cpu()
"""
    (found,) = find_clones(sources(a=body, b=body))

    assert (found.kind, len(found.members), found.signature) == ("class", 2, "update(), apply()")


def test_statements_in_another_order_are_told_as_such():
    """What only stands elsewhere is neither missing nor another variable."""
    old = """
def report(scores, labels):
    hit = (scores.ge(0.5) & labels.bool()).sum().item()
    miss = (scores.lt(0.5) & labels.bool()).sum().item()
    alarm = (scores.ge(0.5) & ~labels.bool()).sum().item()
    precision = hit / max(hit + alarm, 1)
    recall = hit / max(hit + miss, 1)
    harmonic = 2 * precision * recall / max(precision + recall, 1e-9)
    return {"precision": precision, "recall": recall, "f1": harmonic, "missed": miss}
"""
    lines = old.splitlines()
    new = "\n".join([*lines[:2], lines[4], lines[2], lines[3], lines[6], lines[5], *lines[7:], ""])
    (line,) = only(a=old, b=new).drift

    assert line.startswith("b.py:3") and line.endswith("in another order than in report of a.py")
    left_over = new.replace("hit + miss", "hit + alarm")
    assert any("`alarm` where `miss` stands" in line for line in only(a=old, b=left_over).drift)


def test_a_function_of_a_library_is_no_helper_of_the_file():
    """`json.load` is not the `load` that the file defines: nothing is inlined for it."""
    code = """
import json


def load(module, state, strict):
    missing, unexpected = [], []
    metadata = getattr(state, "_metadata", None)
    module._load_from_state_dict(state, "", metadata, strict, missing, unexpected, [])
    return missing, unexpected


def read_settings(path):
    with open(path) as file:
        return json.load(file)


def restore(module, state, strict):
    return load(module, state, strict)
"""
    calls = {body.name: body.calls for body in read_bodies(sources(a=code)[0])}

    assert {name: its for name, its in calls.items() if its} == {"restore": ("load",)}


def test_a_run_in_a_function_of_twenty_lines():
    """Half of a short `main()` is a run worth a function; the same main of fewer lines is left alone."""
    run = [f"    frame = frame.step_{number}(columns, limit_{number}=3)" for number in range(9)]

    def make(first, last, lines):
        more = [
            f"    {last}_{number} = {last}.{last}_{number}(frame)" for number in range(lines - len(run) - 2)
        ]
        return "\n".join(["def main(frame, columns):", f"    {first} = open({first!r})", *run, *more, ""])

    found = find_clones(sources(a=make("old", "net", 20), b=make("new", "tree", 24)))
    short = find_clones(sources(a=make("old", "net", 17), b=make("new", "tree", 19)))

    assert [each.kind for each in found] == ["run"]
    assert [each.kind for each in short if each.kind == "run"] == []


def test_long_methods_of_a_copied_class_are_told_once():
    """What is in the class is no run besides."""
    lines = [f"        data = data.step_{number}(self.size, limit_{number}=3)" for number in range(24)]
    methods = [
        f"    def {name}(self, data):\n" + "\n".join(lines).replace("step", name)
        for name in ("first", "last")
    ]
    code = "class Pipeline:\n" + "\n\n".join(methods) + "\n"

    assert [each.kind for each in find_clones(sources(a=code, b="import os\n" + code))] == ["class"]


def test_functions_inside_a_function_are_no_class():
    """Two helpers inside two unlike `main()` are two functions, whoever owns them."""
    other = (
        TRAIN.replace("train_one", "train_two")
        .replace("cross_entropy", "huber_loss")
        .replace("clip_grad_norm_", "nudge")
    )
    other = other.replace("opt.zero_grad()", "opt.arrange(model)").replace(
        "loss.item()", "float(loss.detach())"
    )
    helpers = [line for line in (TRAIN + other).splitlines() if line != "import torch"]

    def make(word):
        more = [f"    {word}_{number} = open('{word}').{word}_part_{number}()" for number in range(40)]
        return "\n".join(["import torch", "def main():", *("    " + line for line in helpers), *more])

    found = find_clones(sources(a=make("old"), b=make("new")))

    assert [each.kind for each in found if each.kind != "run"] == ["function", "function"]


def test_one_long_line_hides_no_copy():
    """Sixteen statements of which the two longest differ."""
    pairs = [
        (base, code) for name, _, _, base, code in catalogue.read_catalogue("second") if name == "drifted 3"
    ]
    ((base, code),) = pairs

    assert "near" in {each.grade for each in find_clones(sources(a=base, b=code))}


def test_lines_are_repeated_by_what_is_a_copy_not_by_what_resembles_it():
    """The copies beyond the first of each class."""
    found = Copies(sources(a=TRAIN, b=TRAIN, c=TRAIN))

    assert found.count_repeated_lines() == sum(each.num_lines_saved for each in found.classes) > 0
    found.classes = [replace(each, grade="related") for each in found.classes]
    assert found.count_repeated_lines() == 0
