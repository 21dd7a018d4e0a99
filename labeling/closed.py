"""Closed or open, and why: a question's state from Posts and PostHistory.

A closure is an event of type 10 whose comment is the id of a reason: of the list of today (from
101 on) or that of before mid-2013. Both are mapped to the names of today; `reason_then` keeps the
name it had. What was migrated to another site is closed here for a reason that is not the
question's, and is left out, as are closures without any event.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from labeling.happenings import count_happenings
from labeling.recipe import ClosedSection

# Reason of today, and as it was called then, by the id that the event has.
REASON_BY_ID: dict[int, tuple[str, str]] = {
    1: ("duplicate", "exact_duplicate"),
    2: ("off_topic", "off_topic"),
    3: ("opinion_based", "not_constructive"),  # "subjective and argumentative" before
    4: ("unclear", "not_a_real_question"),
    7: ("off_topic", "too_localized"),
    10: ("off_topic", "general_reference"),
    20: ("off_topic", "noise_or_pointless"),
    101: ("duplicate", "duplicate"),
    102: ("off_topic", "off_topic"),
    103: ("unclear", "unclear"),
    104: ("too_broad", "too_broad"),
    105: ("opinion_based", "opinion_based"),
}
REJECT_REASONS = (
    "no_history",  # the site or the question has none
    "too_young",  # it may still be closed
    "migrated",
    "reopened",  # closed once and open again, where the recipe leaves that out
    "unknown_reason",  # an id that is in no list
    "reason:<name>",  # a reason that does not count as closed
    "no_close_event",  # Posts says closed, history does not say why
)

Array = np.ndarray[Any, Any]


def label_closed(
    questions: pa.Table, events: pa.Table, dump_at: datetime, recipe: ClosedSection
) -> tuple[pa.Table, Array]:
    """Return whether each question was closed and why, or why it has no label.

    Args:
        questions: columns `labels.POST_COLUMNS` and closed_at; n rows.
        events: columns `labels.EVENT_COLUMNS`.
        dump_at: what the dump knows up to.
        recipe: what counts.

    Returns:
        Columns label ("closed" or "open"), label_at (when it was closed; null for open ones),
        reason, reason_then, reason_id; and one of REJECT_REASONS or "" for each, objects (n,).
    """
    found = count_happenings(questions, events)
    num = len(questions)
    is_reopened = (found.num_closed > 0) & ~found.is_closed
    counts_as_closed = found.is_closed | (is_reopened & (recipe.reopened == "closed"))
    ids = [
        parse_reason(one) if closed else None
        for one, closed in zip(found.last_reason, counts_as_closed, strict=True)
    ]
    names = [
        REASON_BY_ID.get(one, (None, None)) if one is not None else (None, None) for one in ids
    ]
    reasons = np.full(num, "", object)
    for place in np.flatnonzero(counts_as_closed):
        name = names[place][0]
        if name is None:
            reasons[place] = "unknown_reason"
        elif name not in recipe.reasons:
            reasons[place] = f"reason:{name}"
    is_marked = np.asarray(questions["closed_at"].is_valid())
    reasons[is_marked & (found.num_closed == 0)] = "no_close_event"
    if recipe.reopened == "leave_out":
        reasons[is_reopened] = "reopened"
    reasons[found.is_migrated] = "migrated"
    youngest = np.datetime64(dump_at.replace(tzinfo=None) - timedelta(recipe.min_age_days), "ms")
    reasons[questions["created_at"].to_numpy().astype("M8[ms]") > youngest] = "too_young"
    reasons[~found.has_first] = "no_history"
    closed_at = np.where(counts_as_closed, found.last_closed_at, np.datetime64("NaT"))
    columns = {
        "label": pa.array(np.where(counts_as_closed, "closed", "open"), pa.string()),
        "label_at": pa.array(closed_at.astype("M8[ms]")).cast(pa.timestamp("ms", "UTC")),
        "reason": pa.array([today for today, _ in names], pa.string()),
        "reason_then": pa.array([then for _, then in names], pa.string()),
        "reason_id": pa.array(ids, pa.int32()),
    }
    return pa.table(columns), reasons


def parse_reason(comment: str | None) -> int | None:
    """Return the id of the reason that a closing event's comment holds, or None.

    >>> parse_reason("101"), parse_reason(None), parse_reason("not constructive")
    (101, None, None)
    """
    is_number = comment is not None and re.fullmatch("[0-9]{1,9}", comment)
    return int(comment) if comment and is_number else None
