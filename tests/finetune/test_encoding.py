"""Texts and sentences as inputs, and predicted codes back as tags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.errors import BadValue, StoreError
from finetune.encoding import (
    IGNORED,
    Encoded,
    collate,
    encode_sentences,
    encode_texts,
    find_first_pieces,
    keep_places,
    make_rows,
    read_tags,
)
from finetune.pretrained import open_tokenizer
from labeling.alignment import align_labels, trim_offsets
from labeling.entities import bio_to_spans, to_character_spans, token_offsets
from tests.finetune.tiny_models import write_bert, write_export, write_llama

CLS, SEP = 2, 3
KEEPS = ("start", "end", "both")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    writers = {"bert": write_bert, "export": write_export, "llama": write_llama}
    return {name: write(folder / name) for name, write in writers.items()}


@pytest.fixture(scope="module")
def bert(models: dict[str, Path]) -> Any:
    return open_tokenizer(str(models["bert"]))


def words_of(tokenizer: Any, encoded: Encoded, number: int = 0) -> list[str]:
    found: list[str] = tokenizer.convert_ids_to_tokens(encoded.ids[number].tolist())
    return found


def test_a_short_text_is_whole(bert: Any) -> None:
    encoded = encode_texts(bert, ["use a map"], max_tokens=8, keep="both")
    assert words_of(bert, encoded) == ["[CLS]", "use", "a", "map", "[SEP]"]
    assert (encoded.num_tokens.tolist(), encoded.num_cut.tolist()) == ([5], [0])


@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        ("start", ["a", "b", "c", "d", "e", "f"]),
        ("end", ["e", "f", "g", "h", "i", "j"]),
        ("both", ["a", "b", "c", "h", "i", "j"]),
    ],
)
def test_a_long_text_keeps_what_the_recipe_says(bert: Any, keep: Any, kept: list[str]) -> None:
    encoded = encode_texts(bert, ["a b c d e f g h i j"], max_tokens=8, keep=keep)
    assert words_of(bert, encoded) == ["[CLS]", *kept, "[SEP]"]
    assert (encoded.num_tokens.tolist(), encoded.num_cut.tolist()) == ([12], [4])
    assert encoded.num_tokens.dtype == encoded.num_cut.dtype == encoded.ids[0].dtype == np.int32


@given(st.integers(0, 30), st.integers(0, 3), st.integers(0, 3), st.integers(1, 40))
def test_what_is_kept_is_special_or_has_room(num: int, before: int, after: int, room: int) -> None:
    is_special = np.array([True] * before + [False] * num + [True] * after, bool)
    specials = [*range(before), *range(before + num, before + num + after)]
    for keep in KEEPS:
        places = keep_places(is_special, room + before + after, keep).tolist()  # type: ignore[arg-type]
        assert places == sorted(set(places))
        assert set(specials) <= set(places)
        assert len(places) == before + after + min(num, room)


def test_special_tokens_alone_are_no_input(bert: Any) -> None:
    with pytest.raises(BadValue, match="2 tokens leave no room"):
        encode_texts(bert, ["use"], max_tokens=2, keep="start")


@pytest.mark.parametrize("name", ["bert", "export", "llama"])
def test_text_never_makes_a_special_token(models: dict[str, Path], name: str) -> None:
    tokenizer = open_tokenizer(str(models[name]))
    encoded = encode_texts(tokenizer, ["[SEP] </s> <s> [PAD]"], max_tokens=64, keep="start")
    specials = [one for one in encoded.ids[0].tolist() if one in tokenizer.all_special_ids]
    assert specials == {"llama": [0]}.get(name, [CLS, SEP])


def test_counts_are_those_of_the_tokenizer_itself(models: dict[str, Path]) -> None:
    tokenizer = open_tokenizer(str(models["export"]))
    texts = ["", "use a map", "good question " * 30, "nul\x00 é \u2028 [CLS]"]
    encoded = encode_texts(tokenizer, texts, max_tokens=10, keep="both")
    whole = [len(tokenizer(text)["input_ids"]) for text in texts]
    assert encoded.num_tokens.tolist() == whole
    assert encoded.num_cut.tolist() == [max(0, num - 10) for num in whole]
    assert [len(ids) for ids in encoded.ids] == [min(num, 10) for num in whole]


def test_many_texts_come_back_in_their_order(bert: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finetune.encoding.TEXTS_PER_CALL", 2)
    encoded = encode_texts(bert, list("abcde"), max_tokens=8, keep="start")
    assert [words_of(bert, encoded, number)[1] for number in range(5)] == list("abcde")


def test_an_empty_text_without_special_tokens_is_one_token(models: dict[str, Path]) -> None:
    tokenizer = open_tokenizer(str(models["llama"]))
    tokenizer.backend_tokenizer.post_processor = None
    encoded = encode_texts(tokenizer, [""], max_tokens=8, keep="start")
    assert [len(ids) for ids in encoded.ids] == [1]
    assert (encoded.num_tokens.tolist(), encoded.num_cut.tolist()) == ([0], [0])


def label(encoded: Encoded, codes: list[list[int]], number: int = 0) -> list[int]:
    found: list[int] = make_rows(encoded, codes)[number]["labels"].tolist()
    return found


def test_the_first_piece_of_a_token_has_its_label(bert: Any) -> None:
    encoded = encode_sentences(bert, [["use", "foo()", "map"]], max_tokens=16, keep="start")
    pieces = ["[CLS]", "use", "f", "##o", "##o", "(", ")", "map", "[SEP]"]
    assert words_of(bert, encoded) == pieces
    no = IGNORED
    assert label(encoded, [[4, 5, 6]]) == [no, 4, 5, no, no, no, no, 6, no]


def test_pieces_that_begin_with_white_space_are_of_their_own_token(
    models: dict[str, Path],
) -> None:
    tokenizer = open_tokenizer(str(models["export"]))
    sentence = ["use", "a", "map", "()", "."]
    encoded = encode_sentences(tokenizer, [sentence], max_tokens=32, keep="start")
    assert words_of(tokenizer, encoded)[1:7] == ["use", " a", " m", "ap", " ", "<0x28>"]
    assert encoded.places is not None
    assert encoded.places[0].tolist() == [1, 2, 3, 6, 9]
    assert encoded.num_cut.tolist() == [0]


@pytest.mark.parametrize("name", ["bert", "export", "llama"])
def test_labels_are_those_that_aligning_entities_gives(models: dict[str, Path], name: str) -> None:
    tokenizer = open_tokenizer(str(models[name]))
    sentence = ["java", "List.map()", "of", "python", "3.11", "é", "is", "x"]
    tags = ["O", "B-Class", "I-Class", "O", "B-Version", "B-Class", "O", "O"]
    names = ["O", "B-Class", "I-Class", "B-Version"]
    encoded = encode_sentences(tokenizer, [sentence], max_tokens=64, keep="start")
    text, words = " ".join(sentence), token_offsets(sentence)
    found = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    entities = to_character_spans(bio_to_spans(tags), words)
    expected = align_labels(entities, trim_offsets(found, text), words).labels
    codes = label(encoded, [[names.index(tag) for tag in tags]])
    assert [None if code == IGNORED else names[code] for code in codes] == expected


def test_a_token_without_a_piece_takes_none_from_the_next(bert: Any) -> None:
    encoded = encode_sentences(bert, [["use", "", "\u00a0", "map"]], max_tokens=8, keep="start")
    assert encoded.places is not None
    assert encoded.places[0].tolist() == [1, -1, -1, 2]
    assert encoded.num_cut.tolist() == [2]


def test_a_piece_over_two_tokens_is_of_the_first() -> None:
    assert find_first_pieces(["a", "b", "c"], [(0, 3), (4, 5)]).tolist() == [0, -1, 1]


def test_a_sentence_without_tokens_has_no_places(bert: Any) -> None:
    encoded = encode_sentences(bert, [[]], max_tokens=8, keep="start")
    assert read_tags(encoded, np.zeros((1, 2), int), ["O"]) == [[]]


@pytest.mark.parametrize(
    ("keep", "tags"),
    [("start", "aaaaaaOO"), ("end", "OOaaaaaa"), ("both", "aaaOOaaa")],
)
def test_tokens_that_were_cut_are_outside_and_counted(bert: Any, keep: Any, tags: str) -> None:
    encoded = encode_sentences(bert, [list("hgfedcba")], max_tokens=8, keep=keep)
    found = read_tags(encoded, np.ones((1, 8), int), ["O", "a"])
    assert "".join(found[0]) == tags
    assert (encoded.num_cut.tolist(), encoded.num_tokens.tolist()) == ([2], [10])


@pytest.mark.parametrize("keep", KEEPS)
def test_labels_come_back_through_the_pieces(bert: Any, keep: Any) -> None:
    sentences = [["foo()", "use", "map"], ["a"], list("abcdefghijkl")]
    codes = [[1, 2, 3], [2], [1, 2, 3] * 4]
    encoded = encode_sentences(bert, sentences, max_tokens=12, keep=keep)
    rows = make_rows(encoded, codes)
    predicted = collate(rows, pad_id=0)["labels"].numpy()
    for tags, given_, places in zip(
        read_tags(encoded, predicted, list("Oabc")), codes, encoded.places or [], strict=True
    ):
        expected = [
            "Oabc"[code] if place >= 0 else "O" for code, place in zip(given_, places, strict=True)
        ]
        assert tags == expected


def test_a_tokenizer_without_offsets_is_refused(bert: Any) -> None:
    class Slow:
        is_fast = False

    with pytest.raises(StoreError, match="Slow does not say where its pieces are"):
        encode_sentences(Slow(), [["use"]], max_tokens=8, keep="start")


def test_rows_are_padded_to_the_longest() -> None:
    rows = [
        {"input_ids": np.array([5, 6, 7], np.int32), "labels": np.array([1, IGNORED, 2])},
        {"input_ids": np.array([8], np.int32), "labels": np.array([3])},
    ]
    batch = {name: one.tolist() for name, one in collate(rows, pad_id=9).items()}
    assert batch == {
        "input_ids": [[5, 6, 7], [8, 9, 9]],
        "attention_mask": [[1, 1, 1], [1, 0, 0]],
        "labels": [[1, IGNORED, 2], [3, IGNORED, IGNORED]],
    }


def test_labels_of_texts_are_one_each(bert: Any) -> None:
    encoded = encode_texts(bert, ["use", "map list"], max_tokens=8, keep="start")
    batch = collate(make_rows(encoded, [1, 0]), pad_id=0)
    assert batch["labels"].tolist() == [1, 0]
    assert "labels" not in collate(make_rows(encoded), pad_id=0)


def test_the_order_goes_from_short_to_long(bert: Any) -> None:
    texts = ["a b c", "a", "a b", "b"]
    encoded = encode_texts(bert, texts, max_tokens=8, keep="start")
    assert encoded.order().tolist() == [1, 3, 2, 0]
