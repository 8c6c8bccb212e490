"""How much a word says about what code does: the names that all training code uses say little.

The tables come from counting in how many of 6,776 functions (pytorch/examples, cleanrl, diffusers, torch,
lightning) a word stands, and they are part of the definition: whether two pieces are clones does not depend
on what else is in the tree.
"""

from __future__ import annotations

_GENERIC = frozenset(
    """
    torch np numpy nn F str int bool float list dict tuple set len range isinstance append super
    args kwargs default type help action store_true add_argument to device shape size dtype item
    step zero_grad backward train eval print format join get items keys values enumerate zip self
    cls name __init__ __name__ requires_grad True False None cuda cpu is_available parameters os
    path sum mean float32 tensor no_grad data cfg config info debug warning logger logging log write
    required choices dim loss max min detach _
    """.split()  # noqa: SIM905
) | {"", " ", ", ", "\n", "{}", ",", ".", ":", "/", "-", "_"}
_COMMON = frozenset(
    """
    Tensor Any view reshape size stride numel max min abs add mul unsqueeze squeeze permute
    transpose contiguous cat stack zeros ones empty zeros_like ones_like empty_like Linear Module
    ModuleList Sequential Parameter relu ReLU Dropout dropout forward exp sqrt randn rand randint
    random arange clone copy update extend pop split strip replace startswith endswith sorted
    reversed any all map filter open read close exists makedirs mkdir getattr setattr hasattr
    ValueError RuntimeError TypeError KeyError NotImplementedError AssertionError Exception optim
    optimizer optimizers lr Adam AdamW SGD DataLoader batch_size shuffle num_workers Dataset dataset
    state_dict load_state_dict save load json math time environ seed manual_seed utils model models
    scheduler epoch epochs weight weight_decay bias eps output input target index key value ndim
    long half bool property staticmethod classmethod partial functools warnings set_postfix tqdm
    total desc set_description round argmax no_grad inference_mode mode keepdim non_blocking
    in_features out_features hidden_size
    """.split()  # noqa: SIM905
)
PLAIN = 3  # the weight of a statement that only moves values
_TELLING = frozenset({"print", "info", "debug", "warning", "warn", "log", "write", "set_postfix"})


class _Weights(dict[str, int]):
    def __missing__(self, word: str) -> int:
        self[word] = weight = 2 if word in _GENERIC else 5 if word in _COMMON else 10
        return weight


weight_of = _Weights().__getitem__
"""Gives the weight of a word: 2, 5 or 10. Whole numbers add up to the same in any order."""


def weigh(words: list[str], size: int) -> int:
    """Give the weight of a statement by its words and by how many locals and literals it has.

    What only tells somebody of progress counts little.
    """
    weight = PLAIN + sum(map(weight_of, words)) + max(size - 2, 0)
    return min(weight, 5 if words and words[0] in _TELLING else 50)
