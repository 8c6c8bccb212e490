"""Traces written by hand, for the tests that judge them."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from trainkit.repo.trees import Tree
from trainkit.trace.record import FORMAT

ENVIRONMENT = {"probe": "p", "torch": "2", "python": "3"}


def pack(*words: str) -> str:
    """Join words to what a list of digests is in a trace: 16 characters each."""
    return "".join(word.ljust(16, "_") for word in words)


@dataclass
class Script:
    """One recorded process of two parameters and one buffer; tests change single entries of it."""

    parameters: list[list[str]]
    buffers: list[list[str]]
    optimizers: dict[int, list[int]]
    steps: list[dict[str, Any]]
    end: dict[str, Any] | None
    others: list[list[str]] = field(default_factory=list)
    facts: dict[str, dict[str, str]] = field(default_factory=dict)  # what -> rows
    modules: list[str] = field(default_factory=list)
    extra: list[dict[str, Any]] = field(default_factory=list)  # events before the first step

    def copy(self) -> Script:
        return copy.deepcopy(self)

    def lines(self) -> list[str]:
        """Give the lines of a trace, as the recorder writes them."""
        events: list[dict[str, Any]] = [
            {"event": "trace", "format": FORMAT, "digest": "by hand", "rank": 0},
            {"event": "init", "step": 0, "parameters": self.parameters, "buffers": self.buffers, "rng": {}},
            {"event": "modules", "names": self.modules},
        ]
        if self.others:
            events.append({"event": "init", "others": self.others, "buffers": []})
        for number, indices in self.optimizers.items():
            row = {"event": "optimizer", "optimizer": number, "parameters": indices}
            events.append(row | {"facts": {"class": "Adam"}})
        events += [{"event": "facts", "what": what, "rows": rows} for what, rows in self.facts.items()]
        events += [*self.extra, *self.steps]
        if self.end is not None:
            events.append(self.end | {"steps": len(self.steps)})
        return [json.dumps(event, separators=(",", ":")) for event in events]

    def events(self) -> Iterator[dict[str, Any]]:
        """Give the events anew: who compares them may change them."""
        return iter([json.loads(line) for line in self.lines()])


def _make_step(number: int) -> dict[str, Any]:
    step = {
        "event": "step",
        "step": number,
        "optimizer": 0,
        "calls": [["t", f"in{number}a", f"out{number}a"], ["t", f"in{number}b", f"out{number}b"]],
        "loaded": [2, f"l{number}"],
        "loss": [(1.5 / number).hex(), (2.5 / number).hex()],
        "outputs": pack(f"o{number}x", f"o{number}y"),
        "gradients": pack(f"g{number}w", f"g{number}b"),
        "parameters": pack(f"p{number}w", f"p{number}b"),
        "state": pack(f"s{number}w", f"s{number}b"),
        "buffers": pack(f"u{number}"),
        "rng": {"torch": f"r{number}", "python": "p0"},
    }
    once = {"called": [0, 1], "hyper": [["betas=(0.9, 0.99); lr=0.1"], [0, 0]]}
    return step | (once if number == 1 else {})


@pytest.fixture
def script() -> Script:
    """Three steps of a model, an evaluation and a save at the end."""
    return Script(
        parameters=[["head.weight", "float32[2,3]", "i0"], ["head.bias", "float32[2]", "i1"]],
        buffers=[["norm.mean", "float32[2]", "m0"]],
        optimizers={0: [0, 1]},
        steps=[_make_step(number) for number in (1, 2, 3)],
        modules=["body", "head"],
        end={
            "event": "end",
            "stopped": False,
            "calls": [["e", "in", "out"]],
            "saved": [[pack("c1", "c2"), "n"]],
            "values": pack("v0", "v1"),
            "others": "",
            "optimizers": [
                {
                    "optimizer": 0,
                    "hyper": [["betas=(0.9, 0.99); lr=0.1"], [0, 0]],
                    "parameters": "",
                    "state": "",
                }
            ],
            "buffers": pack("u3"),
            "rng": {"torch": "rz", "python": "p0"},
            "compiled": 0,
            "environment": dict(ENVIRONMENT),
        },
    )


@pytest.fixture(name="pack")
def _pack():
    """Give the function that joins words to a list of digests."""
    return pack


@pytest.fixture
def make_trees(tmp_path):
    """Make two trees from {name: text}, in new folders each time; the project may lie in a folder of its tree."""
    num_made = 0

    def make(baseline, candidate, inside="."):
        nonlocal num_made
        num_made += 1
        scratch = tmp_path / f"trees{num_made}"
        trees = []
        for side, files in (("baseline", baseline), ("candidate", candidate)):
            top = scratch / side
            (top / inside).mkdir(parents=True)
            for name, text in files.items():
                (top / name).parent.mkdir(parents=True, exist_ok=True)
                (top / name).write_text(text)
            trees.append(
                Tree(side=side, path=top / inside, origin=top, revision="", top=top, scratch=scratch)
            )
        return trees

    return make
