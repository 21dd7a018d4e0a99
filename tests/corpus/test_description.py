"""The columns of documents that are not the dump's own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from corpus.attribution import UserNames
from corpus.description import COMMENT_SCHEMA, describe_comments, describe_posts
from corpus.documents import DOCUMENT_SCHEMA
from corpus.layout import Layout
from corpus.posts import POSTS_SCHEMA
from corpus.rows import SCHEMAS

AT = datetime(2016, 1, 2, 3, 4, 5, 678000, UTC)
USERS = UserNames(np.array([11, 12]), pa.array(["Ann", "Ed"]))


def describe(
    *rows: dict[str, Any], links: Sequence[tuple[int, int, int]] = ()
) -> list[dict[str, Any]]:
    given = {"post_type_id": 1, "created_at": AT, "owner_user_id": 11}
    posts = [{**given, "thread_id": row.get("parent_id", row["id"]), **row} for row in rows]
    linked = [
        {"id": 1, "post_id": post, "related_post_id": related, "link_type_id": kind}
        for post, related, kind in links
    ]
    table = describe_posts(
        "x.org",
        pa.Table.from_pylist(posts, POSTS_SCHEMA),
        pa.Table.from_pylist(linked, SCHEMAS["PostLinks"]),
        None,
        USERS,
    )
    assert set(table.column_names) == set(DOCUMENT_SCHEMA.names) - {*Layout._fields, "comments"}
    found: list[dict[str, Any]] = table.to_pylist()
    return found


ANSWER = {"post_type_id": 2, "parent_id": 1}


# Tags ----------------------------------------------------------------------------------------


def test_an_answer_has_the_tags_of_its_question() -> None:
    rows = describe({"id": 1, "tags": ["a", "b"]}, {"id": 2, **ANSWER}, {"id": 3, "tags": ["c"]})
    assert [row["tags"] for row in rows] == [["a", "b"], ["a", "b"], ["c"]]


def test_an_answer_with_an_empty_list_of_tags_has_those_of_its_question() -> None:
    rows = describe({"id": 1, "tags": ["a"]}, {"id": 2, **ANSWER, "tags": []})
    assert rows[1]["tags"] == ["a"]


def test_without_a_question_or_tags_there_are_none() -> None:
    rows = describe({"id": 5}, {"id": 6, "tags": []}, {"id": 2, **ANSWER})
    assert [row["tags"] for row in rows] == [[], [], []]


# Acceptance ----------------------------------------------------------------------------------


def test_an_answer_is_accepted_or_not_where_its_question_is_known() -> None:
    rows = describe(
        {"id": 1, "accepted_answer_id": 3},
        {"id": 2, **ANSWER},
        {"id": 3, **ANSWER},
        {"id": 4, "post_type_id": 2, "parent_id": 99},
        {"id": 5},
        {"id": 6, "post_type_id": 2, "parent_id": 5},
    )
    assert [row["is_accepted"] for row in rows] == [None, False, True, None, None, False]


# Duplicates ----------------------------------------------------------------------------------


def test_duplicates_are_named_once_each_in_order_and_plain_links_are_not() -> None:
    links = [(5, 9, 3), (5, 2, 3), (5, 9, 3), (5, 3, 1), (6, 5, 3), (77, 5, 3)]
    rows = describe({"id": 5}, {"id": 6}, {"id": 7}, links=links)
    assert [row["duplicate_of"] for row in rows] == [[2, 9], [5], []]


# Editors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "editor"),
    [
        ({}, (None, None)),
        ({"edited_at": AT, "last_editor_user_id": 12}, (12, "Ed")),
        ({"edited_at": AT, "last_editor_user_id": 13}, (13, "user13")),
        ({"edited_at": AT, "last_editor_display_name": "user77"}, (None, "user77")),
        ({"edited_at": AT}, (None, "deleted user")),
        # In avp.meta 2014-09 a post has an editor and no date.
        ({"last_editor_user_id": 12}, (12, "Ed")),
    ],
)
def test_an_editor_is_named_where_there_was_one(columns: dict[str, Any], editor: Any) -> None:
    (row,) = describe({"id": 1, **columns})
    assert (row["editor_id"], row["editor_name"]) == editor


# Links ---------------------------------------------------------------------------------------


def test_documents_are_named_and_linked_by_site_and_post() -> None:
    rows = describe({"id": 1}, {"id": 2, **ANSWER}, {"id": 3, "post_type_id": 5})
    assert [row["doc_id"] for row in rows] == ["x.org/1", "x.org/2", "x.org/3"]
    assert [row["link"] for row in rows] == [
        "https://x.org/q/1",
        "https://x.org/a/2",
        "https://x.org/posts/3/revisions",
    ]
    assert [row["kind"] for row in rows] == ["question", "answer", "tag_wiki"]


def test_no_posts_are_described_by_no_rows() -> None:
    assert describe() == []


# Comments ------------------------------------------------------------------------------------


def test_comments_have_an_author_and_a_licence_of_their_own() -> None:
    rows = [
        {"id": 3, "post_id": 1, "created_at": AT, "score": 2, "user_id": 12},
        {"id": 4, "post_id": 1, "created_at": AT, "user_display_name": "user9", "licence": "L"},
    ]
    table = describe_comments("x.org", pa.Table.from_pylist(rows, SCHEMAS["Comments"]), USERS)
    assert table.schema.equals(COMMENT_SCHEMA)
    assert [tuple(row.values()) for row in table.to_pylist()] == [
        (3, AT, 2, 12, "Ed", "https://x.org/users/12", "CC BY-SA 3.0", "dates"),
        (4, AT, None, None, "user9", None, "L", "row"),
    ]
