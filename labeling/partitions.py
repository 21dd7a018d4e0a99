"""The partitions of a corpus that benchmarks are mined from, and their rows.

Texts are read as a corpus publishes them: personal data and secrets replaced, wherever they stand
in a title, a body, a comment or a revision.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from corpus.posts import read_partition
from corpus.secrets import scrub_texts
from corpus.store import Artifact

TEXT_COLUMNS = {"body", "comment", "text", "title"}


class Partition(NamedTuple):
    """One partition of one site: the work of one task."""

    posts: Path
    site: str
    name: str

    @property
    def path(self) -> str:
        """The partition's files are called so in every folder: `<site>/<partition>.parquet`."""
        return f"{self.site}/{self.name}"

    def read(self, table: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Read the rows of a table (Posts, Comments, PostHistory, PostLinks), by post_id, id."""
        rows = read_partition(self.posts, table, self.site, self.name, columns)
        for column in TEXT_COLUMNS & set(rows.column_names):
            scrubbed = _scrub_column(rows[column])
            rows = rows.set_column(rows.schema.get_field_index(column), column, scrubbed)
        return rows


def list_partitions(posts: Artifact) -> list[Partition]:
    """List the partitions of all sites that have posts, by site and number."""
    names = (entry.name.split("/") for entry in posts.files("posts/"))
    return [Partition(posts.folder, site, name) for _, site, name in names]


def dump_times(partitions: Sequence[Partition]) -> dict[str, datetime]:
    """Return by site the time up to which its dump knows: that of its newest post or comment."""
    newest: dict[str, datetime] = {}
    for partition in partitions:
        for table in ("Posts", "Comments"):
            at = pc.max(partition.read(table, ["created_at"])["created_at"]).as_py()
            if at is not None:
                newest[partition.site] = max(at, newest.get(partition.site, at))
    return newest


def _scrub_column(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    values = texts.to_pylist()
    scrubbed = scrub_texts([value or "" for value in values])
    # Null stays null, which is not the same as empty.
    kept = [value and after for value, after in zip(values, scrubbed, strict=True)]
    return pa.chunked_array([pa.array(kept, texts.type)])
