"""What each example adds to the sums that metrics are made of.

A metric is a formula of sums over examples, so what a resample of leakage groups gives is the same
formula of a weighted sum. An example without an answer has no class, no entities, and no tag that
is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpus.errors import BadValue
from labeling.ner_probes import find_spans

Array = np.ndarray[Any, Any]

KINDS = ("sequence", "token")
NUM_BINS = 15
# Of probabilities: sums of such multiples are exact below 2**23, so in any order the same.
UNIT = 2.0**-30


class Tally(NamedTuple):
    """What each example adds, by seed, and its leakage group.

    `rows` float64, shape (num_examples, num_seeds, num_sums). Sums of a sequence task: examples
    right, gold and predicted of each class, and predicted of none; in each bin, by how much the top
    probability exceeds what is right; the squared error; NaN where there are no probabilities. Sums
    of a token task: entities found, gold and predicted; tokens right, and all. `groups` int64,
    shape (num_examples,): numbers of the leakage groups, which are in the order of their names.
    """

    kind: str
    num_labels: int
    rows: Array
    groups: Array

    def is_right(self) -> Array:
        """Return which examples are right, of a token task in every tag.

        Returns:
            bool, shape (num_examples, num_seeds).
        """
        rows, num_labels = self.rows, self.num_labels
        if self.kind == "token":
            num_right, num_gold = rows[..., 3], rows[..., 4]
        else:
            num_right = rows[..., :num_labels].sum(axis=-1)
            num_gold = rows[..., num_labels : 2 * num_labels].sum(axis=-1)
        is_right: Array = num_right == num_gold
        return is_right

    def select(self, is_in: Array) -> Tally:
        """Return what is left of a bool array of shape (num_examples,)."""
        return self._replace(rows=self.rows[is_in], groups=self.groups[is_in])


def make_tally(tables: Sequence[pa.Table], labels: Sequence[str], kind: str) -> Tally:
    """Count what each example adds to the sums of metrics.

    Args:
        tables: `predictions.SCHEMA`, one a seed; the same examples in the same order.
        labels: of the task, in the order of probabilities.
        kind: `sequence` or `token`.

    Raises:
        BadValue: no tables, other examples in one of them, a label that is not of the task, more or
            fewer tags than tokens or probabilities than labels, or a kind that is not one.
    """
    if kind not in KINDS:
        raise BadValue(f"kind is {kind!r}; give one of {', '.join(KINDS)}")
    if not tables:
        raise BadValue("there are no predictions to score; give a table a seed")
    for table in tables[1:]:
        if not table["example_id"].equals(tables[0]["example_id"]):
            raise BadValue(
                "predictions are of other examples, or in another order; compare those of one "
                "split of one benchmark"
            )
    count = _count_tokens if kind == "token" else _count_sequences
    rows = np.stack([count(table, labels) for table in tables], axis=1)
    groups = np.unique(tables[0]["group"].to_numpy(), return_inverse=True)[1]
    return Tally(kind, len(labels), rows, groups)


def read_codes(table: pa.Table, labels: Sequence[str]) -> tuple[Array, Array]:
    """Return the numbers of gold and predicted labels, of tokens one sentence after the other.

    Returns:
        Each int64, shape (num_examples,) or (num_tokens,); no answer is len(labels).

    Raises:
        BadValue: a label that is not of the task, or more or fewer tags than tokens.
    """
    gold, predicted = (table[name].combine_chunks() for name in ("gold", "predicted"))
    is_answer, nums = predicted.is_valid().to_numpy(zero_copy_only=False), _lengths(gold)
    if (_lengths(predicted) != nums)[is_answer].any():
        raise BadValue("predictions have more or fewer tags than gold; give every token one")
    codes = np.full(nums.sum(), len(labels))
    codes[np.repeat(is_answer, nums)] = _encode(predicted, labels)
    return _encode(gold, labels), codes


def _encode(column: pa.ListArray, labels: Sequence[str]) -> Array:
    values = column.flatten()
    codes = pc.index_in(values, pa.array(labels, pa.string()))
    if codes.null_count:
        unknown = values.filter(codes.is_null())[0].as_py()
        raise BadValue(
            f"label {unknown!r} of predictions is none of the task's ({', '.join(labels)}); give "
            "predictions of the same task"
        )
    numbers: Array = codes.to_numpy().astype("i8")
    return numbers


def _lengths(column: pa.ListArray) -> Array:
    lengths: Array = pc.list_value_length(column).fill_null(0).to_numpy().astype("i8")
    return lengths


def _count_sequences(table: pa.Table, labels: Sequence[str]) -> Array:
    gold, predicted = (np.eye(len(labels) + 1)[codes] for codes in read_codes(table, labels))
    gold, right = gold[:, :-1], (gold * predicted)[:, :-1]
    errors = _count_errors(_read_probabilities(table, len(labels)), gold, right.sum(axis=1))
    return np.concatenate([right, gold, predicted, errors], axis=1)


def _count_errors(probabilities: Array, gold: Array, right: Array) -> Array:
    """Return by how much the top probability exceeds what is right, in its bin, and last the
    squared error; shape (num_examples, NUM_BINS + 1).
    """
    top = probabilities.max(axis=1)
    # As Guo et al. (2017) have them, bins hold their upper edges.
    bins = np.searchsorted(np.arange(1, NUM_BINS) / NUM_BINS, top)
    errors = np.zeros((len(top), NUM_BINS + 1))
    errors[np.arange(len(top)), bins] = top - right
    errors[:, -1] = ((probabilities - gold) ** 2).sum(axis=1)
    return np.round(errors / UNIT) * UNIT


def _read_probabilities(table: pa.Table, num_labels: int) -> Array:
    """Return float64, shape (num_examples, num_labels); NaN where the model has none."""
    column = table["probabilities"].combine_chunks()
    is_given = column.is_valid().to_numpy(zero_copy_only=False)
    if (_lengths(column)[is_given] != num_labels).any():
        raise BadValue(f"probabilities are not of {num_labels} labels; give one a label")
    found = np.full((len(table), num_labels), np.nan)
    found[is_given] = column.flatten().to_numpy().reshape(-1, num_labels)
    return found


def _count_tokens(table: pa.Table, labels: Sequence[str]) -> Array:
    gold, predicted = read_codes(table, labels)
    lengths = _lengths(table["gold"].combine_chunks())
    sentences = np.repeat(np.arange(len(table)), lengths)
    is_start = np.isin(np.arange(len(gold)), np.cumsum(lengths) - lengths)
    tags = _number_tags(labels)
    of_gold, of_predicted = (_mark_spans(tags[codes], is_start) for codes in (gold, predicted))
    is_entity = of_gold > 0
    is_found = is_entity & (of_gold == of_predicted)
    added = (is_found, is_entity, of_predicted > 0, gold == predicted, np.ones(len(gold)))
    return np.stack([np.bincount(sentences, one, len(table)) for one in added], axis=1)


def _number_tags(labels: Sequence[str]) -> Array:
    """Return what `find_spans` calls each label, and last no answer: it is outside of entities."""
    types = list(dict.fromkeys(label[2:] for label in labels if label != "O"))
    numbers = [
        0 if label == "O" else 2 * types.index(label[2:]) + 1 + label.startswith("I-")
        for label in labels
    ]
    return np.array([*numbers, 0])


def _mark_spans(tags: Array, is_start: Array) -> Array:
    """Return at each token the end and type, as one number, of the entity that begins; else 0."""
    begins, ends = find_spans(tags, is_start)
    marks = np.zeros(len(tags), "i8")
    marks[begins] = (ends << 32) + (tags[begins] + 1) // 2
    return marks
