"""The paper dump: the same bytes, what was asked of it, and benchmarks with every label."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from lxml import etree

from corpus.dataset import build_dataset
from corpus.dedup import build_dedup
from corpus.demo_paper import (
    DUMPED_AT,
    NUM_QUESTIONS,
    PAPER_SITE,
    fate_of,
    fill,
    is_out_of_date,
    kind_of,
    label_answers,
    make_paper_site,
    write_paper_dump,
)
from corpus.demo_paper_texts import LIBRARIES
from corpus.demo_posts import Post, closed_at
from corpus.documents import build_documents
from corpus.dump import build_dump, find_tables
from corpus.engine import LocalEngine
from corpus.ingest import build_rows
from corpus.posts import build_posts
from corpus.progress import Reporter
from corpus.recipe import SPLITS, load_recipe
from corpus.splits import build_splits
from corpus.store import Artifact, Store
from labeling.card import count_examples
from labeling.dealing import build_benchmark_data
from labeling.labels import build_labels
from labeling.questions import build_question_examples
from labeling.recipe import load_benchmark_recipe
from tests.conftest import CHECKOUT

DATACARDS = CHECKOUT / "datacards"
POSTS = make_paper_site().posts
AT = (LocalEngine(), Reporter(quiet=True))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    dump = tmp_path_factory.mktemp("paper-dump")
    write_paper_dump(dump)
    return build_paper_corpus(dump, Store(tmp_path_factory.mktemp("paper-store")))


def build_paper_corpus(folder: Path, store: Store) -> Store:
    """Build as much of the corpus as benchmarks need."""
    recipe = load_recipe(DATACARDS / "paper" / "recipe.toml")
    tables, at = find_tables([str(folder)]), (store, *AT)
    made: dict[str, Artifact] = {"dump": build_dump(tables, *at)}
    made["rows"] = build_rows(made["dump"], tables, *at)
    made["posts"] = build_posts(made["rows"], recipe.posts, *at)
    made["documents"] = build_documents(made["posts"], recipe.documents, *at)
    made["dedup"] = build_dedup(made["documents"], recipe.dedup, *at)
    kept = (made["documents"], made["dedup"])
    made["splits"] = build_splits(*kept, made["posts"], recipe, *at)
    made["dataset"] = build_dataset(*kept, made["splits"], recipe.splits, *at)
    store.write_run("paper", made)
    return store


def questions() -> dict[int, Post]:
    return dict(enumerate((p for p in POSTS if p.kind == 1), 1))


def test_the_same_bytes_are_written_in_another_process(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    write_paper_dump(first)
    code = (
        "import sys, pathlib, corpus.demo_paper as d; d.write_paper_dump(pathlib.Path(sys.argv[1]))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "3", "TZ": "Asia/Kathmandu", "LC_ALL": "C"}
    command = [sys.executable, "-c", code, str(second)]
    subprocess.run(command, check=True, cwd=CHECKOUT, env=environment)
    names = [path.relative_to(first) for path in sorted(first.rglob("*.xml"))]
    assert len(names) == 5
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in names)


def test_tables_are_well_formed_and_hold_the_posts(tmp_path: Path) -> None:
    write_paper_dump(tmp_path)
    rows = etree.fromstring((tmp_path / PAPER_SITE / "Posts.xml").read_bytes())
    bodies = {str(row.get("Id")): row.get("Body") for row in rows}
    assert bodies == {str(post.post_id): post.body for post in POSTS}
    assert len(questions()) == NUM_QUESTIONS


def test_ids_rise_with_dates_and_nothing_is_newer_than_the_dump() -> None:
    posts = sorted(POSTS, key=lambda post: post.post_id)
    assert len({post.post_id for post in posts}) == len(posts)
    assert [post.at for post in posts] == sorted(post.at for post in posts)
    for post in posts:
        later = [one.at for one in (*post.comments, *post.events)]
        assert all(post.at < at < DUMPED_AT.isoformat() for at in later), post.post_id


def test_all_slots_are_filled() -> None:
    texts = [post.body + (post.title or "") + (post.first_body or "") for post in POSTS]
    texts += [comment.text for post in POSTS for comment in post.comments]
    assert [text for text in texts if "{" in text or "}" in text] == []


def test_a_drawn_word_depends_on_its_place() -> None:
    words = fill("x", [" ".join(["{number}"] * 20)], {}).split()
    assert len(set(words)) > 10


@pytest.mark.parametrize("fate", ["good", "plain", "vague", "opinion", "unclear", "repeat"])
def test_most_questions_have_the_fate_of_their_kind(fate: str) -> None:
    kinds = Counter(kind_of(number) for number in questions() if fate_of(number) == fate)
    deserved = "vague" if fate == "unclear" else fate
    assert kinds.most_common(1)[0][0] == deserved
    assert 0.7 < kinds[deserved] / kinds.total() <= 1


def test_posts_show_the_fate_of_each_question() -> None:
    for number, post in questions().items():
        fate = fate_of(number)
        assert (closed_at(post) is not None) == (fate not in ("good", "plain", "vague"))
        assert (post.score >= 30) == (fate == "good")
        assert sum(4 <= event.kind <= 9 for event in post.events) == 2 * (fate == "vague")


def test_edited_questions_are_edited_by_others_and_closed_ones_by_three_users() -> None:
    for post in questions().values():
        assert post.by not in [event.by for event in post.events if event.kind == 5]
        votes = [json.loads(str(event.text)) for event in post.events if event.kind == 10]
        assert all(len(vote["Voters"]) == 3 for vote in votes)


def test_code_is_as_frequent_in_the_first_revisions_of_every_fate() -> None:
    shares = {}
    for is_it in (True, False):
        some = [p for n, p in questions().items() if (fate_of(n) in ("good", "plain")) == is_it]
        shares[is_it] = sum("\n\n    job" in str(p.first_body) for p in some) / len(some)
    assert shares[True] == pytest.approx(shares[False], abs=0.1)


def test_an_answer_is_out_of_date_where_it_relies_on_a_dropped_call_alone() -> None:
    dropped = {call for old, _ in LIBRARIES.values() for call in old}
    current = {call for _, new in LIBRARIES.values() for call in new}
    for post in POSTS:
        if post.kind == 2:
            names_current = any(f"{call}(" in post.body for call in current)
            names_dropped = any(f"{call}(" in post.body for call in dropped)
            assert is_out_of_date(post.post_id) == (not names_current)
            assert names_current or names_dropped


def test_some_current_answers_name_a_dropped_call_too() -> None:
    dropped = {call for old, _ in LIBRARIES.values() for call in old}
    bodies = [p.body for p in POSTS if p.kind == 2 and not is_out_of_date(p.post_id)]
    warning = [body for body in bodies if any(f"{call}(" in body for call in dropped)]
    assert 0.2 < len(warning) / len(bodies) < 0.6


def test_labels_are_known_of_every_answer() -> None:
    answers = {f"{PAPER_SITE}/{post.post_id}" for post in POSTS if post.kind == 2}
    labels = label_answers()
    assert set(labels) == answers
    assert 0.4 < sum(labels.values()) / len(labels) < 0.6


@pytest.mark.parametrize(
    ("task", "labels"),
    [("quality", ("HQ", "LQ_EDIT", "LQ_CLOSE")), ("closed", ("closed", "open"))],
)
def test_every_split_of_the_benchmark_has_every_label(
    task: str, labels: tuple[str, ...], store: Store
) -> None:
    recipe = load_benchmark_recipe(DATACARDS / f"paper-{task}" / "recipe.toml")
    corpus, at = store.read_run("paper"), (store, *AT)
    questions = build_labels(corpus["posts"], corpus["splits"], recipe, *at)
    examples = build_question_examples(questions, corpus["posts"], recipe, *at)
    counts = count_examples(build_benchmark_data(examples, corpus["dataset"], recipe, *at))
    assert set(counts) == set(SPLITS)
    assert all(row[label] >= 8 for row in counts.values() for label in labels), counts
