"""Rows of dump tables: against lxml on real dumps, and written inline for every oddity."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from corpus import xmlframe
from corpus.errors import BadValue, DoctypeRefused, MalformedXml, SobertError
from corpus.rows import QUARANTINE_REASONS, SCHEMAS, RowBatch, iter_row_batches
from corpus.xmlscan import MAX_ATTRIBUTES, MAX_ROWS

COMMENT = '<row Id="1" PostId="2" Text="hi" CreationDate="2016-12-06T17:10:44.557" />'
SMALL_BYTES = 700_000


def read(xml: bytes, table: str = "Comments", block_bytes: int = 1 << 20) -> list[RowBatch]:
    stream = io.BytesIO(xml)
    return list(iter_row_batches(stream, table, file=f"{table}.xml", block_bytes=block_bytes))


def rows_of(batches: list[RowBatch]) -> list[dict[str, Any]]:
    return [row for batch in batches for row in batch.rows.to_pylist()]


def quarantined_in(batches: list[RowBatch]) -> list[dict[str, Any]]:
    return [row for batch in batches for row in batch.quarantined.to_pylist()]


def comments(*rows: str) -> bytes:
    return "".join(["<comments>", *rows, "</comments>"]).encode()


def comment(text: str) -> str:
    return COMMENT.replace('"hi"', f'"{text}"')


def post(attributes: str) -> bytes:
    given = f'Id="1" PostTypeId="1" CreationDate="2016-12-06" {attributes}'
    return f"<posts><row {given}/></posts>".encode()


# Against lxml, which reads every row right but for TAB: so it is given references.


def expected_rows(path: Path, table: str) -> Iterator[dict[str, Any]]:
    for element in etree.fromstring(path.read_bytes().replace(b"\t", b"&#9;")):
        yield {
            field: expected_value(element.get(attribute), SCHEMAS[table].field(field).type)
            for attribute, field in ATTRIBUTES[table].items()
        }


def expected_value(value: str | None, kind: pa.DataType) -> Any:
    if value is None or kind == pa.string():
        return value
    if pa.types.is_integer(kind):
        return int(value)
    if pa.types.is_timestamp(kind):
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    return re.findall(r"[^<>|]+", value)


ATTRIBUTES = {
    "Posts": {
        "Id": "id",
        "PostTypeId": "post_type_id",
        "AcceptedAnswerId": "accepted_answer_id",
        "ParentId": "parent_id",
        "CreationDate": "created_at",
        "Score": "score",
        "ViewCount": "view_count",
        "Body": "body",
        "OwnerUserId": "owner_user_id",
        "OwnerDisplayName": "owner_display_name",
        "LastEditorUserId": "last_editor_user_id",
        "LastEditorDisplayName": "last_editor_display_name",
        "LastEditDate": "edited_at",
        "LastActivityDate": "last_activity_at",
        "Title": "title",
        "Tags": "tags",
        "AnswerCount": "answer_count",
        "CommentCount": "comment_count",
        "FavoriteCount": "favorite_count",
        "ClosedDate": "closed_at",
        "CommunityOwnedDate": "community_owned_at",
        "ContentLicense": "licence",
    },
    "Comments": {
        "Id": "id",
        "PostId": "post_id",
        "Score": "score",
        "Text": "text",
        "CreationDate": "created_at",
        "UserDisplayName": "user_display_name",
        "UserId": "user_id",
        "ContentLicense": "licence",
    },
    "PostHistory": {
        "Id": "id",
        "PostHistoryTypeId": "post_history_type_id",
        "PostId": "post_id",
        "RevisionGUID": "revision_guid",
        "CreationDate": "created_at",
        "UserId": "user_id",
        "UserDisplayName": "user_display_name",
        "Comment": "comment",
        "Text": "text",
        "ContentLicense": "licence",
    },
    "PostLinks": {
        "Id": "id",
        "CreationDate": "created_at",
        "PostId": "post_id",
        "RelatedPostId": "related_post_id",
        "LinkTypeId": "link_type_id",
    },
    "Users": {"Id": "id", "DisplayName": "display_name"},
}


def check_against_lxml(shared_data: Path, sizes: range) -> None:
    paths = [
        path
        for table in SCHEMAS
        for path in sorted((shared_data / "dumps").glob(f"**/{table}.xml"))
        if path.stat().st_size in sizes
    ]
    assert paths
    for path in paths:
        batches = read(path.read_bytes(), path.stem)
        assert rows_of(batches) == list(expected_rows(path, path.stem)), path
        assert quarantined_in(batches) == []
        assert sum(batch.num_repaired for batch in batches) == 0
        assert all(batch.unknown_attributes == {} for batch in batches)
        assert sum(batch.num_bytes for batch in batches) == path.stat().st_size
        for batch in batches:
            batch.rows.validate(full=True)


def test_small_real_tables_read_as_lxml_reads_them(shared_data: Path) -> None:
    check_against_lxml(shared_data, range(100_000))


@pytest.mark.slow
def test_all_real_tables_read_as_lxml_reads_them(shared_data: Path) -> None:
    check_against_lxml(shared_data, range(100_000, 1 << 40))


def test_a_foreign_table_is_quarantined_and_its_attributes_are_reported(shared_data: Path) -> None:
    folder = shared_data / "dumps" / "slices" / "windycity-nosql-2010"
    posts = read((folder / "posts.xml").read_bytes(), "Posts")
    assert rows_of(posts) == []
    assert {row["detail"] for row in quarantined_in(posts)} == {"PostTypeId is missing"}
    assert len(quarantined_in(posts)) == 179
    foreign = read((folder / "comments.xml").read_bytes(), "Comments")
    assert [batch.unknown_attributes for batch in foreign] == [{"Body": 578}, {}]
    assert {row["text"] for row in rows_of(foreign)} == {None}


# What XML can be written like.

LEGAL = st.characters(
    codec="utf-8",
    exclude_characters=[chr(c) for c in range(32) if c not in (9, 10, 13)] + ["\ufffe", "\uffff"],
)
SPACES = st.sampled_from([" ", "\t", "\r\n", "\n  "])
NAMED = {"<": "&lt;", ">": "&gt;", "&": "&amp;", '"': "&quot;", "'": "&apos;"}


@st.composite
def written_values(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> tuple[str, str]:
    """A text, and one of the many ways to write it."""
    text, quote = draw(texts), draw(st.sampled_from("\"'"))
    written = ""
    for character in text:
        ways = [f"&#{ord(character)};", f"&#x{ord(character):x};", f"&#x00{ord(character):X};"]
        if character in NAMED:
            ways.append(NAMED[character])
        if character not in "<&" + quote:
            ways.append(character)
        written += draw(st.sampled_from(ways))
    return text, quote + written + quote


def plain(values: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[str, str]]:
    return values.map(lambda value: (str(value), f'"{value}"'))


@st.composite
def written_comments(draw: st.DrawFn) -> tuple[dict[str, Any], str]:
    """A row of Comments, and one of the many ways to write it."""
    integers = st.integers(-(2**31) + 1, 2**31 - 1)
    times = st.datetimes().map(
        lambda time: time.replace(microsecond=time.microsecond // 1000 * 1000)
    )
    strategies = {
        "Id": plain(integers),
        "PostId": plain(integers),
        "CreationDate": plain(times.map(lambda time: time.isoformat(timespec="milliseconds"))),
        "Score": plain(integers),
        "Text": written_values(st.text(LEGAL, max_size=12)),
        "UserDisplayName": written_values(st.text(LEGAL, max_size=3)),
        "Novelty": plain(st.just("?")),
    }
    optional = draw(st.sets(st.sampled_from(["Score", "Text", "UserDisplayName", "Novelty"])))
    names = draw(st.permutations(["Id", "PostId", "CreationDate", *sorted(optional)]))
    row: dict[str, Any] = dict.fromkeys(SCHEMAS["Comments"].names)
    written = "<row"
    for name in names:
        text, value = draw(strategies[name])
        equals = draw(st.sampled_from(["=", " = "]))
        written += f"{draw(SPACES)}{name}{equals}{value}"
        if name in ATTRIBUTES["Comments"]:
            field = ATTRIBUTES["Comments"][name]
            row[field] = expected_value(text, SCHEMAS["Comments"].field(field).type)
    return row, written + draw(st.sampled_from(["/>", " />", "></row>", " >\n</row >"]))


@settings(deadline=None)  # the first scan of all compiles
@given(
    table=st.lists(written_comments(), max_size=4),
    between=st.sampled_from(["", "\r\n  ", "\n<!-- <row> & more -->\n"]),
    is_utf8_marked=st.booleans(),
    block_bytes=st.integers(1, 200),
)
def test_rows_come_back_however_they_are_written_and_cut_in_blocks(
    table: list[tuple[dict[str, Any], str]], between: str, is_utf8_marked: bool, block_bytes: int
) -> None:
    written = [between + row for _, row in table]
    xml = b"\xef\xbb\xbf" * is_utf8_marked + comments(*written, between)
    batches = read(xml, block_bytes=block_bytes)
    assert rows_of(batches) == [row for row, _ in table]
    assert quarantined_in(batches) == []
    assert sum(batch.num_bytes for batch in batches) == len(xml)
    num_novelties = sum(batch.unknown_attributes.get("Novelty", 0) for batch in batches)
    assert num_novelties == sum("Novelty" in row for row in written)


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("if:\n\tx", "if:\n\tx"),
        ("a&#xD;&#xA;b&#9;", "a\r\nb\t"),
        ("a\r\nb", "a\r\nb"),
        ("a\u2028b\u0085c", "a\u2028b\u0085c"),
        ("\U0001f600&#128512;&#x1F600;", "\U0001f600" * 3),
        ("&#xD83D;&#xDE00;", "\U0001f600"),
        ("it's > &amp;lt;", "it's > &lt;"),
        ("\uff1a\ufdd0\ufffd", "\uff1a\ufdd0\ufffd"),
        ("\x7f\x80", "\x7f\x80"),
    ],
)
def test_every_character_that_xml_allows_is_kept(written: str, text: str) -> None:
    batches = read(comments(comment(written)))
    assert [row["text"] for row in rows_of(batches)] == [text]
    assert batches[0].num_repaired == 0


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("a&#x0E;b", "a\ufffdb"),
        ("a&#0;b", "a\ufffdb"),
        ("a\0b", "a\ufffdb"),
        ("\x1f" * 50, "\ufffd" * 50),
        ("&#xFFFE;\uffff", "\ufffd\ufffd"),
        ("&#x110000;&#99999999999999999999999;", "\ufffd\ufffd"),
        ("&#xD83D;x&#xDE00;", "\ufffdx\ufffd"),
        (f"&#{2**64 + 65};", "\ufffd"),
        ("&#xD83D;&#xD83D;&#xDE00;&#xD83D;", "\ufffd\U0001f600\ufffd"),
    ],
)
def test_characters_that_xml_forbids_are_replaced_and_counted(written: str, text: str) -> None:
    for block_bytes in (1, 1 << 20):
        batches = read(comments(comment(written)), block_bytes=block_bytes)
        assert [row["text"] for row in rows_of(batches)] == [text]
        assert sum(batch.num_repaired for batch in batches) == text.count("\ufffd")


@pytest.mark.parametrize(
    "xml",
    [
        b'\xef\xbb\xbf<?xml version="1.0" encoding="utf-8"?>\r\n<comments>\r\n  %b\r\n</comments>',
        b"<?xml version='1.0' encoding='UTF-8' standalone='yes' ?><comments>%b</comments>",
        b'<?xml version="1.0"?>\n<!-- CC BY-SA\n<!DOCTYPE & co. -->\n<comments>%b</comments>\n',
        b"<comments\n>%b<!-- end --></comments ><!-- of\nit -->\n\n",
        b"<xml>%b</xml>",
    ],
)
def test_frames_as_dumps_have_them_are_read(xml: bytes) -> None:
    assert len(rows_of(read(xml % COMMENT.encode()))) == 1


@pytest.mark.parametrize("xml", [b"<comments />", b"\xef\xbb\xbf<comments/>", b"<a></a>"])
def test_a_table_without_rows_gives_one_empty_batch(xml: bytes) -> None:
    (batch,) = read(xml)
    assert batch.rows.schema == SCHEMAS["Comments"]
    assert (batch.rows.num_rows, batch.num_bytes) == (0, len(xml))


@pytest.mark.parametrize(
    ("written", "tags"),
    [
        ("&lt;c++&gt;&lt;.net-4.5&gt;", ["c++", ".net-4.5"]),
        ("|c++|.net-4.5|", ["c++", ".net-4.5"]),
        ("&lt;java&gt;", ["java"]),
        ("|java|", ["java"]),
        ("", []),
    ],
)
def test_both_tag_notations_are_read(written: str, tags: list[str]) -> None:
    assert rows_of(read(post(f'Tags="{written}"'), "Posts"))[0]["tags"] == tags


def test_an_absent_attribute_is_null_and_an_empty_one_is_empty() -> None:
    (row,) = rows_of(read(post('Title=""'), "Posts"))
    assert (row["title"], row["body"], row["tags"]) == ("", None, None)


@pytest.mark.parametrize(
    ("written", "time"),
    [
        ("2016-12-06T17:10:44.557", datetime(2016, 12, 6, 17, 10, 44, 557_000, UTC)),
        ("2016-12-06T17:10:44.5", datetime(2016, 12, 6, 17, 10, 44, 500_000, UTC)),
        ("2016-12-06T17:10:44", datetime(2016, 12, 6, 17, 10, 44, 0, UTC)),
        ("2016-02-29", datetime(2016, 2, 29, tzinfo=UTC)),
        ("1969-12-31T23:59:59.999", datetime(1969, 12, 31, 23, 59, 59, 999_000, UTC)),
        ("0001-01-01", datetime(1, 1, 1, tzinfo=UTC)),
    ],
)
def test_times_are_utc_with_or_without_fraction_and_clock(written: str, time: datetime) -> None:
    assert rows_of(read(post(f'ClosedDate="{written}"'), "Posts"))[0]["closed_at"] == time


def test_of_a_user_only_the_name_is_read_and_the_rest_is_no_drift() -> None:
    user = '<row Id="-1" Age="40" DisplayName="Community" AboutMe="&#1;" EmailHash="00" Mood="!"/>'
    batch, _ = read(f"<users>{user}</users>".encode(), "Users")
    assert batch.rows.to_pylist() == [{"id": -1, "display_name": "Community"}]
    assert batch.unknown_attributes == {"Mood": 1}


# Rows that cannot be used.


@pytest.mark.parametrize(
    ("attributes", "reason", "detail"),
    [
        ('Id="1" PostId="2"', "missing_attribute", "CreationDate is missing"),
        ('CreationDate="2016-12-06"', "missing_attribute", "Id is missing"),
        ('Id="" PostId="2" CreationDate="2016-12-06"', "bad_number", "Id=''"),
        ('Id="1" PostId="2" CreationDate="2016-12-06" Score="1e3"', "bad_number", "Score='1e3'"),
        ('Id="1" PostId="-" CreationDate="2016-12-06"', "bad_number", "PostId='-'"),
        ('Id="1" PostId="2" Score="2147483648"', "bad_number", "Score='2147483648'"),
        ('Id="9999999999999999999" PostId="2"', "bad_number", "Id='9999999999999999999'"),
        ('Id="\u0664" PostId="2" CreationDate="2016-12-06"', "bad_number", "Id='\u0664'"),
        ('Id="1" PostId="2" CreationDate="2015-02-29"', "bad_date", "CreationDate='2015-02-29'"),
        ('Id="1" PostId="x" CreationDate="y"', "bad_number", "PostId='x'"),
        (f'Id="{"9" * 200}"', "bad_number", f"Id='{'9' * 100}'"),
    ],
)
def test_rows_that_cannot_be_used_are_quarantined(
    attributes: str, reason: str, detail: str
) -> None:
    bad = f"<row {attributes}/>"
    xml = comments(COMMENT, bad, COMMENT)
    batches = read(xml)
    assert len(rows_of(batches)) == 2
    assert quarantined_in(batches) == [
        {
            "table": "Comments",
            "reason": reason,
            "detail": detail,
            "byte_offset": xml.index(bad.encode()),
            "raw": bad.encode(),
        }
    ]


@pytest.mark.parametrize(
    "date",
    [
        *("", "2016", "2016-12-6", "2016-13-01", "2016-00-01", "2016-12-00", "2016/12/06"),
        *("1900-02-29", "2016-12-06T", "2016-12-06T17:10", "2016-12-06 17:10:44"),
        *("2016-12-06T24:00:00", "2016-12-06T17:60:00", "2016-12-06T17:10:60"),
        *("2016-12-06T17:10:44.", "2016-12-06T17:10:44.5571", "2016-12-06T17:10:44Z"),
        *("2016-12-06T17:10:44,557", "-016-12-06", "2016-12-06T17:10:44.5-1"),
    ],
)
def test_times_that_cannot_be_kept_exactly_are_quarantined(date: str) -> None:
    (row,) = quarantined_in(read(post(f'ClosedDate="{date}"'), "Posts"))
    assert (row["reason"], row["detail"]) == ("bad_date", f"ClosedDate={date!r}")


@pytest.mark.parametrize(
    "tags", ["java", "|", "||", "|a||b|", "|a", "a|", "&lt;a&gt;b", "&lt;&gt;"]
)
def test_tags_in_no_known_notation_are_quarantined(tags: str) -> None:
    (row,) = quarantined_in(read(post(f'Tags="{tags}"'), "Posts"))
    assert row["reason"] == "bad_tags"
    assert row["detail"].startswith("Tags=")


@pytest.mark.parametrize(
    ("bad", "first"),
    [(b"caf\xe9", 0xE9), (b"\xed\xa0\x80", 0xED), (b"\xc0\xaf", 0xC0), (b"\xf4\x90\x80\x80", 0xF4)],
)
def test_only_the_rows_that_are_not_utf8_are_quarantined(bad: bytes, first: int) -> None:
    xml = comments(COMMENT, comment("BAD"), comment("café")).replace(b"BAD", bad)
    for block_bytes in (1, 1 << 20):
        batches = read(xml, block_bytes=block_bytes)
        assert [row["text"] for row in rows_of(batches)] == ["hi", "café"]
        (row,) = quarantined_in(batches)
        assert row["reason"] == "not_utf8"
        assert xml[row["byte_offset"] :].startswith(row["raw"])
        offset = row["raw"].index(bytes([first]))
        assert row["detail"] == f"byte 0x{first:02x}, {offset} bytes into the row"


def test_offsets_and_bytes_of_quarantined_rows_are_exact_for_any_block() -> None:
    rows = [comment(f"é{k}") if k % 3 else f"\n <row Bad='{k}' />" for k in range(30)]
    xml = b"\xef\xbb\xbf<!-- x -->" + comments(*rows)
    for block_bytes in (1, 7, 64, 1 << 20):
        batches = read(xml, block_bytes=block_bytes)
        assert len(rows_of(batches)) == 20
        for k, row in enumerate(quarantined_in(batches)):
            assert row["raw"] == b"<row Bad='%d' />" % (3 * k)
            assert xml[row["byte_offset"] :].startswith(row["raw"])
            assert row["reason"] in QUARANTINE_REASONS


# Tables that are refused.


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        (b"", r"the file is empty at byte 0"),
        (b"\x1f\x8b\x08\x00rest", "gzip data instead of XML"),
        (b"7z\xbc\xaf\x27\x1c\x00\x04", "a 7z archive instead of XML"),
        ("<comments/>".encode("utf-16"), "UTF-16 text instead of XML"),
        (b"Id,PostId\n1,2\n", r"'Id,PostId.n1,2.n' instead of XML at byte 0"),
        (b"\xef\xbb\xbf \n", "cut off at byte 5"),
        (b'<?xml version="1.0" encoding="utf-16"?><a/>', "encoding utf-16 instead of utf-8"),
        (b'<?xml version="1.1"?><a/>', "a broken XML declaration"),
        (b' <?xml version="1.0"?><a/>', "no root like <posts> but '<.xml"),
        (b"<?pi data?><a></a>", "no root like <posts> but '<.pi"),
        (b'<posts xmlns="x"></posts>', "no root like <posts>"),
        (b"<!-- <a></a>", "cut off at byte 12, in what begins at byte 0"),
        (b"<!--><a></a>", "cut off at byte 12"),
        (b"<!-- <a></a> -- --><a></a>", "a comment with `--` inside at byte 0"),
        (b"<a><!-- ---></a>", "a comment with `--` inside at byte 3"),
        (b"<a><!-- -->", "cut off at byte 11"),
        (b"<a> ", "cut off at byte 4"),
        (b"<a></b>", "'</b>' instead of </a> at byte 3"),
        (b"<a></a >x", "'x' after the end of the root at byte 8"),
        (b"<a></a><a></a>", "after the end of the root at byte 7"),
        (b"<a/><row Id='1'/>", "after the end of the root at byte 4"),
        (b"<a>\0</a>", "instead of a row at byte 3"),
        (b"<a>text<row/></a>", "'text<row/></a>' instead of a row at byte 3"),
        (b"<a><![CDATA[x]]></a>", "instead of a row at byte 3"),
        (b"<a><?pi data?></a>", "instead of a row at byte 3"),
        (b"<a><ROW/></a>", "instead of a row at byte 3"),
        (b"<a><rows/></a>", "instead of a row at byte 3"),
        (b"<a>&lt;</a>", "instead of a row at byte 3"),
        (b"<a><row>text</row></a>", "content inside a row at byte 8"),
        (b"<a><row><row/></row></a>", "content inside a row at byte 8"),
        (b"<a><row></rows></a>", "content inside a row at byte 8"),
        (b"<a><row / ></a>", "tag is broken"),
        (b"<a><row Id='1' Id='1'/></a>", "already has at byte 15"),
        (b"<a><row X='1' Y='2' X='1'/></a>", "already has at byte 20"),
        (b"<a><row Id='1'PostId='2'/></a>", "tag is broken .* at byte 14"),
        (b"<a><row 1d='1'/></a>", "tag is broken .* at byte 8"),
        (b"<a><row Id/></a>", "an attribute without a value at byte 10"),
        (b"<a><row Id=1/></a>", "a value without quotes at byte 11"),
        (b"<a><row Id='1/></a>", "`<` inside a value at byte 15"),
        (b"<a><row Id='1<2'/></a>", "`<` inside a value at byte 13"),
        (b"<a><row Text='&nbsp;'/></a>", "unknown reference .* at byte 14"),
        (b"<a><row Text='R&D'/></a>", "unknown reference .* at byte 15"),
        (b"<a><row Text='&LT;&#;'/></a>", "unknown reference .* at byte 14"),
        (b"<a><row Text='&#;'/></a>", "unknown reference .* at byte 14"),
        (b"<a><row Text='&#x;'/></a>", "unknown reference .* at byte 14"),
        (b"<a><row Text='&#X41;'/></a>", "unknown reference .* at byte 14"),
        (b"<a><row Text='&#4F;'/></a>", "unknown reference .* at byte 14"),
        (b"<a><row Text='&#xD83D;&x;'/></a>", "unknown reference .* at byte 22"),
        (b"<a><row Text='&#-1;'/></a>", "unknown reference .* at byte 14"),
    ],
)
def test_what_is_not_a_dump_table_is_refused_with_its_place(xml: bytes, message: str) -> None:
    for block_bytes in (1, 1 << 20):
        with pytest.raises(MalformedXml, match=rf"^Comments.xml: .*{message}.*; "):
            read(xml, block_bytes=block_bytes)


DOCTYPE = b'<!DOCTYPE a [<!ENTITY b "boom">]>'


@pytest.mark.parametrize(
    "xml",
    [
        DOCTYPE + b"<a><row Id='&b;'/></a>",
        b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- x -->\n' + DOCTYPE,
        b"<a>" + DOCTYPE + b"</a>",
        b"<a></a>" + DOCTYPE,
        b"<!DOCTYPE",
    ],
)
def test_a_doctype_is_refused_wherever_it_stands(xml: bytes) -> None:
    for block_bytes in (1, 1 << 20):
        with pytest.raises(DoctypeRefused, match=r"a DOCTYPE at byte \d+"):
            read(xml, block_bytes=block_bytes)


def test_every_hostile_file_is_refused(shared_data: Path) -> None:
    paths = sorted((shared_data / "hostile" / "defusedxml").iterdir())
    paths += sorted((shared_data / "hostile" / "truncated").iterdir())
    assert len(paths) >= 13
    for path in paths:
        data = path.read_bytes()
        kind = DoctypeRefused if b"<!DOCTYPE" in data else MalformedXml
        with pytest.raises(kind, match=r"at byte \d+"):
            read(data, "Posts")


TABLE = comments(
    "\r\n  " + COMMENT,
    "\r\n  " + comment("a &lt;b&gt; &#xA; \t c") + "<!-- fine -->",
    "\r\n  <row Id='3' PostId='four' CreationDate='2016-12-06'></row>",
    "\r\n  "
    + comment("\u00fc\U0001f600 &amp;amp; &#x0E;").replace("Id=", "New='1' Id=", 1)
    + "\r\n",
)
TABLE = b'\xef\xbb\xbf<?xml version="1.0" encoding="utf-8"?>\r\n' + TABLE


def test_the_table_that_is_damaged_below_is_read() -> None:
    batches = read(TABLE)
    assert (len(rows_of(batches)), len(quarantined_in(batches))) == (3, 1)


def test_a_table_cut_anywhere_is_refused_with_the_place() -> None:
    for end in np.linspace(0, len(TABLE) - 1, 100, dtype=int):
        with pytest.raises(MalformedXml, match=rf"(cut off|empty) at byte {end}\b"):
            read(TABLE[:end], block_bytes=50)


def mutate(data: bytes, random: np.random.Generator) -> bytes:
    """Flip a bit, remove, double or overwrite a piece: once to three times."""
    damaged = bytearray(data)
    for _ in range(random.integers(1, 4)):
        start = int(random.integers(len(damaged)))
        piece = slice(start, start + int(random.integers(1, 20)))
        kind = random.integers(5)
        if kind == 0:
            damaged[start] ^= 1 << int(random.integers(8))
        elif kind == 1:
            del damaged[piece]
        elif kind == 2:
            damaged[start:start] = damaged[piece]
        elif kind == 3:
            damaged[piece] = random.bytes(len(damaged[piece]))
        else:
            damaged[start] = int(random.choice(list(b"<>&;\"'= /!-#x\x00\xef\xff")))
    return bytes(damaged)


@pytest.mark.parametrize("block_bytes", [13, 1 << 20])
def test_damage_is_refused_or_no_row_is_lost(block_bytes: int) -> None:
    random = np.random.default_rng(2306)
    num_read = 0
    for _ in range(500):
        damaged = mutate(TABLE, random)
        try:
            batches = read(damaged, block_bytes=block_bytes)
        except SobertError:
            continue
        num_read += 1
        num_rows = len(rows_of(batches)) + len(quarantined_in(batches))
        assert num_rows == len(re.findall(rb"<row\b", re.sub(rb"(?s)<!--.*?-->", b"", damaged)))
        assert sum(batch.num_bytes for batch in batches) == len(damaged)
    assert num_read > 50  # the damage is not always fatal, so both ways are tried


# Limits.


def test_a_row_has_a_largest_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xmlframe, "MAX_ROW_BYTES", 1000)
    largest = comment("x" * (1000 - len(comment(""))))
    for block_bytes in (1, 300, 1000):
        assert len(rows_of(read(comments(COMMENT, largest, COMMENT), block_bytes=block_bytes))) == 3
        with pytest.raises(MalformedXml, match=f"in one piece at byte {10 + len(COMMENT)}"):
            larger = largest.replace("x", "xx", 1)
            read(comments(COMMENT, larger, COMMENT), block_bytes=block_bytes)


def test_a_row_has_a_largest_number_of_attributes() -> None:
    attributes = [f"A{k}='v'" for k in range(MAX_ATTRIBUTES + 1)]
    (batch, _) = read(comments(f"<row {' '.join(attributes[1:])}/>"))
    assert batch.quarantined.num_rows == 1
    with pytest.raises(MalformedXml, match=f"more than {MAX_ATTRIBUTES} attributes"):
        read(comments(f"<row {' '.join(attributes)}/>"))


def test_more_rows_than_one_scan_holds_all_come() -> None:
    links = "".join(
        f"<row Id='{k}' PostId='1' RelatedPostId='2' LinkTypeId='3'/>" for k in range(MAX_ROWS + 9)
    )
    batches = read(f"<a>{links}</a>".encode(), "PostLinks", block_bytes=4 << 20)
    assert [row["id"] for row in rows_of(batches)] == list(range(MAX_ROWS + 9))


def test_more_unknown_attributes_than_one_scan_holds_are_all_counted() -> None:
    unknown = " ".join(f"A{k}='v'" for k in range(60))
    batches = read(comments(*[COMMENT.replace("<row", f"<row {unknown}")] * 900))
    assert len(rows_of(batches)) == 900
    assert sum(batch.unknown_attributes.get("A59", 0) for batch in batches) == 900


def test_more_bad_values_than_rows_are_all_held() -> None:
    bad = "<row " + " ".join(f"{attribute}=''" for attribute in ATTRIBUTES["PostLinks"]) + "/>"
    batches = read(f"<a>{bad * (MAX_ROWS + 1)}</a>".encode(), "PostLinks", block_bytes=4 << 20)
    assert len(quarantined_in(batches)) == MAX_ROWS + 1


class SlowStream(io.BytesIO):
    """Gives three bytes at most, as a pipe may."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(3)


def test_a_stream_may_give_less_than_was_asked_for() -> None:
    batches = list(iter_row_batches(SlowStream(TABLE), "Comments", file="Comments.xml"))
    assert rows_of(batches) == rows_of(read(TABLE))


def test_unknown_tables_and_blocks_out_of_range_are_refused_at_once() -> None:
    with pytest.raises(BadValue, match="no table is called 'Badges'; choose one of Posts, "):
        iter_row_batches(io.BytesIO(), "Badges", file="Badges.xml")
    for block_bytes in (0, (64 << 20) + 1):
        with pytest.raises(BadValue, match="block_bytes"):
            iter_row_batches(io.BytesIO(), "Posts", file="Posts.xml", block_bytes=block_bytes)
