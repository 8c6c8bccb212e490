"""The fingerprint of the environment that guarded programs run in."""

from __future__ import annotations

import json
import os
from pathlib import Path

from trainkit.errors import CannotJudgeError
from trainkit.repo.process import run_in_tree
from trainkit.repo.trees import Tree

# Training runs are comparable when these agree; the other entries are for the reader.
DECISIVE = ("probe", "torch", "python")
# Variables that choose the interpreter, the libraries or their kernels.
_INFLUENTIAL = (
    "ATEN",
    "CU",
    "DNNL",
    "LD_",
    "MKL",
    "OMP",
    "ONEDNN",
    "OPENBLAS",
    "PATH",
    "PYTHON",
    "PYTORCH",
    "TORCH",
)
_taken: dict[frozenset[tuple[str, str]], dict[str, str]] = {}  # a probe costs seconds


def take_fingerprint(tree: Tree, *, timeout_s: float = 120.0) -> dict[str, str]:
    """Run the probe as guarded programs of `tree` are run; once per process and environment.

    Raises:
        CannotJudgeError: the probe failed, for instance because torch is not installed.
    """
    key = frozenset(item for item in os.environ.items() if item[0].startswith(_INFLUENTIAL))
    if key in _taken:
        return _taken[key]
    command = ["python", str(Path(__file__).with_name("probe.py"))]
    done = run_in_tree(tree, command, timeout_s=timeout_s, prove=False)
    if done.returncode:
        message = "the probe of this environment failed; is torch installed here?"
        raise CannotJudgeError("probe-failed", message, evidence=done.last_words())
    _taken[key] = json.loads(done.stdout.splitlines()[-1])
    return _taken[key]


def list_differences(expected: dict[str, str], actual: dict[str, str]) -> list[str]:
    """Name what makes two environments incomparable; an empty list means that they are comparable."""
    return [
        f"{key} {expected.get(key)} here {actual.get(key)}"
        for key in DECISIVE
        if expected.get(key) != actual.get(key)
    ]
