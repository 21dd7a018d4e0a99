"""Hostile HTML, comments and links made safe to show: an allow-list, applied at render time.

Owns what of a post may reach a browser. nh3 (ammonia: the parser that browsers have) goes last over
everything, so nothing is built from its output. No image is loaded, as that would tell its host who
reads; its alternative text and a link stand in its place. Ids and classes go, but for a code's
language. Writes no file.
"""

from __future__ import annotations

import html
import re
from functools import lru_cache

import nh3
from markdown_it import MarkdownIt
from markupsafe import Markup

from corpus.flattening import flatten, is_costly

_TAG_NAMES = (
    "a b blockquote br code dd del dl dt em h1 h2 h3 h4 h5 h6 hr i ins kbd li ol p pre s strike "
    "strong sub sup table tbody td tfoot th thead tr ul"
)
TAGS = frozenset(_TAG_NAMES.split())
ATTRIBUTES = {
    "a": {"href"},
    "code": {"class"},
    "ol": {"start"},
    "pre": {"class"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan"},
}
# What they hold is no text; of all other tags that are not allowed the text stays.
UNREADABLE = frozenset(("script", "style", "template"))
REL = "noopener noreferrer nofollow"
WEB_LINK = re.compile(r"https?://[^\s<>\"'`\\\x00-\x20\x7f]+", re.IGNORECASE)
LANGUAGE = re.compile(r"(?<!\S)lang-[\w+#.-]{1,30}(?!\S)", re.ASCII)
SMALL_NUMBER = re.compile(r"[0-9]{1,4}")
_IMAGE = re.compile(r"<img\b([^<>]*)>")
_ATTRIBUTE = re.compile(r'\b(alt|src)="([^"]*)"')
_IN_COMMENT = re.compile(
    r"`(?P<code>[^`\n]{1,600})`"
    r"|\[(?P<words>[^\[\]\n]{1,300})\]\((?P<target>https?://[^\s()<>\"']{1,600})\)"
    r"|(?P<link>https?://[^\s<>\"'`]{1,600})"
)


@lru_cache(maxsize=256)
def sanitise_html(body_html: str) -> Markup:
    """Return the part of a post's HTML that may be shown.

    >>> print(sanitise_html('<p onclick="x()">Hi <script>x()</script><b id="y">there</b>'))
    <p>Hi <b>there</b></p>
    >>> print(sanitise_html('<img src="x.png" alt="a < b">'))
    <em>[image: a &lt; b]</em>
    """
    if is_costly(body_html):
        body_html = flatten(body_html)
    if "<img" in body_html.lower() or "<image" in body_html.lower():
        # Two passes: the first leaves images, written in one way, which are then made text.
        with_images = nh3.clean(
            body_html,
            tags=set(TAGS) | {"img"},
            clean_content_tags=set(UNREADABLE),
            attributes={**ATTRIBUTES, "img": {"alt", "src"}},
            url_schemes={"http", "https"},
        )
        body_html = _IMAGE.sub(_image_to_text, with_images)
    return Markup(
        nh3.clean(
            body_html,
            tags=set(TAGS),
            clean_content_tags=set(UNREADABLE),
            attributes=ATTRIBUTES,
            attribute_filter=_filter_attribute,
            url_schemes={"http", "https"},
            link_rel=REL,
        )
    )


@lru_cache(maxsize=256)
def sanitise_comment(text: str) -> Markup:
    """Return a comment, which is plain text, with its links, and its code between backticks.

    >>> print(sanitise_comment("use `List<T>`, <b>not</b> this"))
    use <code>List&lt;T&gt;</code>, &lt;b&gt;not&lt;/b&gt; this
    """
    parts, at = [], 0
    for match in _IN_COMMENT.finditer(text):
        parts += [html.escape(text[at : match.start()]), _mark_up(match)]
        at = match.end()
    return sanitise_html("".join(parts) + html.escape(text[at:]))


@lru_cache(maxsize=4)
def sanitise_markdown(markdown: str) -> Markup:
    """Return Markdown as HTML that may be shown; HTML in it is text.

    >>> print(sanitise_markdown("*Hi* <b>x</b>"))
    <p><em>Hi</em> &lt;b&gt;x&lt;/b&gt;</p>
    <BLANKLINE>
    """
    converter = MarkdownIt("commonmark", {"html": False}).enable("table")
    return sanitise_html(converter.render(markdown))


def safe_link(link: str) -> str:
    """Return a link that may be followed, or "" where it is not of the web.

    >>> safe_link("https://stackoverflow.com/a/1"), safe_link("JavaScript:alert(1)")
    ('https://stackoverflow.com/a/1', '')
    """
    return link if WEB_LINK.fullmatch(link) else ""


def _filter_attribute(tag: str, name: str, value: str) -> str | None:
    if name == "href":  # relative links would lead into this site
        return safe_link(value) or None
    if name == "class":
        language = LANGUAGE.search(value)
        return language[0] if language else None
    return value if name == "rel" or SMALL_NUMBER.fullmatch(value) else None


def _image_to_text(match: re.Match[str]) -> str:
    attributes = dict(_ATTRIBUTE.findall(match[1]))
    words = html.escape(html.unescape(attributes.get("alt", ""))).strip() or "no description"
    source = html.escape(safe_link(html.unescape(attributes.get("src", ""))))
    link = f', <a href="{source}">open it</a>' if source else ""
    return f"<em>[image: {words}{link}]</em>"


def _mark_up(match: re.Match[str]) -> str:
    if match["code"] is not None:
        return f"<code>{html.escape(match['code'])}</code>"
    if match["words"] is not None:
        return f'<a href="{html.escape(match["target"])}">{html.escape(match["words"])}</a>'
    link = match["link"].rstrip(".,;:!?)")
    rest = html.escape(match["link"][len(link) :])
    return f'<a href="{html.escape(link)}">{html.escape(link)}</a>{rest}'
