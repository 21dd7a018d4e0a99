"""Examples dealt out to splits that share nothing."""

from __future__ import annotations

import itertools
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from corpus.engine import LocalEngine
from corpus.errors import RecipeError
from corpus.progress import Reporter
from corpus.recipe import SPLITS
from corpus.store import Artifact, Store
from corpus.tables import read_table
from labeling.dealing import CANARY, build_benchmark_data
from labeling.recipe import parse_benchmark_recipe
from tests.labeling.conftest import make_examples, make_text, store_examples

CARD = {"name": "x", "title": "X", "summary": ""}
HALVES = {"fractions": {"train": 0.5, "validation": 0.2, "test": 0.3}}


def deal(
    folder: Path, table: pa.Table, *, num_files: int = 2, workers: int = 1, **benchmark: Any
) -> Artifact:
    store = Store(folder)
    recipe = parse_benchmark_recipe({"card": CARD, "benchmark": benchmark, "quality": {}})
    examples = store_examples(store, table, num_files)
    with LocalEngine(workers) as engine:
        return build_benchmark_data(examples, None, recipe, store, engine, Reporter(quiet=True))


def read(made: Artifact) -> dict[str, list[dict[str, Any]]]:
    rows: dict[str, list[dict[str, Any]]] = {}
    for split in SPLITS:
        for entry in made.files(f"data/{split}-"):
            rows.setdefault(split, []).extend(read_table(made.path(entry.name)).to_pylist())
    return rows


def splits_of(made: Artifact) -> dict[int, str]:
    return {row["post_id"]: split for split, rows in read(made).items() for row in rows}


def rejected(made: Artifact) -> dict[str, int]:
    flow = made.manifest.outcome.flows["examples"]
    assert flow.num_in == flow.num_out + sum(flow.rejected.values())
    return dict(flow.rejected)


def test_published_examples_are_dealt_by_digest_and_all_are_there(tmp_path: Path) -> None:
    made = deal(tmp_path, make_examples({"post_id": n} for n in range(1, 201)), **HALVES)
    found = splits_of(made)
    assert sorted(found) == list(range(1, 201)) and rejected(made) == {}
    sizes = {split: list(found.values()).count(split) for split in SPLITS}
    assert 80 <= sizes["train"] <= 120 and 40 <= sizes["test"] <= 80


def test_near_duplicates_land_in_one_split(tmp_path: Path) -> None:
    rows = [{"post_id": n} for n in range(1, 101)]
    rows += [{"post_id": 1000 + n, "text": make_text(n) + " more"} for n in range(1, 101)]
    found = splits_of(deal(tmp_path, make_examples(rows), **HALVES))
    assert len(found) == 200
    assert all(found[n] == found[1000 + n] for n in range(1, 101))


def test_a_thread_lands_in_one_split(tmp_path: Path) -> None:
    rows = [{"post_id": n, "thread_id": n // 4} for n in range(4, 104)]
    found = splits_of(deal(tmp_path, make_examples(rows), **HALVES))
    for thread in range(1, 26):
        assert len({found[4 * thread + n] for n in range(4)}) == 1


def test_cuts_put_the_newest_into_test_and_no_group_over_a_cut(tmp_path: Path) -> None:
    rows = [{"post_id": n} for n in range(1, 300)]
    # Asked in time for test, a near-duplicate of a question of train.
    rows.append({"post_id": 400, "text": make_text(5) + " again"})
    cuts = {"validation": date(2020, 4, 10), "test": date(2020, 7, 19)}
    made = deal(tmp_path, make_examples(rows), cuts=cuts)
    found = splits_of(made)
    assert (found[99], found[100], found[199], found[200]) == (
        "train",
        "validation",
        "validation",
        "test",
    )
    assert 400 not in found and rejected(made) == {"after_cut": 1}


def test_an_example_of_train_gives_way_to_a_near_duplicate_in_test(tmp_path: Path) -> None:
    rows = [{"post_id": n, "group": f"x.org/{n}", "split": "train"} for n in range(1, 40)]
    rows.append({"post_id": 50, "text": make_text(7) + " x", "group": "x.org/50", "split": "test"})
    made = deal(tmp_path, make_examples(rows))
    assert rejected(made) == {"near_duplicate": 1}
    assert 7 not in splits_of(made) and splits_of(made)[50] == "test"


def test_an_evaluation_example_that_train_quotes_is_left_out(tmp_path: Path) -> None:
    rows = [{"post_id": n, "group": f"x.org/{n}", "split": "train"} for n in range(1, 10)]
    rows[0]["text"] = make_text(500) + " " + make_text(60, num_words=400)
    rows.append({"post_id": 50, "text": make_text(500), "group": "x.org/50", "split": "test"})
    made = deal(tmp_path, make_examples(rows))
    assert rejected(made) == {"ngram_overlap": 1} and 50 not in splits_of(made)


def test_only_the_test_split_carries_the_canary_and_each_benchmark_its_own(tmp_path: Path) -> None:
    rows = read(deal(tmp_path / "a", make_examples({"post_id": n} for n in range(1, 60)), **HALVES))
    for split, examples in rows.items():
        canaries = {row["canary"] for row in examples}
        assert canaries == {None} if split != "test" else len(canaries) == 1
    (canary,) = {row["canary"] for row in rows["test"]}
    assert canary.startswith(CANARY)
    other = deal(tmp_path / "b", make_examples({"post_id": n} for n in range(2, 60)), **HALVES)
    assert {row["canary"] for row in read(other)["test"]} != {canary}


def test_neither_files_nor_workers_change_a_byte(tmp_path: Path) -> None:
    table = make_examples({"post_id": n} for n in range(1, 80))
    ways = [deal(tmp_path / f"{n}", table, num_files=n, workers=n, **HALVES) for n in (1, 2)]
    assert ways[0].files() != []
    assert [e.sha256 for e in ways[0].files("data/train")] == [
        e.sha256 for e in ways[1].files("data/train")
    ]


def test_the_order_of_rows_tells_nothing(tmp_path: Path) -> None:
    rows = read(deal(tmp_path, make_examples({"post_id": n} for n in range(1, 400)), **HALVES))
    ids = [row["post_id"] for row in rows["train"]]
    assert ids != sorted(ids)
    ups = sum(a < b for a, b in itertools.pairwise(ids))
    assert 0.4 < ups / (len(ids) - 1) < 0.6


def test_no_examples_are_no_files(tmp_path: Path) -> None:
    made = deal(tmp_path, make_examples([]))
    assert made.files() == [] and rejected(made) == {}


@pytest.mark.parametrize("bad", [{"train": 1.0}, {"train": 0.5, "validation": 0.2, "test": 0.2}])
def test_fractions_must_name_all_splits_and_sum_to_1(bad: dict[str, float]) -> None:
    with pytest.raises(RecipeError, match="fractions"):
        parse_benchmark_recipe({"card": CARD, "benchmark": {"fractions": bad}, "quality": {}})
