"""The digest sees every bit, and nothing but bits."""

import dataclasses
import hashlib
import math
import zlib

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from trainkit.trace.digest import (
    chain_digests,
    describe,
    digest_bytes,
    digest_content,
    digest_leaf,
    digest_pieces,
    digest_quick,
    digest_sample,
    digest_tensor,
    digest_values,
    iterate_named_leaves,
)

FLOATS = st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=2, max_size=12)
DTYPES = [
    torch.float32,
    torch.float64,
    torch.bfloat16,
    torch.float16,
    torch.int64,
    torch.int32,
    torch.int8,
    torch.uint8,
]
# Around the limits of the digest's parts, in elements: 8 KiB, 256 KiB blocks, rests of less than a word.
SIZES = [2047, 2048, 2049, 4099, 8193, 65_535, 65_536, 65_537, 131_075]


def make_large(size: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Give values that repeat, as weights do: all in (0, 1]."""
    values = (torch.arange(size) * 7919 % 1021 + 1).double() / 1024
    return values.to(dtype) if dtype.is_floating_point else (values * 100).to(dtype)


def same_bits(one, other):
    return one.view(torch.uint8).equal(other.view(torch.uint8))


# -- every bit shows


@given(FLOATS, st.randoms(use_true_random=False))
def test_a_permutation_shows(values, random):
    """Other places of the same elements give another digest."""
    shuffled = values[:]
    random.shuffle(shuffled)
    before, after = torch.tensor(values), torch.tensor(shuffled)
    assume(not same_bits(before, after))

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


@pytest.mark.parametrize("digest", [digest_tensor, digest_quick, digest_content])
@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_single_element_of_a_large_tensor_shows(digest, data):
    """Any one bit of any one element, in any dtype: at the limits of blocks and in the last rest, too."""
    size = data.draw(st.sampled_from(SIZES))
    tensor = make_large(size, data.draw(st.sampled_from(DTYPES)))
    before = digest(tensor)
    index = data.draw(st.integers(0, size - 1) | st.sampled_from([0, 1, size - 2, size - 1]))
    as_bytes = tensor.view(torch.uint8)
    place = index * tensor.element_size() + data.draw(st.integers(0, tensor.element_size() - 1))
    as_bytes[place] ^= 1 << data.draw(st.integers(0, 7))

    assert digest(tensor) != before


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_the_signs_of_any_pair_of_a_large_tensor_show(data):
    """Two signs are the top bits of words, where sums are weak."""
    size = data.draw(st.sampled_from(SIZES))
    tensor = make_large(size, data.draw(st.sampled_from(DTYPES[:4])))
    before = digest_tensor(tensor)
    indices = st.integers(0, size - 1) | st.sampled_from([0, 1, 2, 3, size - 4, size - 3, size - 2, size - 1])
    pair = data.draw(st.lists(indices, min_size=2, max_size=2, unique=True))
    tensor[pair] *= -1

    assert digest_tensor(tensor) != before


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_the_signs_of_any_set_of_a_large_tensor_show(data):
    """Rows, columns and halves of a matrix whose signs are flipped together."""
    tensor = make_large(65_536, data.draw(st.sampled_from(DTYPES[:4]))).reshape(256, 256)
    before = digest_tensor(tensor)
    rows = slice(data.draw(st.integers(0, 255)), None, data.draw(st.sampled_from([1, 2, 4, 8, 16])))
    columns = slice(data.draw(st.integers(0, 255)), None, data.draw(st.sampled_from([1, 2, 4, 8, 16])))
    tensor[rows, columns] *= -1

    assert digest_tensor(tensor) != before


def test_a_pair_of_signs_is_what_the_quick_digest_does_not_see():
    """It is why there are two: the claim of the module's first lines, and proof that the test above can fail."""
    tensor = make_large(8192)
    flipped = tensor.clone()
    flipped[[1, 3]] *= -1

    assert digest_quick(tensor) == digest_quick(flipped)
    assert digest_tensor(tensor) != digest_tensor(flipped)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_swap_in_a_large_tensor_shows(data):
    """Two elements that change places, in the same word, in other blocks, at the ends."""
    size = data.draw(st.sampled_from(SIZES))
    tensor = make_large(size, data.draw(st.sampled_from(DTYPES)))
    before = digest_tensor(tensor)
    one, other = data.draw(st.lists(st.integers(0, size - 1), min_size=2, max_size=2, unique=True))
    assume(tensor[one] != tensor[other])
    tensor[[one, other]] = tensor[[other, one]]

    assert digest_tensor(tensor) != before


@pytest.mark.parametrize("shift", [1, 2, 1021, 32_768, 65_536])
def test_a_rotation_of_a_large_tensor_shows(shift):
    """Also one by a whole block: blocks have their order."""
    tensor = make_large(131_072) + torch.arange(131_072) / 2**18

    assert digest_tensor(tensor.roll(shift)) != digest_tensor(tensor)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (torch.zeros(4), torch.zeros(2, 2)),
        (torch.zeros(2, dtype=torch.float32), torch.zeros(2, dtype=torch.int32)),
        (torch.zeros(0), torch.zeros(0, 1)),
        (torch.zeros(2, dtype=torch.bfloat16), torch.zeros(2, dtype=torch.float16)),
        (torch.zeros(0), torch.zeros(0, dtype=torch.int32)),
        (torch.zeros(5000), torch.zeros(50, 100)),
        (torch.zeros(5000), torch.zeros(5000, dtype=torch.int32)),
        (torch.zeros(5000), torch.zeros(5001)),
        (torch.tensor(1.0), torch.tensor([1.0])),
    ],
)
@pytest.mark.parametrize("digest", [digest_tensor, digest_quick, digest_sample])
def test_dtype_and_shape_show(digest, one, other):
    """The same bytes under another dtype or shape are another tensor, however large."""
    assert digest(one) != digest(other)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.0, 5e-324])
def test_odd_numbers_show(value):
    """A negative zero is not zero; nan has a digest like any other bits."""
    tensor = torch.tensor([value, 1.0], dtype=torch.float64)

    assert digest_tensor(tensor) == digest_tensor(tensor.clone())
    assert digest_tensor(tensor) != digest_tensor(torch.tensor([0.0, 1.0], dtype=torch.float64))


# -- nothing but bits


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_strides_and_storage_do_not_matter(data):
    """A view has the digest of its copy: of any offset, of any order of dimensions, small or large."""
    base = make_large(131_072, data.draw(st.sampled_from(DTYPES)))
    offset = data.draw(st.integers(0, 9))
    rows, columns = data.draw(st.sampled_from([(3, 5), (31, 65), (33, 64), (250, 257)]))
    view = torch.as_strided(
        base,
        (rows, columns),
        data.draw(st.sampled_from([(columns, 1), (1, rows), (columns + 3, 1), (0, 1)])),
        offset,
    )
    copy = view.contiguous().clone()

    for digest in (digest_tensor, digest_quick, digest_sample, digest_content):
        assert digest(view) == digest(copy)


def test_device_layout_and_history_do_not_matter():
    """A conjugate view, a negative view, a sparse tensor and one with a graph are the same bits as their copies."""
    tensor = torch.randn(3, 5)
    complex_tensor = torch.randn(4, dtype=torch.complex64)

    assert digest_tensor(tensor.t()) == digest_tensor(tensor.t().contiguous())
    assert digest_tensor(tensor.requires_grad_() * 1) == digest_tensor(tensor.detach())
    assert digest_tensor(torch.nn.Parameter(tensor)) == digest_tensor(tensor.detach())
    assert digest_tensor(complex_tensor.conj()) == digest_tensor(complex_tensor.conj().resolve_conj().clone())
    assert digest_tensor(complex_tensor.conj().imag) == digest_tensor(complex_tensor.conj().imag.clone())
    assert digest_tensor(tensor.detach().to_sparse()) == digest_tensor(tensor.detach())
    assert len(digest_tensor(torch.empty(3, device="meta"))) == 16


def test_memory_that_is_used_again_is_read_again():
    """What is known of an address is its length, not its content."""
    tensor = torch.zeros(100)
    before = digest_tensor(tensor)
    tensor[50] = 1

    assert digest_tensor(tensor) != before
    tensor[50] = 0
    assert digest_tensor(tensor) == before


@pytest.mark.parametrize("size", [16, 5000, 100_000])
def test_digests_change_nothing_and_draw_nothing(size):
    """Neither the tensor, nor its version, nor a generator."""
    tensor, state = make_large(size), torch.get_rng_state()
    copy, version = tensor.clone(), tensor._version
    for digest in (digest_tensor, digest_quick, digest_sample, digest_content):
        digest(tensor)

    assert torch.equal(tensor, copy)
    assert tensor._version == version
    assert torch.equal(state, torch.get_rng_state())


def test_a_small_digest_is_crc_and_adler():
    """As the docstring says, so that a trace can be checked without this code."""
    tensor = torch.arange(6, dtype=torch.float32)
    header = int.from_bytes(hashlib.blake2b(b"float32[6]", digest_size=8).digest(), "big")
    content = tensor.numpy().tobytes()

    assert int(digest_tensor(tensor), 16) == header ^ (zlib.crc32(content) << 32 | zlib.adler32(content))


@pytest.mark.parametrize("size", [1, 100, 2048, 5000])
def test_content_is_the_same_in_every_shape(size):
    """A view has the digest of what it views; another dtype has another."""
    tensor = make_large(size)

    assert (
        digest_content(tensor) == digest_content(tensor.reshape(1, -1)) == digest_content(tensor[:, None].t())
    )
    assert digest_content(tensor) != digest_content(tensor.view(torch.int32))
    assert digest_content(torch.zeros(0)) == "0" * 16


def test_a_sample_sees_pieces_of_a_large_tensor():
    """Its first and last bytes are among them; of a small one it sees all."""
    large, small = make_large(50_000), make_large(100)
    before = digest_sample(large), digest_sample(small)
    for index in (0, 49_999):
        large[index] += 1
        assert digest_sample(large) != before[0]
        large[index] -= 1
    small[77] += 1

    assert digest_sample(large) == before[0]
    assert digest_sample(small) != before[1]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([0, 1, 5, 100, 255, 256, 257, 3000]), min_size=1, max_size=6), st.randoms())
def test_pieces_see_the_ends_of_each_tensor(sizes, random):
    """Of a small one every byte; what is not contiguous, or not there, counts too."""
    tensors = [make_large(size) for size in sizes]
    before = digest_pieces(tensors)
    assert digest_pieces([tensor.clone() for tensor in tensors]) == before
    chosen = random.choice(tensors)
    if len(chosen):
        index = random.randrange(len(chosen)) if len(chosen) <= 256 else random.choice([0, 127, -1, -64])
        chosen[index] += 1
        assert digest_pieces(tensors) != before
        chosen[index] -= 1
    assert digest_pieces(tensors) == before
    assert digest_pieces([*tensors, None]) != before
    assert digest_pieces([*tensors, torch.eye(2).t(), torch.eye(2).to_sparse()]) != before


# -- nested values


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
    assert digest_values(1) != digest_values(True)


class AnswersToAnyName:
    """As the configurations of many programs are."""

    def __getattr__(self, name: str) -> None:
        return None


@dataclasses.dataclass
class Sizes:
    """A table of settings whose class itself is saved."""

    width: int = 3


def test_classes_and_objects_with_any_attribute_hold_no_values():
    """What a pickled learner holds beside its weights: types of tensors, arrays and tables, odd objects."""
    odd = [torch.Tensor, np.ndarray, np.float32, Sizes, torch.nn.Linear, AnswersToAnyName()]

    assert list(iterate_named_leaves({"kinds": odd, "weight": 1})) == [(".weight", 1)]
    assert [leaf for _, leaf in iterate_named_leaves([Sizes(), np.float32(2)])] == [3, 2]
    storage = torch.ones(2)._typed_storage()
    assert digest_values(storage) != digest_values(torch.zeros(2)._typed_storage())


@pytest.mark.filterwarnings("ignore:.*nested tensors is in prototype")
def test_tensors_in_a_tensor_and_one_that_is_made_later_are_digested():
    """A TransformerEncoder makes the first of padded inputs when it evaluates; a lazy module holds the other."""
    parts = [torch.ones(2, 4), torch.zeros(3, 4)]
    nested, swapped = torch.nested.nested_tensor(parts), torch.nested.nested_tensor(parts[::-1])
    later = torch.nn.UninitializedParameter()

    for digest in (digest_tensor, digest_quick, digest_sample, digest_values):
        assert digest(nested) == digest(torch.nested.nested_tensor(parts)) != digest(swapped)
        assert digest(later) == digest(torch.nn.UninitializedParameter())
    assert describe(nested) == "float32[(2, 4),(3, 4)]"


def test_a_picture_is_digested_by_its_pixels():
    """A batch may be a list of them; they are no arrays, and say only what one made of them would be."""
    image = Image.new("RGB", (4, 3))
    other = image.copy()
    other.putpixel((1, 2), (0, 0, 1))

    assert digest_values([image]) == digest_values([image.copy()])
    assert (
        len({digest_values(each) for each in (image, other, image.resize((3, 4)), image.convert("L"))}) == 4
    )


def test_one_tensor_has_its_own_digest():
    """However deep it lies: a batch that is wrapped in a tuple is the same batch."""
    tensor = torch.arange(3)

    assert (
        digest_values([{"x": (tensor,)}])
        == digest_values(tensor)
        == digest_leaf(tensor)
        == digest_tensor(tensor)
    )


def test_a_chain_depends_on_each_digest_and_on_their_order():
    """A long evaluation is one digest that any of its parts changes."""
    chains = [("a", "b"), ("b", "a"), ("a", "c"), ("a",)]

    assert len({chain_digests(*chain) for chain in chains}) == 4


def test_bytes_are_digested_as_they_are():
    """Sixteen digits, for whatever shows a buffer."""
    assert digest_bytes(b"ab") == digest_bytes(bytearray(b"ab")) == digest_bytes(memoryview(b"ab"))
    assert digest_bytes(b"ab") != digest_bytes(b"ba")
    assert len(digest_bytes(b"")) == 16
