"""Leakage groups: threads that must stay in one split, because text or answers are shared.

Threads are joined by near-duplicate clusters and by duplicate links (LinkTypeId 3: two questions
that people found to be the same; their texts are seldom alike). A group is a component of that
graph. A link to a thread that has no document joins all the same: two duplicates of a question
that was deleted are duplicates of each other.

A group is named by its oldest thread, so a thread that comes later never renames it, unless it
joins two groups: then the younger one takes the name, and so the split, of the older one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpus.components import components
from corpus.lookup import Array, find_places, sort_distinct
from corpus.posts import MAX_ID, load_threads, thread_of
from corpus.store import Artifact
from corpus.tables import read_table

DUPLICATE_LINK = 3
# Ids are below 2**31 (`posts.MAX_ID`); the number of the site sits above.
_ID_BITS = 32


class Threads(NamedTuple):
    """The threads of a corpus: `keys`, int64, ascending (see `make_keys`)."""

    sites: list[str]
    keys: Array

    def find(self, site: str, thread_ids: Array) -> Array:
        """Return the place of each thread of a site, int64; -1 where it has no document.

        >>> Threads(["x.org"], np.array([4, 9])).find("x.org", np.array([9, 5])).tolist()
        [1, -1]
        """
        if site not in self.sites:
            return np.full(len(thread_ids), -1, "i8")
        places = find_places(self.keys, make_keys(self.sites, site, thread_ids))
        return np.where(thread_ids <= MAX_ID, places, -1)

    def names(self, places: Array) -> pa.Array:
        """Return `<site>/<thread_id>` of each place, as strings.

        >>> Threads(["x.org"], np.array([4, 9])).names(np.array([1, 1])).to_pylist()
        ['x.org/9', 'x.org/9']
        """
        keys = self.keys[places]
        sites = pa.array(self.sites, pa.string()).take(pa.array(keys >> _ID_BITS))
        ids = pa.array(keys & ((1 << _ID_BITS) - 1)).cast(pa.string())
        return pc.binary_join_element_wise(sites, ids, "/")


def list_threads(thread_ids: Iterable[tuple[str, Array]]) -> Threads:
    """Return the threads that occur, given (site, thread ids) in any order."""
    pairs = list(thread_ids)
    sites = sorted({site for site, _ in pairs})
    keys = [np.empty(0, "i8"), *(sort_distinct(make_keys(sites, site, ids)) for site, ids in pairs)]
    return Threads(sites, sort_distinct(np.concatenate(keys)))


def make_keys(sites: Sequence[str], site: str, ids: Array) -> Array:
    """Return ids of threads or posts as keys that are unique over sites: int64.

    >>> make_keys(["x.org", "y.org"], "y.org", np.array([9])).tolist() == [2**32 + 9]
    True
    """
    return (sites.index(site) << _ID_BITS) | np.asarray(ids, "i8")


def group_threads(threads: Threads, began_at: Array, pairs: Array) -> Array:
    """Return the place of the oldest thread of each thread's leakage group.

    Args:
        threads: n threads.
        began_at: shape (n,); when each began. Of threads as old the first is the oldest.
        pairs: int64, shape (m, 2); keys of threads that belong together, known or not.

    Returns:
        int64, shape (n,).

    >>> threads = Threads(["x.org"], np.array([4, 7, 9]))
    >>> group_threads(threads, np.array([30, 20, 10]), np.array([[9, 5], [5, 4]])).tolist()
    [2, 1, 2]
    """
    oldest_first = np.lexsort((threads.keys, began_at))
    age = np.empty(len(oldest_first), "i8")
    age[oldest_first] = np.arange(len(age))
    ends = find_places(threads.keys, pairs)
    others = sort_distinct(pairs[ends < 0])
    # Threads without a document come last, so that none of them is the first of a component.
    nodes = np.where(ends < 0, len(age) + np.searchsorted(others, pairs), np.append(age, -1)[ends])
    first = components(len(age) + len(others), nodes)
    return oldest_first[first[age]]


def find_held_out(threads: Threads, hold_out: Iterable[str]) -> Array:
    """Return the places of the threads `<site>/<thread_id>` that have documents, int64, ascending.

    >>> find_held_out(Threads(["x.org"], np.array([4, 9])), ["x.org/9", "y.org/1"]).tolist()
    [1]
    """
    ids_by_site: dict[str, list[int]] = {}
    for entry in hold_out:
        site, thread_id = entry.split("/")
        ids_by_site.setdefault(site, []).append(int(thread_id))
    places = [threads.find(site, np.array(ids)) for site, ids in ids_by_site.items()]
    found = sort_distinct(np.concatenate([np.empty(0, "i8"), *places]))
    return found[found >= 0]


def threads_held_out(hold_out: Iterable[str], posts: Artifact) -> list[str]:
    """Return the threads of what is held out, sorted: a post may be of another thread by now.

    Args:
        hold_out: threads and posts, as `<site>/<id>`; a thread has the id of its question.
        posts: the dump. What is not there stays as it is.
    """
    ids_by_site: dict[str, set[int]] = {}
    for entry in hold_out:
        site, number = entry.split("/")
        ids_by_site.setdefault(site, set()).add(int(number))
    found = set()
    for site, numbers in ids_by_site.items():
        ids = np.array(sorted(numbers), "i8")
        if posts.path(f"threads/{site}.npy").is_file():
            index = load_threads(posts.folder, site)
            threads = thread_of(ids, index)
            # Where a question was merged, answers of it may still be a thread of its id.
            still = ids[np.isin(ids, index[1])]
            ids = np.concatenate([np.where(threads < 0, ids, threads), still])
        found |= {f"{site}/{number}" for number in ids.tolist()}
    return sorted(found)


def link_pairs(sites: Sequence[str], posts: Artifact) -> Array:
    """Return the keys of the threads that duplicate links join, int64, shape (m, 2)."""
    return np.concatenate([np.empty((0, 2), "i8"), *(_links_of(sites, s, posts) for s in sites)])


def cluster_pairs(sites: Sequence[str], clusters: pa.Table) -> Array:
    """Pair each document's thread with that of its cluster's first: keys, int64, shape (m, 2)."""
    keys = keys_of_rows(sites, clusters, "thread_id")
    codes = clusters["cluster"].combine_chunks().dictionary_encode().indices.to_numpy()
    _, first, cluster_of = np.unique(codes, return_index=True, return_inverse=True)
    return np.stack([keys[first[cluster_of]], keys], axis=1)


def keys_of_rows(sites: Sequence[str], rows: pa.Table, column: str) -> Array:
    """Return the key of each row, int64, given columns `site` and `column`, an id."""
    keys, ids = np.empty(len(rows), "i8"), rows[column].to_numpy()
    for site in pc.unique(rows["site"]).to_pylist():
        of_site = pc.equal(rows["site"], site).to_numpy()
        keys[of_site] = make_keys(sites, site, ids[of_site])
    return keys


def _links_of(sites: Sequence[str], site: str, posts: Artifact) -> Array:
    index = load_threads(posts.folder, site)
    found = [np.empty((0, 2), "i8")]
    for entry in posts.files(f"links/{site}/"):
        links = read_table(posts.path(entry.name), ["post_id", "related_post_id", "link_type_id"])
        links = links.filter(pc.equal(links["link_type_id"], DUPLICATE_LINK))
        ends = np.stack([links["post_id"].to_numpy(), links["related_post_id"].to_numpy()], axis=1)
        ends = ends[((ends >= 1) & (ends <= MAX_ID)).all(axis=1)]
        threads = thread_of(ends, index)
        # A post that is not in the dump stands for its thread.
        found.append(make_keys(sites, site, np.where(threads < 0, ends, threads)))
    return np.concatenate(found)
