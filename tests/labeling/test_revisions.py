"""Posts as they were, from the events of their history."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.revisions import REVISION_SCHEMA, find_revisions, parse_tags
from tests.labeling.conftest import day, make_events

TIME = pa.timestamp("ms", "UTC")


def revision_of(events: pa.Table, post_id: int, before: datetime | None = None) -> dict:
    limits = None if before is None else pa.array([before], TIME)
    return find_revisions(events, np.array([post_id]), limits).to_pylist()[0]


def test_the_first_revision_has_no_later_edit() -> None:
    events = make_events(
        [
            (7, 1, 0, 1, None, "Title"),
            (7, 2, 0, 1, None, "body\r\n"),
            (7, 3, 0, 1, None, "<a><b>"),
            (7, 5, 1, 2, None, "edited"),
            (7, 6, 1, 2, None, "<c>"),
            (8, 2, 0, 1, None, "another post"),
        ]
    )
    found = revision_of(events, 7)
    assert (found["title"], found["body"], found["tags"]) == ("Title", "body\r\n", ["a", "b"])
    assert found["at"] == day(0)


def test_a_rollback_sets_the_text_that_it_names() -> None:
    events = make_events(
        [(7, 2, 0, 1, None, "a"), (7, 5, 1, 1, None, "b"), (7, 8, 2, 1, None, "a")]
    )
    assert revision_of(events, 7, day(1.5))["body"] == "b"
    assert revision_of(events, 7, day(3)) | {"licence": None} == {
        **dict.fromkeys(REVISION_SCHEMA.names),
        **{"post_id": 7, "body": "a", "at": day(2)},
    }


def test_an_event_at_the_very_time_is_not_in_it() -> None:
    events = make_events([(7, 2, 0, 1, None, "a"), (7, 5, 1, 1, None, "b")])
    assert revision_of(events, 7, day(1))["body"] == "a"


def test_initial_events_are_in_it_even_before_the_post_was_there() -> None:
    assert revision_of(make_events([(7, 2, 5, 1, None, "a")]), 7, day(1))["body"] == "a"


def test_of_two_initial_events_of_a_merged_post_the_first_counts() -> None:
    events = make_events([(7, 2, 0, 1, None, "a"), (7, 2, 9, 1, None, "b")])
    assert revision_of(events, 7)["body"] == "a"
    assert revision_of(events, 7, day(5))["body"] == "a"
    assert revision_of(events, 7, day(10))["body"] == "b"


def test_a_post_without_history_has_no_body() -> None:
    found = find_revisions(make_events([(7, 2, 0, 1, None, "a")]), np.array([9, 7]))
    assert found["body"].to_pylist() == [None, "a"]
    assert found["post_id"].to_pylist() == [9, 7]


def test_no_posts_are_no_revisions() -> None:
    empty = find_revisions(make_events([]), np.empty(0, "i8"), pa.array([], TIME))
    assert empty.schema == REVISION_SCHEMA and len(empty) == 0


def test_tags_are_read_in_both_notations() -> None:
    assert parse_tags("<a.b><c-d>") == parse_tags("|a.b|c-d|") == ["a.b", "c-d"]


EVENTS = st.lists(
    st.tuples(
        st.integers(1, 3), st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]), st.integers(0, 5)
    ),
    max_size=20,
)


def replay(events: pa.Table, post_id: int, part: tuple[int, ...], before: datetime) -> str | None:
    """The oracle: play the events one by one."""
    rows = [e for e in events.to_pylist() if e["post_id"] == post_id]
    text = None
    has_first = False
    for event in sorted(rows, key=lambda e: (e["created_at"], e["id"])):
        kind = event["post_history_type_id"]
        is_first = kind == part[0] and not has_first
        has_first |= is_first
        if kind in part and (is_first or event["created_at"] < before):
            text = event["text"]
    return text


@settings(deadline=None)
@given(EVENTS, st.integers(0, 6))
def test_it_is_what_playing_the_events_one_by_one_gives(rows: list, limit: int) -> None:
    events = make_events([(*row, 1, None, f"<text{n}>") for n, row in enumerate(rows)])
    ids = np.array([1, 2, 3])
    found = find_revisions(events, ids, pa.array([day(limit)] * 3, TIME)).to_pylist()
    for row in found:
        at = (row["post_id"], day(limit))
        assert row["title"] == replay(events, at[0], (1, 4, 7), at[1])
        assert row["body"] == replay(events, at[0], (2, 5, 8), at[1])
        tags = replay(events, at[0], (3, 6, 9), at[1])
        assert row["tags"] == (None if tags is None else [tags[1:-1]])
