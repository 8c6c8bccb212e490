"""A function of a test file as a training command: verified against a revision."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainkit.errors import UsageError
from trainkit.repo.trees import open_trees
from trainkit.verify.options import RunOptions
from trainkit.verify.result import Verification
from trainkit.verify.verify import verify_trees


def make_command(root: Path, function: Callable[[], Any]) -> tuple[Path, list[str]]:
    """Give the function's file, relative to the project, and a command that calls it.

    Raises:
        UsageError: it is no function of a file in the project that can be called by name.
    """
    file = Path(function.__code__.co_filename)
    name = function.__qualname__
    if not file.is_relative_to(root) or not name.isidentifier():
        message = f"{name}: give a function without arguments that a file of the project defines at its top"
        raise UsageError("not-a-function", message)
    relative = file.relative_to(root)
    code = (
        f"import runpy, sys; sys.path.insert(0, {str(relative.parent)!r});"
        f" runpy.run_path({str(relative)!r})[{name!r}]()"
    )
    return relative, ["python", "-c", code]


def verify_function(root: Path, function: Callable[[], Any], *, base: str, **options: Any) -> Verification:
    """Call `function` with the sources of `base` and with those of the working tree, recorded.

    The file that defines it is the candidate's on both sides: what is compared is what it imports.

    Raises:
        UsageError: no such function or revision.
        CannotJudgeError: a side could not be run.
    """
    file, command = make_command(root, function)
    run = RunOptions(command=tuple(command), **options)
    with open_trees(root, base) as (candidate, baseline):
        assert baseline is not None
        target = baseline.path / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(candidate.path / file, target)
        # Not cached: the baseline is not the revision alone.
        result = verify_trees(baseline, candidate, run, use_cache=False)
        return replace(result, command=f"{shlex.quote(str(file))}::{function.__qualname__}")
