"""xxHash of many slices of one byte array, compiled: no Python object per slice.

Both widths give what the reference gives for the same bytes (https://xxhash.com; the tests compare
with the package `xxhash`). A slice is `data[begins[i]:ends[i]]`, and hash i is written to
`hashes[i]`. Behind the last slice the data must have `SPARE` more bytes: they are read, and do not
matter. The words of the data are little-endian, as the machines are that this runs on.

32 bits are for MinHash, where hashing is a third of the time. The end of a slice, 0 to 15 bytes,
is hashed in vector code, for 8 slices at once: 8 ns a slice of 24 bytes, against 18 slice by slice,
where the branches on its size are mispredicted (2026-11-21). 64 bits are for exact sets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from numba import njit, types
from numba.extending import intrinsic

SPARE = 16

_LANES = 256  # slices finished together; 64 to 512 are equally fast

_Array = npt.NDArray[Any]
_Function = TypeVar("_Function", bound=Callable[..., Any])
_compiled: Callable[[_Function], _Function] = njit(cache=True, nogil=True)

_U32, _U64 = np.uint32, np.uint64

# The primes of the specification, for 32 and for 64 bits.
_P1, _P2, _P3 = _U32(0x9E3779B1), _U32(0x85EBCA77), _U32(0xC2B2AE3D)
_P4, _P5 = _U32(0x27D4EB2F), _U32(0x165667B1)
_Q1, _Q2, _Q3 = _U64(0x9E3779B185EBCA87), _U64(0xC2B2AE3D27D4EB4F), _U64(0x165667B19E3779F9)
_Q4, _Q5 = _U64(0x85EBCA77C2B2AE63), _U64(0x27D4EB2F165667C5)


def _define_word(_: Any, data: Any, i: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        address = builder.gep(array.data, [arguments[1]])
        pointer = context.get_value_type(types.uint32).as_pointer()
        word = builder.load(builder.bitcast(address, pointer))
        word.align = 1
        return word

    return types.uint32(data, i), generate


# The 4 bytes of `data` from i on, unaligned: numba makes four loads of an expression for them.
_word: Callable[[_Array, int], np.uint32] = intrinsic(_define_word)


@_compiled
def _rotl32(value: np.uint32, bits: int) -> np.uint32:
    return _U32((value << _U32(bits)) | (value >> _U32(32 - bits)))


@_compiled
def _round32(lane: np.uint32, word: np.uint32) -> np.uint32:
    return _U32(_rotl32(_U32(lane + word * _P2), 13) * _P1)


@_compiled
def _add_word32(state: np.uint32, word: np.uint32) -> np.uint32:
    return _U32(_rotl32(_U32(state + word * _P3), 17) * _P4)


@_compiled
def _add_byte32(state: np.uint32, word: np.uint32) -> np.uint32:
    return _U32(_rotl32(_U32(state + (word & _U32(255)) * _P5), 11) * _P1)


@_compiled
def _hash_stripes32(data: _Array, begin: int, size: int) -> np.uint32:
    """Return the state after the stripes of 16 bytes, with the size added."""
    if size < 16:
        return _U32(_P5 + _U32(size))
    a, b, c, d = _U32(_P1 + _P2), _P2, _U32(0), _U32(_U32(0) - _P1)
    for i in range(begin, begin + size - 15, 16):
        a = _round32(a, _word(data, i))
        b = _round32(b, _word(data, i + 4))
        c = _round32(c, _word(data, i + 8))
        d = _round32(d, _word(data, i + 12))
    return _U32(_rotl32(a, 1) + _rotl32(b, 7) + _rotl32(c, 12) + _rotl32(d, 18) + _U32(size))


@_compiled
def _finish32(lanes: _Array, hashes: _Array) -> None:
    """Add up to 3 words and 3 bytes to each state, and mix.

    Every step is computed and the one that ends the slice is picked, so that there is no branch.
    One flat array of lanes, because LLVM does not see that six are apart from each other.
    """
    for i in range(hashes.size):
        state, size = lanes[i], lanes[_LANES + i]
        one = _add_word32(state, lanes[2 * _LANES + i])
        two = _add_word32(one, lanes[3 * _LANES + i])
        three = _add_word32(two, lanes[4 * _LANES + i])
        rest = size & _U32(15)
        state = one if rest >= 4 else state
        state = two if rest >= 8 else state
        state = three if rest >= 12 else state
        word = lanes[5 * _LANES + i]
        one = _add_byte32(state, word)
        two = _add_byte32(one, _U32(word >> _U32(8)))
        three = _add_byte32(two, _U32(word >> _U32(16)))
        rest = size & _U32(3)
        state = one if rest >= 1 else state
        state = two if rest >= 2 else state
        state = three if rest >= 3 else state
        state = _U32((state ^ (state >> _U32(15))) * _P2)
        state = _U32((state ^ (state >> _U32(13))) * _P3)
        hashes[i] = _U32(state ^ (state >> _U32(16)))


@_compiled
def hash32(data: _Array, begins: _Array, ends: _Array, hashes: _Array) -> None:
    """Write xxh32, seed 0, of each slice of `data` to `hashes` (uint32).

    >>> hashes = np.empty(1, np.uint32)
    >>> data = np.frombuffer(b"abc" + bytes(SPARE), np.uint8)
    >>> hash32(data, np.array([0]), np.array([3]), hashes)
    >>> hex(hashes[0])
    '0x32d153ff'
    """
    lanes = np.empty(6 * _LANES, np.uint32)
    for first in range(0, hashes.size, _LANES):
        batch = hashes[first : first + _LANES]
        batch_begins, batch_ends = begins[first:], ends[first:]
        for i in range(batch.size):
            begin = batch_begins[i]
            size = batch_ends[i] - begin
            rest = begin + (size & ~15)
            lanes[i] = _hash_stripes32(data, begin, size)
            lanes[_LANES + i] = size
            lanes[2 * _LANES + i] = _word(data, rest)
            lanes[3 * _LANES + i] = _word(data, rest + 4)
            lanes[4 * _LANES + i] = _word(data, rest + 8)
            lanes[5 * _LANES + i] = _word(data, begin + (size & ~3))
        _finish32(lanes, batch)


@_compiled
def _word64(data: _Array, i: int) -> np.uint64:
    return _U64(_word(data, i)) | (_U64(_word(data, i + 4)) << _U64(32))


@_compiled
def _rotl64(value: np.uint64, bits: int) -> np.uint64:
    return (value << _U64(bits)) | (value >> _U64(64 - bits))


@_compiled
def _round64(lane: np.uint64, word: np.uint64) -> np.uint64:
    return _rotl64(lane + word * _Q2, 31) * _Q1


@_compiled
def _merge64(state: np.uint64, lane: np.uint64) -> np.uint64:
    return (state ^ _round64(_U64(0), lane)) * _Q1 + _Q4


@_compiled
def _hash_stripes64(data: _Array, begin: int, size: int, seed: np.uint64) -> np.uint64:
    """Return the state after the stripes of 32 bytes, with the size added."""
    if size < 32:
        return seed + _Q5 + _U64(size)
    a, b, c, d = seed + _Q1 + _Q2, seed + _Q2, seed, seed - _Q1
    for i in range(begin, begin + size - 31, 32):
        a = _round64(a, _word64(data, i))
        b = _round64(b, _word64(data, i + 8))
        c = _round64(c, _word64(data, i + 16))
        d = _round64(d, _word64(data, i + 24))
    state = _rotl64(a, 1) + _rotl64(b, 7) + _rotl64(c, 12) + _rotl64(d, 18)
    return _merge64(_merge64(_merge64(_merge64(state, a), b), c), d) + _U64(size)


@_compiled
def _hash_slice64(data: _Array, begin: int, end: int, seed: np.uint64) -> np.uint64:
    size = end - begin
    state = _hash_stripes64(data, begin, size, seed)
    i = begin + (size & ~31)
    while i + 8 <= end:
        state = _rotl64(state ^ _round64(_U64(0), _word64(data, i)), 27) * _Q1 + _Q4
        i += 8
    if i + 4 <= end:
        state = _rotl64(state ^ (_U64(_word(data, i)) * _Q1), 23) * _Q2 + _Q3
        i += 4
    while i < end:
        state = _rotl64(state ^ (_U64(data[i]) * _Q5), 11) * _Q1
        i += 1
    state = (state ^ (state >> _U64(33))) * _Q2
    state = (state ^ (state >> _U64(29))) * _Q3
    return state ^ (state >> _U64(32))


@_compiled
def hash64(data: _Array, begins: _Array, ends: _Array, seed: np.uint64, hashes: _Array) -> None:
    """Write xxh64 of each slice of `data` to `hashes` (uint64).

    >>> hashes = np.empty(1, np.uint64)
    >>> data = np.frombuffer(b"abc" + bytes(SPARE), np.uint8)
    >>> hash64(data, np.array([0]), np.array([3]), np.uint64(0), hashes)
    >>> hex(hashes[0])
    '0x44bc2cf5ad770999'
    """
    for i in range(hashes.size):
        hashes[i] = _hash_slice64(data, begins[i], ends[i], seed)
