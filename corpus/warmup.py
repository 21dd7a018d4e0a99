"""Compiled loops, made ready: once in this process, so that workers find them on disk.

numba compiles a loop at its first call and keeps the result beside the sources. On a fresh
checkout that takes 20 s for the rows and 20 s for the signatures, without a sign of life, and a
pool of workers would each do it (2026-11-21); after that half a second.
"""

from __future__ import annotations

import io

import numpy as np

from corpus.minhash import band_hashes, shingle_sets, signatures
from corpus.pairs import candidate_pairs, choose_representatives, overlap_of_pairs
from corpus.progress import Reporter
from corpus.rows import iter_row_batches

NOTE = "compiling loops, for this first build only: about half a minute"
TABLE = b'<users><row Id="1" DisplayName="Ada" /></users>'


def compile_rows(reporter: Reporter) -> None:
    """Make the loops of the rows stage ready.

    >>> compile_rows(Reporter(quiet=True))
    """
    with reporter.note_if_slow(NOTE):
        for _ in iter_row_batches(io.BytesIO(TABLE), "Users", file="warm-up"):
            pass


def compile_dedup(reporter: Reporter) -> None:
    """Make the loops of the dedup, splits and leakage stages ready.

    >>> compile_dedup(Reporter(quiet=True))
    """
    with reporter.note_if_slow(NOTE):
        texts = ["to be or not to be", "to be or not to be"]
        signed = signatures(texts, width=2, num_perm=4, seed=1)
        sets, offsets = shingle_sets(texts, width=2)
        bands = np.ascontiguousarray(band_hashes(signed, 2).T)
        pairs = candidate_pairs(bands, max_bucket=2)
        overlap_of_pairs(sets, offsets, pairs)
        same, rank = np.zeros(2, np.int64), np.arange(2)
        choose_representatives(same, rank, sets, offsets, threshold=0.5, max_cluster=2)
