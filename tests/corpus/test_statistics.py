from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.engine import LocalEngine
from corpus.histograms import histogram, powers_of_two, quantiles, take_top
from corpus.manifest import read_manifest
from corpus.progress import Reporter
from corpus.recipe import SPLITS
from corpus.statistics import build_statistics, load_statistics
from corpus.store import Artifact, Store
from corpus.tally import (
    add_counts,
    choose_example,
    count_joined_threads,
    count_rows,
    count_shard,
    size_groups,
)

Row = dict[str, Any]
Artifacts = Mapping[str, Artifact]
AFTER = ("statistics", "release")
# What documents, and what comments, go through: stage and kind of row.
WAYS = (
    (
        *(("rows", "Posts"), ("posts", "Posts"), ("documents", "posts"), ("dedup", "documents")),
        *(("splits", "documents"), ("dataset", "documents"), ("shards", "documents")),
    ),
    (
        *(("rows", "Comments"), ("posts", "Comments"), ("documents", "comments")),
        ("dataset", "comments"),
    ),
)


@pytest.fixture(scope="module")
def artifacts(demo_build: Any) -> Artifacts:
    return demo_build.artifacts


@pytest.fixture(scope="module")
def numbers(artifacts: Artifacts) -> Row:
    return load_statistics(artifacts["statistics"])


@pytest.fixture(scope="module")
def documents(artifacts: Artifacts) -> list[Row]:
    """Every published document as plain Python, with its split and its tokens."""
    found = []
    for path in sorted((artifacts["dataset"].folder / "data").iterdir()):
        lengths = artifacts["shards"].folder / f"{path.stem}.map.parquet"
        for row, tokens in zip(read_rows(path), read_rows(lengths), strict=True):
            found.append({**row, **tokens, "split": path.name.split("-")[0]})
    return found


def read_rows(path: Path) -> list[Row]:
    return pq.read_table(path).to_pylist()


def comments_of(documents: list[Row]) -> list[Row]:
    return [{**one, "split": row["split"]} for row in documents for one in row["comments"]]


def in_bin(name: str, value: int) -> bool:
    """Tell whether a value is in a bin, from what its name says."""
    name = name.replace(",", "")
    if name.endswith(" or less"):
        return value <= int(name.removesuffix(" or less"))
    if name.endswith(" or more"):
        return value >= int(name.removesuffix(" or more"))
    low, _, high = name.partition(" to ")
    return int(low) <= value <= int(high or low)


def binned(names: Iterator[str] | Row, values: list[int]) -> dict[str, int]:
    counts = {name: sum(in_bin(name, value) for value in values) for name in names}
    assert sum(counts.values()) == len(values)
    return counts


# Documents ----------------------------------------------------------------------------------


def test_totals_are_those_of_the_published_rows(numbers: Row, documents: list[Row]) -> None:
    comments = comments_of(documents)
    people = {(row["site"], row["author_id"]) for row in documents} | {
        (row["site"], one["author_id"]) for row in documents for one in row["comments"]
    }
    times = sorted(row["created_at"].isoformat(timespec="milliseconds") for row in documents)
    assert numbers["totals"] == {
        "sites": len({row["site"] for row in documents}),
        "xml_bytes": sum(source["num_bytes"] for source in numbers["sources"]),
        "first_created_at": times[0].replace("+00:00", "Z"),
        "last_created_at": times[-1].replace("+00:00", "Z"),
        "authors": len({person for person in people if person[1] is not None}),
        "documents": len(documents),
        "comments": len(comments),
        "threads": len({(row["site"], row["thread_id"]) for row in documents}),
        "tokens": sum(row["num_tokens"] for row in documents),
        "text_bytes": sum(len(row["text"].encode()) for row in documents),
        "arrow_bytes": sum(split["arrow_bytes"] for split in numbers["splits"].values()),
        "accepted": sum(row["is_accepted"] is True for row in documents),
        "closed": sum(row["closed_at"] is not None for row in documents),
        "edited": sum(row["edited_at"] is not None for row in documents),
        "marked_duplicate": sum(bool(row["duplicate_of"]) for row in documents),
    }


def test_splits_have_their_own_numbers(numbers: Row, documents: list[Row]) -> None:
    assert list(numbers["splits"]) == [s for s in SPLITS if any(r["split"] == s for r in documents)]
    for split, of_split in numbers["splits"].items():
        rows = [row for row in documents if row["split"] == split]
        assert of_split["documents"] == len(rows)
        assert of_split["kinds"] == Counter(row["kind"] for row in rows)
        assert list(of_split["kinds"].values()) == sorted(of_split["kinds"].values(), reverse=True)
        assert of_split["comments"] == len(comments_of(rows))
        assert of_split["threads"] == len({(row["site"], row["thread_id"]) for row in rows})
        assert of_split["text_bytes"] == sum(len(row["text"].encode()) for row in rows)
        assert of_split["tokens"] == sum(row["num_tokens"] for row in rows)
        assert of_split["sequences"] == sum(len(row["segments"]) for row in rows)
        assert of_split["samples"] == len(rows)


def test_arrow_bytes_are_what_the_rows_take_in_memory(numbers: Row, artifacts: Artifacts) -> None:
    folder = artifacts["dataset"].folder / "data"
    for split, of_split in numbers["splits"].items():
        tables = [pq.read_table(path) for path in sorted(folder.glob(f"{split}-*"))]
        assert of_split["arrow_bytes"] == sum(table.nbytes for table in tables)


def test_sites_are_those_of_the_dump(numbers: Row, documents: list[Row]) -> None:
    assert list(numbers["sites"]) == sorted({source["site"] for source in numbers["sources"]})
    for name, site in numbers["sites"].items():
        rows = [row for row in documents if row["site"] == name]
        assert (site["documents"], site["comments"]) == (len(rows), len(comments_of(rows)))
        tables = [source for source in numbers["sources"] if source["site"] == name]
        assert site["xml_bytes"] == sum(table["num_bytes"] for table in tables)


def test_years_count_documents_by_kind(numbers: Row, documents: list[Row]) -> None:
    years: dict[str, Counter[str]] = defaultdict(Counter)
    for row in documents:
        years[str(row["created_at"].year)][row["kind"]] += 1
    assert numbers["years"] == years
    assert list(numbers["years"]) == sorted(years)


def test_scores_and_comments_fall_into_the_bins_that_are_named(
    numbers: Row, documents: list[Row]
) -> None:
    scores = [row["score"] for row in documents]
    num_comments = [len(row["comments"]) for row in documents]
    assert numbers["scores"] == binned(numbers["scores"], scores)
    assert numbers["comments_per_document"] == binned(
        numbers["comments_per_document"], num_comments
    )


def test_tags_and_languages_are_the_most_frequent_first(numbers: Row, documents: list[Row]) -> None:
    tags = Counter(tag for row in documents for tag in row["tags"])
    code = [one for row in documents for one in row["segments"] if one["kind"] == "code"]
    hints = Counter(one["language"] for one in code)
    num_without_hint = hints.pop(None, 0)
    for found, expected in ((numbers["tags"], tags), (numbers["languages"], hints)):
        counts = list(found["top"].values())
        assert counts == sorted(expected.values(), reverse=True)[: len(counts)]
        assert all(expected[name] == num for name, num in found["top"].items())
        assert found["distinct"] == len(expected)
        assert found["other"] == expected.total() - sum(counts)
    assert numbers["languages"]["no_hint"] == num_without_hint
    assert len(numbers["tags"]["top"]) == 30


# Tokens -------------------------------------------------------------------------------------


def test_tokens_by_kind_are_all_tokens_of_the_shards(
    numbers: Row, documents: list[Row], artifacts: Artifacts
) -> None:
    files = artifacts["shards"].files()
    assert numbers["tokens"] == {
        kind: sum(row[f"num_{kind}_tokens"] for row in documents) for kind in numbers["tokens"]
    }
    assert sum(numbers["tokens"].values()) == numbers["totals"]["tokens"]
    num_bytes = sum(entry.num_bytes for entry in files if entry.name.endswith(".bin"))
    assert num_bytes == 2 * numbers["totals"]["tokens"]
    kinds = Counter(one["kind"] for row in documents for one in row["segments"])
    assert numbers["segments"] == kinds


def test_lengths_agree_with_numpy(numbers: Row, documents: list[Row]) -> None:
    lengths = [row["num_tokens"] for row in documents]
    found = numbers["lengths"]
    assert found["histogram"] == binned(found["histogram"], lengths)
    assert found["over"] == {
        "512": sum(length > 512 for length in lengths),
        "2048": sum(length > 2048 for length in lengths),
    }
    for hundredth, length in found["quantiles"].items():
        assert length == np.quantile(lengths, int(hundredth) / 100, method="inverted_cdf")


def test_code_shares_are_of_posts_without_their_comments(
    numbers: Row, documents: list[Row]
) -> None:
    shares = Counter[str]()
    for row in documents:
        post = row["num_tokens"] - row["num_comment_tokens"]
        share = Fraction(100 * row["num_code_tokens"], post)
        for name in numbers["code_shares"]:
            low, _, high = name.removesuffix(" %").removeprefix("up to ").rpartition(" to ")
            fits = share == 0 if name == "none" else Fraction(low or 0) < share <= Fraction(high)
            shares[name] += fits
    assert numbers["code_shares"] == shares
    assert shares.total() == len(documents)


def test_the_vocabulary_is_that_of_the_tokenizer(numbers: Row, artifacts: Artifacts) -> None:
    figures = artifacts["tokenizer"].manifest.outcome.figures
    assert numbers["vocabulary"] == {"pieces": figures["vocabulary_size"]}


# Duplicates, groups, rejects ----------------------------------------------------------------


def test_duplicates_are_those_of_the_ledger(numbers: Row, artifacts: Artifacts) -> None:
    ledger = read_rows(artifacts["dedup"].path("clusters.parquet"))
    removed = [row for row in ledger if row["representative"] != row["doc_id"]]
    exact = [row for row in removed if row["shared"] == row["total"]]
    found = numbers["duplicates"]
    sizes = Counter(row["cluster"] for row in ledger)
    assert removed
    assert found["clusters"] == len(sizes)
    assert found["removed"] == {"exact": len(exact), "near": len(removed) - len(exact)}
    assert found["cluster_documents"] == binned(found["cluster_documents"], list(sizes.values()))
    assert sum(found["jaccard"].values()) == len(removed)
    for name, num in found["jaccard"].items():
        low, _, high = name.partition(" to ")
        similar = [Fraction(row["shared"], row["total"]) for row in removed]
        assert num == sum(Fraction(low) <= one < Fraction(high or "2") for one in similar)


def test_group_sizes_are_those_of_the_splits(numbers: Row, artifacts: Artifacts) -> None:
    threads: dict[str, set[tuple[str, int]]] = defaultdict(set)
    for entry in artifacts["splits"].files("splits/"):
        name = entry.name.removeprefix("splits/")
        rows = read_rows(artifacts["documents"].path(f"documents/{name}"))
        for row, dealt in zip(rows, read_rows(artifacts["splits"].path(entry.name)), strict=True):
            threads[dealt["group"]].add((row["site"], row["thread_id"]))
    sizes = [len(group) for group in threads.values()]
    assert numbers["leakage_groups"] == binned(numbers["leakage_groups"], sizes)
    assert len(threads) == artifacts["splits"].manifest.outcome.figures["leakage_groups"]


def test_every_flow_is_conserved_and_hands_on_what_the_next_takes(numbers: Row) -> None:
    flows = {(flow["stage"], flow["kind"]): flow for flow in numbers["flows"]}
    for flow in numbers["flows"]:
        assert flow["in"] == flow["out"] + sum(flow["rejected"].values()), flow
    for way in WAYS:
        for before, after in pairwise(way):
            assert flows[before]["out"] == flows[after]["in"], (before, after)
    assert flows[WAYS[0][-1]]["out"] == numbers["totals"]["documents"]
    assert flows[WAYS[1][-1]]["out"] == numbers["totals"]["comments"]


def test_rejects_of_posts_are_the_rows_that_the_stages_kept_of_them(
    numbers: Row, artifacts: Artifacts
) -> None:
    kept = Counter(
        (row["table"].lower(), row["reason"])
        for entry in artifacts["documents"].files("rejects/")
        for row in read_rows(artifacts["documents"].path(entry.name))
    )
    told = {
        (flow["kind"], reason): num
        for flow in numbers["flows"]
        if flow["stage"] == "documents"
        for reason, num in flow["rejected"].items()
    }
    assert told == kept


# Licences, proof, identity ------------------------------------------------------------------


def test_licences_and_credits_count_every_text(numbers: Row, documents: list[Row]) -> None:
    texts = {"documents": documents, "comments": comments_of(documents)}
    expected = Counter(
        (row["split"], name, row["licence"], row["licence_source"])
        for name, rows in texts.items()
        for row in rows
    )
    keys = ("split", "texts", "licence", "source")
    assert {tuple(row[k] for k in keys): row["count"] for row in numbers["licences"]} == expected
    sources = Counter(row["author_source"] for row in documents)
    assert numbers["authors"]["document_sources"] == sources
    for name, rows in texts.items():
        credits = numbers["authors"][name]
        deleted = [row for row in rows if row["author_name"] == "deleted user"]
        assert credits["account"] == sum(row["author_link"] is not None for row in rows)
        assert credits["deleted"] == len(deleted)
        assert sum(credits.values()) == len(rows)


def test_the_proof_and_the_ids_are_those_of_the_artifacts(
    numbers: Row, artifacts: Artifacts
) -> None:
    checks = json.loads(artifacts["leakage"].path("proof.json").read_bytes())["checks"]
    assert numbers["proof"] == [
        {key: num for key, num in check.items() if key != "offenders"} for check in checks
    ]
    for stage, artifact_id in numbers["manifests"].items():
        assert artifact_id == artifacts[stage].manifest.id
    assert list(numbers["manifests"]) == [stage for stage in artifacts if stage not in AFTER]


def test_the_example_is_a_whole_row_with_every_kind_of_segment(
    numbers: Row, documents: list[Row]
) -> None:
    example = numbers["example"]
    row = next(row for row in documents if row["doc_id"] == example["doc_id"])
    assert example["text"] == row["text"]
    assert example["created_at"] == f"{row['created_at']:%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"
    assert {one["kind"] for one in example["segments"]} == {"title", "prose", "code", "comment"}


def test_two_workers_and_artifacts_read_back_give_the_same_bytes(
    artifacts: Artifacts, tmp_path: Path
) -> None:
    reopened = {
        stage: Artifact(artifact.folder, read_manifest(artifact.folder / "manifest.json"))
        for stage, artifact in artifacts.items()
        if stage not in AFTER
    }
    with LocalEngine(2) as engine:
        again = build_statistics(reopened, Store(tmp_path), engine, Reporter(quiet=True))
    assert again.manifest == artifacts["statistics"].manifest


# Counting -----------------------------------------------------------------------------------


def test_counts_do_not_depend_on_how_threads_are_cut_into_shards(artifacts: Artifacts) -> None:
    for path in sorted((artifacts["dataset"].folder / "data").iterdir()):
        rows = pq.read_table(path)
        lengths = pq.read_table(artifacts["shards"].folder / f"{path.stem}.map.parquet")
        threads = rows["thread_id"].to_numpy()
        if cut := int(np.searchsorted(threads, threads[-1])):
            break
    assert cut
    halves = [count_shard(rows[a:b], lengths[a:b]) for a, b in ((0, cut), (cut, len(rows)))]
    whole, added = count_shard(rows, lengths), add_counts(halves)
    for counts in (whole, added):
        del counts["totals"][("arrow_bytes",)]
    assert {name: +one for name, one in added.items()} == {n: +one for n, one in whole.items()}


@settings(deadline=None)  # the first call starts Arrow's threads
@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 2))))
def test_counted_rows_are_those_of_a_counter(rows: list[tuple[str, int]]) -> None:
    names = pa.array([name for name, _ in rows], pa.string())
    values = pa.array([value for _, value in rows], pa.int64())
    assert count_rows(names, values) == Counter(rows)


@given(st.dictionaries(st.integers(1, 40), st.integers(1, 40), max_size=40), st.integers(1, 9))
def test_group_sizes_are_found_from_any_partitions(
    joins: dict[int, int], num_partitions: int
) -> None:
    group_of = {thread: min(thread, other) for thread, other in joins.items()}
    group_of |= {group: group for group in group_of.values()}
    parts = []
    for part in range(num_partitions):
        threads = [thread for thread in group_of if thread % num_partitions == part]
        names = [f"x.org/{group_of[thread]}" for thread in threads]
        parts.append(count_joined_threads(np.array(threads, "i8"), names, "x.org"))
    sizes = Counter(Counter(group_of.values()).values())
    assert +size_groups(add_counts(parts)) == sizes


@given(
    st.dictionaries(st.integers(-50, 50), st.integers(1, 9)),
    st.lists(st.integers(-30, 30), min_size=1, unique=True),
)
def test_a_histogram_holds_every_value_in_the_bin_that_names_it(
    counts: dict[int, int], edges: list[int]
) -> None:
    values = [value for value, num in counts.items() for _ in range(num)]
    bins = histogram(counts, sorted(edges))
    assert bins == binned(bins, values)
    assert not bins or (bins[next(iter(bins))] and bins[next(reversed(bins))])


@given(st.lists(st.integers(0, 300), min_size=1))
def test_quantiles_are_numpys(values: list[int]) -> None:
    for hundredth, value in quantiles(Counter(values)).items():
        assert value == np.quantile(values, int(hundredth) / 100, method="inverted_cdf")


@given(st.integers(0, 10**6))
def test_the_longest_is_below_the_last_power_of_two(largest: int) -> None:
    edges = powers_of_two(largest)
    assert edges[-1] > largest >= edges[-1] // 2


@given(st.dictionaries(st.text(max_size=3), st.integers(1, 5)), st.integers(0, 4))
def test_what_is_not_at_the_top_is_other(counts: dict[str, int], num: int) -> None:
    top = take_top(counts, num)
    assert len(top["top"]) == min(num, len(counts))
    assert sum(top["top"].values()) + top["other"] == sum(counts.values())
    assert all(top["top"][name] == counts[name] for name in top["top"])
    assert min(top["top"].values(), default=9) >= max(
        (n for name, n in counts.items() if name not in top["top"]), default=0
    )


def test_the_example_with_most_kinds_wins_over_the_one_of_better_length() -> None:
    kinds = ("prose", "code", "title", "comment")
    lengths = pa.table(
        {
            "num_tokens": [120, 900, 130, 110],
            **{f"num_{kind}_tokens": [1, 1, 1, 1] for kind in kinds[:2]},
            **{f"num_{kind}_tokens": [0, 1, 1, 1] for kind in kinds[2:]},
        }
    )
    rows = pa.table({"doc_id": ["x/1", "x/2", "x/3", "x/4"]})
    assert choose_example(rows, lengths) == {"rank": [-4, 10, "x/3"], "row": {"doc_id": "x/3"}}
