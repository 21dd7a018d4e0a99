"""MinHash signatures, exact shingle sets and digests of texts; the bands of signatures.

What a token, a shingle and the normalised text are is said in `corpus.shingles`. A signature is,
byte for byte, that of `datasketch.MinHash(num_perm, seed=seed, scheme="affine32",
hashfunc=xxh32)` updated with the same shingles; datasketch makes the permutations, and can read
and check what comes out. Owns no file and no threshold: what is compared, and what follows from it,
is said in `corpus.pairs`. All memory but the results is for one block of texts at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from hashlib import blake2b
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from datasketch import MinHash
from numba import njit

from corpus.errors import BadValue
from corpus.shingles import Texts, iter_shingles
from corpus.xxh import hash32, hash64

_NO_HASH = 0xFFFFFFFF  # datasketch's value of a permutation that has seen no shingle

_Array = npt.NDArray[Any]
_Hashes = npt.NDArray[np.uint64]
_Signatures = npt.NDArray[np.uint32]
_Function = TypeVar("_Function", bound=Callable[..., Any])
_compiled: Callable[[_Function], _Function] = njit(cache=True, nogil=True)

_U32, _U64 = np.uint32, np.uint64


def normalise(text: str) -> str:
    """Return the tokens of a text, joined by one space.

    >>> normalise("if  X += 1:  # größer\\n")
    'if x + = 1 : # größer'
    """
    (normal,) = _iter_normalised([text])
    return normal.decode("utf-8")


def exact_digests(texts: Texts) -> _Hashes:
    """Return a digest of the normalised text of each text, to find exact duplicates by.

    BLAKE2b, so that a text may be removed on the word of its digest alone: nobody can make two
    texts that collide. Texts without tokens share one digest.

    Returns:
        uint64, shape (n, 2): the 16 bytes of each digest as two little-endian numbers.

    >>> one, other, third = exact_digests(["x=1", "X = 1", "x=2"])
    >>> bool((one == other).all()), bool((one == third).all())
    (True, False)
    """
    digests = [blake2b(normal, digest_size=16).digest() for normal in _iter_normalised(texts)]
    return np.frombuffer(b"".join(digests), "<u8").reshape(-1, 2)


def _iter_normalised(texts: Texts) -> Iterator[bytes]:
    for block in iter_shingles(texts, width=1):
        normal = block.normal.tobytes()
        stops = np.cumsum(block.counts)
        for start, stop in zip(stops - block.counts, stops, strict=True):
            yield normal[block.begins[start] : block.ends[stop - 1]] if start < stop else b""


def shingle_sets(texts: Texts, *, width: int, seed: int = 0) -> tuple[_Hashes, _Array]:
    """Return the shingle set of each text, by hash.

    Args:
        texts: strings, Arrow or Python, without nulls.
        width: tokens in a shingle, at least 1.
        seed: of xxh64; 0 to 2**64 - 1.

    Returns:
        uint64: the xxh64 hashes of each text's shingles, ascending, each once, text after text;
        int64, shape (n + 1,): text i has the hashes from offset i to offset i + 1.

    Raises:
        BadValue: a text is null, or width or seed is out of range.

    >>> hashes, offsets = shingle_sets(["a b a b", "", "b a"], width=2)
    >>> offsets.tolist(), bool(hashes[2] in hashes[:2])
    ([0, 2, 2, 3], True)
    """
    _check_seed(seed, bits=64)
    sets, sizes = [np.empty(0, np.uint64)], [np.zeros(1, np.int64)]
    for block in iter_shingles(texts, width):
        hashes = np.empty(len(block.begins), np.uint64)
        hash64(block.normal, block.begins, block.ends, _U64(seed), hashes)
        sizes.append(np.empty_like(block.counts))
        sets.append(hashes[: _make_sets(hashes, block.counts, sizes[-1])])
    return np.concatenate(sets), np.cumsum(np.concatenate(sizes))


def shingle_hashes(texts: Texts, *, width: int, seed: int = 0) -> _Hashes:
    """Return the xxh64 hash of every shingle of all texts, uint64, in the order of the texts.

    A third of the time of `shingle_sets`, which sorts them; arguments and errors are the same.

    >>> hashes = shingle_hashes(["a b a b"], width=2)
    >>> len(hashes), bool(hashes[0] == hashes[2])
    (3, True)
    """
    _check_seed(seed, bits=64)
    found = [np.empty(0, np.uint64)]
    for block in iter_shingles(texts, width):
        hashes = np.empty(len(block.begins), np.uint64)
        hash64(block.normal, block.begins, block.ends, _U64(seed), hashes)
        found.append(hashes)
    return np.concatenate(found)


@_compiled
def _make_sets(hashes: _Hashes, counts: _Array, sizes: _Array) -> int:
    """Sort the hashes of each text, drop repeated ones, and close up; return how many are left."""
    begin, used = 0, 0
    for i in range(counts.size):
        members = hashes[begin : begin + counts[i]]
        members.sort()
        first = used
        for member in members:
            if used == first or hashes[used - 1] != member:
                hashes[used] = member
                used += 1
        sizes[i] = used - first
        begin += counts[i]
    return used


def signatures(texts: Texts, *, width: int, num_perm: int, seed: int) -> _Signatures:
    """Return the MinHash signature of each text's shingles.

    Args:
        texts: strings, Arrow or Python, without nulls.
        width: tokens in a shingle, at least 1.
        num_perm: number of permutations, at least 1.
        seed: of the permutations; 0 to 2**32 - 1.

    Returns:
        uint32, shape (n, num_perm). A text without tokens has the empty signature, all 2**32 - 1.

    Raises:
        BadValue: a text is null, or width, num_perm or seed is out of range.

    Source: Broder, On the resemblance and containment of documents (1997); the permutations of
    datasketch 2: MurmurHash3's finaliser, then a * hash + b modulo 2**32, with a odd.

    >>> one, other = signatures(["a b c d", "a b c e"], width=2, num_perm=128, seed=1)
    >>> float((one == other).mean())  # estimates 2 / 4
    0.5234375
    """
    multipliers, increments = _permutations(num_perm, seed)
    found = np.full((len(texts), num_perm), _NO_HASH, np.uint32)
    for block in iter_shingles(texts, width):
        hashes = np.empty(len(block.begins), np.uint32)
        hash32(block.normal, block.begins, block.ends, hashes)
        rows = found[block.first : block.first + len(block.counts)]
        _take_minima(hashes, block.counts, multipliers, increments, rows)
    return found


@lru_cache
def _permutations(num_perm: int, seed: int) -> tuple[_Signatures, _Signatures]:
    if num_perm < 1:
        raise BadValue(f"num_perm is {num_perm}; give at least 1 permutation")
    _check_seed(seed, bits=32)
    made = MinHash(num_perm, seed=seed, scheme="affine32").permutations
    multipliers, increments = np.ascontiguousarray(made, np.uint32)
    return multipliers, increments


def _check_seed(seed: int, *, bits: int) -> None:
    if not 0 <= seed < 1 << bits:
        raise BadValue(f"seed is {seed}; give 0 to 2**{bits} - 1")


@_compiled
def _take_minima(
    hashes: _Array, counts: _Array, multipliers: _Array, increments: _Array, found: _Array
) -> None:
    """Lower each text's signature to the minima over its hashes, which are mixed in place.

    Four hashes at a time, and the permutations in the inner loop, which is vector code: 5 ns a
    shingle for 128 permutations, one hash at a time 9 (2026-11-21).
    """
    for i in range(hashes.size):
        mixed = _U32((hashes[i] ^ (hashes[i] >> _U32(16))) * _U32(0x85EBCA6B))
        mixed = _U32((mixed ^ (mixed >> _U32(13))) * _U32(0xC2B2AE35))
        hashes[i] = mixed ^ (mixed >> _U32(16))
    begin = 0
    for i in range(counts.size):
        end = begin + counts[i]
        signature = found[i]
        for j in range(begin, end - 3, 4):
            one, two, three, four = hashes[j], hashes[j + 1], hashes[j + 2], hashes[j + 3]
            for k in range(signature.size):
                a, b = multipliers[k], increments[k]
                low = min(_U32(a * one + b), _U32(a * two + b))
                high = min(_U32(a * three + b), _U32(a * four + b))
                signature[k] = min(signature[k], min(low, high))
        for j in range(end - counts[i] % 4, end):
            one = hashes[j]
            for k in range(signature.size):
                signature[k] = min(signature[k], _U32(multipliers[k] * one + increments[k]))
        begin = end


def band_hashes(signatures: _Signatures, bands: int) -> _Hashes:
    """Cut signatures into bands, and hash each.

    Args:
        signatures: uint32, shape (n, num_perm).
        bands: number of bands; divides num_perm.

    Returns:
        uint64, shape (n, bands): equal where two signatures agree in all num_perm / bands values of
        a band, and else different but for 1 in 2**64. The number of the band is hashed too.

    Raises:
        BadValue: bands does not divide num_perm.

    Source: Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, section 3.4.

    >>> made = signatures(["a b c d e f g", "a b c d e f h"], width=1, num_perm=128, seed=1)
    >>> one, other = band_hashes(made, bands=32)
    >>> int((one == other).sum())
    11
    """
    num_perm = signatures.shape[1]
    if bands < 1 or num_perm % bands:
        raise BadValue(f"{bands} bands do not divide {num_perm} permutations; choose a divisor")
    hashes = np.empty((len(signatures), bands), np.uint64)
    _hash_bands(np.ascontiguousarray(signatures), num_perm // bands, hashes)
    return hashes


@_compiled
def _hash_bands(signatures: _Signatures, rows: int, hashes: _Hashes) -> None:
    for i in range(hashes.shape[0]):
        for band in range(hashes.shape[1]):
            state = _mix(_U64(band + 1))  # mixed, or a value could undo the number
            for value in signatures[i, band * rows : (band + 1) * rows]:
                state = _mix(state ^ _U64(value))
            hashes[i, band] = state


@_compiled
def _mix(state: np.uint64) -> np.uint64:
    """Return what MurmurHash3's finaliser of 64 bits, a bijection, makes of a number."""
    state = (state ^ (state >> _U64(33))) * _U64(0xFF51AFD7ED558CCD)
    state = (state ^ (state >> _U64(33))) * _U64(0xC4CEB9FE1A85EC53)
    return state ^ (state >> _U64(33))
