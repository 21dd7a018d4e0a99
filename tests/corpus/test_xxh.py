"""The compiled xxHash against the package of its reference implementation."""

from __future__ import annotations

import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus import xxh

SIZES = range(200)  # past several stripes of 16 and of 32 bytes, with every rest


def slices_of_all_sizes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slices of every size at every alignment: more than one batch of lanes."""
    generator = np.random.default_rng(7)
    begins = np.repeat(np.arange(8), len(SIZES))
    ends = begins + np.tile(SIZES, 8)
    order = generator.permutation(len(begins))
    data = np.frombuffer(generator.bytes(len(SIZES) + 8 + xxh.SPARE), np.uint8)
    return data, begins[order], ends[order]


def test_32_bit_hashes_are_those_of_the_reference() -> None:
    data, begins, ends = slices_of_all_sizes()
    hashes = np.empty(len(begins), np.uint32)
    xxh.hash32(data, begins, ends, hashes)
    expected = [
        xxhash.xxh32_intdigest(data[b:e].tobytes()) for b, e in zip(begins, ends, strict=True)
    ]
    assert hashes.tolist() == expected


@pytest.mark.parametrize("seed", [0, 1, 2**64 - 1])
def test_64_bit_hashes_are_those_of_the_reference(seed: int) -> None:
    data, begins, ends = slices_of_all_sizes()
    hashes = np.empty(len(begins), np.uint64)
    xxh.hash64(data, begins, ends, np.uint64(seed), hashes)
    expected = [
        xxhash.xxh64_intdigest(data[b:e].tobytes(), seed) for b, e in zip(begins, ends, strict=True)
    ]
    assert hashes.tolist() == expected


@settings(deadline=None)  # the first example may compile
@given(st.binary(max_size=300), st.binary(min_size=xxh.SPARE, max_size=xxh.SPARE))
def test_what_stands_behind_a_slice_does_not_matter(content: bytes, behind: bytes) -> None:
    data = np.frombuffer(content + behind, np.uint8)
    begins, ends = np.array([0]), np.array([len(content)])
    short, long = np.empty(1, np.uint32), np.empty(1, np.uint64)
    xxh.hash32(data, begins, ends, short)
    xxh.hash64(data, begins, ends, np.uint64(0), long)
    assert short[0] == xxhash.xxh32_intdigest(content)
    assert long[0] == xxhash.xxh64_intdigest(content)
