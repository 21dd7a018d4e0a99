"""Closed or open, and why: a question's state from Posts and PostHistory.

A closure is an event of type 10 whose comment is the id of a reason: of the list of today (from
101 on) or that of before mid-2013. Both are mapped to the names of today; `reason_then` keeps the
name it had. What was migrated to another site is closed here for a reason that is not the
question's, and is left out, as are questions of which Posts and PostHistory disagree.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from labeling.happenings import are_at_odds, are_young, count_happenings
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
    "state_disagrees",  # Posts says closed and history does not, or the other way round
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
    is_reopened = (found.num_closed > 0) & ~found.is_closed
    counts_as_closed = found.is_closed | (is_reopened & (recipe.reopened == "closed"))
    why = name_reasons(found.last_reason, counts_as_closed)
    names = why["reason"].to_pylist()
    reasons = np.full(len(questions), "", object)
    for place in np.flatnonzero(counts_as_closed):
        if names[place] is None:
            reasons[place] = "unknown_reason"
        elif names[place] not in recipe.reasons:
            reasons[place] = f"reason:{names[place]}"
    if recipe.reopened == "leave_out":
        reasons[is_reopened] = "reopened"
    reasons[are_at_odds(questions, found)] = "state_disagrees"
    reasons[found.is_migrated] = "migrated"
    reasons[are_young(questions, dump_at, recipe.min_age_days)] = "too_young"
    reasons[~found.has_first] = "no_history"
    closed_at = np.where(counts_as_closed, found.last_closed_at, np.datetime64("NaT"))
    columns = {
        "label": pa.array(np.where(counts_as_closed, "closed", "open"), pa.string()),
        "label_at": pa.array(closed_at.astype("M8[ms]")).cast(pa.timestamp("ms", "UTC")),
        **why,
    }
    return pa.table(columns), reasons


def name_reasons(comments: Array, counts: Array) -> dict[str, pa.Array]:
    """Return reason, reason_then and reason_id, given the comments of closures that count."""
    ids = [
        parse_reason(one) if is_it else None for one, is_it in zip(comments, counts, strict=True)
    ]
    nothing = (None, None)
    names = [REASON_BY_ID.get(one, nothing) if one is not None else nothing for one in ids]
    return {
        "reason": pa.array([today for today, _ in names], pa.string()),
        "reason_then": pa.array([then for _, then in names], pa.string()),
        "reason_id": pa.array(ids, pa.int32()),
    }


def parse_reason(comment: str | None) -> int | None:
    """Return the id of the reason that a closing event's comment holds, or None.

    >>> parse_reason("101"), parse_reason(None), parse_reason("not constructive")
    (101, None, None)
    """
    is_number = comment is not None and re.fullmatch("[0-9]{1,9}", comment)
    return int(comment) if comment and is_number else None
