"""What happened to questions, counted from PostHistory: edits, closures, reopenings.

Works on whole columns. Edits by user -1 (in bulk: links to https, licences) are nobody's judgement
of a question and do not count. One save of title, body and tags is three events and one edit: they
share a revision_guid, or where a dump has none, their time.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpus.attribution import COMMUNITY_USER
from labeling.revisions import CLOSED, MIGRATED_AWAY, REOPENED

EDITS = (4, 5, 6, 7, 8, 9)
FIRST_BODY = 2

Array = np.ndarray[Any, Any]


class Happenings(NamedTuple):
    """Of n questions; times are M8[ms], NaT where it never happened."""

    has_first: Array  # bool: history has the first body
    num_edits: Array  # int64: by anyone
    edited_by_others: (
        Array  # object, shape (n,): times of edits by others than the owner, ascending
    )
    first_closed_at: Array
    last_closed_at: Array
    last_reason: Array  # object: the `comment` of the last closure, None without one
    first_reason: Array
    num_closed: Array  # int64
    is_closed: Array  # bool: closed, and not reopened since
    is_migrated: Array  # bool


def count_happenings(questions: pa.Table, events: pa.Table) -> Happenings:
    """Count what happened to each question.

    Args:
        questions: columns id, owner_user_id, owner_display_name; n rows.
        events: columns id, post_id, post_history_type_id, created_at, user_id, user_display_name,
            revision_guid, comment; of any posts, in any order.
    """
    num = len(questions)
    events = events.append_column(
        "place", pc.fill_null(pc.index_in(events["post_id"], questions["id"].combine_chunks()), -1)
    )
    events = events.filter(pc.greater_equal(events["place"], 0))
    events = events.sort_by([(key, "ascending") for key in ("place", "created_at", "id")])
    places, kinds = events["place"].to_numpy(), events["post_history_type_id"].to_numpy()
    times = events["created_at"].to_numpy().astype("M8[ms]")
    edits = _find_edits(events, kinds)
    others = edits[~_are_by_owner(questions, events.take(pa.array(edits)))]
    edited_by_others = np.empty(num, object)
    bounds = np.searchsorted(places[others], np.arange(num + 1))
    for place in range(num):
        edited_by_others[place] = times[others[bounds[place] : bounds[place + 1]]]
    closures = np.flatnonzero(kinds == CLOSED)
    changes = np.flatnonzero((kinds == CLOSED) | (kinds == REOPENED))
    last_change = _last_of(places, changes, num)
    first, last = _last_of(places, closures[::-1], num), _last_of(places, closures, num)
    reasons = np.array([*events["comment"].to_pylist(), None], object)
    return Happenings(
        has_first=np.isin(np.arange(num), places[kinds == FIRST_BODY]),
        num_edits=np.bincount(places[edits], minlength=num),
        edited_by_others=edited_by_others,
        first_closed_at=np.append(times, np.datetime64("NaT"))[first],
        last_closed_at=np.append(times, np.datetime64("NaT"))[last],
        last_reason=reasons[last],
        first_reason=reasons[first],
        num_closed=np.bincount(places[closures], minlength=num),
        is_closed=np.append(kinds, 0)[last_change] == CLOSED,
        is_migrated=np.isin(np.arange(num), places[kinds == MIGRATED_AWAY]),
    )


def are_at_odds(questions: pa.Table, found: Happenings) -> Array:
    """Tell questions that are closed by Posts (closed_at) and not by history, or the other way."""
    is_marked = np.asarray(questions["closed_at"].is_valid())
    return np.asarray(is_marked != found.is_closed)


def are_young(questions: pa.Table, dump_at: datetime, min_age_days: int) -> Array:
    """Tell questions that things may still happen to: younger than that when the dump was made."""
    youngest = np.datetime64(dump_at.replace(tzinfo=None), "ms") - np.timedelta64(min_age_days, "D")
    return np.asarray(questions["created_at"].to_numpy().astype("M8[ms]") > youngest)


def _find_edits(events: pa.Table, kinds: Array) -> Array:
    """Return the first event of each edit by a person: rows, int64, ascending."""
    is_by_people = pc.fill_null(pc.not_equal(events["user_id"], COMMUNITY_USER), True)
    rows = np.flatnonzero(np.isin(kinds, EDITS) & np.asarray(is_by_people, bool))
    saves = pc.coalesce(events["revision_guid"], events["created_at"].cast(pa.string()))
    codes = saves.combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    keys = np.stack([events["place"].to_numpy()[rows], codes[rows]], axis=1)
    _, first = np.unique(keys, axis=0, return_index=True)
    return rows[np.sort(first)]


def _are_by_owner(questions: pa.Table, edits: pa.Table) -> Array:
    """Tell edits by the owner; two deleted users are one unless their names differ."""
    owners = questions.take(edits["place"])
    is_same = pc.fill_null(pc.equal(owners["owner_user_id"], edits["user_id"]), False)
    are_deleted = pc.and_(pc.is_null(owners["owner_user_id"]), pc.is_null(edits["user_id"]))
    differs = pc.not_equal(owners["owner_display_name"], edits["user_display_name"])
    same_name = pc.invert(pc.fill_null(differs, False))
    return np.asarray(pc.or_(is_same, pc.and_(are_deleted, same_name)), bool)


def _last_of(places: Array, rows: Array, num: int) -> Array:
    """Return for each question the last of these rows that is its own, int64; -1: none."""
    last = np.full(num, -1, "i8")
    last[places[rows]] = rows
    return last
