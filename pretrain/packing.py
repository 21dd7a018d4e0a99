"""Packing: which documents share a row, planned once for a whole split and kept in a file.

A document becomes `[CLS] tokens [SEP]`. One that is longer than a row is cut into windows of
`row_tokens - 2` tokens and a rest, each with its own `[CLS]` and `[SEP]`; every token is in
exactly one of them. A document without tokens has no window.

Best fit decreasing, in batches of `BATCH_DOCUMENTS` drawn in seeded order, so that documents of one
site or time do not sit together: within a batch the longest window comes first, and goes into the
row with the least room that holds it. Rows stay open from batch to batch, so short documents that
come later fill what long ones left.

A plan's file is an uncompressed `.npz` of the four arrays of `Plan` and `identity`, the JSON of
what the plan answers (`plan_identity`): a plan that answers anything else is refused.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from corpus.durable import TEMPORARY, sync
from corpus.errors import BadValue, IntegrityError, StoreError

VERSION = 1
SPECIAL_TOKENS = 2
# Of a million real posts in rows of 2,048, 1,024 fill 99.95 %, 4,096 and 16,384 fill 99.96 %; the
# larger, the more short posts share a row (at most 63, 79, 95).
BATCH_DOCUMENTS = 4_096

Array = npt.NDArray[np.int64]
Json = dict[str, Any]
_ARRAYS = ("row_offsets", "documents", "starts", "stops")


class Window(NamedTuple):
    """The tokens of a document, from `start` up to `stop`, that are in one row."""

    document: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What is in each row: windows of documents, row after row.

    Args:
        row_tokens: what a row can hold.
        row_offsets: int64, shape (num_rows + 1,); the first window of each row, then their number.
        documents: int32, shape (num_windows,); the number of a window's document.
        starts: int32, shape (num_windows,); its first token in the document.
        stops: int32, shape (num_windows,); the token after its last.
    """

    row_tokens: int
    row_offsets: npt.NDArray[np.int64]
    documents: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int32]
    stops: npt.NDArray[np.int32]

    @property
    def num_rows(self) -> int:
        """The number of rows."""
        return len(self.row_offsets) - 1

    @property
    def num_tokens(self) -> int:
        """The tokens of all rows, those of [CLS] and [SEP] counted, padding not."""
        content = int(self.stops.sum(dtype=np.int64)) - int(self.starts.sum(dtype=np.int64))
        return content + SPECIAL_TOKENS * len(self.starts)

    @property
    def efficiency(self) -> float:
        """The fraction of the rows' room that tokens fill; 1.0 where there is no row."""
        return self.num_tokens / (self.num_rows * self.row_tokens) if self.num_rows else 1.0

    def windows(self, row: int) -> list[Window]:
        """List what is in a row, counted from 0."""
        bounds = slice(*self.row_offsets[row : row + 2].tolist())
        columns = (self.documents[bounds], self.starts[bounds], self.stops[bounds])
        return [Window(*values) for values in zip(*(c.tolist() for c in columns), strict=True)]


def plan_rows(lengths: npt.ArrayLike, row_tokens: int, seed: int) -> Plan:
    """Plan which windows of which documents share a row.

    Args:
        lengths: tokens in each document, [CLS] and [SEP] not counted, shape (num_documents,).
        row_tokens: what a row can hold, at least 3.
        seed: of the order in which documents are taken.

    Raises:
        BadValue: row_tokens leaves no room for a token, or a length is negative.

    >>> plan = plan_rows([5, 1, 12], row_tokens=10, seed=1)
    >>> plan.windows(0), plan.windows(1)  # doctest: +NORMALIZE_WHITESPACE
    ([Window(document=2, start=0, stop=8)],
     [Window(document=0, start=0, stop=5), Window(document=1, start=0, stop=1)])
    >>> plan.windows(2)
    [Window(document=2, start=8, stop=12)]
    """
    sizes = np.asarray(lengths, np.int64)
    room = row_tokens - SPECIAL_TOKENS
    if room < 1:
        raise BadValue(f"row_tokens is {row_tokens}; it must be at least {SPECIAL_TOKENS + 1}")
    if sizes.min(initial=0) < 0 or max(sizes.max(initial=0), len(sizes)) >= 2**31:
        raise BadValue("documents have negative lengths, or more than 2**31 tokens; build again")
    documents, starts = _cut(np.random.default_rng(seed).permutation(len(sizes)), sizes, room)
    stops = np.minimum(starts + room, sizes[documents])
    needs = stops - starts + SPECIAL_TOKENS
    rows = np.fromiter(_fit(_iter_ints(needs), row_tokens), np.int64, len(needs))
    by_row = np.argsort(rows, kind="stable")
    row_offsets = np.concatenate([[0], np.cumsum(np.bincount(rows))]).astype(np.int64)
    columns = [column[by_row].astype(np.int32) for column in (documents, starts, stops)]
    return Plan(row_tokens, row_offsets, *columns)


def plan_identity(shards_id: str, split: str, row_tokens: int, seed: int) -> Json:
    """Return what a plan answers.

    Args:
        shards_id: the id of the manifest of the shards.
        split: train, validation or test.
        row_tokens: what a row can hold.
        seed: of the order in which documents are taken.
    """
    return {
        "version": VERSION,
        "shards": shards_id,
        "split": split,
        "row_tokens": row_tokens,
        "seed": seed,
    }


def save_plan(plan: Plan, path: Path, identity: Json) -> None:
    """Write a plan so that its file is there whole, or as it was before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # By process, as each rank of a run may find that there is no plan yet.
    temporary = path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY}")
    arrays = {name: getattr(plan, name) for name in _ARRAYS}
    with temporary.open("wb") as file:
        np.savez(file, identity=np.array(json.dumps(identity, sort_keys=True)), **arrays)
    sync(temporary)
    temporary.replace(path)
    sync(path.parent)


def load_plan(path: Path, identity: Json) -> Plan:
    """Read the plan that answers `identity`.

    Raises:
        StoreError: it answers something else; the message says in what they differ.
        IntegrityError: there is no such file, or it is not whole.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            found = json.loads(str(content["identity"]))
            arrays = {name: content[name] for name in _ARRAYS}
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise IntegrityError(f"{path} is no plan of rows: {error}; delete it") from error
    for key, asked in identity.items():
        if found.get(key) != asked:
            raise StoreError(
                f"the plan of rows {path} was made for {key} {found.get(key)!r}, not {asked!r}; "
                "delete it, or give another folder"
            )
    return Plan(identity["row_tokens"], **arrays)


def _cut(order: Array, sizes: Array, room: int) -> tuple[Array, Array]:
    """Return document and first token of each window, in the order in which they are placed."""
    counts = -(-sizes[order] // room)
    documents = np.repeat(order, counts)
    starts = (np.arange(len(documents)) - np.repeat(np.cumsum(counts) - counts, counts)) * room
    batches = np.repeat(np.arange(len(order)) // BATCH_DOCUMENTS, counts)
    # What is left from `starts` on orders windows as their sizes do; longest first.
    by_size = np.lexsort((starts - sizes[documents], batches))
    return documents[by_size], starts[by_size]


def _iter_ints(values: Array) -> Iterator[int]:
    # All at once, the Python integers of 100 million windows would take 3 GB.
    for first in range(0, len(values), BATCH_DOCUMENTS):
        yield from values[first : first + BATCH_DOCUMENTS].tolist()


def _fit(needs: Iterable[int], row_tokens: int) -> Iterator[int]:
    """Yield the row of each window: that with the least room that is enough, or a new one."""
    rows_by_room: list[list[int]] = [[] for _ in range(row_tokens + 1)]
    rooms = 0  # bit r is set where rows_by_room[r] has a row
    num_rows = 0
    for need in needs:
        enough = rooms >> need
        if enough:
            room = need + (enough & -enough).bit_length() - 1
            row = rows_by_room[room].pop()
            if not rows_by_room[room]:
                rooms ^= 1 << room
        else:
            room, row = row_tokens, num_rows
            num_rows += 1
        yield row
        if left := room - need:
            rows_by_room[left].append(row)
            rooms |= 1 << left
