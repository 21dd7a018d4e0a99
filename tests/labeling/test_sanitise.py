"""What of hostile HTML gets through: read again by another parser, and by nh3 itself."""

from __future__ import annotations

import html
import re
import time
from pathlib import Path

import html5lib
import pytest
from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st

from corpus.segments import split_body
from labeling.sanitise import (
    ATTRIBUTES,
    REL,
    TAGS,
    safe_link,
    sanitise_comment,
    sanitise_html,
    sanitise_markdown,
)

SITE = "ai.stackexchange.com/2016-12"
PAYLOADS = [
    "<script>alert(1)</script>",
    "<SCRIPT SRC=//evil.example/x.js></SCRIPT>",
    "<img src=x onerror=alert(1)>",
    "<img src='https://evil.example/t.png' alt='x\"><script>alert(1)</script>'>",
    "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<svg><a xlink:href='javascript:alert(1)'><text>x</text></a></svg>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    "<a href='javascript:alert(1)'>x</a>",
    "<a href=' jav&#x09;ascript:alert(1)'>x</a>",
    "<a href='data:text/html,<script>alert(1)</script>'>x</a>",
    "<a href='vbscript:alert(1)' onclick=alert(1)>x</a>",
    "<a href='//evil.example/'>x</a>",
    "<a href='/logout'>x</a>",
    "<a href='https://user@evil.example/\"onmouseover=alert(1)'>x</a>",
    "<iframe src=https://evil.example srcdoc='<script>alert(1)</script>'></iframe>",
    "<object data=https://evil.example></object><embed src=https://evil.example>",
    "<form action=https://evil.example><button>x</button><input name=token></form>",
    "<base href=https://evil.example>",
    "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<link rel=stylesheet href=https://evil.example/x.css>",
    "<style>@import 'https://evil.example/x.css'; body{background:url(//evil.example)}</style>",
    "<p style='background:url(https://evil.example/x)'>x</p>",
    "<video src=https://evil.example autoplay onplay=alert(1)><source src=x></video>",
    "<details open ontoggle=alert(1)>x</details>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<template><script>alert(1)</script></template>",
    "<textarea><img src=x onerror=alert(1)></textarea>",
    "</textarea><script>alert(1)</script>",
    "\"'><script>alert(1)</script>",
    "<xmp><img src=x onerror=alert(1)></xmp>",
    "<plaintext><img src=x onerror=alert(1)>",
    "<!--><img src=x onerror=alert(1)>-->",
    "<input autofocus onfocus=alert(1)>",
    "<body onload=alert(1)>",
    "<p id=judge name=form class='markable lang-x'>x</p>",
    "<code class='lang-py evil' onclick=alert(1)>x</code>",
    "<table background=https://evil.example><td background=//evil.example>x</table>",
    "<image src=https://evil.example/x onerror=alert(1)>",
    "<picture><source srcset=https://evil.example/x><img srcset=https://evil.example/y></picture>",
]


def check(shown: str) -> None:
    """Raise unless another parser finds nothing in it that is not on the list."""
    tree = html5lib.parseFragment(shown, treebuilder="dom", namespaceHTMLElements=False)
    nodes = list(tree.childNodes)
    while nodes:
        node = nodes.pop()
        nodes += list(node.childNodes)
        if node.nodeType == node.TEXT_NODE:
            continue
        assert node.nodeType == node.ELEMENT_NODE, shown
        name = node.tagName.lower()
        assert name in TAGS, shown
        for attribute, value in dict(node.attributes.items()).items():
            assert attribute in ATTRIBUTES.get(name, set()) | ({"rel"} if name == "a" else set())
            if attribute == "href":
                assert re.match("https?://", value), shown
                assert node.getAttribute("rel") == REL
            if attribute == "class":
                assert re.fullmatch(r"lang-[\w+#.-]+", value), shown


@pytest.mark.parametrize("payload", PAYLOADS)
def test_nothing_hostile_gets_through(payload: str) -> None:
    for body in (payload, f"<p>a{payload}b</p>", f"<pre><code>{payload}</code></pre>", payload * 3):
        shown = sanitise_html(body)
        check(shown)
        check(sanitise_comment(body))
        check(sanitise_markdown(body))
        assert sanitise_html(str(shown)) == shown  # nothing comes to life when it is read again


MIXTURE = (
    "< > / = ' \" & ; : a b p svg math style script img table td select title <!-- --> <![CDATA[ "
    "]]> src alt href onerror=x javascript: https://e.x/ <p> </p> <a <svg> </svg> <math> <mtext> "
    "<style> </style> <noscript> <template> <table> <select> <img <li> &lt; &#x6a; \0 \t"
)
FRAGMENTS = st.sampled_from(MIXTURE.split(" "))


@given(st.lists(FRAGMENTS, max_size=25).map("".join))
def test_no_mixture_gets_through(body: str) -> None:
    check(sanitise_html(body))
    check(sanitise_comment(body))


def test_images_become_their_text_and_a_link() -> None:
    shown = sanitise_html(
        '<p>See <img src="https://i.example/a?b=1&amp;c=2" alt="x < y &quot;"> now</p>'
    )
    soup = BeautifulSoup(shown, "html.parser")
    assert soup.get_text() == 'See [image: x < y ", open it] now'
    link = soup.find("a")
    assert link is not None
    assert link["href"] == "https://i.example/a?b=1&c=2"
    assert "<img" not in shown


@pytest.mark.parametrize("source", ["", "data:image/png;base64,AA", "javascript:x", "/a.png", "x"])
def test_an_image_that_is_not_on_the_web_has_no_link(source: str) -> None:
    assert "<a" not in sanitise_html(f'<img alt="words" src="{source}">')
    assert "words" in sanitise_html(f'<img alt="words" src="{source}">')


def test_an_image_in_a_link_leaves_both_to_follow() -> None:
    shown = sanitise_html('<a href="https://e.x/big"><img src="https://e.x/small" alt="s"></a>')
    assert re.findall('href="([^"]*)"', shown) == ["https://e.x/big", "https://e.x/small"]
    check(shown)


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ("<p>a <b>b</b> <kbd>c</kbd></p>", "<p>a <b>b</b> <kbd>c</kbd></p>"),
        ('<ol start="3"><li>x</li></ol>', '<ol start="3"><li>x</li></ol>'),
        ('<ol start="-1e9"><li>x</li></ol>', "<ol><li>x</li></ol>"),
        ('<td colspan="99999">x</td>', "x"),
        ('<pre class="default s-code lang-py">x</pre>', '<pre class="lang-py">x</pre>'),
        ("<div><p>kept</p></div>", "<p>kept</p>"),
        ("<p>2<sup>10</sup></p>", "<p>2<sup>10</sup></p>"),
        ("", ""),
    ],
)
def test_what_posts_are_made_of_stays(body: str, shown: str) -> None:
    assert sanitise_html(body) == shown


@pytest.mark.parametrize(
    ("text", "links"),
    [
        ("see https://e.x/a_(b), ok", ["https://e.x/a_(b"]),
        ("[words](https://e.x/a)", ["https://e.x/a"]),
        ("[words](javascript:x)", []),
        ("`https://e.x/code`", []),
        ("ftp://e.x HTTPS://e.x", []),
        ("https://e.x/?a=1&b=2.", ["https://e.x/?a=1&b=2"]),
    ],
)
def test_links_in_comments_can_be_followed(text: str, links: list[str]) -> None:
    soup = BeautifulSoup(sanitise_comment(text), "html.parser")
    assert [link["href"] for link in soup.find_all("a")] == links


@given(st.text("ab<>&`[]() \n'\"", max_size=40))
def test_a_comment_loses_no_word(text: str) -> None:
    shown = BeautifulSoup(sanitise_comment(text), "html.parser").get_text()
    assert shown.replace("`", "").split() == text.replace("`", "").split()


@pytest.mark.parametrize(
    "link",
    [
        "",
        "javascript:alert(1)",
        "//e.x",
        "/a",
        "https://e.x/ a",
        "https://e.x/\n",
        "https:\\\\e.x",
        "ftp://e.x",
        'https://e.x/"',
        "https://",
    ],
)
def test_what_is_no_web_link_is_none(link: str) -> None:
    assert safe_link(link) == ""


@pytest.mark.parametrize(
    "body",
    [
        "<div>" * 50_000,
        "<b>" * 20_000 + "x",
        "<font color=1><font color=2>" * 200 + "<p></p>" * 3_000,
        "<p " + "a=1 " * 20_000 + ">x",
        "<table><tr><td>" * 10_000,
        "&" * 100_000,
        "<img " * 20_000,
        "<img alt=" + "'" * 90_000,
        "<!--" * 20_000,
    ],
)
def test_no_body_takes_long(body: str) -> None:
    """The slowest of these took 0.3 s."""
    began = time.monotonic()
    shown = sanitise_html(body)
    assert time.monotonic() - began < 3
    assert split_body(str(shown)).text.split() == split_body(body).text.split()


@pytest.mark.parametrize("text", ["`" * 30_000, "[" * 30_000, "[a](" * 8_000, "https://" * 4_000])
def test_no_comment_takes_long(text: str) -> None:
    began = time.monotonic()
    sanitise_comment(text)
    assert time.monotonic() - began < 3


def test_real_posts_keep_their_words(shared_data: Path) -> None:
    """Only what is said of images differs; 1,000 posts."""
    with (shared_data / "dumps" / SITE / "Posts.xml").open(encoding="utf-8") as lines:
        bodies = [match[1] for match in map(re.compile(r' Body="([^"]*)"').search, lines) if match]
    without_images = [html.unescape(body) for body in bodies if "&lt;img" not in body]
    for body in without_images[:1_000]:
        shown = sanitise_html(body)
        check(shown)
        assert split_body(str(shown)).text == split_body(body).text
    assert len(without_images) > 1_000
