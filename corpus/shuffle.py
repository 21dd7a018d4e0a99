"""Shuffle by key, over files: scatter what came in any order, gather what belongs together.

A scatter file is an Arrow IPC file (zstd) of rows sorted by partition, one record batch a
partition; its schema's metadata lists the partitions in the order of the batches. Its footer is 24
bytes a batch, so that a gather can open a thousand of them (a Parquet footer would be megabytes).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

_PARTITIONS = b"partitions"


def scatter(table: pa.Table, partitions: np.ndarray[Any, Any], path: Path) -> list[int]:
    """Write rows sorted by partition; equal partitions keep their order.

    Args:
        table: rows.
        partitions: int64, shape (len(table),); the partition of each row.
        path: the file to write.

    Returns:
        The partitions that occur, ascending.
    """
    assert len(partitions) == len(table)
    order = np.argsort(partitions, kind="stable")
    present, starts = np.unique(partitions[order], return_index=True)
    edges = [*starts.tolist(), len(table)]
    rows = table.take(pa.array(order)).combine_chunks()
    metadata = {_PARTITIONS: json.dumps(present.tolist()).encode()}
    schema = rows.schema.with_metadata(metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    options = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", compression_level=1))
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema, options=options) as out:
        for start, end in pairwise(edges):
            out.write_table(rows.slice(start, end - start), max_chunksize=end - start)
        assert out.stats.num_record_batches == len(present)
    return [int(partition) for partition in present]


def gather(paths: Sequence[Path], partition: int) -> pa.Table | None:
    """Read one partition from scatter files, in their order; None where it has no rows."""
    batches = []
    for path in paths:
        with pa.memory_map(str(path)) as source:
            reader = pa.ipc.open_file(source)
            present = json.loads(reader.schema.metadata[_PARTITIONS])
            if partition in present:
                batches.append(reader.get_batch(present.index(partition)))
    return pa.Table.from_batches(batches).replace_schema_metadata() if batches else None
