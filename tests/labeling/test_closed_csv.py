"""The published closed-question file: labels by status, and nothing that knows them."""

from __future__ import annotations

import csv
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from corpus.errors import SourceError
from labeling.closed_csv import COLUMNS, read_closed_csv
from labeling.schemas import CLOSED_SCHEMA

SAMPLE = Path("bench/closed/train-tiny.csv")
ROW = {
    **dict.fromkeys(COLUMNS, ""),
    "PostId": "7",
    "PostCreationDate": "05/18/2011 14:14:05",
    "OwnerUserId": "11",
    "OwnerCreationDate": "05/18/2011 02:14:05",
    "ReputationAtPostCreation": "-5",
    "OwnerUndeletedAnswerCountAtPostTime": "2",
    "Title": "Why?",
    "BodyMarkdown": "So\r\nit is.\r\n\r\n    a",
    "Tag1": "a",
    "Tag3": "c",
    "OpenStatus": "open",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.csv"


def write(path: Path, *rows: dict[str, str]) -> Path:
    with open(path, "w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows({**ROW, **row} for row in rows)
    return path


def example_of(path: Path, **row: str) -> dict[str, Any]:
    (example,) = read_closed_csv(write(path, row)).table.to_pylist()
    return dict(example)


def test_a_row_becomes_an_example(path: Path) -> None:
    example = example_of(path)
    assert list(example) == CLOSED_SCHEMA.names
    assert (example["example_id"], example["label"]) == ("stackoverflow.com/7", "open")
    assert example["text"] == "Why?\n\nSo it is.\n\na"
    assert example["raw_text"] == "Why?\n\nSo\r\nit is.\r\n\r\n    a"
    assert [one["kind"] for one in example["segments"]] == ["title", "prose", "code"]
    assert example["tags"] == ["a", "c"]
    assert example["input_at"] == datetime(2011, 5, 18, 14, 14, 5, tzinfo=UTC)
    assert example["label_at"] is example["reason"] is example["reason_id"] is None
    assert example["author_link"] == "https://stackoverflow.com/users/11"
    assert example["licence"] == "CC BY-SA 3.0"
    assert {one["name"]: one["value"] for one in example["metadata"]} == {
        "hour": 14,
        "weekday": 2,
        "num_tags": 2,
        "reputation": -5,
        "account_age_days": 0.5,
        "undeleted_answers": 2,
    }


@pytest.mark.parametrize(
    ("status", "reason", "then"),
    [
        ("not a real question", "unclear", "not_a_real_question"),
        ("not constructive", "opinion_based", "not_constructive"),
        ("off topic", "off_topic", "off_topic"),
        ("too localized", "off_topic", "too_localized"),
    ],
)
def test_a_status_is_a_label_and_a_reason(path: Path, status: str, reason: str, then: str) -> None:
    example = example_of(path, OpenStatus=status, PostClosedDate="06/01/2011 00:00:00")
    found = [example[name] for name in ("label", "reason", "reason_then", "reason_id")]
    assert found == ["closed", reason, then, None]
    assert example["label_at"] == datetime(2011, 6, 1, tzinfo=UTC)


def test_the_closing_date_is_nowhere_but_in_its_column(path: Path) -> None:
    closed = {"OpenStatus": "off topic"}
    one, two = (
        example_of(path, **closed, PostClosedDate=date)
        for date in ("06/01/2011 00:00:00", "07/12/2012 13:14:15")
    )
    assert {name for name in one if one[name] != two[name]} == {"label_at"}


def test_every_row_is_an_example_or_has_a_reason(path: Path) -> None:
    rows = [
        {},
        {},
        {"PostId": "8", "OpenStatus": "off topic"},
        {"PostId": "9", "PostClosedDate": "06/01/2011 00:00:00"},
        {"PostId": "10", "OpenStatus": "off topic", "PostClosedDate": "05/18/2011 14:14:04"},
        {"PostId": "12", "Title": "", "BodyMarkdown": " \r\n"},
    ]
    found = read_closed_csv(write(path, *rows))
    assert found.rejected == dict.fromkeys(
        ("duplicate_id", "closed_without_date", "open_with_date", "closed_before_asked", "empty"), 1
    )
    assert len(found.table) + found.rejected.total() == len(rows)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("PostCreationDate", "18/05/2011 14:14:05"),
        ("PostClosedDate", "never"),
        ("OpenStatus", "closed"),
        ("PostId", "x"),
        ("OwnerUserId", "x"),
        ("ReputationAtPostCreation", ""),
    ],
)
def test_what_is_not_of_the_set_is_refused_with_its_place(
    path: Path, column: str, value: str
) -> None:
    with pytest.raises(SourceError, match=rf"a\.csv, line 2, column {column}: '{value}' "):
        read_closed_csv(write(path, {column: value}))


def test_a_file_without_a_column_is_refused(path: Path) -> None:
    path.write_text(",".join(COLUMNS[:-2]))
    with pytest.raises(SourceError, match="misses 'PostClosedDate', 'OpenStatus'"):
        read_closed_csv(path)


def test_the_real_sample_has_the_known_counts(shared_data: Path) -> None:
    found = read_closed_csv(shared_data / SAMPLE)
    assert found.labels == {
        "open": 274,
        "not a real question": 115,
        "off topic": 78,
        "not constructive": 46,
        "too localized": 24,
    }
    assert (found.encoding, found.rejected) == ("utf-8-sig", Counter())
    assert Counter(found.table["reason"].to_pylist()) == {
        None: 274,
        "unclear": 115,
        "off_topic": 102,
        "opinion_based": 46,
    }


def test_no_real_text_has_line_ends_of_its_form(shared_data: Path) -> None:
    table = read_closed_csv(shared_data / SAMPLE).table
    assert sum("\r" in text for text in table["raw_text"].to_pylist()) == 449
    assert not any("\r" in text for text in table["text"].to_pylist())


def test_each_real_input_is_older_than_its_label(shared_data: Path) -> None:
    rows = read_closed_csv(shared_data / SAMPLE).table.to_pylist()
    assert all((row["label_at"] is None) == (row["label"] == "open") for row in rows)
    assert all(row["label_at"] is None or row["input_at"] <= row["label_at"] for row in rows)
