"""Which tensors of two programs are the same."""

from hypothesis import given
from hypothesis import strategies as st

from trainkit.trace.match import Matches, Tensor, match_tensors

SHAPE = "float32[2]"
TENSORS = st.lists(
    st.builds(
        Tensor,
        st.sampled_from("abcd"),
        st.sampled_from(["f[1]", "f[2]"]),
        st.sampled_from("0123"),
        st.booleans(),
    ),
    max_size=8,
)


def match(expected, actual, known=None):
    found = known or Matches({}, set())
    match_tensors(expected, actual, found)
    return found


def make(*rows):
    return [Tensor(name, SHAPE, digest) for name, digest in rows]


def test_names_and_values_that_agree_come_first():
    """The same tensors in another order are found, without a guess."""
    found = match(make(("a", "1"), ("b", "2")), make(("b", "2"), ("a", "1")))

    assert found == Matches({0: 1, 1: 0}, set())


def test_a_renamed_tensor_is_found_by_its_value():
    """Only one has that value on both sides."""
    assert match(make(("a", "1"), ("b", "2")), make(("x", "2"), ("y", "1"))).pairs == {0: 1, 1: 0}


def test_names_that_were_swapped_are_told_apart_by_value():
    """The name is where the other tensor is now."""
    assert match(make(("a", "1"), ("b", "2")), make(("b", "1"), ("a", "2"))).pairs == {0: 0, 1: 1}


def test_another_value_under_the_same_name_is_the_same_tensor():
    """A different initialisation is a difference of one tensor, not two tensors."""
    assert match(make(("a", "1"), ("b", "2")), make(("b", "9"), ("a", "8"))).pairs == {0: 1, 1: 0}


def test_equal_values_are_told_apart_by_name():
    """Biases of zeros keep their names."""
    found = match(make(("a", "0"), ("b", "0")), make(("b", "0"), ("a", "0")))

    assert found == Matches({0: 1, 1: 0}, set())


def test_equal_values_under_other_names_are_a_guess():
    """What order alone tells apart is said to be a guess."""
    assert match(make(("a", "0"), ("b", "0")), make(("x", "0"), ("y", "0"))) == Matches({0: 0, 1: 1}, {0, 1})


def test_a_copy_of_the_model_is_not_taken_for_the_model():
    """It begins alike and has the name that the model's buffer had; what is one only on one side is found."""
    model, copy = Tensor("1.mean", SHAPE, "0"), Tensor("1.mean", SHAPE, "0", copied=True)
    renamed = Tensor("net.1.mean", SHAPE, "0")

    assert match([model, model, copy], [renamed, copy, renamed]).pairs == {0: 0, 1: 2, 2: 1}
    assert match([model, copy], [model, Tensor("1.mean", SHAPE, "0")]).pairs == {0: 0, 1: 1}


def test_the_last_of_a_shape_is_no_guess():
    """One is left on each side: it can be no other."""
    assert match(make(("a", "1")), make(("x", "2"))) == Matches({0: 0}, set())


def test_another_shape_is_another_tensor():
    """Nothing is compared with what has other sizes."""
    assert match([Tensor("a", "f[1]", "1")], [Tensor("a", "f[2]", "1")]).pairs == {}


def test_what_is_known_stays():
    """Tensors that are seen later do not change what was matched before."""
    found = match(make(("a", "1")), make(("x", "2")))
    match(make(("a", "1"), ("b", "2")), make(("x", "2"), ("y", "1")), found)

    assert found.pairs == {0: 0, 1: 1}


@given(TENSORS, TENSORS)
def test_a_match_is_one_to_one_and_keeps_shapes(expected, actual):
    """No tensor is two; as many of a shape are matched as both sides have; the order is the baseline's."""
    pairs = match(expected, actual).pairs

    assert len(set(pairs.values())) == len(pairs)
    assert all(expected[a].shape == actual[b].shape for a, b in pairs.items())
    assert list(pairs) == sorted(pairs)
    for shape in ("f[1]", "f[2]"):
        counts = [sum(tensor.shape == shape for tensor in side) for side in (expected, actual)]
        assert sum(expected[a].shape == shape for a in pairs) == min(counts)


@given(st.permutations(range(6)), st.booleans())
def test_any_order_and_any_names_are_found_by_value(order, renamed):
    """Tensors of distinct values are found wherever they are and whatever they are called."""
    expected = make(*((f"n{index}", str(index)) for index in range(6)))
    actual = make(*((f"{'m' if renamed else 'n'}{index}", str(index)) for index in order))

    assert match(expected, actual) == Matches({index: order.index(index) for index in range(6)}, set())


def test_without_guesses_a_shape_is_not_enough():
    """A copy that only one side keeps is not compared with another of that shape."""
    left, right = [Tensor("a", "float32[2]", "1")], [Tensor("b", "float32[2]", "2")]
    guessed, known = Matches({}, set()), Matches({}, set())
    match_tensors(left, right, guessed)
    match_tensors(left, right, known, guess=False)

    assert (guessed.pairs, known.pairs) == ({0: 0}, {})
