"""Where data comes from: files, a glob, a folder, or an address that is fetched whole before it is read."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from trainkit.core.files import make_folder, own_suffix, write_text
from trainkit.errors import TrainkitError, UsageError

FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
NUM_TRIES, FIRST_PAUSE_S = 4, 0.5  # the pause doubles
CONNECT_S, SILENCE_S = 10.0, 30.0
_RACY_S = 2.0  # a file younger than this may change again within one tick of its clock, as git puts it


@dataclass(frozen=True)
class SourceFile:
    """One file to read; `shown` is its name in messages, `digest` is of its bytes."""

    path: Path
    shown: str
    format: str

    def digest(self, cache: Path) -> str:
        """Give the SHA-256 of the bytes; of a file that has not changed since, the one that was noted."""
        facts = self.path.stat()
        seen = [str(self.path.resolve()), facts.st_size, facts.st_mtime_ns, facts.st_ino]
        note = cache / "digests" / (hashlib.sha256(str(seen[0]).encode()).hexdigest()[:32] + ".json")
        try:
            *before, digest = json.loads(note.read_text(encoding="utf-8"))
            if before == seen:
                return str(digest)
        except (OSError, ValueError):
            pass  # never seen, or a note that is damaged
        with self.path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if time.time() - facts.st_mtime > _RACY_S:
            make_folder(note.parent)
            write_text(note, json.dumps([*seen, digest]))
        return str(digest)


def import_extra(name: str, *, need: str, extra: str = "data") -> Any:
    """Import a package that only some need.

    Raises:
        UsageError: it is not installed; `need` says what for.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        message = f"{need} needs {error.name or name}: pip install 'trainkit[{extra}]'"
        raise UsageError("missing-dependency", message) from error


def find_cache(cache_dir: str) -> Path:
    """Give the folder of caches: the one that is asked for, or the user's."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache_dir) if cache_dir else Path(home, "trainkit", "data")


def find_files(
    source: str, *, cache: Path, format_name: str = "auto", is_text: bool = False
) -> list[SourceFile]:
    """Give the files of a path, a glob, a folder (in the order of names) or an address, all of one format.

    Raises:
        UsageError: there is none, or their format is not known, or there are several.
        TrainkitError: an address does not answer.
    """
    if "://" in source:
        shown, paths = source, [fetch(source, cache)]
        names = [source.partition("?")[0].partition("#")[0]]
    else:
        shown, paths = "", _list_paths(source, is_text=is_text)
        names = [str(path) for path in paths]
    if is_text:
        return [SourceFile(path, shown or str(path), "text") for path in paths]
    formats = [format_name if format_name != "auto" else _guess(name) for name in names]
    if len(set(formats)) > 1:
        found = ", ".join(sorted(set(formats)))
        message = f"data.source='{source}': files of several formats ({found}); give a glob, such as *.csv"
        raise UsageError("data-unreadable", message)
    return [SourceFile(path, shown or str(path), form) for path, form in zip(paths, formats, strict=True)]


def _list_paths(source: str, *, is_text: bool) -> list[Path]:
    path = Path(source).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        inside = sorted(each for each in path.rglob("*") if each.is_file() and not each.name.startswith("."))
        wanted = inside if is_text else [each for each in inside if _suffix_of(each.name) in FORMATS]
        found = "no file" if not inside else f"{len(inside)} files, none of {', '.join(FORMATS)}"
    else:
        matches = glob.iglob(str(path), recursive=True)  # noqa: PTH207 - an absolute pattern, too
        wanted = sorted(each for each in map(Path, matches) if each.is_file())
        found = "no such file" if not glob.has_magic(source) else "no file matches"
    if not source or not wanted:
        message = f"data.source='{source}': {found}; give a file, a glob, a folder, an address"
        message += ", or pydoc_data.topics" if is_text else ""
        raise UsageError("data-unreadable", message)
    return wanted


def _suffix_of(name: str) -> str:
    """Give what tells the format: of rows.csv.gz, which is read as rows.csv, that is .csv."""
    name = name.lower()
    inner = Path(name.removesuffix(".gz")).suffix
    return inner if FORMATS.get(inner) != "parquet" else Path(name).suffix


def _guess(name: str) -> str:
    suffix = _suffix_of(name)
    if suffix in FORMATS:
        return FORMATS[suffix]
    known = ", ".join(FORMATS)
    message = f"'{name}': the format cannot be told from its name ({known}); give data.format"
    raise UsageError("data-unreadable", message)


def fetch(address: str, cache: Path) -> Path:
    """Bring what an address holds into the cache, whole or not at all; give its path.

    What the server says has not changed (its ETag, or time and length) is not brought again. A failure of the
    server or the line is tried again, at most `NUM_TRIES` times in all; a refusal (404) is not.

    Raises:
        UsageError: the address is wrong.
        TrainkitError: the server does not answer in time, or not with all of it.
    """
    fsspec = import_extra("fsspec", need=f"data.source='{address}'")
    options = _prepare_http(address)
    folder = cache / "fetched" / hashlib.sha256(address.encode()).hexdigest()[:32]
    make_folder(folder)
    path, note = folder / "content", folder / "version.json"
    for number in range(1, NUM_TRIES + 1):
        try:
            system, name = fsspec.core.url_to_fs(address, **options)
            version = _describe_version(system, name)
            if version and path.exists() and note.exists() and json.loads(note.read_text()) == version:
                return path
            _bring(fsspec, system, name, path)
            write_text(note, json.dumps(version))
            return path
        except (FileNotFoundError, PermissionError, NotImplementedError, ValueError) as error:
            message = f"data.source='{address}': {type(error).__name__}: {_first_line(error)}"
            raise UsageError("data-unreadable", message) from error
        except Exception as error:  # every protocol has failures of its own
            status = getattr(error, "status", 500)
            refused = isinstance(status, int) and 400 <= status < 500 and status not in (408, 425, 429)
            if refused or number == NUM_TRIES:
                tries = "refused" if refused else f"not read after {number} tries"
                message = f"data.source='{address}': {tries}: {_first_line(error)}"
                raise TrainkitError("data-unreachable", message) from error
            print(f"trainkit: '{address}': {_first_line(error)}; trying again", file=sys.stderr)
            time.sleep(FIRST_PAUSE_S * 2 ** (number - 1))
    raise AssertionError("unreachable")


def _prepare_http(address: str) -> dict[str, Any]:
    if not address.startswith(("http://", "https://")):
        return {}
    aiohttp = import_extra("aiohttp", need=f"data.source='{address}'")
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENCE_S)
    return {
        # a compressed answer has another length than what it holds
        "client_kwargs": {"timeout": timeout, "headers": {"Accept-Encoding": "identity"}},
        "skip_instance_cache": True,
    }


def _describe_version(system: Any, name: str) -> dict[str, Any]:
    """Give what tells one version from the next; nothing where the server does not say."""
    try:
        facts = system.info(name)
    except Exception:  # a server may not answer HEAD; then the file is brought
        return {}
    known = {key: facts[key] for key in ("ETag", "LastModified", "mtime") if facts.get(key)}
    return {key: str(value) for key, value in (known | {"size": facts.get("size")}).items()} if known else {}


def _bring(fsspec: Any, system: Any, name: str, path: Path) -> None:
    counted = fsspec.callbacks.Callback()
    temporary = path.with_name(path.name + own_suffix())
    try:
        system.get_file(name, str(temporary), callback=counted)
        size = temporary.stat().st_size
        if counted.size is not None and size != counted.size:
            raise ConnectionError(f"the connection was cut after {size} of {counted.size} bytes")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _first_line(error: BaseException) -> str:
    text = str(error).strip().partition("\n")[0]
    return text or type(error).__name__


def combine_digests(parts: Sequence[str]) -> str:
    """Give one digest of several, in their order, 32 hexadecimal digits."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
