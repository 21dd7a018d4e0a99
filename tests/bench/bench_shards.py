"""Tokens a second, from text to .bin and .idx: ours against SentencePiece and megatron-core.

    python tests/bench/bench_shards.py --data ../shared/data

Reads the bodies of all Posts.xml files below the folder (tags cut out crudely), trains a vocabulary
on every second one, and writes all bodies, one document each, in two ways, in turn:

    ours      Tokenizer.encode_batch and IndexedWriter.add_documents, 1,000 bodies a call
    megatron  SentencePieceProcessor.encode and IndexedDatasetBuilder.add_item, body by body

Both load the model anew each time, so ours begins with an empty cache. The files must be equal.
Prints one JSON line: CPU seconds (medians), tokens a second of one core, and their ratio.
"""

from __future__ import annotations

import argparse
import html
import json
import re
import statistics
import tempfile
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from platform import python_version

import numpy as np
import sentencepiece
import torch
from lxml import etree

from corpus.indexed import IndexedReader, IndexedWriter
from corpus.vocabulary import load_tokenizer, train_vocabulary

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # GPU packages that are not there
    from megatron.core.datasets.indexed_dataset import DType, IndexedDatasetBuilder

TEXTS_A_CALL = 1000
PACKAGES = ("sentencepiece", "megatron-core", "torch", "numpy", "pyarrow")


def read_bodies(folder: Path) -> list[str]:
    """Return the text of every post body in every Posts.xml below the folder."""
    bodies = []
    for path in sorted(folder.glob("dumps/**/Posts.xml")):
        for row in etree.fromstring(path.read_bytes().replace(b"\t", b"&#9;")):
            bodies.append(html.unescape(re.sub(r"<[^>]*>", "", row.get("Body", ""))))
    return bodies


def write_ours(bodies: list[str], model: Path, prefix: Path) -> None:
    """Write the bodies with this project's tokenizer and writer."""
    tokenizer = load_tokenizer(model)
    with IndexedWriter(prefix, vocabulary_size=tokenizer.vocabulary_size) as writer:
        for start in range(0, len(bodies), TEXTS_A_CALL):
            tokens, lengths = tokenizer.encode_batch(bodies[start : start + TEXTS_A_CALL])
            writer.add_documents(
                tokens,
                sequence_lengths=lengths,
                sequences_per_document=np.ones(len(lengths), dtype=np.int64),
            )


def write_megatron(bodies: list[str], model: Path, prefix: Path) -> None:
    """Write the bodies as Megatron's preprocessing does."""
    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    dtype = DType.optimal_dtype(processor.get_piece_size())
    builder = IndexedDatasetBuilder(f"{prefix}.bin", dtype=dtype)
    for body in bodies:
        builder.add_item(torch.tensor(processor.encode(body)))
        builder.end_document()
    builder.finalize(f"{prefix}.idx")


def measure(bodies: list[str], repetitions: int) -> tuple[int, int, dict[str, float]]:
    """Write the bodies in each way in turn.

    Returns:
        The number of pieces, the number of tokens, and the median CPU seconds of each way.
    """
    ways = {"ours": write_ours, "megatron": write_megatron}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = folder / "tokenizer.model"
        content, num_pieces = train_vocabulary(bodies[::2], vocabulary_size=16_000)
        model.write_bytes(content)
        for _ in range(repetitions):
            for way, write in ways.items():
                start = time.process_time()
                write(bodies, model, folder / way)
                seconds[way].append(time.process_time() - start)
        for suffix in (".bin", ".idx"):
            ours, megatron = ((folder / f"{way}{suffix}").read_bytes() for way in ways)
            assert ours == megatron, f"the {suffix} files differ"
        num_tokens = len(IndexedReader(folder / "ours").tokens)
    return num_pieces, num_tokens, {way: statistics.median(seconds[way]) for way in ways}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds dumps/")
    parser.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args()
    bodies = read_bodies(arguments.data)
    megabytes = sum(len(body.encode()) for body in bodies) / 1e6
    num_pieces, num_tokens, seconds = measure(bodies, arguments.repetitions)
    result = {
        "bench": "shards",
        "bodies": len(bodies),
        "megabytes": round(megabytes, 2),
        "pieces": num_pieces,
        "tokens": num_tokens,
        "repetitions": arguments.repetitions,
        "cpu_seconds": {way: round(median, 3) for way, median in seconds.items()},
        "tokens_per_second": {way: round(num_tokens / median) for way, median in seconds.items()},
        "megabytes_per_second": {way: round(megabytes / t, 1) for way, t in seconds.items()},
        "ratio": round(seconds["megatron"] / seconds["ours"], 2),
        "versions": {name: version(name) for name in PACKAGES} | {"python": python_version()},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
