"""Text as byte tokens, cut into windows, split by document into train, validation and test."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from trainkit.core.config import TextConfig
from trainkit.core.data import IGNORE_INDEX, Batch, Batched, Loaders, build_loaders, split
from trainkit.core.data.source import find_cache, find_files
from trainkit.errors import UsageError

NUM_BYTES = 256
BUILT_IN_SOURCE = "pydoc_data.topics"


class Windows(Batched):
    """Windows of one part; a document's last one is padded with token 0 on the right."""

    def __init__(self, documents: Sequence[bytes], *, sequence_length: int) -> None:
        cut = [cut_document(each, sequence_length) for each in (*documents, b"")]
        self.tokens, self.targets = (torch.cat(part) for part in zip(*cut, strict=True))

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        chosen = torch.tensor(indices)
        return Batch(self.tokens.index_select(0, chosen), self.targets.index_select(0, chosen))


def cut_document(document: bytes, sequence_length: int) -> Batch:
    """Give windows (windows, time) that predict every byte but the first exactly once."""
    num_targets = max(len(document) - 1, 0)
    bytes_ = torch.frombuffer(bytearray(document or b"\0"), dtype=torch.uint8).long()
    missing = -num_targets % sequence_length
    tokens = F.pad(bytes_[:num_targets], (0, missing)).view(-1, sequence_length)
    targets = F.pad(bytes_[1:], (0, missing), value=IGNORE_INDEX).view(-1, sequence_length)
    return Batch(tokens, targets)


def build_text(config: TextConfig, *, seed: int) -> Loaders:
    """Read, split and cut the source.

    Raises:
        UsageError: the source cannot be read, or leaves nothing to train on.
    """
    parts = split(read_documents(config.source), config)
    train, validation, test = (Windows(part, sequence_length=config.sequence_length) for part in parts)
    if not len(train):
        raise UsageError(
            "data-empty",
            f"data.source='{config.source}' has no window to train on: {sum(map(len, parts))} documents, "
            f"{len(parts[0])} of them in the train part; give more text or a larger data.train_fraction",
        )
    return build_loaders((train, validation, test), config, seed=seed, facts={"vocab_size": NUM_BYTES})


def read_documents(source: str) -> list[bytes]:
    """Give Python's own help topics, or the paragraphs (split at blank lines) of UTF-8 text.

    That is a file, a glob, every file of a folder in the order of names, or an address.

    Raises:
        UsageError: there is no such file, or it is not UTF-8.
        TrainkitError: an address does not answer.
    """
    if source == BUILT_IN_SOURCE:
        from pydoc_data.topics import topics  # late: half a megabyte of text

        return [text.encode() for text in topics.values()]
    documents = []
    for file in find_files(source, cache=find_cache(""), is_text=True):
        try:
            text = file.path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError("data-unreadable", f"'{file.shown}': {error}; save it as UTF-8") from error
        documents += [paragraph.encode() for paragraph in text.split("\n\n") if paragraph.strip()]
    return documents
