"""The loader: which rows of the run each rank gets, and in which batches.

A run goes through the rows of its source epoch by epoch, each time in another order, drawn from
(seed, epoch). Row k of the run is entry `k mod num_rows` of epoch `k // num_rows`: the number of
rows that all ranks together have consumed is the whole state, and a run resumes at any.

From `start_row` on the rows of the run are dealt to the data ranks in turn, one each; a rank takes
them in batches of `micro_batch_rows`. Which rows make a batch, and its bytes, depend neither on
the number of workers nor on where the run was interrupted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset

from corpus.errors import BadValue
from pretrain.batches import Batch
from pretrain.masking import Masking, mask_tokens
from pretrain.rows import RowSource

Array = np.ndarray[Any, Any]


def iter_batches(
    source: RowSource,
    masking: Masking,
    *,
    seed: int,
    start_row: int,
    num_rows_total: int,
    micro_batch_rows: int,
    data_rank: int = 0,
    data_size: int = 1,
    workers: int = 0,
) -> Iterator[Batch]:
    """Iterate over the batches of one rank, from a row of the run to its end.

    All ranks get the same number of batches. Where rows are left over at the end, the last batch
    of each rank is smaller, and may be empty.

    Args:
        source: the rows.
        masking: which of their tokens are to be guessed.
        seed: of the order of the rows.
        start_row: rows of the run that all ranks together have consumed before.
        num_rows_total: where the run ends, counted as `start_row` is.
        micro_batch_rows: rows in a batch of one rank.
        data_rank: of this process, from 0.
        data_size: the number of data ranks.
        workers: processes that read ahead; 0 reads in this one.

    Raises:
        BadValue: one of the numbers is out of its range.
    """
    _check_range("start_row", start_row, 0, num_rows_total)
    _check_range("data_rank", data_rank, 0, data_size - 1)
    _check_range("micro_batch_rows", micro_batch_rows, 1, 2**16)
    _check_range("workers", workers, 0)
    stride = micro_batch_rows * data_size
    starts = range(start_row + data_rank, num_rows_total + data_rank, stride)
    batches = _Batches(source, masking, seed, starts, num_rows_total, micro_batch_rows, data_size)
    if workers == 0:
        return map(batches.__getitem__, range(len(batches)))
    # Forked, so that the mapped shards are shared. The generator is its own: a loader draws from
    # torch's global one otherwise, and dropout would depend on the number of workers.
    return iter(
        DataLoader(
            batches,
            batch_size=None,
            shuffle=False,
            num_workers=workers,
            multiprocessing_context="fork",
            generator=torch.Generator(),
        )
    )


@lru_cache(maxsize=4)
def order_rows(num_rows: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Return the rows of a source in the order of an epoch, read-only.

    >>> order_rows(5, seed=1, epoch=0).tolist()
    [4, 0, 1, 2, 3]
    """
    order = np.random.default_rng((seed, epoch)).permutation(num_rows)
    order.flags.writeable = False
    return order


def locate_rows(num_rows: int, seed: int, run_rows: npt.ArrayLike) -> tuple[Array, Array]:
    """Return the epoch, and the number in the plan, of rows of the run.

    >>> epochs, rows = locate_rows(5, 1, [0, 4, 6])
    >>> epochs.tolist(), rows.tolist()
    ([0, 0, 1], [4, 3, 4])
    """
    epochs, entries = np.divmod(np.asarray(run_rows, np.int64), num_rows)
    rows = np.empty_like(entries)
    for epoch in np.unique(epochs).tolist():
        is_in = epochs == epoch
        rows[is_in] = order_rows(num_rows, seed, epoch)[entries[is_in]]
    return epochs, rows


def make_batch(source: RowSource, masking: Masking, seed: int, run_rows: npt.ArrayLike) -> Batch:
    """Read and mask rows of the run."""
    epochs, rows = locate_rows(source.num_rows, seed, run_rows)
    packed = source.read(rows)
    masked = mask_tokens(
        packed.tokens_T,
        packed.row_bounds_R1,
        masking,
        epochs_R=epochs,
        rows_R=rows,
        rates_R=masking.rates(run_rows),
    )
    return Batch(
        tokens_T=torch.from_numpy(masked.tokens_T),
        positions_T=torch.from_numpy(packed.positions_T),
        bounds_D1=torch.from_numpy(packed.bounds_D1.astype(np.int32)),
        masked_M=torch.from_numpy(masked.masked_M),
        targets_M=torch.from_numpy(masked.targets_M),
        kinds_T=torch.from_numpy(packed.kinds_T),
        lengths=tuple(np.diff(packed.bounds_D1).tolist()),
        num_rows=len(rows),
        rows=tuple(rows.tolist()),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Batches(Dataset[Batch]):
    """The batches of one rank by number, as a DataLoader asks for them."""

    source: RowSource
    masking: Masking
    seed: int
    starts: range
    num_rows_total: int
    micro_batch_rows: int
    data_size: int

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, number: int) -> Batch:
        start = self.starts[number]
        end = min(start + self.micro_batch_rows * self.data_size, self.num_rows_total)
        run_rows = np.arange(start, end, self.data_size)
        return make_batch(self.source, self.masking, self.seed, run_rows)


def _check_range(name: str, value: int, lowest: int, highest: int | None = None) -> None:
    if value < lowest or (highest is not None and value > highest):
        limit = f"at least {lowest}" if highest is None else f"from {lowest} to {highest}"
        raise BadValue(f"{name} is {value}; it must be {limit}")
