"""Post body to plain text and spans: what is prose, what is code, what is a link.

Owns the one place where HTML becomes text: `split_body` parses a body by the HTML standard (lexbor)
and walks the tree once. Refuses titles and comments: they are plain text (`corpus.comments` marks
what is in a comment), and parsing them as HTML eats `List<String>`.

Writes no file. The text it returns is laid out like this:

    segments   tile the text, joined by one blank line
    code       a `<pre>`, every space, tab and blank line kept; less the newline right after its
               tag, which the standard drops, and one newline at its end
    prose      all between; paragraphs apart by one blank line; a run of ASCII white space is one
               space, `<br>` a newline; no-break and other Unicode spaces stay
    list       "- " or "1. " before an item; what else belongs to the item is indented below it
    quote      "> " before each line, ">" on the blank lines in between
    table      a row a line, " | " between cells
    sup, sub   2^10, e^(n + 1), H_2O, where they touch what they belong to
    image      its alt text

Lost: markup, white space that collapses, and what no reader sees (script, style, template).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from selectolax.lexbor import LexborHTMLParser

from corpus.flattening import flatten, is_costly

Node: TypeAlias = Any  # selectolax.lexbor.LexborNode
Leave: TypeAlias = Callable[[], None]

BLOCKS = (
    "address article aside caption center dd details dialog div dl dt fieldset figcaption figure "
    "footer form h1 h2 h3 h4 h5 h6 header hgroup hr legend main nav option p section summary table"
)
INVISIBLE = ("script", "style", "template")
SPACE = " \t\n\r\f"  # ASCII white space of the HTML standard; no-break space is not in it
SPACES = re.compile(f"[{SPACE}]+")
ONE_TOKEN = re.compile(r"[^\w\s]*+[\w.,]*+[^\w\s]*+")
INTEGER = re.compile(rf"[{SPACE}]*+([+-]?[0-9]{{1,9}})")
MAX_PREFIX = 64  # columns; quotes and lists nested deeper go unmarked, or text would explode
DEFAULT_ALT = "enter image description here"  # the site's own filler: says nothing of the image

CLASS_LANGUAGE = re.compile(r"(?<!\S)lang(?:uage)?-(\S+)")
HINT = re.compile(r"(language-all|language|begin snippet|end snippet)(?::\s*+(\S+))?")


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of `Body.text` of one kind, "prose" or "code"; bounds in code points."""

    kind: str
    start: int
    end: int
    language: str | None


@dataclass(frozen=True, slots=True)
class Link:
    """Where the words of a link stand, in code points, and its target as written."""

    start: int
    end: int
    target: str


@dataclass(frozen=True, slots=True)
class Body:
    """The text of one post, its segments, and its spans sorted by start."""

    text: str
    segments: list[Segment]
    inline_code: list[tuple[int, int]]
    links: list[Link]


def split_body(body_html: str) -> Body:
    r"""Turn one post body into plain text, its segments and its spans.

    Broken HTML gives what a browser would show; nothing is raised for it.

    Args:
        body_html: rendered HTML, the value of a row's `Body` attribute.

    Returns:
        Text laid out as the module says; `text` is its segments joined by a blank line. A span of
        inline code holds the code as written, a newline made a space. A link without words, or
        inside a code segment, has no span.

    >>> body = split_body("<p>Use <code>List&lt;T&gt;</code>:<pre class='lang-cs'>a\n  b\n</pre>")
    >>> body.text
    'Use List<T>:\n\na\n  b'
    >>> [(segment.kind, segment.language) for segment in body.segments]
    [('prose', None), ('code', 'cs')]
    >>> [body.text[start:end] for start, end in body.inline_code]
    ['List<T>']
    """
    if is_costly(body_html):
        body_html = flatten(body_html)
    # A fragment: the rules for a whole document move comments and white space out of the body. The
    # first node of a fragment answers for all of it, so an empty comment takes that place.
    writer = _Writer()
    _walk(LexborHTMLParser("<!---->" + body_html, is_fragment=True).root, writer)
    return writer.finish()


def _walk(node: Node, writer: _Writer) -> None:
    """Visit a node, its following siblings and all below them, without recursion."""
    write, enter_of = writer.write, ENTER.get
    open_elements: list[tuple[Node, Leave | None]] = []
    while True:
        tag = node.tag
        if tag == "-text":
            write(node.text_content)
        else:
            enter = enter_of(tag)
            leave = enter(writer, node) if enter else None
            child = None if leave is _skip else node.first_child
            if child is not None:
                open_elements.append((node, leave))
                node = child
                continue
            if leave:
                leave()
        following = node.next
        while following is None:
            if not open_elements:
                return
            node, leave = open_elements.pop()
            if leave:
                leave()
            following = node.next
        node = following


def _skip() -> None:
    """Leave an element whose children are not to be visited."""


class _Writer:
    """The text so far, and what has to come between it and the next words."""

    def __init__(self) -> None:
        self.parts: list[str] = []  # in pairs: what separates, what was written
        self.length = 0
        self.segments: list[Segment] = []
        self.inline_code: list[tuple[int, int]] = []
        self.links: list[Link] = []
        self.prose_start = -1  # -1: no prose segment is open
        self.gap = 2  # newlines before the next block; 0 inside a block
        self.breaks = 0  # newlines from <br>, void where a gap follows
        self.joint = ""  # between words of a line: a space, cell bars, the sign of a sup
        self.first = ""  # prefix of the next line, markers of items included
        self.prefix = ""  # prefix of the lines after it
        self.shared = ""  # prefix that the last line and the next share: stands on blank lines
        self.numbers: list[int | None] = []  # of the next item, by open list
        self.cells = 0  # open table cells; all inside is one line
        self.is_first_cell = False
        self.is_code = False
        self.hints: dict[str, str] = {}

    def write(self, text: str) -> None:
        """Add a text node: exact in inline code, else with its white space collapsed."""
        if self.is_code:
            self.put(text.replace("\n", " "))
            return
        words = text.strip(SPACE)
        if not words:
            self.joint = self.joint or " "
            return
        # Looking for each is five times as fast as one regular expression.
        if "\n" in words or "  " in words or "\t" in words or "\r" in words or "\f" in words:
            words = SPACES.sub(" ", words)
        if text[0] in SPACE and not self.joint:
            self.joint = " "
        self.put(words)
        if text[-1] in SPACE:
            self.joint = " "

    def put(self, words: str) -> None:
        """Add words as they are, after whatever has to come between."""
        separator = self.start_line() if self.gap or self.breaks else self.joint
        self.parts += (separator, words)
        self.length += len(separator) + len(words)
        self.joint = ""

    def start_line(self) -> str:
        """Say what stands before the first words of a line: newlines, prefix, empty cells."""
        if self.prose_start < 0:
            newlines = "\n\n" if self.segments else ""
            self.prose_start = self.length + len(newlines)
        elif self.gap:
            newlines = f"\n{self.shared.rstrip()}\n" if self.gap == 2 else "\n"
        else:
            newlines = f"\n{self.prefix.rstrip()}" * (self.breaks - 1) + "\n"
        line = newlines + self.first + self.joint.lstrip()
        self.first = self.shared = self.prefix
        self.gap = self.breaks = 0
        return line

    def end_block(self, gap: int = 2) -> None:
        """Let the next words start a new block, `gap` newlines below the last."""
        if self.cells:
            self.joint = self.joint or " "
            return
        if self.gap < gap:
            self.gap = gap
        self.joint = ""

    def end_prose(self) -> None:
        """Close the prose segment that is open, if one is."""
        if self.prose_start >= 0:
            self.segments.append(Segment("prose", self.prose_start, self.length, None))
            self.prose_start = -1

    def finish(self) -> Body:
        """Give the body; links that hold links were left last, so they are sorted here."""
        self.end_prose()
        self.links.sort(key=lambda link: link.start)
        return Body("".join(self.parts), self.segments, self.inline_code, self.links)

    def nest(self, marker: str, indent: str, gap: int) -> Leave:
        """Put `marker` before the next line and `indent` before those after it, until left."""
        first, prefix = self.first, self.prefix
        if len(prefix) < MAX_PREFIX:
            self.first += marker
            self.prefix += indent

        def leave() -> None:
            is_marker_written = self.first == self.prefix
            self.first = prefix if is_marker_written else first
            self.prefix = prefix
            self.shared = min(self.shared, prefix, key=len)
            self.end_block(gap)

        return leave

    def skip(self, _: Node) -> Leave:
        return _skip

    def enter_block(self, _: Node) -> Leave:
        self.end_block()
        return self.end_block

    def enter_quote(self, _: Node) -> Leave:
        self.end_block()
        return self.nest("> ", "> ", gap=2)

    def enter_list(self, node: Node) -> Leave:
        gap = 1 if self.numbers else 2
        self.end_block(gap)
        number = None
        if node.tag == "ol":
            start = INTEGER.match(node.attributes.get("start") or "")
            number = int(start[1]) if start else 1
        self.numbers.append(number)

        def leave() -> None:
            self.numbers.pop()
            self.end_block(gap)

        return leave

    def enter_item(self, _: Node) -> Leave:
        self.end_block(1)
        marker = "- "
        if self.numbers and (number := self.numbers[-1]) is not None:
            marker = f"{number}. "
            self.numbers[-1] = number + 1
        return self.nest(marker, " " * len(marker), gap=1)

    def enter_row(self, _: Node) -> Leave:
        self.end_block(1)
        self.is_first_cell = self.gap > 0 or self.joint.endswith("| ")  # the latter: in a cell
        return lambda: self.end_block(1)

    def enter_cell(self, _: Node) -> Leave:
        if self.joint == " ":
            self.joint = ""
        if not self.is_first_cell:
            self.joint += " | "
        self.is_first_cell = False
        self.cells += 1
        return self.leave_cell

    def leave_cell(self) -> None:
        self.cells -= 1

    def enter_link(self, node: Node) -> Leave | None:
        target = node.attributes.get("href")
        if not target:
            return None
        index, length = len(self.parts), self.length

        def leave() -> None:
            if index < len(self.parts):
                start = length + len(self.parts[index])
                self.links.append(Link(start, self.length, target))

        return leave

    def enter_code(self, node: Node) -> Leave | None:
        if self.is_code or not node.text_lexbor().strip(SPACE):
            return None
        index, length, num_segments = len(self.parts), self.length, len(self.segments)
        self.is_code = True

        def leave() -> None:
            self.is_code = False
            if index < len(self.parts) and num_segments == len(self.segments):
                self.inline_code.append((length + len(self.parts[index]), self.length))

        return leave

    def enter_sup(self, node: Node) -> Leave | None:
        """Sign a sup or sub that touches a word; one that stands alone is just small print."""
        content = node.text_lexbor().strip()
        if not content or self.gap or self.breaks or self.joint or self.parts[-1][-1].isspace():
            return None
        is_token = ONE_TOKEN.fullmatch(content)
        opening = ("^" if node.tag == "sup" else "_") + ("" if is_token else "(")
        self.joint = opening
        index = len(self.parts)

        def leave() -> None:
            if self.joint == opening:
                self.joint = ""
            is_open = self.parts[index : index + 1] == [opening] and self.prose_start >= 0
            if is_open and not is_token:
                self.parts += ("", ")")
                self.length += 1

        return leave

    def enter_break(self, _: Node) -> None:
        if self.cells or self.is_code:
            self.joint = self.joint or " "
        else:
            self.breaks += 1
            self.joint = ""

    def enter_image(self, node: Node) -> None:
        alt = node.attributes.get("alt")
        if alt and alt != DEFAULT_ALT:
            self.write(alt)

    def enter_hint(self, node: Node) -> None:
        """Note the language an HTML comment gives to the next code, to a snippet, or to all."""
        if hint := HINT.match(node.comment_content or ""):
            self.hints[hint[1]] = hint[2] or ""
            if hint[1] == "end snippet":
                self.hints.pop("begin snippet", None)

    def enter_pre(self, node: Node) -> Leave:
        code, language = _code_text(node), self.language(node)
        if code.strip():
            self.end_prose()
            separator = "\n\n" if self.segments else ""
            start = self.length + len(separator)
            self.parts += (separator, code)
            self.length = start + len(code)
            self.segments.append(Segment("code", start, self.length, language))
        self.gap = 2
        return _skip

    def language(self, pre: Node) -> str | None:
        """The language of a block: by its class or its `<code>`'s, else by an HTML comment."""
        next_hint = self.hints.pop("language", "")
        for element in filter(None, (pre, pre.first_child)):
            if found := CLASS_LANGUAGE.search(element.attributes.get("class") or ""):
                name = found[1]
                break
        else:
            snippet_hint = self.hints.get("begin snippet")
            name = next_hint or snippet_hint or self.hints.get("language-all", "")
        name = name.lower().removeprefix("language-").removeprefix("lang-")
        return None if name in ("", "none", "default") else name


def _code_text(pre: Node) -> str:
    """The text of a `<pre>` as it is written, less one newline at its end."""
    parts: list[str] = []
    for node in pre.traverse(include_text=True):
        if node.tag == "-text" and node.parent.tag not in INVISIBLE:
            parts.append(node.text_content)
        elif node.tag == "br":
            parts.append("\n")
        elif node.tag == "img":
            parts.append(node.attributes.get("alt") or "")
    return "".join(parts).removesuffix("\n")


ENTER: dict[str, Callable[[_Writer, Node], Leave | None]] = {
    **dict.fromkeys(BLOCKS.split(), _Writer.enter_block),
    **dict.fromkeys(INVISIBLE, _Writer.skip),
    "-comment": _Writer.enter_hint,
    "a": _Writer.enter_link,
    "blockquote": _Writer.enter_quote,
    "br": _Writer.enter_break,
    "code": _Writer.enter_code,
    "img": _Writer.enter_image,
    "li": _Writer.enter_item,
    "ol": _Writer.enter_list,
    "pre": _Writer.enter_pre,
    "sub": _Writer.enter_sup,
    "sup": _Writer.enter_sup,
    "td": _Writer.enter_cell,
    "th": _Writer.enter_cell,
    "tr": _Writer.enter_row,
    "ul": _Writer.enter_list,
}
