"""Masking: which tokens of a row are to be guessed, and what the model sees in their place.

Of each row, `floor(rate * n + 0.5)` of its n tokens that are not special are chosen, at least one.
They are chosen by whole words in random order; only the last word of a row is cut where it would
pass that number. A word begins at a piece that begins with white space (SentencePiece's mark, a
newline, an indent), after one that ends with it, and at the start of a document; after
`WORD_TOKENS` tokens a word is cut. Of the chosen tokens 80 % become [MASK], 10 % a random piece
that is not special, 10 % stay.

A row's randomness is the Philox stream whose key is (seed, epoch, row), so it is the same whatever
else is in the batch, and whoever makes it. Its 64-bit words are used in this order: one for each
word of the row, whose upper 32 bits order the words; then one for each chosen token, ascending,
whose upper 32 bits decide among the three and whose lower 32 bits draw the piece.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from corpus.errors import BadValue
from corpus.vocabulary import FIRST_BYTE_ID, Tokenizer
from pretrain.recipe import MaskingSection

# Shapes: T tokens of all rows of a micro-batch, padding left out; R rows; W words; M masked tokens;
# V pieces of the vocabulary.

BEGINS, ENDS = 1, 2
# Text without white space (a URL, Base64, Chinese in bytes) is one endless word: hidden whole, it
# cannot be guessed. 16 cuts 1 word in 800 of real posts; the longest of 450,000 was of 599 tokens.
WORD_TOKENS = 16
MASKED_OF_32_BITS = round(0.8 * 2**32)
CHANGED_OF_32_BITS = round(0.9 * 2**32)

Array = np.ndarray[Any, Any]


class Masked(NamedTuple):
    """A micro-batch after masking.

    Args:
        tokens_T: int64; what the model sees.
        masked_M: int64, ascending; which tokens are to be guessed.
        targets_M: int64; what they were.
    """

    tokens_T: npt.NDArray[np.int64]
    masked_M: npt.NDArray[np.int64]
    targets_M: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Masking:
    """How the rows of a run are masked.

    Args:
        rate: the fraction of tokens that are chosen.
        whole_words: whether they are chosen by words, or one by one.
        seed: of the choice.
        edges_V: uint8; BEGINS and ENDS of each piece (`find_word_edges`).
        decay_rate: the rate from `decay_row` on.
        decay_row: a row of the run, counted from 0; None where the rate never changes.
    """

    rate: float
    whole_words: bool
    seed: int
    edges_V: npt.NDArray[np.uint8]
    decay_rate: float = 0.0
    decay_row: int | None = None

    def rates(self, run_rows: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the rate for each of these rows of the run."""
        rows = np.asarray(run_rows, np.int64)
        if self.decay_row is None:
            return np.full(len(rows), self.rate)
        return np.where(rows < self.decay_row, self.rate, self.decay_rate)


def make_masking(
    section: MaskingSection, tokenizer: Tokenizer, *, decay_row: int | None = None
) -> Masking:
    """Make the masking that a recipe asks for.

    Args:
        section: of the recipe.
        tokenizer: of the shards.
        decay_row: from which row of the run on `section.decay_rate` holds, where it is given.
    """
    masking = Masking(section.rate, section.whole_words, section.seed, _read_edges(tokenizer))
    if section.decay_rate is None or decay_row is None:
        return masking
    return replace(masking, decay_rate=section.decay_rate, decay_row=decay_row)


@lru_cache(maxsize=2)
def _read_edges(tokenizer: Tokenizer) -> npt.NDArray[np.uint8]:
    # Takes 0.6 s at 50,000 pieces, and each evaluation makes its masking anew.
    return find_word_edges([tokenizer.decode([n]) for n in range(tokenizer.vocabulary_size)])


def find_word_edges(pieces: Sequence[str]) -> npt.NDArray[np.uint8]:
    r"""Find at which pieces words begin and end, with two bits for each piece.

    Args:
        pieces: as text, shape (V,); special ones are empty, and words of their own.

    >>> find_word_edges(["", " the", "re", ".\n\n", "\t"]).tolist()
    [3, 1, 0, 2, 3]
    """
    begins = [not piece or piece[0].isspace() for piece in pieces]
    ends = [not piece or piece[-1].isspace() for piece in pieces]
    return np.array(begins, np.uint8) * BEGINS + np.array(ends, np.uint8) * ENDS


def mask_tokens(
    tokens_T: npt.NDArray[np.int64],
    row_bounds_R1: npt.NDArray[np.int64],
    masking: Masking,
    *,
    epochs_R: npt.ArrayLike,
    rows_R: npt.ArrayLike,
    rates_R: npt.ArrayLike,
) -> Masked:
    """Mask the rows of a micro-batch, each by its own key and rate.

    Args:
        tokens_T: int64; not changed.
        row_bounds_R1: where each row begins in T, then T.
        masking: whole words or not, the seed, and the table of words.
        epochs_R: how often each row was seen before.
        rows_R: the number of each row in the plan.
        rates_R: the fraction of tokens to choose in each row, 0 to 1.

    Raises:
        BadValue: a token is not of the vocabulary that the masking was made for.
    """
    num_pieces = len(masking.edges_V)
    if tokens_T.max(initial=0) >= num_pieces:
        raise BadValue(
            f"token {tokens_T.max()} is not of the {num_pieces} pieces that the masking was made "
            "for; use the tokenizer of the shards"
        )
    starts_W, lengths_W = _find_words(tokens_T, masking)
    bounds_R1 = np.searchsorted(starts_W, row_bounds_R1)
    words_R = np.diff(bounds_R1)
    ends_W1 = np.concatenate([[0], np.cumsum(lengths_W)])
    offsets_R = ends_W1[bounds_R1[:-1]]
    chosen_R = _count_chosen(ends_W1[bounds_R1[1:]] - offsets_R, np.asarray(rates_R))
    random_W, random_M = _draw(masking.seed, epochs_R, rows_R, words_R, chosen_R)
    order_W = _shuffle_words(random_W, words_R)
    starts_W, lengths_W = starts_W[order_W], lengths_W[order_W]
    # The words of a row are still side by side, so `before_W` counts from the row's own offset.
    before_W = np.cumsum(lengths_W) - lengths_W
    taken_W = np.clip(np.repeat(offsets_R + chosen_R, words_R) - before_W, 0, lengths_W)
    masked_M = np.sort(_expand(starts_W, taken_W))
    return _exchange(tokens_T, masked_M, random_M, num_pieces)


def _find_words(tokens_T: Array, masking: Masking) -> tuple[Array, Array]:
    """Return the first token of each word, ascending, and its length; special tokens have none."""
    if not masking.whole_words:
        starts_W = np.flatnonzero(tokens_T >= FIRST_BYTE_ID)
        return starts_W, np.ones_like(starts_W)
    edges_T = masking.edges_V[tokens_T]
    begins_T = (edges_T & BEGINS).astype(np.bool_)
    begins_T[1:] |= (edges_T[:-1] & ENDS).astype(np.bool_)
    starts_W = np.flatnonzero(begins_T)
    lengths_W = np.diff(starts_W, append=len(tokens_T))
    long_W = np.flatnonzero(lengths_W > WORD_TOKENS)
    if len(long_W):
        cuts_W = (lengths_W[long_W] - 1) // WORD_TOKENS
        first_cuts = starts_W[long_W] + WORD_TOKENS
        begins_T[_expand(first_cuts, cuts_W, WORD_TOKENS)] = True
        starts_W = np.flatnonzero(begins_T)
        lengths_W = np.diff(starts_W, append=len(tokens_T))
    is_text_W = tokens_T[starts_W] >= FIRST_BYTE_ID
    return starts_W[is_text_W], lengths_W[is_text_W]


def _count_chosen(tokens_R: Array, rates_R: Array) -> Array:
    """Return how many tokens of each row to choose: at least one, where there is any to choose."""
    wanted_R = np.floor(rates_R * tokens_R + 0.5).astype(np.int64)
    chosen_R: Array = np.where(rates_R > 0, np.clip(wanted_R, 1, None), 0)
    return np.minimum(chosen_R, tokens_R)


def _draw(
    seed: int, epochs_R: npt.ArrayLike, rows_R: npt.ArrayLike, words_R: Array, chosen_R: Array
) -> tuple[Array, Array]:
    """Return the random words of each row's stream: for its words, and for its chosen tokens."""
    parts_W, parts_M = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint64)]
    columns = (np.asarray(one).tolist() for one in (epochs_R, rows_R, words_R, chosen_R))
    for epoch, row, num_words, num_chosen in zip(*columns, strict=True):
        stream = np.random.Philox(key=np.array([seed << 32 | epoch, row], np.uint64))
        parts_W.append(stream.random_raw(num_words))
        parts_M.append(stream.random_raw(num_chosen))
    return np.concatenate(parts_W), np.concatenate(parts_M)


def _shuffle_words(random_W: Array, words_R: Array) -> Array:
    """Return the words, row after row, and those of a row in the order of their random words."""
    first_words_R = np.cumsum(words_R) - words_R
    rows_W = np.repeat(np.arange(len(words_R), dtype=np.uint64), words_R)
    in_row_W = np.arange(len(random_W)) - np.repeat(first_words_R, words_R)
    # Row, 32 random bits and word in one integer: no two are equal, so the order does not hang on
    # the sort; and sorting integers is five times as fast as sorting indexes by them.
    keys_W = rows_W << 48 | random_W >> 32 << 16 | in_row_W.astype(np.uint64)
    keys_W.sort()
    order_W: Array = np.repeat(first_words_R, words_R) + (keys_W & 0xFFFF).astype(np.int64)
    return order_W


def _expand(starts: Array, counts: Array, step: int = 1) -> Array:
    """Return `counts[i]` integers from each `starts[i]` on, `step` apart.

    >>> _expand(np.array([7, 2]), np.array([1, 3])).tolist()
    [7, 2, 3, 4]
    """
    before = np.cumsum(counts) - counts
    expanded: Array = np.repeat(starts - before * step, counts) + np.arange(counts.sum()) * step
    return expanded


def _exchange(tokens_T: Array, masked_M: Array, random_M: Array, num_pieces: int) -> Masked:
    """Put [MASK], or a random piece, where tokens were chosen."""
    targets_M = tokens_T[masked_M]
    decision_M, draw_M = random_M >> 32, random_M & 0xFFFFFFFF
    pieces_M = FIRST_BYTE_ID + (draw_M * (num_pieces - FIRST_BYTE_ID) >> 32).astype(np.int64)
    seen_M = np.where(decision_M < CHANGED_OF_32_BITS, pieces_M, targets_M)
    seen_M[decision_M < MASKED_OF_32_BITS] = Tokenizer.mask_id
    seen_T = tokens_T.copy()
    seen_T[masked_M] = seen_M
    return Masked(seen_T, masked_M, targets_M)
