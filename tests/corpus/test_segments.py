"""Golden bodies, what must hold for any body, and html5lib as the judge of what is there."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup
from bs4.element import Comment, NavigableString, Tag
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from corpus.comments import mark_comment
from corpus.segments import Body, split_body

GOLDEN = Path(__file__).resolve().parents[1] / "data" / "html"
INVISIBLE = ["script", "style", "template"]
MARKERS = frozenset("->|^_().0123456789")  # what split_body may write that the author did not


def describe(body: Body) -> dict[str, Any]:
    """A body as the golden files hold it: text in place of positions."""
    text = body.text
    return {
        "segments": [
            {"kind": one.kind, "language": one.language, "text": text[one.start : one.end]}
            for one in body.segments
        ],
        "inline_code": [text[start:end] for start, end in body.inline_code],
        "links": [{"words": text[one.start : one.end], "target": one.target} for one in body.links],
    }


def check_invariants(body: Body) -> None:
    """Segments tile the text; spans lie within it, hold something, and are sorted."""
    assert body.text == "\n\n".join(body.text[one.start : one.end] for one in body.segments)
    assert all(one.kind in ("prose", "code") for one in body.segments)
    kinds = [one.kind for one in body.segments]
    assert ("prose", "prose") not in pairwise(kinds)
    for spans in (
        [(one.start, one.end) for one in body.segments],
        body.inline_code,
        [(one.start, one.end) for one in body.links],
    ):
        assert spans == sorted(spans)
        assert all(0 <= start < end <= len(body.text) for start, end in spans)


def readable(node: Tag) -> str:
    """All that a reader sees below a node of the judge's tree."""
    parts = []
    for child in node.descendants:
        if isinstance(child, NavigableString):
            if not isinstance(child, Comment) and not child.find_parent(INVISIBLE):
                parts.append(str(child))
        elif isinstance(child, Tag) and child.name == "br":
            parts.append("\n")
        elif isinstance(child, Tag) and child.name == "img":
            alt = str(child.get("alt", ""))
            parts.append("" if alt == "enter image description here" else alt)
    return "".join(parts)


def judge(body_html: str) -> tuple[str, list[str]]:
    """What html5lib finds: the readable characters less white space, and the code blocks."""
    soup = BeautifulSoup(f"<body>{body_html}", "html5lib")
    blocks = [readable(pre) for pre in soup("pre") if not pre.find_parent("pre")]
    return squeeze(readable(soup)), [one.removesuffix("\n") for one in blocks if one.strip()]


def squeeze(text: str) -> str:
    return re.sub(r"[ \t\n\r\f]+", "", text)


def is_all_there(text: str, expected: str) -> bool:
    """Whether `text` is `expected`, in order, with nothing but markers put in between."""
    remaining = iter(squeeze(text))
    is_in_order = all(character in remaining for character in expected)
    added = Counter(squeeze(text)) - Counter(expected)
    return is_in_order and MARKERS.issuperset(added)


def read_bodies(dumps: Path) -> list[str]:
    """Every different body of the real dumps, sorted."""
    bodies: set[Any] = set()
    for path in sorted(dumps.glob("*/*/Posts.xml")):
        rows = etree.fromstring(path.read_bytes().replace(b"\t", b"&#9;"))
        bodies.update(row.get("Body") for row in rows)
    return sorted(bodies - {None, ""})


@pytest.fixture(scope="module")
def bodies(shared_data: Path) -> list[str]:
    return read_bodies(shared_data / "dumps")


def check_against_judge(body_html: str) -> None:
    body = split_body(body_html)
    check_invariants(body)
    expected, code = judge(body_html)
    assert is_all_there(body.text, expected), body_html
    assert [one["text"] for one in describe(body)["segments"] if one["kind"] == "code"] == code


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.html")), ids=lambda path: path.stem)
def test_an_oddity_comes_out_as_written_down(path: Path) -> None:
    body = split_body(path.read_bytes().decode())
    check_invariants(body)
    assert describe(body) == json.loads(path.with_suffix(".json").read_bytes())


def test_every_golden_body_has_its_expectation() -> None:
    assert {path.stem for path in GOLDEN.glob("*.html")} == {
        path.stem for path in GOLDEN.glob("*.json")
    }


@pytest.mark.parametrize(
    "body_html", ["", " ", "\n\n", "<p></p>", "<!-- x -->", "\0", "<a href=x>"]
)
def test_nothing_readable_gives_an_empty_body(body_html: str) -> None:
    assert split_body(body_html) == Body("", [], [], [])


def test_line_ends_in_code_are_those_of_the_standard() -> None:
    body = split_body("<pre>a\r\nb\rc&#13;d\r\n</pre>")
    assert body.text == "a\nb\nc\rd"


def test_one_in_twenty_real_bodies_loses_nothing(bodies: list[str]) -> None:
    for body_html in bodies[::20]:
        check_against_judge(body_html)


@pytest.mark.slow
def test_no_real_body_loses_anything(bodies: list[str]) -> None:
    for body_html in bodies:
        check_against_judge(body_html)


def test_a_costly_body_reads_like_its_parts(bodies: list[str]) -> None:
    for start in range(80):
        parts = bodies[start::80]
        whole = "<hr>".join(parts)
        assert whole.count("<") > 512
        texts = [split_body(part).text for part in parts]
        assert split_body(whole).text == "\n\n".join(filter(None, texts))


TAGS = (
    *("p", "div", "h1", "blockquote", "ul", "ol", "li", "pre", "code", "a href='/x'", "b", "em"),
    *("sup", "sub", "table", "tr", "td", "th", "dl", "dd", "kbd", "s", "unknown", "script"),
)
PIECES = [
    *(f"<{tag}>" for tag in TAGS),
    *(f"</{tag.split()[0]}>" for tag in TAGS),
    *("<br>", "<hr>", "<img alt='picture'>", "<!-- language: lang-c -->"),
    *("&lt;", "&amp;", "&nbsp;"),
    *("one", "two three", " ", "\n", " four ", "five\n\tsix", "``", "[x](y)"),
]


@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_any_markup_gives_well_formed_segments_with_every_letter(body_html: str) -> None:
    body = split_body(body_html)
    check_invariants(body)
    expected, _ = judge(body_html)
    letters = re.compile(r"[^a-z&<`\[\]]")
    assert letters.sub("", body.text) == letters.sub("", expected)


@given(st.text())
def test_any_text_comes_through_when_escaped(text: str) -> None:
    text = re.sub(r"[\0\r\ud800-\udfff]", "", text)
    escaped = text.replace("&", "&amp;").replace("<", "&lt;")
    assert split_body(f"<p>{escaped}</p>").text == re.sub(r"[ \t\n\f]+", " ", text).strip(" ")
    code = split_body(f"<pre>\n{escaped}\n</pre>").text
    assert code == (text if text.strip() else "")


NAMES = "div b blockquote ul li code pre sup a p table td svg unknown"


@pytest.mark.parametrize("name", NAMES.split())
@pytest.mark.parametrize("closing", ["", "</{name}>"])
def test_50000_nested_tags_keep_all_text_within_a_second(name: str, closing: str) -> None:
    body_html = f"<{name}>x" * 50_000 + closing.format(name=name) * 50_000
    assert split_body(body_html).text.count("x") == 50_000
    assert takes_less(1.0, split_body, body_html)


def numbered(pattern: str) -> Callable[[int], str]:
    return lambda size: "".join(pattern.format(number) for number in range(size // len(pattern)))


def repeated(pattern: str, closing: str = "") -> Callable[[int], str]:
    def make(size: int) -> str:
        count = size // (len(pattern) + len(closing))
        return pattern * count + closing * count

    return make


def reopened(name: str) -> Callable[[int], str]:
    """Elements that the standard opens again in each paragraph, as none was closed."""
    left_open = "".join(f"<{name} a{number}>" for number in range(100))
    return lambda size: f"<p>{left_open}" + "<p>x</p>" * (size // 8)


COSTLY: dict[str, Callable[[int], str]] = {
    "nested formatting": repeated("<b><i>x"),
    "formatting around blocks": repeated("<b><div>x", "</b>"),
    "formatting left open": numbered("<p><b a{}>x"),
    "formatting in every block": reopened("b"),
    "code in every block": reopened("code"),
    "links left open": repeated("<a href=x>x<p>"),
    "paragraphs left open": repeated("<p>x"),
    "blocks left open": repeated("<div>x"),
    "lists": repeated("<ul><li>x"),
    "quotes": repeated("<blockquote>x"),
    "mixed items": repeated("<li><dd>x"),
    "end tags that close nothing": repeated("</x><code>"),
    "end tags across blocks": repeated("<x><div></x></div>"),
    "tables": repeated("<table><td>x"),
    "text lost in tables": lambda size: "<table>" + repeated("<b>x<tr>")(size),
    "rows left open": lambda size: "<table>" + repeated("<tr><td>x")(size),
    "deep code": repeated("<pre>x", "</pre>"),
    "foreign elements": repeated("<svg><g>", "</x>"),
    "attributes": lambda size: f"<a {numbered('a{} ')(size)}>x",
    "ampersands": repeated("&"),
    "half entities": repeated("&#"),
    "half tags": repeated("<"),
    "half comments": repeated("<!--"),
    "quotes in tags": repeated("<a b=\"<c d='"),
    "white space": lambda size: "x" + " \n" * (size // 2) + "x",
}


@pytest.mark.parametrize("make", COSTLY.values(), ids=COSTLY)
def test_no_shape_of_body_takes_long(make: Callable[[int], str]) -> None:
    assert takes_less(0.1, split_body, make(30_000))
    assert takes_less(0.4, split_body, make(120_000))


def takes_less(seconds: float, function: Callable[[str], object], argument: str) -> bool:
    """Whether one of three calls takes less CPU time: a busy machine slows the others."""
    for _ in range(3):
        started = time.process_time()
        function(argument)
        if time.process_time() - started < seconds:
            return True
    return False


@pytest.mark.parametrize(
    ("tag", "between"), [("<p>", "\n\n"), ("<li>", "\n- "), ("<br>", "\n"), ("<hr>", "\n\n")]
)
def test_what_need_not_be_closed_does_not_nest_in_a_costly_body(tag: str, between: str) -> None:
    assert split_body(f"x{tag}" * 2_000 + "x").text == between.join(["x"] * 2_001)


def test_deep_quotes_and_lists_do_not_multiply_the_text() -> None:
    body_html = "<blockquote>" * 100 + "<p>x" * 6_000
    assert len(split_body(body_html).text) < 40 * len(body_html)


def marked(text: str) -> tuple[list[str], list[tuple[str, str]]]:
    inline_code, links = mark_comment(text)
    return (
        [text[start:end] for start, end in inline_code],
        [(text[link.start : link.end], link.target) for link in links],
    )


@pytest.mark.parametrize(
    "text",
    [
        *("List<String>", "std::vector<int>", "# not a heading", "1. do", "a*b*c", "<script>"),
        *("a lone ` tick", "uneven ``ticks`", "``", "\\`escaped\\`", "[words] (in brackets)"),
        *("[a](b)", "f[0](x)", "http://"),
    ],
)
def test_plain_words_of_a_comment_are_not_marked(text: str) -> None:
    assert marked(text) == ([], [])


@pytest.mark.parametrize(
    ("text", "inline_code"),
    [
        ("use `List<String>`, not `a*b*c`", ["List<String>", "a*b*c"]),
        ("``a ` b`` and ```c```", ["a ` b", "c"]),
        (r"`for f in \`ls\`; do`", [r"for f in \`ls\`; do"]),
        ("` x ` `` y` z", [" x "]),
    ],
)
def test_code_in_a_comment_is_what_stands_between_its_ticks(
    text: str, inline_code: list[str]
) -> None:
    assert marked(text) == (inline_code, [])


@pytest.mark.parametrize(
    ("text", "links"),
    [
        ("[the docs](https://e.org/a)", [("the docs", "https://e.org/a")]),
        ('[a](http://e.org "title") [b](//e.org)', [("a", "http://e.org"), ("b", "//e.org")]),
        ("[help](/help/ask)", [("help", "/help/ask")]),
        ("[x](http://e.org/Y_(z))", [("x", "http://e.org/Y_(z)")]),
        ("(see http://e.org/Y_(z)).", [("http://e.org/Y_(z)",) * 2]),
        (
            "HTTP://E.ORG/a?b=1&c=2, or https://f.org!",
            [("HTTP://E.ORG/a?b=1&c=2",) * 2, ("https://f.org",) * 2],
        ),
        ("`http://in.code` [`f`](http://e.org)", [("`f`", "http://e.org")]),
        ("`[a` b](http://e.org)", [("http://e.org",) * 2]),
    ],
)
def test_links_in_a_comment_are_found(text: str, links: list[tuple[str, str]]) -> None:
    assert marked(text)[1] == links


@given(st.lists(st.sampled_from([*'`[]()\\ax \n"', "``", "http://e.org/", "](//"])).map("".join))
def test_marks_in_any_comment_lie_in_it_and_in_order(text: str) -> None:
    inline_code, links = mark_comment(text)
    spans = [(link.start, link.end) for link in links]
    for found in (inline_code, spans):
        assert all(0 <= start < end <= len(text) for start, end in found)
        assert all(one[1] <= other[0] for one, other in pairwise(found))
    assert not [link for link in spans for code in inline_code if code[0] <= link[0] < code[1]]


@pytest.mark.parametrize(
    "pattern", ["`", "`x", "[", "[a](", "[a](//", '[a](//x "', "http://", "http://x(", "\\`", ")"]
)
def test_no_shape_of_comment_takes_long(pattern: str) -> None:
    assert takes_less(0.1, mark_comment, repeated(pattern)(30_000))
    assert takes_less(0.4, mark_comment, repeated(pattern)(120_000))
