"""Carrying labels from one cutting of a text to another.

`align_labels` and `read_entities` go from entities to the pieces of a tokenizer and back, given
where each piece is in the text: `tokenizers` says so itself, for SentencePiece `piece_offsets`
finds out. `place_sentences` finds annotated tokens again in the text of a corpus document, which
has its own white space, code blocks that annotators never saw, and edits made since.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from difflib import Match, SequenceMatcher
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from corpus.errors import BadValue
from corpus.vocabulary import FIRST_BYTE_ID, FIRST_LEARNED_ID, Tokenizer
from labeling.entities import Entity, bio_to_spans

Offset = tuple[int, int]
ATOM = re.compile(r"\w+|[^\w\s]")
# Shorter runs are found anywhere, above all in code: they count only this near to longer ones.
MIN_RUN = 3
# What annotators' tools or an editor write in another way: one character for one.
LOOK_ALIKES = str.maketrans("‘’`´“”–—−", "''''\"\"---")


class Alignment(NamedTuple):
    """Labels of pieces (None: ignored), and how many entities they do not show as they are.

    `num_lost` have no piece of their own; `num_straddling` share one with other text.
    """

    labels: list[str | None]
    num_lost: int
    num_straddling: int


class Placement(NamedTuple):
    """Where each token of each sentence is in the text; None where it could not be placed."""

    offsets: list[list[Offset | None]]
    num_tokens: int
    num_placed: int
    num_whole_sentences: int


def trim_offsets(offsets: Sequence[Offset | None], text: str) -> list[Offset | None]:
    """Take white space off both ends of every piece; one of white space alone becomes None.

    >>> trim_offsets([(0, 3), (3, 4), (4, 8), None], "for  all")
    [(0, 3), None, (5, 8), None]
    """
    trimmed: list[Offset | None] = []
    for offset in offsets:
        start, end = offset or (0, 0)
        piece = text[start:end]
        start += len(piece) - len(piece.lstrip())
        trimmed.append((start, start + len(piece.strip())) if piece.strip() else None)
    return trimmed


def piece_offsets(
    tokenizer: Tokenizer, ids: Sequence[int] | npt.NDArray[np.integer[Any]], text: str
) -> list[Offset | None]:
    """Return where in the text each of its pieces is, white space included.

    A character that is several byte pieces is where each of them is. Special ids are None.

    Raises:
        BadValue: the pieces are not those of the text.

    >>> from corpus.vocabulary import train_vocabulary
    >>> tokenizer = Tokenizer(train_vocabulary(["to be or not to be"], vocabulary_size=300)[0])
    >>> piece_offsets(tokenizer, [2, *tokenizer.encode("to bé"), 3], "to bé")
    [None, (0, 2), (2, 4), (4, 5), (4, 5), None]
    """
    pieces = [_piece_bytes(tokenizer, int(piece_id)) for piece_id in ids]
    content = text.encode()
    if b"".join(pieces) != content:
        raise BadValue(f"these {len(pieces)} pieces do not make the text; give the ids of this one")
    # The character that each byte is of.
    characters = np.cumsum((np.frombuffer(content, "u1") & 0xC0) != 0x80) - 1
    ends = np.cumsum([len(piece) for piece in pieces]).tolist()
    return [
        (int(characters[end - len(piece)]), int(characters[end - 1]) + 1) if piece else None
        for piece, end in zip(pieces, ends, strict=True)
    ]


def _piece_bytes(tokenizer: Tokenizer, piece_id: int) -> bytes:
    """Return the UTF-8 of a piece, which may be a part of a character; nothing of special ones."""
    if FIRST_BYTE_ID <= piece_id < FIRST_LEARNED_ID:
        return bytes([piece_id - FIRST_BYTE_ID])
    return b"" if piece_id < FIRST_BYTE_ID else tokenizer.decode([piece_id]).encode()


def align_labels(
    entities: Sequence[Entity],
    offsets: Sequence[Offset | None],
    words: Sequence[Offset] | None = None,
) -> Alignment:
    """Return the BIO label of every piece.

    A piece has the label of the entity that most of its characters are of, the first of equals.
    With `words` the first piece of each word has that of the word, and all others have none.

    Args:
        entities: over the characters of the text, in order, without overlap.
        offsets: of the pieces in order, trimmed (`trim_offsets`); None or empty for special ones.
        words: where the words are, in order, without overlap.

    >>> entities, offsets = [Entity(4, 11, "Class")], [None, (0, 3), (4, 8), (8, 11), None]
    >>> align_labels(entities, offsets).labels
    [None, 'O', 'B-Class', 'I-Class', None]
    >>> align_labels(entities, offsets, words=[(0, 3), (4, 11)]).labels
    [None, 'O', 'B-Class', None, None]
    """
    labels: list[str | None] = []
    is_shown, is_straddled = [False] * len(entities), [False] * len(entities)
    ends = [entity.end for entity in entities]
    for region in _labelled_regions(offsets, words):
        if region is None:
            labels.append(None)
            continue
        best, most = -1, 0
        for place in range(bisect_right(ends, region[0]), len(entities)):
            start, end, _ = entities[place]
            if start >= region[1]:
                break
            shared = min(end, region[1]) - max(start, region[0])
            is_straddled[place] |= shared < region[1] - region[0]
            best, most = (place, shared) if shared > most else (best, most)
        if best < 0:
            labels.append("O")
            continue
        labels.append(f"{'I' if is_shown[best] else 'B'}-{entities[best].type}")
        is_shown[best] = True
    return Alignment(labels, is_shown.count(False), is_straddled.count(True))


def read_entities(
    labels: Sequence[str | None],
    offsets: Sequence[Offset | None],
    words: Sequence[Offset] | None = None,
) -> list[Entity]:
    """Return the entities that labels of pieces say; with `words`, of whole words.

    The inverse of `align_labels` where no entity is lost or straddled.

    >>> read_entities([None, "O", "B-Class", "I-Class"], [None, (0, 3), (4, 8), (8, 11)])
    [Entity(start=4, end=11, type='Class')]
    """
    regions = _labelled_regions(offsets, words)
    found = [
        (label, region)
        for label, region in zip(labels, regions, strict=True)
        if label is not None and region is not None
    ]
    return [
        Entity(found[start][1][0], found[end - 1][1][1], kind)
        for start, end, kind in bio_to_spans([label for label, _ in found])
    ]


def _labelled_regions(
    offsets: Sequence[Offset | None], words: Sequence[Offset] | None
) -> list[Offset | None]:
    """Return what the label of each piece speaks of: the piece, or the word that it begins."""
    given = [offset if offset and offset[0] < offset[1] else None for offset in offsets]
    if words is None:
        return given
    regions: list[Offset | None] = []
    word = 0
    for offset in given:
        begins = offset is not None and word < len(words) and words[word][0] < offset[1]
        regions.append(words[word] if begins else None)
        while offset is not None and word < len(words) and words[word][0] < offset[1]:
            word += 1
    return regions


def place_sentences(sentences: Sequence[Sequence[str]], text: str) -> Placement:
    """Find the tokens of a post's sentences, in order, in the text of its document.

    Both are cut into words and single marks, so that neither white space nor the annotators'
    tokenizer matters; common runs are taken, the longest first, and what is between two of them is
    compared by character. A token is placed whole or not at all.

    >>> place_sentences([["Do", "n't", "use", "foo()", "."]], "Hi!  Don't use\\n`foo()`.").offsets
    [[(5, 7), (7, 10), (11, 14), (16, 21), (22, 23)]]
    """
    joined = " ".join(token for sentence in sentences for token in sentence)
    places = _match_characters(joined.translate(LOOK_ALIKES), text.translate(LOOK_ALIKES))
    offsets: list[list[Offset | None]] = []
    start = 0
    for sentence in sentences:
        offsets.append([])
        for token in sentence:
            offsets[-1].append(_find_span(places[start : start + len(token)], text))
            start += len(token) + 1
    is_placed = [[offset is not None for offset in sentence] for sentence in offsets]
    num_tokens, num_placed = sum(map(len, is_placed)), sum(map(sum, is_placed))
    return Placement(offsets, num_tokens, num_placed, sum(map(all, is_placed)))


def _find_span(places: Sequence[int], text: str) -> Offset | None:
    """Return the span of a token's characters where nothing but white space is between them."""
    if not places or min(places) < 0:
        return None
    start, end = places[0], places[-1] + 1
    return (start, end) if len("".join(text[start:end].split())) == len(places) else None


def _match_characters(given: str, text: str) -> list[int]:
    """Return for each character of `given` its place in `text`, or -1."""
    mine, theirs = ([match.span() for match in ATOM.finditer(one)] for one in (given, text))
    atoms = [[one[a:b] for a, b in spans] for one, spans in ((given, mine), (text, theirs))]
    mine.append((len(given), len(given)))
    theirs.append((len(text), len(text)))
    places = [-1] * len(given)
    start, other = 0, 0
    for run in _find_runs(atoms[0], atoms[1]):
        _match_gap(places, given, text, (start, mine[run.a][0]), (other, theirs[run.b][0]))
        for step in range(run.size):
            (start, end), other = mine[run.a + step], theirs[run.b + step][0]
            places[start:end] = range(other, other + end - start)
        if run.size:
            start, other = mine[run.a + run.size - 1][1], theirs[run.b + run.size - 1][1]
    return places


def _find_runs(mine: list[str], theirs: list[str]) -> Iterator[Match]:
    """Iterate over equal runs that count, and last over the empty one at both ends."""
    matcher = SequenceMatcher(None, mine, theirs, autojunk=False)
    runs = [Match(0, 0, 0), *matcher.get_matching_blocks()]
    for place in range(1, len(runs)):
        run = runs[place]
        is_near = _distance(runs[place - 1], run) <= _reach(runs[place - 1]) or any(
            _distance(run, later) <= _reach(later) for later in runs[place + 1 : place + 2]
        )
        if run.size >= MIN_RUN or not run.size or is_near:
            yield run


def _distance(run: Match, later: Match) -> int:
    return max(later.a - run.a, later.b - run.b) - run.size


def _reach(run: Match) -> int:
    """Return how far from a run a short one counts; the empty runs are both ends of both."""
    if run.size >= MIN_RUN:
        return MIN_RUN
    return 0 if not run.size else -1


def _match_gap(places: list[int], given: str, text: str, gap: Offset, other_gap: Offset) -> None:
    """Place what is between two runs where it is, white space aside, at an end of its gap."""
    mine = [place for place in range(*gap) if not given[place].isspace()]
    theirs = [place for place in range(*other_gap) if not text[place].isspace()]
    if not mine or len(mine) > len(theirs):
        return
    for found in (theirs[: len(mine)], theirs[-len(mine) :]):
        is_same = all(given[a] == text[b] for a, b in zip(mine, found, strict=True))
        if is_same and _is_boundary(text, found[0]) and _is_boundary(text, found[-1] + 1):
            for place, there in zip(mine, found, strict=True):
                places[place] = there
            return


def _is_boundary(text: str, place: int) -> bool:
    """Tell whether a word could begin or end here."""
    return not (text[max(place - 1, 0) : place].isalnum() and text[place : place + 1].isalnum())
