"""MinHash signatures of real post bodies per CPU second, against datasketch.

    python tests/bench/bench_signatures.py --data ../shared/data

Ours goes from text (an Arrow column, as stages have it, and a list of strings) to signatures. For
`datasketch.MinHash.bulk` the lists of shingles are made beforehand and not counted, and it gets the
fastest hash function there is with the same values. Word 5-grams, 128 permutations; all signatures
must be equal, byte for byte. The variants take turns; prints one JSON line of medians.
"""

from __future__ import annotations

import argparse
import html
import json
import platform
import re
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash
from datasketch import MinHash
from tiling import iter_real_rows

from corpus.minhash import signatures
from corpus.shingles import iter_shingles

WIDTH, NUM_PERM, SEED = 5, 128, 1
PACKAGES = ("datasketch", "llvmlite", "numba", "numpy", "pyarrow", "xxhash")


def read_texts(data: Path) -> list[str]:
    """Return the texts of all different bodies, their tags crudely cut out."""
    bodies = (re.search(rb' Body="([^"]*)"', row) for row in iter_real_rows(data))
    texts = (html.unescape(body[1].decode("utf-8")) for body in bodies if body)
    return list(dict.fromkeys(html.unescape(re.sub(r"<[^>]*>", " ", text)) for text in texts))


def shingle_lists(texts: list[str]) -> list[list[bytes]]:
    """Return the shingles of each text as datasketch wants them."""
    lists = []
    for block in iter_shingles(texts, WIDTH):
        normal, at = block.normal.tobytes(), 0
        for count in block.counts.tolist():
            begins, ends = block.begins[at : at + count].tolist(), block.ends[at : at + count]
            lists.append([normal[b:e] for b, e in zip(begins, ends.tolist(), strict=True)])
            at += count
    return lists


def sketch_with_ours(texts: pa.Array | list[str]) -> np.ndarray:
    return signatures(texts, width=WIDTH, num_perm=NUM_PERM, seed=SEED)


def sketch_with_datasketch(shingles: list[list[bytes]]) -> np.ndarray:
    sketches = MinHash.bulk(
        shingles,
        num_perm=NUM_PERM,
        seed=SEED,
        scheme="affine32",
        hashfunc=xxhash.xxh32_intdigest,
    )
    return np.array([sketch.hashvalues for sketch in sketches])


def compare(texts: list[str], repeats: int) -> dict[str, Any]:
    """Run the variants in turns, and gather their medians."""
    shingles = shingle_lists(texts)
    column = pa.array(texts, pa.large_string())
    variants: dict[str, Callable[[], np.ndarray]] = {
        "ours": lambda: sketch_with_ours(column),
        "ours_from_list": lambda: sketch_with_ours(texts),
        "datasketch": lambda: sketch_with_datasketch(shingles),
    }
    made = {name: run() for name, run in variants.items()}  # compiles, too
    assert len({array.tobytes() for array in made.values()}) == 1, "the signatures differ"
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(repeats):
        for name, run in variants.items():
            started = time.process_time()
            run()
            seconds[name].append(time.process_time() - started)
    num_shingles = sum(map(len, shingles))
    report: dict[str, Any] = {
        "bench": "signatures",
        "num_texts": len(texts),
        "num_bytes": sum(len(text.encode()) for text in texts),
        "num_shingles": num_shingles,
    }
    for name, each in seconds.items():
        report[f"{name}_texts_per_cpu_second"] = round(len(texts) / median(each))
        report[f"{name}_nanoseconds_per_shingle"] = round(median(each) / num_shingles * 1e9, 1)
    for name in ("ours", "ours_from_list"):
        ratios = [
            peer / own for peer, own in zip(seconds["datasketch"], seconds[name], strict=True)
        ]
        report[f"{name}_speedup"] = round(median(ratios), 1)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds dumps/")
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    pa.set_cpu_count(1)
    report = compare(read_texts(options.data), options.repeats)
    versions = {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}
    print(json.dumps(report | {"versions": versions}))


if __name__ == "__main__":
    main()
