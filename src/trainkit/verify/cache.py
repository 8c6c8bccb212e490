"""Recordings of runs that are known to repeat, kept so that A/A costs once.

Keyed by everything that a run depends on: the tree, the command and what is set for it, the environment,
shared files, the recorder itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from trainkit import trace
from trainkit.repo.trees import Tree
from trainkit.trace.store import find_recording
from trainkit.verify.formats import Output
from trainkit.verify.options import RunOptions
from trainkit.verify.run import Run

_MOST_ENTRIES = 30
# Variables of a terminal, a login or a job, which differ from one to the next; a program may read any other.
_PASSING = re.compile(
    r"_|\w*PWD|SHLVL|TERM\w*|COLORTERM|COLUMNS|LINES|WINDOWID|DISPLAY|WAYLAND_\w+|XAUTHORITY|XDG_S\w+|XDG_RUNTIME_DIR"
    r"|SSH_\w+|TMUX\w*|STY|VTE_\w+|KONSOLE_\w+|ITERM_\w+|DBUS_\w+|INVOCATION_ID|JOURNAL_STREAM|SYSTEMD_\w+"
    r"|GPG_\w+|LS_COLORS|LESS\w*|PAGER|EDITOR|VISUAL|HIST\w+|PS\d|MAIL|VSCODE_\w+|GITHUB_\w+|RUNNER_\w+|CI_\w+"
    r"|BUILDKITE\w*|JENKINS_\w+|PYTEST_\w+|TOX_\w+|COV_\w+|COVERAGE_\w+|TRAINKIT_\w+"
)


def make_key(tree: Tree, options: RunOptions) -> str:
    """Give the name under which a run of `tree` is kept: of a revision as of the same files without one."""
    parts: dict[str, Any] = {
        "tree": _hash_files(tree.top),  # a project may import what stands beside it
        "folder": tree.path.relative_to(tree.top).as_posix(),
        "options": asdict(options),
        "shared": [_list_stamps(tree.origin / name) for name in options.share],
        "variables": {k: v for k, v in sorted(os.environ.items()) if not _PASSING.fullmatch(k)},
        "machine": [platform.python_version(), platform.machine(), _read_processor()],
        "packages": sorted(f"{found.name}=={found.version}" for found in metadata.distributions()),
        "recorder": [path.read_text() for path in _list_own_sources()],
    }
    return hashlib.blake2b(json.dumps(parts, default=str).encode(), digest_size=16).hexdigest()


def _hash_files(root: Path) -> str:
    """Hash the names, contents and executable bits of all files but git's own."""
    total = hashlib.blake2b(digest_size=16)
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name != ".git")
        links = {name for name in folders if Path(folder, name).is_symlink()}
        for path in (Path(folder, name) for name in sorted({*names, *links} - {".git"})):
            if path.is_symlink():
                kind, content = "link", os.fsencode(path.readlink())
            else:
                with path.open("rb") as file:
                    content = hashlib.file_digest(file, "blake2b").digest()
                kind = "program" if path.stat().st_mode & stat.S_IXUSR else "file"
            total.update(repr((path.relative_to(root).as_posix(), kind, content)).encode())
    return total.hexdigest()


def _list_own_sources() -> Iterator[Path]:
    """Give what decides what a kept run holds: the recorder, and what is kept of lines and files."""
    yield from sorted(Path(trace.__file__).parent.glob("*.py"))
    yield from (Path(__file__).with_name(f"{name}.py") for name in ("formats", "outputs", "printed", "run"))


def _list_stamps(root: Path) -> list[tuple[str, int, int]]:
    files: Iterable[Path] = sorted(root.rglob("*")) if root.is_dir() else [root]
    return [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files if path.is_file()]


def _read_processor() -> str:
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return "".join(
            sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
        )
    return platform.processor()


def _folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "trainkit" / "verify"


def load(key: str) -> Run | None:
    """Give the kept run, as one of a baseline, if there is one."""
    folder = _folder() / key
    with suppress(OSError, ValueError):
        stdout = (folder / "stdout.txt").read_text(encoding="utf-8")
        recording = find_recording(folder)
        if recording.paths:
            os.utime(folder)
            left = json.loads((folder / "outputs.json").read_text(encoding="utf-8"))
            outputs = {path: Output(*output) for path, output in left.items()}
            rest = json.loads((folder / "rest.json").read_text(encoding="utf-8"))
            return Run(
                side="baseline",
                recording=recording,
                stdout=stdout,
                outputs=outputs,
                noise=tuple(rest["noise"]),
                unsteady=tuple(rest["unsteady"]),
            )
    return None


def keep(key: str, run: Run) -> None:
    """Keep a run that repeats; the least recently used ones go. A disk that is full keeps nothing."""
    target = _folder() / key
    writing = target.with_name(f"{key}.{os.getpid()}")
    try:
        writing.mkdir(parents=True)
        for path in run.recording.paths:
            shutil.copy2(path, writing / path.name)
        (writing / "stdout.txt").write_text(run.stdout, encoding="utf-8")
        (writing / "outputs.json").write_text(json.dumps(run.outputs), encoding="utf-8")
        rest = {"noise": run.noise, "unsteady": run.unsteady}
        (writing / "rest.json").write_text(json.dumps(rest), encoding="utf-8")
        forget(key)
        writing.rename(target)
    except OSError:
        shutil.rmtree(writing, ignore_errors=True)
        return
    entries = sorted(_folder().iterdir(), key=lambda path: path.stat().st_mtime)
    for path in entries[:-_MOST_ENTRIES]:
        shutil.rmtree(path, ignore_errors=True)


def forget(key: str) -> None:
    """Drop a kept run, for instance because the baseline does not repeat it."""
    shutil.rmtree(_folder() / key, ignore_errors=True)
