"""What no two splits may have in common, told by ids, names and times: the proof without texts.

Each check reads the finished dataset (and the dump's links) and returns what `proof.json` says of
it: how much was compared, how much was found, the limit, and the first offenders.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpus.contamination import Source
from corpus.cuts import NEWEST_COLUMNS, is_after_cut, newest_times
from corpus.groups import Threads, find_held_out, group_threads, link_pairs, list_threads
from corpus.lookup import Array, sort_distinct
from corpus.manifest import Json
from corpus.recipe import SPLITS, CutsSection, Split
from corpus.store import Artifact
from corpus.tables import read_table

MAX_OFFENDERS = 20
# Threads named of a group that spans splits.
MAX_THREADS = 10


class Present(NamedTuple):
    """The threads of the dataset; `is_in`, bool, shape (splits, threads): where each has any."""

    threads: Threads
    is_in: Array

    def describe(self, place: int) -> Json:
        """Name one thread and its splits."""
        name = self.threads.names(np.array([place]))[0].as_py()
        splits = [SPLITS[number] for number in np.flatnonzero(self.is_in[:, place])]
        return {"thread": name, "splits": splits}


def list_sources(dataset: Artifact, split: Split) -> list[Source]:
    """Return the files of a split of the dataset."""
    entries = dataset.files(f"data/{split}-")
    return [Source(entry.name, dataset.path(entry.name), split) for entry in entries]


def make_check(
    check: str, num_compared: int, limit: float, num_found: int, offenders: list[Json]
) -> Json:
    """Return one entry of `proof.json`; of the offenders the first are enough."""
    return {
        "check": check,
        "num_compared": num_compared,
        "num_found": num_found,
        "limit": limit,
        "offenders": offenders,
    }


def find_present(dataset: Artifact) -> Present:
    """Find the threads of each split."""
    found: list[tuple[int, str, Array]] = []
    for number, split in enumerate(SPLITS):
        for source in list_sources(dataset, split):
            rows = read_table(source.documents, ["site", "thread_id"])
            found.append(
                (number, rows["site"][0].as_py(), sort_distinct(rows["thread_id"].to_numpy()))
            )
    threads = list_threads((site, thread_ids) for _, site, thread_ids in found)
    is_in = np.zeros((len(SPLITS), len(threads.keys)), bool)
    for number, site, thread_ids in found:
        is_in[number, threads.find(site, thread_ids)] = True
    return Present(threads, is_in)


def check_threads(present: Present) -> Json:
    """Check that no thread has documents in two splits."""
    shared = np.flatnonzero(present.is_in.sum(axis=0) > 1)
    first = [present.describe(place) for place in shared[:MAX_OFFENDERS]]
    return make_check("thread", len(present.threads.keys), 0, len(shared), first)


def check_links(present: Present, posts: Artifact) -> Json:
    """Check that no threads which duplicate links join, over any others, are in two splits."""
    threads, is_in = present
    pairs = link_pairs(threads.sites, posts)
    group_of = group_threads(threads, np.zeros(len(threads.keys)), pairs)
    holds = np.zeros_like(is_in)
    for number in range(len(SPLITS)):
        holds[number, group_of[is_in[number]]] = True
    is_linked = np.bincount(group_of, minlength=len(group_of)) > 1
    crossing = np.flatnonzero((holds.sum(axis=0) > 1) & is_linked)
    first = []
    for group in crossing[:MAX_OFFENDERS]:
        members = np.flatnonzero(group_of == group)[:MAX_THREADS]
        first.append({"threads": [present.describe(place) for place in members]})
    return make_check("duplicate_link", len(pairs), 0, len(crossing), first)


def check_clusters(dataset: Artifact) -> Json:
    """Check that no cluster of near-duplicates has documents in two splits."""
    found = [pa.table({"cluster": pa.array([], pa.string()), "split": pa.array([], pa.string())})]
    for split in SPLITS:
        for source in list_sources(dataset, split):
            clusters = pc.unique(read_table(source.documents, ["cluster"])["cluster"]).drop_null()
            found.append(pa.table({"cluster": clusters, "split": pa.repeat(split, len(clusters))}))
    splits_of = pa.concat_tables(found).group_by("cluster").aggregate([("split", "distinct")])
    is_shared = pc.greater(pc.list_value_length(splits_of["split_distinct"]), 1)
    shared = splits_of.filter(is_shared).sort_by("cluster")
    first = [
        {"cluster": row["cluster"], "splits": sorted(row["split_distinct"], key=SPLITS.index)}
        for row in shared[:MAX_OFFENDERS].to_pylist()
    ]
    return make_check("cluster", len(splits_of), 0, len(shared), first)


def check_held_out(present: Present, hold_out: list[str]) -> Json:
    """Check that no thread that the recipe holds out is in train or validation."""
    held_out = find_held_out(present.threads, hold_out)
    is_elsewhere = present.is_in[: SPLITS.index("test"), held_out].any(axis=0)
    elsewhere = held_out[is_elsewhere]
    first = [present.describe(place) for place in elsewhere[:MAX_OFFENDERS]]
    return make_check("hold_out", len(held_out), 0, len(elsewhere), first)


def check_times(dataset: Artifact, cuts: CutsSection | None) -> Json:
    """Check that nothing in a split is newer than the recipe's cuts allow; all is without cuts."""
    first: list[Json] = []
    num_found = num_compared = 0
    for split in SPLITS if cuts else ():
        assert cuts is not None
        for source in list_sources(dataset, split):
            newest_at = newest_times(read_table(source.documents, NEWEST_COLUMNS))
            late = np.flatnonzero(is_after_cut(newest_at, split, cuts))
            num_compared += len(newest_at)
            num_found += len(late)
            for row in late[: MAX_OFFENDERS - len(first)].tolist():
                first.append(name_row(source, row) | {"newest_at": str(newest_at[row])})
    return make_check("after_cut", num_compared, 0, num_found, first)


def name_row(source: Source, row: int) -> Json:
    """Name one document of the dataset and its split."""
    doc_ids = read_table(source.documents, ["doc_id"])["doc_id"]
    return {"doc_id": doc_ids[row].as_py(), "split": source.split}
