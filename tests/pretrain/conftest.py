"""What the tests of `pretrain` share: micro-batches of documents, one process, small shapes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

with warnings.catch_warnings():
    # Imported here once and quietly: megatron-core warns of what else could be installed.
    warnings.simplefilter("ignore")
    import megatron.core.models.bert.bert_layer_specs
    import megatron.core.transformer.transformer_block  # noqa: F401

import torch

from pretrain.batches import Batch
from pretrain.parallel import Parallel, start_parallel
from pretrain.presets import ModelShape
from pretrain.recipe import Family, RunSection

VOCABULARY = 256
# megatron-core 0.16 to itself, in each forward pass.
NOISE = "ignore:Warning. tp_group is None:DeprecationWarning"
MASK = 4


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings(NOISE))


def make_batch(
    documents: Sequence[Sequence[int]], masked: Sequence[Sequence[int]] | None = None
) -> Batch:
    """Pack documents (ids, specials included) into one row and hide the tokens at `masked`.

    Args:
        masked: of each document, positions in it, ascending; left out: every seventh from 1 on.
    """
    if masked is None:
        masked = [range(1, len(document), 7) for document in documents]
    lengths = [len(document) for document in documents]
    bounds = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
    hidden = [bounds[i] + p for i, positions in enumerate(masked) for p in positions]
    tokens = torch.tensor([token for document in documents for token in document])
    masked_M = torch.tensor(hidden, dtype=torch.int64)
    targets_M = tokens[masked_M]
    tokens[masked_M] = MASK
    return Batch(
        tokens_T=tokens,
        positions_T=torch.cat([torch.arange(length) for length in lengths]),
        bounds_D1=torch.tensor(bounds, dtype=torch.int32),
        masked_M=masked_M,
        targets_M=targets_M,
        kinds_T=torch.zeros(len(tokens), dtype=torch.int8),
        lengths=tuple(lengths),
        num_rows=1,
    )


def random_documents(
    lengths: Sequence[int], seed: int = 1, vocabulary: int = VOCABULARY
) -> list[list[int]]:
    """`[CLS] ids [SEP]` of the given lengths."""
    rng = np.random.default_rng(seed)
    return [[2, *rng.integers(5, vocabulary, length - 2).tolist(), 3] for length in lengths]


def small_shape(family: Family, dropout: float = 0.0) -> ModelShape:
    """Two layers of 64."""
    return ModelShape(
        family=family,
        num_layers=2,
        hidden_size=64,
        num_heads=4,
        ffn_size=128,
        max_positions=128,
        vocabulary_size=VOCABULARY,
        dropout=dropout,
        norm_epsilon=1e-5,
        initial_std=0.02,
    )


@pytest.fixture
def parallel() -> Iterator[Parallel]:
    """One process alone."""
    torch.set_num_threads(2)
    with start_parallel(RunSection()) as parallel:
        yield parallel
