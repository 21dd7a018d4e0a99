"""All pairs of near-duplicates between a few sets and very many, exactly: nothing is estimated.

MinHash bands, which deduplication can afford among all documents, miss one pair in eighty at
Jaccard 0.7; a proof may not. So the few sets are indexed by their rarest members: of sets at or
above the threshold, the rarest member that both have is among the rarest of each, the more of
them the lower the threshold. What meets there is counted in full.

Source: prefix filtering; Chaudhuri, Ganti, Kaushik, A Primitive Operator for Similarity Joins
(2006); Bayardo, Ma, Srikant, Scaling Up All Pairs Similarity Search (2007).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from corpus.lookup import Array, find_hashes, find_places, sort_distinct
from corpus.overlap import Grams, join_grams, take_grams
from corpus.pairs import overlap_of_pairs

# Sets whose rarest members are looked for at a time: 100,000 posts take about 1 GB.
BLOCK_SETS = 100_000


class Index(NamedTuple):
    """The few sets, ready for `join_sets`; its arrays may be memory-mapped.

    `members` (uint64, ascending) is all that is in them, `counts` in how many of them each is, and
    `prefix_members` (uint64, ascending) with `prefix_sets` (int64) the rarest members of each set.
    """

    hashes: Array
    offsets: Array
    members: Array
    counts: Array
    prefix_members: Array
    prefix_sets: Array


def index_sets(sets: Grams, threshold: float) -> Index:
    """Index sets for `join_sets` at this threshold."""
    members, counts = np.unique(sets.hashes, return_counts=True)
    hashes, owners = [np.empty(0, "u8")], [np.empty(0, "i8")]
    for start in range(0, len(sets.offsets) - 1, BLOCK_SETS):
        offsets = sets.offsets[start : start + BLOCK_SETS + 1]
        block, sizes = sets.hashes[offsets[0] : offsets[-1]], np.diff(offsets)
        owner = np.repeat(np.arange(len(sizes)), sizes)
        rarity = counts[find_places(members, block)]
        prefix = _find_rarest(owner, rarity, sizes - min_shared(sizes, threshold) + 1)
        hashes.append(block[prefix])
        owners.append(start + owner[prefix])
    prefixes = np.concatenate(hashes)
    order = np.argsort(prefixes, kind="stable")
    return Index(*sets, members, counts, prefixes[order], np.concatenate(owners)[order])


def join_sets(index: Index, sets: Grams, threshold: float) -> tuple[Array, Array, Array]:
    """Return all pairs with Jaccard at or above the threshold, and how much they share.

    Args:
        index: of `index_sets`, at the same threshold.
        sets: the other side.
        threshold: above 0.

    Returns:
        Pairs (place in `sets`, place in the index), ascending, int64, shape (m, 2); and the
        shared and the total members of each, int64, shape (m,). Two empty sets are no pair.

    >>> few = Grams(np.array([1, 2, 3], "u8"), np.array([0, 3]))
    >>> many = Grams(np.array([2, 3, 2, 3, 4, 5], "u8"), np.array([0, 2, 6]))
    >>> pairs, shared, total = join_sets(index_sets(few, 0.6), many, 0.6)
    >>> pairs.tolist(), shared.tolist(), total.tolist()
    ([[0, 0]], [2], [3])
    """
    pairs = _find_candidates(index, sets, threshold)
    some, codes = np.unique(pairs[:, 1], return_inverse=True)
    other_side = take_grams(Grams(index.hashes, index.offsets), some)
    both = join_grams([sets, other_side])
    local = np.stack([pairs[:, 0], len(sets.offsets) - 1 + codes], axis=1)
    shared, total = overlap_of_pairs(both.hashes, both.offsets, local)
    near = shared / total >= threshold
    return pairs[near], shared[near], total[near]


def min_shared(sizes: Array, threshold: float) -> Array:
    """Return what a set of each size shares at least with any near-duplicate of it.

    >>> min_shared(np.array([10, 11]), 0.7).tolist()
    [7, 8]
    """
    # 0.7 * 10 is 7.000000000000001 in some spelling of it; a member less is only slower.
    return np.ceil(sizes * threshold - 1e-6).astype("i8")


def _find_candidates(index: Index, sets: Grams, threshold: float) -> Array:
    """Return the pairs whose rarest members meet, int64, shape (m, 2), ascending."""
    sizes = np.diff(sets.offsets)
    owners = np.repeat(np.arange(len(sizes)), sizes)
    places = find_hashes(index.members, sets.hashes)
    known = np.flatnonzero(places >= 0)
    # Members that the index has not are the rarest of all; what is left of the prefix is known.
    num_known = np.bincount(owners[known], minlength=len(sizes))
    lengths = num_known - min_shared(sizes, threshold) + 1
    known = known[lengths[owners[known]] > 0]
    rarity = index.counts[places[known]]
    rarest = known[_find_rarest(owners[known], rarity, lengths)]
    first = np.searchsorted(index.prefix_members, sets.hashes[rarest], "left")
    counts = np.searchsorted(index.prefix_members, sets.hashes[rarest], "right") - first
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    others = index.prefix_sets[np.repeat(first, counts) + within]
    num_others = len(index.offsets)
    keys = sort_distinct(np.repeat(owners[rarest], counts) * num_others + others)
    return np.stack(np.divmod(keys, num_others), axis=1)


def _find_rarest(owners: Array, rarity: Array, lengths: Array) -> Array:
    """Return the places of each owner's `lengths` rarest hashes, ties by hash.

    Owners ascend, and the hashes of each, so a stable sort leaves ties by hash.
    """
    order = np.argsort((owners << 32) + rarity, kind="stable")
    within = np.arange(len(owners)) - np.searchsorted(owners, owners)
    return order[within < lengths[owners]]
