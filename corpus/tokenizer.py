"""Stage 9, tokenizer: a SentencePiece BPE model of the train split.

Writes `tokenizer.model`. Trained on whole documents drawn by digest of their doc_id, so that the
sample is the same for any order of files, and about `sample_bytes` large.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pyarrow as pa

from corpus.engine import Engine
from corpus.errors import DumpError, RecipeError
from corpus.manifest import Outcome
from corpus.progress import Reporter, advance
from corpus.recipe import TokenizerSection
from corpus.store import Artifact, Store, Work
from corpus.tables import describe_file, read_table
from corpus.vocabulary import train_vocabulary

VERSION = 1
MODEL = "tokenizer.model"


def build_tokenizer(
    dataset: Artifact, recipe: TokenizerSection, store: Store, engine: Engine, reporter: Reporter
) -> Artifact:
    """Train the tokenizer on the train split.

    Raises:
        DumpError: the train split is empty.
        RecipeError: `sample_bytes` is so small that no document is drawn.
    """

    def make(work: Work) -> Outcome:
        num_shards = len(dataset.files("data/train-"))
        if not num_shards:
            raise DumpError(
                "the train split is empty, so there is no text for a tokenizer; give a larger "
                "dump, or a recipe with a larger train fraction"
            )
        with reporter.bar(work.stage, num_shards, "shards read"):
            texts = list(iter_sample(dataset, recipe.sample_bytes))
        if not texts:
            raise RecipeError(
                f"tokenizer.sample_bytes is {recipe.sample_bytes}, which draws no document of the "
                "train split; raise it"
            )
        model, num_pieces = train_vocabulary(texts, vocabulary_size=recipe.vocabulary_size)
        (work.folder / MODEL).write_bytes(model)
        figures = {
            "vocabulary_size": num_pieces,
            "vocabulary_asked": recipe.vocabulary_size,
            "sample_documents": len(texts),
            "sample_bytes": sum(len(text.encode()) for text in texts),
        }
        return Outcome((describe_file(work.folder / MODEL, MODEL),), {}, figures)

    artifact = store.build(
        "tokenizer", VERSION, recipe, {"dataset": dataset}, make, engine, reporter
    )
    size = artifact.manifest.outcome.figures["vocabulary_size"]
    if size < recipe.vocabulary_size:
        reporter.say(
            f"note: the train text supports {size:,} pieces, fewer than the "
            f"{recipe.vocabulary_size:,} of tokenizer.vocabulary_size"
        )
    return artifact


def is_sampled(doc_id: str, fraction: float) -> bool:
    """Tell whether a document is in a sample of this fraction; a larger one holds a smaller one.

    >>> is_sampled("x.org/1", 1.0), is_sampled("x.org/1", 0.0)
    (True, False)
    """
    digest = hashlib.blake2b(doc_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < fraction * 2**64


def iter_sample(dataset: Artifact, sample_bytes: int) -> Iterator[str]:
    """Iterate over texts of the train split, about `sample_bytes` in all."""
    total = dataset.manifest.outcome.figures["text_bytes_train"]
    fraction = min(1.0, sample_bytes / total)
    for entry in dataset.files("data/train-"):
        rows = read_table(dataset.path(entry.name), ["doc_id", "text"])
        is_drawn = [is_sampled(doc_id, fraction) for doc_id in rows["doc_id"].to_pylist()]
        yield from rows["text"].filter(pa.array(is_drawn)).to_pylist()
        advance(1)
