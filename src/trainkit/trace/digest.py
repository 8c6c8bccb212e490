"""A tensor's bytes as 16 hexadecimal digits: a permutation, a sign, one ULP, a dtype, a shape all show.

blake2b over `dtype[shape]` and the elements in row-major order: strides, device and autograd history
do not matter. (torch's own `hash_tensor` is an exclusive or: order and pairs of signs cancel.)
"""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

NAME = "blake2b-64"
_PLAIN = (bool, int, float, complex)
_NUMERIC = ("untyped_storage", "__array_interface__")


def describe(tensor: Tensor) -> str:
    """Give `dtype[shape]`, such as `float32[2,3]`."""
    sizes = ",".join(str(size) for size in tensor.shape)
    return f"{str(tensor.dtype).removeprefix('torch.')}[{sizes}]"


def digest_tensor(tensor: Tensor) -> str:
    """Give 16 hexadecimal digits that depend on dtype, shape and every bit of every element."""
    fold = hashlib.blake2b(digest_size=8)
    _feed_tensor(fold, tensor)
    return fold.hexdigest()


def digest_values(*values: Any) -> str:
    """Digest the tensors, arrays and numbers in nested lists, tuples, dicts and dataclasses, in order.

    Names (of classes, keys, arguments, strings) are passed over: they are no part of a run's numbers.
    """
    fold = hashlib.blake2b(digest_size=8)
    for leaf in _iterate_leaves(values):
        if hasattr(leaf, "untyped_storage"):
            _feed_tensor(fold, leaf)
        elif hasattr(leaf, "__array_interface__"):
            fold.update(f"{leaf.dtype}{leaf.shape}".encode() + leaf.tobytes())
        else:
            fold.update(f"{type(leaf).__name__}:{leaf!r};".encode())
    return fold.hexdigest()


def chain_digests(*digests: str) -> str:
    """Fold digests into one that depends on each and on their order."""
    return hashlib.blake2b("".join(digests).encode(), digest_size=8).hexdigest()


def digest_unordered(*values: Any) -> str:
    """Digest tensors, arrays and whole numbers in nested values, whatever their names and order.

    Fractions are passed over: in a checkpoint they may be seconds.
    """
    leaves = (leaf for leaf in _iterate_leaves(values) if not isinstance(leaf, (float, complex)))
    return chain_digests(*sorted(map(digest_values, leaves)))


def _iterate_leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _iterate_leaves(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _iterate_leaves(item)
    elif hasattr(value, "__dataclass_fields__"):
        yield from _iterate_leaves([getattr(value, name) for name in value.__dataclass_fields__])
    elif isinstance(value, _PLAIN) or any(hasattr(value, name) for name in _NUMERIC):
        yield value


def _feed_tensor(fold: Any, tensor: Tensor) -> None:
    import torch

    fold.update(describe(tensor).encode())
    with torch.no_grad():
        plain = tensor.detach()
        if plain.layout is not torch.strided:
            plain = plain.to_dense()
        if plain.is_meta or not plain.numel():
            return
        plain = plain.resolve_conj().resolve_neg().cpu().contiguous()
    size_bytes = plain.numel() * plain.element_size()
    fold.update((ctypes.c_char * size_bytes).from_address(plain.data_ptr()))
