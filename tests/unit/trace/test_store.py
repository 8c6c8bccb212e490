"""Traces as files: what was written comes back, and nothing else is taken for a trace."""

import gzip
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainkit.errors import CannotJudgeError, UsageError
from trainkit.trace.divergence import compare, summarise
from trainkit.trace.store import (
    Recording,
    find_recording,
    parse_events,
    read_trace,
    write_trace,
)

HEADER = {"command": "python train.py", "settings": ["1 thread"]}


@pytest.fixture
def recording(script, tmp_path) -> Recording:
    """Two ranks, of which the second has taken other steps."""
    folder = tmp_path / "recorded"
    folder.mkdir()
    other = script.copy()
    other.steps[0]["loss"] = ["0x1.8p+1"]
    for name, one in (("0000-2-9.jsonl", script), ("0001-1-8.jsonl", other)):
        (folder / name).write_text("\n".join(one.lines()) + "\n")
    return find_recording(folder)


@pytest.fixture
def packed(recording, tmp_path):
    path = tmp_path / "run.trace"
    write_trace(path, HEADER, recording)
    return path


def read_whole(path):
    header, processes = read_trace(path)
    return header, [list(process) for process in processes]


def test_what_was_written_comes_back(recording, packed):
    """The header and the events of all processes, ranks in order."""
    header, processes = read_whole(packed)

    assert header == {"event": "recording", "format": 3} | HEADER
    assert processes == [list(process) for process in recording.processes()]
    assert [process[0]["event"] for process in processes] == ["trace", "trace"]
    assert processes[0] != processes[1]


def test_a_trace_is_the_same_as_what_it_was_made_of(recording, packed):
    """Compared with its own recording it differs in nothing."""
    _, processes = read_trace(packed)

    for left, right in zip(recording.processes(), processes, strict=True):
        assert compare(left, right).first is None


@pytest.mark.parametrize("num_read", [0, 1, 3])
def test_a_process_that_is_not_read_to_its_end_is_passed_over(recording, packed, num_read):
    """The next process begins where it begins."""
    _, processes = read_trace(packed)
    first = next(processes)
    for _ in range(num_read):
        next(first)

    assert list(next(processes)) == list(recording.processes()[1])
    assert list(processes) == []


def test_ranks_are_in_order_and_others_are_told_apart_by_their_first_step(script, tmp_path):
    """Names hold times and process numbers, which change from run to run."""
    other = script.copy()
    other.steps[0]["loss"] = ["0x0.0p+0"]
    orders = []
    for names in (("0000-1-1", "0000-2-2", "0001-0-0"), ("0000-2-2", "0000-1-1", "0001-0-0")):
        folder = tmp_path / names[0]
        folder.mkdir()
        for name, one in zip(names, (script, other, script), strict=True):
            (folder / f"{name}.jsonl").write_text("\n".join(one.lines()) + "\n")
        found = find_recording(folder)
        orders.append([list(process)[3] for process in found.processes()])
        assert found.paths[-1].name == "0001-0-0.jsonl"

    assert orders[0] == orders[1]


def test_an_empty_folder_is_an_empty_recording(tmp_path):
    """Nothing was trained there."""
    assert find_recording(tmp_path) == Recording(paths=())


def test_a_missing_file_is_the_users_mistake(tmp_path):
    """It is named."""
    with pytest.raises(UsageError, match="no file .*gone.trace"):
        read_trace(tmp_path / "gone.trace")


@pytest.mark.parametrize(
    ("content", "slug"),
    [
        (b"", "trace-format"),
        (b"plain text\n", "trace-damaged"),
        (gzip.compress(b"", mtime=0), "trace-format"),
        (gzip.compress(b"not json\n", mtime=0), "trace-format"),
        (gzip.compress(b"[1, 2]\n", mtime=0), "trace-format"),
        (gzip.compress(b'{"event": "trace", "format": 3}\n', mtime=0), "trace-format"),
        (gzip.compress(b'{"event": "recording", "format": 1}\n', mtime=0), "trace-format"),
        (gzip.compress(b"\xff\xfe\xff\n", mtime=0), "trace-damaged"),
    ],
)
def test_foreign_files_are_refused(tmp_path, content, slug):
    """Nothing, text, other gzip files and other formats are no traces."""
    path = tmp_path / "foreign.trace"
    path.write_bytes(content)

    with pytest.raises(CannotJudgeError) as caught:
        read_whole(path)
    assert caught.value.slug == slug


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_a_trace_that_is_cut_off_anywhere_is_never_a_shorter_trace(packed, tmp_path, data):
    """A download that broke off is an error, wherever it broke off."""
    content = packed.read_bytes()
    path = tmp_path / "cut.trace"
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])

    with pytest.raises(CannotJudgeError):
        read_whole(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_a_trace_with_a_flipped_byte_is_an_error_of_ours(packed, tmp_path, data):
    """A damaged file is refused in words, or holds what it held (a byte of the gzip header says nothing)."""
    content = bytearray(packed.read_bytes())
    whole = read_whole(packed)
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path = tmp_path / "flipped.trace"
    path.write_bytes(content)

    try:
        found = read_whole(path)
    except CannotJudgeError as error:
        assert error.slug in {"trace-damaged", "trace-format"}
    else:
        assert found == whole


def test_a_file_is_replaced_whole_or_not_at_all(packed, recording, tmp_path):
    """Where a trace cannot be written nothing is left, and the old one stays."""
    before = packed.read_bytes()
    (recording.paths[1]).unlink()
    with pytest.raises(UsageError, match="run.trace"):
        write_trace(packed, HEADER, recording)
    with pytest.raises(UsageError, match="no-such-folder"):
        write_trace(tmp_path / "no-such-folder" / "run.trace", HEADER, recording)

    assert packed.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["recorded", "run.trace"]


# -- lines


def parse(*lines):
    return list(parse_events(lines, origin="x"))


START = '{"event":"trace","format":3}\n'


@pytest.mark.parametrize(
    ("lines", "slug", "message"),
    [
        (['{"event":"trace","format":99}\n'], "trace-format", "x is not of format 3; record it again"),
        (['{"event":"step"}\n'], "trace-format", "x is not of format 3"),
        (["no json\n"], "trace-damaged", "x, line 1"),
        (["no json"], "trace-damaged", "x, line 1"),
        ([START, '{"event":"in\n', START], "trace-damaged", "x, line 2"),
        ([START, '{"step":1}\n'], "trace-damaged", "line 2: KeyError"),
        ([START, "7\n"], "trace-damaged", "line 2: TypeError"),
        (
            [START, '{"event":"problem","where":"a hook","error":"E()"}\n'],
            "recorder-failed",
            "failed in a hook: E()",
        ),
    ],
)
def test_lines_that_are_no_trace_are_refused(lines, slug, message):
    """What is no event is a clear error, and so is an event of the recorder's own failure."""
    with pytest.raises(CannotJudgeError) as caught:
        parse(*lines)
    assert caught.value.slug == slug
    assert message in str(caught.value)


def test_a_cut_off_last_line_is_the_end():
    """A process that was killed while it wrote has written what came before."""
    assert parse(START, '{"event":"facts"}\n', '{"event":"st') == [json.loads(START), {"event": "facts"}]


def test_a_cut_off_last_line_outlives_the_way_through_a_trace_file(script, tmp_path):
    """The trace of a killed program can be written, read and compared up to where it was killed."""
    folder = tmp_path / "recorded"
    folder.mkdir()
    (folder / "0000-1-1.jsonl").write_text("\n".join(script.lines())[:-30])
    write_trace(tmp_path / "run.trace", HEADER, find_recording(folder))
    _, processes = read_trace(tmp_path / "run.trace")
    summary = summarise(next(processes))

    assert (summary.num_steps, summary.complete) == (3, False)
