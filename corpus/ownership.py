"""Whose words: what a removal names in the rows of a store, and the windows that are its own.

The texts of a removal are those of the posts and comments that were asked for, or are a person's:
titles, bodies as rendered (nobody wrote the markup: `rel="nofollow"><img src="https://i.` is in
every post with a picture), and every revision as typed. What goes along with a question is other
people's, and may be quoted.

A window that stands in a row that stays, and stood there before the first row that goes had it, is
not the removal's own: import lines, licences and messages that everybody quotes take no post along.
A text is as old as its last edit, where revisions say what stood there before; of the rows that go
without revisions the text is as old as its row, so that in doubt it is theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpus.engine import Engine
from corpus.quotes import digest_windows, have_window, make_window_set
from corpus.removals import Name, Record
from corpus.removing import (
    TEXTS_BY_TABLE,
    Found,
    Scope,
    find_removed,
    gone_from,
    is_in,
    iter_texts,
    judge_rows,
    render_bodies,
)
from corpus.tables import iter_groups, read_table

# PostHistoryTypeId of titles and bodies: first ones, edits, rollbacks.
REVISIONS = (1, 2, 4, 5, 7, 8)

Array = np.ndarray[Any, Any]
_NO_IDS = np.empty(0, np.int64)


class Rows(NamedTuple):
    """The rows of one site in one artifact of the rows stage."""

    folder: Path
    site: str

    def path(self, table: str) -> Path:
        """Return where a table is."""
        return self.folder / f"rows/{self.site}/{table}.parquet"

    def read(self, table: str, columns: Sequence[str]) -> pa.Table | None:
        """Read columns of a table; None where the site does not have it."""
        return read_table(self.path(table), columns) if self.path(table).is_file() else None


class Texts(NamedTuple):
    """Texts of a removal, and since when each is known: milliseconds, int64."""

    texts: list[str]
    times: Array


def list_rows(folders: Sequence[Path]) -> list[Rows]:
    """List the sites in artifacts of the rows stage."""
    return [
        Rows(folder, path.parent.name)
        for folder in sorted(set(folders))
        for path in sorted(folder.glob("rows/*/Posts.parquet"))
    ]


def find_named(sites: Sequence[Rows], asked: set[Name]) -> tuple[dict[Name, str], set[Name]]:
    """Find what goes along with what is asked for.

    Returns:
        By name, what it goes along with: posts and comments of people, answers of questions; and
        which of the names asked for are in any rows.
    """
    along: dict[Name, str] = {}
    there: set[Name] = set()
    for rows in sites:
        users = _ids(asked, "user", rows.site)
        posts = rows.read("Posts", ["id", "parent_id", "owner_user_id"])
        comments = rows.read("Comments", ["id", "user_id"])
        people = rows.read("Users", ["id"])
        assert posts is not None
        for kind, table, owner in (
            ("post", posts, "owner_user_id"),
            ("comment", comments, "user_id"),
        ):
            if table is not None:
                along |= _written_by(rows.site, kind, table, owner, users)
                there |= _present(asked, kind, rows.site, table["id"])
                there |= _present(asked, "user", rows.site, table[owner])
        if people is not None:
            there |= _present(asked, "user", rows.site, people["id"])
        questions = np.union1d(
            _ids(asked, "post", rows.site), _ids(set(along), "post", rows.site)
        ).astype(np.int64)
        answers = posts.filter(is_in(posts["parent_id"], questions))
        pairs = zip(answers["id"].to_pylist(), answers["parent_id"].to_pylist(), strict=True)
        for answer, question in pairs:
            along.setdefault(
                Name("post", rows.site, answer), str(Name("post", rows.site, question))
            )
    return {name: why for name, why in along.items() if name not in asked}, there


def collect_texts(sites: Sequence[Rows], record: Record) -> Texts:
    """Collect the texts that are the removals' own, from rows that still have them."""
    texts: list[str] = []
    times: list[Array] = [np.empty(0, np.int64)]
    for rows in sites:
        for column, at in _iter_own(rows, record):
            values = column.to_pylist()
            is_text = np.array([bool(value) for value in values], bool)
            texts += [value for value in values if value]
            times.append(_milliseconds(at)[is_text])
    return Texts(texts, np.concatenate(times))


def find_own_windows(sites: Sequence[Rows], record: Record, found: Texts, engine: Engine) -> Array:
    """Return the windows of texts that no older row that stays has: uint64, ascending."""
    digests, places = digest_windows(pa.array(found.texts, pa.string()))
    windows, inverse = np.unique(digests, return_inverse=True)
    since = np.full(len(windows), np.iinfo("i8").max)
    np.minimum.at(since, inverse, found.times[places])
    if not len(windows):
        return windows
    items = [
        (rows, table) for rows in sites for table in TEXTS_BY_TABLE if rows.path(table).is_file()
    ]
    earliest = np.full(len(windows), np.iinfo("i8").max)
    for one, at in engine.map(partial(_find_earliest, record, windows), items):
        np.minimum.at(earliest, one, at)
    return windows[earliest >= since]


def _find_earliest(record: Record, windows: Array, item: tuple[Rows, str]) -> tuple[Array, Array]:
    """Return which windows stand in rows that stay, by place, and since when."""
    rows, table = item
    wanted = make_window_set(windows)
    removed = find_removed(rows.folder, rows.site, record)
    gone = gone_from(record, {rows.site: removed})
    scope = Scope(rows.site, Found(removed, _NO_IDS), gone, make_window_set(windows[:0]))
    places, times = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for group in iter_groups(rows.path(table)):
        group = group.filter(pa.array(judge_rows(group, table, scope) == ""))
        at = _last_edit(group) if table == "Posts" else group["created_at"]
        since = _milliseconds(at)
        for texts in iter_texts(group, table):
            hits = np.flatnonzero(have_window(texts, wanted))
            digests, owners = digest_windows(texts.take(pa.array(hits)))
            there = np.minimum(np.searchsorted(windows, digests), len(windows) - 1)
            is_wanted = windows[there] == digests
            places.append(there[is_wanted])
            times.append(since[hits][owners[is_wanted]])
    return np.concatenate(places), np.concatenate(times)


def _iter_own(rows: Rows, record: Record) -> Iterator[tuple[Any, Any]]:
    """Iterate over columns of text of a site's own rows, and their times."""
    own = {
        removal.name
        for removal in record.removals
        if removal.goes_with is None or removal.goes_with.startswith("user ")
    }
    posts, comments = (_ids(own, kind, rows.site) for kind in ("post", "comment"))
    has_history = rows.path("PostHistory").is_file()
    for table, column, ids in (
        ("Posts", "id", posts),
        ("Comments", "id", comments),
        ("PostHistory", "post_id", posts),
    ):
        if not len(ids) or not rows.path(table).is_file():
            continue
        for group in iter_groups(rows.path(table)):
            group = group.filter(is_in(group[column], ids))
            at = group["created_at"]
            if table == "PostHistory":
                kinds = pa.array(REVISIONS, pa.int32())
                group = group.filter(pc.is_in(group["post_history_type_id"], kinds))
                at = group["created_at"]
            if table == "Posts" and has_history:
                at = _last_edit(group)
            if table == "Posts":
                yield group["title"], at
                yield render_bodies(group), at
            else:
                yield group["text"], at


def _last_edit(posts: pa.Table) -> pa.ChunkedArray:
    return pc.coalesce(posts["edited_at"], posts["created_at"])


def _milliseconds(at: pa.ChunkedArray) -> Array:
    return np.asarray(at.cast(pa.int64()))


def _written_by(
    site: str, kind: str, table: pa.Table, owner: str, users: Array
) -> Mapping[Name, str]:
    rows = table.filter(is_in(table[owner], users))
    pairs = zip(rows["id"].to_pylist(), rows[owner].to_pylist(), strict=True)
    return {Name(kind, site, id): str(Name("user", site, user)) for id, user in pairs}


def _present(asked: set[Name], kind: str, site: str, column: pa.ChunkedArray) -> set[Name]:
    ids = _ids(asked, kind, site)
    values = column.filter(is_in(column, ids)).unique().to_pylist()
    return {Name(kind, site, value) for value in values}


def _ids(names: set[Name], kind: str, site: str) -> Array:
    ids = [name.id for name in names if name[:2] == (kind, site)]
    return np.array(sorted(ids), np.int64)
