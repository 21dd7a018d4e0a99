"""Items: what is drawn of all sites, what annotators see of it, and what they must not."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest

from corpus.engine import LocalEngine
from corpus.errors import BadValue, StoreError
from corpus.manifest import Json
from corpus.progress import Reporter
from corpus.store import Artifact, Store, verify_artifact
from labeling.items import build_candidates, build_items
from labeling.mining import VOTED_SCHEMA
from labeling.recipe import BenchmarkRecipe, parse_benchmark_recipe
from labeling.revisions import find_revisions
from labeling.weak import NAMES

CONTENT_KEYS = {
    *("site", "link", "text_at", "judged_at", "question"),
    *("answer", "comments", "history", "answers"),
}
HOMELAB = "homelab"


class Built(NamedTuple):
    candidates: Artifact
    items: Artifact
    by_id: dict[str, Json]

    def item(self, site: str, post_id: int) -> Json:
        (item,) = (
            one
            for item_id, one in self.by_id.items()
            if item_id.startswith(site) and item_id.endswith(f"/{post_id}")
        )
        return item


def recipe(**section: Any) -> BenchmarkRecipe:
    card = {"name": "obsoletion-test", "title": "Obsoletion", "summary": ""}
    content = {"card": card, "benchmark": {"corpus": "demo"}, "obsoletion": section}
    return parse_benchmark_recipe(content)


def build(corpus: Any, folder: Path, *, workers: int = 1, **section: Any) -> Built:
    store, asked = Store(folder), recipe(**section)
    posts, splits = corpus["posts"], corpus["splits"]
    with LocalEngine(workers) as engine:
        at = (store, engine, Reporter(quiet=True))
        candidates = build_candidates(posts, splits, asked, *at)
        items = build_items(candidates, posts, asked, *at)
    lines = items.path("items.jsonl").read_text("ascii").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["item_id"] for row in rows] == sorted(row["item_id"] for row in rows)
    return Built(candidates, items, {row["item_id"]: row for row in rows})


@pytest.fixture(scope="module")
def built(demo_build: Any, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """All candidates of the sample dump as items."""
    return build(demo_build.artifacts, tmp_path_factory.mktemp("items"), min_age_days=0)


def read_json(artifact: Artifact, name: str) -> Json:
    content: Json = json.loads(artifact.path(name).read_bytes())
    return content


# What is drawn --------------------------------------------------------------------------------


def test_answers_in_are_answers_out_and_rejected(built: Built, demo_build: Any) -> None:
    num_answers = 0
    for entry in demo_build.artifacts["posts"].files("posts/"):
        table = pq.read_table(demo_build.artifacts["posts"].path(entry.name))
        num_answers += table["post_type_id"].to_pylist().count(2)
    flow = built.candidates.manifest.outcome.flows["answers"]
    assert flow.num_in == num_answers == flow.num_out + sum(flow.rejected.values())
    assert built.items.manifest.outcome.flows["answers"].num_in == flow.num_out
    assert len(built.by_id) == flow.num_out


def test_candidates_have_their_votes_and_the_split_of_their_document(
    built: Built, demo_build: Any
) -> None:
    dealt = {}
    for entry in demo_build.artifacts["splits"].files("splits/"):
        site = entry.name.split("/")[1]
        for row in pq.read_table(demo_build.artifacts["splits"].path(entry.name)).to_pylist():
            dealt[site, row["post_id"]] = (row["group"], row["split"])
    for entry in built.candidates.files("candidates/"):
        table = pq.read_table(built.candidates.path(entry.name))
        assert table.schema.equals(VOTED_SCHEMA)
        order = [(row["thread_id"], row["post_id"]) for row in table.to_pylist()]
        assert order == sorted(order)
        for row in table.to_pylist():
            assert len(row["votes"]) == len(NAMES)
            site = entry.name.split("/")[1]
            assert dealt[site, row["post_id"]] == (row["group"], row["split"])
            assert row["split"] is not None


def test_documents_that_are_in_no_split_are_no_candidates(built: Built, demo_build: Any) -> None:
    rejected = built.candidates.manifest.outcome.flows["answers"].rejected
    assert rejected["not_in_corpus"] > 0


def test_a_stratum_is_drawn_over_all_sites(demo_build: Any, tmp_path: Path, built: Built) -> None:
    drawn = build(demo_build.artifacts, tmp_path, min_age_days=0, per_stratum=3)
    strata = Counter(item["hidden"]["stratum"] for item in drawn.by_id.values())
    sizes = Counter(item["hidden"]["stratum"] for item in built.by_id.values())
    assert strata == {stratum: min(3, size) for stratum, size in sizes.items()}
    for item in drawn.by_id.values():
        stratum = item["hidden"]["stratum"]
        assert item["hidden"]["inclusion_probability"] == strata[stratum] / sizes[stratum]
    population = read_json(drawn.items, "population.json")
    assert {name: one["size"] for name, one in population["strata"].items()} == sizes
    assert {name: one["drawn"] for name, one in population["strata"].items()} == strata
    assert population["num_items"] == len(drawn.by_id)
    by_site: Counter[str] = Counter()
    for some in population["sites"].values():
        by_site.update(some)
    assert by_site == sizes


def test_two_workers_give_the_same_and_everything_is_as_the_manifest_says(
    demo_build: Any, tmp_path: Path, built: Built
) -> None:
    again = build(demo_build.artifacts, tmp_path, workers=2, min_age_days=0)
    assert again.candidates.manifest.id == built.candidates.manifest.id
    assert again.items.manifest.id == built.items.manifest.id
    for artifact in (again.candidates, again.items):
        verify_artifact(artifact)
    assert sorted(path.name for path in again.items.folder.iterdir()) == [
        *("items.jsonl", "lf_report.json", "manifest.json"),
        *("population.json", "provenance.json"),
    ]


def test_the_report_is_of_all_answers(built: Built) -> None:
    report = read_json(built.items, "lf_report.json")
    assert report["num_answers"] == len(built.by_id)
    for function in report["functions"]:
        votes = Counter(item["hidden"]["votes"][function["name"]] for item in built.by_id.values())
        expected = {"obsolete": votes[1], "current": votes[0], "abstain": votes[-1]}
        assert function["votes"] == expected


# What annotators see --------------------------------------------------------------------------


def test_a_planted_item_shows_the_answer_as_it_was(built: Built) -> None:
    item = built.item(HOMELAB, 5)
    content = item["content"]
    assert set(content) == CONTENT_KEYS
    assert content["question"]["title"].startswith("rsync emptied my backup")
    assert content["question"]["tags"] == ["bash", "rsync", "backup"]
    assert content["answer"]["text"].startswith("Ask the list of mounts")
    assert content["answer"]["html"].startswith("<p>Ask the list")
    assert content["answer"]["is_accepted"] and content["answer"]["score"] == 241
    assert content["link"] == content["answer"]["link"]
    assert content["text_at"] == "2016-02-21T11:09:47.582Z"
    assert [one["created_at"] for one in content["comments"]] == [
        *("2010-02-10T06:03:51.220Z", "2016-02-21T11:09:47.583Z"),
    ]
    assert [one["post_id"] for one in content["answers"]] == [171]
    assert 0 < len(content["answers"][0]["excerpt"]) <= 300
    assert content["history"][0]["kind"] == "created"
    for shown in (content["question"], content["answer"], *content["comments"]):
        assert shown["author"] and shown["licence"].startswith("CC BY-SA")


def test_every_item_shows_the_revision_before_its_signal(built: Built) -> None:
    for item in built.by_id.values():
        content, hidden = item["content"], item["hidden"]
        before = [one for one in content["history"] if one["at"] <= content["text_at"]]
        assert hidden["markdown"].replace("\r\n", "\n") == before[-1]["markdown"]
        assert hidden["input_at"] == before[-1]["at"] <= content["text_at"]
        assert (hidden["label_at"] is None) == (hidden["stratum"] == "none")
        assert all(signal["at"] > content["text_at"] for signal in hidden["signals"])


def test_segments_tile_the_text_of_the_answer(built: Built) -> None:
    for item in built.by_id.values():
        answer = item["content"]["answer"]
        parts = [answer["text"][one["start"] : one["end"]] for one in answer["segments"]]
        assert "\n\n".join(parts) == answer["text"] != ""
        assert {one["kind"] for one in answer["segments"]} <= {"prose", "code"}


def test_nothing_that_is_hidden_is_shown(built: Built) -> None:
    for item in built.by_id.values():
        shown = json.dumps(item["content"])
        for name in ("stratum", "probability", "votes", "signals", *NAMES):
            assert f'"{name}"' not in shown


def test_times_are_utc_and_judged_at_is_that_of_the_dump(built: Built) -> None:
    by_site = read_json(built.candidates, "sites.json")
    for item in built.by_id.values():
        content = item["content"]
        assert content["judged_at"] == by_site[content["site"]]
        assert content["text_at"].endswith("Z")
        at = datetime.fromisoformat(content["answer"]["created_at"])
        assert at <= datetime.fromisoformat(content["judged_at"])


def test_texts_are_those_of_the_history(built: Built, demo_build: Any) -> None:
    artifact = demo_build.artifacts["posts"]
    for entry in built.candidates.files("candidates/"):
        table = pq.read_table(built.candidates.path(entry.name))
        if not len(table):
            continue
        site, name = entry.name.split("/")[1:]
        history = pq.read_table(artifact.path(f"history/{site}/{name}"))
        bounds = table["text_at"].combine_chunks()
        texts = find_revisions(history, table["post_id"].to_numpy(), bounds)
        for row in texts.to_pylist():
            assert built.item(site, row["post_id"])["hidden"]["markdown"] == row["body"]


# What is refused ------------------------------------------------------------------------------


def test_a_corpus_without_history_is_refused(demo_build: Any, tmp_path: Path) -> None:
    corpus = dict(demo_build.artifacts)
    whole = corpus["posts"]
    kept = [entry for entry in whole.files() if not entry.name.startswith("history/")]
    for entry in kept:
        (tmp_path / "posts" / entry.name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(whole.path(entry.name), tmp_path / "posts" / entry.name)
    outcome = type(whole.manifest.outcome)(tuple(kept))
    manifest = type(whole.manifest)("posts", 1, {}, {}, outcome)
    corpus["posts"] = Artifact(tmp_path / "posts", manifest)
    with pytest.raises(StoreError, match="no site of corpus 'demo' has a PostHistory"):
        build(corpus, tmp_path / "store")


def test_a_recipe_of_another_task_is_refused(demo_build: Any, tmp_path: Path) -> None:
    other = parse_benchmark_recipe(
        {"card": {"name": "x", "title": "X", "summary": ""}, "quality": {}}
    )
    corpus = demo_build.artifacts
    at = (Store(tmp_path), LocalEngine(), Reporter(quiet=True))
    with pytest.raises(BadValue, match="give a recipe of obsoletion"):
        build_candidates(corpus["posts"], corpus["splits"], other, *at)
