"""Cuts by date: what a split may know of."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pytest

from corpus.cuts import NEWEST_COLUMNS, is_after_cut, newest_times, split_by_date
from corpus.recipe import SPLITS, CutsSection
from corpus.store import Artifact
from corpus.tables import read_table

BOTH = CutsSection(validation=date(2020, 1, 1), test=date(2021, 1, 1))
ONE = CutsSection(test=date(2021, 1, 1))
TIMES = np.array(["2019-12-31T23:59:59.999", "2020-01-01", "2020-12-31", "2021-01-01"], "M8[ms]")


def test_a_group_begins_in_the_split_of_its_day_in_utc() -> None:
    names = [SPLITS[place] for place in split_by_date(TIMES, BOTH)]
    assert names == ["train", "validation", "validation", "test"]
    assert [SPLITS[place] for place in split_by_date(TIMES, ONE)] == ["train"] * 3 + ["test"]


@pytest.mark.parametrize(
    ("split", "cuts", "is_late"),
    [
        ("train", BOTH, [False, True, True, True]),
        ("train", ONE, [False, False, False, True]),
        ("validation", BOTH, [False, False, False, True]),
        ("test", BOTH, [False] * 4),
    ],
)
def test_no_split_knows_of_a_later_time(split: Any, cuts: CutsSection, is_late: list[bool]) -> None:
    assert is_after_cut(TIMES, split, cuts).tolist() == is_late


def test_the_newest_time_counts_edits_and_comments(
    make_documents: Callable[..., dict[str, Artifact]],
) -> None:
    def at(year: int) -> datetime:
        return datetime(year, 5, 6, tzinfo=UTC)

    rows = [
        {"post_id": 1, "text": "a", "created_at": at(2011)},
        {"post_id": 2, "text": "a", "created_at": at(2011), "edited_at": at(2012)},
        {
            "post_id": 3,
            "text": "a",
            "created_at": at(2011),
            "edited_at": at(2012),
            "comments": [(at(2014), "late"), (at(2013), "early")],
        },
        {"post_id": 4, "text": "a", "created_at": at(2015), "comments": [(at(2013), "odd")]},
    ]
    documents = make_documents(rows)["documents"]
    table = read_table(documents.path("documents/x.org/00000000.parquet"), NEWEST_COLUMNS)
    assert newest_times(table).astype("M8[Y]").astype(str).tolist() == [
        "2011",
        "2012",
        "2014",
        "2015",
    ]
