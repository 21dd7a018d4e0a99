"""Rows per second and peak memory of `iter_row_batches`, against loops over two XML parsers.

    python tests/bench/bench_rows.py --data ../shared/data

Tiles the rows of real Posts.xml files, with new Ids, to one table of --megabytes and one of four
times that. Each variant reads it in a process of its own, in turns, so that a busy machine hurts
all alike. All give the same columns, types and batches of about a MiB; rows and the sums of Ids and
body lengths must agree. Prints one JSON line: medians, CPU seconds of the loop, without imports.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import median
from typing import Any
from xml.etree import ElementTree

import pyarrow as pa
import pyarrow.compute as pc
from lxml import etree

from corpus.rows import SCHEMAS, iter_row_batches

ATTRIBUTES = (
    *("Id", "PostTypeId", "AcceptedAnswerId", "ParentId", "CreationDate", "Score", "ViewCount"),
    *("Body", "OwnerUserId", "OwnerDisplayName", "LastEditorUserId", "LastEditorDisplayName"),
    *("LastEditDate", "LastActivityDate", "Title", "Tags", "AnswerCount", "CommentCount"),
    *("FavoriteCount", "ClosedDate", "CommunityOwnedDate", "ContentLicense"),
)
ROWS_PER_BATCH = 700  # a MiB of Posts


def read_ours(path: Path) -> Iterator[pa.RecordBatch]:
    with path.open("rb") as stream:
        for batch in iter_row_batches(stream, "Posts", file=path.name):
            assert batch.quarantined.num_rows == 0
            yield batch.rows


def read_lxml(path: Path) -> Iterator[pa.RecordBatch]:
    return _to_batches(_iter_lxml(path))


def read_elementtree(path: Path) -> Iterator[pa.RecordBatch]:
    return _to_batches(_iter_elementtree(path))


VARIANTS = {"ours": read_ours, "lxml": read_lxml, "elementtree": read_elementtree}


def _iter_lxml(path: Path) -> Iterator[Any]:
    for _, element in etree.iterparse(path, tag="row"):
        yield element.attrib
        element.clear()
        while element.getprevious() is not None:
            del element.getparent()[0]


def _iter_elementtree(path: Path) -> Iterator[Any]:
    events = ElementTree.iterparse(path, events=("start", "end"))
    _, root = next(events)
    for event, element in events:
        if event == "end" and element.tag == "row":
            yield element.attrib
            root.clear()


def _to_batches(rows: Iterable[Any]) -> Iterator[pa.RecordBatch]:
    columns: list[list[str | None]] = [[] for _ in ATTRIBUTES]
    for row in rows:
        for attribute, column in zip(ATTRIBUTES, columns, strict=True):
            column.append(row.get(attribute))
        if len(columns[0]) == ROWS_PER_BATCH:
            yield _to_batch(columns)
            columns = [[] for _ in ATTRIBUTES]
    yield _to_batch(columns)


def _to_batch(columns: list[list[str | None]]) -> pa.RecordBatch:
    schema = SCHEMAS["Posts"]
    arrays = []
    for field, column in zip(schema, columns, strict=True):
        texts = pa.array(column, pa.string())
        if field.name == "tags":
            texts = pc.split_pattern_regex(pc.utf8_trim(texts, "<>|"), r"><|\|")
        elif pa.types.is_timestamp(field.type):
            texts = texts.cast(pa.timestamp("ms")).cast(field.type)
        arrays.append(texts.cast(field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def tile_posts(data: Path, num_bytes: int, path: Path) -> None:
    """Write real posts, again and again with new Ids, until the table has so many bytes."""
    sources = sorted((data / "dumps").glob("*.*/*/Posts.xml"))
    rows = [row for source in sources for row in re.findall(rb"<row .*?/>", source.read_bytes())]
    post_id = 0
    with path.open("wb") as table:
        table.write(b'\xef\xbb\xbf<?xml version="1.0" encoding="utf-8"?>\r\n<posts>\r\n')
        while table.tell() < num_bytes:
            post_id += 1
            row = rows[post_id % len(rows)]
            table.write(b"  " + re.sub(rb'Id="\d+"', b'Id="%d"' % post_id, row, count=1) + b"\r\n")
        table.write(b"</posts>")


def measure(variant: str, path: Path) -> dict[str, Any]:
    """Read a table to its end in this process."""
    pa.set_cpu_count(1)
    read = VARIANTS[variant]
    num_rows = sum_of_ids = sum_of_lengths = 0
    with tempfile.TemporaryDirectory() as folder:  # what the first call of all costs is not meant
        warm_up = Path(folder) / "Posts.xml"
        warm_up.write_bytes(b"<posts></posts>")
        list(read(warm_up))
    start = time.process_time()
    for batch in read(path):
        num_rows += batch.num_rows
        sum_of_ids += pc.sum(batch.column("id")).as_py() or 0
        sum_of_lengths += pc.sum(pc.utf8_length(batch.column("body"))).as_py() or 0
    seconds = time.process_time() - start
    return {
        "sums": [num_rows, sum_of_ids, sum_of_lengths],
        "seconds": seconds,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def _run(variant: str, path: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--variant", variant, "--table", str(path)]
    result = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return dict(json.loads(result.stdout))


def compare(data: Path, megabytes: int, repeats: int) -> dict[str, Any]:
    """Run all variants in turns, and gather their medians."""
    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder) / "1x.xml", Path(folder) / "4x.xml"
        tile_posts(data, megabytes * 1_000_000, small)
        tile_posts(data, megabytes * 4_000_000, large)
        turns = [{name: _run(name, small) for name in VARIANTS} for _ in range(repeats)]
        large_runs = {name: _run(name, large) for name in VARIANTS}
        num_bytes = small.stat().st_size
    sums = [run["sums"] for turn in turns for run in turn.values()]
    assert all(each == sums[0] for each in sums), f"the variants differ: {sums}"
    report: dict[str, Any] = {"bench": "rows", "num_rows": sums[0][0], "num_bytes": num_bytes}
    for name in VARIANTS:
        seconds = median(turn[name]["seconds"] for turn in turns)
        peak = median(turn[name]["peak_rss_bytes"] for turn in turns)
        report[name] = {
            "rows_per_second": round(sums[0][0] / seconds),
            "megabytes_per_second": round(num_bytes / seconds / 1e6, 1),
            "peak_rss_bytes": peak,
            "peak_rss_ratio_at_4x": round(large_runs[name]["peak_rss_bytes"] / peak, 3),
        }
    rates = {name: report[name]["rows_per_second"] for name in VARIANTS}
    report["speedup_over_lxml"] = round(rates["ours"] / rates["lxml"], 2)
    report["speedup_over_elementtree"] = round(rates["ours"] / rates["elementtree"], 2)
    return report


def versions() -> dict[str, str]:
    packages = ("lxml", "numba", "numpy", "pyarrow")
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in packages
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="the folder that holds dumps/")
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--variant", choices=VARIANTS, help="measure this one here")
    parser.add_argument("--table", type=Path, help="the table for --variant")
    arguments = parser.parse_args()
    if arguments.variant:
        result = measure(arguments.variant, arguments.table)
    else:
        result = compare(arguments.data, arguments.megabytes, arguments.repeats)
        result["versions"] = versions()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
