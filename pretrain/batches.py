"""What the model is given: packed rows, flattened, with the bounds of the documents in them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

# Shapes: T tokens of all rows of a micro-batch, padding left out; D documents (or windows of such)
# in them; M masked tokens.


@dataclass(frozen=True, slots=True)
class Batch:
    """One micro-batch without padding: the documents of its rows, one after the other.

    Args:
        tokens_T: int64; the input, with masked tokens exchanged.
        positions_T: int64; of each token in its document, from 0.
        bounds_D1: int32; where documents begin in the row of T, and T at the end ("cu_seqlens").
        masked_M: int64, ascending; which tokens are to be guessed.
        targets_M: int64; what they were.
        kinds_T: int8; of each token: title, prose, code, comment (corpus.shards), -1 for special.
        lengths: of each document: known here without waiting for the device that the rest is on.
        num_rows: how many rows were packed into it.
        rows: their numbers in the plan, by which a run logs what it has seen.
    """

    tokens_T: torch.Tensor
    positions_T: torch.Tensor
    bounds_D1: torch.Tensor
    masked_M: torch.Tensor
    targets_M: torch.Tensor
    kinds_T: torch.Tensor
    lengths: tuple[int, ...]
    num_rows: int
    rows: tuple[int, ...] = ()

    @property
    def max_document_tokens(self) -> int:
        """The length of the longest document."""
        return max(self.lengths, default=0)
