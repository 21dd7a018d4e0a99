"""Who is offered which item of an annotation store, and how much there is left to do.

Each person has an own random order of all items: what comes first to one comes late to another, so
that a round that is cut short is no round of the first items alone, and nobody is always second.
"""

from __future__ import annotations

import hashlib
import sqlite3
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from labeling.annotation_rows import find_role, find_value, format_time
from labeling.judgements import AdjudicatedLabel, canonical_json

# Longer than anybody reads one answer; short enough that a closed browser blocks nothing for long.
LEASE = timedelta(minutes=30)
# Of fewer judgements the time per item is a guess.
NUM_FOR_ESTIMATE = 3
_TAKEN = """
SELECT item_id FROM (
    SELECT item_id, annotator FROM newest_labels WHERE label IS NOT NULL AND annotator IN (
        SELECT name FROM annotators WHERE role = 'annotator' AND name != ?1
    )
    UNION SELECT item_id, annotator FROM leases WHERE expires_at > ?2 AND annotator != ?1
) GROUP BY item_id HAVING COUNT(*) >= (SELECT judgements_per_item FROM settings)
"""
_DISAGREEMENTS = """
SELECT item_id FROM newest_labels JOIN annotators ON name = annotator WHERE label IS NOT NULL
GROUP BY item_id HAVING COUNT(DISTINCT CASE role WHEN 'annotator' THEN label END) > 1
AND (?1 OR MAX(role = 'adjudicator') = 0)
ORDER BY item_id
"""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an annotator is; `seconds_left` None before there are three judgements."""

    num_done: int
    num_total: int
    seconds_left: float | None


def make_order(seed: int, annotator: str, item_ids: Iterable[str]) -> list[str]:
    """Return items in the order of one annotator.

    >>> [make_order(1, name, ["a", "b", "c", "d"]) for name in ("ann", "bob")]
    [['b', 'd', 'a', 'c'], ['a', 'c', 'b', 'd']]
    """

    def digest(item_id: str) -> bytes:
        text = canonical_json([seed, annotator, item_id])
        return hashlib.blake2b(text.encode(), digest_size=16).digest()

    return sorted(item_ids, key=digest)


def offer_item(
    connection: sqlite3.Connection, annotator: str, order: Iterable[str], at: datetime
) -> str | None:
    """Return the first item in `order` that a person is to judge, and lease it to them."""
    done = list_judged(connection, annotator)
    query = "SELECT item_id FROM leases WHERE annotator = ? AND expires_at > ?"
    leased = find_value(connection, query, annotator, format_time(at))
    if leased is not None and leased not in done:
        return str(leased)
    taken = list_taken(connection, annotator, at)
    item_id = next((one for one in order if one not in done and one not in taken), None)
    if item_id is not None:
        lease_item(connection, annotator, item_id, at)
    return item_id


def lease_item(connection: sqlite3.Connection, annotator: str, item_id: str, at: datetime) -> None:
    """Lease an item to a person, and give back what they had."""
    row = (annotator, item_id, format_time(at + LEASE))
    connection.execute("INSERT OR REPLACE INTO leases VALUES (?, ?, ?)", row)


def list_items(connection: sqlite3.Connection) -> list[str]:
    """List all items, in order."""
    return [row[0] for row in connection.execute("SELECT item_id FROM items ORDER BY item_id")]


def list_judged(connection: sqlite3.Connection, annotator: str) -> set[str]:
    """List the items of which a judgement of this annotator stands."""
    query = "SELECT item_id FROM newest_labels WHERE annotator = ? AND label IS NOT NULL"
    return {row[0] for row in connection.execute(query, (annotator,))}


def list_taken(connection: sqlite3.Connection, annotator: str, at: datetime) -> set[str]:
    """List the items that enough other people have judged, or have before them."""
    return {row[0] for row in connection.execute(_TAKEN, (annotator, format_time(at)))}


def list_disagreements(connection: sqlite3.Connection, *, settled_too: bool) -> list[str]:
    """List the items that people gave two or more labels."""
    return [row[0] for row in connection.execute(_DISAGREEMENTS, (settled_too,))]


def adjudicate(connection: sqlite3.Connection, item_id: str) -> AdjudicatedLabel:
    """Return the label of an item after resolving, and how it came about."""
    query = "SELECT label, role FROM current_judgements WHERE item_id = ? ORDER BY seq DESC"
    rows = connection.execute(query, (item_id,)).fetchall()
    settled = [label for label, role in rows if role == "adjudicator"]
    if settled:
        return AdjudicatedLabel(settled[0], "adjudicated")
    labels = [label for label, role in rows if role == "annotator"]
    if len(labels) < 2:
        return AdjudicatedLabel(None, "single" if labels else "none")
    if len(set(labels)) > 1:
        return AdjudicatedLabel(None, "disagreed")
    return AdjudicatedLabel(labels[0], "agreed")


def measure_progress(connection: sqlite3.Connection, annotator: str, at: datetime) -> Progress:
    """Say how much somebody has done, and how much there is that others do not do."""
    role = find_role(connection, annotator)
    done = list_judged(connection, annotator)
    if role == "adjudicator":
        num_left = len(list_disagreements(connection, settled_too=False))
    else:
        taken = set() if role == "machine" else list_taken(connection, annotator, at)
        num_left = sum(one not in done and one not in taken for one in list_items(connection))
    query = "SELECT json_extract(draft, '$.seconds_spent') FROM current_judgements"
    spent = connection.execute(f"{query} WHERE annotator = ?", (annotator,)).fetchall()
    num_total = len(done) + num_left
    if len(spent) < NUM_FOR_ESTIMATE:
        return Progress(len(done), num_total, None)
    return Progress(len(done), num_total, num_left * statistics.median(row[0] for row in spent))
