"""Stage 10, shards: the dataset as memory-mapped Megatron files, and which document each id is of.

Writes, for each Parquet shard of the dataset,

    <split>-00000-of-000NN.bin, .idx     Megatron's indexed dataset with modes (`indexed`)
    <split>-00000-of-000NN.map.parquet   a row a document of the dataset, in its order: doc_id,
                                         sample (Megatron's document), first_sequence,
                                         num_sequences, num_tokens, and num_tokens by kind

A sequence is a segment with the blank line that follows it, so the sequences of a document,
joined, decode to its text. Modes: 0 prose, 1 code, 2 title, 3 comment. A sample is a post, or by
recipe a whole thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from corpus.engine import Engine
from corpus.indexed import IndexedWriter, bin_path, idx_path
from corpus.manifest import Flow, Outcome, digest_file, digest_json, merge_outcomes
from corpus.progress import Reporter
from corpus.recipe import ShardsSection
from corpus.store import Artifact, Store, Task, Work
from corpus.tables import describe_file, empty_table, read_table, write_table
from corpus.tokenizer import MODEL
from corpus.vocabulary import Tokenizer, load_tokenizer

VERSION = 1
MODE_BY_KIND = {"prose": 0, "code": 1, "title": 2, "comment": 3}
BATCH_DOCUMENTS = 1_000
MAP_SCHEMA = pa.schema(
    [
        ("doc_id", pa.string()),
        ("sample", pa.int64()),
        ("first_sequence", pa.int64()),
        ("num_sequences", pa.int32()),
        ("num_tokens", pa.int64()),
        *((f"num_{kind}_tokens", pa.int64()) for kind in MODE_BY_KIND),
    ]
)

Array = np.ndarray[Any, Any]


def build_shards(
    dataset: Artifact,
    tokenizer: Artifact,
    recipe: ShardsSection,
    store: Store,
    engine: Engine,
    reporter: Reporter,
) -> Artifact:
    """Tokenise every shard of the dataset."""

    def make(work: Work) -> Outcome:
        names = [entry.name for entry in dataset.files("data/")]
        payloads = [(dataset.path(name), tokenizer.path(MODEL), recipe) for name in names]
        tasks = [Task(payload[0].stem, payload) for payload in payloads]
        return merge_outcomes(work.map(_write_shard, tasks, key=_key))

    inputs = {"dataset": dataset, "tokenizer": tokenizer}
    return store.build("shards", VERSION, recipe, inputs, make, engine, reporter)


def cut_segments(text: str, segments: Sequence[dict[str, Any]]) -> tuple[list[str], list[int]]:
    """Cut a document into the texts of its sequences, and their modes.

    >>> cut_segments("Hi\\n\\nx = 1", [{"kind": "prose", "start": 0}, {"kind": "code", "start": 4}])
    (['Hi\\n\\n', 'x = 1'], [0, 1])
    """
    starts = [segment["start"] for segment in segments]
    texts = [text[start:end] for start, end in zip(starts, [*starts[1:], None], strict=True)]
    return texts, [MODE_BY_KIND[segment["kind"]] for segment in segments]


def number_samples(thread_ids: Array, sample: Literal["post", "thread"]) -> Array:
    """Return the sample of each document, int64 from 0: its own, or its thread's.

    >>> number_samples(np.array([4, 4, 9]), "thread").tolist()
    [0, 0, 1]
    """
    if sample == "post" or not len(thread_ids):
        return np.arange(len(thread_ids))
    return np.concatenate([[0], np.cumsum(np.diff(thread_ids) != 0)])


def batch_edges(samples: Array) -> Iterator[tuple[int, int]]:
    """Cut documents into batches of about `BATCH_DOCUMENTS` that hold whole samples.

    >>> list(batch_edges(np.array([0, 0, 1])))
    [(0, 3)]
    """
    starts = np.flatnonzero(np.diff(samples, prepend=-1))
    wanted = np.arange(0, len(samples), BATCH_DOCUMENTS)
    edges = np.unique(starts[np.searchsorted(starts, wanted, "right") - 1])
    return pairwise([*edges.tolist(), len(samples)])


@lru_cache(maxsize=1)
def _open_tokenizer(model: Path) -> Tokenizer:
    # Opening takes 0.8 s at 50,000 pieces, more than many a shard; what it has cached stays warm.
    return load_tokenizer(model)


def _key(payload: tuple[Path, Path, ShardsSection]) -> str:
    path, model, recipe = payload
    split = path.stem.split("-")[0]
    return digest_json(
        {
            "files": [digest_file(path), digest_file(model)],
            "split": split,  # figures are named by it
            "recipe": recipe.model_dump(mode="json"),
        }
    )


def _write_shard(folder: Path, payload: tuple[Path, Path, ShardsSection]) -> Outcome:
    path, model, recipe = payload
    tokenizer = _open_tokenizer(model)
    rows = read_table(path, ["doc_id", "thread_id", "text", "segments"])
    prefix = folder / path.stem
    samples = number_samples(rows["thread_id"].to_numpy(), recipe.sample)
    maps = [empty_table(MAP_SCHEMA)]
    writer = IndexedWriter(prefix, vocabulary_size=tokenizer.vocabulary_size, with_modes=True)
    with writer:
        for start, end in batch_edges(samples):
            maps.append(_add_batch(writer, tokenizer, rows[start:end], samples[start:end]))
    entries = [
        describe_file(file(prefix), file(prefix).name, num_rows=writer.num_sequences)
        for file in (bin_path, idx_path)
    ]
    mapped = pa.concat_tables(maps)
    entries.append(write_table(folder, f"{path.stem}.map.parquet", mapped, MAP_SCHEMA))
    split = path.stem.split("-")[0]
    figures = {
        f"{split}_tokens": writer.num_tokens,
        f"{split}_sequences": writer.num_sequences,
        f"{split}_samples": writer.num_documents,
    }
    return Outcome(tuple(entries), {"documents": Flow(len(rows), len(mapped), {})}, figures)


def _add_batch(
    writer: IndexedWriter, tokenizer: Tokenizer, rows: pa.Table, samples: Array
) -> pa.Table:
    texts: list[str] = []
    modes: list[int] = []
    counts: list[int] = []
    for text, segments in zip(rows["text"].to_pylist(), rows["segments"].to_pylist(), strict=True):
        parts, kinds = cut_segments(text, segments)
        texts += parts
        modes += kinds
        counts.append(len(parts))
    tokens, lengths = tokenizer.encode_batch(texts)
    first_sequence, first_sample = writer.num_sequences, writer.num_documents
    in_batch = samples - samples[0]
    writer.add_documents(
        tokens,
        sequence_lengths=lengths,
        sequences_per_document=np.bincount(in_batch, counts).astype("i8"),
        modes=modes,
    )
    by_kind = np.zeros((len(rows), len(MODE_BY_KIND)), "i8")
    np.add.at(by_kind, (np.repeat(np.arange(len(rows)), counts), np.array(modes)), lengths)
    columns = [
        rows["doc_id"],
        first_sample + in_batch,
        first_sequence + np.cumsum(counts) - counts,
        np.asarray(counts, "i4"),
        by_kind.sum(1),
        *by_kind.T,
    ]
    return pa.table(columns, schema=MAP_SCHEMA)
