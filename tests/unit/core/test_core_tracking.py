"""Metrics and progress."""

import io
import sys

from trainkit.core.config import TrainConfig
from trainkit.core.table import Row, open_csv
from trainkit.core.tracking import Opening, track_progress


class Terminal(io.StringIO):
    """A stderr that is a terminal."""

    def isatty(self):
        return True


def tell_table(opening: Opening, *places: tuple[int, int, str]) -> str:
    """Give metrics.csv after rows at these (epoch, step, part)."""
    table = open_csv(opening)
    for epoch, step, part in places:
        more = {} if part == "step" else {"accuracy": 0.5}
        table.tell(Row(epoch, step, part, 4, {"loss": 0.25} | more))
    table.flush()
    return (opening.folder / "metrics.csv").read_text(encoding="utf-8")


def test_table_is_wide(tmp_path):
    """A column per value, empty where a part has none."""
    text = tell_table(Opening(TrainConfig(), tmp_path, {}), (0, 3, "step"), (0, 5, "train"))

    assert text == "epoch,step,part,items,loss,accuracy\n0,3,step,4,0.25,\n0,5,train,4,0.25,0.5\n"


def test_resumed_table_drops_what_will_be_repeated(tmp_path):
    """Rows of later epochs and steps and of the test go, so that the continued table is that of one run."""
    whole = [(0, 5, "train"), (0, 5, "validation"), (1, 6, "step"), (1, 8, "step"), (1, 10, "train")]
    tell_table(Opening(TrainConfig(), tmp_path, {}), *whole[:4], (1, 10, "test"))
    resumed = Opening(TrainConfig(), tmp_path, {}, num_epochs=1, step=7, table=tmp_path / "metrics.csv")
    text = tell_table(resumed, *whole[3:])

    assert text == tell_table(Opening(TrainConfig(), tmp_path, {}), *whole)


def test_old_table_goes_on(tmp_path):
    """What an earlier version wrote, with JSON in a cell, becomes columns."""
    old = tmp_path / "metrics.csv"
    old.write_text('epoch,step,part,tokens,loss,metrics\r\n0,5,train,4,0.25,"{""accuracy"": 0.5}"\r\n')
    text = tell_table(Opening(TrainConfig(), tmp_path, {}, num_epochs=1, step=5, table=old))

    assert text == "epoch,step,part,items,loss,accuracy\n0,5,train,4,0.25,0.5\n"


def test_resume_without_a_table_starts_one(tmp_path):
    """A resumed run in a new folder writes the header."""
    opening = Opening(TrainConfig(), tmp_path, {}, num_epochs=3, table=tmp_path / "nothing.csv")

    assert tell_table(opening) == "epoch,step,part,items,loss\n"


def test_pipe_is_quiet(capsys):
    """Without a terminal the batches come back untouched."""
    batches = [1, 2]

    assert track_progress(batches, description="x", total=2) is batches


def test_terminal_shows_a_bar(monkeypatch):
    """On a terminal the description and the total are seen, and every batch comes through."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    seen = list(track_progress([1, 2], description="epoch 4", total=2))

    assert seen == [1, 2]
    assert "epoch 4" in terminal.getvalue()
    assert "0/2" in terminal.getvalue()


def test_terminal_without_tqdm_is_quiet(monkeypatch):
    """A missing tqdm costs the bar and nothing else."""
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setitem(sys.modules, "tqdm", None)
    batches = [1, 2]

    assert track_progress(batches, description="x", total=2) is batches
