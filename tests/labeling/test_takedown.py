"""A takedown reaches the benchmarks of a store, and what people said of their items."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from corpus.build import build_corpus
from corpus.demo_paper import PAPER_SITE, write_paper_dump
from corpus.engine import LocalEngine
from corpus.ownership import collect_texts, list_rows
from corpus.progress import Reporter
from corpus.proving import search_store
from corpus.quotes import digest_windows
from corpus.recipe import load_recipe
from corpus.removals import Name, Record, Removal, read_record
from corpus.searcher import Sought
from corpus.store import Store
from corpus.tables import read_table
from corpus.takedown import remove
from labeling.annotating import database_path, enrol, open_annotations
from labeling.annotations import AnnotationStore
from labeling.build import build_benchmark
from labeling.examples import EXAMPLE_SCHEMA
from labeling.exchange import export_annotations
from labeling.judgements import Draft
from labeling.recipe import BenchmarkRecipe, parse_benchmark_recipe
from labeling.removed import drop_removed
from labeling.takedown import rebuild_benchmarks
from tests.conftest import CHECKOUT

AT: dict[str, Any] = {"engine": LocalEngine(), "reporter": Reporter(quiet=True)}
WHY = {"reason": "asked", "date": "2026-01-02", "derive": rebuild_benchmarks}
CLEAN = {"id": 0, "author": 0, "link": 0, "text": 0}


def recipe(task: str, **rule: Any) -> BenchmarkRecipe:
    return parse_benchmark_recipe(
        {
            "card": {"name": task, "title": task, "summary": ""},
            "benchmark": {"corpus": "paper"},
            task: rule,
            "probes": {"num_folds": 2, "resamples": 100},
        }
    )


def now() -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A corpus, two benchmarks, and judgements of all items."""
    folder = tmp_path_factory.mktemp("paper")
    write_paper_dump(folder / "dump")
    loaded = load_recipe(CHECKOUT / "datacards" / "paper" / "recipe.toml")
    store = Store(folder / "store")
    build_corpus(loaded, [str(folder / "dump")], store=store, **AT)
    build_benchmark("quality", recipe("quality"), store=store, **AT)
    build_benchmark("obsoletion", recipe("obsoletion", per_stratum=30), store=store, **AT)
    annotations = open_annotations(store, "obsoletion", clock=now)
    judge(annotations)
    annotations.close()
    return store


def judge(annotations: AnnotationStore) -> None:
    """Ada judges every item; her evidence is its comments and her note its first words."""
    enrol(annotations, ["ada"], "annotator")
    for item_id in annotations.item_ids():
        content = annotations.read_item(item_id)
        ids = [one["comment_id"] for one in content["comments"]]
        evidence = tuple({"kind": "comment", "id": one} for one in ids)
        draft = Draft("current", evidence=evidence, note=content["answer"]["text"][:200])
        annotations.save(item_id, "ada", draft, expected_revision=0)


@pytest.fixture
def store(built: Store, tmp_path: Path) -> Store:
    shutil.copytree(built.folder, tmp_path / "store")
    return Store(tmp_path / "store")


TEXT = "Set the valve to three bars, wait for the lamp, and only then open the second tap."


def test_published_examples_go_by_id_by_author_by_link_and_by_quote() -> None:
    digests, _ = digest_windows(pa.array([TEXT]))
    names = [Name("post", "x.org", 2), Name("user", "x.org", 9)]
    removals = tuple(Removal(name, "asked", "2026-01-02") for name in names)
    record = Record(removals, np.unique(digests))
    rows = [
        {"post_id": 1, "text": "stays"},
        {"post_id": 2, "text": "is gone"},
        {"post_id": 3, "text": "is theirs", "author_id": 9},
        {"post_id": 4, "text": "links", "raw_text": "see https://x.org/q/2/"},
        {"post_id": 5, "text": f"quotes: {TEXT}"},
        {"post_id": 2, "text": "is of another site", "site": "y.org"},
    ]
    table = pa.Table.from_pylist([{"site": "x.org", **row} for row in rows], EXAMPLE_SCHEMA)
    kept = drop_removed(table, record)
    assert kept["text"].to_pylist() == ["stays", "is of another site"]
    assert drop_removed(table, Record()) is table


def ids_of(store: Store, table: str, column: str) -> list[int]:
    path = store.read_run("paper")["rows"].path(f"rows/{PAPER_SITE}/{table}.parquet")
    return sorted({one for one in read_table(path, [column])[column].to_pylist() if one})


def spread(ids: list[int], num: int) -> list[str]:
    return [f"{PAPER_SITE}/{one}" for one in ids[:: len(ids) // num][:num]]


def iter_drafts(path: Path) -> Iterator[dict[str, Any]]:
    connection = sqlite3.connect(path)
    for (text,) in connection.execute("SELECT draft FROM judgements"):
        yield json.loads(text)
    connection.close()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_twenty_posts_five_comments_and_three_people_are_gone_from_everything(
    store: Store, tmp_path: Path
) -> None:
    asked = {
        "posts": spread(ids_of(store, "Posts", "id"), 20),
        "comments": spread(ids_of(store, "Comments", "id"), 5),
        "users": spread(ids_of(store, "Users", "id"), 3),
    }
    old = Store(tmp_path / "old")
    shutil.copytree(store.folder, old.folder)
    head = open_annotations(store, "obsoletion", clock=now)
    num_events = head.check_log()
    head.close()
    found = remove(**asked, **WHY, store=store, **AT)
    assert len(found["asked"]) == 28
    assert (found["proof"]["hits"], found["proof"]["unread"]) == (CLEAN, [])
    # Control: the same search over the store as it was.
    record = read_record(store.folder)
    texts = collect_texts(list_rows([old.read_run("paper")["rows"].folder]), record)
    sought = Sought(tuple(sorted(record.names())), tuple(sorted(set(texts.texts))), record.windows)
    before = search_store(old.folder, sought, **AT)["hits"]
    assert all(before[kind] > 100 for kind in ("id", "author", "text"))
    for name in ("paper", "quality", "obsoletion"):
        for artifact in store.read_run(name).values():
            artifact.manifest.check_conserved()
    annotations = open_annotations(store, "obsoletion", clock=now)
    assert 0 < annotations.check_log() <= num_events + 1
    annotations.close()
    again = remove(**asked, **WHY, store=store, **AT)
    assert (again["new"], again["deleted"], again["notes"]) == (0, 0, [])


@pytest.mark.slow
def test_a_judged_answer_goes_with_its_judgements_and_the_log_says_so(store: Store) -> None:
    annotations = open_annotations(store, "obsoletion", clock=now)
    item_id = annotations.item_ids()[3]
    before = annotations.check_log()
    annotations.close()
    found = remove(posts=[item_id], **WHY, store=store, **AT)
    assert found["proof"]["hits"] == CLEAN
    assert any("annotations of obsoletion" in note for note in found["notes"])
    path = database_path(store, "obsoletion")
    connection = sqlite3.connect(path)
    (event, detail) = connection.execute(
        "SELECT event, detail FROM events ORDER BY seq DESC LIMIT 1"
    ).fetchone()
    assert connection.execute("PRAGMA freelist_count").fetchone()[0] == 0
    connection.close()
    assert event == "removed"
    assert json.loads(detail)["before"]["events"] == before
    annotations = open_annotations(store, "obsoletion", clock=now)
    assert item_id not in annotations.item_ids()
    assert json.loads(detail)["judgements"] >= 1
    enrol(annotations, ["ben"], "annotator")  # it goes on being used
    assert annotations.next_item("ben") is not None
    annotations.close()


@pytest.mark.slow
def test_evidence_that_pointed_at_what_is_gone_is_dropped(store: Store) -> None:
    annotations = open_annotations(store, "obsoletion", clock=now)
    shown = [
        one["comment_id"]
        for item_id in annotations.item_ids()
        for one in annotations.read_item(item_id)["comments"]
    ]
    annotations.close()
    comment_id = shown[0]
    found = remove(comments=[f"{PAPER_SITE}/{comment_id}"], **WHY, store=store, **AT)
    assert found["proof"]["hits"] == CLEAN
    drafts = list(iter_drafts(database_path(store, "obsoletion")))
    assert comment_id not in {one["id"] for draft in drafts for one in draft["evidence"]}
    assert sum(len(draft["evidence"]) for draft in drafts) > 0


@pytest.mark.slow
def test_judgements_that_were_exported_before_are_read_without_what_is_gone(
    store: Store, tmp_path: Path
) -> None:
    annotations = open_annotations(store, "obsoletion", clock=now)
    annotations.import_judgements([], "none")
    enrol(annotations, ["ben"], "annotator")
    for number, item_id in enumerate(annotations.item_ids()):
        label = "obsolete" if number % 2 else "current"
        for name in ("ada", "ben"):
            newest = annotations.current(item_id, name)
            draft = Draft(label, "library" if number % 2 else None)
            revision = newest.revision if newest else 0
            annotations.save(item_id, name, draft, expected_revision=revision)
    export = tmp_path / "judged.jsonl"
    export_annotations(annotations, export)
    gone = annotations.item_ids()[5]
    annotations.close()
    asked = recipe("obsoletion", per_stratum=30)
    build_benchmark("obsoletion", asked, [str(export)], store=store, **AT)
    found = remove(posts=[gone], **WHY, store=store, **AT)
    assert found["proof"]["hits"] == CLEAN
    assert any("without its judgements" in note for note in found["notes"])
    assert "release" not in store.read_run("obsoletion")
    built = build_benchmark("obsoletion", asked, [str(export)], store=store, **AT)
    flow = built["examples"].manifest.outcome.flows["rows"]
    assert flow.rejected["removed"] >= 1
    again = remove(posts=[gone], **WHY, store=store, **AT)
    assert again["proof"]["hits"] == CLEAN
    assert "release" in store.read_run("obsoletion")
