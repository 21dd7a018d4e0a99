"""The label stage on the demo corpus: every question has a label or a reason."""

from __future__ import annotations

import pytest

from corpus.engine import LocalEngine
from corpus.errors import StoreError
from corpus.progress import Reporter
from corpus.store import Artifact, Store
from corpus.tables import read_table
from labeling.labels import LABEL_SCHEMA, build_labels
from labeling.recipe import parse_benchmark_recipe
from tests.conftest import Build

CARD = {"name": "x", "title": "X", "summary": ""}
GARDENS, HOMELAB = "gardens.example.org", "homelab.example.org"


def labels_of(build: Build, store: Store, task: str, **section: object) -> dict[str, dict]:
    recipe = parse_benchmark_recipe({"card": CARD, "benchmark": {"corpus": "demo"}, task: section})
    posts, splits = build.artifacts["posts"], build.artifacts["splits"]
    made = build_labels(posts, splits, recipe, store, LocalEngine(), Reporter(quiet=True))
    rows = {}
    for entry in made.files("labels/"):
        site = entry.name.split("/")[1]
        table = read_table(made.path(entry.name))
        assert table.schema.names == LABEL_SCHEMA.names
        rows |= {f"{site}/{row['post_id']}": row for row in table.to_pylist()}
    return rows


def test_the_planted_questions_have_their_class(demo_build: Build, demo_copy: Store) -> None:
    found = labels_of(demo_build, demo_copy, "quality")
    by_class: dict[str, set[str]] = {}
    for name, row in found.items():
        by_class.setdefault(row["label"], set()).add(name)
    assert by_class["LQ_EDIT"] == {f"{GARDENS}/66", f"{HOMELAB}/265"}
    assert by_class["HQ"] >= {f"{GARDENS}/41", f"{HOMELAB}/4"}
    assert by_class["LQ_CLOSE"] == {
        *(f"{GARDENS}/{post}" for post in (6, 150)),
        *(f"{HOMELAB}/{post}" for post in (166, 180, 322, 335, 368)),
    }


def test_the_planted_closures_have_their_reasons(demo_build: Build, demo_copy: Store) -> None:
    found = labels_of(demo_build, demo_copy, "closed")
    closed = {name: row["reason"] for name, row in found.items() if row["label"] == "closed"}
    assert closed == {
        f"{GARDENS}/6": "unclear",
        f"{HOMELAB}/335": "off_topic",
        f"{HOMELAB}/166": "unclear",
        f"{HOMELAB}/322": "too_broad",
        f"{HOMELAB}/368": "opinion_based",
    }
    assert found[f"{GARDENS}/6"]["reason_then"] == "not_a_real_question"


def test_every_label_has_the_split_of_its_document(demo_build: Build, demo_copy: Store) -> None:
    dataset = demo_build.artifacts["dataset"]
    split_of = {
        doc_id: entry.name.removeprefix("data/").split("-")[0]
        for entry in dataset.files("data/")
        for doc_id in read_table(dataset.path(entry.name), ["doc_id"])["doc_id"].to_pylist()
    }
    found = labels_of(demo_build, demo_copy, "closed", reopened="open")
    assert len(found) > 20
    assert {name: row["split"] for name, row in found.items()} == {
        name: split_of[name] for name in found
    }


def test_a_corpus_without_history_is_said_to_have_none(
    demo_build: Build, demo_copy: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = Artifact.files

    def without_history(artifact: Artifact, prefix: str = "") -> list:
        return [] if prefix == "history/" else files(artifact, prefix)

    monkeypatch.setattr(Artifact, "files", without_history)
    with pytest.raises(StoreError, match="PostHistory"):
        labels_of(demo_build, demo_copy, "quality")
