"""Labels of questions from what happened to them: the first stage of quality and closed.

    labels/<site>/<partition>.parquet     columns: `LABEL_SCHEMA`; by thread_id, post_id

`labeling.quality` and `labeling.closed` say what label a question has, or why it has none. No text
is read here: of 24 million questions only those that are drawn need theirs (`labeling.questions`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpus.engine import Engine
from corpus.errors import StoreError
from corpus.manifest import Flow, Outcome, merge_outcomes
from corpus.progress import Reporter
from corpus.recipe import SPLITS
from corpus.store import Artifact, Store, Task, Work
from corpus.tables import read_table, write_table
from labeling.closed import label_closed
from labeling.drawing import DRAWING_KEYS
from labeling.partitions import Partition, dump_times, list_partitions
from labeling.quality import label_quality
from labeling.recipe import BenchmarkRecipe, ClosedSection, QualitySection

VERSION = 1
LABEL_SCHEMA = pa.schema(
    [
        ("post_id", pa.int64()),
        ("thread_id", pa.int64()),
        ("label", pa.string()),
        ("label_at", pa.timestamp("ms", "UTC")),
        ("asked_at", pa.timestamp("ms", "UTC")),
        ("reason", pa.string()),  # of a closed one; see `labeling.closed`
        ("reason_then", pa.string()),
        ("reason_id", pa.int32()),
        ("group", pa.string()),  # of its document in the corpus
        ("split", pa.string()),
    ]
)
QUESTION = 1
POST_COLUMNS = (
    "id",
    "thread_id",
    "post_type_id",
    "created_at",
    "score",
    "owner_user_id",
    "owner_display_name",
    "closed_at",
)
EVENT_COLUMNS = (
    *("id", "post_id", "post_history_type_id", "created_at"),
    *("user_id", "user_display_name", "revision_guid", "comment"),
)

Array = np.ndarray[Any, Any]
Rule = Callable[[pa.Table, pa.Table, datetime, Any], tuple[pa.Table, Array]]
RULES: Mapping[str, Rule] = {"quality": label_quality, "closed": label_closed}


class Labelling(NamedTuple):
    """The work of one task."""

    partition: Partition
    splits: Path
    dump_at: datetime
    task: str
    section: QualitySection | ClosedSection


def build_labels(
    posts: Artifact,
    splits: Artifact,
    recipe: BenchmarkRecipe,
    store: Store,
    engine: Engine,
    reporter: Reporter,
) -> Artifact:
    """Label the questions of a corpus.

    Raises:
        StoreError: no site of the corpus has a PostHistory.
    """
    section = getattr(recipe, recipe.task)

    def make(work: Work) -> Outcome:
        partitions = list_partitions(posts)
        if not posts.files("history/"):
            raise StoreError(
                f"no site of corpus {recipe.benchmark.corpus!r} has a PostHistory, which labels "
                "come from; build the corpus from dumps that have it"
            )
        times = dump_times(partitions)
        payloads = [
            Labelling(one, splits.folder, times[one.site], recipe.task, section)
            for one in partitions
        ]
        tasks = [Task(one.partition.path, one) for one in payloads]
        return merge_outcomes(work.map(_label_partition, tasks))

    asked = {"task": recipe.task, **section.model_dump(mode="json", exclude=set(DRAWING_KEYS))}
    inputs = {"posts": posts, "splits": splits}
    return store.build("labels", VERSION, asked, inputs, make, engine, reporter)


def _label_partition(folder: Path, payload: Labelling) -> Outcome:
    partition = payload.partition
    posts = partition.read("Posts", POST_COLUMNS)
    is_question = pc.equal(posts["post_type_id"], QUESTION)
    questions = posts.filter(is_question)
    events = partition.read("PostHistory", EVENT_COLUMNS)
    labels, reasons = RULES[payload.task](questions, events, payload.dump_at, payload.section)
    dealt = _read_splits(payload, questions)
    for reason in ("not_in_corpus", "no_split"):
        is_it = np.asarray(pc.equal(dealt["state"], reason), bool)
        reasons[is_it & (reasons == "")] = reason
    columns = {
        "post_id": questions["id"],
        "thread_id": questions["thread_id"],
        "asked_at": questions["created_at"],
        **dict(zip(labels.column_names, labels.columns, strict=True)),
        "group": dealt["group"],
        "split": dealt["split"],
    }
    kept = pa.array(reasons == "")
    table = pa.table([columns[name] for name in LABEL_SCHEMA.names], schema=LABEL_SCHEMA)
    entry = write_table(folder, f"labels/{partition.path}", table.filter(kept), LABEL_SCHEMA)
    rejected = Counter(reasons[reasons != ""].tolist())
    flow = Flow(len(posts), entry.num_rows, {**rejected, "no_question": len(posts) - len(reasons)})
    return Outcome((entry,), {"posts": flow})


def _read_splits(payload: Labelling, questions: pa.Table) -> pa.Table:
    """Return group and split of each question, and a state: "", not_in_corpus or no_split."""
    path = payload.splits / "splits" / payload.partition.path
    if not path.is_file():
        nothing = pa.nulls(len(questions), pa.string())
        states = pa.repeat("not_in_corpus", len(questions))
        return pa.table({"group": nothing, "split": nothing, "state": states})
    dealt = read_table(path, ["post_id", "group", "split"])
    rows = dealt.take(pc.index_in(questions["id"], dealt["post_id"].combine_chunks()))
    is_there = pc.is_valid(rows["post_id"])
    is_dealt = pc.is_in(rows["split"], pa.array(SPLITS))
    states = pc.if_else(is_there, pc.if_else(is_dealt, "", "no_split"), "not_in_corpus")
    return pa.table({"group": rows["group"], "split": rows["split"], "state": states})
