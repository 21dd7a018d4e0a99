"""Candidates as a stage: the answers of a corpus with their signals and their weak labels. Writes:

    candidates/<site>/<partition>.parquet    columns: `VOTED_SCHEMA`; by thread_id, post_id
    sites.json                               up to when the dump of each site knows

An answer is in it, or has a reason of `obsoletion.REJECT_REASONS`.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from corpus.durable import write_json
from corpus.engine import Engine
from corpus.errors import BadValue, StoreError
from corpus.manifest import Flow, Outcome, merge_outcomes
from corpus.progress import Reporter
from corpus.store import Artifact, Store, Task, Work
from corpus.tables import describe_file, read_table, write_table
from labeling.contents import format_time
from labeling.obsoletion import (
    CANDIDATE_SCHEMA,
    POST_COLUMNS,
    describe_candidates,
    find_candidates,
)
from labeling.partitions import Partition, dump_times, list_partitions
from labeling.recipe import BenchmarkRecipe, ObsoletionSection
from labeling.signals import ANSWER
from labeling.weak import FUNCTIONS, apply

VERSION = 1
VOTED_SCHEMA = pa.schema(
    [
        *CANDIDATE_SCHEMA,
        ("votes", pa.list_(pa.int8())),  # of `weak.FUNCTIONS`, in their order
        ("group", pa.string()),  # of its document in the corpus
        ("split", pa.string()),
    ]
)
SITES = "sites.json"
COMMENT_COLUMNS = ("id", "post_id", "created_at", "text", "score")


class Mining(NamedTuple):
    """The work of one task of candidates."""

    partition: Partition
    splits: Path
    dump_at: datetime
    section: ObsoletionSection


def build_candidates(
    posts: Artifact,
    splits: Artifact,
    recipe: BenchmarkRecipe,
    store: Store,
    engine: Engine,
    reporter: Reporter,
) -> Artifact:
    """Find the signals of all answers of a corpus, and let the labelling functions vote.

    Raises:
        StoreError: no site of the corpus has a PostHistory.
    """
    section = obsoletion_section(recipe)

    def make(work: Work) -> Outcome:
        partitions = list_partitions(posts)
        if not posts.files("history/"):
            raise StoreError(
                f"no site of corpus {recipe.benchmark.corpus!r} has a PostHistory, from which "
                "answers are taken as they were; build the corpus from dumps that have it"
            )
        times = dump_times(partitions)
        write_json(work.folder / SITES, {site: format_time(at) for site, at in times.items()})
        entry = describe_file(work.folder / SITES, SITES)
        tasks = [
            Task(one.path, Mining(one, splits.folder, times[one.site], section))
            for one in partitions
            if one.site in times  # a site without posts and comments has no time
        ]
        mined = work.map(_mine_partition, tasks)
        return merge_outcomes([Outcome((entry,)), *mined])

    asked = {
        **section.model_dump(mode="json", include={"min_age_days", "overtaken_by"}),
        "functions": [[function.name, function.version] for function in FUNCTIONS],
    }
    inputs = {"posts": posts, "splits": splits}
    return store.build("candidates", VERSION, asked, inputs, make, engine, reporter)


def obsoletion_section(recipe: BenchmarkRecipe) -> ObsoletionSection:
    """Return the section of this task.

    Raises:
        BadValue: the recipe is of another task.
    """
    if recipe.obsoletion is None:
        raise BadValue(f"the recipe is one of {recipe.task}; give a recipe of obsoletion")
    return recipe.obsoletion


def _mine_partition(folder: Path, mining: Mining) -> Outcome:
    partition = mining.partition
    posts = partition.read("Posts", POST_COLUMNS)
    comments = partition.read("Comments", COMMENT_COLUMNS)
    history = partition.read("PostHistory")
    dealt = _read_splits(mining)
    in_corpus = frozenset(dealt["post_id"].to_pylist())
    found = find_candidates(
        posts,
        comments,
        history,
        mining.section,
        mining.dump_at,
        is_in_corpus=in_corpus.__contains__,
    )
    table = found.table
    described = describe_candidates(table, posts, comments, history, mining.dump_at)
    rows = dealt.take(pc.index_in(table["post_id"], dealt["post_id"].combine_chunks()))
    votes = pa.array(apply(FUNCTIONS, described).tolist(), pa.list_(pa.int8()))
    columns = [*table.columns, votes, rows["group"], rows["split"]]
    table = pa.table(columns, schema=VOTED_SCHEMA)
    entry = write_table(folder, f"candidates/{partition.path}", table, VOTED_SCHEMA)
    num_answers = pc.sum(pc.equal(posts["post_type_id"], ANSWER)).as_py() or 0
    flow = Flow(num_answers, len(table), found.rejected)
    strata = Counter(table["stratum"].to_pylist())
    figures = {f"stratum_{stratum}": num for stratum, num in strata.items()}
    return Outcome((entry,), {"answers": flow}, figures)


def _read_splits(mining: Mining) -> pa.Table:
    """Return post_id, group and split of the documents that are in one."""
    path = mining.splits / "splits" / mining.partition.path
    if not path.is_file():
        kinds = {"post_id": pa.int64(), "group": pa.string(), "split": pa.string()}
        return pa.schema(kinds).empty_table()
    dealt = read_table(path, ["post_id", "group", "split"])
    return dealt.filter(pc.is_valid(dealt["split"]))
