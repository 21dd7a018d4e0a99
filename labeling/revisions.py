"""Posts as they were: title, Markdown body and tags before a point in time, from PostHistory.

An event of type 1, 4 or 7 (initial, edit, rollback) sets the title, 2, 5 or 8 the body, 3, 6 or 9
the tags; its `text` is the whole new value. Events of one post go by created_at, id.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Array = np.ndarray[Any, Any]

# The initial event of each part of a post, and those that change it later.
TYPES_BY_PART = {"title": (1, 4, 7), "body": (2, 5, 8), "tags": (3, 6, 9)}
CLOSED, REOPENED, NOTICE_ADDED, MIGRATED_AWAY = 10, 11, 33, 35
REVISION_SCHEMA = pa.schema(
    [
        ("post_id", pa.int64()),
        ("title", pa.string()),  # null for answers
        ("body", pa.string()),  # Markdown, line ends as stored; null where history has none
        ("tags", pa.list_(pa.string())),
        ("at", pa.timestamp("ms", "UTC")),  # of the newest event in it, tags aside
        ("licence", pa.string()),  # as that event states it
    ]
)
_TAG = re.compile(r"[^<>|]+")


def find_revisions(history: pa.Table, post_ids: Array, before: pa.Array | None = None) -> pa.Table:
    """Return posts as they were first, or as they were just before a time each.

    Args:
        history: rows of PostHistory, in any order.
        post_ids: int64, shape (n,); each once.
        before: timestamp("ms", "UTC"), shape (n,); an event at this time or later is not in it,
            but the first initial one of each part always is. None: these alone.

    Returns:
        REVISION_SCHEMA, n rows in the order of `post_ids`.

    >>> from datetime import UTC, datetime
    >>> event = {"id": 1, "post_id": 7, "post_history_type_id": 2, "text": "so", "licence": None}
    >>> times = [datetime(2020, month, 1, tzinfo=UTC) for month in (1, 2, 3)]
    >>> events = [{**event, "created_at": times[0]}]
    >>> events += [{**event, "id": 2, "created_at": times[1], "post_history_type_id": 5}]
    >>> events[1]["text"] = "so it is"
    >>> history = pa.Table.from_pylist(events)
    >>> find_revisions(history, np.array([7])).to_pylist()[0]["body"]
    'so'
    >>> find_revisions(history, np.array([7]), pa.array(times[2:])).to_pylist()[0]["body"]
    'so it is'
    """
    wanted = pa.array(post_ids, pa.int64())
    events = history.append_column("place", pc.index_in(history["post_id"], wanted))
    events = events.filter(pc.is_valid(events["place"]))
    events = events.sort_by([(key, "ascending") for key in ("place", "created_at", "id")])
    is_wanted = _are_first(events)
    if before is not None and len(events):
        limits = before.take(events["place"].combine_chunks())
        is_known = pc.fill_null(pc.less(events["created_at"], limits), True)
        is_wanted = is_wanted | np.asarray(is_known, bool)
    events = events.filter(pa.array(is_wanted))
    num_types = 1 if before is None else 3
    last = {
        part: _last_events(events, types[:num_types], len(wanted))
        for part, types in TYPES_BY_PART.items()
    }
    # Rows go by post and time: of two of one post, the later row is the newer event.
    newest = pc.max_element_wise(last["title"], last["body"])
    texts = {part: events["text"].take(places) for part, places in last.items()}
    columns = {
        "post_id": wanted,
        "title": texts["title"],
        "body": texts["body"],
        "tags": pa.array(map(parse_tags, texts["tags"].to_pylist()), pa.list_(pa.string())),
        "at": events["created_at"].take(newest),
        "licence": events["licence"].take(newest),
    }
    return pa.table([columns[name] for name in REVISION_SCHEMA.names], schema=REVISION_SCHEMA)


def parse_tags(text: str | None) -> list[str] | None:
    """Return the tags that a tags event sets, in either notation.

    >>> parse_tags("<a><b-c>"), parse_tags("|a|"), parse_tags(None)
    (['a', 'b-c'], ['a'], None)
    """
    return None if text is None else _TAG.findall(text)


def find_events(history: pa.Table, types: tuple[int, ...]) -> pa.Table:
    """Return the events of some types, by post_id, created_at, id."""
    events = history.filter(pc.is_in(history["post_history_type_id"], pa.array(types, pa.int32())))
    return events.sort_by([(key, "ascending") for key in ("post_id", "created_at", "id")])


def _are_first(events: pa.Table) -> Array:
    """Tell the first initial event of each part of each post; merged posts have several."""
    kinds, places = events["post_history_type_id"].to_numpy(), events["place"].to_numpy()
    is_first = np.zeros(len(events), bool)
    for initial, *_ in TYPES_BY_PART.values():
        rows = np.flatnonzero(kinds == initial)
        is_first[rows[np.unique(places[rows], return_index=True)[1]]] = True
    return is_first


def _last_events(events: pa.Table, types: tuple[int, ...], num_posts: int) -> pa.Array:
    """Return for each post the row of its last event of these types, int64; null: it has none."""
    is_of_part = np.isin(events["post_history_type_id"].to_numpy(), types)
    rows = np.full(num_posts, -1, "i8")
    # Of several rows for one place, the last one stays.
    rows[events["place"].to_numpy()[is_of_part]] = np.flatnonzero(is_of_part)
    return pa.array(rows, mask=rows < 0)
