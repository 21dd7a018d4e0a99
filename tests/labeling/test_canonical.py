"""Markdown as typed and HTML as rendered come out as one text; the oracle is the site itself."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from corpus.layout import lay_out
from corpus.rows import iter_row_batches
from labeling.canonical import canonicalise, is_rendered
from labeling.markdown import render_markdown


def text_of(markdown: str, dialect: Literal["classic", "commonmark"] = "classic") -> str:
    return canonicalise(None, markdown, dialect=dialect).text


def iter_rows(folder: Path, table: str) -> Iterator[dict[str, Any]]:
    with open(folder / f"{table}.xml", "rb") as stream:
        for batch in iter_row_batches(stream, table, file=table):
            yield from batch.rows.to_pylist()


def never_edited(folder: Path) -> list[tuple[str, str]]:
    """Markdown and rendered body of each post whose body no event has changed."""
    typed = defaultdict(list)
    for row in iter_rows(folder, "PostHistory"):
        if row["post_history_type_id"] in (2, 5, 8):
            typed[row["post_id"]].append((row["post_history_type_id"], row["text"]))
    return [
        (typed[post["id"]][0][1], post["body"])
        for post in iter_rows(folder, "Posts")
        if post["post_type_id"] in (1, 2) and [kind for kind, _ in typed[post["id"]]] == [2]
    ]


# The oracle ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dump", "num_posts", "exact", "collapsed"),
    [  # measured 0.9884, 0.9928 and 0.9753, 0.9815; what is left are mostly titles of bare links
        ("ai.stackexchange.com/2016-12", 600, 0.985, 0.99),
        ("iot.stackexchange.com/2017-03", 300, 0.97, 0.975),
    ],
)
def test_typed_posts_read_as_the_site_renders_them(
    shared_data: Path, dump: str, num_posts: int, exact: float, collapsed: float
) -> None:
    pairs = never_edited(shared_data / "dumps" / dump)
    ours = [canonicalise(None, typed) for typed, _ in pairs]
    theirs = [lay_out(None, body, ()) for _, body in pairs]
    assert len(pairs) > num_posts
    same = sum(a.text == b.text for a, b in zip(ours, theirs, strict=True))
    alike = sum(a.text.split() == b.text.split() for a, b in zip(ours, theirs, strict=True))
    assert same / len(pairs) >= exact
    assert alike / len(pairs) >= collapsed
    marked = sum(
        a.segments == b.segments and a.inline_code == b.inline_code
        for a, b in zip(ours, theirs, strict=True)
        if a.text == b.text
    )
    assert marked == same


def test_forms_of_real_posts_are_told_apart(shared_data: Path) -> None:
    pairs = never_edited(shared_data / "dumps" / "beer.stackexchange.com" / "2016-09")
    assert len(pairs) > 1_000
    assert all(is_rendered(body) for _, body in pairs)
    assert not any(is_rendered(typed) for typed, _ in pairs)


# Forms ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("<p>a</p>\n", True),
        ("<pre><code>a\n</code></pre>", True),
        ('<pre class="lang-js prettyprint-override"><code>a</code></pre>\n', True),
        ("<!-- language: js -->\n\n<pre><code>a</code></pre>", True),
        ("<hr>\n<ol>\n<li>a</li>\n</ol>", True),
        ("<p>a</p> and more", False),
        ("a <p>b</p>", False),
        ("<b>a</b>", False),
        ("<!-- language: js -->\n\n    a", False),
        ("<people>a</p>", False),
        ("", False),
        ("# a", False),
    ],
)
def test_a_body_is_html_where_it_starts_and_ends_with_blocks(body: str, expected: bool) -> None:
    assert is_rendered(body) is expected


def test_html_is_laid_out_as_the_corpus_does() -> None:
    body = '<p>a <code>b</code></p>\n\n<pre class="lang-js"><code>c\r\n</code></pre>\n'
    assert canonicalise("T", body) == lay_out("T", body, ())


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_make_no_difference(end: str) -> None:
    lines = ["a  ", "b", "c", "", "    d", "", "    e", "", " - f", " - g"]
    assert text_of(end.join(lines)) == "a\nb c\n\nd\n\ne\n\n- f\n- g"


def test_code_has_the_language_of_its_comment() -> None:
    kinds = [s[:4] for s in canonicalise("T", "a\n\n<!-- language: lang-js -->\n\n    b").segments]
    assert kinds == [("title", 0, 1, None), ("prose", 3, 4, None), ("code", 6, 7, "js")]


def test_a_question_without_words_has_no_text() -> None:
    assert canonicalise(" ", " \r\n").text == canonicalise(None, None).text == ""
    assert canonicalise(" T ", None).text == "T"


# The dialects --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("markdown", "classic", "commonmark"),
    [
        ("#a\nb", "a\n\nb", "#a b"),
        ("##a##", "a", "##a##"),
        ("    #a", "#a", "#a"),
        ("a\n#1 b", "a\n\n1 b", "a #1 b"),
        ("see [a][1]\n[1]: http://e.org (T)", "see a", "see [a][1] [1]: http://e.org (T)"),
        ("[a] [1]\n\n[1]: http://e.org", "a", "[a] 1"),
        ("[a] [2]\n\n[1]: http://e.org", "[a] [2]", "[a] [2]"),
        ("a\n- b\n- c", "a - b - c", "a\n\n- b\n- c"),
        ("a\n\n- b\n  - c", "a\n\n- b\n  - c", "a\n\n- b\n  - c"),
        ("1) a", "1) a", "1. a"),
        ("3. a\n\n4. b", "3. a\n\n4. b", "3. a\n\n4. b"),
        ("> a\n\n> b", "> a\n>\n> b", "> a\n\n> b"),
        ("> - a\n- b", "> - a\n> - b", "> - a\n\n- b"),
        ("- a\n\n* b", "- a\n- b", "- a\n\n- b"),
        (r"a\|b \* \"", r"a\|b * \"", 'a|b * "'),
        ("a\\\nb", "a\\ b", "a\nb"),
        ("Map<A, B> c", "Map c", "Map<A, B> c"),
        ("a|b\n-|-\n1|2", "a|b -|- 1|2", "a | b\n1 | 2"),
        ("~~a~~", "~~a~~", "a"),
        ("a\n\n    b\n\tc", "a\n\nb\nc", "a\n\nb\nc"),
        ("    a\tb", "a   b", "a\tb"),
        ("```\n#a\n[1]: b\n```", "#a\n[1]: b", "#a\n[1]: b"),
        ("[tag:c++] [meta-tag:Bug]", "c++ bug", "c++ bug"),
        (">! a\n>! b", "> a b", "> a b"),
        ("http://e.org/_a_/*b* *c*", "http://e.org/_a_/*b* c", "http://e.org/_a_/*b* c"),
        ("2*3*4 a_b_c", "234 a_b_c", "234 a_b_c"),
        ("<br>\n**a**", "a", "a"),
    ],
)
def test_what_the_dialects_read(markdown: str, classic: str, commonmark: str) -> None:
    assert text_of(markdown) == classic
    if markdown != "<br>\n**a**":  # raw HTML there, up to a blank line
        assert text_of(markdown, "commonmark") == commonmark


@pytest.mark.parametrize(
    ("typed", "html"),
    [
        ("<b>a</b> <kbd>b</kbd>", "<p><b>a</b> <kbd>b</kbd></p>\n"),
        ("<span>a</span> <String> b", "<p>a  b</p>\n"),
        ("a<script>b</script>c", "<p>abc</p>\n"),
        ("a <code>b", "<p>a b</p>\n"),
        ("a</code> b", "<p>a b</p>\n"),
        ("a <!-- b -->c", "<p>a <!-- b -->c</p>\n"),
        ("`<i>` and <i>", "<p><code>&lt;i&gt;</code> and </p>\n"),
        ("3 < 4 > 2", "<p>3 &lt; 4 &gt; 2</p>\n"),
        ("<http://e.org>", '<p><a href="http://e.org">http://e.org</a></p>\n'),
    ],
)
def test_tags_that_the_site_does_not_allow_are_dropped(typed: str, html: str) -> None:
    assert render_markdown(typed) == html


def test_definitions_do_not_end_up_in_code_that_is_left_open() -> None:
    assert text_of("[a][1]\n\n[1]: http://e.org\n\n```\nb") == "a\n\nb"


@pytest.mark.parametrize("line", ["[ ]: http://e.org", "[1]: <a<b>c", "[1]:"])
def test_what_only_looks_like_a_definition_stays_where_it_is(line: str) -> None:
    assert text_of(f"a\n\n{line}").startswith("a\n\n[")


def test_an_open_comment_hides_nothing_below_it() -> None:
    assert text_of("a\n\n<!-- b > c\n\nd", "commonmark") == "a\n\nc d"


# Hostile bodies ------------------------------------------------------------------------------

N, FEW = 100_000, 30_000
HOSTILE = {
    "brackets": "[" * N,
    "images": "![" * (FEW // 2),
    "nested brackets": "[" * (FEW // 2) + "]" * (FEW // 2),
    "references": "[1]: http://e.org\n\n" + "[a] [1][" * (FEW // 8),
    "quotes": ">" * N,
    "spaced quotes": " >" * (FEW // 2) + "#" * 1_000,
    "lists": "- " * (FEW // 2),
    "deep list": "".join(" " * (2 * depth) + "- a\n" for depth in range(300)),
    "stars": "*a **b" * (FEW // 6),
    "backticks": "".join("`" * length + "a" for length in range(440)),
    "tags": "<a" * (FEW // 2),
    "open tags": "<b>" * (FEW // 3),
    "comments": "<!--" * (FEW // 4),
    "definitions": "[1]: x\n" * (FEW // 7),
    "headings": "#a" + "#" * N + "b",
    "urls": "http://" * (FEW // 7),
    "spaces": "a" + " " * N + "b",
}


@pytest.mark.parametrize("shape", HOSTILE)
def test_hostile_bodies_take_linear_time(shape: str) -> None:
    started = time.process_time()
    render_markdown(HOSTILE[shape])
    assert (
        time.process_time() - started < 10
    )  # 0.02 to 2.5 for 100,000 characters; quadratic ones took minutes


def test_deep_quotes_and_lists_lose_no_words() -> None:
    assert "deep" in text_of(">" * 5_000 + " deep")
    assert "deep" in text_of("- " * 5_000 + "deep", "commonmark")
