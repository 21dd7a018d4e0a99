"""What an example is: the columns that the examples of every benchmark have.

    example_id  "<site>/<post_id>"; of a sentence "<site>/<thread_id>/<post>/<number>"
    text        the input, one canonical form for all classes (`labeling.canonical`)
    segments    spans that tile the text: title, prose or code; an answer's has its question before
    label       what is to be found; null where people have not labelled it yet
    input_at    when the text became what it is; never after label_at
    label_at    when that happened by which the label is known; null: known from the whole dump
    metadata    numbers for the probes alone; never an input, some know the future
    raw_text    the input as the published set has it, or as written: for the probes, and to compare
    canary      in the test split only

A task adds columns of its own after these.
"""

from __future__ import annotations

import pyarrow as pa

from corpus.documents import SEGMENT, SPAN

_TIME = pa.timestamp("ms", "UTC")
METADATUM = pa.struct([("name", pa.string()), ("value", pa.float64())])
EXAMPLE_SCHEMA = pa.schema(
    [
        ("example_id", pa.string()),
        ("site", pa.string()),
        ("post_id", pa.int64()),
        ("thread_id", pa.int64()),
        ("label", pa.string()),
        ("text", pa.string()),
        ("body_end", pa.int32()),
        ("segments", pa.list_(SEGMENT)),
        ("inline_code", pa.list_(SPAN)),
        ("tags", pa.list_(pa.string())),
        ("raw_text", pa.string()),
        ("input_at", _TIME),
        ("label_at", _TIME),
        ("author_id", pa.int64()),
        ("author_name", pa.string()),
        ("author_link", pa.string()),
        ("link", pa.string()),
        ("licence", pa.string()),
        ("licence_source", pa.string()),
        ("metadata", pa.list_(METADATUM)),
    ]
)
# What the stages before the benchmark say of each, where they know it.
DEALT_FIELDS = (pa.field("group", pa.string()), pa.field("split", pa.string()))
# What the benchmark stage adds to each row.
BENCHMARK_FIELDS = (pa.field("group", pa.string()), pa.field("canary", pa.string()))
TEXT_COLUMNS = ("text", "raw_text")
