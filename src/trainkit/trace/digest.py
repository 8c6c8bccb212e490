"""A tensor's bytes as 16 hexadecimal digits: a permutation, a sign, one ULP, a dtype, a shape all show.

Over `dtype[shape]` and the elements in row-major order; strides, device and autograd history do not
matter. Up to 8 KiB it is CRC-32 beside Adler-32; above, sums of 64-bit words times fixed odd weights,
modulo 2**64. Such a sum is weak in its top bit, the sign of every second float32: `digest_tensor` adds
a second one over words that begin four bytes later, `digest_quick`, for every step, does without.
(torch's own `hash_tensor` is an exclusive or: order and pairs of signs cancel; blake2b is as exact and
four to ten times slower.)
"""

from __future__ import annotations

import ctypes
import hashlib
import zlib
from collections.abc import Iterable, Iterator
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

NAME = "crc32+adler32/dot64"
_PLAIN = (bool, int, float, complex)
_SMALL = 8192  # bytes
_BLOCK = 32768  # words whose weights stay in the cache
_PIECE, _NUM_PIECES = 1024, 8  # what `digest_sample` looks at, in bytes
_MASK = (1 << 64) - 1
_FACTOR = 0x9E3779B97F4A7C15  # odd; joins blocks
_headers: dict[tuple[Any, Any], tuple[int, str]] = {}
_views: dict[tuple[int, int], Any] = {}  # by address and size, as the next
_pieces: dict[tuple[int, int], list[Any]] = {}
_loaded: dict[str, Any] = {}


def _load() -> Any:
    """Give torch, and make the weights when it is first asked for."""
    if not _loaded:
        import torch

        noise = bytearray(hashlib.shake_256(b"trainkit").digest(8 * _BLOCK))
        _loaded["weights"] = torch.frombuffer(noise, dtype=torch.int64) | 1
        _loaded["torch"] = torch
    return _loaded["torch"]


def describe(tensor: Tensor) -> str:
    """Give `dtype[shape]`, such as `float32[2,3]`."""
    return _header(tensor)[1]


def _header(tensor: Tensor) -> tuple[int, str]:
    key: tuple[Any, tuple[Any, ...]]
    try:
        key = (tensor.dtype, tensor.shape)
    except RuntimeError:  # tensors in a tensor have sizes each; one that is made later has none yet
        key = (tensor.dtype, tuple(map(str, _list_sizes(tensor))))
    known = _headers.get(key)
    if known is None:
        sizes = ",".join(map(str, key[1]))
        text = f"{str(tensor.dtype).removeprefix('torch.')}[{sizes}]"
        known = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big"), text
        if len(_headers) < 100_000:
            _headers[key] = known
    return known


def _list_sizes(tensor: Tensor) -> list[tuple[int, ...]]:
    return [tuple(part.shape) for part in tensor.unbind()] if tensor.is_nested else []


def digest_tensor(tensor: Tensor) -> str:
    """Give 16 hexadecimal digits that depend on dtype, shape and every bit of every element."""
    plain = _make_plain(tensor)
    if plain is None:
        return f"{_header(tensor)[0]:016x}"
    fold = _fold(plain)
    if plain.nbytes > _SMALL:
        second = _sum_words(plain.data_ptr() + 4, plain.nbytes // 8 - 1)
        fold ^= second << 32 & _MASK | second >> 32
    return f"{_header(tensor)[0] ^ fold:016x}"


def digest_content(tensor: Tensor) -> str:
    """Give a digest of dtype and elements, whatever the shape: a view has the digest of what it views."""
    plain = _make_plain(tensor)
    if plain is None:
        return "0" * 16
    flat = plain.reshape(-1)
    return digest_tensor(flat)


def digest_quick(tensor: Tensor) -> str:
    """Give a digest as good as `digest_tensor`'s but for pairs of mere changes of sign; twice as fast."""
    plain = _make_plain(tensor)
    return f"{_header(tensor)[0] ^ (0 if plain is None else _fold(plain)):016x}"


def digest_sample(tensor: Tensor) -> str:
    """Give a digest of dtype, shape and, of more than 8 KiB, only eight pieces: to locate, not to prove."""
    plain = _make_plain(tensor)
    if plain is None or plain.nbytes <= _SMALL:
        return f"{_header(tensor)[0] ^ (0 if plain is None else _fold(plain)):016x}"
    start, fold = plain.data_ptr(), 1
    gap = (plain.nbytes - _PIECE) // (_NUM_PIECES - 1)
    for number in range(_NUM_PIECES):
        fold = zlib.crc32(_view(start + number * gap, _PIECE), fold)
    return f"{_header(tensor)[0] ^ (fold << 16):016x}"


def _make_plain(tensor: Tensor) -> Tensor | None:
    """Give the elements in row-major order in this machine's memory; None when there are none."""
    torch = _load()
    if tensor.is_nested:
        return _join(tensor)
    if (
        tensor.is_cpu
        and tensor.layout is torch.strided
        and type(tensor) in (torch.Tensor, torch.nn.Parameter)
        and tensor.is_contiguous()
        and not tensor.is_neg()
        and not tensor.dtype.is_complex
    ):
        return tensor if tensor.numel() else None
    if hasattr(type(tensor), "materialize"):
        return None
    with torch.no_grad():
        plain = tensor.detach()
        if hasattr(plain, "to_local"):  # a DTensor: what this rank holds
            plain = plain.to_local()
        if plain.layout is not torch.strided:
            plain = plain.to_dense()
        if plain.is_meta or not plain.numel():
            return None
        found: Tensor = plain.resolve_conj().resolve_neg().cpu().contiguous()
        return found


def _join(nested: Tensor) -> Tensor | None:
    """Give the elements of tensors in a tensor, one after the other."""
    parts = [part for part in map(_make_plain, nested.unbind()) if part is not None]
    return _load().cat([part.reshape(-1) for part in parts]) if parts else None


def _view(address: int, size_bytes: int) -> Any:
    key = (address, size_bytes)
    known = _views.get(key)
    if known is None:
        if len(_views) > 20_000:
            _views.clear()
        known = _views[key] = (ctypes.c_char * size_bytes).from_address(address)
    return known


def _fold(plain: Tensor) -> int:
    size_bytes, start = plain.nbytes, plain.data_ptr()
    if size_bytes <= _SMALL:
        view = _view(start, size_bytes)
        return zlib.crc32(view) << 32 | zlib.adler32(view)
    num_words = size_bytes // 8
    fold = _sum_words(start, num_words)
    rest = size_bytes - num_words * 8
    return fold ^ zlib.crc32(_view(start + num_words * 8, rest)) if rest else fold


def _sum_words(start: int, num_words: int) -> int:
    """Sum 64-bit words times weights; torch's integers wrap, which is the modulus we want."""
    torch, weights, total = _load(), _loaded["weights"], num_words
    words = torch.frombuffer(_view(start, num_words * 8), dtype=torch.int64)
    for begin in range(0, num_words, _BLOCK):
        block = words[begin : begin + _BLOCK] if num_words > _BLOCK else words
        part = torch.dot(block, weights if len(block) == _BLOCK else weights[: len(block)])
        total = (total * _FACTOR + part.item()) & _MASK
    return total


def digest_pieces(tensors: Iterable[Any]) -> str:
    """Digest many tensors at once by up to 1 KiB of each: what every step can afford.

    `None` stands for a tensor that is not there.
    """
    torch = _load()
    ordinary, strided = (torch.Tensor, torch.nn.Parameter), torch.strided
    parts: list[Any] = []
    for tensor in tensors:
        if tensor is None:
            parts.append(b"none")
        elif (
            type(tensor) in ordinary and tensor.is_cpu and tensor.layout is strided and tensor.is_contiguous()
        ):
            key = (tensor.data_ptr(), tensor.nbytes)
            parts += _pieces.get(key) or _cut_pieces(*key)
        else:
            parts.append(digest_sample(tensor).encode())
    return f"{zlib.crc32(b''.join(parts)):08x}"


def _cut_pieces(start: int, size_bytes: int) -> list[Any]:
    if len(_pieces) > 20_000:
        _pieces.clear()
    half = _PIECE // 2
    cuts = [
        (start, half),
        (start + (size_bytes // 2 & ~7), half // 2),
        (start + size_bytes - half // 2, half // 2),
    ]
    if size_bytes <= _PIECE:
        cuts = [(start, size_bytes)] if size_bytes else []
    views = _pieces[start, size_bytes] = [(ctypes.c_char * size).from_address(at) for at, size in cuts]
    return views


def digest_bytes(data: Any) -> str:
    """Digest bytes, or anything that shows them as a buffer."""
    return f"{zlib.crc32(data) << 32 | zlib.adler32(data):016x}"


def digest_values(*values: Any) -> str:
    """Digest the tensors, arrays and numbers in nested lists, tuples, dicts and dataclasses, in order.

    Names (of classes, keys, arguments, strings) are passed over: they are no part of a run's numbers.
    A value that is one tensor has that tensor's digest.
    """
    found = [digest_leaf(leaf) for leaf in iterate_leaves(values)]
    return found[0] if len(found) == 1 else chain_digests(*found)


def digest_leaf(leaf: Any) -> str:
    """Digest a tensor, an array or a number."""
    if hasattr(leaf, "untyped_storage"):
        return digest_tensor(leaf)
    if hasattr(leaf, "_untyped_storage"):
        torch = _load()
        return digest_tensor(torch.empty(0, dtype=torch.uint8).set_(leaf._untyped_storage.cpu()))
    if hasattr(leaf, "__array_interface__"):
        if not hasattr(leaf, "dtype"):  # a picture of Pillow's
            said = leaf.__array_interface__
            return digest_bytes(f"{said['typestr']}{said['shape']}".encode() + leaf.tobytes())
        return digest_bytes(f"{leaf.dtype}{leaf.shape}".encode() + leaf.tobytes())
    return digest_bytes(f"{type(leaf).__name__}:{leaf!r};".encode())


def chain_digests(*digests: str) -> str:
    """Fold digests into one that depends on each and on their order."""
    return hashlib.blake2b("".join(digests).encode(), digest_size=8).hexdigest()


def iterate_leaves(value: Any) -> Iterator[Any]:
    """Give the tensors, arrays and numbers in nested lists, tuples, dicts, dataclasses and objects."""
    for _, leaf in iterate_named_leaves(value):
        yield leaf


def iterate_named_leaves(
    value: Any, name: str = "", seen: frozenset[int] = frozenset()
) -> Iterator[tuple[str, Any]]:
    """Give each tensor, array and number with its path; `*` stands for what is no name, such as an index.

    Of an object that is no container only tensors and arrays count: other numbers may be times.
    """
    if isinstance(value, _PLAIN) or _is_numeric(type(value)):
        yield name, value
    elif id(value) not in seen and len(seen) < 24:
        seen = seen | {id(value)}
        items = _list_items(value)
        plain = items is not None
        if items is None:
            items = _list_held(value) if len(seen) < 6 else []
        for key, item in items:
            for leaf in iterate_named_leaves(item, f"{name}.{key}", seen):
                if plain or not isinstance(leaf[1], _PLAIN):
                    yield leaf


def _is_numeric(kind: type) -> bool:
    """Tell whether values of a class are tensors, arrays or storages; classes are saved, too."""
    found = hasattr(kind, "untyped_storage") or hasattr(kind, "__array_interface__")
    return found or any(base.__name__ == "TypedStorage" for base in kind.__mro__)


def _list_items(value: Any) -> list[tuple[str, Any]] | None:
    """Give what a container holds with its names; None of an object that is none."""
    if isinstance(value, dict):
        return [(key if isinstance(key, str) else "*", item) for key, item in list(value.items())]
    if isinstance(value, (list, tuple)):
        return [("*", item) for item in value]
    if hasattr(type(value), "__dataclass_fields__"):  # an object may answer to any name
        return [(key, getattr(value, key, None)) for key in type(value).__dataclass_fields__]
    return None


def _list_held(value: Any) -> list[tuple[str, Any]]:
    """Give what an object holds; of a module its parameters and buffers, without asking its hooks."""
    held = getattr(value, "__dict__", None)
    if not isinstance(held, dict) or isinstance(value, (type, ModuleType, FunctionType)):
        return []
    if "_parameters" in held and hasattr(value, "named_buffers"):
        return [*value.named_parameters(), *value.named_buffers()]
    return list(held.items())
