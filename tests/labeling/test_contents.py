"""The content of an item, from rows whose every value is known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from corpus.attribution import UserNames
from corpus.manifest import Json
from corpus.posts import POSTS_SCHEMA
from corpus.rows import SCHEMAS
from labeling.contents import format_time, make_items, read_threads
from labeling.obsoletion import CANDIDATE_SCHEMA, find_candidates
from labeling.recipe import ObsoletionSection

START = datetime(2012, 1, 1, tzinfo=UTC)
DUMP_AT = datetime(2022, 1, 1, tzinfo=UTC)


def day(number: int) -> datetime:
    return START + timedelta(days=number)


def event(event_id: int, at: int, text: str, kind: int = 5, **more: Any) -> Json:
    row = {"id": event_id, "post_id": 2, "post_history_type_id": kind, "created_at": day(at)}
    return {**row, "text": text, "user_id": 5, **more}


POSTS: list[Json] = [
    {
        **{"id": 1, "post_type_id": 1, "thread_id": 1, "created_at": day(0), "score": 4},
        **{"title": "Which one?", "body": "<p>It is <b>this</b>.</p>", "tags": ["a", "b"]},
        **{"accepted_answer_id": 2, "owner_user_id": 5},
    },
    {
        **{"id": 2, "post_type_id": 2, "parent_id": 1, "thread_id": 1, "created_at": day(1)},
        **{"score": 7, "body": "<p>New</p>", "owner_display_name": "gone"},
    },
    {
        **{"id": 3, "post_type_id": 2, "parent_id": 1, "thread_id": 1, "created_at": day(2)},
        **{"score": None, "body": "<p>" + "word " * 99 + "</p>"},
    },
]
EVENTS = [
    event(1, 1, "Old\r\n\r\n    code", kind=2, user_id=None, user_display_name="gone"),
    event(2, 60, "Older still", comment="shorter"),
    event(3, 80, "Old\r\n\r\n    code", kind=8, licence="CC BY-SA 9.9"),
    event(4, 200, "New"),
    event(5, 300, "Renewed\n\nUpdate: it is deprecated"),
    {**event(6, 2, "", kind=2), "post_id": 3, "text": "word"},
]
COMMENTS: list[Json] = [
    {"id": 8, "post_id": 2, "created_at": day(90), "text": "Outdated!", "score": 2, "user_id": 5},
    {"id": 7, "post_id": 2, "created_at": day(5), "text": "Good.", "user_id": None},
    {"id": 9, "post_id": 3, "created_at": day(5), "text": "Another."},
]


def items() -> list[Json]:
    tables = {
        "Posts": pa.Table.from_pylist(POSTS, POSTS_SCHEMA),
        "Comments": pa.Table.from_pylist(COMMENTS, SCHEMAS["Comments"]),
        "PostHistory": pa.Table.from_pylist(EVENTS, SCHEMAS["PostHistory"]),
    }
    found = find_candidates(*tables.values(), ObsoletionSection(), DUMP_AT).table
    assert found.schema == CANDIDATE_SCHEMA
    for name, value in (("votes", {"young": 0}), ("group", "x.org/1"), ("split", "test")):
        found = found.append_column(name, pa.array([value] * len(found)))
    found = found.append_column("inclusion_probability", pa.array([0.5] * len(found)))
    users = UserNames(np.array([5]), pa.array(["Ada"]))
    thread = read_threads("x.org", DUMP_AT, tables, pa.array([1]), users)
    return list(make_items(found, tables["PostHistory"], thread))


def test_the_answer_is_shown_as_it_was_and_its_whole_history_beside() -> None:
    content = items()[0]["content"]
    answer = content["answer"]
    assert answer["text"] == "Old\n\ncode"
    assert answer["html"] == "<p>Old</p>\n<pre><code>code\n</code></pre>\n"
    assert [one["kind"] for one in answer["segments"]] == ["prose", "code"]
    assert (answer["author"], answer["author_link"]) == ("gone", None)
    # Of the revision that is shown, not of the newest one.
    assert answer["licence"] == "CC BY-SA 9.9"
    assert content["text_at"] == format_time(day(90) - timedelta(milliseconds=1))
    assert content["judged_at"] == "2022-01-01T00:00:00.000Z"
    kinds = [(one["revision_id"], one["kind"]) for one in content["history"]]
    assert kinds == [
        (1, "created"),
        (2, "edited"),
        (3, "rolled_back"),
        (4, "edited"),
        (5, "edited"),
    ]
    assert [one["author"] for one in content["history"][:2]] == ["gone", "Ada"]
    assert content["history"][1]["comment"] == "shorter"
    assert content["history"][0]["markdown"] == "Old\n\n    code"


def test_question_comments_and_other_answers_are_beside_it() -> None:
    content = items()[0]["content"]
    assert content["question"] == {
        **{"title": "Which one?", "html": "<p>It is <b>this</b>.</p>", "tags": ["a", "b"]},
        **{"score": 4, "author": "Ada", "author_link": "https://x.org/users/5"},
        **{"created_at": format_time(day(0)), "link": "https://x.org/q/1"},
        "licence": "CC BY-SA 3.0",
    }
    comments = [(one["comment_id"], one["author"], one["score"]) for one in content["comments"]]
    assert comments == [(7, "deleted user", 0), (8, "Ada", 2)]
    (other,) = content["answers"]
    assert other["post_id"] == 3 and other["score"] == 0 and not other["is_accepted"]
    assert len(other["excerpt"]) == 300 and other["excerpt"].startswith("word word")


def test_what_examples_need_is_hidden() -> None:
    first, second = (item["hidden"] for item in items())
    assert first["stratum"] == "comment+edit" and second["stratum"] == "none"
    assert (first["input_at"], first["label_at"]) == (format_time(day(80)), format_time(day(90)))
    assert second["label_at"] is None
    assert (first["licence_source"], second["licence_source"]) == ("row", "dates")
    assert first["metadata"] == {
        **{"score": 7, "is_accepted": 1, "num_answers": 2, "num_comments": 2},
        **{"num_revisions": 5, "age_days": 3652},
    }
    assert (first["group"], first["split"], first["votes"]) == ("x.org/1", "test", {"young": 0})


def test_an_answer_without_text_is_no_item() -> None:
    EVENTS[5]["text"] = "<!-- nothing to see -->"
    try:
        assert [item["item_id"] for item in items()] == ["x.org/2"]
    finally:
        EVENTS[5]["text"] = "word"
