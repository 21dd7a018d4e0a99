"""The proof that train holds nothing of a benchmark finds what is planted there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from corpus.engine import LocalEngine
from corpus.errors import BadValue, IntegrityError, LeakageFound
from corpus.groups import make_keys
from corpus.progress import Reporter
from corpus.store import Artifact, Store
from corpus.tables import read_table
from labeling import contamination, dealing
from labeling.contamination import build_contamination, check_contamination, read_checks
from labeling.dealing import CANARY, build_benchmark_data
from labeling.recipe import parse_benchmark_recipe
from tests.conftest import Build
from tests.labeling.conftest import make_examples, make_text, store_examples

CARD = {"name": "x", "title": "X", "summary": ""}
RECIPE = parse_benchmark_recipe({"card": CARD, "quality": {}})


def prove(
    folder: Path,
    table: pa.Table,
    corpus: dict[str, Artifact] | None,
    reporter: Reporter | None = None,
) -> Artifact:
    """Deal the examples out without a corpus, then compare them with one."""
    store, quiet = Store(folder), Reporter(quiet=True)
    examples = store_examples(store, table)
    benchmark = build_benchmark_data(examples, None, RECIPE, store, LocalEngine(), quiet)
    at = (store, LocalEngine(), reporter or quiet)
    return build_contamination(benchmark, corpus, RECIPE, *at)


class Listening(Reporter):
    """A reporter that keeps what it was told."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def found_of(proof: Artifact) -> dict[str, int]:
    return {
        check["check"]: check["num_found"] for check in read_checks(proof) if check["num_found"]
    }


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
    proof = prove(tmp_path, table, demo_build.artifacts)
    assert found_of(proof) == {}
    check_contamination(proof)
    compared = {check["check"]: check["num_compared"] for check in read_checks(proof)}
    # The demo corpus has no site x.org, so ids say nothing; texts are compared all the same.
    assert compared.pop("thread") == compared.pop("duplicate_link") == 0
    assert set(compared) == {
        *("own_thread", "own_near_duplicate", "own_ngram"),
        *("near_duplicate", "ngram", "canary"),
    }
    assert min(compared.values()) > 0


def test_a_text_of_train_is_found_and_named(
    tmp_path: Path, demo_build: Build, train: list[dict[str, Any]]
) -> None:
    row = long_one(train)
    proof = prove(tmp_path, make_examples([example_of(row)]), demo_build.artifacts)
    assert found_of(proof) == {"near_duplicate": 1, "ngram": 1}
    (near,) = [check for check in read_checks(proof) if check["check"] == "near_duplicate"]
    near = near["offenders"][0]
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
    proof = prove(tmp_path, make_examples([quote]), demo_build.artifacts)
    assert found_of(proof) == {"ngram": 1}


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
    proof = prove(tmp_path, make_examples([example]), demo_build.artifacts)
    assert found_of(proof) == {"thread": 1}


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
    proof = build_contamination(benchmark, demo_build.artifacts, ner, store, *at)
    assert found_of(proof)["near_duplicate"] == 1


def test_the_canary_in_train_is_found(
    tmp_path: Path, demo_build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = make_examples(
        [
            {"post_id": 1, "group": "x", "split": "test"},
            {"post_id": 2, "group": "y", "split": "train", "text": f"{CANARY} 1234"},
        ]
    )
    store, at = Store(tmp_path), (LocalEngine(), Reporter(quiet=True))
    made = build_benchmark_data(store_examples(store, examples), None, RECIPE, store, *at)
    # Any dataset with these columns will do: the benchmark's own train, as someone's corpus.
    assert CANARY in read_table(made.path("data/train-00000-of-00001.parquet"))["text"][0].as_py()
    corpus = {"dataset": made, "posts": demo_build.artifacts["posts"]}
    monkeypatch.setattr("labeling.contamination._check_corpus_threads", lambda *_: [])
    proof = build_contamination(made, corpus, RECIPE, store, *at)
    assert found_of(proof) == {"canary": 1}


def test_without_evaluation_examples_there_is_nothing_to_prove(
    tmp_path: Path, demo_build: Build
) -> None:
    table = make_examples([{"post_id": 1, "group": "x", "split": "train"}])
    with pytest.raises(BadValue, match="nothing to prove"):
        prove(tmp_path, table, demo_build.artifacts)


def test_build_leaves_out_what_the_corpus_train_holds(
    tmp_path: Path, demo_build: Build, train: list[dict[str, Any]]
) -> None:
    rows = [example_of(long_one(train)), {"post_id": 10, "group": "x", "split": "test"}]
    store, at = Store(tmp_path), (LocalEngine(), Reporter(quiet=True))
    examples, dataset = store_examples(store, make_examples(rows)), demo_build.artifacts["dataset"]
    made = build_benchmark_data(examples, dataset, RECIPE, store, *at)
    assert dict(made.manifest.outcome.flows["examples"].rejected) == {"in_corpus": 1}
    assert found_of(build_contamination(made, demo_build.artifacts, RECIPE, store, *at)) == {}


def test_a_thread_that_duplicate_links_join_to_one_of_train_is_found(
    tmp_path: Path,
    demo_build: Build,
    train: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site, thread_id = train[0]["site"], train[0]["thread_id"]

    def link(sites: list[str], posts: Artifact) -> np.ndarray:
        """Links join it to a thread that nobody has, and that one to the example's."""
        return make_keys(sites, site, np.array([[thread_id, 10**6], [10**6, 10**6 + 1]]))

    monkeypatch.setattr(contamination, "link_pairs", link)
    rows = [
        {
            "post_id": number,
            "example_id": f"{site}/{number}",
            "site": site,
            "thread_id": number,
            "group": "x",
            "split": "test",
        }
        for number in (10**6 + 1, 10**6 + 2)
    ]
    proof = prove(tmp_path, make_examples(rows), demo_build.artifacts)
    assert found_of(proof) == {"duplicate_link": 1}


def test_sites_that_the_corpus_has_not_are_said_not_to_be_compared(
    tmp_path: Path, demo_build: Build
) -> None:
    table = make_examples([{"post_id": 1, "group": "x", "split": "test"}])
    reporter = Listening()
    proof = prove(tmp_path, table, demo_build.artifacts, reporter)
    (note,) = [line for line in reporter.lines if line.startswith("note: ")]
    assert "has nothing of x.org" in note
    (check,) = [check for check in read_checks(proof) if check["check"] == "thread"]
    assert check["sites_missing"] == ["x.org"]


def test_what_its_own_train_shares_is_found_without_any_corpus(tmp_path: Path) -> None:
    rows = [{"post_id": n, "group": f"g{n}", "split": "train"} for n in range(1, 5)]
    rows.append({"post_id": 9, "group": "g9", "split": "test", "thread_id": 3})
    # The benchmark stage takes near-duplicates out; the proof must not rely on it.
    store, at = Store(tmp_path), (LocalEngine(), Reporter(quiet=True))
    quoting = make_examples([*rows, {**rows[-1], "post_id": 10, "text": make_text(2) + " x"}])
    examples = store_examples(store, quoting)
    lax = parse_benchmark_recipe(
        {"card": CARD, "quality": {}, "benchmark": {"near_duplicate": 1.0, "max_overlap": 1.0}}
    )
    made = build_benchmark_data(examples, None, lax, store, *at)
    found = found_of(build_contamination(made, None, RECIPE, store, *at))
    assert found == {"own_thread": 2, "own_near_duplicate": 1, "own_ngram": 1}


def test_the_proof_uses_other_hashes_than_what_it_proves() -> None:
    assert contamination.SEED != dealing.SEED


def test_a_blind_detector_fails_the_proof(
    tmp_path: Path, demo_build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("corpus.leakage.find_near", lambda *_: np.empty((0, 5), "i8"))
    table = make_examples([{"post_id": 1, "group": "x", "split": "test"}])
    with pytest.raises(IntegrityError, match="blind"):
        prove(tmp_path, table, demo_build.artifacts)
