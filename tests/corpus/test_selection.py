"""Which posts and comments become documents, and the one reason of each of the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from corpus.recipe import DocumentsSection
from corpus.rows import SCHEMAS
from corpus.selection import (
    KIND_BY_POST_TYPE,
    REJECT_REASONS,
    kinds_of,
    reject_comments,
    reject_posts,
)

EVERYTHING: Any = {"kinds": ["question", "answer", "tag_wiki_excerpt", "tag_wiki"], "keep_out": []}


def posts(*rows: dict[str, Any]) -> pa.Table:
    given = {"id": 1, "post_type_id": 1, "owner_user_id": 11, "score": 0}
    names = list(given)
    schema = pa.schema([SCHEMAS["Posts"].field(name) for name in names])
    return pa.Table.from_pylist([{**given, **row} for row in rows], schema)


def reason_of(
    row: dict[str, Any],
    *,
    num_comments: int = 0,
    history: list[int] | None = None,
    **recipe: Any,
) -> str:
    table = None if history is None else pa.table({"post_id": pa.array(history, pa.int64())})
    section = DocumentsSection(**recipe)
    (reason,) = reject_posts(posts(row), np.array([num_comments]), table, section)
    return str(reason)


@pytest.mark.parametrize("kind", KIND_BY_POST_TYPE)
def test_kinds_have_names(kind: int) -> None:
    assert kinds_of(posts({"post_type_id": kind})).to_pylist() == [KIND_BY_POST_TYPE[kind]]


@pytest.mark.parametrize("kind", [0, 9, 17, -1, 2**31 - 1])
def test_a_kind_of_the_future_is_rejected_by_its_number(kind: int) -> None:
    assert reason_of({"post_type_id": kind}) == f"kind:post_type_{kind}"


@pytest.mark.parametrize(
    ("kind", "reason"),
    [(1, "kind:question"), (2, ""), (4, "kind:tag_wiki_excerpt"), (5, "kind:tag_wiki")],
)
def test_a_recipe_of_answers_takes_answers_alone(kind: int, reason: str) -> None:
    assert reason_of({"post_type_id": kind}, kinds=["answer"]) == reason


def test_tag_wikis_are_taken_where_the_recipe_wants_them() -> None:
    assert reason_of({"post_type_id": 5}, **EVERYTHING) == ""


# Bots and planted posts ----------------------------------------------------------------------


def test_the_answer_bot_is_kept_out_unless_the_recipe_keeps_it() -> None:
    assert reason_of({"owner_user_id": -2}) == "bot"
    assert reason_of({"owner_user_id": -2}, keep_out=[]) == ""
    assert reason_of({"owner_user_id": None}) == ""


@pytest.mark.parametrize(
    ("post_id", "owner", "history", "reason"),
    [
        (1_000_000_001, -1, [1], "fabricated"),
        (1_000_000_001, 11, [1_000_000_001], "fabricated"),
        (1_000_000_001, 11, None, "fabricated"),
        (1_000_000_000, 11, None, "fabricated"),
        (999_999_999, 11, None, ""),
        # The community's and in no history: planted, where there is a history to be in.
        (5, -1, [4, 6], "fabricated"),
        (5, -1, [], "fabricated"),
        (5, -1, None, ""),
        # A wiki that the community has come to own has a history.
        (5, -1, [4, 5], ""),
        # In no history, but somebody's.
        (5, 11, [4, 6], ""),
        (5, None, [4, 6], ""),
    ],
)
def test_planted_posts_are_told_by_id_or_by_owner_and_history(
    post_id: int, owner: int | None, history: list[int] | None, reason: str
) -> None:
    row = {"id": post_id, "owner_user_id": owner}
    assert reason_of(row, history=history) == reason
    assert reason_of(row, history=history, keep_out=["bot"]) == ""


# Scores and comments -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("score", "min_score", "reason"),
    [
        (2, 3, "score"),
        (3, 3, ""),
        (None, 1, "score"),
        (None, 0, ""),
        (-5, None, ""),
        (-1, 0, "score"),
    ],
)
def test_a_score_below_the_least_is_refused(
    score: int | None, min_score: int | None, reason: str
) -> None:
    assert reason_of({"score": score}, min_score=min_score) == reason


@pytest.mark.parametrize(
    ("num_comments", "reason"), [(0, "few_comments"), (1, "few_comments"), (2, "")]
)
def test_too_few_comments_are_refused(num_comments: int, reason: str) -> None:
    assert reason_of({}, num_comments=num_comments, min_comments=2) == reason


def test_the_first_reason_that_holds_is_given() -> None:
    worst = {"id": 10**9, "owner_user_id": -2, "post_type_id": 5, "score": -9}
    demanding: Any = {"min_score": 0, "min_comments": 1}
    assert reason_of(worst, **demanding) == "bot"
    assert reason_of(worst | {"owner_user_id": 11}, **demanding) == "fabricated"
    assert reason_of(worst | {"owner_user_id": 11, "id": 1}, **demanding) == "kind:tag_wiki"
    last_two = {"score": -9}
    assert reason_of(last_two, **demanding) == "score"
    assert reason_of({}, **demanding) == "few_comments"


def test_each_post_has_its_own_reason() -> None:
    rows = posts({"owner_user_id": -2}, {}, {"post_type_id": 4}, {"post_type_id": 17}, {})
    found = reject_posts(rows, np.zeros(5, "i8"), None, DocumentsSection())
    assert found.tolist() == ["bot", "", "kind:tag_wiki_excerpt", "kind:post_type_17", ""]
    assert {reason.split(":")[0] for reason in found} - {""} <= set(REJECT_REASONS)


def test_no_posts_have_no_reasons() -> None:
    assert reject_posts(posts(), np.zeros(0, "i8"), None, DocumentsSection()).tolist() == []


# Comments ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user_id", "text", "reason"),
    [
        (11, "words", ""),
        (None, "words", ""),
        (11, "", "empty"),
        (11, None, "empty"),
        (11, " \t\n\u00a0\u3000", "empty"),
        (-2, "words", "bot"),
        (-2, "", "bot"),
        (-1, "words", ""),
    ],
)
def test_comments_of_bots_and_empty_ones_are_refused(
    user_id: int | None, text: str | None, reason: str
) -> None:
    columns = {"user_id": pa.array([user_id], pa.int64()), "text": pa.array([text], pa.string())}
    comments = pa.table(columns)
    assert reject_comments(comments, DocumentsSection()).tolist() == [reason]
    kept_bots = reject_comments(comments, DocumentsSection(keep_out=[])).tolist()
    assert kept_bots == ["" if reason == "bot" and text else reason.replace("bot", "empty")]
