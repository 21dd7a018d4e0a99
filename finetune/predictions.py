"""What a model said of every example, kept as Parquet: all that a report knows of it.

    results/<unit>/predictions.parquet    a row an example, of all splits but train
    results/<unit>/result.json            which model, on what, how it was trained, what it cost
    results/<unit>/answers.jsonl          of a chat model: every prompt and every answer

A unit is one model trained once, or asked once. Figures are not kept: a report computes them.

Columns of predictions:

    example_id     of the benchmark
    group          its leakage group: what is resampled
    split          of the task: validation, test, or the name of another benchmark
    gold           the labels: one, or one a token
    predicted      alike; null where the model gave no answer that could be read
    probabilities  of a sequence task: float32, one a label, in the order of `result.json`'s
                   `labels`; null where the model has none
    num_tokens     of the model's whole input, special ones counted; null where it has no tokens
    num_cut        how many tokens of the text it did not see
    site, year     of the example; year null where the time is not known
    tags           of the question
    num_characters of the text
    code_share     share of the text's characters that is code, 0 to 1
    excerpt        the beginning of the text, at most 280 characters
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpus.durable import TEMPORARY, sync, write_json
from corpus.errors import StoreError
from corpus.manifest import Json
from corpus.tables import read_table, write_table
from finetune.fitting import Fitted, Predicted, to_list
from finetune.tasks import TaskData

Array = np.ndarray[Any, Any]

PREDICTIONS, RESULT = "predictions.parquet", "result.json"
RESULTS = "results"
EXCERPT_CHARACTERS = 280
SCHEMA = pa.schema(
    [
        ("example_id", pa.string()),
        ("group", pa.string()),
        ("split", pa.string()),
        ("gold", pa.list_(pa.string())),
        ("predicted", pa.list_(pa.string())),
        ("probabilities", pa.list_(pa.float32())),
        ("num_tokens", pa.int32()),
        ("num_cut", pa.int32()),
        ("site", pa.string()),
        ("year", pa.int32()),
        ("tags", pa.list_(pa.string())),
        ("num_characters", pa.int32()),
        ("code_share", pa.float32()),
        ("excerpt", pa.string()),
    ]
)


class Unit(NamedTuple):
    """One finished unit: its folder, and what `result.json` holds."""

    folder: Path
    result: Json

    def read(self, split: str = "test") -> pa.Table:
        """Return the predictions of a split, in the order of the task."""
        table = read_table(self.folder / PREDICTIONS)
        return table.filter(pc.equal(table["split"], split))


def write_unit(folder: Path, task: TaskData, fitted: Fitted, result: Json) -> None:
    """Write a finished unit: its folder is there whole, or not at all."""
    temporary = folder.with_name(folder.name + TEMPORARY)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    tables = (
        _describe_split(split, task.splits[split], predicted)
        for split, predicted in fitted.predicted.items()
    )
    write_table(temporary, PREDICTIONS, tables, SCHEMA, text_columns=("excerpt",))
    sync(temporary / PREDICTIONS)
    for path in fitted.attachments:
        shutil.copyfile(path, temporary / path.name)
        sync(temporary / path.name)
    write_json(temporary / RESULT, {**result, "figures": fitted.figures})
    temporary.replace(folder)
    sync(folder.parent)


def read_units(folders: Sequence[Path]) -> list[Unit]:
    """Return all finished units of runs, by run and name.

    Raises:
        StoreError: a folder is no run, or none of its units is finished.
    """
    units = []
    for folder in folders:
        found = sorted((folder / RESULTS).glob(f"*/{RESULT}"))
        if not found:
            raise StoreError(
                f"{folder} has no finished result; give the --out of a `sobert finetune run`"
            )
        units += [Unit(path.parent, json.loads(path.read_bytes())) for path in found]
    return units


def _describe_split(split: str, examples: pa.Table, predicted: Predicted) -> pa.Table:
    num = len(examples)
    given = examples["label"].to_pylist()
    texts = examples["text"].to_pylist()
    columns = {
        "example_id": examples["example_id"],
        "group": examples["group"],
        "split": [split] * num,
        "gold": [to_list(label) for label in given],
        "predicted": [to_list(label) for label in predicted.labels],
        "probabilities": _column(predicted.probabilities, num),
        "num_tokens": _column(predicted.num_tokens, num),
        "num_cut": _column(predicted.num_cut, num),
        "site": examples["site"],
        "year": pc.year(examples["input_at"]).cast(pa.int32()),
        "tags": examples["tags"],
        "num_characters": [len(text) for text in texts],
        "code_share": code_shares(examples),
        "excerpt": [text[:EXCERPT_CHARACTERS] for text in texts],
    }
    arrays = []
    for field_ in SCHEMA:
        column = columns[field_.name]
        if isinstance(column, pa.ChunkedArray):
            arrays.append(column.combine_chunks().cast(field_.type))
        else:
            arrays.append(pa.array(column, field_.type))
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def code_shares(examples: pa.Table) -> Array:
    """Return the share of each text's characters that is in segments of code.

    Args:
        examples: columns text and segments.

    Returns:
        float64, shape (num_examples,), 0 to 1.
    """
    segments = examples["segments"].combine_chunks()
    flat, owners = pc.list_flatten(segments), pc.list_parent_indices(segments).to_numpy()
    lengths = pc.subtract(pc.struct_field(flat, "end"), pc.struct_field(flat, "start")).to_numpy()
    is_code = pc.equal(pc.struct_field(flat, "kind"), "code").to_numpy(zero_copy_only=False)
    num_code = np.bincount(owners, lengths * is_code, len(examples))
    shares: Array = num_code / np.maximum(pc.utf8_length(examples["text"]).to_numpy(), 1)
    return shares


def _column(values: Array | None, num: int) -> list[Any]:
    return [None] * num if values is None else values.tolist()
