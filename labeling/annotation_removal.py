"""An annotation store without what was taken down: one transaction, and no page that still has it.

Items become those that the benchmark has now: what is gone from a thread is gone from what is
shown of it. Judgements of items that are gone go with them. Of the others evidence goes that
pointed at what is gone, or whose quote is no longer there, and a note that quotes or links to it
becomes empty; labels stay as people gave them.

The audit log covers every row, so it is made anew: the same events, at the same times, but for
those of judgements that went; and at its end `removed`, with the number of events and the digest of
the last one (`head`) before. Whoever has an older head, from an export, finds it there.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from corpus.durable import TEMPORARY, sync
from corpus.errors import StoreError
from labeling.annotation_rows import make_item
from labeling.annotation_schema import open_database
from labeling.audit import append_event, check_events, digest_items, digest_row, read_head
from labeling.judgements import Json, canonical_json

_JUDGEMENT = "seq, item_id, annotator, revision, draft, guideline_sha256, at"
_OF_JUDGEMENTS = ("saved", "undone", "adjudicated")
_KEY_BY_POINTER = {"comment": "comment_id", "answer": "post_id", "revision": "revision_id"}

Item = tuple[str, str, str, str]


class Removed(NamedTuple):
    """What went from an annotation store; all 0 where it was as it had to be."""

    items: int
    judgements: int
    drafts_changed: int
    items_changed: int


def clean_annotations(
    path: Path, items: Sequence[Json] | None, is_hit: Callable[[str], bool], at: str
) -> Removed:
    """Bring an annotation store up to date with a benchmark that something was taken out of.

    Args:
        path: of the store.
        items: those of the benchmark now; None: it is gone, and items with a hit are taken out.
        is_hit: tells whether a text names or quotes what is gone.
        at: the time of the event, as the store writes times.

    Raises:
        StoreError: it cannot be read or written.
        IntegrityError: the audit log was broken before; nothing is changed then.
    """
    with closing(open_database(path)) as connection:
        try:
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("BEGIN EXCLUSIVE")
            removed = _clean(connection, items, is_hit, at)
            connection.execute("COMMIT")
            if any(removed) or connection.execute("PRAGMA freelist_count").fetchone()[0]:
                connection.execute("VACUUM")
        except sqlite3.Error as error:
            raise StoreError(
                f"{path} cannot be changed: {error}; close what has it open"
            ) from error
    return removed


def clean_log(path: Path, items: Sequence[Json], before: dict[str, str]) -> int:
    """Take the lines of items that are gone or changed out of a judge's log; return how many.

    Args:
        path: JSON lines, with item_id.
        items: those of the benchmark now.
        before: by item_id, the digests that the annotation store had.
    """
    now = {row[0]: row[3] for row in map(make_item, items)}
    lines = path.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if _is_as_before(line, now, before)]
    if len(kept) < len(lines):
        temporary = path.with_name(path.name + TEMPORARY)
        temporary.write_bytes(b"".join(kept))
        sync(temporary)
        temporary.replace(path)
    return len(lines) - len(kept)


def read_digests(path: Path) -> dict[str, str]:
    """Return by item_id the digest of each item of an annotation store."""
    with closing(open_database(path)) as connection:
        return dict(connection.execute("SELECT item_id, digest FROM items").fetchall())


def _is_as_before(line: bytes, now: dict[str, str], before: dict[str, str]) -> bool:
    try:
        item_id = json.loads(line)["item_id"]
    except (ValueError, LookupError, TypeError):
        return False
    return item_id in now and now[item_id] == before.get(item_id)


def _clean(
    connection: sqlite3.Connection,
    items: Sequence[Json] | None,
    is_hit: Callable[[str], bool],
    at: str,
) -> Removed:
    check_events(connection)
    before: dict[str, Item] = {row[0]: row for row in connection.execute("SELECT * FROM items")}
    if items is None:
        shown = {item_id: row for item_id, row in before.items() if not _is_hit(row, is_hit)}
    else:
        shown = {row[0]: row for row in map(make_item, items)}
    query = f"SELECT {_JUDGEMENT}, label FROM judgements ORDER BY seq"
    judgements = connection.execute(query).fetchall()
    kept = []
    num_changed = 0
    for row in judgements:
        if row[1] in shown:
            draft = _clean_draft(row[4], before[row[1]], shown[row[1]], is_hit)
            num_changed += draft != row[4]
            kept.append((*row[:4], draft, *row[5:]))
    removed = Removed(
        len(before.keys() - shown.keys()),
        len(judgements) - len(kept),
        num_changed,
        sum(shown[item_id] != before.get(item_id) for item_id in shown),
    )
    if any(removed):
        triggers = _drop_triggers(connection)
        _write(connection, sorted(shown.values()), kept, removed, at)
        for sql in triggers:
            connection.execute(sql)
        check_events(connection)
    return removed


def _is_hit(row: Item, is_hit: Callable[[str], bool]) -> bool:
    texts = [row[0], *_iter_texts(json.loads(row[1])), *_iter_texts(json.loads(row[2]))]
    return any(map(is_hit, texts))


def _iter_texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _iter_texts(one)


def _clean_draft(
    text: str | None, before: Item, after: Item, is_hit: Callable[[str], bool]
) -> str | None:
    """Return a draft without evidence that is gone; as it was where all of it is there."""
    if text is None:
        return None
    draft = json.loads(text)
    old, new = json.loads(before[1]), json.loads(after[1])
    evidence = [one for one in draft["evidence"] if _stands(one, old, new, is_hit)]
    note = "" if is_hit(draft["note"]) else draft["note"]
    if evidence == draft["evidence"] and note == draft["note"]:
        return text
    return canonical_json({**draft, "evidence": evidence, "note": note})


def _stands(piece: Json, old: Json, new: Json, is_hit: Callable[[str], bool]) -> bool:
    if piece["kind"] == "span":
        answer = new.get("answer")
        shown = answer.get("text") if isinstance(answer, dict) else None
        is_there = not isinstance(shown, str) or piece["quote"] in shown
        return is_there and not is_hit(piece["quote"])
    key = _KEY_BY_POINTER[piece["kind"]]
    return piece["id"] not in _ids(old, key) or piece["id"] in _ids(new, key)


def _ids(value: Any, key: str) -> set[int]:
    """Return the numbers that stand under a key, anywhere in a JSON value."""
    if isinstance(value, dict):
        own = {value[key]} if isinstance(value.get(key), int) else set()
        return own.union(*(_ids(one, key) for one in value.values()))
    if isinstance(value, list):
        return set().union(*(_ids(one, key) for one in value))
    return set()


def _drop_triggers(connection: sqlite3.Connection) -> list[str]:
    """Let rows be deleted; return the statements that forbid it again."""
    query = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY name"
    found = connection.execute(query).fetchall()
    for name, _ in found:
        connection.execute(f"DROP TRIGGER {name}")
    return [sql for _, sql in found]


def _write(
    connection: sqlite3.Connection,
    items: Sequence[Item],
    judgements: Sequence[tuple[Any, ...]],
    removed: Removed,
    at: str,
) -> None:
    """Put the rows that stay in the place of all, and make the log anew."""
    num_events, head = read_head(connection)
    query = "SELECT at, event, detail FROM events ORDER BY seq"
    events = connection.execute(query).fetchall()
    for table in ("leases", "judgements", "items", "events"):
        connection.execute(f"DELETE FROM {table}")
    connection.executemany("INSERT INTO items VALUES (?, ?, ?, ?)", items)
    digests: dict[tuple[str, str, int], str] = {}
    for seq, row in enumerate(judgements, 1):
        said = (seq, *row[1:7])
        insert = f"INSERT INTO judgements ({_JUDGEMENT}, label) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        connection.execute(insert, (*said, row[7]))
        digests[row[1], row[2], row[3]] = digest_row(*said)
    for when, event, text in events:
        detail = json.loads(text)
        if event == "created":
            detail["items"] = digest_items(connection)
        if event in _OF_JUDGEMENTS:
            key = (detail["item_id"], detail["annotator"], detail["revision"])
            if key not in digests:
                continue
            detail["digest"] = digests[key]
        append_event(connection, event, detail, when)
    counts = removed._asdict()
    append_event(
        connection, "removed", {"before": {"events": num_events, "head": head}, **counts}, at
    )
