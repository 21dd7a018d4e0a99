"""Stratified samples, and what they say of the population that they were drawn from.

An item is drawn where the digest of its id is among the least of its stratum: the same items are
drawn in any order, and the draw from a whole is the draw from the draws of its parts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from corpus.errors import BadValue
from corpus.manifest import Json
from labeling.ranks import rank_by_digest

Array = np.ndarray[Any, Any]

OUTCOMES = ("obsolete", "current", "cannot_tell")
# Jeffreys's prior: a stratum of 100 without an obsolete answer may have some all the same.
PRIOR = 0.5
CONFIDENCE = 0.95


class Drawn(NamedTuple):
    """A sample: places of what is drawn, ascending, and the probability that each was."""

    places: Array  # int64
    probabilities: Array  # float64
    population_sizes: dict[str, int]  # by stratum


def draw(
    strata: Sequence[str],
    seed: int,
    per_stratum: int,
    ids: Sequence[str],
    population_sizes: Mapping[str, int] | None = None,
) -> Drawn:
    """Draw at most `per_stratum` items of each stratum, without replacement.

    Args:
        strata: of each of n items.
        seed: another seed draws other items.
        per_stratum: how many are drawn, where there are so many.
        ids: of each; no two are equal.
        population_sizes: of the strata, where the items were drawn from parts of a population
            before; else the items are the population.

    >>> drawn = draw(["a", "b", "a", "a"], 1, 2, ["x", "y", "z", "w"])
    >>> drawn.places.tolist(), drawn.probabilities.round(2).tolist(), drawn.population_sizes
    ([0, 1, 2], [0.67, 1.0, 0.67], {'a': 3, 'b': 1})
    """
    sizes = dict(population_sizes or Counter(strata))
    taken = Counter[str]()
    places = []
    # Ids settle it where two digests are one.
    ranks = rank_by_digest(ids, f"sample {seed}").tolist()
    for place in sorted(range(len(ids)), key=lambda one: (ranks[one], ids[one])):
        if taken[strata[place]] < per_stratum:
            taken[strata[place]] += 1
            places.append(place)
    places.sort()
    probabilities = [taken[strata[place]] / sizes[strata[place]] for place in places]
    sizes = dict(sorted(sizes.items()))
    return Drawn(np.array(places, "i8"), np.array(probabilities, "f8"), sizes)


def estimate_rate(
    labels: Sequence[str],
    strata: Sequence[str],
    population_sizes: Mapping[str, int],
    *,
    resamples: int = 1_000,
    seed: int = 1,
) -> Json:
    """Estimate which share of a population is obsolete, from a stratified sample of it.

    Each stratum stands for as many answers as it has (Horvitz and Thompson, JASA 1952). The
    interval is that of a Bayesian bootstrap within strata (Rubin, Annals of Statistics 1981) with
    Jeffreys's prior, narrowed where a good part of a stratum was judged: the plain bootstrap gives
    a large stratum in which nothing was found no width at all.

    Args:
        labels: of the judged items: obsolete, current or cannot_tell.
        strata: of each.
        population_sizes: of all strata; those without a judged item are left out, and counted.
        resamples: of the bootstrap.
        seed: of its random numbers.

    Returns:
        `obsolete`: the share of obsolete ones among the answers that can be told, and
        `cannot_tell`: the share of the others among all; each with `rate`, `low` and `high` (95 %),
        null where nothing was judged. `num_population`, `num_left_out`, and `strata`: for each its
        size and the number of items by label.

    >>> labels, strata = ["obsolete", "current", "current"], ["a", "a", "b"]
    >>> found = estimate_rate(labels, strata, {"a": 20, "b": 60, "c": 20})
    >>> found["obsolete"]["rate"], found["num_left_out"]
    (0.125, 20)
    """
    if unknown := sorted({*strata} - {*population_sizes}):
        raise BadValue(f"stratum {unknown[0]!r} has no population size; give the size of each")
    if wrong := sorted({*labels} - {*OUTCOMES}):
        raise BadValue(f"{wrong[0]!r} is no label; they are {', '.join(OUTCOMES)}")
    pairs = Counter(zip(strata, labels, strict=True))
    counts = {
        stratum: np.array([pairs[stratum, outcome] for outcome in OUTCOMES])
        for stratum in sorted(population_sizes)
    }
    judged = {stratum: num for stratum, num in counts.items() if num.sum()}
    sizes = np.array([population_sizes[stratum] for stratum in judged], "f8")
    shares = np.array([num / num.sum() for num in judged.values()]).reshape(-1, len(OUTCOMES))
    rng = np.random.default_rng(seed)
    replicates = np.array(
        [
            _resample(num, population_sizes[stratum], resamples, rng)
            for stratum, num in judged.items()
        ]
    ).reshape(len(judged), resamples, len(OUTCOMES))
    total = int(sum(population_sizes.values()))
    seen = np.array(list(judged.values())).reshape(-1, 1, len(OUTCOMES)) > 0
    estimates = {}
    for number, outcome in ((0, "obsolete"), (2, "cannot_tell")):
        rate, high, low = (
            _rates(np.tensordot(sizes, values, 1))[outcome]
            for values in (shares, replicates, _without_unseen(replicates, seen, number))
        )
        estimates[outcome] = _interval(rate, low, high)
    return {
        **estimates,
        "num_population": total,
        "num_left_out": total - int(sizes.sum()),
        "strata": {
            stratum: {
                "size": population_sizes[stratum],
                **dict(zip(OUTCOMES, num.tolist(), strict=True)),
            }
            for stratum, num in counts.items()
        },
    }


def _resample(counts: Array, size: int, resamples: int, rng: np.random.Generator) -> Array:
    """Return shares by outcome that a stratum may have, shape (resamples, outcomes)."""
    drawn = int(counts.sum())
    shares = counts / drawn
    spread = rng.dirichlet(counts + PRIOR, resamples)
    # What was judged is known: of a stratum judged to the last answer nothing is left to guess.
    is_left = max(0.0, 1 - drawn / size)
    return np.asarray(shares + np.sqrt(is_left) * (spread - shares))


def _without_unseen(replicates: Array, seen: Array, number: int) -> Array:
    """Return replicates for a lower limit: what was not seen in a stratum may not be there at all.

    Source: Brown, Cai, DasGupta, Statistical Science 16 (2001), section 4.1.1.
    """
    is_number = np.arange(replicates.shape[-1]) == number
    kept = np.where(seen | ~is_number, replicates, 0)
    return np.asarray(kept / kept.sum(-1, keepdims=True))


def _rates(totals: Array) -> dict[str, Array]:
    """Return obsolete over what can be told, and cannot_tell over all; NaN where there is none."""
    obsolete, current, untold = np.moveaxis(np.asarray(totals), -1, 0)
    told = obsolete + current
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "obsolete": np.asarray(obsolete / told),
            "cannot_tell": np.asarray(untold / (told + untold)),
        }


def _interval(rate: Array, lows: Array, highs: Array) -> Json:
    if not np.isfinite(rate):
        return {"rate": None, "low": None, "high": None}
    tail = (1 - CONFIDENCE) / 2
    low = np.quantile(lows[np.isfinite(lows)], tail)
    high = np.quantile(highs[np.isfinite(highs)], 1 - tail)
    return {
        "rate": round(float(rate), 6),
        "low": round(max(0.0, float(low)), 6),
        "high": round(min(1.0, float(high)), 6),
    }
