"""What evaluation documents share with the splits before theirs: near-duplicates and n-grams.

Both the splits stage, which rejects what it finds, and the proof, which wants to find nothing,
ask here: each about its own files and with its own hashes. A near-duplicate is at or above the
threshold of the dedup section, comments left out, in any split before (train, validation, test).
N-grams are of whole texts, and counted where train has them. Nothing is sampled or estimated.

The evaluation documents are described once, as arrays in files that all tasks memory-map; then
the documents of every source are streamed past them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpus.documents import body_texts
from corpus.lookup import Array
from corpus.manifest import FileEntry, Outcome
from corpus.minhash import shingle_hashes, shingle_sets
from corpus.overlap import Grams, find_seen, join_grams, seen_fractions
from corpus.recipe import SPLITS, Recipe, Split
from corpus.similarity import Index, index_sets, join_sets
from corpus.store import Task, Work
from corpus.tables import describe_file, read_table

TRAIN, VALIDATION, TEST = range(len(SPLITS))


class Source(NamedTuple):
    """A Parquet file of documents, the split of all its rows or the file that names each."""

    name: str
    documents: Path
    split: Split | Path


class Settings(NamedTuple):
    """What counts as shared, and the seed of the hashes it is found by."""

    shingle_tokens: int
    threshold: float
    ngram_tokens: int
    seed: int


class Evaluation(NamedTuple):
    """Evaluation documents, by source and row; `starts` has the number of each source's first."""

    folder: Path
    starts: Array
    settings: Settings


def make_settings(recipe: Recipe, seed: int) -> Settings:
    """Return what a recipe says about sharing."""
    dedup, leakage = recipe.dedup, recipe.leakage
    return Settings(dedup.shingle_tokens, dedup.threshold, leakage.ngram_tokens, seed)


def describe_evaluation(work: Work, sources: Sequence[Source], settings: Settings) -> Evaluation:
    """Describe the evaluation documents of these sources in files, for the functions below."""
    tasks = [Task(f"describe-{source.name}", (source, settings)) for source in sources]
    parts = work.map(_describe_source, tasks)
    paths = [work.folder / part.files[0].name for part in parts]
    folder = work.folder / "evaluation"
    folder.mkdir(exist_ok=True)
    _save_grams(folder, paths)
    _save_index(folder, paths, settings.threshold)
    rows = [_load(path, "rows")[0] for path in paths]
    splits = [_load(path, "splits")[0] for path in paths]
    np.save(folder / "rows.npy", np.concatenate([np.empty(0, "i8"), *rows]))
    np.save(folder / "splits.npy", np.concatenate([np.empty(0, "i1"), *splits]))
    return Evaluation(folder, np.cumsum([0, *map(len, rows)]), settings)


def _save_grams(folder: Path, paths: Sequence[Path]) -> None:
    """Save all n-grams, and those of each document by their places among all."""
    grams = join_grams([Grams(*_load(path, "grams", "gram_offsets")) for path in paths])
    wanted, places = np.unique(grams.hashes, return_inverse=True)
    np.save(folder / "wanted.npy", wanted)
    np.save(folder / "gram_places.npy", places)
    np.save(folder / "gram_offsets.npy", grams.offsets)


def _save_index(folder: Path, paths: Sequence[Path], threshold: float) -> None:
    sets = join_grams([Grams(*_load(path, "shingles", "shingle_offsets")) for path in paths])
    for name, array in index_sets(sets, threshold)._asdict().items():
        np.save(folder / f"{name}.npy", array)


def locate(evaluation: Evaluation, numbers: Array) -> tuple[Array, Array]:
    """Return the source of each evaluation document, and its row in that source; int64."""
    (rows,) = _map(evaluation.folder, "rows")
    return np.searchsorted(evaluation.starts, numbers, "right") - 1, rows[numbers]


def find_near(work: Work, evaluation: Evaluation, sources: Sequence[Source]) -> Array:
    """Return every pair of an evaluation document and a near-duplicate in a split before its own.

    Returns:
        int64, shape (m, 5): number of the evaluation document; source, and row in it, of the
        other one; shared and total shingles. Ascending.
    """
    tasks = [Task(f"near-{source.name}", (source, evaluation)) for source in sources]
    found = [np.empty((0, 5), "i8")]
    for number, part in enumerate(work.map(_find_near, tasks)):
        pairs = np.load(work.folder / part.files[0].name)
        found.append(np.insert(pairs, 1, number, axis=1))
    pairs = np.concatenate(found)
    return pairs[np.lexsort(pairs.T[::-1])]


def find_fractions(work: Work, evaluation: Evaluation, sources: Sequence[Source]) -> Array:
    """Return for each evaluation document the share of its n-grams that train has, float64."""
    tasks = [Task(f"seen-{source.name}", (source, evaluation)) for source in sources]
    wanted, places, offsets = _map(evaluation.folder, "wanted", "gram_places", "gram_offsets")
    is_seen = np.zeros(len(wanted), bool)
    for part in work.map(_find_seen, tasks):
        is_seen[np.load(work.folder / part.files[0].name)] = True
    return seen_fractions(places, offsets, is_seen)


def save_array(folder: Path, name: str, array: Array) -> FileEntry:
    """Write an array as `.npy` for the tasks that follow, and return its entry."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)
    return describe_file(path, name, num_rows=len(array))


def _describe_source(folder: Path, payload: tuple[Source, Settings]) -> Outcome:
    source, settings = payload
    table, rows, splits = _read_texts(source, (VALIDATION, TEST))
    grams, gram_offsets = _ngram_sets(table, settings)
    shingles, shingle_offsets = _shingle_sets(table, settings)
    arrays = {
        "rows": rows,
        "splits": splits,
        "grams": grams,
        "gram_offsets": gram_offsets,
        "shingles": shingles,
        "shingle_offsets": shingle_offsets,
    }
    return Outcome((_save(folder, f"describe/{source.name}.npz", arrays),))


def _find_near(folder: Path, payload: tuple[Source, Evaluation]) -> Outcome:
    source, evaluation = payload
    table, rows, splits = _read_texts(source, (TRAIN, VALIDATION))
    index = Index(*_map(evaluation.folder, *Index._fields))
    sets = _shingle_sets(table, evaluation.settings)
    pairs, shared, total = join_sets(index, sets, evaluation.settings.threshold)
    columns = np.stack([pairs[:, 1], rows[pairs[:, 0]], shared, total], axis=1)
    (evaluation_splits,) = _map(evaluation.folder, "splits")
    is_before = splits[pairs[:, 0]] < evaluation_splits[pairs[:, 1]]
    return Outcome((save_array(folder, f"near/{source.name}.npy", columns[is_before]),))


def _find_seen(folder: Path, payload: tuple[Source, Evaluation]) -> Outcome:
    source, evaluation = payload
    table, _, _ = _read_texts(source, (TRAIN,))
    (wanted,) = _map(evaluation.folder, "wanted")
    settings = evaluation.settings
    texts = table["text"].combine_chunks()
    hashes = shingle_hashes(texts, width=settings.ngram_tokens, seed=settings.seed)
    seen = find_seen(hashes, wanted)
    return Outcome((save_array(folder, f"seen/{source.name}.npy", seen),))


def _read_texts(source: Source, wanted: Sequence[int]) -> tuple[pa.Table, Array, Array]:
    """Return the documents of some splits, the row of each, and the split of each."""
    table = read_table(source.documents, ["text", "body_end"])
    splits = _read_splits(source, len(table))
    rows = np.flatnonzero(np.isin(splits, wanted))
    return table.take(pa.array(rows)), rows, splits[rows]


def _read_splits(source: Source, num_rows: int) -> Array:
    """Return the split of each row as its place in SPLITS, int8; -1 for none."""
    if not isinstance(source.split, Path):
        return np.full(num_rows, SPLITS.index(source.split), "i1")
    names = read_table(source.split, ["split"])["split"].combine_chunks()
    places = pc.fill_null(pc.index_in(names, pa.array(SPLITS)), -1)
    return np.asarray(places, "i1")


def _ngram_sets(table: pa.Table, settings: Settings) -> Grams:
    texts = table["text"].combine_chunks()
    return Grams(*shingle_sets(texts, width=settings.ngram_tokens, seed=settings.seed))


def _shingle_sets(table: pa.Table, settings: Settings) -> Grams:
    bodies = body_texts(table)
    return Grams(*shingle_sets(bodies, width=settings.shingle_tokens, seed=settings.seed))


def _save(folder: Path, name: str, arrays: Mapping[str, Array]) -> FileEntry:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)  # type: ignore[arg-type]  # its second parameter is a bool
    return describe_file(path, name)


def _load(path: Path, *names: str) -> list[Array]:
    with np.load(path) as archive:
        return [archive[name] for name in names]


def _map(folder: Path, *names: str) -> list[Array]:
    return [np.load(folder / f"{name}.npy", mmap_mode="r") for name in names]
