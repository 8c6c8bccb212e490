"""Files that a run leaves: which differences are results, and which may be another form of the same."""

import datetime
import gzip
import json
import os
import pickle
import sqlite3
import struct
import sys
import tempfile
import time
import warnings
import zipfile
from argparse import Namespace
from contextlib import closing
from pathlib import Path

import h5py
import numpy as np
import polars
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.tensorboard import SummaryWriter

from trainkit.repo.trees import open_trees
from trainkit.verify.formats import Output
from trainkit.verify.options import RunOptions
from trainkit.verify.outputs import (
    Changes,
    are_known,
    compare_outputs,
    keep_repeated_outputs,
    list_unsteady_outputs,
    read_outputs,
)
from trainkit.verify.run import record_run


def write_safetensors(path, tensors, classes="cat"):
    header, data = {"__metadata__": {"classes": classes}}, b""
    for name, values in tensors.items():
        raw = np.asarray(values, dtype="<f4").tobytes()
        header[name] = {
            "dtype": "F32",
            "shape": [len(values)],
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


@pytest.fixture
def read(tmp_path):
    """Write files into a new folder and give what is read of it."""
    count = iter(range(100))

    def run(**files):
        folder = tmp_path / str(next(count))
        (folder / "out").mkdir(parents=True)
        began = time.time_ns()
        for name, write in files.items():
            path = folder / "out" / name.replace("_", ".")
            path.write_text(write) if isinstance(write, str) else write(path)
        return read_outputs(folder, began)

    return run


def saved(*values, **more):
    return lambda path: torch.save({"net": {"a": torch.tensor(values)}, **more}, path)


def tell(*scalars):
    def write(path):
        pytest.importorskip("tensorboard")
        with SummaryWriter(path.parent / "board") as writer:
            for step, (tag, value) in enumerate(scalars):
                writer.add_scalar(tag, value, step)
            writer.add_histogram("weights", np.arange(5))
        (written,) = (path.parent / "board").iterdir()
        written.rename(path)

    return write


def tabulate(*scores):
    def write(path):
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("CREATE TABLE runs (fold INTEGER, score REAL)")
            connection.executemany("INSERT INTO runs VALUES (?, ?)", enumerate(scores))

    return write


def store(*values):
    def write(path):
        with h5py.File(path, "w", track_order=True) as file:
            file["fold/scores"], file["names"] = np.array(values), ["a", "b"]

    return write


def attach(score, names=("a", "b"), text="then", *, at_top=False):
    def write(path):
        with h5py.File(path, "w") as file:
            file["names"] = list(names)
            (file if at_top else file["names"]).attrs["score"], file.attrs["made"] = score, text

    return write


WAYS = {
    "top_h5": (attach(0.5, at_top=True), attach(0.25, at_top=True)),
    "scored_h5": (attach(0.5), attach(0.25)),
    "many_h5": (
        attach(1, [f"{n:05}" for n in range(2000)]),
        attach(1, [f"{n + (n == 999):05}" for n in range(2000)]),
    ),
    "blobs_sqlite": (tabulate(b"\x3f\x1a\x2b\x4c"), tabulate(b"\x3f\x1a\x2b\x4d")),
    "long_parquet": (
        polars.DataFrame({"score": [n / 7 for n in range(40_000)]}).write_parquet,
        polars.DataFrame({"score": [n / 7 + (n == 20_000) for n in range(40_000)]}).write_parquet,
    ),
    "runs_sqlite": (tabulate(0.5, 0.25), tabulate(0.25, 0.5)),
    "best_h5": (store(0.5, 0.25), store(0.25, 0.5)),
    "best_parquet": (
        polars.DataFrame({"id": [1, 2], "score": [0.5, 0.25]}).write_parquet,
        polars.DataFrame({"id": [2, 1], "score": [0.25, 0.5]}).write_parquet,
    ),
    "best_feather": (
        polars.DataFrame({"score": [0.5, 0.25]}).write_ipc,
        polars.DataFrame({"score": [0.25, 0.5]}).write_ipc,
    ),
    "best_pt": (saved(1.0, 2.0), saved(1.0, 3.0)),
    "best_safetensors": (
        lambda path: write_safetensors(path, {"a": [1.0, 2.0]}),
        lambda path: write_safetensors(path, {"a": [1.0, 3.0]}),
    ),
    "best_npz": (
        lambda path: np.savez(path, a=np.array([1.0])),
        lambda path: np.savez(path, a=np.array([2.0])),
    ),
    "best_npy": (lambda path: np.save(path, np.array([1.0])), lambda path: np.save(path, np.array([2.0]))),
    "best_ckpt": (saved(1.0, accuracy=0.5), saved(1.0, accuracy=0.25)),
    "best_pkl": (
        lambda path: path.write_bytes(pickle.dumps({"a": 0.5, "b": np.arange(3), "c": 7})),
        lambda path: path.write_bytes(pickle.dumps({"a": 0.5, "b": np.arange(3) + 1, "c": 7})),
    ),
    "named_npz": (
        lambda path: np.savez(path, a=np.array([1.0]), b=np.array([2.0])),
        lambda path: np.savez(path, b=np.array([1.0]), a=np.array([2.0])),
    ),
    "events.out.tfevents.1.host_0": (tell(("loss", 0.5), ("acc", 0.25)), tell(("loss", 0.25), ("acc", 0.5))),
    "long_csv": (
        "".join(f"{i},{i / 7}\n" for i in range(20_000)),
        "".join(f"{i},{i / 7 + (i == 9_999)}\n" for i in range(20_000)),
    ),
    "best_json": ('{"epoch": 3, "loss": 0.25}', '{"epoch": 3, "loss": 0.5}'),
}


@pytest.mark.parametrize("name", WAYS)
def test_other_numbers_in_a_file_are_a_result(read, name):
    """Whoever wrote it, and in any of the usual forms; equal ones are none."""
    before, now = (read(**{name: write}) for write in WAYS[name])

    assert compare_outputs(before, read(**{name: WAYS[name][0]})) == Changes()
    number = compare_outputs(before, now).numbers[0]
    assert number.startswith(
        (f"out/{name.replace('_', '.')}: ", "out/best.ckpt, beside tensors: ", "out/events.out.tfevents: ")
    )


def test_folders_with_dates_are_the_same_folder(tmp_path):
    """As timm and Hydra name them."""
    began = time.time_ns()
    for side, folder in (
        ("a", "20261128-191234-vit"),
        ("b", "2026-11-29/01-02-03"),
        ("c", "20261129-010203-vit"),
    ):
        (tmp_path / side / folder).mkdir(parents=True)
        (tmp_path / side / folder / "last-12.txt").write_text(f"loss 0.{ord(side)}")
    first, second, third = (read_outputs(tmp_path / side, began) for side in "abc")

    assert list(second) == ["#/#/last-12.txt"]
    assert compare_outputs(first, third).numbers == ("#-vit/last-12.txt: 'loss 0.97' -> 'loss 0.99'",)


def test_files_that_differ_in_their_time_alone_are_all_read(tmp_path):
    """A resumed run has two files of events in one folder; a damaged checkpoint ends nothing."""
    for name in ("a.tfevents.123456.h", "a.tfevents.234567.h"):
        (tmp_path / name).write_text(name)
    with zipfile.ZipFile(tmp_path / "bad.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", b"\x80\x02J")
        archive.writestr("x/data/0", b"1234")
    damaged = bytearray((tmp_path / "bad.pt").read_bytes())
    damaged[42] ^= 255  # in the compressed pickle
    (tmp_path / "worse.pt").write_bytes(damaged)

    assert sorted(read_outputs(tmp_path, 0)) == ["a.tfevents", "a.tfevents+", "bad.pt", "worse.pt"]


def test_another_form_is_no_result(read):
    """More tensors, another type, another name or text; what is lost is told, what is new is not."""
    before = read(
        a_pt=saved(1.0), b_safetensors="broken", c_txt="loss 0.5", d_pt=saved(2.0), e_bin=saved(1.0)
    )
    now = read(
        a_pt=saved(1.0, average=torch.ones(3)),
        b_safetensors="other",
        c_txt="cost 0.7",
        f_pt=saved(3.0),
        e_bin=lambda path: path.write_bytes(b"\0\1"),
    )

    lost = ("out/b.safetensors: 'broken' -> 'other'", "out/c.txt: 'loss 0.5' -> 'cost 0.7'", "out/d.pt")
    assert compare_outputs(before, now) == Changes(
        others=("out/a.pt (tensors of other sizes)", "out/e.bin"), lost=lost
    )
    renamed = read(a_pt=lambda path: torch.save({"module.a": torch.tensor([1.0])}, path))
    assert compare_outputs(read(a_pt=saved(1.0)), renamed) == Changes()


def pack(**members):
    def write(path):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("time.txt", str(time.time_ns()))
            for name, text in members.items():
                archive.writestr(f"{name}.json", text)

    return write


def compress(text):
    return lambda path: path.write_bytes(gzip.compress(text.encode(), mtime=time.time_ns() / 1e9))


def test_what_is_packed_is_read(read):
    """Beside a time in the same archive, and under a header that holds one; a broken one is bytes."""
    before, again, now = (
        read(a_zip=pack(meta=f'{{"std": {std}}}'), b_csv_gz=compress(f"loss,{std}\n"), c_gz="broken 1")
        for std in (0.5, 0.5, 0.6)
    )

    assert compare_outputs(before, again).numbers[1:] == ()  # but for the time
    assert compare_outputs(keep_repeated_outputs(before, again), now).numbers == (
        """out/a.zip/meta.json: '{"std": 0.5}' -> '{"std": 0.6}'""",
        "out/b.csv.gz: 'loss,0.5' -> 'loss,0.6'",
    )


def test_what_is_packed_otherwise_is_bytes(read):
    """Two archives in one file, one that is large, a packing that few can read."""
    rows = "".join(f"{i}\n" for i in range(10))

    def join(last):
        return lambda path: path.write_bytes(gzip.compress(b"1", mtime=0) + gzip.compress(last, mtime=0))

    def fill(last):
        return lambda path: path.write_bytes(gzip.compress(b"0" * 9_000_000 + last, mtime=0))

    def squeeze(text):
        def write(path):
            with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
                archive.writestr(zipfile.ZipInfo("a"), text, zipfile.ZIP_LZMA)

        return write

    before, now = (
        read(a_gz=join(last), b_gz=fill(last), c_zip=squeeze(rows + last.decode())) for last in (b"2", b"3")
    )

    assert compare_outputs(before, now).others == ("out/a.gz", "out/b.gz", "out/c.zip")


def test_a_script_in_training_is_another_one(read):
    """Its numbers are the same: what differs is how its modules are set."""
    module = torch.nn.Dropout(0.5)

    def export(training):
        return lambda path: torch.jit.script(module.train(training)).save(str(path))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        before, same, now = (read(net_pt=export(mode)) for mode in (False, False, True))

    assert compare_outputs(before, same) == Changes()
    assert compare_outputs(before, now) == Changes(others=("out/net.pt, settings of modules",))


def test_what_a_checkpoint_holds_beside_tensors_is_compared_by_its_place(read):
    """Swapped fractions and other arrays are results; words, whole numbers, options and what is gone are not."""
    first = saved(
        1.0,
        train=0.25,
        val=0.75,
        classes=["cat", "dog"],
        epoch=3,
        args=Namespace(width=4),
        scores=np.arange(3.0),
    )
    before = read(a_pt=first)

    def change(**more):
        state = {
            "train": 0.25,
            "val": 0.75,
            "classes": ["cat", "dog"],
            "epoch": 3,
            "args": Namespace(width=4),
        }
        return compare_outputs(before, read(a_pt=saved(1.0, **{"scores": np.arange(3.0)} | state | more)))

    name = "out/a.pt, beside tensors: "
    assert change() == change(new=1.5) == Changes()
    assert change(train=0.75, val=0.25).numbers == (f"{name}val 0.75 -> 0.25, and 1 more",)
    assert change(classes=["dog", "cat"]).others == (f"{name}classes.1 'dog' -> 'cat', and 1 more",)
    assert change(epoch=4) == Changes(others=(f"{name}epoch 3 -> 4",))
    assert change(args=Namespace(width=8)).others == (f"{name}args.state.width 4 -> 8",)
    assert change(args=Namespace()).lost == (f"{name}args.state.width",)
    assert change(scores=np.arange(3.0)[::-1].copy()).numbers[0].startswith(f"{name}scores.state.4 <24 bytes")
    assert change(scores=np.arange(4.0)).others[0].startswith(name)


def test_a_pickle_is_read_and_not_run(read, tmp_path):
    """What it names is stood in for, whatever it is; one that holds very much is summed up."""

    class Bomb:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    def dump(value):
        return lambda path: path.write_bytes(pickle.dumps(value))

    values = {"bomb": Bomb(), "set": {1, 2}, "seen": {frozenset({3})}, "when": datetime.date(2024, 3, 5)}
    found = read(a_pkl=dump(values), b_pkl=dump(list(range(100_001))))

    assert not (tmp_path / "ran").exists()
    assert found["out/a.pkl"].kind == "values"
    assert compare_outputs(found, read(a_pkl=dump(values | {"set": {1, 3}}))).numbers == (
        "out/a.pkl: set.1 2 -> 3",
    )
    assert found["out/b.pkl"].kind == "numbers"
    assert read(c_pkl=dump({0, 8})) == read(c_pkl=dump({8, 0}))  # which come in another order


def test_of_a_file_that_does_not_repeat_the_rest_is_compared(read):
    """One time among arrays, values or scalars hides no result; the file is named as not compared whole."""

    def leave(acc, seconds):
        return {
            "a_npz": lambda path: np.savez(path, acc=np.array([acc]), seconds=np.array([seconds])),
            "b_pkl": lambda path: path.write_bytes(pickle.dumps({"acc": acc, "seconds": seconds})),
            "events.out.tfevents.1.host_0": tell(("acc", acc), ("seconds", seconds)),
            "d_npy": lambda path: np.save(path, np.array([seconds])),
            "e_bin": lambda path: path.write_bytes(b"\0" + str(seconds).encode()),
        }

    kept = keep_repeated_outputs(read(**leave(0.5, 1.5)), read(**leave(0.5, 2.5)))
    now, other = read(**leave(0.5, 3.5)), read(**leave(0.25, 3.5))

    assert compare_outputs(kept, now) == Changes()
    assert [number.split(":")[0] for number in compare_outputs(kept, other).numbers] == [
        "out/a.npz", "out/b.pkl", "out/events.out.tfevents",
    ]  # fmt: skip
    renamed = read(a_npz=lambda path: np.savez(path, accuracy=np.array([0.5]), seconds=np.array([3.5])))
    assert compare_outputs({"out/a.npz": kept["out/a.npz"]}, renamed) == Changes()
    assert list_unsteady_outputs(kept) == sorted(kept)
    assert not are_known(now, kept)


def test_days_and_ids_in_a_file_are_told_and_today_is_not(read):
    """A forecast for the next day is another one; a log of today and tomorrow's is the same."""
    today, ago = (datetime.datetime.now(tz=datetime.UTC).date() - datetime.timedelta(days=n) for n in (0, 30))
    before = read(a_csv=f"2024-03-05,0.5\n{today},1\n", b_csv="0a1b2c3d4e,0.5\n", c_csv=f"{today},7\n")
    now = read(a_csv=f"2024-03-06,0.5\n{today},1\n", b_csv="0a1b2c3d4f,0.5\n", c_csv=f"{today},7\n")

    assert compare_outputs(before, now) == Changes(
        others=("out/a.csv, its dates and ids", "out/b.csv, its dates and ids")
    )
    assert list_unsteady_outputs(keep_repeated_outputs(before, now)) == []
    assert not any(name.startswith("out/c.csv,") for name in before)
    assert are_known(now, keep_repeated_outputs(before, before))
    assert read(c_csv=f"{ago},7\n").keys() == {"out/c.csv", "out/c.csv, its dates and ids"}


def test_a_step_in_a_name_is_none_of_a_moment(read):
    """A checkpoint of the next step, a forecast of another day; seconds since 1970 are a moment."""
    now = int(time.time())
    for one, two, lost in (
        ("model_000002_txt", "model_000003_txt", ("out/model.000002.txt",)),
        ("day_2024-03-05_txt", "day_2024-03-06_txt", ("out/day.2024-03-05.txt",)),
        (f"log_{now}_txt", f"log_{now + 60}_txt", ()),
    ):
        assert compare_outputs(read(**{one: "loss 0.5"}), read(**{two: "loss 0.5"})).lost == lost


def test_words_before_safetensors_are_told(read):
    """Names of classes, a step."""
    before, now = (
        read(a_safetensors=lambda path, words=words: write_safetensors(path, {"a": [1.0]}, words))
        for words in ("cat,dog", "dog,cat")
    )

    assert compare_outputs(before, now) == Changes(
        others=("out/a.safetensors, metadata: classes 'cat,dog' -> 'dog,cat'",)
    )


def test_an_order_is_no_number(read):
    """Keys and rows may be written in another order; more of them are another form."""
    rows = [f"{i},{i / 7}\n" for i in range(20_000)]

    def dump(**values):
        return lambda path: path.write_bytes(pickle.dumps(values))

    first = read(a_pkl=dump(x=1.5, y=10**400), b_csv="".join(rows), c_pt=saved(1.0, x=0.5))
    second = read(a_pkl=dump(y=10**400, x=1.5), b_csv="".join(rows[::-1]), c_pt=saved(1.0, x=0.5, epoch=3))
    more = read(
        a_pkl=dump(x=1.5, y=10**400, z=2.5), b_csv="".join([*rows, "7"]), c_pt=saved(1.0, x=0.7, y=1.0)
    )

    assert compare_outputs(first, second) == Changes(others=("out/b.csv",))
    assert compare_outputs(first, more) == Changes(
        numbers=("out/c.pt, beside tensors: x 0.5 -> 0.7",), others=("out/b.csv (40000 -> 40001 numbers)",)
    )


@given(st.binary(max_size=60))
def test_what_only_looks_like_a_pickle_is_bytes(content):
    """Or a pickle, or TensorBoard's file; in no case is it run, or does it end the reading."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "a.bin").write_bytes(b"\x80" + content + b".")
        for name, magic in (
            ("a.h5", b"\x89HDF\r\n\x1a\n"),
            ("a.parquet", b"PAR1"),
            ("a.db", b"SQLite format 3\0"),
        ):
            Path(folder, name).write_bytes(magic + content + magic)
        Path(folder, "tfevents.1").write_bytes(struct.pack("<QI", len(content), 0) + content + b"1234")

        assert {each.kind for each in read_outputs(Path(folder), 0).values()} <= {
            "bytes",
            "numbers",
            "text",
            "values",
        }


def test_a_date_in_a_file_is_no_result_and_a_huge_table_is_bytes(read):
    """Attributes that are text are passed over; a table of a few bytes may have millions of rows."""
    assert read(a_h5=attach(0.5)) == read(a_h5=attach(0.5, text="now"))
    many = polars.DataFrame({"zero": polars.zeros(1_000_001, eager=True)})
    assert read(best_parquet=many.write_parquet)["out/best.parquet"].kind == "bytes"


def test_what_no_library_is_there_for_is_bytes(read, monkeypatch):
    """The program may run in an environment of its own, and the verification in another."""
    (write, _), names = WAYS["best_parquet"], ("pyarrow", "pyarrow.parquet", "polars")
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)

    assert read(best_parquet=write)["out/best.parquet"].kind == "bytes"


def test_only_what_repeats_is_compared():
    """Times in a log, a picture with a date, a file of one run alone."""
    first = {
        "log.csv": Output("text", "1,0.1234,0.5678\n"),
        "a.png": Output("bytes", "8:1"),
        "x.npy": Output("tensors", "8:1:"),
        "only": Output("bytes", "1:1"),
    }
    second = {
        "log.csv": Output("text", "1,0.9999,0.5678\n"),
        "a.png": Output("bytes", "8:2"),
        "x.npy": Output("tensors", "8:1:"),
    }
    kept = keep_repeated_outputs(first, second)

    assert {path: output.kind for path, output in kept.items()} == {
        "a.png": "unsteady",
        "log.csv": "text",
        "x.npy": "tensors",
    }
    assert compare_outputs(kept, second) == compare_outputs(kept, first) == Changes()
    third = second | {"log.csv": Output("text", "1,0.7777,0.5679\n")}
    assert compare_outputs(kept, third).numbers == ("log.csv: '1,#,0.5678' -> '1,0.7777,0.5679'",)


def test_what_was_there_before_is_not_read(tmp_path):
    """Nor caches, and what is beyond the limits; what was copied with its times is, and where links lead."""
    (tmp_path / "data.bin").write_bytes(b"old")
    (tmp_path / "old").symlink_to("data.bin")
    time.sleep(0.05)
    since = time.time_ns()
    (tmp_path / "copy.bin").write_bytes(b"old")
    os.utime(tmp_path / "copy.bin", ns=(0, 0))
    (tmp_path / "link").symlink_to(tmp_path / "data.bin")
    (tmp_path / "best").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__/x").write_text("x")
    (tmp_path / "module.pyc").write_text("x")
    with zipfile.ZipFile(tmp_path / "code.zip", "w") as archive:
        archive.writestr("a.py", "x")
    (tmp_path / "large.txt").write_text("x" * 300_000)
    (tmp_path / "larger.txt").write_text("x" * 8_400_000)

    found = read_outputs(tmp_path, since)

    assert found["link"] == Output("text", "/data.bin")
    assert {path: output.kind for path, output in found.items()} == {
        "best": "text",
        "code.zip/a.py": "text",
        "copy.bin": "text",
        "large.txt": "numbers",
        "larger.txt": "bytes",
        "link": "text",
    }


def test_a_link_to_another_epoch_is_another_result(tmp_path):
    """The best one, for instance: by its name, or by its number."""
    sides = []
    for name, target in (("one", "epoch_3"), ("two", "epoch_7")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "best").symlink_to(target)
        sides.append(read_outputs(tmp_path / name, 0))

    assert compare_outputs(*sides).numbers == ("best: 'epoch_3' -> 'epoch_7'",)


def test_files_elsewhere_are_read_from_where_a_run_went_on(tmp_path, monkeypatch):
    """What was in a log before is no result; caches, and what is gone again, are passed over."""
    root, log, gone = tmp_path / "tree", tmp_path / "log.csv", tmp_path / "gone"
    root.mkdir()
    log.write_text("0.5\n0.25\n")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/x").write_text("1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    beside = {log: 4, gone: 0, tmp_path / "cache/x": 0, root / "inside": 0}

    assert read_outputs(root, 0, beside=beside) == {str(log): Output("text", "0.25\n")}


def test_a_program_s_files_elsewhere_are_its_outputs(make_project, tmp_path):
    """A result that is written to an absolute path, by whatever process of the program."""
    path = tmp_path / "result.json"
    files = {
        "main.py": "import os, subprocess, sys\nprint(os.getcwd())\nsubprocess.run([sys.executable, 'child.py'])\n",
        "child.py": f"open({str(path)!r}, 'w').write('0.5')\n",
    }
    with open_trees(make_project(files).path, None) as (tree, _):
        run = record_run(tree, RunOptions(command=("python", "main.py")), into=tmp_path / "trace")

    assert run.outputs == {str(path): Output("text", "0.5")}
    assert run.stdout == "\n\x1e"  # without the path of the tree


def test_a_folder_that_is_called_by_its_process_is_the_same_folder():
    """And so is a file; of several that fit, none is taken for another one."""
    first = {
        name: Output("text", "loss 0.5\n")
        for name in ("run-81/a.txt", "run-81/b.txt", "log-81", "x1/c", "x2/c")
    }
    second = {"run-92/a.txt": Output("text", "loss 0.5\n"), "run-92/b.txt": Output("text", "loss 0.5\n"),
              "log-92": Output("text", "loss 0.6\n"), "x3/c": Output("text", "loss 0.6\n")}  # fmt: skip
    kept = keep_repeated_outputs(first, second)

    assert kept.keys() == {"run-#/a.txt", "run-#/b.txt", "log-#"}
    now = {"run-103/a.txt": Output("text", "loss 0.7\n"), "run-103/b.txt": Output("text", "loss 0.5\n")}
    changes = Changes(numbers=("run-#/a.txt: 'loss 0.5' -> 'loss 0.7'",), lost=("log-#",))
    assert compare_outputs(kept, now) == changes
    assert (
        compare_outputs(kept, keep_repeated_outputs(now, {f"run-104/{name[-5:]}": now[name] for name in now}))
        == changes
    )
    steady = {"step-100.txt": Output("text", "loss 0.5\n")}
    assert compare_outputs(steady, {"step-200.txt": Output("text", "loss 0.5\n")}) == Changes(
        lost=("step-100.txt",)
    )
    dated = {"run-#/step-100.txt": Output("text", "loss 0.5\n")}
    changes = compare_outputs(dated, {"run-#/step-200.txt": Output("text", "loss 0.5\n")})
    assert changes == Changes(lost=("run-#/step-100.txt",))


NAMES = st.sets(st.text(alphabet="a/12", min_size=1, max_size=5))


@given(NAMES, NAMES)
def test_a_run_has_all_that_is_kept_of_it(first, second):
    """Whatever its files are called."""
    runs = [{name: Output("bytes", "1:1") for name in names} for names in (first, second)]
    kept = keep_repeated_outputs(*runs)

    assert compare_outputs(kept, runs[0]) == compare_outputs(kept, runs[1]) == Changes()


def test_the_path_of_the_tree_is_no_word_of_a_file(tmp_path):
    """It is another one in each verification, and the first one's files may have been kept."""
    found = []
    for name, loss in (("trainkit-1-ab", 0.5), ("trainkit-2-cd", 0.5), ("trainkit-2-ef", 0.6)):
        root = tmp_path / name / "tree"
        root.mkdir(parents=True)
        (root / "config.json").write_text(json.dumps({"cwd": str(root), "loss": loss}))
        (root / "config.pkl").write_bytes(pickle.dumps({"cwd": str(root), "steps": 3}))
        (root / "config.bin").write_bytes(b"\0" + os.fsencode(root))
        found.append(read_outputs(root, 0))

    assert compare_outputs(found[0], found[1]) == Changes()
    assert [row.partition(":")[0] for row in compare_outputs(found[0], found[2]).numbers] == ["config.json"]


TENSORS, OTHER_TENSORS = Output("tensors", "4:1:"), Output("tensors", "4:2:")
LOG = Output("text", "acc 0.5\ntook 6.125 s")


@pytest.mark.parametrize(
    ("left", "known"),
    [
        ({"w.pt": TENSORS, "log.txt": Output("text", "acc 0.5\ntook 8.125 s")}, True),
        ({"log.txt": LOG}, True),
        ({"w.pt": TENSORS, "more.pt": TENSORS}, False),
        ({"w.pt": TENSORS, "chosen.pt": TENSORS}, False),
        ({"log.txt": Output("text", "acc 0.5\nauc 0.5")}, False),
    ],
)
def test_files_are_known_where_all_of_them_repeats(left, known):
    """One more, one more line, or one that is another one each time: no."""
    kept = keep_repeated_outputs(
        {"w.pt": TENSORS, "log.txt": LOG, "chosen.pt": TENSORS},
        {"w.pt": TENSORS, "log.txt": Output("text", "acc 0.5\ntook 7.125 s"), "chosen.pt": OTHER_TENSORS},
    )

    assert are_known(left, kept) == known
