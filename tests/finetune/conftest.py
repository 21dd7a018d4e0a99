"""What the tests of `finetune` share: small tasks in memory, and what is asked of a model."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from corpus.documents import SEGMENT
from corpus.progress import Reporter
from finetune.fitting import Ask
from finetune.recipe import parse_finetune_recipe
from finetune.tasks import TaskData, list_tags
from labeling.examples import METADATUM

_TIME = pa.timestamp("ms", "UTC")
COMMON = [
    ("example_id", pa.string()),
    ("site", pa.string()),
    ("post_id", pa.int64()),
    ("thread_id", pa.int64()),
    ("group", pa.string()),
    ("text", pa.string()),
    ("segments", pa.list_(SEGMENT)),
    ("tags", pa.list_(pa.string())),
    ("input_at", _TIME),
    ("metadata", pa.list_(METADATUM)),
]
SEQUENCE = pa.schema([*COMMON, ("label", pa.string())])
TOKEN = pa.schema(
    [
        *COMMON,
        ("tokens", pa.list_(pa.string())),
        ("markup", pa.list_(pa.string())),
        ("label", pa.list_(pa.string())),
    ]
)


def make_rows(schema: pa.Schema, rows: list[dict[str, Any]], first: int = 1) -> pa.Table:
    """Rows of a split: what is not given is made up from the number of the row."""
    filled = []
    for number, row in enumerate(rows, first):
        text = row.get("text") or " ".join(row.get("tokens", []))
        made = {
            "example_id": f"x.org/{number}",
            "site": "x.org",
            "post_id": number,
            "thread_id": number,
            "group": f"x.org/{number}",
            "text": text,
            "segments": [{"kind": "prose", "start": 0, "end": len(text)}],
            "tags": ["python"],
            "input_at": datetime(2015 + number % 4, 1, 2, tzinfo=UTC),
            "metadata": [{"name": "score", "value": float(number)}],
        }
        filled.append({**made, **row})
    return pa.Table.from_pylist(filled, schema)


def make_sequence_task(splits: dict[str, list[tuple[str, str]]]) -> TaskData:
    """A task of (text, label) by split, as `quality` is."""
    tables, first = {}, 1
    for split, rows in splits.items():
        tables[split] = make_rows(SEQUENCE, [{"text": t, "label": x} for t, x in rows], first)
        first += len(rows)
    labels = tuple(sorted({label for rows in splits.values() for _, label in rows}))
    return TaskData("toy", "0" * 64, "quality", "sequence", labels, "test", tables, 0)


def make_token_task(splits: dict[str, list[tuple[list[str], list[str]]]]) -> TaskData:
    """A task of (tokens, BIO tags) by split, under the loader's types."""
    tables, first = {}, 1
    for split, rows in splits.items():
        made = [
            {"tokens": tokens, "markup": ["O"] * len(tokens), "label": tags}
            for tokens, tags in rows
        ]
        tables[split] = make_rows(TOKEN, made, first)
        first += len(rows)
    return TaskData("toy", "0" * 64, "ner", "token", list_tags("loader"), "test", tables, 0)


@pytest.fixture
def make_ask(tmp_path: Path) -> Callable[..., Ask]:
    """What is asked of a model: `make_ask(entry, seed=1, **sections)`."""

    def make(entry: dict[str, Any], seed: int = 1, **sections: Any) -> Ask:
        content = {
            "card": {"name": "toy", "title": "Toy", "summary": ""},
            "task": {"benchmark": "toy"},
            "models": [{"name": "one", **entry}],
            **sections,
        }
        recipe = parse_finetune_recipe(content)
        return Ask(recipe, recipe.models[0], seed, tmp_path / "working", Reporter(quiet=True))

    return make
