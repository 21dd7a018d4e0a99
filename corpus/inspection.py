"""Looking at finished builds: show, sample, diff, verify. Nothing here writes to a store."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from corpus.difference import (
    count_changes,
    diff_documents,
    diff_recipes,
    list_moved_to_train,
    split_of,
)
from corpus.errors import BadValue, LeakageFound, StoreError
from corpus.leakage import check_proof
from corpus.manifest import FileEntry, Json, outcome_to_json
from corpus.progress import Reporter
from corpus.store import Artifact, Store, verify_artifact

Row = dict[str, Any]


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
    dataset = read_corpus(store, name)["dataset"]
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


def diff_runs(store: Store, old: str, new: str) -> tuple[Json, pa.Table]:
    """Return how two builds differ: stages by id, recipe keys, and documents.

    Returns:
        `stages`, `recipe`, and the counts of `difference.count_changes`; and every difference of a
        document, a row each (`difference.DIFFERENCE_SCHEMA`).
    """
    before, after = read_corpus(store, old), read_corpus(store, new)
    stages = {
        stage: "same" if before[stage].manifest.id == after[stage].manifest.id else "differs"
        for stage in after
        if stage in before
    }
    table, num_same = diff_documents(before, after)
    counts = count_changes(table, num_same)
    return {"stages": stages, "recipe": diff_recipes(before, after), **counts}, table


def check_moves(old: str, new: str, table: pa.Table) -> None:
    """Raise LeakageFound where a document of the test split of OLD is in train of NEW."""
    if moved := list_moved_to_train(table):
        shown = ", ".join(moved[:3])
        raise LeakageFound(
            f"{len(moved):,} documents of test in {old!r} are in train of {new!r} ({shown}...); "
            f"build {new!r} with --after {old}: whatever was tested on stays out of train"
        )


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
    artifacts = read_corpus(store, name)
    return artifacts["release"].path("report.html").read_text("utf-8")


def read_corpus(store: Store, name: str) -> dict[str, Artifact]:
    """Return the artifacts of a build of a corpus.

    Raises:
        StoreError: no build of this name, or it is a benchmark.
    """
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
                return {**row, "split": split_of(entry)}
            place -= num_rows
    raise AssertionError(f"row beyond the end of {entry.name}")
