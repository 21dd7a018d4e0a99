"""Rows of published question files: what quality and closed read alike, and their tables.

A row of a file becomes an example, or is rejected with a reason; what is neither a date nor a
number nor a label that the file may have is an error, as then the file is not what it should be.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pyarrow as pa

from corpus.attribution import post_link
from corpus.licences import licence_at
from labeling.canonical import canonicalise
from labeling.csvfile import CsvFile, CsvRow

SITE = "stackoverflow.com"
ROWS_PER_TABLE = 4096
_CLOCK = r" (?P<hour>\d\d?):(?P<minute>\d\d)(?::(?P<second>\d\d))?"
_DATES = (
    re.compile(r"(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)" + _CLOCK, re.ASCII),
    re.compile(r"(?P<month>\d\d?)/(?P<day>\d\d?)/(?P<year>\d{4})" + _CLOCK, re.ASCII),
)


class PublishedTable(NamedTuple):
    """Some rows of a published file, and what became of the others.

    rows read = len(table) + rejected.total().
    """

    table: pa.Table
    rejected: Counter[str]
    labels: Counter[str]  # as the file has them, of the rows in the table
    encoding: str


def iter_published(
    file: CsvFile, examples: Iterable[dict[str, Any] | str], schema: pa.Schema, label_column: str
) -> Iterator[PublishedTable]:
    """Gather examples (or the reason why a row is none) into tables, in the order of the file.

    There is always one table, if without rows. What an example has under `label_column` is
    counted, and need not be in the schema.
    """
    rows: list[dict[str, Any]] = []
    rejected = Counter[str]()
    num_tables = 0

    def gather() -> PublishedTable:
        labels = Counter[str](row[label_column] for row in rows)
        return PublishedTable(pa.Table.from_pylist(rows, schema), rejected, labels, file.encoding)

    for example in examples:
        if isinstance(example, str):
            rejected[example] += 1
        else:
            rows.append(example)
        if len(rows) == ROWS_PER_TABLE:
            yield gather()
            rows, rejected, num_tables = [], Counter[str](), num_tables + 1
    if rows or rejected or not num_tables:
        yield gather()


def concatenate(parts: Iterable[PublishedTable]) -> PublishedTable:
    """Make one table of all."""
    tables, rejected, labels, encodings = zip(*parts, strict=True)
    return PublishedTable(
        pa.concat_tables(tables),
        sum(rejected, Counter[str]()),
        sum(labels, Counter[str]()),
        encodings[0],
    )


def make_example(
    post_id: int, title: str, body: str, tags: list[str], created_at: datetime
) -> dict[str, Any] | None:
    """Make the columns that a question of either file has; None where it has no text."""
    layout = canonicalise(title, body)
    if not layout.text:
        return None
    return {
        "example_id": f"{SITE}/{post_id}",
        "site": SITE,
        "post_id": post_id,
        "thread_id": post_id,
        "text": layout.text,
        "body_end": layout.body_end,
        "segments": [_name_segment(*segment) for segment in layout.segments],
        "inline_code": [{"start": start, "end": end} for start, end in layout.inline_code],
        "tags": tags,
        "raw_text": f"{title}\n\n{body}",
        "input_at": created_at,
        "link": post_link(SITE, "question", post_id),
        "licence": licence_at(created_at),
        "licence_source": "dates",
    }


def list_metadata(created_at: datetime, num_tags: int, **numbers: float | None) -> list[Any]:
    """List the numbers that a probe may see: of the time, of the tags, and those given.

    >>> [(one["name"], one["value"]) for one in list_metadata(datetime(2016, 1, 4, 9), 2, age=0.5)]
    [('hour', 9.0), ('weekday', 0.0), ('num_tags', 2.0), ('age', 0.5)]
    """
    named: Mapping[str, float | None] = {
        "hour": float(created_at.hour),
        "weekday": float(created_at.weekday()),
        "num_tags": float(num_tags),
        **numbers,
    }
    return [{"name": name, "value": value} for name, value in named.items()]


def parse_date(file: CsvFile, row: CsvRow, column: str) -> datetime:
    """Parse `2016-01-31 00:21:59`, or month/day/year as in `1/31/2016 0:21`; UTC.

    Raises:
        SourceError: neither, or no such day; a month over 12 says that the day stands first.
    """
    text = row.fields[column]
    found = next(filter(None, (pattern.fullmatch(text) for pattern in _DATES)), None)
    if found is not None:
        parts = {name: int(digits or 0) for name, digits in found.groupdict().items()}
        try:
            return datetime(**parts, tzinfo=UTC)
        except ValueError:
            pass
    raise file.error(
        row, column, f"{text!r} is no date; expected year-month-day or month/day/year, and a time"
    )


def parse_integer(file: CsvFile, row: CsvRow, column: str) -> int:
    """Parse a number of at most 15 digits: probes see numbers as floats.

    Raises:
        SourceError: it is none.
    """
    text = row.fields[column]
    if not re.fullmatch(r"-?[0-9]{1,15}", text):
        raise file.error(row, column, f"{text!r} is no number")
    return int(text)


def parse_choice(file: CsvFile, row: CsvRow, column: str, choices: Iterable[str]) -> str:
    """Return a field that is one of a few words.

    Raises:
        SourceError: it is another.
    """
    text, known = row.fields[column], tuple(choices)
    if text not in known:
        raise file.error(row, column, f"{text!r} is none of {', '.join(known)}")
    return text


def _name_segment(
    kind: str, start: int, end: int, language: str | None, comment_id: int | None
) -> dict[str, Any]:
    return {
        "kind": kind,
        "start": start,
        "end": end,
        "language": language,
        "comment_id": comment_id,
    }
