"""Signatures against datasketch, sets against Python sets, both over shingles of an oracle."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest
import xxhash
from datasketch import MinHash
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.errors import BadValue
from corpus.minhash import (
    band_hashes,
    exact_digests,
    shingle_hashes,
    shingle_sets,
    signatures,
)

TEXTS = [
    "How do I sort a list of dicts by a key in Python?",
    "for (int i = 0; i < n; ++i) { total += prices[i]; }",
    "",
    "Thanks!",
    " \n\t ",
    "naïve Zürich größer, 日本語のテキスト 한국어",
    "0" * 200 + " a token longer than all the stripes of a hash",
    "a b a b a b a b a b a b",
    "word " * 1000,
    " ".join(f"w{i % 97} = f({i})" for i in range(700)),
]


def shingles_of(text: str, width: int) -> list[bytes]:
    """Shingles by regular expression; enough for TEXTS. See test_shingles for the whole rule."""
    cjk = "[\u3001-\ud7ff]"
    tokens = re.findall(rf"{cjk}|(?:(?!{cjk})\w)+|[^\w\s]", text.lower())
    width = min(width, len(tokens))
    return [
        " ".join(tokens[i : i + width]).encode() for i in range(len(tokens) - width + 1) if width
    ]


def by_datasketch(text: str, width: int, num_perm: int, seed: int) -> np.ndarray:
    sketch = MinHash(num_perm, seed=seed, scheme="affine32", hashfunc=xxhash.xxh32_intdigest)
    for shingle in shingles_of(text, width):
        sketch.update(shingle)
    return sketch.hashvalues


@pytest.mark.parametrize("num_perm", [1, 7, 128, 250])
@pytest.mark.parametrize(("width", "seed"), [(1, 1), (5, 1), (5, 2**32 - 1)])
def test_signatures_are_those_of_datasketch(num_perm: int, width: int, seed: int) -> None:
    found = signatures(TEXTS, width=width, num_perm=num_perm, seed=seed)
    expected = np.array([by_datasketch(text, width, num_perm, seed) for text in TEXTS])
    assert found.dtype == expected.dtype == np.uint32
    assert found.tobytes() == expected.tobytes()


def test_a_text_without_tokens_has_the_empty_signature_of_datasketch() -> None:
    (found,) = signatures(["\n"], width=5, num_perm=16, seed=1)
    assert MinHash(hashvalues=found, scheme="affine32").is_empty()


def test_the_share_of_equal_values_estimates_the_jaccard_similarity() -> None:
    texts = [" ".join(f"w{i}" for i in range(first, first + 900)) for first in (0, 300)]
    one, other = signatures(texts, width=1, num_perm=1024, seed=1)
    assert (one == other).mean() == pytest.approx(600 / 1200, abs=0.05)  # 3 standard deviations


@pytest.mark.parametrize(("width", "seed"), [(1, 0), (5, 0), (13, 2**64 - 1)])
def test_shingle_sets_are_ascending_and_complete(width: int, seed: int) -> None:
    hashes, offsets = shingle_sets(TEXTS, width=width, seed=seed)
    sets = [hashes[begin:end].tolist() for begin, end in pairwise(offsets)]
    for text, found in zip(TEXTS, sets, strict=True):
        expected = {xxhash.xxh64_intdigest(s, seed) for s in shingles_of(text, width)}
        assert found == sorted(expected)


def test_no_texts_give_empty_arrays() -> None:
    hashes, offsets = shingle_sets([], width=5)
    assert (hashes.tolist(), offsets.tolist()) == ([], [0])
    assert signatures([], width=5, num_perm=8, seed=1).shape == (0, 8)
    assert exact_digests([]).shape == (0, 2)
    assert band_hashes(np.empty((0, 8), np.uint32), bands=4).shape == (0, 4)


def test_equal_digests_mean_equal_tokens() -> None:
    texts = ["int x=1;", "INT  x = 1 ;\n", "int x=2;", "", " ", "intx=1;"]
    digests = [tuple(digest) for digest in exact_digests(texts).tolist()]
    assert digests[0] == digests[1]
    assert digests[3] == digests[4]
    assert len(set(digests)) == 4


def test_a_digest_does_not_depend_on_the_texts_around_it() -> None:
    together = exact_digests(TEXTS)
    apart = np.concatenate([exact_digests([text]) for text in TEXTS])
    assert together.tobytes() == apart.tobytes()


@settings(deadline=None)  # the first example may compile
@given(st.lists(st.lists(st.integers(0, 2), min_size=6, max_size=6), min_size=2, max_size=6))
def test_band_hashes_are_equal_where_the_values_of_a_band_are(rows: list[list[int]]) -> None:
    hashes = band_hashes(np.array(rows, np.uint32), bands=3)
    bands = [[(k, *row[2 * k : 2 * k + 2]) for k in range(3)] for row in rows]
    hash_by_band = {
        band: h
        for row, of in zip(bands, hashes, strict=True)
        for band, h in zip(row, of, strict=True)
    }
    assert [[hash_by_band[band] for band in row] for row in bands] == hashes.tolist()
    assert len(set(hash_by_band.values())) == len(hash_by_band)


def test_bands_of_a_strided_signature_are_hashed_alike() -> None:
    made = signatures(TEXTS, width=5, num_perm=16, seed=1)
    wide = np.repeat(made, 2, axis=1)[:, ::2]
    assert band_hashes(wide, bands=4).tobytes() == band_hashes(made, bands=4).tobytes()


@pytest.mark.parametrize("bands", [0, -1, 3, 16])
def test_bands_that_do_not_divide_the_permutations_are_refused(bands: int) -> None:
    with pytest.raises(BadValue, match=f"{bands} bands do not divide 8"):
        band_hashes(np.zeros((1, 8), np.uint32), bands=bands)


def test_arguments_out_of_range_are_refused() -> None:
    with pytest.raises(BadValue, match="num_perm is 0"):
        signatures(["a"], width=5, num_perm=0, seed=1)
    with pytest.raises(BadValue, match=r"seed is 4294967296; give 0 to 2\*\*32 - 1"):
        signatures(["a"], width=5, num_perm=8, seed=2**32)
    with pytest.raises(BadValue, match="seed is -1"):
        shingle_sets(["a"], width=5, seed=-1)
    with pytest.raises(BadValue, match="width of shingles is 0"):
        shingle_sets(["a"], width=0)


@pytest.mark.parametrize("width", [1, 5, 13])
def test_shingle_hashes_are_those_of_the_shingles_in_order(width: int) -> None:
    expected = [
        xxhash.xxh64_intdigest(one, 3) for text in TEXTS for one in shingles_of(text, width)
    ]
    assert shingle_hashes(TEXTS, width=width, seed=3).tolist() == expected
