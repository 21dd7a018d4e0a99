"""Read one table of a dump, an XML byte stream, into typed Arrow record batches.

Owns the schemas of the tables, and which row is quarantined. The bytes are read by
`corpus.xmlframe` (what stands around the rows) and `corpus.xmlscan` (the rows). Memory does not
grow with the table: one block of it is in sight, and the row that the block before began.

Refuses whatever is not exactly what dumps are made of, with the file and the byte offset: a DOCTYPE
(before anything of it is read), an encoding other than UTF-8, elements other than `<row>`, text
between rows, CDATA, a table that breaks off. There is no lenient mode. A row that is well-formed
but cannot be used stops nothing: it is quarantined with a reason from a closed list, so that rows
in the table == rows out + rows quarantined.

Columns have the names of the dump in snake case, but for the times (`_at`) and `licence`. Of a user
only the name is read, which attribution needs: the rest is personal data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from corpus import xmlscan
from corpus.errors import BadValue
from corpus.xmlframe import MAX_ROW_BYTES, Window, check_end, close_root, open_root, skip_misc

DEFAULT_BLOCK_BYTES = 2 << 20  # a quarter MiB takes 1.7 times as long, 16 MiB no less (2026-11-21)

_INT32, _INT64, _TEXT, _TAGS = pa.int32(), pa.int64(), pa.string(), pa.list_(pa.string())
_TIME = pa.timestamp("ms", "UTC")
_KINDS = {
    _INT32: xmlscan.INT32,
    _INT64: xmlscan.INT64,
    _TIME: xmlscan.TIME,
    _TEXT: xmlscan.TEXT,
    _TAGS: xmlscan.TEXT,
}
_ID = pa.field("id", _INT64, nullable=False)
_POST_ID = pa.field("post_id", _INT64, nullable=False)
_CREATED_AT = pa.field("created_at", _TIME, nullable=False)
_LICENCE = pa.field("licence", _TEXT)

_FIELDS: dict[str, dict[str, pa.Field]] = {  # by table and attribute
    "Posts": {
        "Id": _ID,
        "PostTypeId": pa.field("post_type_id", _INT32, nullable=False),
        "AcceptedAnswerId": pa.field("accepted_answer_id", _INT64),
        "ParentId": pa.field("parent_id", _INT64),
        "CreationDate": _CREATED_AT,
        "Score": pa.field("score", _INT32),
        "ViewCount": pa.field("view_count", _INT64),
        "Body": pa.field("body", _TEXT),
        "OwnerUserId": pa.field("owner_user_id", _INT64),
        "OwnerDisplayName": pa.field("owner_display_name", _TEXT),
        "LastEditorUserId": pa.field("last_editor_user_id", _INT64),
        "LastEditorDisplayName": pa.field("last_editor_display_name", _TEXT),
        "LastEditDate": pa.field("edited_at", _TIME),
        "LastActivityDate": pa.field("last_activity_at", _TIME),
        "Title": pa.field("title", _TEXT),
        "Tags": pa.field("tags", _TAGS),
        "AnswerCount": pa.field("answer_count", _INT32),
        "CommentCount": pa.field("comment_count", _INT32),
        "FavoriteCount": pa.field("favorite_count", _INT32),
        "ClosedDate": pa.field("closed_at", _TIME),
        "CommunityOwnedDate": pa.field("community_owned_at", _TIME),
        "ContentLicense": _LICENCE,
    },
    "Comments": {
        "Id": _ID,
        "PostId": _POST_ID,
        "Score": pa.field("score", _INT32),
        "Text": pa.field("text", _TEXT),
        "CreationDate": _CREATED_AT,
        "UserDisplayName": pa.field("user_display_name", _TEXT),
        "UserId": pa.field("user_id", _INT64),
        "ContentLicense": _LICENCE,
    },
    "PostHistory": {
        "Id": _ID,
        "PostHistoryTypeId": pa.field("post_history_type_id", _INT32, nullable=False),
        "PostId": _POST_ID,
        "RevisionGUID": pa.field("revision_guid", _TEXT),
        "CreationDate": _CREATED_AT,
        "UserId": pa.field("user_id", _INT64),
        "UserDisplayName": pa.field("user_display_name", _TEXT),
        "Comment": pa.field("comment", _TEXT),
        "Text": pa.field("text", _TEXT),
        "ContentLicense": _LICENCE,
    },
    "PostLinks": {
        "Id": _ID,
        "CreationDate": pa.field("created_at", _TIME),
        "PostId": _POST_ID,
        "RelatedPostId": pa.field("related_post_id", _INT64, nullable=False),
        "LinkTypeId": pa.field("link_type_id", _INT32, nullable=False),
    },
    "Users": {
        "Id": _ID,
        "DisplayName": pa.field("display_name", _TEXT),
    },
}
_UNREAD_ATTRIBUTES = {  # known, and not read on purpose
    "Users": (
        *("Reputation", "CreationDate", "LastAccessDate", "WebsiteUrl", "Location", "AboutMe"),
        *("Views", "UpVotes", "DownVotes", "ProfileImageUrl", "AccountId", "Age", "EmailHash"),
    )
}

SCHEMAS: dict[str, pa.Schema] = {
    table: pa.schema(list(fields.values())) for table, fields in _FIELDS.items()
}
QUARANTINE_SCHEMA = pa.schema(
    [
        pa.field("table", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),  # one of QUARANTINE_REASONS
        pa.field("detail", pa.string(), nullable=False),  # the attribute and its value, cut short
        pa.field("byte_offset", pa.int64(), nullable=False),  # of the row's `<`, in the stream
        pa.field("raw", pa.binary(), nullable=False),  # the row's bytes
    ]
)
# The first three in the order of xmlscan's faults; bad_tags: neither `<a><b>` nor `|a|b|`. A row is
# given one: not_utf8 before all, else its first bad number or date, else missing, else bad_tags.
QUARANTINE_REASONS = ("missing_attribute", "bad_number", "bad_date", "bad_tags", "not_utf8")
_BAD_TAGS, _NOT_UTF8 = 4, 5  # faults that are found here
_TAG_LIST = r"^(?:<[^<>|]+>)*$|^\|(?:[^<>|]+\|)+$"

_PROBLEMS = {
    xmlscan.BAD_TAG: "a row's tag is broken (no quote, space or `>` where one belongs)",
    xmlscan.NO_EQUALS: "an attribute without a value",
    xmlscan.NO_QUOTE: "a value without quotes",
    xmlscan.BARE_LESS: "`<` inside a value",
    xmlscan.BAD_REFERENCE: "a broken or unknown reference `&...;`",
    xmlscan.DUPLICATE: "an attribute that its row already has",
    xmlscan.TOO_MANY: f"a row with more than {xmlscan.MAX_ATTRIBUTES} attributes, which goes on",
    xmlscan.CONTENT: "content inside a row",
}


@dataclass(frozen=True, slots=True)
class RowBatch:
    """The rows of one block of a table, and what became of those that cannot be used."""

    rows: pa.RecordBatch  # of SCHEMAS[table], in the order of the table
    quarantined: pa.RecordBatch  # of QUARANTINE_SCHEMA
    num_repaired: int  # characters that XML forbids, replaced by U+FFFD; in all rows and attributes
    unknown_attributes: dict[str, int]  # rows that have an attribute which the schema does not know
    num_bytes: int  # of the stream, since the batch before


class _Table(NamedTuple):
    name: str
    schema: pa.Schema
    attributes: list[str]  # first those of the schema, in its order
    packed: xmlscan.Attributes


def iter_row_batches(
    stream: BinaryIO, table: str, *, file: str, block_bytes: int = DEFAULT_BLOCK_BYTES
) -> Iterator[RowBatch]:
    """Iterate over the rows of one table in batches.

    The last batch has no rows: it comes when the root is closed and nothing follows it, so a table
    without rows gives one batch too. TABs and line ends in values are kept as they are, where XML
    makes them spaces.

    Args:
        stream: the XML of the table, read once, from where it stands to its end.
        table: a key of SCHEMAS.
        file: what errors call the stream.
        block_bytes: how much is read at once, from 1 to MAX_ROW_BYTES. Has no influence on the
            rows, only on where batches end.

    Raises:
        BadValue: no such table, or block_bytes out of range.
        DoctypeRefused: a DOCTYPE, wherever it stands.
        MalformedXml: the table breaks off, or is not written as dumps are.

    >>> import io
    >>> xml = b'<postlinks><row Id="1" PostId="4" RelatedPostId="7" LinkTypeId="3"/></postlinks>'
    >>> batch, last = iter_row_batches(io.BytesIO(xml), "PostLinks", file="PostLinks.xml")
    >>> batch.rows.to_pylist()[0]["related_post_id"], last.rows.num_rows
    (7, 0)
    """
    if table not in SCHEMAS:
        raise BadValue(f"no table is called {table!r}; choose one of {', '.join(SCHEMAS)}")
    if not 1 <= block_bytes <= MAX_ROW_BYTES:
        raise BadValue(f"block_bytes is {block_bytes}; it must be from 1 to {MAX_ROW_BYTES}")
    return _iter_batches(Window(stream, file, block_bytes), _describe(table))


def _describe(table: str) -> _Table:
    fields = _FIELDS[table]
    unread = _UNREAD_ATTRIBUTES.get(table, ())
    packed = xmlscan.pack_attributes(
        [*fields, *unread],
        [*(_KINDS[field.type] for field in fields.values()), *(xmlscan.UNREAD for _ in unread)],
        required=[attribute for attribute, field in fields.items() if not field.nullable],
    )
    return _Table(table, SCHEMAS[table], [*fields, *unread], packed)


def _iter_batches(window: Window, table: _Table) -> Iterator[RowBatch]:
    root = open_root(window)
    scratch = xmlscan.make_scratch(len(table.attributes), len(window.data))
    reported = 0
    while root:
        data = np.frombuffer(window.data, np.uint8)
        if len(scratch.text) < 3 * len(data):
            scratch = xmlscan.make_scratch(len(table.attributes), len(data))
        status, window.position, num_rows = xmlscan.scan_rows(
            data, window.position, table.packed, scratch
        )
        if status in _PROBLEMS:
            raise window.error(_PROBLEMS[status])
        if num_rows:
            reached = window.offset_of(window.position)
            yield _make_batch(window, num_rows, table, scratch, reached - reported)
            reported = reached
        if status == xmlscan.MORE and not window.read_on():
            raise window.cut_off()
        if status == xmlscan.OTHER and not skip_misc(window):
            close_root(window, root)
            break
    check_end(window)
    num_bytes = window.offset_of(window.position) - reported
    yield RowBatch(_batch([], table.schema), _batch([], QUARANTINE_SCHEMA), 0, {}, num_bytes)


def _batch(rows: list[dict[str, object]], schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(rows, schema)


def _make_batch(
    window: Window, num_rows: int, table: _Table, scratch: xmlscan.Scratch, num_bytes: int
) -> RowBatch:
    num_values = scratch.counts[xmlscan.VALUES]
    values = pa.StringArray.from_buffers(
        num_values, pa.py_buffer(scratch.stops[: num_values + 1]), pa.py_buffer(scratch.text)
    )
    reasons = scratch.faults[:num_rows, 0]
    reasons[_find_not_utf8(window.data, scratch.spans[:num_rows])] = _NOT_UTF8
    _blame_bad_tags(values, num_rows, table, scratch)
    cells = scratch.cells[np.flatnonzero(reasons == xmlscan.NO_FAULT)]
    columns = [_column(cells[:, k], field.type, values) for k, field in enumerate(table.schema)]
    rejects = [_reject(window, row, table, scratch) for row in np.flatnonzero(reasons).tolist()]
    return RowBatch(
        rows=pa.RecordBatch.from_arrays(columns, schema=table.schema),
        quarantined=_batch(rejects, QUARANTINE_SCHEMA),
        num_repaired=int(scratch.counts[xmlscan.REPAIRED]),
        unknown_attributes=_count_unknown(window.data, scratch),
        num_bytes=num_bytes,
    )


def _find_not_utf8(data: bytes, spans: npt.NDArray[np.int64]) -> list[int]:
    """Find the rows that are not UTF-8; each is looked at only where not all of them are."""
    if _is_utf8(memoryview(data)[spans[0, 0] : spans[-1, 1]]):
        return []
    return [
        row for row, (start, stop) in enumerate(spans.tolist()) if not _is_utf8(data[start:stop])
    ]


def _is_utf8(data: bytes | memoryview) -> bool:
    # Arrow's check needs no memory; the strings that str() makes fragment the heap (+90 MB).
    stops = pa.py_buffer(np.array([0, len(data)], np.int32))
    try:
        pa.StringArray.from_buffers(1, stops, pa.py_buffer(data)).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _blame_bad_tags(
    values: pa.StringArray, num_rows: int, table: _Table, scratch: xmlscan.Scratch
) -> None:
    for k, field in enumerate(table.schema):
        if field.type == _TAGS:
            is_usable = scratch.faults[:num_rows, 0] == xmlscan.NO_FAULT
            cells = np.where(is_usable, scratch.cells[:num_rows, k], xmlscan.ABSENT)
            is_list = pc.match_substring_regex(_column(cells, _TEXT, values), _TAG_LIST)
            bad = np.flatnonzero(pc.invert(is_list).fill_null(False))
            scratch.faults[bad, 0] = _BAD_TAGS
            scratch.faults[bad, 1] = k
            scratch.faults[bad, 2] = cells[bad]


def _column(cells: npt.NDArray[np.int64], kind: pa.DataType, values: pa.StringArray) -> pa.Array:
    numbers = pa.array(np.ascontiguousarray(cells), mask=cells == xmlscan.ABSENT)
    if kind == _TEXT:
        return values.take(numbers)
    if kind == _TAGS:
        return _split_tags(values.take(numbers)).cast(kind)
    return numbers.cast(kind)


def _split_tags(texts: pa.StringArray) -> pa.ListArray:
    """Split `<a><b>` (dumps up to 2023) and `|a|b|` (since): both are first made `|a|b`."""
    pipes = pc.replace_substring(pc.replace_substring(texts, "<", "|"), ">", "")
    return pc.list_slice(pc.split_pattern(pc.ascii_rtrim(pipes, "|"), "|"), 1)


def _reject(window: Window, row: int, table: _Table, scratch: xmlscan.Scratch) -> dict[str, object]:
    start, stop = scratch.spans[row].tolist()
    reason, column, value = scratch.faults[row].tolist()
    raw = window.data[start:stop]
    if reason == _NOT_UTF8:
        detail = _utf8_problem(raw)
    elif reason == xmlscan.MISSING:
        detail = f"{table.attributes[column]} is missing"
    else:
        text = bytes(scratch.text[scratch.stops[value] : scratch.stops[value + 1]]).decode()
        detail = f"{table.attributes[column]}={text[:100]!r}"
    return {
        "table": table.name,
        "reason": QUARANTINE_REASONS[reason - 1],
        "detail": detail,
        "byte_offset": window.offset_of(start),
        "raw": raw,
    }


def _utf8_problem(raw: bytes) -> str:
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        return f"byte 0x{raw[error.start]:02x}, {error.start} bytes into the row"
    raise AssertionError("the row is UTF-8")


def _count_unknown(data: bytes, scratch: xmlscan.Scratch) -> dict[str, int]:
    spans = scratch.unknown[: scratch.counts[xmlscan.UNKNOWN]].tolist()
    counts = Counter(data[start:stop].decode(errors="backslashreplace") for start, stop in spans)
    return dict(sorted(counts.items()))
