"""Stage 4, documents: one document a post, with its comments, as text and spans.

Writes, for each partition of the posts that has posts or comments:

    documents/<site>/<partition>.parquet    columns: `DOCUMENT_SCHEMA`; by thread_id, post_id
    rejects/<site>/<partition>.parquet      the posts and comments in no document, and why

`corpus.selection` says what becomes a document, `corpus.layout` what its text looks like and
`corpus.description` what is said of it. Its comments go by created_at, comment_id.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpus.attribution import REVISION_COLUMNS, UserNames, look_up
from corpus.description import COMMENT_SCHEMA, describe_comments, describe_posts
from corpus.engine import Engine
from corpus.layout import Layout, lay_out
from corpus.manifest import FileEntry, Flow, Outcome, digest_json, merge_outcomes
from corpus.posts import POSTS_SCHEMA, has_table, load_user_names, read_partition
from corpus.progress import Reporter
from corpus.recipe import DocumentsSection
from corpus.rowdigest import digest_table
from corpus.selection import reject_comments, reject_posts
from corpus.store import Artifact, Store, Task, Work
from corpus.tables import TableWriter, write_table

VERSION = 1
# Rows in memory as Python objects. A partition of 73,000 documents peaks at 590 MB with 5,000 and
# at 660 MB with 10,000; with 1,000 its file is a fifth larger.
BATCH_DOCUMENTS = 5_000
TEXT_COLUMNS = ("text",)

_TIME = pa.timestamp("ms", "UTC")
SEGMENT = pa.struct(
    [
        ("kind", pa.string()),
        ("start", pa.int32()),
        ("end", pa.int32()),
        ("language", pa.string()),
        ("comment_id", pa.int64()),
    ]
)
SPAN = pa.struct([("start", pa.int32()), ("end", pa.int32())])
LINK = pa.struct([("start", pa.int32()), ("end", pa.int32()), ("target", pa.string())])
DOCUMENT_SCHEMA = pa.schema(
    [
        ("doc_id", pa.string()),
        ("site", pa.string()),
        ("post_id", pa.int64()),
        ("thread_id", pa.int64()),
        ("kind", pa.string()),
        ("text", pa.string()),
        ("body_end", pa.int32()),
        ("segments", pa.list_(SEGMENT)),
        ("inline_code", pa.list_(SPAN)),
        ("links", pa.list_(LINK)),
        ("tags", pa.list_(pa.string())),
        ("score", pa.int32()),
        ("is_accepted", pa.bool_()),
        ("duplicate_of", pa.list_(pa.int64())),
        ("created_at", _TIME),
        ("edited_at", _TIME),
        ("closed_at", _TIME),
        ("community_owned_at", _TIME),
        ("author_id", pa.int64()),
        ("author_name", pa.string()),
        ("author_link", pa.string()),
        ("author_source", pa.string()),
        ("editor_id", pa.int64()),
        ("editor_name", pa.string()),
        ("link", pa.string()),
        ("licence", pa.string()),
        ("licence_source", pa.string()),
        ("comments", pa.list_(pa.struct(list(COMMENT_SCHEMA)))),
    ]
)
REJECT_SCHEMA = pa.schema(
    [
        ("table", pa.string()),
        ("id", pa.int64()),
        ("post_id", pa.int64()),
        ("reason", pa.string()),
    ]
)

Array = np.ndarray[Any, Any]


# Views and the like change with every dump, and are in no document.
UNREAD_COLUMNS = {
    *("answer_count", "comment_count", "favorite_count", "last_activity_at", "view_count"),
}
POST_COLUMNS = [name for name in POSTS_SCHEMA.names if name not in UNREAD_COLUMNS]


class Partition(NamedTuple):
    """One partition of one site: the work of one task."""

    posts: Path
    site: str
    name: str
    recipe: DocumentsSection


class Rows(NamedTuple):
    """What a partition holds; `history` is None where the site has no PostHistory.

    Comments have one column more, `place`: of their post among the posts, -1 if it is not there.
    They go by place, created_at, id.
    """

    posts: pa.Table
    comments: pa.Table
    links: pa.Table
    history: pa.Table | None
    users: UserNames


class Written(NamedTuple):
    """What became of the wanted posts; `has_text` is of shape (number of all posts,)."""

    entry: FileEntry
    num_comments: int
    has_text: Array


def build_documents(
    posts: Artifact, recipe: DocumentsSection, store: Store, engine: Engine, reporter: Reporter
) -> Artifact:
    """Turn every wanted post into a document; every other one into a reject."""
    names = sorted(
        {
            entry.name.split("/", 1)[1]
            for folder in ("posts/", "comments/")
            for entry in posts.files(folder)
        }
    )
    tasks = []
    for name in names:
        site, _, file = name.partition("/")
        tasks.append(Task(name, Partition(posts.folder, site, file, recipe)))

    def make(work: Work) -> Outcome:
        return merge_outcomes(work.map(_make_documents, tasks, key=_key))

    return store.build("documents", VERSION, recipe, {"posts": posts}, make, engine, reporter)


def body_texts(documents: pa.Table) -> list[str]:
    """Return each document's text without its comments, given columns text and body_end."""
    texts, ends = documents["text"].to_pylist(), documents["body_end"].to_pylist()
    return [text[:end] for text, end in zip(texts, ends, strict=True)]


def _key(partition: Partition) -> str:
    """Digest what a partition's documents follow from: of the site's users, only its authors."""
    rows = _read_rows(partition)
    user_ids = pa.chunked_array(
        [
            *rows.posts["owner_user_id"].chunks,
            *rows.posts["last_editor_user_id"].chunks,
            *rows.comments["user_id"].chunks,
        ],
        pa.int64(),
    )
    authors = pc.unique(user_ids)
    names = pa.table({"id": authors, "name": look_up(pa.chunked_array([authors]), rows.users)})
    tables = [rows.posts, rows.comments, rows.links, rows.history, names]
    content = {
        "site": partition.site,
        "rows": [None if table is None else digest_table(table) for table in tables],
        "recipe": partition.recipe.model_dump(mode="json"),
    }
    return digest_json(content)


def _make_documents(folder: Path, partition: Partition) -> Outcome:
    rows = _read_rows(partition)
    places = rows.comments["place"].to_numpy()
    comment_reasons = reject_comments(rows.comments, partition.recipe)
    comment_reasons[places < 0] = "post_missing"
    usable = rows.comments.filter(pa.array(comment_reasons == ""))
    num_usable = np.bincount(usable["place"].to_numpy(), minlength=len(rows.posts))
    reasons = reject_posts(rows.posts, num_usable, rows.history, partition.recipe)
    written = _write_documents(folder, partition, rows._replace(comments=usable), reasons == "")
    reasons[(reasons == "") & ~written.has_text] = "empty"
    comment_reasons[np.append(reasons != "", False)[places]] = "post_rejected"
    rejects = _write_rejects(folder, partition, rows, reasons, comment_reasons)
    flows = {
        "posts": Flow(len(reasons), written.entry.num_rows, _count(reasons)),
        "comments": Flow(len(comment_reasons), written.num_comments, _count(comment_reasons)),
    }
    return Outcome((written.entry, *rejects), flows)


def _read_rows(partition: Partition) -> Rows:
    def read(table: str, columns: Sequence[str] | None = None) -> pa.Table:
        return read_partition(partition.posts, table, partition.site, partition.name, columns)

    posts, comments = read("Posts", POST_COLUMNS), read("Comments")
    places = pc.fill_null(pc.index_in(comments["post_id"], posts["id"]), -1)
    comments = comments.append_column("place", places.cast(pa.int64()))
    order = [("place", "ascending"), ("created_at", "ascending"), ("id", "ascending")]
    has_history = has_table(partition.posts, "PostHistory", partition.site)
    return Rows(
        posts,
        comments.take(pc.sort_indices(comments, order)),
        read("PostLinks"),
        read("PostHistory", REVISION_COLUMNS) if has_history else None,
        UserNames(*load_user_names(partition.posts, partition.site)),
    )


def _write_documents(folder: Path, partition: Partition, rows: Rows, is_wanted: Array) -> Written:
    """Write the wanted posts that have any text, each with all its comments in `rows`."""
    posts = describe_posts(partition.site, rows.posts, rows.links, rows.history, rows.users)
    comments = describe_comments(partition.site, rows.comments, rows.users)
    has_text, num_comments = np.zeros(len(posts), bool), 0
    name = f"documents/{partition.site}/{partition.name}"
    with TableWriter(folder, name, DOCUMENT_SCHEMA, text_columns=TEXT_COLUMNS) as writer:
        for start in range(0, len(posts), BATCH_DOCUMENTS):
            wanted = start + np.flatnonzero(is_wanted[start : start + BATCH_DOCUMENTS])
            layouts = _lay_out(rows, wanted)
            has_text[wanted] = [layout.text != "" for layout in layouts]
            kept = wanted[has_text[wanted]]
            found, offsets = _comments_of(rows, kept)
            writer.write(
                _assemble(
                    posts.take(pa.array(kept)),
                    [layout for layout in layouts if layout.text],
                    comments.take(pa.array(found)),
                    offsets,
                )
            )
            num_comments += len(found)
    return Written(writer.entry(), num_comments, has_text)


def _comments_of(rows: Rows, posts: Array) -> tuple[Array, Array]:
    """Find the comments of posts, these given by place, ascending.

    Returns:
        The places of the comments, int64; and where those of each post begin among them, int32,
        shape (len(posts) + 1,).
    """
    places = rows.comments["place"].to_numpy()
    starts, stops = np.searchsorted(places, posts), np.searchsorted(places, posts, "right")
    offsets = np.concatenate([[0], np.cumsum(stops - starts)])
    found = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], stops - starts)
    return found, offsets.astype("i4")


def _lay_out(rows: Rows, posts: Array) -> list[Layout]:
    wanted = rows.posts.select(["title", "body"]).take(pa.array(posts))
    found, offsets = _comments_of(rows, posts)
    comments = rows.comments.select(["id", "text"]).take(pa.array(found))
    pairs = list(zip(*(column.to_pylist() for column in comments.columns), strict=True))
    titles, bodies = (column.to_pylist() for column in wanted.columns)
    return [
        lay_out(title, body, pairs[start:stop])
        for title, body, start, stop in zip(
            titles, bodies, offsets[:-1].tolist(), offsets[1:].tolist(), strict=True
        )
    ]


def _assemble(
    posts: pa.Table, layouts: Sequence[Layout], comments: pa.Table, offsets: Array
) -> pa.Table:
    """Make documents of what is said of posts, of their layouts, and of the comments of each."""
    columns = dict(zip(posts.column_names, posts.columns, strict=True))
    for name in Layout._fields:
        values = [getattr(layout, name) for layout in layouts]
        columns[name] = pa.array(values, DOCUMENT_SCHEMA.field(name).type)
    structs = comments.to_struct_array().combine_chunks()
    columns["comments"] = pa.ListArray.from_arrays(pa.array(offsets), structs)
    return pa.table([columns[name] for name in DOCUMENT_SCHEMA.names], DOCUMENT_SCHEMA)


def _write_rejects(
    folder: Path, partition: Partition, rows: Rows, reasons: Array, comment_reasons: Array
) -> list[FileEntry]:
    posts, comments = rows.posts, rows.comments
    rejects = pa.concat_tables(
        [
            _rejects("Posts", posts["id"], posts["id"], reasons),
            _rejects("Comments", comments["id"], comments["post_id"], comment_reasons),
        ]
    )
    name = f"rejects/{partition.site}/{partition.name}"
    return [write_table(folder, name, rejects, REJECT_SCHEMA)] if len(rejects) else []


def _rejects(
    table: str, ids: pa.ChunkedArray, post_ids: pa.ChunkedArray, reasons: Array
) -> pa.Table:
    columns = [pa.repeat(table, len(reasons)), ids, post_ids, pa.array(reasons, pa.string())]
    return pa.table(columns, schema=REJECT_SCHEMA).filter(pa.array(reasons != ""))


def _count(reasons: Array) -> Counter[str]:
    return Counter(reasons[reasons != ""].tolist())
