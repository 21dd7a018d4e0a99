"""Parquet files: written one way, digested by their rows, read back checked.

Format: Parquet 2.6, zstd, content-defined chunking, page index, page checksums, no dictionary on
text, row groups cut by rows given by the caller and by 64 MB of Arrow memory. Two versions of a
Parquet writer give other bytes for the same rows; row digests (`corpus.rowdigest`) are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from corpus.durable import sync
from corpus.errors import IntegrityError
from corpus.manifest import FileEntry, digest_file
from corpus.rowdigest import RowDigest

# Twice this may be in memory while a group is written. The Hub's viewer wants at most 100 MB.
ROW_GROUP_BYTES = 64_000_000
CHUNKING = {"min_chunk_size": 256 * 1024, "max_chunk_size": 1024 * 1024, "norm_level": 0}


class TableWriter:
    """Write one Parquet file under `folder`, batch by batch, and return its entry at the end."""

    def __init__(
        self,
        folder: Path,
        name: str,
        schema: pa.Schema,
        *,
        text_columns: Sequence[str] = (),
        level: int = 3,
    ) -> None:
        """Name the file. A dictionary on `text_columns` (long texts) would only cost time.

        `level` is zstd's: 3 for what is kept (2.7:1), 1 for what is read once (twice as fast).
        """
        self._level = level
        self._path, self._name, self._schema = folder / name, name, schema
        self._digest, self._num_rows, self._text_columns = RowDigest(schema), 0, text_columns

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        dictionary = [path for path in _leaf_paths(self._schema) if path not in self._text_columns]
        self._writer = pq.ParquetWriter(
            self._path,
            self._schema,
            compression="zstd",
            compression_level=self._level,
            use_dictionary=dictionary,
            use_content_defined_chunking=CHUNKING,
            write_page_index=True,
            write_page_checksum=True,
            store_schema=False,
        )
        return self

    def write(self, table: pa.Table | pa.RecordBatch) -> None:
        """Append rows; every call that brings rows begins a new row group."""
        if not len(table):
            return
        if isinstance(table, pa.RecordBatch):
            table = pa.Table.from_batches([table])
        table = table.cast(self._schema).combine_chunks()
        self._digest.update(table)
        self._num_rows += len(table)
        rows = max(1, len(table) * ROW_GROUP_BYTES // max(table.nbytes, ROW_GROUP_BYTES))
        self._writer.write_table(table, row_group_size=rows)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.close()

    def entry(self) -> FileEntry:
        """Describe the closed file, after it is on disk."""
        return describe_file(
            self._path, self._name, num_rows=self._num_rows, rows_sha256=self._digest.hexdigest()
        )


def write_table(
    folder: Path,
    name: str,
    tables: Iterable[pa.Table | pa.RecordBatch] | pa.Table,
    schema: pa.Schema,
    *,
    text_columns: Sequence[str] = (),
    level: int = 3,
) -> FileEntry:
    """Write one Parquet file and return its entry."""
    tables = [tables] if isinstance(tables, pa.Table) else tables
    with TableWriter(folder, name, schema, text_columns=text_columns, level=level) as writer:
        for table in tables:
            writer.write(table)
    return writer.entry()


def describe_file(
    path: Path, name: str, *, num_rows: int = 0, rows_sha256: str | None = None
) -> FileEntry:
    """Sync a finished file to disk and return its entry; without rows the two digests are equal."""
    sync(path)
    sha256 = digest_file(path)
    return FileEntry(name, path.stat().st_size, num_rows, sha256, rows_sha256 or sha256)


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read one Parquet file, its page checksums verified.

    Raises:
        IntegrityError: the file is missing or its bytes are damaged.
    """
    with _opened(path) as file:
        return file.read(columns=None if columns is None else list(columns))


def iter_groups(path: Path, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """Iterate over the row groups of one Parquet file, page checksums verified.

    Raises:
        IntegrityError: the file is missing or its bytes are damaged.
    """
    with _opened(path) as file:
        for group in range(file.num_row_groups):
            yield file.read_row_group(group, columns=None if columns is None else list(columns))


def digest_rows(path: Path) -> str:
    """Return the row digest of a Parquet file, as its writer recorded it.

    Raises:
        IntegrityError: the file is missing or its bytes are damaged.
    """
    with _opened(path) as file:
        digest = RowDigest(file.schema_arrow)
        for batch in file.iter_batches():
            digest.update(batch)
    return digest.hexdigest()


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield file
    except (OSError, pa.ArrowException) as error:
        raise IntegrityError(
            f"{path} cannot be read ({error}); delete its artifact's folder and build again"
        ) from error


def empty_table(schema: pa.Schema) -> pa.Table:
    """Return a table of no rows.

    >>> len(empty_table(pa.schema({"a": pa.int64()})))
    0
    """
    return schema.empty_table()


def _leaf_paths(schema: pa.Schema) -> list[str]:
    paths: list[str] = []
    for field in schema:
        _add_leaf_paths(field.name, field.type, paths)
    return paths


def _add_leaf_paths(path: str, kind: pa.DataType, paths: list[str]) -> None:
    if pa.types.is_struct(kind):
        for field in kind:
            _add_leaf_paths(f"{path}.{field.name}", field.type, paths)
    elif pa.types.is_list(kind):
        _add_leaf_paths(f"{path}.list.element", kind.value_type, paths)
    else:
        paths.append(path)
