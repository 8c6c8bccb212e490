"""Runs that are written by hand."""

import pytest

from trainkit.trace.store import find_recording
from trainkit.verify.run import Run


@pytest.fixture
def make_run(tmp_path):
    """Make a run from the lines of its processes."""
    count = iter(range(1000))

    def make(*processes, side="candidate", **more) -> Run:
        folder = tmp_path / f"run{next(count)}"
        folder.mkdir()
        for rank, process in enumerate(processes):
            lines = process if isinstance(process, list) else process.lines()
            (folder / f"{rank:04d}-1-1.jsonl").write_text("\n".join(lines) + "\n")
        return Run(side=side, recording=find_recording(folder), **more)

    return make
