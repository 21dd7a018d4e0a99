"""Signals that an answer may be out of date, each with the time at which it was given away.

    comment           a comment on the answer says so
    edit              an edit adds a notice, or its own comment says so
    overtaken         an answer that came much later is accepted, or has a multiple of its score
    question_comment  a comment on the question says so, long after the answer was there
    notice            the notice "current answers are outdated" on the question

All come after the answer. Of `overtaken` an answer has one signal: the first. Works on the tables
of one partition.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import groupby, pairwise
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from corpus.attribution import COMMUNITY_USER
from labeling.giveaways import STEMS, find_added_notice, find_giveaway, find_renewal
from labeling.revisions import NOTICE_ADDED, TYPES_BY_PART, find_events

QUESTION, ANSWER = 1, 2
# Which part of a stratum's name a signal makes, in the order of the name.
PART_BY_KIND = {
    "comment": "comment",
    "edit": "edit",
    "overtaken": "overtaken",
    "question_comment": "question",
    "notice": "question",
}
# The id of "current answers are outdated"; other notices are of bounties and the like.
OUTDATED_NOTICE = "10"
# A better answer within months has better words; one that comes later may know of other things.
OVERTAKEN_DAYS = 180
# Scores of 2 or 3 over 1 are chance: none of the 13 answers of beer.stackexchange.com that were
# overtaken so by 2016 had gone out of date, as far as their texts tell (read 2026-11-21).
OVERTAKEN_LEAD = 3
# An edit of the same month completes an answer, or mends a link that never worked; a comment on the
# question is then about the question.
LATE_DAYS = 30


class Signal(NamedTuple):
    """One sign; `id` is of a comment, of an event of PostHistory, or of the other answer."""

    kind: str
    at: datetime
    id: int
    quote: str


class Answer(NamedTuple):
    """What signals need to know of an answer."""

    post_id: int
    question_id: int
    created_at: datetime
    score: int
    is_accepted: bool


def name_stratum(signals: list[Signal]) -> str:
    """Return the name of the kinds of signals that there are.

    >>> name_stratum([])
    'none'
    >>> name_stratum([Signal(kind, datetime.max, 1, "") for kind in ("edit", "comment", "edit")])
    'comment+edit'
    """
    present = {PART_BY_KIND[signal.kind] for signal in signals}
    return "+".join(part for part in dict.fromkeys(PART_BY_KIND.values()) if part in present) or (
        "none"
    )


def list_answers(posts: pa.Table) -> list[Answer]:
    """Return the answers whose question is there, by thread and id as the posts are.

    Args:
        posts: columns id, thread_id, post_type_id, parent_id, accepted_answer_id, created_at,
            score.
    """
    is_question = pc.equal(posts["post_type_id"], QUESTION)
    questions = posts.filter(is_question)
    known = zip(
        questions["id"].to_pylist(), questions["accepted_answer_id"].to_pylist(), strict=True
    )
    accepted = dict(known)
    rows = posts.filter(pc.equal(posts["post_type_id"], ANSWER))
    columns = (rows[name].to_pylist() for name in ("id", "parent_id", "created_at", "score"))
    return [
        Answer(post_id, question_id, at, score or 0, accepted[question_id] == post_id)
        for post_id, question_id, at, score in zip(*columns, strict=True)
        if question_id in accepted
    ]


def find_signals(
    answers: list[Answer], comments: pa.Table, history: pa.Table, overtaken_by: int
) -> dict[int, list[Signal]]:
    """Return the signals of each answer that has any, by time, kind and id.

    Args:
        answers: of whole threads.
        comments: columns id, post_id, created_at, text; of any posts.
        history: columns as in `rows.SCHEMAS["PostHistory"]`, of any posts.
        overtaken_by: how many times an answer's score a later one must have.
    """
    found: defaultdict[int, list[Signal]] = defaultdict(list)
    remarks, notices = _find_remarks(comments), _find_notices(history)
    for answer in answers:
        on_answer = remarks.get(answer.post_id, [])
        on_question = remarks.get(answer.question_id, [])
        signals = [Signal("comment", *remark) for remark in on_answer]
        signals += [Signal("notice", *notice) for notice in notices.get(answer.question_id, [])]
        late_at = answer.created_at + timedelta(days=LATE_DAYS)
        signals += [Signal("question_comment", *one) for one in on_question if one[0] > late_at]
        if later := [signal for signal in signals if signal.at > answer.created_at]:
            found[answer.post_id] += later
    for post_id, signal in _find_edits(answers, history):
        found[post_id].append(signal)
    for post_id, signal in _find_overtaken(answers, overtaken_by):
        found[post_id].append(signal)
    by_time = {
        post_id: sorted(signals, key=lambda s: (s.at, s.kind, s.id))
        for post_id, signals in found.items()
    }
    return by_time


def _find_remarks(comments: pa.Table) -> dict[int, list[tuple[datetime, int, str]]]:
    """Return the comments that say so, by post: time, id and the words."""
    likely = comments.filter(pc.match_substring_regex(pc.fill_null(comments["text"], ""), STEMS))
    found: defaultdict[int, list[tuple[datetime, int, str]]] = defaultdict(list)
    for row in likely.select(["id", "post_id", "created_at", "text"]).to_pylist():
        if quote := find_giveaway(row["text"]):
            found[row["post_id"]].append((row["created_at"], row["id"], quote))
    return found


def _find_notices(history: pa.Table) -> dict[int, list[tuple[datetime, int, str]]]:
    found: defaultdict[int, list[tuple[datetime, int, str]]] = defaultdict(list)
    for row in find_events(history, (NOTICE_ADDED,)).to_pylist():
        if row["comment"] == OUTDATED_NOTICE:
            found[row["post_id"]].append((row["created_at"], row["id"], ""))
    return found


def _find_edits(answers: list[Answer], history: pa.Table) -> Iterator[tuple[int, Signal]]:
    """Yield the edits of answers by which they were brought up to date, or that say so."""
    created = {answer.post_id: answer.created_at for answer in answers}
    events = history.select(
        ["id", "post_id", "post_history_type_id", "created_at", "user_id", "comment", "text"]
    )
    events = find_events(events, TYPES_BY_PART["body"])
    edited = pc.unique(find_events(events, TYPES_BY_PART["body"][1:])["post_id"])
    events = events.filter(pc.is_in(events["post_id"], edited))
    for post_id, revisions in groupby(events.to_pylist(), key=lambda row: row["post_id"]):
        if post_id not in created:
            continue
        for before, after in pairwise(revisions):
            quote = _judge_edit(before, after, created[post_id])
            if quote is not None and after["created_at"] > created[post_id]:
                yield post_id, Signal("edit", after["created_at"], after["id"], quote)


def _judge_edit(before: dict[str, Any], after: dict[str, Any], created_at: datetime) -> str | None:
    """Return the words by which an edit says so; edits in bulk and initial events say nothing."""
    is_initial = after["post_history_type_id"] == TYPES_BY_PART["body"][0]
    is_late = after["created_at"] - created_at >= timedelta(days=LATE_DAYS)
    if is_initial or after["user_id"] == COMMUNITY_USER:
        return None
    if not is_late:
        return None
    said = find_renewal(after["comment"] or "")
    return said or find_added_notice(before["text"] or "", after["text"] or "")


def _find_overtaken(answers: list[Answer], times: int) -> Iterator[tuple[int, Signal]]:
    """Yield for each answer the first one that overtook it, by when that was written."""
    by_question = defaultdict(list)
    for answer in answers:
        by_question[answer.question_id].append(answer)
    for group in by_question.values():
        by_time = sorted(group, key=lambda one: (one.created_at, one.post_id))
        for place, answer in enumerate(by_time):
            limit = answer.created_at + timedelta(days=OVERTAKEN_DAYS)
            for later in by_time[place + 1 :]:
                quote = _overtakes(later, answer, times) if later.created_at >= limit else None
                if quote:
                    yield (
                        answer.post_id,
                        Signal("overtaken", later.created_at, later.post_id, quote),
                    )
                    break


def _overtakes(later: Answer, answer: Answer, times: int) -> str | None:
    """Return how an answer overtakes an older one; one without votes had nothing to lose."""
    if later.is_accepted:
        return "accepted"
    limit = max(times * answer.score, answer.score + OVERTAKEN_LEAD)
    if answer.score > 0 and later.score >= limit:
        return f"score {later.score} over {answer.score}"
    return None
