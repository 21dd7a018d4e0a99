"""Connected components of a graph given by its edges: clusters of documents, leakage groups."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from corpus.errors import BadValue


def components(num_nodes: int, pairs: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return the component of each node, named by its smallest node.

    So the answer depends on the edges alone, not on their order or direction, and a node without
    edges is its own component.

    Args:
        num_nodes: nodes are 0 to num_nodes - 1.
        pairs: integers, shape (m, 2): the nodes that each edge joins. May repeat.

    Returns:
        int64, shape (num_nodes,).

    Raises:
        BadValue: a pair names a node that does not exist.

    >>> components(5, np.array([[4, 2], [2, 1]])).tolist()
    [0, 1, 1, 3, 1]
    """
    nodes = np.arange(num_nodes, dtype=np.int64)
    if not len(pairs):
        return nodes
    if pairs.min() < 0 or pairs.max() >= num_nodes:
        raise BadValue(
            f"pairs name nodes {pairs.min()} to {pairs.max()}; there are only 0 to {num_nodes - 1}"
        )
    edges = coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), (num_nodes,) * 2)
    count, labels = connected_components(edges, directed=False)
    smallest = np.full(count, num_nodes, np.int64)
    np.minimum.at(smallest, labels, nodes)
    named: npt.NDArray[np.int64] = smallest[labels]
    return named
