"""A takedown leaves a store as if what went had never been there; it says so only if that holds."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from corpus import takedown
from corpus.build import build_corpus
from corpus.engine import LocalEngine
from corpus.errors import BadValue, ProofFailed, StoreError
from corpus.progress import Reporter
from corpus.proving import search_store
from corpus.recipe import Recipe
from corpus.removals import RECORD, WINDOWS, Name, read_record, write_record
from corpus.searcher import Sought
from corpus.store import Artifact, Store
from corpus.tables import read_table
from corpus.takedown import remove
from corpus.tokenizer import MODEL
from sobert import main
from tests.conftest import Build

SITE = "homelab.example.org"
POSTS = [f"{SITE}/223", f"{SITE}/151"]
AT = {"engine": LocalEngine(), "reporter": Reporter(quiet=True)}
WHY = {"reason": "asked", "date": "2026-01-02"}


def take(store: Store, **asked: Any) -> dict[str, Any]:
    return remove(**asked, **WHY, store=store, **AT)


def ids(run: dict[str, Artifact]) -> dict[str, str]:
    return {stage: artifact.manifest.id for stage, artifact in run.items()}


def tree(store: Store) -> dict[str, bytes]:
    """All files of a store but for who made them when."""
    paths = [path for path in store.folder.rglob("*") if path.is_file()]
    kept = (path for path in paths if path.name not in ("provenance.json", ".lock"))
    return {path.relative_to(store.folder).as_posix(): path.read_bytes() for path in kept}


def search(store: Store, sought: Sought) -> dict[str, int]:
    hits: dict[str, int] = search_store(store.folder, sought, **AT)["hits"]
    return hits


def test_nothing_is_left_where_something_was(demo_copy: Store) -> None:
    names = (Name("post", SITE, 223), Name("post", SITE, 151))
    # Control: the same search over the store as it was.
    before = search(demo_copy, Sought(names, (), read_record(demo_copy.folder).windows))
    assert before["id"] > 0
    assert before["link"] > 0
    found = take(demo_copy, posts=POSTS)
    assert found["proof"]["hits"] == {"id": 0, "author": 0, "link": 0, "text": 0}
    assert found["proof"]["unread"] == []
    assert found["corpora"]["demo"]["rows"]["Posts"]["removed"] >= 2
    for artifact in demo_copy.read_run("demo").values():
        artifact.manifest.check_conserved()


@pytest.mark.slow
def test_a_store_after_a_takedown_is_that_of_a_build_from_scratch(
    demo_copy: Store, demo_build: Build, tmp_path: Path
) -> None:
    take(demo_copy, posts=POSTS, users=["gardens.example.org/3"])
    other = Store(tmp_path / "other")
    other.folder.mkdir()
    write_record(other.folder, read_record(demo_copy.folder))
    model = demo_build.artifacts["tokenizer"].path(MODEL)
    built = build_corpus(
        demo_build.recipe, [str(demo_build.dump)], store=other, tokenizer=model, **AT
    )
    assert ids(built) == ids(demo_copy.read_run("demo"))


@pytest.mark.slow
def test_only_shards_that_held_it_are_written_anew(demo_copy: Store, demo_build: Build) -> None:
    found = take(demo_copy, posts=POSTS[:1])["corpora"]["demo"]
    assert 0 < found["shards"] - found["shards_as_before"] <= 3
    after = demo_copy.read_run("demo")["shards"]
    before = {entry.sha256 for entry in demo_build.artifacts["shards"].files()}
    num_same = sum(entry.sha256 in before for entry in after.files() if entry.name.endswith(".bin"))
    assert num_same == found["shards_as_before"]
    models = [
        run["tokenizer"].path(MODEL) for run in (demo_build.artifacts, demo_copy.read_run("demo"))
    ]
    assert models[0].read_bytes() == models[1].read_bytes()


@pytest.mark.slow
def test_the_same_once_more_changes_nothing(demo_copy: Store) -> None:
    take(demo_copy, posts=POSTS)
    before = tree(demo_copy)
    found = take(demo_copy, posts=POSTS)
    assert (found["new"], found["deleted"]) == (0, 0)
    assert tree(demo_copy) == before


@pytest.mark.slow
def test_a_later_build_leaves_out_what_comes_again(demo_copy: Store, demo_build: Build) -> None:
    take(demo_copy, posts=POSTS)
    name = demo_build.recipe.card.model_copy(update={"name": "later"})
    recipe: Recipe = demo_build.recipe.model_copy(update={"card": name})
    build_corpus(recipe, [str(demo_build.dump)], store=demo_copy, **AT)
    found = take(demo_copy, posts=POSTS)
    assert sum(found["proof"]["hits"].values()) == 0
    assert found["corpora"]["later"]["rows"]["Posts"]["removed"] >= 2


@pytest.mark.slow
def test_a_dry_run_says_what_would_go_and_writes_nothing(demo_copy: Store) -> None:
    before = tree(demo_copy)
    planned = take(demo_copy, posts=POSTS, dry_run=True)["corpora"]["demo"]
    assert tree(demo_copy) == before
    assert planned["documents"] >= 1
    done = take(demo_copy, posts=POSTS)["corpora"]["demo"]["rows"]
    for table, reasons in planned["rows"].items():
        assert {reason: num for reason, num in reasons.items() if num} == done[table]


@pytest.mark.slow
def test_what_is_in_no_build_is_recorded_with_a_note(demo_copy: Store) -> None:
    found = take(demo_copy, posts=[f"{SITE}/999999"])
    assert found["not_found"] == [f"post {SITE}/999999"]
    assert Name("post", SITE, 999999) in read_record(demo_copy.folder).names()


@pytest.mark.slow
def test_a_person_is_recorded_with_all_that_they_wrote(demo_copy: Store) -> None:
    user = next(iter(_authors(demo_copy)))
    found = take(demo_copy, users=[f"{SITE}/{user}"])
    assert found["along"]
    along = [one for one in read_record(demo_copy.folder).removals if one.goes_with]
    assert len(along) == len(found["along"])
    assert {one.name.kind for one in along} <= {"post", "comment"}


def _authors(store: Store) -> Iterator[int]:
    path = store.read_run("demo")["rows"].path(f"rows/{SITE}/Posts.parquet")
    owners = read_table(path, ["owner_user_id"])["owner_user_id"].to_pylist()
    yield from (owner for owner in owners if owner and owner > 0)


@pytest.mark.slow
def test_hits_that_are_left_fail_the_proof(
    demo_copy: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    (demo_copy.folder / "notes.md").write_text(f"see https://{SITE}/q/223\n")
    with pytest.raises(ProofFailed, match=r"notes\.md"):
        take(demo_copy, posts=POSTS)


def test_a_request_for_nothing_is_refused(demo_copy: Store) -> None:
    with pytest.raises(BadValue, match="nothing is asked for"):
        take(demo_copy)


def test_benchmarks_are_never_forgotten(demo_copy: Store) -> None:
    (demo_copy.folder / "annotations").mkdir()
    with pytest.raises(BadValue, match="benchmarks"):
        take(demo_copy, posts=POSTS)


def _die_in(step: str, store: Path) -> None:
    """Remove, and be killed when a step begins."""

    def die(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(takedown, step, die)
    take(Store(store), posts=POSTS)


@pytest.mark.slow
@pytest.mark.parametrize("step", ["run_line", "delete_unnamed", "search_store"])
def test_a_takedown_that_was_killed_is_run_again(
    demo_copy: Store, demo_build: Build, tmp_path: Path, step: str
) -> None:
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_die_in, args=(step, demo_copy.folder))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert take(demo_copy, posts=POSTS)["proof"]["hits"] == dict.fromkeys(
        ("id", "author", "link", "text"), 0
    )
    assert len([*demo_copy.folder.glob("rows/*")]) == 1


@pytest.mark.slow
def test_the_command_prints_the_proof_and_hides_what_was_asked_for(demo_copy: Store) -> None:
    command = ["corpus", "remove", "--post", POSTS[0], "--reason", "asked by mail", "--quiet"]
    ran = CliRunner().invoke(main, [*command, "--store", str(demo_copy.folder)])
    assert ran.exit_code == 0, ran.output
    assert "hits     0 by id, 0 by author, 0 by link, 0 by text" in ran.output
    ran = CliRunner().invoke(main, [*command, "--store", str(demo_copy.folder), "--json"])
    assert json.loads(ran.stdout)["new"] == 0
    assert (demo_copy.folder / RECORD).is_file()
    assert len([*demo_copy.folder.glob(WINDOWS)]) == 1


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no store at"):
        take(Store(tmp_path / "typo"), posts=POSTS)
    assert not (tmp_path / "typo").exists()
