"""Stage 7, splits: the leakage group and the split of every document.

Groups (`groups`) are dealt out whole (`dealing`). Writes

    splits/<site>/<partition>.parquet     a row a document, in its order: post_id, group
                                          (`<site>/<thread_id>`, the oldest thread of the group),
                                          split, and the reason where it is in none

    duplicate       removed; the dedup ledger names the one that represents it
    after_cut       of a group that begins before a cut, but newer than its split may be
    near_duplicate  within the dedup threshold of a document in a split after its own, in another
                    group: one of the few that MinHash did not see. The split before gives way:
                    train has plenty, and no test document leaves because a new thread came
    ngram_overlap   an evaluation text of whose n-grams train holds more than the recipe's share:
                    mostly a short text that a long one quotes

"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpus.contamination import (
    Source,
    describe_evaluation,
    find_fractions,
    find_near,
    locate,
    make_settings,
)
from corpus.cuts import NEWEST_COLUMNS, is_after_cut, newest_times
from corpus.dealing import read_threads, split_groups
from corpus.engine import Engine
from corpus.groups import (
    Threads,
    cluster_pairs,
    find_held_out,
    group_threads,
    keys_of_rows,
    link_pairs,
    make_keys,
    threads_held_out,
)
from corpus.lookup import Array, find_places, sort_distinct
from corpus.manifest import Flow, Outcome, merge_outcomes
from corpus.progress import Reporter
from corpus.recipe import SPLITS, CutsSection, Recipe, SplitsSection
from corpus.store import Artifact, Store, Task, Work
from corpus.tables import read_table, write_table

VERSION = 2
SPLIT_SCHEMA = pa.schema(
    [
        ("post_id", pa.int64()),
        ("group", pa.string()),
        ("split", pa.string()),
        ("reason", pa.string()),
    ]
)
REASONS = ("duplicate", "after_cut", "near_duplicate", "ngram_overlap")
SEED = 0


class Dealing(NamedTuple):
    """What `_deal_partition` needs to know of all threads and all removed documents.

    `group_of` and `split_of` (place in SPLITS) are arrays over threads, in files of `folder`.
    """

    folder: Path
    sites: list[str]
    cuts: CutsSection | None


class Rejecting(NamedTuple):
    """One step of rejecting: the folders it reads and writes, and the reason."""

    before: str
    after: str
    reason: str


def build_splits(
    documents: Artifact,
    dedup: Artifact,
    posts: Artifact,
    recipe: Recipe,
    store: Store,
    engine: Engine,
    reporter: Reporter,
) -> Artifact:
    """Give every kept document a split, whole leakage groups at a time."""
    held_out = threads_held_out(recipe.splits.hold_out, posts)

    def make(work: Work) -> Outcome:
        names = [entry.name.removeprefix("documents/") for entry in documents.files("documents/")]
        paths = {name: documents.path(f"documents/{name}") for name in names}
        asked = recipe.splits.model_copy(update={"hold_out": held_out})
        dealing, figures = _deal_threads(work.folder, paths, dedup, posts, asked)
        payloads = [(name, path, dealing) for name, path in paths.items()]
        work.map(_deal_partition, [Task(f"deal-{p[0]}", p) for p in payloads])

        def sources(folder: str) -> list[Source]:
            return [Source(name, path, work.folder / folder / name) for name, path in paths.items()]

        evaluation = describe_evaluation(work, sources("dealt"), make_settings(recipe, SEED))
        near = find_near(work, evaluation, sources("dealt"))
        _reject(work, names, near[:, 1], near[:, 2], Rejecting("dealt", "apart", "near_duplicate"))
        fractions = find_fractions(work, evaluation, sources("apart"))
        over = locate(evaluation, np.flatnonzero(fractions > recipe.leakage.max_overlap))
        written = _reject(work, names, *over, Rejecting("apart", "splits", "ngram_overlap"))
        flows = {"documents": written.flows.get("documents", Flow())}
        return Outcome(written.files, flows, {**written.figures, **figures})

    inputs = {"documents": documents, "dedup": dedup, "posts": posts}
    section = {
        "dedup": recipe.dedup.model_dump(mode="json", include={"shingle_tokens", "threshold"}),
        "leakage": recipe.leakage.model_dump(mode="json"),
        "splits": recipe.splits.model_dump(mode="json"),
    }
    artifact = store.build("splits", VERSION, section, inputs, make, engine, reporter)
    asked, found = len(held_out), artifact.manifest.outcome.figures["held_out_threads"]
    if found < asked:
        reporter.say(
            f"note: of {asked:,} threads to hold out {asked - found:,} are not in the corpus; its "
            "sites must be called as the list calls them"
        )
    return artifact


def _deal_threads(
    folder: Path, paths: dict[str, Path], dedup: Artifact, posts: Artifact, recipe: SplitsSection
) -> tuple[Dealing, dict[str, int]]:
    """Group and deal the threads; return what each partition needs to know, and figures."""
    table = read_threads(paths)
    threads = table.threads
    clusters = read_table(dedup.path("clusters.parquet"))
    pairs = [cluster_pairs(threads.sites, clusters), link_pairs(threads.sites, posts)]
    group_of = group_threads(threads, table.began_at, np.concatenate(pairs))
    is_removed = pc.not_equal(clusters["doc_id"], clusters["representative"])
    removed = keys_of_rows(threads.sites, clusters.filter(is_removed), "post_id")
    arrays = {
        "keys": threads.keys,
        "group_of": group_of,
        "split_of": split_groups(table, group_of, recipe),
        "removed": np.sort(removed),
    }
    (folder / "threads").mkdir(exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / "threads" / f"{name}.npy", array)
    figures = {
        "threads": len(threads.keys),
        "leakage_groups": len(sort_distinct(group_of)),
        "held_out_threads": len(find_held_out(threads, recipe.hold_out)),
    }
    return Dealing(folder / "threads", threads.sites, recipe.cuts), figures


def _deal_partition(folder: Path, payload: tuple[str, Path, Dealing]) -> Outcome:
    """Write a partition's splits as they are before what they share is known."""
    name, path, dealing = payload
    keys, group_of, split_of, removed = (
        np.load(dealing.folder / f"{array}.npy", mmap_mode="r")
        for array in ("keys", "group_of", "split_of", "removed")
    )
    columns = NEWEST_COLUMNS if dealing.cuts else []
    rows = read_table(path, ["post_id", "thread_id", *columns])
    threads = Threads(dealing.sites, keys)
    places = threads.find(_site(name), rows["thread_id"].to_numpy())
    splits, reasons = split_of[places], np.full(len(rows), -1, "i1")
    if dealing.cuts is not None:
        newest_at = newest_times(rows)
        for number, split in enumerate(SPLITS):
            is_late = (splits == number) & is_after_cut(newest_at, split, dealing.cuts)
            reasons[is_late] = REASONS.index("after_cut")
    post_keys = make_keys(dealing.sites, _site(name), rows["post_id"].to_numpy())
    reasons[find_places(removed, post_keys) >= 0] = REASONS.index("duplicate")
    splits = np.where(reasons < 0, splits, -1)
    dealt = [
        rows["post_id"],
        threads.names(group_of[places]),
        _name_codes(splits, SPLITS),
        _name_codes(reasons, REASONS),
    ]
    table = pa.table(dealt, schema=SPLIT_SCHEMA)
    return Outcome((write_table(folder, f"dealt/{name}", table, SPLIT_SCHEMA, level=1),))


def _reject(
    work: Work, names: list[str], sources: Array, rows: Array, rejecting: Rejecting
) -> Outcome:
    """Write the splits of all partitions anew; the rows named (partition, row) are in none."""
    payloads = [(name, rows[sources == number], rejecting) for number, name in enumerate(names)]
    tasks = [Task(f"{rejecting.after}-{payload[0]}", payload) for payload in payloads]
    return merge_outcomes(work.map(_reject_rows, tasks))


def _reject_rows(folder: Path, payload: tuple[str, Array, Rejecting]) -> Outcome:
    name, rows, rejecting = payload
    table = read_table(folder / rejecting.before / name)
    is_rejected = np.zeros(len(table), bool)
    is_rejected[rows] = True
    # What was rejected before keeps its reason.
    rejected = pc.and_(pa.array(is_rejected), table["split"].is_valid())
    splits = pc.if_else(rejected, None, table["split"])
    reasons = pc.if_else(rejected, rejecting.reason, table["reason"])
    written = pa.table([table["post_id"], table["group"], splits, reasons], schema=SPLIT_SCHEMA)
    entry = write_table(folder, f"{rejecting.after}/{name}", written, SPLIT_SCHEMA)
    kept = {split: pc.sum(pc.equal(splits, split)).as_py() or 0 for split in SPLITS}
    counts = pc.value_counts(reasons.drop_null()).to_pylist()
    flow = Flow(len(table), sum(kept.values()), {c["values"]: c["counts"] for c in counts})
    figures = {f"documents_{split}": num for split, num in kept.items()}
    return Outcome((entry,), {"documents": flow}, figures)


def _name_codes(codes: Array, names: tuple[str, ...]) -> pa.Array:
    """Return names by place, as strings; null where the place is negative."""
    places = pa.array(codes, pa.int8(), mask=codes < 0)
    return pa.array(names).take(places)


def _site(name: str) -> str:
    return name.rpartition("/")[0]
