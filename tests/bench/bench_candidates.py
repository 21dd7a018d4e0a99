"""Candidate pairs and clusters of many signatures: CPU seconds and memory, against datasketch.

    python tests/bench/bench_candidates.py --n 1000000

One document in five is a near copy of another. Ours hashes the bands to one file each, as a stage
does, then pairs and clusters; `datasketch.MinHashLSH` is asked for, then given, every signature:
only those calls are counted, and its answers are not even kept. Each runs in a process of its own,
from the same file of signatures; both must find the same pairs. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from datasketch import LeanMinHash, MinHashLSH

from corpus.components import components
from corpus.minhash import band_hashes
from corpus.pairs import candidate_pairs

NUM_PERM, BANDS = 128, 16
BLOCK = 50_000
PACKAGES = ("datasketch", "numba", "numpy", "scipy")


def write_signatures(num_documents: int, path: Path) -> None:
    """Write random signatures; every fifth agrees with one before it in nine values of ten."""
    generator = np.random.default_rng(1)
    with path.open("wb") as file:
        for first in range(0, num_documents, BLOCK):
            count = min(BLOCK, num_documents - first)
            block = generator.integers(0, 1 << 32, (count, NUM_PERM), np.uint32)
            for i in range(4, count, 5):
                is_equal = generator.random(NUM_PERM) < 0.9
                block[i, is_equal] = block[generator.integers(i), is_equal]
            file.write(block.tobytes())


def iter_signatures(path: Path) -> Iterator[np.ndarray]:
    with path.open("rb") as file:
        while content := file.read(BLOCK * NUM_PERM * 4):
            yield np.frombuffer(content, np.uint32).reshape(-1, NUM_PERM)


def run_ours(path: Path) -> dict[str, float]:
    """Hash bands to files, then pair and cluster, one band in memory at a time."""
    warm_up = band_hashes(np.zeros((2, NUM_PERM), np.uint32), BANDS)
    components(2, candidate_pairs(warm_up.T, max_bucket=2))
    started = time.process_time()
    folder = path.parent
    files = [(folder / f"band-{band}").open("wb") for band in range(BANDS)]
    num_documents = 0
    for block in iter_signatures(path):
        num_documents += len(block)
        for file, column in zip(files, band_hashes(block, BANDS).T, strict=True):
            file.write(column.tobytes())
    for file in files:
        file.close()
    bands = (np.fromfile(folder / f"band-{band}", np.uint64) for band in range(BANDS))
    pairs = candidate_pairs(bands, max_bucket=1000)
    cluster = components(num_documents, pairs)
    seconds = time.process_time() - started
    return {
        "seconds": seconds,
        "pairs": len(pairs),
        "checksum": int((pairs[:, 1] * 31 + pairs[:, 0]).sum()),
        "clusters": len(np.unique(cluster)),
    }


def run_datasketch(path: Path) -> dict[str, float]:
    """Query and insert every signature; a query answers with the documents inserted before."""
    index = MinHashLSH(num_perm=NUM_PERM, params=(BANDS, NUM_PERM // BANDS))
    seconds = 0.0
    number = num_pairs = checksum = 0
    for block in iter_signatures(path):
        sketches = [LeanMinHash(seed=1, hashvalues=row, scheme="affine32") for row in block]
        started = time.process_time()
        for sketch in sketches:
            for other in index.query(sketch):
                num_pairs += 1
                checksum += number * 31 + other
            index.insert(number, sketch, check_duplication=False)
            number += 1
        seconds += time.process_time() - started
    return {"seconds": seconds, "pairs": num_pairs, "checksum": checksum}


VARIANTS = {"ours": run_ours, "datasketch": run_datasketch}


def measure(variant: str, path: Path) -> dict[str, float]:
    """Run a variant here, and note its memory, 160 MB of which are the imports of both."""
    result = VARIANTS[variant](path)
    return result | {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10}


def compare(num_documents: int) -> dict[str, Any]:
    """Run both variants, each in a process of its own."""
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "signatures"
        write_signatures(num_documents, path)
        for variant in VARIANTS:
            command = [sys.executable, __file__, "--variant", variant, "--signatures", path]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
            results[variant] = json.loads(done.stdout)
    ours, peer = results["ours"], results["datasketch"]
    for name in ("pairs", "checksum"):
        assert ours[name] == peer[name], f"the {name} differ: {results}"
    report: dict[str, Any] = {"bench": "candidates", "n": num_documents, "pairs": ours["pairs"]}
    for variant, result in results.items():
        report[f"{variant}_cpu_seconds"] = round(result["seconds"], 2)
        report[f"{variant}_peak_mb"] = result["peak_mb"]
    return report | {
        "cpu_ratio": round(peer["seconds"] / ours["seconds"], 1),
        "memory_ratio": round(peer["peak_mb"] / ours["peak_mb"], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="not read: the signatures are made here")
    parser.add_argument("--n", type=int, default=1_000_000, help="number of documents")
    parser.add_argument("--variant", choices=VARIANTS, help="measure this one here")
    parser.add_argument("--signatures", type=Path, help="the file for --variant")
    options = parser.parse_args()
    if options.variant:
        print(json.dumps(measure(options.variant, options.signatures)))
        return
    versions = {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}
    print(json.dumps(compare(options.n) | {"versions": versions}))


if __name__ == "__main__":
    main()
