"""The Python files of a project, or of a revision of it, each with what the extractors took from it.

An extractor is a module with `VERSION` and `extract(tree, source) -> values` that `marshal` can write. What it gave
is kept by git's id of the content, so what is unchanged is parsed once, whichever revision or project it stands in.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import marshal
import os
import sqlite3
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainkit.errors import UsageError
from trainkit.repo.git import git, read_blobs, resolve_commit

_MANY = 48  # files from which on a second process pays
_CHUNK = 24
_SKIPPED = {"__pycache__", "node_modules"}


@dataclass(frozen=True)
class Source:
    """One file: its path from the root, git's id of its content, and the facts by extractor.

    `error` says why it could not be read as Python: then there are no facts, and nothing may call it clean.
    """

    path: str
    blob: str
    facts: Mapping[str, Any]
    error: str = ""


def read_sources(
    root: Path,
    extractors: Sequence[str],
    *,
    paths: Sequence[str] = (),
    revision: str = "",
    progress: Callable[[str], None] = lambda _: None,
) -> list[Source]:
    """Read the Python files below `root`, or those of them that `paths` (files or folders) name, by path.

    `extractors` are names of modules beside this one. In a git repository the files are those that git tracks or
    does not ignore; elsewhere all that lie in no hidden folder and no environment. `revision` reads a commit
    instead of the disk.

    Raises:
        UsageError: one of `paths` does not exist, or there is no such revision.
    """
    contents = _Contents(root, paths, revision)
    with closing(_Cache(extractors)) as cache:
        known = cache.load(set(contents.blobs.values()))
        unknown = {blob: path for path, blob in contents.blobs.items() if blob not in known}
        for blob, facts in _extract_all(contents, unknown, extractors, progress):
            known[blob] = facts
            cache.add(blob, facts)
    return [
        Source(path, blob, {}, found) if isinstance(found := known[blob], str) else Source(path, blob, found)
        for path, blob in sorted(contents.blobs.items())
    ]


class _Contents:
    """The files, `blobs` by path, and the bytes of any of them."""

    def __init__(self, root: Path, paths: Sequence[str], revision: str) -> None:
        self._root = root
        self._bytes: dict[str, bytes] = {}
        self._revision = revision
        self.blobs: dict[str, str] = {}
        if revision:
            commit = resolve_commit(root, revision)
            for line in git(root, "ls-tree", "-rz", commit, "--", *(paths or ["."])).split("\0"):
                fields, _, path = line.partition("\t")
                if path.endswith(".py") and fields.split()[1] == "blob" and fields[:6] != "120000":
                    self.blobs[path] = fields.split()[2]
            return
        for path in paths:
            if not (root / path).exists():
                raise UsageError("no-such-path", f"{root / path} does not exist")
        for path in _list_disk(root, paths):
            with suppress(OSError):
                content = (root / path).read_bytes()
                self.blobs[path] = hashlib.sha1(  # noqa: S324 - git's name for it, no secret
                    b"blob %d\0" % len(content) + content
                ).hexdigest()
                self._bytes[self.blobs[path]] = content

    def get(self, blobs: Sequence[str]) -> dict[str, bytes]:
        """Give the content of each of `blobs`."""
        if not self._revision:
            return {blob: self._bytes[blob] for blob in blobs}
        return read_blobs(self._root, blobs)


def _list_disk(root: Path, paths: Sequence[str]) -> Iterator[str]:
    inside = [os.path.relpath(root / path, root) for path in paths] or ["."]
    if _is_in_git(root):
        listed = git(root, "ls-files", "-coz", "--exclude-standard", "--", *inside).split("\0")
        names = dict.fromkeys(name for name in listed if name.endswith(".py"))
        yield from (name for name in names if (root / name).is_file() and not (root / name).is_symlink())
        return
    for start in inside:
        if (root / start).is_file():
            yield Path(start).as_posix()
        for folder, folders, files in os.walk(root / start):
            folders[:] = [
                name
                for name in folders
                if name not in _SKIPPED
                and not name.startswith(".")
                and not Path(folder, name, "pyvenv.cfg").exists()
            ]
            yield from (
                Path(os.path.relpath(os.path.join(folder, name), root)).as_posix()  # noqa: PTH118 - many files
                for name in files
                if name.endswith(".py") and not os.path.islink(os.path.join(folder, name))  # noqa: PTH118, PTH114
            )


def _is_in_git(root: Path) -> bool:
    """Say whether git knows this folder, and not only one above it that ignores it (an environment)."""
    from trainkit.errors import TrainkitError

    try:
        git(root, "rev-parse", "--show-toplevel")
        return bool(git(root, "ls-files", "--", ".")) or not git(
            root, "check-ignore", "--quiet", ".", good=(0, 1)
        )
    except TrainkitError:
        return False


def _extract_all(
    contents: _Contents,
    unknown: Mapping[str, str],
    extractors: Sequence[str],
    progress: Callable[[str], None],
) -> Iterator[tuple[str, Any]]:
    blobs = list(unknown)
    chunks = [blobs[at : at + _CHUNK] for at in range(0, len(blobs), _CHUNK)]
    work = (
        [(blob, unknown[blob], content) for blob, content in contents.get(chunk).items()] for chunk in chunks
    )
    done = 0
    if len(blobs) < _MANY or (os.cpu_count() or 1) < 2:
        results: Any = (_extract(items, tuple(extractors)) for items in work)
    else:
        pool = ProcessPoolExecutor(min(len(chunks), os.cpu_count() or 1))
        results = pool.map(_extract, work, [tuple(extractors)] * len(chunks))
    try:
        for chunk in results:
            yield from chunk
            done += len(chunk)
            progress(f"{done} of {len(blobs)} files read")
    finally:
        if len(blobs) >= _MANY:
            with suppress(NameError):
                pool.shutdown(cancel_futures=True)


def _extract(items: Sequence[tuple[str, str, bytes]], extractors: tuple[str, ...]) -> list[tuple[str, Any]]:
    """Give the facts of each file by extractor, or the line that says why it is no Python."""
    modules = {name: importlib.import_module(f"trainkit.review.{name}") for name in extractors}
    results: list[tuple[str, Any]] = []
    for blob, path, content in items:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(content, filename=path)
            results.append((blob, {name: module.extract(tree, content) for name, module in modules.items()}))
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            where = f"line {error.lineno}: {error.msg}" if isinstance(error, SyntaxError) else str(error)
            results.append((blob, f"{where or type(error).__name__}"))
    return results


class _Cache:
    """Facts by blob in one SQLite file per set of extractors and their versions; without a place for it, none."""

    def __init__(self, extractors: Sequence[str]) -> None:
        versions = [
            f"{name}-{importlib.import_module(f'trainkit.review.{name}').VERSION}" for name in extractors
        ]
        python = f"py{sys.version_info.major}.{sys.version_info.minor}"
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trainkit" / "review"
        name = "_".join([python, *versions]) + ".sqlite"
        self._new: list[tuple[str, bytes]] = []
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._base: sqlite3.Connection | None = sqlite3.connect(folder / name, timeout=10)
            self._base.execute(
                "CREATE TABLE IF NOT EXISTS facts (blob TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID"
            )
        except (OSError, sqlite3.Error):
            self._base = None

    def load(self, blobs: set[str]) -> dict[str, Any]:
        """Give what is known of `blobs`."""
        found: dict[str, Any] = {}
        if self._base is None:
            return found
        wanted = sorted(blobs)
        with suppress(sqlite3.Error, ValueError, EOFError, TypeError):
            for at in range(0, len(wanted), 500):
                part = wanted[at : at + 500]
                marks = ",".join("?" * len(part))
                query = f"SELECT blob, value FROM facts WHERE blob IN ({marks})"  # noqa: S608 - marks alone
                found |= {blob: marshal.loads(value) for blob, value in self._base.execute(query, part)}  # noqa: S302
        return found

    def add(self, blob: str, facts: Any) -> None:
        """Keep the facts of one blob; written at `close`."""
        self._new.append((blob, marshal.dumps(facts)))

    def close(self) -> None:
        """Write what is new. A cache that cannot be written is only slower next time."""
        if self._base is None:
            return
        with suppress(sqlite3.Error), self._base:
            self._base.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", self._new)
        self._base.close()
