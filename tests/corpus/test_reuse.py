"""What a task made for one artifact is found again for another, where it is still what it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from corpus.engine import LocalEngine
from corpus.manifest import Outcome, merge_outcomes
from corpus.progress import Reporter
from corpus.recipe import DocumentsSection, PostsSection
from corpus.store import Artifact, Store, Task, Work
from corpus.tables import describe_file, read_table

AT = (LocalEngine(), Reporter(quiet=True))


def write(folder: Path, payload: tuple[str, str]) -> Outcome:
    name, text = payload
    (folder / f"{name}.txt").write_text(text)
    return Outcome((describe_file(folder / f"{name}.txt", f"{name}.txt"),), figures={"parts": 1})


def key(payload: tuple[str, str]) -> str:
    return payload[1]


def build(store: Path, recipe: dict[str, Any], *parts: tuple[str, str]) -> tuple[Artifact, int]:
    """Build a stage of these parts (name, text); return how many were found, too."""
    found = 0

    def make(work: Work) -> Outcome:
        nonlocal found
        outcomes = work.map(write, [Task(part[0], part) for part in parts], key=key)
        found = work.found[True]
        return merge_outcomes(outcomes)

    return Store(store).build("demo", 1, recipe, {}, make, *AT), found


def test_a_part_with_the_same_key_is_a_second_name_of_the_same_file(tmp_path: Path) -> None:
    one, _ = build(tmp_path, {"dump": 1}, ("a", "x"), ("b", "y"))
    other, found = build(tmp_path, {"dump": 2}, ("a", "x"), ("b", "z"))
    assert found == 1
    assert one.path("a.txt").samefile(other.path("a.txt"))
    assert [other.path(name).read_text() for name in ("a.txt", "b.txt")] == ["x", "z"]


def test_the_manifest_is_that_of_a_build_from_scratch(tmp_path: Path) -> None:
    build(tmp_path / "one", {"dump": 1}, ("a", "x"))
    again, found = build(tmp_path / "one", {"dump": 2}, ("a", "x"), ("b", "y"))
    scratch, none = build(tmp_path / "two", {"dump": 2}, ("a", "x"), ("b", "y"))
    assert (found, none) == (1, 0)
    assert again.path("manifest.json").read_bytes() == scratch.path("manifest.json").read_bytes()


def test_a_part_that_has_another_number_now_has_it_in_the_names_of_its_files(
    tmp_path: Path,
) -> None:
    build(tmp_path, {"dump": 1}, ("part-1-of-1", "x"))
    made, found = build(tmp_path, {"dump": 2}, ("part-1-of-2", "y"), ("part-2-of-2", "x"))
    assert found == 1
    assert made.path("part-2-of-2.txt").read_text() == "x"


def damage(path: Path) -> None:
    path.write_text("?")


def replace_with_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("spoil", [Path.unlink, damage, replace_with_folder])
def test_a_file_that_is_not_what_it_was_is_made_anew(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    one, _ = build(tmp_path, {"dump": 1}, ("a", "x"))
    spoil(one.path("a.txt"))
    other, found = build(tmp_path, {"dump": 2}, ("a", "x"))
    assert found == 0
    assert other.path("a.txt").read_text() == "x"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"artifact": 3, "task": "a", "outcome": {}}'])
def test_a_record_that_is_none_is_passed_over(tmp_path: Path, content: str) -> None:
    build(tmp_path, {"dump": 1}, ("a", "x"))
    [record] = tmp_path.glob("reuse/demo/*.json")
    record.write_text(content)
    _, found = build(tmp_path, {"dump": 2}, ("a", "x"))
    assert found == 0


def test_another_version_of_the_stage_finds_nothing(tmp_path: Path) -> None:
    build(tmp_path, {"dump": 1}, ("a", "x"))

    def make(work: Work) -> Outcome:
        assert work.take("a", "x") is None
        return Outcome()

    Store(tmp_path).build("demo", 2, {}, {}, make, *AT)


def test_a_killed_build_never_writes_into_a_file_that_another_artifact_has(tmp_path: Path) -> None:
    one, _ = build(tmp_path, {"dump": 1}, ("a", "x"))

    def die(work: Work) -> Outcome:
        assert work.take("a", "x")
        raise KeyboardInterrupt

    def make(work: Work) -> Outcome:
        return merge_outcomes(work.map(write, [Task("a", ("a", "other"))]))

    for step in (die, make):
        try:
            Store(tmp_path).build("demo", 1, {"dump": 2}, {}, step, *AT)
        except KeyboardInterrupt:
            continue
    assert one.path("a.txt").read_text() == "x"


def test_records_of_an_artifact_that_is_gone_are_swept(tmp_path: Path) -> None:
    one, _ = build(tmp_path, {"dump": 1}, ("a", "x"))
    build(tmp_path, {"dump": 2}, ("b", "y"))
    shutil.rmtree(one.folder)
    Store(tmp_path).sweep()
    [record] = tmp_path.glob("reuse/demo/*.json")
    assert json.loads(record.read_bytes())["task"] == "b"


SITES = {"x.org": 3, "y.org": 4}


def documents_of(
    run_stages: Callable[..., dict[str, Artifact]],
    write_dump: Callable[..., str],
    store: Path,
    **changes: Any,
) -> dict[str, Artifact]:
    """Build documents of posts 1, 65 and 129, a partition each, with changes of the second."""
    posts = [{"Id": number, "OwnerUserId": number} for number in (1, 65, 129)]
    posts[1] |= changes.pop("post", {})
    users = [{"Id": number, "DisplayName": f"name {number}"} for number in (1, 65, 129)]
    users[1] |= changes.pop("user", {})
    dump = write_dump(Posts=posts, Users=users)
    return run_stages(store, dump, posts=PostsSection(partition_threads=64), **changes)


def shared(one: Artifact, other: Artifact) -> list[str]:
    return [
        entry.name.rpartition("/")[2][:10]
        for entry in one.files("documents/")
        if one.path(entry.name).samefile(other.path(entry.name))
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"post": {"Score": 9}},
        {"post": {"Body": "<p>other</p>"}},
        {"user": {"DisplayName": "someone else"}},
    ],
)
def test_only_the_partition_of_a_changed_post_or_author_is_laid_out_anew(
    run_stages: Callable[..., dict[str, Artifact]],
    write_dump: Callable[..., str],
    tmp_path: Path,
    change: dict[str, Any],
) -> None:
    before = documents_of(run_stages, write_dump, tmp_path / "store")
    after = documents_of(run_stages, write_dump, tmp_path / "store", **change)
    assert shared(before["documents"], after["documents"]) == ["0000000000", "0000000002"]
    scratch = documents_of(run_stages, write_dump, tmp_path / "other", **change)
    assert after["documents"].manifest == scratch["documents"].manifest


def test_views_are_in_no_document(
    run_stages: Callable[..., dict[str, Artifact]],
    write_dump: Callable[..., str],
    tmp_path: Path,
) -> None:
    before = documents_of(run_stages, write_dump, tmp_path / "store")
    after = documents_of(run_stages, write_dump, tmp_path / "store", post={"ViewCount": 1_000})
    assert len(shared(before["documents"], after["documents"])) == 3


def test_a_site_under_another_name_is_laid_out_anew(
    run_stages: Callable[..., dict[str, Artifact]],
    write_dump: Callable[..., str],
    tmp_path: Path,
) -> None:
    for site in SITES:
        made = run_stages(tmp_path / "store", write_dump(site, Posts=[{"Id": 3}]))["documents"]
        [entry] = made.files("documents/")
        assert read_table(made.path(entry.name))["doc_id"].to_pylist() == [f"{site}/3"]


def test_another_recipe_lays_out_every_partition(
    run_stages: Callable[..., dict[str, Artifact]],
    write_dump: Callable[..., str],
    tmp_path: Path,
) -> None:
    before = documents_of(run_stages, write_dump, tmp_path / "store")
    wanted = DocumentsSection(min_score=-5)
    after = documents_of(run_stages, write_dump, tmp_path / "store", documents=wanted)
    assert shared(before["documents"], after["documents"]) == []


def test_a_site_that_did_not_change_is_not_partitioned_again(
    run_stages: Callable[..., dict[str, Artifact]],
    write_dump: Callable[..., str],
    tmp_path: Path,
) -> None:
    dumps = [write_dump(site, Posts=[{"Id": number}]) for site, number in SITES.items()]
    before = run_stages(tmp_path / "store", *dumps)["posts"]
    write_dump("y.org", Posts=[{"Id": 4}, {"Id": 5}])
    after = run_stages(tmp_path / "store", *dumps)["posts"]
    names = [f"posts/{site}/0000000000.parquet" for site in SITES]
    assert [before.path(name).samefile(after.path(name)) for name in names] == [True, False]
    assert len(read_table(after.path(names[1]))) == 2
