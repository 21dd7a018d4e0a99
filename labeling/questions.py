"""The examples of quality and closed: the questions that are drawn, as they were first asked.

    examples/<site>/<partition>.parquet   columns: the task's schema, `group` and `split`

The input of every class is the first revision in one canonical form: no later edit, no `[closed]`,
no duplicate banner can be in it. `raw_text` is what the published set would have: for closed the
Markdown of the first revision; for quality that for LQ_EDIT and the rendered page for the others,
which is the leak that the published set has.

Which of the labelled questions are drawn depends on digests of their ids, and so not on the order
of anything; what is not drawn is rejected as `not_drawn`.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpus.attribution import UserNames, credit, post_link
from corpus.engine import Engine
from corpus.licences import licences_at
from corpus.manifest import Flow, Outcome, merge_outcomes
from corpus.posts import load_user_names
from corpus.progress import Reporter
from corpus.store import Artifact, Store, Task, Work
from corpus.tables import read_table, write_table
from labeling.canonical import canonicalise
from labeling.examples import DEALT_FIELDS, TEXT_COLUMNS
from labeling.markdown import dialect_at
from labeling.partitions import Partition
from labeling.ranks import rank_by_digest
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
    drawn: Array
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
        tables = [
            read_table(labels.path(f"labels/{n}"), ["post_id", "label", "split"]) for n in names
        ]
        drawn = draw_questions(
            [(name.split("/")[0], table) for name, table in zip(names, tables, strict=True)],
            recipe,
        )
        payloads = [
            Drawing(
                Partition(posts.folder, *name.split("/")),
                labels.path(f"labels/{name}"),
                chosen,
                recipe.task,
            )
            for name, chosen in zip(names, drawn, strict=True)
        ]
        tasks = [Task(one.partition.path, one, len(one.drawn)) for one in payloads]
        return merge_outcomes(work.map(_write_examples, tasks, unit="questions"))

    section = {
        "salt": recipe.benchmark.salt,
        recipe.task: getattr(recipe, recipe.task).model_dump(mode="json"),
    }
    inputs = {"labels": labels, "posts": posts}
    return store.build("examples", VERSION, section, inputs, make, engine, reporter)


def draw_questions(tables: list[tuple[str, pa.Table]], recipe: BenchmarkRecipe) -> list[Array]:
    """Return which labelled questions are drawn, bool, by table.

    Args:
        tables: site, and columns post_id, label, split of each partition.
        recipe: quality draws at most `per_class` of each class and split's share of it; closed as
            many open as closed ones of each split, or all.
    """
    if not tables:
        return []
    strata = pc.binary_join_element_wise(
        *(
            pa.chunked_array([c for _, t in tables for c in t[n].chunks])
            for n in ("label", "split")
        ),
        "/",
    ).combine_chunks()
    names, codes = np.unique(strata.to_numpy(zero_copy_only=False), return_inverse=True)
    ids = (f"{site}/{one}" for site, table in tables for one in table["post_id"].to_pylist())
    ranks = rank_by_digest(ids, recipe.benchmark.salt)
    sizes = dict(zip(names.tolist(), np.bincount(codes).tolist(), strict=True))
    limits = _limit_strata(sizes, recipe)
    is_drawn = np.zeros(len(codes), bool)
    for code, name in enumerate(names.tolist()):
        places = np.flatnonzero(codes == code)
        is_drawn[places[np.argsort(ranks[places], kind="stable")[: limits[name]]]] = True
    bounds = np.cumsum([0, *(len(table) for _, table in tables)])
    return [is_drawn[a:b] for a, b in itertools.pairwise(bounds)]


def _limit_strata(sizes: Mapping[str, int], recipe: BenchmarkRecipe) -> dict[str, int]:
    """Return how many questions of each "label/split" are drawn, given how many there are."""
    limits = dict(sizes)
    if recipe.quality and (most := recipe.quality.per_class) is not None:
        totals = Counter[str]()
        for stratum, num in sizes.items():
            totals[stratum.split("/")[0]] += num
        return {
            stratum: min(num, -(-num * most // totals[stratum.split("/")[0]]))
            for stratum, num in sizes.items()
        }
    if recipe.closed and recipe.closed.rate == "balanced":
        for split in {stratum.split("/")[1] for stratum in sizes}:
            both = (f"closed/{split}", f"open/{split}")
            limits |= dict.fromkeys(both, min(sizes.get(one, 0) for one in both))
    if recipe.closed and (most := recipe.closed.max_questions) is not None:
        total = sum(limits.values())
        if total > most:
            limits = {stratum: num * most // total for stratum, num in limits.items()}
    return limits


def _write_examples(folder: Path, payload: Drawing) -> Outcome:
    partition, site = payload.partition, payload.partition.site
    labels = read_table(payload.labels).filter(pa.array(payload.drawn))
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
    has_text = pc.not_equal(table["text"], "")
    kept = table.filter(has_text)
    name = f"examples/{partition.path}"
    entry = write_table(folder, name, kept, schema, text_columns=TEXT_COLUMNS)
    rejected = {
        "not_drawn": len(payload.drawn) - len(labels),
        "empty": len(table) - len(kept),
    }
    return Outcome((entry,), {"questions": Flow(len(payload.drawn), len(kept), rejected)})


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
