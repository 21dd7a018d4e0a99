"""What evaluation documents share is what plain Python sets share, comments and all."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from corpus.contamination import (
    Settings,
    Source,
    describe_evaluation,
    find_fractions,
    find_near,
    locate,
)
from corpus.engine import LocalEngine
from corpus.minhash import normalise
from corpus.progress import Reporter
from corpus.recipe import SPLITS
from corpus.reuse import Reuse
from corpus.store import Artifact, Work
from corpus.tables import read_table, write_table

Row = dict[str, Any]
SETTINGS = Settings(shingle_tokens=2, threshold=0.6, ngram_tokens=4, seed=3)
SCHEMA = pa.schema({"split": pa.string()})
NO_REUSE = Reuse(Path("none"), "splits", 1, "none")


def grams(text: str, width: int) -> set[tuple[str, ...]]:
    tokens = normalise(text).split()
    width = min(width, len(tokens))
    return (
        {tuple(tokens[i : i + width]) for i in range(len(tokens) - width + 1)} if width else set()
    )


def some_rows() -> list[Row]:
    """Documents of few words, so that they share much; some with comments, one without a word."""
    rng = random.Random(1)

    def some_text() -> str:
        start = rng.randrange(20)
        return " ".join(f"word{start + number}" for number in range(rng.randrange(1, 12)))

    rows: list[Row] = [{"post_id": 1, "text": "\u200b"}]
    for number in range(2, 91):
        comments = [(datetime(2016, 1, 1, tzinfo=UTC), some_text()) for _ in range(number % 3)]
        rows.append({"post_id": number, "text": some_text(), "comments": comments})
    return rows


@pytest.fixture
def sources(make_documents: Callable[..., dict[str, Artifact]], tmp_path: Path) -> list[Source]:
    """Documents in three partitions, each row in a split or in none."""
    documents = make_documents(some_rows(), partition_threads=32)["documents"]
    rng = random.Random(2)
    found = []
    for entry in documents.files("documents/"):
        names = [rng.choice([*SPLITS, None]) for _ in range(entry.num_rows)]
        table = pa.table({"split": names}, schema=SCHEMA)
        write_table(tmp_path, f"dealt/{entry.name}", table, SCHEMA)
        found.append(
            Source(entry.name, documents.path(entry.name), tmp_path / "dealt" / entry.name)
        )
    return found


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path / "work", "splits", LocalEngine(), Reporter(quiet=True), NO_REUSE)


def read_rows(sources: list[Source]) -> list[tuple[int, int, str | None, Row]]:
    """Source, row, split and document of all."""
    found = []
    for number, source in enumerate(sources):
        assert isinstance(source.split, Path)
        splits = read_table(source.split)["split"].to_pylist()
        rows = read_table(source.documents).to_pylist()
        found += [
            (number, n, split, row) for n, (split, row) in enumerate(zip(splits, rows, strict=True))
        ]
    return found


def test_near_duplicates_are_those_of_sets_of_bodies(sources: list[Source], work: Work) -> None:
    rows = read_rows(sources)
    expected = []
    for evaluated, place, split, row in rows:
        for number, other_place, other_split, other in rows:
            if {split, other_split} <= {*SPLITS} and SPLITS.index(other_split) < SPLITS.index(
                split
            ):
                one = grams(row["text"][: row["body_end"]], 2)
                two = grams(other["text"][: other["body_end"]], 2)
                if len(one & two) >= 0.6 * len(one | two) > 0:
                    counts = (len(one & two), len(one | two))
                    expected.append((evaluated, place, number, other_place, *counts))
    evaluation = describe_evaluation(work, sources, SETTINGS)
    pairs = find_near(work, evaluation, sources)
    evaluated_sources, places = locate(evaluation, pairs[:, 0])
    found = zip(evaluated_sources, places, *pairs[:, 1:].T, strict=True)
    assert [tuple(map(int, one)) for one in found] == sorted(expected)
    assert len(expected) > 50


def test_fractions_are_those_of_sets_of_whole_texts(sources: list[Source], work: Work) -> None:
    rows = read_rows(sources)
    train = set()
    for _, _, split, row in rows:
        if split == "train":
            train |= grams(row["text"], 4)
    expected = [
        len(grams(row["text"], 4) & train) / max(1, len(grams(row["text"], 4)))
        for _, _, split, row in rows
        if split in ("validation", "test")
    ]
    evaluation = describe_evaluation(work, sources, SETTINGS)
    assert find_fractions(work, evaluation, sources).tolist() == expected
    assert len(set(expected)) > 5


def test_a_source_of_one_split_is_like_one_whose_file_says_so(
    sources: list[Source], work: Work, tmp_path: Path
) -> None:
    first, second, _ = sources
    for source, split in ((first, "test"), (second, "train")):
        num_rows = len(read_table(source.documents))
        table = pa.table({"split": [split] * num_rows}, schema=SCHEMA)
        assert isinstance(source.split, Path)
        write_table(source.split.parent, source.split.name, table, SCHEMA)
    by_file = describe_evaluation(work, [first], SETTINGS)
    expected = find_near(work, by_file, [second]).tolist()
    other_work = Work(tmp_path / "other", "splits", LocalEngine(), Reporter(quiet=True), NO_REUSE)
    by_name = describe_evaluation(other_work, [first._replace(split="test")], SETTINGS)
    found = find_near(other_work, by_name, [second._replace(split="train")]).tolist()
    assert found == expected
    assert len(found) > 5


def test_without_evaluation_documents_nothing_is_shared(work: Work, sources: list[Source]) -> None:
    train = [source._replace(split="train") for source in sources]
    for compared in (train, []):
        evaluation = describe_evaluation(work, compared, SETTINGS)
        assert len(find_near(work, evaluation, compared)) == 0
        assert len(find_fractions(work, evaluation, compared)) == 0
