"""Starting from a model of `transformers` instead of random weights: continued pretraining.

Reads a folder that `pretrain.export` wrote, or any MegatronBertForMaskedLM or EuroBertForMaskedLM
in safetensors. Nothing else is read: a `.bin` file is a pickle, which runs code when it is loaded.

The model must be the recipe's, and its vocabulary the tokenizer's, piece by piece: a weight that
means another thing would be worse than a random one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import PreTrainedConfig

from corpus.errors import BadValue, IntegrityError, RecipeError, StoreError
from corpus.manifest import Json
from corpus.tokenizer import MODEL
from corpus.vocabulary import Tokenizer
from pretrain.checkpoint import load_weights
from pretrain.fast_tokenizer import list_vocabulary
from pretrain.mapping import (
    CONFIG_BY_FAMILY,
    DECISIVE_BY_FAMILY,
    FAMILY_BY_MODEL_TYPE,
    MODEL_BY_FAMILY,
    Tensors,
    from_transformers,
    make_config,
)
from pretrain.model import Encoder
from pretrain.parallel import Parallel
from pretrain.presets import ModelShape

CONFIG, FAST = "config.json", "tokenizer.json"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


def init_from(folder: Path, encoder: Encoder, tokenizer: Tokenizer, parallel: Parallel) -> None:
    """Give an encoder the weights of a model of `transformers`; before anything wraps it.

    Args:
        folder: of the model.
        encoder: whose weights are overwritten; with tensor parallelism, this rank's share.
        tokenizer: of the shards.
        parallel: this process.

    Raises:
        StoreError: the folder holds no model, or none in safetensors.
        RecipeError: it is another model than the recipe's, or has another vocabulary.
        IntegrityError: its files do not hold the weights that they should.
    """
    load_weights(encoder, read_pretrained(folder, encoder.shape, tokenizer), parallel)


def read_pretrained(folder: Path, shape: ModelShape, tokenizer: Tokenizer) -> Tensors:
    """Read the whole weights of a model of `transformers`, under our names, in float32.

    Raises:
        StoreError: the folder holds no model, or none in safetensors.
        RecipeError: it is another model than the shape's, or has another vocabulary.
        IntegrityError: its files do not hold the weights that they should.
    """
    config = read_config(folder, shape)
    check_vocabulary(folder, config.vocab_size, shape, tokenizer)
    tensors = read_tensors(folder)
    with torch.device("meta"):
        expected: Tensors = MODEL_BY_FAMILY[shape.family](config).state_dict()
    for name, tensor in tensors.items():
        if name in expected and tensor.shape != expected[name].shape:
            raise IntegrityError(
                f"{folder}: {name} has shape {tuple(tensor.shape)}, its {CONFIG} says "
                f"{tuple(expected[name].shape)}; fetch the model again"
            )
    weights = from_transformers({name: one.float() for name, one in tensors.items()}, shape)
    for name, weight in weights.items():
        if not weight.isfinite().all():
            raise IntegrityError(f"{folder}: {name} holds what is no number; fetch the model again")
    return weights


def read_config(folder: Path, shape: ModelShape) -> PreTrainedConfig:
    """Read the configuration of a model and check that it is the shape's.

    Raises:
        StoreError: there is none.
        RecipeError: it is of another model; names every key that differs.
    """
    content = _read_json(folder / CONFIG)
    family = FAMILY_BY_MODEL_TYPE.get(content.get("model_type", ""))
    if family != shape.family:
        known = " or ".join(f"{kind} ({name})" for kind, name in FAMILY_BY_MODEL_TYPE.items())
        raise RecipeError(
            f"{folder} is a model of type {content.get('model_type')!r}, model.family is "
            f"{shape.family!r}; give a model of type {known}, and its family"
        )
    config: PreTrainedConfig = CONFIG_BY_FAMILY[family].from_dict(content)
    ours: Any = make_config(shape, config.vocab_size)
    differing = [
        f"{key} {getattr(config, key)}, not {getattr(ours, key)}"
        for key in DECISIVE_BY_FAMILY[family]
        if getattr(config, key) != getattr(ours, key)
    ]
    if differing:
        raise RecipeError(
            f"{folder} has {'; '.join(differing)} as the recipe's model; change [model] of the "
            "recipe, or give another model"
        )
    return config


def check_vocabulary(
    folder: Path, vocabulary_size: int, shape: ModelShape, tokenizer: Tokenizer
) -> None:
    """Check that the ids of a model mean the pieces of our tokenizer.

    By its `tokenizer.json` or `tokenizer.model`; where it has neither, by the number of ids alone.

    Raises:
        RecipeError: they do not.
    """
    todo = "give the build whose shards have the model's vocabulary, or another model"
    if not tokenizer.vocabulary_size <= vocabulary_size <= shape.vocabulary_size:
        raise RecipeError(
            f"{folder} has a vocabulary of {vocabulary_size:,}, the tokenizer of the shards "
            f"{tokenizer.vocabulary_size:,} pieces; {todo}"
        )
    theirs = read_vocabulary(folder)
    ours = list_vocabulary(tokenizer.model)
    if theirs is None or theirs == ours:
        return
    shared = enumerate(zip(theirs, ours, strict=False))
    first = next((id for id, (one, other) in shared if one != other), min(len(theirs), len(ours)))
    raise RecipeError(
        f"{folder} has another vocabulary than the tokenizer of the shards: id {first} is "
        f"{theirs[first : first + 1]}, not {ours[first : first + 1]}; {todo}"
    )


def read_vocabulary(folder: Path) -> list[str] | None:
    """Return the pieces of a model's tokenizer in order of ids, None where it has none we read."""
    if (folder / FAST).is_file():
        content = _read_json(folder / FAST)
        try:
            vocabulary = content["model"]["vocab"]
            ids = {**vocabulary, **{one["content"]: one["id"] for one in content["added_tokens"]}}
            # Where spaces are written as U+2581, there is no piece with a real one.
            return [piece.replace("\u2581", " ") for piece in sorted(ids, key=ids.__getitem__)]
        except (LookupError, TypeError, AttributeError) as error:
            raise IntegrityError(
                f"{folder / FAST} is not a tokenizer ({error!r}); fetch the model again"
            ) from error
    if (folder / MODEL).is_file():
        try:
            return list_vocabulary(Tokenizer((folder / MODEL).read_bytes()).model)
        except BadValue as error:
            raise RecipeError(
                f"{folder / MODEL} is not of the kind of the shards' tokenizer: {error}; give a "
                "model that was trained with a tokenizer of this program"
            ) from error
    return None


def read_tensors(folder: Path) -> Tensors:
    """Read all tensors of a model in safetensors, of one file or of several with an index.

    Raises:
        StoreError: there are none.
        IntegrityError: a file is broken.
    """
    names = [WEIGHTS]
    if (folder / INDEX).is_file():
        names = sorted({str(Path(name).name) for name in _read_index(folder / INDEX)})
    tensors: Tensors = {}
    for name in names:
        try:
            tensors |= load_file(folder / name)
        except FileNotFoundError as error:
            raise StoreError(
                f"{folder} has no {name}; only models in safetensors can be started from: load "
                "it with transformers and save_pretrained it"
            ) from error
        except SafetensorError as error:
            raise IntegrityError(f"{folder / name}: {error}; fetch the model again") from error
    return tensors


def _read_index(path: Path) -> list[str]:
    try:
        return [str(name) for name in _read_json(path)["weight_map"].values()]
    except (LookupError, AttributeError) as error:
        raise IntegrityError(f"{path} is no index ({error!r}); fetch the model again") from error


def _read_json(path: Path) -> Json:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise StoreError(
            f"{path} cannot be read ({error.strerror}); give the folder of a model of transformers"
        ) from error
    except ValueError as error:
        raise IntegrityError(f"{path} is not JSON: {error}; fetch the model again") from error
    if not isinstance(content, dict):
        raise IntegrityError(f"{path} is not a JSON object; fetch the model again")
    return content
