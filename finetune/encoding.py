"""Texts and sentences as the inputs of a model of `transformers`, and its answers back as tags.

A text is tokenised whole, then cut, so that what was cut is counted. Text never makes a special
token: a post about BERT may say [SEP].

A sentence is its tokens joined by one space. A piece is of the token that it begins in; the first
piece of a token has its tag and says what is predicted for it, all other pieces have none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from corpus.errors import BadValue, StoreError
from finetune.tasks import OUTSIDE
from labeling.alignment import Offset, trim_offsets
from labeling.entities import token_offsets

# Shapes: B inputs of a batch, S tokens of the longest.

Array = np.ndarray[Any, Any]
Keep = Literal["start", "end", "both"]

# Of one call of the tokenizer: its lists of Python numbers take ten times what arrays take.
TEXTS_PER_CALL = 1_000
# What a loss of torch leaves out.
IGNORED = -100


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """The inputs of a split, in the order of its examples.

    Args:
        ids: int32, one array an example.
        num_tokens: int32, shape (num_examples,): of the whole input, special ones counted.
        num_cut: int32, shape (num_examples,): of a text, how many of these were cut; of a sentence,
            how many of its own tokens have no piece that is left.
        places: of sentences: int32, one array an example, in it for each token of the sentence the
            place of its first piece in `ids`, or -1.
    """

    ids: list[Array]
    num_tokens: Array
    num_cut: Array
    places: list[Array] | None = None

    def order(self) -> Array:
        """Return the numbers of the examples from the shortest input to the longest."""
        return np.argsort([len(ids) for ids in self.ids], kind="stable")


def encode_texts(tokenizer: Any, texts: Sequence[str], *, max_tokens: int, keep: Keep) -> Encoded:
    """Turn texts into inputs of at most `max_tokens`.

    Raises:
        BadValue: `max_tokens` leaves no room beside the special tokens.
    """
    ids, num_tokens = [], []
    for row in _iter_tokenized(tokenizer, texts):
        whole = np.array(row["input_ids"], np.int32)
        kept = keep_places(np.array(row["special_tokens_mask"], bool), max_tokens, keep)
        ids.append(whole[kept])
        num_tokens.append(len(whole))
    num_cut = np.array(num_tokens, np.int32) - np.array([len(one) for one in ids], np.int32)
    filled = [_fill(one, tokenizer.pad_token_id) for one in ids]
    return Encoded(filled, np.array(num_tokens, np.int32), num_cut)


def encode_sentences(
    tokenizer: Any, sentences: Sequence[Sequence[str]], *, max_tokens: int, keep: Keep
) -> Encoded:
    """Turn sentences of tokens into inputs of at most `max_tokens` pieces.

    Raises:
        BadValue: `max_tokens` leaves no room beside the special tokens.
        StoreError: the tokenizer cannot say where in the text its pieces are.
    """
    if not tokenizer.is_fast:
        raise StoreError(
            f"{type(tokenizer).__name__} does not say where its pieces are, which labels of tokens "
            "need; give a model with a fast tokenizer (tokenizer.json)"
        )
    texts = [" ".join(sentence) for sentence in sentences]
    rows = _iter_tokenized(tokenizer, texts, return_offsets_mapping=True)
    ids, num_tokens, places = [], [], []
    for sentence, text, row in zip(sentences, texts, rows, strict=True):
        whole = np.array(row["input_ids"], np.int32)
        is_special = np.array(row["special_tokens_mask"], bool)
        kept = keep_places(is_special, max_tokens, keep)
        offsets = trim_offsets(row["offset_mapping"], text)
        first = find_first_pieces(sentence, offsets)
        # Where each piece came to be; those that were cut, and no piece (the last), are nowhere.
        moved = np.full(len(whole) + 1, -1, np.int32)
        moved[kept] = np.arange(len(kept))
        ids.append(_fill(whole[kept], tokenizer.pad_token_id))
        num_tokens.append(len(whole))
        places.append(moved[first])
    num_cut = [int((one < 0).sum()) for one in places]
    return Encoded(ids, np.array(num_tokens, np.int32), np.array(num_cut, np.int32), places)


def keep_places(is_special: Array, max_tokens: int, keep: Keep) -> Array:
    """Return which tokens of an input stay: all special ones, and of the others what has room.

    Args:
        is_special: bool, shape (num_tokens,).
        max_tokens: how many stay at most.
        keep: of the others the start, the end, or half of each, the start having the odd one.

    Returns:
        Their places, ascending.

    Raises:
        BadValue: there is no room beside the special tokens.

    >>> is_special = np.array([True, False, False, False, False, False, True])
    >>> [keep_places(is_special, 5, keep).tolist() for keep in ("start", "end", "both")]
    [[0, 1, 2, 3, 6], [0, 3, 4, 5, 6], [0, 1, 2, 5, 6]]
    """
    others = np.flatnonzero(~is_special)
    room = max_tokens - int(is_special.sum())
    if room < 1:
        raise BadValue(f"{max_tokens} tokens leave no room beside the special ones; allow more")
    places = np.arange(len(is_special))
    if len(others) <= room:
        return places
    num_last = {"start": 0, "end": room, "both": room // 2}[keep]
    return np.delete(places, others[room - num_last : len(others) - num_last])


def find_first_pieces(tokens: Sequence[str], offsets: Sequence[Offset | None]) -> Array:
    """Return for each token of a sentence the place of its first piece, or -1.

    Args:
        tokens: joined by one space they are the text.
        offsets: of the pieces in that text, in order and trimmed; None for special ones.

    >>> find_first_pieces(["use", "\\u200b", "foo()"], [None, (0, 3), (6, 9), (9, 11)]).tolist()
    [1, -1, 2]
    """
    starts = [start for start, _ in token_offsets(tokens)]
    begun = [(place, offset[0]) for place, offset in enumerate(offsets) if offset]
    # Trimmed pieces begin in a token, never between two; of empty tokens the last is meant.
    numbers = np.searchsorted(starts, [start for _, start in begun], side="right") - 1
    first = np.full(len(tokens), -1)
    for number, (place, _) in reversed(list(zip(numbers.tolist(), begun, strict=True))):
        first[number] = place
    return first


def make_rows(encoded: Encoded, codes: Sequence[Any] | None = None) -> list[dict[str, Any]]:
    """Return the inputs of a split as rows for a model, in order of the examples.

    Args:
        encoded: of texts or of sentences.
        codes: the label of each text, or those of each sentence's tokens; None: rows have none.

    Returns:
        `input_ids`, and `labels`: one int, or an int64 a piece, IGNORED where it has none.
    """
    if codes is None:
        return [{"input_ids": ids} for ids in encoded.ids]
    if encoded.places is not None:
        codes = [
            _label_pieces(len(ids), places, np.array(tags))
            for ids, places, tags in zip(encoded.ids, encoded.places, codes, strict=True)
        ]
    return [
        {"input_ids": ids, "labels": label} for ids, label in zip(encoded.ids, codes, strict=True)
    ]


def read_tags(encoded: Encoded, codes: Array, labels: Sequence[str]) -> list[list[str]]:
    """Return the tags of the tokens of sentences; of one without a piece "O".

    Args:
        encoded: of sentences.
        codes: int, shape (num_examples, pieces of the longest input): what was predicted.
        labels: what they mean.

    >>> encoded = Encoded([np.zeros(4, "i4")], np.array([5]), np.array([1]), [np.array([1, 2, -1])])
    >>> read_tags(encoded, np.array([[9, 1, 0, 9]]), ["O", "B-Class"])
    [['B-Class', 'O', 'O']]
    """
    return [
        [labels[row[place]] if place >= 0 else OUTSIDE for place in places]
        for row, places in zip(codes.tolist(), _places(encoded), strict=True)
    ]


def collate(rows: Sequence[Mapping[str, Any]], *, pad_id: int) -> dict[str, torch.Tensor]:
    """Pad rows to the longest of them.

    Returns:
        input_ids and attention_mask, int64, shape (B, S); labels, int64, shape (B,) or (B, S),
        where the rows have them.

    >>> batch = collate([{"input_ids": np.array([5, 6])}, {"input_ids": np.array([7])}], pad_id=1)
    >>> batch["input_ids"].tolist(), batch["attention_mask"].tolist()
    ([[5, 6], [7, 1]], [[1, 1], [1, 0]])
    """
    ids = [row["input_ids"] for row in rows]
    batch = {
        "input_ids": _pad(ids, pad_id),
        "attention_mask": _pad([np.ones_like(one) for one in ids], 0),
    }
    labels = [row["labels"] for row in rows if "labels" in row]
    if labels:
        is_whole = isinstance(labels[0], int)
        batch["labels"] = torch.tensor(labels) if is_whole else _pad(labels, IGNORED)
    return batch


def _pad(arrays: Sequence[Array], value: int) -> torch.Tensor:
    padded_BS = np.full((len(arrays), max(map(len, arrays))), value, np.int64)
    for number, one in enumerate(arrays):
        padded_BS[number, : len(one)] = one
    return torch.from_numpy(padded_BS)


def _places(encoded: Encoded) -> list[Array]:
    assert encoded.places is not None
    return encoded.places


def _label_pieces(num_pieces: int, places: Array, codes: Array) -> Array:
    labels = np.full(num_pieces, IGNORED, np.int64)
    is_there = places >= 0
    labels[places[is_there]] = codes[is_there]
    return labels


def _fill(ids: Array, pad_id: int) -> Array:
    """Give an empty text one token to be read: a tokenizer without special ones makes none."""
    return ids if len(ids) else np.array([pad_id], np.int32)


def _iter_tokenized(
    tokenizer: Any, texts: Sequence[str], **more: bool
) -> Iterator[dict[str, list[Any]]]:
    for start in range(0, len(texts), TEXTS_PER_CALL):
        found = tokenizer(
            list(texts[start : start + TEXTS_PER_CALL]),
            truncation=False,
            split_special_tokens=True,
            return_attention_mask=False,
            return_token_type_ids=False,
            return_special_tokens_mask=True,
            verbose=False,
            **more,
        )
        for values in zip(*found.values(), strict=True):
            yield dict(zip(found.keys(), values, strict=True))
