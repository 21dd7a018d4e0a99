"""The exact join finds the pairs that comparing all of them finds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus import similarity
from corpus.overlap import Grams
from corpus.similarity import index_sets, join_sets

# Few members, so that sets overlap; thresholds of a few decimals, so that many pairs are at them.
SETS = st.lists(st.sets(st.integers(0, 12), max_size=12), max_size=8)
THRESHOLDS = st.integers(1, 20).map(lambda number: number / 20)


def grams_of(sets: list[set[int]]) -> Grams:
    hashes = np.array([member for one in sets for member in sorted(one)], "u8")
    return Grams(hashes, np.cumsum([0, *map(len, sets)]))


@settings(deadline=None)
@given(SETS, SETS, THRESHOLDS)
def test_the_join_finds_all_pairs_at_or_above_the_threshold_and_no_other(
    few: list[set[int]], many: list[set[int]], threshold: float
) -> None:
    expected = {
        (place, other): (len(one & two), len(one | two))
        for (place, one), (other, two) in itertools.product(enumerate(many), enumerate(few))
        if one and len(one & two) / len(one | two) >= threshold
    }
    pairs, shared, total = join_sets(
        index_sets(grams_of(few), threshold), grams_of(many), threshold
    )
    found = dict(zip(map(tuple, pairs.tolist()), zip(shared, total, strict=True), strict=True))
    assert found == expected
    assert list(found) == sorted(found)


def test_an_index_made_in_blocks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    sets = grams_of([set(rng.integers(0, 40, 9).tolist()) for _ in range(50)])
    whole = index_sets(sets, 0.5)
    monkeypatch.setattr(similarity, "BLOCK_SETS", 7)
    for one, other in zip(whole, index_sets(sets, 0.5), strict=True):
        np.testing.assert_array_equal(one, other)


def test_members_that_many_sets_have_do_not_make_candidates() -> None:
    # Posts of five boilerplate words and twenty of their own, and one with a word of each.
    boilerplate = set(range(5))
    few = [boilerplate | set(range(100 * n, 100 * n + 20)) for n in range(1, 51)]
    many = [boilerplate | {100 * n + 10 for n in range(1, 21)}]
    index = index_sets(grams_of(few), 0.7)
    assert len(similarity._find_candidates(index, grams_of(many), 0.7)) == 0
    assert len(similarity._find_candidates(index, grams_of(few), 0.7)) == 50
