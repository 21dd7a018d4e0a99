"""Examples without what was taken down: what a store's record does to published files.

The files themselves are elsewhere, and stay as they are. An example goes where it is of a post, a
thread or a person that was taken down, links to one, or holds 50 characters in a row of such a text
(`corpus.quotes`); all of these are counted as `removed`. Of `ner` an answer has no id unless the
corpus has its site, and a sentence is seldom that long.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpus.mentions import Gone, replace_links
from corpus.quotes import have_window, make_window_set
from corpus.removals import Record

REASON = "removed"
_POST_COLUMNS, _PEOPLE = ("post_id", "thread_id"), ("author_id", "editor_id")

Array = np.ndarray[Any, Any]


def drop_removed(table: pa.Table, record: Record) -> pa.Table:
    """Return the examples of a table that may stay.

    Args:
        table: columns `site` and `text` at least.
        record: what was taken down in the store.
    """
    if not record.removals or not len(table):
        return table
    gone = {site: _gone(record, site) for site in record.sites()}
    goes = np.zeros(len(table), bool)
    for site in pc.unique(table["site"]).to_pylist():
        of_site = np.flatnonzero(pc.fill_null(pc.equal(table["site"], site), False).to_numpy())
        rows = table.take(pa.array(of_site))
        goes[of_site] = _go(rows, site or "", gone, record)
    return table.filter(pa.array(~goes))


def _gone(record: Record, site: str) -> Gone:
    return Gone(*(record.ids(kind, site) for kind in ("post", "comment", "user")))


def _go(rows: pa.Table, site: str, gone: dict[str, Gone], record: Record) -> Array:
    goes = np.zeros(len(rows), bool)
    if own := gone.get(site):
        named = [(column, own.posts) for column in _POST_COLUMNS]
        named += [(column, own.users) for column in _PEOPLE]
        for column, ids in named:
            if column in rows.column_names:
                goes |= pc.is_in(rows[column], value_set=pa.array(ids, pa.int64())).to_numpy()
        if "doc_id" in rows.column_names:
            doc_ids = pa.array([f"{site}/{post_id}" for post_id in own.posts.tolist()], pa.string())
            goes |= pc.is_in(rows["doc_id"], value_set=doc_ids).to_numpy()
    windows = make_window_set(record.windows)
    for texts in _iter_texts(rows):
        goes |= have_window(texts, windows)
        linked = pc.not_equal(replace_links(texts, site, gone), texts)
        goes |= pc.fill_null(linked, False).to_numpy()
    return goes


def _iter_texts(rows: pa.Table) -> Iterator[pa.ChunkedArray]:
    """Iterate over the texts of examples, and of what people said of each, as one text a row."""
    for column in ("text", "raw_text", "raw_title", "raw_body"):
        if column in rows.column_names:
            yield rows[column]
    for column, field in (("judgements", "note"), ("evidence", "quote")):
        if column in rows.column_names:
            lists = rows[column].to_pylist()
            said = ["\0".join(one[field] or "" for one in some or ()) for some in lists]
            yield pa.chunked_array([pa.array(said, pa.string())])
