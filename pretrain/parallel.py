"""Processes and devices: who trains which rows, which share of a weight; gradients over all.

One process, or as many as `torchrun` starts; ranks next to each other share a model (tensor
parallelism), the groups of them share the rows (DDP, FSDP2).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

import torch
import torch.distributed
from megatron.core import parallel_state
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from corpus.errors import RecipeError
from pretrain.batches import Batch
from pretrain.model import Encoder, Split
from pretrain.recipe import RunSection


@dataclass(frozen=True, slots=True)
class Parallel:
    """This process among the others.

    Args:
        data_rank: which share of the rows it reads, of `data_size`.
        tensor_rank: which share of the weights it holds, of `tensor_size`.
    """

    rank: int
    world_size: int
    data_rank: int
    data_size: int
    tensor_rank: int
    tensor_size: int
    device: torch.device


@contextmanager
def start_parallel(run: RunSection) -> Iterator[Parallel]:
    """Meet the other processes (torchrun's environment), or be the only one; part at the end.

    Raises:
        RecipeError: tensor parallelism does not divide the number of processes.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size % run.tensor_parallel:
        raise RecipeError(
            f"run.tensor_parallel is {run.tensor_parallel}; it must divide the number of "
            f"processes, {world_size}"
        )
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    backend = "gloo" if device.type == "cpu" else "cpu:gloo,cuda:nccl"
    if world_size == 1:
        # A store in memory: one process needs no port. PyTorch's stub does not know it.
        store = torch.distributed.HashStore()  # type: ignore[attr-defined]
        torch.distributed.init_process_group(backend, store=store, rank=0, world_size=1)
    else:
        torch.distributed.init_process_group(backend)
    try:
        parallel_state.initialize_model_parallel(tensor_model_parallel_size=run.tensor_parallel)
        yield Parallel(
            rank=torch.distributed.get_rank(),
            world_size=world_size,
            data_rank=parallel_state.get_data_parallel_rank(),
            data_size=parallel_state.get_data_parallel_world_size(),
            tensor_rank=parallel_state.get_tensor_model_parallel_rank(),
            tensor_size=run.tensor_parallel,
            device=device,
        )
    finally:
        parallel_state.destroy_model_parallel()
        torch.distributed.destroy_process_group()


class MaskedLoss(torch.nn.Module):
    """The encoder as what is trained: a micro-batch in, the loss of each masked token out."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, batch: Batch) -> torch.Tensor:
        """`Encoder.losses_M`."""
        losses_M: torch.Tensor = self.encoder.losses_M(batch)
        return losses_M


def wrap_data_parallel(
    encoder: Encoder, parallel: Parallel, how: Literal["ddp", "fsdp"]
) -> torch.nn.Module:
    """The encoder to be trained by all data ranks: calling it with a batch gives `losses_M`.

    Gradients are the *mean* over data ranks: where they are to be those of the mean over all masked
    tokens, back-propagate `losses.sum() * data_size / tokens masked in all ranks`. FSDP2 cuts the
    weights of `encoder` in place, before any optimiser is made.
    """
    if parallel.data_size == 1:
        return MaskedLoss(encoder)
    group = parallel_state.get_data_parallel_group()
    if how == "ddp":
        return DistributedDataParallel(MaskedLoss(encoder), process_group=group)
    mesh = DeviceMesh.from_group(group, parallel.device.type)
    for layer in encoder.encoder.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(encoder, mesh=mesh)
    for method in ("losses_M", "scores_M", "hidden_TH"):
        register_fsdp_forward_method(encoder, method)
    return MaskedLoss(encoder)


def clip_gradients(encoder: Encoder, max_norm: float) -> torch.Tensor:
    """Scale the gradients so that their norm over all ranks is at most that.

    Returns:
        The norm before; equal on all ranks.
    """
    cut: list[torch.Tensor] = []
    whole: list[torch.Tensor] = []
    for name, weight in encoder.named_parameters():
        if weight.grad is not None:
            (cut if name in encoder.splits else whole).append(weight.grad)
    squares = _norm(cut) ** 2
    if parallel_state.get_tensor_model_parallel_world_size() > 1:
        group = parallel_state.get_tensor_model_parallel_group()
        torch.distributed.all_reduce(squares, group=group)
    norm = (squares + _norm(whole) ** 2).sqrt()
    torch.nn.utils.clip_grads_with_norm_(encoder.parameters(), max_norm, norm)
    return norm


def _norm(gradients: list[torch.Tensor]) -> torch.Tensor:
    norm = torch.nn.utils.get_total_norm(gradients)
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


def seed_dropout(seed: int, rows: int, parallel: Parallel) -> None:
    """Seed what dropout draws from: by the run's seed, the rows consumed, and the data rank.

    Called before each micro-batch, it makes dropout the same whether a run was resumed or not. The
    ranks of one model draw alike, as they must: hidden states are whole on each of them.
    """
    key = f"{seed}:{rows}:{parallel.data_rank}".encode()
    torch.manual_seed(int.from_bytes(blake2b(key, digest_size=8).digest(), "little") >> 1)


def join_tensor(part: torch.Tensor, split: Split) -> torch.Tensor:
    """A whole weight (or its optimiser state) from the shares of all tensor ranks."""
    size = parallel_state.get_tensor_model_parallel_world_size()
    parts = [torch.empty_like(part, memory_format=torch.contiguous_format) for _ in range(size)]
    group = parallel_state.get_tensor_model_parallel_group()
    torch.distributed.all_gather(parts, part.detach().contiguous(), group=group)
    blocks = [piece.chunk(split.stride, split.dim) for piece in parts]
    return torch.cat([b[i] for i in range(split.stride) for b in blocks], split.dim)


def split_tensor(whole: torch.Tensor, split: Split, rank: int, size: int) -> torch.Tensor:
    """The share of one tensor rank; undone by `join_tensor`.

    >>> split_tensor(torch.arange(8), Split(dim=0, stride=2), 0, 2)
    tensor([0, 1, 4, 5])
    """
    pieces = whole.chunk(split.stride * size, split.dim)
    return torch.cat(pieces[rank::size], split.dim)
