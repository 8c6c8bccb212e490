"""Trees of sources to review, and the facts of one source."""

import textwrap

import pytest

from trainkit.review.sources import read_sources
from trainkit.review.survey import EXTRACTORS


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def write_tree(tmp_path):
    """Write files by path into an empty folder that is no git repository."""

    def write(files):
        for name, text in files.items():
            path = tmp_path / "tree" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        return tmp_path / "tree"

    return write


@pytest.fixture
def read_tree(write_tree):
    return lambda files: read_sources(write_tree(files), EXTRACTORS)
