"""Stage 6, dedup: near-duplicate clusters, the one kept of each, and a ledger of every removal.

What is compared is the post without its comments. Documents of one normalised text, or that share
a band of their MinHash signatures, are candidates; a candidate pair counts only with exact Jaccard
of the shingle sets at or above the threshold; clusters are components of such pairs. In a cluster
the best document stays (accepted, then score, then age, then doc_id), and another is removed only
if it was itself compared, exactly, with one that stays. Writes

    clusters.parquet    a row a clustered document: cluster (its first doc_id), representative
                        (itself where kept), shared and total shingles with the representative;
                        by cluster, then rank
    bands/<site>/<partition>.parquet    a row a document: the buckets of its signature, kept for
                        the next dump of the site (220 bytes a document)

The removal ledger is the rows of `clusters.parquet` whose representative is another document.

Memory, besides a partition a worker: for each document 9 bytes and one band's sort (40 bytes);
for each document in a candidate pair its shingles (8 bytes each) and columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpus.components import components
from corpus.contamination import save_array
from corpus.documents import DOCUMENT_SCHEMA, body_texts
from corpus.engine import Engine
from corpus.lookup import Array, sort_distinct
from corpus.manifest import FileEntry, Flow, Outcome, digest_json, merge_outcomes
from corpus.minhash import band_hashes, exact_digests, shingle_sets, signatures
from corpus.overlap import Grams, join_grams
from corpus.pairs import candidate_pairs, choose_representatives, overlap_of_pairs
from corpus.progress import Reporter
from corpus.recipe import DedupSection
from corpus.rowdigest import digest_table
from corpus.store import Artifact, Store, Task, Work
from corpus.tables import empty_table, read_table, write_table
from corpus.warmup import compile_dedup

VERSION = 2
SHINGLE_SEED = 0
# What MinHash gives a text without shingles.
NO_SHINGLE = np.uint32(2**32 - 1)
RANK_COLUMNS = ["doc_id", "site", "post_id", "thread_id", "is_accepted", "score", "created_at"]
CLUSTER_SCHEMA = pa.schema(
    [
        ("doc_id", pa.string()),
        ("site", pa.string()),
        ("post_id", pa.int64()),
        ("thread_id", pa.int64()),
        ("cluster", pa.string()),
        ("representative", pa.string()),
        ("shared", pa.int64()),
        ("total", pa.int64()),
    ]
)


class Partitions(NamedTuple):
    """The partitions of the documents, and the number of the first document of each."""

    paths: dict[str, Path]
    starts: Array

    def split(self, numbers: Array) -> Iterator[tuple[str, Path, Array]]:
        """Yield (name, path, rows in it) of the partitions that hold some of these documents."""
        edges = np.searchsorted(numbers, self.starts)
        for place, (name, path) in enumerate(self.paths.items()):
            inside = numbers[edges[place] : edges[place + 1]]
            if len(inside):
                yield name, path, inside - self.starts[place]


def build_dedup(
    documents: Artifact, recipe: DedupSection, store: Store, engine: Engine, reporter: Reporter
) -> Artifact:
    """Find near-duplicate documents and choose which of them stay."""

    def make(work: Work) -> Outcome:
        compile_dedup(reporter)
        partitions = _list_partitions(documents)
        pairs, bands = _find_candidates(work, partitions, recipe)
        members = sort_distinct(pairs)
        sets = _read_shingles(work, partitions, members, recipe)
        rows = _read_ranked(partitions, members)
        verified = _verify(sets, np.searchsorted(members, pairs), recipe)
        clusters, num_oversized = _choose(rows, sets, verified, recipe)
        ledger = write_table(work.folder, "clusters.parquet", clusters, CLUSTER_SCHEMA)
        figures = {
            "candidate_pairs": len(pairs),
            "duplicate_pairs": len(verified),
            "clusters": pc.count_distinct(clusters["cluster"]).as_py(),
            "oversized_clusters": num_oversized,
        }
        flow = _count_removed(int(partitions.starts[-1]), clusters)
        return Outcome((ledger, *bands), {"documents": flow}, figures)

    return store.build("dedup", VERSION, recipe, {"documents": documents}, make, engine, reporter)


def _list_partitions(documents: Artifact) -> Partitions:
    entries = documents.files("documents/")
    paths = {e.name.removeprefix("documents/"): documents.path(e.name) for e in entries}
    return Partitions(paths, np.cumsum([0, *(entry.num_rows for entry in entries)]))


def _find_candidates(
    work: Work, partitions: Partitions, recipe: DedupSection
) -> tuple[Array, list[FileEntry]]:
    """Return candidate pairs of document numbers, int64 (m, 2), and the files of the bands.

    One band is in memory at a time.
    """
    tasks = [Task(f"bands-{name}", (name, p, recipe)) for name, p in partitions.paths.items()]
    written = work.map(_write_bands, tasks, key=_bands_key)

    def read(column: str) -> Array:
        paths = [work.folder / "bands" / name for name in partitions.paths]
        parts = [read_table(path, [column])[column].to_numpy() for path in paths]
        return np.concatenate(parts) if parts else np.empty(0, "u8")

    bands = map(read, ["exact", *_band_names(recipe)])
    is_eligible = read("has_shingles").astype(bool)
    pairs = candidate_pairs(bands, max_bucket=recipe.max_bucket, eligible=is_eligible)
    return pairs, list(merge_outcomes(written).files)


def _bands_key(payload: tuple[str, Path, DedupSection]) -> str:
    name, path, recipe = payload
    keys = {"shingle_tokens", "num_permutations", "bands", "seed"}
    return digest_json(
        {
            "name": name,
            "texts": digest_table(read_table(path, ["text", "body_end"])),
            "recipe": recipe.model_dump(mode="json", include=keys),
        }
    )


def _write_bands(folder: Path, payload: tuple[str, Path, DedupSection]) -> Outcome:
    """Write the buckets of each document: one of its normalised text, and one a band."""
    name, path, recipe = payload
    bodies = body_texts(read_table(path, ["text", "body_end"]))
    width, num_perm = recipe.shingle_tokens, recipe.num_permutations
    signed = signatures(bodies, width=width, num_perm=num_perm, seed=recipe.seed)
    keys = np.ascontiguousarray(band_hashes(signed, recipe.bands).T)
    columns = {
        "has_shingles": (signed != NO_SHINGLE).any(axis=1),
        # However large a bucket of copies is, each is compared with the first.
        "exact": np.ascontiguousarray(exact_digests(bodies)[:, 0]),
        **dict(zip(_band_names(recipe), keys, strict=True)),
    }
    table = pa.table(columns)
    return Outcome((write_table(folder, f"bands/{name}", table, table.schema, level=1),))


def _band_names(recipe: DedupSection) -> list[str]:
    return [f"band_{band:03d}" for band in range(recipe.bands)]


def _read_shingles(
    work: Work, partitions: Partitions, members: Array, recipe: DedupSection
) -> Grams:
    """Return the shingle sets of some documents, given by number, ascending."""
    tasks = [
        Task(f"shingles-{name}", (name, path, rows, recipe.shingle_tokens))
        for name, path, rows in partitions.split(members)
    ]
    parts = [
        Grams(*(np.load(work.folder / file.name, mmap_mode="r") for file in part.files))
        for part in work.map(_write_shingles, tasks)
    ]
    return join_grams(parts)


def _write_shingles(folder: Path, payload: tuple[str, Path, Array, int]) -> Outcome:
    name, path, rows, width = payload
    bodies = body_texts(read_table(path, ["text", "body_end"]).take(pa.array(rows)))
    hashes, offsets = shingle_sets(bodies, width=width, seed=SHINGLE_SEED)
    return Outcome(
        (
            save_array(folder, f"shingles/{name}-hashes.npy", hashes),
            save_array(folder, f"shingles/{name}-offsets.npy", offsets),
        )
    )


def _read_ranked(partitions: Partitions, members: Array) -> pa.Table:
    """Return the members' columns and rank: accepted first, then score, then age, then doc_id."""
    schema = pa.schema([DOCUMENT_SCHEMA.field(column) for column in RANK_COLUMNS])
    parts = [
        read_table(path, RANK_COLUMNS).take(pa.array(rows)).cast(schema)
        for _, path, rows in partitions.split(members)
    ]
    rows = pa.concat_tables([empty_table(schema), *parts])
    accepted = pc.fill_null(rows["is_accepted"], False).cast(pa.int8())
    order = pc.sort_indices(
        rows.append_column("accepted", accepted),
        [
            ("accepted", "descending"),
            ("score", "descending"),
            ("created_at", "ascending"),
            ("doc_id", "ascending"),
        ],
    ).to_numpy()
    rank = np.empty(len(rows), "i8")
    rank[order] = np.arange(len(rows))
    return rows.append_column("rank", pa.array(rank))


def _verify(sets: Grams, pairs: Array, recipe: DedupSection) -> Array:
    shared, total = overlap_of_pairs(sets.hashes, sets.offsets, pairs)
    return pairs[shared / total >= recipe.threshold]


def _choose(
    rows: pa.Table, sets: Grams, pairs: Array, recipe: DedupSection
) -> tuple[pa.Table, int]:
    """Return the rows of `clusters.parquet`, and the number of oversized clusters."""
    rank = rows["rank"].to_numpy()
    cluster_of = components(len(rows), pairs)
    choice = choose_representatives(
        cluster_of, rank, *sets, threshold=recipe.threshold, max_cluster=recipe.max_cluster
    )
    kept_for = np.stack([np.arange(len(rows)), choice.representative], axis=1)
    shared, total = overlap_of_pairs(sets.hashes, sets.offsets, kept_for)
    doc_ids = rows["doc_id"].combine_chunks()
    table = pa.table(
        [
            *(rows[column] for column in ("doc_id", "site", "post_id", "thread_id")),
            doc_ids.take(pa.array(cluster_of)),
            doc_ids.take(pa.array(choice.representative)),
            shared,
            total,
        ],
        schema=CLUSTER_SCHEMA,
    )
    clustered = np.flatnonzero(np.bincount(cluster_of, minlength=len(rows))[cluster_of] > 1)
    order = clustered[np.lexsort((rank[clustered], cluster_of[clustered]))]
    return table.take(pa.array(order)), len(choice.oversized)


def _count_removed(num_documents: int, clusters: pa.Table) -> Flow:
    removed = clusters.filter(pc.not_equal(clusters["doc_id"], clusters["representative"]))
    num_exact = pc.sum(pc.equal(removed["shared"], removed["total"])).as_py() or 0
    rejected = {"exact": num_exact, "near": len(removed) - num_exact}
    return Flow(num_documents, num_documents - len(removed), rejected)
