"""Histograms over fixed integer bins, nearest-rank quantiles, and the most frequent of many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from corpus.manifest import Json

_HUNDREDTHS = (0, 1, 5, 25, 50, 75, 95, 99, 100)


def histogram(counts: Mapping[int, int], edges: Sequence[int]) -> dict[str, int]:
    """Sum counts by value into bins that are open at both ends.

    Args:
        counts: how often each value occurs.
        edges: the lowest value of each bin but the first, ascending.

    Returns:
        By name of the bin, in order; empty bins at either end are left out.

    >>> histogram({-3: 1, 0: 2, 7: 5}, edges=(0, 1, 5, 10, 20))
    {'-1 or less': 1, '0': 2, '1 to 4': 0, '5 to 9': 5}
    """
    sums = [0] * (len(edges) + 1)
    for value, num in counts.items():
        sums[sum(value >= edge for edge in edges)] += num
    filled = [place for place, num in enumerate(sums) if num]
    if not filled:
        return {}
    names = _name_bins(edges)
    return {names[place]: sums[place] for place in range(filled[0], filled[-1] + 1)}


def powers_of_two(largest: int) -> list[int]:
    """Return 1, 2, 4, … up to the first above `largest`: edges for a histogram of lengths.

    >>> powers_of_two(5)
    [1, 2, 4, 8]
    """
    return [1 << power for power in range(max(largest, 0).bit_length() + 1)]


def quantiles(counts: Mapping[int, int]) -> dict[str, int]:
    """Return nearest-rank quantiles by hundredths, with the smallest (0) and the largest (100).

    >>> quantiles({10: 98, 90: 1, 500: 1})["99"], quantiles({10: 98, 90: 1, 500: 1})["100"]
    (90, 500)
    """
    total, below = sum(counts.values()), 0
    found: dict[str, int] = {}
    wanted = [(str(hundredth), max(1, -(-hundredth * total // 100))) for hundredth in _HUNDREDTHS]
    for value, num in sorted(counts.items()):
        below += num
        while wanted and wanted[0][1] <= below:
            found[wanted.pop(0)[0]] = value
    return found


def count_over(counts: Mapping[int, int], limits: Sequence[int]) -> dict[str, int]:
    """Return how many values are over each limit.

    >>> count_over({512: 2, 513: 1, 9000: 1}, (512, 2048))
    {'512': 2, '2048': 1}
    """
    return {
        str(limit): sum(num for value, num in counts.items() if value > limit) for limit in limits
    }


def take_top(counts: Mapping[str, int], num: int) -> Json:
    """Return the most frequent names, and how many there are in all and beyond them.

    >>> take_top({"c": 1, "a": 3, "b": 3}, 2)
    {'distinct': 3, 'top': {'a': 3, 'b': 3}, 'other': 1}
    """
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return {
        "distinct": len(ranked),
        "top": dict(ranked[:num]),
        "other": sum(count for _, count in ranked[num:]),
    }


def _name_bins(edges: Sequence[int]) -> list[str]:
    inner = [
        f"{low:,}" if low == high - 1 else f"{low:,} to {high - 1:,}"
        for low, high in pairwise(edges)
    ]
    return [f"{edges[0] - 1:,} or less", *inner, f"{edges[-1]:,} or more"]
