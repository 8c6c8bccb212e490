"""What extractors gave, by git's id of the content: a SQLite file for each, and each state of our code."""

from __future__ import annotations

import hashlib
import marshal
import os
import sqlite3
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

_MAX_BYTES = 256 << 20  # a file that has grown beyond this begins anew
_UNUSED_S = 14 * 86_400  # a file of other code that nobody has written to for so long is removed

Known = dict[str, dict[str, Any] | str]


@contextmanager
def open_caches(extractors: Sequence[str]) -> Iterator[Caches]:
    """Open the caches of these extractors; what was added is written at the end, also after Ctrl-C."""
    caches = Caches(extractors)
    try:
        yield caches
    finally:
        caches.close()


@cache
def _digest_code() -> str:
    """Give a digest of this package: what other code has extracted is not to be believed."""
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


class Caches:
    """The facts of several extractors. Where there is no place for them, all is extracted each time."""

    def __init__(self, extractors: Sequence[str]) -> None:
        self._tables = {name: _Table(name) for name in extractors}

    def load(self, blobs: set[str]) -> Known:
        """Give the facts by extractor, or the reason why there are none, of what all extractors know."""
        parts = {name: table.load(blobs) for name, table in self._tables.items()}
        common = set.intersection(*map(set, parts.values())) if parts else set()
        known: Known = {}
        for blob in common:
            values = {name: part[blob] for name, part in parts.items()}
            wrong = next((value for value in values.values() if isinstance(value, str)), None)
            known[blob] = values if wrong is None else wrong
        return known

    def add(self, blob: str, facts: dict[str, Any] | str) -> None:
        """Keep the facts of one blob by extractor, or the reason why there are none."""
        for name, table in self._tables.items():
            table.add(blob, facts if isinstance(facts, str) else facts[name])

    def close(self) -> None:
        """Write what is new."""
        for table in self._tables.values():
            table.close()


class _Table:
    def __init__(self, extractor: str) -> None:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trainkit" / "review"
        python = f"py{sys.version_info.major}.{sys.version_info.minor}"
        self._file = folder / f"{extractor}-{_digest_code()}-{python}.sqlite"
        self._new: dict[str, bytes] = {}
        self._base = self._open()

    def _open(self) -> sqlite3.Connection | None:
        for _ in range(2):
            try:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                if self._file.exists() and self._file.stat().st_size > _MAX_BYTES:
                    self._file.unlink()
                base = sqlite3.connect(self._file, timeout=10)
                base.execute(
                    "CREATE TABLE IF NOT EXISTS facts (blob TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID"
                )
            except (OSError, sqlite3.OperationalError):  # no place for it, or locked
                return None
            except sqlite3.DatabaseError:  # damaged
                with suppress(OSError):
                    self._file.unlink()
            else:
                return base
        return None

    def load(self, blobs: set[str]) -> dict[str, Any]:
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

    def add(self, blob: str, value: Any) -> None:
        self._new[blob] = marshal.dumps(value)

    def close(self) -> None:
        if self._base is None:
            return
        with suppress(sqlite3.Error), self._base:  # one that cannot be written is only slower next time
            self._base.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", self._new.items())
        self._base.close()
        for file in self._file.parent.glob("*.sqlite") if self._new else ():
            with suppress(OSError):
                if time.time() - file.stat().st_mtime > _UNUSED_S:
                    file.unlink()
