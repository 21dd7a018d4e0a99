"""The proof that train holds nothing of a benchmark finds what is planted there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from corpus.engine import LocalEngine
from corpus.errors import BadValue, LeakageFound
from corpus.progress import Reporter
from corpus.store import Artifact, Store
from corpus.tables import read_table
from labeling.contamination import build_contamination, check_contamination, read_checks
from labeling.dealing import CANARY, build_benchmark_data
from labeling.recipe import parse_benchmark_recipe
from tests.conftest import Build
from tests.labeling.conftest import make_examples, make_text, store_examples

CARD = {"name": "x", "title": "X", "summary": ""}
RECIPE = parse_benchmark_recipe({"card": CARD, "quality": {}})


def prove(folder: Path, table: pa.Table, dataset: Artifact) -> Artifact:
    """Deal the examples out without a corpus, then compare them with one."""
    store, at = Store(folder), (LocalEngine(), Reporter(quiet=True))
    examples = store_examples(store, table)
    benchmark = build_benchmark_data(examples, None, RECIPE, store, *at)
    return build_contamination(benchmark, dataset, RECIPE, store, *at)


def found_of(proof: Artifact) -> dict[str, int]:
    return {check["check"]: check["num_found"] for check in read_checks(proof)}


@pytest.fixture
def train(demo_build: Build) -> list[dict[str, Any]]:
    dataset = demo_build.artifacts["dataset"]
    return [
        row
        for entry in dataset.files("data/train-")
        for row in read_table(dataset.path(entry.name)).to_pylist()
    ]


def example_of(row: dict[str, Any], **changed: Any) -> dict[str, Any]:
    body = row["text"][: row["body_end"]]
    return {"post_id": 9, "text": body, "group": "x.org/9", "split": "test", **changed}


def long_one(train: list[dict[str, Any]]) -> dict[str, Any]:
    return max(train, key=lambda row: len(row["text"][: row["body_end"]].split()))


def test_a_benchmark_of_other_texts_is_clean(tmp_path: Path, demo_build: Build) -> None:
    table = make_examples({"post_id": n, "group": "x", "split": "test"} for n in range(1, 10))
    proof = prove(tmp_path, table, demo_build.artifacts["dataset"])
    assert set(found_of(proof).values()) == {0}
    check_contamination(proof)
    assert all(check["num_compared"] > 0 for check in read_checks(proof))


def test_a_text_of_train_is_found_and_named(
    tmp_path: Path, demo_build: Build, train: list[dict[str, Any]]
) -> None:
    row = long_one(train)
    proof = prove(tmp_path, make_examples([example_of(row)]), demo_build.artifacts["dataset"])
    assert found_of(proof) == {"thread": 0, "near_duplicate": 1, "ngram": 1, "canary": 0}
    near = read_checks(proof)[1]["offenders"][0]
    assert near == {
        "example_id": "x.org/9",
        "split": "test",
        "near": row["doc_id"],
        "jaccard": 1.0,
    }
    with pytest.raises(LeakageFound, match="1 by near_duplicate, 1 by ngram"):
        check_contamination(proof)


def test_a_quote_of_train_is_found_by_its_ngrams(
    tmp_path: Path, demo_build: Build, train: list[dict[str, Any]]
) -> None:
    words = long_one(train)["text"].split(" ")
    text = " ".join(words[: len(words) // 2]) + " " + make_text(1, num_words=5)
    quote = example_of(long_one(train), text=text)
    proof = prove(tmp_path, make_examples([quote]), demo_build.artifacts["dataset"])
    assert found_of(proof) == {"thread": 0, "near_duplicate": 0, "ngram": 1, "canary": 0}


def test_a_thread_of_train_is_found(
    tmp_path: Path, demo_build: Build, train: list[dict[str, Any]]
) -> None:
    row = train[0]
    example = {
        "post_id": 9,
        "example_id": f"{row['site']}/9",
        "site": row["site"],
        "thread_id": row["thread_id"],
        "group": "x",
        "split": "validation",
    }
    proof = prove(tmp_path, make_examples([example]), demo_build.artifacts["dataset"])
    assert found_of(proof) == {"thread": 1, "near_duplicate": 0, "ngram": 0, "canary": 0}


def test_sentences_of_a_post_are_one_text(
    tmp_path: Path, demo_build: Build, train: list[dict[str, Any]]
) -> None:
    words = long_one(train)["text"][: long_one(train)["body_end"]].split(" ")
    rows = [
        {
            "post_id": n,
            "thread_id": 5,
            "example_id": f"x.org/5/q/{n}",
            "text": " ".join(words[start : start + 8]),
            "group": "x.org/5",
            "split": "test",
        }
        for n, start in enumerate(range(0, len(words), 8), 1)
    ]
    assert len(rows) > 10  # so that the tenth is not read before the second
    ner = parse_benchmark_recipe({"card": CARD, "ner": {}})
    store, at = Store(tmp_path), (LocalEngine(), Reporter(quiet=True))
    benchmark = build_benchmark_data(
        store_examples(store, make_examples(rows)), None, ner, store, *at
    )
    dataset = demo_build.artifacts["dataset"]
    proof = build_contamination(benchmark, dataset, ner, store, *at)
    assert found_of(proof)["near_duplicate"] == 1


def test_the_canary_in_train_is_found(tmp_path: Path, demo_build: Build) -> None:
    examples = make_examples(
        [
            {"post_id": 1, "group": "x", "split": "test"},
            {"post_id": 2, "group": "y", "split": "train", "text": f"{CANARY} 1234"},
        ]
    )
    store, at = Store(tmp_path), (LocalEngine(), Reporter(quiet=True))
    made = build_benchmark_data(store_examples(store, examples), None, RECIPE, store, *at)
    # Any dataset with these columns will do: the benchmark's own train, as someone's corpus.
    table = read_table(made.path("data/train-00000-of-00001.parquet"))
    assert CANARY in table["text"][0].as_py()
    proof = build_contamination(made, made, RECIPE, store, *at)
    assert found_of(proof)["canary"] == 1


def test_without_evaluation_examples_there_is_nothing_to_prove(
    tmp_path: Path, demo_build: Build
) -> None:
    table = make_examples([{"post_id": 1, "group": "x", "split": "train"}])
    with pytest.raises(BadValue, match="nothing to prove"):
        prove(tmp_path, table, demo_build.artifacts["dataset"])


def test_build_leaves_out_what_the_corpus_train_holds(
    tmp_path: Path, demo_build: Build, train: list[dict[str, Any]]
) -> None:
    rows = [example_of(long_one(train)), {"post_id": 10, "group": "x", "split": "test"}]
    store, at = Store(tmp_path), (LocalEngine(), Reporter(quiet=True))
    examples, dataset = store_examples(store, make_examples(rows)), demo_build.artifacts["dataset"]
    made = build_benchmark_data(examples, dataset, RECIPE, store, *at)
    assert dict(made.manifest.outcome.flows["examples"].rejected) == {"in_corpus": 1}
    assert set(found_of(build_contamination(made, dataset, RECIPE, store, *at)).values()) == {0}
