"""The rows of an annotation store: reading one, adding one; part of a transaction that is open."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from corpus.errors import BadValue, StoreError
from labeling.audit import Event, append_event, digest_row
from labeling.judgements import (
    ROLES,
    Draft,
    Json,
    Judgement,
    Role,
    canonical_json,
    draft_to_json,
    is_text,
    parse_draft,
)

# What `make_judgement` wants, of either view of judgements.
JUDGEMENT_COLUMNS = "item_id, annotator, role, revision, draft, guideline_sha256, at"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_INSERT_JUDGEMENT = """
INSERT INTO judgements (seq, item_id, annotator, revision, draft, guideline_sha256, at, label)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""


def make_item(item: Json) -> tuple[str, str, str, str]:
    """Return the row of an item: item_id, content, hidden, digest.

    Raises:
        BadValue: it is none.
    """
    if set(item) != {"item_id", "content", "hidden"}:
        raise BadValue(f"an item has the keys {sorted(item)}; it needs item_id, content, hidden")
    item_id = item["item_id"]
    if not is_text(item_id) or not item_id:
        raise BadValue(f"item_id is {item_id!r}; it must be text, and not empty")
    content, hidden = canonical_json(item["content"]), canonical_json(item["hidden"])
    return item_id, content, hidden, digest_row(item_id, content, hidden)


def read_json(
    connection: sqlite3.Connection, item_id: str, column: Literal["content", "hidden"]
) -> Json:
    """Return one side of an item.

    Raises:
        StoreError: there is no such item.
    """
    text = find_value(connection, f"SELECT {column} FROM items WHERE item_id = ?", item_id)
    if text is None:
        raise StoreError(f"there is no item {item_id!r} in the annotation store; check its id")
    content: Json = json.loads(text)
    return content


def add_guideline(connection: sqlite3.Connection, text: str, at: str) -> None:
    """Put a guideline in force.

    Raises:
        BadValue: it is empty.
    """
    if not is_text(text) or not text.strip():
        raise BadValue("the guideline is empty; write down what annotators are to decide, and how")
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    row = (_next_seq(connection, "guidelines"), sha256, text, at)
    connection.execute("INSERT INTO guidelines VALUES (?, ?, ?, ?)", row)
    detail = {"sha256": sha256, "digest": digest_row(*row)}
    append_event(connection, "guideline_set", detail, at)


def read_guideline(connection: sqlite3.Connection) -> tuple[str, str]:
    """Return the SHA-256 and the text of the guideline in force."""
    query = "SELECT sha256, text FROM guidelines ORDER BY seq DESC LIMIT 1"
    sha256, text = connection.execute(query).fetchone()
    return sha256, text


def add_annotator(connection: sqlite3.Connection, name: str, role: Role, at: str) -> str:
    """Add somebody and return the token.

    Raises:
        BadValue: the name is taken or not a name; an unknown role.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BadValue(f"the annotator's name is {name!r}; it must be {_NAME.pattern}")
    if role not in ROLES:
        raise BadValue(f"the role is {role!r}; it must be one of {', '.join(ROLES)}")
    if has_annotator(connection, name):
        raise BadValue(f"there is an annotator {name} already; choose another name")
    token = os.urandom(32).hex()
    row = (_next_seq(connection, "annotators"), name, role)
    connection.execute("INSERT INTO annotators VALUES (?, ?, ?, ?)", (*row, hash_token(token)))
    detail = {"annotator": name, "role": role, "digest": digest_row(*row)}
    append_event(connection, "annotator_added", detail, at)
    return token


def renew_token(connection: sqlite3.Connection, name: str, at: str) -> str:
    """Give somebody another token and return it; the one before logs nobody in any more.

    Raises:
        StoreError: there is no such annotator.
    """
    find_role(connection, name)
    token = os.urandom(32).hex()
    row = (hash_token(token), name)
    connection.execute("UPDATE annotators SET token_sha256 = ? WHERE name = ?", row)
    append_event(connection, "token_renewed", {"annotator": name}, at)
    return token


def hash_token(token: str) -> str:
    """Return what is kept of a token; 32 random bytes need no salt and no slow hash."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def has_annotator(connection: sqlite3.Connection, name: str) -> bool:
    """Tell whether there is an annotator of this name."""
    return find_value(connection, "SELECT 1 FROM annotators WHERE name = ?", name) is not None


def find_role(connection: sqlite3.Connection, annotator: str) -> Role:
    """Return the role of an annotator.

    Raises:
        StoreError: there is no such annotator.
    """
    query = "SELECT role FROM annotators WHERE name = ?"
    role: Role | None = find_value(connection, query, annotator)
    if role is None:
        raise StoreError(f"there is no annotator {annotator!r}; add them first")
    return role


def find_newest(connection: sqlite3.Connection, item_id: str, annotator: str) -> Judgement | None:
    """Return the newest revision of somebody's judgement of an item, a withdrawn one too.

    Raises:
        StoreError: there is no such item, or no such annotator.
    """
    query = f"SELECT {JUDGEMENT_COLUMNS} FROM newest_judgements WHERE item_id = ? AND annotator = ?"
    row = connection.execute(query, (item_id, annotator)).fetchone()
    if row is not None:
        return make_judgement(row)
    find_role(connection, annotator)
    read_json(connection, item_id, "content")
    return None


def insert_judgement(
    connection: sqlite3.Connection,
    newest: Judgement | None,
    given: tuple[str, str, Draft | None],
    at: str,
    source: str | None = None,
) -> Judgement:
    """Add a revision after the newest, give back the lease, and write the event.

    Args:
        connection: in a transaction.
        newest: what `find_newest` says.
        given: item_id, annotator, and what is said; None withdraws.
        at: the time.
        source: where it was made, if elsewhere.
    """
    item_id, annotator, draft = given
    role = find_role(connection, annotator)
    revision = newest.revision + 1 if newest else 1
    text = None if draft is None else canonical_json(draft_to_json(draft))
    said = (item_id, annotator, revision, text, read_guideline(connection)[0], at)
    row = (_next_seq(connection, "judgements"), *said)
    connection.execute(_INSERT_JUDGEMENT, (*row, draft and draft.label))
    mine = "DELETE FROM leases WHERE item_id = ? AND annotator = ?"
    connection.execute(mine, (item_id, annotator))
    event: Event = "adjudicated" if role == "adjudicator" else "saved"
    detail: Json = {"item_id": item_id, "annotator": annotator, "revision": revision}
    detail |= {"digest": digest_row(*row)} | ({"source": source} if source else {})
    append_event(connection, "undone" if draft is None else event, detail, at)
    return make_judgement((item_id, annotator, role, *said[2:]))


def make_judgement(row: Sequence[Any]) -> Judgement:
    """Return a judgement of a row of JUDGEMENT_COLUMNS."""
    item_id, annotator, role, revision, text, sha256, at = row
    draft = None if text is None else parse_draft(json.loads(text))
    when = datetime.fromisoformat(at)
    return Judgement(item_id, annotator, role, revision, draft, sha256, when)


def format_time(at: datetime) -> str:
    """Return a time as UTC, always as long, so that its text sorts as it does.

    >>> format_time(datetime(2024, 5, 6, tzinfo=UTC))
    '2024-05-06T00:00:00.000000+00:00'
    """
    if at.tzinfo is None:
        raise BadValue(f"the clock gave {at}, which has no time zone; give it one")
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def find_value(connection: sqlite3.Connection, query: str, *params: Any) -> Any:
    """Return the first column of the first row; None: there is no row."""
    row = connection.execute(query, params).fetchone()
    return None if row is None else row[0]


def _next_seq(connection: sqlite3.Connection, table: str) -> int:
    return int(find_value(connection, f"SELECT COALESCE(MAX(seq), 0) + 1 FROM {table}"))
