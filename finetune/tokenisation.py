"""What tokenizers make of posts: how many tokens, how many words in pieces, what is lost.

The texts are the same for every tokenizer, and by their ids alone; the groups are

    posts          any
    code_heavy     posts of which at least half of the characters are code
    text_heavy     posts of which under a tenth are
    code, prose    the segments of these kinds in `posts`

Tokens are those of the text: what a model adds to it, as [CLS] and [SEP], is not counted. A word
is a run of letters, digits and "_"; it is encoded alone, after a space.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer

from corpus.errors import BadValue, StoreError
from corpus.manifest import Json
from corpus.recipe import Split
from corpus.store import Store
from corpus.tables import read_table
from corpus.tokenizer import MODEL
from corpus.vocabulary import load_tokenizer
from finetune.predictions import code_shares
from finetune.pretrained import open_tokenizer
from labeling.ranks import rank_by_digest

Array = np.ndarray[Any, Any]

COLUMNS = ("doc_id", "text", "segments")
GROUPS = ("posts", "code_heavy", "text_heavy", "code", "prose")
MIN_CODE_HEAVY, MAX_TEXT_HEAVY = 0.5, 0.1
# What BERT reads at most, and encoders after it.
LENGTHS = (512, 1_024, 2_048)
SALT = "tokenisation"
OUR_SUFFIX = ".model"
WORD = re.compile(r"\w+")
_HEADER = (
    "group",
    "tokenizer",
    "texts",
    "tokens/text",
    "bytes/token",
    *(f"> {length:,}" for length in LENGTHS),
    "unknown",
    "changed",
    "pieces/word",
    "split words",
)


class Codec(NamedTuple):
    """A tokenizer: `encode` gives the ids of each text, without special ones; `decode` a text."""

    encode: Callable[[Sequence[str]], Sequence[Sequence[int] | Array]]
    decode: Callable[[Sequence[int] | Array], str]
    unk_id: int | None
    vocabulary_size: int


def read_documents(store: Store, corpus: str, split: Split = "test") -> pa.Table:
    """Read what is compared on of a built corpus: `COLUMNS` of a split.

    Of test, a tokenizer of the same corpus has seen nothing.

    Raises:
        StoreError: no such corpus, or nothing in this split.
    """
    artifacts = store.read_run(corpus)
    if "dataset" not in artifacts:
        raise StoreError(f"{corpus!r} has no dataset; name a corpus of `sobert corpus build`")
    dataset = artifacts["dataset"]
    tables = [
        read_table(dataset.path(entry.name), COLUMNS) for entry in dataset.files(f"data/{split}-")
    ]
    if not tables:
        raise StoreError(f"{corpus!r} has no document in {split}; choose another split")
    return pa.concat_tables(tables)


def open_codec(path: str) -> Codec:
    """Open a tokenizer: the `.model` file of a corpus build, or one that `transformers` opens.

    Args:
        path: of the file, or of a model's folder, or its name on the Hub if the cache has it.

    Raises:
        StoreError: there is none, or it is not a fast one.
        IntegrityError: the `.model` file is not of a corpus build.
    """
    return _open_ours(Path(path)) if path.endswith(OUR_SUFFIX) else _open_theirs(path)


def compare_tokenizers(
    paths: Mapping[str, str], documents: pa.Table, *, num_posts: int = 2_000
) -> Json:
    """Compare tokenizers on the same posts.

    Args:
        paths: by the name to show, what `open_codec` takes.
        documents: `COLUMNS`, as `read_documents` gives them.
        num_posts: how many posts to draw at most, of each of the first three groups.

    Returns:
        {"num_documents", "num_posts", "lengths", "vocabulary_sizes": {tokenizer: number}, "rows":
        [{"group", "tokenizer", "num_texts", "num_bytes", "num_tokens", "num_words",
        "tokens_per_text", "bytes_per_token", "over": [share of texts longer than each of lengths],
        "unknown_share" (of tokens), "changed_share" (of texts that do not come back),
        "pieces_per_word", "split_word_share" (of words in more than one piece), "reason"}]}.
        A ratio of nothing is null, and `reason` says what is missing.

    Raises:
        StoreError: a tokenizer is not there.
    """
    codecs = {name: open_codec(path) for name, path in paths.items()}
    texts_by_group = draw_texts(documents, num_posts)
    rows = [
        {"group": group, "tokenizer": name, **measure_codec(codec, texts_by_group[group])}
        for group in GROUPS
        for name, codec in codecs.items()
    ]
    return {
        "num_documents": len(documents),
        "num_posts": num_posts,
        "lengths": list(LENGTHS),
        "vocabulary_sizes": {name: codec.vocabulary_size for name, codec in codecs.items()},
        "rows": rows,
    }


def compare_on_corpus(
    store: Store, corpus: str, given: Sequence[str] = (), *, num_posts: int = 2_000
) -> Json:
    """Compare the tokenizer of a built corpus, and those given as NAME=PATH, on its test posts.

    Raises:
        BadValue: one is not given as NAME=PATH.
        StoreError: no such corpus, it has no test, or a tokenizer is not there.
    """
    documents = read_documents(store, corpus)
    artifacts = store.read_run(corpus)
    paths = {}
    if "tokenizer" in artifacts:
        paths[corpus] = str(artifacts["tokenizer"].path(MODEL))
    for one in given:
        name, _, path = one.partition("=")
        if not name or not path:
            raise BadValue(f"tokenizer {one!r} is not NAME=PATH; give it a name to be shown by")
        paths[name] = path
    return compare_tokenizers(paths, documents, num_posts=num_posts)


def format_comparison(comparison: Json) -> str:
    """Format what `compare_tokenizers` found as a table for the terminal, shares in percent."""
    table = [_HEADER, *(_format_row(row) for row in comparison["rows"])]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in table]
    sizes = ", ".join(
        f"{name} of {size:,} pieces" for name, size in comparison["vocabulary_sizes"].items()
    )
    said = (
        f"{comparison['num_documents']:,} documents, of each kind of post at most "
        f"{comparison['num_posts']:,}; {sizes}"
    )
    return "\n".join([said, "", *lines]) + "\n"


def draw_texts(documents: pa.Table, num_posts: int) -> dict[str, list[str]]:
    """Return the texts of each group; posts are those of the least digests of their doc_id."""
    order = np.argsort(rank_by_digest(documents["doc_id"].to_pylist(), SALT), kind="stable")
    shares = code_shares(documents)[order]
    places = {
        "posts": order,
        "code_heavy": order[shares >= MIN_CODE_HEAVY],
        "text_heavy": order[shares < MAX_TEXT_HEAVY],
    }
    drawn = {group: documents.take(pa.array(some[:num_posts])) for group, some in places.items()}
    texts = {group: table["text"].to_pylist() for group, table in drawn.items()}
    spans = list(zip(texts["posts"], drawn["posts"]["segments"].to_pylist(), strict=True))
    for kind in ("code", "prose"):
        texts[kind] = [
            text[one["start"] : one["end"]]
            for text, segments in spans
            for one in segments
            if one["kind"] == kind
        ]
    return texts


def measure_codec(codec: Codec, texts: Sequence[str]) -> Json:
    """Return a row's figures of what a tokenizer makes of texts."""
    encoded = codec.encode(texts)
    counts = np.array([len(ids) for ids in encoded], int)
    num_tokens, num_bytes = int(counts.sum()), sum(len(text.encode()) for text in texts)
    num_unknown = sum(int((np.asarray(ids) == codec.unk_id).sum()) for ids in encoded)
    pairs = zip(encoded, texts, strict=True)
    words = Counter(word for text in texts for word in WORD.findall(text))
    pieces = np.array([len(ids) for ids in codec.encode([f" {word}" for word in words])], int)
    num_times = np.array(list(words.values()), int)
    missing = {"text": len(texts), "token": num_tokens, "word": words.total()}
    lacks = [name for name, num in missing.items() if not num]
    return {
        "num_texts": len(texts),
        "num_bytes": num_bytes,
        "num_tokens": num_tokens,
        "num_words": words.total(),
        "tokens_per_text": _divide(num_tokens, len(texts)),
        "bytes_per_token": _divide(num_bytes, num_tokens),
        "over": [_divide((counts > length).sum(), len(texts)) for length in LENGTHS],
        "unknown_share": _divide(num_unknown, num_tokens),
        "changed_share": _divide(sum(codec.decode(ids) != text for ids, text in pairs), len(texts)),
        "pieces_per_word": _divide((pieces * num_times).sum(), words.total()),
        "split_word_share": _divide(num_times[pieces > 1].sum(), words.total()),
        "reason": f"there is no {lacks[0]} in this group" if lacks else None,
    }


def _open_ours(path: Path) -> Codec:
    if not path.is_file():
        raise StoreError(f"there is no tokenizer at {path}; give the .model of a corpus build")
    ours = load_tokenizer(path)

    def encode(texts: Sequence[str]) -> list[Array]:
        tokens, lengths = ours.encode_batch(texts)
        return np.split(tokens, lengths.cumsum())[:-1]

    return Codec(encode, ours.decode, ours.unk_id, ours.vocabulary_size)


def _open_theirs(path: str) -> Codec:
    theirs = open_tokenizer(path)
    if not theirs.is_fast:
        raise StoreError(f"the tokenizer in {path!r} is not a fast one; save it with its fast twin")
    # Directly: through transformers masks, types and copies of them are made besides the ids.
    backend: Tokenizer = theirs.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = theirs.split_special_tokens

    def encode(texts: Sequence[str]) -> list[list[int]]:
        made = backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [one.ids for one in made]

    def decode(ids: Sequence[int] | Array) -> str:
        return backend.decode(list(ids), skip_special_tokens=False)

    return Codec(encode, decode, theirs.unk_token_id, len(theirs))


def _divide(part: float, whole: int) -> float | None:
    return float(part / whole) if whole else None


def _format_row(row: Json) -> list[str]:
    return [
        row["group"],
        row["tokenizer"],
        f"{row['num_texts']:,}",
        _format_number(row["tokens_per_text"], ".1f"),
        _format_number(row["bytes_per_token"], ".2f"),
        *(_format_number(share, ".1%") for share in row["over"]),
        _format_number(row["unknown_share"], ".3%"),
        _format_number(row["changed_share"], ".1%"),
        _format_number(row["pieces_per_word"], ".2f"),
        _format_number(row["split_word_share"], ".1%"),
    ]


def _format_number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form).replace("%", " %")
