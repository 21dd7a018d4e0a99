"""The annotation store: items, annotators, judgements and the audit log, in one SQLite file.

Here are its transactions. `labeling.annotation_schema` has the tables, `labeling.annotation_rows`
reads and adds rows, `labeling.assignment` says who is offered which item, `labeling.audit` keeps
the log. Judgements are only ever added: what an annotator says of an item is the newest of them.
"""

from __future__ import annotations

import contextlib
import hmac
import itertools
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Self

from corpus.errors import BadValue, StoreError
from labeling.annotation_rows import (
    JUDGEMENT_COLUMNS,
    add_annotator,
    add_guideline,
    find_newest,
    find_role,
    find_value,
    format_time,
    has_annotator,
    hash_token,
    insert_judgement,
    make_item,
    make_judgement,
    read_guideline,
    read_json,
    renew_token,
)
from labeling.annotation_schema import create_database, new_file, open_database
from labeling.assignment import (
    Progress,
    adjudicate,
    lease_item,
    list_disagreements,
    list_items,
    list_judged,
    make_order,
    measure_progress,
    offer_item,
)
from labeling.audit import append_event, check_events, digest_items, read_head
from labeling.judgements import (
    CAUSES,
    LABELS,
    AdjudicatedLabel,
    Draft,
    Json,
    Judgement,
    Label,
    Role,
    StaleJudgement,
    check_draft,
    is_same,
    is_whole,
)

__all__ = [
    "CAUSES",
    "LABELS",
    "AdjudicatedLabel",
    "AnnotationStore",
    "Annotator",
    "Draft",
    "Given",
    "Json",
    "Judgement",
    "Label",
    "Progress",
    "Role",
    "StaleJudgement",
]
_JUDGEMENTS = f"SELECT {JUDGEMENT_COLUMNS} FROM current_judgements"
_NEWEST_FIRST = f"{_JUDGEMENTS} WHERE annotator = ? ORDER BY seq DESC LIMIT ?"
_REVISIONS = f"""
SELECT {JUDGEMENT_COLUMNS} FROM judgements JOIN annotators ON name = annotator
ORDER BY item_id, annotator, revision
"""


@dataclass(frozen=True, slots=True)
class Annotator:
    """Who is logged in."""

    name: str
    role: Role


class Given(NamedTuple):
    """A judgement that was made elsewhere."""

    item_id: str
    annotator: str
    draft: Draft


class AnnotationStore:
    """One SQLite file, one connection, synchronous FULL; every method is one transaction.

    Threads may share it. Methods raise StoreError for an item or an annotator that the store does
    not have, and where the file cannot be read or written.
    """

    @classmethod
    def create(
        cls,
        path: Path,
        items: Iterable[Json],
        *,
        guideline: str,
        judgements_per_item: int = 2,
        seed: int = 1,
        clock: Callable[[], datetime],
    ) -> Self:
        """Make a new store, whole or not at all, and open it.

        Args:
            path: of the file; nothing may be there.
            items: each {"item_id", "content", "hidden"}, in any order; annotators see the content.
            guideline: Markdown.
            judgements_per_item: by how many people each item is judged.
            seed: of the orders in which they are offered.
            clock: gives the time, with a time zone.

        Raises:
            BadValue: no items, one that is none, two of one item_id, or a number out of range.
            StoreError: there is something at the path, or it cannot be written.
        """
        if not is_whole(judgements_per_item) or judgements_per_item < 1:
            raise BadValue(f"judgements_per_item is {judgements_per_item!r}; it must be 1 or more")
        rows = sorted(map(make_item, items))
        if not rows:
            raise BadValue("there are no items to annotate; draw some first")
        for row, following in itertools.pairwise(rows):
            if row[0] == following[0]:
                raise BadValue(f"item {row[0]} is given twice; item_ids must be unique")

        def fill(connection: sqlite3.Connection) -> None:
            at = format_time(clock())
            connection.executemany("INSERT INTO items VALUES (?, ?, ?, ?)", rows)
            connection.execute("INSERT INTO settings VALUES (?, ?)", (judgements_per_item, seed))
            settings = {"judgements_per_item": judgements_per_item, "seed": seed}
            append_event(connection, "created", settings | {"items": digest_items(connection)}, at)
            add_guideline(connection, guideline, at)

        create_database(path, fill)
        return cls(path, clock=clock)

    def __init__(self, path: Path, *, clock: Callable[[], datetime]) -> None:
        """Open a store.

        Raises:
            StoreError: there is none at the path, or one of another version.
        """
        self._connection = open_database(path)
        self._clock = clock
        self._lock = threading.Lock()
        self._orders: dict[str, list[str]] = {}  # items never change

    def close(self) -> None:
        """Close the file; no method works afterwards."""
        with self._lock:
            self._connection.close()

    # The guideline -------------------------------------------------------------------------------

    @property
    def guideline(self) -> str:
        """The text that is in force, Markdown."""
        with self._reading() as connection:
            return read_guideline(connection)[1]

    @property
    def guideline_sha256(self) -> str:
        """The SHA-256 of its UTF-8, hex."""
        with self._reading() as connection:
            return read_guideline(connection)[0]

    def set_guideline(self, text: str) -> str:
        """Put another text in force and return its SHA-256; old judgements keep theirs."""
        with self._writing() as connection:
            if read_guideline(connection)[1] != text:
                add_guideline(connection, text, self._now())
            return read_guideline(connection)[0]

    # Who -----------------------------------------------------------------------------------------

    def add_annotator(self, name: str, role: Role = "annotator") -> str:
        """Add somebody and return the token to log in with; only its SHA-256 is kept.

        Raises:
            BadValue: the name is taken, or not of [a-z0-9][a-z0-9_-]{0,31}; an unknown role.
        """
        with self._writing() as connection:
            return add_annotator(connection, name, role, self._now())

    def renew_token(self, name: str) -> str:
        """Return another token for somebody who lost theirs; the one before is void.

        Raises:
            StoreError: there is no such annotator.
        """
        with self._writing() as connection:
            return renew_token(connection, name, self._now())

    def annotators(self) -> list[Annotator]:
        """List all, by name."""
        with self._reading() as connection:
            rows = connection.execute("SELECT name, role FROM annotators ORDER BY name").fetchall()
        return [Annotator(*row) for row in rows]

    def authenticate(self, token: str) -> Annotator | None:
        """Return whose token this is; None: nobody's."""
        given, found = hash_token(token), None
        with self._reading() as connection:
            rows = connection.execute("SELECT token_sha256, name, role FROM annotators").fetchall()
        for digest, name, role in rows:  # all of them, so that the time taken says nothing
            if hmac.compare_digest(digest, given):
                found = Annotator(name, role)
        return found

    def record_login(self, annotator: str) -> None:
        """Write to the audit log that somebody logged in."""
        with self._writing() as connection:
            find_role(connection, annotator)
            append_event(connection, "logged_in", {"annotator": annotator}, self._now())

    # Items ---------------------------------------------------------------------------------------

    def item_ids(self) -> list[str]:
        """List all items, in order."""
        with self._reading() as connection:
            return list_items(connection)

    def read_item(self, item_id: str) -> Json:
        """Return what annotators see of an item, never what is hidden."""
        with self._reading() as connection:
            return read_json(connection, item_id, "content")

    def read_hidden(self, item_id: str) -> Json:
        """Return what nobody who judges may see of an item: for exports alone."""
        with self._reading() as connection:
            return read_json(connection, item_id, "hidden")

    def next_item(self, annotator: str) -> str | None:
        """Return the next item to judge; None: there is none, for now.

        People have an order of their own each, and are not offered what enough others have judged
        or have before them; the item is theirs for half an hour, and is returned again until then.
        Machines are offered every item. Adjudicators are offered none: they use `disagreements`.
        """
        with self._writing() as connection:
            role = find_role(connection, annotator)
            if role == "adjudicator":
                return None
            if role == "machine":
                done = list_judged(connection, annotator)
                return next((one for one in list_items(connection) if one not in done), None)
            if annotator not in self._orders:
                seed = find_value(connection, "SELECT seed FROM settings")
                self._orders[annotator] = make_order(seed, annotator, list_items(connection))
            return offer_item(connection, annotator, self._orders[annotator], self._clock())

    def disagreements(self) -> list[str]:
        """List the items that people gave two or more labels, and that no adjudicator settled."""
        with self._reading() as connection:
            return list_disagreements(connection, settled_too=False)

    # Judgements ----------------------------------------------------------------------------------

    def current(self, item_id: str, annotator: str) -> Judgement | None:
        """Return the newest revision of somebody's judgement; its draft is None if withdrawn."""
        with self._reading() as connection:
            return find_newest(connection, item_id, annotator)

    def save(
        self, item_id: str, annotator: str, draft: Draft, *, expected_revision: int
    ) -> Judgement:
        """Save a judgement and return it; it is on the disk when this returns.

        A draft that says what the newest revision says already is not saved twice.

        Args:
            item_id: the item.
            annotator: who says it; an adjudicator's word settles a disagreement.
            draft: what is said.
            expected_revision: the newest revision that its author knows; 0: none.

        Raises:
            StaleJudgement: there is a newer revision, which says something else.
            BadValue: the draft is not valid; or an adjudicator's is of no disagreement.
        """
        check_draft(draft)
        with self._writing() as connection:
            newest = find_newest(connection, item_id, annotator)
            revision = newest.revision if newest else 0
            if newest and newest.draft and is_same(newest.draft, draft):
                sha256 = read_guideline(connection)[0]
                # The same under another guideline is said anew.
                if revision != expected_revision or newest.guideline_sha256 == sha256:
                    return newest
            if newest and revision != expected_revision:
                raise StaleJudgement(newest, draft)
            if revision != expected_revision:
                raise BadValue(f"expected_revision is {expected_revision!r}; it must be 0")
            if find_role(connection, annotator) == "adjudicator" and newest is None:
                _check_disagreement(connection, item_id)
            return insert_judgement(connection, newest, (item_id, annotator, draft), self._now())

    def import_judgements(self, given: Sequence[Given], source: str) -> int:
        """Save judgements that were made elsewhere, all or none; return how many were new.

        Annotators that are not there are added. What somebody's newest revision says already is
        not saved again.

        Raises:
            BadValue: one that is not valid, or by an adjudicator.
        """
        num_saved = 0
        with self._writing() as connection:
            for item_id, annotator, draft in given:
                check_draft(draft)
                if not has_annotator(connection, annotator):
                    add_annotator(connection, annotator, "annotator", self._now())
                elif find_role(connection, annotator) != "annotator":
                    raise BadValue(f"{annotator} is no annotator; give the imported one a new name")
                newest = find_newest(connection, item_id, annotator)
                if newest is None or newest.draft is None or not is_same(newest.draft, draft):
                    one = (item_id, annotator, draft)
                    insert_judgement(connection, newest, one, self._now(), source)
                    num_saved += 1
        return num_saved

    def undo(self, annotator: str) -> Judgement | None:
        """Withdraw the newest judgement of somebody that stands, and return it; None: none does.

        The item is the next that they are offered.
        """
        with self._writing() as connection:
            role = find_role(connection, annotator)
            row = connection.execute(_NEWEST_FIRST, (annotator, 1)).fetchone()
            if row is None:
                return None
            withdrawn = make_judgement(row)
            one = (withdrawn.item_id, annotator, None)
            insert_judgement(connection, withdrawn, one, self._now())
            if role == "annotator":
                lease_item(connection, annotator, withdrawn.item_id, self._clock())
            return withdrawn

    def history(self, annotator: str, limit: int = 20) -> list[Judgement]:
        """List the newest judgements of one annotator that stand, newest first."""
        with self._reading() as connection:
            rows = connection.execute(_NEWEST_FIRST, (annotator, limit)).fetchall()
        return [make_judgement(row) for row in rows]

    def judgements(self, item_id: str) -> list[Judgement]:
        """List the judgements of an item that stand, of all annotators, by name."""
        query = f"{_JUDGEMENTS} WHERE item_id = ? ORDER BY annotator"
        with self._reading() as connection:
            return [make_judgement(row) for row in connection.execute(query, (item_id,))]

    def iter_judgements(self) -> Iterator[Judgement]:
        """Iterate over every revision, withdrawn ones too, by item, annotator, revision."""
        with self._reading() as connection:
            rows = connection.execute(_REVISIONS).fetchall()
        return map(make_judgement, rows)

    def adjudicated_label(self, item_id: str) -> AdjudicatedLabel:
        """Return the label of an item after resolving, and how it came about.

        The adjudicator's (of several, the newest); else that of two or more people who all agree;
        else none. Machines have no say.
        """
        with self._reading() as connection:
            return adjudicate(connection, item_id)

    def progress(self, annotator: str) -> Progress:
        """Say how much somebody has done, and how much there is that others do not do."""
        with self._reading() as connection:
            return measure_progress(connection, annotator, self._clock())

    # The log and the file ------------------------------------------------------------------------

    def record_export(self, what: str) -> str:
        """Write to the audit log that something was exported; return the digest of that event."""
        with self._writing() as connection:
            append_event(connection, "exported", {"what": what}, self._now())
            return read_head(connection)[1]

    def check_log(self) -> int:
        """Return how many events the audit log has.

        Raises:
            IntegrityError: the chain is broken, or the rows are not what the events say.
        """
        with self._reading() as connection:
            return check_events(connection)

    def backup(self, path: Path) -> None:
        """Write a copy of the whole store as it is now, while it is in use.

        Raises:
            StoreError: there is something at the path, or it cannot be written.
        """
        with new_file(path) as temporary, contextlib.closing(sqlite3.connect(temporary)) as copy:
            with self._lock:
                self._connection.backup(copy)
            result = copy.execute("PRAGMA integrity_check").fetchone()[0]
            if result != "ok":
                raise StoreError(f"the backup is damaged ({result}); check the disk")

    def _now(self) -> str:
        return format_time(self._clock())

    def _reading(self) -> contextlib.AbstractContextManager[sqlite3.Connection]:
        return self._transaction("BEGIN DEFERRED")

    def _writing(self) -> contextlib.AbstractContextManager[sqlite3.Connection]:
        return self._transaction("BEGIN IMMEDIATE")

    @contextlib.contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._connection.execute(begin)
                yield self._connection
                self._connection.execute("COMMIT")
            except (sqlite3.Error, UnicodeEncodeError) as error:
                raise StoreError(f"the annotation store failed: {error}; try again") from error
            finally:
                with contextlib.suppress(sqlite3.ProgrammingError):  # closed: nothing is open
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")


def _check_disagreement(connection: sqlite3.Connection, item_id: str) -> None:
    if item_id not in list_disagreements(connection, settled_too=True):
        raise BadValue(f"nobody disagrees on {item_id}; there is nothing to adjudicate")
