"""Dealing leakage groups out to splits: by digest of the group's name, or by date.

A digest of a name is the same in every dump, so a thread that comes later moves none that is
there, with two exceptions: it joins two groups, or makes one outgrow `largest_evaluation_group`.
No rule could do without the first: where a test group and a train group become one, one of them
moves. `hold_out` pins what must never be in train.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from corpus.cuts import split_by_date, to_times
from corpus.groups import Threads, find_held_out, list_threads
from corpus.lookup import Array, sort_distinct
from corpus.recipe import SPLITS, Split, SplitsSection
from corpus.tables import read_table

# Group names that are Python strings at a time.
NAMES_AT_A_TIME = 1_000_000


class ThreadTable(NamedTuple):
    """All threads: `num_documents`, int64, and `began_at`, M8[ms], the time of the first."""

    threads: Threads
    num_documents: Array
    began_at: Array


def read_threads(paths: Mapping[str, Path]) -> ThreadTable:
    """Read the threads of documents, given the file of each partition, `<site>/<partition>`."""
    found = []
    for name, path in paths.items():
        rows = read_table(path, ["thread_id", "created_at"])
        thread_ids, times = rows["thread_id"].to_numpy(), to_times(rows["created_at"])
        ids, first, sizes = np.unique(thread_ids, return_index=True, return_counts=True)
        if len(ids):
            # A partition has whole threads, and their documents side by side.
            found.append((name.split("/")[0], ids, sizes, np.minimum.reduceat(times, first)))
    threads = list_threads((site, ids) for site, ids, *_ in found)
    num_documents = np.zeros(len(threads.keys), "i8")
    began_at = np.zeros(len(threads.keys), "M8[ms]")
    for site, ids, sizes, oldest in found:
        places = threads.find(site, ids)
        num_documents[places], began_at[places] = sizes, oldest
    return ThreadTable(threads, num_documents, began_at)


def split_by_digest(group: str, recipe: SplitsSection) -> Split:
    """Return the split of a leakage group by digest of its name: the same in every dump.

    >>> split_by_digest("x.org/1", SplitsSection()), split_by_digest("x.org/73", SplitsSection())
    ('train', 'test')
    """
    digest = hashlib.blake2b(f"{recipe.salt}\n{group}".encode(), digest_size=8).digest()
    place = int.from_bytes(digest, "big")
    if place < recipe.fractions["test"] * 2**64:
        return "test"
    evaluation = recipe.fractions["test"] + recipe.fractions["validation"]
    return "validation" if place < evaluation * 2**64 else "train"


def split_groups(table: ThreadTable, group_of: Array, recipe: SplitsSection) -> Array:
    """Return the split of each thread's group as its place in SPLITS, int8.

    Args:
        table: n threads.
        group_of: int64, shape (n,); the place of the oldest thread of the group of each.
        recipe: how.
    """
    groups = sort_distinct(group_of)
    split_of = np.full(len(group_of), SPLITS.index("train"), "i1")
    if recipe.cuts is not None:
        split_of[groups] = split_by_date(table.began_at[groups], recipe.cuts)
    else:
        sizes = np.bincount(group_of, table.num_documents, len(group_of))
        # Hubs that thousands of questions duplicate would be a whole test split of one topic.
        groups = groups[sizes[groups] <= recipe.largest_evaluation_group]
        for start in range(0, len(groups), NAMES_AT_A_TIME):
            some = groups[start : start + NAMES_AT_A_TIME]
            names = table.threads.names(some).to_pylist()
            split_of[some] = [SPLITS.index(split_by_digest(name, recipe)) for name in names]
    held_out = find_held_out(table.threads, recipe.hold_out)
    split_of[group_of[held_out]] = SPLITS.index("test")
    return split_of[group_of]
