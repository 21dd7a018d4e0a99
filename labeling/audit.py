"""The audit log of an annotation store: a chain of events, each of which covers all before it.

A digest is the SHA-256 of the digest before (hex; of the first event: 64 zeros) and the canonical
JSON of {"at", "detail", "event", "seq"}. An event that goes with a row of another table has that
row's digest in its detail, so that no row can be changed, added or taken away unseen.
The log is as long as it says: whoever cuts its end off, rows and all, makes an older log. Publish
the digest of the last event (`head`) with what is exported.
After a takedown the chain is made anew without the rows that went; its event `removed` has the
length and the head of the chain before (`labeling.annotation_removal`).
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from typing import Any, Literal

from corpus.errors import IntegrityError
from labeling.judgements import Json, canonical_json

Event = Literal[
    "created",
    "annotator_added",
    "token_renewed",
    "logged_in",
    "saved",
    "undone",
    "adjudicated",
    "guideline_set",
    "exported",
    "removed",
]
START = "0" * 64
# The events that go with the rows of each table, in the order of the rows.
_EVENTS_BY_TABLE = {
    "annotators": ("annotator_added",),
    "guidelines": ("guideline_set",),
    "judgements": ("saved", "undone", "adjudicated"),
}
_ROWS = {
    "annotators": "SELECT seq, name, role FROM annotators ORDER BY seq",
    "guidelines": "SELECT seq, sha256, text, at FROM guidelines ORDER BY seq",
    "judgements": (
        "SELECT seq, item_id, annotator, revision, draft, guideline_sha256, at "
        "FROM judgements ORDER BY seq"
    ),
}


def append_event(connection: sqlite3.Connection, event: Event, detail: Json, at: str) -> None:
    """Add an event to the end of the chain; part of the transaction that is open."""
    seq, head = read_head(connection)
    text = canonical_json(detail)
    digest = _digest_event(head, seq + 1, at, event, text)
    row = (seq + 1, at, event, text, digest)
    connection.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?)", row)


def read_head(connection: sqlite3.Connection) -> tuple[int, str]:
    """Return the number and the digest of the last event."""
    row = connection.execute("SELECT seq, digest FROM events ORDER BY seq DESC LIMIT 1").fetchone()
    return (row[0], row[1]) if row else (0, START)


def digest_row(*values: Any) -> str:
    """Return the digest of one row, SHA-256 of its canonical JSON, hex."""
    return hashlib.sha256(canonical_json(values).encode()).hexdigest()


def digest_items(connection: sqlite3.Connection) -> str:
    """Return one digest over the digests of all items."""
    rows = connection.execute("SELECT item_id, digest FROM items ORDER BY item_id").fetchall()
    return digest_row(*rows)


def check_events(connection: sqlite3.Connection) -> int:
    """Return how many events there are; each must follow from those before, each row from its own.

    Raises:
        IntegrityError: names the first event, or the row, that does not.
    """
    head, digests = START, {table: list[str]() for table in _EVENTS_BY_TABLE}
    created: Json = {}
    rows = connection.execute("SELECT seq, at, event, detail, digest FROM events ORDER BY seq")
    num_events = 0
    for num_events, (seq, at, event, text, digest) in enumerate(rows, 1):
        if seq != num_events or digest != _digest_event(head, seq, at, event, text):
            raise _broken(f"event {num_events} does not follow from the one before")
        head, detail = digest, json.loads(text)
        created = detail if event == "created" else created
        for table, events in _EVENTS_BY_TABLE.items():
            if event in events:
                digests[table].append(detail["digest"])
    _check_created(connection, created)
    for table, expected in digests.items():
        found = [digest_row(*row) for row in connection.execute(_ROWS[table])]
        if found != expected:
            pairs = enumerate(zip(found, expected, strict=False), 1)
            number = next((at for at, (one, other) in pairs if one != other), None)
            where = number or min(len(found), len(expected)) + 1
            raise _broken(f"row {where} of {table} is not what its event says")
    return num_events


def _check_created(connection: sqlite3.Connection, created: Json) -> None:
    for item_id, content, hidden, digest in connection.execute("SELECT * FROM items"):
        if digest != digest_row(item_id, content, hidden):
            raise _broken(f"item {item_id} is not as it was created")
    settings = connection.execute("SELECT judgements_per_item, seed FROM settings").fetchone()
    found = {
        "items": digest_items(connection),
        "judgements_per_item": settings[0],
        "seed": settings[1],
    }
    if created != found:
        raise _broken("the items or the settings are not as they were created")


def _digest_event(head: str, seq: int, at: str, event: str, detail: str) -> str:
    content = canonical_json({"seq": seq, "at": at, "event": event, "detail": json.loads(detail)})
    return hashlib.sha256(head.encode() + content.encode()).hexdigest()


def _broken(what: str) -> IntegrityError:
    return IntegrityError(f"the audit log is broken: {what}; restore the newest backup that checks")
