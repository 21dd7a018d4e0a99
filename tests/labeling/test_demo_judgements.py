"""Invented judgements: what the dump made of each answer, with slips, in the form of an export."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from corpus.demo_paper import PAPER_SITE, label_answers, write_paper_dump
from corpus.errors import BadValue
from corpus.recipe import SPLITS
from corpus.store import Artifact, Store
from labeling.card import count_examples
from labeling.dealing import build_benchmark_data
from labeling.demo_judgements import ANNOTATORS, judge_items, write_demo_judgements
from labeling.exchange import AnnotatedItem, read_annotations
from labeling.items import build_candidates, build_items
from labeling.recipe import load_benchmark_recipe
from labeling.sources import build_published_examples
from tests.conftest import CHECKOUT
from tests.corpus.test_demo_paper import AT, build_paper_corpus

RECIPE = load_benchmark_recipe(CHECKOUT / "datacards" / "paper-obsoletion" / "recipe.toml")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    dump = tmp_path_factory.mktemp("paper-dump")
    write_paper_dump(dump)
    return build_paper_corpus(dump, Store(tmp_path_factory.mktemp("paper-store")))


@pytest.fixture(scope="module")
def items(store: Store) -> Artifact:
    corpus = store.read_run("paper")
    candidates = build_candidates(corpus["posts"], corpus["splits"], RECIPE, store, *AT)
    return build_items(candidates, corpus["posts"], RECIPE, store, *AT)


@pytest.fixture(scope="module")
def path(items: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("judgements") / "judgements.jsonl"
    assert write_demo_judgements(items, path) > 200
    return path


@pytest.fixture(scope="module")
def judged(path: Path) -> list[AnnotatedItem]:
    return read_annotations(path)


def test_the_same_bytes_are_written_twice(items: Artifact, path: Path, tmp_path: Path) -> None:
    write_demo_judgements(items, tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes() == path.read_bytes()


def test_both_annotators_judge_every_item(items: Artifact, judged: list[AnnotatedItem]) -> None:
    lines = items.path("items.jsonl").read_text("ascii").splitlines()
    assert [one.item_id for one in judged] == [json.loads(line)["item_id"] for line in lines]
    for one in judged:
        assert tuple(judgement.annotator for judgement in one.judgements) == ANNOTATORS
        assert {judgement.role for judgement in one.judgements} == {"annotator"}


def test_what_is_settled_is_what_the_dump_made_of_it(judged: list[AnnotatedItem]) -> None:
    is_obsolete = label_answers()
    settled = [one for one in judged if one.resolved.label in ("obsolete", "current")]
    wrong = [
        one for one in settled if (one.resolved.label == "obsolete") != is_obsolete[one.item_id]
    ]
    assert len(wrong) <= 2  # both may slip on one item


def test_a_few_items_are_not_settled(judged: list[AnnotatedItem]) -> None:
    reasons = Counter(one.resolved.reason for one in judged)
    assert set(reasons) == {"agreed", "disagreed"}
    assert 0.02 < reasons["disagreed"] / len(judged) < 0.2


def test_every_judgement_says_that_it_is_invented(judged: list[AnnotatedItem]) -> None:
    drafts = [judgement.draft for one in judged for judgement in one.judgements]
    assert all(draft and draft.note.startswith("invented") for draft in drafts)


def test_an_item_of_another_site_is_refused() -> None:
    with pytest.raises(BadValue, match=f"x.org/1 is no answer of {PAPER_SITE}"):
        list(judge_items(["x.org/1"]))


def test_every_split_of_the_benchmark_has_both_labels(
    store: Store, items: Artifact, path: Path
) -> None:
    corpus, at = store.read_run("paper"), (store, *AT)
    examples = build_published_examples([str(path)], RECIPE, items, *at)
    counts = count_examples(build_benchmark_data(examples, corpus["dataset"], RECIPE, *at))
    assert set(counts) == set(SPLITS)
    assert all(row[label] >= 15 for row in counts.values() for label in ("obsolete", "current"))
