"""Looking at finished builds: what is shown is what is there, and what differs is counted."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from corpus.demo import demo_counts
from corpus.errors import BadValue, IntegrityError, LeakageFound, StoreError
from corpus.inspection import (
    release_report,
    sample_documents,
    show_run,
    verify_run,
)
from corpus.progress import Reporter
from corpus.store import Store
from corpus.tables import read_table

SPLITS = ("train", "validation", "test")


def read_dataset(store: Store, name: str) -> dict[str, dict[str, Any]]:
    """Documents by doc_id."""
    dataset = store.read_run(name)["dataset"]
    return {
        row["doc_id"]: row | {"split": Path(entry.name).name.split("-")[0]}
        for entry in dataset.files("data/")
        for row in read_table(dataset.path(entry.name)).to_pylist()
    }


# Show ----------------------------------------------------------------------------------------


def test_show_tells_every_stage_as_its_manifest_does(demo_build: Any) -> None:
    shown = show_run(demo_build.store, "demo")
    assert shown["name"] == "demo"
    assert list(shown["stages"]) == list(demo_build.artifacts)
    for stage, artifact in demo_build.artifacts.items():
        one = shown["stages"][stage]
        assert (one["folder"], one["id"]) == (str(artifact.folder), artifact.manifest.id)
        files = [path for path in artifact.folder.rglob("*") if path.is_file()]
        files = [path for path in files if path.name not in ("manifest.json", "provenance.json")]
        assert one["num_files"] == len(files)
        assert one["num_bytes"] == sum(path.stat().st_size for path in files)


def test_show_has_rows_in_and_out_and_why_not(demo_build: Any) -> None:
    flows = show_run(demo_build.store, "demo")["stages"]["rows"]["flows"]
    counts = list(demo_counts().values())
    num_posts = sum(count["posts"] for count in counts)
    assert flows["Posts"] == {"in": num_posts + 1, "out": num_posts, "rejected": {"bad_date": 1}}


# Sample --------------------------------------------------------------------------------------


def test_a_sample_is_of_documents_of_the_dataset(demo_build: Any) -> None:
    documents = read_dataset(demo_build.store, "demo")
    rows = sample_documents(demo_build.store, "demo", num_documents=8, seed=3)
    assert len({row["doc_id"] for row in rows}) == len(rows) == 8
    for row in rows:
        assert row == documents[row["doc_id"]]


def test_a_large_sample_is_the_whole_dataset_once(demo_build: Any) -> None:
    documents = read_dataset(demo_build.store, "demo")
    rows = sample_documents(demo_build.store, "demo", num_documents=10_000)
    assert sorted(row["doc_id"] for row in rows) == sorted(documents)
    assert Counter(row["split"] for row in rows).keys() == set(SPLITS)


def test_a_seed_draws_the_same_documents_again_and_another_draws_others(demo_build: Any) -> None:
    def draw(seed: int) -> list[str]:
        rows = sample_documents(demo_build.store, "demo", num_documents=5, seed=seed)
        return [row["doc_id"] for row in rows]

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


@pytest.mark.parametrize("arguments", [{"num_documents": 0}, {"num_documents": -1}, {"seed": -1}])
def test_a_sample_of_nothing_or_without_a_seed_is_refused(
    demo_build: Any, arguments: dict[str, int]
) -> None:
    with pytest.raises(BadValue, match="must be at least"):
        sample_documents(demo_build.store, "demo", **arguments)


# Verify --------------------------------------------------------------------------------------


@pytest.fixture
def store(demo_build: Any, tmp_path: Path) -> Store:
    """A copy of the demo build's store, to be damaged."""
    shutil.copytree(demo_build.store.folder, tmp_path / "store")
    return Store(tmp_path / "store")


def test_a_whole_build_is_verified_to_the_last_byte(demo_build: Any) -> None:
    found = verify_run(demo_build.store, "demo", Reporter(quiet=True))
    shown = show_run(demo_build.store, "demo")["stages"].values()
    assert found == {
        "name": "demo",
        "stages": len(demo_build.artifacts),
        "files": sum(stage["num_files"] for stage in shown),
        "bytes": sum(stage["num_bytes"] for stage in shown),
    }


@pytest.mark.parametrize("stage", ["rows", "documents", "dataset", "release"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_file_is_found_and_named(store: Store, stage: str, damage: str) -> None:
    artifact = store.read_run("demo")[stage]
    path = artifact.path(artifact.files()[-1].name)
    content = bytearray(path.read_bytes())
    if damage == "remove":
        path.unlink()
    elif damage == "truncate":
        path.write_bytes(content[:-1])
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    with pytest.raises(IntegrityError, match=path.name):
        verify_run(store, "demo", Reporter(quiet=True))


def test_a_proof_that_does_not_hold_fails(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    # A manifest that admits a leak is written only by a build that fails; so it is made up here.
    artifacts = store.read_run("demo")
    figures = artifacts["leakage"].manifest.outcome.figures
    monkeypatch.setattr(Store, "read_run", lambda *_: artifacts)
    monkeypatch.setitem(figures, "near_duplicate", 1)
    with pytest.raises(LeakageFound, match="1 by near_duplicate"):
        verify_run(store, "demo", Reporter(quiet=True))


# Report --------------------------------------------------------------------------------------


def test_the_report_is_one_page(demo_build: Any) -> None:
    page = release_report(demo_build.store, "demo")
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert "demo" in page


@pytest.mark.parametrize("look", [show_run, sample_documents, release_report])
def test_a_build_that_is_not_there_is_named_beside_those_that_are(
    demo_build: Any, look: Any
) -> None:
    with pytest.raises(StoreError, match=r"'other'.*demo"):
        look(demo_build.store, "other")
