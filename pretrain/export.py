"""A checkpoint as a model of `transformers`, written once it is proven to compute the same.

    config.json, model.safetensors            the model, weights in float32
    tokenizer.json, tokenizer_config.json     the tokenizer (`pretrain.fast_tokenizer`)
    tokenizer.model                           the same for SentencePiece, as the corpus has it
    README.md                                 the model card (`pretrain.model_card`)

The folder is made under another name, synced, and renamed: it is there whole or not at all.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from megatron.core import parallel_state
from transformers import PreTrainedConfig
from transformers.utils import logging

from corpus.durable import TEMPORARY, sync
from corpus.errors import IntegrityError, RecipeError, StoreError
from corpus.manifest import Json
from corpus.store import Artifact
from corpus.tokenizer import MODEL
from corpus.vocabulary import Tokenizer, load_tokenizer
from pretrain.batches import Batch
from pretrain.checkpoint import load_tensors, read_marker
from pretrain.fast_tokenizer import make_fast_tokenizer, save_fast_tokenizer
from pretrain.mapping import Tensors, make_config, make_model, to_transformers
from pretrain.model import build_encoder
from pretrain.model_card import render_model_card
from pretrain.parallel import start_parallel
from pretrain.presets import ModelShape
from pretrain.recipe import RunSection

# Shapes: D documents, S tokens of the longest, T of all, V vocabulary.

# How far logits may be apart, as a share of the largest where that is above 1.
TOLERANCE_BY_DTYPE = {torch.float32: 1e-5, torch.float64: 1e-12}
# Of the documents that are compared; one token is the shortest there is.
LENGTHS = (128, 1, 2, 37, 64)
SEED = 1


class Weights(NamedTuple):
    """An encoder without a program: its shape, and its whole weights under our names."""

    shape: ModelShape
    tensors: Tensors


def export_model(checkpoint: Path | Weights, tokenizer: Artifact, out: Path, run: Json) -> None:
    """Write a checkpoint as a model of `transformers`.

    Args:
        checkpoint: a folder `step-...` of a run, or the weights themselves.
        tokenizer: the one of the shards that it was trained on.
        out: the folder to make; it must not be there yet.
        run: what is known of the run, for the card (`pretrain.model_card`): its `run.json`.

    Raises:
        StoreError: `out` is there, cannot be written, or `checkpoint` is none.
        RecipeError: the checkpoint was trained with another tokenizer.
        IntegrityError: the exported model or tokenizer would not give what ours gives, or a file of
            the checkpoint was changed. Nothing is written.
    """
    if out.exists():
        raise StoreError(f"{out} is there already; give another folder, or delete it")
    ours = load_tokenizer(tokenizer.path(MODEL))
    shape, tensors = load_weights(checkpoint, tokenizer, ours)
    config = make_config(shape, ours.vocabulary_size)
    model = prove_parity(Weights(shape, tensors), config)
    fast = make_fast_tokenizer(ours, max_tokens=shape.max_positions)
    if isinstance(checkpoint, Path):
        run = describe_checkpoint(checkpoint, run)
    card = render_model_card(shape, ours.vocabulary_size, run)
    temporary = out.with_name(out.name + TEMPORARY)
    try:
        if temporary.exists():
            shutil.rmtree(temporary)
        temporary.mkdir(parents=True)
        with _no_progress_bar():
            model.save_pretrained(temporary)
        save_fast_tokenizer(fast, temporary)
        (temporary / MODEL).write_bytes(ours.model)
        (temporary / "README.md").write_text(card, "utf-8")
        for path in sorted(temporary.iterdir()):
            path.chmod(0o644)  # safetensors makes its files for the owner alone
            sync(path)
        sync(temporary)
        temporary.rename(out)
        sync(out.parent)
    except OSError as error:
        raise StoreError(f"{out} cannot be written: {error}; give another folder") from error


def load_weights(checkpoint: Path | Weights, tokenizer: Artifact, ours: Tokenizer) -> Weights:
    """Return the weights of a checkpoint in float32.

    Raises:
        StoreError: the folder is no checkpoint.
        RecipeError: it was trained with another tokenizer.
        IntegrityError: a file of it was changed.
    """
    if isinstance(checkpoint, Path):
        there = read_marker(checkpoint)
        if there.identity.tokenizer != tokenizer.manifest.id:
            raise RecipeError(
                f"checkpoint {checkpoint} was trained with tokenizer "
                f"{there.identity.tokenizer[:16]}, not {tokenizer.manifest.id[:16]}; give the "
                "build whose shards it was trained on"
            )
        checkpoint = Weights(ModelShape(**there.marker["shape"]), load_tensors(there))
    shape = checkpoint.shape
    if ours.vocabulary_size > shape.vocabulary_size:
        raise RecipeError(
            f"the tokenizer has {ours.vocabulary_size:,} pieces, the encoder "
            f"{shape.vocabulary_size:,}; give the tokenizer that it was trained with"
        )
    return Weights(shape, {name: one.float() for name, one in checkpoint.tensors.items()})


def describe_checkpoint(folder: Path, run: Json) -> Json:
    """Return the record of a run as it was when it saved this checkpoint."""
    ledger = asdict(read_marker(folder).ledger)
    is_newest = (run.get("progress") or {}).get("step") == ledger["step"]
    evaluation = run.get("evaluation") if is_newest else None
    return {**run, "progress": ledger, "evaluation": evaluation}


def prove_parity(weights: Weights, config: PreTrainedConfig) -> Any:
    """Make the model of `transformers`, and check in float64 and float32 that it computes ours.

    Args:
        weights: of the encoder, in float32.
        config: of the model.

    Returns:
        The model, in float32.

    Raises:
        IntegrityError: logits are apart, or not finite.
    """
    model = None
    for dtype in (torch.float64, torch.float32):
        tensors = {name: one.to(dtype) for name, one in weights.tensors.items()}
        theirs = to_transformers(tensors, weights.shape, config.vocab_size)
        model = make_model(config, theirs)
        deviation = measure_deviation(Weights(weights.shape, tensors), model)
        # Written so that not a number fails.
        if not deviation <= TOLERANCE_BY_DTYPE[dtype]:
            name = str(dtype).removeprefix("torch.")
            raise IntegrityError(
                f"the exported {type(model).__name__} gives logits {deviation:.1e} off those of "
                f"the checkpoint in {name}, at most {TOLERANCE_BY_DTYPE[dtype]:.0e} is rounding; "
                "nothing was written, check model.norm_epsilon and the weights"
            )
    return model


@torch.no_grad()
def measure_deviation(weights: Weights, model: Any) -> float:
    """Return how far logits of a model are from our encoder's, at most, on random documents.

    Ours sees the documents packed into a row; theirs sees each in a padded row, but the last, which
    it sees alone at the last positions.

    Returns:
        The largest difference, divided by the largest logit where that is above 1.
    """
    shape, tensors = weights
    dtype = next(iter(tensors.values())).dtype
    lengths = [min(length, shape.max_positions) for length in LENGTHS]
    tokens_T = torch.randint(
        model.config.vocab_size,
        (sum(lengths),),
        generator=torch.Generator().manual_seed(SEED),
    )
    *starts, last = [0] * (len(lengths) - 1) + [shape.max_positions - lengths[-1]]
    positions = [
        torch.arange(start, start + n) for start, n in zip([*starts, last], lengths, strict=True)
    ]
    batch = Batch(
        tokens_T=tokens_T,
        positions_T=torch.cat(positions),
        bounds_D1=torch.tensor([0, *lengths]).cumsum(0).int(),
        masked_M=torch.arange(len(tokens_T)),
        targets_M=tokens_T,
        kinds_T=torch.zeros_like(tokens_T, dtype=torch.int8),
        lengths=tuple(lengths),
        num_rows=1,
    )
    with _alone():
        encoder = build_encoder(shape, dtype=dtype, device="meta", seed=SEED)
        encoder.load_state_dict(tensors, assign=True)
        ours_TV = encoder.eval()(batch)[:, : model.config.vocab_size]
    documents = torch.split(tokens_T, lengths)
    tokens_DS = torch.nn.utils.rnn.pad_sequence(list(documents[:-1]), batch_first=True)
    is_real_DS = torch.arange(tokens_DS.shape[1]) < torch.tensor(lengths[:-1])[:, None]
    with _in_full_precision(model):
        theirs_DSV = model(input_ids=tokens_DS, attention_mask=is_real_DS.long()).logits
        alone_1SV = model(input_ids=documents[-1][None], position_ids=positions[-1][None]).logits
    theirs_TV = torch.cat([theirs_DSV[is_real_DS], alone_1SV[0]])
    largest = float(ours_TV.abs().max())
    return float((ours_TV - theirs_TV).abs().max()) / max(1.0, largest)


@contextmanager
def _alone() -> Iterator[None]:
    """Be the only process, unless a run has already started one or more."""
    is_started = parallel_state.model_parallel_is_initialized()
    with nullcontext() if is_started else start_parallel(RunSection()):
        yield


@contextmanager
def _in_full_precision(model: Any) -> Iterator[None]:
    """Let the norms of a float64 EuroBERT compute in float64.

    Its own always compute in float32, so that 1e-12 could not be seen. Weight and epsilon stay
    those that it was made with; the model is as before at the end.
    """
    norms = {
        name: module
        for name, module in model.named_modules()
        if type(module).__name__ == "EuroBertRMSNorm" and module.weight.dtype == torch.float64
    }
    for name, norm in norms.items():
        wide = torch.nn.RMSNorm(norm.weight.shape, norm.variance_epsilon, dtype=torch.float64)
        wide.weight = norm.weight
        model.set_submodule(name, wide)
    yield
    for name, norm in norms.items():
        model.set_submodule(name, norm)


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    switch: Any = logging  # not typed
    was_on = switch.is_progress_bar_enabled()
    switch.disable_progress_bar()
    try:
        yield
    finally:
        if was_on:
            switch.enable_progress_bar()
