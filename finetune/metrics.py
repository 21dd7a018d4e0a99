"""The figures of one model, from its predictions: a table a seed, of the same examples.

    weighted_f1        mean F1 of classes, by their share of gold
    weighted_recall    mean recall of classes, by their share of gold: the share that is right
    balanced_accuracy  mean recall of the classes in gold; papers' "class-weighted accuracy"
    macro_f1           mean F1 of the classes in gold or predicted
    mcc                Matthews' correlation of classes (Gorodkin, 2004)
    ece                expected calibration error: 15 bins of equal width by the top probability
    brier              squared error of the probabilities, summed over classes: 0 to 2
    entity_f1 ...      of whole entities, all types together; an I- that continues nothing begins
                       an entity, as in `labeling.entities`
    token_accuracy     share of tokens whose tag is right

An example without an answer is wrong: it has no class, and no entities. To the correlation no
answer is a class of its own.

Values are means over seeds. Intervals hold 95 % of what resampled leakage groups give, the same
groups for all seeds; resamples in which a metric is undefined are left out. A metric is a formula
of sums to which every example adds, so a resample is a weighted sum, and all are one product of
matrices.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from finetune.tallies import NUM_BINS, Tally, make_tally, read_codes

Array = np.ndarray[Any, Any]

METRIC_NAMES = {
    "weighted_f1": "weighted F1",
    "weighted_recall": "weighted recall",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "mcc": "Matthews correlation",
    "ece": "calibration error",
    "brier": "Brier score",
    "entity_f1": "entity F1",
    "entity_precision": "entity precision",
    "entity_recall": "entity recall",
    "token_accuracy": "token accuracy",
}
SEQUENCE_METRICS = tuple(METRIC_NAMES)[:7]
TOKEN_METRICS = tuple(METRIC_NAMES)[7:]
MAIN_METRIC = {"sequence": "macro_f1", "token": "entity_f1"}
LOWER_IS_BETTER = {"ece", "brier"}

NO_EXAMPLES = "no examples"
NO_INTERVAL = "too few leakage groups for an interval"
UNDEFINED = {
    "mcc": "one class only, in gold or predicted",
    "ece": "gives no probabilities",
    "brier": "gives no probabilities",
    "entity_f1": "no entities, in gold or predicted",
    "entity_precision": "no entities predicted",
    "entity_recall": "no entities in gold",
}
# Of groups in resamples, at a time: 32 MB. 16 small products took 0.44 s where one took 0.05 s, as
# other processes had the cores on which BLAS waits for its threads (21 November 2026).
MAX_WEIGHTS = 4_000_000


class Estimate(NamedTuple):
    """A figure and its 95 % interval; `reason` says why one of them is None."""

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str | None = None


class Measured(NamedTuple):
    """A metric by seed, shape (num_seeds,), and by resample and seed, (num_resamples, num_seeds).

    NaN where it is undefined.
    """

    values: Array
    resampled: Array


def score(
    tables: Sequence[pa.Table],
    labels: Sequence[str],
    kind: str,
    *,
    resamples: int = 1_000,
    seed: int = 1,
) -> dict[str, Estimate]:
    """Return the metrics of a model.

    Args:
        tables: `predictions.SCHEMA`, one a seed; the same examples in the same order.
        labels: of the task, in the order of probabilities.
        kind: `sequence` or `token`.
        resamples: of leakage groups.
        seed: of the resamples.

    Returns:
        SEQUENCE_METRICS or TOKEN_METRICS, by name.

    Raises:
        BadValue: as of `tallies.make_tally`.

    >>> from finetune.predictions import SCHEMA
    >>> rows = [{"example_id": x, "group": x, "gold": [x], "predicted": ["a"]} for x in "ab"]
    >>> found = score([pa.Table.from_pylist(rows, SCHEMA)], ["a", "b"], "sequence")
    >>> found["weighted_recall"], found["ece"].reason
    (Estimate(value=0.5, low=0.0, high=1.0, reason=None), 'gives no probabilities')
    """
    return _estimate(make_tally(tables, labels, kind), resamples, seed)


def score_slices(
    tables: Sequence[pa.Table],
    labels: Sequence[str],
    kind: str,
    slices: Mapping[str, Array],
    *,
    resamples: int = 1_000,
    seed: int = 1,
) -> dict[str, tuple[int, Estimate]]:
    """Return how many examples each slice has, and the main metric of these alone.

    Args:
        tables, labels, kind, resamples, seed: as of `score`.
        slices: bool, shape (num_examples,), by name; an example may be in many, or in none.

    Raises:
        BadValue: as of `tallies.make_tally`.
    """
    tally = make_tally(tables, labels, kind)
    parts = {name: tally.select(is_in) for name, is_in in slices.items()}
    return {
        name: (len(part.rows), _estimate(part, resamples, seed)[MAIN_METRIC[kind]])
        for name, part in parts.items()
    }


def count_confusion(tables: Sequence[pa.Table], labels: Sequence[str]) -> Array:
    """Count examples, or tokens, by gold and predicted label; all seeds together.

    Returns:
        int64, shape (num_labels, num_labels + 1); the last column is of no answer.

    Raises:
        BadValue: a label that is not of the task, or more or fewer tags than tokens.

    >>> from finetune.predictions import SCHEMA
    >>> rows = [{"gold": ["b"], "predicted": x} for x in (["a"], ["b"], None)]
    >>> count_confusion([pa.Table.from_pylist(rows, SCHEMA)], ["a", "b"]).tolist()
    [[0, 0, 0], [1, 1, 1]]
    """
    counts = np.zeros((len(labels), len(labels) + 1), "i8")
    for table in tables:
        np.add.at(counts, read_codes(table, labels), 1)
    return counts


# Formulas and resamples ----------------------------------------------------------------------


def measure(tally: Tally, resamples: int, seed: int) -> dict[str, Measured]:
    """Return the metrics of the kind by name: of all examples, and of resampled groups."""
    formulas = _measure_tokens if tally.kind == "token" else _measure_sequences
    values = formulas(tally.rows.sum(axis=0), tally.num_labels)
    resampled = formulas(_resample(_add_groups(tally), resamples, seed), tally.num_labels)
    return {name: Measured(values[name], resampled[name]) for name in values}


def make_estimate(value: float, resampled: Array, reason: str) -> Estimate:
    """Make an estimate of a value and of the same in resamples, shape (num_resamples,).

    Args:
        value: NaN where it is undefined.
        resampled: NaN where it is undefined in a resample; empty where there can be none.
        reason: why the value is NaN, where it is.

    >>> make_estimate(0.5, np.linspace(0, 1000, 41), "")
    Estimate(value=0.5, low=25.0, high=975.0, reason=None)
    >>> make_estimate(math.nan, np.array([1.0]), "no entities in gold")
    Estimate(value=None, low=None, high=None, reason='no entities in gold')
    """
    if math.isnan(value):
        return Estimate(None, reason=reason)
    defined = resampled[~np.isnan(resampled)]
    if not len(defined):
        return Estimate(float(value), reason=NO_INTERVAL)
    low, high = np.quantile(defined, [0.025, 0.975]).tolist()
    return Estimate(float(value), low, high)


def explain_undefined(name: str, tally: Tally) -> str:
    """Return why a metric of these examples is undefined, where it is."""
    return UNDEFINED[name] if len(tally.rows) and name in UNDEFINED else NO_EXAMPLES


def _estimate(tally: Tally, resamples: int, seed: int) -> dict[str, Estimate]:
    return {
        name: make_estimate(
            one.values.mean(), one.resampled.mean(axis=1), explain_undefined(name, tally)
        )
        for name, one in measure(tally, resamples, seed).items()
    }


def _add_groups(tally: Tally) -> Array:
    """Return the sums of each group, shape (num_groups, num_seeds, num_sums)."""
    order = np.argsort(tally.groups, kind="stable")
    firsts = np.unique(tally.groups[order], return_index=True)[1]
    return np.add.reduceat(tally.rows[order], firsts) if len(order) else tally.rows


def _resample(sums: Array, resamples: int, seed: int) -> Array:
    """Add up as many groups, drawn with replacement, as there are; none of fewer than two."""
    num_groups, rng = len(sums), np.random.default_rng(seed)
    if num_groups < 2:
        return sums[:0]
    added, batch = np.empty((resamples, sums[0].size)), max(1, MAX_WEIGHTS // num_groups)
    for start in range(0, resamples, batch):
        num = min(batch, resamples - start)
        drawn = rng.integers(0, num_groups, (num, num_groups))
        places = drawn + num_groups * np.arange(num)[:, np.newaxis]
        weights = np.bincount(places.ravel(), minlength=num * num_groups).astype("f8")
        added[start : start + num] = weights.reshape(num, -1) @ sums.reshape(num_groups, -1)
    return added.reshape(resamples, *sums.shape[1:])


def _measure_sequences(sums: Array, num_labels: int) -> dict[str, Array]:
    """Return metrics of sums (..., num_sums) as of `tallies.Tally`; each of the shape before it."""
    ends = np.cumsum([num_labels, num_labels, num_labels + 1, NUM_BINS])
    right, gold, predicted, excess, squared = np.split(sums, ends, axis=-1)
    num = gold.sum(axis=-1)
    recall = _divide(right, gold)
    f1 = _divide(2 * right, gold + predicted[..., :-1])
    return {
        "weighted_f1": _divide(np.nansum(gold * f1, axis=-1), num),
        "weighted_recall": _divide(right.sum(axis=-1), num),
        "balanced_accuracy": _average(recall),
        "macro_f1": _average(f1),
        "mcc": _correlate(right, gold, predicted),
        "ece": _divide(np.abs(excess).sum(axis=-1), num),
        "brier": _divide(squared[..., 0], num),
    }


def _correlate(right: Array, gold: Array, predicted: Array) -> Array:
    num = gold.sum(axis=-1)
    covariance = right.sum(axis=-1) * num - (gold * predicted[..., :-1]).sum(axis=-1)
    variances = [num**2 - (counts**2).sum(axis=-1) for counts in (gold, predicted)]
    return _divide(covariance, np.sqrt(variances[0] * variances[1]))


def _measure_tokens(sums: Array, num_labels: int) -> dict[str, Array]:
    found, gold, predicted, right, num = np.moveaxis(sums, -1, 0)
    return {
        "entity_f1": _divide(2 * found, gold + predicted),
        "entity_precision": _divide(found, predicted),
        "entity_recall": _divide(found, gold),
        "token_accuracy": _divide(right, num),
    }


def _average(values: Array) -> Array:
    """Return the mean of what is defined, along the last axis."""
    return _divide(np.nansum(values, axis=-1), (~np.isnan(values)).sum(axis=-1))


def _divide(above: Array, below: Array) -> Array:
    """Divide; NaN where that is undefined."""
    undefined = np.full(np.shape(below), np.nan)
    ratios: Array = np.divide(above, below, out=undefined, where=np.not_equal(below, 0))
    return ratios
