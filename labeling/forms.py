"""What a browser sends about an item, and the draft that it means.

A form is read without fail, whatever was sent, so that it can be shown again as it was; only what
becomes of it is checked. A piece of evidence is one field, `evidence`, and reads

    span:12:40      code points of the answer's text
    comment:7       also answer:7, revision:7
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import parse_qsl

from corpus.errors import BadValue
from labeling.annotations import CAUSES, LABELS, Draft, Json
from labeling.judgements import MAX_NOTE_CHARS, POINTER_KINDS

MAX_FIELDS = 500
MAX_SECONDS = 86_400.0
MAX_SPAN = MAX_NOTE_CHARS  # what the store takes as one quote
_SPAN = re.compile(r"span:([0-9]{1,9}):([0-9]{1,9})", re.ASCII)
_POINTER = re.compile(rf"({'|'.join(POINTER_KINDS)}):(-?[0-9]{{1,18}})", re.ASCII)
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,6})?", re.ASCII)
# Plural of the kind, and the key of its id, in an item's content.
_LISTS = {
    "comment": ("comments", "comment_id"),
    "answer": ("answers", "post_id"),
    "revision": ("history", "revision_id"),
}


class Form(NamedTuple):
    """What is filled in, as it was sent; `expected` is the revision that its author saw."""

    label: str = ""
    cause: str = ""
    evidence: tuple[str, ...] = ()
    confidence: int = 2
    note: str = ""
    seconds: float = 0.0
    expected: int = 0


def parse_fields(body: bytes) -> list[tuple[str, str]]:
    """Return the fields of a form's body (application/x-www-form-urlencoded, UTF-8).

    Raises:
        BadValue: not UTF-8, or more than MAX_FIELDS.
    """
    try:
        text = body.decode("ascii")
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise BadValue(f"the form cannot be read: {error}") from error


def read_form(fields: Iterable[tuple[str, str]]) -> Form:
    r"""Return the form that was sent; what makes no sense in it is as if it were not there.

    >>> read_form([("label", "current"), ("note", "a\r\nb"), ("confidence", "9"), ("x", "y")])
    Form(label='current', cause='', evidence=(), confidence=2, note='a\nb', seconds=0.0, expected=0)
    """
    fields = list(fields)
    last = dict(fields)
    expected, confidence = last.get("expected", ""), last.get("confidence", "")
    seconds = last.get("seconds", "")
    return Form(
        label=last.get("label", ""),
        cause=last.get("cause", ""),
        evidence=tuple(dict.fromkeys(value for name, value in fields if name == "evidence")),
        confidence=int(confidence) if confidence in ("1", "2", "3") else 2,
        note=last.get("note", "").replace("\r\n", "\n").replace("\0", ""),
        seconds=min(float(seconds), MAX_SECONDS) if _SECONDS.fullmatch(seconds) else 0.0,
        expected=int(expected) if re.fullmatch("[0-9]{1,9}", expected) else 0,
    )


def make_form(draft: Draft, expected: int) -> Form:
    """Return the form that means a draft."""
    pieces = tuple(_name_piece(piece) for piece in draft.evidence)
    return Form(draft.label, draft.cause or "", pieces, draft.confidence, draft.note, 0.0, expected)


def make_draft(form: Form, content: Json) -> Draft:
    """Return the draft that a form means.

    Evidence is sorted, and quotes are taken from the item, never from what was sent. A cause counts
    only of an obsolete answer.

    Raises:
        BadValue: no label, a cause that is none, evidence that the item does not have.
    """
    if form.label not in LABELS:
        raise BadValue("Choose a label first: obsolete, current or cannot tell.")
    if form.cause not in ("", *CAUSES):
        raise BadValue("This cause is not one of the list; choose another.")
    if len(form.note) > MAX_NOTE_CHARS:
        raise BadValue(f"The note is too long; {MAX_NOTE_CHARS:,} characters are the most.")
    pieces = [_read_piece(name, content) for name in form.evidence]
    kinds = ("span", *POINTER_KINDS)
    pieces.sort(
        key=lambda p: (kinds.index(p["kind"]), p.get("start", p.get("id")), p.get("end", 0))
    )
    cause = form.cause if form.label == "obsolete" and form.cause else None
    return Draft(form.label, cause, tuple(pieces), form.confidence, form.note.strip(), form.seconds)


def list_ids(content: Json, kind: str) -> set[int]:
    """Return the ids of an item's comments, other answers or revisions that can be evidence."""
    plural, key = _LISTS[kind]
    rows = content.get(plural)
    ids = [row.get(key) for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return {value for value in ids if isinstance(value, int) and not isinstance(value, bool)}


def _name_piece(piece: Json) -> str:
    if piece["kind"] == "span":
        return f"span:{piece['start']}:{piece['end']}"
    return f"{piece['kind']}:{piece['id']}"


def _read_piece(name: str, content: Json) -> Json:
    if match := _SPAN.fullmatch(name):
        start, end = int(match[1]), int(match[2])
        answer = content.get("answer")
        text = str(answer.get("text", "")) if isinstance(answer, dict) else ""
        if start < end <= len(text) and end - start <= MAX_SPAN:
            return {"kind": "span", "start": start, "end": end, "quote": text[start:end]}
        if start < end <= len(text):
            raise BadValue(f"Mark less: {MAX_SPAN:,} characters are the most of one quote.")
    elif (match := _POINTER.fullmatch(name)) and int(match[2]) in list_ids(content, match[1]):
        return {"kind": match[1], "id": int(match[2])}
    raise BadValue("Evidence was marked that this item does not have; mark it again.")
