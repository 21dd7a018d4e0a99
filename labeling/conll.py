"""Reading the files of StackOverflowNER: four columns, one token a line.

A line is `word TAB tag TAB word TAB markup`; where labels are merged, single spaces stand for the
tabs of entities. A blank line, or one of a single TAB, ends a sentence. Tags are BIO; the markup
column says what the writer of the post had marked as code, output or keyboard input. Posts begin
with two sentences of their own kind, every answer after its question:

    Question_ID : 37985879              or  Answer_to_Question_ID : 37985879
    Question_URL : https://stackoverflow.com/questions/37985879/

The file gives no ids of answers: they are numbered in order. Blocks of code or output were taken
out before annotation; a sentence stands for each, `CODE_BLOCK : Q_4780 ( code omitted for
annotation )`. They are no text, so they become markers, and the two sentences of train that go on
into one are rejected, as by the loader of the published repository.

A file that is not so is refused whole: nothing is guessed but one thing, that an I- which continues
nothing is a B- (7 times in train, 3 in dev).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from corpus.errors import SourceError
from corpus.recipe import Split
from labeling.entities import KNOWN_TYPES, repair_bio

PostKind = Literal["question", "answer"]
BlockKind = Literal["code", "output"]
KIND_BY_HEADER: dict[str, PostKind] = {
    "Question_ID": "question",
    "Answer_to_Question_ID": "answer",
}
URL_HEADER = "Question_URL"
COLUMNS = ("word", "tag", "word", "markup")
KNOWN_TAGS = frozenset(
    ["O", *(f"{prefix}-{kind}" for prefix in ("B", "I") for kind in KNOWN_TYPES)]
)
REJECT_REASONS = (
    "placeholder",  # stands for a block that was taken out
    "mixed_placeholder",  # words that go on into such a block
)
PLACEHOLDER = re.compile(
    r"(?:^| )(?:CODE_BLOCK : (?:([QA]_\d+) )?\( code|OP_BLOCK : \( output)"
    r" omitted for annotation \)(?: |$)"
)


class Sentence(NamedTuple):
    """Tokens with their tags (BIO, repaired) and markup; token k is on line `line` + k.

    `number` counts the sentences and placeholders of the post, from 1; `ill_formed` are the tokens
    whose tag was repaired.
    """

    number: int
    line: int
    tokens: tuple[str, ...]
    tags: tuple[str, ...]
    markup: tuple[str, ...]
    ill_formed: tuple[int, ...]


class Placeholder(NamedTuple):
    """Where a block of code or output was: `name` as `Q_4780`, empty where the file has none.

    `num_words` that are no part of the placeholder were rejected with it.
    """

    number: int
    line: int
    kind: BlockKind
    name: str
    num_words: int


class Post(NamedTuple):
    """A question (`answer_number` 0), or one of its answers in the order of the file, from 1."""

    kind: PostKind
    question_id: int
    answer_number: int
    url: str
    line: int
    sentences: tuple[Sentence, ...]
    placeholders: tuple[Placeholder, ...]


class NerFile(NamedTuple):
    """A file's posts in order; sentences read = sentences of posts + rejected by reason.

    `num_header_tags` are annotations in header lines, which are no text.
    """

    name: str
    split: Split
    posts: tuple[Post, ...]
    num_read: int
    rejected: dict[str, int]
    num_header_tags: int


class _Block(NamedTuple):
    """The lines between two separators, by column."""

    line: int
    words: tuple[str, ...]
    tags: tuple[str, ...]
    markup: tuple[str, ...]


def read_ner_file(path: Path, split: Split) -> NerFile:
    """Read a file of StackOverflowNER, or of the same with merged labels.

    Args:
        path: UTF-8, with or without a byte order mark, lines ended by LF or CRLF.
        split: which of the published splits the file is.

    Raises:
        SourceError: the file is not such a file, or broken; names file, line and column.
    """
    blocks = list(_iter_blocks(path, _read_text(path)))
    starts = [place for place, block in enumerate(blocks) if _header_of(block) in KIND_BY_HEADER]
    if not blocks:
        raise _error(path, 1, "the file is empty")
    if not starts or starts[0] > 0:
        raise _error(path, blocks[0].line, "no Question_ID or Answer_to_Question_ID stands before")
    posts: list[Post] = []
    num_header_tags = 0
    for start, end in zip(starts, [*starts[1:], len(blocks)], strict=True):
        headers, bodies = blocks[start : start + 2], blocks[start + 2 : end]
        kind, question_id, url = _parse_headers(path, headers)
        number = _next_answer_number(path, headers[0].line, kind, question_id, posts)
        body = _parse_body(path, bodies)
        posts.append(Post(kind, question_id, number, url, headers[0].line, *body))
        num_header_tags += sum(tag != "O" for header in headers for tag in header.tags)
    return _finish(path, split, posts, num_header_tags)


def _finish(path: Path, split: Split, posts: list[Post], num_header_tags: int) -> NerFile:
    if not any(post.sentences for post in posts):
        raise _error(path, posts[0].line, "the file holds no sentence")
    reasons = Counter(
        "mixed_placeholder" if placeholder.num_words else "placeholder"
        for post in posts
        for placeholder in post.placeholders
    )
    num_read = sum(len(post.sentences) + len(post.placeholders) for post in posts)
    rejected = {reason: reasons[reason] for reason in REJECT_REASONS}
    return NerFile(path.name, split, tuple(posts), num_read, rejected, num_header_tags)


def _read_text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path}: not readable ({error.strerror}); check the path") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line_start = content.rfind(b"\n", 0, error.start) + 1
        column = 1 + len(re.findall(rb"[\t ]", content[line_start : error.start]))
        line = content.count(b"\n", 0, error.start) + 1
        raise _error(path, line, "bytes that are not UTF-8", column) from error


def _iter_blocks(path: Path, text: str) -> Iterator[_Block]:
    rows: list[list[str]] = []
    # Not splitlines(): a word may hold U+2028 or U+0085.
    lines = text.split("\n")
    for number, line in enumerate([*lines, ""], start=1):
        if line.strip():
            rows.append(_parse_line(path, number, line.removesuffix("\r")))
        elif rows:
            words, tags, _, markup = zip(*rows, strict=True)
            yield _Block(number - len(rows), words, tags, markup)
            rows = []


def _parse_line(path: Path, number: int, line: str) -> list[str]:
    fields = line.split("\t" if "\t" in line else " ")
    if len(fields) != len(COLUMNS):
        what = f"{len(fields)} columns where four belong ({', '.join(COLUMNS)})"
        raise _error(path, number, what, min(len(fields), len(COLUMNS)) + 1)
    word, tag, word_again, markup = fields
    if not word.strip() or " " in word:
        raise _error(path, number, f"{word!r} is no word", 1)
    for column, value in ((2, tag), (4, markup)):
        if value not in KNOWN_TAGS:
            is_tag = re.fullmatch(r"[BI]-\S+", value)
            what = "has an unknown type" if is_tag else "is not O, B-<type> or I-<type>"
            raise _error(path, number, f"tag {value!r} {what}", column)
    if word_again != word:
        raise _error(path, number, f"word {word_again!r} is not that of column 1, {word!r}", 3)
    return fields


def _header_of(block: _Block) -> str:
    """Return the word that makes a block a header, also of one that breaks off; else ""."""
    is_header = block.words[0] in (*KIND_BY_HEADER, URL_HEADER) and block.words[1:2] in ((":",), ())
    return block.words[0] if is_header else ""


def _parse_headers(path: Path, headers: Sequence[_Block]) -> tuple[PostKind, int, str]:
    """Return kind, question id and URL of a post."""
    first = headers[0]
    if len(first.words) != 3 or not re.fullmatch("[1-9][0-9]{0,11}", first.words[2]):
        raise _error(path, first.line, f"header {' '.join(first.words)!r} has no question id")
    question_id = int(first.words[2])
    url = f"https://stackoverflow.com/questions/{question_id}/"
    expected = (URL_HEADER, ":", url)
    if len(headers) < 2 or headers[1].words != expected:
        line = headers[-1].line
        raise _error(
            path, line, f"header {' '.join(expected)!r} does not follow its {first.words[0]}"
        )
    return KIND_BY_HEADER[first.words[0]], question_id, url


def _next_answer_number(
    path: Path, line: int, kind: PostKind, question_id: int, posts: Sequence[Post]
) -> int:
    if kind == "question":
        return 0
    if not posts or posts[-1].question_id != question_id:
        raise _error(path, line, f"an answer to {question_id} does not follow that question")
    return posts[-1].answer_number + 1


def _parse_body(
    path: Path, blocks: Sequence[_Block]
) -> tuple[tuple[Sentence, ...], tuple[Placeholder, ...]]:
    sentences: list[Sentence] = []
    placeholders: list[Placeholder] = []
    for number, (line, words, raw_tags, markup) in enumerate(blocks, start=1):
        if _header_of(blocks[number - 1]):
            raise _error(path, line, f"a header {words[0]} in the middle of a post")
        found = PLACEHOLDER.search(" ".join(words))
        if found:
            num_words = len(words) - len(found[0].split())
            kind: BlockKind = "code" if "CODE_BLOCK" in found[0] else "output"
            placeholders.append(Placeholder(number, line, kind, found[1] or "", num_words))
            continue
        tags, places = repair_bio(raw_tags)
        sentences.append(Sentence(number, line, words, tuple(tags), markup, tuple(places)))
    return tuple(sentences), tuple(placeholders)


def _error(path: Path, line: int, what: str, column: int = 1) -> SourceError:
    return SourceError(
        f"{path}, line {line}, column {column}: {what}; use the file as StackOverflowNER has it"
    )
