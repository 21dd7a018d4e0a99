"""What benchmarks are mined from is read as it is published: without personal data and secrets."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from corpus.posts import FOLDER_BY_TABLE, POSTS_SCHEMA
from corpus.rows import SCHEMAS
from corpus.tables import write_table
from labeling.partitions import Partition

AT = datetime(2020, 1, 1, tzinfo=UTC)
MAIL = "write to jo.smith@mozilla.org"
ROWS: dict[str, list[dict[str, Any]]] = {
    "Posts": [
        {"id": 1, "post_type_id": 1, "created_at": AT, "title": MAIL, "body": f"<p>{MAIL}</p>"},
        {"id": 2, "post_type_id": 2, "created_at": AT, "parent_id": 1, "body": "<p>no</p>"},
    ],
    "Comments": [{"id": 1, "post_id": 1, "created_at": AT, "text": MAIL}],
    "PostHistory": [
        {"id": 1, "post_id": 1, "post_history_type_id": 5, "created_at": AT, "text": MAIL},
        {"id": 2, "post_id": 1, "post_history_type_id": 5, "created_at": AT, "comment": MAIL},
    ],
}


@pytest.fixture
def partition(tmp_path: Path) -> Partition:
    for table, rows in ROWS.items():
        schema = POSTS_SCHEMA if table == "Posts" else SCHEMAS[table]
        name = f"{FOLDER_BY_TABLE[table]}/x.org/0000000000.parquet"
        write_table(tmp_path, name, pa.Table.from_pylist(rows, schema), schema)
    return Partition(tmp_path, "x.org", "0000000000.parquet")


@pytest.mark.parametrize("table", ROWS)
def test_no_text_that_is_read_holds_an_address(partition: Partition, table: str) -> None:
    rows = partition.read(table)
    shown = str(rows.to_pylist())
    assert "mozilla" not in shown
    assert shown.count("write to [email-1]") == str(ROWS[table]).count("mozilla")
    assert rows.schema == (POSTS_SCHEMA if table == "Posts" else SCHEMAS[table])


def test_what_holds_none_is_as_it_was(partition: Partition) -> None:
    rows = partition.read("Posts", ["id", "parent_id", "body"]).to_pylist()
    assert rows[1] == {"id": 2, "parent_id": 1, "body": "<p>no</p>"}
