"""Numbers that look random and depend on names alone: for drawing and for ordering."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def rank_by_digest(ids: Iterable[str], salt: str) -> Array:
    """Return a number for each id, uint64: the same whatever other ids there are.

    >>> rank_by_digest(["x.org/1"], "a") == rank_by_digest(["x.org/2", "x.org/1"], "a")[1]
    array([ True])
    """
    digests = (hashlib.blake2b(f"{salt}\n{one}".encode(), digest_size=8).digest() for one in ids)
    return np.frombuffer(b"".join(digests), ">u8").astype("u8")
