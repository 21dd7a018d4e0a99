"""A new dump of a site, built by difference: what is the same is used again, nothing is lost."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from corpus.build import build_corpus
from corpus.engine import LocalEngine
from corpus.inspection import check_moves, diff_runs
from corpus.progress import Reporter
from corpus.recipe import Recipe, parse_recipe
from corpus.store import Artifact, Store
from corpus.tables import digest_rows

DUMPS = Path(__file__).parents[2] / "shared" / "data" / "dumps"
AI = "ai.stackexchange.com"
AT = {"engine": LocalEngine(), "reporter": Reporter(quiet=True)}
pytestmark = pytest.mark.skipif(not DUMPS.is_dir(), reason="the real dumps are not at hand")


def make_recipe(name: str) -> Recipe:
    return parse_recipe(
        {
            "card": {"name": name, "title": "ai", "summary": ""},
            "posts": {"partition_threads": 256},
            "splits": {"fractions": {"train": 0.8, "validation": 0.1, "test": 0.1}},
            "tokenizer": {"vocabulary_size": 2000},
        }
    )


def posts_of(month: str, tmp_path: Path) -> str:
    """Name the Posts of a month, the only table that both months have."""
    folder = tmp_path / month
    folder.mkdir(exist_ok=True)
    (folder / "Posts.xml").unlink(missing_ok=True)
    (folder / "Posts.xml").symlink_to(DUMPS / AI / month / "Posts.xml")
    return f"{AI}={folder}"


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, dict[str, dict[str, Artifact]]]:
    """September and then December in one store, and December in a store of its own."""
    folder = tmp_path_factory.mktemp("chain")
    store, scratch = Store(folder / "store"), Store(folder / "scratch")
    september, december = (posts_of(month, folder) for month in ("2016-09", "2016-12"))
    builds = {
        "old": build_corpus(make_recipe("old"), [september], store=store, **AT),
        "new": build_corpus(make_recipe("new"), [december], store=store, **AT),
        "scratch": build_corpus(make_recipe("new"), [december], store=scratch, **AT),
    }
    return store, builds


def read_bodies(month: str) -> dict[str, str]:
    """Bodies of questions and answers by doc_id, read by another parser."""
    rows = ElementTree.parse(DUMPS / AI / month / "Posts.xml").getroot()
    return {
        f"{AI}/{row.get('Id')}": row.get("Body", "")
        for row in rows
        if row.get("PostTypeId") in "12"
    }


def test_the_rebuild_has_the_bytes_of_a_build_from_scratch(chain: tuple) -> None:
    _, builds = chain
    for stage, artifact in builds["scratch"].items():
        rebuilt = builds["new"][stage]
        for entry in artifact.files():
            assert rebuilt.path(entry.name).read_bytes() == artifact.path(entry.name).read_bytes()
        assert rebuilt.manifest == artifact.manifest


@pytest.mark.parametrize(("stage", "prefix"), [("documents", "documents/"), ("dedup", "bands/")])
def test_partitions_that_are_the_same_are_not_made_again(
    chain: tuple, stage: str, prefix: str
) -> None:
    _, builds = chain
    old, new = builds["old"][stage], builds["new"][stage]
    names = {entry.name for entry in old.files(prefix)} & {
        entry.name for entry in new.files(prefix)
    }
    same = {name for name in names if digest_rows(old.path(name)) == digest_rows(new.path(name))}
    assert {name for name in names if old.path(name).samefile(new.path(name))} == same
    assert same


def test_signatures_are_used_again_where_only_scores_changed(chain: tuple) -> None:
    _, builds = chain
    kept = [
        name
        for name in (entry.name for entry in builds["old"]["dedup"].files("bands/"))
        if builds["old"]["dedup"].path(name).samefile(builds["new"]["dedup"].path(name))
    ]
    assert len(kept) >= 2


def test_the_difference_is_that_of_the_dumps(chain: tuple) -> None:
    store, _ = chain
    old, new = read_bodies("2016-09"), read_bodies("2016-12")
    found, table = diff_runs(store, "old", "new")
    rows = table.to_pylist()
    changed_bodies = {doc_id for doc_id in old.keys() & new.keys() if old[doc_id] != new[doc_id]}
    assert {row["doc_id"] for row in rows if row["change"] == "added"} == new.keys() - old.keys()
    assert {row["doc_id"] for row in rows if row["change"] == "removed"} == old.keys() - new.keys()
    # Of 37 bodies 24 differ in rel="nofollow" alone, which depends on the author's reputation.
    assert (len(changed_bodies), found["documents"]["changed body"]) == (37, 13)
    assert {row["doc_id"] for row in rows if "body" in row["changed"]} <= changed_bodies
    assert {one["why"] for one in found["why"]} == {"not in the dump"}


def test_nothing_moves_from_test_to_train(chain: tuple) -> None:
    store, _ = chain
    found, table = diff_runs(store, "old", "new")
    check_moves("old", "new", table)
    assert found["moved"] == {}
