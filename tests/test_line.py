"""The whole line on the sample dump: the same bytes however it is run, stopped and run again."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import pytest

from corpus.build import STAGES, run_line
from corpus.demo import write_demo_dump
from corpus.dump import find_tables
from corpus.engine import LocalEngine
from corpus.progress import Reporter
from corpus.recipe import CutsSection, Recipe, load_recipe
from corpus.store import Artifact, Store

CHECKOUT = Path(__file__).resolve().parents[1]
RECIPE = CHECKOUT / "datacards" / "demo" / "recipe.toml"
# How long a build takes here, to know when to kill one.
SECONDS_BY_WORKERS: dict[str, float] = {}


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dump")
    write_demo_dump(folder)
    return folder


@pytest.fixture(scope="module")
def reference(dump: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store built once, by one worker, in one go."""
    store = tmp_path_factory.mktemp("reference")
    started = time.monotonic()
    assert start_build(dump, store).wait() == 0
    SECONDS_BY_WORKERS["1"] = time.monotonic() - started
    return store


def start_build(dump: Path, store: Path, *options: str, **environment: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "sobert", "corpus", "build", str(RECIPE)]
    command += ["--dump", str(dump), "--store", str(store), "--quiet", *options]
    return subprocess.Popen(
        command,
        cwd=CHECKOUT,
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )


def digest_tree(store: Path) -> dict[str, str]:
    """SHA-256 of every file but those that say who, when and how."""
    return {
        str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(store.rglob("*"))
        if path.is_file() and path.name not in ("provenance.json", ".lock")
    }


@pytest.mark.parametrize(
    ("options", "environment"),
    [
        (["--workers", "2"], {"PYTHONHASHSEED": "1"}),
        pytest.param(
            ["--workers", "3"],
            {"PYTHONHASHSEED": "2", "TZ": "Asia/Tokyo", "LC_ALL": "C"},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_any_number_of_workers_and_any_hash_seed_give_the_same_bytes(
    reference: Path, dump: Path, tmp_path: Path, options: list[str], environment: dict[str, str]
) -> None:
    assert start_build(dump, tmp_path / "store", *options, **environment).wait() == 0
    assert digest_tree(tmp_path / "store") == digest_tree(reference)


def test_sites_in_any_order_and_another_folder_give_the_same_bytes(
    reference: Path, tmp_path: Path
) -> None:
    write_demo_dump(tmp_path / "elsewhere")
    first, second = sorted((tmp_path / "elsewhere").iterdir())
    build = start_build(second, tmp_path / "store", "--dump", str(first))
    assert build.wait() == 0
    assert digest_tree(tmp_path / "store") == digest_tree(reference)


def test_building_again_changes_no_file(reference: Path, dump: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in reference.glob("*/*/*")}
    assert start_build(dump, reference).wait() == 0
    assert {path: path.stat().st_mtime_ns for path in reference.glob("*/*/*")} == before


def kill_and_rerun(dump: Path, store: Path, workers: str, after_seconds: float) -> bool:
    """Kill a build and its workers, then run it to its end; tell whether it was still running."""
    build = start_build(dump, store, "--workers", workers)
    try:
        build.wait(after_seconds)
    except subprocess.TimeoutExpired:
        os.killpg(build.pid, signal.SIGKILL)
    was_running = build.wait() == -signal.SIGKILL
    assert start_build(dump, store, "--workers", workers).wait() == 0
    return was_running


def check_kills(dump: Path, reference: Path, folder: Path, num_kills: int, *, workers: str) -> None:
    if workers not in SECONDS_BY_WORKERS:
        started = time.monotonic()
        assert start_build(dump, folder / "timed", "--workers", workers).wait() == 0
        SECONDS_BY_WORKERS[workers] = time.monotonic() - started
    seconds, expected = SECONDS_BY_WORKERS[workers], digest_tree(reference)
    kills = 0
    for number in range(num_kills):
        store = folder / f"killed-{number}"
        kills += kill_and_rerun(dump, store, workers, seconds * (number + 0.5) / num_kills)
        assert digest_tree(store) == expected
    assert kills >= num_kills // 2


def test_a_killed_build_run_again_leaves_the_same_bytes_and_nothing_else(
    dump: Path, reference: Path, tmp_path: Path
) -> None:
    check_kills(dump, reference, tmp_path, 1, workers="1")


@pytest.mark.slow
def test_a_build_killed_at_twenty_points_leaves_the_same_bytes(
    dump: Path, reference: Path, tmp_path: Path
) -> None:
    check_kills(dump, reference, tmp_path, 20, workers="2")


def run(recipe: Recipe, dump: Path, store: Path) -> dict[str, Artifact]:
    tables = find_tables([str(dump)])
    return run_line(recipe, tables, Store(store), LocalEngine(), Reporter(quiet=True))


def changed(recipe: Recipe, key: str, value: object) -> Recipe:
    section, _, name = key.partition(".")
    changed_section = getattr(recipe, section).model_copy(update={name: value})
    return recipe.model_copy(update={section: changed_section})


# A change of each key that the demo build notices, and the first stage that reads it. One a stage
# runs by default.
CHANGES: list[tuple[str, object, str]] = [
    ("posts.partition_threads", 128, "posts"),
    ("documents.kinds", ["answer"], "documents"),
    ("dedup.threshold", 0.8, "dedup"),
    ("splits.salt", "another", "splits"),
    ("leakage.max_overlap", 0.4, "splits"),
    ("tokenizer.vocabulary_size", 600, "tokenizer"),
    ("shards.sample", "thread", "shards"),
    ("card.summary", "Another.", "release"),
]
MORE_CHANGES: list[tuple[str, object, str]] = [
    ("documents.keep_out", ["bot"], "documents"),
    ("documents.min_score", 1, "documents"),
    ("documents.min_comments", 1, "documents"),
    ("dedup.shingle_tokens", 4, "dedup"),
    ("dedup.num_permutations", 240, "dedup"),
    ("dedup.bands", 40, "dedup"),
    ("dedup.seed", 2, "dedup"),
    ("dedup.max_bucket", 8, "dedup"),
    ("dedup.max_cluster", 2, "dedup"),
    ("splits.fractions", {"train": 0.6, "validation": 0.2, "test": 0.2}, "splits"),
    ("splits.cuts", CutsSection(test=date(2020, 1, 1)), "splits"),
    ("splits.hold_out", ["homelab.example.org/4"], "splits"),
    ("splits.largest_evaluation_group", 3, "splits"),
    ("leakage.ngram_tokens", 8, "splits"),
    ("tokenizer.sample_bytes", 5_000, "tokenizer"),
    ("card.name", "another", "release"),
    ("card.title", "Another", "release"),
    ("card.languages", ["eo"], "release"),
    ("card.version", "2.0.0", "release"),
    ("card.creators", ["Ada"], "release"),
    ("card.published", date(2020, 1, 1), "release"),
    ("scrub.keep", ["email"], "scrub"),
]
READ_INTO_HOLD_OUT = {"splits.hold_out_files"}


def test_every_recipe_key_is_among_the_changes() -> None:
    keys = {
        f"{section}.{key}"
        for section, content in load_recipe(RECIPE).model_dump().items()
        for key in content
    }
    assert keys - READ_INTO_HOLD_OUT == {key for key, _, _ in [*CHANGES, *MORE_CHANGES]}


@pytest.mark.parametrize(
    ("key", "value", "first"),
    [
        *CHANGES,
        *(pytest.param(*change, marks=pytest.mark.slow) for change in MORE_CHANGES),
    ],
)
def test_changing_a_recipe_key_reruns_only_stages_that_depend_on_it(
    reference: Path, dump: Path, key: str, value: object, first: str
) -> None:
    recipe = load_recipe(RECIPE)
    before = run(recipe, dump, reference)
    after = run(changed(recipe, key, value), dump, reference)
    rerun = [stage for stage in STAGES if after[stage].folder != before[stage].folder]
    assert rerun[0] == first
    # An output that comes out equal ends the chain, so a later stage may stay as it was.
    assert set(rerun) <= set(STAGES[STAGES.index(first) :])
