"""Shards: every text comes back from its tokens, and the map knows where each one is."""

from __future__ import annotations

import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus import shards as module
from corpus.dataset import DATASET_SCHEMA
from corpus.engine import LocalEngine
from corpus.indexed import IndexedReader
from corpus.manifest import Flow, Outcome
from corpus.progress import Reporter
from corpus.recipe import ShardsSection
from corpus.shards import MAP_SCHEMA, MODE_BY_KIND, batch_edges, build_shards, number_samples
from corpus.store import Artifact, Store
from corpus.tables import read_table, write_table
from corpus.tokenizer import MODEL
from corpus.vocabulary import Tokenizer, load_tokenizer

Row = dict[str, Any]


@pytest.fixture(scope="module")
def tokenizer(demo_build: Any) -> Tokenizer:
    return load_tokenizer(demo_build.artifacts["tokenizer"].path(MODEL))


@pytest.fixture(scope="module")
def threads(demo_build: Any, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The demo dataset in samples of whole threads."""
    at = (Store(tmp_path_factory.mktemp("threads")), LocalEngine(), Reporter(quiet=True))
    artifacts = demo_build.artifacts
    section = ShardsSection(sample="thread")
    return build_shards(artifacts["dataset"], artifacts["tokenizer"], section, *at)


def read_rows(dataset: Artifact) -> dict[str, list[Row]]:
    """The documents of the dataset by shard."""
    return {
        Path(entry.name).stem: read_table(dataset.path(entry.name)).to_pylist()
        for entry in dataset.files("data/")
    }


def read_map(shards: Artifact, name: str) -> list[Row]:
    table = read_table(shards.path(f"{name}.map.parquet"))
    assert table.schema == MAP_SCHEMA
    rows: list[Row] = table.to_pylist()
    return rows


def test_the_sequences_of_a_document_decode_to_its_text(
    demo_build: Any, tokenizer: Tokenizer
) -> None:
    shards = demo_build.artifacts["shards"]
    for name, documents in read_rows(demo_build.artifacts["dataset"]).items():
        reader = IndexedReader(shards.path(name))
        for document, place in zip(documents, read_map(shards, name), strict=True):
            first, num = place["first_sequence"], place["num_sequences"]
            tokens = [reader.sequence(number) for number in range(first, first + num)]
            assert tokenizer.decode(np.concatenate(tokens)) == document["text"]


def test_a_sequence_is_a_segment_and_the_blank_line_after_it(
    demo_build: Any, tokenizer: Tokenizer
) -> None:
    shards = demo_build.artifacts["shards"]
    modes = set()
    for name, documents in read_rows(demo_build.artifacts["dataset"]).items():
        reader = IndexedReader(shards.path(name))
        numbers = iter(range(len(reader)))
        for document in documents:
            for segment in document["segments"]:
                number = next(numbers)
                text = document["text"][segment["start"] : segment["end"]]
                is_last = segment is document["segments"][-1]
                assert tokenizer.decode(reader.sequence(number)) == text + "\n\n" * (not is_last)
                assert reader.modes[number] == MODE_BY_KIND[segment["kind"]]
                modes.add(segment["kind"])
        assert not list(numbers)
    assert modes == set(MODE_BY_KIND)


@pytest.mark.parametrize("sample", ["post", "thread"])
def test_the_map_has_every_document_of_the_dataset_once_and_in_its_order(
    demo_build: Any, threads: Artifact, sample: str
) -> None:
    shards = demo_build.artifacts["shards"] if sample == "post" else threads
    for name, documents in read_rows(demo_build.artifacts["dataset"]).items():
        rows = read_map(shards, name)
        assert [row["doc_id"] for row in rows] == [row["doc_id"] for row in documents]
        reader = IndexedReader(shards.path(name))
        edges = [row["first_sequence"] for row in rows] + [len(reader)]
        assert edges[0] == 0
        assert [row["num_sequences"] for row in rows] == [b - a for a, b in pairwise(edges)]
        for row, document in zip(rows, documents, strict=True):
            first, last = row["first_sequence"], row["first_sequence"] + row["num_sequences"]
            assert row["num_sequences"] == len(document["segments"])
            assert row["num_tokens"] == reader.lengths[first:last].sum()
            for kind, mode in MODE_BY_KIND.items():
                of_kind = reader.modes[first:last] == mode
                assert row[f"num_{kind}_tokens"] == reader.lengths[first:last][of_kind].sum()
            inside = slice(*reader.document_index[row["sample"] : row["sample"] + 2].tolist())
            assert inside.start <= first and last <= inside.stop
    flow = shards.manifest.outcome.flows["documents"]
    assert flow == Flow(60, 60)


def test_a_sample_is_a_post_or_a_whole_thread(demo_build: Any, threads: Artifact) -> None:
    for name, documents in read_rows(demo_build.artifacts["dataset"]).items():
        posts = read_map(demo_build.artifacts["shards"], name)
        assert [row["sample"] for row in posts] == list(range(len(documents)))
        thread_ids = [document["thread_id"] for document in documents]
        in_order = sorted(set(thread_ids))
        expected = [in_order.index(thread_id) for thread_id in thread_ids]
        assert [row["sample"] for row in read_map(threads, name)] == expected
        assert IndexedReader(threads.path(name)).num_documents == len(in_order)


def test_threads_or_posts_the_tokens_are_the_same(demo_build: Any, threads: Artifact) -> None:
    shards = demo_build.artifacts["shards"]
    for name in read_rows(demo_build.artifacts["dataset"]):
        assert shards.path(f"{name}.bin").read_bytes() == threads.path(f"{name}.bin").read_bytes()


def test_megatron_reads_the_same_documents(demo_build: Any, threads: Artifact) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        megatron = pytest.importorskip("megatron.core.datasets.indexed_dataset")
    for shards in (demo_build.artifacts["shards"], threads):
        for name in read_rows(demo_build.artifacts["dataset"]):
            ours = IndexedReader(shards.path(name))
            theirs = megatron.IndexedDataset(str(shards.path(name)), multimodal=True)
            assert len(theirs) == len(ours)
            assert theirs.document_indices.tolist() == ours.document_index.tolist()
            for number in range(len(ours)):
                tokens, mode = theirs[number]
                assert tokens.tolist() == ours.sequence(number).tolist()
                assert mode == ours.modes[number]


def test_the_figures_are_those_of_the_files(demo_build: Any) -> None:
    shards = demo_build.artifacts["shards"]
    totals: dict[str, int] = {}
    for name in read_rows(demo_build.artifacts["dataset"]):
        reader, split = IndexedReader(shards.path(name)), name.split("-")[0]
        for what, num in (
            ("tokens", len(reader.tokens)),
            ("sequences", len(reader)),
            ("samples", reader.num_documents),
        ):
            totals[f"{split}_{what}"] = totals.get(f"{split}_{what}", 0) + num
    assert dict(shards.manifest.outcome.figures) == totals


@pytest.mark.parametrize("sample", ["post", "thread"])
@pytest.mark.parametrize("batch", [1, 3])
def test_batches_of_any_size_give_the_same_bytes(
    demo_build: Any,
    threads: Artifact,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    sample: Any,
    batch: int,
) -> None:
    monkeypatch.setattr(module, "BATCH_DOCUMENTS", batch)
    artifacts = demo_build.artifacts
    at = (Store(tmp_path), LocalEngine(), Reporter(quiet=True))
    section = ShardsSection(sample=sample)
    made = build_shards(artifacts["dataset"], artifacts["tokenizer"], section, *at)
    whole = artifacts["shards"] if sample == "post" else threads
    assert made.manifest.id == whole.manifest.id


@settings(deadline=None)
@given(st.lists(st.integers(1, 8), max_size=30), st.integers(1, 9))
def test_batches_hold_whole_samples_and_few_too_many_documents(
    sizes: list[int], batch: int
) -> None:
    samples = np.repeat(np.arange(len(sizes)), sizes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BATCH_DOCUMENTS", batch)
        edges = list(batch_edges(samples))
    assert [row for start, end in edges for row in range(start, end)] == list(range(len(samples)))
    for start, end in edges:
        assert start < end < start + batch + max(sizes) + 1
        assert start == 0 or samples[start] != samples[start - 1]


@settings(deadline=None)
@given(st.lists(st.integers(0, 5)).map(sorted))
def test_samples_are_numbered_from_zero_without_gaps(thread_ids: list[int]) -> None:
    distinct = sorted(set(thread_ids))
    found = number_samples(np.array(thread_ids, "i8"), "thread").tolist()
    assert found == [distinct.index(one) for one in thread_ids]
    assert number_samples(np.array(thread_ids, "i8"), "post").tolist() == list(
        range(len(thread_ids))
    )


def test_a_shard_without_documents_is_an_empty_one(demo_build: Any, tmp_path: Path) -> None:
    def write(work: Any) -> Outcome:
        name = "data/train-00000-of-00001.parquet"
        return Outcome(
            (
                write_table(
                    work.folder, name, pa.table(DATASET_SCHEMA.empty_table()), DATASET_SCHEMA
                ),
            )
        )

    at = (Store(tmp_path), LocalEngine(), Reporter(quiet=True))
    dataset = at[0].build("dataset", 1, {}, {}, write, *at[1:])
    made = build_shards(dataset, demo_build.artifacts["tokenizer"], ShardsSection(), *at)
    reader = IndexedReader(made.path("train-00000-of-00001"))
    assert (len(reader), reader.num_documents) == (0, 0)
    assert read_map(made, "train-00000-of-00001") == []
