"""Which labelled examples a benchmark has: as many as the recipe asks for, drawn by digest.

What is drawn follows from ids, not from the order of anything; one more example changes at most
which is the last of its class. `closed` with rate `balanced` has as many open as closed ones in
each split, with `max_questions` at most so many in all; `quality` has at most `per_class` of each
class. The cap is shared by splits, and by what they hold, in proportion to what is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from labeling.ranks import rank_by_digest
from labeling.recipe import BenchmarkRecipe

# The keys of the recipe that are about this, and not about what has which label.
DRAWING_KEYS = ("rate", "max_questions", "per_class")

Array = np.ndarray[Any, Any]


def draw_examples(ids: Iterable[str], strata: Array, recipe: BenchmarkRecipe) -> Array:
    """Return which examples are drawn, bool, shape (n,).

    Args:
        ids: of n examples.
        strata: strings "label/split", shape (n,).
        recipe: of quality or closed; of other tasks all are drawn.
    """
    names, codes = np.unique(strata.astype(str), return_inverse=True)
    sizes = dict(zip(names.tolist(), np.bincount(codes).tolist(), strict=True))
    limits = limit_strata(sizes, recipe)
    is_drawn = np.ones(len(codes), bool)
    if limits == sizes:
        return is_drawn
    ranks = rank_by_digest(ids, recipe.benchmark.salt)
    for code, name in enumerate(names.tolist()):
        places = np.flatnonzero(codes == code)
        is_drawn[places[np.argsort(ranks[places], kind="stable")[limits[name] :]]] = False
    return is_drawn


def limit_strata(sizes: Mapping[str, int], recipe: BenchmarkRecipe) -> dict[str, int]:
    """Return how many examples of each "label/split" are drawn, given how many there are."""
    limits = dict(sizes)
    if recipe.quality and recipe.quality.per_class is not None:
        for label in {stratum.split("/")[0] for stratum in sizes}:
            own = {stratum: num for stratum, num in sizes.items() if stratum.split("/")[0] == label}
            limits |= share_out(own, recipe.quality.per_class)
    if recipe.closed and recipe.closed.rate == "balanced":
        for split in {stratum.split("/")[1] for stratum in sizes}:
            both = (f"closed/{split}", f"open/{split}")
            few = min(sizes.get(one, 0) for one in both)
            limits |= {one: few for one in both if one in sizes}
    if recipe.closed and recipe.closed.max_questions is not None:
        limits = _cap_questions(limits, recipe.closed.max_questions, recipe.closed.rate)
    return limits


def _cap_questions(limits: dict[str, int], most: int, rate: str) -> dict[str, int]:
    if rate == "natural":
        return share_out(limits, most)
    # Pairs of an open and a closed one, so that a cap leaves them balanced.
    pairs = {one: num for one, num in limits.items() if one.startswith("closed/")}
    shared = share_out(pairs, most // 2)
    return {one: shared.get(f"closed/{one.split('/')[1]}", 0) for one in limits}


def share_out(sizes: Mapping[str, int], most: int) -> dict[str, int]:
    """Share at most so many out in proportion to sizes, the largest remainders rounded up.

    >>> share_out({"a": 6, "b": 3, "c": 1}, 4), share_out({"a": 1, "b": 1}, 5)
    ({'a': 3, 'b': 1, 'c': 0}, {'a': 1, 'b': 1})
    """
    total = sum(sizes.values())
    if total <= most:
        return dict(sizes)
    shares = {name: num * most // total for name, num in sizes.items()}
    by_remainder = sorted(sizes, key=lambda name: (-(sizes[name] * most % total), name))
    for name in by_remainder[: most - sum(shares.values())]:
        shares[name] += 1
    return shares
