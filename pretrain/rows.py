"""Rows: the packed rows of a split, read from the memory-mapped shards.

A document is a sample of the shards (a post, or by the corpus's recipe a thread): the ids of its
sequences, joined. Documents are counted from 0 through all shards of the split, by file name. The
kind of a token is the mode of its sequence (`corpus.shards`), -1 for [CLS] and [SEP].
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from corpus.errors import BadValue, IntegrityError, StoreError
from corpus.indexed import IndexedReader
from corpus.store import Artifact
from corpus.tables import read_table
from corpus.vocabulary import Tokenizer
from pretrain.packing import (
    SPECIAL_TOKENS,
    Plan,
    Window,
    load_plan,
    plan_identity,
    plan_rows,
    save_plan,
)

# Shapes: T tokens of the rows that are read, padding left out; D documents (or windows of such) in
# them; R rows.

SPECIAL_KIND = -1

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, eq=False)
class PackedRows:
    """Rows without padding, one after the other.

    Args:
        tokens_T: int64; the ids, [CLS] and [SEP] around each document.
        positions_T: int64; of each token in its document, from 0.
        kinds_T: int8; of each token, -1 for [CLS] and [SEP].
        bounds_D1: int64; where documents begin in T, then T.
        row_bounds_R1: int64; where rows begin in T, then T.
    """

    tokens_T: npt.NDArray[np.int64]
    positions_T: npt.NDArray[np.int64]
    kinds_T: npt.NDArray[np.int8]
    bounds_D1: npt.NDArray[np.int64]
    row_bounds_R1: npt.NDArray[np.int64]


class Shard:
    """One mapped shard, and where each document of it begins."""

    def __init__(self, prefix: Path) -> None:
        """Map it.

        Raises:
            IntegrityError: it is not whole, or has no modes.
        """
        self.prefix = prefix
        self.reader = IndexedReader(prefix)
        modes = self.reader.modes
        if modes is None and len(self.reader):
            raise IntegrityError(f"{prefix}.idx has no modes; build the shards again")
        self.modes = np.zeros(0, np.int8) if modes is None else modes
        ends = np.concatenate([[0], np.cumsum(self.reader.lengths, dtype=np.int64)])
        self.document_starts: npt.NDArray[np.int64] = ends[self.reader.document_index]

    def kinds(self, document: int) -> Array:
        """Return the kind of each token of a document, int8."""
        first, end = self.reader.document_index[document : document + 2].tolist()
        return np.repeat(self.modes[first:end], self.reader.lengths[first:end])


class RowSource:
    """The rows of one split, in the order of the plan.

    Args:
        shards: of the corpus.
        split: train, validation or test.
        plan: made from `document_lengths` of the same.

    Attributes:
        plan: as it was given.
        num_rows: of the plan.
        num_tokens: of all rows, [CLS] and [SEP] counted, padding not.

    Raises:
        StoreError: the shards hold no token of this split.
        IntegrityError: a shard is not whole, or the plan is not of these shards.
    """

    def __init__(self, shards: Artifact, split: str, plan: Plan) -> None:
        """Map all shards of the split."""
        self.plan = plan
        self.num_rows = plan.num_rows
        self.num_tokens = plan.num_tokens
        self._shards = _open_shards(shards, split)
        counts = [shard.reader.num_documents for shard in self._shards]
        self._first_documents = np.cumsum([0, *counts])
        num_content = sum(int(shard.document_starts[-1]) for shard in self._shards)
        if plan.num_tokens - SPECIAL_TOKENS * len(plan.documents) != num_content:
            raise IntegrityError(
                f"the plan of rows is of {plan.num_tokens} tokens, the {split} shards in "
                f"{shards.folder} hold {num_content}; delete the plan, it is made again"
            )

    def row_documents(self, row: int) -> list[Window]:
        """List the windows of documents in a row, in their order."""
        return self.plan.windows(row)

    def doc_ids(self, document: int) -> list[str]:
        """Return the doc_id of each post in a document, from the shard's map."""
        shard, number = self._find(document)
        mapped = read_table(
            shard.prefix.with_name(f"{shard.prefix.name}.map.parquet"), ["doc_id", "sample"]
        )
        is_of = mapped["sample"].to_numpy() == number
        return [str(doc_id) for doc_id in mapped["doc_id"].filter(is_of).to_pylist()]

    def read(self, rows: npt.ArrayLike) -> PackedRows:
        """Read rows, by their numbers in the plan, in the order given."""
        windows = [self.plan.windows(row) for row in np.asarray(rows).tolist()]
        counts = [len(one) for one in windows]
        flat = [window for one in windows for window in one]
        sizes = [stop - start + SPECIAL_TOKENS for _, start, stop in flat]
        bounds_D1 = np.cumsum([0, *sizes])
        tokens_T = np.empty(bounds_D1[-1], np.int64)
        kinds_T = np.full(bounds_D1[-1], SPECIAL_KIND, np.int8)
        tokens_T[bounds_D1[:-1]] = Tokenizer.cls_id
        tokens_T[bounds_D1[1:] - 1] = Tokenizer.sep_id
        for (document, start, stop), first in zip(flat, bounds_D1[:-1].tolist(), strict=True):
            shard, number = self._find(document)
            inside = slice(first + 1, first + 1 + stop - start)
            offset = int(shard.document_starts[number])
            tokens_T[inside] = shard.reader.tokens[offset + start : offset + stop]
            kinds_T[inside] = shard.kinds(number)[start:stop]
        positions_T = np.arange(len(tokens_T)) - np.repeat(bounds_D1[:-1], sizes)
        row_bounds_R1 = bounds_D1[np.cumsum([0, *counts])]
        return PackedRows(tokens_T, positions_T, kinds_T, bounds_D1, row_bounds_R1)

    def _find(self, document: int) -> tuple[Shard, int]:
        number = int(np.searchsorted(self._first_documents, document, "right")) - 1
        if not 0 <= number < len(self._shards):
            raise BadValue(f"no document {document}; there are {self._first_documents[-1]}")
        return self._shards[number], document - int(self._first_documents[number])


def document_lengths(shards: Artifact, split: str) -> npt.NDArray[np.int64]:
    """Return the number of tokens of each document of a split.

    Raises:
        StoreError: the shards hold no token of this split.
        IntegrityError: a shard is not whole.
    """
    starts = [shard.document_starts for shard in _open_shards(shards, split)]
    return np.concatenate([np.diff(one) for one in starts])


def open_rows(
    shards: Artifact, split: str, folder: Path, *, row_tokens: int, seed: int
) -> RowSource:
    """Open the rows of a split, by the plan in `folder`, which is made where there is none.

    Args:
        shards: of the corpus.
        split: train, validation or test.
        folder: where plans are kept, as `rows-<split>.npz`.
        row_tokens: what a row can hold.
        seed: of the packing.

    Raises:
        StoreError: the shards hold no token of this split, or the folder has a plan of others.
        IntegrityError: a file is not whole.
    """
    path = folder / f"rows-{split}.npz"
    identity = plan_identity(shards.manifest.id, split, row_tokens, seed)
    if path.exists():
        return RowSource(shards, split, load_plan(path, identity))
    plan = plan_rows(document_lengths(shards, split), row_tokens, seed)
    save_plan(plan, path, identity)
    return RowSource(shards, split, plan)


def count_tokens(shards: Artifact, split: str) -> int:
    """Count the tokens that shards hold of a split."""
    return sum(len(shard.reader.tokens) for shard in _map_shards(shards, split))


def _map_shards(shards: Artifact, split: str) -> list[Shard]:
    names = [entry.name for entry in shards.files(f"{split}-") if entry.name.endswith(".idx")]
    return [Shard(shards.path(name).with_suffix("")) for name in sorted(names)]


def _open_shards(shards: Artifact, split: str) -> list[Shard]:
    opened = _map_shards(shards, split)
    if not sum(len(shard.reader.tokens) for shard in opened):
        raise StoreError(
            f"{shards.folder} holds no token of the split {split!r}; give a corpus whose "
            "recipe has a larger fraction of it"
        )
    return opened
