"""An answer cut into the blocks it is read in, each with its place in the answer's text.

Evidence is a stretch of code points of that text, but people read HTML: here the two are joined.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup, escape
from selectolax.lexbor import LexborHTMLParser

from corpus.flattening import flatten, is_costly
from corpus.segments import BLOCKS, split_body
from labeling.annotations import Json
from labeling.difference import Line
from labeling.forms import MAX_SPAN
from labeling.sanitise import sanitise_html

_BLOCKS = frozenset((*BLOCKS.split(), "ul", "ol", "pre", "blockquote", "dir", "menu"))
_PARAGRAPH = re.compile(r"\S(?:.|\n(?!\s*\n))*", re.MULTILINE)


class Byline(NamedTuple):
    """Who wrote something, when, under which licence."""

    author: str
    author_link: str
    at: str
    age: str
    link: str
    licence: str
    score: str


class Piece(NamedTuple):
    """Something that can be marked as evidence; `name` "" where it cannot."""

    name: str
    html: Markup
    text: str
    byline: Byline
    kind: str = ""
    is_later: bool = False
    is_accepted: bool = False
    comment: str = ""
    lines: Sequence[Line] = ()
    start: int = 0


def split_answer(body_html: str, text: str, answer: Json) -> Iterator[Piece]:
    """Cut an answer into the blocks it is read in, each with its place in the answer's text.

    Where the HTML does not say what the text says, the text itself is shown, cut at blank lines.
    """
    blocks: list[Piece] = []
    at = 0
    for one in _iter_top_level(body_html):
        words = split_body(one).text
        start = text.find(words, at)
        if start < 0 or text[at:start].strip():
            break
        if not words:
            if blocks:
                blocks[-1] = blocks[-1]._replace(html=blocks[-1].html + sanitise_html(one))
            continue
        at = start + len(words)
        kind = "code" if re.match(r"\s*<pre\b", one, re.IGNORECASE) else "prose"
        blocks.append(_block(sanitise_html(one), start, words, kind))
    else:
        if not text[at:].strip():
            yield from blocks
            return
    yield from _split_text(text, answer.get("segments"))


def _iter_top_level(body_html: str) -> Iterator[str]:
    """Cut HTML between its outermost blocks; what is not in any of them goes together."""
    if is_costly(body_html):
        body_html = flatten(body_html)
    node: Any = LexborHTMLParser("<!---->" + body_html, is_fragment=True).root
    loose = ""
    while node is not None:
        if node.tag in _BLOCKS:
            if loose.strip():
                yield loose
            loose = ""
            yield node.html or ""
        elif node.tag == "-text":
            loose += str(escape(node.text_content or ""))
        elif node.tag not in ("-comment", "_comment", "!--"):
            loose += node.html or ""
        node = node.next
    if loose.strip():
        yield loose


def _split_text(text: str, segments: object) -> Iterator[Piece]:
    bounds = [(0, len(text), "prose")]
    if isinstance(segments, list) and all(_is_segment(one, text) for one in segments):
        bounds = [(one["start"], one["end"], str(one.get("kind"))) for one in segments]
    for start, end, kind in bounds or [(0, len(text), "prose")]:
        whole = text[start:end]
        if kind == "code":
            yield _block(Markup("<pre><code>{}</code></pre>").format(whole), start, whole, kind)
            continue
        for match in _PARAGRAPH.finditer(whole):
            html = Markup('<p class="plain">{}</p>').format(match[0])
            yield _block(html, start + match.start(), match[0], kind)


def _is_segment(segment: object, text: str) -> bool:
    if not isinstance(segment, dict):
        return False
    start, end = segment.get("start"), segment.get("end")
    return isinstance(start, int) and isinstance(end, int) and 0 <= start < end <= len(text)


def _block(html: Markup, start: int, words: str, kind: str) -> Piece:
    end = start + min(len(words), MAX_SPAN)
    return Piece(f"span:{start}:{end}", html, words, _NOBODY, kind, start=start)


_NOBODY = Byline("", "", "", "", "", "", "")
