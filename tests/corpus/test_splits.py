"""Splits: whole leakage groups, by digest or by date, without what evaluation shares with train."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from corpus.dealing import split_by_digest
from corpus.dedup import build_dedup
from corpus.demo import CHAIN, EXACT_PAIR, NEAR_PAIRS
from corpus.engine import LocalEngine
from corpus.manifest import Flow
from corpus.progress import Reporter
from corpus.recipe import SPLITS, Recipe, SplitsSection, parse_recipe
from corpus.splits import build_splits
from corpus.store import Artifact, Store
from corpus.tables import read_table

Row = dict[str, Any]
MakeDocuments = Callable[..., dict[str, Artifact]]
Split = Callable[..., dict[str, Row]]

HALVES = {"train": 0.5, "validation": 0.25, "test": 0.25}


def words(first: int, last: int) -> str:
    return " ".join(f"word{number}" for number in range(first, last))


def own_text(number: int) -> str:
    return words(1000 * number, 1000 * number + 30)


def recipe_of(**sections: Any) -> Recipe:
    card = {"name": "x", "title": "X", "summary": ""}
    return parse_recipe({"card": card, **sections})


def read_splits(splits: Artifact) -> dict[str, Row]:
    rows = {}
    for entry in splits.files("splits/"):
        site = entry.name.split("/")[1]
        for row in read_table(splits.path(entry.name)).to_pylist():
            rows[f"{site}/{row['post_id']}"] = row
    return rows


@pytest.fixture
def build(make_documents: MakeDocuments, tmp_path: Path) -> Callable[..., Artifact]:
    """Split documents given as rows."""

    def run(
        rows: Sequence[Row],
        links: Sequence[tuple[str, int, int]] = (),
        *,
        partition_threads: int = 64,
        **sections: Any,
    ) -> Artifact:
        recipe = recipe_of(**sections)
        made = make_documents(rows, links, partition_threads=partition_threads)
        at = (Store(tmp_path / "store"), LocalEngine(), Reporter(quiet=True))
        dedup = build_dedup(made["documents"], recipe.dedup, *at)
        return build_splits(made["documents"], dedup, made["posts"], recipe, *at)

    return run


@pytest.fixture
def split(build: Callable[..., Artifact]) -> Split:
    return lambda *args, **sections: read_splits(build(*args, **sections))


def salt_for(wanted: dict[str, str], fractions: dict[str, float]) -> dict[str, Any]:
    """The splits section in which groups of these names have these splits."""
    for number in range(10_000):
        section = SplitsSection(salt=str(number), fractions=fractions)
        if all(split_by_digest(group, section) == name for group, name in wanted.items()):
            return {"salt": str(number), "fractions": fractions}
    raise AssertionError(f"no salt gives {wanted}")


def test_threads_clusters_and_links_stay_together(demo_build: Any) -> None:
    rows = read_splits(demo_build.artifacts["splits"])
    gardens, homelab = "gardens.example.org", "homelab.example.org"
    together = [
        EXACT_PAIR,
        *NEAR_PAIRS,
        CHAIN,
        (f"{gardens}/150", f"{gardens}/41"),
        (f"{homelab}/180", f"{homelab}/4"),
    ]
    for doc_ids in together:
        assert len({rows[doc_id]["group"] for doc_id in doc_ids}) == 1
        assert len({rows[doc_id]["split"] for doc_id in doc_ids} - {None}) == 1
    by_group: dict[str, set[str]] = {}
    for row in rows.values():
        by_group.setdefault(row["group"], set()).add(row["split"])
    assert all(len(splits - {None}) <= 1 for splits in by_group.values())
    assert rows["gardens.example.org/96"]["group"] not in {"gardens.example.org/96", None}


def test_answers_follow_their_question_and_orphans_follow_their_thread(split: Split) -> None:
    rows = [
        {"post_id": number, "text": own_text(number), "thread_id": number % 40 or 40}
        for number in range(1, 161)
    ]
    # No document for the questions 1 to 10: their answers are orphans.
    found = split(rows[10:], splits={"fractions": HALVES})
    for row in rows[10:]:
        other = found[f"x.org/{row['thread_id'] + 120}"]
        assert found[f"x.org/{row['post_id']}"]["split"] == other["split"]
        assert other["group"] == f"x.org/{row['thread_id']}"
    assert {row["split"] for row in found.values()} == set(SPLITS)


def test_two_duplicates_of_a_question_that_is_gone_stay_together(split: Split) -> None:
    rows = [{"post_id": number, "text": own_text(number)} for number in (1, 2, 3)]
    section = salt_for({"x.org/1": "train", "x.org/2": "test"}, HALVES)
    assert split(rows, splits=section)["x.org/2"]["split"] == "test"
    linked = split(rows, [("x.org", 1, 99), ("x.org", 2, 99)], splits=section)
    assert linked["x.org/2"]["split"] == "train"
    assert linked["x.org/2"]["group"] == "x.org/1"
    assert linked["x.org/3"]["group"] == "x.org/3"


def test_every_document_is_in_one_split_or_has_a_reason(build: Callable[..., Artifact]) -> None:
    rows = [{"post_id": number, "text": own_text(number % 30)} for number in range(1, 61)]
    made = build(rows, splits={"fractions": HALVES})
    found = read_splits(made)
    assert all((row["split"] is None) == (row["reason"] is not None) for row in found.values())
    flow = made.manifest.outcome.flows["documents"]
    assert flow == Flow(60, 30, {"duplicate": 30})
    counts = Counter(row["split"] for row in found.values())
    figures = made.manifest.outcome.figures
    assert {s: figures[f"documents_{s}"] for s in SPLITS} == {s: counts[s] for s in SPLITS}


def test_partitions_of_any_width_deal_the_same(split: Split) -> None:
    rows = [
        {"post_id": number, "text": own_text(number), "thread_id": (number + 2) // 3}
        for number in range(1, 61)
    ]
    links = [("x.org", 1, 20), ("x.org", 9, 12)]
    one, other = (
        split(rows, links, partition_threads=width, splits={"fractions": HALVES})
        for width in (3, 64)
    )
    assert one == other


def at(year: int) -> datetime:
    return datetime(year, 6, 1, tzinfo=UTC)


CUTS = {"cuts": {"validation": date(2020, 1, 1), "test": date(2021, 1, 1)}}


def test_by_date_a_group_is_where_its_first_document_is(split: Split) -> None:
    years = {1: 2018, 2: 2020, 3: 2022, 4: 2019, 5: 2022}
    rows = [
        {"post_id": number, "text": own_text(number), "created_at": at(year)}
        for number, year in years.items()
    ]
    found = split(rows, [("x.org", 5, 4)], splits=CUTS)
    splits = [found[f"x.org/{number}"]["split"] for number in years]
    assert splits == ["train", "validation", "test", "train", None]
    assert found["x.org/5"]["reason"] == "after_cut"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"created_at": at(2020)}, "after_cut"),
        ({"edited_at": at(2020)}, "after_cut"),
        ({"comments": [(at(2018), "early"), (at(2020), "late")]}, "after_cut"),
        ({"comments": [(at(2019), "early")], "edited_at": at(2019)}, None),
    ],
)
def test_what_is_newer_than_its_split_may_be_is_rejected(
    split: Split, changes: Row, reason: str | None
) -> None:
    rows = [
        {"post_id": 1, "text": own_text(1), "created_at": at(2018)},
        {"post_id": 2, "thread_id": 1, "text": own_text(2), "created_at": at(2018), **changes},
        {"post_id": 3, "text": own_text(3), "created_at": at(2020), "edited_at": at(2022)},
    ]
    found = split(rows, splits=CUTS)
    assert (found["x.org/1"]["split"], found["x.org/1"]["reason"]) == ("train", None)
    assert (found["x.org/2"]["split"], found["x.org/2"]["reason"]) == (
        None if reason else "train",
        reason,
    )
    assert found["x.org/3"]["reason"] == "after_cut"


def test_hold_out_forces_the_whole_group_into_test(split: Split) -> None:
    rows = [
        {"post_id": 1, "text": own_text(1)},
        {"post_id": 2, "text": own_text(2), "thread_id": 1},
        {"post_id": 3, "text": own_text(3)},  # a duplicate question of 1
        {"post_id": 4, "text": f"{own_text(2)} more", "site": "y.org"},  # a near-duplicate of 2
        {"post_id": 5, "text": own_text(5)},
    ]
    all_train = {"train": 1.0, "validation": 0.0, "test": 0.0}
    section = {"fractions": all_train, "hold_out": ["x.org/1"], "largest_evaluation_group": 1}
    found = split(rows, [("x.org", 3, 1)], splits=section)
    splits = {doc_id: row["split"] for doc_id, row in found.items()}
    assert splits == {
        "x.org/1": "test",
        "x.org/2": "test",
        "x.org/3": "test",
        "x.org/5": "train",
        "y.org/4": None,
    }
    by_date = split(rows, [("x.org", 3, 1)], splits={**CUTS, "hold_out": ["x.org/3"]})
    assert {doc_id: row["split"] for doc_id, row in by_date.items()} == splits


def test_a_post_that_is_held_out_holds_out_the_thread_that_it_is_of_now(split: Split) -> None:
    rows = [
        {"post_id": 1, "text": own_text(1)},
        {"post_id": 2, "text": own_text(2), "thread_id": 1},
        {"post_id": 3, "text": own_text(3), "thread_id": 2},
        {"post_id": 4, "text": own_text(4)},
    ]
    all_train = {"train": 1.0, "validation": 0.0, "test": 0.0}
    found = split(rows, splits={"fractions": all_train, "hold_out": ["x.org/2"]})
    splits = {doc_id: row["split"] for doc_id, row in found.items()}
    assert splits == dict.fromkeys(["x.org/1", "x.org/2", "x.org/3"], "test") | {"x.org/4": "train"}


def test_threads_held_out_that_are_not_in_the_dump_are_not_counted(
    build: Callable[..., Artifact],
) -> None:
    rows = [{"post_id": 1, "text": own_text(1)}]
    made = build(rows, splits={"hold_out": ["x.org/1", "x.org/7", "z.org/1"]})
    assert made.manifest.outcome.figures["held_out_threads"] == 1


def test_a_short_evaluation_text_that_train_quotes_is_rejected(split: Split) -> None:
    short = words(0, 26)  # 14 n-grams of 13
    rows = [
        {"post_id": 1, "text": f"{words(100, 200)} {words(0, 19)} {words(200, 300)}"},  # 7 of 14
        {"post_id": 2, "text": short},
        {"post_id": 3, "text": f"{words(300, 400)} {words(0, 20)} {words(400, 500)}"},  # 8 of 14
    ]
    apart = {"x.org/1": "train", "x.org/2": "test", "x.org/3": "validation"}
    section = salt_for(apart, HALVES)
    found = split(rows, splits=section)
    assert found["x.org/2"]["split"] == "test"  # half is allowed, and validation is not train
    assert found["x.org/3"]["split"] == "validation"
    section = salt_for({**apart, "x.org/3": "train"}, HALVES)
    found = split(rows, splits=section)
    assert (found["x.org/2"]["split"], found["x.org/2"]["reason"]) == (None, "ngram_overlap")
    section = salt_for({"x.org/1": "test", "x.org/2": "train", "x.org/3": "test"}, HALVES)
    assert {row["reason"] for row in split(rows, splits=section).values()} == {None}


def test_comments_count_for_overlaps(split: Split) -> None:
    quote = words(0, 40)
    rows = [
        {"post_id": 1, "text": words(100, 150), "comments": [(at(2016), quote)]},
        {"post_id": 2, "text": quote},
    ]
    found = split(rows, splits=salt_for({"x.org/1": "train", "x.org/2": "test"}, HALVES))
    assert found["x.org/2"]["reason"] == "ngram_overlap"


@pytest.mark.parametrize(
    ("first", "second"), [("train", "test"), ("train", "validation"), ("validation", "test")]
)
def test_of_a_near_duplicate_that_minhash_missed_the_split_before_gives_way(
    split: Split, first: str, second: str
) -> None:
    rows = [
        {"post_id": 1, "text": words(0, 60)},
        {"post_id": 2, "text": f"{words(0, 55)} other end"},
        {"post_id": 3, "text": own_text(3)},
    ]
    section = salt_for({"x.org/1": first, "x.org/2": second}, HALVES)
    blind = {"bands": 1}  # all 120 permutations must agree
    found = split(rows, splits=section, dedup=blind)
    assert (found["x.org/1"]["split"], found["x.org/1"]["reason"]) == (None, "near_duplicate")
    assert (found["x.org/2"]["split"], found["x.org/2"]["reason"]) == (second, None)
    section = salt_for({"x.org/1": second, "x.org/2": first}, HALVES)
    found = split(rows, splits=section, dedup=blind)
    assert (found["x.org/2"]["reason"], found["x.org/1"]["split"]) == ("near_duplicate", second)
    same = salt_for({"x.org/1": first, "x.org/2": first}, HALVES)
    assert {row["reason"] for row in split(rows, splits=same, dedup=blind).values()} == {None}


def test_what_is_rejected_twice_keeps_its_first_reason(split: Split) -> None:
    rows = [
        {"post_id": 1, "text": f"{words(100, 200)} {words(0, 60)} {words(200, 300)}"},
        {"post_id": 2, "text": words(0, 60)},
        {"post_id": 3, "text": f"{words(0, 55)} {words(400, 480)} other end"},
        {"post_id": 4, "text": f"{words(0, 55)} {words(400, 470)} other end"},
    ]
    wanted = {"x.org/1": "train", "x.org/2": "validation", "x.org/3": "validation"}
    section = salt_for({**wanted, "x.org/4": "test"}, HALVES)
    recipe = {"dedup": {"bands": 1}, "leakage": {"max_overlap": 0.3}}
    found = split(rows, splits=section, **recipe)
    reasons = [found[f"x.org/{number}"]["reason"] for number in (1, 2, 3, 4)]
    assert reasons == [None, "ngram_overlap", "near_duplicate", "ngram_overlap"]


def test_all_train_needs_no_evaluation(split: Split) -> None:
    rows = [{"post_id": number, "text": own_text(number)} for number in range(1, 5)]
    found = split(rows, splits={"fractions": {"train": 1.0, "validation": 0.0, "test": 0.0}})
    assert {row["split"] for row in found.values()} == {"train"}


def test_no_documents_are_no_splits(build: Callable[..., Artifact]) -> None:
    made = build([])
    assert made.files() == []
    assert made.manifest.outcome.flows == {"documents": Flow()}


@pytest.mark.slow
def test_a_later_dump_of_a_real_site_moves_no_document(
    shared_data: Path, run_stages: Callable[..., dict[str, Artifact]], tmp_path: Path
) -> None:
    site = "beer.stackexchange.com"
    at = (Store(tmp_path), LocalEngine(), Reporter(quiet=True))
    recipe = recipe_of(splits={"fractions": HALVES})
    found = []
    for dump in ("2014-05", "2016-09"):
        stages = run_stages(tmp_path, f"{site}={shared_data / 'dumps' / site / dump}")
        dedup = build_dedup(stages["documents"], recipe.dedup, *at)
        inputs = (stages["documents"], dedup, stages["posts"])
        found.append(read_splits(build_splits(*inputs, recipe, *at)))
    old, new = found
    assert (len(old), len(new)) == (692, 1891)
    kept = [doc_id for doc_id in old if doc_id in new]
    assert len(kept) == 691
    assert all(new[doc_id] == old[doc_id] for doc_id in kept)
