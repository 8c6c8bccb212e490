"""Windows, splits, order and limits."""

import gzip
import math
import pickle
import random
import tracemalloc

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainkit.core import text
from trainkit.core.config import TextConfig, TrainConfig
from trainkit.core.data import (
    IGNORE_INDEX,
    EpochSampler,
    Seeded,
    count_batches,
    split,
)
from trainkit.core.parts import open_data
from trainkit.core.text import Documents, Windows, build_text, read_documents
from trainkit.errors import UsageError


def cut(documents, sequence_length):
    held = Documents.hold(documents)
    windows = Windows(held.texts, held.places, sequence_length=sequence_length)
    return windows, windows.__getitems__(range(len(windows)))


@settings(max_examples=60, deadline=None)
@given(documents=st.lists(st.binary(max_size=40), max_size=4), sequence_length=st.integers(1, 9))
def test_every_byte_is_predicted_once(documents, sequence_length):
    """Targets without padding are the documents without their first bytes; tokens are the bytes before."""
    _, windows = cut(documents, sequence_length)
    real = windows.targets != IGNORE_INDEX

    assert windows.targets[real].tolist() == [byte for each in documents for byte in each[1:]]
    assert windows.tokens[real].tolist() == [byte for each in documents for byte in each[:-1]]
    assert not windows.tokens[~real].any()
    assert windows.tokens.shape == windows.targets.shape == (len(real), sequence_length)
    assert real.any(1).all()


def test_last_window_is_padded():
    """Padding is token 0 and a target that the loss ignores."""
    _, windows = cut([b"abcdef"], 4)

    assert windows.tokens[-1].tolist() == [ord("e"), 0, 0, 0]
    assert windows.targets[-1].tolist() == [ord("f"), *[IGNORE_INDEX] * 3]


@settings(max_examples=60, deadline=None)
@given(num=st.integers(0, 50), train=st.floats(0.1, 1.0), share=st.floats(0, 0.99))
def test_documents_are_split_in_order(num, train, share):
    """The parts put together are the documents, each one once."""
    documents = [bytes([index]) for index in range(num)]
    config = TextConfig(train_fraction=train, validation_fraction=(1 - train) * share)
    parts = split(documents, config)

    assert [each for part in parts for each in part] == documents


def test_default_split_is_60_20_20():
    """Ten documents are split six, two, two."""
    parts = split([b"x"] * 10, TextConfig())

    assert [len(part) for part in parts] == [6, 2, 2]


def test_order_depends_on_seed_and_epoch_alone():
    """Each (seed, epoch) has its own order, the same every time, whatever the global RNG did."""
    orders = {}
    for seed in (0, 1):
        for epoch in (0, 1):
            sampler = EpochSampler(20, seed=seed)
            sampler.set_epoch(epoch)
            orders[seed, epoch] = list(sampler)
            torch.rand(1)

            assert list(sampler) == orders[seed, epoch]
            assert sorted(sampler) == list(range(20))

    assert len({tuple(order) for order in orders.values()}) == 4


def test_largest_seed_has_an_order():
    """The largest allowed seed fits torch's generator."""
    sampler = EpochSampler(5, seed=2**32 - 1)
    sampler.set_epoch(2**20 - 1)

    assert sorted(sampler) == [0, 1, 2, 3, 4]


def test_loaders_leave_the_global_rng_alone(text_file):
    """Building and reading the data draws nothing from torch's global generator."""
    before = torch.get_rng_state()
    corpus = build_text(TextConfig(source=str(text_file), sequence_length=16, batch_size=4), seed=0)
    batches = [*corpus.train, *corpus.validation, *corpus.test]

    assert torch.equal(torch.get_rng_state(), before)
    assert batches[0].tokens.shape == batches[0].targets.shape == (4, 16)


class Noise(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return torch.rand(()), random.random(), numpy.random.rand()


def test_a_sample_that_draws_is_seeded_without_a_stack_for_each_device(monkeypatch):
    """The same numbers for (seed, epoch, index), from generators that are there; `torch.manual_seed` is slow."""
    seeded = Seeded(Noise(), seed=3)
    monkeypatch.setattr(torch, "manual_seed", None)
    first, other, again = seeded[0, 1], seeded[1, 1], seeded[0, 1]

    assert first == again
    assert all(one != two for one, two in zip(first, other, strict=True))


def test_what_a_data_set_imports_may_draw(monkeypatch):
    """The generators of a run do not depend on which packages are installed, and are imported for its data."""
    monkeypatch.setattr(text, "build_text", lambda *_, **__: (random.random(), torch.rand(2)))
    before = random.getstate(), torch.get_rng_state().tolist()
    drawn = open_data(TrainConfig())

    assert len(drawn[1]) == 2
    assert (random.getstate(), torch.get_rng_state().tolist()) == before


def test_built_in_source_has_documents():
    """Python's own help topics are there without a download."""
    documents = read_documents("pydoc_data.topics")

    assert len(documents) > 50
    assert sum(map(len, documents)) > 300_000


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(
        st.text(st.sampled_from("ab \n\n\n\r\t\u00a0\u3000\ufeffé\U0001f600"), max_size=30),
        min_size=1,
        max_size=3,
    )
)
def test_paragraphs_of_files_are_documents(tmp_path_factory, texts):
    """As if each were read, with any ends of lines, and split at its blank lines; copies in workers, too."""
    folder = tmp_path_factory.mktemp("texts")
    for number, each in enumerate(texts):
        (folder / f"{number}.txt").write_bytes(each.encode())
    read = [(folder / f"{number}.txt").read_text(encoding="utf-8") for number in range(len(texts))]
    documents = read_documents(str(folder))

    assert [*documents] == [part.encode() for each in read for part in each.split("\n\n") if part.strip()]
    copied = pickle.loads(pickle.dumps(Windows(documents.texts, documents.places, sequence_length=3)))
    if len(copied):
        whole = Windows(documents.texts, documents.places, sequence_length=3).__getitems__(range(len(copied)))
        assert copied.__getitems__(range(len(copied))).targets.equal(whole.targets)


def test_a_text_is_not_held_in_memory(tmp_path):
    """What is allocated for 16 MB of text are the places of its documents and windows."""
    path = tmp_path / "long.txt"
    path.write_bytes(b"word " * 200 + b"\n\n" + b"word " * 3_200_000)
    tracemalloc.start()
    try:
        loaders = build_text(TextConfig(source=str(path), sequence_length=512, train_fraction=0.5), seed=0)
        next(iter(loaders.train))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert most < 8 << 20


def test_missing_source_is_explained(tmp_path):
    """A path that is not there is named, with what may be given instead."""
    with pytest.raises(UsageError, match=r"data\.source='.*nothing\.txt'.*pydoc_data\.topics") as caught:
        read_documents(str(tmp_path / "nothing.txt"))

    assert caught.value.slug == "data-unreadable"


def test_other_encoding_is_explained(tmp_path):
    """A file that is not UTF-8 is refused."""
    path = tmp_path / "latin.txt"
    path.write_bytes(b"a\n" * (1 << 19) + "Gr\u00f6\u00dfe".encode("latin-1"))
    with pytest.raises(UsageError, match=r"latin.txt', line 524289: byte 0xf6 is no UTF-8") as caught:
        read_documents(str(path))

    assert caught.value.slug == "data-unreadable"


def test_a_compressed_text_is_refused(tmp_path):
    """With what to do about it."""
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"some text"))
    with pytest.raises(UsageError, match="no UTF-8; give it decompressed"):
        read_documents(str(path))


def test_nothing_to_train_on_is_refused(tmp_path):
    """A text whose train part has no window would train nothing and look fine."""
    path = tmp_path / "short.txt"
    path.write_text("a\n\nb\n\nc", encoding="utf-8")
    with pytest.raises(UsageError, match="3 documents, 2 of them in the train part") as caught:
        build_text(TextConfig(source=str(path)), seed=0)

    assert caught.value.slug == "data-empty"


class Endless(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter(lambda: torch.zeros(1), None)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(0, 0), (1, 1), (99, 8), (0.0, 0), (1e-9, 1), (0.5, 4), (0.99, 7), (1.0, 8)],
)
def test_limit_counts_or_takes_a_fraction(limit, expected):
    """An int is a count, a float a fraction, and a fraction above 0 is at least one batch."""
    windows, _ = cut([bytes(17)], 2)

    assert count_batches(torch.utils.data.DataLoader(windows), limit) == expected


def test_limit_of_an_empty_loader_is_empty():
    """No fraction of nothing is one batch."""
    assert count_batches(torch.utils.data.DataLoader(cut([], 2)[0]), 0.5) == 0


def test_a_loader_without_a_length_is_counted_and_not_measured():
    """A count limits it, everything is everything, and a part of an unknown number is refused."""
    endless = torch.utils.data.DataLoader(Endless())

    assert [count_batches(endless, limit) for limit in (3, 1.0, 0.0)] == [3, math.inf, 0]
    with pytest.raises(UsageError, match="0.5 is no count"):
        count_batches(endless, 0.5)
