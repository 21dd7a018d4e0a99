"""The examples of quality and closed: the questions that are drawn, as they were first asked.

    examples/<site>/<partition>.parquet   columns: the task's schema, `group` and `split`

The input of every class is the first revision in one canonical form: no later edit, no `[closed]`,
no duplicate banner can be in it. `raw_text` is what the published set would have: for closed the
Markdown of the first revision; for quality that for LQ_EDIT and the rendered page for the others,
which is the leak that the published set has.

Which of the labelled questions are drawn depends on digests of their ids (`labeling.drawing`), and
so not on the order of anything.
"""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpus.attribution import UserNames, credit, post_link
from corpus.cuts import split_by_date, to_times
from corpus.engine import Engine
from corpus.licences import licences_at
from corpus.manifest import Flow, Outcome, merge_outcomes
from corpus.posts import load_user_names
from corpus.progress import Reporter
from corpus.recipe import SPLITS
from corpus.store import Artifact, Store, Task, Work
from corpus.tables import read_table, write_table
from labeling.canonical import canonicalise
from labeling.drawing import draw_examples
from labeling.examples import DEALT_FIELDS, TEXT_COLUMNS
from labeling.markdown import dialect_at
from labeling.partitions import Partition
from labeling.recipe import BenchmarkRecipe
from labeling.revisions import find_revisions
from labeling.schemas import CLOSED_SCHEMA, QUALITY_SCHEMA

VERSION = 1
SCHEMA_BY_TASK = {"quality": QUALITY_SCHEMA, "closed": CLOSED_SCHEMA}
# Of the day of the dump, or of the minute of asking: for the probes, never an input.
COUNTS = ("score", "view_count", "answer_count", "comment_count", "favorite_count")
EPOCH_DAY = 14_092  # 2008-08-01, when the first site began, in days since 1970

Array = np.ndarray[Any, Any]


class Drawing(NamedTuple):
    """The work of one task: the labelled questions of a partition, and which are drawn."""

    partition: Partition
    labels: Path
    reasons: Array
    task: str


def build_question_examples(
    labels: Artifact,
    posts: Artifact,
    recipe: BenchmarkRecipe,
    store: Store,
    engine: Engine,
    reporter: Reporter,
) -> Artifact:
    """Draw questions by what the recipe says of rates, and write them as they were first asked."""

    def make(work: Work) -> Outcome:
        names = [entry.name.removeprefix("labels/") for entry in labels.files("labels/")]
        columns = ["post_id", "label", "split", "asked_at"]
        tables = [
            (name.split("/")[0], read_table(labels.path(f"labels/{name}"), columns))
            for name in names
        ]
        payloads = [
            Drawing(
                Partition(posts.folder, *name.split("/")),
                labels.path(f"labels/{name}"),
                reasons,
                recipe.task,
            )
            for name, reasons in zip(names, draw_questions(tables, recipe), strict=True)
        ]
        tasks = [Task(one.partition.path, one, len(one.reasons)) for one in payloads]
        return merge_outcomes(work.map(_write_examples, tasks, unit="questions"))

    section = {
        "salt": recipe.benchmark.salt,
        "cuts": recipe.benchmark.model_dump(mode="json")["cuts"],
        recipe.task: getattr(recipe, recipe.task).model_dump(mode="json"),
    }
    inputs = {"labels": labels, "posts": posts}
    return store.build("examples", VERSION, section, inputs, make, engine, reporter)


def draw_questions(tables: list[tuple[str, pa.Table]], recipe: BenchmarkRecipe) -> list[Array]:
    """Return why each labelled question is not drawn, objects, by table: "" for those that are.

    Args:
        tables: site, and columns post_id, label, split, asked_at of each partition.
        recipe: with `cuts`, a question whose time belongs into another split than its document
            is in is `other_split`; of the others `labeling.drawing` chooses.
    """
    if not tables:
        return []
    joined = pa.concat_tables([table for _, table in tables])
    reasons = np.full(len(joined), "", object)
    splits = np.array(joined["split"].to_pylist(), object)
    if recipe.benchmark.cuts is not None:
        by_date = split_by_date(to_times(joined["asked_at"]), recipe.benchmark.cuts)
        reasons[np.array(SPLITS, object)[by_date] != splits] = "other_split"
    places = np.flatnonzero(reasons == "")
    strata = np.array(joined["label"].to_pylist(), object) + "/" + splits
    ids = [f"{site}/{one}" for site, table in tables for one in table["post_id"].to_pylist()]
    is_drawn = draw_examples((ids[place] for place in places), strata[places], recipe)
    reasons[places[~is_drawn]] = "not_drawn"
    bounds = np.cumsum([0, *(len(table) for _, table in tables)])
    return [reasons[a:b] for a, b in itertools.pairwise(bounds)]


def _write_examples(folder: Path, payload: Drawing) -> Outcome:
    partition, site = payload.partition, payload.partition.site
    labels = read_table(payload.labels).filter(pa.array(payload.reasons == ""))
    posts = partition.read("Posts")
    posts = posts.take(pc.index_in(labels["post_id"], posts["id"].combine_chunks()))
    first = find_revisions(partition.read("PostHistory"), labels["post_id"].to_numpy())
    users = UserNames(*load_user_names(partition.posts, site))
    author = credit(site, posts["owner_user_id"], posts["owner_display_name"], users)
    typed = zip(*(first[name].to_pylist() for name in ("title", "body", "at")), strict=True)
    layouts = [canonicalise(title, body, dialect=dialect_at(at)) for title, body, at in typed]
    raw_titles, raw_bodies = _raw_forms(payload.task, labels, posts, first)
    stated = pc.if_else(pc.equal(first["licence"], ""), None, first["licence"])
    columns: dict[str, Any] = {
        **{name: labels[name] for name in labels.column_names},
        "example_id": [f"{site}/{post_id}" for post_id in labels["post_id"].to_pylist()],
        "site": pa.repeat(site, len(labels)),
        "text": [layout.text for layout in layouts],
        "body_end": [layout.body_end for layout in layouts],
        "segments": [layout.segments for layout in layouts],
        "inline_code": [layout.inline_code for layout in layouts],
        "tags": first["tags"],
        "raw_title": raw_titles,
        "raw_body": raw_bodies,
        "raw_text": _join(raw_titles, raw_bodies),
        "input_at": first["at"],
        "author_id": author.ids,
        "author_name": author.names,
        "author_link": author.links,
        "link": [post_link(site, "question", one) for one in labels["post_id"].to_pylist()],
        "licence": pc.coalesce(stated, licences_at(first["at"])),
        "licence_source": pc.if_else(pc.is_valid(stated), "row", "dates"),
        "metadata": _metadata(posts, first),
    }
    schema = pa.schema([*SCHEMA_BY_TASK[payload.task], *DEALT_FIELDS])
    arrays = [_as_array(columns[field.name], field.type) for field in schema]
    table = pa.table(arrays, schema=schema)
    why = Counter(payload.reasons[payload.reasons != ""].tolist())
    is_empty = pc.equal(table["text"], "")
    # Of imported and merged posts, history may begin after the label was given.
    is_late = pc.fill_null(pc.greater(table["input_at"], table["label_at"]), False)
    kept = table.filter(pc.invert(pc.or_(is_empty, is_late)))
    entry = write_table(
        folder, f"examples/{partition.path}", kept, schema, text_columns=TEXT_COLUMNS
    )
    why["empty"] = pc.sum(is_empty).as_py() or 0
    why["input_after_label"] = len(table) - len(kept) - why["empty"]
    return Outcome((entry,), {"questions": Flow(len(payload.reasons), len(kept), why)})


def _as_array(values: Any, kind: pa.DataType) -> Any:
    return (
        values.cast(kind)
        if isinstance(values, pa.Array | pa.ChunkedArray)
        else pa.array(values, kind)
    )


def _raw_forms(
    task: str, labels: pa.Table, posts: pa.Table, first: pa.Table
) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """Return titles and bodies in the form that the published set of the task has them in."""
    if task != "quality":
        return first["title"], first["body"]
    is_edit = pc.equal(labels["label"], "LQ_EDIT")
    return (
        pc.if_else(is_edit, first["title"], posts["title"]),
        pc.if_else(is_edit, first["body"], posts["body"]),
    )


def _join(titles: pa.ChunkedArray, bodies: pa.ChunkedArray) -> pa.ChunkedArray:
    empty = pa.scalar("")
    return pc.binary_join_element_wise(
        pc.coalesce(titles, empty), pc.coalesce(bodies, empty), "\n\n"
    )


def _metadata(posts: pa.Table, first: pa.Table) -> list[list[dict[str, Any]]]:
    times = posts["created_at"]
    numbers = {name: posts[name].to_pylist() for name in COUNTS}
    numbers |= {
        "hour": pc.hour(times).to_pylist(),
        "weekday": pc.day_of_week(times).to_pylist(),
        "day": [ms // 86_400_000 - EPOCH_DAY for ms in times.cast(pa.int64()).to_pylist()],
        "num_tags": pc.list_value_length(first["tags"]).to_pylist(),
        "owner_id": posts["owner_user_id"].to_pylist(),
    }
    return [
        [
            {"name": name, "value": None if value is None else float(value)}
            for name, value in zip(numbers, row, strict=True)
        ]
        for row in zip(*numbers.values(), strict=True)
    ]
