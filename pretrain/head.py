"""The masked-LM head: logits at the masked positions only, losses that are whole on every rank.

Only 15 to 30 % of the tokens are guessed; logits of the others cost as much and are thrown away.
The decoder is the word embedding itself; with tensor parallelism each rank holds, and scores, its
share of the vocabulary.
"""

from __future__ import annotations

import torch
import torch.distributed
import torch.nn.functional as F
from megatron.core import parallel_state
from megatron.core.tensor_parallel import (
    copy_to_tensor_model_parallel_region,
    vocab_parallel_cross_entropy,
)

from pretrain.presets import ModelShape

# Shapes: M masked tokens, H hidden, V vocabulary (of this rank).


def masked_losses(logits_MV: torch.Tensor, targets_M: torch.Tensor) -> torch.Tensor:
    """Cross-entropy in nats of every masked token, in float32 (float64 of a float64 model)."""
    if parallel_state.get_tensor_model_parallel_world_size() == 1:
        wide = torch.promote_types(logits_MV.dtype, torch.float32)
        return F.cross_entropy(logits_MV.to(wide), targets_M, reduction="none")
    # A copy: megatron computes in place.
    losses_M: torch.Tensor = vocab_parallel_cross_entropy(logits_MV.clone(), targets_M)
    return losses_M


@torch.no_grad()
def best_guesses(logits_MV: torch.Tensor) -> torch.Tensor:
    """The most likely id of each masked token, over the whole vocabulary; of equals the lowest."""
    best_M, ids_M = logits_MV.max(dim=-1)
    if parallel_state.get_tensor_model_parallel_world_size() == 1:
        return ids_M
    group = parallel_state.get_tensor_model_parallel_group()
    ids_M = ids_M + parallel_state.get_tensor_model_parallel_rank() * logits_MV.shape[1]
    overall_M = best_M.clone()
    torch.distributed.all_reduce(overall_M, torch.distributed.ReduceOp.MAX, group)
    ids_M = torch.where(best_M == overall_M, ids_M, torch.iinfo(ids_M.dtype).max)
    torch.distributed.all_reduce(ids_M, torch.distributed.ReduceOp.MIN, group)
    return ids_M


class MaskedHead(torch.nn.Module):
    """Hidden states of masked tokens to logits, through the word embedding.

    `classic`: dense, GELU, LayerNorm, then the decoder with a bias (as BERT); `modern`: the
    decoder alone (as EuroBERT).
    """

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.classic = shape.family == "classic"
        if not self.classic:
            return
        size = parallel_state.get_tensor_model_parallel_world_size()
        self.dense = torch.nn.Linear(shape.hidden_size, shape.hidden_size)
        torch.nn.init.normal_(self.dense.weight, std=shape.initial_std)
        torch.nn.init.zeros_(self.dense.bias)
        self.norm = torch.nn.LayerNorm(shape.hidden_size, eps=shape.norm_epsilon)
        self.bias = torch.nn.Parameter(torch.zeros(shape.vocabulary_size // size))

    def forward(self, hidden_MH: torch.Tensor, decoder_VH: torch.Tensor) -> torch.Tensor:
        """Logits over this rank's share of the vocabulary."""
        if self.classic:
            hidden_MH = self.norm(F.gelu(self.dense(hidden_MH)))
        group = parallel_state.get_tensor_model_parallel_group()
        hidden_MH = copy_to_tensor_model_parallel_region(hidden_MH, group=group)
        return F.linear(hidden_MH, decoder_VH, self.bias if self.classic else None)
