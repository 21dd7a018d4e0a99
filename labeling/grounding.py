"""Where annotated sentences stand in the documents of a corpus.

The published files have the words of a post as annotators' tools cut them, without its blocks of
code, and no id of an answer. Of the posts that a corpus has, examples say more:

    doc_id               the document that the post is
    doc_tokens           where each token is in the document's `text`; null: it was not found
    doc_start, doc_end   of an entity; null: it was not found whole, or stands there in two parts

A question is the document of its id. An answer is that answer of its thread in which most of its
tokens are found: half of them at least, more than in any other document, and more than of any
other answer; else it is none. Comments are not searched: the annotators did not see them.

`document_labels` and `document_words` are what `alignment.align_labels` needs to label the text of
a document for any tokenizer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from corpus.documents import body_texts
from corpus.errors import BadValue, IntegrityError
from corpus.manifest import Json
from corpus.recipe import SPLITS
from corpus.store import Artifact
from labeling.alignment import LOOK_ALIKES, Offset, place_sentences
from labeling.entities import Entity, token_offsets
from labeling.ner import NER_SCHEMA, SITE, Examples

FOLDER = f"documents/{SITE}/"
QUESTION = "q"  # what a question is called in the ids of its sentences
COLUMNS = ("doc_id", "thread_id", "kind", "text", "body_end")
COUNTS = ("posts", "posts_grounded", "tokens", "tokens_placed", "entities", "entities_placed")

Array = np.ndarray[Any, Any]


class Document(NamedTuple):
    """One post of a corpus; `text` is without its comments."""

    doc_id: str
    kind: str
    text: str


class Grounded(NamedTuple):
    """A post whose document is known, and where the tokens of each of its sentences are."""

    document: Document
    offsets: list[list[Offset | None]]


def has_site(documents: Artifact) -> bool:
    """Tell whether a corpus has documents of the site that the annotated posts are of."""
    return bool(documents.files(FOLDER))


def ground_examples(examples: Examples, documents: Artifact) -> Examples:
    """Say of each sentence where it stands in the corpus; all else stays as it is.

    Args:
        examples: as `make_ner_examples` makes them.
        documents: the corpus's artifact of that stage.

    Raises:
        IntegrityError: a file of the documents is damaged.
    """
    rows = examples.table.select(["example_id", "thread_id", "tokens", "entities"]).to_pylist()
    places: dict[int, dict[str, list[int]]] = {}
    for place, row in enumerate(rows):
        post = row["example_id"].split("/")[2]
        places.setdefault(row["thread_id"], {}).setdefault(post, []).append(place)
    there = read_threads(documents, np.array(sorted(places), "i8"))
    for row in rows:
        row.update(doc_id=None, doc_tokens=None)
    for thread_id, found in there.items():
        by_post = places[thread_id]
        posts = {name: [rows[n]["tokens"] for n in numbers] for name, numbers in by_post.items()}
        for name, grounded in ground_thread(posts, found).items():
            for number, offsets in zip(by_post[name], grounded.offsets, strict=True):
                _ground_row(rows[number], grounded.document, offsets)
    return examples._replace(table=_replace_columns(examples.table, rows))


def read_threads(documents: Artifact, thread_ids: Array) -> dict[int, list[Document]]:
    """Read the documents of some threads, in the order of the files.

    Args:
        documents: the artifact of a corpus.
        thread_ids: int64, ascending.

    Returns:
        The documents of each thread that has any.
    """
    found: dict[int, list[Document]] = {}
    for entry in documents.files(FOLDER):
        rows = _read_rows(documents.path(entry.name), thread_ids)
        columns = (rows[name].to_pylist() for name in ("thread_id", "doc_id", "kind"))
        for thread_id, doc_id, kind, text in zip(*columns, body_texts(rows), strict=True):
            found.setdefault(thread_id, []).append(Document(doc_id, kind, text))
    return found


def ground_thread(
    posts: Mapping[str, Sequence[Sequence[str]]], documents: Sequence[Document]
) -> dict[str, Grounded]:
    """Find the document of each post of a thread.

    Args:
        posts: sentences, each its tokens, by "q" or "a<n>".
        documents: those of the thread.

    Returns:
        By the same names, the posts that have one.
    """
    grounded: dict[str, Grounded] = {}
    for document in documents:
        if document.kind == "question" and QUESTION in posts:
            offsets = place_sentences(posts[QUESTION], document.text).offsets
            grounded[QUESTION] = Grounded(document, offsets)
    names = [name for name in posts if name != QUESTION]
    answers = [document for document in documents if document.kind == "answer"]
    placed = [[place_sentences(posts[name], one.text) for one in answers] for name in names]
    counts = [[placement.num_placed for placement in row] for row in placed]
    totals = [sum(map(len, posts[name])) for name in names]
    for name, row, place in zip(names, placed, match_answers(counts, totals), strict=True):
        if place is not None:
            grounded[name] = Grounded(answers[place], row[place].offsets)
    return grounded


def match_answers(
    num_placed: Sequence[Sequence[int]], num_tokens: Sequence[int]
) -> list[int | None]:
    """Return the document of each annotated answer, or None.

    Args:
        num_placed: of each answer, how many of its tokens are in each document.
        num_tokens: how many it has.

    >>> match_answers([[9, 2], [3, 3], [1, 8], [0, 6]], [10, 4, 8, 6])
    [0, None, 1, None]
    """
    matched: list[int | None] = []
    for counts, total in zip(num_placed, num_tokens, strict=True):
        most = max(counts, default=0)
        is_found = 0 < total <= 2 * most and counts.count(most) == 1
        matched.append(counts.index(most) if is_found else None)
    for document in sorted({place for place in matched if place is not None}):
        rivals = [answer for answer, place in enumerate(matched) if place == document]
        counts = [num_placed[answer][document] for answer in rivals]
        for answer, count in zip(rivals, counts, strict=True):
            if count < max(counts) or counts.count(count) > 1:
                matched[answer] = None
    return matched


def describe_grounding(examples: Examples) -> Json:
    """Count by split what the corpus has: posts (of one sentence at least), tokens, entities."""
    names = ("example_id", "doc_id", "doc_tokens", "tokens", "entities")
    splits = examples.splits.to_pylist()
    totals: dict[str, dict[str, int]] = {s: dict.fromkeys(COUNTS, 0) for s in SPLITS if s in splits}
    seen: set[str] = set()
    for row, split in zip(examples.table.select(names).to_pylist(), splits, strict=True):
        post = row["example_id"].rpartition("/")[0]
        is_new, is_grounded = post not in seen, row["doc_id"] is not None
        seen.add(post)
        counts = (
            is_new,
            is_new and is_grounded,
            len(row["tokens"]),
            sum(token is not None for token in row["doc_tokens"] or ()),
            len(row["entities"]),
            sum(entity["doc_start"] is not None for entity in row["entities"]),
        )
        for name, count in zip(COUNTS, counts, strict=True):
            totals[split][name] += count
    return totals


def document_labels(examples: Sequence[Json], text: str) -> list[Entity]:
    """Return the entities of a document, over the characters of its text, in order.

    Those that were not found in the text, or whose type the recipe's list lacks, are left out.

    Args:
        examples: rows of the benchmark that have one `doc_id`.
        text: of this document, with or without its comments.

    Raises:
        BadValue: the examples are not of one document, or the text is not that document's.

    >>> entity = {"start": 4, "end": 6, "type": "Language", "doc_start": 3, "doc_end": 5}
    >>> row = {"doc_id": "x.org/1", "text": "Use C#", "entities": [entity]}
    >>> document_labels([row], "In C#, use")
    [Entity(start=3, end=5, type='Language')]
    """
    _check_one(examples)
    found = []
    for row in examples:
        for entity in row["entities"]:
            start, end = entity["doc_start"], entity["doc_end"]
            if entity["type"] is None or start is None:
                continue
            words = row["text"][entity["start"] : entity["end"]]
            if _without_space(words) != _without_space(text[start:end]):
                raise BadValue(
                    f"{row['doc_id']} has {words!r} at {start}:{end}, this text "
                    f"{text[start:end]!r}; give its text in the corpus that the benchmark names"
                )
            found.append(Entity(start, end, entity["type"]))
    return sorted(found)


def document_words(examples: Sequence[Json]) -> list[Offset]:
    """Return the words of a document that have a label: `words` of `alignment.align_labels`.

    All else was never annotated (blocks of code, the title, what was edited since), or is what is
    left of an entity that was not found whole: it is no O.

    Raises:
        BadValue: the examples are not of one document.
    """
    _check_one(examples)
    words = []
    for row in examples:
        lost = [one for one in row["entities"] if one["type"] and one["doc_start"] is None]
        spans = token_offsets(row["tokens"])
        for (start, _), offset in zip(spans, row["doc_tokens"], strict=True):
            if offset and not any(one["start"] <= start < one["end"] for one in lost):
                words.append((offset["start"], offset["end"]))
    return sorted(words)


def _check_one(examples: Sequence[Json]) -> None:
    doc_ids = sorted({row["doc_id"] or "no document" for row in examples})
    if len(doc_ids) > 1 or "no document" in doc_ids:
        raise BadValue(f"the examples are of {', '.join(doc_ids)}; give those of one document")


def _without_space(text: str) -> str:
    return "".join(text.translate(LOOK_ALIKES).split())


def _ground_row(row: Json, document: Document, offsets: Sequence[Offset | None]) -> None:
    row["doc_id"] = document.doc_id
    row["doc_tokens"] = [
        None if offset is None else {"start": offset[0], "end": offset[1]} for offset in offsets
    ]
    spans = token_offsets(row["tokens"])
    for entity in row["entities"]:
        inside = zip(spans, offsets, strict=True)
        own = [there for (start, _), there in inside if entity["start"] <= start < entity["end"]]
        if place := _join(own, document.text):
            entity["doc_start"], entity["doc_end"] = place


def _join(offsets: Sequence[Offset | None], text: str) -> Offset | None:
    """Return the span of tokens that were all found with nothing but white space between them."""
    found = [offset for offset in offsets if offset]
    if len(found) < len(offsets):
        return None
    is_whole = all(not text[one[1] : other[0]].strip() for one, other in pairwise(found))
    return (found[0][0], found[-1][1]) if is_whole else None


def _replace_columns(table: pa.Table, rows: Sequence[Json]) -> pa.Table:
    for name in ("doc_id", "doc_tokens", "entities"):
        field = NER_SCHEMA.field(name)
        values = pa.array([row[name] for row in rows], field.type)
        table = table.set_column(table.schema.get_field_index(name), field, values)
    return table


def _read_rows(path: Path, thread_ids: Array) -> pa.Table:
    """Read the rows of some threads from the row groups that may have any."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            numbers = range(file.num_row_groups)
            groups = [n for n in numbers if _may_hold(file.metadata.row_group(n), thread_ids)]
            rows = file.read_row_groups(groups, columns=list(COLUMNS))
    except (OSError, pa.ArrowException) as error:
        raise IntegrityError(
            f"{path} cannot be read ({error}); delete its artifact's folder and build again"
        ) from error
    return rows.filter(pc.is_in(rows["thread_id"], pa.array(thread_ids)))


def _may_hold(group: Any, thread_ids: Array) -> bool:
    """Tell by its statistics whether a row group may have rows of these threads."""
    columns = (group.column(number) for number in range(group.num_columns))
    bounds = next(one.statistics for one in columns if one.path_in_schema == "thread_id")
    if bounds is None or not bounds.has_min_max:
        return True
    first = np.searchsorted(thread_ids, bounds.min)
    return bool(first < len(thread_ids) and thread_ids[first] <= bounds.max)
