"""Packing, masking and loading, in millions of tokens a second of one core.

    python tests/bench/bench_packing.py --shards STORE/shards/DIGEST --tokenizer MODEL

`--shards` is a folder of a store (one split of it is read, no manifest is needed to be valid);
without it, shards are made of the bodies of all Posts.xml below `--data`. Four things are measured,
each the best of several repetitions, as the process's CPU time:

    plan      plan_rows on a million documents whose lengths are drawn from the real ones
    masking   mask_tokens on micro-batches of 8 rows of 2,048, by whole words; and an oracle that
              does the same token by token in Python
    read      RowSource.read on the same
    loader    iter_batches: both, and the batch as tensors

Prints one JSON line, with the packing efficiency on the real lengths and on the million.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any

import numpy as np
from bench_shards import read_bodies

from corpus.indexed import IndexedWriter
from corpus.manifest import FileEntry, Manifest, Outcome, read_manifest
from corpus.store import Artifact
from corpus.vocabulary import Tokenizer, load_tokenizer, train_vocabulary
from pretrain.loader import iter_batches
from pretrain.masking import BEGINS, ENDS, Masking, make_masking, mask_tokens
from pretrain.packing import plan_rows
from pretrain.recipe import MaskingSection
from pretrain.rows import RowSource, document_lengths

ROW_TOKENS = 2_048
MICRO_BATCH_ROWS = 8
NUM_DOCUMENTS = 1_000_000
PACKAGES = ("numpy", "torch", "sentencepiece")


def write_shards(bodies: list[str], folder: Path) -> tuple[Artifact, Tokenizer]:
    """Write the bodies as one shard, each a document of one sequence."""
    model, _ = train_vocabulary(bodies[::2], vocabulary_size=16_000)
    tokenizer = Tokenizer(model)
    name = "train-00000-of-00001"
    with IndexedWriter(
        folder / name, vocabulary_size=tokenizer.vocabulary_size, with_modes=True
    ) as writer:
        tokens, lengths = tokenizer.encode_batch(bodies)
        ones = np.ones(len(lengths), np.int64)
        writer.add_documents(
            tokens, sequence_lengths=lengths, sequences_per_document=ones, modes=0 * ones
        )
    outcome = Outcome((FileEntry(f"{name}.idx", 0, 0, "", ""),))
    return Artifact(folder, Manifest("shards", 1, {}, {}, outcome)), tokenizer


def mask_one_by_one(tokens: list[int], masking: Masking, source: random.Random) -> list[int]:
    """Mask one row token by token, as a straightforward program does: the oracle's speed."""
    words: list[list[int]] = []
    goes_on = False
    for at, token in enumerate(tokens):
        edges = int(masking.edges_V[token])
        if token >= 5 and goes_on and not edges & BEGINS:
            words[-1].append(at)
        elif token >= 5:
            words.append([at])
        goes_on = token >= 5 and not edges & ENDS
    budget = int(masking.rate * sum(map(len, words)) + 0.5)
    source.shuffle(words)
    seen = list(tokens)
    for at in [at for word in words for at in word][:budget]:
        decision = source.random()
        if decision < 0.8:
            seen[at] = Tokenizer.mask_id
        elif decision < 0.9:
            seen[at] = source.randrange(5, len(masking.edges_V))
    return seen


def measure(task: Callable[[], Any], repetitions: int) -> float:
    """Return the CPU seconds of the fastest of several calls."""
    seconds = []
    for _ in range(repetitions):
        start = time.process_time()
        task()
        seconds.append(time.process_time() - start)
    return min(seconds)


def compare(shards: Artifact, tokenizer: Tokenizer, split: str, repetitions: int) -> dict[str, Any]:
    """Measure everything on one split."""
    lengths = document_lengths(shards, split)
    source = RowSource(shards, split, plan_rows(lengths, ROW_TOKENS, seed=1))
    masking = make_masking(MaskingSection(), tokenizer)
    many = np.random.default_rng(1).choice(lengths, NUM_DOCUMENTS)
    num_rows = source.num_rows - source.num_rows % MICRO_BATCH_ROWS
    batches = np.arange(num_rows).reshape(-1, MICRO_BATCH_ROWS)
    packed = [source.read(rows) for rows in batches]
    num_tokens = sum(len(one.tokens_T) for one in packed)
    rates = np.full(MICRO_BATCH_ROWS, masking.rate)

    def mask() -> None:
        for rows, one in zip(batches, packed, strict=True):
            at = {"epochs_R": np.zeros_like(rows), "rows_R": rows, "rates_R": rates}
            mask_tokens(one.tokens_T, one.row_bounds_R1, masking, **at)

    def load() -> None:
        run = {"seed": 1, "start_row": 0, "num_rows_total": num_rows}
        for _ in iter_batches(source, masking, micro_batch_rows=MICRO_BATCH_ROWS, **run):
            pass

    sample = [one.tokens_T[slice(*one.row_bounds_R1[:2])].tolist() for one in packed]
    sample_tokens = sum(map(len, sample))
    plan_seconds = measure(lambda: plan_rows(many, ROW_TOKENS, seed=1), 2)
    oracle = measure(lambda: [mask_one_by_one(row, masking, random.Random(1)) for row in sample], 2)
    read_seconds = measure(lambda: [source.read(rows) for rows in batches], repetitions)
    return {
        "documents": len(lengths),
        "rows": source.num_rows,
        "tokens": source.num_tokens,
        "efficiency": round(source.plan.efficiency, 4),
        "efficiency_of_a_million": round(plan_rows(many, ROW_TOKENS, seed=1).efficiency, 4),
        "plan_documents_per_second": round(NUM_DOCUMENTS / plan_seconds),
        "million_tokens_per_second": {
            "plan": round(int(many.sum()) / plan_seconds / 1e6, 1),
            "masking": round(num_tokens / measure(mask, repetitions) / 1e6, 1),
            "masking_one_by_one": round(sample_tokens / oracle / 1e6, 2),
            "read": round(num_tokens / read_seconds / 1e6, 1),
            "loader": round(num_tokens / measure(load, repetitions) / 1e6, 1),
        },
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder that holds dumps/")
    parser.add_argument("--shards", type=Path, help="folder of an artifact, instead of --data")
    parser.add_argument("--tokenizer", type=Path, help="the .model file of --shards")
    parser.add_argument("--split", default="train")
    parser.add_argument("--repetitions", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if options.shards:
            shards = Artifact(options.shards, read_manifest(options.shards / "manifest.json"))
            tokenizer = load_tokenizer(options.tokenizer)
        else:
            shards, tokenizer = write_shards(read_bodies(options.data), Path(name))
        result = compare(shards, tokenizer, options.split, options.repetitions)
    versions = {name: version(name) for name in PACKAGES} | {"python": python_version()}
    print(json.dumps({"bench": "packing"} | result | {"versions": versions}))


if __name__ == "__main__":
    main()
