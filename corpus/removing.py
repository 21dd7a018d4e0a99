"""Rows without what was taken down: what the record of a store does to the tables of a dump.

Taken away as `removed`:

    post       its row, its comments, its history, the links from and to it; a question takes its
               answers along, as the site does, and theirs: they would name it as their thread
    comment    its row
    user       the row, all their posts (as above) and comments

As `quotes_removed`: a post or a comment that holds a 50-character window of a text taken down, in
its raw form or, of bodies, as rendered; a post goes with its comments, history and links. Its
answers stay: nobody asked for its id to go. A revision that quotes goes alone.

In all rows that stay, of whichever site, links to what is gone become `[removed]`
(`corpus.mentions`). A person taken down is nobody as editor and voter: id and name become null, the
summary of the edit too; the text that they edited stays. An accepted answer that is gone is null.
Rows in quarantine stay, but lose their bytes where they are, quote or link to what is gone.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpus.errors import IntegrityError
from corpus.manifest import FileEntry, Flow, Outcome, merge_outcomes
from corpus.mentions import Gone, drop_listed, replace_links
from corpus.quotes import WindowSet, have_window, make_window_set
from corpus.removals import Record, read_record
from corpus.rows import QUARANTINE_SCHEMA, SCHEMAS
from corpus.segments import split_body
from corpus.store import Task, Work
from corpus.tables import TableWriter, describe_file, iter_groups, read_table

TEXT_COLUMNS = ("body", "text", "title", "comment", "raw")
REASONS = ("removed", "quotes_removed")
TEXTS_BY_TABLE = {
    "Posts": ("body", "title"),
    "Comments": ("text",),
    "PostHistory": ("text", "comment"),
}
# Columns that say who, of rows that stay; with them goes what that person wrote of the edit.
_PEOPLE = {
    "Posts": ("last_editor_user_id", "last_editor_display_name"),
    "PostHistory": ("user_id", "user_display_name", "comment"),
}
_QUARANTINED_ID = re.compile(rb'\s(Id|PostId|ParentId|RelatedPostId|OwnerUserId|UserId)="(\d+)"')

Array = np.ndarray[Any, Any]


class Source(NamedTuple):
    """Where rows are read: a folder with `rows/` and `quarantine/`, and the record's store."""

    folder: Path
    store: Path
    section: str  # of the record, so that another one is never taken for it


class Found(NamedTuple):
    """What goes from a site: ids of posts, int64, ascending; removed, and quoting but staying."""

    removed: Array
    quoting: Array


class Scope(NamedTuple):
    """What rows of a site are compared with."""

    site: str
    found: Found
    gone_by_site: Mapping[str, Gone]
    windows: WindowSet

    @property
    def gone(self) -> Gone:
        """What is gone from the site itself."""
        none = np.empty(0, np.int64)
        return self.gone_by_site.get(self.site, Gone(none, none, none))


def open_rows(folder: Path, name: str, schema: pa.Schema) -> TableWriter:
    """Open a file of the rows stage: read a few times, so it is packed for speed."""
    return TableWriter(folder, name, schema, text_columns=TEXT_COLUMNS, level=1)


def remove_rows(work: Work, folder: Path, before: Outcome, store: Path, record: Record) -> Outcome:
    """Write rows and quarantine anew, without what the record of the store names.

    Args:
        work: of the rows stage.
        folder: where `rows/` and `quarantine/` are now.
        before: their files, flows and figures.
        store: the folder that the record lies in, for tasks to read it.
        record: as it is there.
    """
    source = Source(folder, store, str(record.section()))
    names = [entry.name for entry in before.files]
    sites = sorted({name.split("/")[1] for name in names if name.startswith("rows/")})
    work.map(_find_posts, [Task(f"find/{site}", (source, site)) for site in sites])
    tasks = [
        Task(f"remove/{entry.name}", (source, entry.name, sites), max(1, entry.num_bytes))
        for entry in before.files
    ]
    written = merge_outcomes(work.map(_write_file, tasks, unit="bytes"))
    flows = {}
    for table, flow in before.flows.items():
        after = written.flows.get(table, Flow())
        rejected = Counter(flow.rejected) + Counter(after.rejected)
        flows[table] = Flow(flow.num_in, after.num_out, dict(rejected))
    return Outcome(written.files, flows, before.figures)


def find_removed(folder: Path, site: str, record: Record) -> Array:
    """Return the posts of a site that go: ids, int64, ascending, those not in the dump too."""
    ids, users = record.ids("post", site), record.ids("user", site)
    posts = read_table(folder / f"rows/{site}/Posts.parquet", ["id", "parent_id", "owner_user_id"])
    by_them = posts.filter(is_in(posts["owner_user_id"], users))["id"].to_numpy()
    asked = np.union1d(ids, by_them)
    answers = posts.filter(is_in(posts["parent_id"], asked))["id"].to_numpy()
    return np.union1d(asked, answers).astype(np.int64)


def find_quoting(folder: Path, site: str, removed: Array, windows: WindowSet) -> Array:
    """Return the posts of a site that quote, and do not go anyway: ids, int64, ascending."""
    found = [np.empty(0, np.int64)]
    for rows in iter_groups(folder / f"rows/{site}/Posts.parquet", ["id", "body", "title"]):
        rows = rows.filter(pc.invert(is_in(rows["id"], removed)))
        found.append(rows["id"].to_numpy()[have_quote(rows, "Posts", windows)])
    return np.unique(np.concatenate(found))


def have_quote(rows: pa.Table, table: str, windows: WindowSet) -> Array:
    """Tell which rows hold a window in one of their texts, or a body as rendered: bool."""
    mask = np.zeros(len(rows), bool)
    for texts in iter_texts(rows, table):
        mask |= have_window(texts, windows)
    return mask


def iter_texts(rows: pa.Table, table: str) -> Iterator[pa.Array | pa.ChunkedArray]:
    """Iterate over the columns of text of some rows, and bodies as they are read."""
    for column in TEXTS_BY_TABLE.get(table, ()):
        yield rows[column]
    if table == "Posts":
        yield render_bodies(rows)


def render_bodies(posts: pa.Table) -> pa.Array:
    """Return the bodies of posts as documents have them."""
    bodies = (split_body(body).text if body else body for body in posts["body"].to_pylist())
    return pa.array(bodies, pa.string())


def is_in(values: pa.ChunkedArray, ids: Array) -> pa.ChunkedArray:
    """Tell which values are among ids; null is not.

    >>> is_in(pa.chunked_array([[1, None, 3]]), np.array([3, 4])).to_pylist()
    [False, False, True]
    """
    return pc.is_in(values, value_set=pa.array(ids, pa.int64()))


def gone_from(record: Record, removed_by_site: Mapping[str, Array]) -> dict[str, Gone]:
    """Return by site what is gone: what the record names, and the posts that went along."""
    none = np.empty(0, np.int64)
    gone = {}
    for site in sorted({*record.sites(), *removed_by_site}):
        posts = np.union1d(record.ids("post", site), removed_by_site.get(site, none))
        one = Gone(posts, record.ids("comment", site), record.ids("user", site))
        if any(map(len, one)):
            gone[site] = one
    return gone


def judge_rows(rows: pa.Table, table: str, scope: Scope) -> Array:
    """Return why each row goes: objects, one of REASONS or "" where it stays."""
    (removed, quoting), gone = scope.found, scope.gone
    if table == "Users":
        goes = [is_in(rows["id"], gone.users)]
    elif table == "Posts":
        goes = [is_in(rows["id"], removed)]
    else:
        goes = [is_in(rows["post_id"], removed)]
    if table == "Comments":
        goes += [is_in(rows["id"], gone.comments), is_in(rows["user_id"], gone.users)]
    if table == "PostLinks":
        goes.append(is_in(rows["related_post_id"], removed))
    reasons = np.full(len(rows), "", object)
    if table == "Posts":
        reasons[is_in(rows["id"], quoting).to_numpy()] = REASONS[1]
    elif table != "Users":
        quotes = is_in(rows["post_id"], quoting).to_numpy() | have_quote(rows, table, scope.windows)
        reasons[quotes] = REASONS[1]
    for mask in goes:
        reasons[mask.to_numpy()] = REASONS[0]
    return reasons


def clean_rows(rows: pa.Table, table: str, scope: Scope) -> pa.Table:
    """Return rows that stay without mentions of what is gone."""
    gone, (removed, quoting) = scope.gone, scope.found
    if people := _PEOPLE.get(table):
        is_gone = is_in(rows[people[0]], gone.users)
        for column in people:
            rows = _set(rows, column, pc.if_else(is_gone, None, rows[column]))
    if table == "Posts":
        is_gone = is_in(rows["accepted_answer_id"], np.union1d(removed, quoting))
        accepted = pc.if_else(is_gone, None, rows["accepted_answer_id"])
        rows = _set(rows, "accepted_answer_id", accepted)
    if table == "PostHistory":
        rows = _set(rows, "text", drop_listed(rows["text"], gone))
    for column in TEXTS_BY_TABLE.get(table, ()):
        rows = _set(rows, column, replace_links(rows[column], scope.site, scope.gone_by_site))
    return rows


def _find_posts(folder: Path, payload: tuple[Source, str]) -> Outcome:
    source, site = payload
    record, windows = _load_record(source.store, source.section)
    removed = find_removed(source.folder, site, record)
    found = Found(removed, find_quoting(source.folder, site, removed, windows))
    entries = []
    for kind, ids in found._asdict().items():
        name = _found_name(site, kind)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(folder / name, ids)
        entries.append(describe_file(folder / name, name, num_rows=len(ids)))
    return Outcome(tuple(entries))


def _found_name(site: str, kind: str) -> str:
    return f"found/{site}/{kind}.npy"


def _write_file(folder: Path, payload: tuple[Source, str, list[str]]) -> Outcome:
    source, name, sites = payload
    kind, site, file = name.split("/")
    record, windows = _load_record(source.store, source.section)
    removed = {one: np.load(folder / _found_name(one, "removed")) for one in sites}
    found = Found(removed[site], np.load(folder / _found_name(site, "quoting")))
    scope = Scope(site, found, gone_from(record, removed), windows)
    if kind == "quarantine":
        return Outcome((_write_quarantine(folder, source.folder / name, name, scope),))
    table = file.removesuffix(".parquet")
    rejected = Counter[str]()
    with open_rows(folder, name, SCHEMAS[table]) as out:
        for rows in iter_groups(source.folder / name):
            reasons = judge_rows(rows, table, scope)
            rejected.update(reasons[reasons != ""].tolist())
            out.write(clean_rows(rows.filter(pa.array(reasons == "")), table, scope))
    entry = out.entry()
    flow = Flow(entry.num_rows + rejected.total(), entry.num_rows, rejected)
    return Outcome((entry,), {table: flow})


def _write_quarantine(folder: Path, path: Path, name: str, scope: Scope) -> FileEntry:
    table = name.rsplit("/", 1)[-1].removesuffix(".parquet")
    with open_rows(folder, name, QUARANTINE_SCHEMA) as out:
        for rows in iter_groups(path):
            raw = rows["raw"].to_pylist()
            texts = pa.chunked_array([[html.unescape(one.decode(errors="replace")) for one in raw]])
            quotes = have_window(texts, scope.windows)
            links = pc.not_equal(replace_links(texts, scope.site, scope.gone_by_site), texts)
            names = [_names_gone(one, table, scope) for one in raw]
            goes = pa.array(quotes | links.to_numpy() | np.array(names, bool))
            rows = _set(rows, "raw", pc.if_else(goes, b"", rows["raw"]))
            out.write(_set(rows, "detail", pc.if_else(goes, "removed", rows["detail"])))
    return out.entry()


def _names_gone(raw: bytes, table: str, scope: Scope) -> bool:
    """Tell whether the bytes of a row name, in an attribute of ids, what is gone."""
    gone, removed = scope.gone, scope.found.removed
    ids = {"Posts": removed, "Comments": gone.comments, "Users": gone.users}
    users = gone.users
    for attribute, digits in _QUARANTINED_ID.findall(raw):
        number = int(digits)
        known = users if attribute.endswith(b"UserId") else removed
        known = ids.get(table, np.empty(0, np.int64)) if attribute == b"Id" else known
        if number in known:
            return True
    return False


@lru_cache(maxsize=1)
def _load_record(store: Path, section: str) -> tuple[Record, WindowSet]:
    record = read_record(store)
    if str(record.section()) != section:
        raise IntegrityError(f"the record of {store} was changed during a build; build again")
    return record, make_window_set(record.windows)


def _set(rows: pa.Table, column: str, values: Any) -> pa.Table:
    place = rows.schema.get_field_index(column)
    return rows.set_column(place, rows.schema.field(column), values)
