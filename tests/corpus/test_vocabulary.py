"""Training a vocabulary, and a tokenizer that loses nothing; SentencePiece itself is the oracle."""

from __future__ import annotations

import hashlib
import html
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from corpus import vocabulary
from corpus.errors import BadValue, IntegrityError
from corpus.vocabulary import SPECIAL_PIECES, Tokenizer, load_tokenizer, train_vocabulary

CHECKOUT = Path(__file__).resolve().parents[2]
TEXTS = [
    "How do I read a file line by line?\n\nI tried `open(path)`, but it keeps the newlines.",
    'with open(argv[1]) as file:\n    for line in file:\n\t\tprint(line, end="")',
    "for (int i = 0; i < 10; i++) {\r\n    total += i;\r\n}\r\n",
    "Café naïve “quoted” — it’s 3.11, not 3.9; see [MASK] and <0x41> in the docs. ▁ ▅ ok",
    "SELECT name, score FROM posts WHERE id IN (1, 2, 404) ORDER BY score DESC;",
    "Почему цикл не кончается? 为什么循环不结束",
]
ODD_TEXTS = [
    "",
    " ",
    "   leading and trailing   ",
    "\t\tif x:\n\t\t\ty()\n\n\n\nz",
    "\r\n\r\r\n",
    "nul \0 inside",
    "\u2581",
    "\u2581 \u2581\u2581a\u2581",
    "\u2585 lower block",
    "[MASK] [CLS][SEP] [PAD] [UNK] <0x41> <0xE2><0x96><0x81> <unk> <s>",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f44d\U0001f3fd \ufb01 \xa0\u3000\u200b",
    "\ufeff \ufffe \uffff \ufffd \U0010ffff \x85 \u2028 \u2029 \x7f \x1b[0m",
]
# A line-ending, a space mark or a marker that is not spelled out in full is what breaks others.
ODD_PARTS = [" ", "  ", "\t", "\n", "\r", "\0", "\u2581", "\u2585", "[MASK]", "<0x0A>", "é", "the"]
odd_text = st.one_of(
    st.text(), st.lists(st.one_of(st.sampled_from(ODD_PARTS), st.text())).map("".join)
)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(train_vocabulary(TEXTS * 3, vocabulary_size=1000)[0])


@pytest.fixture(scope="module")
def real_bodies(shared_data: Path) -> list[str]:
    """Text of all real posts at hand, tags cut out crudely; about 7 MB."""
    bodies = []
    for path in sorted(shared_data.glob("dumps/**/Posts.xml")):
        for row in etree.fromstring(path.read_bytes().replace(b"\t", b"&#9;")):
            bodies.append(html.unescape(re.sub(r"<[^>]*>", "", row.get("Body", ""))))
    return bodies


@pytest.fixture(scope="module")
def real_model(real_bodies: list[str]) -> bytes:
    return train_vocabulary(real_bodies, vocabulary_size=8000)[0]


def open_processor(model: bytes) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_proto=model)


def read_pieces(model: bytes) -> list[str]:
    processor = open_processor(model)
    return [processor.id_to_piece(i) for i in range(processor.get_piece_size())]


def train_plainly(texts: list[str], **options: Any) -> bytes:
    """Train as `train_vocabulary` does, except for the options; nothing is cut or checked."""
    model = io.BytesIO()
    defaults: dict[str, Any] = {
        "sentence_iterator": iter(texts),
        "model_writer": model,
        "model_type": "bpe",
        "pad_id": 0,
        "unk_id": 1,
        "bos_id": 2,
        "eos_id": 3,
        "pad_piece": "[PAD]",
        "unk_piece": "[UNK]",
        "bos_piece": "[CLS]",
        "eos_piece": "[SEP]",
        "control_symbols": ["[MASK]"],
        "byte_fallback": True,
        "character_coverage": 0.9999,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "add_dummy_prefix": False,
        "allow_whitespace_only_pieces": True,
        "max_sentence_length": 1 << 20,
        "minloglevel": 3,
    }
    sentencepiece.SentencePieceTrainer.train(**defaults | options)
    return model.getvalue()


def split_batch(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    tokens, lengths = tokenizer.encode_batch(texts)
    assert tokens.dtype == np.int32
    assert len(lengths) == len(texts)
    assert lengths.sum() == len(tokens)
    return [part.tolist() for part in np.split(tokens, np.cumsum(lengths))[: len(texts)]]


# ---- training


def test_special_pieces_and_bytes_come_first(tokenizer: Tokenizer) -> None:
    pieces = read_pieces(tokenizer.model)
    assert tuple(pieces[:5]) == SPECIAL_PIECES == ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    assert pieces[5:261] == [f"<0x{byte:02X}>" for byte in range(256)]
    assert (tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id) == (0, 1, 2)
    assert (tokenizer.sep_id, tokenizer.mask_id) == (3, 4)
    processor = open_processor(tokenizer.model)
    assert [processor.is_control(i) for i in range(6)] == [True, False, True, True, True, False]
    assert processor.is_unknown(1)


def test_two_processes_train_the_same_bytes(tmp_path: Path) -> None:
    program = (
        "import hashlib, json, sys; from corpus.vocabulary import train_vocabulary;"
        "model, _ = train_vocabulary(json.load(sys.stdin), vocabulary_size=900);"
        "print(hashlib.sha256(model).hexdigest())"
    )
    digests = [
        subprocess.run(
            [sys.executable, "-c", program],
            input=json.dumps(TEXTS * 3),
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(CHECKOUT)},
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed, folder in (("1", tmp_path), ("2", CHECKOUT))
    ]
    here, _ = train_vocabulary(TEXTS * 3, vocabulary_size=900)
    assert digests == [hashlib.sha256(here).hexdigest()] * 2


def test_any_number_of_threads_learns_the_same_pieces() -> None:
    ours = read_pieces(train_vocabulary(TEXTS[:3], vocabulary_size=400)[0])
    for num_threads in (1, 4, 16):
        assert ours == read_pieces(
            train_plainly(TEXTS[:3], vocab_size=400, num_threads=num_threads)
        )


@pytest.mark.parametrize("num_texts", [1, 3])
def test_a_small_text_gives_the_largest_vocabulary_it_supports(num_texts: int) -> None:
    texts = TEXTS[:num_texts]
    with pytest.raises(RuntimeError) as refusal:
        train_plainly(texts, vocab_size=50_000)
    limit = int(re.findall(r"value <= (\d+)", str(refusal.value))[0])
    model, num_pieces = train_vocabulary(texts, vocabulary_size=50_000)
    assert num_pieces == limit == len(read_pieces(model))
    assert read_pieces(model) == read_pieces(train_plainly(texts, vocab_size=limit))


def test_a_bound_that_does_not_bind_leaves_no_trace() -> None:
    assert train_vocabulary(TEXTS, vocabulary_size=20_000) == train_vocabulary(
        TEXTS, vocabulary_size=50_048
    )


def test_a_bound_that_binds_is_met_exactly() -> None:
    model, num_pieces = train_vocabulary(TEXTS, vocabulary_size=444)
    assert num_pieces == 444 == len(read_pieces(model))


@pytest.mark.parametrize("vocabulary_size", [0, 3, 261])
def test_a_vocabulary_without_learned_pieces_is_refused(vocabulary_size: int) -> None:
    with pytest.raises(BadValue, match=f"{vocabulary_size} leaves no room"):
        train_vocabulary(["abc abc"], vocabulary_size=vocabulary_size)


@pytest.mark.parametrize("vocabulary_size", [262, 264])
def test_a_vocabulary_too_small_for_its_characters_is_refused(vocabulary_size: int) -> None:
    with pytest.raises(BadValue, match=f"{vocabulary_size} vs 265"):
        train_vocabulary(["abc abc"], vocabulary_size=vocabulary_size)


@pytest.mark.parametrize("texts", [[], [""], ["\n", "\r\n"], ["\u2581"]])
def test_nothing_to_learn_from_is_refused(texts: list[str]) -> None:
    with pytest.raises(BadValue, match="no text"):
        train_vocabulary(texts, vocabulary_size=1000)


@pytest.mark.parametrize(
    "text",
    ["unheard" * 30_000, "unheard of " * 30_000, "\U0001f600unheard" * 2048 * 3, "unheard\u2585"],
    ids=["one long word", "many words", "four-byte characters", "reserved character"],
)
def test_no_text_is_skipped(text: str) -> None:
    model, _ = train_vocabulary([text, "heard of"], vocabulary_size=400)
    assert any("unheard" in piece for piece in read_pieces(model))


def test_indentation_is_one_piece(tokenizer: Tokenizer) -> None:
    assert len(tokenizer.encode("        total")) < len(tokenizer.encode("total")) + 4
    assert "▁▁▁▁" in read_pieces(tokenizer.model)


def test_training_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    train_vocabulary([*TEXTS, "x" * 200_000, "\u2585"], vocabulary_size=1000)
    assert capfd.readouterr() == ("", "")


# ---- nothing is lost


@pytest.mark.parametrize("text", TEXTS + ODD_TEXTS)
def test_text_comes_back_and_makes_no_special_id(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert ids.min(initial=5) >= 5
    assert split_batch(tokenizer, [text]) == [ids.tolist()]


@settings(max_examples=200, deadline=None)
@given(texts=st.lists(odd_text, max_size=5))
def test_any_texts_come_back(tokenizer: Tokenizer, texts: list[str]) -> None:
    batch = split_batch(tokenizer, texts)
    assert [tokenizer.decode(ids) for ids in batch] == texts
    assert batch == [tokenizer.encode(text).tolist() for text in texts]
    assert all(id_ >= 5 for ids in batch for id_ in ids)


def test_every_character_comes_back(tokenizer: Tokenizer) -> None:
    numbers = [*range(0xD800), *range(0xE000, 0x10000), *range(0x10000, 0x110000, 97), 0x10FFFF]
    code_points = list(map(chr, numbers))
    texts = ["".join(code_points[i : i + 4096]) for i in range(0, len(code_points), 4096)]
    assert [tokenizer.decode(ids) for ids in split_batch(tokenizer, texts)] == texts


def test_spaces_come_back_from_a_vocabulary_trained_without_any() -> None:
    tokenizer = Tokenizer(train_vocabulary(["中文" * 1000], vocabulary_size=1000)[0])
    assert tokenizer.decode(tokenizer.encode("中 文  a\u2581b")) == "中 文  a\u2581b"


def test_text_that_is_not_unicode_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(UnicodeEncodeError):
        tokenizer.encode("half a pair: \ud800")
    with pytest.raises(UnicodeEncodeError):
        tokenizer.encode_batch(["fine", "half a pair: \ud800"])


def test_control_ids_decode_to_nothing(tokenizer: Tokenizer) -> None:
    ids = [tokenizer.cls_id, *tokenizer.encode("a [MASK]").tolist(), tokenizer.mask_id, 3, 0]
    assert tokenizer.decode(ids) == "a [MASK]"


@pytest.mark.parametrize("number", [-1, 1_000_000])
def test_an_id_of_another_vocabulary_is_refused(tokenizer: Tokenizer, number: int) -> None:
    with pytest.raises(BadValue, match="do not fit"):
        tokenizer.decode([5, number])


# ---- the same ids as SentencePiece, only sooner


@settings(max_examples=300, deadline=None)
@given(texts=st.lists(odd_text.map(lambda text: text.replace("\u2581", "")), max_size=5))
def test_ids_are_those_of_sentencepiece(tokenizer: Tokenizer, texts: list[str]) -> None:
    processor = open_processor(tokenizer.model)
    assert split_batch(tokenizer, texts) == [processor.encode(text) for text in texts]


def test_real_posts_have_the_ids_of_sentencepiece_and_come_back(
    real_bodies: list[str], real_model: bytes
) -> None:
    processor, tokenizer = open_processor(real_model), Tokenizer(real_model)
    batch = [
        ids
        for start in range(0, len(real_bodies), 1000)
        for ids in split_batch(tokenizer, real_bodies[start : start + 1000])
    ]
    assert batch == [processor.encode(text) for text in real_bodies]
    assert [tokenizer.decode(ids) for ids in batch] == real_bodies


@pytest.mark.parametrize(
    "option",
    [
        {"split_by_whitespace": False},
        {"split_by_unicode_script": False, "split_by_number": False},
        {"treat_whitespace_as_suffix": True},
    ],
    ids=lambda option: next(iter(option)),
)
def test_a_text_is_never_cut_inside_a_piece(real_bodies: list[str], option: dict[str, Any]) -> None:
    model = train_plainly(real_bodies[:1000], vocab_size=3000, **option)
    processor, tokenizer = open_processor(model), Tokenizer(model)
    texts = real_bodies[1000:1500]
    assert split_batch(tokenizer, texts) == [processor.encode(text) for text in texts]


def test_a_full_cache_changes_no_ids(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "CACHE_BYTES", 40)
    small = Tokenizer(tokenizer.model)
    for _ in range(2):
        for text in TEXTS:
            assert split_batch(small, [text]) == [tokenizer.encode(text).tolist()]
            assert sum(map(len, small._ids_by_fragment)) <= 40


def test_empty_texts_have_no_ids(tokenizer: Tokenizer) -> None:
    assert split_batch(tokenizer, []) == []
    assert split_batch(tokenizer, ["", ""]) == [[], []]
    assert split_batch(tokenizer, ["", "a", "", "", "a", ""]) == [
        [],
        tokenizer.encode("a").tolist(),
        [],
        [],
        tokenizer.encode("a").tolist(),
        [],
    ]


# ---- loading


def test_a_model_file_gives_the_tokenizer(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(tokenizer.model)
    loaded = load_tokenizer(path)
    assert loaded.vocabulary_size == tokenizer.vocabulary_size == len(read_pieces(loaded.model))
    assert loaded.encode(TEXTS[0]).tolist() == tokenizer.encode(TEXTS[0]).tolist()


@pytest.mark.parametrize("content", [b"", b"not a model", b"\0" * 1000])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match=r"tokenizer\.model: not a SentencePiece model"):
        load_tokenizer(path)


@pytest.mark.parametrize(
    "option",
    [
        {"pad_piece": "<pad>"},
        {"control_symbols": ["[PRIVATE]"]},
        {"byte_fallback": False},
        {"normalization_rule_name": "nmt_nfkc"},
        {"remove_extra_whitespaces": True},
        {"add_dummy_prefix": True},
    ],
    ids=lambda option: next(iter(option)),
)
def test_a_model_that_would_lose_text_is_refused(option: dict[str, Any]) -> None:
    model = train_plainly(TEXTS * 3, vocab_size=400, **option)
    with pytest.raises(BadValue):
        Tokenizer(model)
