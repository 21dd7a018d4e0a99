"""Scatter and gather together are a group-by over files that keeps the order of rows."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.shuffle import gather, scatter

SCHEMA = pa.schema({"key": pa.int64(), "text": pa.string(), "tags": pa.list_(pa.string())})
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "key": st.integers(-3, 3) | st.integers(-(2**63), 2**63 - 1),
            "text": st.none() | st.text(max_size=3),
            "tags": st.none() | st.lists(st.none() | st.text(max_size=2), max_size=2),
        }
    ),
    max_size=8,
)


def scatter_rows(path: Path, rows: list[dict[str, object]]) -> list[int]:
    table = pa.Table.from_pylist(rows, SCHEMA)
    return scatter(table, table["key"].to_numpy(), path)


@settings(deadline=None)
@given(st.lists(ROWS, max_size=4))
def test_gathered_partitions_are_what_grouping_in_plain_python_gives(
    inputs: list[list[dict[str, object]]],
) -> None:
    expected: dict[object, list[dict[str, object]]] = {}
    for row in (row for rows in inputs for row in rows):
        expected.setdefault(row["key"], []).append(row)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / str(number) for number in range(len(inputs))]
        present = [scatter_rows(path, rows) for path, rows in zip(paths, inputs, strict=True)]
        for partition in {key for keys in present for key in keys}:
            gathered = gather(paths, partition)
            assert gathered is not None
            assert gathered.schema.equals(SCHEMA, check_metadata=True)
            assert gathered.to_pylist() == expected.pop(partition)
    assert not expected


def test_scatter_names_its_partitions_in_order(tmp_path: Path) -> None:
    table = pa.table({"a": ["x", "y", "z"]})
    assert scatter(table, np.array([7, -1, 7]), tmp_path / "deep" / "x.arrow") == [-1, 7]


def test_rows_come_in_the_order_of_files_and_then_of_rows(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    scatter(pa.table({"a": [1, 2, 3]}), np.array([0, 1, 0]), one)
    scatter(pa.table({"a": [4, 5]}), np.array([1, 0]), other)
    for paths, rows in (([one, other], [1, 3, 5]), ([other, one], [5, 1, 3])):
        gathered = gather(paths, 0)
        assert gathered is not None and gathered["a"].to_pylist() == rows


def test_the_file_does_not_depend_on_how_rows_came_in_chunks(tmp_path: Path) -> None:
    table = pa.table({"a": list(range(100)), "b": [str(n) for n in range(100)]})
    chunked = pa.concat_tables([table.slice(0, 7), table.slice(7)])
    partitions = np.arange(100) % 3
    scatter(table, partitions, tmp_path / "one")
    scatter(chunked, partitions, tmp_path / "other")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_nothing_in_gives_nothing_out(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    assert scatter(pa.table({"a": pa.array([], pa.int64())}), np.array([], "i8"), path) == []
    assert gather([path], 0) is None
    assert gather([], 0) is None


def test_a_partition_that_is_not_there_has_no_rows(tmp_path: Path) -> None:
    scatter(pa.table({"a": [1]}), np.array([4]), tmp_path / "x")
    assert gather([tmp_path / "x"], 5) is None


def test_rows_without_a_partition_are_not_lost_in_silence(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        scatter(pa.table({"a": [1, 2]}), np.array([4]), tmp_path / "x")
