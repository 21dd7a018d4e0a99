"""The text of a document and its spans."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from corpus.layout import SEPARATOR, Layout, lay_out

BODIES = st.lists(
    st.sampled_from(
        [
            "<p>Some words.</p>",
            "<p>A <code>List&lt;T&gt;</code> \U0001f600 and <a href='https://e.org'>a link</a></p>",
            "<pre class='lang-py'><code>x = 1\n\n\ty = 2\n</code></pre>",
            "<pre><code>\n</code></pre>",
            "<blockquote><p>said</p></blockquote>",
            "<p> &nbsp; </p>",
            "\n\n",
            "",
        ]
    ),
    max_size=5,
).map("\n".join)
TITLES = st.none() | st.text(max_size=20)
COMMENTS = st.lists(
    st.tuples(
        st.integers(1, 9),
        st.sampled_from(
            ["ok", "`a b` [w](https://e.org/w)", "two\n\nlines", "\U0001f600 `x`", " . "]
        ),
    ),
    max_size=4,
)


def check_tiles(layout: Layout) -> None:
    """The segments, with a blank line between any two, are the text."""
    parts = [layout.text[start:end] for _, start, end, _, _ in layout.segments]
    assert SEPARATOR.join(parts) == layout.text
    assert all(parts)
    edge = -len(SEPARATOR)
    for _, start, end, _, _ in layout.segments:
        assert start == edge + len(SEPARATOR)
        edge = end


@given(TITLES, BODIES, COMMENTS)
def test_segments_tile_the_text(
    title: str | None, body: str, comments: list[tuple[int, str]]
) -> None:
    check_tiles(lay_out(title, body, comments))


@given(TITLES, BODIES, COMMENTS)
def test_spans_lie_within_one_segment_each_and_in_order(
    title: str | None, body: str, comments: list[tuple[int, str]]
) -> None:
    layout = lay_out(title, body, comments)
    for spans in (layout.inline_code, [link[:2] for link in layout.links]):
        assert spans == sorted(spans)
        for start, end in spans:
            assert any(s <= start < end <= e for _, s, e, _, _ in layout.segments)


@given(TITLES, BODIES, COMMENTS)
def test_the_body_ends_where_comments_begin(
    title: str | None, body: str, comments: list[tuple[int, str]]
) -> None:
    layout, without = lay_out(title, body, comments), lay_out(title, body, [])
    assert layout.text[: layout.body_end] == without.text
    assert without.body_end == len(without.text)
    if without.text and comments:
        rest = SEPARATOR.join(text for _, text in comments)
        assert layout.text[layout.body_end :] == SEPARATOR + rest


@given(BODIES, COMMENTS)
def test_comments_are_verbatim_and_keep_their_ids(
    body: str, comments: list[tuple[int, str]]
) -> None:
    layout = lay_out("title", body, comments)
    found = [
        (comment_id, layout.text[start:end])
        for kind, start, end, _, comment_id in layout.segments
        if kind == "comment"
    ]
    assert found == comments


def test_a_title_is_never_parsed() -> None:
    title = "List<String> to Map<K,V> &amp; `back` **bold** <b>"
    layout = lay_out(title, "<p>How?</p>", [])
    assert layout.text == f"{title}\n\nHow?"
    assert layout.segments == [
        ("title", 0, len(title), None, None),
        ("prose", len(title) + 2, len(title) + 6, None, None),
    ]
    assert layout.inline_code == []


def test_code_keeps_its_lines_and_says_its_language() -> None:
    layout = lay_out(None, "<pre class='lang-py'><code>a\n\n\tb  \n</code></pre>", [])
    assert layout.text == "a\n\n\tb  "
    assert layout.segments == [("code", 0, 7, "py", None)]


def test_spans_of_the_body_and_of_comments_name_their_words() -> None:
    body = "<p>Use <code>dd</code>, see <a href='https://e.org/1'>here</a>.</p>"
    layout = lay_out("Disk", body, [(1, "Not `dd`!"), (2, "[there](https://e.org/2)")])
    assert [layout.text[start:end] for start, end in layout.inline_code] == ["dd", "dd"]
    assert [(layout.text[start:end], target) for start, end, target in layout.links] == [
        ("here", "https://e.org/1"),
        ("there", "https://e.org/2"),
    ]


def test_a_post_of_nothing_but_space_is_empty_with_all_its_comments() -> None:
    for title in (None, "", " \t\n", "\u00a0"):
        for body in (None, "", "  \n ", "<p> </p>", "<pre><code>\n</code></pre>", "<!-- no -->"):
            assert lay_out(title, body, [(1, "words")]) == Layout("", 0, [], [], [])


def test_a_title_alone_is_a_text() -> None:
    assert lay_out("Only this", None, []).text == "Only this"
