"""What counts as a sign that an answer is out of date, and from when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from corpus.posts import POSTS_SCHEMA
from corpus.rows import SCHEMAS
from labeling.signals import Signal, find_signals, list_answers, name_stratum

START = datetime(2012, 1, 1, tzinfo=UTC)


def day(number: int) -> datetime:
    return START + timedelta(days=number)


def table(schema: pa.Schema, *rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema)


def post(post_id: int, parent: int | None = None, at: int = 0, **more: Any) -> dict[str, Any]:
    kind = 1 if parent is None else 2
    row = {"id": post_id, "post_type_id": kind, "parent_id": parent, "created_at": day(at)}
    return {**row, "thread_id": parent or post_id, "score": 1, **more}


def event(event_id: int, kind: int, at: int, text: str = "", **more: Any) -> dict[str, Any]:
    row = {"id": event_id, "post_id": 2, "post_history_type_id": kind, "created_at": day(at)}
    return {**row, "text": text, "user_id": 5, **more}


def signals_of(
    *answers: dict[str, Any],
    comments: tuple[dict[str, Any], ...] = (),
    events: tuple[dict[str, Any], ...] = (),
    accepted: int | None = None,
    overtaken_by: int = 2,
) -> list[tuple[str, int]]:
    """Kind and id of the signals of answer 2 to question 1."""
    posts = table(POSTS_SCHEMA, post(1, accepted_answer_id=accepted), post(2, 1, at=1), *answers)
    found = find_signals(
        list_answers(posts),
        table(SCHEMAS["Comments"], *comments),
        table(SCHEMAS["PostHistory"], *events),
        overtaken_by,
    )
    return [(signal.kind, signal.id) for signal in found.get(2, [])]


def comment(comment_id: int, post_id: int, at: int, text: str = "outdated") -> dict[str, Any]:
    return {"id": comment_id, "post_id": post_id, "created_at": day(at), "text": text}


def test_comments_count_from_after_the_answer_and_by_time() -> None:
    comments = (comment(9, 2, 400), comment(8, 2, 2), comment(7, 2, 0), comment(6, 2, 9, "nice"))
    assert signals_of(comments=comments) == [("comment", 8), ("comment", 9)]


def test_a_comment_without_text_says_nothing() -> None:
    nothing: Any = {**comment(8, 2, 2), "text": None}
    assert signals_of(comments=(nothing,)) == []


@pytest.mark.parametrize(("at", "counts"), [(0, False), (20, False), (40, True)])
def test_comments_on_the_question_count_long_after_the_answer(at: int, counts: bool) -> None:
    found = signals_of(comments=(comment(8, 1, at),))
    assert found == ([("question_comment", 8)] if counts else [])


@pytest.mark.parametrize(
    ("edit", "counts"),
    [
        (event(2, 5, 100, "Use a.\nUpdate: use b."), True),
        (event(2, 8, 100, "Use a. It is deprecated."), True),
        (event(2, 5, 100, "Use b.", comment="updated for version 2"), True),
        (event(2, 5, 100, "Use b."), False),
        # The same week, the tags, the community's own bulk edits, another post.
        (event(2, 5, 8, "Use a.\nUpdate: use b."), False),
        (event(2, 6, 100, "deprecated"), False),
        (event(2, 5, 100, "Use a.\nUpdate: use b.", user_id=-1), False),
        (event(2, 5, 100, "Use a.\nUpdate: use b.", post_id=1), False),
    ],
)
def test_edits_that_bring_up_to_date_count(edit: dict[str, Any], counts: bool) -> None:
    found = signals_of(events=(event(1, 2, 1, "Use a."), edit))
    assert found == ([("edit", 2)] if counts else [])


def test_an_edit_is_compared_with_the_revision_before_it() -> None:
    first, second = "Use a.\nEdit: b", "Use a.\nEdit: b\nThanks."
    events = (event(1, 2, 1, "Use a."), event(3, 5, 200, second), event(2, 5, 100, first))
    assert signals_of(events=events) == [("edit", 2)]


def test_only_the_notice_of_outdated_answers_counts() -> None:
    notices = [event(n, 33, 9, post_id=1, comment=kind) for n, kind in ((3, "10"), (4, "1"))]
    assert signals_of(events=tuple(notices)) == [("notice", 3)]


@pytest.mark.parametrize(
    ("later", "accepted", "counts"),
    [
        (post(3, 1, at=400, score=4), None, True),
        (post(3, 1, at=400, score=3), None, False),  # by chance
        (post(3, 1, at=100, score=9), None, False),  # too soon
        (post(3, 1, at=400, score=0), 3, True),
        (post(3, 1, at=400, score=0), 2, False),
        (post(3, 1, at=0, score=9), None, False),
    ],
)
def test_a_much_later_and_better_answer_overtakes(
    later: dict[str, Any], accepted: int | None, counts: bool
) -> None:
    found = signals_of(later, accepted=accepted)
    assert found == ([("overtaken", 3)] if counts else [])


def test_the_first_answer_that_overtakes_is_named() -> None:
    answers = (post(4, 1, at=900, score=99), post(3, 1, at=400, score=12), post(5, 1, at=1))
    assert signals_of(*answers) == [("overtaken", 3)]
    assert signals_of(*answers, overtaken_by=20) == [("overtaken", 4)]


def test_an_answer_without_its_question_is_no_answer() -> None:
    assert list_answers(table(POSTS_SCHEMA, post(2, 1))) == []


def test_a_stratum_is_named_by_its_kinds_in_one_order() -> None:
    signals = [Signal(kind, START, 1, "") for kind in ("notice", "overtaken", "comment")]
    assert name_stratum(signals) == "comment+overtaken+question"
    assert name_stratum(signals[::-1]) == "comment+overtaken+question"
