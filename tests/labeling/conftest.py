"""Small tables as PostHistory and Posts have them, and benchmarks built from the demo corpus."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from corpus.engine import LocalEngine
from corpus.manifest import Flow, Outcome
from corpus.posts import POSTS_SCHEMA
from corpus.progress import Reporter
from corpus.rows import SCHEMAS
from corpus.store import Artifact, Store, Work
from corpus.tables import write_table
from labeling.examples import DEALT_FIELDS, EXAMPLE_SCHEMA

START = datetime(2020, 1, 1, tzinfo=UTC)


def day(number: float) -> datetime:
    """Return a day after the start of 2020."""
    return START + timedelta(days=number)


def make_events(rows: Iterable[tuple[Any, ...]]) -> pa.Table:
    """Make PostHistory of (post_id, type, day, user_id, comment, text); ids go by place."""
    events = []
    for number, row in enumerate(rows, 1):
        post_id, kind, at, *rest = row
        user_id, comment, text = [*rest, None, None, None][:3]
        events.append(
            {
                "id": number,
                "post_history_type_id": kind,
                "post_id": post_id,
                "revision_guid": f"guid-{number}",
                "created_at": day(at),
                "user_id": user_id,
                "comment": comment,
                "text": text,
            }
        )
    return pa.Table.from_pylist(events, SCHEMAS["PostHistory"])


def make_questions(rows: Iterable[dict[str, Any]]) -> pa.Table:
    """Make questions of the columns given; id, asked on day 0 by user 1, score 0 else."""
    asked = {"post_type_id": 1, "created_at": day(0), "owner_user_id": 1, "score": 0}
    posts = [{**asked, "thread_id": row["id"], **row} for row in rows]
    return pa.Table.from_pylist(posts, POSTS_SCHEMA)


WORDS = [f"word{number}" for number in range(400)]


def make_text(number: int, num_words: int = 60) -> str:
    """Return words in an order that no other number has."""
    chance = np.random.default_rng(number)
    return " ".join(chance.choice(WORDS, num_words))


def make_examples(rows: Iterable[dict[str, Any]]) -> pa.Table:
    """Make examples of the columns given: post_id, and text or what `make_text` gives else."""
    table = []
    for row in rows:
        number = row["post_id"]
        text = row.get("text", make_text(number))
        table.append(
            {
                "example_id": f"x.org/{number}",
                "site": "x.org",
                "thread_id": number,
                "label": "a" if number % 2 else "b",
                "text": text,
                "body_end": len(text),
                "segments": [],
                "inline_code": [],
                "tags": [],
                "metadata": [],
                "raw_text": text,
                "input_at": day(number),
                "link": f"https://x.org/q/{number}",
                **row,
            }
        )
    return pa.Table.from_pylist(table, pa.schema([*EXAMPLE_SCHEMA, *DEALT_FIELDS]))


def store_examples(store: Store, table: pa.Table, num_files: int = 2) -> Artifact:
    """Keep examples as an artifact of the stage, cut into files."""

    def make(work: Work) -> Outcome:
        size = -(-len(table) // num_files)
        files = [
            write_table(
                work.folder, f"examples/{n}.parquet", table[n * size :][:size], table.schema
            )
            for n in range(num_files)
        ]
        return Outcome(tuple(files), {"rows": Flow(len(table), len(table))})

    digest = hashlib.sha256(repr(table.to_pylist()).encode()).hexdigest()
    section = {"rows": digest, "files": num_files}
    return store.build("examples", 0, section, {}, make, LocalEngine(), Reporter(quiet=True))
