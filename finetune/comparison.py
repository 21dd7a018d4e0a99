"""Two models on the same examples: how far apart they are, and whether that may be chance.

Both are measured on the same resamples of leakage groups, so that what makes examples hard for both
cancels out. McNemar's test is beside it, as it is what papers give; it knows one seed, and takes
examples for independent, which those of one leakage group are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from scipy.special import bdtr

from corpus.errors import BadValue
from finetune.metrics import MAIN_METRIC, Estimate, explain_undefined, make_estimate, measure
from finetune.tallies import make_tally

Array = np.ndarray[Any, Any]


class Comparison(NamedTuple):
    """How a first model differs from a second.

    `difference` is the first's metric less the second's. `p_value` is two-sided, of the resamples,
    so never below 2 / (resamples + 1); None where there is no interval. McNemar's is of the first
    seeds: `num_only_first` examples only the first model has right, `num_only_second` only the
    second. An example of a token task is right where all of its tags are.
    """

    difference: Estimate
    p_value: float | None
    mcnemar_p: float | None
    num_only_first: int
    num_only_second: int


def compare(
    first: Sequence[pa.Table],
    second: Sequence[pa.Table],
    labels: Sequence[str],
    kind: str,
    *,
    metric: str | None = None,
    resamples: int = 1_000,
    seed: int = 1,
) -> Comparison:
    """Compare two models on the same examples.

    Args:
        first, second: `predictions.SCHEMA`, one a seed; the numbers of seeds may differ.
        labels: of the task, in the order of probabilities.
        kind: `sequence` or `token`.
        metric: what they are compared by; the main one where it is not given.
        resamples: of leakage groups.
        seed: of the resamples.

    Raises:
        BadValue: no predictions of one of them, examples that are not the same or in another order,
            no such metric, or as of `tallies.make_tally`.

    >>> from finetune.predictions import SCHEMA
    >>> rows = [{"example_id": x, "group": x, "gold": [x], "predicted": ["a"]} for x in "ab"]
    >>> table = pa.Table.from_pylist(rows, SCHEMA)
    >>> compare([table], [table], ["a", "b"], "sequence").p_value
    1.0
    """
    if not first or not second:
        raise BadValue("one model has no predictions; give a table a seed for each of both")
    tally = make_tally([*first, *second], labels, kind)
    measured, name = measure(tally, resamples, seed), metric or MAIN_METRIC[kind]
    if name not in measured:
        raise BadValue(f"metric is {name!r}; give one of {', '.join(measured)}")
    value = _subtract(measured[name].values, len(first))
    resampled = _subtract(measured[name].resampled, len(first))
    difference = make_estimate(float(value), resampled, explain_undefined(name, tally))
    is_right = tally.is_right()
    return Comparison(
        difference,
        None if difference.low is None else find_p_value(resampled),
        *measure_mcnemar(is_right[:, 0], is_right[:, len(first)]),
    )


def find_p_value(differences: Array) -> float | None:
    """Return the two-sided p of resampled differences: twice the share beyond zero.

    One is added to the number beyond and to that of resamples, so that no p is 0 (Davison and
    Hinkley, 1997, chapter 4). NaN are left out; None where nothing is left.

    >>> find_p_value(np.array([0.1, 0.2, -0.1, 0.1])), find_p_value(np.zeros(9))
    (0.8, 1.0)
    """
    defined = differences[~np.isnan(differences)]
    if not len(defined):
        return None
    num_beyond = int(min((defined <= 0).sum(), (defined >= 0).sum()))
    return min(1.0, 2 * (num_beyond + 1) / (len(defined) + 1))


def measure_mcnemar(first: Array, second: Array) -> tuple[float | None, int, int]:
    """Test by McNemar, exactly, whether two models are right equally often.

    Args:
        first, second: bool, shape (num_examples,); whether each is right.

    Returns:
        The two-sided p (1 where they are right on the same examples, None without examples), how
        many only the first has right, how many only the second.

    >>> measure_mcnemar(np.array([1, 1, 1, 1, 0]) > 0, np.array([0, 0, 0, 1, 0]) > 0)
    (0.25, 3, 0)
    """
    num_first, num_second = int((first & ~second).sum()), int((second & ~first).sum())
    if not len(first):
        return None, num_first, num_second
    fewer, num = min(num_first, num_second), num_first + num_second
    return min(1.0, 2 * float(bdtr(fewer, num, 0.5))), num_first, num_second


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust p-values of several tests by Holm (1979); None is no test, and stays.

    >>> holm([0.01, None, 0.04, 0.03])
    [0.03, None, 0.06, 0.06]
    """
    tested = sorted((p, at) for at, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for num_before, (p, at) in enumerate(tested):
        highest = max(highest, min(1.0, p * (len(tested) - num_before)))
        adjusted[at] = highest
    return adjusted


def _subtract(values: Array, num_first: int) -> Array:
    """Return the mean over the first model's seeds less that over the second's; last axis."""
    first, second = values[..., :num_first], values[..., num_first:]
    difference: Array = first.mean(axis=-1) - second.mean(axis=-1)
    return difference
