from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.errors import BadValue
from corpus.indexed import IndexedWriter
from corpus.manifest import FileEntry, Manifest, Outcome
from corpus.store import Artifact
from pretrain.batches import Batch
from pretrain.loader import iter_batches, locate_rows
from pretrain.masking import BEGINS, ENDS, Masking
from pretrain.packing import plan_rows
from pretrain.rows import RowSource, document_lengths

NUM_PIECES = 300
ROW_TOKENS = 32
TENSORS = ("tokens_T", "positions_T", "bounds_D1", "masked_M", "targets_M", "kinds_T")


def write_shard(prefix: Path, documents: list[list[int]]) -> str:
    """Write documents as sequences of at most 7 tokens, with modes 0 to 3 in turn."""
    lengths = [
        [min(7, len(document) - first) for first in range(0, max(len(document), 1), 7)]
        for document in documents
    ]
    flat = [length for one in lengths for length in one]
    with IndexedWriter(prefix, vocabulary_size=NUM_PIECES, with_modes=True) as writer:
        writer.add_documents(
            np.array([token for document in documents for token in document], np.int64),
            sequence_lengths=flat,
            sequences_per_document=[len(one) for one in lengths],
            modes=[number % 4 for number in range(len(flat))],
        )
    return f"{prefix.name}.idx"


@pytest.fixture(scope="module")
def documents() -> list[list[int]]:
    generator = np.random.default_rng(1)
    lengths = [*generator.integers(1, 80, 90).tolist(), 0, 300]
    return [generator.integers(5, NUM_PIECES, length).tolist() for length in lengths]


@pytest.fixture(scope="module")
def source(documents: list[list[int]], tmp_path_factory: pytest.TempPathFactory) -> RowSource:
    folder = tmp_path_factory.mktemp("shards")
    names = [
        write_shard(folder / f"train-0000{number}-of-00003", part)
        for number, part in enumerate([documents[:40], documents[40:41], documents[41:]])
    ]
    outcome = Outcome(tuple(FileEntry(name, 0, 0, "", "") for name in names))
    shards = Artifact(folder, Manifest("shards", 1, {}, {}, outcome))
    return RowSource(shards, "train", plan_rows(document_lengths(shards, "train"), ROW_TOKENS, 1))


@pytest.fixture(scope="module")
def masking() -> Masking:
    edges_V = np.where(np.arange(NUM_PIECES) % 3 == 0, BEGINS, 0).astype(np.uint8)
    edges_V[:5] = BEGINS + ENDS
    return Masking(0.3, True, 1, edges_V, decay_rate=0.1, decay_row=100)


def load(source: RowSource, masking: Masking, **changes: Any) -> Iterator[Batch]:
    run = {"seed": 1, "start_row": 0, "num_rows_total": source.num_rows, "micro_batch_rows": 4}
    return iter_batches(source, masking, **(run | changes))


def row_ids(batches: Iterator[Batch]) -> list[int]:
    return [row for batch in batches for row in batch.rows]


def content(batch: Batch) -> tuple[Any, ...]:
    return (*(getattr(batch, name).numpy().tobytes() for name in TENSORS), batch.rows)


def rows_of(batch: Batch, source: RowSource) -> dict[int, tuple[Any, ...]]:
    """Return what a batch holds of each of its rows, whatever else is in it."""
    sizes = [
        sum(stop - start + 2 for _, start, stop in source.row_documents(row)) for row in batch.rows
    ]
    rows, start = {}, 0
    for row, size in zip(batch.rows, sizes, strict=True):
        is_here = (batch.masked_M >= start) & (batch.masked_M < start + size)
        rows[row] = (
            batch.tokens_T[start : start + size].tolist(),
            (batch.masked_M[is_here] - start).tolist(),
            batch.targets_M[is_here].tolist(),
        )
        start += size
    assert start == len(batch.tokens_T)
    return rows


def test_every_token_of_every_document_comes_once_an_epoch(
    source: RowSource, masking: Masking, documents: list[list[int]]
) -> None:
    for epoch in (0, 1):
        start = epoch * source.num_rows
        found: dict[int, dict[int, list[int]]] = {}
        for batch in load(source, masking, start_row=start, num_rows_total=start + source.num_rows):
            tokens_T = batch.tokens_T.clone()
            tokens_T[batch.masked_M] = batch.targets_M
            windows = [window for row in batch.rows for window in source.row_documents(row)]
            bounds = batch.bounds_D1.tolist()
            for at, (document, first, _) in enumerate(windows):
                inside = tokens_T[bounds[at] + 1 : bounds[at + 1] - 1].tolist()
                assert first not in found.setdefault(document, {})
                found[document][first] = inside
        joined = [
            [token for first in sorted(found.get(d, {})) for token in found[d][first]]
            for d in range(len(documents))
        ]
        assert joined == documents


def test_batches_are_what_the_model_asks_for(source: RowSource, masking: Masking) -> None:
    for batch in load(source, masking):
        dtypes = [getattr(batch, name).dtype for name in TENSORS]
        long = torch.int64
        assert dtypes == [long, long, torch.int32, long, long, torch.int8]
        size = len(batch.tokens_T)
        assert len(batch.positions_T) == len(batch.kinds_T) == size == batch.bounds_D1[-1]
        assert size <= ROW_TOKENS * batch.num_rows and batch.num_rows == len(batch.rows)
        assert batch.max_document_tokens <= ROW_TOKENS
        assert bool((batch.kinds_T[batch.masked_M] >= 0).all())
        assert bool((batch.masked_M.diff() > 0).all())
        assert bool((batch.targets_M >= 5).all())


@settings(max_examples=40, deadline=None)
@given(
    start=st.integers(0, 130),
    length=st.integers(0, 130),
    micro_batch_rows=st.integers(1, 9),
    data_size=st.sampled_from([1, 2, 3, 4]),
)
def test_ranks_share_the_rows_without_repeats_or_skips(
    source: RowSource,
    masking: Masking,
    start: int,
    length: int,
    micro_batch_rows: int,
    data_size: int,
) -> None:
    end = start + length
    per_rank = [
        list(
            load(
                source,
                masking,
                start_row=start,
                num_rows_total=end,
                micro_batch_rows=micro_batch_rows,
                data_rank=rank,
                data_size=data_size,
            )
        )
        for rank in range(data_size)
    ]
    assert len({len(batches) for batches in per_rank}) == 1
    assert all(batch.num_rows <= micro_batch_rows for one in per_rank for batch in one)
    _, expected = locate_rows(source.num_rows, 1, np.arange(start, end))
    seen = Counter(row for batches in per_rank for row in row_ids(iter(batches)))
    assert seen == Counter(expected.tolist())


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("data_size", [1, 2, 4])
def test_ranks_and_workers_give_the_same_rows_masked_alike(
    source: RowSource, masking: Masking, workers: int, data_size: int
) -> None:
    rows: dict[int, tuple[Any, ...]] = {}
    for rank in range(data_size):
        for batch in load(source, masking, workers=workers, data_rank=rank, data_size=data_size):
            for row, of in rows_of(batch, source).items():
                assert row not in rows
                rows[row] = of
    expected: dict[int, tuple[Any, ...]] = {}
    for batch in load(source, masking, micro_batch_rows=1):
        expected |= rows_of(batch, source)
    assert rows == expected and len(rows) == source.num_rows


def test_the_bytes_of_batches_do_not_depend_on_workers(source: RowSource, masking: Masking) -> None:
    run = {"num_rows_total": 2 * source.num_rows + 3, "start_row": 8}
    alone = [content(batch) for batch in load(source, masking, **run)]
    assert [content(batch) for batch in load(source, masking, workers=2, **run)] == alone


@pytest.mark.parametrize("data_size", [1, 2, 4])
def test_a_resumed_run_goes_on_as_if_never_interrupted(
    source: RowSource, masking: Masking, data_size: int
) -> None:
    end = 2 * source.num_rows + 5
    for rank in range(data_size):
        run = {"num_rows_total": end, "data_rank": rank, "data_size": data_size}
        whole = [content(batch) for batch in load(source, masking, **run)]
        for consumed in range(0, len(whole), 3):
            start = consumed * 4 * data_size
            resumed = [content(batch) for batch in load(source, masking, start_row=start, **run)]
            assert resumed == whole[consumed:]


def test_a_run_resumes_on_another_number_of_ranks(source: RowSource, masking: Masking) -> None:
    end = source.num_rows
    first = row_ids(load(source, masking, num_rows_total=24))
    rest = [
        row_ids(load(source, masking, start_row=24, data_rank=rank, data_size=2)) for rank in (0, 1)
    ]
    assert sorted(first + rest[0] + rest[1]) == list(range(end))


def test_each_epoch_has_its_order_and_its_masks(source: RowSource, masking: Masking) -> None:
    orders, masks = [], []
    for epoch in (0, 1):
        start = epoch * source.num_rows
        at = {"start_row": start, "num_rows_total": start + source.num_rows}
        batches = list(load(source, masking, micro_batch_rows=1, **at))
        orders.append(row_ids(iter(batches)))
        masks.append({batch.rows[0]: batch.masked_M.tolist() for batch in batches})
    assert orders[0] != orders[1] and sorted(orders[0]) == sorted(orders[1])
    assert sum(masks[0][row] == masks[1][row] for row in masks[0]) < len(masks[0]) / 5
    assert row_ids(load(source, masking, seed=2)) != orders[0]


def test_the_rate_changes_at_its_row_of_the_run(source: RowSource, masking: Masking) -> None:
    rates = []
    for batch in load(source, masking, num_rows_total=120, micro_batch_rows=1):
        rates.append(len(batch.masked_M) / int((batch.kinds_T >= 0).sum()))
    assert np.mean(rates[:100]) == pytest.approx(0.3, abs=0.02)
    assert np.mean(rates[100:]) == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize("workers", [0, 2])
def test_loading_leaves_the_global_generator_alone(
    source: RowSource, masking: Masking, workers: int
) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    row_ids(load(source, masking, workers=workers))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_loader_with_workers_may_be_left_early(source: RowSource, masking: Masking) -> None:
    batches = load(source, masking, workers=2)
    assert next(batches).num_rows == 4
    del batches


def test_a_rank_without_rows_gets_an_empty_batch(source: RowSource, masking: Masking) -> None:
    (batch,) = load(source, masking, num_rows_total=1, data_rank=1, data_size=2)
    assert (batch.num_rows, batch.rows, batch.max_document_tokens) == (0, (), 0)
    assert batch.bounds_D1.tolist() == [0] and len(batch.tokens_T) == len(batch.masked_M) == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"start_row": -1},
        {"start_row": 9, "num_rows_total": 8},
        {"micro_batch_rows": 0},
        {"data_rank": 2, "data_size": 2},
        {"workers": -1},
    ],
)
def test_numbers_out_of_range_are_refused(
    source: RowSource, masking: Masking, changes: dict[str, int]
) -> None:
    with pytest.raises(BadValue, match="it must be"):
        load(source, masking, **changes)
