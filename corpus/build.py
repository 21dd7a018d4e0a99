"""The line: from dumps to shards. Every stage is called here, once, in order.

Each stage reads the artifacts it is given and returns one; a stage whose recipe section and inputs
were seen before returns the artifact that is there. Read the stage's own module for what it does.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from corpus.dataset import build_dataset
from corpus.dedup import build_dedup
from corpus.documents import build_documents
from corpus.dump import DumpTable, build_dump, find_tables, missing_tables
from corpus.engine import Engine, LocalEngine
from corpus.errors import BadValue
from corpus.ingest import build_rows
from corpus.inspection import read_corpus
from corpus.leakage import build_leakage
from corpus.manifest import Json, Manifest
from corpus.posts import build_posts
from corpus.progress import Reporter
from corpus.recipe import Recipe
from corpus.release import build_release, list_held_out
from corpus.removals import drop_held_out, read_record
from corpus.scrub import build_scrub
from corpus.shards import build_shards
from corpus.splits import build_splits
from corpus.statistics import build_statistics
from corpus.store import Artifact, Store
from corpus.tokenizer import build_tokenizer

STAGES = (
    "dump",
    "rows",
    "posts",
    "documents",
    "scrub",
    "dedup",
    "splits",
    "dataset",
    "leakage",
    "tokenizer",
    "shards",
    "statistics",
    "release",
)


# Whole store over XML read: 0.8 on iot with all its tables, 1.6 where Posts is all there is.
DISK_BYTES_PER_XML_BYTE = 1.7


def build_corpus(
    recipe: Recipe,
    dumps: Sequence[str],
    *,
    after: str | None = None,
    tokenizer: Path | None = None,
    store: Store,
    engine: Engine,
    reporter: Reporter,
) -> dict[str, Artifact]:
    """Build a corpus and name the run after the recipe's card.

    Args:
        recipe: what to build.
        dumps: folders, `.7z` archives, or `SITE=PATH`.
        after: the build of the version before; what is in its test split is held out.
        tokenizer: a model to keep, as that of an earlier build; None: one is trained.
        store: where artifacts lie; locked while this runs.
        engine: where tasks run; the result does not depend on it.
        reporter: what the person at the terminal sees.

    Returns:
        The artifact of each stage, in order.

    Raises:
        SobertError: one clear line; finished work is kept for the next run.
    """
    tables = find_tables(dumps)
    for note in missing_tables(tables):
        reporter.say(f"note: {note}")
    with store.lock():
        recipe = _follow(recipe, store, after)
        _check_name(store, recipe.card.name)
        artifacts = run_line(recipe, tables, store, engine, reporter, model=tokenizer)
        store.write_run(recipe.card.name, artifacts)
        store.sweep()
    return artifacts


def _follow(recipe: Recipe, store: Store, after: str | None) -> Recipe:
    """Return a recipe that holds out, too, what a build has in its test split."""
    if after is None:
        return recipe
    before = read_corpus(store, after)
    # What that one held out itself may come back, and is no more to be learnt from.
    long_held_out = before["release"].manifest.recipe["splits"]["hold_out"]
    held_out = sorted({*recipe.splits.hold_out, *long_held_out, *list_held_out(before["dataset"])})
    splits = recipe.splits.model_copy(update={"hold_out": held_out})
    return recipe.model_copy(update={"splits": splits})


def _check_name(store: Store, name: str) -> None:
    """Raise BadValue where a build that is no corpus has this name."""
    if name in store.run_names() and STAGES[0] not in store.read_run(name):
        raise BadValue(f"{name!r} is a benchmark in this store; give the recipe another card.name")


def run_line(
    recipe: Recipe,
    tables: Sequence[DumpTable],
    store: Store,
    engine: Engine,
    reporter: Reporter,
    *,
    earlier: Mapping[str, Artifact] | None = None,
    model: Path | None = None,
) -> dict[str, Artifact]:
    """Call every stage, in order; return the artifact of each.

    Of an `earlier` build its dump and rows are read, not the tables (`ingest.build_rows`); a given
    `model` of a tokenizer is kept, none trained.
    """
    at = (store, engine, reporter)
    recipe = drop_held_out(recipe, read_record(store.folder))
    dump = earlier["dump"] if earlier else build_dump(tables, *at)
    rows = build_rows(dump, tables, *at, earlier=earlier["rows"] if earlier else None)
    posts = build_posts(rows, recipe.posts, *at)
    documents = build_documents(posts, recipe.documents, *at)
    scrub = build_scrub(documents, recipe.scrub, *at)
    dedup = build_dedup(scrub, recipe.dedup, *at)
    splits = build_splits(scrub, dedup, posts, recipe, *at)
    dataset = build_dataset(scrub, dedup, splits, recipe.splits, *at)
    leakage = build_leakage(dataset, posts, recipe, *at)
    tokenizer = build_tokenizer(dataset, recipe.tokenizer, *at, kept=model)
    shards = build_shards(dataset, tokenizer, recipe.shards, *at)
    made = [dump, rows, posts, documents, scrub, dedup, splits, dataset, leakage, tokenizer, shards]
    statistics = build_statistics(dict(zip(STAGES, made, strict=False)), *at)
    release = build_release(dataset, leakage, statistics, recipe, *at)
    return dict(zip(STAGES, [*made, statistics, release], strict=True))


def plan_build(
    recipe: Recipe,
    dumps: Sequence[str],
    *,
    after: str | None = None,
    tokenizer: Path | None = None,
    store: Store,
) -> Json:
    """Return what `build_corpus` would read, run and need, without running it.

    Stages after the first that would run are `would run`, too: what they read is not known yet.
    """
    tables = find_tables(dumps)
    recipe = _follow(recipe, store, after)
    states = dict.fromkeys(STAGES, "would run")
    planning = _Planning(store.folder, states)
    with suppress(_WouldRun):
        at = (planning, LocalEngine(), Reporter(quiet=True))
        run_line(recipe, tables, *at, model=tokenizer)
    num_bytes = sum(table.num_bytes for table in tables)
    there = next(path for path in [store.folder, *store.folder.absolute().parents] if path.exists())
    return {
        "tables": [
            {"site": table.site, "table": table.table, "num_bytes": table.num_bytes}
            for table in tables
        ],
        "notes": missing_tables(tables),
        "stages": states,
        "disk_bytes": int(num_bytes * DISK_BYTES_PER_XML_BYTE),
        "free_bytes": shutil.disk_usage(there).free,
    }


class _WouldRun(Exception):
    """The first stage that is not built yet was reached."""


class _Planning(Store):
    """A store that finds what is built and stops at the first stage that is not."""

    def __init__(self, folder: Path, states: dict[str, str]) -> None:
        super().__init__(folder)
        self._states = states

    def make(self, planned: Manifest, *_: object) -> Artifact:
        raise _WouldRun

    def built(self, planned: Manifest) -> Artifact | None:
        artifact = super().built(planned)
        if artifact:
            self._states[planned.stage] = "as before"
        return artifact
