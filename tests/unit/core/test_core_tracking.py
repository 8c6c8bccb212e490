"""Metrics and progress."""

import io
import sys

from trainkit.core.loop import EpochResult
from trainkit.core.tracking import append_metrics, start_metrics, track_progress


class Terminal(io.StringIO):
    """A stderr that is a terminal."""

    def isatty(self):
        return True


def test_resumed_table_drops_what_will_be_repeated(tmp_path):
    """Rows of later epochs and of the test go, so that the continued table is that of one run."""
    path = tmp_path / "metrics.csv"
    start_metrics(path, num_epochs=0)
    for epoch, part in [(0, "train"), (0, "test"), (1, "train")]:
        append_metrics(
            path, epoch=epoch, step=5, part=part, result=EpochResult(1.0, 4, 5, metric_sums={"accuracy": 2.0})
        )
    start_metrics(path, num_epochs=1)

    assert path.read_text(encoding="utf-8").splitlines() == [
        "epoch,step,part,items,loss,metrics",
        '0,5,train,4,0.25,"{""accuracy"": 0.5}"',
    ]


def test_resume_without_a_table_starts_one(tmp_path):
    """A resumed run in a new folder writes the header."""
    start_metrics(tmp_path / "metrics.csv", num_epochs=3)

    assert (tmp_path / "metrics.csv").read_text(encoding="utf-8").startswith("epoch,step")


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
