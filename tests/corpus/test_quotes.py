"""Quotes are found where 50 characters in a row are shared, whatever the white space between."""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.quotes import MIN_BREAKS, WINDOW, digest_windows, have_window, make_window_set

WORDS = "Set the valve to three bars, wait for the lamp, and only then open the second tap."


def windows_of(text: str) -> list[str]:
    """The windows of a text that count, by the definition."""
    text = " ".join(text.split())
    found = [text[i : i + WINDOW] for i in range(len(text) - WINDOW + 1)]
    return [one for one in found if sum(c == " " or ord(c) > 127 for c in one) >= MIN_BREAKS]


def quotes(text: str | None, other: str = WORDS) -> bool:
    windows = make_window_set(digest_windows(pa.array([other]))[0])
    return bool(have_window(pa.array([text], pa.string()), windows)[0])


def test_fifty_characters_in_a_row_are_a_quote_and_forty_nine_are_none() -> None:
    assert quotes(f"He wrote:{WORDS[7:57]}!")
    assert not quotes(f"He wrote:{WORDS[7:56]}!")


def test_white_space_between_words_does_not_matter() -> None:
    assert quotes(WORDS.replace(" ", "\n\t  \u2003"))


def test_a_long_address_is_nobodys_words() -> None:
    address = "https://docs.example.org/en/" + "long-path/" * 10
    assert not quotes(f"See {address}", f"Look at {address}")


def test_text_without_spaces_that_is_not_ascii_counts() -> None:
    text = "".join(chr(0x4E00 + i * 7 % 500) for i in range(80))
    assert quotes(f"abc{text[10:70]}", text)


def test_nothing_is_quoted_by_a_null_an_empty_set_or_a_column_without_rows() -> None:
    assert not quotes(None)
    windows = make_window_set(np.empty(0, np.uint64))
    assert have_window(pa.array([WORDS]), windows).tolist() == [False]
    assert have_window(pa.array([], pa.string()), windows).tolist() == []


def test_slices_chunks_and_large_strings_are_read_where_they_are() -> None:
    texts = pa.array([None, "none", WORDS, "a short one", f"x {WORDS}"])
    windows = make_window_set(digest_windows(texts.slice(2, 1))[0])
    chunked = pa.chunked_array([texts.slice(1, 2), texts.slice(3)])
    for column in (chunked, chunked.cast(pa.large_string())):
        assert have_window(column, windows).tolist() == [False, True, False, True]


alphabet = st.sampled_from("ab \n\u00a0\u3000é字😀")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(alphabet, max_size=130), max_size=4), st.text(alphabet, max_size=200))
def test_digests_are_equal_where_windows_are_and_nowhere_else(texts: list[str], other: str) -> None:
    digests, places = digest_windows(pa.array([*texts, other], pa.string()))
    windows = [(one, n) for n, text in enumerate([*texts, other]) for one in windows_of(text)]
    assert places.tolist() == [place for _, place in windows]
    ordered = sorted(zip(digests.tolist(), [one for one, _ in windows], strict=True))
    assert all((a[0] == b[0]) == (a[1] == b[1]) for a, b in pairwise(ordered))
    wanted = make_window_set(digest_windows(pa.array([other], pa.string()))[0])
    shared = [bool(set(windows_of(other)) & set(windows_of(text))) for text in texts]
    assert have_window(pa.array(texts, pa.string()), wanted).tolist() == shared


@pytest.mark.parametrize("text", ["a" * 30_000, "a " * 15_000, "字" * 30_000, " " * 30_000])
def test_the_worst_text_takes_no_longer_than_any_other(text: str) -> None:
    windows = make_window_set(digest_windows(pa.array([WORDS]))[0])
    column = pa.array([text] * 20)
    have_window(column.slice(0, 1), windows)
    begun = time.process_time()
    have_window(column, windows)
    # 600,000 characters at 5 MB/s and more: a tenth of what is usual.
    assert time.process_time() - begun < 0.4
