"""Candidates: every answer has a row or a reason, and its text is older than what gave it away."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from corpus.posts import POSTS_SCHEMA
from corpus.rows import SCHEMAS
from labeling.obsoletion import (
    CANDIDATE_SCHEMA,
    REJECT_REASONS,
    describe_candidates,
    find_candidates,
)
from labeling.partitions import dump_times, list_partitions
from labeling.recipe import ObsoletionSection
from labeling.revisions import find_revisions

START = datetime(2012, 1, 1, tzinfo=UTC)
DUMP_AT = datetime(2020, 1, 1, tzinfo=UTC)
HOMELAB, GARDENS = "homelab", "gardens"


def day(number: int) -> datetime:
    return START + timedelta(days=number)


def rows(schema: pa.Schema, *given: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(given), schema)


def answer(post_id: int, at: int = 1, parent: int = 1) -> dict[str, Any]:
    return {
        "id": post_id,
        "post_type_id": 2,
        "parent_id": parent,
        "thread_id": parent,
        "created_at": day(at),
        "score": 2,
    }


QUESTION = {
    "id": 1,
    "post_type_id": 1,
    "thread_id": 1,
    "created_at": day(0),
    "accepted_answer_id": 2,
}
COMMENTS = rows(
    SCHEMAS["Comments"],
    {"id": 7, "post_id": 2, "created_at": day(50), "text": "This is deprecated.", "score": 4},
    {"id": 8, "post_id": 2, "created_at": day(60), "text": "Thanks!", "score": None},
)


def event(event_id: int, post_id: int, kind: int, at: int, text: str) -> dict[str, Any]:
    return {
        "id": event_id,
        "post_id": post_id,
        "post_history_type_id": kind,
        "created_at": day(at),
        "user_id": 5,
        "text": text,
    }


HISTORY = rows(
    SCHEMAS["PostHistory"],
    event(1, 2, 2, 1, "first"),
    event(2, 2, 5, 40, "second"),
    event(3, 2, 5, 90, "third\n\nEdit: it is deprecated."),
    event(4, 3, 2, 1, "other"),
)


def test_the_earliest_signal_sets_the_time_and_all_are_kept() -> None:
    posts = rows(POSTS_SCHEMA, QUESTION, answer(2), answer(3))
    found = find_candidates(posts, COMMENTS, HISTORY, ObsoletionSection(), DUMP_AT)
    given_away, silent = found.table.to_pylist()
    assert given_away["stratum"] == "comment+edit" and given_away["text_at"] == day(50)
    assert [(s["kind"], s["id"]) for s in given_away["signals"]] == [("comment", 7), ("edit", 3)]
    assert given_away["signals"][0]["quote"] == "deprecated"
    assert silent["stratum"] == "none" and silent["text_at"] is None and silent["signals"] == []
    assert found.table.schema == CANDIDATE_SCHEMA and not found.rejected
    texts = find_revisions(HISTORY, np.array([2, 3]), found.table["text_at"].combine_chunks())
    assert texts["body"].to_pylist() == ["second", "other"]


def test_each_answer_that_is_no_candidate_has_a_reason() -> None:
    posts = rows(
        POSTS_SCHEMA,
        QUESTION,
        answer(2),
        answer(3),
        answer(4, parent=99),
        answer(5),
        answer(6, at=2900),
        answer(8),
        answer(9),
        answer(10),
    )
    history = pa.concat_tables(
        [
            HISTORY,
            rows(
                SCHEMAS["PostHistory"],
                event(5, 9, 2, 1, " \r\n"),
                # Imported: it was a comment before it was a post.
                event(6, 10, 2, 55, "late"),
            ),
        ]
    )
    said = {"id": 9, "post_id": 10, "created_at": day(50), "text": "outdated"}
    comments = pa.concat_tables([COMMENTS, rows(SCHEMAS["Comments"], said)])
    found = find_candidates(
        posts,
        comments,
        history,
        ObsoletionSection(),
        DUMP_AT,
        is_in_corpus=lambda post_id: post_id != 5,
    )
    assert found.table["post_id"].to_pylist() == [2, 3]
    assert dict(found.rejected) == dict.fromkeys(REJECT_REASONS, 1)


@pytest.mark.parametrize(("days", "num"), [(2921, 1), (2922, 0)])
def test_an_answer_is_old_enough_from_the_day_on(days: int, num: int) -> None:
    posts = rows(POSTS_SCHEMA, QUESTION, answer(3, at=1))
    recipe = ObsoletionSection(min_age_days=days)
    found = find_candidates(posts, COMMENTS, HISTORY, recipe, DUMP_AT)
    assert len(found.table) == num == 1 - found.rejected["too_young"]


def test_an_empty_partition_has_no_candidates() -> None:
    nothing = (POSTS_SCHEMA.empty_table(), COMMENTS, HISTORY)
    found = find_candidates(*nothing, ObsoletionSection(), DUMP_AT)
    assert len(found.table) == 0 and not found.rejected
    assert describe_candidates(found.table, *nothing, DUMP_AT) == []


def test_the_order_of_rows_changes_nothing() -> None:
    posts = rows(POSTS_SCHEMA, QUESTION, answer(2), answer(3))
    backwards = [
        table.take(pa.array(range(len(table))[::-1])) for table in (posts, COMMENTS, HISTORY)
    ]
    found = find_candidates(posts, COMMENTS, HISTORY, ObsoletionSection(), DUMP_AT)
    again = find_candidates(*backwards, ObsoletionSection(), DUMP_AT)
    assert again.table.equals(found.table)


def test_labelling_functions_know_the_dump_as_it_is() -> None:
    posts = rows(POSTS_SCHEMA, QUESTION, answer(2), answer(3))
    found = find_candidates(posts, COMMENTS, HISTORY, ObsoletionSection(), DUMP_AT)
    first, second = describe_candidates(found.table, posts, COMMENTS, HISTORY, DUMP_AT)
    assert first.text.startswith("third") and first.edited_at == day(90)
    assert (first.is_accepted, first.best_other) == (True, 2)
    assert [remark.text for remark in first.remarks] == ["This is deprecated.", "Thanks!"]
    assert [signal.kind for signal in first.signals] == ["comment", "edit"]
    assert (second.is_accepted, second.edited_at, second.remarks) == (False, None, ())


# The sample dump and real ones ----------------------------------------------------------------


class Mined(NamedTuple):
    """All candidates of a build by site and post, and how many answers there are."""

    rows: dict[str, dict[int, dict[str, Any]]]
    num_answers: int
    num_rejected: int


def mine(artifacts: Any, recipe: ObsoletionSection) -> Mined:
    partitions = list_partitions(artifacts["posts"])
    times = dump_times(partitions)
    found: dict[str, dict[int, dict[str, Any]]] = {}
    num_answers = num_rejected = 0
    for one in partitions:
        tables = [one.read(name) for name in ("Posts", "Comments", "PostHistory")]
        candidates = find_candidates(*tables, recipe, times[one.site])
        found.setdefault(one.site, {}).update(
            {row["post_id"]: row for row in candidates.table.to_pylist()}
        )
        num_answers += tables[0]["post_type_id"].to_pylist().count(2)
        num_rejected += candidates.rejected.total()
    return Mined(found, num_answers, num_rejected)


def test_what_was_planted_in_the_sample_dump_is_found(demo_build: Any) -> None:
    found = mine(demo_build.artifacts, ObsoletionSection())
    (gardens,) = (site for site in found.rows if site.startswith(GARDENS))
    (homelab,) = (site for site in found.rows if site.startswith(HOMELAB))
    assert found.rows[gardens][42]["stratum"] == "comment"
    # The newer answer has 64 votes, not yet as many as the 241 of the one that it corrects.
    assert found.rows[homelab][5]["stratum"] == "comment"
    assert found.rows[homelab][5]["signals"][0]["quote"] == "no longer works"
    assert found.rows[homelab][38]["stratum"] == "comment+overtaken"
    by_kind = {signal["kind"]: signal for signal in found.rows[homelab][38]["signals"]}
    assert by_kind["overtaken"]["id"] == 133
    assert found.rows[homelab][38]["text_at"] == by_kind["overtaken"]["at"]
    num_rows = sum(map(len, found.rows.values()))
    assert num_rows + found.num_rejected == found.num_answers


def test_every_input_is_older_than_its_signal(demo_build: Any) -> None:
    partitions = list_partitions(demo_build.artifacts["posts"])
    times = dump_times(partitions)
    num = 0
    for one in partitions:
        tables = [one.read(name) for name in ("Posts", "Comments", "PostHistory")]
        table = find_candidates(*tables, ObsoletionSection(min_age_days=0), times[one.site]).table
        bounds = table["text_at"].combine_chunks()
        texts = find_revisions(tables[2], table["post_id"].to_numpy(), bounds)
        for row, text in zip(table.to_pylist(), texts.to_pylist(), strict=True):
            assert text["body"].strip()
            if row["text_at"]:
                num += 1
                assert text["at"] < row["text_at"] == min(s["at"] for s in row["signals"])
    assert num >= 3


def test_without_history_there_are_no_candidates() -> None:
    posts = rows(POSTS_SCHEMA, QUESTION, answer(2), answer(3))
    nothing = SCHEMAS["PostHistory"].empty_table()
    found = find_candidates(posts, COMMENTS, nothing, ObsoletionSection(), DUMP_AT)
    assert len(found.table) == 0 and dict(found.rejected) == {"no_history": 2}


def test_the_best_other_score_is_never_the_answers_own() -> None:
    scores = {2: 9, 3: 4, 4: 4}
    posts = rows(
        POSTS_SCHEMA, QUESTION, *({**answer(one), "score": score} for one, score in scores.items())
    )
    history = rows(SCHEMAS["PostHistory"], *(event(one, one, 2, 1, "text") for one in scores))
    found = find_candidates(posts, COMMENTS, history, ObsoletionSection(), DUMP_AT)
    described = describe_candidates(found.table, posts, COMMENTS, history, DUMP_AT)
    assert [one.best_other for one in described] == [4, 9, 9]
