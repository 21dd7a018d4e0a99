"""Texts to shingles: tokens, the normalised text, and where in it each shingle is.

The tokens of a text, in UTF-8, ASCII letters lower-cased, nothing else folded away:

    run of ASCII letters, digits, `_` and bytes from 0x80 on    one token
    any other visible ASCII character                           a token of its own
    character U+3000 to U+D7FF (CJK, Hangul: few spaces)        a token of its own
    white space, control and invisible characters               separate tokens

So `x += 1` is not `x -= 2`. The normalised text is the tokens joined by one space. A shingle is
`width` tokens in a row, joined by one space too: a slice of the normalised text. A text of fewer
tokens has one shingle, all of them; a text without tokens has none. No token and no shingle is made
a Python object.

The loops are cut into passes that LLVM makes vector code of, or that have no branch to mispredict:
9 ns a token of 5 bytes, where one branching pass took 22 (2026-11-21).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from corpus.errors import BadValue
from corpus.xxh import SPARE

Texts: TypeAlias = pa.Array | pa.ChunkedArray | Sequence[str]

_BLOCK_BYTES = 1 << 18  # of text in one block: what is made of it stays in the L2 cache
_SPACE = 32

_Array = npt.NDArray[Any]
_Function = TypeVar("_Function", bound=Callable[..., Any])
_compiled: Callable[[_Function], _Function] = njit(cache=True, nogil=True)


class Shingles(NamedTuple):
    """The shingles of some texts in a row, overwritten by the next block."""

    first: int  # the number of the first text
    counts: _Array  # int64: shingles of each text
    normal: _Array  # uint8: a space before each token; `xxh.SPARE` bytes behind the last
    begins: _Array  # int64: where in `normal` each shingle begins, text by text
    ends: _Array  # int64: where it ends


class _Scratch(NamedTuple):
    """Marks of the bytes of one text, all uint8; and its tokens."""

    is_word: _Array  # of byte i - 1: part of a run that is one token
    is_kept: _Array  # not a separator
    is_start: _Array  # first of a token
    lowered: _Array
    starts: _Array  # int64: where a token starts in `normal`; last, the end of all + 1


def _make_scratch(room: int) -> _Scratch:
    is_word, is_kept, is_start, lowered = np.empty((4, room), np.uint8)
    return _Scratch(is_word, is_kept, is_start, lowered, np.empty(room + 1, np.int64))


def iter_shingles(texts: Texts, width: int) -> Iterator[Shingles]:
    """Iterate over the shingles of texts, a block of texts at a time.

    Args:
        texts: strings, Arrow or Python, without nulls.
        width: tokens in a shingle, at least 1.

    Yields:
        Blocks of whole texts, in order. The arrays are used again for the next block.

    Raises:
        BadValue: a text is null, or width is not positive.

    >>> (block,) = iter_shingles(["One, two"], width=2)
    >>> [bytes(block.normal[b:e]) for b, e in zip(block.begins, block.ends)]
    [b'one ,', b', two']
    """
    if width < 1:
        raise BadValue(f"width of shingles is {width}; give at least 1 token")
    data, offsets = _utf8_of(texts)
    cuts = _cut_blocks(offsets)
    room = int(np.diff(offsets[cuts]).max(initial=0)) + 1
    scratch = _make_scratch(room)
    normal = np.empty(2 * room + SPARE, np.uint8)
    begins, ends = np.empty((2, room), np.int64)
    for first, stop in pairwise(cuts):
        counts = np.empty(stop - first, np.int64)
        total = _shingle(
            data, offsets[first : stop + 1], width, scratch, normal, begins, ends, counts
        )
        yield Shingles(first, counts, normal, begins[:total], ends[:total])


def _utf8_of(texts: Texts) -> tuple[_Array, _Array]:
    """Return the UTF-8 bytes of all texts, and int64 offsets (n + 1); both read-only."""
    array = (
        texts
        if isinstance(texts, pa.Array | pa.ChunkedArray)
        else pa.array(texts, pa.large_string())
    )
    array = array.cast(pa.large_string())
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if array.null_count:
        raise BadValue(
            f"{array.null_count} of {len(array)} texts are null; drop or fill them first"
        )
    _, offsets, data = array.buffers()
    places = np.frombuffer(offsets, np.int64, len(array) + 1, 8 * array.offset)
    utf8 = np.frombuffer(data or b"", np.uint8)
    places.flags.writeable = utf8.flags.writeable = False  # one type: compiled once
    return utf8, places


def _cut_blocks(offsets: _Array) -> list[int]:
    """Return the first text of each block, and the number of texts at the end."""
    cuts = [0]
    while cuts[-1] < len(offsets) - 1:
        limit = offsets[cuts[-1]] + _BLOCK_BYTES
        cuts.append(max(int(np.searchsorted(offsets, limit, side="right")) - 1, cuts[-1] + 1))
    return cuts


@_compiled
def _mark_bytes(text: _Array, scratch: _Scratch) -> None:
    """Mark what each byte is, as if all characters beyond ASCII were letters."""
    is_word, is_kept, is_start = scratch.is_word, scratch.is_kept, scratch.is_start
    is_word[0] = False
    for i in range(text.size):
        byte = text[i]
        is_word[i + 1] = (
            ((byte >= 97) & (byte <= 122))
            | ((byte >= 65) & (byte <= 90))
            | ((byte >= 48) & (byte <= 57))
            | (byte == 95)
            | (byte >= 128)
        )
    for i in range(text.size):
        is_kept[i] = (text[i] > _SPACE) & (text[i] != 127)
    for i in range(text.size):
        is_start[i] = is_kept[i] & ~(is_word[i] & is_word[i + 1])


@_compiled
def _is_separator(text: _Array, i: int) -> bool:
    """Return whether the character at byte i, of 2 or 3 bytes, is white space or invisible.

    U+0080 to U+00A0, U+1680, U+2000 to U+200F, U+2028 to U+202F, U+205F to U+206F, U+3000, U+FEFF.
    """
    first, second = text[i], text[i + 1]
    if first == 0xC2:
        return bool(second <= 0xA0)
    third = text[i + 2]
    return bool(
        (first == 0xE1 and second == 0x9A and third == 0x80)
        or (first == 0xE2 and second == 0x80 and (third <= 0x8F or 0xA8 <= third <= 0xAF))
        or (first == 0xE2 and second == 0x81 and 0x9F <= third <= 0xAF)
        or (first == 0xE3 and second == 0x80 and third == 0x80)
        or (first == 0xEF and second == 0xBB and third == 0xBF)
    )


@_compiled
def _mark_wide(text: _Array, scratch: _Scratch) -> None:
    """Correct the marks of the characters beyond ASCII that separate or stand alone."""
    for i in range(text.size):
        lead = text[i]
        width = 2 if lead == 0xC2 else 3
        if lead < 0xC2 or i + width > text.size:
            continue
        separates = _is_separator(text, i)
        if not separates and not 0xE3 <= lead <= 0xED:
            continue
        for j in range(i, i + width):
            scratch.is_kept[j] = not separates
        scratch.is_start[i] = not separates
        if i + width < text.size:
            scratch.is_start[i + width] = scratch.is_kept[i + width]


@_compiled
def _normalise(text: _Array, scratch: _Scratch, normal: _Array) -> int:
    """Write a space and each token to `normal`; return how many bytes that is."""
    is_kept, is_start, lowered = scratch.is_kept, scratch.is_start, scratch.lowered
    _mark_bytes(text, scratch)
    has_wide = False
    for i in range(text.size):
        has_wide |= text[i] >= 0xC2
    if has_wide:
        _mark_wide(text, scratch)
    for i in range(text.size):
        byte = text[i]
        lower = byte + 32 if (byte >= 65) & (byte <= 90) else byte
        lowered[i] = lower if is_kept[i] else _SPACE
    # Of byte i, how far the next one is from it: one load and one store a byte in the last loop.
    is_start[text.size] = False
    steps = is_kept
    for i in range(text.size):
        steps[i] += is_start[i + 1]
    normal[: 2 * text.size + 1] = _SPACE
    size = int(is_start[0])
    for i in range(text.size):
        normal[size] = lowered[i]
        size += steps[i]
    return size


@_compiled
def _find_tokens(normal: _Array, size: int, starts: _Array) -> int:
    """Find where the tokens of `normal[:size]` start; return how many there are."""
    count = 0
    for i in range(size):
        starts[count] = i + 1
        count += normal[i] == _SPACE
    starts[count] = size + 1
    return count


@_compiled
def _shingle(
    data: _Array,
    offsets: _Array,
    width: int,
    scratch: _Scratch,
    normal: _Array,
    begins: _Array,
    ends: _Array,
    counts: _Array,
) -> int:
    """Fill `normal` with the normalised texts, and the last three; return the sum of the counts."""
    used, total = 0, 0
    for i in range(counts.size):
        text = data[offsets[i] : offsets[i + 1]]
        size = _normalise(text, scratch, normal[used:])
        num_tokens = _find_tokens(normal[used:], size, scratch.starts)
        held = min(width, num_tokens)
        counts[i] = num_tokens - held + 1 if num_tokens else 0
        first, last = scratch.starts, scratch.starts[held:]
        text_begins, text_ends = begins[total:], ends[total:]
        for j in range(counts[i]):
            text_begins[j] = used + first[j]
            text_ends[j] = used + last[j] - 1
        used += size
        total += counts[i]
    return total
