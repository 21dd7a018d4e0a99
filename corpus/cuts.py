"""Cuts by date: which split a time belongs to, and what is too new for the split it is in.

With cuts, nothing in train was written, edited or commented on after validation or test begins,
and nothing in validation after test does: no split knows of a later time.
"""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpus.recipe import SPLITS, CutsSection, Split

NEWEST_COLUMNS = ["created_at", "edited_at", "comments.list.element.created_at"]

Array = np.ndarray[Any, Any]


def split_by_date(began_at: Array, cuts: CutsSection) -> Array:
    """Return the split of each leakage group as its place in SPLITS, int8.

    Args:
        began_at: M8[ms], UTC; the time of a group's first document.
        cuts: the recipe's.

    >>> cuts = CutsSection(validation=date(2020, 1, 1), test=date(2021, 1, 1))
    >>> began_at = np.array(["2019-12-31T23:59:59", "2020-01-01", "2021-06-01"], "M8[ms]")
    >>> [SPLITS[place] for place in split_by_date(began_at, cuts)]
    ['train', 'validation', 'test']
    """
    splits = np.full(len(began_at), SPLITS.index("train"), "i1")
    if cuts.validation:
        splits[began_at >= _midnight(cuts.validation)] = SPLITS.index("validation")
    splits[began_at >= _midnight(cuts.test)] = SPLITS.index("test")
    return splits


def is_after_cut(newest_at: Array, split: Split, cuts: CutsSection) -> Array:
    """Tell which times a split may not know of.

    >>> cuts = CutsSection(test=date(2021, 1, 1))
    >>> is_after_cut(np.array(["2020-12-31", "2021-01-01"], "M8[ms]"), "train", cuts)
    array([False,  True])
    """
    if split == "test":
        return np.zeros(len(newest_at), bool)
    first = cuts.validation if split == "train" and cuts.validation else cuts.test
    return np.asarray(newest_at >= _midnight(first))


def newest_times(documents: pa.Table) -> Array:
    """Return when each document was last written, edited or commented on, M8[ms], UTC.

    Args:
        documents: columns `NEWEST_COLUMNS`.
    """
    newest = to_times(documents["created_at"])
    edited = to_times(pc.coalesce(documents["edited_at"], documents["created_at"]))
    newest = np.maximum(newest, edited)
    comments = documents["comments"].combine_chunks()
    commented = to_times(comments.flatten().field("created_at"))
    np.maximum.at(newest, pc.list_parent_indices(comments).to_numpy(), commented)
    return newest


def to_times(column: pa.ChunkedArray | pa.Array) -> Array:
    """Return a column of times without nulls as a new array, M8[ms], UTC."""
    return np.array(column.cast(pa.int64()), "i8").view("M8[ms]")


def _midnight(day: date) -> np.datetime64:
    return np.datetime64(day.isoformat(), "ms")
