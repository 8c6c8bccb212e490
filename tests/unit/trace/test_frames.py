"""Whose lines are running: those of the tree, wherever the project lies in it."""

import os

import pytest

from trainkit.trace import frames


@pytest.mark.parametrize(
    ("file", "place"),
    [
        ("app/train.py", "train.py"),
        ("app/src/net.py", "src/net.py"),
        ("lib/scale.py", "../lib/scale.py"),  # a project may import what stands beside it
        ("app/venv/lib/python3/site-packages/torch.py", ""),
        ("../elsewhere/x.py", ""),
        ("<string>", ""),
    ],
)
def test_files_of_the_tree_are_named_from_the_project_s_folder(tmp_path, monkeypatch, file, place):
    """Others are nobody's: libraries, what is made up, what lies outside."""
    monkeypatch.setattr(frames, "TOP", f"{tmp_path}{os.sep}")
    monkeypatch.setattr(frames, "TREE", f"{tmp_path / 'app'}{os.sep}")
    monkeypatch.setattr(frames, "_known", {})
    name = file if file.startswith("<") else str(tmp_path / file)

    assert frames.place_of(compile("x = 1", name, "exec")) == place
