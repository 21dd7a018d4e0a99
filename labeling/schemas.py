"""The columns of the examples of each question task: those of every benchmark, then its own.

raw_title    quality: the title as the published set has it
raw_body     quality: the body as the published set has it, or would: HTML or Markdown
reason       closed: why, by the names of today; null for open
reason_then  closed: the name that the reason had when the question was closed
reason_id    closed: its number in PostHistory; null where the source does not give it
"""

from __future__ import annotations

import pyarrow as pa

from labeling.examples import EXAMPLE_SCHEMA

QUALITY_SCHEMA = pa.schema(
    [
        *EXAMPLE_SCHEMA,
        pa.field("raw_title", pa.string()),
        pa.field("raw_body", pa.string()),
        pa.field("reason", pa.string()),
    ]
)
CLOSED_SCHEMA = pa.schema(
    [
        *EXAMPLE_SCHEMA,
        pa.field("reason", pa.string()),
        pa.field("reason_then", pa.string()),
        pa.field("reason_id", pa.int32()),
    ]
)
