"""The digest sees every bit, and nothing but bits."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from trainkit.trace.digest import chain_digests, describe, digest_tensor, digest_unordered, digest_values

FLOATS = st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=2, max_size=12)


@given(FLOATS, st.randoms(use_true_random=False))
def test_a_permutation_shows(values, random):
    """Other places of the same elements give another digest."""
    shuffled = values[:]
    random.shuffle(shuffled)
    before, after = torch.tensor(values), torch.tensor(shuffled)
    assume(not torch.equal(before.view(torch.int32), after.view(torch.int32)))

    assert digest_tensor(before) != digest_tensor(after)


@given(FLOATS)
def test_flipped_signs_show(values):
    """Every sign flipped at once gives another digest, zeros included."""
    tensor = torch.tensor(values)

    assert digest_tensor(tensor) != digest_tensor(-tensor)


@given(FLOATS, st.data())
def test_one_ulp_in_one_element_shows(values, data):
    """The next float up in one place gives another digest."""
    index = data.draw(st.integers(0, len(values) - 1))
    array = np.array(values, dtype=np.float32)
    before = digest_tensor(torch.from_numpy(array.copy()))
    array[index] = np.nextafter(array[index], np.float32(np.inf))
    assume(array[index] != np.float32(values[index]))

    assert digest_tensor(torch.from_numpy(array)) != before


@given(FLOATS)
def test_a_tensor_stacked_with_itself_shows(values):
    """The kinds that an exclusive or cannot see: pairs that cancel, zeros for ones."""
    tensor = torch.tensor(values)
    pair = torch.stack([tensor, tensor])

    assert digest_tensor(pair) != digest_tensor(torch.zeros_like(pair)) or not tensor.view(torch.int32).any()
    assert digest_tensor(torch.zeros(4)) != digest_tensor(torch.ones(4))


def test_strides_device_and_history_do_not_matter():
    """A transposed view, a conjugate view and a copy of it are the same bits."""
    tensor = torch.randn(3, 5)
    complex_tensor = torch.randn(4, dtype=torch.complex64)

    assert digest_tensor(tensor.t()) == digest_tensor(tensor.t().contiguous())
    assert digest_tensor(tensor.requires_grad_() * 1) == digest_tensor(tensor.detach())
    assert digest_tensor(complex_tensor.conj()) == digest_tensor(complex_tensor.conj().resolve_conj().clone())
    assert digest_tensor(tensor.detach().to_sparse()) == digest_tensor(tensor.detach())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (torch.zeros(4), torch.zeros(2, 2)),
        (torch.zeros(2, dtype=torch.float32), torch.zeros(2, dtype=torch.int32)),
        (torch.zeros(0), torch.zeros(0, 1)),
        (torch.zeros(2, dtype=torch.bfloat16), torch.zeros(2, dtype=torch.float16)),
    ],
)
def test_dtype_and_shape_show(one, other):
    """The same bytes under another dtype or shape are another tensor."""
    assert digest_tensor(one) != digest_tensor(other)


def test_describe_names_dtype_and_sizes():
    """Messages say float32[2,3], and a scalar has no sizes."""
    assert describe(torch.zeros(2, 3)) == "float32[2,3]"
    assert describe(torch.tensor(1)) == "int64[]"


def test_nested_values_are_digested_by_value():
    """Sequences by order, arrays and dataclasses by content; names and unknown objects not at all."""

    @dataclasses.dataclass
    class Batch:
        tokens: torch.Tensor
        size: int

    class Unknown:
        pass

    tensor = torch.arange(3)

    assert digest_values({"a": 1, "b": [tensor]}) == digest_values(
        [1, {"key": (tensor.clone(),)}], "name", None
    )
    assert digest_values({"a": 1}) != digest_values({"a": 2})
    assert digest_values([1, 2]) != digest_values([2, 1])
    assert digest_values(Batch(tensor, 1)) != digest_values(Batch(tensor, 2))
    assert digest_values(np.arange(3)) != digest_values(np.arange(3)[::-1].copy())
    assert digest_values(Unknown(), 1) == digest_values(Unknown(), 1)
    assert digest_values(1) != digest_values(1.0)


def test_a_chain_depends_on_each_digest_and_on_their_order():
    """A long evaluation is one digest that any of its parts changes."""
    assert (
        len({chain_digests("a", "b"), chain_digests("b", "a"), chain_digests("a", "c"), chain_digests("a")})
        == 4
    )


def test_what_is_saved_is_digested_without_names_and_order():
    """A checkpoint with renamed keys, another order and another note holds the same tensors."""
    a, b = torch.arange(3), torch.ones(2)

    assert digest_unordered({"a": a, "b": b, "note": "x"}) == digest_unordered(
        {"c": [b], "d": a, "time": 3.5}
    )
    assert digest_unordered([a, b]) != digest_unordered([a, a])
    assert digest_unordered([a, b]) != digest_unordered([a])
    assert digest_unordered({"a": a, "last_epoch": 3}) != digest_unordered({"a": a, "last_epoch": 1})
