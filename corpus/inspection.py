"""Looking at finished builds: show, sample, diff, verify. Nothing here writes to a store."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from corpus.errors import BadValue, StoreError
from corpus.leakage import check_proof
from corpus.manifest import FileEntry, Json, outcome_to_json
from corpus.progress import Reporter
from corpus.recipe import SPLITS
from corpus.store import Artifact, Store, verify_artifact
from corpus.tables import read_table

Row = dict[str, Any]
# What makes a document another one, beside its text and its split, for `diff_runs`.
COMPARED_COLUMNS = ("score", "tags", "closed_at", "author_name", "licence")
_DESCRIPTION = pa.schema(
    [
        ("doc_id", pa.string()),
        ("split", pa.string()),
        ("text", pa.binary(16)),
        ("score", pa.int32()),
        ("tags", pa.string()),
        ("closed_at", pa.timestamp("ms", "UTC")),
        ("author_name", pa.string()),
        ("licence", pa.string()),
    ]
)

Array = np.ndarray[Any, Any]


def show_run(store: Store, name: str) -> Json:
    """Return what a build is: for each stage its folder, id, rows in and out, and why not."""
    stages = {}
    for stage, artifact in store.read_run(name).items():
        content = outcome_to_json(artifact.manifest.outcome)
        stages[stage] = {
            "folder": str(artifact.folder),
            "id": artifact.manifest.id,
            "num_files": len(content["files"]),
            "num_bytes": sum(entry["num_bytes"] for entry in content["files"]),
            "flows": content["flows"],
            "figures": content["figures"],
        }
    return {"name": name, "stages": stages}


def sample_documents(
    store: Store, name: str, *, num_documents: int = 10, seed: int = 0
) -> list[Row]:
    """Return documents drawn at random from all splits; the same ones for the same seed.

    Raises:
        BadValue: num_documents is below 1, or seed below 0.
    """
    if num_documents < 1:
        raise BadValue(f"--num is {num_documents}; it must be at least 1")
    if seed < 0:
        raise BadValue(f"--seed is {seed}; it must be at least 0")
    dataset = _read_corpus(store, name)["dataset"]
    entries = dataset.files("data/")
    ends = np.cumsum([entry.num_rows for entry in entries], dtype="i8")
    total = sum(entry.num_rows for entry in entries)
    drawn = np.random.default_rng(seed).choice(total, min(num_documents, total), replace=False)
    rows = []
    for place in drawn.tolist():
        shard = int(np.searchsorted(ends, place, "right"))
        start = int(ends[shard]) - entries[shard].num_rows
        rows.append(_read_row(dataset, entries[shard], place - start))
    return rows


def diff_runs(store: Store, old: str, new: str) -> Json:
    """Return how two builds differ: stages by id, recipe keys, and documents by doc_id.

    Returns:
        `documents` counts documents: added, removed, same, changed (of which: changed_<column>,
        moved_<split>_to_<split>; one document may be in several). The last are there if not 0.
    """
    before, after = _read_corpus(store, old), _read_corpus(store, new)
    stages = {
        stage: "same" if before[stage].manifest.id == after[stage].manifest.id else "differs"
        for stage in after
        if stage in before
    }
    # The release knows the whole recipe.
    asked, asked_now = (run["release"].manifest.recipe for run in (before, after))
    recipe = [
        {"key": key, "old": one, "new": other} for key, one, other in _differences(asked, asked_now)
    ]
    documents = _diff_documents(before["dataset"], after["dataset"])
    return {"old": old, "new": new, "stages": stages, "recipe": recipe, "documents": documents}


def verify_run(store: Store, name: str, reporter: Reporter) -> Json:
    """Check every file of a build against its manifest, and the leakage proof.

    Raises:
        IntegrityError: a file is missing, was changed, or does not hold the rows it should.
        LeakageFound: the proof of the build did not hold.
    """
    artifacts = store.read_run(name)
    total = sum(entry.num_bytes for one in artifacts.values() for entry in one.files())
    with reporter.bar("verify", total, "bytes"):
        for artifact in artifacts.values():
            artifact.manifest.check_conserved()
            verify_artifact(artifact)
    if "leakage" in artifacts:
        check_proof(artifacts["leakage"])
    num_files = sum(len(one.files()) for one in artifacts.values())
    return {"name": name, "stages": len(artifacts), "files": num_files, "bytes": total}


def release_report(store: Store, name: str) -> str:
    """Return the statistics report of a build, one self-contained HTML page."""
    artifacts = _read_corpus(store, name)
    return artifacts["release"].path("report.html").read_text("utf-8")


def _read_corpus(store: Store, name: str) -> dict[str, Artifact]:
    artifacts = store.read_run(name)
    if "dataset" not in artifacts:
        raise StoreError(f"{name!r} is a benchmark, not a corpus; its folder has a card to read")
    return artifacts


def _read_row(dataset: Artifact, entry: FileEntry, place: int) -> Row:
    with pq.ParquetFile(dataset.path(entry.name), page_checksum_verification=True) as file:
        for group in range(file.num_row_groups):
            num_rows = file.metadata.row_group(group).num_rows
            if place < num_rows:
                row: Row = file.read_row_group(group).slice(place, 1).to_pylist()[0]
                return {**row, "split": _split_of(entry)}
            place -= num_rows
    raise AssertionError(f"row beyond the end of {entry.name}")


def _split_of(entry: FileEntry) -> str:
    return entry.name.removeprefix("data/").split("-")[0]


def _differences(old: Json, new: Json, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    for key in sorted({*old, *new}):
        one, other = old.get(key), new.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            yield from _differences(one, other, f"{path}{key}.")
        elif one != other:
            yield f"{path}{key}", one, other


def _diff_documents(old: Artifact, new: Artifact) -> dict[str, int]:
    # Shards with the same rows need not be read: after a new dump of a site, that is most of them.
    entries = [
        {(_split_of(entry), entry.rows_sha256): entry for entry in dataset.files("data/")}
        for dataset in (old, new)
    ]
    shared = entries[0].keys() & entries[1].keys()
    before, after = (
        _describe_documents(dataset, [by_rows[key] for key in by_rows if key not in shared])
        for dataset, by_rows in zip((old, new), entries, strict=True)
    )
    places = pc.index_in(after["doc_id"], value_set=before["doc_id"])
    common = after.filter(pc.is_valid(places))
    changes = _find_changes(before.take(places.drop_null()), common)
    num_changed = int(np.any(list(changes.values()), axis=0).sum())
    num_shared = sum(entry.num_rows for key, entry in entries[1].items() if key in shared)
    counts = {
        "added": len(after) - len(common),
        "removed": len(before) - len(common),
        "same": num_shared + len(common) - num_changed,
    }
    found = {"changed": num_changed} | {name: int(mask.sum()) for name, mask in changes.items()}
    return counts | {name: num for name, num in found.items() if num}


def _describe_documents(dataset: Artifact, entries: list[FileEntry]) -> pa.Table:
    """Return doc_id, split, and each compared column; of texts only their digests."""
    tables = [_DESCRIPTION.empty_table()]
    for entry in entries:
        rows = read_table(dataset.path(entry.name), ["doc_id", "text", *COMPARED_COLUMNS])
        texts = (text.encode() for text in rows["text"].to_pylist())
        columns = {
            **{name: rows[name] for name in rows.column_names},
            "split": pa.repeat(_split_of(entry), len(rows)),
            "text": [hashlib.blake2b(text, digest_size=16).digest() for text in texts],
            "tags": pc.binary_join(rows["tags"], "|"),
        }
        tables.append(pa.table(columns).select(_DESCRIPTION.names).cast(_DESCRIPTION))
    return pa.concat_tables(tables)


def _find_changes(before: pa.Table, after: pa.Table) -> dict[str, Array]:
    """Say for each kind of change which rows show it, given the same documents in one order."""
    changes = {
        f"changed_{name}": _differ(before[name], after[name])
        for name in ("text", *COMPARED_COLUMNS)
    }
    splits = [np.asarray(table["split"], object) for table in (before, after)]
    for one, other in itertools.permutations(SPLITS, 2):
        changes[f"moved_{one}_to_{other}"] = (splits[0] == one) & (splits[1] == other)
    return changes


def _differ(some: pa.ChunkedArray, others: pa.ChunkedArray) -> Array:
    both_null = pc.and_(pc.is_null(some), pc.is_null(others))
    return ~np.asarray(pc.coalesce(pc.equal(some, others), both_null), bool)
