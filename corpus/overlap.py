"""Shared n-grams: how much of each evaluation text is also in train; pure functions on arrays.

Evaluation texts are few, so their n-grams are one sorted array; train is streamed past it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from corpus.lookup import Array, find_hashes, sort_distinct


class Grams(NamedTuple):
    """Sets of n-grams, one a text: uint64 hashes, ascending in each text, and int64 offsets."""

    hashes: Array
    offsets: Array


def join_grams(parts: list[Grams]) -> Grams:
    """Join the sets of several batches of texts, in order.

    >>> one = Grams(np.array([5, 9], "u8"), np.array([0, 2]))
    >>> join_grams([one, one]).offsets.tolist()
    [0, 2, 4]
    """
    hashes = np.concatenate([np.empty(0, "u8"), *(part.hashes for part in parts)])
    sizes = np.concatenate([np.zeros(1, "i8"), *(np.diff(part.offsets) for part in parts)])
    return Grams(hashes, np.cumsum(sizes))


def take_grams(grams: Grams, places: Array) -> Grams:
    """Return the sets at some places.

    >>> grams = Grams(np.array([5, 9, 7], "u8"), np.array([0, 2, 3]))
    >>> take_grams(grams, np.array([1, 0])).hashes.tolist()
    [7, 5, 9]
    """
    sizes = np.diff(grams.offsets)[places]
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], sizes)
    return Grams(grams.hashes[np.repeat(grams.offsets[places], sizes) + within], offsets)


def find_seen(grams: Array, wanted: Array) -> Array:
    """Return where in `wanted` (uint64, ascending) any of `grams` stands; int64, ascending.

    >>> find_seen(np.array([9, 5, 5], "u8"), np.array([1, 5, 9], "u8")).tolist()
    [1, 2]
    """
    places = find_hashes(wanted, grams)
    return sort_distinct(places[places >= 0])


def seen_fractions(places: Array, offsets: Array, is_seen: Array) -> Array:
    """Return the share of each text's n-grams that is marked as seen; float64, 0 for no n-gram.

    Args:
        places: int64; the n-grams of each text by their places in `is_seen`, text after text.
        offsets: int64, shape (n + 1,).
        is_seen: bool, of all n-grams.

    >>> is_seen = np.array([True, False, True])
    >>> seen_fractions(np.array([0, 1, 2]), np.array([0, 2, 3]), is_seen).tolist()
    [0.5, 1.0]
    """
    hits = np.concatenate([[0], np.cumsum(is_seen[places])])
    return np.diff(hits[offsets]) / np.maximum(np.diff(offsets), 1)
