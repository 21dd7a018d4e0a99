"""A benchmark of the store as a task: what is read, what is to be found, in which splits.

The splits of a task are not always those of the benchmark:

    train        what is learnt from: `input.train_share` of its leakage groups, by their digest
    validation   what a model, its learning rate and its epoch are chosen on
    test         what is reported: test, or validation where the benchmark has no test

Where validation has to stand for test, a tenth of train's groups, by their digest, is validation:
what a model is chosen on is never what is reported. `evaluated` says which split of the benchmark
`test` is.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpus.errors import StoreError
from corpus.manifest import Json
from corpus.recipe import SPLITS, Split
from corpus.store import Artifact, Store
from corpus.tables import empty_table, read_table
from finetune.recipe import TaskSection
from labeling.entities import (
    TYPES_BY_LIST,
    Entity,
    TypeList,
    select_types,
    spans_to_bio,
    token_offsets,
)
from labeling.probing import PROBES
from labeling.ranks import rank_by_digest
from labeling.recipe import TASKS
from labeling.recipe import Task as TaskName

Kind = Literal["sequence", "token"]
Array = np.ndarray[Any, Any]

VALIDATION_SHARE = 0.1
OUTSIDE = "O"
COLUMNS = ("example_id", "site", "post_id", "thread_id", "group", "text", "segments", "tags")
SEQUENCE_COLUMNS = (*COLUMNS, "input_at", "metadata", "label")
TOKEN_COLUMNS = (*COLUMNS, "input_at", "metadata", "tokens", "markup", "label")


@dataclass(frozen=True, slots=True)
class TaskData:
    """A task with its examples.

    Args:
        benchmark: its name in the store.
        benchmark_id: of the benchmark's manifest.
        task: quality, closed, ner or obsoletion.
        kind: `sequence`: a label an example; `token`: a tag a token.
        labels: in the order of all codes and probabilities; of tokens BIO tags, "O" first.
        evaluated: which split of the benchmark `test` is.
        splits: the examples of train, validation and test, and of other benchmarks by their name
            (to be predicted alike), in their order. Columns as `SEQUENCE_COLUMNS`; `label` is a
            string. Or as `TOKEN_COLUMNS`; `label` is a list of tags, one a token.
        num_unlabelled: rows of all splits that have no label, or not this form of the text; left
            out.
        other_ids: of the manifests of other benchmarks among `splits`, by their name.
        probes: rows of the benchmark's leak probes; none where it was built without them.
        num_shared: examples of these that are left out, as their thread is in train or validation.
    """

    benchmark: str
    benchmark_id: str
    task: TaskName
    kind: Kind
    labels: tuple[str, ...]
    evaluated: Split
    splits: dict[str, pa.Table]
    num_unlabelled: int
    other_ids: dict[str, str] = field(default_factory=dict)
    num_shared: int = 0
    probes: list[Json] = field(default_factory=list)


def read_task(store: Store, section: TaskSection, *, train_share: float = 1.0) -> TaskData:
    """Read a built benchmark as a task.

    Raises:
        StoreError: no such benchmark; it has no labelled examples to learn from or to report on;
            the target is not one of its columns.
    """
    artifacts = store.read_run(section.benchmark)
    if "benchmark" not in artifacts:
        raise StoreError(
            f"{section.benchmark!r} has no benchmark; task.benchmark takes the name of a "
            "`sobert labeling build`"
        )
    artifact = artifacts["benchmark"]
    task = read_task_name(artifacts)
    read = _read_tokens if task == "ner" else _read_sequences
    splits = {split: read(table, section) for split, table in _read_splits(artifact).items()}
    num_rows = sum(map(len, splits.values()))
    splits = {name: _keep_whole(table) for name, table in splits.items()}
    num_unlabelled = num_rows - sum(map(len, splits.values()))
    evaluated: Split = "test" if len(splits["test"]) else "validation"
    if evaluated == "validation":
        splits = _carve_validation(splits)
    splits["train"] = select_share(splits["train"], train_share, "train")
    for split, table in splits.items():
        if not len(table):
            raise StoreError(
                f"{section.benchmark!r} has no labelled example for {split}; give a benchmark "
                "with more"
            )
    kind: Kind = "token" if task == "ner" else "sequence"
    return TaskData(
        benchmark=section.benchmark,
        benchmark_id=artifact.manifest.id,
        task=task,
        kind=kind,
        labels=list_tags(section.types) if kind == "token" else _list_classes(splits),
        evaluated=evaluated,
        splits=splits,
        num_unlabelled=num_unlabelled,
        probes=_read_probes(artifacts),
    )


def add_benchmark(task: TaskData, store: Store, section: TaskSection, name: str) -> TaskData:
    """Return the task with the test of another benchmark as one more split, by its name.

    What was learnt from, or chosen on, is no test: examples of threads that this task has in train
    or validation are left out.

    Raises:
        StoreError: it is not there, or of another task, has labels that this one has not, or no
            thread of its own.
    """
    other = read_task(store, section.model_copy(update={"benchmark": name}))
    if (other.task, set(other.labels) - set(task.labels)) != (task.task, set()):
        raise StoreError(
            f"{name!r} is of {other.task} with labels {', '.join(other.labels)}; what was learnt "
            f"on {task.benchmark!r} cannot be asked of it"
        )
    theirs = other.splits["test"]
    seen = pa.concat_arrays([_thread_names(task.splits[split]) for split in SPLITS[:2]])
    asked = theirs.filter(pc.invert(pc.is_in(_thread_names(theirs), seen)))
    if not len(asked):
        raise StoreError(
            f"all threads of {name!r} are in train or validation of {task.benchmark!r}; nothing is "
            "left to ask"
        )
    return replace(
        task,
        splits={**task.splits, name: asked},
        other_ids={**task.other_ids, name: other.benchmark_id},
        num_shared=task.num_shared + len(theirs) - len(asked),
    )


def _thread_names(table: pa.Table) -> pa.Array:
    names = pc.binary_join_element_wise(table["site"], table["thread_id"].cast("string"), "/")
    return names.combine_chunks()


def read_task_name(artifacts: dict[str, Artifact]) -> TaskName:
    """Return the task of a built benchmark.

    Raises:
        StoreError: the manifest names none.
    """
    task = artifacts["benchmark"].manifest.recipe.get("task")
    if task not in TASKS:
        raise StoreError(f"{artifacts['benchmark'].folder} is of no known task; build it again")
    found: TaskName = task
    return found


def list_tags(types: TypeList) -> tuple[str, ...]:
    """Return the BIO tags of a list of types: "O", then B- and I- of each.

    >>> list_tags("loader")[:3]
    ('O', 'B-Algorithm', 'I-Algorithm')
    """
    return (OUTSIDE, *(f"{begin}-{name}" for name in TYPES_BY_LIST[types] for begin in "BI"))


def select_share(table: pa.Table, share: float, salt: str) -> pa.Table:
    """Keep this share of the leakage groups: those of the least digests, so a smaller share is a
    part of a larger; at least one group.

    >>> table = pa.table({"group": ["a", "b", "a", "c", "d"]})
    >>> len(select_share(table, 1.0, "x")), select_share(table, 0.25, "x")["group"].to_pylist()
    (5, ['c'])
    """
    if share >= 1 or not len(table):
        return table
    groups = sorted(set(table["group"].to_pylist()))
    order = np.argsort(rank_by_digest(groups, salt), kind="stable")
    kept = [groups[at] for at in order[: max(1, round(share * len(groups)))].tolist()]
    return table.filter(pc.is_in(table["group"], pa.array(kept)))


def _carve_validation(splits: dict[str, pa.Table]) -> dict[str, pa.Table]:
    train = splits["train"]
    chosen = select_share(train, VALIDATION_SHARE, "validation")
    is_chosen = pc.is_in(train["group"], pc.unique(chosen["group"]))
    return {
        "train": train.filter(pc.invert(is_chosen)),
        "validation": chosen,
        "test": splits["validation"],
    }


def _read_splits(artifact: Artifact) -> dict[str, pa.Table]:
    tables = {
        split: [read_table(artifact.path(one.name)) for one in artifact.files(f"data/{split}-")]
        for split in SPLITS
    }
    schemas = [table.schema for some in tables.values() for table in some]
    if not schemas:
        raise StoreError(f"{artifact.folder} has no examples at all; see why it rejected them")
    nothing = empty_table(schemas[0])
    return {split: pa.concat_tables([nothing, *some]) for split, some in tables.items()}


def _read_sequences(table: pa.Table, section: TaskSection) -> pa.Table:
    if section.target not in table.column_names:
        raise StoreError(
            f"{section.benchmark!r} has no column {section.target!r}; task.target is `label`, or "
            "`reason` where questions are closed"
        )
    label = table[section.target]
    if section.target == "reason":
        # Open questions have no reason: they are a class of their own.
        label = pc.coalesce(label, table["label"])
    columns = {name: table[name] for name in SEQUENCE_COLUMNS}
    return pa.table({**columns, "text": table[section.form], "label": label})


def _read_tokens(table: pa.Table, section: TaskSection) -> pa.Table:
    columns = {name: table[name] for name in TOKEN_COLUMNS if name != "label"}
    rows = table.select(["tokens", "entities"]).to_pylist()
    tags = [tag_tokens(row["tokens"], row["entities"], section.types) for row in rows]
    return pa.table({**columns, "label": pa.array(tags, pa.list_(pa.string()))})


def tag_tokens(tokens: list[str], entities: list[dict[str, Any]], types: TypeList) -> list[str]:
    """Return the BIO tags of a sentence under a list of types, whichever the benchmark has.

    >>> entity = {"start": 4, "end": 7, "raw_type": "Library_Class"}
    >>> tag_tokens(["use", "map", "!"], [entity], "loader")
    ['O', 'B-Class', 'O']
    """
    offsets = token_offsets(tokens)
    number_of = {start: number for number, (start, _) in enumerate(offsets)}
    end_of = {end: number + 1 for number, (_, end) in enumerate(offsets)}
    raw = [Entity(number_of[e["start"]], end_of[e["end"]], e["raw_type"]) for e in entities]
    return spans_to_bio(select_types(raw, TYPES_BY_LIST[types]), len(tokens))


def _read_probes(artifacts: dict[str, Artifact]) -> list[Json]:
    if "probes" not in artifacts:
        return []
    rows: list[Json] = json.loads(artifacts["probes"].path(PROBES).read_bytes())["rows"]
    return rows


def _keep_whole(table: pa.Table) -> pa.Table:
    return table.filter(pc.and_(pc.is_valid(table["label"]), pc.is_valid(table["text"])))


def _list_classes(splits: dict[str, pa.Table]) -> tuple[str, ...]:
    return tuple(sorted({one for table in splits.values() for one in table["label"].to_pylist()}))
