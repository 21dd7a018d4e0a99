"""The encoder: megatron-core's embedding and transformer block, packed attention, a sparse head.

`classic` is BERT with its norms before the layers (learned positions, exact GELU, LayerNorm,
biases), `modern` has rotary positions, a gated MLP, RMSNorm and no bias. Nothing of megatron-core
is patched: the layer's specification is copied and its core attention exchanged.

Names of weights: `embedding.word_embeddings.weight`, `embedding.position_embeddings.weight`
(classic), `encoder.layers.<i>....`, `encoder.final_layernorm...`, and for classic `head.dense...`,
`head.norm...`, `head.bias`. Queries, keys and values are interleaved by head.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from megatron.core import parallel_state
from megatron.core.models.bert.bert_layer_specs import bert_layer_local_spec
from megatron.core.models.common.embeddings.language_model_embedding import LanguageModelEmbedding
from megatron.core.transformer.spec_utils import ModuleSpec
from megatron.core.transformer.torch_norm import WrappedTorchNorm
from megatron.core.transformer.transformer_block import TransformerBlock, TransformerBlockSubmodules
from megatron.core.transformer.transformer_config import TransformerConfig

from corpus.errors import RecipeError
from pretrain.attention import PackedAttention, make_layout
from pretrain.batches import Batch
from pretrain.head import MaskedHead, best_guesses, masked_losses
from pretrain.presets import ModelShape

# Shapes: T tokens of a micro-batch without padding, M masked, H hidden, V vocabulary of this rank.


class Split(NamedTuple):
    """How tensor parallelism cuts a weight: along `dim`, in each of `stride` equal blocks."""

    dim: int
    stride: int


def build_encoder(
    shape: ModelShape, *, dtype: torch.dtype, device: torch.device | str, seed: int
) -> Encoder:
    """An encoder with weights drawn from the seed; the same ones for any number of ranks.

    Needs `start_parallel`. On the device `meta` nothing is drawn.

    Raises:
        RecipeError: tensor parallelism does not divide the heads or the feed-forward width.
    """
    size = parallel_state.get_tensor_model_parallel_world_size()
    for key, value in (("num_heads", shape.num_heads), ("ffn_size", shape.ffn_size)):
        if value % size:
            raise RecipeError(f"run.tensor_parallel is {size}; it must divide model.{key}, {value}")
    device = torch.device(device)
    with _quiet(), _seeded(seed), torch.device("meta" if device.type == "meta" else "cpu"):
        encoder = Encoder(shape, draw=device.type != "meta")
    return encoder.to(dtype=dtype) if device.type == "meta" else encoder.to(device, dtype)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what megatron-core 0.16 says of its own defaults."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "full scope is deprecated")
        warnings.filterwarnings("ignore", "MLP requires ffn_hidden_size")
        yield


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


class RMSNorm(torch.nn.RMSNorm):
    """PyTorch's, with the weight in the precision of the input: under autocast its fused kernel
    refuses the two apart.
    """

    def __init__(self, config: TransformerConfig, hidden_size: int, eps: float, **_: Any) -> None:
        super().__init__(hidden_size, eps=eps)

    def forward(self, x_TH: torch.Tensor) -> torch.Tensor:
        """Divide by the root mean square, scale."""
        return F.rms_norm(x_TH, self.normalized_shape, self.weight.to(x_TH.dtype), self.eps)


class Encoder(torch.nn.Module):
    """A masked language model over packed rows.

    Attributes:
        shape: what it was built from.
        splits: how each weight that tensor parallelism cuts is cut, by its name.
    """

    def __init__(self, shape: ModelShape, *, draw: bool = True) -> None:
        super().__init__()
        self.shape = shape
        config = _megatron_config(shape, draw)
        self.embedding = LanguageModelEmbedding(
            config,
            vocab_size=shape.vocabulary_size,
            max_sequence_length=shape.max_positions,
            position_embedding_type="learned_absolute" if shape.family == "classic" else "none",
            tp_group=parallel_state.get_tensor_model_parallel_group(),
        )
        self.encoder = TransformerBlock(config, _block_spec(shape))
        self.head = MaskedHead(shape)
        self.splits = {
            name: _split_of(weight)
            for name, weight in self.named_parameters()
            if getattr(weight, "tensor_model_parallel", False)
        }
        if shape.family == "classic":
            self.splits["head.bias"] = Split(0, 1)
        # PyTorch's method has no types.
        self.register_state_dict_post_hook(_drop_extra_state)  # type: ignore[no-untyped-call]

    def hidden_TH(self, batch: Batch) -> torch.Tensor:
        """The last hidden states, normalised."""
        embedded_T1H = self.embedding(batch.tokens_T[None], batch.positions_T[None])
        hidden_T1H: torch.Tensor = self.encoder(
            embedded_T1H, None, packed_seq_params=make_layout(batch, self.shape)
        )
        return hidden_T1H.squeeze(1)

    def forward(self, batch: Batch) -> torch.Tensor:
        """Logits of the masked tokens, over this rank's share of the vocabulary."""
        masked_MH = self.hidden_TH(batch)[batch.masked_M]
        logits_MV: torch.Tensor = self.head(masked_MH, self.embedding.word_embeddings.weight)
        return logits_MV

    def losses_M(self, batch: Batch) -> torch.Tensor:
        """Cross-entropy in nats of each masked token."""
        return masked_losses(self.forward(batch), batch.targets_M)

    def scores_M(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Losses of the masked tokens, and whether the most likely token is the right one."""
        logits_MV = self.forward(batch)
        correct_M = best_guesses(logits_MV) == batch.targets_M
        return masked_losses(logits_MV, batch.targets_M), correct_M


def _split_of(weight: Any) -> Split:
    """What megatron-core noted on a weight that it cut."""
    return Split(weight.partition_dim, weight.partition_stride)


def _megatron_config(shape: ModelShape, draw: bool) -> TransformerConfig:
    classic = shape.family == "classic"
    return TransformerConfig(
        num_layers=shape.num_layers,
        hidden_size=shape.hidden_size,
        num_attention_heads=shape.num_heads,
        ffn_hidden_size=shape.ffn_size,
        hidden_dropout=shape.dropout,
        attention_dropout=shape.dropout,
        layernorm_epsilon=shape.norm_epsilon,
        init_method_std=shape.initial_std,
        normalization="LayerNorm" if classic else "RMSNorm",
        activation_func=F.gelu if classic else F.silu,
        gated_linear_unit=not classic,
        add_bias_linear=classic,
        # Megatron's fused GELU is the tanh form; that of the exported model is exact.
        bias_activation_fusion=False,
        bias_dropout_fusion=False,
        tensor_model_parallel_size=parallel_state.get_tensor_model_parallel_world_size(),
        # Whole weights are drawn on every rank and cut: equal for every tensor parallelism.
        use_cpu_initialization=True,
        perform_initialization=draw,
    )


def _block_spec(shape: ModelShape) -> TransformerBlockSubmodules:
    """Megatron's own specification of a BERT layer, copied, with our core attention and norm.

    Copied and edited rather than written anew: releases differ in how they spell the parts.
    """
    layer: ModuleSpec = copy.deepcopy(bert_layer_local_spec)
    parts: Any = layer.submodules
    norm = WrappedTorchNorm if shape.family == "classic" else RMSNorm
    parts.input_layernorm = parts.pre_mlp_layernorm = norm
    parts.self_attention.submodules.core_attention = PackedAttention
    return TransformerBlockSubmodules([layer] * shape.num_layers, layer_norm=norm)


def _drop_extra_state(
    module: torch.nn.Module, state: dict[str, Any], prefix: str, _: dict[str, Any]
) -> None:
    """Leave out what Transformer Engine would keep there: None throughout, and no tensor.

    Loading needs nothing in turn: megatron's layers fill it in themselves.
    """
    for name in [name for name in state if name.endswith("_extra_state")]:
        del state[name]
