"""Comments: what is code and what is a link in a text that stays as it is."""

from __future__ import annotations

import re

from corpus.segments import Link

BACKTICKS = re.compile(r"(?<!\\)`+")  # a backslash escapes one, in code too
COMMENT_LINK = re.compile(
    r"\[([^\[\]]+)\]\(((?:https?:)?/(?:[^\s()\0]|\([^\s()]*+\))++)(?:\s++\"[^\"]*+\")?\)"
    r"|https?://(?:[^\s()<>\[\]\"`\0]|\([^\s()]*+\))++",
    re.IGNORECASE,
)


def mark_comment(text: str) -> tuple[list[tuple[int, int]], list[Link]]:
    """Find the code and the links in a comment, whose text is raw mini-Markdown and stays as it is.

    Args:
        text: the value of a row's `Text` attribute.

    Returns:
        Spans of what stands between backticks, and links: the words of `[words](url)`, or a bare
        http(s) URL. In code points, sorted by start; no link starts inside code.

    >>> mark_comment("see `a*b` in [docs](https://e.org/x)")
    ([(5, 8)], [Link(start=14, end=18, target='https://e.org/x')])
    """
    inline_code = _backtick_spans(text)
    links = []
    for match in COMMENT_LINK.finditer(_mask(text, inline_code)):
        if match[1]:
            links.append(Link(*match.span(1), match[2]))
        else:
            target = match[0].rstrip(".,:;!?'*_")
            links.append(Link(match.start(), match.start() + len(target), target))
    return inline_code, links


def _backtick_spans(text: str) -> list[tuple[int, int]]:
    """Pair each run of backticks with the next one as long, as Markdown does."""
    runs = [match.span() for match in BACKTICKS.finditer(text)]
    partners: list[int] = []
    last_by_length: dict[int, int] = {}
    for index in range(len(runs) - 1, -1, -1):
        length = runs[index][1] - runs[index][0]
        partners.append(last_by_length.get(length, 0))
        last_by_length[length] = index
    partners.reverse()
    spans, index = [], 0
    while index < len(runs):
        if partners[index]:
            spans.append((runs[index][1], runs[partners[index]][0]))
        index = max(index, partners[index]) + 1
    return spans


def _mask(text: str, spans: list[tuple[int, int]]) -> str:
    """Blot out the spans, every position kept, so that nothing in them reads as a link."""
    parts: list[str] = []
    done = 0
    for start, end in spans:
        parts += (text[done:start], "\0" * (end - start))
        done = end
    return "".join(parts) + text[done:]
