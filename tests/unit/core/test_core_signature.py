"""What a dotted path takes, read from its source; what cannot be known is not judged."""

import inspect
import sys

import pytest

from trainkit.core.compose import compose
from trainkit.core.signature import Parameter, Signature, read_signature
from trainkit.errors import ConfigError

SOURCE = """
from dataclasses import dataclass, field
from typing import ClassVar, Optional, final
import functools
from .other import Far as Near
from .stars import *
raise RuntimeError("imported")

class Lit(Unknown):
    def __init__(self, width, *, rate: float = 0.1, deep: "bool | None" = None, many: list[int] = ()):
        pass

@final
class Child(Lit):
    pass

def make(a: int, b: Optional[str] = None, **more): ...

@functools.cache
def wrapped(a): ...

@dataclass
class Data:
    size: int
    name: str = "x"
    parts: list = field(default_factory=list)
    hidden: int = field(init=False)
    kind: "int | str" = 3

class Foreign(Unknown): ...
class Empty: ...
class Strange:
    __init__ = make
class Meta(metaclass=abc): ...
class New:
    def __new__(cls, a): ...
if make:
    def perhaps(a): ...
def twice(a): ...
twice = make(twice)
def positional(a, /): ...
"""
TAKES = {
    "Lit": ["width!", "rate:float", "deep:bool|NoneType", "many"],
    "Child": ["width!", "rate:float", "deep:bool|NoneType", "many"],
    "make": ["a!:int", "b:str|NoneType", "**"],
    "Data": ["size!:int", "name:str", "parts", "kind:int|str"],
    "Near": ["far!"],
    "starred": ["x"],
    "Empty": [],
} | dict.fromkeys(
    ["wrapped", "Foreign", "Strange", "Meta", "New", "perhaps", "twice", "positional", "absent"]
)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package whose import would fail."""
    folder = tmp_path / "unimported"
    folder.mkdir()
    (folder / "__init__.py").write_text("from .main import Lit\nfrom unimported.loop import loop\n")
    (folder / "main.py").write_text(SOURCE)
    (folder / "other.py").write_text("class Far:\n    def __init__(self, far): ...\n")
    (folder / "stars.py").write_text("def starred(x=1): ...\n")
    (folder / "loop.py").write_text("from unimported import loop\n")
    (folder / "broken.py").write_text("def (:\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "unimported"
    assert not [name for name in sys.modules if name.startswith("unimported")]


def show(signature):
    """Write a signature as in TAKES."""
    if signature is None:
        return None
    kinds = ["|".join(kind.__name__ for kind in each.kinds) for each in signature.parameters]
    shown = [
        each.name + "!" * each.required + (f":{kind}" if kind else "")
        for each, kind in zip(signature.parameters, kinds, strict=True)
    ]
    return shown + ["**"] * signature.takes_more


@pytest.mark.parametrize("name", TAKES)
def test_a_signature_is_read(package, name):
    """Functions, classes, dataclasses, through re-exports and bases; None where something is in the way."""
    assert show(read_signature(f"{package}.main.{name}")) == TAKES[name]


def test_a_path_that_leads_nowhere_is_not_judged(package):
    """No module, a circle, a syntax error, a compiled module, no dot."""
    paths = ["nowhere.X", f"{package}.loop", f"{package}.broken.x", f"{package}.main.Lit.x", "math.sin", "x"]

    assert [read_signature(path) for path in paths] == [None] * len(paths)
    assert show(read_signature(f"{package}:Lit")) == TAKES["Lit"]


@pytest.mark.parametrize(
    "path", ["json.dumps", "json.JSONEncoder", "shutil.copytree", "argparse.ArgumentParser"]
)
def test_it_is_what_python_says(path):
    """The names of the parameters of real code are those of inspect."""
    module, _, name = path.rpartition(".")
    known = inspect.signature(getattr(__import__(module), name)).parameters.values()
    named = tuple(
        Parameter(each.name, each.default is each.empty)
        for each in known
        if each.kind is not each.VAR_KEYWORD
    )

    assert read_signature(path) == Signature(named, any(each.kind is each.VAR_KEYWORD for each in known))


def test_keywords_are_held_against_it(package):
    """Unknown with the nearest, missing, another type: one line each; `**kwargs` takes any name."""
    base = ["model=import", f"model.target={package}.Lit", f"data.target={package}.main.make"]
    with pytest.raises(ConfigError) as caught:
        compose([*base, "model.kwargs.rat=1", "model.kwargs.deep=3", "data.kwargs={a: 1.5, other: 3}"])

    assert caught.value.lines() == [
        f"config-unknown-key: 'model.kwargs.rat' is no parameter of {package}.Lit; did you mean 'rate'?",
        f"config-type: model.kwargs.deep=3: expected true or false or null, as {package}.Lit is annotated",
        f"config-missing: {package}.Lit needs model.kwargs.width=…",
        f"config-type: data.kwargs.a=1.5: expected an integer, as {package}.main.make is annotated",
    ]
    compose([*base, "model.kwargs={width: 3, rate: 1, deep: null}", "data.kwargs={a: 1, other: 3}"])
