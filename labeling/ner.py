"""Examples of the named-entity benchmark: one a sentence of StackOverflowNER.

`example_id` is "stackoverflow.com/<question_id>/<post>/<number>": post is "q" or, for the n-th
answer in the file, "a<n>"; number counts the sentences and taken-out blocks of the post, from 1.
Rows are in the order of the files. The files state no author, licence or time, and no id of an
answer; all of these are null. So is what `labeling.grounding` says of a sentence's place in a
corpus, until it does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from corpus.components import components
from corpus.dealing import split_by_digest
from corpus.documents import SPAN
from corpus.errors import SourceError
from corpus.manifest import Json
from corpus.recipe import SPLITS, SplitsSection
from labeling.conll import REJECT_REASONS, NerFile, Post, Sentence
from labeling.entities import (
    TYPES_BY_LIST,
    bio_to_spans,
    merge_type,
    select_types,
    spans_to_bio,
    to_character_spans,
    token_offsets,
)
from labeling.examples import EXAMPLE_SCHEMA
from labeling.recipe import BenchmarkSection, NerSection

Array = np.ndarray[Any, Any]

SITE = "stackoverflow.com"
# Shorter sentences ("Thanks !") are repeated by chance, and say nothing about a thread.
MIN_REPEATED_TOKENS = 5
# `type` is null where the recipe's list lacks it; an ill-formed entity had no B- in the file.
# `doc_start` and `doc_end` are its place in the text of the document `doc_id`.
ENTITY = pa.struct(
    [
        ("start", pa.int32()),
        ("end", pa.int32()),
        ("type", pa.string()),
        ("raw_type", pa.string()),
        ("is_ill_formed", pa.bool_()),
        ("doc_start", pa.int32()),
        ("doc_end", pa.int32()),
    ]
)
# `tags` of all examples are those of the post; so BIO tags are `ner_tags`, as elsewhere.
NER_SCHEMA = pa.schema(
    [
        *EXAMPLE_SCHEMA,
        ("tokens", pa.list_(pa.string())),
        ("ner_tags", pa.list_(pa.string())),
        ("markup", pa.list_(pa.string())),
        ("entities", pa.list_(ENTITY)),
        ("split_published", pa.string()),
        ("is_repeated", pa.bool_()),
        ("doc_id", pa.string()),
        ("doc_tokens", pa.list_(SPAN)),
    ]
)


class Examples(NamedTuple):
    """Examples (NER_SCHEMA), the split and the leakage group of each; rejects by reason."""

    table: pa.Table
    splits: pa.Array
    groups: pa.Array
    num_read: int
    rejected: dict[str, int]


def make_ner_examples(
    files: Sequence[NerFile], recipe: NerSection, benchmark: BenchmarkSection | None = None
) -> Examples:
    """Make one example of every sentence.

    Published splits are those of the files, and groups are threads. Resampled ones deal out groups
    by digest, where threads that share a sentence of five tokens or more are one.

    Args:
        files: of different threads, such as train and dev.
        recipe: which types, which splits.
        benchmark: salt and fractions of resampled splits; None: the defaults.

    Raises:
        SourceError: a thread is in the files twice.
    """
    _check_distinct(files)
    rows = [
        _make_row(post, sentence, file.split, recipe)
        for file in files
        for post in file.posts
        for sentence in post.sentences
    ]
    table = pa.Table.from_pylist(rows, NER_SCHEMA)
    if recipe.splits == "published":
        groups = pa.array([f"{SITE}/{thread}" for thread in table["thread_id"].to_pylist()])
        splits = table["split_published"].combine_chunks()
    else:
        groups = pa.array(group_examples(table), pa.string())
        splits = _deal(groups, benchmark or BenchmarkSection())
    is_repeated = pa.array(find_repeated(table, splits))
    table = table.set_column(NER_SCHEMA.get_field_index("is_repeated"), "is_repeated", is_repeated)
    rejected = {reason: sum(file.rejected[reason] for file in files) for reason in REJECT_REASONS}
    return Examples(table, splits, groups, sum(file.num_read for file in files), rejected)


def find_repeated(table: pa.Table, splits: pa.Array) -> Array:
    """Say which sentences of validation and test are, token for token, also in train.

    Returns:
        bool, shape (len(table),); False for those of train.
    """
    sentences, names = _sentences(table), splits.to_pylist()
    in_train = {one for one, name in zip(sentences, names, strict=True) if name == "train"}
    pairs = zip(sentences, names, strict=True)
    return np.array([name != "train" and one in in_train for one, name in pairs], bool)


def group_examples(table: pa.Table) -> list[str]:
    """Name the leakage group of each example after the oldest of its threads."""
    threads, place_of = np.unique(table["thread_id"].to_numpy(), return_inverse=True)
    first_place: dict[tuple[str, ...], int] = {}
    pairs = [
        (first_place.setdefault(sentence, int(place)), int(place))
        for sentence, place in zip(_sentences(table), place_of, strict=True)
        if len(sentence) >= MIN_REPEATED_TOKENS
    ]
    labels = components(len(threads), np.array(pairs, "i8").reshape(-1, 2))
    # A component is called by its smallest node, which is its oldest thread.
    return [f"{SITE}/{thread}" for thread in threads[labels][place_of].tolist()]


def describe_ner(examples: Examples) -> Json:
    """Count the examples by split: sentences, tokens, mentions under both lists, repeats.

    `mentions` counts what was repaired too, `mentions_well_formed` does not, as published counts.
    """
    splits = np.array(examples.splits.to_pylist(), object)
    by_split = {
        split: _describe_rows(examples.table.filter(pa.array(splits == split)))
        for split in SPLITS
        if (splits == split).any()
    }
    read = {"num_read": examples.num_read, "rejected": dict(examples.rejected)}
    return {**read, "splits": by_split}


def _describe_rows(table: pa.Table) -> Json:
    entities = table["entities"].to_pylist()
    mentions = [entity for sentence in entities for entity in sentence]
    lengths = [len(tokens) for tokens in _sentences(table)]
    is_repeated = table["is_repeated"].to_pylist()
    repeated = [length for length, is_it in zip(lengths, is_repeated, strict=True) if is_it]
    return {
        "threads": len(table["thread_id"].unique()),
        "sentences": len(table),
        "tokens": sum(lengths),
        "sentences_without_entity": sum(not sentence for sentence in entities),
        "mentions": len(mentions),
        "ill_formed": sum(entity["is_ill_formed"] for entity in mentions),
        "repeated": len(repeated),
        "repeated_5_tokens": sum(length >= MIN_REPEATED_TOKENS for length in repeated),
        "types": {name: _count_types(mentions, types) for name, types in TYPES_BY_LIST.items()},
    }


def _count_types(mentions: Sequence[Json], types: Sequence[str]) -> Json:
    listed = [entity for entity in mentions if merge_type(entity["raw_type"]) in types]
    by_type = Counter(merge_type(entity["raw_type"]) for entity in listed)
    return {
        "mentions": len(listed),
        "mentions_well_formed": sum(not entity["is_ill_formed"] for entity in listed),
        "by_type": {name: by_type[name] for name in types},
    }


def _check_distinct(files: Sequence[NerFile]) -> None:
    file_of: dict[int, str] = {}
    for file in files:
        for post in file.posts:
            if post.kind == "question" and post.question_id in file_of:
                raise SourceError(
                    f"{file.name}, line {post.line}, column 1: question {post.question_id} is in "
                    f"{file_of[post.question_id]} already; give each published file once"
                )
            file_of.setdefault(post.question_id, file.name)


def _deal(groups: pa.Array, benchmark: BenchmarkSection) -> pa.Array:
    section = SplitsSection(salt=benchmark.salt, fractions=benchmark.fractions)
    split_of = {name: split_by_digest(name, section) for name in groups.unique().to_pylist()}
    return pa.array([split_of[name] for name in groups.to_pylist()], pa.string())


def _make_row(post: Post, sentence: Sentence, split: str, recipe: NerSection) -> dict[str, Any]:
    offsets = token_offsets(sentence.tokens)
    text = " ".join(sentence.tokens)
    types = TYPES_BY_LIST[recipe.types]
    entities = bio_to_spans(sentence.tags)
    is_question = post.kind == "question"
    post_name = "q" if is_question else f"a{post.answer_number}"
    coded = to_character_spans(bio_to_spans(sentence.markup), offsets)
    return {
        "example_id": f"{SITE}/{post.question_id}/{post_name}/{sentence.number}",
        "site": SITE,
        "post_id": post.question_id if is_question else None,
        "thread_id": post.question_id,
        "text": text,
        "body_end": len(text),
        "segments": [{"kind": "prose", "start": 0, "end": len(text)}],
        "inline_code": [
            {"start": span.start, "end": span.end} for span in coded if span.type == "Code_Block"
        ],
        "raw_text": text,
        "link": post.url,
        "metadata": list(_metadata(post, sentence)),
        "tokens": sentence.tokens,
        "ner_tags": spans_to_bio(select_types(entities, types), len(sentence.tokens)),
        "markup": sentence.markup,
        "entities": [
            {
                "start": offsets[start][0],
                "end": offsets[end - 1][1],
                "type": merge_type(raw_type) if merge_type(raw_type) in types else None,
                "raw_type": raw_type,
                "is_ill_formed": start in sentence.ill_formed,
            }
            for start, end, raw_type in entities
        ],
        "split_published": split,
    }


def _metadata(post: Post, sentence: Sentence) -> Iterator[Json]:
    """Where the sentence is: what the probe of ids and order sees."""
    num_sentences = len(post.sentences) + len(post.placeholders)
    yield {"name": "answer_number", "value": float(post.answer_number)}
    yield {"name": "sentence_number", "value": float(sentence.number)}
    yield {"name": "num_sentences", "value": float(num_sentences)}


def _sentences(table: pa.Table) -> list[tuple[str, ...]]:
    return [tuple(tokens) for tokens in table["tokens"].to_pylist()]
