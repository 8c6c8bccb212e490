"""Synthetic documents, their vocabulary, and rows of packed documents."""

import random

import torch

PAD, EOS, IGNORE = 0, 1, -100
ADJECTIVES = ("small", "large", "deep", "wide", "noisy", "sparse")
NOUNS = ("model", "layer", "batch", "gradient", "schedule", "weight", "token")
VERBS = ("learns", "drifts", "scales", "forgets", "returns", "grows")


def make_documents(num_documents, seed):
    """Lists of words, one to three clauses of a small grammar each."""
    rng = random.Random(seed)
    documents = []
    for _ in range(num_documents):
        words = []
        for _ in range(rng.randint(1, 3)):
            words += ["the", rng.choice(ADJECTIVES), rng.choice(NOUNS), rng.choice(VERBS)]
        documents.append(words)
    return documents


def build_vocabulary(documents):
    """Word to index; padding and the end of a document come first."""
    words = sorted({word for document in documents for word in document})
    return {word: index for index, word in enumerate(["<pad>", "<eos>", *words])}


class PackedRows:
    """Documents one after the other in rows of equal length, the last one padded."""

    def __init__(self, documents, vocabulary, row_len):
        stream = [token for words in documents for token in [*(vocabulary[word] for word in words), EOS]]
        num_rows = -(-(len(stream) - 1) // row_len)
        stream += [PAD] * (num_rows * row_len + 1 - len(stream))
        stream = torch.tensor(stream)
        ends = (stream == EOS).long()
        labels = stream[1:].clone()
        labels[stream[:-1] == EOS] = IGNORE  # nothing foretells the first word of a document
        labels[stream[1:] == PAD] = IGNORE
        self.tokens = stream[:-1].view(num_rows, row_len)
        self.labels = labels.view(num_rows, row_len)
        self.documents = (ends.cumsum(0) - ends)[:-1].view(num_rows, row_len)

    def __len__(self):
        return len(self.tokens)

    def batches(self, batch_size, generator=None):
        """Tokens, labels and document numbers, in a random order if there is a generator."""
        num_rows = len(self)
        order = torch.arange(num_rows) if generator is None else torch.randperm(num_rows, generator=generator)
        for rows in order.split(batch_size):
            yield self.tokens[rows], self.labels[rows], self.documents[rows]
