"""Takedown: what `sobert corpus remove` does, from the request to the proof.

    record      what goes, and the windows of its texts (`corpus.removals`, `corpus.ownership`)
    rebuild     every corpus of the store, from the rows that it was built from, with the vocabulary
                that it has; then every benchmark and every annotation store
    delete      every artifact that no named build uses any more, whatever else is in it
    prove       that nothing of what went is left in any file of the store (`corpus.proving`)

Killed anywhere, it is simply run again. Not reached: the dumps, versions that are published already
(publish a new one and delete the old), exports and backups elsewhere, and trained models.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.compute as pc

from corpus.build import run_line
from corpus.engine import Engine
from corpus.errors import BadValue, StoreError
from corpus.manifest import Json
from corpus.ownership import Rows, collect_texts, find_named, find_own_windows, list_rows
from corpus.progress import Reporter
from corpus.proving import check_found, check_searcher, search_store
from corpus.quotes import make_window_set
from corpus.recipe import Recipe
from corpus.removals import (
    Name,
    Record,
    Removal,
    add_removals,
    check_request,
    parse_name,
    read_list,
    read_record,
    write_record,
)
from corpus.removing import (
    REASONS,
    Found,
    Scope,
    find_quoting,
    find_removed,
    gone_from,
    is_in,
    judge_rows,
)
from corpus.rows import SCHEMAS
from corpus.searcher import Sought
from corpus.store import MANIFEST, Artifact, Store
from corpus.tables import iter_groups, read_table
from corpus.tokenizer import MODEL

_ARTIFACT = re.compile(r"[0-9a-f]{16}(\.building)?")
_NO_WINDOWS = np.empty(0, np.uint64)

Run = dict[str, Artifact]


class Change(NamedTuple):
    """What a removal did to the corpora, for those who derive other builds from them."""

    store: Store
    engine: Engine
    reporter: Reporter
    sought: Sought
    date: str
    before: Mapping[str, Run]
    after: Mapping[str, Run]
    search: Callable[[Sequence[Path]], Json]


# Brings other builds of the store, and what people made of them, up to date; returns notes.
Derive = Callable[[Change], list[str]]


def remove(
    *,
    posts: Sequence[str] = (),
    comments: Sequence[str] = (),
    users: Sequence[str] = (),
    file: Path | None = None,
    reason: str,
    date: str,
    dry_run: bool = False,
    store: Store,
    engine: Engine,
    reporter: Reporter,
    derive: Derive | None = None,
) -> Json:
    """Take posts, comments and people out of a store, and prove that they are gone.

    Args:
        posts: `site/id`; a question takes its answers along.
        comments: `site/id`.
        users: `site/id`, with all that they wrote there.
        file: more, one `post site/id` (or comment, user) a line.
        reason: why; kept in the record.
        date: of the request, as 2026-01-31.
        dry_run: say what would go, and write nothing.
        store: locked while this runs.
        engine: where tasks run.
        reporter: what the person sees.
        derive: `labeling.takedown.rebuild_benchmarks`; needed where the store has benchmarks.

    Returns:
        `asked`, `along`, `new` (names), `not_found`, `corpora`, `notes`, `deleted`, `proof`; of a
        dry run `asked` to `corpora` alone.

    Raises:
        BadValue: nothing is asked for, or a name, line, reason or date is not as it must be.
        StoreError: there is no such store.
        ProofFailed: something is left.
    """
    asked = _read_asked(posts, comments, users, file)
    check_request(reason, date)
    store.check_exists()
    with store.lock():
        runs = {name: store.read_run(name) for name in store.run_names()}
        corpora = {name: run for name, run in runs.items() if "dump" in run}
        if derive is None and (len(runs) > len(corpora) or (store.folder / "annotations").exists()):
            raise BadValue(f"store {store.folder} has benchmarks; give what brings them up to date")
        sites = list_rows([run["rows"].folder for run in corpora.values()])
        before = read_record(store.folder)
        along, there = find_named(sites, asked)
        removals = [Removal(name, reason, date) for name in sorted(asked)]
        removals += [Removal(name, reason, date, why) for name, why in sorted(along.items())]
        record = add_removals(before, removals, _NO_WINDOWS)
        texts = collect_texts(sites, record)
        new = record.names() - before.names()
        if new:
            with reporter.note_if_slow("comparing the texts with all rows that stay"):
                own = find_own_windows(sites, record, texts, engine)
            record = add_removals(record, [], own)
        report = {
            "asked": [str(name) for name in sorted(asked)],
            "along": [str(name) for name in sorted(along)],
            "new": len(new),
            "not_found": [str(name) for name in sorted(asked - there - before.names())],
        }
        if dry_run:
            return {**report, "corpora": _plan(corpora, record)}
        if new:
            write_record(store.folder, record)
        sought = Sought(
            tuple(sorted(record.names())), tuple(sorted(set(texts.texts))), record.windows
        )
        check_searcher(sought)

        def search(folders: Sequence[Path]) -> Json:
            return search_store(
                store.folder, sought, engine=engine, reporter=reporter, folders=folders
            )

        after = {
            name: _rebuild(run, store, engine, reporter) for name, run in sorted(corpora.items())
        }
        change = Change(store, engine, reporter, sought, date, corpora, after, search)
        notes = derive(change) if derive else []
        # Last: until then a benchmark's corpus is known by what it was built from.
        for name, run in after.items():
            store.write_run(name, run)
        deleted = delete_unnamed(store)
        found = search_store(store.folder, sought, engine=engine, reporter=reporter)
        check_found(found)
    changed = {name: _compare(corpora[name], after[name]) for name in sorted(after)}
    return {**report, "corpora": changed, "notes": notes, "deleted": deleted, "proof": found}


def delete_unnamed(store: Store) -> int:
    """Delete every artifact that no named build uses, and what is unfinished; return how many.

    They can be built again; they may hold what was taken down.
    """
    named = set()
    for name in store.run_names():
        named |= {artifact.folder for artifact in store.read_run(name).values()}
    deleted = 0
    for folder in sorted(store.folder.glob("*/*")):
        if folder.is_dir() and _ARTIFACT.fullmatch(folder.name) and folder not in named:
            # The seal first: half an artifact is none.
            (folder / MANIFEST).unlink(missing_ok=True)
            shutil.rmtree(folder)
            deleted += 1
    store.sweep()
    return deleted


def forget_run(store: Store, name: str) -> None:
    """Take the name from a build; `delete_unnamed` takes its artifacts."""
    (store.folder / "runs" / f"{name}.json").unlink(missing_ok=True)


def _read_asked(
    posts: Sequence[str], comments: Sequence[str], users: Sequence[str], file: Path | None
) -> set[Name]:
    asked = {parse_name("post", one) for one in posts}
    asked |= {parse_name("comment", one) for one in comments}
    asked |= {parse_name("user", one) for one in users}
    asked |= set(read_list(file)) if file else set()
    if not asked:
        raise BadValue("nothing is asked for; give --post, --comment, --user or --file")
    return asked


def _rebuild(run: Run, store: Store, engine: Engine, reporter: Reporter) -> Run:
    if "release" not in run:
        raise StoreError("a corpus of the store has no release, and so no recipe; build it again")
    recipe = Recipe.model_validate_json(json.dumps(run["release"].manifest.recipe))
    model = run["tokenizer"].path(MODEL)
    return run_line(recipe, [], store, engine, reporter, earlier=run, model=model)


def _compare(before: Run, after: Run) -> Json:
    """Return the rows that went, by table and reason, and how many shards stayed as they were."""
    flows = after["rows"].manifest.outcome.flows
    known = {entry.sha256 for entry in before["shards"].files() if entry.name.endswith(".bin")}
    shards = [entry for entry in after["shards"].files() if entry.name.endswith(".bin")]
    return {
        "rows": {
            table: {reason: num for reason, num in flow.rejected.items() if reason in REASONS}
            for table, flow in flows.items()
        },
        "shards": len(shards),
        "shards_as_before": sum(entry.sha256 in known for entry in shards),
    }


def _plan(corpora: Mapping[str, Run], record: Record) -> Json:
    """Return for each corpus what would go from it."""
    return {name: _plan_corpus(run, record) for name, run in sorted(corpora.items())}


def _plan_corpus(run: Run, record: Record) -> Json:
    width = run["posts"].manifest.recipe["partition_threads"]
    counts: dict[str, dict[str, int]] = {}
    documents, partitions = 0, set()
    for rows in list_rows([run["rows"].folder]):
        removed = find_removed(rows.folder, rows.site, record)
        windows = make_window_set(record.windows)
        found = Found(removed, find_quoting(rows.folder, rows.site, removed, windows))
        scope = Scope(rows.site, found, gone_from(record, {rows.site: removed}), windows)
        for table in sorted(SCHEMAS):
            for reason, num in _count_reasons(rows, table, scope).items():
                counts.setdefault(table, dict.fromkeys(REASONS, 0))[reason] += num
        for entry in run["dataset"].files("data/"):
            dataset = read_table(run["dataset"].path(entry.name), ["site", "post_id", "thread_id"])
            dataset = dataset.filter(pc.equal(dataset["site"], rows.site))
            goes = is_in(dataset["post_id"], np.union1d(*found))
            threads = dataset["thread_id"].filter(goes).to_pylist()
            documents += len(threads)
            partitions |= {(rows.site, thread // width) for thread in threads}
    return {"rows": counts, "documents": documents, "partitions": len(partitions)}


def _count_reasons(rows: Rows, table: str, scope: Scope) -> dict[str, int]:
    if not rows.path(table).is_file():
        return {}
    reasons = [judge_rows(group, table, scope) for group in iter_groups(rows.path(table))]
    return {reason: sum(int((one == reason).sum()) for one in reasons) for reason in REASONS}
