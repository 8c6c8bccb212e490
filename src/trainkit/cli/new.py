"""`trainkit new`: a minimal project that uses the core, guarded from its first commit."""

from __future__ import annotations

import keyword
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from trainkit.cli.arguments import Parser, progress_printer
from trainkit.cli.train import check_arguments
from trainkit.errors import CannotJudgeError, UsageError
from trainkit.gate import judge
from trainkit.repo.git import find_toplevel, git
from trainkit.verdict import Status

_TEMPLATE = Path(__file__).parent / "project"
_STAND_IN = "myproject"
_RENAMED = {"gitignore": ".gitignore", "github": ".github"}  # here they would mean this folder
_FOLDERS = {"conf", "src", "tests"}  # of the project, which Python would find under that name


def run(argv: list[str]) -> int:
    """Write the project, record its golden, commit; say what to run.

    Raises:
        TrainkitError: the name cannot be used, the folder is taken, or the golden cannot be recorded.
    """
    parser = Parser("new", "Write a minimal project that uses the core, with tests, a golden and a workflow.")
    parser.add_argument("name", metavar="NAME", help="of the folder and of the package in it")
    parser.add_argument("--no-git", action="store_true", help="make no repository and no first commit")
    options = parser.parse_args(argv)
    name = options.name
    check_name(name)
    check_arguments("new", [], needs={"torch": "torch", "hydra": "hydra-core"})
    target = Path.cwd() / name
    if target.is_symlink() or (target.exists() and (not target.is_dir() or any(target.iterdir()))):
        raise UsageError(
            "new-folder-taken", f"{target} exists already; take another name, or an empty folder"
        )
    if not os.access(target.parent, os.W_OK):
        raise UsageError("output-not-writable", f"{target.parent} is no folder to write to")
    commits = not options.no_git and not _is_in_repository(target.parent)
    progress = progress_printer()
    with _build_beside(target) as project:
        write_project(project, name)
        git(project, "init", "--quiet", "--initial-branch=main")
        progress("training twice for the golden")
        record_golden(project)
        progress("")
        if commits:
            commit(project)
        else:
            shutil.rmtree(project / ".git")
    print(describe(name, committed=commits))
    return 0


def check_name(name: str) -> None:
    """Refuse what Python could not import, or would take for something else.

    Raises:
        UsageError: it says which.
    """
    if not name.isidentifier() or not name.isascii() or keyword.iskeyword(name):
        reason = "is no name of a Python package; take letters, digits and _"
    elif name in sys.stdlib_module_names or name == "trainkit":
        reason = "is the name of a module of Python or of trainkit"
    elif name in _FOLDERS:
        reason = "is the name of a folder in the project"
    elif (spec := find_spec(name)) is not None and spec.origin is not None:
        reason = f"is the name of a module that is there already: {spec.origin}"
    else:
        return
    raise UsageError("new-name", f"'{name}' {reason}")


def write_project(project: Path, name: str) -> None:
    """Write the files of the template under the name."""
    for source in sorted(_TEMPLATE.rglob("*")):
        if source.is_file() and source.suffix != ".pyc":
            parts = [_RENAMED.get(part, part) for part in source.relative_to(_TEMPLATE).parts]
            copy = project / "/".join(parts).replace(_STAND_IN, name)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(source.read_text("utf-8").replace(_STAND_IN, name), encoding="utf-8")


def record_golden(project: Path) -> None:
    """Train, see that it repeats, and store what it computes.

    Raises:
        CannotJudgeError: it broke, or differs from itself.
    """
    (verdict,) = judge(project, ["golden"], update=True).verdicts
    if verdict.status is not Status.PASSED:
        said = " | ".join(
            line for finding in verdict.findings for line in (finding.message, *finding.evidence)
        )
        raise CannotJudgeError("new-golden-failed", f"the golden was not recorded: {said or verdict.summary}")


def commit(project: Path) -> None:
    """Make the first commit, in the user's name where git knows it."""
    known = all(git(project, "config", f"user.{key}", good=(0, 1)) for key in ("name", "email"))
    identity = [] if known else ["-c", "user.name=trainkit", "-c", "user.email=trainkit@localhost"]
    git(project, "add", "--all")
    message = "A model, its data and what guards them"
    git(project, *identity, "-c", "commit.gpgsign=false", "commit", "--quiet", "--message", message)


def describe(name: str, *, committed: bool) -> str:
    """Say what is there, and what to run."""
    lines = [
        f"{name}/: a model, its data and configuration, tests, a golden and a workflow"
        + (", committed" if committed else ""),
        "",
        f"  cd {name}",
        "  python -m pip install --editable '.[test]'",
        "  trainkit train --config-dir conf     # change something, then:",
        "  python -m pytest",
        "  trainkit gate" + ("" if committed else "                        # after the first commit"),
    ]
    return "\n".join(lines)


def _is_in_repository(folder: Path) -> bool:
    try:
        find_toplevel(folder)
    except UsageError:
        return False
    return True


@contextmanager
def _build_beside(target: Path) -> Iterator[Path]:
    """Give a folder that becomes `target` at the end, and vanishes if anything goes wrong."""
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as scratch:
        project = Path(scratch) / target.name
        project.mkdir()
        yield project
        project.rename(target)  # an empty folder of that name gives way
