"""The tokenizer is trained on a fixed sample of the train split, and on nothing else."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.dataset import DATASET_SCHEMA
from corpus.engine import LocalEngine
from corpus.errors import BadValue, DumpError, RecipeError
from corpus.manifest import Outcome
from corpus.progress import Reporter
from corpus.recipe import TokenizerSection
from corpus.store import Artifact, Store, Work
from corpus.tables import read_table, write_table
from corpus.tokenizer import MODEL, build_tokenizer, is_sampled, iter_sample
from corpus.vocabulary import load_tokenizer

Texts = Sequence[str]


def write_splits(splits: dict[str, Sequence[Texts]], work: Work) -> Outcome:
    """Write each split in shards of texts, as the dataset stage does."""
    files, figures, number = [], {}, 0
    for split, shards in splits.items():
        for place, texts in enumerate(shards):
            rows = [{"doc_id": f"x.org/{number + n}", "text": t} for n, t in enumerate(texts)]
            number += len(rows)
            table = pa.Table.from_pylist(rows, DATASET_SCHEMA)
            name = f"data/{split}-{place:05d}-of-{len(shards):05d}.parquet"
            files.append(write_table(work.folder, name, table, DATASET_SCHEMA))
        num_bytes = sum(len(text.encode()) for texts in shards for text in texts)
        figures[f"text_bytes_{split}"] = num_bytes
    return Outcome(tuple(files), {}, figures)


@pytest.fixture
def make_dataset(tmp_path: Path) -> Callable[..., Artifact]:
    """Make a dataset of texts by split and shard."""

    def make(**splits: Sequence[Texts]) -> Artifact:
        write = partial(write_splits, splits)
        at = (LocalEngine(), Reporter(quiet=True))
        return Store(tmp_path).build("dataset", 1, {"splits": repr(splits)}, {}, write, *at)

    return make


class Listener(Reporter):
    """Keeps what is said."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def train(
    dataset: Artifact, folder: Path, reporter: Reporter | None = None, **recipe: int
) -> Artifact:
    at = (Store(folder), LocalEngine(), reporter or Reporter(quiet=True))
    return build_tokenizer(dataset, TokenizerSection(**recipe), *at)


def pieces_of(tokenizer: Artifact, text: str) -> int:
    return len(load_tokenizer(tokenizer.path(MODEL)).encode(text))


def test_a_word_of_the_test_split_alone_is_no_piece(
    make_dataset: Callable[..., Artifact], tmp_path: Path
) -> None:
    dataset = make_dataset(
        train=[["gardening " * 50, "watering " * 50]],
        validation=[["zyxwvut " * 500]],
        test=[["qponmlk " * 500]],
    )
    made = train(dataset, tmp_path, vocabulary_size=400)
    assert pieces_of(made, "gardening") == 1
    assert pieces_of(made, "zyxwvut") == 7
    assert pieces_of(made, "qponmlk") >= 6


def test_what_is_trained_on_is_the_train_split(demo_build: Any) -> None:
    dataset = demo_build.artifacts["dataset"]
    texts = [
        text
        for entry in dataset.files("data/train-")
        for text in read_table(dataset.path(entry.name), ["text"])["text"].to_pylist()
    ]
    assert list(iter_sample(dataset, 10**9)) == texts
    figures = demo_build.artifacts["tokenizer"].manifest.outcome.figures
    assert figures["sample_documents"] == len(texts)
    assert figures["sample_bytes"] == dataset.manifest.outcome.figures["text_bytes_train"]


def test_a_sample_is_about_as_large_as_asked_and_the_same_for_any_shards(
    make_dataset: Callable[..., Artifact],
) -> None:
    rng = random.Random(0)
    texts = [f"{number} " + "x" * rng.randrange(200) for number in range(2000)]
    dataset = make_dataset(train=[texts])
    total = sum(map(len, texts))
    sample = list(iter_sample(dataset, total // 4))
    assert 0.22 < sum(map(len, sample)) / total < 0.28
    in_shards = make_dataset(train=[texts[:3], texts[3:1500], texts[1500:]])
    assert list(iter_sample(in_shards, total // 4)) == sample
    larger = set(iter_sample(dataset, total // 2))
    assert set(sample) < larger


@settings(deadline=None)
@given(st.text(), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_sample_holds_a_smaller_one(doc_id: str, one: float, other: float) -> None:
    small, large = sorted([one, other])
    assert is_sampled(doc_id, large) or not is_sampled(doc_id, small)


def test_fewer_pieces_than_asked_for_are_noted_every_time(
    make_dataset: Callable[..., Artifact], tmp_path: Path
) -> None:
    dataset = make_dataset(train=[["to be or not to be"]])
    for _ in range(2):
        listener = Listener()
        made = train(dataset, tmp_path, listener, vocabulary_size=1000)
        size = load_tokenizer(made.path(MODEL)).vocabulary_size
        assert made.manifest.outcome.figures["vocabulary_size"] == size == 283
        (note,) = [line for line in listener.lines if line.startswith("note:")]
        assert "283" in note and "1,000" in note


def test_as_many_pieces_as_asked_for_are_no_note(
    make_dataset: Callable[..., Artifact], tmp_path: Path
) -> None:
    listener = Listener()
    rng = random.Random(0)
    texts = ["".join(rng.choices("abcdefgh ", k=300)) for _ in range(20)]
    made = train(make_dataset(train=[texts]), tmp_path, listener, vocabulary_size=300)
    assert made.manifest.outcome.figures["vocabulary_size"] == 300
    assert not [line for line in listener.lines if line.startswith("note:")]


def test_an_empty_train_split_is_a_clear_error(
    make_dataset: Callable[..., Artifact], tmp_path: Path
) -> None:
    with pytest.raises(DumpError, match="the train split is empty"):
        train(make_dataset(test=[["a text"]]), tmp_path)


def test_a_sample_of_no_document_is_a_clear_error(
    make_dataset: Callable[..., Artifact], tmp_path: Path
) -> None:
    dataset = make_dataset(train=[["a text" * 100]])
    with pytest.raises(RecipeError, match=r"tokenizer\.sample_bytes is 1, .* raise it"):
        train(dataset, tmp_path, sample_bytes=1)


def test_more_characters_than_pieces_is_a_clear_error(
    make_dataset: Callable[..., Artifact], tmp_path: Path
) -> None:
    dataset = make_dataset(train=[["".join(map(chr, range(0x4E00, 0x4F00)))]])
    with pytest.raises(BadValue, match="300"):
        train(dataset, tmp_path, vocabulary_size=300)
