"""The one form that the text of a question has, whatever form a source has it in.

Published sets hold some bodies as HTML, as the site renders it, and some as Markdown, as it was
typed; where the form goes with the label it gives the label away, and so do the attributes of
links. `canonicalise` makes both the text that the corpus has for the rendered post. What a body is
follows from its own form alone, never from its label.
"""

from __future__ import annotations

import re

from corpus.layout import Layout, lay_out
from labeling.markdown import Dialect, render_markdown

# What the site's renderer starts and ends a body with. Comments are kept before code alone.
_STARTS = re.compile(
    r"\s*(?:<!--(?:[^-]|-(?!->))*-->\s*)*"
    r"<(?:p|pre|blockquote|ul|ol|h[1-6]|dl|div|table)(?:\s[^<>]*)?>|\s*<hr ?/?>"
)
_ENDS = re.compile(r"(?:</(?:p|pre|blockquote|ul|ol|h[1-6]|dl|div|table)>|<hr ?/?>|-->)\s*\Z")


def canonicalise(title: str | None, body: str | None, *, dialect: Dialect = "classic") -> Layout:
    r"""Lay out a question as the corpus lays out the rendered post.

    Args:
        title: plain text; white space around it is dropped, as the site does.
        body: rendered HTML, or Markdown with any line ends.
        dialect: that of the Markdown; see `labeling.markdown`.

    >>> canonicalise("Why?", "Look:\r\n\r\n    a\r\n    b\r\n").text
    'Why?\n\nLook:\n\na\nb'
    >>> canonicalise("Why?", '<p>Look:</p>\n\n<pre><code>a\nb\n</code></pre>').text
    'Why?\n\nLook:\n\na\nb'
    """
    body = body or ""
    body_html = body if is_rendered(body) else render_markdown(body, dialect)
    return lay_out((title or "").strip(), body_html, ())


def is_rendered(body: str) -> bool:
    """Tell by its form whether a body is HTML of the site's renderer, or Markdown as typed.

    That renderer starts each body with a block and ends it with the end of one.

    >>> is_rendered("<p>a</p>"), is_rendered("<b>a</b>"), is_rendered("a <p>b</p>")
    (True, False, False)
    """
    return (
        _STARTS.match(body) is not None and _ENDS.search(body, max(0, len(body) - 40)) is not None
    )
