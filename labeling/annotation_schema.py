"""The tables of an annotation store, one SQLite file: how it is made, and how it is opened.

    settings       one row: judgements_per_item, seed
    items          item_id, content (JSON, shown), hidden (JSON, never shown), digest
    annotators     name, role, SHA-256 of the token
    guidelines     every guideline text that was ever in force; the last row is
    judgements     insert only: one row per (item, annotator, revision); draft null: withdrawn
    leases         who has an item before them, and until when; one an annotator
    events         insert only: the audit log (`labeling.audit`)

    newest_judgements   the newest revision per (item, annotator), withdrawn ones among them
    current_judgements  those that stand
    newest_labels       the label of each newest revision, from an index alone: of the row with the
                        largest revision SQLite takes the other columns too; null if withdrawn

The journal is a rollback journal with synchronous FULL. Write-ahead logging is refused: SQLite
before 3.51.3 can corrupt such a file when two connections reset the log at once.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

from corpus.durable import TEMPORARY, sync
from corpus.errors import StoreError

SCHEMA_VERSION = 1
# Says "sobA" in the file's header: what other SQLite files are not.
APPLICATION_ID = 0x736F6241
BUSY_SECONDS = 10.0
_TABLES = """
CREATE TABLE settings (judgements_per_item INTEGER NOT NULL, seed INTEGER NOT NULL);
CREATE TABLE items (
    item_id TEXT PRIMARY KEY, content TEXT NOT NULL, hidden TEXT NOT NULL, digest TEXT NOT NULL
);
CREATE TABLE annotators (
    seq INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,
    role TEXT NOT NULL CHECK (role IN ('annotator', 'adjudicator', 'machine')),
    token_sha256 TEXT NOT NULL UNIQUE
);
CREATE TABLE guidelines (
    seq INTEGER PRIMARY KEY, sha256 TEXT NOT NULL, text TEXT NOT NULL, at TEXT NOT NULL
);
CREATE TABLE judgements (
    seq INTEGER PRIMARY KEY,
    item_id TEXT NOT NULL REFERENCES items,
    annotator TEXT NOT NULL REFERENCES annotators (name),
    revision INTEGER NOT NULL CHECK (revision >= 1),
    draft TEXT,
    label TEXT CHECK (label IS json_extract(draft, '$.label')),
    guideline_sha256 TEXT NOT NULL,
    at TEXT NOT NULL,
    UNIQUE (item_id, annotator, revision)
);
CREATE INDEX labels_by_item ON judgements (item_id, annotator, revision, label);
CREATE INDEX labels_by_annotator ON judgements (annotator, item_id, revision, label);
CREATE TABLE leases (
    annotator TEXT PRIMARY KEY REFERENCES annotators (name),
    item_id TEXT NOT NULL REFERENCES items, expires_at TEXT NOT NULL
);
CREATE TABLE events (
    seq INTEGER PRIMARY KEY, at TEXT NOT NULL, event TEXT NOT NULL, detail TEXT NOT NULL,
    digest TEXT NOT NULL
);
CREATE VIEW newest_judgements AS
    SELECT judgements.*, role FROM judgements JOIN annotators ON name = annotator
    WHERE NOT EXISTS (
        SELECT 1 FROM judgements later WHERE later.item_id = judgements.item_id
        AND later.annotator = judgements.annotator AND later.revision > judgements.revision
    );
CREATE VIEW current_judgements AS SELECT * FROM newest_judgements WHERE draft IS NOT NULL;
CREATE VIEW newest_labels AS
    SELECT item_id, annotator, label, MAX(revision) AS revision FROM judgements
    GROUP BY item_id, annotator;
"""
_INSERT_ONLY = """
CREATE TRIGGER {table}_never_{verb} BEFORE {verb} ON {table}
BEGIN SELECT RAISE(ABORT, '{table} are insert only'); END;
"""


def create_database(path: Path, fill: Callable[[sqlite3.Connection], None]) -> None:
    """Make a new file, there whole or not at all; `fill` writes its rows, in one transaction.

    Raises:
        StoreError: there is something at the path, or it cannot be written.
    """
    with new_file(path) as temporary, contextlib.closing(_connect(temporary)) as connection:
        connection.executescript(f"PRAGMA application_id = {APPLICATION_ID}; BEGIN; {_TABLES}")
        for table in ("items", "settings", "guidelines", "judgements", "events"):
            for verb in ("UPDATE", "DELETE"):
                connection.execute(_INSERT_ONLY.format(table=table, verb=verb))
        fill(connection)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")


def open_database(path: Path) -> sqlite3.Connection:
    """Open a file that `create_database` made; one connection for all threads.

    Raises:
        StoreError: it is not there, is none, or is of another version.
    """
    if not path.is_file():
        raise StoreError(f"there is no annotation store at {path}; create it first")
    connection = _connect(path)
    try:
        found = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if found != APPLICATION_ID:
            raise StoreError(f"{path} is not an annotation store; name the file that was created")
        if version != SCHEMA_VERSION:
            raise StoreError(
                f"{path} is an annotation store of version {version}, this sobert reads version "
                f"{SCHEMA_VERSION}; use the sobert that made it"
            )
        mode = connection.execute("PRAGMA journal_mode = DELETE").fetchone()[0]
        if mode != "delete":
            raise StoreError(f"{path} has journal mode {mode}; close what else has it open")
    except sqlite3.Error as error:
        connection.close()
        raise StoreError(f"{path} is not an annotation store: {error}; restore a backup") from error
    except StoreError:
        connection.close()
        raise
    return connection


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Give a temporary path beside a new file; it takes the new name only once it is whole.

    Raises:
        StoreError: there is something at the path already, or it cannot be written.
    """
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        if path.exists():
            raise FileExistsError
        # Nobody else on the machine may read it: it holds what annotators must not see.
        temporary.unlink(missing_ok=True)
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        yield temporary
        sync(temporary)
        os.link(temporary, path)  # a rename would replace a file made in the meantime
        sync(path.parent)
    except FileExistsError as error:
        raise StoreError(f"{path} exists already; name another file") from error
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"{path} cannot be written: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _connect(path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(
            f"file:{quote(str(path.absolute()))}?mode=rw",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
    except sqlite3.Error as error:
        raise StoreError(f"{path} cannot be opened: {error}") from error
    return connection
