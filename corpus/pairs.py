"""Which documents are near-duplicates, and which of them stays.

Candidate pairs share a band of their signatures; they come from sorting, one band at a time, never
from a table of all signatures. A candidate counts for nothing until its exact Jaccard similarity,
from the shingle sets, is known. Clusters are components of pairs that pass (`corpus.components`).
Of a cluster only those are removed that were themselves compared with one that stays: of a chain
A ~ B ~ C, where A and C are not alike, A and C stay.

Documents and nodes are numbers, 0 to n - 1. A set of shingles is a slice of one array of uint64
hashes, ascending and each once, cut by int64 offsets (n + 1): what `corpus.minhash.shingle_sets`
returns. An empty set is similar to none, not to another empty one either.

A similarity is shared / union in float64, correctly rounded. So `similarity >= threshold` is exact
for a threshold of a few decimals: 7 of 10 is not less than 0.7.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from numba import njit

from corpus.errors import BadValue

_Array = npt.NDArray[Any]
_Places = npt.NDArray[np.int64]
_Hashes = npt.NDArray[np.uint64]
_Function = TypeVar("_Function", bound=Callable[..., Any])
_compiled: Callable[[_Function], _Function] = njit(cache=True, nogil=True)

_HALF = np.uint64(32)  # a pair in one number: the smaller document above, the larger below
_LOW = np.uint64(0xFFFFFFFF)


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """What stays of each component."""

    representative: _Places  # int64, shape (n,): of each node; itself where it stays
    similarity: npt.NDArray[np.float64]  # shape (n,): with the representative; 1 where it stays
    oversized: _Places  # int64: the components beyond `max_cluster`, ascending


def candidate_pairs(
    bands: Iterable[_Hashes], *, max_bucket: int, eligible: npt.NDArray[np.bool_] | None = None
) -> _Places:
    """Return the pairs of documents that share a bucket: equal hashes in some band.

    A bucket of up to `max_bucket` documents gives all its pairs. In a larger one (boilerplate) each
    document is paired with the first and with the one before it, by number, so that the pairs grow
    with the documents, not with their square: some pairs of it may then never be compared.

    Args:
        bands: for each band, the uint64 hash of every document, shape (n,). Read one at a time.
        max_bucket: at least 2.
        eligible: the documents to look at, shape (n,); others are in no pair. Default: all. Those
            without shingles must be left out: they all share all their buckets.

    Returns:
        int64, shape (m, 2), i < j in each row; rows ascending, each once.

    Raises:
        BadValue: max_bucket is less than 2.

    >>> bands = [np.array([7, 8, 7], np.uint64), np.array([1, 2, 2], np.uint64)]
    >>> candidate_pairs(bands, max_bucket=100).tolist()
    [[0, 2], [1, 2]]
    """
    if max_bucket < 2:
        raise BadValue(f"max_bucket is {max_bucket}; give at least 2")
    keys = np.empty(0, np.uint64)
    for hashes in bands:
        documents, sizes = _find_buckets(hashes, eligible)
        keys = _merge(keys, _pair_buckets(documents, sizes, max_bucket))
    return np.stack([keys >> _HALF, keys & _LOW], axis=1).astype(np.int64)


def _find_buckets(
    hashes: _Hashes, eligible: npt.NDArray[np.bool_] | None
) -> tuple[_Hashes, _Places]:
    """Return the documents of each bucket of two or more, ascending, and the sizes of buckets."""
    chosen = None if eligible is None else np.flatnonzero(eligible)
    if chosen is not None:
        hashes = hashes[chosen]
    order = np.argsort(hashes)
    ordered = hashes[order]
    repeats = np.zeros(len(order) + 1, np.bool_)  # at i: ordered[i] is as the one before
    np.equal(ordered[1:], ordered[:-1], out=repeats[1:-1])
    is_shared = repeats[1:] | repeats[:-1]
    bucket = np.cumsum(~repeats[:-1][is_shared])
    # The sort above is not stable, which would cost twice as much; this one is of few.
    documents = order[is_shared] if chosen is None else chosen[order[is_shared]]
    members = bucket.astype(np.uint64) << _HALF | documents.astype(np.uint64)
    members.sort()
    return members & _LOW, np.bincount(bucket)[1:]


def _merge(keys: _Hashes, more: _Hashes) -> _Hashes:
    """Return both, ascending, each once. np.union1d hashes first: 19 times slower (numpy 2.4)."""
    joined = np.concatenate([keys, more])
    joined.sort()
    is_first = np.ones(len(joined), np.bool_)
    np.not_equal(joined[1:], joined[:-1], out=is_first[1:])
    merged: _Hashes = joined[is_first]
    return merged


@_compiled
def _pair_buckets(documents: _Hashes, sizes: _Places, max_bucket: int) -> _Hashes:
    """Return the pairs of each bucket as smaller << 32 | larger; its documents ascend."""
    links = 0
    for size in sizes:
        links += size * (size - 1) // 2 if size <= max_bucket else 2 * size - 3
    pairs = np.empty(links, np.uint64)
    begin, used = 0, 0
    for size in sizes:
        members = documents[begin : begin + size]
        begin += size
        for j in range(1, size):
            step = 1 if size <= max_bucket else max(j - 1, 1)  # all, or the first and the last
            for i in range(0, j, step):
                pairs[used] = members[i] << _HALF | members[j]
                used += 1
    return pairs


def overlap_of_pairs(values: _Hashes, offsets: _Places, pairs: _Places) -> tuple[_Places, _Places]:
    """Return how many shingles the sets of each pair share, and how many they have together.

    Args:
        values: uint64, the sets, one after the other.
        offsets: int64, shape (n + 1,).
        pairs: integers, shape (m, 2).

    Returns:
        Two of int64, shape (m,): sizes of intersection and union.

    >>> values, offsets = np.array([1, 2, 3, 2, 3, 4], np.uint64), np.array([0, 3, 6])
    >>> [int(n) for (n,) in overlap_of_pairs(values, offsets, np.array([[0, 1]]))]
    [2, 4]
    """
    shared = _count_shared(values, offsets, pairs)
    sizes = np.diff(offsets)
    return shared, sizes[pairs[:, 0]] + sizes[pairs[:, 1]] - shared


def jaccard_of_pairs(values: _Hashes, offsets: _Places, pairs: _Places) -> npt.NDArray[np.float64]:
    """Return the exact Jaccard similarity of each pair; arguments as of `overlap_of_pairs`.

    >>> values, offsets = np.array([1, 2, 3, 2, 3, 4], np.uint64), np.array([0, 3, 6])
    >>> jaccard_of_pairs(values, offsets, np.array([[0, 1]])).tolist()
    [0.5]
    """
    shared, union = overlap_of_pairs(values, offsets, pairs)
    return shared / np.maximum(union, 1)


@_compiled
def _count_shared(values: _Hashes, offsets: _Places, pairs: _Places) -> _Places:
    shared = np.empty(len(pairs), np.int64)
    for k in range(len(pairs)):
        one, other = pairs[k]
        shared[k] = _intersect(
            values[offsets[one] : offsets[one + 1]], values[offsets[other] : offsets[other + 1]]
        )
    return shared


@_compiled
def _intersect(one: _Hashes, other: _Hashes) -> int:
    """Return how many members two ascending sets share."""
    i, j, shared = 0, 0, 0
    while i < one.size and j < other.size:
        a, b = one[i], other[j]
        shared += a == b
        i += a <= b
        j += b <= a
    return shared


def choose_representatives(
    component: _Places,
    rank: _Places,
    values: _Hashes,
    offsets: _Places,
    *,
    threshold: float,
    max_cluster: int,
) -> Choice:
    """Choose which nodes of each component stay, and who stands for each of the others.

    In each component the best-ranked node stays. Then, by rank, a node goes whose Jaccard
    similarity with a better-ranked one that stays reaches the threshold, and the most similar of
    those represents it (of equals the better-ranked); any other node stays. In a component of more
    than `max_cluster` nodes (a chain through boilerplate, as wiped out whole sources elsewhere) a
    node goes only if a better-ranked one has exactly its set.

    Args:
        component: int64, shape (n,): from `components`.
        rank: integers, shape (n,), all different: lower is better.
        values, offsets: the shingle sets of the nodes.
        threshold: above 0, at most 1.
        max_cluster: at least 1.

    Raises:
        BadValue: threshold is out of range, or two nodes have one rank.

    >>> values, offsets = np.array([1, 2, 1, 2, 8, 9], np.uint64), np.array([0, 2, 4, 6])
    >>> choice = choose_representatives(
    ...     np.array([0, 0, 0]), np.array([2, 1, 0]), values, offsets, threshold=0.7, max_cluster=9
    ... )
    >>> choice.representative.tolist(), choice.similarity.tolist()
    ([1, 1, 2], [1.0, 1.0, 1.0])
    """
    if not 0 < threshold <= 1:
        raise BadValue(f"threshold is {threshold}; give more than 0 and at most 1")
    ranked = np.sort(rank)
    if (ranked[1:] == ranked[:-1]).any():
        raise BadValue("two nodes have the same rank; break ties, by doc_id if by nothing else")
    order = np.lexsort((rank, component))
    starts = np.flatnonzero(np.diff(component[order], prepend=-1))
    sizes = np.diff(starts, append=len(order))
    representative, similarity = np.arange(len(order)), np.ones(len(order))
    is_oversized = sizes > max_cluster
    for start, size in zip(starts[is_oversized], sizes[is_oversized], strict=True):
        _drop_equal(order[start : start + size], values, offsets, representative)
    oversized = component[order[starts[is_oversized]]]
    sizes[is_oversized] = 0
    _drop_similar(
        order, starts, sizes, values, offsets, float(threshold), representative, similarity
    )
    return Choice(representative, similarity, oversized)


def _drop_equal(
    members: _Places, values: _Hashes, offsets: _Places, representative: _Places
) -> None:
    """Set the representative of members of one component: the first with the same set."""
    first_by_digest: dict[bytes, int] = {}
    for node in members.tolist():
        shingles = values[offsets[node] : offsets[node + 1]]
        if len(shingles):
            digest = blake2b(shingles.tobytes(), digest_size=16).digest()
            representative[node] = first_by_digest.setdefault(digest, node)


@_compiled
def _drop_similar(
    order: _Places,
    starts: _Places,
    sizes: _Places,
    values: _Hashes,
    offsets: _Places,
    threshold: float,
    representative: _Places,
    similarity: npt.NDArray[np.float64],
) -> None:
    """Set the representative and similarity of nodes that go; a component is a run of `order`."""
    kept = np.empty(sizes.max() if sizes.size else 0, np.int64)
    for k in range(starts.size):
        num_kept = 0
        for node in order[starts[k] : starts[k] + sizes[k]]:
            best = 0.0
            for other in kept[:num_kept]:
                found = _jaccard(values, offsets, node, other)
                if found >= threshold and found > best:
                    best, similarity[node], representative[node] = found, found, other
            if best == 0:
                kept[num_kept] = node
                num_kept += 1


@_compiled
def _jaccard(values: _Hashes, offsets: _Places, node: int, other: int) -> float:
    one = values[offsets[node] : offsets[node + 1]]
    two = values[offsets[other] : offsets[other + 1]]
    shared = _intersect(one, two)
    return shared / max(one.size + two.size - shared, 1)
