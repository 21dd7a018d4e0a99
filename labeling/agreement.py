"""How far annotators agree: alpha and kappas, each with an interval by bootstrap over items.

Labels are a matrix, int8, shape (num_items, num_annotators): the number of a label (in `agreement`
its place in `LABELS`), or -1 where an annotator did not judge an item. Every measure takes item
weights, of any leading shape: a resample is the row of weights that says how often each item was
drawn, so that a thousand resamples are one product of matrices. A measure that is not defined is
nan.

Sources: Krippendorff, Computing Krippendorff's alpha-reliability (2011), section C; Cohen, A
coefficient of agreement for nominal scales (1960); Fleiss, Measuring nominal scale agreement among
many raters (1971).
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from corpus.errors import BadValue
from labeling.judgements import LABELS, Json, Judgement

Array = np.ndarray[Any, Any]
Measure = Callable[[Array], Array]  # of weights

NOT_JUDGED = -1
CONFIDENCE = 0.95
# Weights of one chunk of resamples: 32 MB.
_MAX_WEIGHTS = 4_000_000
ONE_LABEL = "all judgements have the same label"
NO_OVERLAP = "no item has two judgements"


def make_matrix(
    judgements: Iterable[Judgement], item_ids: Sequence[str], names: Sequence[str]
) -> Array:
    """Return the labels matrix of the newest revisions, withdrawn ones left out.

    Args:
        judgements: in any order; of other items or annotators they are passed over.
        item_ids: the rows.
        names: the annotators, the columns.
    """
    rows = {item_id: row for row, item_id in enumerate(item_ids)}
    columns = {name: column for column, name in enumerate(names)}
    labels = np.full((len(rows), len(columns)), NOT_JUDGED, np.int8)
    revisions = np.zeros(labels.shape, np.int64)
    for one in judgements:
        if one.item_id in rows and one.annotator in columns:
            place = rows[one.item_id], columns[one.annotator]
            if one.revision > revisions[place]:
                revisions[place] = one.revision
                labels[place] = LABELS.index(one.draft.label) if one.draft else NOT_JUDGED
    return labels


def observed_agreement(labels: Array, weights: Array | None = None) -> Array:
    """Return the mean, over items with two or more judgements, of how many of their pairs agree.

    >>> float(observed_agreement(np.array([[0, 0, 1], [2, 2, -1], [1, -1, -1]], "i1")))
    0.6666666666666666
    """
    counts, weights = _paired(labels, weights)
    return _divide(weights @ _agreeing_fraction(counts), weights.sum(-1))


def krippendorff_alpha(labels: Array, weights: Array | None = None) -> Array:
    """Return Krippendorff's alpha for nominal labels; items may have any number of judgements.

    nan where no item has two judgements, or all that count have one label.

    >>> float(krippendorff_alpha(np.array([[0, 0], [1, 1], [0, 1], [1, -1]], "i1")))
    0.4444444444444444
    """
    counts, weights = _paired(labels, weights)
    num_judgements = counts.sum(1)
    disagreeing = (num_judgements**2 - (counts**2).sum(1)) / (num_judgements - 1)
    totals = weights @ counts
    total = totals.sum(-1)
    return 1 - _divide((total - 1) * (weights @ disagreeing), total**2 - (totals**2).sum(-1))


def fleiss_kappa(labels: Array, weights: Array | None = None) -> Array:
    """Return Fleiss' kappa; nan where no item has two judgements, or all have one label.

    Raises:
        BadValue: items with two or more judgements do not have equally many.

    >>> float(fleiss_kappa(np.array([[0, 0], [1, 1], [0, 1]], "i1")))
    0.33333333333333326
    """
    counts, weights = _paired(labels, weights)
    if len(np.unique(counts.sum(1))) > 1:
        raise BadValue("items have unequal numbers of judgements; take krippendorff_alpha")
    observed = _divide(weights @ _agreeing_fraction(counts), weights.sum(-1))
    totals = weights @ counts
    expected = _divide((totals**2).sum(-1), totals.sum(-1) ** 2)
    return _divide(observed - expected, 1 - expected)


def cohen_kappa(first: Array, second: Array, weights: Array | None = None) -> Array:
    """Return Cohen's kappa of two annotators, over the items that both judged.

    nan where there is none, or where both gave one and the same label alone.

    >>> round(float(cohen_kappa(np.array([0, 0, 1, -1]), np.array([0, 1, 1, 1]))), 3)
    0.4
    """
    has_both = (first != NOT_JUDGED) & (second != NOT_JUDGED)
    weights = _weigh(len(first), weights)[..., has_both]
    one, other = np.split(_one_hot(np.concatenate((first[has_both], second[has_both]))), 2)
    total = weights.sum(-1)
    observed = _divide(weights @ (one * other).sum(1), total)
    expected = _divide(((weights @ one) * (weights @ other)).sum(-1), total**2)
    return _divide(observed - expected, 1 - expected)


def agreement(
    labels: Array,
    strata: Sequence[str],
    names: Sequence[str],
    resamples: int = 1_000,
    seed: int = 1,
) -> Json:
    """Measure how far annotators agree, overall and in each stratum.

    Args:
        labels: int8, shape (num_items, num_annotators).
        strata: the stratum of each item.
        names: of the annotators.
        resamples: of the bootstrap over items.
        seed: of the bootstrap.

    Returns:
        labels, annotators, resamples, seed, confidence, and of `overall` and each of `strata`
        (by name): counts, and measures as {"value", "low", "high", "reason"}: a 95 % percentile
        interval over the resamples in which the measure is defined (`num_undefined` says in how
        many it is not); where it is not defined at all value is None, and reason says why.

    Raises:
        BadValue: shapes do not fit, a label that is none, or too few resamples.
    """
    if labels.shape != (len(strata), len(names)):
        raise BadValue(
            f"labels have the shape {labels.shape}; with {len(strata)} strata and {len(names)} "
            f"names it must be {(len(strata), len(names))}"
        )
    if labels.size and not (labels.min() >= NOT_JUDGED and labels.max() < len(LABELS)):
        raise BadValue(f"labels must be -1 to {len(LABELS) - 1}")
    if resamples < 100:
        raise BadValue(f"resamples is {resamples}; it must be 100 or more")
    of_items = np.array(strata, object)
    return {
        "labels": list(LABELS),
        "annotators": list(names),
        "resamples": resamples,
        "seed": seed,
        "confidence": CONFIDENCE,
        "overall": _measure(labels, names, resamples, _make_rng(seed, None)),
        "strata": {
            stratum: _measure(
                labels[of_items == stratum], names, resamples, _make_rng(seed, stratum)
            )
            for stratum in sorted(set(strata))
        },
    }


def _measure(labels: Array, names: Sequence[str], resamples: int, rng: np.random.Generator) -> Json:
    counts = _count(labels)
    paired = labels[counts.sum(1) >= 2]
    num_judgements = _count(paired).sum(1)
    is_even = len(np.unique(num_judgements)) == 1
    pairs = [
        (one, other)
        for one, other in itertools.combinations(range(len(names)), 2)
        if ((labels[:, one] >= 0) & (labels[:, other] >= 0)).any()
    ]
    measures: list[Measure] = [
        lambda weights: observed_agreement(paired, weights),
        lambda weights: krippendorff_alpha(paired, weights),
    ]
    measures += [lambda weights: fleiss_kappa(paired, weights)] if is_even else []
    measures += [_make_kappa(paired, *pair) for pair in pairs]
    values = iter(_bootstrap(measures, len(paired), resamples, rng))
    undefined = {"value": None, "low": None, "high": None, "num_undefined": resamples}
    return {
        "num_items": len(labels),
        "num_items_judged_twice": len(paired),
        "num_judgements": int(counts.sum()),
        "num_by_label": dict(zip(LABELS, counts.sum(0).tolist(), strict=True)),
        "observed_agreement": next(values),
        "krippendorff_alpha": next(values),
        "fleiss_kappa": next(values)
        if is_even
        else undefined
        | {"reason": "items have unequal numbers of judgements" if len(paired) else NO_OVERLAP},
        "pairs": [
            {
                "annotators": [names[one], names[other]],
                "num_items": int(_confuse(labels, one, other).sum()),
                "cohen_kappa": next(values),
                "confusion": _confuse(labels, one, other).tolist(),
            }
            for one, other in pairs
        ],
    }


def _make_kappa(labels: Array, one: int, other: int) -> Measure:
    return lambda weights: cohen_kappa(labels[:, one], labels[:, other], weights)


def _bootstrap(
    measures: Sequence[Measure], num_items: int, resamples: int, rng: np.random.Generator
) -> Iterator[Json]:
    """Return each measure with its interval; all of them over the same resamples."""
    values = [float(measure(np.ones(num_items))) for measure in measures]
    drawn = np.full((len(measures), resamples), np.nan)
    step = max(1, _MAX_WEIGHTS // max(1, num_items))
    for start in range(0, resamples if num_items else 0, step):
        size = min(step, resamples - start)
        weights = rng.multinomial(num_items, np.full(num_items, 1 / num_items), size)
        for number, measure in enumerate(measures):
            drawn[number, start : start + size] = measure(weights.astype(np.float64))
    for value, row in zip(values, drawn, strict=True):
        defined = row[~np.isnan(row)]
        result: Json = {"value": None, "low": None, "high": None, "reason": None}
        if np.isnan(value):
            result["reason"] = ONE_LABEL if num_items else NO_OVERLAP
        else:
            result["value"] = value
            if num_items < 2:
                result["reason"] = "one item has no interval"
            else:
                tail = (1 - CONFIDENCE) / 2
                low, high = np.quantile(defined, (tail, 1 - tail)).tolist()
                result |= {"low": low, "high": high}
        yield result | {"num_undefined": resamples - len(defined)}


def _make_rng(seed: int, stratum: str | None) -> np.random.Generator:
    """Return a generator of its own for each stratum, so that others do not change its numbers."""
    digest = hashlib.blake2b(repr((seed, stratum)).encode(), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(digest, "little"))


def _confuse(labels: Array, one: int, other: int) -> Array:
    """Return how often the one gave the label of the row and the other that of the column."""
    has_both = (labels[:, one] >= 0) & (labels[:, other] >= 0)
    rows, columns = (_one_hot(labels[has_both, name]).astype(np.int64) for name in (one, other))
    confusion: Array = rows.T @ columns
    return confusion


def _paired(labels: Array, weights: Array | None) -> tuple[Array, Array]:
    """Return counts and weights of the items with two or more judgements; the rest say nothing."""
    counts = _count(labels)
    is_paired = counts.sum(1) >= 2
    return counts[is_paired], _weigh(len(labels), weights)[..., is_paired]


def _agreeing_fraction(counts: Array) -> Array:
    """Return of each item how many of the ordered pairs of its judgements agree."""
    total = counts.sum(1)
    fraction: Array = ((counts**2).sum(1) - total) / (total * (total - 1))
    return fraction


def _count(labels: Array) -> Array:
    """Return float64, shape (num_items, num_labels): how many judgements of each label."""
    numbers = range(max(len(LABELS), int(labels.max(initial=0)) + 1))
    return np.stack([(labels == number).sum(1) for number in numbers], 1).astype("f8")


def _one_hot(labels: Array) -> Array:
    numbers = np.arange(max(len(LABELS), int(labels.max(initial=0)) + 1))
    hot: Array = (labels[:, None] == numbers).astype(np.float64)
    return hot


def _weigh(num_items: int, weights: Array | None) -> Array:
    return np.ones(num_items) if weights is None else weights


def _divide(numerator: Any, denominator: Any) -> Array:
    """Divide; nan where the denominator is 0, but for what rounding leaves of it."""
    is_zero = np.abs(denominator) < 1e-12
    return np.where(is_zero, np.nan, numerator / np.where(is_zero, 1.0, denominator))
