"""The published rule, on questions made for it and against a rule written row by row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from labeling.quality import label_quality
from labeling.recipe import QualitySection
from tests.labeling.conftest import day, make_events, make_questions

DUMP_AT = day(400)
FIRST = [(7, 1, 0, 1, None, "t"), (7, 2, 0, 1, None, "b"), (7, 3, 0, 1, None, "<a>")]


def label_of(question: dict[str, Any], events: list[tuple], **recipe: Any) -> tuple[Any, str, Any]:
    closed = [event[2] for event in events if event[1] == 10]
    is_closed = bool(closed) and not any(e[1] == 11 and e[2] > closed[-1] for e in events)
    asked = {"id": 7, "closed_at": day(closed[-1]) if is_closed else None, **question}
    table, reasons = label_quality(
        make_questions([asked]),
        make_events(events),
        DUMP_AT,
        QualitySection(**recipe),
    )
    row = table.to_pylist()[0]
    return row["label"], reasons[0], row["label_at"]


def test_a_high_score_without_an_edit_is_high_quality() -> None:
    assert label_of({"score": 30}, FIRST) == ("HQ", "", None)
    assert label_of({"score": 29}, FIRST)[1] == "no_class"


def test_any_edit_takes_high_quality_away() -> None:
    assert label_of({"score": 30}, [*FIRST, (7, 6, 9, 1, None, "<c>")])[1] == "no_class"


def test_bulk_edits_are_nobodys_judgement() -> None:
    assert label_of({"score": 30}, [*FIRST, (7, 5, 9, -1, None, "https")])[0] == "HQ"


def test_a_negative_score_and_edits_by_others_is_low_quality_edit() -> None:
    edits = [(7, 5, 1, 2, None, "x"), (7, 5, 2, 3, None, "y"), (7, 5, 3, 4, None, "z")]
    assert label_of({"score": -1}, [*FIRST, *edits]) == ("LQ_EDIT", "", day(2))


def test_edits_by_the_owner_do_not_make_low_quality_edit() -> None:
    edits = [(7, 5, 1, 1, None, "x"), (7, 5, 2, 1, None, "y"), (7, 5, 3, 4, None, "z")]
    assert label_of({"score": -1}, [*FIRST, *edits])[1] == "no_class"


def test_one_save_of_title_and_body_is_one_edit() -> None:
    events = make_events([*FIRST, (7, 4, 1, 2, None, "x"), (7, 5, 1, 2, None, "y")])
    guids = pa.array(["a", "a", "a", "b", "b"])
    events = events.set_column(
        events.schema.get_field_index("revision_guid"), "revision_guid", guids
    )
    question = make_questions([{"id": 7, "score": -1}])
    assert label_quality(question, events, DUMP_AT, QualitySection())[1][0] == "no_class"


def test_closed_without_an_edit_is_low_quality_close() -> None:
    assert label_of({}, [*FIRST, (7, 10, 5, 2, "103")]) == ("LQ_CLOSE", "", day(5))
    edited = [*FIRST, (7, 5, 1, 2, None, "x"), (7, 10, 5, 2, "103")]
    assert label_of({}, edited)[1] == "no_class"


def test_a_duplicate_is_low_quality_close_unless_the_recipe_leaves_it_out() -> None:
    events = [*FIRST, (7, 10, 5, 2, "101")]
    assert label_of({"score": 200}, events) == ("LQ_CLOSE", "", day(5))
    assert label_of({}, events, keep_duplicates=False)[1] == "reason:duplicate"
    assert label_of({}, [*FIRST, (7, 10, 5, 2, "102")], keep_duplicates=False)[1] == ""


def test_what_was_migrated_or_where_posts_and_history_disagree_has_no_class() -> None:
    assert label_of({"score": 50}, [*FIRST, (7, 35, 5, 2)])[1] == "migrated"
    assert label_of({"score": 50, "closed_at": day(3)}, FIRST)[1] == "state_disagrees"


def test_a_deleted_owner_edits_under_the_name_that_is_left() -> None:
    question = {"id": 7, "score": -1, "owner_user_id": None, "owner_display_name": "user12"}
    for name, reason in (("user12", "no_class"), (None, "no_class"), ("user99", "")):
        edits = [(7, 5, 1, None, None, "x"), (7, 5, 2, None, None, "y")]
        events = make_events([*FIRST, *edits])
        names = pa.array([*["user12"] * len(FIRST), name, name], pa.string())
        place = events.schema.get_field_index("user_display_name")
        events = events.set_column(place, "user_display_name", names)
        asked = make_questions([question])
        assert label_quality(asked, events, DUMP_AT, QualitySection())[1][0] == reason


def test_edits_of_dumps_without_guids_are_told_by_their_time() -> None:
    rows = [(7, 4, 1, 2, None, "x"), (7, 5, 1, 2, None, "y"), (7, 5, 2, 2, None, "z")]
    events = make_events([*FIRST, *rows])
    place = events.schema.get_field_index("revision_guid")
    events = events.set_column(place, "revision_guid", pa.nulls(len(events), pa.string()))
    question = make_questions([{"id": 7, "score": -1}])
    labels = {
        num: label_quality(question, events, DUMP_AT, QualitySection(min_edits=num))[1][0]
        for num in (2, 3)
    }
    assert labels == {2: "", 3: "no_class"}


def test_a_reopened_question_has_no_class() -> None:
    events = [*FIRST, (7, 10, 5, 2, "103"), (7, 11, 6, 2)]
    assert label_of({"score": 50}, events)[1] == "reopened"


def test_a_question_closed_again_is_closed() -> None:
    events = [*FIRST, (7, 10, 5, 2, "103"), (7, 11, 6, 2), (7, 10, 8, 2, "101")]
    assert label_of({}, events) == ("LQ_CLOSE", "", day(8))


def test_young_questions_and_those_without_history_are_left_out() -> None:
    assert label_of({"score": 99, "created_at": day(390)}, FIRST)[1] == "too_young"
    assert label_of({"score": 99}, FIRST[:1])[1] == "no_history"


def naive(question: dict[str, Any], events: list[dict[str, Any]]) -> str:
    """The oracle: the rule as one would read it aloud."""
    own = sorted(
        (e for e in events if e["post_id"] == question["id"]),
        key=lambda e: (e["created_at"], e["id"]),
    )
    edits = [e for e in own if 4 <= e["post_history_type_id"] <= 9 and e["user_id"] != -1]
    others = [e for e in edits if e["user_id"] != question["owner_user_id"]]
    state = [e["post_history_type_id"] for e in own if e["post_history_type_id"] in (10, 11)]
    if not any(e["post_history_type_id"] == 2 for e in own):
        return "no_history"
    if bool(state and state[-1] == 10) != (question["closed_at"] is not None):
        return "state_disagrees"
    if state and state[-1] == 11 and 10 in state:
        return "reopened"
    if state and state[-1] == 10:
        return "no_class" if edits else "LQ_CLOSE"
    if question["score"] >= 30 and not edits:
        return "HQ"
    return "LQ_EDIT" if question["score"] < 0 and len(others) >= 2 else "no_class"


def close_as_history_says(
    questions: pa.Table, events: pa.Table, chance: np.random.Generator
) -> pa.Table:
    """Set closed_at where the last such event is a closure, and one in twenty wrongly."""
    state: dict[int, int] = {}
    for event in sorted(events.to_pylist(), key=lambda e: (e["created_at"], e["id"])):
        if event["post_history_type_id"] in (10, 11):
            state[event["post_id"]] = event["post_history_type_id"]
    is_closed = [
        (state.get(post_id) == 10) != (chance.random() < 0.05)
        for post_id in questions["id"].to_pylist()
    ]
    times = pa.array([day(1) if one else None for one in is_closed], pa.timestamp("ms", "UTC"))
    place = questions.schema.get_field_index("closed_at")
    return questions.set_column(place, "closed_at", times)


@pytest.mark.parametrize("seed", range(5))
def test_it_is_what_reading_the_rule_aloud_gives(seed: int) -> None:
    chance = np.random.default_rng(seed)
    questions = make_questions(
        {
            "id": n,
            "score": int(chance.choice([-2, 0, 35])),
            "owner_user_id": int(chance.integers(1, 3)),
        }
        for n in range(1, 200)
    )
    rows = [
        (
            int(chance.integers(1, 200)),
            int(
                chance.choice(
                    [1, 2, 3, 5, 5, 8, 10, 11], p=[0.1, 0.5, 0.05, 0.1, 0.1, 0.05, 0.07, 0.03]
                )
            ),
            float(chance.integers(0, 300)),
            int(chance.choice([-1, 1, 2, 3])),
        )
        for _ in range(900)
    ]
    events = make_events(rows)
    questions = close_as_history_says(questions, events, chance)
    table, reasons = label_quality(questions, events, DUMP_AT, QualitySection())
    found = [r or label for r, label in zip(reasons, table["label"].to_pylist(), strict=True)]
    listed = events.to_pylist()
    expected = [naive(question, listed) for question in questions.to_pylist()]
    assert found == expected
    assert {"HQ", "LQ_EDIT", "LQ_CLOSE", "reopened", "no_class"} <= set(found)
