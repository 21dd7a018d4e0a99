"""Stage 8, dataset: the published Parquet, one set of shards a split.

    data/<split>-00000-of-000NN.parquet     columns: `DATASET_SCHEMA`

A shard is a site and a range of thread ids that follows from the recipe, so a new dump of the
site leaves the bytes of untouched ranges alone: a partition for train, a power of two of them for
the smaller splits. Shards are numbered by (site, range); rows go by thread_id, post_id.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from corpus.documents import DOCUMENT_SCHEMA, TEXT_COLUMNS
from corpus.engine import Engine
from corpus.manifest import Flow, Outcome, digest_file, digest_json, merge_outcomes
from corpus.progress import Reporter
from corpus.recipe import SPLITS, Split, SplitsSection
from corpus.rowdigest import digest_table
from corpus.store import Artifact, Store, Task, Work
from corpus.tables import read_table, write_table

VERSION = 1
DATASET_SCHEMA = pa.schema(
    [*DOCUMENT_SCHEMA, pa.field("group", pa.string()), pa.field("cluster", pa.string())]
)
# A split of 1 % in shards as large as those of train spans up to 64 partitions.
MAX_SHIFT = 6
# By date, a late partition is all test, and 8 of Stack Overflow's are 250 MB.
SHIFT_BY_DATE = 3


class DatasetShard(NamedTuple):
    """One published file: its name, its split, and the partitions it is made of."""

    name: str
    split: Split
    partitions: list[str]


def build_dataset(
    documents: Artifact,
    dedup: Artifact,
    splits: Artifact,
    recipe: SplitsSection,
    store: Store,
    engine: Engine,
    reporter: Reporter,
) -> Artifact:
    """Write the documents of each split as the Hub names them."""

    def make(work: Work) -> Outcome:
        shards = _plan_shards(splits, recipe)
        payloads = [(documents.folder, dedup.folder, splits.folder, shard) for shard in shards]
        tasks = [Task(payload[-1].name, payload) for payload in payloads]
        written = merge_outcomes(work.map(_write_shard, tasks, key=_key))
        num_documents = splits.manifest.outcome.flows["documents"].num_out
        flow = Flow(num_documents, sum(entry.num_rows for entry in written.files))
        return Outcome(written.files, {"documents": flow}, written.figures)

    inputs = {"documents": documents, "dedup": dedup, "splits": splits}
    section = {"widths": {split: shard_width(split, recipe) for split in SPLITS}}
    return store.build("dataset", VERSION, section, inputs, make, engine, reporter)


def shard_width(split: Split, recipe: SplitsSection) -> int:
    """Return how many partitions wide (a power of two) the shards of a split are.

    >>> shard_width("test", SplitsSection()), shard_width("train", SplitsSection())
    (64, 1)
    """
    if recipe.cuts is not None:
        return 1 if split == "train" else 1 << SHIFT_BY_DATE
    return 1 << int(-math.log2(max(recipe.fractions[split], 2**-MAX_SHIFT)))


def _plan_shards(splits: Artifact, recipe: SplitsSection) -> list[DatasetShard]:
    names = [entry.name.removeprefix("splits/") for entry in splits.files("splits/")]
    present = {name: _splits_in(splits.path(f"splits/{name}")) for name in names}
    shards = []
    for split in SPLITS:
        partitions: dict[tuple[str, int], list[str]] = {}
        for name in names:
            if split in present[name]:
                site, number = name.removesuffix(".parquet").split("/")
                key = (site, int(number) // shard_width(split, recipe))
                partitions.setdefault(key, []).append(name)
        for place, (_, some) in enumerate(sorted(partitions.items())):
            title = f"{split}-{place:05d}-of-{len(partitions):05d}"
            shards.append(DatasetShard(title, split, some))
    return shards


def _splits_in(path: Path) -> set[str | None]:
    return set(pc.unique(read_table(path, ["split"])["split"]).to_pylist())


def _key(payload: tuple[Path, Path, Path, DatasetShard]) -> str:
    documents, dedup, splits, shard = payload
    partitions = []
    for name in shard.partitions:
        path = documents / "documents" / name
        ids = read_table(path, ["site", "post_id"])
        partitions.append(
            [
                digest_file(path),
                digest_file(splits / "splits" / name),
                digest_table(pa.table({"cluster": _clusters_of(ids, dedup)})),
            ]
        )
    return digest_json({"split": shard.split, "partitions": partitions})


def _write_shard(folder: Path, payload: tuple[Path, Path, Path, DatasetShard]) -> Outcome:
    documents, dedup, splits, shard = payload
    parts = []
    for partition in shard.partitions:
        dealt = read_table(splits / "splits" / partition, ["group", "split"])
        rows = read_table(documents / "documents" / partition)
        rows = rows.append_column("group", dealt["group"])
        parts.append(rows.filter(pc.equal(dealt["split"], shard.split)))
    rows = pa.concat_tables(parts)
    rows = rows.append_column("cluster", _clusters_of(rows, dedup))
    name = f"data/{shard.name}.parquet"
    entry = write_table(folder, name, rows, DATASET_SCHEMA, text_columns=TEXT_COLUMNS)
    text_bytes = pc.sum(pc.binary_length(rows["text"])).as_py()
    return Outcome((entry,), {}, {f"text_bytes_{shard.split}": text_bytes})


def _clusters_of(rows: pa.Table, dedup: Path) -> pa.ChunkedArray:
    """Return the cluster of each document of one site, null where it is in none.

    Only row groups with posts of this range are read: the table of a large dump has millions.
    """
    ids = pc.min_max(rows["post_id"]).as_py()
    clusters = pq.read_table(
        dedup / "clusters.parquet",
        columns=["post_id", "cluster"],
        filters=[
            ("site", "=", rows["site"][0].as_py()),
            ("post_id", ">=", ids["min"]),
            ("post_id", "<=", ids["max"]),
        ],
        page_checksum_verification=True,
    )
    places = pc.index_in(rows["post_id"], clusters["post_id"].combine_chunks())
    return clusters["cluster"].take(places)
