"""Our tokenizer for `transformers`: the same ids, from the `tokenizers` library and one JSON file.

Owns `tokenizer.json` and `tokenizer_config.json`; `corpus.vocabulary` owns the pieces.

SentencePiece merges any two neighbours that make a piece: the best piece first, then the leftmost.
`tokenizers` goes by a list of pairs: the first of the list first, then the leftmost. So the list
holds, from the best piece to the worst, every pair of pieces that makes it.

Pieces are written with real spaces, not with U+2581 for them. Then there is nothing to normalise,
and a U+2581 in a text, having no piece, becomes its three bytes, as it must.

As in the corpus, text never makes a special token: a post about BERT may say [SEP]. Whoever writes
[MASK] to have it guessed says so: `tokenizer(text, split_special_tokens=False)`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import tokenizers
from tokenizers import AddedToken, decoders, models, processors
from transformers import PreTrainedTokenizerFast

from corpus.errors import IntegrityError
from corpus.vocabulary import FIRST_LEARNED_ID, PROBE, SPECIAL_PIECES, Tokenizer

CONFIG = "tokenizer_config.json"
# Known to transformers 4 and 5; the class that 5 names by itself is unknown to 4.
TOKENIZER_CLASS = "PreTrainedTokenizerFast"


def make_fast_tokenizer(tokenizer: Tokenizer, *, max_tokens: int) -> PreTrainedTokenizerFast:
    """Make the tokenizer of `transformers` that gives the ids of ours.

    Args:
        tokenizer: ours.
        max_tokens: the longest input that its model takes, [CLS] and [SEP] included.

    Returns:
        It adds [CLS] and [SEP] unless told not to, and is checked against every piece.

    Raises:
        IntegrityError: a text gives other ids than with ours.
    """
    score_by_piece = read_pieces(tokenizer.model)
    pieces = list_vocabulary(tokenizer.model)
    backend = tokenizers.Tokenizer(
        models.BPE(
            vocab={piece: id for id, piece in enumerate(pieces)},
            merges=list(iter_merges(score_by_piece)),
            unk_token=SPECIAL_PIECES[1],
            byte_fallback=True,
        )
    )
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", tokenizer.cls_id), ("[SEP]", tokenizer.sep_id)],
    )
    backend.add_special_tokens([AddedToken(piece, normalized=False) for piece in SPECIAL_PIECES])
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    make: Any = PreTrainedTokenizerFast  # its __init__ is not typed
    fast: PreTrainedTokenizerFast = make(
        tokenizer_object=backend,
        model_max_length=max_tokens,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
        split_special_tokens=True,
        **dict(zip(names, SPECIAL_PIECES, strict=True)),
    )
    check_same_ids(fast, tokenizer, [PROBE, *score_by_piece])
    return fast


def save_fast_tokenizer(fast: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write `tokenizer.json` and `tokenizer_config.json` into a folder."""
    fast.save_pretrained(folder)
    config = json.loads((folder / CONFIG).read_bytes())
    config["tokenizer_class"] = TOKENIZER_CLASS
    (folder / CONFIG).write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", "utf-8")


def check_same_ids(
    fast: PreTrainedTokenizerFast, tokenizer: Tokenizer, texts: Sequence[str]
) -> None:
    """Check that texts give the ids of our tokenizer, and come back from them.

    Raises:
        IntegrityError: one does not; names the text and the first id that differs.
    """
    backend = fast.backend_tokenizer
    encoded = [one.ids for one in backend.encode_batch_fast(texts, add_special_tokens=False)]
    decoded = backend.decode_batch(encoded, skip_special_tokens=False)
    tokens, lengths = tokenizer.encode_batch(texts)
    expected = np.split(tokens, lengths.cumsum()[:-1])
    for text, ids, again, ours in zip(texts, encoded, decoded, expected, strict=True):
        if ids != ours.tolist():
            shared = zip(ids, ours.tolist(), strict=False)
            first = next((i for i, (one, other) in enumerate(shared) if one != other), len(ours))
            raise IntegrityError(
                f"the fast tokenizer gives ids {ids[first : first + 3]} at token {first} of "
                f"{text[:80]!r}, not {ours[first : first + 3].tolist()}; report it"
            )
        if again != text:
            raise IntegrityError(f"the fast tokenizer loses text: {text[:80]!r}; report it")


def list_vocabulary(model: bytes) -> list[str]:
    """List what every id of a model is called in `tokenizer.json`, in order of ids."""
    byte_pieces = [f"<0x{byte:02X}>" for byte in range(256)]
    return [*SPECIAL_PIECES, *byte_pieces, *read_pieces(model)]


def read_pieces(model: bytes) -> dict[str, float]:
    """Return the learned pieces of a model in order of their ids, with real spaces, and scores."""
    processor = sentencepiece.SentencePieceProcessor()
    processor.LoadFromSerializedProto(model)
    ids = range(FIRST_LEARNED_ID, processor.get_piece_size())
    return {processor.id_to_piece(id).replace("\u2581", " "): processor.get_score(id) for id in ids}


def iter_merges(score_by_piece: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """Iterate over the pairs of pieces that make a piece, those of the best piece first.

    >>> list(iter_merges({"ab": -0.0, "abc": -1.0, "a": -3.0, "b": -4.0, "c": -5.0, "bc": -2.0}))
    [('a', 'b'), ('a', 'bc'), ('ab', 'c'), ('b', 'c')]
    """
    for piece in sorted(score_by_piece, key=lambda piece: -score_by_piece[piece]):
        for cut in range(1, len(piece)):
            pair = piece[:cut], piece[cut:]
            if pair[0] in score_by_piece and pair[1] in score_by_piece:
                yield pair
