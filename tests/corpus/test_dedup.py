"""Deduplication removes what is planted, what brute force finds, and nothing else."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from corpus.dedup import build_dedup
from corpus.demo import CHAIN, EXACT_PAIR, NEAR_PAIRS
from corpus.documents import body_texts
from corpus.engine import LocalEngine
from corpus.manifest import Flow
from corpus.minhash import normalise, signatures
from corpus.progress import Reporter
from corpus.recipe import DedupSection
from corpus.store import Artifact, Store
from corpus.tables import read_table

Row = dict[str, Any]
MakeDocuments = Callable[..., dict[str, Artifact]]


def words(first: int, last: int) -> str:
    return " ".join(f"word{number}" for number in range(first, last))


def shingles(text: str, width: int = 5) -> set[tuple[str, ...]]:
    tokens = normalise(text).split()
    width = min(width, len(tokens))
    return (
        {tuple(tokens[i : i + width]) for i in range(len(tokens) - width + 1)} if width else set()
    )


def jaccard(one: set[Any], other: set[Any]) -> float:
    return len(one & other) / len(one | other)


def read_clusters(dedup: Artifact) -> list[Row]:
    rows: list[Row] = read_table(dedup.path("clusters.parquet")).to_pylist()
    return rows


def removed_from(clusters: Iterable[Row]) -> dict[str, str]:
    return {
        row["doc_id"]: row["representative"]
        for row in clusters
        if row["doc_id"] != row["representative"]
    }


def read_documents(documents: Artifact) -> dict[str, Row]:
    found = {}
    for entry in documents.files("documents/"):
        rows = read_table(documents.path(entry.name))
        for row, body in zip(rows.to_pylist(), body_texts(rows), strict=True):
            found[row["doc_id"]] = {**row, "body": body}
    return found


def rank(row: Row) -> tuple[Any, ...]:
    return (not row["is_accepted"], -row["score"], row["created_at"], row["doc_id"])


@pytest.fixture
def dedup(make_documents: MakeDocuments, tmp_path: Path) -> Callable[..., Artifact]:
    """Deduplicate documents given as rows."""

    def run(rows: Sequence[Row], *, partition_threads: int = 64, **recipe: Any) -> Artifact:
        documents = make_documents(rows, partition_threads=partition_threads)["documents"]
        at = (Store(tmp_path / "store"), LocalEngine(), Reporter(quiet=True))
        return build_dedup(documents, DedupSection(**recipe), *at)

    return run


def test_planted_duplicates_are_found_and_nothing_else(demo_build: Any) -> None:
    clusters = read_clusters(demo_build.artifacts["dedup"])
    by_cluster: dict[str, set[str]] = {}
    for row in clusters:
        by_cluster.setdefault(row["cluster"], set()).add(row["doc_id"])
    planted = [EXACT_PAIR, *NEAR_PAIRS, CHAIN]
    assert sorted(map(sorted, by_cluster.values())) == sorted(map(sorted, planted))
    assert {row["cluster"] for row in clusters} <= {row["doc_id"] for row in clusters}


def test_the_better_ranked_of_a_pair_is_kept(demo_build: Any) -> None:
    documents = read_documents(demo_build.artifacts["documents"])
    removed = removed_from(read_clusters(demo_build.artifacts["dedup"]))
    for pair in (EXACT_PAIR, *NEAR_PAIRS):
        kept, gone = sorted(pair, key=lambda doc_id: rank(documents[doc_id]))
        assert removed[gone] == kept
        assert kept not in removed


def test_both_ends_of_a_chain_stay(demo_build: Any) -> None:
    removed = removed_from(read_clusters(demo_build.artifacts["dedup"]))
    assert [doc_id in removed for doc_id in CHAIN] == [False, True, False]


def test_the_ledger_has_the_exact_counts_and_nothing_below_the_threshold(demo_build: Any) -> None:
    documents = read_documents(demo_build.artifacts["documents"])
    for row in read_clusters(demo_build.artifacts["dedup"]):
        one, other = (shingles(documents[row[at]]["body"]) for at in ("doc_id", "representative"))
        assert (row["shared"], row["total"]) == (len(one & other), len(one | other))
        assert jaccard(one, other) >= 0.7


def test_documents_in_are_documents_out_and_removed(demo_build: Any) -> None:
    flow = demo_build.artifacts["dedup"].manifest.outcome.flows["documents"]
    assert flow == Flow(64, 60, {"exact": 1, "near": 3})


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"is_accepted": True}, {"is_accepted": False, "score": 9}),
        ({"is_accepted": True}, {"is_accepted": None, "score": 9}),
        ({"score": 2}, {"score": 1, "created_at": datetime(2001, 1, 1, tzinfo=UTC)}),
        ({"score": -1}, {"score": None}),
        ({"created_at": datetime(2001, 1, 1, tzinfo=UTC)}, {}),
        # All equal but the doc_id: "x.org/10" is before "x.org/9".
        (
            {"post_id": 10, "created_at": datetime(2001, 1, 1, tzinfo=UTC)},
            {"post_id": 9, "created_at": datetime(2001, 1, 1, tzinfo=UTC)},
        ),
    ],
)
def test_accepted_then_score_then_age_then_id_decide_what_is_kept(
    dedup: Callable[..., Artifact], better: Row, worse: Row
) -> None:
    rows = [{"post_id": 2, **better}, {"post_id": 1, **worse}]
    clusters = read_clusters(dedup([{"text": words(0, 20), **row} for row in rows]))
    kept = f"x.org/{rows[0]['post_id']}"
    assert [row["representative"] for row in clusters] == [kept, kept]
    assert clusters[0]["doc_id"] == kept


def test_comments_are_not_compared(dedup: Callable[..., Artifact]) -> None:
    at = datetime(2016, 5, 5, tzinfo=UTC)
    comments = [(at, words(100, 160))]
    rows = [
        {"post_id": 1, "text": words(0, 20)},
        {"post_id": 2, "text": words(0, 20), "comments": comments},
        {"post_id": 3, "text": words(20, 40), "comments": comments},
    ]
    assert removed_from(read_clusters(dedup(rows))) == {"x.org/2": "x.org/1"}


def test_texts_without_shingles_are_never_removed(dedup: Callable[..., Artifact]) -> None:
    rows = [{"post_id": number, "text": "\u200b \u00a0"} for number in range(1, 9)]
    made = dedup([*rows, {"post_id": 9, "text": "Thanks!"}, {"post_id": 10, "text": "thanks !"}])
    assert removed_from(read_clusters(made)) == {"x.org/10": "x.org/9"}


def test_exactly_the_threshold_is_a_duplicate_and_less_is_not_even_a_cluster(
    dedup: Callable[..., Artifact],
) -> None:
    def run(first: str, second: str) -> list[tuple[int, int]]:
        rows = [{"post_id": 1, "text": first}, {"post_id": 2, "text": second}]
        made = dedup(rows, shingle_tokens=1, bands=120)  # a word a shingle, and all are compared
        assert made.manifest.outcome.figures["candidate_pairs"] == 1
        return [(row["shared"], row["total"]) for row in read_clusters(made)]

    assert run(words(0, 8), f"{words(0, 7)} x y") == [(8, 8), (7, 10)]
    assert run(words(0, 8), f"{words(0, 7)} x y z") == []


def test_of_many_copies_one_stays_even_where_buckets_are_too_large_to_compare(
    dedup: Callable[..., Artifact],
) -> None:
    # All share one bucket, that of a word with a small hash. In it every copy stands between two
    # others, which are like nothing.
    candidates = [f"w{number}" for number in range(1000)]
    hashes = signatures(candidates, width=1, num_perm=1, seed=1)[:, 0]
    common = candidates[hashes.argmin()]
    rows = [
        {
            "post_id": number,
            "text": f"{common} {words(number, number + 3)}" if number % 2 else common,
        }
        for number in range(1, 61)
    ]
    recipe = {"shingle_tokens": 1, "num_permutations": 1, "bands": 1, "max_bucket": 2}
    removed = removed_from(read_clusters(dedup(rows, **recipe)))
    assert removed == {f"x.org/{number}": "x.org/2" for number in range(4, 61, 2)}


def test_an_oversized_cluster_loses_exact_copies_only_and_is_reported(
    dedup: Callable[..., Artifact],
) -> None:
    texts = [words(number, 40 + number) for number in (0, 0, 2, 4, 6)]
    rows = [{"post_id": number, "text": text} for number, text in enumerate(texts, 1)]
    made = dedup(rows, max_cluster=4)
    assert made.manifest.outcome.figures["oversized_clusters"] == 1
    assert removed_from(read_clusters(made)) == {"x.org/2": "x.org/1"}
    assert dedup(rows, max_cluster=5).manifest.outcome.figures["oversized_clusters"] == 0


@pytest.mark.parametrize("width", [5, 1000])
def test_partitions_and_sites_in_any_cut_give_the_same_clusters(
    dedup: Callable[..., Artifact], width: int
) -> None:
    rng = random.Random(0)
    rows = []
    for number in range(40):
        site = rng.choice(["x.org", "x.org-b", "y.org"])
        first = rng.choice([0, 100, 200])
        text = f"{words(first, first + 40)} {words(1000, 1000 + rng.randrange(12))}"
        rows.append({"post_id": 1 + number, "site": site, "text": text, "score": rng.randrange(3)})
    whole = read_clusters(dedup(rows, partition_threads=64))
    assert len(whole) > 25
    assert read_clusters(dedup(rows, partition_threads=width)) == whole


@pytest.mark.parametrize("num_documents", [0, 1])
def test_few_documents_have_no_clusters(dedup: Callable[..., Artifact], num_documents: int) -> None:
    made = dedup([{"post_id": 1, "text": "a b c"}][:num_documents])
    assert read_clusters(made) == []
    assert made.manifest.outcome.flows["documents"].num_out == num_documents


def all_similar(bodies: list[str], threshold: float) -> set[tuple[int, int]]:
    """Every pair at or above the threshold, by intersecting all pairs of shingle sets."""
    sets = [shingles(body) for body in bodies]
    columns: dict[tuple[str, ...], int] = {}
    places = [columns.setdefault(one, len(columns)) for each in sets for one in sorted(each)]
    sizes = np.array([len(one) for one in sets])
    edges = np.concatenate([[0], np.cumsum(sizes)])
    matrix = csr_array((np.ones(len(places)), places, edges), (len(sets), len(columns)))
    shared = (matrix @ matrix.T).tocoo()
    total = sizes[shared.row] + sizes[shared.col] - shared.data
    is_similar = (shared.row < shared.col) & (shared.data / total >= threshold)
    return set(zip(shared.row[is_similar].tolist(), shared.col[is_similar].tolist(), strict=True))


def edited_copies(bodies: list[str], rng: random.Random) -> list[str]:
    """Copies with words taken out here and there: all similarities from 0.4 to 1."""
    copies = []
    for body in rng.sample(bodies, 400):
        loss = rng.choice([0, 0.01, 0.02, 0.03, 0.05, 0.1])
        copies.append(" ".join(word for word in body.split(" ") if rng.random() >= loss))
    return copies


def test_brute_force_on_real_posts_finds_no_more_and_nothing_less_is_removed(
    shared_data: Path,
    run_stages: Callable[..., dict[str, Artifact]],
    dedup: Callable[..., Artifact],
    tmp_path: Path,
) -> None:
    dump = shared_data / "dumps" / "iot.stackexchange.com" / "2017-03"
    stages = run_stages(tmp_path / "real", f"iot.stackexchange.com={dump}")
    bodies = [row["body"] for row in read_documents(stages["documents"]).values()]
    bodies += edited_copies(bodies, random.Random(0))
    doc_ids = [f"x.org/{number}" for number in range(1, len(bodies) + 1)]
    rows = [{"post_id": number, "text": body} for number, body in enumerate(bodies, 1)]
    clusters = read_clusters(dedup(rows))
    cluster_of = {row["doc_id"]: row["cluster"] for row in clusters}
    body_of = dict(zip(doc_ids, bodies, strict=True))

    def num_apart(pairs: set[tuple[int, int]]) -> int:
        ends = [(doc_ids[one], doc_ids[other]) for one, other in pairs]
        return sum(cluster_of.get(one, one) != cluster_of.get(other, other) for one, other in ends)

    alike = all_similar(bodies, 0.8)
    assert len(alike) > 150
    assert num_apart(alike) == 0
    nearly_alike = all_similar(bodies, 0.7)
    assert len(nearly_alike) > len(alike) + 30
    assert num_apart(nearly_alike) <= 0.02 * len(nearly_alike)
    for doc_id, kept in removed_from(clusters).items():
        assert jaccard(shingles(body_of[doc_id]), shingles(body_of[kept])) >= 0.7
