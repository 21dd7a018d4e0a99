"""The content of an item to annotate as plain text: what a machine reads, and other tools show.

Of the content that is used here, all may be absent: judged_at, `question` {title, text or html},
`answer` {text, created_at}, `comments` [{comment_id, created_at, text}].
"""

from __future__ import annotations

from typing import Any, NamedTuple

from corpus.segments import split_body
from labeling.judgements import Json


class CommentText(NamedTuple):
    """One comment; `day` is its date, ISO, or ""."""

    comment_id: int | None
    day: str
    text: str


class ItemText(NamedTuple):
    """What an item says."""

    title: str
    question: str
    answer: str
    answered: str  # the day, ISO
    judged: str  # as of which day it is to be judged, ISO
    comments: tuple[CommentText, ...]


def read_item_text(content: Json) -> ItemText:
    """Return the text of an item's content.

    >>> item = read_item_text({"question": {"title": "T", "html": "<p>Why?</p>"},
    ...     "answer": {"text": "So.", "created_at": "2015-03-09T10:11:12Z"}})
    >>> item.question, item.answer, item.answered, item.comments
    ('Why?', 'So.', '2015-03-09', ())
    """
    question, answer = _part(content, "question"), _part(content, "answer")
    rows = content.get("comments")
    return ItemText(
        title=_text(question.get("title")),
        question=_text(question.get("text")) or split_body(_text(question.get("html"))).text,
        answer=_text(answer.get("text")),
        answered=_text(answer.get("created_at"))[:10],
        judged=_text(content.get("judged_at"))[:10],
        comments=tuple(_comment(row) for row in rows) if isinstance(rows, list) else (),
    )


def format_comments(item: ItemText) -> str:
    """Return the comments, one a line, each with its day.

    >>> item = ItemText("", "", "", "", "", (CommentText(7, "2019-01-02", "Gone\\nsince 2.0"),))
    >>> format_comments(item)
    '2019-01-02: Gone since 2.0'
    """
    return "\n".join(
        f"{one.day or 'undated'}: {' '.join(one.text.split())}" for one in item.comments
    )


def _comment(row: Any) -> CommentText:
    comment_id = row.get("comment_id")
    return CommentText(
        comment_id if isinstance(comment_id, int) else None,
        _text(row.get("created_at"))[:10],
        _text(row.get("text")),
    )


def _part(content: Json, name: str) -> Json:
    part = content.get(name)
    return part if isinstance(part, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
