"""What differs between two builds is what reading every document of both finds, and says why."""

from __future__ import annotations

import csv
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from corpus.build import build_corpus
from corpus.difference import write_differences
from corpus.engine import LocalEngine
from corpus.errors import LeakageFound
from corpus.inspection import check_moves, diff_runs
from corpus.progress import Reporter
from corpus.store import Store
from corpus.tables import read_table

AT = {"engine": LocalEngine(), "reporter": Reporter(quiet=True)}
SINGLE = {
    "tags": ["tags"],
    "state": ["is_accepted", "duplicate_of", "edited_at", "closed_at", "community_owned_at"],
    "author": ["author_id", "author_name", "author_source", "editor_id", "editor_name"],
    "licence": ["licence", "licence_source"],
    "score": ["score"],
    "split": ["split"],
}
MARKUP = ["segments", "inline_code", "links"]


def read_dataset(store: Store, name: str) -> dict[str, dict[str, Any]]:
    """Documents by doc_id."""
    dataset = store.read_run(name)["dataset"]
    return {
        row["doc_id"]: row | {"split": Path(entry.name).name.split("-")[0]}
        for entry in dataset.files("data/")
        for row in read_table(dataset.path(entry.name)).to_pylist()
    }


def compare(one: dict[str, Any], other: dict[str, Any]) -> set[str]:
    """Name what differs between two documents, by their segments."""

    def parts(row: dict[str, Any]) -> dict[str, Any]:
        texts: dict[str, list[str]] = {"title": [], "body": [], "comments": []}
        for segment in row["segments"]:
            kind = {"title": "title", "comment": "comments"}.get(segment["kind"], "body")
            texts[kind].append(row["text"][segment["start"] : segment["end"]])
        return texts

    found = {
        name for name in ("title", "body", "comments") if parts(one)[name] != parts(other)[name]
    }
    if one["text"] == other["text"] and any(one[name] != other[name] for name in MARKUP):
        found.add("markup")
    for name, columns in SINGLE.items():
        if any(one[column] != other[column] for column in columns):
            found.add(name)
    return found


@pytest.fixture(scope="module")
def two_builds(demo_build: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """The demo build, and one of a later dump with another salt."""
    folder = tmp_path_factory.mktemp("two-builds")
    shutil.copytree(demo_build.store.folder, folder / "store")
    shutil.copytree(demo_build.dump, folder / "dump")
    path = folder / "dump" / "gardens.example.org" / "Posts.xml"
    lines = path.read_bytes().split(b"\r\n")
    (removed,) = (line for line in lines if line.startswith(b'  <row Id="22" '))
    added = removed.replace(b'Id="22"', b'Id="23"').replace(b"A bucket of gravel", b"Sand")
    xml = b"\r\n".join(added if line == removed else line for line in lines)
    xml = xml.replace(b"twelve raised beds", b"thirteen raised beds").replace(
        b'Score="34"', b'Score="35"'
    )
    path.write_bytes(xml)
    store = Store(folder / "store")
    build(demo_build, store, "later", folder / "dump", splits={"salt": "pepper"})
    yield store


def build(
    demo_build: Any,
    store: Store,
    name: str,
    dump: Path | None = None,
    after: str | None = None,
    **changes: Any,
) -> None:
    """Build the demo's recipe under another name, with changes of its sections."""
    sections = {
        section: getattr(demo_build.recipe, section).model_copy(update=change)
        for section, change in changes.items()
    }
    card = demo_build.recipe.card.model_copy(update={"name": name})
    recipe = demo_build.recipe.model_copy(update={"card": card, **sections})
    build_corpus(recipe, [str(dump or demo_build.dump)], after=after, store=store, **AT)


def test_a_diff_is_what_reading_all_documents_finds(two_builds: Store) -> None:
    before, after = (read_dataset(two_builds, name) for name in ("demo", "later"))
    found, table = diff_runs(two_builds, "demo", "later")
    rows = {row["doc_id"]: row for row in table.to_pylist()}
    assert list(rows) == sorted(rows)
    for doc_id in before.keys() | after.keys():
        row = rows.pop(doc_id, None)
        if doc_id not in before or doc_id not in after:
            assert row is not None
            assert row["change"] == ("removed" if doc_id in before else "added")
            continue
        changed = compare(before[doc_id], after[doc_id])
        assert set(row["changed"] if row else ()) == changed
    assert rows == {}
    documents = found["documents"]
    assert documents["added"] == documents["removed"] == 1
    assert (documents["changed body"], documents["changed score"]) == (1, 1)
    assert documents["added"] + documents["same"] + documents["changed"] == len(after)


def test_what_came_and_went_was_not_in_the_other_dump(two_builds: Store) -> None:
    _, table = diff_runs(two_builds, "demo", "later")
    why = {(row["change"], row["why"]) for row in table.to_pylist() if row["change"] != "changed"}
    assert why == {("added", "not in the dump"), ("removed", "not in the dump")}


def test_a_move_says_what_the_recipe_asks(two_builds: Store) -> None:
    found, _ = diff_runs(two_builds, "demo", "later")
    why = Counter(
        {one["why"]: one["documents"] for one in found["why"] if one["change"] == "changed"}
    )
    assert why == {"the recipe asks otherwise: splits.salt": sum(found["moved"].values())}


def test_a_diff_names_the_recipe_keys_that_differ(two_builds: Store) -> None:
    found, _ = diff_runs(two_builds, "demo", "later")
    assert found["recipe"] == [
        {"key": "card.name", "old": "demo", "new": "later"},
        {"key": "splits.salt", "old": "sobert", "new": "pepper"},
    ]
    assert found["stages"]["dump"] == found["stages"]["dataset"] == "differs"


def test_a_diff_the_other_way_round_swaps_added_and_removed(two_builds: Store) -> None:
    forth, back = (
        diff_runs(two_builds, *names)[0]["documents"]
        for names in (("demo", "later"), ("later", "demo"))
    )
    for name in ("same", "changed", "changed body"):
        assert forth[name] == back[name]
    assert (forth["added"], forth["removed"]) == (back["removed"], back["added"])


def test_a_build_does_not_differ_from_itself(demo_build: Any) -> None:
    found, table = diff_runs(demo_build.store, "demo", "demo")
    num_documents = len(read_dataset(demo_build.store, "demo"))
    assert found["documents"] == {"added": 0, "removed": 0, "same": num_documents, "changed": 0}
    assert (found["recipe"], found["moved"], found["why"], len(table)) == ([], {}, [], 0)
    assert set(found["stages"].values()) == {"same"}


def test_what_the_recipe_leaves_out_is_removed_for_its_reason(
    demo_build: Any, tmp_path: Path
) -> None:
    shutil.copytree(demo_build.store.folder, tmp_path / "store")
    store = Store(tmp_path / "store")
    changes = {"documents": {"min_score": 3}, "dedup": {"threshold": 0.05, "bands": 120}}
    build(demo_build, store, "other", **changes)
    _, table = diff_runs(store, "demo", "other")
    removed = {row["why"] for row in table.to_pylist() if row["change"] == "removed"}
    assert removed >= {"score", "duplicate"}
    assert "no document" not in removed


def test_what_was_tested_on_stays_out_of_train_after_the_version_before(
    two_builds: Store, demo_build: Any
) -> None:
    _, table = diff_runs(two_builds, "demo", "later")
    with pytest.raises(LeakageFound, match="build 'later' with --after demo"):
        check_moves("demo", "later", table)
    build(demo_build, two_builds, "after", after="demo", splits={"salt": "pepper"})
    found, table = diff_runs(two_builds, "demo", "after")
    check_moves("demo", "after", table)
    assert not any(move.startswith("test to") for move in found["moved"])


def test_a_post_of_test_that_moves_to_a_thread_of_train_stays_in_test(
    demo_copy: Store, demo_build: Any, tmp_path: Path
) -> None:
    before = read_dataset(demo_copy, "demo")
    answer = next(
        row for row in before.values() if (row["kind"], row["split"]) == ("answer", "test")
    )
    question = next(
        row
        for row in before.values()
        if (row["kind"], row["split"], row["site"]) == ("question", "train", answer["site"])
    )
    dump = shutil.copytree(demo_build.dump, tmp_path / "dump")
    path = dump / answer["site"] / "Posts.xml"
    moved = re.sub(
        rf'(<row Id="{answer["post_id"]}" [^>]*ParentId=)"\d+"',
        rf'\1"{question["post_id"]}"',
        path.read_text("utf-8"),
    )
    assert moved != path.read_text("utf-8")
    path.write_text(moved, "utf-8")
    build(demo_build, demo_copy, "merged", dump, after="demo")
    _, table = diff_runs(demo_copy, "demo", "merged")
    check_moves("demo", "merged", table)
    assert read_dataset(demo_copy, "merged")[answer["doc_id"]]["split"] == "test"


def test_differences_are_written_as_a_table_that_opens_anywhere(
    two_builds: Store, tmp_path: Path
) -> None:
    _, table = diff_runs(two_builds, "demo", "later")
    write_differences(table, tmp_path / "d.csv")
    with (tmp_path / "d.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["doc_id"] for row in rows] == table["doc_id"].to_pylist()
    assert rows[0].keys() == set(table.column_names)
    assert {part for row in rows for part in row["changed"].split()} >= {"body", "split"}
