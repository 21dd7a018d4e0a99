"""The digest of rows: the same for any batching, any writer, and any version of a file format.

    digest = SHA-256 of a line `path: type` for each leaf, then of each leaf's own SHA-256

A column has up to three leaves, and so has what is inside a list or a struct:

    a?    1 byte a value: is it there
    a#    the length of a text, bytes or list, int64; null is 0
    a     the values, little-endian, null as 0; the bytes of texts, one after the other
    a[]   and a.b: what is inside a list, and a struct, by the same rules
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpus.errors import BadValue


class RowDigest:
    """SHA-256 of rows, fed in batches.

    >>> schema = pa.schema({"a": pa.string()})
    >>> whole, halves = RowDigest(schema), RowDigest(schema)
    >>> whole.update(pa.table({"a": ["x", None, "yz"]}))
    >>> halves.update(pa.table({"a": ["x"]})); halves.update(pa.table({"a": [None, "yz"]}))
    >>> whole.hexdigest() == halves.hexdigest()
    True
    """

    def __init__(self, schema: pa.Schema) -> None:
        """Begin with no rows.

        Raises:
            BadValue: a column is of a type that Parquet would give back as another.
        """
        self._names = schema.names
        self._types = dict(leaf for field in schema for leaf in _leaves(field.name, field.type))
        self._digests = {path: hashlib.sha256() for path in self._types}

    def update(self, table: pa.Table | pa.RecordBatch) -> None:
        """Take in rows, in order."""
        for name in self._names:
            column = table.column(name)
            for array in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
                self._update_array(name, array)

    def hexdigest(self) -> str:
        """Return the digest of all rows so far as 64 hex digits."""
        lines = (f"{path}: {kind}\n" for path, kind in self._types.items())
        whole = hashlib.sha256("".join(lines).encode())
        for digest in self._digests.values():
            whole.update(digest.digest())
        return whole.hexdigest()

    def _update_array(self, path: str, array: pa.Array) -> None:
        kind = array.type
        self._update_leaf(f"{path}?", array.is_valid().cast(pa.uint8()))
        if pa.types.is_struct(kind):
            for field, child in zip(kind, array.flatten(), strict=True):
                self._update_array(f"{path}.{field.name}", child)
        elif pa.types.is_list(kind):
            self._update_leaf(f"{path}#", pc.list_value_length(array).cast(pa.int64()))
            self._update_array(f"{path}[]", array.flatten())
        elif pa.types.is_string(kind) or pa.types.is_binary(kind):
            self._update_leaf(f"{path}#", pc.binary_length(array).cast(pa.int64()))
            self._digests[path].update(_joined(array))
        elif pa.types.is_boolean(kind):
            self._update_leaf(path, array.cast(pa.uint8()))
        else:
            self._update_leaf(path, array.view("i8") if pa.types.is_timestamp(kind) else array)

    def _update_leaf(self, path: str, numbers: pa.Array) -> None:
        self._digests[path].update(np.ascontiguousarray(pc.fill_null(numbers, 0)).data)


def _leaves(path: str, kind: pa.DataType) -> Iterator[tuple[str, str]]:
    """Yield the path and type of each leaf. Names inside a list are the file format's: left out."""
    yield f"{path}?", "valid"
    if pa.types.is_struct(kind):
        for field in kind:
            yield from _leaves(f"{path}.{field.name}", field.type)
    elif pa.types.is_list(kind):
        yield f"{path}#", "length"
        yield from _leaves(f"{path}[]", kind.value_type)
    elif pa.types.is_string(kind) or pa.types.is_binary(kind):
        yield f"{path}#", "length"
        yield path, str(kind)
    elif _is_plain(kind):
        yield path, str(kind)
    else:
        raise BadValue(f"column {path} is {kind}, which has no row digest; use a plainer type")


def _is_plain(kind: pa.DataType) -> bool:
    if pa.types.is_timestamp(kind):
        return bool(kind.unit != "s")
    is_number = pa.types.is_integer(kind) or pa.types.is_float32(kind) or pa.types.is_float64(kind)
    return bool(is_number or pa.types.is_boolean(kind))


def _joined(array: pa.Array) -> Any:
    """Return the bytes of all texts, one after the other; null has none."""
    array = pc.fill_null(array, b"" if pa.types.is_binary(array.type) else "")
    _, offsets, data = array.buffers()
    edges = np.frombuffer(offsets, "<i4")[array.offset : array.offset + len(array) + 1]
    return np.frombuffer(data, "u1")[edges[0] : edges[-1]] if data and len(edges) else b""


def digest_table(table: pa.Table) -> str:
    """Return the digest of the rows of a table, 64 hex digits."""
    digest = RowDigest(table.schema)
    digest.update(table)
    return digest.hexdigest()
