"""Components against a naive union-find."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.components import components
from corpus.errors import BadValue


def naive_components(num_nodes: int, pairs: list[tuple[int, int]]) -> list[int]:
    """Join all nodes of the larger name to the smaller, edge by edge."""
    names = list(range(num_nodes))
    for one, other in pairs:
        low, high = sorted((names[one], names[other]))
        names = [low if name == high else name for name in names]
    return names


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]]]:
    num_nodes = draw(st.integers(1, 30))
    node = st.integers(0, num_nodes - 1)
    return num_nodes, draw(st.lists(st.tuples(node, node), max_size=30))


@given(graphs())
def test_components_are_those_of_a_naive_search(graph: tuple[int, list[tuple[int, int]]]) -> None:
    num_nodes, pairs = graph
    found = components(num_nodes, np.array(pairs, np.int64).reshape(-1, 2))
    assert found.dtype == np.int64
    assert found.tolist() == naive_components(num_nodes, pairs)


def test_a_long_chain_is_one_component_named_by_its_smallest_node() -> None:
    chain = np.random.default_rng(1).permutation(100_000)
    found = components(100_001, np.stack([chain[1:], chain[:-1]], axis=1))
    assert not found[:100_000].any()
    assert found[100_000] == 100_000


def test_no_nodes_and_no_pairs_give_no_components() -> None:
    assert components(0, np.empty((0, 2), np.int64)).tolist() == []


@pytest.mark.parametrize("pair", [(0, 3), (-1, 0)])
def test_a_pair_of_an_unknown_node_is_refused(pair: tuple[int, int]) -> None:
    with pytest.raises(BadValue, match="there are only 0 to 2"):
        components(3, np.array([pair]))
