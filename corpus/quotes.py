"""Quotes: texts that share 50 characters in a row with a text that was taken down.

A window is 50 characters of a text in which every run of white space (as `str.isspace` says) is one
space, and none stands at its ends. It counts where at least three of them are spaces or not ASCII:
others are addresses, numbers and lines, which are nobody's words.

Its digest is 64 bits: the sum over its characters of

    mix(character) * BASE ** (places to its right), modulo 2**64, and that mixed again

so the digest of the next window follows from that of the one before, and a column is searched in
one pass, whatever is in it: 30,000 of the same character take no longer. Of a window that is not in
the set, the set says so but for 1 in 2**64; the digests give no text away that is not guessed.

Looked up in a table of bits first (a window that is not there costs one load), then by bisection.
A core does 60 MB/s of English, 100 of code points of three bytes (2026-11-21, a busy machine).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

WINDOW = 50
MIN_BREAKS = 3

_Array = npt.NDArray[Any]
_Function = TypeVar("_Function", bound=Callable[..., Any])
_compiled: Callable[[_Function], _Function] = njit(cache=True, nogil=True)

_U64 = np.uint64
_BASE = _U64(0x9E3779B97F4A7C15)  # odd
_POWER = _U64(pow(0x9E3779B97F4A7C15, WINDOW, 2**64))
_MIX, _MIX2 = _U64(0xFF51AFD7ED558CCD), _U64(0xC4CEB9FE1A85EC53)  # of MurmurHash3's finaliser
_SPACE = 0x20
# Bits a window in the table, so that 1 in 64 that are not there is looked for by bisection.
_BITS_EACH = 64


class WindowSet(NamedTuple):
    """Windows to look for: digests, uint64, ascending; and the table of bits before them."""

    digests: _Array
    bits: _Array
    shift: np.uint64


def make_window_set(digests: _Array) -> WindowSet:
    """Make a set of windows, given their digests in any order."""
    digests = np.unique(digests.astype(np.uint64))
    width = max(6, int(max(1, len(digests)) * _BITS_EACH - 1).bit_length())
    shift = _U64(64 - width)
    bits = np.zeros(1 << (width - 6), np.uint64)
    places = digests >> shift
    np.bitwise_or.at(bits, places >> _U64(6), _U64(1) << (places & _U64(63)))
    return WindowSet(digests, bits, shift)


def digest_windows(texts: pa.Array | pa.ChunkedArray) -> tuple[_Array, _Array]:
    """Return the digest of every window that counts of every text, and the place of its text.

    Returns:
        uint64 and int64, of one length, in the order of the texts; a text of fewer than 50
        characters has none.

    >>> words = "to be or not to be, that is the question: whether 'ti"
    >>> digests, places = digest_windows(pa.array([words, None, "short", words[3:], "x" * 99]))
    >>> places.tolist(), bool(digests[0] == digests[4]), bool(digests[3] == digests[4])
    ([0, 0, 0, 0, 3], False, True)
    """
    found, places, first = [np.empty(0, np.uint64)], [np.empty(0, np.int64)], 0
    for offsets, data in _iter_buffers(texts):
        digests = np.empty(max(0, int(offsets[-1] - offsets[0])), np.uint64)
        owners = np.empty(len(digests), np.int64)
        num = _digest(data, offsets, digests, owners)
        found.append(digests[:num].copy())
        places.append(owners[:num] + first)
        first += len(offsets) - 1
    return np.concatenate(found), np.concatenate(places)


def have_window(texts: pa.Array | pa.ChunkedArray, windows: WindowSet) -> npt.NDArray[np.bool_]:
    """Tell which texts hold one of the windows: bool, shape (len(texts),); nulls hold none.

    >>> words = "to be or not to be, that is the question: whether 't"
    >>> windows = make_window_set(digest_windows(pa.array([words]))[0])
    >>> have_window(pa.array([f"or {words}", words[:49], None]), windows).tolist()
    [True, False, False]
    """
    masks = [np.zeros(0, bool)]
    for offsets, data in _iter_buffers(texts):
        mask = np.zeros(len(offsets) - 1, np.bool_)
        if len(windows.digests):
            _search(data, offsets, *windows, mask)
        masks.append(mask)
    return np.concatenate(masks)


def _iter_buffers(texts: pa.Array | pa.ChunkedArray) -> Iterator[tuple[_Array, _Array]]:
    """Iterate over (offsets, bytes) of each chunk of a string column."""
    for chunk in texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]:
        if chunk.null_count:
            chunk = chunk.fill_null("")
        kind = np.int64 if pa.types.is_large_string(chunk.type) else np.int32
        _, offsets, data = chunk.buffers()
        if not len(chunk):
            continue
        ends = np.frombuffer(offsets, kind)[chunk.offset : chunk.offset + len(chunk) + 1]
        raw = np.empty(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
        yield ends.astype(np.int64), raw


@_compiled
def _is_space(code: int) -> bool:
    if code < 0x80:
        return code == 0x20 or 9 <= code <= 13 or 0x1C <= code <= 0x1F
    if code < 0x1680:
        return code == 0x85 or code == 0xA0
    return (
        code == 0x1680
        or 0x2000 <= code <= 0x200A
        or code == 0x2028
        or code == 0x2029
        or code == 0x202F
        or code == 0x205F
        or code == 0x3000
    )


@_compiled
def _mixed(value: np.uint64) -> np.uint64:
    value = (value ^ (value >> _U64(33))) * _MIX
    value = (value ^ (value >> _U64(33))) * _MIX2
    return value ^ (value >> _U64(33))


@_compiled
def _decode(data: _Array, i: int) -> tuple[int, int]:
    """Return the code point that begins at a byte, and where the next one begins."""
    byte = int(data[i])
    if byte < 0x80:
        return byte, i + 1
    if byte < 0xE0:
        return (byte & 0x1F) << 6 | int(data[i + 1]) & 0x3F, i + 2
    if byte < 0xF0:
        return (byte & 0x0F) << 12 | (int(data[i + 1]) & 0x3F) << 6 | int(data[i + 2]) & 0x3F, i + 3
    high = (byte & 0x07) << 18 | (int(data[i + 1]) & 0x3F) << 12
    return high | (int(data[i + 2]) & 0x3F) << 6 | int(data[i + 3]) & 0x3F, i + 4


@_compiled
def _mix_ascii() -> _Array:
    """Return the mixed characters up to 127, of white space 0."""
    mixed = np.zeros(128, np.uint64)
    for code in range(128):
        if not _is_space(code):
            mixed[code] = _mixed(_U64(code) + _BASE)
    return mixed


@_compiled
def _mix_text(data: _Array, begin: int, end: int, ascii_mixed: _Array, mixed: _Array) -> int:
    """Write the mixed characters of a text, its white space made single spaces; return how many."""
    num, waits, i = 0, False, begin
    while i < end:
        value = _U64(0)
        if data[i] < 0x80:
            value = ascii_mixed[data[i]]
            i += 1
        else:
            code, i = _decode(data, i)
            if not _is_space(code):
                value = _mixed(_U64(code) + _BASE)
        if value == 0:
            waits = num > 0
            continue
        if waits:
            mixed[num] = _mixed(_U64(_SPACE) + _BASE)
            num += 1
            waits = False
        mixed[num] = value
        num += 1
    return num


@_compiled
def _digest(data: _Array, offsets: _Array, digests: _Array, owners: _Array) -> int:
    """Write the digest of every window; return how many there are."""
    ascii_mixed = _mix_ascii()
    mixed = np.empty(np.diff(offsets).max(), np.uint64)
    plain = np.sort(ascii_mixed[ascii_mixed != 0])
    num = 0
    for row in range(len(offsets) - 1):
        size = _mix_text(data, offsets[row], offsets[row + 1], ascii_mixed, mixed)
        state, breaks = _U64(0), 0
        for j in range(size):
            breaks += not _is_in(mixed[j], plain)
            if j >= WINDOW:
                breaks -= not _is_in(mixed[j - WINDOW], plain)
            state = state * _BASE + mixed[j]
            if j >= WINDOW:
                state -= mixed[j - WINDOW] * _POWER
            if j >= WINDOW - 1 and breaks >= MIN_BREAKS:
                digests[num] = _mixed(state)
                owners[num] = row
                num += 1
    return num


@_compiled
def _search(
    data: _Array, offsets: _Array, wanted: _Array, bits: _Array, shift: np.uint64, mask: _Array
) -> None:
    """Mark the texts that hold a wanted window; each is searched up to its first."""
    ascii_mixed = _mix_ascii()
    mixed = np.empty(np.diff(offsets).max(), np.uint64)
    for row in range(len(offsets) - 1):
        size = 0
        if offsets[row + 1] - offsets[row] >= WINDOW:
            size = _mix_text(data, offsets[row], offsets[row + 1], ascii_mixed, mixed)
        state = _U64(0)
        for j in range(min(size, WINDOW - 1)):
            state = state * _BASE + mixed[j]
        for j in range(WINDOW - 1, size):
            state = state * _BASE + mixed[j]
            if j >= WINDOW:
                state -= mixed[j - WINDOW] * _POWER
            digest = _mixed(state)
            bit = digest >> shift
            if bits[bit >> _U64(6)] >> (bit & _U64(63)) & _U64(1) and _is_in(digest, wanted):
                mask[row] = True
                break


@_compiled
def _is_in(digest: np.uint64, wanted: _Array) -> bool:
    first, last = 0, len(wanted)
    while first < last:
        middle = (first + last) >> 1
        if wanted[middle] < digest:
            first = middle + 1
        else:
            last = middle
    return first < len(wanted) and wanted[first] == digest
