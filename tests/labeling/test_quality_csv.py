"""The published question-quality files: what becomes an example, and what stays out of it."""

from __future__ import annotations

import csv
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from corpus.errors import SourceError
from labeling import published
from labeling.quality_csv import COLUMNS, iter_quality_csv, read_quality_csv
from labeling.schemas import QUALITY_SCHEMA

SAMPLE = Path("bench/quality/ramananthan_sample_cp1252.csv")
ROW = {
    "Id": "7",
    "Title": "Why?",
    "Body": "<p>So.</p>\n",
    "Tags": "<a><b>",
    "CreationDate": "2016-01-02 03:04:05",
    "Y": "HQ",
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
    (example,) = read_quality_csv(write(path, row)).table.to_pylist()
    return dict(example)


def test_a_row_becomes_an_example(path: Path) -> None:
    example = example_of(path)
    assert list(example) == QUALITY_SCHEMA.names
    assert example["example_id"] == "stackoverflow.com/7"
    assert (example["post_id"], example["thread_id"], example["label"]) == (7, 7, "HQ")
    assert (example["text"], example["raw_text"]) == ("Why?\n\nSo.", "Why?\n\n<p>So.</p>\n")
    assert (example["raw_title"], example["raw_body"]) == ("Why?", "<p>So.</p>\n")
    assert example["tags"] == ["a", "b"]
    assert example["input_at"] == datetime(2016, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert example["label_at"] is example["author_name"] is None
    assert example["link"] == "https://stackoverflow.com/q/7"
    assert (example["licence"], example["licence_source"]) == ("CC BY-SA 3.0", "dates")
    assert {one["name"]: one["value"] for one in example["metadata"]} == {
        "hour": 3,
        "weekday": 5,
        "num_tags": 2,
        "day": 1,
    }


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        ("1/2/2016 9:55", datetime(2016, 1, 2, 9, 55, tzinfo=UTC)),
        ("12/31/2019 23:59", datetime(2019, 12, 31, 23, 59, tzinfo=UTC)),
        ("2020-02-29 00:21:59", datetime(2020, 2, 29, 0, 21, 59, tzinfo=UTC)),
    ],
)
def test_both_forms_of_dates_are_read(path: Path, date: str, expected: datetime) -> None:
    assert example_of(path, CreationDate=date)["input_at"] == expected


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("CreationDate", "13/1/2016 9:55"),
        ("CreationDate", "2016-02-30 00:00:00"),
        ("CreationDate", "1/1/16 9:55"),
        ("CreationDate", ""),
        ("Id", "7.0"),
        ("Id", ""),
        ("Y", "hq"),
        ("Tags", "a b"),
        ("Tags", "<a"),
    ],
)
def test_what_is_not_of_the_set_is_refused_with_its_place(
    path: Path, column: str, value: str
) -> None:
    with pytest.raises(SourceError, match=rf"a\.csv, line 3, column {column}: '{value}' "):
        read_quality_csv(write(path, {"Id": "6", "Title": "A", "Body": "b"}, {column: value}))


def test_every_row_is_an_example_or_has_a_reason(path: Path) -> None:
    rows = [{}, {"Id": "8", "Title": " ", "Body": "<p></p>"}, {"Y": "LQ"}, {"Id": "9", "Y": "LQ"}]
    found = read_quality_csv(write(path, *rows))
    assert found.rejected == {"duplicate_id": 1, "empty": 1}
    assert found.labels == {"HQ": 1, "LQ": 1}
    assert len(found.table) + found.rejected.total() == len(rows)


def test_the_form_of_a_body_leaves_no_trace(path: Path) -> None:
    typed = "See [a](http://e.org) and `b < c`:\r\n\r\n    x\r\n    y\r\n\r\n - z\r\n"
    rendered = (
        '<p>See <a href="http://e.org" rel="nofollow noreferrer">a</a> and <code>b &lt; c</code>:'
        "</p>\n\n<pre><code>x\ny\n</code></pre>\n\n<ul>\n<li>z</li>\n</ul>\n"
    )
    one, two = (example_of(path, Body=body) for body in (typed, rendered))
    shared = ("text", "body_end", "segments", "inline_code")
    assert [one[name] for name in shared] == [two[name] for name in shared]
    assert one["raw_text"] != two["raw_text"]


def test_tables_are_the_same_however_they_are_cut(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read_quality_csv(shared_data / SAMPLE)
    monkeypatch.setattr(published, "ROWS_PER_TABLE", 100)
    parts = list(iter_quality_csv(shared_data / SAMPLE))
    assert [len(part.table) for part in parts] == [100] * 16 + [55]
    assert published.concatenate(parts).table.equals(whole.table)


def test_a_file_without_rows_gives_a_table_without_rows(path: Path) -> None:
    found = read_quality_csv(write(path))
    assert (len(found.table), found.table.schema) == (0, QUALITY_SCHEMA)


def test_the_real_sample_leaks_as_published_and_not_as_text(shared_data: Path) -> None:
    found = read_quality_csv(shared_data / SAMPLE)
    assert (found.encoding, found.labels) == ("cp1252", {"HQ": 849, "LQ": 806})
    assert not found.rejected
    assert found.table.schema == QUALITY_SCHEMA
    leaks = {
        (column, label, word): sum(
            word in text
            for text, one in zip(
                found.table[column].to_pylist(), found.table["label"].to_pylist(), strict=True
            )
            if one == label
        )
        for column in ("raw_text", "text")
        for label in ("HQ", "LQ")
        for word in ("nofollow", "noreferrer")
    }
    raw = {key[1:]: num for key, num in leaks.items() if key[0] == "raw_text"}
    assert raw == {
        ("HQ", "nofollow"): 2,
        ("HQ", "noreferrer"): 162,
        ("LQ", "nofollow"): 82,
        ("LQ", "noreferrer"): 24,
    }
    assert not any(num for key, num in leaks.items() if key[0] == "text")


def test_real_metadata_is_of_time_and_tags_alone(shared_data: Path) -> None:
    rows = read_quality_csv(shared_data / SAMPLE).table["metadata"].to_pylist()
    names = Counter(one["name"] for row in rows for one in row)
    assert names == dict.fromkeys(("hour", "weekday", "num_tags", "day"), len(rows))
