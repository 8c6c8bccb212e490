"""Names of an invented language, and the contexts that a character model learns from."""

import random

import torch

CONSONANTS, VOWELS = "bdgklmnrst", "aeiou"
SYMBOLS = "." + "".join(sorted(CONSONANTS + VOWELS))
CONTEXT = 3


def make_names(num_names, seed):
    rng = random.Random(seed)
    names = []
    for _ in range(num_names):
        syllables = [rng.choice(CONSONANTS) + rng.choice(VOWELS) for _ in range(rng.randint(1, 3))]
        names.append("".join(syllables))
    return names


def encode(names):
    """Contexts, (examples, CONTEXT), and the character that follows each."""
    contexts, targets = [], []
    for name in names:
        window = [0] * CONTEXT
        for symbol in name + ".":
            index = SYMBOLS.index(symbol)
            contexts.append(list(window))
            targets.append(index)
            window = [*window[1:], index]
    return torch.tensor(contexts), torch.tensor(targets)
