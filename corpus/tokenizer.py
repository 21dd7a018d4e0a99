"""Stage 9, tokenizer: a SentencePiece BPE model of the train split.

Writes `tokenizer.model`. Trained on whole documents drawn by digest of their doc_id, so that the
sample is the same for any order of files, and about `sample_bytes` large.

A model may be given instead: a new dump, or one that something was taken down from, is then cut
into the pieces of the build before, and shards of documents that did not change stay as they are.
Pieces are short (16 characters at most), so a vocabulary quotes nobody.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from corpus.engine import Engine
from corpus.errors import BadValue, DumpError, RecipeError
from corpus.manifest import Outcome, digest_file
from corpus.progress import Reporter, advance
from corpus.recipe import TokenizerSection
from corpus.store import Artifact, Store, Work
from corpus.tables import describe_file, read_table
from corpus.vocabulary import load_tokenizer, train_vocabulary

VERSION = 1
MODEL = "tokenizer.model"


def build_tokenizer(
    dataset: Artifact,
    recipe: TokenizerSection,
    store: Store,
    engine: Engine,
    reporter: Reporter,
    *,
    kept: Path | None = None,
) -> Artifact:
    """Train the tokenizer on the train split, unless a model to keep is given.

    Raises:
        DumpError: the train split is empty.
        RecipeError: `sample_bytes` is so small that no document is drawn.
        BadValue: `kept` cannot be read, or is no model that keeps every text as it is.
    """
    if kept:
        return _keep_tokenizer(kept, store, engine, reporter)

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
        key = _digest_sample(texts, recipe)
        if found := work.take(MODEL, key):
            return found
        model, num_pieces = train_vocabulary(texts, vocabulary_size=recipe.vocabulary_size)
        (work.folder / MODEL).write_bytes(model)
        figures = {
            "vocabulary_size": num_pieces,
            "vocabulary_asked": recipe.vocabulary_size,
            "sample_documents": len(texts),
            "sample_bytes": sum(len(text.encode()) for text in texts),
        }
        outcome = Outcome((describe_file(work.folder / MODEL, MODEL),), {}, figures)
        work.keep(MODEL, key, outcome)
        return outcome

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


def _keep_tokenizer(model: Path, store: Store, engine: Engine, reporter: Reporter) -> Artifact:
    """Make a model that is there the tokenizer of a build; the file is its identity."""
    try:
        section = {"model_sha256": digest_file(model)}
    except OSError as error:
        raise BadValue(f"--tokenizer {model} cannot be read: {error.strerror}") from error
    num_pieces = load_tokenizer(model).vocabulary_size

    def make(work: Work) -> Outcome:
        (work.folder / MODEL).write_bytes(model.read_bytes())
        entry = describe_file(work.folder / MODEL, MODEL)
        return Outcome((entry,), {}, {"vocabulary_size": num_pieces})

    return store.build("tokenizer", VERSION, section, {}, make, engine, reporter)


def _digest_sample(texts: Iterable[str], recipe: TokenizerSection) -> str:
    digest = hashlib.sha256(f"{recipe.vocabulary_size}\n".encode())
    for text in texts:
        content = text.encode()
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()


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
