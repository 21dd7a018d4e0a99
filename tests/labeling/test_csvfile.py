"""CSV files are read exactly, or refused with the place."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from corpus.errors import SourceError
from labeling.csvfile import MAX_FIELD, read_csv

COLUMNS = ("Id", "Text", "Y")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.csv"


def rows_of(path: Path, content: bytes, **how: str) -> list[tuple[int, list[str]]]:
    path.write_bytes(content)
    return [
        (row.line, list(row.fields.values())) for row in read_csv(path, COLUMNS, **how).iter_rows()
    ]


def test_line_ends_inside_fields_are_kept_and_lines_counted(path: Path) -> None:
    content = b'Id,Text,Y\r\n1,"a\r\nb\nc\rd",x\r\n2,"""q"", ",y\r\n3,,z'
    assert rows_of(path, content) == [
        (2, ["1", "a\r\nb\nc\rd", "x"]),
        (6, ["2", '"q", ', "y"]),
        (7, ["3", "", "z"]),
    ]


def test_columns_may_stand_in_any_order(path: Path) -> None:
    path.write_bytes(b"Y,Id,Text\nx,1,a\n")
    (row,) = read_csv(path, COLUMNS).iter_rows()
    assert row.fields == {"Id": "1", "Text": "a", "Y": "x"}


@pytest.mark.parametrize(
    ("content", "encoding", "text"),
    [
        ("\ufeffId,Text,Y\n1,é,x".encode(), "utf-8-sig", "é"),
        ("Id,Text,Y\n1,é,x".encode(), "utf-8-sig", "é"),
        ("Id,Text,Y\n1,“é,x".encode("cp1252"), "cp1252", "“é"),
    ],
)
def test_the_encoding_is_found_and_said(
    path: Path, content: bytes, encoding: str, text: str
) -> None:
    assert rows_of(path, content) == [(2, ["1", text, "x"])]
    assert read_csv(path, COLUMNS).encoding == encoding


def test_a_byte_that_cp1252_does_not_know_is_named_by_its_offset(path: Path) -> None:
    content = b"Id,Text,Y\n" + b"1,a,x\n" * 200_000 + b"2,\xe9\x81,x"
    with pytest.raises(SourceError, match=rf"byte {content.index(0x81)} \(0x81\) is not cp1252"):
        rows_of(path, content)
    assert rows_of(path, content, encoding="latin-1")[-1] == (200_002, ["2", "é\x81", "x"])


def test_a_character_cut_in_two_by_a_block_is_whole(path: Path) -> None:
    head = b"Id,Text,Y\n1,"
    filler = b"a" * ((1 << 20) - len(head) - 1)
    (row,) = rows_of(path, head + filler + "é,x".encode())
    assert row[1][1].endswith("aé")


def test_a_given_encoding_is_the_only_one_tried(path: Path) -> None:
    with pytest.raises(SourceError, match=r"byte 12 \(0xe9\) is not utf-8"):
        rows_of(path, b"Id,Text,Y\n1,\xe9,x", encoding="utf-8")


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("Id,Text", "misses 'Y'"),
        ("Id,Text,Y,Z", "does not know 'Z'"),
        ("Id,Text,y", "misses 'Y'; does not know 'y'"),
        ("Id,Text,Y,Y", "has twice 'Y'"),
        ("", "misses 'Id', 'Text', 'Y'"),
    ],
)
def test_a_wrong_header_is_refused_by_name(path: Path, header: str, said: str) -> None:
    path.write_text(header)
    with pytest.raises(SourceError, match=said) as raised:
        read_csv(path, COLUMNS)
    assert "expected Id,Text,Y" in str(raised.value)


@pytest.mark.parametrize(
    ("rows", "line", "column", "said"),
    [
        ('1,a,x\n2,"b\nc\n', 3, "Text", "ends inside quotes"),
        ('1,a,x\n2,"b"c,y\n', 3, "Text", "not doubled"),
        ("1,a,x\n2,b\n", 3, "Y", "2 fields where the header has 3"),
        ("1,a,x\n2", 3, "Text", "1 fields"),
        ("1,a,x,\n", 2, "Y", "4 fields"),
        ('1,"a\n\n",x\n\n', 5, "Id", "0 fields"),
        ("1,a\0,x\n", 2, "Text", "NUL"),
        (f"1,{'a' * (MAX_FIELD + 1)},x\n", 2, "Text", "limit"),
    ],
)
def test_a_broken_row_is_refused_with_its_place(
    path: Path, rows: str, line: int, column: str, said: str
) -> None:
    with pytest.raises(SourceError) as raised:
        rows_of(path, f"Id,Text,Y\n{rows}".encode())
    message = str(raised.value)
    assert re.search(rf"a\.csv, line {line}, column {column}: .*{said}", message)
    assert "\n" not in message


def test_a_missing_file_is_an_error_of_the_source(path: Path) -> None:
    with pytest.raises(SourceError, match="No such file"):
        read_csv(path, COLUMNS)


def test_real_rows_are_those_of_the_standard_reader(shared_data: Path) -> None:
    path = shared_data / "bench" / "closed" / "train-tiny.csv"
    with open(path, encoding="utf-8", newline="") as stream:
        expected = list(csv.DictReader(stream))
    file = read_csv(path, list(expected[0]))
    assert [row.fields for row in file.iter_rows()] == expected
    lines = path.read_bytes().decode().splitlines(keepends=True)
    assert all(lines[row.line - 1].startswith(row.fields["PostId"]) for row in file.iter_rows())


def test_a_real_file_that_is_cut_off_gives_no_row_that_it_did_not_have(
    shared_data: Path, path: Path
) -> None:
    content = (shared_data / "bench" / "closed" / "train-tiny.csv").read_bytes()
    columns = content.splitlines()[0].decode().split(",")
    path.write_bytes(content)
    whole = list(read_csv(path, columns).iter_rows())
    refused = 0
    for size in range(2_000, 60_000, 997):
        path.write_bytes(content[:size])
        found = []
        try:
            found.extend(read_csv(path, columns).iter_rows())
        except SourceError:
            refused += 1
        # A cut through the last field of a row, which has no quotes, cannot be seen from the form.
        for row, expected in zip(found, whole, strict=False):
            last = row.fields.pop(columns[-1])
            assert row.fields == {name: expected.fields[name] for name in columns[:-1]}
            assert expected.fields[columns[-1]].startswith(last)
    assert refused >= 55
