"""Labels of pieces, and annotated tokens in the text of a document."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.errors import BadValue
from corpus.vocabulary import Tokenizer, train_vocabulary
from labeling.alignment import (
    Offset,
    align_labels,
    piece_offsets,
    place_sentences,
    read_entities,
    trim_offsets,
)
from labeling.conll import Placeholder, Sentence, read_ner_file
from labeling.entities import Entity, to_character_spans, token_offsets

WORDS = ["use", "HashMap", "é", "😀😀", "v1.2", "()", "a", "naïve_name", "ok▁"]
TEXTS = ["use a HashMap of naïve names in v1.2, or a map", "the map of maps () is ok"]


class Annotated(NamedTuple):
    tokens: list[str]
    entities: list[Entity]

    @property
    def text(self) -> str:
        return " ".join(self.tokens)


@st.composite
def annotated(draw: st.DrawFn) -> Annotated:
    tokens = draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=8))
    cuts = sorted(draw(st.sets(st.integers(0, len(tokens)))))
    spans = [
        Entity(start, end, draw(st.sampled_from(["Class", "Version"])))
        for start, end in pairwise(cuts)
        if draw(st.booleans())
    ]
    return Annotated(tokens, to_character_spans(spans, token_offsets(tokens)))


def train_byte_level() -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=280, initial_alphabet=sorted(alphabet), special_tokens=["[CLS]", "[SEP]"]
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    ends = [("[CLS]", tokenizer.token_to_id("[CLS]")), ("[SEP]", tokenizer.token_to_id("[SEP]"))]
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=ends
    )
    return tokenizer


BYTE_LEVEL = train_byte_level()
SENTENCE_PIECE = Tokenizer(train_vocabulary(TEXTS, vocabulary_size=300)[0])


def cut_byte_level(text: str) -> list[Offset | None]:
    offsets: list[Offset | None] = list(BYTE_LEVEL.encode(text).offsets)
    return offsets


def cut_sentence_piece(text: str) -> list[Offset | None]:
    ids = [SENTENCE_PIECE.cls_id, *SENTENCE_PIECE.encode(text).tolist(), SENTENCE_PIECE.sep_id]
    return piece_offsets(SENTENCE_PIECE, ids, text)


Cut = Callable[[str], list[Offset | None]]
CUTTERS: list[Cut] = [cut_byte_level, cut_sentence_piece]


@pytest.mark.parametrize("cut", CUTTERS)
@pytest.mark.parametrize("by_word", [False, True], ids=["all pieces", "first pieces"])
@settings(deadline=None)
@given(data=st.data())
def test_entities_come_back_from_the_labels_of_pieces(
    cut: Cut, by_word: bool, data: st.DataObject
) -> None:
    given_text = data.draw(annotated())
    offsets = trim_offsets(cut(given_text.text), given_text.text)
    words = token_offsets(given_text.tokens) if by_word else None
    found = align_labels(given_text.entities, offsets, words)
    assert (found.num_lost, found.num_straddling) == (0, 0)
    assert found.labels[0] is None and found.labels[-1] is None
    assert read_entities(found.labels, offsets, words) == given_text.entities
    if by_word:
        assert sum(label is not None for label in found.labels) == len(given_text.tokens)


@given(
    st.lists(st.integers(0, 20), min_size=2, max_size=8, unique=True).map(sorted),
    st.lists(st.integers(0, 20), min_size=2, max_size=8, unique=True).map(sorted),
)
def test_a_piece_has_the_label_of_most_of_its_characters(
    bounds: list[int], cuts: list[int]
) -> None:
    entities = [Entity(*ends, "Class") for ends in zip(bounds[::2], bounds[1::2], strict=False)]
    offsets: list[Offset | None] = list(pairwise(cuts))
    found = align_labels(entities, offsets)
    seen: list[int] = []
    straddled = set()
    for label, (start, end) in zip(found.labels, pairwise(cuts), strict=True):
        shares = [len({*range(start, end)} & {*range(one.start, one.end)}) for one in entities]
        straddled |= {at for at, share in enumerate(shares) if 0 < share < end - start}
        if not any(shares):
            assert label == "O"
            continue
        best = int(np.argmax(shares))
        assert label == ("I-Class" if best in seen else "B-Class")
        seen.append(best)
    assert found.num_lost == len(entities) - len(set(seen))
    assert found.num_straddling == len(straddled)


def test_a_piece_over_two_entities_shows_one_and_loses_the_other() -> None:
    entities = [Entity(0, 3, "Class"), Entity(3, 5, "Version")]
    found = align_labels(entities, [(0, 5)])
    assert found == (["B-Class"], 1, 2)


def test_the_first_of_equal_shares_gives_the_label() -> None:
    assert align_labels([Entity(0, 2, "Class"), Entity(2, 4, "Version")], [(0, 4)]).labels == [
        "B-Class"
    ]


def test_entities_side_by_side_stay_two() -> None:
    entities = [Entity(0, 3, "Class"), Entity(4, 7, "Class")]
    assert align_labels(entities, [(0, 3), (4, 7)]).labels == ["B-Class", "B-Class"]


def test_empty_and_special_pieces_have_no_label() -> None:
    assert align_labels([Entity(0, 1, "Class")], [(0, 0), (0, 1), None, (1, 1)]).labels == [
        None,
        "B-Class",
        None,
        None,
    ]


def test_a_word_has_one_label_wherever_its_entity_begins() -> None:
    found = align_labels([Entity(4, 9, "Class")], [(0, 3), (3, 6), (6, 9)], words=[(0, 9)])
    assert found.labels == ["B-Class", None, None]


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_pieces_of_sentence_piece_tile_the_text(text: str) -> None:
    ids = SENTENCE_PIECE.encode(text).tolist()
    place = 0
    for piece_id, offset in zip(ids, piece_offsets(SENTENCE_PIECE, ids, text), strict=True):
        assert offset is not None
        assert offset[0] in (place, place - 1) and offset[1] > offset[0]
        decoded = SENTENCE_PIECE.decode([piece_id])
        assert decoded in (text[slice(*offset)], "\ufffd")
        place = offset[1]
    assert place == len(text)


def test_pieces_of_another_text_are_refused() -> None:
    with pytest.raises(BadValue, match="do not make the text"):
        piece_offsets(SENTENCE_PIECE, SENTENCE_PIECE.encode("a map"), "a maps")


# Placing -------------------------------------------------------------------------------------

SENTENCES = [
    ["How", "do", "I", "sort", "a", "HashMap", "by", "value", "?"],
    ["It", "does", "n't", "work", "with", "sort()", "."],
    ["Thanks", "!"],
]
DOCUMENT = (
    "How do I sort a HashMap by value?\n\nmap.sort(a)\n\nIt doesn’t work with `sort()`. Thanks!"
)


def words_at(text: str, offsets: list[Offset | None]) -> list[str | None]:
    return [None if offset is None else text[slice(*offset)] for offset in offsets]


def test_tokens_are_found_beside_code_and_other_quotes() -> None:
    found = place_sentences(SENTENCES, DOCUMENT)
    words = [words_at(DOCUMENT, offsets) for offsets in found.offsets]
    assert words == [SENTENCES[0], ["It", "does", "n’t", *SENTENCES[1][3:]], SENTENCES[2]]
    assert found[1:] == (18, 18, 3)


def test_a_token_that_was_edited_away_is_not_placed() -> None:
    edited = DOCUMENT.replace("HashMap", "TreeMap").replace("How do I", "How can I")
    found = place_sentences(SENTENCES, edited)
    assert words_at(edited, found.offsets[0]) == [
        *("How", None, "I", "sort", "a", None, "by", "value", "?")
    ]
    assert (found.num_tokens, found.num_placed, found.num_whole_sentences) == (18, 16, 2)


def test_a_sentence_that_is_gone_takes_no_words_of_others() -> None:
    removed = "It doesn’t work with `sort()`. Thanks!\n\nA value of sort a, by the way: do.it(I)"
    found = place_sentences(SENTENCES, removed)
    assert found.offsets[0] == [None] * 9
    assert found.num_whole_sentences == 2


def test_nothing_is_placed_in_another_text_or_none() -> None:
    assert place_sentences(SENTENCES, "").num_placed == 0
    assert place_sentences([], DOCUMENT) == ([], 0, 0, 0)
    assert place_sentences(SENTENCES, "int value = 3; Use the other, by all means.").num_placed == 0


@pytest.mark.parametrize(
    ("token", "text"),
    [("a", "use another map here now"), ("bit", "use a rabbit map here now")],
)
def test_a_part_of_a_word_is_no_place_for_a_token(token: str, text: str) -> None:
    found = place_sentences([["use", token, "map", "here", "now"]], text)
    assert [offset is not None for offset in found.offsets[0]] == [True, False, True, True, True]


def test_a_split_word_is_found_behind_text_that_is_new() -> None:
    text = "Use foo or bar. Also don't stop it now."
    tokens = ["Use", "foo", "or", "bar", ".", "do", "n’t", "stop", "it", "now", "."]
    found = place_sentences([tokens], text)
    assert words_at(text, found.offsets[0]) == [*tokens[:6], "n't", *tokens[7:]]


def test_a_short_run_far_from_any_other_does_not_count() -> None:
    text = "How do I sort a HashMap by value?\n\n" + "x = y;\n" * 9 + "z(with, q);\n" + "x = y;\n"
    found = place_sentences(SENTENCES, text)
    assert found.num_whole_sentences == 1 and found.num_placed == 9


SPACES = st.sampled_from([" ", "\n", "\n\n    ", "\t"])


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from(WORDS[:-1]), min_size=1, max_size=6), max_size=5), SPACES)
def test_all_tokens_are_placed_whatever_the_white_space(
    sentences: list[list[str]], space: str
) -> None:
    text = space.join(token for sentence in sentences for token in sentence)
    found = place_sentences(sentences, text)
    assert found.num_placed == found.num_tokens
    tokens = [token for sentence in sentences for token in sentence]
    offsets = [offset for sentence in found.offsets for offset in sentence]
    assert words_at(text, offsets) == tokens


def test_annotated_posts_are_found_in_documents_like_those_of_a_corpus(shared_data: Path) -> None:
    """No thread of the annotated files is in a dump at hand: documents are made of the tokens."""
    file = read_ner_file(shared_data / "bench" / "ner" / "dev.txt", "validation")
    num_placed = num_tokens = num_wrong = 0
    for post in file.posts[::4]:
        text, expected = "", []
        parts: list[Sentence | Placeholder] = [*post.sentences, *post.placeholders]
        for part in sorted(parts, key=lambda part: part.number):
            if isinstance(part, Placeholder):
                text += '\n\nfor (i in a.values()) {\n    print("the", i); // is not .\n}\n\n'
                continue
            for token in part.tokens:
                is_glued = token in ".,:;?!)" or token[:1] == "'" or text[-1:] in ("", "(", "\n")
                text += "" if is_glued else " "
                expected.append((len(text), len(text) + len(token)))
                text += token
        found = place_sentences([sentence.tokens for sentence in post.sentences], text)
        offsets = [offset for sentence in found.offsets for offset in sentence]
        num_wrong += sum(
            one not in (None, other) for one, other in zip(offsets, expected, strict=True)
        )
        num_placed, num_tokens = num_placed + found.num_placed, num_tokens + found.num_tokens
    assert num_placed > 0.998 * num_tokens
    assert num_wrong < 0.001 * num_tokens
