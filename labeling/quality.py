"""The quality of a question by the rule of the published set, from Posts and PostHistory.

    HQ          score of at least `high_score`, never edited, never closed
    LQ_EDIT     negative score, edited by others at least `min_edits` times, never closed
    LQ_CLOSE    closed, and never edited; `reason` says why

All else has no class. Edits are those by people; a score is that of the day of the dump. Deleted
questions, the worst of all, are in no dump.

Source: Annamoradnejad, Habibi, Fazli, Multi-view approach to suggest moderation actions in
community question answering sites, Information Sciences 600 (2022).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labeling.closed import name_reasons
from labeling.happenings import are_at_odds, are_young, count_happenings
from labeling.recipe import QualitySection

CLASSES = ("HQ", "LQ_EDIT", "LQ_CLOSE")
REASONS = (
    "no_history",
    "too_young",
    "migrated",
    "state_disagrees",  # Posts says closed and history does not, or the other way round
    "reopened",
    "reason:duplicate",  # where the recipe leaves duplicates out
    "no_class",
)

Array = np.ndarray[Any, Any]


def label_quality(
    questions: pa.Table, events: pa.Table, dump_at: datetime, recipe: QualitySection
) -> tuple[pa.Table, Array]:
    """Return the class of each question, or why it has none.

    Args:
        questions: columns `labels.POST_COLUMNS`; n rows.
        events: columns `labels.EVENT_COLUMNS`.
        dump_at: what the dump knows up to.
        recipe: the rule's numbers.

    Returns:
        Columns label, label_at (when the last thing happened that the label needs; null for HQ,
        whose score is known on the day of the dump), reason, reason_then, reason_id (of the
        closure that holds); and one of REASONS or "" for each, objects, shape (n,).
    """
    found = count_happenings(questions, events)
    scores = pc.fill_null(questions["score"], 0).to_numpy()
    num = len(questions)
    labels, label_at = np.full(num, None, object), np.full(num, "NaT", "M8[ms]")
    was_closed = found.num_closed > 0
    is_edited = found.num_edits > 0
    num_others = np.array([len(times) for times in found.edited_by_others], "i8")
    labels[(scores >= recipe.high_score) & ~is_edited & ~was_closed] = "HQ"
    is_edit = (scores < 0) & (num_others >= recipe.min_edits) & ~was_closed
    labels[is_edit] = "LQ_EDIT"
    for place in np.flatnonzero(is_edit):
        label_at[place] = found.edited_by_others[place][recipe.min_edits - 1]
    is_close = found.is_closed & ~is_edited
    labels[is_close] = "LQ_CLOSE"
    label_at[is_close] = found.last_closed_at[is_close]
    why = name_reasons(found.last_reason, found.is_closed)
    reasons = np.where([label is None for label in labels], "no_class", "").astype(object)
    if not recipe.keep_duplicates:
        reasons[is_close & (np.array(why["reason"].to_pylist(), object) == "duplicate")] = (
            "reason:duplicate"
        )
    reasons[was_closed & ~found.is_closed] = "reopened"
    reasons[are_at_odds(questions, found)] = "state_disagrees"
    reasons[found.is_migrated] = "migrated"
    reasons[are_young(questions, dump_at, recipe.min_age_days)] = "too_young"
    reasons[~found.has_first] = "no_history"
    columns = {
        "label": pa.array(labels, pa.string()),
        "label_at": pa.array(label_at).cast(pa.timestamp("ms", "UTC")),
        **why,
    }
    return pa.table(columns), reasons
