"""Models of `transformers`: found in a folder or in the local cache of the Hub, digested, opened.

The network is never asked, and no code that comes with a model is run: a model is opened by the
class that `transformers` has for its type, and its weights must fit that class.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from safetensors import SafetensorError
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)
from transformers.utils import logging

from corpus.errors import RecipeError, StoreError
from corpus.manifest import digest_file
from finetune.recipe import LoraSection
from finetune.tasks import Kind

CONFIG = "config.json"
TOKENIZER_FILES = (
    "added_tokens.json",
    "bpe.codes",
    "merges.txt",
    "sentencepiece.bpe.model",
    "sentencepiece.model",
    "special_tokens_map.json",
    "spiece.model",
    "spm.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
)
# The first that has a file is what `transformers` reads; a repository may hold both.
WEIGHT_PATTERNS = ("model*.safetensors*", "pytorch_model*.bin*")
CLASS_BY_KIND: dict[Kind, Any] = {
    "sequence": AutoModelForSequenceClassification,
    "token": AutoModelForTokenClassification,
}
# What peft trains whole beside the adapters; `transformers` calls heads of sequences so.
HEAD_NAMES = ("classifier", "score")
LOCAL = {"local_files_only": True, "trust_remote_code": False}


class Limits(NamedTuple):
    """The longest input that a model takes (None: it has no limit), and how many ids it knows."""

    max_tokens: int | None
    num_ids: int


def find_model(path_or_name: str) -> Path:
    """Return the folder of a model: itself, or that of the local cache of the Hub.

    Raises:
        StoreError: it is neither, or the folder holds no model.
    """
    folder = Path(path_or_name)
    if not folder.is_dir():
        try:
            folder = Path(snapshot_download(path_or_name, local_files_only=True))
        except (HFValidationError, LocalEntryNotFoundError):
            raise StoreError(
                f"model {path_or_name!r} is neither a folder nor in the local cache of the Hub; "
                f"run `hf download {path_or_name}` and then this again, or give a folder"
            ) from None
    if not (folder / CONFIG).is_file():
        raise StoreError(
            f"model {path_or_name!r} has no {CONFIG} in {folder}; give a folder that "
            "`sobert pretrain export` or save_pretrained has written"
        )
    return folder


def digest_model(path_or_name: str) -> str:
    """Return the SHA-256 of a model: of the names and bytes of what is read of it.

    These are the configuration, the files of the tokenizer, and the weights; a card or an
    optimiser beside them changes nothing, nor does the folder.

    Returns:
        64 hex digits.

    Raises:
        StoreError: there is no such model.
    """
    folder = find_model(path_or_name)
    tokenizer = [folder / name for name in TOKENIZER_FILES if (folder / name).is_file()]
    digest = hashlib.sha256()
    for path in sorted([folder / CONFIG, *tokenizer, *_list_weights(folder)]):
        digest.update(f"{path.name}\n{digest_file(path)}\n".encode())
    return digest.hexdigest()


def open_config(path_or_name: str) -> Any:
    """Return a model's configuration.

    Raises:
        StoreError: there is no such model, or it is none that `transformers` has itself.
    """
    folder = find_model(path_or_name)
    with _readable(path_or_name):
        content = json.loads((folder / CONFIG).read_bytes())
        if content.get("model_type") in CONFIG_MAPPING:
            return AutoConfig.from_pretrained(folder, **LOCAL)
    said = f"is of type {content.get('model_type')!r}, which transformers has not"
    if "auto_map" in content:
        said = "wants to run code of its own (trust_remote_code), which is refused"
    raise StoreError(
        f"model {path_or_name!r} {said}; give one that transformers {transformers.__version__} has"
    )


def open_tokenizer(path_or_name: str) -> Any:
    """Return a model's tokenizer; one without a padding token is given its end token for that.

    Raises:
        StoreError: there is none, it wants to run code of its own, or it has no token to pad with.
    """
    folder = find_model(path_or_name)
    with _readable(path_or_name):
        tokenizer = AutoTokenizer.from_pretrained(folder, **LOCAL)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    if tokenizer.pad_token_id is None:
        raise StoreError(
            f"the tokenizer of model {path_or_name!r} has no padding, end or unknown token; set "
            "pad_token in its tokenizer_config.json"
        )
    return tokenizer


def read_limits(path_or_name: str) -> Limits:
    """Return what a model can be given, from its configuration; no weights are read.

    RoBERTa and its kin count positions from behind the id of their padding: of 514 positions 512
    can be used.

    Raises:
        StoreError: as `open_config`.
    """
    config = open_config(path_or_name)
    with _readable(path_or_name), torch.device("meta"):
        model = AutoModel.from_config(config, **{"trust_remote_code": False})
    num_ids = model.get_input_embeddings().num_embeddings
    for name, module in model.named_modules():
        skipped = getattr(module, "padding_idx", None)
        if name.endswith("position_embeddings") and skipped is not None:
            return Limits(module.num_embeddings - skipped - 1, num_ids)
    positions = getattr(config.get_text_config(), "max_position_embeddings", None) or 0
    return Limits(positions if positions > 0 else None, num_ids)


def open_model(
    path_or_name: str,
    kind: Kind,
    labels: Sequence[str],
    *,
    seed: int,
    pad_id: int,
    weights: str = "pretrained",
    dtype: torch.dtype = torch.float32,
) -> Any:
    """Return a model with a head for a task.

    Args:
        path_or_name: as `find_model`.
        kind: what the head labels.
        labels: in the order of the head's outputs.
        seed: of the head, and of all weights where they are `random`.
        pad_id: of the tokenizer; some decoders find the end of a text by it.
        weights: `pretrained`, or `random`: all drawn anew.
        dtype: of all weights but the head's, which is float32.

    Raises:
        StoreError: there is no such model, it has no such head, its weights are missing, cannot be
            read, or are not those of its type.
    """
    config = open_config(path_or_name)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: number for number, label in enumerate(labels)}
    config.pad_token_id, config.use_cache = pad_id, False
    torch.manual_seed(seed)
    with _readable(path_or_name):
        if weights == "random":
            model = CLASS_BY_KIND[kind].from_config(config, dtype=dtype)
        else:
            model = _read_weights(path_or_name, CLASS_BY_KIND[kind], config, dtype)
    for name in HEAD_NAMES:
        getattr(model, name, torch.nn.Identity()).float()
    return model


def add_adapters(model: Any, lora: LoraSection) -> Any:
    """Return a model of sequences whose weights are frozen but for new adapters and its head.

    Raises:
        RecipeError: a layer that the recipe names is not there.
    """
    config = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.targets or "all-linear",
    )
    there = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    missing = sorted(set(lora.targets) - there)
    if missing:
        raise RecipeError(
            f"lora.targets names {', '.join(missing)}; {type(model).__name__} has "
            f"{', '.join(sorted(there - set(HEAD_NAMES)))}"
        )
    return get_peft_model(model, config)


def load_adapters(model: Any, folder: Path) -> Any:
    """Return a model as `open_model` gave it, with adapters and a head that were trained."""
    return PeftModel.from_pretrained(model, folder)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Let `transformers` draw and say nothing while the block runs, but errors."""
    switch: Any = logging  # not typed
    level, draws = switch.get_verbosity(), switch.is_progress_bar_enabled()
    switch.set_verbosity_error()
    switch.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            # peft 0.21 asks transformers 5.23 by a name that is going away.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is", FutureWarning)
            yield
    finally:
        switch.set_verbosity(level)
        if draws:
            switch.enable_progress_bar()


@contextmanager
def _readable(path_or_name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, SafetensorError) as error:
        said = str(error).strip().partition("\n")[0]
        raise StoreError(
            f"model {path_or_name!r} cannot be opened: {said}; give another, or download it again"
        ) from error


def _list_weights(folder: Path) -> list[Path]:
    for pattern in WEIGHT_PATTERNS:
        found = sorted(folder.glob(pattern))
        if found:
            return found
    return []


def _read_weights(path_or_name: str, auto: Any, config: Any, dtype: torch.dtype) -> Any:
    folder = find_model(path_or_name)
    if not _list_weights(folder):
        raise StoreError(
            f"model {path_or_name!r} has no weights in {folder}; download it whole, or set its "
            'weights = "random"'
        )
    model, told = auto.from_pretrained(
        folder, config=config, dtype=dtype, output_loading_info=True, **LOCAL
    )
    # A head, and a pooler below it, are new with every task. All else has to be there: weights that
    # are not found would be drawn at random, and nobody would know.
    own = f"{model.base_model_prefix}."
    missing = [key for key in sorted(told["missing_keys"]) if key.startswith(own)]
    missing = [key for key in missing if not key.startswith(f"{own}pooler.")]
    if missing:
        raise StoreError(
            f"model {path_or_name!r} lacks {len(missing)} weights of {type(model).__name__}, "
            f"{missing[0]} first; give one whose config.json and weights belong together"
        )
    return model
