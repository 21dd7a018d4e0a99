"""Places in a sorted array are those of a list."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.lookup import MAX_TABLE_BITS, find_hashes, find_places, sort_distinct


@settings(deadline=None)
@given(st.sets(st.integers(0, 20)), st.lists(st.integers(0, 20)))
def test_places_are_those_of_a_list(keys: set[int], values: list[int]) -> None:
    ascending = sorted(keys)
    expected = [ascending.index(value) if value in keys else -1 for value in values]
    assert find_places(np.array(ascending, "i8"), np.array(values, "i8")).tolist() == expected


HASHES = st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 2**63, 2**64 - 1])


@pytest.mark.parametrize("max_table_bits", [MAX_TABLE_BITS, 0])
@settings(deadline=None)
@given(st.sets(HASHES), st.lists(HASHES))
def test_hashes_are_found_where_places_are(
    max_table_bits: int, keys: set[int], values: list[int]
) -> None:
    ascending, wanted = np.array(sorted(keys), "u8"), np.array(values + sorted(keys)[:3], "u8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("corpus.lookup.MAX_TABLE_BITS", max_table_bits)
        assert find_hashes(ascending, wanted).tolist() == find_places(ascending, wanted).tolist()


@settings(deadline=None)
@given(st.lists(st.integers(0, 20)))
def test_distinct_values_are_those_of_a_set(values: list[int]) -> None:
    assert sort_distinct(np.array(values, "u8")).tolist() == sorted(set(values))
