"""Parquet files are written one way, and what is damaged is not read."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corpus.errors import IntegrityError
from corpus.rowdigest import RowDigest
from corpus.tables import (
    TableWriter,
    describe_file,
    digest_rows,
    empty_table,
    read_table,
    write_table,
)

SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        ("text", pa.string()),
        ("at", pa.timestamp("ms", "UTC")),
        ("tags", pa.list_(pa.string())),
        ("spans", pa.list_(pa.struct([("start", pa.int32()), ("name", pa.string())]))),
    ]
)


def make_rows(num_rows: int) -> pa.Table:
    rows = [
        {
            "id": n,
            "text": None if n % 7 == 0 else f"text {n} " * (n % 5),
            "at": n * 1000,
            "tags": None if n % 11 == 0 else ["x"] * (n % 3),
            "spans": [{"start": n, "name": None}] * (n % 2),
        }
        for n in range(num_rows)
    ]
    return pa.Table.from_pylist(rows, SCHEMA)


@pytest.mark.parametrize("num_rows", [0, 1, 500])
def test_a_written_file_is_read_back_and_its_digests_recomputed(
    tmp_path: Path, num_rows: int
) -> None:
    table = make_rows(num_rows)
    entry = write_table(tmp_path, "deep/er.parquet", table, SCHEMA)
    path = tmp_path / "deep" / "er.parquet"
    assert (entry.name, entry.num_rows) == ("deep/er.parquet", num_rows)
    assert entry.num_bytes == path.stat().st_size
    assert entry.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert read_table(path).to_pylist() == table.to_pylist()
    assert digest_rows(path) == entry.rows_sha256 != entry.sha256


def test_tables_and_batches_are_written_one_after_the_other(tmp_path: Path) -> None:
    table = make_rows(30)
    parts = [table.slice(0, 10), table.slice(10).to_batches()[0], empty_table(SCHEMA)]
    entry = write_table(tmp_path, "x.parquet", parts, SCHEMA)
    assert read_table(tmp_path / "x.parquet").to_pylist() == table.to_pylist()
    assert entry.rows_sha256 == write_table(tmp_path, "y.parquet", table, SCHEMA).rows_sha256


def test_nothing_to_write_is_a_file_of_no_rows(tmp_path: Path) -> None:
    for number, nothing in enumerate([[], empty_table(SCHEMA), [empty_table(SCHEMA)] * 2]):
        entry = write_table(tmp_path, f"{number}.parquet", nothing, SCHEMA)
        assert entry.rows_sha256 == RowDigest(SCHEMA).hexdigest()
        assert read_table(tmp_path / entry.name).num_rows == 0
    contents = {path.read_bytes() for path in tmp_path.iterdir()}
    assert len(contents) == 1


def test_the_bytes_do_not_depend_on_how_rows_came_in_chunks(tmp_path: Path) -> None:
    # Large enough for its dictionary to be given up half way: where, depends on the chunks.
    random = Random(1)
    table = pa.table({"text": [random.randbytes(200).hex() for _ in range(6_000)]})
    chunked = pa.concat_tables([table.slice(start, 77) for start in range(0, 6_000, 77)])
    entries = [write_table(tmp_path, "x.parquet", one, table.schema) for one in (table, chunked)]
    assert entries[0] == entries[1]


def test_columns_are_cast_to_the_schema(tmp_path: Path) -> None:
    table = pa.table(
        {"a": pa.array([1, 2], pa.int32()), "b": pa.array(["x", "y"]).dictionary_encode()}
    )
    schema = pa.schema({"a": pa.int64(), "b": pa.string()})
    write_table(tmp_path, "x.parquet", table, schema)
    assert read_table(tmp_path / "x.parquet").schema == schema


def test_the_file_is_in_the_form_that_the_docstring_says(tmp_path: Path) -> None:
    with TableWriter(tmp_path, "x.parquet", SCHEMA, text_columns=["text"]) as writer:
        writer.write(make_rows(300))
        writer.write(make_rows(10))
    with pq.ParquetFile(tmp_path / "x.parquet") as file:
        metadata = file.metadata
    assert metadata.format_version == "2.6"
    assert [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)] == [300, 10]
    columns = {
        column.path_in_schema: column
        for column in (metadata.row_group(0).column(n) for n in range(metadata.num_columns))
    }
    assert {column.compression for column in columns.values()} == {"ZSTD"}
    assert all(column.has_column_index and column.has_offset_index for column in columns.values())
    plain = [name for name, column in columns.items() if not column.has_dictionary_page]
    assert plain == ["text"]
    assert metadata.metadata is None  # no Arrow schema: it would change with pyarrow


def test_row_groups_are_cut_by_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("corpus.tables.ROW_GROUP_BYTES", 4_000)
    table = pa.table({"a": list(range(2_000))})
    entry = write_table(tmp_path, "x.parquet", table, table.schema)
    metadata = pq.read_metadata(tmp_path / "x.parquet")
    assert [metadata.row_group(n).num_rows for n in range(4)] == [500] * 4
    assert entry.rows_sha256 == digest_rows(tmp_path / "x.parquet")


def test_one_row_larger_than_a_row_group_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("corpus.tables.ROW_GROUP_BYTES", 4)
    write_table(tmp_path, "x.parquet", make_rows(3), SCHEMA)
    assert read_table(tmp_path / "x.parquet").num_rows == 3


def test_other_writers_give_the_same_row_digest(tmp_path: Path) -> None:
    table = make_rows(500)
    entry = write_table(tmp_path, "ours.parquet", table, SCHEMA)
    pq.write_table(table, tmp_path / "theirs.parquet", compression="snappy", row_group_size=7)
    assert digest_rows(tmp_path / "theirs.parquet") == entry.rows_sha256


def test_only_wanted_columns_are_read(tmp_path: Path) -> None:
    write_table(tmp_path, "x.parquet", make_rows(3), SCHEMA)
    assert read_table(tmp_path / "x.parquet", ["text", "id"]).to_pydict().keys() == {"id", "text"}


def test_no_flipped_bit_gives_other_rows(tmp_path: Path) -> None:
    table = make_rows(2_000)
    entry = write_table(tmp_path, "t.parquet", table, SCHEMA)
    path = tmp_path / entry.name
    good = path.read_bytes()
    num_refused = 0
    for place in range(0, len(good), len(good) // 150):
        bad = bytearray(good)
        bad[place] ^= 1 << (place % 8)
        path.write_bytes(bad)
        assert describe_file(path, entry.name).sha256 != entry.sha256
        try:
            rows = read_table(path)
        except IntegrityError:
            num_refused += 1
        else:
            # What page checksums do not cover is headers and footer; the file digest does.
            assert rows.to_pylist() == table.to_pylist() or digest_rows(path) != entry.rows_sha256
    assert num_refused > 100


@pytest.mark.parametrize("read", [read_table, digest_rows])
@pytest.mark.parametrize("content", [None, b"", b"PAR1", b"hello " * 100])
def test_what_is_no_table_is_an_integrity_error(
    tmp_path: Path, read: Any, content: bytes | None
) -> None:
    path = tmp_path / "x.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(IntegrityError, match=r"x\.parquet cannot be read .*; delete its artifact"):
        read(path)


def test_a_truncated_table_is_an_integrity_error(tmp_path: Path) -> None:
    entry = write_table(tmp_path, "x.parquet", make_rows(300), SCHEMA)
    path = tmp_path / entry.name
    whole = path.read_bytes()
    for num_bytes in range(0, len(whole), len(whole) // 30):
        path.write_bytes(whole[:num_bytes])
        with pytest.raises(IntegrityError):
            read_table(path)


def test_a_described_file_has_its_digest_twice(tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(b"hello")
    entry = describe_file(tmp_path / "x.npy", "x.npy", num_rows=5)
    assert entry.sha256 == entry.rows_sha256 == hashlib.sha256(b"hello").hexdigest()
    assert (entry.name, entry.num_bytes, entry.num_rows) == ("x.npy", 5, 5)


def test_a_described_file_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(
        os, "fsync", lambda fd: synced.append(Path(f"/proc/self/fd/{fd}").readlink())
    )
    entry = write_table(tmp_path, "x.parquet", make_rows(3), SCHEMA)
    assert synced == [tmp_path / entry.name]


def test_a_full_disk_is_an_error_and_no_file(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as caught:
        write_table(tmp_path, "x.parquet", make_rows(300), SCHEMA)
    assert caught.value.errno == 28
