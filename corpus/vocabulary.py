"""The SentencePiece vocabulary: training one, and the lossless `Tokenizer` around it.

Owns how text becomes token ids and back. It knows nothing of stores, datasets or shards: the
stages that read documents and write artifacts stand on top of it.

A model is the protocol buffer that SentencePiece itself writes (a `.model` file), so any
SentencePiece library reads it. Its ids:

      0 to 4     [PAD] [UNK] [CLS] [SEP] [MASK]: never made from text, whatever a text says
      5 to 260   the bytes 0x00 to 0xFF, for characters that have no piece of their own
    261 ...      learned pieces, the most useful first, then the single characters

`decode(encode(text)) == text` holds for every text: spaces, tabs, blank lines, CR, NUL, emoji.
Two characters need care. SentencePiece writes a space as U+2581 inside its pieces, so a U+2581 in
a text would come back as a space: it is encoded as its three bytes. And SentencePiece skips,
silently, training text with U+2585: training texts are cut at both.
"""

from __future__ import annotations

import io
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import sentencepiece

from corpus.errors import BadValue, IntegrityError

SPECIAL_PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
FIRST_BYTE_ID = len(SPECIAL_PIECES)
FIRST_LEARNED_ID = FIRST_BYTE_ID + 256
SPACE_MARK = "\u2581".encode()
SPACE_MARK_IDS = [FIRST_BYTE_ID + byte for byte in SPACE_MARK]

# Characters that SentencePiece keeps for itself while it trains.
RESERVED = re.compile("[\u2581\u2585]")
# SentencePiece drops longer texts (max_sentence_length, in bytes) and says so only in its log; and
# a word must not pass 65,535 characters (EncodePos in its bpe_model_trainer.h).
SENTENCE_CHARACTERS = 16_384

# Of fragments: about 300,000 of them, 90 MB of memory with their ids. 20 MB of real text filled a
# third of it; with an eighth of it encoding took twice as long.
CACHE_BYTES = 1 << 21

# What any normalisation, stripping or dummy prefix would change.
PROBE = "  a\tb \r\n\n\0 \ufb01 \u2581 \U0001f600 [MASK] "


def train_vocabulary(texts: Iterable[str], *, vocabulary_size: int) -> tuple[bytes, int]:
    """Train a byte-pair vocabulary on texts.

    Numbers are not split into digits: 404, 2012 or 3.11 are words here, and splitting costs 2.8 %
    more tokens (9,559 real posts, 16,000 pieces). Only the characters of the last 0.01 % of the
    text are left to the byte pieces: 0.2 % fewer tokens than with SentencePiece's 0.05 %.
    The space always has its piece: without one it would come back as U+2581. TAB never has:
    SentencePiece learns none with it.

    The result depends on the texts and their order only. One thread: the pieces are the same for
    any number, but SentencePiece writes that number into the model.

    Args:
        texts: held in memory, and by SentencePiece at about eight times their size.
        vocabulary_size: upper bound on the pieces, special and byte pieces included. A text that
            runs out of pairs to merge gives fewer: all that can be learned from it.

    Returns:
        The model (the bytes of a `.model` file), and the number of its pieces.

    Raises:
        BadValue: the texts are empty, or their characters alone do not fit in vocabulary_size.

    >>> model, num_pieces = train_vocabulary(["to be or not to be"], vocabulary_size=1000)
    >>> num_pieces
    283
    """
    if vocabulary_size <= FIRST_LEARNED_ID:
        raise BadValue(
            f"vocabulary_size {vocabulary_size} leaves no room for learned pieces: "
            f"the special and byte pieces alone are {FIRST_LEARNED_ID}; raise it"
        )
    sentences = list(iter_sentences(texts))
    if not any(sentence.strip("\r\n") for sentence in sentences):
        raise BadValue("no text to train a vocabulary on: every text is empty")
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences),
            model_writer=model,
            model_type="bpe",
            vocab_size=vocabulary_size,
            hard_vocab_limit=False,
            pad_id=0,
            unk_id=1,
            bos_id=2,
            eos_id=3,
            pad_piece=SPECIAL_PIECES[0],
            unk_piece=SPECIAL_PIECES[1],
            bos_piece=SPECIAL_PIECES[2],
            eos_piece=SPECIAL_PIECES[3],
            control_symbols=list(SPECIAL_PIECES[4:]),
            byte_fallback=True,
            character_coverage=0.9999,
            required_chars="\u2581",
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            add_dummy_prefix=False,
            allow_whitespace_only_pieces=True,
            split_digits=False,
            max_sentence_length=4 * SENTENCE_CHARACTERS,
            shuffle_input_sentence=False,
            num_threads=1,
            minloglevel=3,
        )
    except RuntimeError as error:
        raise BadValue(f"no vocabulary of {vocabulary_size} from these texts: {error}") from error
    return model.getvalue(), Tokenizer(model.getvalue()).vocabulary_size


def iter_sentences(texts: Iterable[str]) -> Iterator[str]:
    """Iterate over the texts as SentencePiece can train on them, with nothing left out.

    >>> list(iter_sentences(["one line\\nand one", "a\u2585b"]))
    ['one line\\nand one', 'a', 'b']
    """
    for text in texts:
        for part in RESERVED.split(text):
            for start in range(0, len(part), SENTENCE_CHARACTERS):
                yield part[start : start + SENTENCE_CHARACTERS]


def make_cut_table(pieces: Iterable[bytes]) -> npt.NDArray[np.bool_]:
    """Find where a text can be cut without any change to its byte-pair encoding.

    A merge makes a piece of the vocabulary. Where no piece holds two bytes side by side, no merge
    spans them, so what is left and right of them is encoded independently.

    Args:
        pieces: the pieces that text can become, in UTF-8, with real spaces.

    Returns:
        Boolean, shape (65536,): at index 256 * byte + next_byte, whether to cut between the two.
        Never inside a character.

    >>> table = make_cut_table([b" to", b"be"])
    >>> [bool(table[256 * left + right]) for left, right in (b" t", b"to", b"o ", b"eb")]
    [False, False, True, True]
    """
    is_cut = np.ones((256, 256), dtype=np.bool_)
    for piece in pieces:
        codes = np.frombuffer(piece, dtype=np.uint8)
        is_cut[codes[:-1], codes[1:]] = False
    is_cut[:, 0x80:0xC0] = False
    return is_cut.ravel()


def load_tokenizer(path: Path) -> Tokenizer:
    """Load the tokenizer of a `.model` file.

    Raises:
        IntegrityError: the file is no SentencePiece model, or none that `train_vocabulary` made.
    """
    try:
        return Tokenizer(path.read_bytes())
    except BadValue as error:
        raise IntegrityError(f"{path}: {error}") from error


class Tokenizer:
    """Text to token ids and back, without loss.

    Args:
        model: what `train_vocabulary` returned; kept as `model`.

    Raises:
        BadValue: the bytes are no SentencePiece model, or one that would lose text.

    >>> tokenizer = Tokenizer(train_vocabulary(["to be or not to be"], vocabulary_size=300)[0])
    >>> tokenizer.encode("to bet")
    array([262, 263, 278], dtype=int32)
    >>> tokenizer.decode([262, 263, 278])
    'to bet'
    """

    pad_id, unk_id, cls_id, sep_id, mask_id = range(len(SPECIAL_PIECES))

    def __init__(self, model: bytes) -> None:
        """Open the model and check that it is one of ours."""
        try:
            self._processor = sentencepiece.SentencePieceProcessor()
            self._processor.LoadFromSerializedProto(model)
        except RuntimeError as error:
            raise BadValue(f"not a SentencePiece model: {error}") from error
        self.model = model
        self.vocabulary_size: int = self._processor.get_piece_size()
        self._check_model()
        pieces = map(self._processor.id_to_piece, range(FIRST_LEARNED_ID, self.vocabulary_size))
        self._is_cut = make_cut_table(piece.replace("\u2581", " ").encode() for piece in pieces)
        self._ids_by_fragment: dict[bytes, bytes] = {}
        self._cached_bytes = 0

    def encode(self, text: str) -> npt.NDArray[np.int32]:
        """Encode one text, as SentencePiece does; for many texts `encode_batch` is faster.

        Returns:
            int32, shape (num_tokens,); no special ids are added.

        Raises:
            UnicodeEncodeError: the text holds half a surrogate pair, which no UTF-8 file can.
        """
        return np.array(self._encode_fragments([text.encode()])[0], dtype=np.int32)

    def encode_batch(
        self, texts: Sequence[str]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """Encode texts: the same ids as `encode`, four to ten times as fast.

        The texts are cut wherever no piece can reach across, and each distinct fragment is encoded
        once. It is fastest with about a thousand posts (1 MB) a call, and on a tokenizer that has
        seen similar text.

        Returns:
            The ids of all texts, one after the other, int32, shape (num_tokens,), read-only; and
            the number of ids of each text, int64, shape (len(texts),).

        Raises:
            UnicodeEncodeError: a text holds half a surrogate pair.

        >>> tokenizer = Tokenizer(train_vocabulary(["to be or not to be"], vocabulary_size=300)[0])
        >>> tokenizer.encode_batch(["to be", "", "bet"])
        (array([262, 263, 261, 278], dtype=int32), array([2, 0, 2]))
        """
        column = pa.array(texts, pa.large_string())
        _, offsets_buffer, text_buffer = column.buffers()
        offsets = np.frombuffer(offsets_buffer, dtype=np.int64)[: len(texts) + 1]
        cuts = self._find_cuts(np.frombuffer(text_buffer, np.uint8, offsets[-1]), offsets)
        fragments = pa.LargeBinaryArray.from_buffers(
            pa.large_binary(), len(cuts) - 1, [None, pa.py_buffer(cuts), text_buffer]
        ).dictionary_encode()
        ids = self._encode_distinct(fragments.dictionary.to_pylist())
        _, ends_buffer, ids_buffer = (
            pa.array(ids, pa.large_binary()).take(fragments.indices).buffers()
        )
        ends = np.frombuffer(ends_buffer, dtype=np.int64)[: len(cuts)] // np.dtype("i4").itemsize
        tokens = np.frombuffer(ids_buffer, dtype=np.int32, count=ends[-1])
        return tokens, np.diff(ends[np.searchsorted(cuts, offsets)])

    def decode(self, ids: Sequence[int] | npt.NDArray[np.integer]) -> str:
        """Give the text back. Control ids give nothing; bytes that are not UTF-8 give U+FFFD.

        Raises:
            BadValue: an id is not of this vocabulary.
        """
        codes = np.asarray(ids, dtype=np.int64)
        if codes.min(initial=0) < 0 or codes.max(initial=0) >= self.vocabulary_size:
            raise BadValue(
                f"ids from {codes.min()} to {codes.max()} do not fit a vocabulary of "
                f"{self.vocabulary_size} pieces; were they made with another model?"
            )
        text: str = self._processor.decode(codes.tolist())
        return text

    def _check_model(self) -> None:
        pieces = [self._processor.id_to_piece(i) for i in range(FIRST_BYTE_ID)]
        if tuple(pieces) != SPECIAL_PIECES:
            raise BadValue(f"the first pieces are {pieces}, not {list(SPECIAL_PIECES)}")
        if self.decode(self.encode(PROBE)) != PROBE:
            raise BadValue(f"the model changes text: {PROBE!r} does not come back")

    def _find_cuts(
        self, text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """Return the ends of all fragments, with the start of the first and of every text."""
        pairs = (text[:-1].astype(np.uint16) << 8) | text[1:]
        is_cut = np.ones(len(text) + 1, dtype=np.bool_)
        is_cut[1:-1] = self._is_cut[pairs]
        is_cut[offsets] = True
        return np.flatnonzero(is_cut)

    def _encode_distinct(self, fragments: list[bytes]) -> list[bytes]:
        """Return the ids of each fragment as int32 bytes, from the cache where it holds them."""
        cache = self._ids_by_fragment
        unseen = [fragment for fragment in fragments if fragment not in cache]
        fresh = (array("i", ids).tobytes() for ids in self._encode_fragments(unseen))
        cache.update(zip(unseen, fresh, strict=True))
        encoded = [cache[fragment] for fragment in fragments]
        self._cached_bytes += sum(map(len, unseen))
        if self._cached_bytes > CACHE_BYTES:
            cache.clear()
            self._cached_bytes = 0
        return encoded

    def _encode_fragments(self, fragments: list[bytes]) -> list[list[int]]:
        """Encode each fragment on its own; a U+2581 becomes its three bytes."""
        encoded: list[list[int]] = self._processor.encode(fragments, num_threads=1)
        for i, fragment in enumerate(fragments):
            if SPACE_MARK in fragment:
                parts = self._processor.encode(fragment.split(SPACE_MARK), num_threads=1)
                encoded[i] = parts[0]
                for ids in parts[1:]:
                    encoded[i] += SPACE_MARK_IDS + ids
        return encoded
