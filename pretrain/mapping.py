"""Our weights under the names of `transformers`, and back: renamed, cut and joined, never changed.

    classic     MegatronBertForMaskedLM
    modern      EuroBertForMaskedLM

Owns the names on both sides, and the configuration that gives them our function. More than a name
differs in four places:

* Queries, keys and values lie interleaved by head in one matrix: [heads, 3, width].
* The first matrix of a gated MLP is the gate, which is activated, and below it the value.
* Rows of the word embedding beyond the tokenizer's pieces are padding: cut off on the way out. On
  the way in they are given the row of [UNK], which never occurs either: text falls back on bytes.
* Megatron's BERT adds a vector of the token's type. Ours has none: zeros on the way out; on the
  way in the one of type 0, which every token had, is added to that of every position.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from transformers import (
    EuroBertConfig,
    EuroBertForMaskedLM,
    MegatronBertConfig,
    MegatronBertForMaskedLM,
    PreTrainedConfig,
)

from corpus.errors import IntegrityError
from corpus.vocabulary import Tokenizer
from pretrain.presets import ModelShape
from pretrain.recipe import Family

Tensors = dict[str, torch.Tensor]

# Any: what these take is not typed for keyword arguments that are put together.
CONFIG_BY_FAMILY: dict[Family, Any] = {"classic": MegatronBertConfig, "modern": EuroBertConfig}
MODEL_BY_FAMILY: dict[Family, Any] = {
    "classic": MegatronBertForMaskedLM,
    "modern": EuroBertForMaskedLM,
}
FAMILY_BY_MODEL_TYPE: dict[str, Family] = {"megatron-bert": "classic", "eurobert": "modern"}
# What of a configuration decides the weights or what is computed with them.
DECISIVE_BY_FAMILY: dict[Family, tuple[str, ...]] = {
    "classic": (
        "num_hidden_layers",
        "hidden_size",
        "num_attention_heads",
        "intermediate_size",
        "max_position_embeddings",
        "hidden_act",
        "layer_norm_eps",
    ),
    "modern": (
        "num_hidden_layers",
        "hidden_size",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "intermediate_size",
        "hidden_act",
        "rms_norm_eps",
        "rope_parameters",
        "attention_bias",
        "mlp_bias",
    ),
}

WORDS, POSITIONS, OUTPUT_BIAS = (
    "embedding.word_embeddings.weight",
    "embedding.position_embeddings.weight",
    "head.bias",
)
TOKEN_TYPES = "bert.embeddings.token_type_embeddings.weight"
NUM_TOKEN_TYPES = 2
# What is the same weight a second time in a masked-LM of `transformers`.
TIED_BY_FAMILY: dict[Family, dict[str, str]] = {
    "classic": {
        "cls.predictions.decoder.weight": WORDS,
        "cls.predictions.decoder.bias": OUTPUT_BIAS,
    },
    "modern": {"lm_head.weight": WORDS},
}
# Of models that were trained for more than masked tokens, or saved by older releases.
IGNORED = ("bert.pooler.", "cls.seq_relationship.", "bert.embeddings.position_ids")

# Module names; ours, and the one or more that hold the same.
CLASSIC: dict[str, tuple[str, ...]] = {
    "embedding.word_embeddings": ("bert.embeddings.word_embeddings",),
    "embedding.position_embeddings": ("bert.embeddings.position_embeddings",),
    "encoder.final_layernorm": ("bert.encoder.ln",),
    "head.dense": ("cls.predictions.transform.dense",),
    "head.norm": ("cls.predictions.transform.LayerNorm",),
    "head": ("cls.predictions",),
}
CLASSIC_LAYER = {
    "input_layernorm": ("attention.ln",),
    "self_attention.linear_qkv": tuple(f"attention.self.{x}" for x in ("query", "key", "value")),
    "self_attention.linear_proj": ("attention.output.dense",),
    "pre_mlp_layernorm": ("ln",),
    "mlp.linear_fc1": ("intermediate.dense",),
    "mlp.linear_fc2": ("output.dense",),
}
MODERN: dict[str, tuple[str, ...]] = {
    "embedding.word_embeddings": ("model.embed_tokens",),
    "encoder.final_layernorm": ("model.norm",),
}
MODERN_LAYER = {
    "input_layernorm": ("input_layernorm",),
    "self_attention.linear_qkv": tuple(f"self_attn.{x}_proj" for x in ("q", "k", "v")),
    "self_attention.linear_proj": ("self_attn.o_proj",),
    "pre_mlp_layernorm": ("post_attention_layernorm",),
    "mlp.linear_fc1": ("mlp.gate_proj", "mlp.up_proj"),
    "mlp.linear_fc2": ("mlp.down_proj",),
}


class Renaming(NamedTuple):
    """A weight of ours, and those that hold the same numbers in `transformers`."""

    ours: str
    theirs: tuple[str, ...]


def make_config(shape: ModelShape, vocabulary_size: int) -> PreTrainedConfig:
    """Return the configuration with which a model of `transformers` computes what ours does.

    Args:
        shape: of ours.
        vocabulary_size: of the exported model: the pieces of its tokenizer.
    """
    shared = {
        "vocab_size": vocabulary_size,
        "num_hidden_layers": shape.num_layers,
        "hidden_size": shape.hidden_size,
        "num_attention_heads": shape.num_heads,
        "intermediate_size": shape.ffn_size,
        "max_position_embeddings": shape.max_positions,
        "initializer_range": shape.initial_std,
        "tie_word_embeddings": True,
        "pad_token_id": Tokenizer.pad_id,
        "bos_token_id": Tokenizer.cls_id,
        "eos_token_id": Tokenizer.sep_id,
    }
    make: Any = CONFIG_BY_FAMILY[shape.family]
    config: PreTrainedConfig
    if shape.family == "classic":
        config = make(
            **shared,
            type_vocab_size=NUM_TOKEN_TYPES,
            # Exact, not the tanh form: 2e-4 apart in the logits.
            hidden_act="gelu",
            # 1e-12 by default, which is 3e-3 off.
            layer_norm_eps=shape.norm_epsilon,
            hidden_dropout_prob=shape.dropout,
            attention_probs_dropout_prob=shape.dropout,
        )
    else:
        config = make(
            **shared,
            hidden_act="silu",
            rms_norm_eps=shape.norm_epsilon,
            rope_parameters={"rope_type": "default", "rope_theta": shape.rotary_base},
            attention_dropout=shape.dropout,
            mask_token_id=Tokenizer.mask_id,
        )
    return config


def make_model(config: PreTrainedConfig, tensors: Tensors) -> Any:
    """Return the masked-LM of `transformers` with these weights, in evaluation mode.

    Args:
        config: as `make_config` returns it.
        tensors: all its weights, as `to_transformers` returns them; it holds these very ones.
    """
    # It draws weights, which would advance the generator of the run that is exported.
    with torch.random.fork_rng(devices=[]):
        model: Any = MODEL_BY_FAMILY[FAMILY_BY_MODEL_TYPE[config.model_type]](config)
    # Assigned, not copied: of the large model each copy in float64 takes 6 GB.
    model.load_state_dict(tensors, assign=True)
    model.tie_weights()
    return model.eval()


def iter_renamings(shape: ModelShape) -> Iterator[Renaming]:
    """Iterate over all weights of an encoder.

    >>> shape = ModelShape("modern", 1, 8, 2, 16, 32, 300, 0.0, 1e-5, 0.02)
    >>> dict(iter_renamings(shape))["encoder.layers.0.mlp.linear_fc1.weight"]
    ('model.layers.0.mlp.gate_proj.weight', 'model.layers.0.mlp.up_proj.weight')
    """
    is_classic = shape.family == "classic"
    outer, inner = (CLASSIC, CLASSIC_LAYER) if is_classic else (MODERN, MODERN_LAYER)
    stem = "bert.encoder.layer" if is_classic else "model.layers"
    modules = dict(outer)
    for i in range(shape.num_layers):
        for ours, theirs in inner.items():
            modules[f"encoder.layers.{i}.{ours}"] = tuple(f"{stem}.{i}.{one}" for one in theirs)
    for ours, theirs in modules.items():
        for kind in _kinds(ours, is_classic):
            yield Renaming(f"{ours}.{kind}", tuple(f"{one}.{kind}" for one in theirs))


def _kinds(module: str, is_classic: bool) -> tuple[str, ...]:
    if module == "head":
        return ("bias",)
    return ("weight", "bias") if is_classic and "embedding" not in module else ("weight",)


def to_transformers(weights: Tensors, shape: ModelShape, vocabulary_size: int) -> Tensors:
    """Return all weights of the model of `transformers`, those that are tied more than once.

    Args:
        weights: whole, under our names.
        shape: of the encoder.
        vocabulary_size: rows of the vocabulary to keep.

    Raises:
        IntegrityError: the weights are not those of such an encoder.
    """
    renamings = list(iter_renamings(shape))
    _check_names(set(weights), {one.ours for one in renamings}, "the checkpoint")
    cut = dict(weights)
    for name in (WORDS, OUTPUT_BIAS):
        if name in cut:
            cut[name] = cut[name][:vocabulary_size]
    tensors: Tensors = {}
    for ours, theirs in renamings:
        parts = _cut(cut[ours], len(theirs), shape.num_heads)
        tensors.update(zip(theirs, parts, strict=True))
    tensors |= {theirs: cut[ours] for theirs, ours in TIED_BY_FAMILY[shape.family].items()}
    if shape.family == "classic":
        tensors[TOKEN_TYPES] = cut[WORDS].new_zeros(NUM_TOKEN_TYPES, shape.hidden_size)
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def from_transformers(tensors: Tensors, shape: ModelShape) -> Tensors:
    """Return the weights of an encoder, from those of a model of `transformers`.

    Args:
        tensors: of a masked-LM whose configuration is that of the shape; tied ones may be missing.
        shape: of the encoder; its vocabulary may be larger, by padding.

    Raises:
        IntegrityError: weights are missing, unknown or misshapen, or the output is not tied.
    """
    tied = TIED_BY_FAMILY[shape.family]
    given = {name: one for name, one in tensors.items() if not name.startswith(IGNORED)}
    # Of two names of one weight, releases differ in which they keep.
    theirs_of = {one.ours: one.theirs[0] for one in iter_renamings(shape) if len(one.theirs) == 1}
    doubles = {name: given.pop(name) for name in tied if name in given}
    for name, double in doubles.items():
        kept = given.setdefault(theirs_of[tied[name]], double)
        if not torch.equal(kept, double):
            raise IntegrityError(
                f"{name} is not {theirs_of[tied[name]]}: the output of this model is not tied to "
                "its input, as ours is; choose another"
            )
    types = given.pop(TOKEN_TYPES, None)
    renamings = list(iter_renamings(shape))
    _check_names(set(given), {name for one in renamings for name in one.theirs}, "the model")
    weights = {ours: _join([given[name] for name in theirs], shape) for ours, theirs in renamings}
    if types is not None and types[0].any():
        weights[POSITIONS] = weights[POSITIONS] + types[0]
    for name in (WORDS, OUTPUT_BIAS):
        if name in weights:
            weights[name] = _pad(weights[name], shape.vocabulary_size)
    return weights


def _cut(weight: torch.Tensor, num_parts: int, num_heads: int) -> list[torch.Tensor]:
    """Cut the matrix of queries, keys and values into 3, that of a gated MLP into 2."""
    if num_parts < 3:
        return list(weight.chunk(num_parts))
    by_head = weight.view(num_heads, num_parts, -1, *weight.shape[1:])
    return [by_head[:, part].flatten(0, 1) for part in range(num_parts)]


def _join(parts: list[torch.Tensor], shape: ModelShape) -> torch.Tensor:
    """Undo `_cut`."""
    if len(parts) < 3:
        return torch.cat(parts)
    by_head = [part.view(shape.num_heads, -1, *part.shape[1:]) for part in parts]
    return torch.stack(by_head, dim=1).flatten(0, 2)


def _pad(weight: torch.Tensor, num_rows: int) -> torch.Tensor:
    unknown = weight[Tokenizer.unk_id : Tokenizer.unk_id + 1]
    padding = unknown.expand(num_rows - len(weight), *unknown.shape[1:])
    return torch.cat([weight, padding])


def _check_names(given: set[str], expected: set[str], what: str) -> None:
    for problem, names in (("lacks", expected - given), ("has unknown", given - expected)):
        if names:
            raise IntegrityError(
                f"{what} {problem} weights, {len(names)} in all, {min(names)} the first; it is of "
                "another model, choose that of the recipe"
            )
