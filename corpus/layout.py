"""How a post reads as one string: its title, its body and its comments, marked by spans.

    text        title, the segments of the body, and each comment, joined by one blank line
    title       plain text as it is; parsed as HTML, it would lose `List<String>`
    body        prose and code as they alternate, as `corpus.segments` makes them
    comment     its mini-Markdown as it is, one segment each
    spans       start and end, in code points of the text

`text[:body_end]` is the post without its comments.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

from corpus.comments import mark_comment
from corpus.segments import split_body

SEPARATOR = "\n\n"

# Plain tuples: Arrow takes them nine times as fast as named ones.
Segment: TypeAlias = tuple[str, int, int, str | None, int | None]
Span: TypeAlias = tuple[int, int]
LinkSpan: TypeAlias = tuple[int, int, str]


class Layout(NamedTuple):
    """One text and its spans, in the order of the text."""

    text: str
    body_end: int
    segments: list[Segment]  # kind (title | prose | code | comment), start, end, language, comment
    inline_code: list[Span]
    links: list[LinkSpan]  # of the words of a link, and its target


def lay_out(
    title: str | None, body_html: str | None, comments: Iterable[tuple[int, str]]
) -> Layout:
    r"""Lay out one post.

    Args:
        title: of a question; plain text.
        body_html: rendered HTML.
        comments: id and text of each, in order; no text is empty.

    Returns:
        A layout whose segments tile its text. Without text in title or body it is empty, whatever
        comments there are.

    >>> post = lay_out("Why?", "<p>Look: <code>1</code></p>", [(7, "Good *question*.")])
    >>> post.text, post.text[:post.body_end], post.inline_code
    ('Why?\n\nLook: 1\n\nGood *question*.', 'Why?\n\nLook: 1', [(12, 13)])
    >>> post.segments[0], post.segments[-1]
    (('title', 0, 4, None, None), ('comment', 15, 31, None, 7))
    """
    parts: list[str] = []
    segments: list[Segment] = []
    inline_code: list[Span] = []
    links: list[LinkSpan] = []
    at = 0  # where the next part starts
    if title and not title.isspace():
        parts.append(title)
        segments.append(("title", 0, len(title), None, None))
        at = len(title) + len(SEPARATOR)
    body = split_body(body_html or "")
    if body.text:
        parts.append(body.text)
        segments += [(s.kind, at + s.start, at + s.end, s.language, None) for s in body.segments]
        inline_code += [(at + start, at + end) for start, end in body.inline_code]
        links += [(at + link.start, at + link.end, link.target) for link in body.links]
        at += len(body.text) + len(SEPARATOR)
    if not parts:
        return Layout("", 0, [], [], [])
    body_end = at - len(SEPARATOR)
    for comment_id, comment in comments:
        marked_code, marked_links = mark_comment(comment)
        parts.append(comment)
        segments.append(("comment", at, at + len(comment), None, comment_id))
        inline_code += [(at + start, at + end) for start, end in marked_code]
        links += [(at + link.start, at + link.end, link.target) for link in marked_links]
        at += len(comment) + len(SEPARATOR)
    return Layout(SEPARATOR.join(parts), body_end, segments, inline_code, links)
