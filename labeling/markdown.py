"""Markdown as people typed it, rendered to HTML as the site renders it.

The sites had a dialect of their own until June 2020, and CommonMark since. Both are parsed by
markdown-it; `classic` first rewrites lines, then swaps the rules that differ:

    #heading            needs no space after its signs
    [1]: target         defined anywhere, inside a paragraph as well; `[words] [1]` refers to it
    1) and tables       are text; a list does not interrupt a paragraph
    quotes, lists       one, where nothing but blank lines stands between two of a kind
    > lazy              a line right below a quote belongs to it, with whatever it begins
    `\\`                 escapes the signs of Markdown alone
    <Thing>             is a tag, whatever follows the `<`, and is dropped; so is `List<A, B>`'s
    TAB                 is as many spaces as reach the next of every fourth column

Both have the site's `[tag:name]`, its spoilers, and its list of HTML tags: others are dropped, what
they enclose is kept, as are comments (`<!-- language: x -->`). Code in fences is code in both.

Not there: the title that the site shows for a bare link to a question of its own, embedded videos,
classic emphasis around emphasis of its own kind, classic list items that hang by another indent.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from itertools import chain
from types import SimpleNamespace
from typing import Literal, TypeAlias

from markdown_it import MarkdownIt
from markdown_it.common.utils import normalizeReference
from markdown_it.helpers import parseLinkDestination, parseLinkTitle
from markdown_it.rules_block import StateBlock, blockquote, html_block, list_block
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline, escape
from markdown_it.token import Token

Dialect: TypeAlias = Literal["classic", "commonmark"]
# Dumps of August 2020 show all posts rendered anew on that day.
COMMONMARK_FROM = datetime(2020, 6, 18, tzinfo=UTC)

# Quotes and lists deeper than this are text. markdown-it would drop them, and all after them.
MAX_DEPTH = 48  # as markdown-it counts: one for a quote, two for a list
LABEL_STEPS = 8  # to find the ends of brackets, by character of the body; real ones take 0.1
MAX_NESTING = MAX_DEPTH + 8  # of markdown-it; blocks do not reach it
ALLOWED_TAGS = re.compile(
    "a|b|blockquote|br|code|dd|del|dl|dt|em|h[1-6]|hr|i|img|kbd|li|ol|p|pre|s|strike|strong|sub|sup|ul"
)
VOID_TAGS = frozenset(("br", "hr", "img"))
CLASSIC_ESCAPED = frozenset("\\`*_{}[]()>#+-.!")

_TYPED_TAG = re.compile(
    r"<!--.*?-->|<(/?)([a-zA-Z][^\s/<>]*)[^>]*(?:>|$)|<[?!][^>]*(?:>|$)", re.DOTALL
)
_CLASSIC_TAG = re.compile(r"<[a-zA-Z/?$!][^>]*(?:>|\Z)")
_TAG_LINK = re.compile(r"\[(?:meta-)?tag:([^\s\[\]]{1,64})\]")
_SPACED_ID = re.compile(r"[ \n]\[([^\[\]]{1,200})\]")
_URL = re.compile(r"://[^\s<>\"'`()\[\]]*[\w/&#=-]")
_SCHEME = re.compile(r"(?:^|[^\w])(https?|ftp)$")
_FENCE = re.compile(r" {0,3}(`{3,}(?=[^`]*$)|~{3,})")
_QUOTED = re.compile(r"(?: {0,3}+>)++")
_SPOILER = re.compile(r"( {0,3}>)!(?!\[)")
_HEADING = re.compile(r"((?: {0,3}+>)*+ ?)(#{1,6})(?!#)(.*)")
_DEFINITION = re.compile(r' {0,3}\[(?! *\])([^\[\]]+)\]: *<?([^\s<>]+)>?(?: +(["(].*[")]))? *$')
_NUMBER_AND_BRACKET = re.compile(r"\d+\)")
_INLINE_TAG = re.compile(
    r"</?(?:a|b|br|code|del|em|i|img|kbd|s|strike|strong|su[bp])[\s/>]", re.IGNORECASE
)
_INTERRUPTED = ["paragraph", "reference", "blockquote"]
_MERGED = frozenset(("blockquote", "bullet_list", "ordered_list"))


def dialect_at(when: datetime) -> Dialect:
    """Return the dialect of Markdown that a site had at a time (UTC).

    >>> dialect_at(datetime(2019, 1, 1, tzinfo=UTC))
    'classic'
    """
    return "classic" if when < COMMONMARK_FROM else "commonmark"


def render_markdown(markdown: str, dialect: Dialect = "classic") -> str:
    r"""Render a body as the site would have.

    Args:
        markdown: with any line ends.
        dialect: that of the site before June 2020, or after.

    >>> render_markdown("#Why\r\nSee [tag:c++] and List<String>.\r\n[1]: http://e.org")
    '<h1>Why</h1>\n<p>See c++ and List.</p>\n'
    >>> render_markdown("2) `a<b>` ~~is~~ 2*3*4", "commonmark")
    '<ol start="2">\n<li><code>a&lt;b&gt;</code> <s>is</s> 2<em>3</em>4</li>\n</ol>\n'
    """
    lines = markdown.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    parser = _make_parser(dialect)
    env = {"steps": LABEL_STEPS * len(markdown)}
    tokens = parser.parse("\n".join(_rewrite(lines, dialect)), env)
    _drop_tags(tokens)
    return str(parser.renderer.render(tokens, parser.options, env))


@cache
def _make_parser(dialect: Dialect) -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"maxNesting": MAX_NESTING})
    parser.helpers = SimpleNamespace(  # type: ignore[assignment]
        parseLinkLabel=_find_label_end,
        parseLinkDestination=parseLinkDestination,
        parseLinkTitle=parseLinkTitle,
    )
    parser.inline.ruler.before("link", "tag_link", _tag_link)
    parser.inline.ruler.before("newline", "bare_url", _bare_url)
    parser.block.ruler.at("blockquote", _quote, {"alt": [*_INTERRUPTED, "list"]})
    if dialect == "commonmark":
        parser.enable(["table", "strikethrough"])
        parser.block.ruler.at("list", _list, {"alt": _INTERRUPTED})
        return parser
    parser.block.ruler.at("list", _classic_list, {"alt": _INTERRUPTED})
    parser.block.ruler.at("html_block", _classic_html_block, {"alt": _INTERRUPTED})
    parser.inline.ruler.at("escape", _classic_escape)
    parser.inline.ruler.before("link", "spaced_reference", _spaced_reference)
    parser.inline.ruler.after("html_inline", "classic_tag", _classic_tag)
    parser.core.ruler.after("block", "merge", _merge)
    return parser


def _rewrite(lines: list[str], dialect: Dialect) -> list[str]:
    """Rewrite lines outside of fences so that CommonMark reads in them what the site did."""
    rewritten: list[str] = []
    definitions: list[str] = []
    fence, quote = "", ""
    for line in lines:
        if mark := _FENCE.match(line):
            if not fence:
                fence = mark[1]
            elif mark[1].startswith(fence) and not line[mark.end() :].strip():
                fence = ""
        if fence:
            rewritten.append(line)
            continue
        line = _SPOILER.sub(r"\1", line)
        if dialect == "classic":
            line = line.expandtabs(4) if line.strip() else ""
            if definition := _DEFINITION.match(line):
                definitions.append(f"[{definition[1]}]: <{definition[2]}>")
                line = ""
            if heading := _HEADING.fullmatch(line):
                line = f"{heading[1]}{heading[2]} {heading[3].rstrip('#')}"
            is_quoted = _QUOTED.match(line)
            quote = is_quoted[0] if is_quoted else quote if line else ""
            line = line if is_quoted or not quote else f"{quote} {line}"
        rewritten.append(line)
    # Before all, as a fence may be open at the end.
    return [*definitions, "", *rewritten] if definitions else rewritten


def _quote(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    return state.level < MAX_DEPTH and blockquote(state, start, end, silent)


def _list(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    return state.level < MAX_DEPTH and list_block(state, start, end, silent)


def _classic_list(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    if silent and state.listIndent < 0:
        return False
    if _NUMBER_AND_BRACKET.match(state.src, state.bMarks[start] + state.tShift[start]):
        return False
    return _list(state, start, end, silent)


def _classic_html_block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    at = state.bMarks[start] + state.tShift[start]
    return _INLINE_TAG.match(state.src, at) is None and html_block(state, start, end, silent)


def _merge(state: StateCore) -> None:
    """Make one of two quotes, or two lists, with nothing between."""
    merged: list[Token] = []
    for token in state.tokens:
        last = merged[-1] if merged else None
        if (
            last is not None
            and last.nesting == -1
            and token.nesting == 1
            and last.tag == token.tag
            and token.type.removesuffix("_open") in _MERGED
        ):
            merged.pop()
        else:
            merged.append(token)
    state.tokens = merged


def _classic_escape(state: StateInline, silent: bool) -> bool:
    is_escaped = state.src[state.pos + 1 : state.pos + 2] in CLASSIC_ESCAPED
    return is_escaped and escape(state, silent)


def _find_label_end(state: StateInline, start: int, disable_nested: bool = False) -> int:
    """As markdown-it's, but in steps that are counted: 100,000 times `[` took minutes."""
    before, end, level = state.pos, -1, 1
    state.pos = start + 1
    while state.pos < state.posMax and state.env["steps"] > 0:
        state.env["steps"] -= 1
        at, sign = state.pos, state.src[state.pos]
        if sign == "]":
            level -= 1
            if not level:
                end = at
                break
        state.md.inline.skipToken(state)
        if sign == "[":
            if state.pos == at + 1:
                level += 1
            elif disable_nested:
                break
    state.pos = before
    return end


def _tag_link(state: StateInline, silent: bool) -> bool:
    found = _TAG_LINK.match(state.src, state.pos, state.posMax)
    if found is None:
        return False
    if not silent:
        state.append_pending(found[1].lower().lstrip("-"))
    state.pos = found.end()
    return True


def _spaced_reference(state: StateInline, silent: bool) -> bool:
    """Read `[words] [id]`, with one space or newline, where `id` is defined."""
    if state.src[state.pos] != "[" or not state.env.get("references"):
        return False
    end = state.md.helpers.parseLinkLabel(state, state.pos, True)
    found = _SPACED_ID.match(state.src, end + 1, state.posMax) if end > 0 else None
    if found is None or normalizeReference(found[1]) not in state.env["references"]:
        return False
    if not silent:
        start, maximum = state.pos + 1, state.posMax
        state.pos, state.posMax = start, end
        state.push("link_open", "a", 1)
        state.linkLevel += 1
        state.md.inline.tokenize(state)
        state.linkLevel -= 1
        state.push("link_close", "a", -1)
        state.posMax = maximum
    state.pos = found.end()
    return True


def _bare_url(state: StateInline, silent: bool) -> bool:
    """Take a URL as it is: no sign in it is Markdown's."""
    if state.src[state.pos] != ":" or not _SCHEME.search(
        state.src, max(0, state.pos - 6), state.pos
    ):
        return False
    found = _URL.match(state.src, state.pos, state.posMax)
    if found is None:
        return False
    if not silent:
        state.append_pending(found[0])
    state.pos = found.end()
    return True


def _classic_tag(state: StateInline, silent: bool) -> bool:
    """Take whatever starts as a tag for one, up to the next `>`, or to the end."""
    found = _CLASSIC_TAG.match(state.src, state.pos, state.posMax)
    if found is None:
        return False
    if not silent:
        state.push("html_inline", "", 0).content = found[0]
    state.pos = found.end()
    return True


def _drop_tags(tokens: Sequence[Token]) -> None:
    """Drop the typed tags that the site does not allow, and those without a partner."""
    typed = [
        token
        for token in chain.from_iterable([one, *(one.children or ())] for one in tokens)
        if token.type in ("html_block", "html_inline")
    ]
    tags = [match for token in typed for match in _TYPED_TAG.finditer(token.content)]
    kept = iter(_find_kept(tags))
    for token in typed:
        token.content = _TYPED_TAG.sub(lambda tag: tag[0] if next(kept) else "", token.content)


def _find_kept(tags: Sequence[re.Match[str]]) -> list[bool]:
    kept = [False] * len(tags)
    open_places: dict[str, list[int]] = {}
    for place, tag in enumerate(tags):
        name = (tag[2] or "").lower()
        if tag[0].startswith("<!--"):
            kept[place] = tag[0].endswith("-->")
        elif name in VOID_TAGS and not tag[1]:
            kept[place] = tag[0].endswith(">")
        elif ALLOWED_TAGS.fullmatch(name) and not tag[1]:
            open_places.setdefault(name, []).append(place)
        elif open_places.get(name):
            kept[place] = kept[open_places[name].pop()] = True
    return kept
