"""Shared n-grams are those of plain Python sets."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.overlap import Grams, find_seen, join_grams, seen_fractions, take_grams

SETS = st.lists(st.sets(st.integers(0, 12), max_size=12), max_size=8)


def grams_of(sets: list[set[int]]) -> Grams:
    hashes = np.array([member for one in sets for member in sorted(one)], "u8")
    return Grams(hashes, np.cumsum([0, *map(len, sets)]))


@settings(deadline=None)
@given(SETS, st.sets(st.integers(0, 12)))
def test_fractions_are_those_of_sets(texts: list[set[int]], train: set[int]) -> None:
    grams = grams_of(texts)
    wanted, places = np.unique(grams.hashes, return_inverse=True)
    seen = find_seen(np.array([*train, *train], "u8"), wanted)
    assert wanted[seen].tolist() == sorted(train & set(wanted.tolist()))
    is_seen = np.zeros(len(wanted), bool)
    is_seen[seen] = True
    expected = [len(text & train) / max(1, len(text)) for text in texts]
    assert seen_fractions(places, grams.offsets, is_seen).tolist() == expected


@settings(deadline=None)
@given(SETS)
def test_sets_taken_and_joined_are_the_same(sets: list[set[int]]) -> None:
    grams = grams_of(sets)
    places = np.arange(len(sets))
    joined = join_grams([take_grams(grams, places[:2]), take_grams(grams, places[2:])])
    assert joined.hashes.tolist() == grams.hashes.tolist()
    assert joined.offsets.tolist() == grams.offsets.tolist()
