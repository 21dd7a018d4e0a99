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
    not_drawn       more than the recipe asks for, of what is left (`labeling.drawing`)

Sentences (`ner`) stay as they are published: what repeats is marked, not removed. Rows go by digest
of their ids, so that neither order nor place tells a label.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
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
from corpus.manifest import Flow, Json, Outcome, digest_json, merge_outcomes
from corpus.minhash import shingle_sets
from corpus.overlap import Grams, join_grams
from corpus.progress import Reporter
from corpus.recipe import SPLITS, SplitsSection
from corpus.shuffle import gather, scatter
from corpus.similarity import index_sets, join_sets
from corpus.store import Artifact, Store, Task, Work
from corpus.tables import describe_file, read_table, write_table
from labeling.drawing import DRAWING_KEYS, draw_examples
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
    "not_drawn",
)
DEALT_SCHEMA = pa.schema({"group": pa.string(), "split": pa.string(), "reason": pa.string()})


class Dealt(NamedTuple):
    """The examples of all files, in order: what is known of each, and where each file begins."""

    names: list[str]
    bounds: Array  # int64, shape (len(names) + 1,)
    ids: list[str]
    labels: Array  # objects, None for none
    groups: Array  # objects
    splits: Array  # int8, place in SPLITS, -1 for none
    reasons: Array  # objects, "" for none


class Scattering(NamedTuple):
    """The work of one task: a file of examples, and for each row its group, shard and rank."""

    path: Path
    name: str
    groups: Array
    shards: Array  # int64, -1 for rows that are in none
    ranks: Array


class Shard(NamedTuple):
    """One published file, by number, and what was scattered for it."""

    name: str
    number: int
    paths: list[Path]
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
    asked = {"task": recipe.task, **section.model_dump(mode="json", exclude={"corpus"})}
    if recipe.ner:
        asked["splits"] = recipe.ner.splits
    else:
        drawn = getattr(recipe, recipe.task).model_dump(mode="json", include=set(DRAWING_KEYS))
        asked |= drawn

    def make(work: Work) -> Outcome:
        dealt = _deal(examples, recipe)
        if recipe.task != "ner":
            train = list_sources(dataset, "train") if dataset else []
            _reject_near(work, examples, dealt, train, settings)
            _reject_overlap(work, examples, dealt, train, settings, section.max_overlap)
        _draw(dealt, recipe)
        canary = make_canary(examples, asked)
        written = _write_shards(work, examples, dealt, recipe.benchmark.salt, canary)
        rejected = Counter(dealt.reasons[dealt.reasons != ""].tolist())
        num_out = sum(entry.num_rows for one in written for entry in one.files)
        merged = merge_outcomes(written)
        flow = Flow(len(dealt.reasons), num_out, rejected)
        return Outcome(merged.files, {"examples": flow}, merged.figures)

    inputs = {"examples": examples} | ({"dataset": dataset} if dataset else {})
    return store.build("benchmark", VERSION, asked, inputs, make, engine, reporter)


def make_benchmark_settings(recipe: BenchmarkRecipe, seed: int) -> Settings:
    """Return what the recipe says about sharing; a proof uses another seed than what it proves."""
    section = recipe.benchmark
    return Settings(SHINGLE_TOKENS, section.near_duplicate, section.ngram_tokens, seed)


def _deal(examples: Artifact, recipe: BenchmarkRecipe) -> Dealt:
    names = [entry.name for entry in examples.files("examples/")]
    columns = ["example_id", "thread_id", "label", "input_at", "group", "split"]
    tables = [read_table(examples.path(name), columns) for name in names]
    table = pa.concat_tables(tables)
    num = len(table)
    dealt = Dealt(
        names,
        np.cumsum([0, *map(len, tables)]),
        table["example_id"].to_pylist(),
        np.array(table["label"].to_pylist(), object),
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
        sets = join_grams([_shingle_file(examples.path(name)) for name in names])
        threshold = recipe.benchmark.near_duplicate
        pairs.append(join_sets(index_sets(sets, threshold), sets, threshold)[0])
    return components(num, np.concatenate(pairs))


def _shingle_file(path: Path) -> Grams:
    texts = read_table(path, ["text"])["text"].combine_chunks()
    return Grams(*shingle_sets(texts, width=SHINGLE_TOKENS, seed=SEED))


def _draw(dealt: Dealt, recipe: BenchmarkRecipe) -> None:
    """Take out what is more than the recipe asks for."""
    places = np.flatnonzero(dealt.splits >= 0)
    if recipe.task in ("quality", "closed") and len(places):
        strata = dealt.labels[places] + "/" + np.array(SPLITS, object)[dealt.splits[places]]
        is_drawn = draw_examples((dealt.ids[place] for place in places), strata, recipe)
        _reject(dealt, places[~is_drawn], "not_drawn")


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


def make_canary(examples: Artifact, asked: Json) -> str:
    """Return the string that every row of the test split carries: one of its own a benchmark.

    The number follows from what is in the benchmark and how it was dealt out.
    """
    digest = digest_json({"examples": examples.manifest.id, **asked})
    return f"{CANARY} {uuid.UUID(hex=digest[:32], version=4)}"


def _write_shards(
    work: Work, examples: Artifact, dealt: Dealt, salt: str, canary: str
) -> list[Outcome]:
    """Write the shards of each split, rows by digest of their ids: scatter once, then gather."""
    ranks = rank_by_digest(dealt.ids, f"order {salt}")
    numbers = np.full(len(ranks), -1, "i8")
    names: list[str] = []
    for split, title in enumerate(SPLITS):
        places = np.flatnonzero(dealt.splits == split)
        places = places[np.argsort(ranks[places], kind="stable")]
        total = -(-len(places) // SHARD_ROWS)
        numbers[places] = len(names) + np.arange(len(places)) // SHARD_ROWS
        names += [f"data/{title}-{shard:05d}-of-{total:05d}.parquet" for shard in range(total)]
    scatterings = []
    for number, (start, stop) in enumerate(pairwise(dealt.bounds.tolist())):
        parts = (array[start:stop] for array in (dealt.groups, numbers, ranks))
        name = f"scatter/{number:05d}.arrow"
        scatterings.append(Scattering(examples.path(dealt.names[number]), name, *parts))
    work.map(_scatter_file, [Task(one.name, one) for one in scatterings])
    paths = [work.folder / one.name for one in scatterings]
    shards = [
        Shard(name, number, paths, canary if name.startswith("data/test-") else None)
        for number, name in enumerate(names)
    ]
    return work.map(_write_shard, [Task(shard.name, shard) for shard in shards])


def _scatter_file(folder: Path, payload: Scattering) -> Outcome:
    rows = read_table(payload.path).drop_columns(["group", "split"])
    rows = rows.append_column("group", pa.array(payload.groups, pa.string()))
    rows = rows.append_column("rank", pa.array(payload.ranks))
    kept = payload.shards >= 0
    scatter(rows.filter(pa.array(kept)), payload.shards[kept], folder / payload.name)
    return Outcome((describe_file(folder / payload.name, payload.name, num_rows=int(kept.sum())),))


def _write_shard(folder: Path, shard: Shard) -> Outcome:
    rows = gather(shard.paths, shard.number)
    assert rows is not None
    # Two equal ranks are equal ids, which no benchmark has.
    table = rows.sort_by("rank").drop_columns(["rank"])
    canaries = pa.array([shard.canary] * len(table), pa.string())
    table = table.append_column(BENCHMARK_FIELDS[1], canaries)
    entry = write_table(folder, shard.name, table, table.schema, text_columns=TEXT_COLUMNS)
    split = shard.name.removeprefix("data/").split("-")[0]
    labels = Counter(table["label"].drop_null().to_pylist())
    figures = {f"{split}_{label}": num for label, num in sorted(labels.items())}
    return Outcome((entry,), {}, {f"{split}_examples": len(table), **figures})
