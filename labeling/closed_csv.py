"""The published closed-question set: Kaggle's "Predict Closed Questions on Stack Overflow" (2012).

Bodies are Markdown as typed, of open questions and closed ones alike. PostClosedDate becomes
`label_at` and is nowhere else: whether it is there is the label.

    OpenStatus            label    reason          reason_then
    open                  open     null            null
    not a real question   closed   unclear         not_a_real_question
    not constructive      closed   opinion_based   not_constructive
    off topic             closed   off_topic       off_topic
    too localized         closed   off_topic       too_localized

Duplicates were left out by those who made the set.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from labeling.csvfile import CsvFile, CsvRow, read_csv
from labeling.published import (
    SITE,
    PublishedTable,
    concatenate,
    iter_published,
    list_metadata,
    make_example,
    parse_choice,
    parse_date,
    parse_integer,
)
from labeling.schemas import CLOSED_SCHEMA

TAG_COLUMNS = ("Tag1", "Tag2", "Tag3", "Tag4", "Tag5")
COLUMNS = (
    *("PostId", "PostCreationDate", "OwnerUserId", "OwnerCreationDate", "ReputationAtPostCreation"),
    *("OwnerUndeletedAnswerCountAtPostTime", "Title", "BodyMarkdown", *TAG_COLUMNS),
    *("PostClosedDate", "OpenStatus"),
)
REASON_BY_STATUS = {
    "open": None,
    "not a real question": "unclear",
    "not constructive": "opinion_based",
    "off topic": "off_topic",
    "too localized": "off_topic",
}
REJECT_REASONS = (
    "duplicate_id",
    "closed_without_date",
    "open_with_date",
    "closed_before_asked",
    "empty",
)


def read_closed_csv(path: Path, *, encoding: str | None = None) -> PublishedTable:
    """Read a whole file: CLOSED_SCHEMA, in the order of the file; `labels` counts OpenStatus.

    Args:
        path: of the file, which must have all 15 columns.
        encoding: UTF-8 or cp1252 is found out without; the result says which.

    Raises:
        SourceError: the file is not one of these, or is damaged; names line and column.
    """
    return concatenate(iter_closed_csv(path, encoding=encoding))


def iter_closed_csv(path: Path, *, encoding: str | None = None) -> Iterator[PublishedTable]:
    """Read a file in tables of some thousand rows; see `read_closed_csv`.

    Only the ids of the rows before are held in memory: 3.4 million in the whole set.
    """
    file = read_csv(path, COLUMNS, encoding=encoding)
    return iter_published(file, _iter_examples(file), CLOSED_SCHEMA, "status")


def _iter_examples(file: CsvFile) -> Iterator[dict[str, Any] | str]:
    seen: set[int] = set()
    for row in file.iter_rows():
        example = _read_example(file, row)
        post_id = int(row.fields["PostId"])
        yield "duplicate_id" if post_id in seen else example
        seen.add(post_id)


def _read_example(file: CsvFile, row: CsvRow) -> dict[str, Any] | str:
    post_id = parse_integer(file, row, "PostId")
    created_at = parse_date(file, row, "PostCreationDate")
    status = parse_choice(file, row, "OpenStatus", REASON_BY_STATUS)
    closed_at = parse_date(file, row, "PostClosedDate") if row.fields["PostClosedDate"] else None
    is_closed = status != "open"
    author = _read_author(file, row)
    joined_at = parse_date(file, row, "OwnerCreationDate")
    reputation = parse_integer(file, row, "ReputationAtPostCreation")
    num_answers = parse_integer(file, row, "OwnerUndeletedAnswerCountAtPostTime")
    if is_closed != (closed_at is not None):
        return "closed_without_date" if is_closed else "open_with_date"
    if closed_at is not None and closed_at < created_at:
        return "closed_before_asked"
    tags = [row.fields[column] for column in TAG_COLUMNS if row.fields[column]]
    example = make_example(
        post_id, row.fields["Title"], row.fields["BodyMarkdown"], tags, created_at
    )
    if example is None:
        return "empty"
    metadata = list_metadata(
        created_at,
        len(tags),
        reputation=float(reputation),
        account_age_days=(created_at - joined_at).total_seconds() / 86_400,
        undeleted_answers=float(num_answers),
    )
    return (
        example
        | author
        | {
            "status": status,
            "label": "closed" if is_closed else "open",
            "label_at": closed_at,
            "reason": REASON_BY_STATUS[status],
            "reason_then": status.replace(" ", "_") if is_closed else None,
            "metadata": metadata,
        }
    )


def _read_author(file: CsvFile, row: CsvRow) -> dict[str, Any]:
    """Read who asked; the set has no names."""
    if not row.fields["OwnerUserId"]:
        return {}
    author_id = parse_integer(file, row, "OwnerUserId")
    return {"author_id": author_id, "author_link": f"https://{SITE}/users/{author_id}"}
