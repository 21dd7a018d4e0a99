"""Tiny models with tokenizers, written from their configurations: nothing is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForMaskedLM,
    LlamaConfig,
    LlamaForCausalLM,
    MegatronBertForMaskedLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForMaskedLM,
)

from corpus.vocabulary import Tokenizer as SentencePieceTokenizer
from corpus.vocabulary import train_vocabulary
from pretrain.fast_tokenizer import make_fast_tokenizer, save_fast_tokenizer
from pretrain.mapping import make_config
from pretrain.presets import ModelShape

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
CHARACTERS = [chr(code) for code in range(33, 127)]
WORDS = ["use", "map", "list", "good", "bad", "java", "python", "question", "closed", "open"]
SENTENCES = ["use a map or a list", "good question bad question", "java and python are closed"]
TINY: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}


def write_bert(folder: Path, *, seed: int = 0) -> Path:
    """BERT with WordPiece, lower case, 64 positions."""
    config = BertConfig(vocab_size=len(_list_pieces()), pad_token_id=0, **TINY)
    return _write(folder, BertForMaskedLM, config, _make_wordpiece(), seed)


def write_roberta(folder: Path, *, seed: int = 0) -> Path:
    """RoBERTa whose 64 positions begin behind its padding, id 0: 63 can be used."""
    config = RobertaConfig(vocab_size=len(_list_pieces()), pad_token_id=0, **TINY)
    return _write(folder, RobertaForMaskedLM, config, _make_wordpiece(), seed)


def write_modernbert(folder: Path, *, seed: int = 0) -> Path:
    """ModernBERT with the same pieces."""
    ids = {"pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3}
    ids |= {"bos_token_id": 2, "eos_token_id": 3}
    config = ModernBertConfig(vocab_size=len(_list_pieces()), **ids, **TINY)
    return _write(folder, ModernBertForMaskedLM, config, _make_wordpiece(), seed)


def write_export(folder: Path, *, seed: int = 0) -> Path:
    """MegatronBERT with the tokenizer that `sobert pretrain export` writes."""
    sizes = {"num_layers": 2, "hidden_size": 32, "num_heads": 2, "ffn_size": 64}
    pieces, num_pieces = train_vocabulary(SENTENCES * 20, vocabulary_size=320)
    shape = ModelShape(
        family="classic",
        max_positions=64,
        vocabulary_size=num_pieces,
        dropout=0.1,
        norm_epsilon=1e-5,
        initial_std=0.02,
        **sizes,
    )
    torch.manual_seed(seed)
    MegatronBertForMaskedLM(make_config(shape, num_pieces)).save_pretrained(folder)
    fast = make_fast_tokenizer(SentencePieceTokenizer(pieces), max_tokens=64)
    save_fast_tokenizer(fast, folder)
    return folder


def write_llama(folder: Path, *, seed: int = 0) -> Path:
    """Llama over bytes: begins with <s>, has </s>, and no token to pad with."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = ["<s>", "</s>", *alphabet]
    backend = Tokenizer(models.BPE({piece: number for number, piece in enumerate(pieces)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<s>", "</s>"])
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    fast = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")
    config = LlamaConfig(vocab_size=len(pieces), bos_token_id=0, eos_token_id=1, **TINY)
    return _write(folder, LlamaForCausalLM, config, fast, seed)


def _write(folder: Path, kind: Any, config: Any, tokenizer: Any, seed: int) -> Path:
    torch.manual_seed(seed)
    kind(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _list_pieces() -> list[str]:
    return [*SPECIAL, *CHARACTERS, *(f"##{one}" for one in CHARACTERS), *WORDS]


def _make_wordpiece() -> PreTrainedTokenizerFast:
    pieces = {piece: number for number, piece in enumerate(_list_pieces())}
    backend = Tokenizer(models.WordPiece(pieces, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.add_special_tokens(SPECIAL)
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, **dict(zip(names, SPECIAL, strict=True))
    )
