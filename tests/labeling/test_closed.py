"""Closed or open, and why."""

from __future__ import annotations

from typing import Any

import pytest

from labeling.closed import REASON_BY_ID, label_closed
from labeling.recipe import ClosedSection
from tests.labeling.conftest import day, make_events, make_questions

DUMP_AT = day(400)
FIRST = [(7, 1, 0, 1, None, "t"), (7, 2, 0, 1, None, "b")]


def label_of(
    events: list[tuple], question: dict[str, Any] | None = None, **recipe: Any
) -> tuple[Any, ...]:
    closed = [event[2] for event in events if event[1] == 10]
    is_closed = bool(closed) and events[-1][1] != 11
    asked = {"id": 7, "closed_at": day(closed[-1]) if is_closed else None, **(question or {})}
    table, reasons = label_closed(
        make_questions([asked]),
        make_events([*FIRST, *events]),
        DUMP_AT,
        ClosedSection(**recipe),
    )
    row = table.to_pylist()[0]
    return row["label"], reasons[0], row["reason"], row["label_at"]


def test_a_question_that_nobody_closed_is_open() -> None:
    assert label_of([]) == ("open", "", None, None)


@pytest.mark.parametrize("number", [n for n in REASON_BY_ID if REASON_BY_ID[n][0] != "duplicate"])
def test_every_reason_of_today_and_of_then_has_a_name_of_today(number: int) -> None:
    found = label_of([(7, 10, 5, 2, str(number))])
    assert found == ("closed", "", REASON_BY_ID[number][0], day(5))


def test_a_reason_that_does_not_count_leaves_the_question_out() -> None:
    assert label_of([(7, 10, 5, 2, "101")])[:2] == ("closed", "reason:duplicate")
    assert label_of([(7, 10, 5, 2, "101")], reasons=["duplicate"])[:2] == ("closed", "")


def test_an_unknown_reason_is_said_to_be_one() -> None:
    assert label_of([(7, 10, 5, 2, "77")])[1] == "unknown_reason"
    assert label_of([(7, 10, 5, 2, None)])[1] == "unknown_reason"
    assert label_of([(7, 10, 5, 2, "9" * 30)])[1] == "unknown_reason"


@pytest.mark.parametrize(
    ("policy", "label", "reason"),
    [("leave_out", "open", "reopened"), ("open", "open", ""), ("closed", "closed", "")],
)
def test_a_reopened_question_is_what_the_recipe_says(policy: str, label: str, reason: str) -> None:
    found = label_of([(7, 10, 5, 2, "103"), (7, 11, 6, 2)], reopened=policy)
    assert found[:2] == (label, reason)


def test_the_closure_that_holds_gives_the_reason() -> None:
    events = [(7, 10, 5, 2, "103"), (7, 11, 6, 2), (7, 10, 9, 2, "105")]
    assert label_of(events) == ("closed", "", "opinion_based", day(9))


def test_what_was_migrated_or_where_posts_and_history_disagree_is_left_out() -> None:
    assert label_of([(7, 35, 5, 2)])[1] == "migrated"
    assert label_of([], {"closed_at": day(3)})[1] == "state_disagrees"
    assert label_of([(7, 10, 5, 2, "103")], {"closed_at": None})[1] == "state_disagrees"
    reopened = [(7, 10, 5, 2, "103"), (7, 11, 6, 2)]
    assert label_of(reopened, {"closed_at": day(5)}, reopened="open")[1] == "state_disagrees"


def test_young_questions_may_still_be_closed() -> None:
    assert label_of([], {"created_at": day(380)})[1] == "too_young"
    assert label_of([], {"created_at": day(380)}, min_age_days=10)[1] == ""
