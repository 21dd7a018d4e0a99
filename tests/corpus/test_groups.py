"""Leakage groups: what must stay together does, under a name that lasts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.groups import (
    cluster_pairs,
    find_held_out,
    group_threads,
    link_pairs,
    list_threads,
    make_keys,
)
from corpus.store import Artifact

SITES = ["x.org", "y.org"]
EDGES = st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), max_size=15)


def key(site: str, thread_id: int) -> int:
    return int(make_keys(SITES, site, np.array([thread_id]))[0])


def names_of(ids: list[int], began_at: dict[int, int], edges: list[tuple[int, int]]) -> list[str]:
    """The name of the group of each thread of one site."""
    threads = list_threads([("x.org", np.array(ids, "i8"))])
    ages = np.array([began_at[one] for one in sorted(set(ids))])
    group_of = group_threads(threads, ages, np.array(edges, "i8").reshape(-1, 2))
    return threads.names(group_of[threads.find("x.org", np.array(ids, "i8"))]).to_pylist()


def naive_groups(ids: list[int], edges: list[tuple[int, int]]) -> dict[int, set[int]]:
    """Grow each thread's group until nothing joins."""
    groups = {one: {one} for one in ids}
    for start, group in groups.items():
        size = 0
        while size != len(group):
            size = len(group)
            for one, other in edges:
                if {one, other} & group:
                    group |= {one, other}
        groups[start] = group & set(ids)
    return groups


@settings(deadline=None)
@given(st.sets(st.integers(1, 20), min_size=1), EDGES, st.randoms())
def test_groups_are_components_named_by_their_oldest_thread(
    ids: set[int], edges: list[tuple[int, int]], random: Any
) -> None:
    ordered = sorted(ids)
    began_at = {one: random.randrange(5) for one in ordered}
    expected = [
        f"x.org/{min(group, key=lambda one: (began_at[one], one))}"
        for group in naive_groups(ordered, edges).values()
    ]
    assert names_of(ordered, began_at, edges) == expected


@settings(deadline=None)
@given(st.sets(st.integers(1, 20), min_size=1), EDGES, EDGES)
def test_a_later_thread_renames_no_group_unless_it_joins_two(
    ids: set[int], edges: list[tuple[int, int]], new_edges: list[tuple[int, int]]
) -> None:
    old = sorted(ids)
    began_at = {one: one for one in range(1, 41)}
    # Each new thread has one link, to an old thread or to a newer one that has none itself.
    links = {100 + one: other for one, other in new_edges}
    began_at |= {new: new for new in links}
    before = dict(zip(old, names_of(old, began_at, edges), strict=True))
    everything = [*old, *sorted(links)]
    after = names_of(everything, began_at, [*edges, *links.items()])
    assert dict(zip(old, after, strict=False)) == before


def test_a_younger_thread_of_an_earlier_site_does_not_rename_a_group() -> None:
    threads = list_threads([("y.org", np.array([5])), ("x.org", np.array([9]))])
    began_at = np.array([2020, 2010])  # of x.org/9, of y.org/5
    pairs = np.array([[key("x.org", 9), key("y.org", 5)]])
    group_of = group_threads(threads, began_at, pairs)
    assert threads.names(group_of).to_pylist() == ["y.org/5", "y.org/5"]


def test_equal_ids_of_two_sites_are_two_threads() -> None:
    threads = list_threads([("y.org", np.array([5, 5])), ("x.org", np.array([5]))])
    assert threads.names(np.arange(2)).to_pylist() == ["x.org/5", "y.org/5"]
    assert threads.find("y.org", np.array([5, 6])).tolist() == [1, -1]
    assert threads.find("z.org", np.array([5])).tolist() == [-1]


def test_an_id_that_no_site_gives_out_is_no_thread_of_another_site() -> None:
    threads = list_threads([("x.org", np.array([5])), ("y.org", np.array([5]))])
    assert threads.find("x.org", np.array([key("y.org", 5)])).tolist() == [-1]
    assert len(find_held_out(threads, ["x.org/4294967301"])) == 0


def test_no_threads_are_no_groups() -> None:
    threads = list_threads([])
    assert len(group_threads(threads, np.empty(0), np.empty((0, 2), "i8"))) == 0


def test_held_out_threads_are_found_in_any_order_and_once() -> None:
    threads = list_threads([("x.org", np.array([4, 9])), ("y.org", np.array([4]))])
    held_out = find_held_out(threads, ["y.org/4", "x.org/9", "x.org/09", "x.org/1", "z.org/4"])
    assert threads.names(held_out).to_pylist() == ["x.org/9", "y.org/4"]


def test_links_join_threads_also_by_their_answers_and_by_posts_that_are_gone(
    make_documents: Callable[..., dict[str, Artifact]],
) -> None:
    rows = [
        {"post_id": 1, "text": "a"},
        {"post_id": 2, "text": "a", "thread_id": 1},
        {"post_id": 3, "text": "a"},
        {"post_id": 4, "text": "a", "site": "y.org"},
    ]
    links = [("x.org", 3, 2), ("x.org", 3, 99), ("y.org", 4, 2**40), ("y.org", 4, -1)]
    posts = make_documents(rows, links)["posts"]
    pairs = {tuple(pair) for pair in link_pairs(SITES, posts).tolist()}
    assert pairs == {(key("x.org", 3), key("x.org", 1)), (key("x.org", 3), key("x.org", 99))}


def test_clusters_join_threads_over_sites() -> None:
    rows = [("x.org", 3, "a"), ("y.org", 3, "a"), ("x.org", 4, "b"), ("x.org", 5, "b")]
    columns = zip(*rows, strict=True)
    clusters = pa.table(list(map(list, columns)), names=["site", "thread_id", "cluster"])
    pairs = cluster_pairs(SITES, clusters).tolist()
    x3, y3, x4, x5 = key("x.org", 3), key("y.org", 3), key("x.org", 4), key("x.org", 5)
    assert pairs == [[x3, x3], [x3, y3], [x4, x4], [x4, x5]]
    assert cluster_pairs(SITES, clusters[:0]).shape == (0, 2)
