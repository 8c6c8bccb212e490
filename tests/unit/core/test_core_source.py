"""Sources of rows: formats, addresses, bad data, and the cache."""

import gzip
import json
import os
import resource
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy
import pytest
import torch

from trainkit.core.config import SeriesConfig, TableConfig, TextConfig
from trainkit.core.data import cache as caching
from trainkit.core.data import reading, source
from trainkit.core.data.table import build_table, open_source
from trainkit.core.datasets import build_series
from trainkit.core.text import build_text, read_documents
from trainkit.errors import TrainkitError, UsageError

polars = pytest.importorskip("polars")

ROWS = "a,b,y\n" + "".join(f"{n},{n % 7}.5,{'no' if n % 3 else 'yes'}\n" for n in range(40))


def write(path, text=ROWS):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def config_of(path, **settings):
    return TableConfig(source=str(path), **{"target": "y", **settings})


def list_rows(loader):
    return [part for batch in loader for part in (batch.inputs, batch.targets)]


def frame():
    return polars.read_csv(ROWS.encode())


def write_as(path, kind):
    if kind == "parquet":
        frame().write_parquet(path, row_group_size=9)
    elif kind == "jsonl":
        path.write_text(frame().write_ndjson())
    elif kind == "tsv":
        write(path, ROWS.replace(",", "\t"))
    else:
        write(path, ROWS.replace(",", {"semicolon": ";"}.get(kind, ",")))
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(path.read_bytes()))
    return str(path)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("x.tsv", "tsv"),
        ("x.parquet", "parquet"),
        ("x.jsonl", "jsonl"),
        ("x.csv", "semicolon"),
        ("x.CSV.gz", "csv"),
        ("x.jsonl.gz", "jsonl"),
    ],
)
def test_all_formats_give_the_same_batches(tmp_path, name, kind):
    """To the bit, those of the CSV file."""
    expected = list_rows(build_table(config_of(write(tmp_path / "rows.csv")), seed=0).train)
    actual = list_rows(build_table(config_of(write_as(tmp_path / name, kind)), seed=0).train)

    assert all(map(torch.equal, expected, actual))
    assert [batch.dtype for batch in actual[:2]] == [torch.float32, torch.int64]


def test_a_damaged_gzip_is_explained(tmp_path):
    """Cut short, or with another checksum; and a Parquet file, which is compressed inside, is no .gz."""
    whole = gzip.compress(ROWS.encode())
    for number, data in enumerate((whole[:-20], whole[:-8] + bytes(8))):
        path = write(tmp_path / f"{number}.csv.gz", data)
        with pytest.raises(
            UsageError, match=rf"{number}\.csv\.gz': damaged gzip: .*; fetch or compress it again"
        ):
            build_table(config_of(path), seed=0)
    with pytest.raises(UsageError, match="format cannot be told"):
        build_table(config_of(write(tmp_path / "x.parquet.gz", whole)), seed=0)


def test_a_folder_and_a_glob_are_one_table(tmp_path):
    """In the order of names; hidden files and files of no known format are left out of a folder."""
    lines = ROWS.splitlines(keepends=True)
    (tmp_path / "in").mkdir()
    for number in range(4):
        write(
            tmp_path / "in" / f"{number}.csv", lines[0] + "".join(lines[1 + 10 * number : 11 + 10 * number])
        )
    write(tmp_path / "in" / "readme.txt", "rows")
    write(tmp_path / "in" / ".hidden.csv", "z\n1\n")
    expected = list_rows(build_table(config_of(write(tmp_path / "rows.csv")), seed=0).train)
    for place in (tmp_path / "in", tmp_path / "in" / "*.csv"):
        assert all(map(torch.equal, expected, list_rows(build_table(config_of(place), seed=0).train)))

    frame().write_parquet(tmp_path / "in" / "9.parquet")
    with pytest.raises(UsageError, match=r"several formats \(csv, parquet\)"):
        build_table(config_of(tmp_path / "in"), seed=0)


def test_quotes_spaces_and_blank_lines_are_read(tmp_path, monkeypatch):
    """A line break inside quotation marks is no end of a row, wherever a block ends; a mark of order is none."""
    monkeypatch.setattr(reading, "BLOCK_BYTES", 16)
    monkeypatch.setattr(reading, "SAMPLE_BYTES", 64)
    text = '\ufeffa,y\r\n1,"two\r\nlines"\r\n\r\n 2 ,x\r\n3,"two\r\nlines"\r\n4,x\r\n5,"a ""b"", c"\r\n'
    prepared = open_source(
        config_of(write(tmp_path / "q.csv", text), train_fraction=1.0, validation_fraction=0.0)
    )

    assert prepared.table.numbers[:, 0].tolist() == [1, 2, 3, 4, 5]
    assert prepared.table.manifest.categories["y"] == ["two\r\nlines", "x", 'a "b", c']
    assert prepared.table.codes[:, 0].tolist() == [0, 1, 0, 1, 2]


BAD = {
    "missing column": ("a,z\n1,2\n", "'{path}' has no column 'y'"),
    "nan": ("a,y\n1,u\nnan,v\n", "'{path}', line 3, a: 'nan' is no finite number; add impute_median"),
    "empty cell": ("a,y\n1,u\n2,v\n,v\n", "'{path}', line 4, a: '' is no finite number"),
    "no category": ("a,c,y\n1,p,u\n2,,v\n", "'{path}', line 3, c: '' is no category; add impute_most_frequent"),
    "no target": ("a,y\n1,u\n2,\n", "'{path}', line 3, y: '' is no category; mend the file"),
    "infinite": ("a,y\n1,u\n-inf,v\n", "'{path}', line 3, a: '-inf' is no finite number"),
    "too large": ("a,y\n1,u\n1e300,v\n", "'{path}', line 3, a: '1e300' is no finite number"),
    "empty": ("", "'{path}': the file is empty"),
    "blank": ("\n\n", "'{path}': the file is empty"),
    "header alone": ("a,y\n", "'{path}' has a header and no rows"),
    "wrong dtype": ("a,y\n1,u\n2,v\n3 m,v\n", "'{path}', line 4, a: '3 m' is no finite number"),
    "short row": ("a,b,y\n1,2,u\n1,u\n", "'{path}', line 3: 2 cells, and the header has 3"),
    "short row, quoted": ('a,b,y\n1,2,"u"\n1,"u"\n', "'{path}', line 3: 2 cells, and the header has 3"),
    "long row": ("a,y\n1,u\n\n2,v,3\n", "'{path}', line 4: 3 cells, and the header has 2"),
    "encodings": ("a,y\n1,größer\n".encode() + "2,größer\n".encode("latin-1"), "line 3: byte 0xf6 is no UTF-8"),
    "column twice": ("a,a,y\n1,2,u\n", "'{path}', line 1: two columns are called 'a'"),
    "nothing to learn": ("y\nu\nv\nu\n", "no column to learn from: y (category)"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_tables_are_explained(tmp_path, name):
    """With file, line and column; and nothing half written stays."""
    text, message = BAD[name]
    path = write(tmp_path / "bad.csv", text)
    with pytest.raises(UsageError) as caught:
        build_table(config_of(path), seed=0)

    assert message.format(path=path) in str(caught.value)
    assert not list(source.find_cache("").glob(".building-*"))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.parquet", b"PAR1 and no more", "cannot be read as Parquet"),
        ("x.jsonl", b'{"a": 1, "y": "u"}\n\n{"a": 2, "y"}\n', "line 3: no JSON"),
        ("x.jsonl", b'{"a": 1, "y": "u"}\n[1]\n', "line 2: no JSON object"),
        ("x.jsonl", b'{"a": 1, "y": "u"}\n{"a": 1, "y": "u"}\n\n{"a": "q", "y": "u"}\n', "line 4, a: 'q' is no finite"),
        ("x.jsonl", b"", "the file is empty"),
        ("x.dat", b"a,y\n1,u\n", "the format cannot be told from its name"),
    ],
)  # fmt: skip
def test_other_bad_files_are_explained(tmp_path, name, text, message):
    """Each in its own words."""
    with pytest.raises(UsageError, match=message):
        build_table(config_of(write(tmp_path / name, text)), seed=0)


def test_rows_of_parquet_are_named(tmp_path):
    """Counted over row groups."""
    rows = frame().with_columns(a=polars.when(polars.col("a") == 33).then(None).otherwise(polars.col("a")))
    rows.write_parquet(tmp_path / "x.parquet", row_group_size=9)
    with pytest.raises(UsageError, match=r"x\.parquet', row 34, a: null is no finite number"):
        build_table(config_of(tmp_path / "x.parquet"), seed=0)


def test_what_cannot_be_found_is_explained(tmp_path):
    """No file, no match, an empty folder, other columns in another file, no polars."""
    for place, message in [
        (tmp_path / "nothing.csv", "no such file"), (tmp_path / "*.csv", "no file matches"), (tmp_path, "no file"),
    ]:  # fmt: skip
        with pytest.raises(UsageError, match=message):
            build_table(config_of(place), seed=0)
    write(tmp_path / "1.csv", "a,y\n1,u\n")
    write(tmp_path / "2.csv", "b,y\n1,u\n")
    with pytest.raises(UsageError, match=r"2\.csv': column 'a' is not in each file"):
        build_table(config_of(tmp_path), seed=0)
    with pytest.raises(UsageError, match=r"needs nothing_at_all: pip install 'trainkit\[data\]'"):
        source.import_extra("nothing_at_all", need="data.source='x.csv'")


SERIES = "t,v\n" + "".join(f"2026-01-{day:02d}T00:00:00,{day}\n" for day in range(1, 29))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("01-20T", "01-19T", "line 21, t: '2026-01-19T00:00:00' is the same as the time in the row above; sort"),
        ("01-20T", "01-10T", "line 21, t: '2026-01-10T00:00:00' is before the time in the row above; sort"),
        ("2026-01-20T00:00:00", "yesterday", "line 21, t: 'yesterday' is no time"),
        ("2026-01-20T00:00:00", "", "line 21, t: '' is no time"),
        (",20\n", ",\n", "line 21, v: '' is no finite number"),
    ],
)  # fmt: skip
def test_times_that_do_not_rise_are_refused(tmp_path, old, new, message):
    """Double, unsorted, none at all: the line is named; sorted ones are read, and are no channel."""
    settings = {"time": "t", "window": 4, "horizon": 1, "stride": 1}
    good = build_series(SeriesConfig(source=write(tmp_path / "good.csv", SERIES), **settings), seed=0)
    with pytest.raises(UsageError, match=message):
        build_series(
            SeriesConfig(source=write(tmp_path / "bad.csv", SERIES.replace(old, new)), **settings), seed=0
        )

    assert good.facts == {"num_channels": 1}
    assert good.prepared.table.times[:2, 0].diff().tolist() == [86_400e6]


def test_columns_are_inferred_by_most_cells_or_declared(tmp_path):
    """Numbers, categories, times and texts; a declaration wins; a kind that does not fit is refused."""
    lines = [f"{n},{n % 3},{n % 2 == 0},2026-01-{n % 28 + 1:02d},word{n}" for n in range(60)]
    path = write(tmp_path / "k.csv", "n,c,y,d,w\n" + "\n".join(lines) + "\n")
    kinds = open_source(config_of(path)).table.manifest.kinds
    declared = open_source(config_of(path, schema={"c": "category"}))

    assert kinds == {"n": "number", "c": "number", "y": "category", "d": "time", "w": "text"}
    assert declared.fitted.categories["c"] == ["0", "1", "2"]
    assert build_table(config_of(path, schema={"c": "category"}), seed=0).facts == {
        "num_features": 4, "num_classes": 2,
    }  # fmt: skip
    with pytest.raises(UsageError, match="line 2, w: 'word0' is no finite number"):
        build_table(config_of(path, schema={"w": "number"}), seed=0)
    with pytest.raises(UsageError, match="is of kind text: declare data.schema.w=category"):
        build_table(config_of(path, target="w"), seed=0)


# --- the cache


def list_caches():
    return [path.parent for path in source.find_cache("").glob("*/manifest.json")]


def test_a_cache_is_used_until_the_content_changes(tmp_path, monkeypatch):
    """Touched or moved, the file is not read again; changed within the same second and length, it is."""
    path = tmp_path / "rows.csv"
    before = build_table(config_of(write(path)), seed=0)
    with monkeypatch.context() as patch:
        patch.setattr(caching, "read_blocks", None)
        os.utime(path, (1, 1))
        moved = path.rename(tmp_path / "other.csv")
        after = build_table(config_of(moved), seed=0)
        os.utime(moved, (1, 1))
        build_table(config_of(moved), seed=0)
    changed = build_table(config_of(write(path, ROWS.replace("39,", "38,"))), seed=0)

    assert all(map(torch.equal, list_rows(before.train), list_rows(after.train)))
    assert changed.prepared.table.folder != before.prepared.table.folder


@pytest.mark.parametrize("damage", ["cut", "flipped", "no manifest", "half a manifest"])
def test_a_damaged_cache_is_built_anew(tmp_path, capsys, damage):
    """And said so; the batches are what they were."""
    path = write(tmp_path / "rows.csv")
    before = list_rows(build_table(config_of(path), seed=0).train)
    (folder,) = list_caches()
    data = bytearray((folder / "numbers.npy").read_bytes())
    if damage == "cut":
        (folder / "numbers.npy").write_bytes(data[:-8])
    elif damage == "flipped":
        data[-3] ^= 1
        (folder / "numbers.npy").write_bytes(data)
    elif damage == "no manifest":
        (folder / "manifest.json").unlink()
    else:
        (folder / "manifest.json").write_text((folder / "manifest.json").read_text()[:50])
    after = list_rows(build_table(config_of(path), seed=0).train)

    assert "is damaged" in capsys.readouterr().err
    assert all(map(torch.equal, before, after))
    assert [caching._check(folder)[1], list_caches()] == ["", [folder]]


def test_two_at_once_make_one_cache(tmp_path):
    """Whoever is second takes the first one's; also where a damaged one lies in the place."""
    path = write(tmp_path / "rows.csv")
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: list_rows(build_table(config_of(path), seed=0).train), range(4)))
        (folder,) = list_caches()
        for _ in range(20):
            (folder / "codes.npy").write_bytes(b"")
            list(pool.map(lambda _: build_table(config_of(path), seed=0), range(4)))
        made += pool.map(lambda _: list_rows(build_table(config_of(path), seed=0).train), range(4))

    assert all(all(map(torch.equal, made[0], each)) for each in made)
    assert list_caches() == [folder]
    assert not [each for each in source.find_cache("").iterdir() if each.name.startswith(".building")]


def test_a_cached_table_needs_no_polars_and_a_crash_leaves_no_cache(tmp_path):
    """What a crash in the middle leaves is not taken for a cache, and is removed after a day."""
    path = write(tmp_path / "rows.csv")
    build_table(config_of(path), seed=0)
    code = (
        "import os, sys\nfrom trainkit.core.config import TableConfig\nfrom trainkit.core.data import cache, table\n"
        f"config = TableConfig(source={path!r}, target='y')\n"
        "next(iter(table.build_table(config, seed=0).train))\n"
        "print({'polars', 'fsspec', 'aiohttp', 'pandas', 'scipy'} & set(sys.modules), flush=True)\n"
        "cache._write_arrays = lambda folder, *_: ((folder / 'numbers.npy').write_bytes(b'x'), os._exit(9))\n"
        "config.columns = ['a']\ntable.build_table(config, seed=0)"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (9, "set()\n")
    (left,) = source.find_cache("").glob(".building-*")
    build_table(config_of(path, columns=["a"]), seed=0)

    assert left.exists()
    os.utime(left, (1, 1))
    build_table(config_of(path, columns=["b"]), seed=0)
    assert not left.exists()


def test_a_full_disk_is_explained(tmp_path):
    """Nothing half written stays, and the next try succeeds."""
    path = write(tmp_path / "rows.csv", "a,y\n" + "1.5,u\n" * 5000)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(
            TrainkitError, match="could not be written: .*make room, or give data.cache_dir"
        ) as caught:
            build_table(config_of(path), seed=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert (caught.value.slug, caught.value.exit_status) == ("data-not-cached", 3)
    assert not [each for each in source.find_cache("").iterdir() if each.name != "digests"]
    assert len(build_table(config_of(path), seed=0).train.dataset) == 3000


def test_a_source_is_read_in_blocks(tmp_path, monkeypatch):
    """Larger than memory: at no time more than some blocks of it; the bits are those of one block."""
    path = write(
        tmp_path / "rows.csv", "a,b,y\n" + "".join(f"{n},{n * n % 101},{n % 5 * 0.5}\n" for n in range(3000))
    )
    settings = {"schema": {"y": "category"}, "split": "temporal"}
    whole = build_table(config_of(path, **settings), seed=0)
    sizes = []
    monkeypatch.setattr(reading, "BLOCK_BYTES", 1000)
    read = caching.read_blocks
    monkeypatch.setattr(
        caching, "read_blocks", lambda *args: (sizes.append(len(each.frame)) or each for each in read(*args))
    )
    cut = build_table(config_of(path, **settings, cache_dir=str(tmp_path / "cache")), seed=0)

    assert len(sizes) > 20
    assert max(sizes[1:]) < 150
    assert cut.prepared.fitted == whole.prepared.fitted
    for part in ("train", "validation", "test"):
        assert all(map(torch.equal, list_rows(getattr(whole, part)), list_rows(getattr(cut, part))))


# --- addresses


class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    body, failures, seen, mode = ROWS.encode(), 0, [], ""

    def do_HEAD(self):
        self.answer(b"")

    def do_GET(self):
        type(self).seen.append(self.path)
        self.answer(self.body)

    def answer(self, body):
        if self.path.endswith("gone.csv"):
            self.send_error(404)
            return
        if body and type(self).failures:
            type(self).failures -= 1
            if self.mode == "500":
                self.send_error(500)
                return
            if self.mode == "slow":
                time.sleep(1.0)
            if self.mode == "cut":
                body = body[: len(body) // 2]
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.body)))
        self.send_header("ETag", f'"{hash(self.body)}"')
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = self.mode == "cut"

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    """A server on loopback that fails as it is told."""
    pytest.importorskip("aiohttp")
    monkeypatch.setattr(source, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(source, "SILENCE_S", 0.3)
    handler = type("Handler", (Server,), {"seen": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        listening.daemon_threads = True
        listening.handle_error = lambda *_: None  # a client that has waited long enough hangs up
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        handler.address = f"http://127.0.0.1:{listening.server_port}/rows.csv"
        yield handler
        listening.shutdown()
        thread.join()


@pytest.mark.parametrize("mode", ["500", "slow", "cut"])
def test_a_failing_server_is_asked_again(tmp_path, server, capsys, mode):
    """Twice it fails, then the rows are those of the file; not more often than four times."""
    expected = list_rows(build_table(config_of(write(tmp_path / "rows.csv")), seed=0).train)
    server.mode, server.failures = mode, 2
    actual = list_rows(build_table(config_of(server.address), seed=0).train)
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("trainkit: ")]

    assert all(map(torch.equal, expected, actual))
    assert len(server.seen) == len(told) + 1 == 3
    assert all(line.endswith("trying again") for line in told)
    server.body, server.failures = server.body + b"9,9,no\n", 99
    with pytest.raises(TrainkitError, match=r"rows\.csv': not read after 4 tries") as caught:
        build_table(config_of(server.address), seed=0)
    assert caught.value.slug == "data-unreachable"
    assert not list(source.find_cache("").rglob("*.tmp"))


def test_what_has_not_changed_is_not_brought_again(server):
    """By its ETag; another version is."""
    for _ in range(2):
        build_table(config_of(server.address), seed=0)
    assert len(server.seen) == 1
    server.body = ROWS.replace("yes", "maybe").encode()

    assert "maybe" in build_table(config_of(server.address), seed=0).prepared.fitted.categories["y"]
    assert len(server.seen) == 2


def test_an_address_that_is_wrong_is_not_asked_again(server):
    """404, and a protocol that nobody knows; the line in a message names the address."""
    with pytest.raises(UsageError, match="gone"):
        build_table(config_of(server.address.replace("rows", "gone")), seed=0)
    with pytest.raises(UsageError, match="nothing://"):
        build_table(config_of("nothing://x/rows.csv"), seed=0)
    server.body = b"a,y\n1,u\n2,v\nx,v\n"
    with pytest.raises(UsageError, match=r"'http://127.*/rows\.csv', line 4, a: 'x' is no finite number"):
        build_table(config_of(server.address), seed=0)


def test_text_is_read_from_folders_and_addresses(tmp_path, server):
    """A real text, Python's help topics, in two files and from a server, gives the batches of the built-in."""
    topics = [text.decode() for text in read_documents("pydoc_data.topics")]
    paragraphs = [each for text in topics for each in text.split("\n\n") if each.strip()]
    half = len(paragraphs) // 2
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "1.txt", "\n\n".join(paragraphs[:half]))
    write(tmp_path / "in" / "2.txt", "\n\n".join(paragraphs[half:]))
    server.body = "\n\n".join(paragraphs).encode()
    address = server.address.replace(".csv", ".txt")

    assert [*read_documents(str(tmp_path / "in"))] == [*read_documents(address)]
    batch = next(iter(build_text(TextConfig(source=address), seed=0).train))
    assert batch.tokens.shape == (32, 128)


def test_the_manifest_says_what_lies_in_the_cache(tmp_path):
    """Other tools can read it: NumPy arrays beside JSON."""
    build_table(config_of(write(tmp_path / "rows.csv")), seed=0)
    (folder,) = list_caches()
    manifest = json.loads((folder / "manifest.json").read_text())

    assert (manifest["numbers"], manifest["num_rows"]) == (["a", "b"], 40)
    assert numpy.load(folder / "numbers.npy")[39].tolist() == [39.0, 4.5]
