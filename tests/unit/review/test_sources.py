"""Sources: which files are read, that facts are kept by content, and that nothing unreadable looks clean."""

import os
import sqlite3
import threading
from pathlib import Path

import pytest

from trainkit.errors import UsageError
from trainkit.review import cache as caching
from trainkit.review import sources as module
from trainkit.review.complexity import units
from trainkit.review.sources import list_tree, read_files, read_sources

FUNCTION = "def f(a):\n    return 1 if a else 2\n"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "trainkit" / "review"


@pytest.fixture
def project(make_project):
    files = {
        "a.py": FUNCTION,
        "lib/b.py": "x = 1\n",
        "broken.py": "def f(:\n",
        "n.ipynb": "{}",
        ".gitignore": "out/\n",
    }
    project = make_project(files)
    project.write("out/ignored.py", "")
    project.write("new.py", FUNCTION)
    (project.path / "link.py").symlink_to("a.py")
    return project


def read(root, **options):
    return {source.path: source for source in read_sources(root, ["complexity"], **options)}


def test_git_says_which_files_there_are(project):
    """Tracked and new ones, of a folder or file, on disk or at a commit; no links, environments, nothing ignored."""
    project.write("env/pyvenv.cfg", "")
    project.write("env/lib/c.py", "")
    assert list(read(project.path)) == ["a.py", "broken.py", "lib/b.py", "new.py"]
    assert list(read(project.path, paths=["lib"])) == ["lib/b.py"]
    assert list(read(project.path / "lib")) == ["b.py"]
    assert list(read(project.path, revision="HEAD")) == ["a.py", "broken.py", "lib/b.py"]
    assert list(read(project.path, revision="HEAD", paths=["a.py"])) == ["a.py"]
    with pytest.raises(UsageError, match="nowhere does not exist"):
        read(project.path, paths=["nowhere"])


def test_without_git_hidden_folders_and_environments_are_left_out(tmp_path):
    """What lies in a folder that is no repository."""
    for name in ("a.py", ".hidden/b.py", "env/lib/c.py", "__pycache__/d.py", "lib/e.py"):
        path = tmp_path / "plain" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    (tmp_path / "plain/env/pyvenv.cfg").write_text("")

    assert list(read(tmp_path / "plain")) == ["a.py", "lib/e.py"]
    assert list(read(tmp_path / "plain", paths=["lib/e.py"])) == ["lib/e.py"]
    assert list_tree(tmp_path / "plain") == [".hidden/b.py", "a.py", "env/lib/c.py", "lib/e.py"]


def test_what_cannot_be_read_has_an_error_and_no_units(project):
    """A syntax error with its line, a file that is gone, bytes that are no text; each time, cached or not."""
    (project.path / "bytes.py").write_bytes(b"x = '\xff'\n")
    (project.path / "null.py").write_bytes(b"x\0\n")
    (project.path / "deep.py").write_text("x = " + "(" * 300 + ")" * 300)
    for _ in range(2):
        found = read(project.path)

        assert found["broken.py"].error == "line 1: invalid syntax"
        assert all(found[name].error for name in ("bytes.py", "null.py", "deep.py"))
        assert "None" not in found["null.py"].error
        assert units(found["broken.py"]) == []
    (gone,) = read_files(project.path, ["gone.py"], ["complexity"])
    assert gone.error == "No such file or directory"


def test_facts_are_taken_once_for_each_content(project, monkeypatch):
    """Another revision, name and folder are the same content; another extractor has its own file."""
    first = read(project.path)
    monkeypatch.setattr(module, "_extract", lambda items, **_: pytest.fail(f"parsed again: {items}"))
    project.write("moved.py", FUNCTION)

    assert read(project.path)["moved.py"].facts == first["a.py"].facts
    assert read(project.path, revision="HEAD")["a.py"].facts == first["a.py"].facts


def test_a_damaged_or_missing_cache_is_only_slower(project, cache, monkeypatch):
    """Rubbish is replaced, foreign values are taken anew, and where nothing can be written nothing is."""
    expected = read(project.path)
    (file,) = cache.glob("*.sqlite")
    with sqlite3.connect(file) as base:
        base.execute("UPDATE facts SET value = x'00ff'")
    base.close()
    assert read(project.path) == expected
    file.write_bytes(b"rubbish" * 500)
    assert read(project.path) == expected
    assert sqlite3.connect(file).execute("SELECT count(*) FROM facts").fetchone() == (3,)
    monkeypatch.setattr("trainkit.review.cache._MAX_BYTES", 1)
    assert read(project.path) == expected
    monkeypatch.setenv("XDG_CACHE_HOME", str(project.path / "a.py"))
    assert read(project.path) == expected


def test_many_files_are_read_by_several_processes(tmp_path, monkeypatch):
    """With the same facts as by one; beside other threads no process is forked."""
    for number in range(70):
        (tmp_path / f"f{number:02}.py").write_text(FUNCTION + f"x = {number}\n")
    files, said = list_tree(tmp_path), []
    many = read_files(tmp_path, files, ["complexity"], progress=said.append)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    event = threading.Event()
    thread = threading.Thread(target=event.wait)
    thread.start()
    try:
        alone = read_files(tmp_path, files, ["complexity"])
    finally:
        event.set()
        thread.join()

    assert many == alone
    assert said[-1] == "70 of 70 files read"


def test_what_other_code_extracted_is_not_believed(project, cache, monkeypatch):
    """The name of the file of facts holds a digest of our code; what nobody writes to any more is removed."""
    read(project.path)
    before = set(cache.iterdir())
    old = cache / "complexity-0-py3.0.sqlite"
    old.write_bytes(b"")
    os.utime(old, (0, 0))
    code = Path(caching.__file__).parent
    changed = {path: path.read_bytes() for path in code.rglob("*.py")} | {code / "words.py": b"other"}
    monkeypatch.setattr(
        Path, "read_bytes", lambda path, real=Path.read_bytes: changed.get(path) or real(path)
    )
    caching._digest_code.cache_clear()
    read(project.path)
    caching._digest_code.cache_clear()

    assert len(set(cache.iterdir()) - before) == 1
    assert not old.exists()
