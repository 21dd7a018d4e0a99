"""Whole dumps of any size from real ones: ids shifted, words exchanged, and nothing invented.

A tile is a copy of the source, all its sites, with two changes:

    ids      of posts, users and rows are shifted, so threads, comments, events, links and names of
             a tile belong together as in the source, and no id is given twice
    words    each tile maps the source's words one to one to words of the same length and of
             about the same frequency, and numbers likewise, in title, body and text, code
             included; tags of HTML, names with digits or mixed case, words of one or two letters
             and of more than fifteen stay

A map of words that is one to one leaves every similarity inside a tile as it is: near-duplicates
occur at the source's own rate, in clusters of the source's own size, whatever the number of tiles.
Two tiles map a word differently, so that a post and its copy are not alike, but for the few without
words (three of 5,958 posts: "No.", and two images). Each tile's words are as frequent and as varied
as the source's. The first tile is the source itself.

What tiles do not show: tags, names and times do not grow in number, nor the vocabulary, nor the
largest cluster or leakage group.

The source is held in memory, about seven times its bytes; a dump is written a table of a site at a
time, and never held.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from html import unescape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from corpus.dump import TABLES, DumpTable
from corpus.errors import DumpError

SITE = "tiled.example.org"
# Words that are swapped are at least so many; of the rarest, twice as many a class as before.
SMALLEST_CLASS = 8
SEED = 1
HEAD = '\ufeff<?xml version="1.0" encoding="utf-8"?>\r\n<{root}>\r\n'

# Ten digits have only the posts that were planted in 2025; they keep their ids.
_ID = re.compile(
    rb' (Id|PostId|ParentId|AcceptedAnswerId|RelatedPostId|UserId|OwnerUserId|LastEditorUserId)="'
    rb'(\d{1,9})"'
)
_TEXT = re.compile(rb' (?:Body|Title|Text)="([^"]*)"')
_BODY = re.compile(rb' Body="([^"]*)"')
# HTML tags and references are passed over; a word is a whole token (`corpus.shingles`).
_WORD = re.compile(
    rb"&lt;[^<]{0,400}?&gt;|&(?:amp;)*#?\w+;|"
    rb"(?<![A-Za-z0-9_\x80-\xff])([A-Z][a-z]{2,14}|[a-z]{3,15}|[A-Z]{3,15}|[0-9]{2,15})(?![A-Za-z0-9_\x80-\xff])"
)
_LOWER = np.uint8(0x20)

Array = np.ndarray[Any, Any]
# Only words of one shape are swapped: of one length, and numbers for numbers.
Shape = tuple[int, bool]


class Words(NamedTuple):
    """The words of one shape in a block: where each starts, and its place in the vocabulary."""

    starts: Array
    codes: Array


class Block(NamedTuple):
    """One table of one site: its rows, and what of them a tile changes.

    `ids` has a row an id: where it begins and ends, its value, and the place in `steps` of what it
    is an id of. `steps` names these.
    """

    table: str
    site: str
    rows: bytes
    num_rows: int
    ids: Array
    words: Mapping[Shape, Words]


class Source(NamedTuple):
    """What is tiled: its blocks, the words of each shape, and how far ids are apart.

    `letters` is uint8, shape (words, length), lower case, most frequent first. `first` is what is
    added to the ids of a kind in a site, and `step` what is added again a tile.
    """

    blocks: Sequence[Block]
    letters: Mapping[Shape, Array]
    first: Mapping[tuple[str, str], int]
    step: Mapping[str, int]
    num_bytes: int
    num_posts: int
    post_characters: int


ID_KINDS = ("post", "user", "Comments", "PostHistory", "PostLinks")


def read_source(tables: Sequence[DumpTable]) -> Source:
    """Read the tables to tile, of one or more sites.

    Raises:
        DumpError: a table is in an archive, or has no row.
    """
    found = [_read_rows(table) for table in tables]
    counts = Counter[bytes]()
    for _, rows, _ in found:
        counts.update(word.lower() for _, word in _iter_words(rows))
    by_shape: dict[Shape, list[bytes]] = {}
    # Ties by the word itself: what a word becomes follows from the source alone.
    for word in sorted(counts, key=lambda word: (-counts[word], word)):
        by_shape.setdefault(_shape(word), []).append(word)
    code_of = {word: code for words in by_shape.values() for code, word in enumerate(words)}
    blocks = [
        Block(
            table.table, table.site, rows, num, _find_ids(rows, table), _find_words(rows, code_of)
        )
        for table, rows, num in found
    ]
    first, step = _space_ids(blocks)
    letters = {
        shape: np.frombuffer(b"".join(words), "u1").reshape(-1, shape[0])
        for shape, words in sorted(by_shape.items())
    }
    posts = [block for block in blocks if block.table == "Posts"]
    return Source(
        blocks,
        letters,
        first,
        step,
        sum(len(block.rows) for block in blocks),
        sum(block.num_rows for block in posts),
        sum(len(unescape(b.decode())) for block in posts for b in _BODY.findall(block.rows)),
    )


def write_tiles(source: Source, folder: Path, num_tiles: int) -> int:
    """Write a dump of one site, `folder/<SITE>/<Table>.xml`; return its bytes.

    The same source and number give the same bytes, and the tiles of a small dump are the first of
    a large one.
    """
    (folder / SITE).mkdir(parents=True)
    num_bytes = 0
    for table in TABLES:
        blocks = [block for block in source.blocks if block.table == table]
        with (folder / SITE / f"{table}.xml").open("wb") as file:
            num_bytes += file.write(HEAD.format(root=table.lower()).encode())
            for tile in range(num_tiles):
                letters = exchange_words(source.letters, tile)
                for block in blocks:
                    num_bytes += file.write(make_rows(source, block, letters, tile))
            num_bytes += file.write(f"</{table.lower()}>".encode())
    return num_bytes


def exchange_words(letters: Mapping[Shape, Array], tile: int) -> dict[Shape, Array]:
    """Return what a tile writes for each word: the words of each shape, in another order."""
    if not tile:
        return dict(letters)
    generator = np.random.default_rng([SEED, tile])
    return {
        shape: words[np.lexsort((generator.random(len(words)), frequency_classes(len(words))))]
        for shape, words in letters.items()
    }


def frequency_classes(num_words: int) -> Array:
    """Return the class of each word by its rank; words of one class are about as frequent.

    >>> np.bincount(frequency_classes(60)).tolist()
    [8, 16, 36]
    """
    ranks = np.arange(num_words)
    classes = np.log2(ranks // SMALLEST_CLASS + 1).astype("i8")
    # The last class is what is left; with the one before it, where it is less than that.
    sizes = np.bincount(classes, minlength=2)
    if sizes[-1] < sizes[-2]:
        classes = np.minimum(classes, len(sizes) - 2)
    return classes


def make_rows(source: Source, block: Block, letters: Mapping[Shape, Array], tile: int) -> bytes:
    """Return the rows of one block in a tile, whose words are `letters`."""
    content = np.frombuffer(block.rows, "u1").copy()
    for shape, (starts, codes) in block.words.items():
        places = starts[:, None] + np.arange(shape[0])
        # `Thanks` stays a capitalised word. Digits have the bit of lower case.
        content[places] = (letters[shape][codes] & ~_LOWER) | (content[places] & _LOWER)
    shifts = [source.first[block.site, kind] + tile * source.step[kind] for kind in ID_KINDS]
    begins, ends, values, kinds = block.ids.T
    ids = (values + np.array(shifts)[kinds]).tolist()
    rows = content.tobytes()
    cuts = zip([0, *ends.tolist()], [*begins.tolist(), len(rows)], strict=True)
    pieces = [b""] * (2 * len(ids) + 1)
    pieces[::2] = [rows[begin:end] for begin, end in cuts]
    pieces[1::2] = map(b"%d".__mod__, ids)
    return b"".join(pieces)


def _read_rows(table: DumpTable) -> tuple[DumpTable, bytes, int]:
    if table.member:
        raise DumpError(f"{table.path} is an archive; unpack it, and give the folder with --dump")
    lines = (line.strip() for line in table.path.read_bytes().split(b"\n"))
    rows = [line for line in lines if line.startswith(b"<row ") and line.endswith(b"/>")]
    if not rows:
        raise DumpError(f"{table.path} has no row; give another folder with --dump")
    return table, b"".join(b"  %s\r\n" % row for row in rows), len(rows)


def _iter_words(rows: bytes) -> Iterator[tuple[int, bytes]]:
    for text in _TEXT.finditer(rows):
        for found in _WORD.finditer(rows, text.start(1), text.end(1)):
            if found[1]:
                yield found.start(1), found[1]


def _find_words(rows: bytes, code_of: Mapping[bytes, int]) -> dict[Shape, Words]:
    starts: dict[Shape, list[int]] = {}
    codes: dict[Shape, list[int]] = {}
    for start, word in _iter_words(rows):
        starts.setdefault(_shape(word), []).append(start)
        codes.setdefault(_shape(word), []).append(code_of[word.lower()])
    return {shape: Words(np.array(starts[shape]), np.array(codes[shape])) for shape in starts}


def _shape(word: bytes) -> Shape:
    return len(word), word.isdigit()


def _find_ids(rows: bytes, table: DumpTable) -> Array:
    found = [
        (*match.span(2), int(match[2]), ID_KINDS.index(_id_kind(match[1].decode(), table.table)))
        for match in _ID.finditer(rows)
    ]
    return np.array(found, "i8").reshape(-1, 4)


def _id_kind(attribute: str, table: str) -> str:
    """Return what an id is of: a post, a user, or a row of the table.

    >>> [_id_kind(*one) for one in (("Id", "Posts"), ("Id", "PostLinks"), ("UserId", "Comments"))]
    ['post', 'PostLinks', 'user']
    """
    if attribute == "Id":
        return {"Posts": "post", "Users": "user"}.get(table, table)
    return "user" if attribute.endswith("UserId") else "post"


def _space_ids(blocks: Sequence[Block]) -> tuple[dict[tuple[str, str], int], dict[str, int]]:
    """Return the first id of each kind in each site, less its own, and of each kind in a tile."""
    largest: dict[tuple[str, str], int] = {}
    for block in blocks:
        for place, kind in enumerate(ID_KINDS):
            values = block.ids[block.ids[:, 3] == place, 2]
            key = (block.site, kind)
            largest[key] = max(largest.get(key, 0), int(values.max(initial=0)))
    first, step = {}, dict.fromkeys(ID_KINDS, 0)
    for site, kind in sorted(largest):
        first[site, kind] = step[kind]
        step[kind] += largest[site, kind]
    return first, step
