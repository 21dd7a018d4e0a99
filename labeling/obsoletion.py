"""Candidates of the obsoletion benchmark: the answers of a corpus, each with its signals.

Every answer has a row, or one of REJECT_REASONS. Most rows have no signal: they are the stratum
`none`, from which a few are judged as well, so that shares hold for all answers.

`text_at` is the time of the first signal, by which the answer may have been given away: its text is
what it was before. It is null where there is no signal; the text is then that of the dump.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labeling.recipe import ObsoletionSection
from labeling.revisions import TYPES_BY_PART, find_events, find_revisions
from labeling.signals import ANSWER, Answer, Signal, find_signals, list_answers, name_stratum
from labeling.weak import Candidate, Remark

_TIME = pa.timestamp("ms", "UTC")
SIGNAL = pa.struct(
    [("kind", pa.string()), ("at", _TIME), ("id", pa.int64()), ("quote", pa.string())]
)
CANDIDATE_SCHEMA = pa.schema(
    [
        ("post_id", pa.int64()),
        ("thread_id", pa.int64()),
        ("stratum", pa.string()),
        ("text_at", _TIME),  # the bound for `find_revisions`: events at this time are not in it
        ("signals", pa.list_(SIGNAL)),  # by time, kind, id
        ("created_at", _TIME),
    ]
)
REJECT_REASONS = (
    "question_missing",  # the dump has the answer alone
    "not_in_corpus",  # its document is in no split
    "too_young",  # at the time of the dump, for what it says to have gone out of date
    "no_history",  # what it said before its signals is not known
    "empty",  # it said nothing then
    "no_text_before",  # its first text is as new as its first signal
)
POST_COLUMNS = (
    *("id", "thread_id", "post_type_id", "parent_id", "accepted_answer_id"),
    *("created_at", "score"),
)


class Found(NamedTuple):
    """Candidates (CANDIDATE_SCHEMA, by thread_id, post_id), and why the other answers are none."""

    table: pa.Table
    rejected: Counter[str]


def find_candidates(
    posts: pa.Table,
    comments: pa.Table,
    history: pa.Table,
    recipe: ObsoletionSection,
    dump_at: datetime,
    *,
    is_in_corpus: Callable[[int], bool] = lambda post_id: True,
) -> Found:
    """Return the answers of a partition with their signals.

    Args:
        posts: columns POST_COLUMNS; whole threads.
        comments: columns id, post_id, created_at, text.
        history: columns as in `rows.SCHEMAS["PostHistory"]`.
        recipe: `min_age_days` and `overtaken_by` count here.
        dump_at: what the dump knows up to.
        is_in_corpus: whether the document of a post is in a split.
    """
    num_answers = pc.sum(pc.equal(posts["post_type_id"], ANSWER)).as_py() or 0
    answers = list_answers(posts)
    rejected = Counter(question_missing=num_answers - len(answers))
    signals = find_signals(answers, comments, history, recipe.overtaken_by)
    threads = dict(zip(posts["id"].to_pylist(), posts["thread_id"].to_pylist(), strict=True))
    kept = []
    for answer in answers:
        reason = _reject(answer, recipe, dump_at, is_in_corpus)
        if reason:
            rejected[reason] += 1
        else:
            kept.append(_make_row(answer, threads[answer.post_id], signals.get(answer.post_id, [])))
    table = pa.Table.from_pylist(kept, CANDIDATE_SCHEMA)
    reasons = _reject_texts(table, history)
    rejected.update(reasons[reasons != ""].tolist())
    table = table.filter(pa.array(reasons == "", pa.bool_()))
    return Found(table.sort_by([(key, "ascending") for key in ("thread_id", "post_id")]), +rejected)


def describe_candidates(
    table: pa.Table, posts: pa.Table, comments: pa.Table, history: pa.Table, dump_at: datetime
) -> list[Candidate]:
    """Return what labelling functions know of each candidate, in the order of the table.

    Args:
        table: CANDIDATE_SCHEMA.
        posts: columns POST_COLUMNS; whole threads.
        comments: columns id, post_id, created_at, text, score; of any posts.
        history: as `find_candidates` takes it.
        dump_at: what the dump knows up to.
    """
    ids = table["post_id"]
    answers = {answer.post_id: answer for answer in list_answers(posts)}
    best_others = _find_best_others(list(answers.values()))
    remarks = _list_remarks(comments.filter(pc.is_in(comments["post_id"], ids.combine_chunks())))
    edits = find_events(history, TYPES_BY_PART["body"][1:])
    edited = dict(zip(edits["post_id"].to_pylist(), edits["created_at"].to_pylist(), strict=True))
    bounds = pa.nulls(len(table), _TIME)
    texts = find_revisions(history, ids.to_numpy(), bounds)["body"].to_pylist()
    return [
        Candidate(
            created_at=answers[post_id].created_at,
            dump_at=dump_at,
            text=text,
            score=answers[post_id].score,
            is_accepted=answers[post_id].is_accepted,
            edited_at=edited.get(post_id),
            best_other=best_others[post_id],
            remarks=tuple(remarks.get(post_id, ())),
            signals=tuple(Signal(**signal) for signal in signals),
        )
        for post_id, text, signals in zip(
            ids.to_pylist(), texts, table["signals"].to_pylist(), strict=True
        )
    ]


def _reject(
    answer: Answer,
    recipe: ObsoletionSection,
    dump_at: datetime,
    is_in_corpus: Callable[[int], bool],
) -> str:
    if not is_in_corpus(answer.post_id):
        return "not_in_corpus"
    is_young = dump_at - answer.created_at < timedelta(days=recipe.min_age_days)
    return "too_young" if is_young else ""


def _make_row(answer: Answer, thread_id: int, signals: list[Signal]) -> dict[str, Any]:
    return {
        "post_id": answer.post_id,
        "thread_id": thread_id,
        "stratum": name_stratum(signals),
        "text_at": signals[0].at if signals else None,
        "signals": [signal._asdict() for signal in signals],
        "created_at": answer.created_at,
    }


def _reject_texts(table: pa.Table, history: pa.Table) -> np.ndarray[Any, Any]:
    """Say for each row why it has no text before its first signal, or ""."""
    ids = table["post_id"].to_numpy()
    texts = find_revisions(history, ids, table["text_at"].combine_chunks())
    is_blank = pc.equal(pc.utf8_trim_whitespace(texts["body"]), "")
    is_late = pc.fill_null(pc.greater_equal(texts["at"], table["text_at"]), False)
    # Without a comparison, what is null is no history.
    reasons = pc.if_else(is_blank, "empty", pc.if_else(is_late, "no_text_before", ""))
    return np.array(pc.fill_null(reasons, "no_history").to_pylist(), object)


def _find_best_others(answers: list[Answer]) -> dict[int, int | None]:
    """Return for each answer the best score among the other answers to its question."""
    scores: dict[int, list[int]] = {}
    for answer in answers:
        scores.setdefault(answer.question_id, []).append(answer.score)
    best_two = {question: sorted(some)[-2:] for question, some in scores.items()}
    found: dict[int, int | None] = {}
    for answer in answers:
        best = best_two[answer.question_id]
        others = best[:-1] if answer.score == best[-1] else best[-1:]
        found[answer.post_id] = others[0] if others else None
    return found


def _list_remarks(comments: pa.Table) -> dict[int, list[Remark]]:
    by_post: dict[int, list[Remark]] = {}
    comments = comments.sort_by([(key, "ascending") for key in ("post_id", "created_at", "id")])
    columns = (comments[name].to_pylist() for name in ("post_id", "created_at", "text", "score"))
    for post_id, at, text, score in zip(*columns, strict=True):
        by_post.setdefault(post_id, []).append(Remark(at, text or "", score or 0))
    return by_post
