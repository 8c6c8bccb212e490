"""The Python files of a project, or of a revision of it, each with what the extractors took from it.

An extractor is a module with `extract(tree, source) -> values` that `marshal` can write. What it gave is
kept by git's id of the content (`cache.py`): what is unchanged is parsed once, whichever revision or project
it is in.
"""

from __future__ import annotations

import ast
import gc
import hashlib
import importlib
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from trainkit.errors import TrainkitError, UsageError
from trainkit.repo.git import git, list_files, read_blobs, resolve_commit
from trainkit.review.cache import open_caches

_MANY = 64  # files from which on a second process pays
_CHUNK = 16
_SKIPPED = {"__pycache__", "node_modules"}

Extract = Callable[[Sequence[tuple[str, str, bytes]]], list[tuple[str, Any]]]


@dataclass(frozen=True)
class Source:
    """One file: its path from the root, git's id of its content, and the facts by extractor.

    `error` says why it could not be read as Python: then there are no facts, and nothing may call it clean.
    """

    path: str
    blob: str
    facts: Mapping[str, Any]
    error: str = ""


def find_unreadable(sources: Iterable[Source], old: Iterable[Source]) -> Iterator[tuple[Source, bool]]:
    """Give what could not be read, and whether it could not be read at the baseline either."""
    known = {mark for source in old if source.error for mark in (source.path, source.blob)}
    for source in sources:
        if source.error:
            yield source, bool(known & {source.path, source.blob})


def read_sources(
    root: Path,
    extractors: Sequence[str],
    *,
    paths: Sequence[str] = (),
    revision: str = "",
    progress: Callable[[str], None] = lambda _: None,
) -> list[Source]:
    """Read the Python files below `root`, or those of them that `paths` (files or folders) name, by path.

    `extractors` are names of modules beside this one. In a git repository the files are those that git tracks
    or does not ignore; elsewhere all that lie in no hidden folder and no environment. `revision` reads a
    commit instead of the disk.

    Raises:
        UsageError: one of `paths` does not exist, or there is no such revision.
    """
    if not revision:
        return read_files(root, _list_disk(root, paths, ".py"), extractors, progress=progress)
    blobs = _list_revision(root, paths, revision, ".py")
    return _read(blobs, partial(read_blobs, root), extractors, progress)


def read_files(
    root: Path,
    files: Iterable[str],
    extractors: Sequence[str],
    *,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Source]:
    """Read these files, named from `root`; one that cannot be opened is a source with an error."""
    blobs: dict[str, str] = {}
    contents: dict[str, bytes] = {}
    closed: list[Source] = []
    for file in files:
        try:
            content = (root / file).read_bytes()
        except OSError as error:
            closed.append(Source(file, "", {}, error.strerror or str(error)))
            continue
        name = hashlib.sha1(b"blob %d\0" % len(content), usedforsecurity=False)
        name.update(content)
        blobs[file] = name.hexdigest()
        contents[blobs[file]] = content
    found = _read(blobs, lambda part: {blob: contents[blob] for blob in part}, extractors, progress)
    return sorted([*found, *closed], key=lambda source: source.path)


def list_tree(root: Path, suffix: str = ".py") -> list[str]:
    """Give all files below a folder that end so, by path, links and byte code aside."""
    return sorted(
        Path(os.path.relpath(os.path.join(folder, name), root)).as_posix()  # noqa: PTH118 - many files
        for folder, name in _walk(root, suffix)
    )


def _read(
    blobs: Mapping[str, str],
    get: Callable[[Sequence[str]], Mapping[str, bytes]],
    extractors: Sequence[str],
    progress: Callable[[str], None],
) -> list[Source]:
    with open_caches(extractors) as caches:
        known = caches.load(set(blobs.values()))
        unknown = {blob: path for path, blob in blobs.items() if blob not in known}
        for blob, facts in _extract_all(unknown, get, tuple(extractors), progress):
            known[blob] = facts
            caches.add(blob, facts)
    return [
        Source(path, blob, {}, found) if isinstance(found := known[blob], str) else Source(path, blob, found)
        for path, blob in sorted(blobs.items())
    ]


def _list_revision(root: Path, paths: Sequence[str], revision: str, suffix: str) -> dict[str, str]:
    """Give the blobs of a commit's files by path, links and submodules aside."""
    blobs = {}
    commit = resolve_commit(root, revision)
    for line in git(root, "ls-tree", "-rz", commit, "--", *(paths or ["."])).split("\0"):
        fields, _, path = line.partition("\t")
        if path.endswith(suffix) and fields.startswith("100"):
            blobs[path] = fields.split()[2]
    return blobs


def _list_disk(root: Path, paths: Sequence[str], suffix: str) -> Iterator[str]:
    for path in paths:
        if not (root / path).exists():
            raise UsageError("no-such-path", f"{root / path} does not exist")
    inside = [Path(os.path.relpath(root / path, root)).as_posix() for path in paths] or ["."]
    if _is_in_git(root):
        names = [name for name in list_files(root, *inside) if name.endswith(suffix)]
        yield from (name for name in names if (root / name).is_file() and not (root / name).is_symlink())
        return
    for start in inside:
        if (root / start).is_file():
            yield start
        for folder, name in _walk(root / start, suffix, is_inside=_is_ours):
            yield Path(os.path.relpath(os.path.join(folder, name), root)).as_posix()  # noqa: PTH118


def _walk(
    start: Path, suffix: str, *, is_inside: Callable[[str, str], bool] = lambda *_: True
) -> Iterator[tuple[str, str]]:
    for folder, folders, files in os.walk(start):
        folders[:] = [name for name in folders if name not in _SKIPPED and is_inside(folder, name)]
        for name in files:
            if name.endswith(suffix) and not os.path.islink(os.path.join(folder, name)):  # noqa: PTH118, PTH114
                yield folder, name


def _is_ours(folder: str, name: str) -> bool:
    return not name.startswith(".") and not Path(folder, name, "pyvenv.cfg").exists()


def _is_in_git(root: Path) -> bool:
    """Say whether git knows this folder, and not only one above it that ignores it (an environment)."""
    try:
        git(root, "rev-parse", "--show-toplevel")
        return bool(git(root, "ls-files", "--", ".")) or not git(
            root, "check-ignore", "--quiet", ".", good=(0, 1)
        )
    except TrainkitError:
        return False


def _extract_all(
    unknown: Mapping[str, str],
    get: Callable[[Sequence[str]], Mapping[str, bytes]],
    extractors: tuple[str, ...],
    progress: Callable[[str], None],
) -> Iterator[tuple[str, Any]]:
    blobs = list(unknown)
    chunks = [blobs[at : at + _CHUNK] for at in range(0, len(blobs), _CHUNK)]
    work = ([(blob, unknown[blob], content) for blob, content in get(chunk).items()] for chunk in chunks)
    done = 0
    with _open_pool(len(blobs)) as run:
        for results in run(partial(_extract, extractors=extractors), work):
            yield from results
            done += len(results)
            progress(f"{done} of {len(blobs)} files read")


@contextmanager
def _open_pool(num_files: int) -> Iterator[Callable[[Extract, Iterable[Any]], Iterator[Any]]]:
    """Give `map`, over several processes where that pays and a fork is safe: in a process with one thread."""
    num_processes = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    if num_files < _MANY or num_processes < 2 or threading.active_count() > 1:
        yield map
        return
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    pool = ProcessPoolExecutor(num_processes, mp_context=get_context("fork"), initializer=_begin_worker)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads that are not Python's: OpenMP's
        try:
            yield pool.map
        finally:
            pool.shutdown(cancel_futures=True)


def _begin_worker() -> None:
    """Leave Ctrl-C to the parent, and end when it does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with suppress(Exception):  # Linux alone has it; elsewhere a killed parent leaves idle processes
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _extract(
    items: Sequence[tuple[str, str, bytes]], *, extractors: tuple[str, ...]
) -> list[tuple[str, Any]]:
    """Give the facts of each file by extractor, or the line that says why it is no Python."""
    modules = {name: importlib.import_module(f"trainkit.review.{name}") for name in extractors}
    results: list[tuple[str, Any]] = []
    with _collecting_nothing(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for blob, path, content in items:
            try:
                tree = ast.parse(content, filename=path)
                results.append(
                    (blob, {name: module.extract(tree, content) for name, module in modules.items()})
                )
            except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
                line = getattr(error, "lineno", None)  # a null byte has none
                where = f"line {line}: {error.msg}" if line and isinstance(error, SyntaxError) else str(error)
                results.append((blob, where or type(error).__name__))
    return results


@contextmanager
def _collecting_nothing() -> Iterator[None]:
    """Pause the collector: a tree has no cycles, and looking for them is a third of the time of parsing."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
