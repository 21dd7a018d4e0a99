"""Counting the dataset, shard by shard: the integers that its statistics are made of.

Every count is a `Counter` whose keys are tuples of plain values, so shards are added by adding
counters, in any order, and nothing that is published has been a float. A shard holds whole threads
of one site: threads are counted a shard; people are not, and are told apart by id at the end.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpus.attribution import DELETED_USER
from corpus.manifest import FileEntry, Json, Outcome
from corpus.recipe import SPLITS
from corpus.shards import MODE_BY_KIND
from corpus.store import Artifact, Task, Work
from corpus.tables import describe_file, read_table

Key: TypeAlias = tuple[int | str | None, ...]
Counts: TypeAlias = dict[str, Counter[Key]]
Array = np.ndarray[Any, Any]

# Whom a text credits: an account of the site, a name that the row gives, or a deleted user.
CREDITS = ("account", "name", "deleted")
# An example that is read in a minute: every kind of segment, and about this many tokens.
EXAMPLE_TOKENS = 120


class Tally(NamedTuple):
    """What the shards of the dataset hold, added up."""

    by_split: dict[str, Counts]
    total: Counts
    num_authors: int
    first_created_at: str
    last_created_at: str
    example: Json


def tally_dataset(work: Work, dataset: Artifact, shards: Artifact) -> Tally:
    """Count every shard of the dataset with its tokens, one shard a task."""
    names = [Path(entry.name).stem for entry in dataset.files("data/")]
    work.map(
        _tally_shard,
        [
            Task(
                f"count-{name}",
                (dataset.path(f"data/{name}.parquet"), shards.path(f"{name}.map.parquet")),
            )
            for name in names
        ],
    )
    by_split = {
        split: add_counts(_iter_counts(work.folder / "counts", names, f"{split}-"))
        for split in SPLITS
    }
    abouts = {name: _read_json(work.folder / f"about/{name}.json") for name in names}
    return Tally(
        {split: counts for split, counts in by_split.items() if counts},
        add_counts(by_split.values()),
        _count_people(work.folder, {name: about["site"] for name, about in abouts.items()}),
        min(about["first_created_at"] for about in abouts.values()),
        max(about["last_created_at"] for about in abouts.values()),
        min((about["example"] for about in abouts.values()), key=lambda one: one["rank"])["row"],
    )


def tally_groups(work: Work, documents: Artifact, splits: Artifact) -> Counter[int]:
    """Return how many leakage groups have each number of threads, removed documents included."""
    names = [entry.name.removeprefix("splits/") for entry in splits.files("splits/")]
    payloads = [
        (documents.path(f"documents/{name}"), splits.path(f"splits/{name}"), name) for name in names
    ]
    work.map(_tally_partition, [Task(f"groups-{payload[-1]}", payload) for payload in payloads])
    return size_groups(add_counts(_iter_counts(work.folder / "groups", names)))


def count_shard(rows: pa.Table, lengths: pa.Table) -> Counts:
    """Count all that is counted of a shard's documents, comments and tokens.

    Args:
        rows: documents of one site, in whole threads; columns as in `dataset.DATASET_SCHEMA`.
        lengths: their tokens, row by row; columns as in `shards.MAP_SCHEMA`.

    Returns:
        By name of the count, how often each key occurs; the key is what the count is named after.
    """
    comments = pc.list_flatten(rows["comments"])
    segments = pc.list_flatten(rows["segments"])
    code = segments.filter(pc.equal(pc.struct_field(segments, "kind"), "code"))
    return {
        "totals": _count_totals(rows, len(comments)),
        "documents": count_rows(rows["kind"]),
        "site_documents": count_rows(rows["site"]),
        "site_comments": Counter({(rows["site"][0].as_py(),): len(comments)}),
        "years": count_rows(_years(rows["created_at"]), rows["kind"]),
        "scores": count_rows(rows["score"]),
        "comments": count_rows(pc.list_value_length(rows["comments"])),
        "tags": count_rows(pc.list_flatten(rows["tags"])),
        "segments": count_rows(pc.struct_field(segments, "kind")),
        "languages": count_rows(pc.struct_field(code, "language")),
        "document_licences": count_rows(rows["licence"], rows["licence_source"]),
        "comment_licences": count_rows(*_fields(comments, "licence", "licence_source")),
        "document_credits": count_rows(_credits(rows["author_link"], rows["author_name"])),
        "author_sources": count_rows(rows["author_source"]),
        "comment_credits": count_rows(_credits(*_fields(comments, "author_link", "author_name"))),
        "lengths": count_rows(lengths["num_tokens"]),
        "tokens": Counter(
            {(kind,): pc.sum(lengths[f"num_{kind}_tokens"]).as_py() for kind in MODE_BY_KIND}
        ),
        "code_tenths": count_rows(pa.array(_code_tenths(lengths))),
    }


def count_rows(*columns: pa.ChunkedArray | pa.Array) -> Counter[Key]:
    """Count how often each combination of values occurs in columns of one length.

    >>> count_rows(pa.array(["a", "a", None]), pa.array([1, 1, 2]))
    Counter({('a', 1): 2, (None, 2): 1})
    """
    names = [f"key{place}" for place in range(len(columns))]
    table = pa.table(list(columns), names=names)
    counted = table.group_by(names, use_threads=False).aggregate([([], "count_all")])
    keys = zip(*(counted[name].to_pylist() for name in names), strict=True)
    return Counter(dict(zip(keys, counted["count_all"].to_pylist(), strict=True)))


def add_counts(parts: Iterable[Counts]) -> Counts:
    """Add up the counts of several shards.

    >>> add_counts([{"a": Counter({(1,): 2})}, {"a": Counter({(1,): 1}), "b": Counter()}])
    {'a': Counter({(1,): 3}), 'b': Counter()}
    """
    total: Counts = {}
    for part in parts:
        for name, counts in part.items():
            total.setdefault(name, Counter()).update(counts)
    return total


def count_joined_threads(thread_ids: Array, groups: Sequence[str], site: str) -> Counts:
    """Count a partition's threads, and those that are in the leakage group of another thread.

    A group is named by its oldest thread, so these two counts of all partitions give the size of
    every group without a table of all groups.

    Args:
        thread_ids: int64, of each document.
        groups: the name of each document's group, `<site>/<thread_id>`.
        site: the site of the documents.

    >>> count_joined_threads(np.array([1, 4, 4, 9]), ["x/1", "x/1", "x/1", "x/9"], "x")
    {'threads': Counter({(): 3}), 'joined': Counter({('x/1',): 1})}
    """
    group_of = dict(zip(thread_ids.tolist(), groups, strict=True))
    joined = ((group,) for thread_id, group in group_of.items() if group != f"{site}/{thread_id}")
    return {"threads": Counter({(): len(group_of)}), "joined": Counter(joined)}


def size_groups(counts: Counts) -> Counter[int]:
    """Return how many groups have each number of threads, from `count_joined_threads`.

    >>> size_groups({"threads": Counter({(): 3}), "joined": Counter({("x/1",): 1})})
    Counter({2: 1, 1: 1})
    """
    joined = counts["joined"]
    sizes = Counter(1 + num for num in joined.values())
    sizes[1] += counts["threads"][()] - joined.total() - len(joined)
    return sizes


def choose_example(rows: pa.Table, lengths: pa.Table) -> Json:
    """Choose the document that shows most: all kinds of segments, and a readable length.

    Returns:
        The row, and its rank among other shards' (most kinds of segments, then nearest to
        `EXAMPLE_TOKENS`, then first by doc_id: the least is best).
    """
    by_kind = np.stack([lengths[f"num_{kind}_tokens"].to_numpy() for kind in MODE_BY_KIND])
    num_kinds = (by_kind > 0).sum(0)
    distances = np.abs(lengths["num_tokens"].to_numpy() - EXAMPLE_TOKENS)
    place = int(np.lexsort((distances, -num_kinds))[0])
    row = rows.slice(place, 1).to_pylist()[0]
    return {"rank": [-int(num_kinds[place]), int(distances[place]), row["doc_id"]], "row": row}


def _tally_shard(folder: Path, payload: tuple[Path, Path]) -> Outcome:
    data, tokens = payload
    rows, lengths = read_table(data), read_table(tokens)
    created_at = pc.min_max(rows["created_at"]).as_py()
    about = {
        "site": rows["site"][0].as_py(),
        "first_created_at": created_at["min"],
        "last_created_at": created_at["max"],
        "example": choose_example(rows, lengths),
    }
    people = folder / f"people/{data.stem}.npy"
    people.parent.mkdir(exist_ok=True)
    np.save(people, _list_people(rows))
    return Outcome(
        (
            _write_counts(folder, f"counts/{data.stem}.json", count_shard(rows, lengths)),
            _write_json(folder, f"about/{data.stem}.json", about),
            describe_file(people, f"people/{data.stem}.npy"),
        )
    )


def _tally_partition(folder: Path, payload: tuple[Path, Path, str]) -> Outcome:
    documents, splits, name = payload
    thread_ids = read_table(documents, ["thread_id"])["thread_id"].to_numpy()
    groups = read_table(splits, ["group"])["group"].to_pylist()
    counts = count_joined_threads(thread_ids, groups, name.split("/")[0])
    return Outcome((_write_counts(folder, f"groups/{name}.json", counts),))


def _count_totals(rows: pa.Table, num_comments: int) -> Counter[Key]:
    has_duplicate_link = pc.greater(pc.list_value_length(rows["duplicate_of"]), 0)
    return Counter(
        {
            ("threads",): pc.count_distinct(rows["thread_id"]).as_py(),
            ("comments",): num_comments,
            ("accepted",): pc.sum(rows["is_accepted"], min_count=0).as_py(),
            ("closed",): pc.count(rows["closed_at"]).as_py(),
            ("edited",): pc.count(rows["edited_at"]).as_py(),
            ("marked_duplicate",): pc.sum(has_duplicate_link, min_count=0).as_py(),
            ("arrow_bytes",): rows.nbytes,
        }
    )


def _fields(structs: pa.Array, *names: str) -> list[pa.Array]:
    return [pc.struct_field(structs, name) for name in names]


def _years(times: pa.ChunkedArray) -> pa.ChunkedArray:
    # Without its zone (UTC), so that no database of time zones is needed.
    return pc.year(times.cast(pa.timestamp("ms")))


def _credits(links: pa.Array, names: pa.Array) -> pa.Array:
    account, name, deleted = CREDITS
    unlinked = pc.if_else(pc.equal(names, DELETED_USER), deleted, name)
    return pc.if_else(pc.is_valid(links), account, unlinked)


def _code_tenths(lengths: pa.Table) -> Array:
    """Return the share of code in each post, comments aside: 0 none, 1 up to a tenth, … 10."""
    code = lengths["num_code_tokens"].to_numpy()
    post = lengths["num_tokens"].to_numpy() - lengths["num_comment_tokens"].to_numpy()
    tenths: Array = -(-10 * code // np.maximum(post, 1))
    return tenths


def _list_people(rows: pa.Table) -> Array:
    """Return the account ids that documents and comments are credited to, int64, ascending."""
    commenters = pc.struct_field(pc.list_flatten(rows["comments"]), "author_id")
    both = [pc.drop_null(column).to_numpy() for column in (rows["author_id"], commenters)]
    people: Array = np.unique(np.concatenate(both))
    return people


def _count_people(folder: Path, site_by_name: Mapping[str, str]) -> int:
    num_people = 0
    for site in sorted(set(site_by_name.values())):
        names = [name for name, its_site in site_by_name.items() if its_site == site]
        ids = [np.load(folder / f"people/{name}.npy") for name in names]
        num_people += len(np.unique(np.concatenate(ids)))
    return num_people


def _iter_counts(folder: Path, names: Iterable[str], prefix: str = "") -> Iterable[Counts]:
    for name in names:
        if name.startswith(prefix):
            content = _read_json(folder / f"{name}.json")
            yield {
                one: Counter({tuple(key): num for *key, num in rows})
                for one, rows in content.items()
            }


def _write_counts(folder: Path, name: str, counts: Counts) -> FileEntry:
    content = {one: [[*key, num] for key, num in rows.items()] for one, rows in counts.items()}
    return _write_json(folder, name, content)


def _write_json(folder: Path, name: str, content: Json) -> FileEntry:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False, default=_to_iso), "utf-8")
    return describe_file(path, name)


def _to_iso(when: datetime) -> str:
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _read_json(path: Path) -> Json:
    content: Json = json.loads(path.read_bytes())
    return content
