"""A row digest sees rows: not batches, not writers, not what lies under nulls."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.errors import BadValue
from corpus.rowdigest import RowDigest

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("score", pa.float64()),
        ("text", pa.string()),
        ("is_new", pa.bool_()),
        ("raw", pa.binary()),
        ("at", pa.timestamp("ms", "UTC")),
        ("tags", pa.list_(pa.string())),
        ("spans", pa.list_(pa.struct([("start", pa.int32()), ("name", pa.string())]))),
        ("nested", pa.list_(pa.list_(pa.uint8()))),
    ]
)
SPAN = st.fixed_dictionaries(
    {"start": st.none() | st.integers(0, 9), "name": st.none() | st.text(max_size=2)}
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.none() | st.integers(-(2**40), 2**40),
            "score": st.none() | st.floats(allow_nan=False).map(abs),
            "text": st.none() | st.text(max_size=5),
            "is_new": st.none() | st.booleans(),
            "raw": st.none() | st.binary(max_size=3),
            "at": st.none() | st.integers(0, 2**40),
            "tags": st.none() | st.lists(st.none() | st.text(max_size=2), max_size=3),
            "spans": st.none() | st.lists(st.none() | SPAN, max_size=2),
            "nested": st.none()
            | st.lists(
                st.none() | st.lists(st.none() | st.integers(0, 255), max_size=2), max_size=2
            ),
        }
    ),
    max_size=6,
)


def digest(schema: pa.Schema, *tables: pa.Table | pa.RecordBatch) -> str:
    whole = RowDigest(schema)
    for table in tables:
        whole.update(table)
    return whole.hexdigest()


def digest_column(values: list[Any] | pa.Array, kind: pa.DataType) -> str:
    array = values if isinstance(values, pa.Array) else pa.array(values, kind)
    return digest(pa.schema({"a": kind}), pa.table({"a": array}))


def sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def test_the_digest_is_what_the_docstring_says() -> None:
    int64 = (
        b"a?: valid\na: int64\n",
        sha256(b"\x01\x00\x01"),
        sha256((5).to_bytes(8, "little"), bytes(8), (-1).to_bytes(8, "little", signed=True)),
    )
    assert digest_column([5, None, -1], pa.int64()) == sha256(*int64).hex()
    texts = (
        b"a?: valid\na#: length\na[]?: valid\na[]#: length\na[]: string\n",
        sha256(b"\x01\x00\x01"),
        sha256((2).to_bytes(8, "little"), bytes(8), bytes(8)),
        sha256(b"\x01\x01"),
        sha256((1).to_bytes(8, "little"), (2).to_bytes(8, "little")),
        sha256("xé".encode()),
    )
    assert digest_column([["x", "é"], None, []], pa.list_(pa.string())) == sha256(*texts).hex()


@settings(deadline=None, max_examples=50)
@given(ROWS, st.integers(0, 6))
def test_it_does_not_see_how_rows_came_in_batches(rows: list[dict[str, Any]], cut: int) -> None:
    table = pa.Table.from_pylist(rows, SCHEMA)
    whole = digest(SCHEMA, table)
    assert digest(SCHEMA, table.slice(0, cut), table.slice(cut)) == whole
    assert digest(SCHEMA, pa.concat_tables([table.slice(0, cut), table.slice(cut)])) == whole
    assert digest(SCHEMA, *table.to_batches(max_chunksize=1)) == whole


@settings(deadline=None, max_examples=50)
@given(ROWS, ROWS)
def test_it_is_equal_only_for_equal_rows(
    rows: list[dict[str, Any]], others: list[dict[str, Any]]
) -> None:
    one, other = (pa.Table.from_pylist(each, SCHEMA) for each in (rows, others))
    assert (digest(SCHEMA, one) == digest(SCHEMA, other)) == (one.to_pylist() == other.to_pylist())


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        (pa.string(), ["ab", "c"], ["a", "bc"]),
        (pa.string(), ["a", ""], ["a", None]),
        (pa.string(), ["", "a"], ["a", ""]),
        (pa.int64(), [0], [None]),
        (pa.bool_(), [False], [None]),
        (pa.list_(pa.int64()), [[1], [2]], [[1, 2], []]),
        (pa.list_(pa.int64()), [[]], [None]),
        (pa.list_(pa.int64()), [[None]], [[0]]),
        (pa.struct({"x": pa.int64()}), [{"x": None}], [None]),
        (pa.int64(), [1, 2], [2, 1]),
        (pa.int64(), [], [0]),
    ],
)
def test_look_alikes_differ(kind: pa.DataType, one: list[Any], other: list[Any]) -> None:
    assert digest_column(one, kind) != digest_column(other, kind)


def test_columns_of_other_names_types_or_order_differ() -> None:
    kinds = [pa.int64(), pa.int32(), pa.uint64(), pa.timestamp("ms"), pa.timestamp("ms", "UTC")]
    assert len({digest_column([1], kind) for kind in kinds}) == len(kinds)
    one, two = pa.field("a", pa.int64()), pa.field("b", pa.int64())
    table = pa.table({"a": [1], "b": [1]})
    schemas = [[one, two], [two, one], [one], [pa.field("a", pa.struct([one, two]))]]
    tables = [table, table, table, pa.table({"a": [{"a": 1, "b": 1}]})]
    digests = {digest(pa.schema(s), t) for s, t in zip(schemas, tables, strict=True)}
    assert len(digests) == 4


def test_it_does_not_see_values_under_nulls() -> None:
    masked = pa.array([1, 7], mask=np.array([False, True]))
    assert digest_column(masked, pa.int64()) == digest_column([1, None], pa.int64())
    valid, offsets = pa.py_buffer(b"\x05"), pa.array([0, 1, 3, 3], pa.int32()).buffers()[1]
    under_nulls = [
        pa.Array.from_buffers(pa.string(), 3, [valid, offsets, pa.py_buffer(b"abc")]),
        pa.Array.from_buffers(
            pa.list_(pa.int64()), 3, [valid, offsets], children=[pa.array([1, 2, 3])]
        ),
        pa.Array.from_buffers(
            pa.struct({"x": pa.int64()}), 3, [valid], children=[pa.array([1, 2, 3])]
        ),
    ]
    for array in under_nulls:
        assert array.null_count == 1
        assert digest_column(array, array.type) == digest_column(array.to_pylist(), array.type)


def test_slices_are_their_rows_alone() -> None:
    table = pa.Table.from_pylist(
        [{"id": n, "text": str(n), "tags": [str(n)], "spans": [{"start": n}]} for n in range(9)],
        SCHEMA,
    )
    part = table.slice(3, 4)
    copy = pa.Table.from_pylist(part.to_pylist(), SCHEMA)
    assert digest(SCHEMA, part) == digest(SCHEMA, copy)


def test_no_rows_have_one_digest_however_they_came() -> None:
    empty = SCHEMA.empty_table()
    assert digest(SCHEMA) == digest(SCHEMA, empty) == digest(SCHEMA, empty, empty)
    assert digest(SCHEMA) == digest(SCHEMA, pa.RecordBatch.from_pylist([], SCHEMA))


def test_nothing_of_the_format_of_a_file_is_in_it(tmp_path: Path) -> None:
    rows = [{"id": n, "tags": ["x"] * (n % 3), "spans": [{"start": n}]} for n in range(50)]
    table = pa.Table.from_pylist(rows, SCHEMA)
    pq.write_table(table, tmp_path / "x", row_group_size=7, store_schema=False)
    back = pq.read_table(tmp_path / "x")
    assert str(back.schema) != str(SCHEMA)  # a list's values are called element, no longer item
    assert digest(back.schema, back) == digest(SCHEMA, table)


@pytest.mark.parametrize(
    "kind",
    [
        pa.large_string(),
        pa.large_list(pa.int64()),
        pa.dictionary(pa.int32(), pa.string()),
        pa.timestamp("s"),
        pa.date32(),
        pa.binary(4),
        pa.decimal128(5, 2),
        pa.float16(),
        pa.map_(pa.string(), pa.int64()),
    ],
    ids=str,
)
def test_a_type_that_parquet_would_change_is_refused(kind: pa.DataType) -> None:
    with pytest.raises(BadValue, match=r"column a\[\]\.b is .* which has no row digest"):
        RowDigest(pa.schema({"a": pa.list_(pa.struct({"b": kind}))}))
