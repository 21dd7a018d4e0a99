"""Tokens and shingles against a regular expression, on crafted, random and real texts."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus import shingles
from corpus.errors import BadValue
from corpus.minhash import normalise
from corpus.shingles import Texts, iter_shingles

SEPARATOR = (
    "\x00-\x20\x7f-\xa0\u1680\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff"  # as documented
)
ALONE = "!-/:-@\\[-^`{-~\u3000-\ud7ff"
TOKEN = re.compile(f"[{ALONE}]|[^{ALONE}{SEPARATOR}]+")
UPPER_TO_LOWER = {letter: letter + 32 for letter in range(ord("A"), ord("Z") + 1)}


def tokens_of(text: str) -> list[str]:
    """The oracle: what the module docstring says, by regular expression."""
    kept = re.sub(f"[{SEPARATOR}]", " ", text.translate(UPPER_TO_LOWER))
    return TOKEN.findall(kept)


def shingles_of(text: str, width: int) -> list[bytes]:
    """The oracle's shingles, in order."""
    tokens = tokens_of(text)
    width = min(width, len(tokens))
    last = len(tokens) - width if tokens else -1
    return [" ".join(tokens[i : i + width]).encode() for i in range(last + 1)]


def found_shingles(texts: Texts, width: int) -> list[list[bytes]]:
    """The shingles that `iter_shingles` finds in each text."""
    found = []
    for block in iter_shingles(texts, width):
        assert block.first == len(found)
        at = 0
        for count in block.counts:
            places = zip(block.begins[at : at + count], block.ends[at : at + count], strict=True)
            found.append([block.normal[begin:end].tobytes() for begin, end in places])
            at += count
    return found


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("x += 1", "x + = 1"),
        ("foo_bar(Baz[0]);", "foo_bar ( baz [ 0 ] ) ;"),
        ("naïve ÄÖ Straße", "naïve ÄÖ straße"),
        ("a\u00a0b\u2009c\u200bd\u2028e\ufefff\u0085g", "a b c d e f g"),
        ("\u3000日本語 text、テスト\u3000", "日 本 語 text 、 テ ス ト"),
        ("한국어abc", "한 국 어 abc"),
        ("naïve日x日", "naïve 日 x 日"),
        ("日\u2028日\u3000", "日 日"),
        ("😀😀 don't", "😀😀 don ' t"),
        ("\t\r\n  \x00", ""),
        ("", ""),
        (" a ", "a"),
        ("…“quoted”", "…“quoted”"),
    ],
)
def test_tokens_are_words_punctuation_and_single_cjk_characters(text: str, normal: str) -> None:
    assert normalise(text) == normal
    assert " ".join(tokens_of(text)) == normal


def test_every_character_separates_stands_alone_or_joins_as_documented() -> None:
    characters = [chr(point) for point in range(0x11000) if not 0xD800 <= point <= 0xDFFF]
    texts = [f"a{character}b" for character in characters]
    found = found_shingles(texts, width=9)
    assert found == [shingles_of(text, width=9) for text in texts]


def test_texts_that_differ_in_an_operator_or_a_number_stay_different() -> None:
    assert len({normalise(text) for text in ("x += 1", "x -= 1", "x += 2", "x += 10")}) == 4


def test_case_and_layout_do_not_matter() -> None:
    assert normalise("If (A) {\n\treturn;\n}") == normalise("if(a){return;}")


@settings(deadline=None)  # the first example may compile
@given(
    st.text(st.sampled_from("aZ0_ \n+({é\u00a0\u2003\u200b日\u3000한😀\u1680\u205f、"), max_size=40)
)
def test_random_texts_are_normalised_as_by_the_oracle(text: str) -> None:
    assert normalise(text) == " ".join(tokens_of(text))


@settings(deadline=None)  # the first example may compile
@given(st.text(max_size=60))
def test_any_unicode_text_is_normalised_as_by_the_oracle(text: str) -> None:
    assert normalise(text) == " ".join(tokens_of(text))


@settings(deadline=None)  # the first example may compile
@given(st.text(max_size=60))
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@settings(deadline=None)  # the first example may compile
@given(st.lists(st.text(st.sampled_from("ab ,日"), max_size=12), max_size=8), st.integers(1, 7))
def test_shingles_are_runs_of_tokens(texts: list[str], width: int) -> None:
    assert found_shingles(texts, width) == [shingles_of(text, width) for text in texts]


def test_a_text_of_few_tokens_is_one_shingle_and_an_empty_one_none() -> None:
    assert found_shingles(["a b", "", " \n", "c"], width=5) == [[b"a b"], [], [], [b"c"]]


def test_posts_are_shingled_as_by_the_oracle(shared_data: Path) -> None:
    dump = shared_data / "dumps/ai.stackexchange.com/2016-09/Posts.xml"
    bodies = re.findall(r' Body="([^"]*)"', dump.read_text("utf-8-sig"))
    texts = [html.unescape(body) for body in bodies]
    assert len(texts) > 600
    assert found_shingles(texts, width=5) == [shingles_of(text, 5) for text in texts]


def test_where_blocks_are_cut_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["one, two, three", "", "four five 日 six", "x" * 50, "seven", "y z " * 20]
    expected = found_shingles(texts, width=3)
    for block_bytes in (1, 7, 20, 64):
        monkeypatch.setattr(shingles, "_BLOCK_BYTES", block_bytes)
        assert found_shingles(texts, width=3) == expected


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["drop me", "a b c", "", "日本"], pa.string()).slice(1),
        pa.array(["drop me", "a b c", "", "日本"], pa.large_string()).slice(1),
        pa.chunked_array([["a b c", ""], [], ["日本"]], pa.string()),
        ["a b c", "", "日本"],
        ("a b c", "", "日本"),
    ],
)
def test_all_kinds_of_string_columns_are_read_alike(column: Texts) -> None:
    assert found_shingles(column, width=2) == [[b"a b", b"b c"], [], ["日 本".encode()]]


@pytest.mark.parametrize(
    "texts", [[], pa.array([], pa.string()), pa.chunked_array([], pa.string())]
)
def test_no_texts_have_no_shingles(texts: Texts) -> None:
    assert found_shingles(texts, width=5) == []


def test_a_null_text_and_a_width_of_zero_are_refused() -> None:
    with pytest.raises(BadValue, match="1 of 2 texts are null"):
        list(iter_shingles(pa.array(["a", None]), width=5))
    with pytest.raises(BadValue, match="width of shingles is 0"):
        list(iter_shingles(["a"], width=0))
