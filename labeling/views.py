"""An item as the page shows it: every string safe, every date readable, every piece markable.

An item's content comes from posts, so any of it may be hostile, missing or of another type. Values
made here are plain text, which the templates escape, or `Markup` from `labeling.sanitise`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from markupsafe import Markup, escape

from labeling.annotations import Draft, Json, Judgement
from labeling.blocks import Byline, Piece, split_answer
from labeling.difference import compare_revisions
from labeling.forms import list_ids
from labeling.sanitise import safe_link, sanitise_comment, sanitise_html
from labeling.wording import format_age, format_day, parse_time


class Opinion(NamedTuple):
    """What one of several people said, without their name."""

    letter: str
    draft: Draft
    quotes: list[str]


@dataclass(frozen=True, slots=True)
class View:
    """All that a page shows of an item."""

    item_id: str
    site: str
    judged_at: str
    text_at: str
    title: str
    tags: list[str]
    question: Byline
    question_html: Markup
    answer: Byline
    is_accepted: bool
    answer_text: str
    blocks: list[Piece]
    comments: list[Piece]
    answers: list[Piece]
    history: list[Piece]


def make_view(item_id: str, content: Json) -> View:
    """Return what to show of an item."""
    question, answer = _part(content, "question"), _part(content, "answer")
    judged_at, text_at = _text(content.get("judged_at")), _text(content.get("text_at"))
    tags = question.get("tags")
    return View(
        item_id=item_id,
        site=_text(content.get("site")),
        judged_at=format_day(judged_at),
        text_at=format_day(text_at),
        title=_text(question.get("title")) or "(no title)",
        tags=[_text(tag) for tag in tags] if isinstance(tags, list) else [],
        question=_byline(question, judged_at),
        question_html=sanitise_html(_text(question.get("html"))),
        answer=_byline(answer, judged_at),
        is_accepted=answer.get("is_accepted") is True,
        answer_text=_text(answer.get("text")),
        blocks=list(split_answer(_text(answer.get("html")), _text(answer.get("text")), answer)),
        comments=[_comment(row, content, judged_at, text_at) for row in _rows(content, "comments")],
        answers=[_other(row, content, judged_at) for row in _rows(content, "answers")],
        history=list(_revisions(content, judged_at, text_at)),
    )


def list_quotes(draft: Draft, view: View) -> list[str]:
    """Say in words what a draft's evidence is.

    >>> view = make_view("s/1", {"comments": [{"comment_id": 7, "text": "Gone since 2.0"}]})
    >>> list_quotes(Draft("obsolete", evidence=({"kind": "comment", "id": 7},)), view)
    ['comment: Gone since 2.0']
    """
    texts = {piece.name: piece.text for piece in (*view.comments, *view.answers, *view.history)}
    quotes = []
    for piece in draft.evidence:
        if piece["kind"] == "span":
            quotes.append(f"answer: {piece['quote']}")
        else:
            words = texts.get(f"{piece['kind']}:{piece['id']}", str(piece["id"]))
            quotes.append(f"{piece['kind']}: {words}")
    return quotes


def list_opinions(judgements: Sequence[Judgement], view: View) -> list[Opinion]:
    """Return what people said of an item as A, B, ...; machines and adjudicators are left out.

    Letters follow from a digest of item and name, so nobody is always A.
    """
    people = [one for one in judgements if one.role == "annotator" and one.draft]
    people.sort(
        key=lambda one: hashlib.blake2b(f"{one.item_id}\n{one.annotator}".encode()).digest()
    )
    opinions = []
    for number, one in enumerate(people):
        if one.draft:
            quotes = list_quotes(one.draft, view)
            opinions.append(Opinion(_letter(number), one.draft, quotes))
    return opinions


def mark_opinions(opinions: Sequence[Opinion], view: View) -> dict[str, list[str]]:
    """Return the letters of those who marked a piece, by the piece's name."""
    letters: dict[str, list[str]] = {}
    for opinion in opinions:
        for evidence in opinion.draft.evidence:
            if evidence["kind"] == "span":
                names = [
                    block.name
                    for block in view.blocks
                    if block.start < evidence["end"]
                    and evidence["start"] < block.start + len(block.text)
                ]
            else:
                names = [f"{evidence['kind']}:{evidence['id']}"]
            for name in names:
                if opinion.letter not in letters.setdefault(name, []):
                    letters[name].append(opinion.letter)
    return letters


def _comment(row: Json, content: Json, judged_at: str, text_at: str) -> Piece:
    text = _text(row.get("text"))
    name = _name("comment", row.get("comment_id"), content)
    later = _is_later(row.get("created_at"), text_at)
    return Piece(name, sanitise_comment(text), text, _byline(row, judged_at), is_later=later)


def _other(row: Json, content: Json, judged_at: str) -> Piece:
    text = _text(row.get("excerpt"))
    name = _name("answer", row.get("post_id"), content)
    accepted = row.get("is_accepted") is True
    return Piece(name, escape(text), text, _byline(row, judged_at), is_accepted=accepted)


def _revisions(content: Json, judged_at: str, text_at: str) -> Iterator[Piece]:
    before = None
    for row in _rows(content, "history"):
        text, kind = _text(row.get("markdown")), _text(row.get("kind"))
        at = row.get("at")
        yield Piece(
            name=_name("revision", row.get("revision_id"), content),
            html=escape(text),
            text=f"{kind or 'revision'} {format_day(_text(at))}",
            byline=_byline({**row, "created_at": at}, judged_at),
            kind=kind,
            is_later=_is_later(at, text_at),
            comment=_text(row.get("comment")),
            lines=[] if before is None else compare_revisions(before, text),
        )
        before = text


def _byline(row: Json, judged_at: str) -> Byline:
    at, score = _text(row.get("created_at")), row.get("score")
    return Byline(
        author=_text(row.get("author")) or "deleted user",
        author_link=safe_link(_text(row.get("author_link"))),
        at=format_day(at),
        age=format_age(at, judged_at),
        link=safe_link(_text(row.get("link"))),
        licence=_text(row.get("licence")),
        score=_text(score) if isinstance(score, int | float) else "",
    )


def _name(kind: str, number: object, content: Json) -> str:
    """Return the name of a piece; "" where it has no id by which it could be found again."""
    is_known = isinstance(number, int) and number in list_ids(content, kind)
    return f"{kind}:{number}" if is_known else ""


def _is_later(at: object, text_at: str) -> bool:
    then, limit = parse_time(_text(at)), parse_time(text_at)
    return bool(then and limit and then > limit)


def _letter(number: int) -> str:
    return chr(ord("A") + number) if number < 26 else str(number + 1)


def _text(value: object) -> str:
    """Return a value as text that UTF-8 can hold."""
    text = "" if value is None or isinstance(value, dict | list) else str(value)
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def _part(content: Json, name: str) -> Json:
    part = content.get(name)
    return part if isinstance(part, dict) else {}


def _rows(content: Json, name: str) -> list[Json]:
    rows: Collection[object] = content.get(name) or ()
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
