"""The published question-quality set: 60,000 questions of 2016 to 2020 and their classes.

Annamoradnejad, Habibi, Fazli (2022); files with the columns Id, Title, Body, Tags, CreationDate, Y.
The bodies of HQ and LQ_CLOSE are rendered HTML, with link attributes that tell one from the other;
those of LQ_EDIT are Markdown as typed. `text` is one form for all; `raw_text` is as published.

`input_at` is when a question was asked. That is true of LQ_EDIT, whose bodies are the first
revision; what is published of the others is as it was on the day of the export, edits and all.
Times are UTC; files that a spreadsheet wrote have them to the minute, month before day.
`LQ` is of derived files, which do not tell the two low classes apart; it is kept as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from labeling.csvfile import CsvFile, CsvRow, read_csv
from labeling.published import (
    PublishedTable,
    concatenate,
    iter_published,
    list_metadata,
    make_example,
    parse_choice,
    parse_date,
    parse_integer,
)
from labeling.schemas import QUALITY_SCHEMA

COLUMNS = ("Id", "Title", "Body", "Tags", "CreationDate", "Y")
LABELS = ("HQ", "LQ_EDIT", "LQ_CLOSE", "LQ")
REJECT_REASONS = ("duplicate_id", "empty")
FIRST_DAY = datetime(2016, 1, 1, tzinfo=UTC)
_TAGS = re.compile(r"(?:<[^<>|]+>)*|\|(?:[^<>|]+\|)+")


def read_quality_csv(path: Path, *, encoding: str | None = None) -> PublishedTable:
    """Read a whole file: QUALITY_SCHEMA, in the order of the file.

    Args:
        path: of the file.
        encoding: UTF-8 or cp1252 is found out without; the result says which.

    Raises:
        SourceError: the file is not one of these, or is damaged; names line and column.
    """
    return concatenate(iter_quality_csv(path, encoding=encoding))


def iter_quality_csv(path: Path, *, encoding: str | None = None) -> Iterator[PublishedTable]:
    """Read a file in tables of some thousand rows; see `read_quality_csv`."""
    file = read_csv(path, COLUMNS, encoding=encoding)
    return iter_published(file, _iter_examples(file), QUALITY_SCHEMA, "label")


def _iter_examples(file: CsvFile) -> Iterator[dict[str, Any] | str]:
    seen: set[int] = set()
    for row in file.iter_rows():
        post_id = parse_integer(file, row, "Id")
        label = parse_choice(file, row, "Y", LABELS)
        created_at = parse_date(file, row, "CreationDate")
        tags = _parse_tags(file, row)
        if post_id in seen:
            yield "duplicate_id"
            continue
        seen.add(post_id)
        title, body = row.fields["Title"], row.fields["Body"]
        example = make_example(post_id, title, body, tags, created_at)
        if example is None:
            yield "empty"
            continue
        day = float((created_at - FIRST_DAY).days)
        yield example | {
            "label": label,
            "metadata": list_metadata(created_at, len(tags), day=day),
            "raw_title": title,
            "raw_body": body,
        }


def _parse_tags(file: CsvFile, row: CsvRow) -> list[str]:
    tags = row.fields["Tags"]
    if not _TAGS.fullmatch(tags):
        raise file.error(row, "Tags", f"{tags!r} are no tags; expected <a><b> or |a|b|")
    return [tag for tag in re.split(r"[<>|]", tags) if tag]
