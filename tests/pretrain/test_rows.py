from __future__ import annotations

from collections import defaultdict
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from corpus.engine import LocalEngine
from corpus.errors import BadValue, IntegrityError, StoreError
from corpus.progress import Reporter
from corpus.recipe import ShardsSection
from corpus.shards import MODE_BY_KIND, build_shards
from corpus.store import Artifact, Store
from corpus.vocabulary import load_tokenizer
from pretrain.packing import plan_rows
from pretrain.rows import RowSource, document_lengths, open_rows

ROW_TOKENS = 64


@pytest.fixture(scope="module")
def shards(demo_build) -> Artifact:
    return demo_build.artifacts["shards"]


@pytest.fixture(scope="module")
def source(shards: Artifact) -> RowSource:
    return RowSource(shards, "train", plan_rows(document_lengths(shards, "train"), ROW_TOKENS, 1))


def join_documents(source: RowSource) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    """Read every row; return the tokens and the kinds of each document, put together again."""
    found = defaultdict(list)
    for row in range(source.num_rows):
        packed = source.read([row])
        bounds = packed.bounds_D1.tolist()
        for at, (document, start, stop) in enumerate(source.row_documents(row)):
            inside = slice(bounds[at] + 1, bounds[at + 1] - 1)
            part = packed.tokens_T[inside].tolist(), packed.kinds_T[inside].tolist()
            assert len(part[0]) == stop - start
            found[document].append((start, *part))
    tokens: dict[int, list[int]] = {document: [] for document in found}
    kinds: dict[int, list[int]] = {document: [] for document in found}
    for document, parts in found.items():
        for _, some_tokens, some_kinds in sorted(parts):
            tokens[document] += some_tokens
            kinds[document] += some_kinds
    return tokens, kinds


def dataset_texts(dataset: Artifact) -> dict[str, str]:
    texts = {}
    for entry in dataset.files("data/train-"):
        table = pq.read_table(dataset.path(entry.name), columns=["doc_id", "text"])
        texts |= dict(zip(*(column.to_pylist() for column in table.columns), strict=True))
    return texts


def test_the_rows_hold_the_text_of_every_document_once(demo_build, source: RowSource) -> None:
    tokenizer = load_tokenizer(demo_build.artifacts["tokenizer"].path("tokenizer.model"))
    tokens, _ = join_documents(source)
    texts = {source.doc_ids(d)[0]: tokenizer.decode(ids) for d, ids in tokens.items()}
    assert texts == dataset_texts(demo_build.artifacts["dataset"])
    assert len(tokens) > 20 and max(map(len, tokens.values())) > ROW_TOKENS


def test_the_kinds_are_those_that_the_map_counts(shards: Artifact, source: RowSource) -> None:
    _, kinds = join_documents(source)
    counted = {
        source.doc_ids(document)[0]: [of.count(mode) for mode in MODE_BY_KIND.values()]
        for document, of in kinds.items()
    }
    maps = [e.name for e in shards.files("train-") if e.name.endswith(".map.parquet")]
    mapped = {}
    for name in maps:
        for row in pq.read_table(shards.path(name)).to_pylist():
            mapped[row["doc_id"]] = [row[f"num_{kind}_tokens"] for kind in MODE_BY_KIND]
    assert counted == mapped
    assert all(sum(column) > 0 for column in zip(*counted.values(), strict=True))


def test_each_document_of_a_row_is_framed_and_counted_from_0(source: RowSource) -> None:
    rows = [5, 0, 3]
    packed = source.read(rows)
    sizes = [w.stop - w.start + 2 for row in rows for w in source.row_documents(row)]
    assert packed.bounds_D1.tolist() == np.cumsum([0, *sizes]).tolist()
    assert packed.positions_T.tolist() == [at for size in sizes for at in range(size)]
    special = sorted({*packed.bounds_D1[:-1].tolist(), *(packed.bounds_D1[1:] - 1).tolist()})
    assert np.flatnonzero(packed.tokens_T < 5).tolist() == special
    assert np.flatnonzero(packed.kinds_T == -1).tolist() == special
    assert packed.tokens_T[packed.bounds_D1[:-1]].tolist() == [2] * len(sizes)
    assert packed.tokens_T[packed.bounds_D1[1:] - 1].tolist() == [3] * len(sizes)
    assert packed.row_bounds_R1[-1] == packed.bounds_D1[-1] == len(packed.tokens_T)
    assert [packed.tokens_T.dtype, packed.positions_T.dtype, packed.kinds_T.dtype] == [
        "i8",
        "i8",
        "i1",
    ]


def test_rows_read_together_are_the_rows_read_alone(source: RowSource) -> None:
    rows = [4, 1, 1, source.num_rows - 1]
    packed = source.read(rows)
    for at, row in enumerate(rows):
        part = slice(*packed.row_bounds_R1[at : at + 2])
        alone = source.read([row])
        for name in ("tokens_T", "positions_T", "kinds_T"):
            assert np.array_equal(getattr(packed, name)[part], getattr(alone, name))


def test_no_rows_are_read_as_nothing(source: RowSource) -> None:
    packed = source.read([])
    assert len(packed.tokens_T) == len(packed.positions_T) == len(packed.kinds_T) == 0
    assert packed.bounds_D1.tolist() == packed.row_bounds_R1.tolist() == [0]


def test_the_counts_are_those_of_the_shards(shards: Artifact, source: RowSource) -> None:
    figures = shards.manifest.outcome.figures
    windows = sum(len(source.row_documents(row)) for row in range(source.num_rows))
    assert source.num_tokens == figures["train_tokens"] + 2 * windows
    assert sum(len(source.read([r]).tokens_T) for r in range(source.num_rows)) == source.num_tokens


def test_a_sample_of_a_thread_is_one_document(demo_build, demo_copy: Store) -> None:
    of_threads = build_shards(
        demo_build.artifacts["dataset"],
        demo_build.artifacts["tokenizer"],
        ShardsSection(sample="thread"),
        demo_copy,
        LocalEngine(),
        Reporter(quiet=True),
    )
    plan = plan_rows(document_lengths(of_threads, "train"), ROW_TOKENS, 1)
    source = RowSource(of_threads, "train", plan)
    tokenizer = load_tokenizer(demo_build.artifacts["tokenizer"].path("tokenizer.model"))
    texts = dataset_texts(demo_build.artifacts["dataset"])
    tokens, _ = join_documents(source)
    doc_ids = {document: source.doc_ids(document) for document in tokens}
    for document, ids in tokens.items():
        expected = "".join(texts[doc_id] for doc_id in doc_ids[document])
        assert tokenizer.decode(ids) == expected
    assert sorted(chain.from_iterable(doc_ids.values())) == sorted(texts)
    assert max(map(len, doc_ids.values())) > 1


def test_a_plan_is_made_once_and_then_read(shards: Artifact, tmp_path: Path) -> None:
    first = open_rows(shards, "train", tmp_path, row_tokens=ROW_TOKENS, seed=1)
    content = (tmp_path / "rows-train.npz").read_bytes()
    again = open_rows(shards, "train", tmp_path, row_tokens=ROW_TOKENS, seed=1)
    assert (tmp_path / "rows-train.npz").read_bytes() == content
    assert np.array_equal(first.plan.documents, again.plan.documents)
    with pytest.raises(StoreError, match="made for seed 1, not 2"):
        open_rows(shards, "train", tmp_path, row_tokens=ROW_TOKENS, seed=2)


def test_a_plan_of_other_shards_is_refused(shards: Artifact) -> None:
    lengths = document_lengths(shards, "train")
    lengths[0] += 1
    with pytest.raises(IntegrityError, match="delete the plan, it is made again"):
        RowSource(shards, "train", plan_rows(lengths, ROW_TOKENS, 1))


def test_a_split_that_is_not_there_is_refused(shards: Artifact) -> None:
    with pytest.raises(StoreError, match="holds no token of the split 'dev'"):
        document_lengths(shards, "dev")


def test_a_document_that_is_not_there_is_refused(source: RowSource) -> None:
    with pytest.raises(BadValue, match="no document 1000000"):
        source.doc_ids(1_000_000)
