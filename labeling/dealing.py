"""Examples dealt out to splits, and written as the files that are published.

    data/<split>-0000k-of-0000n.parquet     the examples' columns, `group` and `canary`

Examples of a corpus have the split of their document there. Those of published files are dealt out
by leakage group: threads that share a text within the near-duplicate threshold stay together. Then
what is left to share is taken out, as in the corpus: an early split gives way to an evaluation
example; an evaluation example gives way to the corpus's train split.

    other_split     by `cuts` it belongs into another split than its document is in
    after_cut       of a group that begins before a cut, itself after it
    near_duplicate  within the threshold of an example of a split after its own
    in_corpus       an evaluation example within the threshold of a document of the corpus's train
    ngram_overlap   an evaluation example of whose n-grams train, or the corpus's, holds too much

Sentences (`ner`) stay as they are published: what repeats is marked, not removed. Rows go by digest
of their ids, so that neither order nor place tells a label.
"""

from __future__ import annotations

import hashlib
import uuid
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpus.boundaries import list_sources
from corpus.components import components
from corpus.contamination import (
    Settings,
    Source,
    describe_evaluation,
    find_fractions,
    find_near,
    locate,
)
from corpus.cuts import is_after_cut, split_by_date, to_times
from corpus.dealing import split_by_digest
from corpus.engine import Engine
from corpus.lookup import Array
from corpus.manifest import Flow, Outcome, merge_outcomes
from corpus.minhash import shingle_sets
from corpus.overlap import Grams
from corpus.progress import Reporter
from corpus.recipe import SPLITS, SplitsSection
from corpus.similarity import index_sets, join_sets
from corpus.store import Artifact, Store, Task, Work
from corpus.tables import read_table, write_table
from labeling.examples import BENCHMARK_FIELDS, TEXT_COLUMNS
from labeling.ranks import rank_by_digest
from labeling.recipe import BenchmarkRecipe

VERSION = 1
SHINGLE_TOKENS = 5
SEED = 104_729
SHARD_ROWS = 50_000
CANARY = "sobert benchmark canary: this file must not be trained on. GUID"
REASONS = (
    "other_split",
    "after_cut",
    "near_duplicate",
    "in_corpus",
    "ngram_overlap",
)
DEALT_SCHEMA = pa.schema({"group": pa.string(), "split": pa.string(), "reason": pa.string()})


class Dealt(NamedTuple):
    """The examples of all files, in order: what is known of each, and where each file begins."""

    names: list[str]
    bounds: Array  # int64, shape (len(names) + 1,)
    ids: pa.ChunkedArray
    groups: Array  # objects
    splits: Array  # int8, place in SPLITS, -1 for none
    reasons: Array  # objects, "" for none


class Share(NamedTuple):
    """What one shard has of one file: its rows, their groups, and their places in the shard."""

    path: Path
    rows: Array
    groups: Array
    places: Array


class Shard(NamedTuple):
    """One published file and what it is made of."""

    name: str
    shares: list[Share]
    canary: str | None


def build_benchmark_data(
    examples: Artifact,
    dataset: Artifact | None,
    recipe: BenchmarkRecipe,
    store: Store,
    engine: Engine,
    reporter: Reporter,
) -> Artifact:
    """Deal the examples out to splits that share nothing, and write them.

    Args:
        examples: files `examples/...`, with columns group and split where a corpus gives them.
        dataset: the corpus's, where there is one.
        recipe: how.
        store: where artifacts lie.
        engine: where tasks run.
        reporter: what the person sees.
    """
    section = recipe.benchmark
    settings = make_benchmark_settings(recipe, SEED)

    def make(work: Work) -> Outcome:
        dealt = _deal(examples, recipe)
        if recipe.task != "ner":
            train = list_sources(dataset, "train") if dataset else []
            _reject_near(work, examples, dealt, train, settings)
            _reject_overlap(work, examples, dealt, train, settings, section.max_overlap)
        shards = _plan_shards(examples, dealt, recipe)
        written = work.map(_write_shard, [Task(shard.name, shard) for shard in shards])
        rejected = Counter(dealt.reasons[dealt.reasons != ""].tolist())
        num_out = sum(entry.num_rows for one in written for entry in one.files)
        merged = merge_outcomes(written)
        flow = Flow(len(dealt.reasons), num_out, rejected)
        return Outcome(merged.files, {"examples": flow}, merged.figures)

    inputs = {"examples": examples} | ({"dataset": dataset} if dataset else {})
    asked = {"task": recipe.task, **section.model_dump(mode="json", exclude={"corpus"})}
    if recipe.ner:
        asked["splits"] = recipe.ner.splits
    return store.build("benchmark", VERSION, asked, inputs, make, engine, reporter)


def make_benchmark_settings(recipe: BenchmarkRecipe, seed: int) -> Settings:
    """Return what the recipe says about sharing; a proof uses another seed than what it proves."""
    section = recipe.benchmark
    return Settings(SHINGLE_TOKENS, section.near_duplicate, section.ngram_tokens, seed)


def _deal(examples: Artifact, recipe: BenchmarkRecipe) -> Dealt:
    names = [entry.name for entry in examples.files("examples/")]
    columns = ["example_id", "thread_id", "input_at", "group", "split"]
    tables = [read_table(examples.path(name), columns) for name in names]
    table = pa.concat_tables(tables)
    num = len(table)
    dealt = Dealt(
        names,
        np.cumsum([0, *map(len, tables)]),
        table["example_id"],
        np.array(table["group"].to_pylist(), object),
        np.asarray(pc.fill_null(pc.index_in(table["split"], pa.array(SPLITS)), -1), "i1").copy(),
        np.full(num, "", object),
    )
    if not num:
        return dealt
    cuts = recipe.benchmark.cuts
    if pc.all(pc.is_valid(table["split"])).as_py():
        if cuts is not None:
            by_date = split_by_date(to_times(table["input_at"]), cuts)
            _reject(dealt, np.flatnonzero(by_date != dealt.splits), "other_split")
        return dealt
    group_of = _group(examples, names, table, recipe)
    sites = pc.list_element(pc.split_pattern(table["example_id"], "/"), 0).to_pylist()
    thread_ids = table["thread_id"].to_pylist()
    dealt.groups[:] = [f"{sites[place]}/{thread_ids[place]}" for place in group_of.tolist()]
    if cuts is not None:
        times = to_times(table["input_at"])
        began_at = np.full(num, np.datetime64("9999-01-01", "ms"))
        np.minimum.at(began_at, group_of, times)
        dealt.splits[:] = split_by_date(began_at[group_of], cuts)
        for number, split in enumerate(SPLITS):
            late = (dealt.splits == number) & is_after_cut(times, split, cuts)
            _reject(dealt, np.flatnonzero(late), "after_cut")
    else:
        asked = SplitsSection(salt=recipe.benchmark.salt, fractions=recipe.benchmark.fractions)
        split_of = {name: _place_of(name, asked) for name in set(dealt.groups)}
        dealt.splits[:] = [split_of[name] for name in dealt.groups]
    return dealt


def _place_of(group: str, asked: SplitsSection) -> int:
    return SPLITS.index(split_by_digest(group, asked))


def _group(
    examples: Artifact, names: Sequence[str], table: pa.Table, recipe: BenchmarkRecipe
) -> Array:
    """Return the leakage group of each example by the place of its first; int64."""
    _, first, threads = np.unique(
        table["thread_id"].to_numpy(), return_index=True, return_inverse=True
    )
    num = len(table)
    pairs = [np.stack([np.arange(num), first[threads]], axis=1)]
    if recipe.task != "ner":
        texts = [read_table(examples.path(name), ["text"])["text"] for name in names]
        joined = pa.chunked_array([chunk for text in texts for chunk in text.chunks], pa.string())
        sets = Grams(*shingle_sets(joined.combine_chunks(), width=SHINGLE_TOKENS, seed=SEED))
        threshold = recipe.benchmark.near_duplicate
        pairs.append(join_sets(index_sets(sets, threshold), sets, threshold)[0])
    return components(num, np.concatenate(pairs))


def _reject(dealt: Dealt, places: Array, reason: str) -> None:
    """Take examples out of their split; what was out before keeps its reason."""
    fresh = places[dealt.reasons[places] == ""]
    dealt.reasons[fresh] = reason
    dealt.splits[fresh] = -1


def _sources(work: Work, examples: Artifact, dealt: Dealt, folder: str) -> list[Source]:
    """Write the splits as they are now, and return the examples with them."""
    sources = []
    for number, name in enumerate(dealt.names):
        some = slice(dealt.bounds[number], dealt.bounds[number + 1])
        names = [SPLITS[place] if place >= 0 else None for place in dealt.splits[some].tolist()]
        table = pa.table({"split": pa.array(names, pa.string())})
        write_table(work.folder, f"{folder}/{name}", table, table.schema, level=1)
        path = work.folder / folder / name
        sources.append(Source(f"{folder}/{name}", examples.path(name), path))
    return sources


def _reject_near(
    work: Work, examples: Artifact, dealt: Dealt, train: list[Source], settings: Settings
) -> None:
    own = _sources(work, examples, dealt, "dealt")
    evaluation = describe_evaluation(work, own, settings)
    near = find_near(work, evaluation, [*own, *train])
    in_own = near[near[:, 1] < len(own)]
    _reject(dealt, dealt.bounds[in_own[:, 1]] + in_own[:, 2], "near_duplicate")
    sources, rows = locate(evaluation, near[near[:, 1] >= len(own)][:, 0])
    _reject(dealt, dealt.bounds[sources] + rows, "in_corpus")


def _reject_overlap(
    work: Work,
    examples: Artifact,
    dealt: Dealt,
    train: list[Source],
    settings: Settings,
    max_overlap: float,
) -> None:
    own = _sources(work, examples, dealt, "apart")
    evaluation = describe_evaluation(work, own, settings)
    fractions = find_fractions(work, evaluation, [*own, *train])
    sources, rows = locate(evaluation, np.flatnonzero(fractions > max_overlap))
    _reject(dealt, dealt.bounds[sources] + rows, "ngram_overlap")


def make_canary(examples: Artifact, recipe: BenchmarkRecipe) -> str:
    """Return the string that every row of the test split carries: one of its own a benchmark.

    What has it has read the file. The number follows from what is in the benchmark.
    """
    digest = hashlib.sha256(f"{recipe.card.name}\n{examples.manifest.id}".encode()).digest()
    return f"{CANARY} {uuid.UUID(bytes=digest[:16], version=4)}"


def _plan_shards(examples: Artifact, dealt: Dealt, recipe: BenchmarkRecipe) -> list[Shard]:
    ranks = rank_by_digest(dealt.ids.to_pylist(), f"order {recipe.benchmark.salt}")
    canary = make_canary(examples, recipe)
    shards = []
    for number, split in enumerate(SPLITS):
        places = np.flatnonzero(dealt.splits == number)
        places = places[np.argsort(ranks[places], kind="stable")]
        total = -(-len(places) // SHARD_ROWS)
        for shard in range(total):
            some = places[shard * SHARD_ROWS : (shard + 1) * SHARD_ROWS]
            name = f"data/{split}-{shard:05d}-of-{total:05d}.parquet"
            shares = _share(examples, dealt, some)
            shards.append(Shard(name, shares, canary if split == "test" else None))
    return shards


def _share(examples: Artifact, dealt: Dealt, places: Array) -> list[Share]:
    files = np.searchsorted(dealt.bounds, places, "right") - 1
    shares = []
    for number in np.unique(files).tolist():
        within = np.flatnonzero(files == number)
        rows = places[within] - dealt.bounds[number]
        path = examples.path(dealt.names[number])
        shares.append(Share(path, rows, dealt.groups[places[within]], within))
    return shares


def _write_shard(folder: Path, shard: Shard) -> Outcome:
    tables = []
    for share in shard.shares:
        rows = read_table(share.path).drop_columns(["group", "split"])
        groups = pa.array(share.groups, pa.string())
        tables.append(rows.take(pa.array(share.rows)).append_column("group", groups))
    order = np.argsort(np.concatenate([share.places for share in shard.shares]))
    table = pa.concat_tables(tables).take(pa.array(order))
    canaries = pa.array([shard.canary] * len(table), pa.string())
    table = table.append_column(BENCHMARK_FIELDS[1], canaries)
    entry = write_table(folder, shard.name, table, table.schema, text_columns=TEXT_COLUMNS)
    split = shard.name.removeprefix("data/").split("-")[0]
    labels = Counter(table["label"].drop_null().to_pylist())
    figures = {f"{split}_{label}": num for label, num in sorted(labels.items())}
    return Outcome((entry,), {}, {f"{split}_examples": len(table), **figures})
